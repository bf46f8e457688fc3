//! The file-system seam: the few calls every file of the database goes through, so that tests can cut the power between any two.
//!
//! Who calls it: the log in this crate, and every room of the engine that owns files. Nothing else in the project touches
//! `std::fs` for data. What holds here:
//!
//! 1. Bytes written are promised to survive only after [`File::sync_data`] or [`File::sync_all`] returned `Ok`.
//! 2. A name (created, renamed, removed) is promised to survive only after [`FileSystem::sync_dir`] of its directory returned `Ok`.
//! 3. A failed sync is final: the bytes may be gone although a later sync of the same file succeeds. Callers stop, they never retry.
//!
//! [`OsFileSystem`] is the real one; [`sim::SimFileSystem`] loses, tears, reorders and fails on purpose.

mod os;
pub mod sim;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use os::OsFileSystem;

use crate::killpoint::reach;

/// How [`FileSystem::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// A new file, to read and write; an existing one is an error (`AlreadyExists`).
    CreateNew,
    /// An existing file, to read and write.
    ReadWrite,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length of the file in bytes; of no meaning for a directory.
    pub len: u64,
}

/// The calls the database makes on a file system.
pub trait FileSystem: Any + fmt::Debug + Send + Sync {
    /// Opens the file at `path`. A created name survives a crash only after [`FileSystem::sync_dir`] of its directory.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Renames `from` to `to`, replacing a file there. Durable after the directory (both, if they differ) is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file. Durable after the directory is synced.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and everything below it; a crash may leave any part of it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Creates one directory. The parent must exist; an existing directory is an error (`AlreadyExists`); the caller syncs the parent.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, sorted by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether a file or directory has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes the names of a directory survive a crash.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that can still be written on the file system holding `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;

    /// Takes the exclusive lock on the file at `path` (created if missing) and writes `contents` into it, for the one who finds it
    /// locked to read. Held while the [`Lock`] lives. Fails with `WouldBlock` when another holds it.
    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Lock>;
}

/// An open file. All calls take positions, so one handle serves many threads.
pub trait File: fmt::Debug + Send + Sync {
    /// Reads some bytes at `offset`; may return fewer than asked, 0 at the end. Use [`read_exact_at`].
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at `offset`; may write fewer than given. Use [`write_all_at`].
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes, and the length needed to read them back, survive a crash.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes and all metadata survive a crash. Not the name: that is [`FileSystem::sync_dir`].
    fn sync_all(&self) -> io::Result<()>;

    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The operating system's file behind this one, if there is one: for mapping and for advice to the page cache.
    fn os_file(&self) -> Option<&std::fs::File> {
        None
    }
}

/// A held lock file; dropping it lets go.
pub struct Lock {
    _held: Box<dyn Any + Send + Sync>,
}

impl Lock {
    /// Wraps whatever keeps the lock held until it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Lock {
        Lock { _held: Box::new(held) }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Fills `buf` from `offset`. Short reads and interruptions are dealt with here and nowhere else; a file that ends early is
/// `UnexpectedEof`.
pub fn read_exact_at(file: &dyn File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("file ends at byte {offset}")));
            }
            Ok(n) => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Makes a directory and its parents unless they are there; it is durable when this returns.
pub fn create_dirs(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    if !fs.exists(dir)? {
        create_dirs(fs, parent)?;
        match fs.create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    // CRASH: where it is there, whoever made it may have been cut off, or have failed, before its name was durable.
    fs.sync_dir(parent)
}

/// As [`create_dirs`], of a directory that the user names, in one that is there. If it was there too, the other one may be such as we may not
/// read, and so not sync: then somebody else made it.
pub fn create_named_dir(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    let was_there = fs.exists(dir)?;
    if !was_there {
        fs.create_dir(dir)?;
    }
    match fs.sync_dir(parent) {
        Err(error) if was_there && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Asks the page cache to forget what it holds of a file, so that what is read next is what the disk holds. Advice only; nothing may depend
/// on it being followed.
pub fn drop_cached_pages(fs: &dyn FileSystem, path: &Path) -> io::Result<()> {
    let file = fs.open(path, OpenMode::Read)?;
    #[cfg(target_os = "linux")]
    if let Some(os_file) = file.os_file() {
        let _ = rustix::fs::fadvise(os_file, 0, None, rustix::fs::Advice::DontNeed);
    }
    drop(file);
    Ok(())
}

/// Writes all of `buf` at `offset`. Short writes and interruptions are dealt with here and nowhere else.
pub fn write_all_at(file: &dyn File, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(buf, offset) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::WriteZero, format!("no byte written at {offset}")));
            }
            Ok(n) => {
                buf = &buf[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The whole content of a file.
pub fn read_file(fs: &dyn FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path, OpenMode::Read)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    // A length is what the disk claims, not what memory can hold: ask, do not abort.
    bytes.try_reserve_exact(len).map_err(|e| io::Error::new(io::ErrorKind::OutOfMemory, e))?;
    bytes.resize(len, 0);
    read_exact_at(file.as_ref(), &mut bytes, 0)?;
    Ok(bytes)
}

/// Puts a whole file in place so that a crash leaves the old content or the new one, never a mixture: `path.tmp`, sync, rename, sync
/// the directory.
pub fn publish(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut tmp = OsString::from(path.as_os_str());
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    let file = match fs.open(tmp, OpenMode::CreateNew) {
        // CRASH: an earlier publish was cut off before its rename; what it left was never referenced.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs.remove_file(tmp)?;
            fs.open(tmp, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    write_all_at(file.as_ref(), bytes, 0)?;
    // ORDER: bytes, then the name, then the directory; each makes the next one mean something.
    file.sync_all()?;
    reach("publish: before the rename");
    fs.rename(tmp, path)?;
    reach("publish: before the directory is synced");
    fs.sync_dir(parent_of(path))?;
    reach("publish: done");
    Ok(())
}

/// The directory a path is in; `.` for a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}
