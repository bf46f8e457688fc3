//! One state of the store, for as long as anyone reads it.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::address::{self, Family};
use super::primitive::{PinnedIterator, PinnedSnapshot, Walk};
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

    pub(super) fn iterator(&self, family: Family, walk: Walk) -> Result<PinnedIterator> {
        PinnedIterator::new(self.pinned.clone(), family, walk)
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
        self.pinned.get(Family::Rows, &address::row_key(table, id), read)
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
        for (chunk_index, chunk) in ids.chunks(MULTI_GET_ROWS).enumerate() {
            let keys: Vec<_> = chunk.iter().map(|&id| address::row_key(table, id)).collect();
            self.pinned.multi_get(Family::Rows, &keys, chunk.is_sorted(), |index, bytes| {
                read(chunk_index * MULTI_GET_ROWS + index, bytes)
            })?;
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
        self.pinned.get(Family::Keys, &key, address::row_of_value)?.transpose()
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
        let (from, to) = (address::prefix(table).to_vec(), Some(address::prefix_end(table)));
        let mut iterator = self.iterator(Family::Rows, Walk { from, to, ..Walk::default() })?;
        iterator.seek_to_last();
        iterator.status()?;
        iterator.item().map(|(key, _)| address::row_of_key(key)).transpose()
    }

    /// What is kept under a name.
    pub fn meta(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.pinned.get(Family::Meta, &address::meta_key(name), <[u8]>::to_vec)
    }

    /// Every name that starts so, with its value, in order.
    pub fn metas(&self, start: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let from = address::meta_key(start);
        let to = address::behind_prefix(&from);
        let mut iterator = self.iterator(Family::Meta, Walk { from, to, ..Walk::default() })?;
        iterator.seek_to_first();
        let mut found = Vec::new();
        while let Some((key, value)) = iterator.item() {
            found.push((key[1..].to_vec(), value.to_vec()));
            iterator.next();
        }
        iterator.status()?;
        Ok(found)
    }
}
