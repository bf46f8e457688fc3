//! Doing what was chosen: read a view, write files, swap them in with one commit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::{Datum, SqlError};

use super::choose::Job;
use crate::catalog::{IndexId, Table, TableId};
use crate::commit::record::Op;
use crate::commit::{ReadView, RowId};
use crate::db::engine::Engine;
use crate::db::error::{segment_error, store_error};
use crate::query::arrow::BatchBuilder;
use crate::segment::{
    IndexFiles, IndexSpec, IndexView, Quantizer, SealInput, Sealed, Segment, SegmentId, SegmentIndex, SegmentView,
    calibrate, write_sealed,
};

/// Rows in one batch of a segment's Arrow columns.
const BATCH_ROWS: usize = 8192;

/// Runs a job to its commit.
pub fn run(engine: &Arc<Engine>, view: &Arc<ReadView>, job: &Job, stop: &AtomicBool) -> Result<(), SqlError> {
    match job {
        Job::Freeze(table) => freeze(engine, *table),
        Job::Seal(table, segment) => seal(engine, view, *table, &[*segment], stop),
        Job::Merge(table, segments) => seal(engine, view, *table, segments, stop),
        Job::BuildIndex(table, index) => {
            let Some(index_view) = view.tables.get(table).and_then(|table| table.indexes.get(index)) else {
                return Ok(());
            };
            let op = build_index(engine, view, *table, *index, index_view.spec.clone(), &|_, _, _| {}, stop)?;
            if let Some(op) = op {
                commit_files(engine, op)?;
            }
            Ok(())
        }
    }
}

/// Ends the mutable segment.
pub fn freeze(engine: &Engine, table: TableId) -> Result<(), SqlError> {
    engine.committer.commit_blocking(vec![Op::Freeze { table, segment: engine.next_segment() }]).map(|_| ())
}

/// Commits an operation that names new files.
fn commit_files(engine: &Engine, op: Op) -> Result<(), SqlError> {
    let ids = file_ids(&op);
    engine.committer.commit_blocking(vec![op])?;
    for id in ids {
        engine.segment_ids.settle(id);
    }
    Ok(())
}

/// The ids whose files an operation is the first to name.
pub fn file_ids(op: &Op) -> Vec<SegmentId> {
    match op {
        Op::Seal { output, .. } => output.iter().map(|(id, _)| *id).collect(),
        Op::BuildIndex { quantizer, .. } => vec![quantizer.generation],
        _ => Vec::new(),
    }
}

/// Makes one sealed segment of the live rows of some segments.
fn seal(
    engine: &Arc<Engine>,
    view: &Arc<ReadView>,
    table: TableId,
    inputs: &[SegmentId],
    stop: &AtomicBool,
) -> Result<(), SqlError> {
    let (Some(definition), Some(table_view)) = (view.catalog.table_by_id(table), view.tables.get(&table)) else {
        return Ok(());
    };
    let sources: Vec<&SegmentView> =
        table_view.segments.iter().filter(|segment| inputs.contains(&segment.id())).collect();
    let mut live: Vec<(RowId, usize, u32)> = Vec::new();
    for (source, segment) in sources.iter().enumerate() {
        live.extend(
            (0..segment.len())
                .filter(|&ordinal| !segment.dead.contains(ordinal))
                .map(|ordinal| (segment.row_id(ordinal), source, ordinal)),
        );
    }
    live.sort_unstable();
    let mut output = None;
    let mut codes = Vec::new();
    if !live.is_empty() {
        let id = engine.segment_ids.take();
        let columns = definition.vector_columns();
        let rows: Vec<RowId> = live.iter().map(|(row, ..)| *row).collect();
        let scalars = scalar_batches(view, definition, &rows)?;
        let dir = engine.files.segment_dir(table, id);
        engine.files.create_dirs(&engine.files.table_dir(table)).map_err(io_error)?;
        let vectors = |column: usize, at: usize| {
            let (_, source, ordinal) = live[at];
            sources[source].vector(columns[column].id, ordinal)
        };
        let input = SealInput { rows: &rows, vectors: &vectors, scalars: Some(&scalars) };
        let files = write_sealed(&*engine.files.fs, &dir, id, &columns, &input).map_err(segment_error)?;
        let sealed = Sealed::open(&engine.files.fs, &dir, &files).map_err(segment_error)?;
        for (&index, index_view) in &table_view.indexes {
            if let Some(quantizer) = index_view.quantizers.last() {
                let encoded = encode(engine, table, index, quantizer, &sealed, &index_view.spec, stop)?;
                codes.push((index, encoded));
            }
        }
        engine.files.offer_sealed(sealed);
        output = Some((id, files));
    }
    commit_files(engine, Op::Seal { table, inputs: inputs.to_vec(), output, codes })
}

/// Encodes a sealed segment for an index and leaves the codes ready for the commit.
fn encode(
    engine: &Engine,
    table: TableId,
    index: IndexId,
    quantizer: &Arc<Quantizer>,
    sealed: &Arc<Sealed>,
    spec: &IndexSpec,
    stop: &AtomicBool,
) -> Result<IndexFiles, SqlError> {
    let codes = SegmentIndex::build(quantizer, sealed, spec.column, &|_| {}, stop).map_err(segment_error)?;
    let dir = engine.files.segment_dir(table, sealed.id());
    let files = codes.save(&*engine.files.fs, &dir, index).map_err(segment_error)?;
    engine.files.offer_codes(index, sealed.id(), Arc::new(codes));
    Ok(files)
}

