//! What can go wrong in the store.

use lodedb_sql::{SqlError, SqlState};

/// A failure of the store.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Bytes do not have the form they were written in.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// The disk is full: reading goes on, writing does not until there is space.
    #[error("no space left for the store: {0}")]
    NoSpace(String),
    /// A batch with an LSN below the one already applied: a mistake of the applier.
    #[error("batch of an earlier lsn after a later one: {lsn} after {applied}")]
    OutOfOrder {
        /// The LSN of the batch.
        lsn: u64,
        /// The LSN the store is at.
        applied: u64,
    },
    /// The program was linked with another RocksDB than it is written for.
    #[error("this build is for RocksDB {} and was linked with {linked}", super::ROCKSDB_VERSION)]
    Version {
        /// The version that it says it is.
        linked: String,
    },
    /// Anything else RocksDB reports, in its words.
    #[error("store: {0}")]
    Engine(String),
}

impl StoreError {
    /// Whether what is stored is at fault, so that trying again is no use.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    /// The SQLSTATE that says what it is.
    pub(crate) fn state(&self) -> SqlState {
        match self {
            Self::Damaged(_) => SqlState::DataCorrupted,
            Self::NoSpace(_) => SqlState::DiskFull,
            Self::OutOfOrder { .. } | Self::Version { .. } => SqlState::InternalError,
            Self::Engine(_) => SqlState::IoError,
        }
    }
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        let kind = error.kind();
        let message = error.into_string();
        if message.contains("No space left") || message.contains("NoSpace") || message.contains("SpaceLimit") {
            return Self::NoSpace(message);
        }
        match kind {
            rocksdb::ErrorKind::Corruption => Self::Damaged(message),
            _ => Self::Engine(message),
        }
    }
}

impl From<StoreError> for SqlError {
    fn from(error: StoreError) -> Self {
        SqlError::new(error.state(), error.to_string())
    }
}
