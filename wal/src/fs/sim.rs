//! A file system in memory that loses power, tears, reorders and fails on purpose: for tests of everything that writes files.
//!
//! It keeps what programs see (*live*) apart from what the disk holds (*durable*). What lies between is a set of *units*, each of which
//! a crash may keep or lose on its own, whatever order they were made in:
//!
//! - a 512-byte sector written since the last sync of its file,
//! - a changed file length,
//! - one directory's part of a create, rename or remove since the last sync of that directory.
//!
//! [`SimFileSystem::crash_at`] cuts the power before the n-th changing call; every later call fails. [`SimFileSystem::crash_images`]
//! then gives the disks the machine may come back with: all of them if there are at most six units, else the telling ones (nothing
//! kept, all kept, each single unit kept or lost) and random ones. Everything follows from the seed.
//!
//! A failed sync does what Linux does: what was dirty counts as clean, some of it has reached the disk, the rest is readable until
//! [`SimFileSystem::evict`] and gone after.
//!
//! ```
//! use lodedb_wal::fs::{FileSystem, OpenMode, sim::SimFileSystem};
//! # fn main() -> std::io::Result<()> {
//! let fs = SimFileSystem::new(1);
//! let file = fs.open("/a".as_ref(), OpenMode::CreateNew)?;
//! file.write_at(b"hello", 0)?;
//! file.sync_all()?;
//! // The directory was not synced: on some disks the name is missing.
//! assert!(fs.crash_images(64).iter().any(|disk| !disk.exists("/a".as_ref()).unwrap()));
//! # Ok(())
//! # }
//! ```

mod calls;
mod disk;
mod images;
mod moments;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use disk::Disk;
use moments::Moments;

/// Bytes that reach the disk together or not at all (unless torn, see [`SimFileSystem::crash_images`]).
pub const SECTOR_BYTES: usize = 512;

/// Kinds of calls, to aim a [`Fault`] at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// Opening without creating.
    Open,
    /// Opening a new file.
    Create,
    /// Renaming.
    Rename,
    /// Removing a file or a tree.
    Remove,
    /// Creating a directory.
    CreateDir,
    /// Listing, asking for existence, length or free space.
    Look,
    /// Syncing a directory.
    SyncDir,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Changing a length.
    SetLen,
    /// Syncing a file.
    Sync,
}

impl CallKind {
    /// Every kind, to sweep over.
    pub const ALL: [CallKind; 11] = [
        CallKind::Open,
        CallKind::Create,
        CallKind::Rename,
        CallKind::Remove,
        CallKind::CreateDir,
        CallKind::Look,
        CallKind::SyncDir,
        CallKind::Read,
        CallKind::Write,
        CallKind::SetLen,
        CallKind::Sync,
    ];

    /// Whether a call of this kind changes what is live or what is durable: the calls that [`SimFileSystem::crash_at`] counts, since
    /// a cut before a read leaves the same disk as a cut before the next change.
    pub fn changes(self) -> bool {
        !matches!(self, CallKind::Open | CallKind::Look | CallKind::Read)
    }
}

/// What a faulty call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Fails with EIO. A failed sync also loses some of what was dirty.
    Io,
    /// Fails with ENOSPC; a write may write a part first.
    NoSpace,
    /// Fails with EACCES.
    Denied,
    /// Reads and writes only fail with EINTR, once; other calls are left alone.
    Interrupted,
    /// Reads and writes do a part of what was asked; other calls are left alone.
    Short,
    /// Reads come back with one bit flipped; other calls are left alone.
    BitFlip,
}

/// A planned fault: the `nth` call (from 1) of `call` from now on does `fault`; with `sticky` every later one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which calls are counted.
    pub call: CallKind,
    /// Which of them fails, from 1.
    pub nth: u64,
    /// How.
    pub fault: FaultKind,
    /// Whether every later call of that kind does so too.
    pub sticky: bool,
}

/// The file system in memory. Clones are handles on the same disk.
#[derive(Clone)]
pub struct SimFileSystem {
    disk: Arc<Mutex<Disk>>,
}

impl fmt::Debug for SimFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk.lock();
        f.debug_struct("SimFileSystem")
            .field("calls", &disk.calls)
            .field("crashed", &disk.crashed)
            .finish_non_exhaustive()
    }
}

