//! Doing what was chosen: read a view, write files, swap them in with one commit.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::SqlError;

use super::choose::Job;
use super::history::Compaction;
use crate::catalog::{IndexId, Table, TableId};
use crate::commit::record::Op;
use crate::commit::{ReadView, RowId};
use crate::db::engine::Engine;
use crate::query::arrow::BatchBuilder;
use crate::segment::{
    FileEntry, IndexSpec, IndexView, MergedRows, Merging, Quantizer, SCALAR_BATCH_ROWS, Sealed, Segment, SegmentFiles,
    SegmentId, SegmentIndex, SegmentView, calibrate, cancelled_by, merge_index, merge_sealed, sample_vectors,
};
use crate::snapshot::manifest::QuantizerFiles;
use lodedb_wal::killpoint::reach;

/// Runs a job to its commit, for a session (0: for nobody), and remembers it.
pub fn run(
    engine: &Arc<Engine>,
    view: &Arc<ReadView>,
    job: &Job,
    session: i32,
    stop: &AtomicBool,
) -> Result<(), SqlError> {
    let begun = Instant::now();
    let number = describe(view, job, session).map(|described| engine.compactions.begin(described));
    let result = run_inner(engine, view, job, stop);
    if result.is_ok() || !stop.load(Ordering::Acquire) {
        engine.counters.job(job.kind()).record(begun, result.is_ok());
    }
    if let Some(number) = number {
        engine.compactions.end(number, result.as_ref().err().map(|error| error.message().to_owned()));
    }
    result
}

fn run_inner(engine: &Arc<Engine>, view: &Arc<ReadView>, job: &Job, stop: &AtomicBool) -> Result<(), SqlError> {
    match job {
        Job::Freeze(table) => freeze(engine, *table),
        Job::Seal(table, segment) => seal(engine, view, *table, &[*segment], &Pace::unlimited(stop)),
        Job::Merge(table, segments) => {
            seal(engine, view, *table, segments, &Pace::new(engine.options.merge_bytes_per_second, stop))
        }
        Job::Encode(table, segment) => encode(engine, view, *table, *segment, stop),
        Job::BuildIndex(table, index) => {
            let Some(index_view) = view.tables.get(table).and_then(|table| table.indexes.get(index)) else {
                return Ok(());
            };
            let progress = |_: &'static str, done: u64, total: u64| {
                engine.compactions.advance(done as f64 / total.max(1) as f64);
            };
            let op = build_index(engine, view, *table, *index, index_view.spec.clone(), &progress, stop)?;
            if let Some(op) = op {
                commit_files(engine, op)?;
            }
            Ok(())
        }
    }
}

/// What a job reads, for the history; `None` for one of no length.
fn describe(view: &ReadView, job: &Job, session: i32) -> Option<Compaction> {
    let (kind, table, inputs) = match job {
        Job::Freeze(_) => return None,
        Job::Seal(table, segment) => ("seal", *table, vec![*segment]),
        Job::Merge(table, segments) => ("merge", *table, segments.clone()),
        Job::Encode(table, segment) => ("encode", *table, vec![*segment]),
        Job::BuildIndex(table, _) => {
            let sealed = view.tables.get(table).into_iter().flat_map(|inside| inside.sealed_files.keys().copied());
            ("build index", *table, sealed.collect())
        }
    };
    let inside = view.tables.get(&table)?;
    let mut job = Compaction { kind, table, session, segments: inputs.len() as u64, ..Compaction::default() };
    for segment in inside.segments.iter().filter(|segment| inputs.contains(&segment.segment.id())) {
        job.rows += u64::from(segment.segment.len());
        job.dead_rows += u64::from(segment.segment.len() - segment.live());
    }
    job.bytes = inputs.iter().filter_map(|id| inside.sealed_files.get(id)).map(|files| files.bytes()).sum();
    Some(job)
}

/// How fast a job may read, and whether it should end.
struct Pace<'a> {
    bytes_per_second: u64,
    begun: Instant,
    bytes: Cell<u64>,
    stop: &'a AtomicBool,
}

