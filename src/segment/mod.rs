//! Segments: where a table's vectors live, and how the nearest of them are found.
//!
//! A table's rows with vectors are in one [`Mutable`] segment, which grows in memory, and any number of [`Sealed`] ones, which are
//! immutable files. An index adds a [`Quantizer`] (trained once a generation) and one [`SegmentIndex`] for each sealed segment.
//! [`search`] takes the segments of a view, and the index if there is one, and answers with exact distances: codes only nominate, raw
//! vectors decide.
//!
//! Who calls it: `commit` appends and seals, `compaction` merges and builds, `snapshot` opens and scrubs, `query` searches. Nobody
//! else names FAISS.
//!
//! What always holds here:
//!
//! 1. Inside a segment everything speaks 32-bit ordinals; a row id is 64 bits. In a sealed segment row ids ascend with ordinals; in a
//!    mutable one a row may come again, and its later ordinal is the newer version.
//! 2. A published file never changes. Raw vectors and row ids are primary; codes, Arrow copies and calibrations are derived.
//! 3. No byte is parsed before the checksum of its block held. A damaged primary file is an error that names it, never a short answer.
//! 4. `k` rows are returned whenever `k` live rows with a vector match. NULL vectors are never returned. A distance is exact; ties are
//!    ordered by row id; a distance that is no number (cosine with a zero vector) comes last, as PostgreSQL sorts it.
//! 5. A search takes no lock and starts no thread.
//!
//! Where to look: [`bits`] sets of rows; `mutable`; `sealed` over `raw` and `scalars`, both over `blocks` over `mapped`; `spec`,
//! `quantizer`, `index` over `faiss`; `search` over `strategy`, `nearest` and `calibration`; `merge`.

pub mod bits;
mod blocks;
mod calibration;
mod faiss;
mod index;
mod mapped;
mod merge;
mod mutable;
mod nearest;
mod quantizer;
mod raw;
mod scalars;
mod sealed;
mod search;
mod spec;
mod staged;
mod strategy;
#[cfg(test)]
mod tests;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};

use lodedb_sql::error::{Result, SqlError, SqlState};
use serde::{Deserialize, Serialize};

pub use bits::Bits;
pub use blocks::{FileEntry, damaged_blocks, verify_file};
pub use calibration::{Calibration, calibrate};
pub use faiss::{VERSION as FAISS_VERSION, check_version};
pub use index::SegmentIndex;
pub use merge::{MergedRows, Merging, merge_index, merge_sealed};
pub use mutable::Mutable;
pub use quantizer::{Quantizer, has_drifted, sample_vectors};
pub use scalars::SCALAR_BATCH_ROWS;
pub use sealed::{RowIds, SealInput, Sealed, SegmentFiles, VectorSource, write_sealed};
pub use search::{Effort, KnnRequest, Neighbor, RowFilter, SearchStats, SegmentStats, search};
pub use spec::{IndexKind, IndexSpec};
pub use staged::{STAGED_ROWS, StagedFiles, StagedRows, StagedWriter};
pub use strategy::Strategy;
pub use view::{IndexView, Segment, SegmentView};

/// A row's number, for life.
pub type RowId = u64;
/// A segment's number.
pub type SegmentId = u64;
/// A column's number.
pub type ColumnId = u32;
/// An index's number.
pub type IndexId = u32;

/// A vector column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorColumn {
    /// Its number.
    pub id: ColumnId,
    /// The dimensions of its type; `None` for a `vector` without.
    pub dims: Option<u32>,
}

/// `57014` when the flag is raised.
pub(crate) fn cancelled_by(flag: &AtomicBool) -> Result<()> {
    if flag.load(Ordering::Relaxed) {
        return Err(SqlError::new(SqlState::QueryCanceled, "canceling statement due to user request"));
    }
    Ok(())
}
