//! A row in its bytes, and where its columns lie.

use lodedb_sql::Datum;

use super::super::{Result, StoreError, StoredRow};
use super::tag::{self, Form, LONG_SLOT};
use super::{FORMAT, HEADER_LEN, ValueRef, value};

/// Where the columns of a row with certain tags lie. Kept from row to row: it is worked out again only when the tags
/// differ from those of the row before.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    tags: Vec<u8>,
    places: Vec<Place>,
    slots_len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the column's slot begins, from the first slot on.
    slot: usize,
    /// The slot's length.
    len: usize,
    /// For a long value: the slot of the long value before it, or [`NONE`].
    before: usize,
    long: bool,
}

const NONE: usize = usize::MAX;

impl Layout {
    fn follow(&mut self, tags: &[u8]) -> Result<()> {
        if self.tags == tags {
            return Ok(());
        }
        if let Some(tag) = tags.iter().find(|&&tag| tag::form(tag).is_none()) {
            return Err(StoreError::damaged(format!("a row has a column of unknown kind {tag}")));
        }
        self.tags.clear();
        self.places.clear();
        let mut slot = 0;
        let mut before = NONE;
        for form in tags.iter().filter_map(|&tag| tag::form(tag)) {
            let place = match form {
                Form::Slot(len) => Place { slot, len, before: NONE, long: false },
                Form::Long => Place { slot, len: LONG_SLOT, before: std::mem::replace(&mut before, slot), long: true },
            };
            slot += place.len;
            self.places.push(place);
        }
        self.slots_len = slot;
        self.tags.extend_from_slice(tags);
        Ok(())
    }
}

/// A row in its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    version: u64,
    slots: &'a [u8],
    long: &'a [u8],
    layout: &'a Layout,
}

impl<'a> RowView<'a> {
    pub(in super::super) fn new(bytes: &'a [u8], layout: &'a mut Layout) -> Result<Self> {
        let cut = || StoreError::damaged("a row is cut short");
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or_else(cut)?;
        let [format, version @ .., count_low, count_high] = *header;
        if format != FORMAT {
            return Err(StoreError::damaged(format!("a row has the unknown format {format}")));
        }
        let count = usize::from(u16::from_le_bytes([count_low, count_high]));
        let (tags, rest) = rest.split_at_checked(count).ok_or_else(cut)?;
        layout.follow(tags)?;
        let (slots, long) = rest.split_at_checked(layout.slots_len).ok_or_else(cut)?;
        Ok(Self { version: u64::from_le_bytes(version), slots, long, layout })
    }

    /// The LSN of the commit that wrote the row.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many columns are stored; the table may have got more since.
    pub fn len(&self) -> usize {
        self.layout.places.len()
    }

    /// Whether no column is stored.
    pub fn is_empty(&self) -> bool {
        self.layout.places.is_empty()
    }

    /// What the column holds ([`tag`]); `None` where it is not stored.
    pub fn tag(&self, column: usize) -> Option<u8> {
        self.layout.tags.get(column).copied()
    }

    /// One column; `None` where the row is older than it.
    #[inline]
    pub fn column(&self, column: usize) -> Result<Option<ValueRef<'a>>> {
        let Some(place) = self.layout.places.get(column) else { return Ok(None) };
        let cut = || StoreError::damaged("a row's value is cut short");
        let slot = self.slots.get(place.slot..place.slot + place.len).ok_or_else(cut)?;
        let bytes = if place.long {
            let start = if place.before == NONE { 0 } else { self.long_end(place.before)? };
            self.long.get(start..self.long_end(place.slot)?).ok_or_else(cut)?
        } else {
            slot
        };
        value::decode(self.layout.tags[column], bytes, 0).map(Some)
    }

    /// All that is stored.
    pub fn to_row(&self) -> Result<StoredRow> {
        let mut values = Vec::with_capacity(self.len());
        for column in 0..self.len() {
            values.push(self.column(column)?.map_or(Datum::Null, ValueRef::into_datum));
        }
        Ok(StoredRow { version: self.version, values })
    }

    /// Where the long value with this slot ends.
    fn long_end(&self, slot: usize) -> Result<usize> {
        let cut = || StoreError::damaged("a row's value is cut short");
        let end = self.slots.get(slot..slot + LONG_SLOT).ok_or_else(cut)?;
        Ok(u32::from_le_bytes(value::exactly(end)?) as usize)
    }
}
