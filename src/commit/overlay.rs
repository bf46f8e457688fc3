//! The changes of an open transaction, laid over a view.
//!
//! A mark is the length of the undo list, so a failed statement (later: a savepoint) is undone by popping.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lodedb_sql::error::Result;
use parking_lot::Mutex;

use super::record::Op;
use super::staging::Staged;
use super::{FIRST_PROVISIONAL_ROW, Row, RowId};
use crate::catalog::{Catalog, Change, IndexId, SequenceId, TableId};

mod inserted;
pub use inserted::{Inserted, OwnRows, Run};

/// What a transaction did to a row that was committed before it.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// The row has these values now.
    Put {
        /// All of them.
        values: Row,
        /// Whether a vector column changed, so that the row moves to a new place in the segments.
        moved: bool,
    },
    /// The row is gone.
    Deleted,
}

/// The changes of an open transaction.
#[derive(Debug, Default)]
pub struct Overlay {
    tables: BTreeMap<TableId, TableOverlay>,
    /// Unique keys this transaction gave to a row, or took from one (`None`).
    keys: BTreeMap<(IndexId, Vec<u8>), Option<RowId>>,
    /// Entries of other indexes: added (`true`) or removed.
    entries: BTreeMap<(IndexId, Vec<u8>, RowId), bool>,
    changes: Vec<Change>,
    sequences: BTreeMap<SequenceId, i64>,
    attached: Vec<Op>,
    undo: Vec<Undo>,
    /// The catalog over one base version.
    catalog: Mutex<Option<(u64, Arc<Catalog>)>>,
}

#[derive(Clone, Debug, Default)]
struct TableOverlay {
    truncated: bool,
    changed: BTreeMap<RowId, RowChange>,
    /// Row `FIRST_PROVISIONAL_ROW + i` is at place `i`.
    inserted: Inserted,
}

#[derive(Clone, Debug)]
enum Undo {
    Changed(TableId, RowId, Option<RowChange>),
    Inserted(TableId),
    InsertedPut(TableId, usize, Option<Option<Row>>),
    /// So many rows, inserted before, were staged, and perhaps others with them.
    Staged(TableId, usize),
    Key(IndexId, Vec<u8>, Option<Option<RowId>>),
    Entry(IndexId, Vec<u8>, RowId, Option<bool>),
    Catalog(usize),
    Attached,
    Truncate(TableId, Box<TableOverlay>),
}

/// A place in the life of an overlay, to return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

impl Clone for Overlay {
    fn clone(&self) -> Self {
        Self {
            tables: self.tables.clone(),
            keys: self.keys.clone(),
            entries: self.entries.clone(),
            changes: self.changes.clone(),
            sequences: self.sequences.clone(),
            attached: self.attached.clone(),
            undo: self.undo.clone(),
            catalog: Mutex::new(self.catalog.lock().clone()),
        }
    }
}