impl<'a> Pace<'a> {
    /// `bytes_per_second` of 0 is no bound.
    fn new(bytes_per_second: u64, stop: &'a AtomicBool) -> Self {
        Self { bytes_per_second, begun: Instant::now(), bytes: Cell::new(0), stop }
    }

    fn unlimited(stop: &'a AtomicBool) -> Self {
        Self::new(0, stop)
    }

    /// So many bytes more were read: waits until they may have been.
    fn read(&self, bytes: u64) -> Result<(), SqlError> {
        self.bytes.set(self.bytes.get() + bytes);
        loop {
            cancelled_by(self.stop)?;
            if self.bytes_per_second == 0 {
                return Ok(());
            }
            let due = Duration::from_secs_f64(self.bytes.get() as f64 / self.bytes_per_second as f64);
            let ahead = due.saturating_sub(self.begun.elapsed());
            if ahead.is_zero() {
                return Ok(());
            }
            std::thread::sleep(ahead.min(Duration::from_millis(50)));
        }
    }
}

/// Ends the mutable segment.
pub fn freeze(engine: &Engine, table: TableId) -> Result<(), SqlError> {
    reach("job: before a freeze");
    engine.committer.commit_blocking(vec![Op::Freeze { table, segment: engine.next_segment() }]).map(|_| ())
}

/// Commits an operation that names new files.
pub(super) fn commit_files(engine: &Engine, op: Op) -> Result<(), SqlError> {
    let ids = file_ids(&op);
    engine.committer.commit_blocking(vec![op])?;
    reach("job: committed");
    for id in ids {
        engine.segment_ids.settle(id);
    }
    Ok(())
}

/// The ids whose files an operation is the first to name.
pub fn file_ids(op: &Op) -> Vec<SegmentId> {
    match op {
        Op::Seal { output, .. } => output.iter().map(|files| files.id).collect(),
        Op::InsertStaged { files, .. } => vec![files.id],
        Op::BuildIndex { quantizer, .. } => vec![quantizer.generation],
        _ => Vec::new(),
    }
}

/// Makes one sealed segment of the live rows of some segments, growing or sealed.
fn seal(
    engine: &Arc<Engine>,
    view: &Arc<ReadView>,
    table: TableId,
    inputs: &[SegmentId],
    pace: &Pace<'_>,
) -> Result<(), SqlError> {
    let (Some(definition), Some(table_view)) = (view.catalog.table_by_id(table), view.tables.get(&table)) else {
        return Ok(());
    };
    let sources: Vec<SegmentView> =
        table_view.segments.iter().filter(|view| inputs.contains(&view.segment.id())).cloned().collect();
    let rows = MergedRows::plan(&sources)?;
    let mut op = Op::Seal { table, inputs: inputs.to_vec(), output: None, codes: Vec::new() };
    if !rows.rows().is_empty() {
        let bytes: u64 =
            inputs.iter().filter_map(|id| table_view.sealed_files.get(id)).map(|files| files.bytes()).sum();
        engine.check_space_for(bytes + bytes / 10 + engine.options.disk_reserve_bytes / 4)?;
        let id = engine.segment_ids.take();
        let made = write_merged(engine, view, (table, definition, id), &sources, &rows, pace);
        if made.is_err() {
            // Best effort: the clean-up finds what stays.
            let _ = engine.files.fs.remove_dir_all(&engine.files.segment_dir(table, id));
            engine.segment_ids.settle(id);
        }
        let (output, codes) = made?;
        op = Op::Seal { table, inputs: inputs.to_vec(), output: Some(output), codes };
    }
    commit_files(engine, op)
}

/// The files of a merged segment, and its codes for each index.
type Merged = (SegmentFiles, Vec<(IndexId, FileEntry)>);

