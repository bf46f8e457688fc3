//! Segments and indexes as a read view holds them.

use std::collections::HashMap;
use std::sync::Arc;

use super::bits::Bits;
use super::calibrate::Calibration;
use super::index::{Quantizer, SegmentIndex};
use super::mutable::Mutable;
use super::sealed::Sealed;
use super::spec::IndexSpec;
use super::{ColumnId, RowId, SegmentId};

/// A segment of either kind.
#[derive(Clone, Debug)]
pub enum Segment {
    /// In memory; the first `len` rows are part of the view.
    Mutable {
        /// The segment.
        segment: Arc<Mutable>,
        /// How many of its rows the view shows.
        len: u32,
    },
    /// In files.
    Sealed(Arc<Sealed>),
}

/// A segment with what a view knows of its rows.
#[derive(Clone, Debug)]
pub struct SegmentView {
    /// The segment.
    pub segment: Segment,
    /// Rows that are gone, or were put elsewhere.
    pub dead: Bits,
    /// Rows whose Arrow copies are out of date: the row store has their values.
    pub overridden: Bits,
}

impl SegmentView {
    /// A segment all of whose rows are live.
    pub fn new(segment: Segment) -> Self {
        Self { segment, dead: Bits::default(), overridden: Bits::default() }
    }

    /// Its id.
    pub fn id(&self) -> SegmentId {
        match &self.segment {
            Segment::Mutable { segment, .. } => segment.id(),
            Segment::Sealed(segment) => segment.id(),
        }
    }

    /// How many rows it has, dead ones included.
    pub fn len(&self) -> u32 {
        match &self.segment {
            Segment::Mutable { len, .. } => *len,
            Segment::Sealed(segment) => segment.len(),
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a row.
    pub fn row_id(&self, ordinal: u32) -> RowId {
        match &self.segment {
            Segment::Mutable { segment, .. } => segment.row_id(ordinal),
            Segment::Sealed(segment) => segment.row_id(ordinal),
        }
    }

    /// The ordinal of a row, dead or not.
    pub fn find(&self, row: RowId) -> Option<u32> {
        match &self.segment {
            Segment::Mutable { segment, len } => segment.find(row, *len),
            Segment::Sealed(segment) => segment.find(row),
        }
    }

    /// The vector of a row in a column; `None` where it is NULL or the segment is older than the column.
    pub fn vector(&self, column: ColumnId, ordinal: u32) -> Option<&[f32]> {
        match &self.segment {
            Segment::Mutable { segment, .. } => segment.vector(segment.column_index(column)?, ordinal),
            Segment::Sealed(segment) => segment.vector(segment.column_index(column)?, ordinal),
        }
    }

    /// Memory or file bytes of its rows and vectors.
    pub fn bytes(&self) -> usize {
        match &self.segment {
            Segment::Mutable { segment, .. } => segment.bytes(),
            Segment::Sealed(segment) => segment.bytes(),
        }
    }
}

/// A vector index as a view holds it.
#[derive(Clone, Debug)]
pub struct IndexView {
    /// What it is.
    pub spec: Arc<IndexSpec>,
    /// Its generations, the newest last; none until there are rows enough.
    pub quantizers: Vec<Arc<Quantizer>>,
    /// Its codes for sealed segments. A segment without is searched exactly.
    pub segments: HashMap<SegmentId, Arc<SegmentIndex>>,
    /// How much effort gives how much recall.
    pub calibration: Option<Arc<Calibration>>,
}

impl IndexView {
    /// An index that was not built yet.
    pub fn empty(spec: Arc<IndexSpec>) -> Self {
        Self { spec, quantizers: Vec::new(), segments: HashMap::new(), calibration: None }
    }
}
