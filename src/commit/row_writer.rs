//! What a commit does to RocksDB: rows and the keys of indexes, gathered into one batch.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use lodedb_sql::Datum;

use super::apply::ApplyError;
use super::staging::without_vectors;
use super::{Row, RowId};
use crate::catalog::{Catalog, Index, IndexId, Table, TableId};
use crate::fault::{Fault, planted};
use crate::segment::StagedRows;
use crate::store::{Batch, Store, key, row};

/// How large a batch of staged rows for the store may grow; little in tests, so that several are common.
const PART_BYTES: usize = if cfg!(test) { 1 << 10 } else { 4 << 20 };

/// Collects the RocksDB side of one commit.
pub(super) struct RowWriter<'a> {
    lsn: u64,
    store: &'a Store,
    /// Removals of keys go before all additions, so that two rows may trade keys in one commit.
    batch: Batch,
    additions: Vec<Addition>,
    /// Keys of rows committed before, for an index this commit makes.
    filled: BTreeSet<(IndexId, RowId, IndexKey)>,
    /// Rows this very commit wrote, which the store does not show yet.
    written: BTreeMap<(TableId, RowId), Option<Row>>,
    dropped: HashSet<TableId>,
}

enum Addition {
    Unique(IndexId, Vec<u8>, RowId),
    Entry(IndexId, Vec<u8>, RowId),
}

impl Addition {
    fn put(self, batch: &mut Batch) {
        match self {
            Self::Unique(index, key, row) => batch.put_unique(index, &key, row),
            Self::Entry(index, key, row) => batch.put_entry(index, &key, row),
        }
    }
}

impl<'a> RowWriter<'a> {
    pub(super) fn new(lsn: u64, store: &'a Store) -> Self {
        Self {
            lsn,
            store,
            batch: Batch::new(),
            additions: Vec::new(),
            filled: BTreeSet::new(),
            written: BTreeMap::new(),
            dropped: HashSet::new(),
        }
    }

    pub(super) fn indexes(catalog: &Catalog, table: TableId) -> Vec<Arc<Index>> {
        catalog.btree_indexes_of(table).cloned().collect()
    }

    fn put(&mut self, table: &Table, row: RowId, values: &Row) {
        self.batch.put_row_values(table.id, row, self.lsn, without_vectors(values));
    }

    pub(super) fn insert(&mut self, table: &Table, indexes: &[Arc<Index>], row: RowId, values: &Row) {
        self.put(table, row, values);
        self.add_keys(indexes, row, values);
    }

    /// Feeds staged rows to the store, in batches: the LSN goes with the last one.
    ///
    /// CRASH: after a part of them the commit is applied again as a whole; it puts the same rows and keys once more.
    pub(super) fn insert_staged(
        &mut self,
        table: &Table,
        indexes: &[Arc<Index>],
        first: RowId,
        count: u32,
        rows: &StagedRows,
        replaced: &[(u32, Option<Row>)],
    ) -> Result<(), ApplyError> {
        // ORDER: what the commit did before, a TRUNCATE above all.
        self.write_part()?;
        let mut replaced = replaced.iter().peekable();
        let mut next = 0;
        for at in 0..count {
            let (encoded, after) = rows.at(next)?;
            next = after;
            let id = first + RowId::from(at);
            match replaced.next_if(|(of, _)| *of == at) {
                Some((_, None)) => {}
                Some((_, Some(values))) => self.insert(table, indexes, id, values),
                None => {
                    self.batch.put_encoded_row(table.id, id, self.lsn, encoded);
                    if !indexes.is_empty() {
                        self.add_keys(indexes, id, &row::decode(encoded)?.values);
                    }
                }
            }
            if self.batch.size_bytes() > PART_BYTES {
                self.write_part()?;
            }
        }
        self.write_part()
    }

    /// Writes what was gathered so far. The store stays at the commit before.
    fn write_part(&mut self) -> Result<(), ApplyError> {
        if self.batch.is_empty() && self.additions.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        for addition in self.additions.drain(..) {
            addition.put(&mut batch);
        }
        self.store.write(batch, self.store.applied_lsn()?)?;
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        table: &Table,
        indexes: &[Arc<Index>],
        row: RowId,
        values: &Row,
    ) -> Result<(), ApplyError> {
        if !indexes.is_empty()
            && let Some(old) = self.old(table, row)?
        {
            self.remove_keys(indexes, row, &old);
        }
        self.insert(table, indexes, row, values);
        self.written.insert((table.id, row), Some(values.clone()));
        Ok(())
    }

