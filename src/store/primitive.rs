//! The key-value primitive that the store is made of: RocksDB; in tests over a simulated disk its stand-in.

#[cfg(not(test))]
pub(super) use super::fence::{Database, PinnedIterator, PinnedSnapshot};
#[cfg(test)]
pub(super) use either::{Database, PinnedIterator, PinnedSnapshot};

/// What an iterator walks, and how.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// From this key on.
    pub(super) from: Vec<u8>,
    /// Up to, not including, this one.
    pub(super) to: Option<Vec<u8>>,
    /// What is read ahead; 0 leaves it to RocksDB.
    pub(super) readahead_bytes: usize,
    /// Whether every block is read past the cache and compared with its checksum.
    pub(super) verifies: bool,
}

/// One of the two. Only tests have a choice: the program is built without this and names RocksDB's types directly.
#[cfg(test)]
mod either {
    use std::path::Path;
    use std::sync::Arc;

    use lodedb_wal::fs::FileSystem;

    use super::Walk;
    use crate::simulation::Machine;
    use crate::store::address::Family;
    use crate::store::{Batch, Result, StoreOptions, fence, standin};

    pub(in crate::store) enum Database {
        Rocks(Arc<fence::Database>),
        Standin(Arc<standin::Database>),
    }

    impl Database {
        pub(in crate::store) fn open(dir: &Path, options: &StoreOptions) -> Result<Self> {
            fence::Database::open(dir, options).map(|database| Self::Rocks(Arc::new(database)))
        }

        pub(in crate::store) fn open_read_only(dir: &Path, options: &StoreOptions) -> Result<Self> {
            fence::Database::open_read_only(dir, options).map(|database| Self::Rocks(Arc::new(database)))
        }

        /// The stand-in, if the file system is a simulated one.
        pub(in crate::store) fn open_on(fs: &dyn FileSystem, dir: &Path, options: &StoreOptions) -> Result<Self> {
            match Machine::of(fs) {
                Some(machine) => {
                    standin::Database::open(machine, dir).map(|database| Self::Standin(Arc::new(database)))
                }
                None => Self::open(dir, options),
            }
        }

        /// As [`Self::open_on`].
        pub(in crate::store) fn open_read_only_on(
            fs: &dyn FileSystem,
            dir: &Path,
            options: &StoreOptions,
        ) -> Result<Self> {
            match Machine::of(fs) {
                Some(machine) => {
                    standin::Database::open_copy(machine, dir).map(|opened| Self::Standin(Arc::new(opened)))
                }
                None => Self::open_read_only(dir, options),
            }
        }

        pub(in crate::store) fn path(&self) -> &Path {
            match self {
                Self::Rocks(rocks) => rocks.path(),
                Self::Standin(standin) => standin.path(),
            }
        }

        pub(in crate::store) fn get<T>(
            &self,
            family: Family,
            key: &[u8],
            read: impl FnOnce(&[u8]) -> T,
        ) -> Result<Option<T>> {
            match self {
                Self::Rocks(rocks) => rocks.get(family, key, read),
                Self::Standin(standin) => Ok(standin.now().get(family, key).map(|bytes| read(&bytes))),
            }
        }

        pub(in crate::store) fn get_persisted<T>(
            &self,
            family: Family,
            key: &[u8],
            read: impl FnOnce(&[u8]) -> T,
        ) -> Result<Option<T>> {
            match self {
                Self::Rocks(rocks) => rocks.get_persisted(family, key, read),
                Self::Standin(standin) => Ok(standin.persisted().get(family, key).map(|bytes| read(&bytes))),
            }
        }

        pub(in crate::store) fn write(&self, batch: Batch, key: &[u8], value: &[u8]) -> Result<()> {
            match self {
                Self::Rocks(rocks) => rocks.write(batch, key, value),
                Self::Standin(standin) => standin.write(&batch, key, value),
            }
        }

        pub(in crate::store) fn flush(&self) -> Result<()> {
            match self {
                Self::Rocks(rocks) => rocks.flush(),
                Self::Standin(standin) => standin.flush(),
            }
        }

        pub(in crate::store) fn checkpoint(&self, into: &Path) -> Result<()> {
            match self {
                Self::Rocks(rocks) => rocks.checkpoint(into),
                Self::Standin(standin) => standin.checkpoint(into),
            }
        }

        pub(in crate::store) fn background_errors(&self) -> Result<u64> {
            match self {
                Self::Rocks(rocks) => rocks.background_errors(),
                Self::Standin(standin) => Ok(standin.background_errors()),
            }
        }

