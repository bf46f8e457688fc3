//! Backups: whole physical copies of the database, made while it is used, in a folder outside of its own files.
//!
//! - [`repository`]: the folder, in which a file is named by its content, so that what does not change is copied once.
//! - [`take`]: a checkpoint, and every file it names into the folder.
//! - [`archive`]: the log since the oldest backup, to restore to any commit.
//! - [`restore`]: a new database out of a backup.
//! - [`schedule`]: backups that are taken by themselves, and which of them are kept.
//!
//! A backup stands for one commit. It is there when its list is: the list is written after every file it names, and
//! each of those was read back and had its checksum. Nothing in the folder is changed afterwards, only removed.

pub mod archive;
pub mod repository;
pub mod restore;
pub mod schedule;
pub mod take;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use lodedb_sql::{SqlError, SqlState};
use serde::{Deserialize, Serialize};

use super::checkpoint::CheckpointError;
use crate::db::error::OpenError;
use crate::store::StoreError;

/// The identity of a database: its copies share it, a restored one gets its own.
pub type DatabaseId = uuid::Uuid;

/// One backup, as its list has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Its number; later ones have larger ones.
    pub number: u64,
    /// The database it is of.
    pub database: [u8; 16],
    /// The commit it stands for.
    pub lsn: u64,
    /// When it was taken: microseconds since 1970 UTC.
    pub time_us: i64,
    /// Its files.
    pub files: Vec<BackupFile>,
    /// How many bytes were copied for it; the rest was there.
    pub copied_bytes: u64,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Where it is in the database: a path below its directory, with `/`.
    pub path: String,
    /// Its length in bytes.
    pub len: u64,
    /// The BLAKE3 hash of its bytes, which names it in the repository.
    pub hash: [u8; 32],
}

impl Backup {
    /// The bytes of all its files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}

/// How far a backup is, as `pg_stat_progress_basebackup` shows it.
#[derive(Debug)]
pub struct Progress {
    /// The session that asked; 0 if it is the schedule's.
    pub session: i32,
    /// Bytes there are; 0 while they are not known yet.
    pub total: AtomicU64,
    /// Bytes that are done.
    pub done: AtomicU64,
}

impl Progress {
    /// At the start.
    pub fn new(session: i32) -> Self {
        Self { session, total: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Why there is no backup, or no database out of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder cannot be used.
    #[error("{path} cannot hold backups of this database: {reason}")]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another process works in the folder.
    #[error("{path} is in use by {holder}; wait until it is done")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What its lock says of the holder.
        holder: String,
    },
    /// A file is not what it was.
    #[error("file \"{path}\" is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// There is no backup that was asked for.
    #[error("{0}")]
    None(String),
    /// It was cut short because the database closes.
    #[error("the backup was given up: the database is being closed")]
    Closed,
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The checkpoint it begins with failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The rows could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log could not be read or written.
    #[error(transparent)]
    Log(#[from] lodedb_wal::LogError),
    /// A record of the log makes no sense.
    #[error(transparent)]
    Record(#[from] crate::commit::record::RecordError),
    /// A manifest could not be read.
    #[error(transparent)]
    Manifest(#[from] super::manifest::ManifestError),
    /// A file of a segment is damaged.
    #[error(transparent)]
    Segment(#[from] SqlError),
    /// What was restored does not open.
    #[error("the restored database does not open: {0}")]
    Open(#[from] OpenError),
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }

    /// As clients see it.
    pub fn to_sql(&self) -> SqlError {
        let state = match self {
            Self::Refused { .. } => SqlState::InvalidParameterValue,
            Self::InUse { .. } => SqlState::ObjectInUse,
            Self::Damaged { .. } | Self::Manifest(_) | Self::Record(_) => SqlState::DataCorrupted,
            Self::None(_) => SqlState::UndefinedObject,
            Self::Closed => SqlState::AdminShutdown,
            Self::Segment(error) => return error.clone(),
            Self::Checkpoint(error) => return error.to_sql(),
            Self::Io { error, .. } => SqlState::of_io(error),
            Self::Store(error) => error.state(),
            _ => SqlState::IoError,
        };
        SqlError::new(state, self.to_string())
    }
}
