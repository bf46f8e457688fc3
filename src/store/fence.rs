//! RocksDB's side of the primitive below the store, and the fence around its borrows: snapshots and iterators that own what they read
//! from.
//!
//! The crate ties snapshots and iterators to a borrow of the database. A view must own its snapshot, so the borrow is
//! stretched here, and only here, next to the `Arc` that makes it true.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBRawIterator,
    FlushOptions, ReadOptions, ReadTier, WriteBatch, WriteOptions,
};

use super::address::{self, Family};
use super::batch::{Batch, Change};
use super::current::refuse_endless;
use super::primitive::Walk;
use super::{Result, StoreError, StoreOptions};

/// The RocksDB this is written for: what a power cut leaves of its files is mended by knowing them.
pub const VERSION: &str = "11.8.1";

/// How long a write waits for room on the disk before the database stops.
const NO_SPACE_PATIENCE: Duration = Duration::from_secs(300);

/// The open database.
pub(super) struct Database {
    db: DB,
}

impl Database {
    pub(super) fn open(dir: &Path, options: &StoreOptions) -> Result<Self> {
        refuse_headless(dir)?;
        refuse_endless(dir)?;
        let db = DB::open_cf_descriptors(&options.database(), dir, families(options))?;
        check_version(dir)?;
        Ok(Self { db })
    }

    /// Opens what nobody writes to; this one cannot either.
    pub(super) fn open_read_only(dir: &Path, options: &StoreOptions) -> Result<Self> {
        refuse_endless(dir)?;
        Ok(Self { db: DB::open_cf_descriptors_read_only(&options.database(), dir, families(options), false)? })
    }

    pub(super) fn path(&self) -> &Path {
        self.db.path()
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        let missing = || StoreError::damaged(format!("column family {} is missing", family.name()));
        self.db.cf_handle(family.name()).ok_or_else(missing)
    }

    /// What a key has now.
    pub(super) fn get<T>(&self, family: Family, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.db.get_pinned_cf(self.family(family)?, key)?.map(|bytes| read(&bytes)))
    }

    /// What a key would have after a crash now.
    pub(super) fn get_persisted<T>(
        &self,
        family: Family,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        Ok(self.db.get_pinned_cf_opt(self.family(family)?, key, &options)?.map(|bytes| read(&bytes)))
    }

    /// Makes the changes of a batch, and puts one key in `meta`, as one. Nothing reaches the disk before a flush.
    pub(super) fn write(&self, batch: Batch, key: &[u8], value: &[u8]) -> Result<()> {
        let handles = [Family::Rows, Family::Keys, Family::Entries, Family::Meta].map(|f| self.family(f));
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
            write.put_cf(meta, key, value);
            let mut options = WriteOptions::default();
            options.disable_wal(true);
            options.set_memtable_insert_hint_per_batch(true);
            match self.db.write_opt(write, &options).map_err(StoreError::from) {
                // The commit is in the log already. RocksDB goes on by itself once there is room to flush.
                Err(StoreError::NoSpace(message)) if begun.elapsed() < NO_SPACE_PATIENCE => {
                    tracing::error!(message, "no room for the rows; waiting for some");
                    std::thread::sleep(Duration::from_millis(250));
                }
                other => return other,
            }
        }
    }

    /// Writes anew what a table or an index has in a family, or all of the family, without what was deleted and overwritten.
    pub(super) fn compact(&self, family: Family, id: Option<u32>) -> Result<()> {
        let (from, to) = (id.map(address::prefix), id.map(address::prefix_end));
        // Beside automatic compactions, and down to where deleted entries end.
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.family(family)?, from, to, &options);
        Ok(())
    }

    /// About how many rows are kept, those in deleted ranges included.
    pub(super) fn kept_rows(&self) -> Result<u64> {
        let rows = self.family(Family::Rows)?;
        Ok(self.db.property_int_value_cf(rows, rocksdb::properties::ESTIMATE_NUM_KEYS)?.unwrap_or(0))
    }

    /// The memory of the block cache in use, and that of writes not flushed yet, in bytes.
    pub(super) fn memory_bytes(&self) -> Result<(u64, u64)> {
        let mut buffers = 0;
        for family in Family::ALL {
            let property = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
            buffers += self.db.property_int_value_cf(self.family(family)?, property)?.unwrap_or(0);
        }
        // The families share one cache.
        let rows = self.family(Family::Rows)?;
        let cache = self.db.property_int_value_cf(rows, rocksdb::properties::BLOCK_CACHE_USAGE)?;
        Ok((cache.unwrap_or(0), buffers))
    }

    /// Brings everything written so far to disk, all families at one point.
    pub(super) fn flush(&self) -> Result<()> {
        let mut families = Vec::new();
        for family in Family::ALL {
            families.push(self.family(family)?);
        }
        families.extend(self.db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME));
        let families: Vec<&_> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.db.flush_cfs_opt(&families, &options)?)
    }

    /// Makes a directory, which must not exist, with what is on disk.
    pub(super) fn checkpoint(&self, into: &Path) -> Result<()> {
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(into)?)
    }

    pub(super) fn background_errors(&self) -> Result<u64> {
        Ok(self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)?.unwrap_or(0))
    }

    pub(super) fn disk_bytes(&self) -> Result<u64> {
        let mut total = 0;
        for family in Family::ALL {
            let handle = self.family(family)?;
            for property in ["rocksdb.total-sst-files-size", "rocksdb.total-blob-file-size"] {
                total += self.db.property_int_value_cf(handle, property)?.unwrap_or(0);
            }
        }
        Ok(total)
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

/// Without `CURRENT` RocksDB would begin anew in a folder that has rows, and remove their files.
fn refuse_headless(dir: &Path) -> Result<()> {
    if dir.join("CURRENT").exists() {
        return Ok(());
    }
    let has_rows = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
        [".sst", ".blob"].iter().any(|end| name.to_string_lossy().ends_with(end))
    };
    let is_headless = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.any(has_rows));
    if is_headless {
        let reason = format!("{} holds rows and no file CURRENT, which says what they are", dir.display());
        return Err(StoreError::damaged(reason));
    }
    Ok(())
}

