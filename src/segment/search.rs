//! Stand-in until the FAISS fence lands: exact search.
use std::sync::atomic::AtomicBool;

use lodedb_sql::vector::Metric;

use super::error::SegmentError;
use super::view::{IndexView, SegmentView};
use super::{ColumnId, RowId};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort { Default { target_recall: f32 }, Exact, Explicit { probes: u32, candidates: u32 } }
pub trait RowFilter: Send + Sync { fn evaluate(&self, segment: &SegmentView) -> Result<Vec<u64>, SegmentError>; }
pub struct KnnRequest<'a> { pub column: ColumnId, pub metric: Metric, pub query: &'a [f32], pub k: usize, pub filter: Option<&'a dyn RowFilter>, pub effort: Effort, pub cancelled: &'a AtomicBool }
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor { pub row: RowId, pub distance: f64, pub segment: usize, pub ordinal: u32 }
#[derive(Clone, Debug, Default)]
pub struct SearchStats { pub segments: Vec<SegmentStats> }
#[derive(Clone, Debug, Default)]
pub struct SegmentStats {}
pub fn search(segments: &[SegmentView], _: Option<&IndexView>, request: &KnnRequest<'_>) -> Result<(Vec<Neighbor>, SearchStats), SegmentError> {
    let mut all = Vec::new();
    let query = request.metric.prepare(request.query);
    for (place, segment) in segments.iter().enumerate() {
        let words = request.filter.map(|filter| filter.evaluate(segment)).transpose()?;
        for ordinal in 0..segment.len() {
            if segment.dead.contains(ordinal) || words.as_ref().is_some_and(|words| words[ordinal as usize / 64] >> (ordinal % 64) & 1 == 0) { continue; }
            let Some(vector) = segment.vector(request.column, ordinal) else { continue };
            if vector.len() != request.query.len() { return Err(SegmentError::Dimensions(request.query.len(), vector.len())); }
            all.push(Neighbor { row: segment.row_id(ordinal), distance: query.distance(vector), segment: place, ordinal });
        }
    }
    all.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.row.cmp(&b.row)));
    all.truncate(request.k);
    Ok((all, SearchStats::default()))
}
