//! Rows, unique keys and index entries in RocksDB: the metadata store. The only room that names `rocksdb`.
//!
//! Called by `commit` (applying the log: [`Store::write`]), by `catalog` and `query` (reading through the
//! [`Snapshot`] of a view) and by `snapshot` (flushing, the persisted LSN, checkpoints).
//!
//! - [`database`]: opening it, writing a batch, flushing; [`options`]: what is set and why.
//! - [`batch`]: the changes of one commit. [`snapshot`]: reading one state; [`scan`]: walking rows and indexes.
//! - [`row`]: how a row lies in its bytes. [`key`]: bytes whose order is the order of values.
//! - [`address`]: column families and the keys inside them.
//! - `current`: what a power cut may do to the name of the newest MANIFEST.
//! - `primitive`: what is asked of RocksDB, behind `fence`. Tests over a simulated disk put `standin` in its place.
//!
//! What always holds:
//!
//! 1. RocksDB's own log is off. Every batch carries the LSN it brings the store to, in the same atomic write, and
//!    families are flushed together: after a crash the store is exactly the state some `applied_lsn` left behind.
//! 2. LSNs never go back: one ordered applier, and [`Store::write`] refuses an LSN below the last one.
//! 3. A snapshot never changes and keeps the database open for as long as it, or an iterator made from it, lives.
//! 4. Bytes read back are never trusted: a damaged row or key is [`StoreError::Damaged`], never a panic.
//!
//! Not wrapped by the crate and therefore not here: whole-file checksums of RocksDB's files and verification of them
//! without reading every entry. [`Store::verify`] reads every entry instead.

pub mod address;
pub mod batch;
mod current;
pub mod database;
pub mod error;
mod fence;
pub mod key;
pub mod options;
mod primitive;
pub mod row;
pub mod scan;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod standin;

#[cfg(test)]
mod tests;

use lodedb_sql::Datum;

pub use batch::Batch;
pub(crate) use current::refuse_endless;
pub use database::Store;
pub use error::StoreError;
pub use fence::VERSION as ROCKSDB_VERSION;
pub use options::StoreOptions;
pub use row::{RowView, ValueRef};
pub use scan::{IndexScan, RowCursor, RowScan};
pub use snapshot::Snapshot;

/// A table, for as long as the database lives: ids are not used again.
pub type TableId = u32;
/// An index; ids are not used again.
pub type IndexId = u32;
/// A row within its table; dense, assigned at commit.
pub type RowId = u64;

/// The result of anything the store does.
pub type Result<T> = std::result::Result<T, StoreError>;

/// One row as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    /// The LSN of the commit that wrote it.
    pub version: u64,
    /// One value a column, in the table's order. Vector columns hold NULL here, since vectors live in segments. Shorter
    /// than the table's columns where the row is older than a column.
    pub values: Vec<Datum>,
}
