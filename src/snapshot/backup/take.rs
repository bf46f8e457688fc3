//! Taking a backup.
//!
//! 1. A checkpoint. While its lock is held no file goes away, and what a manifest names never changes.
//! 2. RocksDB's own checkpoint beside the store: hard links, read whole and removed again at the end.
//! 3. The log from the manifest on, as far as it is published now, or as the store has it: that may be ahead of the manifest.
//! 4. Every file is hashed, and copied if the folder does not hold it; then the list is written.
//!
//! Writers go on meanwhile; the next checkpoint waits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lodedb_wal::fs::FileSystem;
use lodedb_wal::killpoint::reach;
use lodedb_wal::{Log, LogOptions};

use super::repository::{Repository, hash_of};
use super::{Backup, BackupError, BackupFile, Progress};
use crate::commit::record::{Assembler, Op};
use crate::db::engine::Engine;
use crate::db::options::LEAST_LOG_SEGMENT_BYTES;
use crate::segment::{FileEntry, verify_file};
use crate::snapshot::checkpoint::checkpoint_after;
use crate::snapshot::files::SegmentStore;
use crate::snapshot::manifest::{Manifest, QuantizerFiles};
use crate::snapshot::recovery::log_options;
use crate::snapshot::repair::named_files;
use crate::store::{Store, StoreOptions};

type Result<T> = std::result::Result<T, BackupError>;

/// A file that a backup should hold.
struct Source {
    from: PathBuf,
    /// What must be found there, for files of segments and indexes.
    entry: Option<FileEntry>,
    /// Whether a database does without it.
    derived: bool,
}

/// The files of a backup by their paths below the directory of the database.
type Sources = BTreeMap<PathBuf, Source>;

/// Takes a backup into the folder `into` for a session (0: for none); `stop` is asked now and then whether to give up.
pub fn backup(engine: &Engine, into: &Path, session: i32, stop: &dyn Fn() -> bool) -> Result<Backup> {
    let progress = Arc::new(Progress::new(session));
    engine.backups.lock().push(progress.clone());
    let begun = Instant::now();
    let taken = take(engine, into, &progress, stop);
    engine.counters.backups.record(begun, taken.is_ok());
    if let Ok(backup) = &taken {
        engine.counters.last_backup.set(backup.lsn, backup.time_us);
    }
    engine.backups.lock().retain(|under_way| !Arc::ptr_eq(under_way, &progress));
    taken
}

fn take(engine: &Engine, into: &Path, progress: &Progress, stop: &dyn Fn() -> bool) -> Result<Backup> {
    let into = std::path::absolute(into).map_err(BackupError::io(into))?;
    if into.starts_with(&engine.dir) && !into.starts_with(engine.dir.join("backups")) {
        let reason = "it is inside the database; of its folders only \"backups\" may hold them".to_owned();
        return Err(BackupError::Refused { path: into, reason });
    }
    let fs = &engine.files.fs;
    let repository = Repository::open(fs.clone(), &into, engine.id)?;
    let mut last = engine.checkpoint.lock();
    checkpoint_after(engine, &mut last)?;
    let manifest = Manifest::read(&**fs, &engine.dir.join("manifest"), last.generation)?;
    let work = Workplace::new(engine, "backup")?;
    reach("backup: begun");

    let mut sources = Sources::new();
    for name in ["FORMAT".into(), format!("manifest/{:016x}", manifest.generation)] {
        let from = engine.dir.join(&name);
        sources.insert(name.into(), Source { from, entry: None, derived: false });
    }
    for (from, entry, derived) in named_files(&manifest, &engine.dir) {
        add(engine, from, &entry, derived, &mut sources);
    }
    let meta = work.dir.join("meta");
    engine.store.checkpoint(&meta)?;
    let store_options = StoreOptions { block_cache_bytes: 8 << 20, ..StoreOptions::default() };
    let stored = Store::verify_copy(&**fs, &meta, &store_options)?;
    add_folder(&**fs, &meta, "meta", &mut sources)?;
    reach("backup: rows copied");
    // The end of a commit, and not before what the rows have.
    let view = engine.view();
    let lsn = view.lsn.max(stored);
    for model in manifest.catalog.models().chain(view.catalog.models()) {
        let folder = engine.models.folder(&model.hash);
        for file in &model.files {
            add_unframed(engine, folder.join(&file.name), &mut sources);
        }
    }
    if lsn > manifest.lsn {
        let wal = work.dir.join("wal");
        write_log(engine, &wal, manifest.lsn, lsn, &mut sources)?;
        add_folder(&**fs, &wal, "wal", &mut sources)?;
    }
    reach("backup: log written");
    let backup = copy_all(engine, &repository, &sources, lsn, progress, stop)?;
    reach("backup: before its list");
    repository.publish(&backup)?;
    reach("backup: done");
    tracing::info!(
        number = backup.number,
        lsn,
        bytes = backup.size_bytes(),
        copied = backup.copied_bytes,
        path = %into.display(),
        "took a backup"
    );
    Ok(backup)
}

