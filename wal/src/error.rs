//! What can go wrong with the log; a kind exists only where the caller acts differently.

use std::io;
use std::path::{Path, PathBuf};

use crate::Lsn;

/// Errors of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A call on the file system failed. If it was a write or a sync of the log, the log is poisoned from now on.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An earlier write or sync failed: whether what was not yet acknowledged survives is unknown until the log is opened anew.
    #[error("log is stopped by an earlier write or sync that failed; outcome of unacknowledged records is unknown")]
    Poisoned,
    /// Bytes that were once durable are gone or changed.
    #[error("log is damaged: {reason}: file {}, offset {offset}, lsn {lsn}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The first record that cannot be read.
        lsn: Lsn,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The log ends before a point that the caller knows it had reached.
    #[error("log ends too early: last lsn {last}, known to have reached {floor}")]
    BelowFloor {
        /// The last record found.
        last: Lsn,
        /// What it must reach.
        floor: Lsn,
    },
    /// A record is larger than the log takes; nothing was appended.
    #[error("record too large: {bytes} bytes, limit {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit, `max_record_bytes`.
        limit: u64,
    },
    /// Settings that make no sense, all of them.
    #[error("bad log options: {0}")]
    Options(String),
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { action, path: path.to_owned(), source }
    }
}
