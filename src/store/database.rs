//! The store itself: opening, writing, flushing, looking after it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lodedb_wal::fs::FileSystem;
use lodedb_wal::killpoint::reach;
use parking_lot::Mutex;

use super::address::{self, APPLIED_LSN, Family};
use super::current;
use super::primitive::{Database, PinnedIterator, PinnedSnapshot, Walk};
use super::{Batch, IndexId, Result, RowId, Snapshot, StoreError, StoreOptions, StoredRow, TableId, row};

/// The open store. One for a directory: RocksDB's own lock refuses a second.
pub struct Store {
    database: Arc<Database>,
    /// The LSN of the last batch.
    applied: AtomicU64,
    /// Held while a batch is written, so that they go in one after another.
    writing: Mutex<()>,
    /// How many rows must be kept before the next look at whether most of them are gone.
    worn_from: AtomicU64,
}

/// A sync of RocksDB's MANIFEST covers no more records than this.
const RECORDS_CUT_MAX: usize = 8;

/// So many rows of dropped tables are not worth a compaction of all.
const WORN_ROWS: u64 = 100_000;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.database.path()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, making it if there is none.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Self> {
        Self::of(Database::open(dir, options)?)
    }

    /// As [`Self::open`], of a database whose other files are on `fs`, and whose manifest says that the rows are those of commit `least`
    /// or a later one: it is an error, and nothing is touched, if they are not. RocksDB writes its files by itself, on the real file
    /// system; beside a simulated disk there is a stand-in for it.
    pub(crate) fn open_on(fs: &dyn FileSystem, dir: &Path, options: &StoreOptions, least: u64) -> Result<Self> {
        #[cfg(test)]
        if crate::simulation::Machine::of(fs).is_some() {
            let store = Self::of(Database::open_on(fs, dir, options)?)?;
            return refuse_before(least, store.applied_lsn()?).map(|()| store);
        }
        let failed = |error| current::failed(dir, &error);
        // Before a manifest says more, the log has all there is.
        let mut mended: Vec<_> = current::mend(fs, dir, least == 0).map_err(failed)?.into_iter().collect();
        // ORDER: looked at before it is opened to be written: then RocksDB removes what an older state of it does not name. Where any state
        // will do, there is nothing to look for.
        let look = || match least {
            0 => Self::open(dir, options).map(|store| (Some(store), u64::MAX)),
            _ => Self::look_at(dir, options).map(|found| (None, found)),
        };
        let mut looked = look();
        let mut damage = None;
        for _ in 0..RECORDS_CUT_MAX {
            // Any state that is not too old will do, since the log has what came after.
            let cut = if looked.is_err() { current::cut(fs, dir).map_err(failed)? } else { None };
            let Some(cut) = cut else { break };
            mended.push(cut);
            if let Err(error) = std::mem::replace(&mut looked, look()) {
                damage.get_or_insert(error);
            }
        }
        match looked.and_then(|(store, found)| refuse_before(least, found).map(|()| store)) {
            Ok(store) => {
                if let Some(damage) = damage {
                    tracing::warn!(%damage, "the end of the row store's MANIFEST is taken off, as after a power cut");
                }
                store.map_or_else(|| Self::open(dir, options), Ok)
            }
            Err(refused) => {
                current::put_back(fs, mended).map_err(failed)?;
                Err(damage.unwrap_or(refused))
            }
        }
    }

    /// The LSN of what is in a directory, which stays as it is.
    fn look_at(dir: &Path, options: &StoreOptions) -> Result<u64> {
        if dir.join("CURRENT").exists() {
            Self::of(Database::open_read_only(dir, options)?)?.applied_lsn()
        } else {
            Ok(0)
        }
    }

    fn of(database: Database) -> Result<Self> {
        let applied = applied_of(database.get(Family::Meta, APPLIED_LSN, decode_lsn)?)?;
        Ok(Self {
            database: Arc::new(database),
            applied: AtomicU64::new(applied),
            writing: Mutex::new(()),
            worn_from: AtomicU64::new(0),
        })
    }

    /// Reads the whole of a store that nobody writes to, as [`Self::verify`] does, and gives its LSN. `fs`: as for [`Self::open_on`].
    #[cfg_attr(not(test), expect(unused_variables, reason = "only tests have another file system"))]
    pub(crate) fn verify_copy(fs: &dyn FileSystem, dir: &Path, options: &StoreOptions) -> Result<u64> {
        #[cfg(test)]
        let store = Self::of(Database::open_read_only_on(fs, dir, options)?)?;
        #[cfg(not(test))]
        let store = Self::of(Database::open_read_only(dir, options)?)?;
        store.verify()?;
        store.applied_lsn()
    }

    /// The present state, which later writes do not change.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(PinnedSnapshot::new(self.database.clone()))
    }

    /// One row as it is now: what the applier needs to know about rows it replaces.
    pub fn row(&self, table: TableId, id: RowId) -> Result<Option<StoredRow>> {
        self.database.get(Family::Rows, &address::row_key(table, id), row::decode)?.transpose()
    }

    /// Applies a batch and the LSN it brings the store to, as one. Nothing reaches the disk before a flush.
    ///
    /// A commit too large for one batch gives every batch but its last the LSN *before* it: after a crash in between
    /// the whole commit is applied again. An LSN below the last one is refused.
    pub fn write(&self, batch: Batch, applied_lsn: u64) -> Result<()> {
        let _writing = self.writing.lock();
        let applied = self.applied.load(Ordering::Acquire);
        if applied_lsn < applied {
            return Err(StoreError::OutOfOrder { lsn: applied_lsn, applied });
        }
        reach("store: before a write");
        self.database.write(batch, APPLIED_LSN, &applied_lsn.to_be_bytes())?;
        reach("store: after a write");
        self.applied.store(applied_lsn, Ordering::Release);
        Ok(())
    }

    /// The LSN the store has been brought to, in memory or on disk; 0 if it is new.
    pub fn applied_lsn(&self) -> Result<u64> {
        Ok(self.applied.load(Ordering::Acquire))
    }

    /// The LSN the store would be at after a crash now: what the log must be kept from.
    pub fn persisted_lsn(&self) -> Result<u64> {
        applied_of(self.database.get_persisted(Family::Meta, APPLIED_LSN, decode_lsn)?)
    }

    /// Brings everything applied so far to disk, all families at one point.
    pub fn flush(&self) -> Result<()> {
        reach("store: before a flush");
        self.database.flush()?;
        reach("store: after a flush");
        Ok(())
    }

    /// Flushes, and makes a directory (which must not exist) with everything on disk, by hard links where it can. A
    /// checkpoint shares its files with the store: it is no backup.
    pub fn checkpoint(&self, into: &Path) -> Result<()> {
        self.flush()?;
        self.database.checkpoint(into)
    }

    /// How often flushing or compacting failed since the store was opened. More than 0 needs a person or a restart.
    pub fn background_errors(&self) -> Result<u64> {
        self.database.background_errors()
    }

    /// The memory of the block cache in use, and that of writes not flushed yet, in bytes.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        self.database.memory_bytes()
    }

    /// The bytes on disk, dead ones included.
    pub fn disk_bytes(&self) -> Result<u64> {
        self.database.disk_bytes()
    }

    /// Drops what was deleted and overwritten of a table and its indexes, by writing anew what is left of them.
    pub fn compact(&self, table: TableId, indexes: &[IndexId]) -> Result<()> {
        self.flush()?;
        reach("store: before a compaction");
        self.database.compact(Family::Rows, Some(table))?;
        for &index in indexes {
            self.database.compact(Family::Keys, Some(index))?;
            self.database.compact(Family::Entries, Some(index))?;
        }
        Ok(())
    }

    /// Writes all anew if far more rows are kept than the `live` ones: those of dropped and truncated tables, which RocksDB itself does
    /// not count as deleted. Says whether it did.
    pub fn compact_if_worn(&self, live: u64) -> Result<bool> {
        let bound = self.worn_from.load(Ordering::Relaxed).max(2 * live + WORN_ROWS);
        if self.database.kept_rows()? < bound {
            return Ok(false);
        }
        self.flush()?;
        Family::ALL.into_iter().try_for_each(|family| self.database.compact(family, None))?;
        // What readers of old states still hold stays; it is not tried again for that.
        self.worn_from.store(2 * self.database.kept_rows()? + WORN_ROWS, Ordering::Relaxed);
        Ok(true)
    }

    /// Reads every entry of every family past the cache, checking block checksums and the form of every row; gives how
    /// many there were.
    pub fn verify(&self) -> Result<u64> {
        let snapshot = Arc::new(PinnedSnapshot::new(self.database.clone()));
        let mut entries = 0;
        for family in Family::ALL {
            let walk = Walk { readahead_bytes: 1 << 20, verifies: true, ..Walk::default() };
            let mut iterator = PinnedIterator::new(snapshot.clone(), family, walk)?;
            iterator.seek_to_first();
            while let Some((key, value)) = iterator.item() {
                match family {
                    Family::Rows => {
                        address::row_of_key(key)?;
                        row::decode(value)?;
                    }
                    Family::Keys => {
                        address::row_of_value(value)?;
                    }
                    Family::Entries | Family::Meta => {}
                }
                entries += 1;
                iterator.next();
            }
            iterator.status()?;
        }
        Ok(entries)
    }
}

fn decode_lsn(bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.try_into().map_err(|_| StoreError::damaged("applied_lsn has a wrong length"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn applied_of(found: Option<Result<u64>>) -> Result<u64> {
    found.unwrap_or(Ok(0))
}

/// Refuses rows of commit `found` where those of `least` should be: a checkpoint flushes the rows before it writes the manifest, and the log
/// in between is gone.
fn refuse_before(least: u64, found: u64) -> Result<()> {
    if found >= least {
        return Ok(());
    }
    Err(StoreError::damaged(format!("the rows are those of commit {found}, and the manifest is of {least}")))
}