impl Overlay {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.undo.is_empty() && self.sequences.is_empty()
    }

    /// Whether it holds changes of this table's rows.
    pub fn touches(&self, table: TableId) -> bool {
        self.tables.contains_key(&table)
    }

    /// The present moment.
    pub fn mark(&self) -> Mark {
        Mark(self.undo.len())
    }

    /// Undoes all that came after `mark`.
    pub fn rollback_to(&mut self, mark: Mark) {
        while self.undo.len() > mark.0 {
            let Some(step) = self.undo.pop() else { break };
            match step {
                Undo::Changed(table, row, before) => {
                    let changed = &mut self.tables.entry(table).or_default().changed;
                    match before {
                        Some(change) => changed.insert(row, change),
                        None => changed.remove(&row),
                    };
                }
                Undo::Inserted(table) => {
                    self.tables.entry(table).or_default().inserted.pop();
                }
                Undo::InsertedPut(table, at, before) => {
                    self.tables.entry(table).or_default().inserted.put_back(at, before);
                }
                Undo::Staged(table, moved) => {
                    let inserted = &mut self.tables.entry(table).or_default().inserted;
                    inserted.detach();
                    inserted.push_gone(moved);
                }
                Undo::Key(index, key, before) => {
                    match before {
                        Some(state) => self.keys.insert((index, key), state),
                        None => self.keys.remove(&(index, key)),
                    };
                }
                Undo::Entry(index, key, row, before) => {
                    match before {
                        Some(state) => self.entries.insert((index, key, row), state),
                        None => self.entries.remove(&(index, key, row)),
                    };
                }
                Undo::Catalog(len) => {
                    self.changes.truncate(len);
                    *self.catalog.get_mut() = None;
                }
                Undo::Attached => {
                    self.attached.pop();
                }
                Undo::Truncate(table, before) => {
                    self.tables.insert(table, *before);
                }
            }
        }
    }

    /// Adds a row and gives its provisional id.
    pub fn insert(&mut self, table: TableId, values: Row) -> RowId {
        let inserted = &mut self.tables.entry(table).or_default().inserted;
        inserted.push(values);
        self.undo.push(Undo::Inserted(table));
        FIRST_PROVISIONAL_ROW + inserted.places() as RowId - 1
    }

    /// The provisional id that the next row of a table gets.
    pub fn next_inserted(&self, table: TableId) -> RowId {
        FIRST_PROVISIONAL_ROW + self.tables.get(&table).map_or(0, |overlay| overlay.inserted.places() as RowId)
    }

    /// Takes the last `count` rows inserted into a table away, to be staged. [`Self::attach_staged`] or
    /// [`Self::give_up_staging`] must follow before anything else is done to that table.
    pub fn split_off(&mut self, table: TableId, count: usize) -> Vec<Row> {
        self.tables.entry(table).or_default().inserted.split_off(count)
    }

    /// Adds staged rows, the first `moved` of which [`Self::split_off`] gave.
    pub fn attach_staged(&mut self, table: TableId, staged: Arc<Staged>, moved: usize) {
        self.tables.entry(table).or_default().inserted.attach(staged);
        self.undo.push(Undo::Staged(table, moved));
    }

    /// The rows that [`Self::split_off`] gave are gone; what inserted them must be undone.
    pub fn give_up_staging(&mut self, table: TableId, moved: usize) {
        self.tables.entry(table).or_default().inserted.push_gone(moved);
    }

    /// Replaces a row.
    pub fn put(&mut self, table: TableId, row: RowId, values: Row, moved: bool) {
        if row >= FIRST_PROVISIONAL_ROW {
            return self.put_inserted(table, row, Some(values));
        }
        let changed = &mut self.tables.entry(table).or_default().changed;
        let moved = moved || matches!(changed.get(&row), Some(RowChange::Put { moved: true, .. }));
        let before = changed.insert(row, RowChange::Put { values, moved });
        self.undo.push(Undo::Changed(table, row, before));
    }

    /// Removes a row.
    pub fn delete(&mut self, table: TableId, row: RowId) {
        if row >= FIRST_PROVISIONAL_ROW {
            return self.put_inserted(table, row, None);
        }
        let before = self.tables.entry(table).or_default().changed.insert(row, RowChange::Deleted);
        self.undo.push(Undo::Changed(table, row, before));
    }

    fn put_inserted(&mut self, table: TableId, row: RowId, values: Option<Row>) {
        let at = (row - FIRST_PROVISIONAL_ROW) as usize;
        let before = self.tables.entry(table).or_default().inserted.replace(at, values);
        self.undo.push(Undo::InsertedPut(table, at, before));
    }

    /// Removes every row of a table, committed ones too.
    pub fn truncate(&mut self, table: TableId) {
        let overlay = self.tables.entry(table).or_default();
        // The places of rows inserted so far stay taken, so that later ids differ from theirs.
        let emptied = TableOverlay {
            truncated: true,
            changed: BTreeMap::new(),
            inserted: Inserted::gone(overlay.inserted.places()),
        };
        let before = std::mem::replace(overlay, emptied);
        self.undo.push(Undo::Truncate(table, Box::new(before)));
    }

    /// Gives a unique key to a row, or takes it from all.
    pub fn set_key(&mut self, index: IndexId, key: Vec<u8>, row: Option<RowId>) {
        let before = self.keys.insert((index, key.clone()), row);
        self.undo.push(Undo::Key(index, key, before));
    }

    /// Adds or removes an entry of an index that is not unique.
    pub fn set_entry(&mut self, index: IndexId, key: Vec<u8>, row: RowId, present: bool) {
        let before = self.entries.insert((index, key.clone(), row), present);
        self.undo.push(Undo::Entry(index, key, row, before));
    }

    /// Changes what exists.
    pub fn change_catalog(&mut self, change: Change) {
        self.undo.push(Undo::Catalog(self.changes.len()));
        self.changes.push(change);
        *self.catalog.get_mut() = None;
    }

    /// Adds an effect that is no row.
    pub fn attach(&mut self, op: Op) {
        self.attached.push(op);
        self.undo.push(Undo::Attached);
    }

    /// The effects that are no rows.
    pub fn attached(&self) -> &[Op] {
        &self.attached
    }

    /// Forgets what it knows of the keys in some indexes: their table was truncated.
    pub fn forget_keys(&mut self, indexes: &[IndexId]) {
        let keys: Vec<(IndexId, Vec<u8>)> =
            self.keys.keys().filter(|(index, _)| indexes.contains(index)).cloned().collect();
        for (index, key) in keys {
            let before = self.keys.remove(&(index, key.clone()));
            self.undo.push(Undo::Key(index, key, before));
        }
        let entries: Vec<(IndexId, Vec<u8>, RowId)> =
            self.entries.keys().filter(|(index, _, _)| indexes.contains(index)).cloned().collect();
        for (index, key, row) in entries {
            let before = self.entries.remove(&(index, key.clone(), row));
            self.undo.push(Undo::Entry(index, key, row, before));
        }
    }

    /// Notes that a sequence has reached a value; rolling back does not take it back.
    pub fn advance_sequence(&mut self, sequence: SequenceId, value: i64) {
        self.sequences.insert(sequence, value);
    }

    /// The catalog changes, oldest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The values sequences reached.
    pub fn sequences(&self) -> impl Iterator<Item = (SequenceId, i64)> + '_ {
        self.sequences.iter().map(|(&sequence, &value)| (sequence, value))
    }

    /// The tables whose rows changed.
    pub fn tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables.keys().copied()
    }

    /// `base` with the transaction's own changes.
    pub fn catalog(&self, base: &Arc<Catalog>) -> Arc<Catalog> {
        if self.changes.is_empty() {
            return base.clone();
        }
        let mut cached = self.catalog.lock();
        if let Some((version, catalog)) = &*cached
            && *version == base.version()
        {
            return catalog.clone();
        }
        let mut catalog = Catalog::clone(base);
        for change in &self.changes {
            catalog.apply(change);
        }
        catalog.make_provisional();
        let catalog = Arc::new(catalog);
        *cached = Some((base.version(), catalog.clone()));
        catalog
    }

    /// Whether committed rows of the table are hidden.
    pub fn is_truncated(&self, table: TableId) -> bool {
        self.tables.get(&table).is_some_and(|overlay| overlay.truncated)
    }

    /// What this transaction did to a row; rows it inserted are `Put`.
    pub fn change(&self, table: TableId, row: RowId) -> Result<Option<RowChange>> {
        let Some(overlay) = self.tables.get(&table) else { return Ok(None) };
        if row >= FIRST_PROVISIONAL_ROW {
            return Ok(Some(match overlay.inserted.get((row - FIRST_PROVISIONAL_ROW) as usize)? {
                Some(values) => RowChange::Put { values, moved: true },
                None => RowChange::Deleted,
            }));
        }
        Ok(overlay.changed.get(&row).cloned())
    }

    /// Whether this transaction changed or deleted a row that was committed before it.
    pub fn is_changed(&self, table: TableId, row: RowId) -> bool {
        self.tables.get(&table).is_some_and(|overlay| overlay.changed.contains_key(&row))
    }

    /// Changes to committed rows of a table, by id.
    pub fn changed(&self, table: TableId) -> impl Iterator<Item = (RowId, &RowChange)> {
        self.tables
            .get(&table)
            .into_iter()
            .flat_map(|overlay| overlay.changed.iter().map(|(&row, change)| (row, change)))
    }

    /// Rows inserted into a table and still there, by provisional id.
    pub fn inserted(&self, table: TableId) -> OwnRows<&Self> {
        OwnRows::new(self, table)
    }

    /// How many rows inserted into a table are still there.
    pub fn inserted_count(&self, table: TableId) -> usize {
        self.tables.get(&table).map_or(0, |overlay| overlay.inserted.count())
    }

    /// The rows inserted into a table as they lie.
    pub fn inserted_runs(&self, table: TableId) -> &[Run] {
        self.tables.get(&table).map_or(&[], |overlay| overlay.inserted.runs())
    }

    /// What this transaction knows of a unique key: the row it gave it to, or that nobody has it.
    pub fn unique(&self, index: IndexId, key: &[u8]) -> Option<Option<RowId>> {
        if self.keys.is_empty() { None } else { self.keys.get(&(index, key.to_vec())).copied() }
    }

    /// Whether a committed entry is no longer true in this transaction.
    pub fn hides_entry(&self, index: IndexId, key: &[u8], row: RowId) -> bool {
        (!self.entries.is_empty() && self.entries.get(&(index, key.to_vec(), row)) == Some(&false))
            || self.unique(index, key).is_some()
    }

    /// The entries and unique keys this transaction added to an index, within a range.
    pub fn entries(&self, index: IndexId, lower: Bound<Vec<u8>>, upper: Bound<Vec<u8>>) -> Vec<(Vec<u8>, RowId)> {
        let within = |key: &Vec<u8>| {
            (match &lower {
                Bound::Included(bound) => key >= bound,
                Bound::Excluded(bound) => key > bound,
                Bound::Unbounded => true,
            }) && (match &upper {
                Bound::Included(bound) => key <= bound,
                Bound::Excluded(bound) => key < bound,
                Bound::Unbounded => true,
            })
        };
        let from = match &lower {
            Bound::Included(bound) | Bound::Excluded(bound) => bound.clone(),
            Bound::Unbounded => Vec::new(),
        };
        let unique = self
            .keys
            .range((index, from.clone())..)
            .take_while(|((of, _), _)| *of == index)
            .filter_map(|((_, key), row)| row.map(|row| (key.clone(), row)));
        let plain = self
            .entries
            .range((index, from, 0)..)
            .take_while(|((of, _, _), _)| *of == index)
            .filter(|(_, present)| **present)
            .map(|((_, key, row), _)| (key.clone(), *row));
        unique.chain(plain).filter(|(key, _)| within(key)).collect()
    }
}

#[cfg(test)]
mod tests;