    pub(super) fn delete(&mut self, table: &Table, indexes: &[Arc<Index>], row: RowId) -> Result<(), ApplyError> {
        if !indexes.is_empty()
            && let Some(old) = self.old(table, row)?
        {
            self.remove_keys(indexes, row, &old);
        }
        self.batch.delete_row(table.id, row);
        self.written.insert((table.id, row), None);
        Ok(())
    }

    fn old(&self, table: &Table, row: RowId) -> Result<Option<Row>, ApplyError> {
        if let Some(written) = self.written.get(&(table.id, row)) {
            return Ok(written.clone());
        }
        if self.dropped.contains(&table.id) {
            return Ok(None);
        }
        Ok(self.store.row(table.id, row)?.map(|stored| stored.values.into()))
    }

    fn add_keys(&mut self, indexes: &[Arc<Index>], row: RowId, values: &[Datum]) {
        for index in indexes {
            let Some(encoded) = index_key(index, values) else { continue };
            self.additions.push(match encoded {
                IndexKey::Unique(key) => Addition::Unique(index.id, key, row),
                IndexKey::Entry(key) => Addition::Entry(index.id, key, row),
            });
        }
    }

    fn remove_keys(&mut self, indexes: &[Arc<Index>], row: RowId, values: &Row) {
        for index in indexes {
            let Some(encoded) = index_key(index, values) else { continue };
            match &encoded {
                IndexKey::Unique(_) if planted(Fault::KeyNotRemoved) => {}
                IndexKey::Entry(_) if planted(Fault::EntryNotRemoved) => {}
                IndexKey::Unique(key) => self.batch.delete_unique(index.id, key),
                IndexKey::Entry(key) => self.batch.delete_entry(index.id, key, row),
            }
            if !self.filled.is_empty() {
                self.filled.remove(&(index.id, row, encoded));
            }
        }
    }

    pub(super) fn drop_index(&mut self, index: IndexId) {
        self.batch.drop_index(index);
    }

    pub(super) fn drop_rows(&mut self, table: &Table, indexes: &[Arc<Index>]) {
        self.batch.drop_table(table.id);
        for index in indexes.iter().filter(|_| !planted(Fault::KeysSurviveTruncate)) {
            self.batch.drop_index(index.id);
        }
        self.dropped.insert(table.id);
        self.written.retain(|(of, _), _| *of != table.id);
        let dropped: HashSet<IndexId> = indexes.iter().map(|index| index.id).collect();
        self.additions.retain(|addition| match addition {
            Addition::Unique(index, ..) | Addition::Entry(index, ..) => !dropped.contains(index),
        });
    }

    /// Enters every row committed before into a new index. Rows of this commit follow as its own operations.
    pub(super) fn fill_index(&mut self, table: &Table, index: &Index) -> Result<(), ApplyError> {
        if self.dropped.contains(&table.id) {
            return Ok(());
        }
        for item in self.store.snapshot().scan_rows(table.id, ..) {
            let (row, stored) = item?;
            if self.written.contains_key(&(table.id, row)) {
                continue;
            }
            if let Some(encoded) = index_key(index, &stored.values) {
                self.filled.insert((index.id, row, encoded));
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Batch {
        for (index, row, encoded) in self.filled {
            match encoded {
                IndexKey::Unique(key) => self.batch.put_unique(index, &key, row),
                IndexKey::Entry(key) => self.batch.put_entry(index, &key, row),
            }
        }
        for addition in self.additions {
            addition.put(&mut self.batch);
        }
        self.batch
    }
}

/// A row's key in an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexKey {
    /// In a unique index, all columns not NULL: no other row may have it.
    Unique(Vec<u8>),
    /// Anything else: many rows may share it.
    Entry(Vec<u8>),
}

/// The key of a row in a btree index; `None` for a vector index.
///
/// A row with a NULL among its key columns is in a unique index as an entry: NULLs are distinct.
pub fn index_key(index: &Index, values: &[Datum]) -> Option<IndexKey> {
    let positions = index.key_positions()?;
    let datums: smallvec::SmallVec<[Datum; 4]> =
        positions.map(|position| values.get(position).cloned().unwrap_or(Datum::Null)).collect();
    let mut encoded = Vec::with_capacity(16);
    key::encode_key(&datums, &mut encoded);
    let unique = index.is_unique() && !datums.iter().any(Datum::is_null);
    Some(if unique { IndexKey::Unique(encoded) } else { IndexKey::Entry(encoded) })
}
