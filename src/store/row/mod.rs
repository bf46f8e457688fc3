//! How a row lies in its bytes: every column says its own type, and any column is reached without reading the others.
//!
//! | part | bytes |
//! | --- | --- |
//! | format | 1, the number 1 |
//! | version | 8: the LSN of the commit that wrote the row |
//! | columns | 2: how many |
//! | tags | 1 a column: what it holds ([`tag`]), NULL and the booleans being wholly told by it |
//! | slots | for each column as many as its tag says: the value, or where its bytes end among the long values |
//! | long values | texts and the like, one after another |
//!
//! Numbers are little-endian. Rows with the same tags have their slots at the same places, so a scan works those out
//! once ([`Layout`]) and then goes straight to the columns it wants ([`RowView`]).

mod array;
mod encode;
pub mod tag;
#[cfg(test)]
mod tests;
mod value;
mod view;

pub use encode::encode;
pub use value::ValueRef;
pub use view::{Layout, RowView};

use super::{Result, StoreError, StoredRow};

/// The number every row starts with.
pub const FORMAT: u8 = 1;
/// What lies before the tags.
pub(super) const HEADER_LEN: usize = 1 + 8 + 2;

/// The row in these bytes.
pub fn decode(bytes: &[u8]) -> Result<StoredRow> {
    RowView::new(bytes, &mut Layout::default())?.to_row()
}

/// Gives the row in these bytes, which [`encode`] wrote, another version.
pub fn set_version(bytes: &mut [u8], version: u64) {
    bytes[1..9].copy_from_slice(&version.to_le_bytes());
}

/// The version of the row in these bytes.
pub fn version(bytes: &[u8]) -> Result<u64> {
    match bytes.split_first_chunk::<HEADER_LEN>() {
        Some(([FORMAT, version @ .., _, _], _)) => Ok(u64::from_le_bytes(*version)),
        _ => Err(StoreError::damaged("a row has no version")),
    }
}

/// A view of the row in these bytes. Rows read one after another should share a `layout`.
pub fn view<'a>(bytes: &'a [u8], layout: &'a mut Layout) -> Result<RowView<'a>> {
    RowView::new(bytes, layout)
}
