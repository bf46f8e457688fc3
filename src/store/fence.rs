//! The fence around RocksDB's borrows: snapshots and iterators that own what they read from.
//!
//! The crate ties snapshots and iterators to a borrow of the database. A view must own its snapshot, so the borrow is
//! stretched here, and only here, next to the `Arc` that makes it true.

use std::sync::Arc;

use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions};

use super::address::Family;
use super::{Result, StoreError};

/// The open database.
pub(super) struct Database {
    pub(super) db: DB,
}

impl Database {
    pub(super) fn family(&self, family: Family) -> Result<&ColumnFamily> {
        let missing = || StoreError::damaged(format!("column family {} is missing", family.name()));
        self.db.cf_handle(family.name()).ok_or_else(missing)
    }

    /// The database, borrowed for longer than the compiler can check.
    ///
    /// # Safety
    /// What is made from the borrow must be dropped before the `Arc`, and never be handed out without it.
    unsafe fn stretched(self: &Arc<Self>) -> &'static Database {
        // SAFETY: an `Arc`'s contents neither move nor go while a clone of it lives, which the caller sees to.
        unsafe { &*Arc::as_ptr(self) }
    }
}

/// A snapshot and the database it is of. Fields are dropped in this order.
pub(super) struct PinnedSnapshot {
    /// Reads at the snapshot, made once for every point read.
    read: ReadOptions,
    snapshot: rocksdb::Snapshot<'static>,
    database: Arc<Database>,
}

impl PinnedSnapshot {
    pub(super) fn new(database: Arc<Database>) -> Self {
        // SAFETY: `snapshot` is dropped before `database`, being declared before it, and both are private.
        let snapshot = unsafe { database.stretched() }.db.snapshot();
        let mut read = ReadOptions::default();
        read.set_snapshot(&snapshot);
        Self { read, snapshot, database }
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn read_options(&self) -> &ReadOptions {
        &self.read
    }

    pub(super) fn sequence(&self) -> u64 {
        self.snapshot.sequence_number()
    }
}

/// A raw iterator and the snapshot it reads. Fields are dropped in this order.
pub(super) struct PinnedIterator {
    pub(super) raw: DBRawIterator<'static>,
    _snapshot: Arc<PinnedSnapshot>,
}

impl PinnedIterator {
    /// An iterator over one family; bounds and readahead are the options', the snapshot is set here.
    pub(super) fn new(snapshot: Arc<PinnedSnapshot>, family: Family, mut options: ReadOptions) -> Result<Self> {
        options.set_snapshot(&snapshot.snapshot);
        // SAFETY: `raw` is dropped before `_snapshot`, which holds the database. Callers reach `raw` through this
        // struct alone and take nothing out of it that outlives a borrow of it.
        let database = unsafe { snapshot.database.stretched() };
        let raw = database.db.raw_iterator_cf_opt(database.family(family)?, options);
        Ok(Self { raw, _snapshot: snapshot })
    }
}
