//! The simple protocol: a text of statements, run in one implicit transaction, answered in order.

use bytes::Bytes;

use super::connection::Connection;
use super::frontend::{Formats, decode_text};
use super::rows::{self, Rows, Sent};
use super::wire::Stop;
use super::{backend, copy};
use crate::db::Outcome;

impl Connection<'_> {
    /// Query: the first error ends it and undoes what is not committed; ReadyForQuery is the caller's.
    pub(super) async fn query(&mut self, body: &Bytes) -> Result<(), Stop> {
        let text = decode_text(body)?;
        // As in PostgreSQL, a Query ends the unnamed statement and portal.
        self.unnamed = None;
        self.portals.remove("");
        let statements = self.session.parse(text)?;
        if statements.is_empty() {
            self.session.finish().await?;
            backend::empty_query_response(&mut self.wire.out);
            return Ok(());
        }
        let last = statements.len() - 1;
        for (index, statement) in statements.into_iter().enumerate() {
            let outcome = self.wire.watching(&self.cancel, self.session.run(statement)).await?;
            let tag = self.answer(outcome).await?;
            // ORDER: the commit comes before the tag that reports it.
            if index == last {
                self.wire.watching(&self.cancel, self.session.finish()).await?;
            }
            rows::notices(&mut self.session, &mut self.wire.out);
            match tag {
                Some(tag) => {
                    self.note_tag(&tag);
                    backend::command_complete(&mut self.wire.out, &tag);
                }
                None => backend::empty_query_response(&mut self.wire.out),
            }
            self.forget_portals();
        }
        Ok(())
    }

    /// Sends what a statement answers up to its tag; `None` for an empty statement.
    async fn answer(&mut self, outcome: Outcome) -> Result<Option<String>, Stop> {
        Ok(Some(match outcome {
            Outcome::Rows { fields, batches, tag } => {
                let mut rows = Rows::new(&self.session, fields, batches, tag, Formats::All(false));
                backend::row_description(&mut self.wire.out, rows.fields(), &Formats::All(false));
                match rows.send(self.wire, &mut self.session, &self.cancel, None).await? {
                    Sent::All(tag) => tag,
                    Sent::Suspended => String::new(),
                }
            }
            Outcome::Command(tag) => tag,
            Outcome::CopyIn(incoming) => copy::receive(self.wire, &mut self.session, &self.cancel, incoming).await?,
            Outcome::CopyOut(outgoing) => copy::send(self.wire, &mut self.session, &self.cancel, outgoing).await?,
            Outcome::Empty => return Ok(None),
        }))
    }
}