        pub(in crate::store) fn compact(&self, family: Family, id: Option<u32>) -> Result<()> {
            match self {
                Self::Rocks(rocks) => rocks.compact(family, id),
                // It keeps nothing that was deleted.
                Self::Standin(_) => Ok(()),
            }
        }

        pub(in crate::store) fn kept_rows(&self) -> Result<u64> {
            match self {
                Self::Rocks(rocks) => rocks.kept_rows(),
                Self::Standin(_) => Ok(0),
            }
        }

        pub(in crate::store) fn memory_bytes(&self) -> Result<(u64, u64)> {
            match self {
                Self::Rocks(rocks) => rocks.memory_bytes(),
                Self::Standin(_) => Ok((0, 0)),
            }
        }

        pub(in crate::store) fn disk_bytes(&self) -> Result<u64> {
            match self {
                Self::Rocks(rocks) => rocks.disk_bytes(),
                Self::Standin(standin) => Ok(standin.persisted().bytes()),
            }
        }
    }

    pub(in crate::store) enum PinnedSnapshot {
        Rocks(Arc<fence::PinnedSnapshot>),
        Standin(standin::State),
    }

    impl PinnedSnapshot {
        pub(in crate::store) fn new(database: Arc<Database>) -> Self {
            match &*database {
                Database::Rocks(rocks) => Self::Rocks(Arc::new(fence::PinnedSnapshot::new(rocks.clone()))),
                Database::Standin(standin) => Self::Standin(standin.now()),
            }
        }

        pub(in crate::store) fn sequence(&self) -> u64 {
            match self {
                Self::Rocks(rocks) => rocks.sequence(),
                Self::Standin(state) => state.sequence(),
            }
        }

        pub(in crate::store) fn get<T>(
            &self,
            family: Family,
            key: &[u8],
            read: impl FnOnce(&[u8]) -> T,
        ) -> Result<Option<T>> {
            match self {
                Self::Rocks(rocks) => rocks.get(family, key, read),
                Self::Standin(state) => Ok(state.get(family, key).map(|bytes| read(&bytes))),
            }
        }

        pub(in crate::store) fn multi_get<K: AsRef<[u8]>>(
            &self,
            family: Family,
            keys: &[K],
            is_sorted: bool,
            mut each: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
        ) -> Result<()> {
            match self {
                Self::Rocks(rocks) => rocks.multi_get(family, keys, is_sorted, each),
                Self::Standin(state) => keys
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, key)| each(at, state.get(family, key.as_ref()).as_deref())),
            }
        }
    }

    pub(in crate::store) enum PinnedIterator {
        Rocks(fence::PinnedIterator),
        Standin(standin::Walker),
    }

    impl PinnedIterator {
        pub(in crate::store) fn new(snapshot: Arc<PinnedSnapshot>, family: Family, walk: Walk) -> Result<Self> {
            match &*snapshot {
                PinnedSnapshot::Rocks(rocks) => {
                    fence::PinnedIterator::new(rocks.clone(), family, walk).map(Self::Rocks)
                }
                PinnedSnapshot::Standin(state) => Ok(Self::Standin(state.walk(family, walk.from, walk.to))),
            }
        }

        pub(in crate::store) fn seek_to_first(&mut self) {
            match self {
                Self::Rocks(rocks) => rocks.seek_to_first(),
                Self::Standin(walker) => walker.seek_to_first(),
            }
        }

        pub(in crate::store) fn seek_to_last(&mut self) {
            match self {
                Self::Rocks(rocks) => rocks.seek_to_last(),
                Self::Standin(walker) => walker.seek_to_last(),
            }
        }

        pub(in crate::store) fn next(&mut self) {
            match self {
                Self::Rocks(rocks) => rocks.next(),
                Self::Standin(walker) => walker.next(),
            }
        }

        pub(in crate::store) fn prev(&mut self) {
            match self {
                Self::Rocks(rocks) => rocks.prev(),
                Self::Standin(walker) => walker.prev(),
            }
        }

        pub(in crate::store) fn item(&self) -> Option<(&[u8], &[u8])> {
            match self {
                Self::Rocks(rocks) => rocks.item(),
                Self::Standin(walker) => walker.item(),
            }
        }

        pub(in crate::store) fn status(&self) -> Result<()> {
            match self {
                Self::Rocks(rocks) => rocks.status(),
                Self::Standin(_) => Ok(()),
            }
        }
    }
}
