//! One state of the store, for as long as anyone reads it.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use rocksdb::ReadOptions;

use super::address::{self, Family};
use super::fence::{PinnedIterator, PinnedSnapshot};
use super::{IndexId, IndexScan, Result, RowCursor, RowId, RowScan, StoredRow, TableId, row};

/// How many rows one call of RocksDB is asked for; each answer pins a block until it is decoded.
const MULTI_GET_ROWS: usize = 512;

/// A state of the store. Cheap to take and to clone; while one lives, what it sees is not compacted away.
#[derive(Clone)]
pub struct Snapshot {
    pinned: Arc<PinnedSnapshot>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence()).finish()
    }
}

impl Snapshot {
    pub(super) fn new(pinned: PinnedSnapshot) -> Self {
        Self { pinned: Arc::new(pinned) }
    }

    pub(super) fn iterator(&self, family: Family, options: ReadOptions) -> Result<PinnedIterator> {
        PinnedIterator::new(self.pinned.clone(), family, options)
    }

    /// RocksDB's sequence number: larger for a later state.
    pub fn sequence(&self) -> u64 {
        self.pinned.sequence()
    }

    /// One row.
    pub fn row(&self, table: TableId, id: RowId) -> Result<Option<StoredRow>> {
        self.row_with(table, id, row::decode)?.transpose()
    }

    /// One row's bytes, handed to `read` where they lie; [`row::view`] reads single columns out of them.
    pub fn row_with<T>(&self, table: TableId, id: RowId, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let value = self.get(Family::Rows, &address::row_key(table, id))?;
        Ok(value.map(|bytes| read(&bytes)))
    }

    /// The version of one row: the LSN of the commit that wrote it.
    pub fn version(&self, table: TableId, id: RowId) -> Result<Option<u64>> {
        self.row_with(table, id, row::version)?.transpose()
    }

    /// Many rows, in the order asked for. Quickest when the ids ascend.
    pub fn rows(&self, table: TableId, ids: &[RowId]) -> Result<Vec<Option<StoredRow>>> {
        let mut rows = Vec::with_capacity(ids.len());
        self.rows_with(table, ids, |_, bytes| {
            rows.push(bytes.map(row::decode).transpose()?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Many rows' bytes, each handed to `read` with its place in `ids`, in order; `None` where there is no such row.
    pub fn rows_with(
        &self,
        table: TableId,
        ids: &[RowId],
        mut read: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let database = self.pinned.database();
        let family = database.family(Family::Rows)?;
        for (chunk_index, chunk) in ids.chunks(MULTI_GET_ROWS).enumerate() {
            let keys: Vec<_> = chunk.iter().map(|&id| address::row_key(table, id)).collect();
            let options = self.pinned.read_options();
            let values = database.db.batched_multi_get_cf_opt(family, &keys, chunk.is_sorted(), options);
            for (index, value) in values.into_iter().enumerate() {
                read(chunk_index * MULTI_GET_ROWS + index, value?.as_deref())?;
            }
        }
        Ok(())
    }

    /// The rows of a table with ids in a range, ascending.
    pub fn scan_rows(&self, table: TableId, range: impl RangeBounds<RowId>) -> RowScan {
        RowScan::new(self.cursor(table, range))
    }

    /// The same rows without decoding them: the caller takes the columns it wants out of each.
    pub fn cursor(&self, table: TableId, range: impl RangeBounds<RowId>) -> Result<RowCursor> {
        RowCursor::open(self, table, range)
    }

    /// The row with a key of a unique index.
    pub fn unique(&self, index: IndexId, key: &[u8]) -> Result<Option<RowId>> {
        let key = [&address::prefix(index), key].concat();
        self.get(Family::Keys, &key)?.map(|value| address::row_of_value(&value)).transpose()
    }

    /// The keys of an index, unique or not, from one bound to the other; equal keys by row id.
    ///
    /// Bounds are those that [`super::key::key_range`] and [`super::key::prefix_range`] make, or whole keys.
    pub fn scan_index(&self, index: IndexId, lower: Bound<Vec<u8>>, upper: Bound<Vec<u8>>, reverse: bool) -> IndexScan {
        IndexScan::new(IndexScan::open(self, index, lower, upper, reverse), reverse)
    }

    /// Whether a table has any row.
    pub fn has_rows(&self, table: TableId) -> Result<bool> {
        Ok(self.cursor(table, ..)?.advance()?.is_some())
    }

    /// The largest row id in a table.
    pub fn last_row(&self, table: TableId) -> Result<Option<RowId>> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(address::prefix(table).to_vec()..address::prefix_end(table));
        let mut iterator = self.iterator(Family::Rows, options)?;
        iterator.raw.seek_to_last();
        iterator.raw.status()?;
        iterator.raw.key().map(address::row_of_key).transpose()
    }

    /// What is kept under a name.
    pub fn meta(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(Family::Meta, &address::meta_key(name))?.map(|value| value.to_vec()))
    }

    /// Every name that starts so, with its value, in order.
    pub fn metas(&self, start: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let from = address::meta_key(start);
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(from.as_slice()));
        let mut iterator = self.iterator(Family::Meta, options)?;
        iterator.raw.seek_to_first();
        let mut found = Vec::new();
        while let Some((key, value)) = iterator.raw.item() {
            found.push((key[1..].to_vec(), value.to_vec()));
            iterator.raw.next();
        }
        iterator.raw.status()?;
        Ok(found)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<rocksdb::DBPinnableSlice<'_>>> {
        let database = self.pinned.database();
        Ok(database.db.get_pinned_cf_opt(database.family(family)?, key, self.pinned.read_options())?)
    }
}