/// Refuses another RocksDB than the one of [`VERSION`]. What was linked is told by the file of options that it writes whenever it opens a
/// database, and by nothing else that can be asked from here.
pub(super) fn check_version(dir: &Path) -> Result<()> {
    let io = |error: std::io::Error| StoreError::Engine(format!("the options in {}: {error}", dir.display()));
    let mut newest = String::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        let is_options = name.starts_with("OPTIONS-") && !name.ends_with(".dbtmp");
        // Their numbers have six digits, and in the end more.
        if is_options && (name.len(), &name) > (newest.len(), &newest) {
            newest = name;
        }
    }
    let options = std::fs::read_to_string(dir.join(newest)).map_err(io)?;
    let linked = options.lines().find_map(|line| line.trim().strip_prefix("rocksdb_version="));
    match linked {
        Some(VERSION) => Ok(()),
        linked => Err(StoreError::Version { linked: linked.unwrap_or("one that does not say which").to_owned() }),
    }
}

fn families(options: &StoreOptions) -> [ColumnFamilyDescriptor; Family::ALL.len()] {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), options.family(family, &cache)))
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

    pub(super) fn sequence(&self) -> u64 {
        self.snapshot.sequence_number()
    }

    pub(super) fn get<T>(&self, family: Family, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let family = self.database.family(family)?;
        Ok(self.database.db.get_pinned_cf_opt(family, key, &self.read)?.map(|bytes| read(&bytes)))
    }

    /// Many keys of one family; each answer is handed to `each` with the key's place.
    pub(super) fn multi_get<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: &[K],
        is_sorted: bool,
        mut each: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let family = self.database.family(family)?;
        // One key costs less by itself than as a batch.
        if let [key] = keys {
            return each(0, self.database.db.get_pinned_cf_opt(family, key, &self.read)?.as_deref());
        }
        let values = self.database.db.batched_multi_get_cf_opt(family, keys, is_sorted, &self.read);
        for (index, value) in values.into_iter().enumerate() {
            each(index, value?.as_deref())?;
        }
        Ok(())
    }
}

/// An iterator and the snapshot it reads. Fields are dropped in this order.
pub(super) struct PinnedIterator {
    raw: DBRawIterator<'static>,
    _snapshot: Arc<PinnedSnapshot>,
}

impl PinnedIterator {
    pub(super) fn new(snapshot: Arc<PinnedSnapshot>, family: Family, walk: Walk) -> Result<Self> {
        let mut options = ReadOptions::default();
        if !walk.from.is_empty() {
            options.set_iterate_lower_bound(walk.from);
        }
        if let Some(to) = walk.to {
            options.set_iterate_upper_bound(to);
        }
        if walk.readahead_bytes > 0 {
            options.set_readahead_size(walk.readahead_bytes);
        }
        if walk.verifies {
            options.fill_cache(false);
            options.set_verify_checksums(true);
        }
        options.set_snapshot(&snapshot.snapshot);
        // SAFETY: `raw` is dropped before `_snapshot`, which holds the database; it is private, and nothing is given out of it that
        // outlives a borrow of this struct.
        let database = unsafe { snapshot.database.stretched() };
        let raw = database.db.raw_iterator_cf_opt(database.family(family)?, options);
        Ok(Self { raw, _snapshot: snapshot })
    }

    pub(super) fn seek_to_first(&mut self) {
        self.raw.seek_to_first();
    }

    pub(super) fn seek_to_last(&mut self) {
        self.raw.seek_to_last();
    }

    #[inline]
    pub(super) fn next(&mut self) {
        self.raw.next();
    }

    #[inline]
    pub(super) fn prev(&mut self) {
        self.raw.prev();
    }

    /// Where it stands; nothing at the end or after an error, which [`Self::status`] tells apart.
    #[inline]
    pub(super) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.raw.item()
    }

    pub(super) fn status(&self) -> Result<()> {
        Ok(self.raw.status()?)
    }
}
