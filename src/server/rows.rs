//! A result on its way to the client: batches in, DataRows out, as fast as the socket takes them.

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::arrow::record_batch::RecordBatch;
use futures::StreamExt;

use super::backend;
use super::encode::{Columns, conform};
use super::frontend::Formats;
use super::wire::{FLUSH_BYTES, Stop, Wire};
use crate::db::{BatchStream, Field, RowsTag, Session};
use crate::query::CancelToken;

/// A result, part of which may have been sent.
pub(super) struct Rows {
    fields: Arc<[Field]>,
    batches: BatchStream,
    tag: RowsTag,
    formats: Formats,
    zone: Tz,
    /// A batch that has not been sent whole, and its first row that has not.
    pending: Option<(RecordBatch, usize)>,
}

/// How sending came to an end.
#[derive(Debug, PartialEq)]
pub(super) enum Sent {
    /// Everything is sent; the command tag.
    All(String),
    /// The limit was reached; there may be more.
    Suspended,
}

impl Rows {
    pub(super) fn new(
        session: &Session,
        fields: Arc<[Field]>,
        batches: BatchStream,
        tag: RowsTag,
        formats: Formats,
    ) -> Self {
        let batches = session.name_objects(batches, &fields, |column| !formats.is_binary(column));
        Self { fields, batches, tag, formats, zone: session.zone(), pending: None }
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Sends rows, at most `limit` of them.
    pub(super) async fn send(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        cancel: &CancelToken,
        limit: Option<usize>,
    ) -> Result<Sent, Stop> {
        let mut sent = 0;
        loop {
            if self.pending.is_none() {
                let Some(batch) = wire.watching(cancel, self.batches.next()).await else {
                    return Ok(Sent::All(complete_tag(&self.tag, sent)));
                };
                self.pending = Some((conform(batch?, &self.fields)?, 0));
            }
            if let Some((batch, next)) = &mut self.pending {
                let end = match limit {
                    Some(limit) => batch.num_rows().min(*next + (limit - sent)),
                    None => batch.num_rows(),
                };
                let columns = Columns::bind(batch, &self.fields, &self.formats, self.zone)?;
                while *next < end {
                    columns.write_row(*next, &mut wire.out)?;
                    *next += 1;
                    sent += 1;
                    if wire.out.len() >= FLUSH_BYTES {
                        flush(wire, session, cancel).await?;
                    }
                }
            }
            if self.pending.as_ref().is_some_and(|(batch, next)| *next == batch.num_rows()) {
                self.pending = None;
            }
            // Reaching the limit suspends even where nothing is left, as in PostgreSQL: finding out costs a batch.
            if limit == Some(sent) {
                return Ok(Sent::Suspended);
            }
        }
    }

    /// The tag of an Execute on a result that was sent whole before; `None` if it may not be executed again.
    pub(super) fn exhausted_tag(&self) -> Option<String> {
        matches!(self.tag, RowsTag::Select).then(|| complete_tag(&self.tag, 0))
    }
}

/// Writes what is waiting to go. A client that takes its time keeps nobody else's statement from running.
pub(super) async fn flush(wire: &mut Wire, session: &mut Session, cancel: &CancelToken) -> Result<(), Stop> {
    let had_place = session.take_place().is_some();
    wire.flush().await?;
    if had_place {
        wire.watching(cancel, session.next_place()).await?;
    }
    Ok(())
}

fn complete_tag(tag: &RowsTag, sent: usize) -> String {
    match tag {
        RowsTag::Select => format!("SELECT {sent}"),
        RowsTag::Fixed(tag) => tag.clone(),
    }
}

/// Appends what the session has to tell beside its results.
pub(super) fn notices(session: &mut Session, out: &mut Vec<u8>) {
    for notice in session.take_notices() {
        backend::notice(out, notice.severity, &notice.error);
    }
}
