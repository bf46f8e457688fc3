//! How a change becomes part of the database, and what a reader holds meanwhile.
//!
//! The write path, in the order the code runs:
//! 1. [`transaction`] plans nothing: it takes row ids and new rows from the query room, takes locks
//!    ([`locks`]), checks keys, and puts the rows into its [`overlay`]; many rows go to files at once ([`staging`]).
//! 2. COMMIT turns the overlay into [`record`] operations (resolved effects only).
//! 3. [`committer`] appends them to the log, makes one fsync for all that wait, and then
//! 4. [`apply`]s them in order to the store (by its [`row_writer`]) and the segments, and publishes the next [`ReadView`].
//! 5. Locks are released after the view is published; then the client hears of it.
//!
//! Transactions at SERIALIZABLE ask [`serializable`] before they read, write and commit.
//!
//! Recovery calls the same `apply` for each record of the log.
//!
//! INVARIANT 3: a record is applied only after the fsync that covers it.
//! INVARIANT 4: records are applied one after the other, in the order of the log, by whoever holds the newest state.
//! INVARIANT 5: a view shows every commit up to its `lsn` whole, and nothing of a later one.

pub mod apply;
pub mod committer;
pub mod locks;
pub mod overlay;
pub mod record;
pub mod row_writer;
pub mod serializable;
pub mod staging;
pub mod transaction;
pub mod view;

pub use overlay::{Overlay, OwnRows, RowChange};
pub use transaction::{Isolation, Refused, Transaction};
pub use view::{ReadView, Reader, TableView};

/// One row: a value for each column of its table in order, dropped columns NULL.
pub type Row = std::sync::Arc<[lodedb_sql::Datum]>;

/// The 64-bit id of a row, dense within its table.
pub type RowId = u64;

/// Row ids at or above this are provisional: rows of an open transaction.
pub const FIRST_PROVISIONAL_ROW: RowId = 1 << 62;
