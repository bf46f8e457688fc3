//! The archive of the log: every commit since the oldest backup, beside the backups, so that a database can be restored to any of them.
//!
//! A piece holds the records of some commits, one after another, and names the files that staged inserts brought. It is taken before a
//! checkpoint lets go of the log, and about once a minute. Records name other files too: sealed segments and what indexes are made of.
//! Those are not kept: replay passes over them, since their rows are in the segments before them, and indexes are built again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_wal::Log;
use lodedb_wal::fs::{self, FileSystem, OpenMode};
use lodedb_wal::killpoint::reach;
use serde::{Deserialize, Serialize};

use super::repository::{Repository, hash_of};
use super::take::Workplace;
use super::{Backup, BackupError, BackupFile};
use crate::commit::record::{Assembler, Op};
use crate::db::engine::{Engine, LastCheckpoint};
use crate::db::options::LEAST_LOG_SEGMENT_BYTES;
use crate::segment::{FileEntry, verify_file};
use crate::snapshot::recovery::log_options;

type Result<T> = std::result::Result<T, BackupError>;

/// Bytes of records after which a piece ends with the commit it is in.
const PIECE_BYTES: u64 = 256 << 20;

/// Records of the log, as their list has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The LSN of its first record.
    pub first: u64,
    /// The LSN of its last one, which ends a commit.
    pub last: u64,
    /// When its last commit was: microseconds since 1970 UTC.
    pub time_us: i64,
    /// The records: for each the LSN (`u64`), the length (`u32`), both little-endian, and its bytes.
    pub records: BackupFile,
    /// Files of staged inserts, by their paths in the database.
    pub files: Vec<BackupFile>,
}

/// To where a database is restored: the last commit that is not after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A commit.
    Lsn(u64),
    /// A moment: microseconds since 1970 UTC.
    Time(i64),
}

impl Until {
    /// Whether a commit is not after it.
    fn includes(self, lsn: u64, time_us: i64) -> bool {
        match self {
            Self::Lsn(until) => lsn <= until,
            Self::Time(until) => time_us <= until,
        }
    }

    /// Whether a backup can be the beginning.
    pub(super) fn follows(self, backup: &Backup) -> bool {
        self.includes(backup.lsn, backup.time_us)
    }
}

