//! What can go wrong in a segment.

use std::path::PathBuf;

use lodedb_sql::{SqlError, SqlState};

/// What can go wrong in a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file does not verify.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// FAISS refused.
    #[error("index library: {0}")]
    Faiss(String),
    /// A vector of other dimensions than the query's.
    #[error("different vector dimensions {0} and {1}")]
    Dimensions(usize, usize),
    /// The segment is full.
    #[error("a segment holds at most {0} rows")]
    Full(u32),
    /// The work was cancelled.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// A filter could not be evaluated.
    #[error(transparent)]
    Filter(#[from] SqlError),
}

impl SegmentError {
    /// What a client sees of it.
    pub fn into_sql(self) -> SqlError {
        let state = match &self {
            Self::Io { .. } => SqlState::IoError,
            Self::Damaged { .. } => SqlState::DataCorrupted,
            Self::Faiss(_) => SqlState::InternalError,
            Self::Dimensions(..) => SqlState::DataException,
            Self::Full(_) => SqlState::ProgramLimitExceeded,
            Self::Cancelled => SqlState::QueryCanceled,
            Self::Filter(error) => return error.clone(),
        };
        SqlError::new(state, self.to_string())
    }
}
