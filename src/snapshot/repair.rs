//! Mending: a file that is damaged or gone is put back from a backup that holds the same one.
//!
//! What a manifest names never changes, so a file of the same path, length and checksums in any backup is that file. It is checked in
//! the backup, copied beside the damaged one, and renamed over it. What was mended is kept in `DIR/repairs`.
//!
//! It happens by itself where opening a database finds a primary file damaged; `lodedb check --repair` looks at every byte first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::fs::{self, FileSystem};
use parking_lot::Mutex;

use super::backup::repository::{Repository, copy};
use super::backup::{Backup, BackupError};
use super::manifest::{Manifest, QuantizerFiles, RETAINED};
use super::recovery;
use crate::db::error::OpenError;
use crate::segment::{FileEntry, Sealed, SegmentFiles, verify_file};

/// The file that lists what was mended.
const REPAIRS: &str = "repairs";

/// Something that was mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// When: microseconds since 1970 UTC, a label.
    pub time_us: i64,
    /// The file, by its path below the directory.
    pub file: String,
    /// What was done.
    pub done: String,
}

/// Mends the files of one database from one folder of backups.
#[derive(Debug)]
pub struct Mender {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    folder: PathBuf,
    /// Looked up when first needed.
    backups: Mutex<Option<Arc<Vec<Backup>>>>,
}

impl Mender {
    /// For the database in `dir`, its backups in `folder`, which need not exist.
    pub fn new(fs: Arc<dyn FileSystem>, dir: &Path, folder: PathBuf) -> Self {
        Self { fs, dir: dir.to_owned(), folder, backups: Mutex::new(None) }
    }

    fn backups(&self) -> Arc<Vec<Backup>> {
        let mut backups = self.backups.lock();
        let look = || {
            let found = Repository::look(self.fs.clone(), &self.folder);
            Arc::new(
                found.inspect_err(|error| tracing::error!(%error, "no backup can be looked at")).unwrap_or_default(),
            )
        };
        backups.get_or_insert_with(look).clone()
    }

    /// Opens a segment; primary files that are damaged or missing are put back first, if a backup holds them. With `whole` every block is
    /// looked at.
    pub fn open_sealed(&self, folder: &Path, files: &SegmentFiles, whole: bool) -> Result<Arc<Sealed>> {
        let open = || -> Result<Arc<Sealed>> {
            let sealed = Sealed::open(&self.fs, folder, files)?;
            if whole {
                sealed.verify()?;
            }
            Ok(sealed)
        };
        let error = match open() {
            Err(error) if error.state() == SqlState::DataCorrupted => error,
            other => return other,
        };
        tracing::error!(%error, "a segment is damaged; looking for its files in the backups");
        for (entry, _) in files.entries().filter(|(_, primary)| *primary) {
            let path = folder.join(&entry.name);
            if is_damaged(&*self.fs, &path, entry) && !self.fetch(&path, entry)? {
                return Err(error.with_hint(format!("No backup in \"{}\" holds the file.", self.folder.display())));
            }
        }
        open()
    }

    /// Puts a damaged file back; one that is derived and in no backup is removed. Says whether that is all it takes.
    pub(super) fn mend(&self, path: &Path, entry: &FileEntry, derived: bool) -> Result<bool> {
        if self.fetch(path, entry)? || !derived {
            return Ok(!is_damaged(&*self.fs, path, entry));
        }
        if self.fs.exists(path).map_err(|error| failed(path, &error))? {
            self.fs.remove_file(path).map_err(|error| failed(path, &error))?;
            let name = path.strip_prefix(&self.dir).unwrap_or(path).to_string_lossy().into_owned();
            self.note(&name, "removed, to be built again".to_owned())?;
        }
        Ok(true)
    }

