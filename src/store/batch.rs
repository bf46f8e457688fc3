//! The changes of one commit, gathered before they are written as one.

use super::address::{self, Family};
use super::{IndexId, RowId, StoredRow, TableId, row};

/// Changes that are applied together or not at all. Later ones win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Keys and values one after another, as [`Operation`] says.
    bytes: Vec<u8>,
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    family: Family,
    key_len: usize,
    value_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Put,
    Delete,
    /// From the key up to, not including, the value.
    DeleteRange,
}

/// One change, as the database is told.
pub(super) enum Change<'a> {
    Put(Family, &'a [u8], &'a [u8]),
    Delete(Family, &'a [u8]),
    DeleteRange(Family, &'a [u8], &'a [u8]),
}

impl Batch {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a row, new or in place of the one with its id.
    pub fn put_row(&mut self, table: TableId, id: RowId, stored: &StoredRow) {
        self.put_row_values(table, id, stored.version, stored.values.iter());
    }

    /// [`Batch::put_row`] for values that are not in a [`StoredRow`].
    pub fn put_row_values<'a>(
        &mut self,
        table: TableId,
        id: RowId,
        version: u64,
        values: impl ExactSizeIterator<Item = &'a lodedb_sql::Datum> + Clone,
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&address::row_key(table, id));
        row::encode(version, values, &mut self.bytes);
        self.close(Action::Put, Family::Rows, start, start + address::ROW_KEY_LEN);
    }

    /// [`Batch::put_row`] for a row that [`row::encode`] wrote; its version becomes this one.
    pub fn put_encoded_row(&mut self, table: TableId, id: RowId, version: u64, encoded: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&address::row_key(table, id));
        self.bytes.extend_from_slice(encoded);
        row::set_version(&mut self.bytes[start + address::ROW_KEY_LEN..], version);
        self.close(Action::Put, Family::Rows, start, start + address::ROW_KEY_LEN);
    }

    /// Deletes a row; nothing happens if there is none.
    pub fn delete_row(&mut self, table: TableId, id: RowId) {
        self.push(Action::Delete, Family::Rows, &[&address::row_key(table, id)], &[]);
    }

    /// Says which row has this key of a unique index.
    pub fn put_unique(&mut self, index: IndexId, key: &[u8], row: RowId) {
        self.push(Action::Put, Family::Keys, &[&address::prefix(index), key], &row.to_be_bytes());
    }

    /// Takes a key out of a unique index.
    pub fn delete_unique(&mut self, index: IndexId, key: &[u8]) {
        self.push(Action::Delete, Family::Keys, &[&address::prefix(index), key], &[]);
    }

    /// Adds a row under a key that other rows may have too. (Keys of a unique index that hold a NULL belong here.)
    pub fn put_entry(&mut self, index: IndexId, key: &[u8], row: RowId) {
        self.push(Action::Put, Family::Entries, &[&address::prefix(index), key, &row.to_be_bytes()], &[]);
    }

    /// Takes one row away from under a key.
    pub fn delete_entry(&mut self, index: IndexId, key: &[u8], row: RowId) {
        self.push(Action::Delete, Family::Entries, &[&address::prefix(index), key, &row.to_be_bytes()], &[]);
    }

    /// Deletes every row of a table, at a cost that does not depend on how many there are.
    pub fn drop_table(&mut self, table: TableId) {
        self.push(Action::DeleteRange, Family::Rows, &[&address::prefix(table)], &address::prefix_end(table));
    }

    /// Deletes everything in an index, unique or not.
    pub fn drop_index(&mut self, index: IndexId) {
        for family in [Family::Keys, Family::Entries] {
            self.push(Action::DeleteRange, family, &[&address::prefix(index)], &address::prefix_end(index));
        }
    }

    /// Keeps a value under a name, apart from tables: the catalog's way in.
    pub fn put_meta(&mut self, name: &[u8], value: &[u8]) {
        self.push(Action::Put, Family::Meta, &[&[address::META_OTHERS], name], value);
    }

    /// Forgets a name.
    pub fn delete_meta(&mut self, name: &[u8]) {
        self.push(Action::Delete, Family::Meta, &[&[address::META_OTHERS], name], &[]);
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The memory it takes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.operations.len() * size_of::<Operation>()
    }

    /// Forgets every change and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.operations.clear();
    }

    /// The changes in order.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let mut rest = self.bytes.as_slice();
        self.operations.iter().map(move |operation| {
            let (key, after) = rest.split_at(operation.key_len);
            let (value, after) = after.split_at(operation.value_len);
            rest = after;
            match operation.action {
                Action::Put => Change::Put(operation.family, key, value),
                Action::Delete => Change::Delete(operation.family, key),
                Action::DeleteRange => Change::DeleteRange(operation.family, key, value),
            }
        })
    }

    fn push(&mut self, action: Action, family: Family, key: &[&[u8]], value: &[u8]) {
        let start = self.bytes.len();
        for part in key {
            self.bytes.extend_from_slice(part);
        }
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.close(action, family, start, key_end);
    }

    fn close(&mut self, action: Action, family: Family, start: usize, key_end: usize) {
        let value_len = self.bytes.len() - key_end;
        self.operations.push(Operation { action, family, key_len: key_end - start, value_len });
    }
}
