//! Tests of the room: what the segments, their files and the search over them promise, on small seeded data.

mod bits;
mod files;
mod foreign;
mod merging;
mod mutable;
mod searching;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::error::Result;
use lodedb_sql::vector::Metric;
use lodedb_wal::fs::{FileSystem, OsFileSystem};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A vector, or NULL.
type Row = (RowId, Option<Vec<f32>>);

fn os() -> Arc<dyn FileSystem> {
    Arc::new(OsFileSystem)
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// Rows around a few centres, as embeddings lie; row ids ascend from `first`.
fn clustered(seed: u64, rows: usize, dims: usize, first: RowId) -> Vec<Row> {
    let mut centres = StdRng::seed_from_u64(7);
    let centres: Vec<Vec<f32>> =
        (0..12).map(|_| (0..dims).map(|_| centres.random_range(-4.0f32..4.0)).collect()).collect();
    let mut random = StdRng::seed_from_u64(seed);
    (0..rows)
        .map(|at| {
            let centre = &centres[random.random_range(0..centres.len())];
            let vector = centre.iter().map(|x| x + random.random_range(-1.0f32..1.0)).collect();
            (first + at as u64, Some(vector))
        })
        .collect()
}

/// Seals rows of one column, number 1.
fn seal(dir: &Path, id: SegmentId, dims: Option<u32>, rows: &[Row]) -> Arc<Sealed> {
    let fs = os();
    let ids: Vec<RowId> = rows.iter().map(|(row, _)| *row).collect();
    let vectors = |_: usize, at: u32| -> Result<Option<&[f32]>> { Ok(rows[at as usize].1.as_deref()) };
    let input = SealInput { rows: &ids, vectors: &vectors, scalars: &[] };
    let columns = [VectorColumn { id: 1, dims }];
    let files = write_sealed(fs.as_ref(), dir, id, &columns, &input, &|_| {}).expect("sealed");
    Sealed::open(&fs, dir, &files).expect("opened")
}

fn view_of(sealed: &Arc<Sealed>) -> SegmentView {
    SegmentView { segment: Segment::Sealed(Arc::clone(sealed)), dead: Bits::new(), overridden: Bits::new() }
}

fn growing(id: SegmentId, dims: Option<u32>, rows: &[Row]) -> SegmentView {
    let mutable = Mutable::new(id, vec![VectorColumn { id: 1, dims }]);
    for (row, vector) in rows {
        mutable.append(*row, &[vector.as_deref()]).expect("appended");
    }
    let len = mutable.len();
    SegmentView { segment: Segment::Mutable { segment: mutable, len }, dead: Bits::new(), overridden: Bits::new() }
}

fn spec(kind: IndexKind, metric: Metric) -> IndexSpec {
    IndexSpec { id: 5, column: 1, kind, metric, options: Vec::new() }
}

/// One quantizer for all, and codes for each sealed segment.
fn index_over(spec: IndexSpec, dims: u32, views: &[SegmentView]) -> IndexView {
    let stop = never();
    let rows = views.iter().map(|view| u64::from(view.segment.len())).sum();
    let sample = sample_vectors(views, 0, spec.sample_rows(rows), dims).expect("sampled");
    let quantizer = Quantizer::train(&spec, 1, dims, rows, &sample, &|_| {}, &stop).expect("trained");
    let mut segments = HashMap::new();
    for view in views {
        if let Segment::Sealed(sealed) = &view.segment {
            let built = SegmentIndex::build(&quantizer, sealed, 0, &|_| {}, &stop).expect("built");
            segments.insert(sealed.id(), built);
        }
    }
    IndexView { spec: Arc::new(spec), quantizers: vec![quantizer], segments, calibration: None }
}

/// Everything visited, everything compared: the codes cannot miss.
const ALL: Effort = Effort::Explicit { probes: 65_536, candidates: 1 << 20 };

fn ask(
    views: &[SegmentView],
    index: Option<&IndexView>,
    metric: Metric,
    query: &[f32],
    k: usize,
    filter: Option<&dyn RowFilter>,
    effort: Effort,
) -> (Vec<Neighbor>, SearchStats) {
    let cancelled = never();
    let request = KnnRequest { column: 1, metric, query, k, filter, effort, cancelled: &cancelled };
    search(views, index, &request).expect("searched")
}

/// The answer by the definition: every live row with a vector that passes, by distance and then by row; NaN last.
fn by_definition(
    views: &[SegmentView],
    metric: Metric,
    query: &[f32],
    k: usize,
    passes: impl Fn(RowId) -> bool,
) -> Vec<RowId> {
    let mut all = Vec::new();
    for view in views {
        for ordinal in 0..view.segment.len() {
            let row = view.segment.row_id(ordinal);
            if view.dead.contains(ordinal) || !passes(row) {
                continue;
            }
            if let Some(vector) = view.segment.vector(0, ordinal).expect("read") {
                let distance = metric.distance(query, vector);
                all.push((distance.is_nan(), if distance.is_nan() { 0.0 } else { distance }, row));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    all.into_iter().take(k).map(|(_, _, row)| row).collect()
}

fn rows_of(found: &[Neighbor]) -> Vec<RowId> {
    found.iter().map(|neighbor| neighbor.row).collect()
}

/// Passes the rows that a function of the row id passes.
struct Passing<F>(F);

impl<F: Fn(RowId) -> bool + Send + Sync> RowFilter for Passing<F> {
    fn evaluate(&self, view: &SegmentView) -> Result<Vec<u64>> {
        let len = view.segment.len();
        let passing: Bits = (0..len).filter(|&ordinal| (self.0)(view.segment.row_id(ordinal))).collect();
        Ok(passing.to_words(len))
    }
}
