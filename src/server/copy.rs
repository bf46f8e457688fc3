//! COPY's sub-protocol, the same within a Query and within an Execute.

use futures::StreamExt;
use lodedb_sql::error::{SqlError, SqlState};

use super::encode::{Columns, conform};
use super::frontend::Formats;
use super::wire::{FLUSH_BYTES, Frame, Stop, Wire, violation};
use super::{backend, frontend, rows};
use crate::db::Session;
use crate::db::copy::{CopyIn, CopyOut};
use crate::query::CancelToken;

/// Takes rows from the client; returns the command tag.
pub(super) async fn receive(
    wire: &mut Wire,
    session: &mut Session,
    cancel: &CancelToken,
    mut copy: Box<CopyIn>,
) -> Result<String, Stop> {
    backend::copy_response(&mut wire.out, b'G', copy.format_is_binary(), copy.column_count());
    wire.flush().await?;
    loop {
        match wire.next().await? {
            Frame::Message(b'd', chunk) => wire.watching(cancel, copy.write(session, chunk)).await?,
            Frame::Message(b'c', _) => return Ok(wire.watching(cancel, copy.finish(session)).await?),
            Frame::Message(b'f', body) => {
                let reason = frontend::decode_text(&body)?;
                return Err(copy.fail(session, reason).into());
            }
            // A client that sent its Sync with the Execute could not know that a COPY would begin.
            Frame::Message(b'H' | b'S', _) => {}
            Frame::Message(b'X', _) => return Err(Stop::Gone),
            Frame::Message(tag, _) => {
                let message = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
                copy.fail(session, &message);
                return Err(violation(message).into());
            }
            Frame::TooLong(_, length) => {
                let message = format!("a message of {length} bytes is too long");
                copy.fail(session, &message);
                return Err(SqlError::new(SqlState::ProgramLimitExceeded, message).into());
            }
        }
    }
}

/// Gives rows to the client, a message each, as PostgreSQL does, and the header with the first; returns the command tag.
pub(super) async fn send(
    wire: &mut Wire,
    session: &mut Session,
    cancel: &CancelToken,
    mut copy: Box<CopyOut>,
) -> Result<String, Stop> {
    let binary = copy.format_is_binary();
    backend::copy_response(&mut wire.out, b'H', binary, copy.fields.len());
    let (fields, zone, formats) = (copy.fields.clone(), session.zone(), Formats::All(true));
    let mut before = Vec::new();
    copy.encoder.header(&mut before);
    let mut sent = 0;
    while let Some(batch) = wire.watching(cancel, copy.batches.next()).await {
        let batch = batch?;
        sent += batch.num_rows();
        if binary {
            let batch = conform(batch, &fields)?;
            let columns = Columns::bind(&batch, &fields, &formats, zone)?;
            for row in 0..batch.num_rows() {
                let start = wire.out.len();
                columns.write_copied_row(row, &before, &mut wire.out)?;
                copy.gave(wire.out.len() - start, 1);
                before.clear();
                flush_if_full(wire, session, cancel).await?;
            }
        } else {
            for row in copy.values(&batch)? {
                copy.encoder.row(&row, &mut before);
                copy.gave(before.len(), 1);
                backend::copy_data(&mut wire.out, &before);
                before.clear();
                flush_if_full(wire, session, cancel).await?;
            }
        }
    }
    if !before.is_empty() {
        backend::copy_data(&mut wire.out, &before);
        before.clear();
    }
    copy.encoder.trailer(&mut before);
    if !before.is_empty() {
        backend::copy_data(&mut wire.out, &before);
    }
    backend::copy_done(&mut wire.out);
    Ok(format!("COPY {sent}"))
}

async fn flush_if_full(wire: &mut Wire, session: &mut Session, cancel: &CancelToken) -> Result<(), Stop> {
    if wire.out.len() >= FLUSH_BYTES { rows::flush(wire, session, cancel).await } else { Ok(()) }
}
