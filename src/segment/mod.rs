//! Segments: where vectors live, and how the nearest ones are found.
//!
//! The commit room appends to [`Mutable`] segments, the compaction room writes and opens [`Sealed`] ones and builds
//! [`Quantizer`]s and [`SegmentIndex`]es; the query room calls [`search`]. FAISS is behind the fence in [`faiss`]
//! and nowhere else.
//!
//! INVARIANT 8: within a segment everything speaks 32-bit ordinals; a row is live in at most one place of a table.
//! INVARIANT 9: a distance that leaves this room was computed from the raw vectors.
//! INVARIANT 10: nothing of a file is parsed before the checksums of its blocks hold.

pub mod bits;
mod calibrate;
mod error;
mod file;
mod index;
mod mutable;
mod sealed;
mod search;
mod spec;
mod view;


pub use bits::Bits;
pub use calibrate::{Calibration, calibrate};
pub use error::SegmentError;
pub use file::FileInfo;
pub use index::{IndexFiles, Quantizer, QuantizerFiles, SegmentIndex};
pub use mutable::Mutable;
pub use sealed::{SealInput, Sealed, SegmentFiles, write_sealed};
pub use search::{Effort, KnnRequest, Neighbor, RowFilter, SearchStats, SegmentStats, search};
pub use spec::{IndexKind, IndexSpec};
pub use view::{IndexView, Segment, SegmentView};

/// The id of a row.
pub type RowId = u64;
/// The id of a segment or of a quantizer, never used again.
pub type SegmentId = u64;
/// The number of a column.
pub type ColumnId = u32;
/// The OID of an index.
pub type IndexId = u32;

use serde::{Deserialize, Serialize};

/// A vector column as segments hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorColumn {
    /// Its number.
    pub id: ColumnId,
    /// Its dimensions; `None` where each vector may have its own.
    pub dims: Option<u32>,
}

/// Whether the processor has what this build was compiled for; names what it lacks.
pub fn check_processor() -> Result<(), &'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let checks = [
            (cfg!(target_feature = "avx2") && !std::arch::is_x86_feature_detected!("avx2"), "AVX2"),
            (cfg!(target_feature = "fma") && !std::arch::is_x86_feature_detected!("fma"), "FMA"),
            (cfg!(target_feature = "f16c") && !std::arch::is_x86_feature_detected!("f16c"), "F16C"),
        ];
        if let Some((_, name)) = checks.iter().find(|(missing, _)| *missing) {
            return Err(name);
        }
    }
    Ok(())
}

/// The class of instructions this build uses, as `version()` says it.
pub const SPEED_CLASS: &str = if cfg!(target_feature = "avx2") { "AVX2" } else { "generic" };
