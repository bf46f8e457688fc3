//! Writing the next generation: rows flushed, memory written out, a manifest, and the log before it let go.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lodedb_sql::SqlError;

use crate::catalog::TableId;
use crate::commit::ReadView;
use crate::compaction::choose::segment_bytes;
use crate::db::engine::{Engine, Kept, LastCheckpoint};
use crate::fault::{Fault, planted};
use crate::segment::{Bits, SealInput, Segment, SegmentId, SegmentView, write_sealed};
use lodedb_wal::killpoint::reach;

use super::backup::BackupError;
use super::backup::archive::archive;
use super::cleanup::remove_unnamed;
use super::manifest::{Manifest, RETAINED, SegmentManifest, TableManifest};

/// How many times the log of one checkpoint may gather while it cannot be archived.
const LOG_CHECKPOINTS: u64 = 4;

/// What a checkpoint may fail with.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store could not flush.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A segment could not be written.
    #[error(transparent)]
    Segment(#[from] SqlError),
    /// The log could not let go.
    #[error(transparent)]
    Log(#[from] lodedb_wal::LogError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A table is lost: the log and the manifests that its files may come back to are kept.
    #[error("no checkpoint is taken: {0}")]
    Lost(SqlError),
    /// A kept manifest could not be read.
    #[error(transparent)]
    Manifest(#[from] super::manifest::ManifestError),
}

impl CheckpointError {
    /// As clients see it.
    pub fn to_sql(&self) -> SqlError {
        use lodedb_sql::SqlState;
        let state = match self {
            Self::Segment(error) => return error.clone(),
            Self::Lost(_) | Self::Manifest(_) => SqlState::DataCorrupted,
            Self::Store(error) => error.state(),
            Self::Io(error) => SqlState::of_io(error),
            _ => SqlState::IoError,
        };
        SqlError::new(state, self.to_string())
    }
}

/// Takes a checkpoint of the newest view. Readers and writers go on meanwhile. If nothing was committed since the last one, another of
/// the same commit replaces the one before it, and what only that one held on to goes.
///
/// ORDER: rows, segments, manifest, then what they replace.
pub fn checkpoint(engine: &Engine) -> Result<(), CheckpointError> {
    let mut last = engine.checkpoint.lock();
    let lsn = engine.view().lsn;
    if last.kept.len() == RETAINED && last.kept.iter().all(|kept| kept.lsn == lsn) {
        return Ok(());
    }
    write_generation(engine, &mut last)
}

/// As [`checkpoint`], for a caller that holds the last one: until it lets go no file is removed. Nothing is done if it stands at the
/// newest commit.
pub fn checkpoint_after(engine: &Engine, last: &mut LastCheckpoint) -> Result<(), CheckpointError> {
    if engine.view().lsn == last.lsn {
        return Ok(());
    }
    write_generation(engine, last)
}

fn write_generation(engine: &Engine, last: &mut LastCheckpoint) -> Result<(), CheckpointError> {
    last.at = Instant::now();
    let begun = last.at;
    let taken = write(engine, last);
    engine.counters.checkpoints.record(begun, taken.is_ok());
    engine.counters.last_checkpoint.set(last.lsn, last.time_us);
    taken
}

fn write(engine: &Engine, last: &mut LastCheckpoint) -> Result<(), CheckpointError> {
    if let Some(error) = engine.view().lost() {
        return Err(CheckpointError::Lost(error.clone()));
    }
    // ORDER: before the view, so that every id below it that a commit ever names is named by a commit in the view.
    let unsettled_from = engine.segment_ids.first_not_settled();
    let view = engine.view();
    let generation = if planted(Fault::ManifestInPlace) { last.generation } else { last.generation + 1 };
    // CRASH: the store is ahead of the newest manifest; recovery replays the log from there to the segments alone.
    reach("checkpoint: begun");
    if !planted(Fault::RowsNotFlushed) {
        engine.store.flush()?;
    }
    reach("checkpoint: rows flushed");
    let mut tables = Vec::new();
    for (&table, table_view) in view.tables.iter() {
        let mut segments = Vec::with_capacity(table_view.segments.len());
        for segment in &table_view.segments {
            segments.push(write_segment(engine, &view, table, segment, generation)?);
        }
        tables.push(TableManifest {
            table,
            next_row: table_view.next_row,
            live_rows: table_view.live_rows,
            segments,
            indexes: table_view.index_files.iter().map(|(&index, files)| (index, files.clone())).collect(),
        });
    }
    let manifest = Manifest {
        generation,
        lsn: view.lsn,
        time_us: crate::db::clock::now_us(),
        catalog: view.catalog.as_ref().clone(),
        sequences: view.sequences.iter().map(|(&id, &value)| (id, value)).collect(),
        next_segment: engine.segment_ids.next(),
        unsettled_from,
        tables,
    };
    let fs = engine.files.fs.clone();
    let dir = engine.dir.join("manifest");
    reach("checkpoint: segments written");
    if planted(Fault::LogGoneBeforeManifest) {
        engine.log.truncate_before(view.lsn + 1)?;
    }
    manifest.write(&*fs, &dir)?;
    reach("checkpoint: manifest written");
    last.generation = generation;
    last.lsn = manifest.lsn;
    last.kept.insert(0, Kept { lsn: view.lsn, segments: segment_bytes(&view) });
    last.kept.truncate(RETAINED);
    last.time_us = manifest.time_us;
    last.log_bytes = engine.log.size_bytes();

    let generations = Manifest::generations(&*fs, &dir)?;
    for old in generations.iter().skip(RETAINED) {
        fs.remove_file(&dir.join(format!("{old:016x}")))?;
    }
    fs.sync_dir(&dir)?;
    reach("checkpoint: old manifests removed");
    let Some(&oldest) = generations.get(RETAINED - 1) else { return Ok(()) };
    let oldest = Manifest::read(&*fs, &dir, oldest)?;
    match archive(engine, last) {
        Ok(()) => {}
        // A backup is being tidied up after; it will be archived before the next checkpoint.
        Err(BackupError::InUse { .. }) => return Ok(()),
        // Kept for the next time, but not for ever: a database that is full of its log helps nobody.
        Err(error) if last.log_bytes < LOG_CHECKPOINTS * engine.options.checkpoint_log_bytes => {
            tracing::error!(%error, "the log is kept: it could not be archived");
            return Ok(());
        }
        Err(error) => {
            tracing::error!(%error, "the log is let go of before it was archived: restoring goes on from later backups only");
        }
    }
    engine.log.truncate_before(oldest.lsn + 1)?;
    reach("checkpoint: log let go");
    last.log_bytes = engine.log.size_bytes();
    // While a job is under way, codes may be named that no view knows yet: they are left for the next checkpoint.
    let idle = engine.maintenance.try_lock();
    let newest = idle.is_some().then(|| engine.view());
    let newest = newest.as_ref().map(|view| &*view.tables);
    remove_unnamed(&engine.files, &[&oldest, &manifest], newest, SegmentId::MAX)?;
    engine.models.remove_unnamed(&[&oldest.catalog, &manifest.catalog], || engine.view().catalog.clone())?;
    reach("checkpoint: done");
    Ok(())
}

/// A segment in the manifest: sealed ones as they are, mutable ones written out with the rows live in the view.
fn write_segment(
    engine: &Engine,
    view: &ReadView,
    table: TableId,
    segment: &SegmentView,
    generation: u64,
) -> Result<SegmentManifest, CheckpointError> {
    let id = segment.segment.id();
    match &segment.segment {
        Segment::Sealed(_) => {
            let files = view.tables.get(&table).and_then(|view| view.sealed_files.get(&id)).cloned();
            Ok(SegmentManifest {
                id,
                sealed: true,
                files: files.map(|files| (id.to_string(), files)),
                dead: if planted(Fault::CheckpointForgetsTheDead) { Bits::new() } else { segment.dead.clone() }
                    .encode(),
                overridden: segment.overridden.encode(),
            })
        }
        Segment::Mutable { segment: mutable, .. } => {
            let mut live: Vec<(u64, u32)> = (0..segment.segment.len())
                .filter(|&ordinal| !segment.dead.contains(ordinal))
                .map(|ordinal| (segment.segment.row_id(ordinal), ordinal))
                .collect();
            live.sort_unstable();
            if planted(Fault::CheckpointLosesARow) {
                live.pop();
            }
            let files = if live.is_empty() {
                None
            } else {
                let name = format!("{id}-{generation}");
                let dir = engine.files.table_dir(table).join(&name);
                let rows: Vec<u64> = live.iter().map(|(row, _)| *row).collect();
                let vectors = |column: usize, at: u32| Ok(mutable.vector(column, live[at as usize].1));
                let input = SealInput { rows: &rows, vectors: &vectors, scalars: &[] };
                Some((name, write_sealed(&*engine.files.fs, &dir, id, mutable.columns(), &input, &|_| {})?))
            };
            // Where a seal is under way, the columns it copied are those of an earlier view.
            let mut overridden = Bits::new();
            for (place, (_, ordinal)) in (0..).zip(&live) {
                if segment.overridden.contains(*ordinal) {
                    overridden.insert(place);
                }
            }
            Ok(SegmentManifest {
                id,
                sealed: false,
                files,
                dead: Bits::new().encode(),
                overridden: overridden.encode(),
            })
        }
    }
}

/// Makes the folders of a new database.
pub fn create_layout(fs: &Arc<dyn lodedb_wal::fs::FileSystem>, dir: &Path) -> std::io::Result<()> {
    for name in ["wal", "meta", "segments", "quantizers", "manifest"] {
        let path = dir.join(name);
        if !fs.exists(&path)? {
            fs.create_dir(&path)?;
        }
    }
    fs.sync_dir(dir)
}
