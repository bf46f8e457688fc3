//! Walking the rows of a table and the keys of an index. Scans own their snapshot, so they can move into a stream.

use std::ops::{Bound, RangeBounds};

use super::address::{self, Family};
use super::primitive::{PinnedIterator, Walk};
use super::row::{Layout, RowView};
use super::{IndexId, Result, RowId, Snapshot, StoreError, StoredRow, TableId};

/// What a scan reads ahead once it has shown to be a long one.
const READAHEAD_BYTES: usize = 1 << 20;
/// A range of fewer row ids is not worth reading ahead for.
const LONG_SCAN_ROWS: u64 = 16 << 10;

/// The rows of a table, undecoded.
pub struct RowCursor {
    iterator: PinnedIterator,
    /// Where the columns of the last row lay; rows mostly look alike.
    layout: Layout,
    started: bool,
}

impl RowCursor {
    pub(super) fn open(snapshot: &Snapshot, table: TableId, range: impl RangeBounds<RowId>) -> Result<Self> {
        // From the first id to the last, both included; nothing at all where an exclusive bound leaves none.
        let first = match range.start_bound() {
            Bound::Included(&id) => Some(id),
            Bound::Excluded(&id) => id.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let last = match range.end_bound() {
            Bound::Included(&id) => Some(id),
            Bound::Excluded(&id) => id.checked_sub(1),
            Bound::Unbounded => Some(RowId::MAX),
        };
        let (first, last) = match (first, last) {
            (Some(first), Some(last)) => (first, last),
            _ => (1, 0),
        };
        let to = match last.checked_add(1) {
            _ if last < first => address::row_key(table, first).to_vec(),
            Some(end) => address::row_key(table, end).to_vec(),
            None => address::prefix_end(table),
        };
        let is_long = last.saturating_sub(first) >= LONG_SCAN_ROWS;
        let walk = Walk {
            from: address::row_key(table, first).to_vec(),
            to: Some(to),
            readahead_bytes: if is_long { READAHEAD_BYTES } else { 0 },
            ..Walk::default()
        };
        let iterator = snapshot.iterator(Family::Rows, walk)?;
        Ok(Self { iterator, layout: Layout::default(), started: false })
    }

    /// Goes on to the next row: its id, and a view of its columns that lasts until the call after.
    pub fn advance(&mut self) -> Result<Option<(RowId, RowView<'_>)>> {
        if self.started {
            self.iterator.next();
        } else {
            self.iterator.seek_to_first();
            self.started = true;
        }
        match self.iterator.item() {
            Some((key, value)) => {
                let id = address::row_of_key(key)?;
                Ok(Some((id, RowView::new(value, &mut self.layout)?)))
            }
            None => {
                self.iterator.status()?;
                Ok(None)
            }
        }
    }
}

/// The rows of a table, decoded. Ends after the first error.
pub struct RowScan {
    /// The rows to come; an error to be given first; nothing after the end.
    cursor: Option<Result<RowCursor>>,
}

impl RowScan {
    pub(super) fn new(cursor: Result<RowCursor>) -> Self {
        Self { cursor: Some(cursor) }
    }

    fn advance(&mut self) -> Result<Option<(RowId, StoredRow)>> {
        let cursor = match &mut self.cursor {
            Some(Ok(cursor)) => cursor,
            Some(Err(error)) => return Err(error.clone()),
            None => return Ok(None),
        };
        let Some((id, view)) = cursor.advance()? else { return Ok(None) };
        Ok(Some((id, view.to_row()?)))
    }
}

impl Iterator for RowScan {
    type Item = Result<(RowId, StoredRow)>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.cursor = None;
        }
        item
    }
}

/// The keys of an index with their rows. Ends after the first error.
///
/// A unique index keeps most keys in one family and those with a NULL in another; this merges the two.
pub struct IndexScan {
    /// The part in `keys` and the part in `entries`, each while it lasts.
    halves: [Option<Half>; 2],
    reverse: bool,
    /// To be given first.
    error: Option<StoreError>,
}

/// One family's part of an index scan, standing at an entry it has not given yet.
pub(super) struct Half {
    iterator: PinnedIterator,
    family: Family,
}

impl Half {
    /// The key and the row id where it stands.
    fn item(&self) -> Result<Option<(&[u8], RowId)>> {
        let Some((key, value)) = self.iterator.item() else {
            self.iterator.status()?;
            return Ok(None);
        };
        let damaged = || StoreError::damaged("an index key is too short");
        let key = key.get(4..).ok_or_else(damaged)?;
        match self.family {
            Family::Keys => Ok(Some((key, address::row_of_value(value)?))),
            _ => {
                let (key, row) = key.split_last_chunk().ok_or_else(damaged)?;
                Ok(Some((key, RowId::from_be_bytes(*row))))
            }
        }
    }

    fn step(&mut self, reverse: bool) {
        if reverse {
            self.iterator.prev();
        } else {
            self.iterator.next();
        }
    }
}

impl IndexScan {
    pub(super) fn new(halves: Result<[Option<Half>; 2]>, reverse: bool) -> Self {
        match halves {
            Ok(halves) => Self { halves, reverse, error: None },
            Err(error) => Self { halves: [None, None], reverse, error: Some(error) },
        }
    }

    pub(super) fn open(
        snapshot: &Snapshot,
        index: IndexId,
        lower: Bound<Vec<u8>>,
        upper: Bound<Vec<u8>>,
        reverse: bool,
    ) -> Result<[Option<Half>; 2]> {
        let half = |family| -> Result<Option<Half>> {
            let from = match &lower {
                Bound::Included(key) => placed(index, key, &[]),
                Bound::Excluded(key) => placed(index, key, behind(family)),
                Bound::Unbounded => address::prefix(index).to_vec(),
            };
            let to = match &upper {
                Bound::Included(key) => placed(index, key, behind(family)),
                Bound::Excluded(key) => placed(index, key, &[]),
                Bound::Unbounded => address::prefix_end(index),
            };
            if from >= to {
                return Ok(None);
            }
            let mut iterator = snapshot.iterator(family, Walk { from, to: Some(to), ..Walk::default() })?;
            if reverse {
                iterator.seek_to_last();
            } else {
                iterator.seek_to_first();
            }
            iterator.status()?;
            Ok(iterator.item().is_some().then_some(Half { iterator, family }))
        };
        Ok([half(Family::Keys)?, half(Family::Entries)?])
    }

    fn advance(&mut self) -> Result<Option<(Vec<u8>, RowId)>> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let [keys, entries] = &mut self.halves;
        let key = keys.as_ref().map(Half::item).transpose()?.flatten();
        let entry = entries.as_ref().map(Half::item).transpose()?.flatten();
        let from_keys = match (key, entry) {
            (Some(key), Some(entry)) => (key < entry) != self.reverse,
            (key, _) => key.is_some(),
        };
        let found = if from_keys { key } else { entry }.map(|(key, row)| (key.to_vec(), row));
        if let Some(half) = if from_keys { keys } else { entries } {
            half.step(self.reverse);
        }
        Ok(found)
    }
}

impl Iterator for IndexScan {
    type Item = Result<(Vec<u8>, RowId)>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.halves = [None, None];
        }
        item
    }
}

/// What follows a whole key so that it sorts just behind all its rows.
fn behind(family: Family) -> &'static [u8] {
    match family {
        Family::Keys => &[0],
        _ => &[0xff; 9],
    }
}

fn placed(index: IndexId, key: &[u8], tail: &[u8]) -> Vec<u8> {
    [&address::prefix(index), key, tail].concat()
}
