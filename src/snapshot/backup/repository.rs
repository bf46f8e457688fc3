//! The folder that backups are in. docs/file-format.md has its layout.
//!
//! ```text
//! BACKUPS              what the folder is, and the database it is for
//! LOCK                 held by the one process that works in it
//! lists/<number>       one backup: its files by path, length and hash
//! logs/<first lsn>     a piece of the log: where its records are, and the files they need
//! files/<2>/<hash>     a file by its content, once for all backups that hold it
//! ```

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_wal::fs::{self, FileSystem, Lock, OpenMode};

use super::archive::Piece;
use super::{Backup, BackupError, BackupFile, DatabaseId};
use crate::snapshot::framed::Form;

type Result<T> = std::result::Result<T, BackupError>;

const MARK: &str = "lodedb backups 1 ";
const FORM: Form = Form { magic: b"LODEBACK", format: 1, name: "list of a backup" };
const PIECE_FORM: Form = Form { magic: b"LODELOGP", format: 1, name: "piece of an archived log" };
/// Bytes read and written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// An open folder of backups.
#[derive(Debug)]
pub struct Repository {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    _lock: Option<Lock>,
}

impl Repository {
    /// Opens the folder for backups of a database; makes it where there is none or an empty one.
    pub fn open(fs: Arc<dyn FileSystem>, dir: &Path, database: DatabaseId) -> Result<Self> {
        let io = BackupError::io;
        fs::create_named_dir(&*fs, dir).map_err(io(dir))?;
        let mark = dir.join("BACKUPS");
        let is_new = !fs.exists(&mark).map_err(io(&mark))?;
        if is_new {
            const OURS: [&str; 5] = ["LOCK", "BACKUPS.tmp", "lists", "logs", "files"];
            let entries = fs.read_dir(dir).map_err(io(dir))?;
            if let Some(entry) = entries.iter().find(|entry| !OURS.contains(&entry.name.as_str())) {
                let reason = format!("it holds {:?} and no backups; name an empty or a new folder", entry.name);
                return Err(BackupError::Refused { path: dir.to_owned(), reason });
            }
        }
        let lock = lock(&*fs, dir)?;
        let repository = Self { fs, dir: dir.to_owned(), _lock: Some(lock) };
        if is_new {
            for name in ["lists", "files"] {
                repository.create_dir(&dir.join(name))?;
            }
            // ORDER: last; a folder without it is made again.
            fs::publish(&*repository.fs, &mark, format!("{MARK}{database}\n").as_bytes()).map_err(io(&mark))?;
        } else {
            // CRASH: an earlier opening may have named it and been cut off, or have failed, before the name was durable.
            repository.fs.sync_dir(dir).map_err(io(dir))?;
        }
        let found = repository.database()?;
        if found != database {
            let reason = format!("its backups are of database {found}, and this is {database}; name another folder");
            return Err(BackupError::Refused { path: dir.to_owned(), reason });
        }
        Ok(repository)
    }

    /// Opens a folder that holds backups, of whichever database.
    pub fn existing(fs: Arc<dyn FileSystem>, dir: &Path) -> Result<Self> {
        let mark = dir.join("BACKUPS");
        if !fs.exists(&mark).map_err(BackupError::io(&mark))? {
            return Err(BackupError::None(format!("{} holds no backups", dir.display())));
        }
        let lock = lock(&*fs, dir)?;
        let repository = Self { fs, dir: dir.to_owned(), _lock: Some(lock) };
        repository.database()?;
        Ok(repository)
    }

    /// The backups in a folder, newest first; none where there is no such folder.
    pub fn look(fs: Arc<dyn FileSystem>, dir: &Path) -> Result<Vec<Backup>> {
        let mark = dir.join("BACKUPS");
        if !fs.exists(&mark).map_err(BackupError::io(&mark))? {
            return Ok(Vec::new());
        }
        Self { fs, dir: dir.to_owned(), _lock: None }.backups()
    }

