//! A new database out of a backup.
//!
//! It is put together in a folder beside the place it is for, every file compared with its hash while it is copied, opened
//! once as any database is, and only then given its name: what is at that place is a whole database or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_wal::Log;
use lodedb_wal::fs::{self, FileSystem};

use super::archive::{Until, extend};
use super::repository::{Repository, copy};
use super::{Backup, BackupError, BackupFile, Progress};
use crate::db::options::{LEAST_LOG_SEGMENT_BYTES, Options};
use crate::snapshot::recovery;

type Result<T> = std::result::Result<T, BackupError>;

/// What a database was made of.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub backup: Backup,
    /// The last commit it holds.
    pub lsn: u64,
    /// When that was, or the backup was taken: microseconds since 1970 UTC.
    pub time_us: i64,
}

/// Makes the database `to` out of a backup in the folder `from`: the one with a number, or the newest. `to` must not exist or be an empty
/// folder. A backup that is damaged is not used; if none was named the one before is. With `until` the archived log takes it on from there,
/// beginning with the last backup that is not after it.
pub fn restore(
    fs: &Arc<dyn FileSystem>,
    from: &Path,
    number: Option<u64>,
    to: &Path,
    until: Option<Until>,
    progress: &Progress,
) -> Result<Restored> {
    let repository = Repository::existing(fs.clone(), from)?;
    let to = std::path::absolute(to).map_err(BackupError::io(to))?;
    refuse_used(&**fs, &to)?;
    let backups = match number {
        Some(number) => vec![repository.read(number)?],
        None => repository.backups()?,
    };
    let all = backups.len();
    let backups: Vec<Backup> =
        backups.into_iter().filter(|backup| until.is_none_or(|until| until.follows(backup))).collect();
    if backups.is_empty() && all > 0 {
        let oldest = repository.backups()?.pop();
        let oldest = oldest.map_or_else(String::new, |oldest| {
            format!(": the oldest is of commit {} at {}", oldest.lsn, crate::db::clock::shown(oldest.time_us))
        });
        return Err(BackupError::None(format!("no backup is as old as that{oldest}")));
    }
    let mut failed = None;
    for backup in backups {
        match restore_one(fs, &repository, &backup, &to, until, progress) {
            Ok((lsn, time_us)) => return Ok(Restored { backup, lsn, time_us }),
            Err(error @ (BackupError::Damaged { .. } | BackupError::Open(_))) => {
                tracing::error!(%error, number = backup.number, "a backup cannot be restored");
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or_else(|| BackupError::None(format!("{} holds no backup that can be read", from.display()))))
}

fn restore_one(
    fs: &Arc<dyn FileSystem>,
    repository: &Repository,
    backup: &Backup,
    to: &Path,
    until: Option<Until>,
    progress: &Progress,
) -> Result<(u64, i64)> {
    let io = BackupError::io;
    let parent = to.parent().unwrap_or(Path::new("/"));
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let building = parent.join(name);
    if fs.exists(&building).map_err(io(&building))? {
        // CRASH: an earlier restore was cut off; nothing but that makes such a folder.
        fs.remove_dir_all(&building).map_err(io(&building))?;
    }
    progress.total.store(backup.size_bytes(), std::sync::atomic::Ordering::Relaxed);
    progress.done.store(0, std::sync::atomic::Ordering::Relaxed);
    make_dirs(&**fs, &building)?;
    let layout = ["wal", "meta", "segments", "quantizers", "manifest"];
    layout.iter().try_for_each(|folder| make_dirs(&**fs, &building.join(folder)))?;
    for file in backup.files.iter().filter(|file| file.path != "FORMAT") {
        let target = building.join(checked(&file.path)?);
        make_dirs(&**fs, target.parent().unwrap_or(&building))?;
        let source = repository.path_of(file);
        if !fs.exists(&source).map_err(io(&source))? {
            return Err(BackupError::damaged(&source, format!("backup {} needs it, and it is gone", backup.number)));
        }
        copy(&**fs, &source, &target, file)?;
        progress.add(file.len);
    }
    let mut reached = (backup.lsn, backup.time_us);
    if let Some(until) = until {
        let manifest = recovery::newest_manifest(&**fs, &building.join("manifest"))?;
        let place = |file: &BackupFile, to: PathBuf| {
            make_dirs(&**fs, to.parent().unwrap_or(&building))?;
            copy(&**fs, &repository.path_of(file), &to, file)
        };
        reached = extend(fs, repository, backup, manifest.lsn, &building, until, &place)?;
    }
    let wal = building.join("wal");
    if !Log::exists(&**fs, &wal).map_err(io(&wal))? {
        // Nothing had been committed since the manifest.
        let lsn = recovery::newest_manifest(&**fs, &building.join("manifest"))?.lsn;
        let options = recovery::log_options(&**fs, LEAST_LOG_SEGMENT_BYTES);
        Log::open(fs.clone(), &wal, options, lsn + 1, lsn)?.close()?;
    }
    // It goes its own way from here: its backups must not mix with those of the database it was.
    recovery::write_format(&**fs, &building, recovery::new_id(&**fs))?;
    let options = Options { log_segment_bytes: LEAST_LOG_SEGMENT_BYTES, ..Options::default() };
    drop(recovery::open(fs.clone(), &building, &options)?);
    if fs.exists(to).map_err(io(to))? {
        // An empty folder.
        fs.remove_dir_all(to).map_err(io(to))?;
    }
    fs.rename(&building, to).map_err(io(to))?;
    fs.sync_dir(parent).map_err(io(parent))?;
    Ok(reached)
}

/// A path of a list: below the directory, whatever the list says.
fn checked(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain && path.components().next().is_some() {
        return Ok(path);
    }
    Err(BackupError::damaged(path, "a list names a place outside of the database"))
}

fn refuse_used(fs: &dyn FileSystem, to: &Path) -> Result<()> {
    if !fs.exists(to).map_err(BackupError::io(to))? {
        return Ok(());
    }
    let entries = fs.read_dir(to).map_err(BackupError::io(to))?;
    if entries.is_empty() {
        return Ok(());
    }
    let reason = "it is not empty; restore into a new folder".to_owned();
    Err(BackupError::Refused { path: PathBuf::from(to), reason })
}

fn make_dirs(fs: &dyn FileSystem, dir: &Path) -> Result<()> {
    fs::create_dirs(fs, dir).map_err(BackupError::io(dir))
}