/// Writes the files of segment `id` of a table, out of its segments `inputs`.
fn write_merged(
    engine: &Arc<Engine>,
    view: &Arc<ReadView>,
    (table, definition, id): (TableId, &Arc<Table>, SegmentId),
    sources: &[SegmentView],
    rows: &MergedRows,
    pace: &Pace<'_>,
) -> Result<Merged, SqlError> {
    reach("job: before a segment is merged");
    let columns = definition.vector_columns();
    let scalars = scalar_batches(view, definition, rows.rows())?;
    let dir = engine.files.segment_dir(table, id);
    let scalars = Merging::Scalars(&scalars);
    let written = |share: f64| engine.compactions.advance(share / 2.0);
    let paced = |bytes| pace.read(bytes);
    let files = merge_sealed(&*engine.files.fs, &dir, id, &columns, sources, rows, &scalars, &written, &paced)?;
    let sealed = Sealed::open(&engine.files.fs, &dir, &files)?;
    let mut codes = Vec::new();
    for (&index, index_view) in view.tables.get(&table).into_iter().flat_map(|table| &table.indexes) {
        let Some(quantizer) = index_view.quantizers.last() else { continue };
        let Some(column) = columns.iter().position(|column| column.id == index_view.spec.column) else { continue };
        let before: Vec<Option<Arc<SegmentIndex>>> =
            sources.iter().map(|source| index_view.segments.get(&source.segment.id()).cloned()).collect();
        let coded = |share: f64| engine.compactions.advance(0.5 + share / 2.0);
        let made = merge_index(quantizer, &before, rows, &sealed, column, &coded, pace.stop)?;
        codes.push((index, save_codes(engine, table, index, made)?));
    }
    engine.files.offer_sealed(sealed);
    reach("job: merged, not committed");
    Ok((files, codes))
}

/// Gives a sealed segment the codes it lacks.
fn encode(
    engine: &Arc<Engine>,
    view: &Arc<ReadView>,
    table: TableId,
    segment: SegmentId,
    stop: &AtomicBool,
) -> Result<(), SqlError> {
    let Some(table_view) = view.tables.get(&table) else { return Ok(()) };
    let sealed = table_view.segments.iter().find_map(|view| match &view.segment {
        Segment::Sealed(sealed) if sealed.id() == segment => Some(sealed),
        _ => None,
    });
    let Some(sealed) = sealed else { return Ok(()) };
    let mut codes = Vec::new();
    for (&index, index_view) in &table_view.indexes {
        let (Some(quantizer), false) = (index_view.quantizers.last(), index_view.segments.contains_key(&segment))
        else {
            continue;
        };
        let column = sealed.columns().iter().position(|column| column.id == index_view.spec.column);
        let Some(column) = column else { continue };
        let made = SegmentIndex::build(quantizer, sealed, column, &|_| {}, stop)?;
        codes.push((index, save_codes(engine, table, index, made)?));
    }
    commit_files(engine, Op::Encode { table, segment, codes })
}

/// Writes codes and leaves them ready for the commit that names them.
fn save_codes(
    engine: &Engine,
    table: TableId,
    index: IndexId,
    codes: Arc<SegmentIndex>,
) -> Result<FileEntry, SqlError> {
    let path = engine.files.codes_path(table, codes.segment(), index, codes.generation());
    let entry = codes.save(&*engine.files.fs, &path)?;
    engine.files.offer_codes(index, codes.segment(), codes);
    Ok(entry)
}

