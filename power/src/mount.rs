//! The simulated disk as a file system of the kernel, so that any program can be run on it.
//!
//! The kernel hands on each write, rename and sync as it comes (nothing is written back later), so the disk knows what a program made
//! durable and what not. Who may hold a lock, and what was read lately, stays with the kernel. Links, sparse allocation and attributes
//! other than a length are refused or taken without effect.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use lodedb_wal::fs::sim::SimFileSystem;
use lodedb_wal::fs::{File, FileSystem, OpenMode, write_all_at};

/// How long the kernel may believe what it was told: for ever, since nothing changes but through it.
const TTL: Duration = Duration::from_secs(3600);

/// The bits of a mode that say what a node is, and a socket.
const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
/// One sync in so many is not done by a disk that lies.
const LIES: u64 = 8;

/// Makes a disk the file system at `at`, until what is returned is dropped. Fails where the process may not mount. If it `is_lying`, some
/// syncs do nothing and succeed.
pub(crate) fn mount(disk: SimFileSystem, at: &Path, is_lying: bool) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("lodedb-power".into())];
    let mount =
        Mount { disk, begun: SystemTime::now(), nodes: Mutex::new(Nodes::new()), is_lying, syncs: AtomicU64::new(0) };
    fuser::spawn_mount(mount, at, &config)
}

struct Mount {
    disk: SimFileSystem,
    begun: SystemTime,
    nodes: Mutex<Nodes>,
    is_lying: bool,
    syncs: AtomicU64,
}

/// What the kernel knows by number. Numbers are never given again.
struct Nodes {
    all: HashMap<u64, Node>,
    by_path: HashMap<PathBuf, u64>,
}

struct Node {
    path: PathBuf,
    kind: FileType,
    /// Of regular files; it stays as long as anyone holds it, removed or not. Sockets have none: nothing of them is ever on the disk.
    file: Option<Arc<dyn File>>,
}

impl Nodes {
    fn new() -> Self {
        let root = PathBuf::from("/");
        let all = HashMap::from([(
            u64::from(INodeNo::ROOT),
            Node { path: root.clone(), kind: FileType::Directory, file: None },
        )]);
        Self { all, by_path: HashMap::from([(root, u64::from(INodeNo::ROOT))]) }
    }

    fn node(&self, number: INodeNo) -> io::Result<&Node> {
        self.all.get(&u64::from(number)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn path(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.node(parent)?.path.join(name))
    }

    /// The number of what is at a path, a new one if it has none yet.
    fn number(&mut self, path: &Path, kind: FileType, file: Option<Arc<dyn File>>) -> u64 {
        if let Some(&number) = self.by_path.get(path) {
            return number;
        }
        let number = self.all.len() as u64 + u64::from(INodeNo::ROOT);
        self.all.insert(number, Node { path: path.to_owned(), kind, file });
        self.by_path.insert(path.to_owned(), number);
        number
    }

    /// What was at `from`, and all below it, is at `to` now.
    fn moved(&mut self, from: &Path, to: &Path) {
        self.by_path.remove(to);
        let below: Vec<(PathBuf, u64)> = self
            .by_path
            .iter()
            .filter(|(path, _)| path.starts_with(from))
            .map(|(path, &number)| (path.clone(), number))
            .collect();
        for (path, number) in below {
            self.by_path.remove(&path);
            let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
            let path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            if let Some(node) = self.all.get_mut(&number) {
                node.path.clone_from(&path);
            }
            self.by_path.insert(path, number);
        }
    }
}

impl Mount {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, number: INodeNo) -> io::Result<Arc<dyn File>> {
        self.nodes().node(number)?.file.clone().ok_or_else(|| io::ErrorKind::IsADirectory.into())
    }

