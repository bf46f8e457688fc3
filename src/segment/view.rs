//! What a reader holds: segments with their dead and overridden rows, and the indexes over them.

use std::collections::HashMap;
use std::sync::Arc;

use lodedb_sql::error::Result;

use super::{
    Bits, Calibration, ColumnId, IndexSpec, Mutable, Quantizer, RowId, Sealed, SegmentId, SegmentIndex, VectorColumn,
};

/// A segment as a view sees it.
#[derive(Clone, Debug)]
pub enum Segment {
    /// The first `len` rows of a growing segment.
    Mutable {
        /// The segment.
        segment: Arc<Mutable>,
        /// How many of its rows the view sees.
        len: u32,
    },
    /// An immutable segment.
    Sealed(Arc<Sealed>),
}

impl Segment {
    /// The segment's number.
    pub fn id(&self) -> SegmentId {
        match self {
            Self::Mutable { segment, .. } => segment.id(),
            Self::Sealed(sealed) => sealed.id(),
        }
    }
    /// How many rows the view sees, dead ones included.
    #[inline]
    pub fn len(&self) -> u32 {
        match self {
            Self::Mutable { segment, len } => (*len).min(segment.len()),
            Self::Sealed(sealed) => sealed.len(),
        }
    }
    /// Whether the view sees no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The vector columns.
    pub fn columns(&self) -> &[VectorColumn] {
        match self {
            Self::Mutable { segment, .. } => segment.columns(),
            Self::Sealed(sealed) => sealed.columns(),
        }
    }
    /// The position of a column; `None` in a segment written before the column was added (all its vectors are NULL).
    pub fn position(&self, column: ColumnId) -> Option<usize> {
        self.columns().iter().position(|known| known.id == column)
    }
    /// The row at an ordinal below [`Segment::len`].
    #[inline]
    pub fn row_id(&self, ordinal: u32) -> RowId {
        match self {
            Self::Mutable { segment, .. } => segment.row_id(ordinal),
            Self::Sealed(sealed) => sealed.row_id(ordinal),
        }
    }
    /// The (latest) ordinal of a row.
    pub fn find(&self, row: RowId) -> Option<u32> {
        match self {
            Self::Mutable { segment, len } => segment.find(row, *len),
            Self::Sealed(sealed) => sealed.find(row),
        }
    }
    /// The vector of a column (by position) at an ordinal; `None` for NULL.
    #[inline]
    pub fn vector(&self, column: usize, ordinal: u32) -> Result<Option<&[f32]>> {
        match self {
            Self::Mutable { segment, .. } => Ok(segment.vector(column, ordinal)),
            Self::Sealed(sealed) => sealed.vector(column, ordinal),
        }
    }
}

/// A segment and the bits of the view over it.
#[derive(Clone, Debug)]
pub struct SegmentView {
    /// The segment.
    pub segment: Segment,
    /// Rows that are gone.
    pub dead: Bits,
    /// Rows whose scalar columns have changed since the segment's copy was made.
    pub overridden: Bits,
}

impl SegmentView {
    /// A segment with no bit set.
    pub fn new(segment: Segment) -> Self {
        Self { segment, dead: Bits::new(), overridden: Bits::new() }
    }

    /// How many rows are not dead, those with NULL vectors included.
    pub fn live(&self) -> u32 {
        let len = self.segment.len();
        len - self.dead.count_below(len).min(len)
    }
}

/// An index as a view sees it.
#[derive(Clone, Debug)]
pub struct IndexView {
    /// What it is.
    pub spec: Arc<IndexSpec>,
    /// Its generations in use, newest last.
    pub quantizers: Vec<Arc<Quantizer>>,
    /// The codes of each sealed segment that has some; the others are searched exactly.
    pub segments: HashMap<SegmentId, Arc<SegmentIndex>>,
    /// What effort gives what recall, once it was measured.
    pub calibration: Option<Arc<Calibration>>,
}

impl IndexView {
    /// An index that was not built yet.
    pub fn empty(spec: Arc<IndexSpec>) -> Self {
        Self { spec, quantizers: Vec::new(), segments: HashMap::new(), calibration: None }
    }
}
