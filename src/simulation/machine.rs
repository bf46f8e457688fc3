//! A machine that can lose its power: a simulated disk, and the stores beside it.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use lodedb_wal::LogOptions;
use lodedb_wal::fs::sim::SimFileSystem;
use lodedb_wal::fs::{DirEntry, File, FileSystem, Lock, OpenMode};
use parking_lot::{Mutex, MutexGuard};

use crate::snapshot::backup::DatabaseId;
use crate::store::standin::Volume;

/// The file system of a simulated machine. Clones are handles on the same machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The disk.
    pub(crate) disk: SimFileSystem,
    stores: Arc<Mutex<Volume>>,
}

impl Machine {
    /// With an empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(SimFileSystem::new(seed), Volume::default())
    }

    /// With this disk and these stores.
    pub(crate) fn with(disk: SimFileSystem, stores: Volume) -> Self {
        Self { disk, stores: Arc::new(Mutex::new(stores)) }
    }

    /// The machine that a file system is of, if it is a simulated one.
    pub(crate) fn of(fs: &dyn FileSystem) -> Option<&Machine> {
        let any: &dyn Any = fs;
        any.downcast_ref()
    }

    /// Its stores.
    pub(crate) fn volume(&self) -> MutexGuard<'_, Volume> {
        self.stores.lock()
    }

    /// A copy that goes its own way: everything on the disk, the newest states of the stores.
    pub(crate) fn fork(&self) -> Self {
        let stores = self.volume().left_after(u64::MAX, 2).pop().unwrap_or_default();
        Self::with(self.disk.fork(), stores)
    }

    /// The machine after the harshest loss of power: nothing kept that was not synced.
    pub(crate) fn after_harshest_cut(&self) -> Self {
        let stores = self.volume().left_after(self.disk.calls(), 2).swap_remove(0);
        Self::with(self.disk.crash_images(2).swap_remove(0), stores)
    }

    /// An identity that repeats with the disk.
    pub(crate) fn new_id(&self) -> DatabaseId {
        DatabaseId::from_u128(u128::from(self.disk.fingerprint()) << 64 | 0x10de)
    }
}

/// Options of a log by which one thread makes all calls, in an order that repeats, if `fs` is simulated.
pub(crate) fn repeatable(fs: &dyn FileSystem, options: LogOptions) -> LogOptions {
    match Machine::of(fs) {
        Some(_) => LogOptions { background: false, segment_id_seed: Some(7), ..options },
        None => options,
    }
}

impl FileSystem for Machine {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.disk.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_space(path)
    }

    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Lock> {
        self.disk.try_lock(path, contents)
    }
}