/// The columns of rows that are not vectors, in Arrow form.
fn scalar_batches(view: &ReadView, table: &Arc<Table>, rows: &[RowId]) -> Result<Vec<RecordBatch>, SqlError> {
    let mut batches = Vec::with_capacity(rows.len() / SCALAR_BATCH_ROWS + 1);
    for chunk in rows.chunks(SCALAR_BATCH_ROWS) {
        let mut builder = BatchBuilder::of_scalars(table, chunk.len())?;
        let dense = chunk.last().is_some_and(|last| last - chunk[0] < 2 * chunk.len() as u64);
        if dense {
            let mut wanted = chunk.iter().peekable();
            for item in view.rows.scan_rows(table.id, chunk[0]..=chunk[chunk.len() - 1]) {
                let (row, stored) = item?;
                if wanted.next_if_eq(&&row).is_some() {
                    builder.push(&stored.values)?;
                }
            }
        } else {
            for stored in view.rows.rows(table.id, chunk)?.into_iter().flatten() {
                builder.push(&stored.values)?;
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

fn io_error(error: std::io::Error) -> SqlError {
    SqlError::new(lodedb_sql::SqlState::of_io(&error), error.to_string())
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
    let sealed: Vec<SegmentView> =
        table_view.segments.iter().filter(|view| matches!(view.segment, Segment::Sealed(_))).cloned().collect();
    let total: u64 = sealed.iter().map(|view| u64::from(view.segment.len())).sum();
    let Some(first) = sealed.iter().find_map(|view| Some((view, view.segment.position(spec.column)?))) else {
        return Ok(None);
    };
    let (first, column) = first;
    let Some(dims) = first.segment.columns()[column].dims else { return Ok(None) };
    // Copied once more for training.
    let most = engine.memory.limit() / 8 / (size_of::<f32>() * dims as usize);
    let sample = sample_vectors(&sealed, column, spec.sample_rows(total).min(most.max(1024)), dims)?;
    if sample.is_empty() {
        return Ok(None);
    }
    let generation = engine.segment_ids.take();
    let made = (|| {
        let trained = Quantizer::train(
            &spec,
            generation,
            dims,
            total,
            &sample,
            &|share| progress("performing k-means", (share * total as f64) as u64, total),
            stop,
        )?;
        let mut built = IndexView::empty(spec.clone());
        built.quantizers.push(trained.clone());
        let mut codes = Vec::new();
        let mut done = 0;
        for view in &sealed {
            let Segment::Sealed(segment) = &view.segment else { continue };
            let Some(column) = view.segment.position(spec.column) else { continue };
            progress("loading tuples", done, total);
            let made = SegmentIndex::build(
                &trained,
                segment,
                column,
                &|share| progress("loading tuples", done + (share * f64::from(segment.len())) as u64, total),
                stop,
            )?;
            built.segments.insert(segment.id(), made.clone());
            codes.push((segment.id(), save_codes(engine, table, index, made)?));
            done += u64::from(segment.len());
        }
        trained.set_spread(built.segments.values().map(|codes| &**codes));
        progress("calibrating", total, total);
        let calibration = calibrate(&sealed, &built, &|_| {}, stop)?;
        let dir = engine.files.quantizer_dir(index);
        engine.files.create_dirs(&dir).map_err(io_error)?;
        let fs = &*engine.files.fs;
        let files = QuantizerFiles {
            generation,
            rows: total,
            quantizer: trained.save(fs, &dir.join(generation.to_string()))?,
            calibration: match &calibration {
                Some(calibration) => Some(calibration.save(fs, &dir.join(format!("{generation}.calibration")))?),
                None => None,
            },
        };
        engine.files.offer_quantizer(index, trained, calibration.map(Arc::new));
        reach("job: index built, not committed");
        Ok(Op::BuildIndex { table, index, quantizer: files, codes })
    })();
    if made.is_err() {
        engine.segment_ids.settle(generation);
    }
    made.map(Some)
}

/// Seals every row a table has. The caller holds `Engine::maintenance`.
pub fn seal_all(engine: &Arc<Engine>, table: TableId, stop: &AtomicBool) -> Result<(), SqlError> {
    let mutable_rows = |view: &ReadView| {
        let segments = view.tables.get(&table).map_or(&[][..], |table| &table.segments[..]);
        segments
            .iter()
            .filter(|view| matches!(view.segment, Segment::Mutable { .. }) && !view.segment.is_empty())
            .map(|view| view.segment.id())
            .collect::<Vec<SegmentId>>()
    };
    let view = engine.view();
    let frozen = mutable_rows(&view);
    if frozen.is_empty() {
        return Ok(());
    }
    if view
        .tables
        .get(&table)
        .and_then(|table| table.segments.last())
        .is_some_and(|last| frozen.contains(&last.segment.id()))
    {
        freeze(engine, table)?;
    }
    seal(engine, &engine.view(), table, &frozen, &Pace::unlimited(stop))
}
