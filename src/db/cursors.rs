//! Cursors of SQL: DECLARE, FETCH, MOVE, CLOSE.
//!
//! A cursor is a query that runs as far as it was asked: what it reads is what its DECLARE saw. Rows that were given are kept where it can
//! scroll, others are let go of. One WITH HOLD runs to its end when its transaction does, and keeps its rows; their memory is that of queries.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use lodedb_sql::error::Result;
use lodedb_sql::statement::{DeclareCursor, FetchDirection, Named};
use lodedb_sql::{Datum, SqlError, SqlState};
use parking_lot::Mutex;

use super::outcome::{BatchStream, Field, Outcome, Prepared, RowsTag};
use super::session::{Session, or_cancelled};
use crate::query::CancelToken;

/// A cursor.
pub(super) struct Cursor {
    fields: Arc<[Field]>,
    /// Rows to come; none once all of them came. Nobody locks it: sessions are shared between threads, streams are not.
    rest: Option<Mutex<BatchStream>>,
    /// Rows that came and may be given, in order.
    kept: VecDeque<RecordBatch>,
    /// How many rows before those were let go of.
    gone: u64,
    /// How many rows came.
    came: u64,
    /// The row it stands on, from 1; 0 before the first one, one more than there are after the last.
    at: u64,
    scrolls: bool,
    holds: bool,
    /// How many savepoints there were when it was declared; none once its transaction is over.
    level: Option<usize>,
    memory: MemoryReservation,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("at", &self.at).field("came", &self.came).finish_non_exhaustive()
    }
}

impl Cursor {
    /// Lets rows come until there are `row` of them, or all.
    async fn reach(&mut self, row: u64, cancel: &CancelToken) -> Result<()> {
        while self.came < row
            && let Some(rest) = &mut self.rest
        {
            let rest = rest.get_mut();
            let next = or_cancelled(cancel, async { rest.next().await.transpose() }).await?;
            match next {
                Some(batch) => {
                    self.memory
                        .try_grow(batch.get_array_memory_size())
                        .map_err(|error| SqlError::new(SqlState::OutOfMemory, error.to_string()))?;
                    self.came += batch.num_rows() as u64;
                    self.kept.push_back(batch);
                }
                None => self.rest = None,
            }
        }
        Ok(())
    }

    /// Rows from one to another, both given; from the later one back if `backward`.
    fn rows(&self, from: u64, to: u64, backward: bool) -> Result<Vec<RecordBatch>> {
        let mut found = Vec::new();
        let mut first = self.gone + 1;
        for batch in &self.kept {
            let end = first + batch.num_rows() as u64;
            let (start, stop) = (from.max(first), (to + 1).min(end));
            if start < stop {
                found.push(batch.slice((start - first) as usize, (stop - start) as usize));
            }
            first = end;
        }
        if backward {
            found.reverse();
            for batch in &mut found {
                let places: UInt32Array = (0..batch.num_rows() as u32).rev().collect();
                *batch = take_record_batch(batch, &places).map_err(SqlError::internal)?;
            }
        }
        Ok(found)
    }

    /// Lets go of rows that it cannot come back to.
    fn let_go(&mut self) {
        while !self.scrolls
            && let Some(batch) = self.kept.front()
            && self.gone + (batch.num_rows() as u64) < self.at
        {
            self.memory.shrink(batch.get_array_memory_size().min(self.memory.size()));
            self.gone += batch.num_rows() as u64;
            self.kept.pop_front();
        }
    }

    fn check_scrolls(&self) -> Result<()> {
        if self.scrolls {
            return Ok(());
        }
        Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, "cursor can only scan forward")
            .with_hint("Declare it with SCROLL option to enable backward scan."))
    }

    /// Moves, and gives the rows on the way.
    async fn fetch(&mut self, direction: FetchDirection, cancel: &CancelToken) -> Result<Vec<RecordBatch>> {
        const ALL: u64 = u64::MAX >> 1;
        let rows = match direction {
            FetchDirection::ForwardAll => self.forward(ALL, cancel).await,
            FetchDirection::BackwardAll => self.backward(ALL),
            FetchDirection::Forward(0) | FetchDirection::Backward(0) | FetchDirection::Relative(0) => {
                self.rows(self.at.max(1), if self.at > self.came { 0 } else { self.at }, false)
            }
            FetchDirection::Forward(count) if count > 0 => self.forward(count as u64, cancel).await,
            FetchDirection::Backward(count) if count < 0 => self.forward(count.unsigned_abs(), cancel).await,
            FetchDirection::Forward(count) | FetchDirection::Backward(count) => self.backward(count.unsigned_abs()),
            FetchDirection::First => self.row(1, cancel).await,
            FetchDirection::Absolute(row) if row >= 0 => self.row(row as u64, cancel).await,
            FetchDirection::Relative(by) if by > 0 => self.row(self.at.saturating_add(by as u64), cancel).await,
            FetchDirection::Relative(by) => self.row(self.at.saturating_sub(by.unsigned_abs()), cancel).await,
            FetchDirection::Last => self.last_but(1, cancel).await,
            FetchDirection::Absolute(row) => self.last_but(row.unsigned_abs(), cancel).await,
        }?;
        self.let_go();
        Ok(rows)
    }

    async fn forward(&mut self, count: u64, cancel: &CancelToken) -> Result<Vec<RecordBatch>> {
        let wanted = self.at.saturating_add(count);
        self.reach(wanted, cancel).await?;
        let rows = self.rows(self.at + 1, wanted.min(self.came), false)?;
        self.at = wanted.min(self.came + 1);
        Ok(rows)
    }

    fn backward(&mut self, count: u64) -> Result<Vec<RecordBatch>> {
        self.check_scrolls()?;
        let from = self.at.saturating_sub(count);
        let rows = if self.at > 1 { self.rows(from.max(1), self.at - 1, true)? } else { Vec::new() };
        self.at = from;
        Ok(rows)
    }

    /// One row by its number.
    async fn row(&mut self, row: u64, cancel: &CancelToken) -> Result<Vec<RecordBatch>> {
        if row <= self.at && self.at > 0 {
            self.check_scrolls()?;
        }
        self.reach(row, cancel).await?;
        self.at = row.min(self.came + 1);
        if (1..=self.came).contains(&row) { self.rows(row, row, false) } else { Ok(Vec::new()) }
    }

    /// One row by its number from the end.
    async fn last_but(&mut self, row: u64, cancel: &CancelToken) -> Result<Vec<RecordBatch>> {
        self.check_scrolls()?;
        self.reach(u64::MAX, cancel).await?;
        self.row((self.came + 1).saturating_sub(row), cancel).await
    }
}

