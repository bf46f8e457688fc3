//! The rows a transaction inserted into one table, in order: in memory, or staged in files.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use lodedb_sql::error::Result;

use super::Overlay;
use crate::catalog::TableId;
use crate::commit::staging::Staged;
use crate::commit::{FIRST_PROVISIONAL_ROW, Row, RowId};

/// Inserted rows by their place, which never changes.
#[derive(Clone, Debug, Default)]
pub struct Inserted {
    runs: Vec<Run>,
    len: usize,
}

/// Rows next to each other.
#[derive(Clone, Debug)]
pub enum Run {
    /// In memory; `None` is a row that is gone again.
    Memory(Vec<Option<Row>>),
    /// In files, but for those that were changed (`Some`) or deleted (`None`) since.
    Staged(Arc<Staged>, BTreeMap<u32, Option<Row>>),
}

impl Run {
    fn len(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.len(),
            Self::Staged(staged, _) => staged.count() as usize,
        }
    }
}

impl Inserted {
    /// As many places as `len`, every row gone.
    pub fn gone(len: usize) -> Self {
        Self { runs: vec![Run::Memory(vec![None; len])], len }
    }

    /// How many places are taken.
    pub fn places(&self) -> usize {
        self.len
    }

    /// How many rows are still there.
    pub fn count(&self) -> usize {
        let live = |run: &Run| match run {
            Run::Memory(rows) => rows.iter().flatten().count(),
            Run::Staged(staged, replaced) => {
                staged.count() as usize - replaced.values().filter(|values| values.is_none()).count()
            }
        };
        self.runs.iter().map(live).sum()
    }

    /// The rows as they lie.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn memory(&mut self) -> &mut Vec<Option<Row>> {
        if !matches!(self.runs.last(), Some(Run::Memory(_))) {
            self.runs.push(Run::Memory(Vec::new()));
        }
        match self.runs.last_mut() {
            Some(Run::Memory(rows)) => rows,
            _ => unreachable!("the last run was just made"),
        }
    }

    /// Adds a row.
    pub fn push(&mut self, values: Row) {
        self.memory().push(Some(values));
        self.len += 1;
    }

    /// Takes the last row back, which is in memory.
    pub fn pop(&mut self) {
        let rows = self.memory();
        rows.pop();
        if rows.is_empty() {
            self.runs.pop();
        }
        self.len -= 1;
    }

    /// Takes the last `count` rows, which are in memory, away to be staged.
    pub fn split_off(&mut self, count: usize) -> Vec<Row> {
        let rows = self.memory();
        let taken = rows.split_off(rows.len() - count);
        if rows.is_empty() {
            self.runs.pop();
        }
        self.len -= count;
        taken.into_iter().flatten().collect()
    }

    /// Adds staged rows.
    pub fn attach(&mut self, staged: Arc<Staged>) {
        self.len += staged.count() as usize;
        self.runs.push(Run::Staged(staged, BTreeMap::new()));
    }

    /// Takes the last run, which is staged, away.
    pub fn detach(&mut self) {
        if let Some(run) = self.runs.pop() {
            self.len -= run.len();
        }
    }

    /// Adds places whose rows are gone.
    pub fn push_gone(&mut self, count: usize) {
        self.memory().extend(std::iter::repeat_n(None, count));
        self.len += count;
    }

    /// The run that holds a place, and the place within it.
    fn locate(&self, at: usize) -> Option<(usize, usize)> {
        // Nearly always the last of very few.
        let mut start = self.len;
        for (number, run) in self.runs.iter().enumerate().rev() {
            start -= run.len();
            if at >= start {
                return (at < start + run.len()).then_some((number, at - start));
            }
        }
        None
    }

    /// The row at a place; `None` if it is gone.
    pub fn get(&self, at: usize) -> Result<Option<Row>> {
        let Some((run, at)) = self.locate(at) else { return Ok(None) };
        match &self.runs[run] {
            Run::Memory(rows) => Ok(rows[at].clone()),
            Run::Staged(staged, replaced) => match replaced.get(&(at as u32)) {
                Some(values) => Ok(values.clone()),
                None => staged.row(at as u32).map(Some),
            },
        }
    }

    /// Puts another row, or none, at a place that is taken. Gives what [`Inserted::put_back`] needs to undo it.
    pub fn replace(&mut self, at: usize, values: Option<Row>) -> Option<Option<Row>> {
        let (run, at) = self.locate(at)?;
        match &mut self.runs[run] {
            Run::Memory(rows) => Some(std::mem::replace(&mut rows[at], values)),
            Run::Staged(_, replaced) => replaced.insert(at as u32, values),
        }
    }

    /// Undoes a [`Inserted::replace`].
    pub fn put_back(&mut self, at: usize, before: Option<Option<Row>>) {
        let Some((run, at)) = self.locate(at) else { return };
        match (&mut self.runs[run], before) {
            (Run::Memory(rows), before) => rows[at] = before.flatten(),
            (Run::Staged(_, replaced), Some(before)) => {
                replaced.insert(at as u32, before);
            }
            (Run::Staged(_, replaced), None) => {
                replaced.remove(&(at as u32));
            }
        }
    }

    /// The next row that is still there, with its place.
    pub fn next(&self, cursor: &mut Cursor) -> Result<Option<(usize, Row)>> {
        while let Some(run) = self.runs.get(cursor.run) {
            while cursor.at < run.len() {
                let at = cursor.at;
                cursor.at += 1;
                let values = match run {
                    Run::Memory(rows) => rows[at].clone(),
                    Run::Staged(staged, replaced) => match replaced.get(&(at as u32)) {
                        Some(values) => {
                            staged.skip(&mut cursor.in_file)?;
                            values.clone()
                        }
                        None => Some(staged.next(at as u32, &mut cursor.in_file)?),
                    },
                };
                if let Some(values) = values {
                    return Ok(Some((cursor.first + at, values)));
                }
            }
            *cursor = Cursor { run: cursor.run + 1, first: cursor.first + run.len(), ..Cursor::default() };
        }
        Ok(None)
    }
}

/// How far a reader of inserted rows is.
#[derive(Debug, Default)]
pub struct Cursor {
    run: usize,
    /// The place of the run's first row.
    first: usize,
    at: usize,
    in_file: u64,
}

/// The rows inserted into a table and still there, by provisional id. Ends at the first error.
#[derive(Debug)]
pub struct OwnRows<O> {
    overlay: O,
    table: TableId,
    cursor: Option<Cursor>,
}

impl<O: Deref<Target = Overlay>> OwnRows<O> {
    /// From the first row on.
    pub fn new(overlay: O, table: TableId) -> Self {
        Self { overlay, table, cursor: Some(Cursor::default()) }
    }
}

impl<O: Deref<Target = Overlay>> Iterator for OwnRows<O> {
    type Item = Result<(RowId, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.cursor.take()?;
        let found = self.overlay.tables.get(&self.table)?.inserted.next(&mut cursor);
        if matches!(found, Ok(Some(_))) {
            self.cursor = Some(cursor);
        }
        let found = found.transpose()?;
        Some(found.map(|(at, row)| (FIRST_PROVISIONAL_ROW + at as RowId, row)))
    }
}
