//! Where things lie: the column families and the keys inside them.
//!
//! | family | key | value |
//! | --- | --- | --- |
//! | `rows` | table, row | the row ([`super::row`]) |
//! | `keys` | index, key | row |
//! | `entries` | index, key, row | nothing |
//! | `meta` | 0, name | what the store knows about itself: `applied_lsn` |
//! | `meta` | 1, name | what others keep here, the catalog above all |
//!
//! Numbers are big-endian, so bytes sort as numbers do; a key is what [`super::key::encode_key`] makes. A key marks its
//! own end, so the row id behind it cannot be mistaken for more of it.

use super::{Result, RowId, StoreError, TableId};

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rows,
    Keys,
    Entries,
    Meta,
}

impl Family {
    pub(super) const ALL: [Family; 4] = [Family::Rows, Family::Keys, Family::Entries, Family::Meta];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Keys => "keys",
            Self::Entries => "entries",
            Self::Meta => "meta",
        }
    }
}

/// Where `meta` keeps the LSN that the store has been brought to.
pub(super) const APPLIED_LSN: &[u8] = b"\0applied_lsn";

/// The first byte of the names that others keep in `meta`.
pub(super) const META_OTHERS: u8 = 1;

/// The length of a key in `rows`.
pub(super) const ROW_KEY_LEN: usize = 12;

pub(super) fn row_key(table: TableId, row: RowId) -> [u8; ROW_KEY_LEN] {
    let mut key = [0; ROW_KEY_LEN];
    key[..4].copy_from_slice(&table.to_be_bytes());
    key[4..].copy_from_slice(&row.to_be_bytes());
    key
}

/// The row id at the end of a key in `rows`.
pub(super) fn row_of_key(key: &[u8]) -> Result<RowId> {
    let tail = (key.len() == ROW_KEY_LEN).then(|| key.last_chunk()).flatten();
    tail.map(|bytes| RowId::from_be_bytes(*bytes)).ok_or_else(|| StoreError::damaged("a row's key has a wrong length"))
}

/// The row id that is a value in `keys`.
pub(super) fn row_of_value(value: &[u8]) -> Result<RowId> {
    let bytes = value.try_into().map_err(|_| StoreError::damaged("a unique key's row id has a wrong length"))?;
    Ok(RowId::from_be_bytes(bytes))
}

/// The start of every key of a table or an index.
pub(super) fn prefix(id: u32) -> [u8; 4] {
    id.to_be_bytes()
}

/// The first key after every key of a table or an index.
pub(super) fn prefix_end(id: u32) -> Vec<u8> {
    match id.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        // No key starts with as many: the byte after the id is a column's marker, which is small.
        None => vec![0xff; 4 + 1 + 8],
    }
}

/// The first key after every key that starts so; `None` if there is no such key.
pub(super) fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let (at, last) = prefix.iter().enumerate().rev().find(|(_, byte)| **byte < 0xff)?;
    Some([&prefix[..at], &[last + 1]].concat())
}

pub(super) fn meta_key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(META_OTHERS);
    key.extend_from_slice(name);
    key
}