impl SimFileSystem {
    /// An empty disk with a root directory `/`. Everything random follows from `seed`.
    pub fn new(seed: u64) -> SimFileSystem {
        SimFileSystem::from_disk(Disk::new(seed))
    }

    fn from_disk(disk: Disk) -> SimFileSystem {
        SimFileSystem { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Cuts the power before the changing call number `call` (from 1, counted as [`SimFileSystem::calls`] does): it and everything
    /// after it fails, and the disk stays as it is.
    pub fn crash_at(&self, call: u64) {
        self.disk.lock().crash_at = Some(call);
    }

    /// Changing calls made so far.
    pub fn calls(&self) -> u64 {
        self.disk.lock().calls
    }

    /// Whether the power is off.
    pub fn has_crashed(&self) -> bool {
        self.disk.lock().crashed
    }

    /// How often calls of this kind were made.
    pub fn count(&self, call: CallKind) -> u64 {
        self.disk.lock().counts.get(&call).copied().unwrap_or(0)
    }

    /// Every changing call so far, one line each: two runs with one seed give the same lines.
    pub fn trace(&self) -> Vec<String> {
        self.disk.lock().trace.clone()
    }

    /// From now on the disk is kept as it is right before each changing call, for [`SimFileSystem::moments`].
    pub fn record(&self) {
        self.disk.lock().moments = Some(Moments::all());
    }

    /// As [`SimFileSystem::record`], for a disk with too many calls to keep each: `limit` of the moments, any as likely as another, but for
    /// those before writes, of which there are most and which are an eighth as likely.
    pub fn record_some(&self, limit: usize) {
        let mut disk = self.disk.lock();
        disk.moments = Some(Moments::some(limit, disk.dice.0));
    }

    /// The disks since [`SimFileSystem::record`], each as a power cut before one changing call leaves it; [`SimFileSystem::calls`] of each
    /// says how many calls came before. One run gives what a run for every cut would, as long as nothing but the calls decides what is
    /// on the disk.
    pub fn moments(&self) -> Vec<SimFileSystem> {
        let mut disk = self.disk.lock();
        let now = disk.moment();
        let moments = disk.moments.take().map(Moments::into_disks).unwrap_or_default();
        moments.into_iter().chain([now]).map(SimFileSystem::from_disk).collect()
    }

    /// Plans a fault.
    pub fn plan_fault(&self, fault: Fault) {
        let mut disk = self.disk.lock();
        let already = disk.counts.get(&fault.call).copied().unwrap_or(0);
        disk.faults.push(Fault { nth: fault.nth + already, ..fault });
    }

    /// Forgets all planned faults.
    pub fn clear_faults(&self) {
        self.disk.lock().faults.clear();
    }

    /// Limits the bytes of all files together; beyond it writes fail with ENOSPC. `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity = bytes;
    }

    /// From now on about one read or write in two is short, and one in eight is interrupted first.
    pub fn set_ragged(&self, ragged: bool) {
        self.disk.lock().ragged = ragged;
    }

    /// Drops what a failed sync left readable but not on disk.
    pub fn evict(&self) {
        self.disk.lock().evict();
    }

    /// Copies the disk as an orderly power-off would leave it: everything durable, nothing planned.
    pub fn fork(&self) -> SimFileSystem {
        SimFileSystem::from_disk(self.disk.lock().settled())
    }

    /// Replaces the bytes of a file, live and durable, as rot or a careless person would. `None` if there is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        self.disk.lock().damage(path, change)
    }

    /// The live bytes of a file, without counting as a call.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        self.disk.lock().contents(path)
    }

    /// The disks the machine may come back with if the power goes now, at most `limit` (at least two). Among the random ones are
    /// disks with sectors torn in the middle.
    pub fn crash_images(&self, limit: usize) -> Vec<SimFileSystem> {
        images::crash_images(&self.disk.lock(), limit).into_iter().map(SimFileSystem::from_disk).collect()
    }

    /// A hash of all names and live bytes: equal disks have equal fingerprints.
    pub fn fingerprint(&self) -> u64 {
        self.disk.lock().fingerprint()
    }
}
