//! The store itself: opening, writing, flushing, looking after it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BottommostLevelCompaction, Cache, ColumnFamilyDescriptor, CompactOptions, DB, FlushOptions, ReadOptions, ReadTier,
    WriteBatch, WriteOptions,
};

use super::address::{self, APPLIED_LSN, Family};
use super::batch::Change;
use super::fence::{Database, PinnedIterator, PinnedSnapshot};
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

/// How long a write waits for room on the disk before the database stops.
const NO_SPACE_PATIENCE: Duration = Duration::from_secs(300);
/// So many rows of dropped tables are not worth a compaction of all.
const WORN_ROWS: u64 = 100_000;

/// Beside automatic compactions, and down to where deleted entries end.
fn manual_compaction() -> CompactOptions {
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    options
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.database.db.path()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, making it if there is none.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Self> {
        Self::of(DB::open_cf_descriptors(&options.database(), dir, families(options))?)
    }

    fn of(db: DB) -> Result<Self> {
        let database = Arc::new(Database { db });
        let applied = read_applied(&database, &ReadOptions::default())?;
        Ok(Self { database, applied: AtomicU64::new(applied), writing: Mutex::new(()), worn_from: AtomicU64::new(0) })
    }

    /// Reads the whole of a store that nobody writes to, as [`Self::verify`] does, and gives its LSN.
    pub fn verify_copy(dir: &Path, options: &StoreOptions) -> Result<u64> {
        let store = Self::of(DB::open_cf_descriptors_read_only(&options.database(), dir, families(options), false)?)?;
        store.verify()?;
        store.applied_lsn()
    }

    /// The present state, which later writes do not change.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(PinnedSnapshot::new(self.database.clone()))
    }

    /// One row as it is now: what the applier needs to know about rows it replaces.
    pub fn row(&self, table: TableId, id: RowId) -> Result<Option<StoredRow>> {
        let family = self.database.family(Family::Rows)?;
        let value = self.database.db.get_pinned_cf(family, address::row_key(table, id))?;
        value.map(|bytes| row::decode(&bytes)).transpose()
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
        let handles = [Family::Rows, Family::Keys, Family::Entries, Family::Meta].map(|f| self.database.family(f));
        let [rows, keys, entries, meta] = handles;
        let (rows, keys, entries, meta) = (rows?, keys?, entries?, meta?);
        let handle = |family| match family {
            Family::Rows => rows,
            Family::Keys => keys,
            Family::Entries => entries,
            Family::Meta => meta,
        };
        let begun = Instant::now();
        loop {
            let mut write = WriteBatch::with_capacity_bytes(batch.size_bytes() + 64);
            for change in batch.changes() {
                match change {
                    Change::Put(family, key, value) => write.put_cf(handle(family), key, value),
                    Change::Delete(family, key) => write.delete_cf(handle(family), key),
                    Change::DeleteRange(family, from, to) => write.delete_range_cf(handle(family), from, to),
                }
            }
            write.put_cf(meta, APPLIED_LSN, applied_lsn.to_be_bytes());
            let mut options = WriteOptions::default();
            options.disable_wal(true);
            options.set_memtable_insert_hint_per_batch(true);
            match self.database.db.write_opt(write, &options).map_err(StoreError::from) {
                // The commit is in the log already. RocksDB goes on by itself once there is room to flush.
                Err(StoreError::NoSpace(message)) if begun.elapsed() < NO_SPACE_PATIENCE => {
                    tracing::error!(message, "no room for the rows; waiting for some");
                    std::thread::sleep(Duration::from_millis(250));
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        self.applied.store(applied_lsn, Ordering::Release);
        Ok(())
    }

    /// The LSN the store has been brought to, in memory or on disk; 0 if it is new.
    pub fn applied_lsn(&self) -> Result<u64> {
        Ok(self.applied.load(Ordering::Acquire))
    }

    /// The LSN the store would be at after a crash now: what the log must be kept from.
    pub fn persisted_lsn(&self) -> Result<u64> {
        let mut read = ReadOptions::default();
        read.set_read_tier(ReadTier::Persisted);
        read_applied(&self.database, &read)
    }

    /// Brings everything applied so far to disk, all families at one point.
    pub fn flush(&self) -> Result<()> {
        let mut families = Vec::new();
        for family in Family::ALL {
            families.push(self.database.family(family)?);
        }
        families.extend(self.database.db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME));
        let families: Vec<&_> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.database.db.flush_cfs_opt(&families, &options)?)
    }

    /// Flushes, and makes a directory (which must not exist) with everything on disk, by hard links where it can. A
    /// checkpoint shares its files with the store: it is no backup.
    pub fn checkpoint(&self, into: &Path) -> Result<()> {
        self.flush()?;
        Ok(Checkpoint::new(&self.database.db)?.create_checkpoint(into)?)
    }

    /// How often flushing or compacting failed since the store was opened. More than 0 needs a person or a restart.
    pub fn background_errors(&self) -> Result<u64> {
        Ok(self.database.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)?.unwrap_or(0))
    }

    /// The memory of the block cache in use, and that of writes not flushed yet, in bytes.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        let mut buffers = 0;
        for family in Family::ALL {
            let handle = self.database.family(family)?;
            let property = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
            buffers += self.database.db.property_int_value_cf(handle, property)?.unwrap_or(0);
        }
        // The families share one cache.
        let rows = self.database.family(Family::Rows)?;
        let cache = self.database.db.property_int_value_cf(rows, rocksdb::properties::BLOCK_CACHE_USAGE)?;
        Ok((cache.unwrap_or(0), buffers))
    }

    /// The bytes on disk, dead ones included.
    pub fn disk_bytes(&self) -> Result<u64> {
        let mut total = 0;
        for family in Family::ALL {
            let handle = self.database.family(family)?;
            for property in ["rocksdb.total-sst-files-size", "rocksdb.total-blob-file-size"] {
                total += self.database.db.property_int_value_cf(handle, property)?.unwrap_or(0);
            }
        }
        Ok(total)
    }

    /// Drops what was deleted and overwritten of a table and its indexes, by writing anew what is left of them.
    pub fn compact(&self, table: TableId, indexes: &[IndexId]) -> Result<()> {
        self.flush()?;
        self.compact_range(Family::Rows, table)?;
        for &index in indexes {
            self.compact_range(Family::Keys, index)?;
            self.compact_range(Family::Entries, index)?;
        }
        Ok(())
    }

    fn compact_range(&self, family: Family, id: u32) -> Result<()> {
        let (from, to) = (address::prefix(id), address::prefix_end(id));
        let handle = self.database.family(family)?;
        self.database.db.compact_range_cf_opt(handle, Some(from), Some(to), &manual_compaction());
        Ok(())
    }

    /// Writes all anew if far more rows are kept than the `live` ones: those of dropped and truncated tables, which RocksDB itself does
    /// not count as deleted. Says whether it did.
    pub fn compact_if_worn(&self, live: u64) -> Result<bool> {
        let kept = |database: &Database| -> Result<u64> {
            let rows = database.family(Family::Rows)?;
            Ok(database.db.property_int_value_cf(rows, rocksdb::properties::ESTIMATE_NUM_KEYS)?.unwrap_or(0))
        };
        let bound = self.worn_from.load(Ordering::Relaxed).max(2 * live + WORN_ROWS);
        if kept(&self.database)? < bound {
            return Ok(false);
        }
        self.flush()?;
        for family in Family::ALL {
            let handle = self.database.family(family)?;
            self.database.db.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &manual_compaction());
        }
        // What readers of old states still hold stays; it is not tried again for that.
        self.worn_from.store(2 * kept(&self.database)? + WORN_ROWS, Ordering::Relaxed);
        Ok(true)
    }

    /// Reads every entry of every family past the cache, checking block checksums and the form of every row; gives how
    /// many there were.
    pub fn verify(&self) -> Result<u64> {
        let snapshot = Arc::new(PinnedSnapshot::new(self.database.clone()));
        let mut entries = 0;
        for family in Family::ALL {
            let mut read = ReadOptions::default();
            read.fill_cache(false);
            read.set_verify_checksums(true);
            read.set_readahead_size(1 << 20);
            let mut iterator = PinnedIterator::new(snapshot.clone(), family, read)?;
            iterator.raw.seek_to_first();
            while let Some((key, value)) = iterator.raw.item() {
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
                iterator.raw.next();
            }
            iterator.raw.status()?;
        }
        Ok(entries)
    }
}

fn families(options: &StoreOptions) -> [ColumnFamilyDescriptor; Family::ALL.len()] {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), options.family(family, &cache)))
}

fn read_applied(database: &Database, read: &ReadOptions) -> Result<u64> {
    let Some(value) = database.db.get_pinned_cf_opt(database.family(Family::Meta)?, APPLIED_LSN, read)? else {
        return Ok(0);
    };
    let bytes = value.as_ref().try_into().map_err(|_| StoreError::damaged("applied_lsn has a wrong length"))?;
    Ok(u64::from_be_bytes(bytes))
}