    fn attributes(&self, number: INodeNo) -> io::Result<FileAttr> {
        let (kind, file) = {
            let nodes = self.nodes();
            let node = nodes.node(number)?;
            (node.kind, node.file.clone())
        };
        let size = file.as_ref().map_or(Ok(0), |file| file.len())?;
        Ok(FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: self.begun,
            mtime: self.begun,
            ctime: self.begun,
            crtime: self.begun,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// The number of what is at a path.
    fn look_up(&self, path: &Path) -> io::Result<FileAttr> {
        let number = {
            let mut nodes = self.nodes();
            let known = nodes.by_path.get(path).copied();
            match known {
                Some(number) => number,
                None => match self.disk.open(path, OpenMode::ReadWrite) {
                    Ok(file) => nodes.number(path, FileType::RegularFile, Some(file)),
                    Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                        nodes.number(path, FileType::Directory, None)
                    }
                    Err(error) => return Err(error),
                },
            }
        };
        self.attributes(INodeNo(number))
    }

    fn list(&self, number: INodeNo) -> io::Result<Vec<(u64, FileType, String)>> {
        let dir = self.nodes().node(number)?.path.clone();
        let mut entries = vec![
            (number.into(), FileType::Directory, ".".to_owned()),
            (number.into(), FileType::Directory, "..".to_owned()),
        ];
        for entry in self.disk.read_dir(&dir)? {
            let attributes = self.look_up(&dir.join(&entry.name))?;
            entries.push((attributes.ino.into(), attributes.kind, entry.name));
        }
        Ok(entries)
    }

    fn make_dir(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let path = self.nodes().path(parent, name)?;
        self.disk.create_dir(&path)?;
        self.look_up(&path)
    }

    fn make_file(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let path = self.nodes().path(parent, name)?;
        self.disk.open(&path, OpenMode::CreateNew)?;
        self.look_up(&path)
    }

    fn make_socket(&self, parent: INodeNo, name: &OsStr, mode: u32) -> io::Result<FileAttr> {
        if mode & S_IFMT != S_IFSOCK {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let path = self.nodes().path(parent, name)?;
        self.nodes().number(&path, FileType::Socket, None);
        self.look_up(&path)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, is_dir: bool) -> io::Result<()> {
        let path = self.nodes().path(parent, name)?;
        let attributes = self.look_up(&path)?;
        if attributes.kind == FileType::Socket {
            // Never was on the disk.
        } else if !is_dir {
            self.disk.remove_file(&path)?;
        } else if self.disk.read_dir(&path)?.is_empty() {
            self.disk.remove_dir_all(&path)?;
        } else {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.nodes().by_path.remove(&path);
        Ok(())
    }

    fn move_to(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> io::Result<()> {
        if !flags.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut nodes = self.nodes();
        let (from, to) = (nodes.path(from.0, from.1)?, nodes.path(to.0, to.1)?);
        self.disk.rename(&from, &to)?;
        nodes.moved(&from, &to);
        Ok(())
    }
}

/// Replies with what came out.
macro_rules! reply {
    ($result:expr, $reply:ident, $value:pat => $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => $reply.error(errno(&error)),
        }
    };
}

fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::NotFound => Errno::ENOENT,
        io::ErrorKind::AlreadyExists => Errno::EEXIST,
        io::ErrorKind::IsADirectory => Errno::EISDIR,
        io::ErrorKind::NotADirectory => Errno::ENOTDIR,
        io::ErrorKind::DirectoryNotEmpty => Errno::ENOTEMPTY,
        io::ErrorKind::InvalidInput => Errno::EINVAL,
        _ => Errno::EIO,
    }
}

impl Filesystem for Mount {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.nodes().path(parent, name);
        reply!(found.and_then(|path| self.look_up(&path)), reply, found => reply.entry(&TTL, &found, Generation(0)))
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply!(self.attributes(number), reply, found => reply.attr(&TTL, &found))
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let cut = size.map_or(Ok(()), |size| self.file(number)?.set_len(size));
        reply!(cut.and_then(|()| self.attributes(number)), reply, found => reply.attr(&TTL, &found))
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply!(self.make_dir(parent, name), reply, made => reply.entry(&TTL, &made, Generation(0)))
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply!(self.make_socket(parent, name, mode), reply, made => reply.entry(&TTL, &made, Generation(0)))
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(self.remove(parent, name, false), reply, () => reply.ok())
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(self.remove(parent, name, true), reply, () => reply.ok())
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply!(self.move_to((parent, name), (new_parent, new_name), flags), reply, () => reply.ok())
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        // What a program hears that then copies instead.
        reply.error(Errno::ENOTSUP);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let made = self.make_file(parent, name);
        reply!(made, reply, made => reply.created(&TTL, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE))
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.file(number).and_then(|file| {
            let mut bytes = vec![0; size as usize];
            let n = file.read_at(&mut bytes, offset)?;
            bytes.truncate(n);
            Ok(bytes)
        });
        reply!(read, reply, bytes => reply.data(&bytes))
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.file(number).and_then(|file| write_all_at(&*file, data, offset));
        reply!(written, reply, () => reply.written(data.len() as u32))
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if self.is_lying && self.syncs.fetch_add(1, Ordering::Relaxed).is_multiple_of(LIES) {
            return reply.ok();
        }
        reply!(self.file(number).and_then(|file| file.sync_all()), reply, () => reply.ok())
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        reply!(self.list(number), reply, entries => {
            for (at, (number, kind, name)) in entries.into_iter().enumerate().skip(offset as usize) {
                if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                    break;
                }
            }
            reply.ok();
        })
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.nodes().node(number).map(|node| node.path.clone()).and_then(|path| self.disk.sync_dir(&path));
        reply!(synced, reply, () => reply.ok())
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 24;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, 4096, 255, 4096);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::ENOTSUP);
    }
}