/// The columns of rows that are not vectors, in Arrow form.
fn scalar_batches(view: &ReadView, table: &Arc<Table>, rows: &[RowId]) -> Result<Vec<RecordBatch>, SqlError> {
    let positions: Vec<usize> =
        table.visible_columns().filter(|(_, column)| !column.ty.is_vector()).map(|(at, _)| at).collect();
    let mut batches = Vec::with_capacity(rows.len() / BATCH_ROWS + 1);
    for chunk in rows.chunks(BATCH_ROWS) {
        let mut builder = BatchBuilder::new(table, &positions, chunk.len());
        let dense = chunk.last().is_some_and(|last| last - chunk[0] < 2 * chunk.len() as u64);
        if dense {
            let mut wanted = chunk.iter().peekable();
            for item in view.rows.scan_rows(table.id, chunk[0]..=chunk[chunk.len() - 1]).map_err(store_error)? {
                let (row, stored) = item.map_err(store_error)?;
                if wanted.next_if_eq(&&row).is_some() {
                    builder.push(&padded(stored.values, table))?;
                }
            }
        } else {
            for stored in view.rows.rows(table.id, chunk).map_err(store_error)?.into_iter().flatten() {
                builder.push(&padded(stored.values, table))?;
            }
        }
        let batch = builder.finish()?;
        if batch.num_rows() != chunk.len() {
            return Err(SqlError::internal(format!(
                "{} of {} rows of a segment of \"{}\" are missing from the row store",
                chunk.len() - batch.num_rows(),
                chunk.len(),
                table.name
            )));
        }
        batches.push(batch);
    }
    Ok(batches)
}

fn padded(mut values: Vec<Datum>, table: &Table) -> Vec<Datum> {
    values.resize(table.columns.len(), Datum::Null);
    values
}

fn io_error(error: std::io::Error) -> SqlError {
    SqlError::new(lodedb_sql::SqlState::IoError, error.to_string())
}

/// Called with the phase, the rows done and the rows there are.
pub type OnProgress<'a> = dyn Fn(&'static str, u64, u64) + Sync + 'a;

/// Trains an index on a bounded sample of the sealed rows, encodes every sealed segment and calibrates.
///
/// Gives the operation that publishes it; `None` if there is nothing to train on.
pub fn build_index(
    engine: &Arc<Engine>,
    view: &Arc<ReadView>,
    table: TableId,
    index: IndexId,
    spec: Arc<IndexSpec>,
    progress: &OnProgress<'_>,
    stop: &AtomicBool,
) -> Result<Option<Op>, SqlError> {
    let Some(table_view) = view.tables.get(&table) else { return Ok(None) };
    let sealed: Vec<&SegmentView> =
        table_view.segments.iter().filter(|segment| matches!(segment.segment, Segment::Sealed(_))).collect();
    let total: u64 = sealed.iter().map(|segment| u64::from(segment.len())).sum();
    if total == 0 {
        return Ok(None);
    }
    let generation = engine.segment_ids.take();
    let trained = Quantizer::train(&spec, generation, &sealed, &|share| {
        progress("performing k-means", (share * total as f64) as u64, total);
    }, stop)
    .map_err(segment_error)?;
    let Some(trained) = trained else {
        engine.segment_ids.settle(generation);
        return Ok(None);
    };
    let quantizer = Arc::new(trained);
    let mut built = IndexView::empty(spec.clone());
    built.quantizers.push(quantizer.clone());
    let mut codes = Vec::new();
    let mut done = 0;
    for segment in &sealed {
        let Segment::Sealed(sealed) = &segment.segment else { continue };
        progress("loading tuples", done, total);
        let files = {
            let made = SegmentIndex::build(&quantizer, sealed, spec.column, &|share| {
                progress("loading tuples", done + (share * f64::from(sealed.len())) as u64, total);
            }, stop)
            .map_err(segment_error)?;
            let files = made
                .save(&*engine.files.fs, &engine.files.segment_dir(table, sealed.id()), index)
                .map_err(segment_error)?;
            let made = Arc::new(made);
            built.segments.insert(sealed.id(), made.clone());
            engine.files.offer_codes(index, sealed.id(), made);
            files
        };
        codes.push((sealed.id(), files));
        done += u64::from(sealed.len());
    }
    progress("calibrating", total, total);
    let segments: Vec<SegmentView> = sealed.iter().map(|segment| (*segment).clone()).collect();
    let calibration = calibrate(&segments, &built, stop).map_err(segment_error)?;
    let dir = engine.files.quantizer_dir(index);
    engine.files.create_dirs(&dir).map_err(io_error)?;
    let files = quantizer.save(&*engine.files.fs, &dir, Some(&calibration)).map_err(segment_error)?;
    engine.files.offer_quantizer(index, quantizer, Some(Arc::new(calibration)));
    Ok(Some(Op::BuildIndex { table, index, quantizer: files, codes }))
}

/// Seals every row a table has. The caller holds `Engine::maintenance`.
pub fn seal_all(engine: &Arc<Engine>, table: TableId, stop: &AtomicBool) -> Result<(), SqlError> {
    let mutable_rows = |view: &ReadView| {
        let segments = view.tables.get(&table).map_or(&[][..], |table| &table.segments[..]);
        segments
            .iter()
            .filter(|segment| matches!(segment.segment, Segment::Mutable { .. }) && segment.len() > 0)
            .map(SegmentView::id)
            .collect::<Vec<SegmentId>>()
    };
    let view = engine.view();
    let frozen = mutable_rows(&view);
    if frozen.is_empty() {
        return Ok(());
    }
    if view.tables.get(&table).and_then(|table| table.segments.last()).is_some_and(|last| frozen.contains(&last.id())) {
        freeze(engine, table)?;
    }
    seal(engine, &engine.view(), table, &frozen, stop)
}
