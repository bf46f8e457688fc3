//! The one table from the errors of the rooms to what a client sees, and how values are shown in details.

use std::path::PathBuf;

use lodedb_sql::{Datum, PgType, SqlError};
use lodedb_wal::LogError;

use crate::commit::apply::ApplyError;
use crate::commit::record::RecordError;
use crate::snapshot::manifest::ManifestError;
use crate::store::StoreError;

/// Why a database did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by {holder}; connect to it, or stop it first")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says of the holder.
        holder: String,
    },
    /// The directory holds something else.
    #[error("{path} is not a LodeDB database: {reason}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A newer version wrote it.
    #[error("{path} has format {found}, and this version reads up to {known}: open it with a newer LodeDB")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// No generation verifies.
    #[error("no manifest in {path} verifies: {reasons}")]
    NoManifest {
        /// The folder of manifests.
        path: PathBuf,
        /// What is wrong with each.
        reasons: String,
    },
    /// The log is gone, and with it what was committed since the last checkpoint.
    #[error("{path} holds no log, and every database has one: put the folder back as it was, or restore a backup")]
    LogMissing {
        /// The folder of the log.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Options contradict each other.
    #[error("invalid options: {0}")]
    Options(String),
    /// The processor lacks what this build was compiled for.
    #[error("this build needs a processor with {0}; rebuild with RUSTFLAGS for this machine")]
    Processor(&'static str),
    /// The log is damaged or below what was promised.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A log record makes no sense.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment is damaged.
    #[error(transparent)]
    Segment(#[from] SqlError),
    /// A record could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A manifest could not be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// A value as DETAIL lines show it.
pub fn shown(datum: &Datum, ty: PgType) -> String {
    if datum.is_null() {
        return "null".into();
    }
    lodedb_sql::text::to_text(datum, ty, chrono_tz::UTC)
}