/// Hashes every file and copies those that are not there.
fn copy_all(
    engine: &Engine,
    repository: &Repository,
    sources: &Sources,
    lsn: u64,
    progress: &Progress,
    stop: &dyn Fn() -> bool,
) -> Result<Backup> {
    let fs = &*engine.files.fs;
    let mut total = 0;
    for source in sources.values() {
        total += length(fs, &source.from).unwrap_or(0);
    }
    progress.total.store(total, Ordering::Relaxed);
    let number = repository.numbers()?.first().map_or(1, |newest| newest + 1);
    let mut backup = Backup {
        number,
        database: engine.id.into_bytes(),
        lsn,
        time_us: crate::db::clock::now_us(),
        files: Vec::with_capacity(sources.len()),
        copied_bytes: 0,
    };
    for (path, source) in sources {
        let hashed = hash_of(fs, &source.from, &mut |chunk| {
            progress.add(chunk.len() as u64);
            if stop() { Err(BackupError::Closed) } else { Ok(()) }
        });
        let (len, hash) = match hashed {
            Err(BackupError::Io { path, error }) if source.derived => {
                tracing::warn!(path = %path.display(), %error, "a derived file is left out of a backup");
                continue;
            }
            other => other?,
        };
        let path = path.to_string_lossy().into_owned();
        let file = BackupFile { path, len, hash };
        if !repository.holds(&file)? {
            // Bytes that do not verify here must not become what a backup is restored from.
            if let Some(entry) = &source.entry
                && let Err(error) = verify_file(fs, &source.from, entry)
            {
                if source.derived {
                    tracing::warn!(%error, "a derived file is left out of a backup");
                    continue;
                }
                return Err(error.into());
            }
            repository.take_in(&source.from, &file)?;
            reach("backup: a file taken in");
            backup.copied_bytes += len;
        }
        backup.files.push(file);
    }
    Ok(backup)
}

fn add_quantizer(engine: &Engine, index: u32, files: &QuantizerFiles, sources: &mut Sources) {
    let dir = engine.files.quantizer_dir(index);
    for entry in files.entries() {
        add(engine, dir.join(&entry.name), entry, true, sources);
    }
}

/// The files an operation of the log names.
fn name_op(op: &Op, engine: &Engine, sources: &mut Sources) {
    let files: &SegmentStore = &engine.files;
    match op {
        Op::Seal { table, output: Some(output), codes, .. } => {
            let folder = files.segment_dir(*table, output.id);
            for (entry, primary) in output.entries() {
                add(engine, folder.join(&entry.name), entry, !primary, sources);
            }
            codes.iter().for_each(|(_, entry)| add(engine, folder.join(&entry.name), entry, true, sources));
        }
        Op::InsertStaged { table, files: staged, .. } => {
            let folder = files.segment_dir(*table, staged.id);
            for (entry, primary) in staged.entries() {
                add(engine, folder.join(&entry.name), entry, !primary, sources);
            }
        }
        Op::BuildIndex { table, index, quantizer, codes } => {
            add_quantizer(engine, *index, quantizer, sources);
            for (segment, entry) in codes {
                add(engine, files.segment_dir(*table, *segment).join(&entry.name), entry, true, sources);
            }
        }
        Op::Encode { table, segment, codes } => {
            let folder = files.segment_dir(*table, *segment);
            codes.iter().for_each(|(_, entry)| add(engine, folder.join(&entry.name), entry, true, sources));
        }
        _ => {}
    }
}

fn add(engine: &Engine, from: PathBuf, entry: &FileEntry, derived: bool, sources: &mut Sources) {
    let path = from.strip_prefix(&engine.dir).map(Path::to_owned).unwrap_or_else(|_| from.clone());
    sources.insert(path, Source { from, entry: Some(entry.clone()), derived });
}

/// Adds a file of the database that has no table of blocks.
fn add_unframed(engine: &Engine, from: PathBuf, sources: &mut Sources) {
    let path = from.strip_prefix(&engine.dir).map(Path::to_owned).unwrap_or_else(|_| from.clone());
    sources.insert(path, Source { from, entry: None, derived: false });
}

/// Every file of a folder of the workplace.
fn add_folder(fs: &dyn FileSystem, folder: &Path, name: &str, sources: &mut Sources) -> Result<()> {
    for entry in fs.read_dir(folder).map_err(BackupError::io(folder))?.iter().filter(|entry| !entry.is_dir) {
        let from = folder.join(&entry.name);
        sources.insert(Path::new(name).join(&entry.name), Source { from, entry: None, derived: false });
    }
    Ok(())
}

/// Writes the records after `after` up to `until` as a log of its own, and names the files they name.
fn write_log(engine: &Engine, into: &Path, after: u64, until: u64, sources: &mut Sources) -> Result<()> {
    let options = log_options(&*engine.files.fs, LEAST_LOG_SEGMENT_BYTES);
    let options = LogOptions { background: false, ..options };
    let log = Log::open(engine.files.fs.clone(), into, options, after + 1, after)?;
    let mut assembler = Assembler::default();
    for record in engine.log.read_from(after + 1)? {
        let (lsn, bytes) = record?;
        if lsn > until {
            break;
        }
        log.append(&[&bytes])?;
        for op in assembler.push(lsn, &bytes)?.iter().flat_map(|commit| &commit.ops) {
            name_op(op, engine, sources);
        }
    }
    log.close()?;
    Ok(())
}

fn length(fs: &dyn FileSystem, path: &Path) -> std::io::Result<u64> {
    fs.open(path, lodedb_wal::fs::OpenMode::Read)?.len()
}

/// A folder for what is made on the way, removed at the end; what a crash leaves of it is removed when the database is opened.
pub(super) struct Workplace {
    fs: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
}

impl Workplace {
    pub(super) fn new(engine: &Engine, name: &str) -> Result<Self> {
        let fs = engine.files.fs.clone();
        let dir = engine.dir.join("spill").join(name);
        if fs.exists(&dir).map_err(BackupError::io(&dir))? {
            fs.remove_dir_all(&dir).map_err(BackupError::io(&dir))?;
        }
        engine.files.create_dirs(&dir).map_err(BackupError::io(&dir))?;
        Ok(Self { fs, dir })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = self.fs.remove_dir_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "what a backup made on the way was not removed");
        }
    }
}