    /// The database whose backups are here.
    pub fn database(&self) -> Result<DatabaseId> {
        let path = self.dir.join("BACKUPS");
        let bytes = fs::read_file(&*self.fs, &path).map_err(BackupError::io(&path))?;
        let text = String::from_utf8_lossy(&bytes);
        text.strip_prefix(MARK).and_then(|id| id.trim().parse().ok()).ok_or_else(|| {
            BackupError::damaged(&path, format!("it does not begin with {MARK:?} and the identity of a database"))
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn list_path(&self, number: u64) -> PathBuf {
        self.dir.join("lists").join(format!("{number:016x}"))
    }

    /// Where the bytes of a file are.
    pub fn path_of(&self, file: &BackupFile) -> PathBuf {
        Self::path_in(&self.dir, file)
    }

    /// Where the bytes of a file are in a folder of backups.
    pub fn path_in(folder: &Path, file: &BackupFile) -> PathBuf {
        let hash = blake3::Hash::from_bytes(file.hash).to_hex();
        folder.join("files").join(&hash[..2]).join(hash.as_str())
    }

    /// The numbers of the backups, newest first.
    pub fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers = self.numbers_in("lists")?;
        numbers.reverse();
        Ok(numbers)
    }

    /// The numbers that name the files of a folder, ascending.
    fn numbers_in(&self, folder: &str) -> Result<Vec<u64>> {
        let dir = self.dir.join(folder);
        let entries = self.fs.read_dir(&dir).map_err(BackupError::io(&dir))?;
        let named = entries.iter().filter(|entry| !entry.is_dir && entry.name.len() == 16);
        let mut numbers: Vec<u64> = named.filter_map(|entry| u64::from_str_radix(&entry.name, 16).ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn piece_path(&self, first: u64) -> PathBuf {
        self.dir.join("logs").join(format!("{first:016x}"))
    }

    /// The pieces of the log, oldest first; none in a folder from before there were any.
    pub fn pieces(&self) -> Result<Vec<Piece>> {
        let dir = self.dir.join("logs");
        if !self.fs.exists(&dir).map_err(BackupError::io(&dir))? {
            return Ok(Vec::new());
        }
        self.numbers_in("logs")?.into_iter().map(|first| self.read_piece(first)).collect()
    }

    fn read_piece(&self, first: u64) -> Result<Piece> {
        let path = self.piece_path(first);
        let bytes = fs::read_file(&*self.fs, &path).map_err(BackupError::io(&path))?;
        let (found, piece): (u64, Piece) =
            PIECE_FORM.decode(&bytes).map_err(|reason| BackupError::damaged(&path, reason))?;
        if found != first || piece.first != first {
            return Err(BackupError::damaged(&path, format!("it is the piece from {} on", piece.first)));
        }
        Ok(piece)
    }

    /// Writes the list of a piece: from here on it is one.
    pub fn publish_piece(&self, piece: &Piece) -> Result<()> {
        self.create_dir(&self.dir.join("logs"))?;
        let path = self.piece_path(piece.first);
        fs::publish(&*self.fs, &path, &PIECE_FORM.encode(piece.first, piece)).map_err(BackupError::io(&path))
    }

    /// The list of a backup.
    pub fn read(&self, number: u64) -> Result<Backup> {
        let path = self.list_path(number);
        let bytes = fs::read_file(&*self.fs, &path).map_err(BackupError::io(&path))?;
        let (found, backup): (u64, Backup) =
            FORM.decode(&bytes).map_err(|reason| BackupError::damaged(&path, reason))?;
        if found != number || backup.number != number {
            return Err(BackupError::damaged(&path, format!("it is the list of backup {}", backup.number)));
        }
        Ok(backup)
    }

    /// The backups whose lists can be read, newest first; what cannot be read is logged.
    pub fn backups(&self) -> Result<Vec<Backup>> {
        let read = |number| {
            self.read(number).inspect_err(|error| tracing::error!(%error, number, "a backup cannot be used")).ok()
        };
        Ok(self.numbers()?.into_iter().filter_map(read).collect())
    }

    /// Whether the bytes of a file are here, as far as a look at their length tells.
    pub fn holds(&self, file: &BackupFile) -> Result<bool> {
        let path = self.path_of(file);
        if !self.fs.exists(&path).map_err(BackupError::io(&path))? {
            return Ok(false);
        }
        let opened = self.fs.open(&path, OpenMode::Read).map_err(BackupError::io(&path))?;
        Ok(opened.len().map_err(BackupError::io(&path))? == file.len)
    }

    /// Copies a file in and reads the copy back; gives where it is.
    pub fn take_in(&self, source: &Path, file: &BackupFile) -> Result<PathBuf> {
        let path = self.path_of(file);
        if let Some(folder) = path.parent() {
            self.create_dir(folder)?;
        }
        copy(&*self.fs, source, &path, file)?;
        self.verify(file)?;
        Ok(path)
    }

    /// Reads a file whole and compares it with its name.
    pub fn verify(&self, file: &BackupFile) -> Result<()> {
        let path = self.path_of(file);
        fs::drop_cached_pages(&*self.fs, &path).map_err(BackupError::io(&path))?;
        let (len, hash) = hash_of(&*self.fs, &path, &mut |_| Ok(()))?;
        if (len, hash) != (file.len, file.hash) {
            return Err(BackupError::damaged(&path, "its bytes are not those it is named by"));
        }
        Ok(())
    }

    /// Writes the list of a backup: from here on it is one.
    pub fn publish(&self, backup: &Backup) -> Result<()> {
        let path = self.list_path(backup.number);
        fs::publish(&*self.fs, &path, &FORM.encode(backup.number, backup)).map_err(BackupError::io(&path))
    }

    /// Removes backups, what the log was archived for them, and the files that no other holds. Nothing is removed while a list cannot be read: it may name anything.
    pub fn forget(&self, numbers: &[u64]) -> Result<()> {
        let lists = self.dir.join("lists");
        for &number in numbers {
            let path = self.list_path(number);
            self.fs.remove_file(&path).map_err(BackupError::io(&path))?;
        }
        // ORDER: the lists are gone before what they name.
        self.fs.sync_dir(&lists).map_err(BackupError::io(&lists))?;
        let (mut named, mut oldest) = (HashSet::new(), u64::MAX);
        for number in self.numbers()? {
            let backup = self.read(number)?;
            oldest = oldest.min(backup.lsn);
            named.extend(backup.files.iter().map(|file| self.path_of(file)));
        }
        let mut is_shorter = false;
        for piece in self.pieces()? {
            if piece.last <= oldest {
                let path = self.piece_path(piece.first);
                self.fs.remove_file(&path).map_err(BackupError::io(&path))?;
                is_shorter = true;
            } else {
                named.extend(piece.files.iter().chain([&piece.records]).map(|file| self.path_of(file)));
            }
        }
        if is_shorter {
            let logs = self.dir.join("logs");
            self.fs.sync_dir(&logs).map_err(BackupError::io(&logs))?;
        }
        let files = self.dir.join("files");
        for folder in self.fs.read_dir(&files).map_err(BackupError::io(&files))? {
            let folder = files.join(folder.name);
            for entry in self.fs.read_dir(&folder).map_err(BackupError::io(&folder))? {
                let path = folder.join(entry.name);
                if !named.contains(&path) {
                    self.fs.remove_file(&path).map_err(BackupError::io(&path))?;
                }
            }
        }
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        fs::create_dirs(&*self.fs, dir).map_err(BackupError::io(dir))
    }
}

fn lock(fs: &dyn FileSystem, dir: &Path) -> Result<Lock> {
    let path = dir.join("LOCK");
    fs.try_lock(&path, &format!("process {}", std::process::id())).map_err(|error| {
        if error.kind() != std::io::ErrorKind::WouldBlock {
            return BackupError::Io { path: path.clone(), error };
        }
        let holder = fs::read_file(fs, &path).unwrap_or_default();
        BackupError::InUse { path: dir.to_owned(), holder: String::from_utf8_lossy(&holder).trim().to_owned() }
    })
}

/// The length of a file and the hash of its bytes; `each` hears of every chunk.
pub(super) fn hash_of(
    fs: &dyn FileSystem,
    path: &Path,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(u64, [u8; 32])> {
    let io = BackupError::io;
    let file = fs.open(path, OpenMode::Read).map_err(io(path))?;
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read_at(&mut chunk, at) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(io(path))?,
        };
        if read == 0 {
            return Ok((at, *hasher.finalize().as_bytes()));
        }
        hasher.update(&chunk[..read]);
        each(&chunk[..read])?;
        at += read as u64;
    }
}

/// Copies a file that is known by its hash. Durable under its name when this returns; other bytes never get the name.
pub(in crate::snapshot) fn copy(fs: &dyn FileSystem, source: &Path, to: &Path, known: &BackupFile) -> Result<()> {
    let io = BackupError::io;
    let mut tmp = to.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    if fs.exists(&tmp).map_err(io(&tmp))? {
        // CRASH: a copy was cut off before its rename.
        fs.remove_file(&tmp).map_err(io(&tmp))?;
    }
    let file = fs.open(&tmp, OpenMode::CreateNew).map_err(io(&tmp))?;
    let mut at = 0u64;
    let copied = hash_of(fs, source, &mut |chunk| {
        fs::write_all_at(file.as_ref(), chunk, at).map_err(io(&tmp))?;
        at += chunk.len() as u64;
        Ok(())
    });
    let named = copied.and_then(|found| {
        if found != (known.len, known.hash) {
            return Err(BackupError::damaged(source, "its bytes are not those of the file it should be"));
        }
        // ORDER: bytes, then the name, then the directory.
        file.sync_all().map_err(io(&tmp))?;
        fs.rename(&tmp, to).map_err(io(to))?;
        let folder = to.parent().unwrap_or(Path::new("/"));
        fs.sync_dir(folder).map_err(io(folder))
    });
    if named.is_err() {
        // Best effort; the next copy removes it too.
        let _ = fs.remove_file(&tmp);
    }
    named
}