impl Session {
    /// DECLARE.
    pub(super) async fn declare(
        &mut self,
        declare: &DeclareCursor,
        prepared: &Prepared,
        params: &[Datum],
    ) -> Result<Outcome> {
        let DeclareCursor { name, binary, scroll, hold, .. } = declare;
        if *binary {
            return Err(SqlError::unsupported("DECLARE .. BINARY CURSOR")
                .with_hint("The extended protocol gives rows in binary form."));
        }
        if !hold && !self.in_block() {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(SqlError::new(SqlState::NoActiveSqlTransaction, message));
        }
        if self.cursors.contains_key(name) {
            return Err(SqlError::new(SqlState::DuplicateCursor, format!("cursor \"{name}\" already exists")));
        }
        let (fields, batches) = self.open_cursor(prepared, params).await?;
        let mut cursor = Cursor {
            fields,
            rest: Some(Mutex::new(batches)),
            kept: VecDeque::new(),
            gone: 0,
            came: 0,
            at: 0,
            scrolls: *scroll == Some(true),
            holds: *hold,
            level: Some(self.savepoints()),
            memory: self.engine().query.memory_for("rows of a cursor"),
        };
        if !self.in_block() {
            cursor.reach(u64::MAX, &self.cancel).await?;
            cursor.level = None;
        }
        self.cursors.insert(name.clone(), cursor);
        Ok(Outcome::Command("DECLARE CURSOR".into()))
    }

    /// The columns of a cursor; `34000` if there is none of that name.
    pub(super) fn cursor_fields(&self, name: &str) -> Result<Arc<[Field]>> {
        match self.cursors.get(name) {
            Some(cursor) => Ok(cursor.fields.clone()),
            None => Err(no_cursor(name)),
        }
    }

    /// FETCH, or with `moves` MOVE.
    pub(super) async fn fetch(&mut self, name: &str, direction: FetchDirection, moves: bool) -> Result<Outcome> {
        let cancel = self.cancel.clone();
        let cursor = self.cursors.get_mut(name).ok_or_else(|| no_cursor(name))?;
        let batches = cursor.fetch(direction, &cancel).await?;
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if moves {
            return Ok(Outcome::Command(format!("MOVE {count}")));
        }
        Ok(Outcome::Rows {
            fields: cursor.fields.clone(),
            batches: Box::pin(futures::stream::iter(batches.into_iter().map(Ok))),
            tag: RowsTag::Fixed(format!("FETCH {count}")),
        })
    }

    /// CLOSE.
    pub(super) fn close_cursors(&mut self, which: &Named) -> Result<Outcome> {
        match which {
            Named::All => self.cursors.clear(),
            Named::Name(name) => {
                self.cursors.remove(name).ok_or_else(|| no_cursor(name))?;
            }
        }
        Ok(Outcome::Command(if *which == Named::All { "CLOSE CURSOR ALL" } else { "CLOSE CURSOR" }.into()))
    }

    /// The transaction is about to commit: cursors that outlive it run to their ends.
    pub(super) async fn hold_cursors(&mut self) -> Result<()> {
        let cancel = self.cancel.clone();
        for cursor in self.cursors.values_mut().filter(|cursor| cursor.holds && cursor.level.is_some()) {
            cursor.reach(u64::MAX, &cancel).await?;
        }
        Ok(())
    }

    /// The transaction is over, and with it its cursors but for those that were held.
    pub(super) fn end_cursors(&mut self, committed: bool) {
        self.cursors.retain(|_, cursor| cursor.level.is_none() || committed && cursor.holds);
        self.cursors.values_mut().for_each(|cursor| cursor.level = None);
    }

    /// So many savepoints are left. What was declared after them goes with a rollback, or becomes what was declared before.
    pub(super) fn savepoints_left(&mut self, left: usize, rolled_back: bool) {
        let is_after = |cursor: &Cursor| cursor.level.is_some_and(|level| level > left || rolled_back && level == left);
        if rolled_back {
            self.cursors.retain(|_, cursor| !is_after(cursor));
        } else {
            self.cursors.values_mut().filter(|cursor| is_after(cursor)).for_each(|cursor| cursor.level = Some(left));
        }
    }
}

fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCursorName, format!("cursor \"{name}\" does not exist"))
}