/// Archives what was committed since the last time, if the folder of backups holds any to go on from. The caller holds the last
/// checkpoint, so that neither the log nor a file of it goes away meanwhile.
pub fn archive(engine: &Engine, last: &LastCheckpoint) -> Result<()> {
    if engine.options.backup_interval.is_none() {
        return Ok(());
    }
    let folder = engine.backup_dir();
    let fs = &engine.files.fs;
    let mark = folder.join("BACKUPS");
    if !fs.exists(&mark).map_err(BackupError::io(&mark))? {
        return Ok(());
    }
    let until = engine.view().lsn;
    let archived = engine.archived.load(std::sync::atomic::Ordering::Relaxed);
    if archived >= until {
        return Ok(());
    }
    let repository = Repository::open(fs.clone(), &folder, engine.id)?;
    let Some(newest) = repository.backups()?.into_iter().next() else { return Ok(()) };
    let ends = repository.pieces()?.last().map_or(0, |piece| piece.last).max(newest.lsn).max(archived);
    // What the log has let go of already is a gap, which a later backup ends.
    let kept_from = last.kept.iter().map(|kept| kept.lsn).min().unwrap_or(last.lsn);
    let mut after = ends.max(kept_from);
    while after < until {
        match write_piece(engine, &repository, after, until)? {
            Some(piece) => after = piece.last,
            None => break,
        }
    }
    engine.archived.store(after, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Writes the commits after a record, up to a commit, as far as one piece goes.
fn write_piece(engine: &Engine, repository: &Repository, after: u64, until: u64) -> Result<Option<Piece>> {
    let fs = &*engine.files.fs;
    let work = Workplace::new(engine, "archive")?;
    let path = work.dir.join("records");
    let io = BackupError::io;
    let out = fs.open(&path, OpenMode::CreateNew).map_err(io(&path))?;
    let (mut at, mut buffer) = (0u64, Vec::new());
    let mut assembler = Assembler::default();
    let (mut end, mut names) = (None, Vec::new());
    for record in engine.log.read_from(after + 1)? {
        let (lsn, bytes) = record?;
        if lsn > until {
            break;
        }
        buffer.extend(lsn.to_le_bytes());
        buffer.extend((bytes.len() as u32).to_le_bytes());
        buffer.extend(&bytes);
        if buffer.len() >= 1 << 20 {
            fs::write_all_at(out.as_ref(), &buffer, at).map_err(io(&path))?;
            at += buffer.len() as u64;
            buffer.clear();
        }
        if let Some(commit) = assembler.push(lsn, &bytes)? {
            for op in &commit.ops {
                if let Op::InsertStaged { table, files, .. } = op {
                    let dir = engine.files.segment_dir(*table, files.id);
                    let files = files.entries();
                    names.extend(files.map(|(entry, primary)| (dir.join(&entry.name), entry.clone(), primary)));
                }
            }
            end = Some((lsn, commit.header.time_us));
            if at + buffer.len() as u64 > PIECE_BYTES {
                break;
            }
        }
    }
    fs::write_all_at(out.as_ref(), &buffer, at).map_err(io(&path))?;
    out.sync_all().map_err(io(&path))?;
    drop(out);
    let Some((last, time_us)) = end else { return Ok(None) };
    let records = take_in(engine, repository, &path, None, String::new())?;
    let mut files = Vec::with_capacity(names.len());
    for (path, entry, primary) in names {
        let name = path.strip_prefix(&engine.dir).unwrap_or(&path).to_string_lossy().into_owned();
        match take_in(engine, repository, &path, Some(&entry), name) {
            Ok(file) => files.push(file),
            Err(error) if !primary => tracing::warn!(%error, "a derived file is left out of the archive"),
            Err(error) => return Err(error),
        }
    }
    reach("archive: records written");
    let piece = Piece { first: after + 1, last, time_us, records, files };
    repository.publish_piece(&piece)?;
    reach("archive: done");
    tracing::debug!(first = piece.first, last, "archived the log");
    Ok(Some(piece))
}

fn take_in(
    engine: &Engine,
    repository: &Repository,
    from: &Path,
    entry: Option<&FileEntry>,
    name: String,
) -> Result<BackupFile> {
    let fs = &*engine.files.fs;
    let (len, hash) = hash_of(fs, from, &mut |_| Ok(()))?;
    let file = BackupFile { path: name, len, hash };
    if !repository.holds(&file)? {
        if let Some(entry) = entry {
            verify_file(fs, from, entry)?;
        }
        repository.take_in(from, &file)?;
    }
    Ok(file)
}

/// Adds the archived commits after a backup, up to where it should go, to the log of a database put together from it in `building`. Gives
/// the last commit it holds then, and its time.
///
/// # Errors
/// The archive does not reach from the backup to there.
pub(super) fn extend(
    fs: &Arc<dyn FileSystem>,
    repository: &Repository,
    backup: &Backup,
    manifest_lsn: u64,
    building: &Path,
    until: Until,
    place: &dyn Fn(&BackupFile, PathBuf) -> Result<()>,
) -> Result<(u64, i64)> {
    let options = log_options(&**fs, LEAST_LOG_SEGMENT_BYTES);
    let log = Log::open(fs.clone(), &building.join("wal"), options, manifest_lsn + 1, backup.lsn)?;
    let mut reached = (backup.lsn, backup.time_us);
    let mut is_complete = reached.0 == log.last_lsn() && matches!(until, Until::Lsn(lsn) if lsn == backup.lsn);
    for piece in repository.pieces()? {
        if piece.last <= reached.0 || is_complete {
            continue;
        }
        if piece.first > reached.0 + 1 {
            let gap = format!("the archived log has a gap from {} to {}", reached.0 + 1, piece.first - 1);
            return Err(BackupError::None(format!("{gap}; restore to a commit outside of it")));
        }
        repository.verify(&piece.records)?;
        let path = repository.path_of(&piece.records);
        let bytes = fs::read_file(&**fs, &path).map_err(BackupError::io(&path))?;
        let mut assembler = Assembler::default();
        let mut pending: Vec<&[u8]> = Vec::new();
        for (lsn, record) in records(&bytes) {
            if lsn <= reached.0 {
                continue;
            }
            pending.push(record);
            let Some(commit) = assembler.push(lsn, record)? else { continue };
            if !until.includes(lsn, commit.header.time_us) {
                is_complete = true;
                break;
            }
            for op in &commit.ops {
                let Op::InsertStaged { table, files, .. } = op else { continue };
                for (entry, primary) in files.entries() {
                    let name = format!("segments/{table}/{}/{}", files.id, entry.name);
                    match piece.files.iter().find(|file| file.path == name) {
                        Some(file) => place(file, building.join(&name))?,
                        None if !primary => {}
                        None => return Err(BackupError::damaged(&path, format!("{name} is not in the piece"))),
                    }
                }
            }
            log.append(&pending)?;
            pending.clear();
            reached = (lsn, commit.header.time_us);
            if until == Until::Lsn(lsn) {
                is_complete = true;
                break;
            }
        }
    }
    if !is_complete {
        let time = crate::db::clock::shown(reached.1);
        return Err(BackupError::None(format!(
            "the archived log ends with commit {} of {time}; restore to that or to an earlier one",
            reached.0
        )));
    }
    log.close()?;
    Ok(reached)
}

/// The records of a piece; a cut one at the end, which the checksum of the file rules out, ends it.
fn records(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (lsn, after) = rest.split_first_chunk::<8>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = after;
        Some((u64::from_le_bytes(*lsn), record))
    })
}