    /// Puts a file back; says whether a backup held it.
    fn fetch(&self, path: &Path, entry: &FileEntry) -> Result<bool> {
        let Some(name) = path.strip_prefix(&self.dir).ok().and_then(Path::to_str) else { return Ok(false) };
        for backup in self.backups().iter() {
            for file in backup.files.iter().filter(|file| file.path == name && file.len == entry.len) {
                let source = Repository::path_in(&self.folder, file);
                if let Err(error) = verify_file(&*self.fs, &source, entry) {
                    tracing::warn!(%error, backup = backup.number, "the file in a backup does not do either");
                    continue;
                }
                let folder = path.parent().unwrap_or(&self.dir);
                fs::create_dirs(&*self.fs, folder).map_err(|error| failed(folder, &error))?;
                copy(&*self.fs, &source, path, file).map_err(|error: BackupError| error.to_sql())?;
                self.note(name, format!("put back from backup {}", backup.number))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn note(&self, file: &str, done: String) -> Result<()> {
        tracing::warn!(file, done, "mended");
        let path = self.dir.join(REPAIRS);
        let mut text = match fs::read_file(&*self.fs, &path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(&path, &error)),
        };
        text.push_str(&format!("{}\t{file}\t{done}\n", crate::db::clock::now_us()));
        fs::publish(&*self.fs, &path, text.as_bytes()).map_err(|error| failed(&path, &error))
    }
}

/// What was mended in a database so far, oldest first.
pub fn repairs(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<Repair>> {
    let path = dir.join(REPAIRS);
    let bytes = match fs::read_file(fs, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&path, &error)),
    };
    let parse = |line: &str| {
        let mut parts = line.splitn(3, '\t');
        let time_us = parts.next()?.parse().ok()?;
        Some(Repair { time_us, file: parts.next()?.to_owned(), done: parts.next()?.to_owned() })
    };
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect())
}

/// Looks at every block that the kept manifests name, in a database that nobody has open, and mends what can be. A derived file that no
/// backup holds is removed: it is built again. Gives what was done.
pub fn repair(
    fs: &Arc<dyn FileSystem>,
    dir: &Path,
    folder: Option<PathBuf>,
) -> std::result::Result<Vec<Repair>, OpenError> {
    let dir = std::path::absolute(dir).map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
    if !fs.exists(&dir.join("FORMAT")).map_err(|error| OpenError::Io { path: dir.clone(), error })? {
        return Err(OpenError::Foreign { path: dir, reason: "it has no FORMAT file".into() });
    }
    let _lock = recovery::lock(&**fs, &dir)?;
    let manifests = dir.join("manifest");
    // Without one that verifies nothing says which files there should be.
    recovery::newest_manifest(&**fs, &manifests)?;
    let kept = Manifest::generations(&**fs, &manifests)
        .map_err(|error| OpenError::Io { path: manifests.clone(), error })?
        .into_iter()
        .take(RETAINED)
        .filter_map(|generation| Manifest::read(&**fs, &manifests, generation).ok());
    let named: BTreeMap<_, _> = kept
        .flat_map(|manifest| named_files(&manifest, &dir))
        .map(|(path, entry, derived)| (path, (entry, derived)))
        .collect();
    let before = repairs(&**fs, &dir)?.len();
    let mender = Mender::new(fs.clone(), &dir, folder.unwrap_or_else(|| dir.join("backups")));
    for (path, (entry, derived)) in named {
        if is_damaged(&**fs, &path, &entry) {
            mender.mend(&path, &entry, derived)?;
        }
    }
    Ok(repairs(&**fs, &dir)?.split_off(before))
}

/// Every file of segments and indexes that a manifest names, each with whether it is derived.
pub(crate) fn named_files(manifest: &Manifest, dir: &Path) -> Vec<(PathBuf, FileEntry, bool)> {
    let mut named = Vec::new();
    for table in &manifest.tables {
        let segments = dir.join("segments").join(table.table.to_string());
        for (folder, files) in table.segments.iter().filter_map(|segment| segment.files.as_ref()) {
            let folder = segments.join(folder);
            named.extend(files.entries().map(|(entry, primary)| (folder.join(&entry.name), entry.clone(), !primary)));
        }
        for (index, files) in &table.indexes {
            let codes = files.codes.iter();
            named.extend(
                codes.map(|(id, entry)| (segments.join(id.to_string()).join(&entry.name), entry.clone(), true)),
            );
            let folder = dir.join("quantizers").join(index.to_string());
            let trained = files.quantizer.iter().flat_map(QuantizerFiles::entries);
            named.extend(trained.map(|entry| (folder.join(&entry.name), entry.clone(), true)));
        }
    }
    named
}

fn is_damaged(fs: &dyn FileSystem, path: &Path, entry: &FileEntry) -> bool {
    verify_file(fs, path, entry).is_err()
}

fn failed(path: &Path, error: &std::io::Error) -> SqlError {
    SqlError::new(SqlState::of_io(error), format!("could not access \"{}\": {error}", path.display()))
}
