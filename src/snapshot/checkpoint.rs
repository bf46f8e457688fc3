//! Writing the next generation: rows flushed, memory written out, a manifest, and the log before it let go.

use std::path::Path;
use std::sync::Arc;

use crate::catalog::TableId;
use crate::commit::ReadView;
use crate::db::engine::{Engine, LastCheckpoint};
use crate::fault::{Fault, planted};
use crate::segment::{Bits, SealInput, Segment, SegmentId, SegmentView, write_sealed};

use super::cleanup::remove_unnamed;
use super::manifest::{Manifest, RETAINED, SegmentManifest, TableManifest};

/// What a checkpoint may fail with.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store could not flush.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A segment could not be written.
    #[error(transparent)]
    Segment(#[from] lodedb_sql::SqlError),
    /// The log could not let go.
    #[error(transparent)]
    Log(#[from] lodedb_wal::LogError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A kept manifest could not be read.
    #[error(transparent)]
    Manifest(#[from] super::manifest::ManifestError),
}

/// Takes a checkpoint of the newest view. Readers and writers go on meanwhile.
///
/// ORDER: rows, segments, manifest, then what they replace.
pub fn checkpoint(engine: &Engine) -> Result<(), CheckpointError> {
    checkpoint_after(engine, &mut engine.checkpoint.lock())
}

/// As [`checkpoint`], for a caller that holds the last one: until it lets go no file is removed.
pub fn checkpoint_after(engine: &Engine, last: &mut LastCheckpoint) -> Result<(), CheckpointError> {
    // ORDER: before the view, so that every id below it that a commit ever names is named by a commit in the view.
    let unsettled_from = engine.segment_ids.first_not_settled();
    let view = engine.view();
    if view.lsn == last.lsn && last.generation > 0 {
        return Ok(());
    }
    // CRASH: the store is ahead of the newest manifest; recovery replays the log from there to the segments alone.
    if !planted(Fault::RowsNotFlushed) {
        engine.store.flush()?;
    }
    let mut tables = Vec::new();
    for (&table, table_view) in view.tables.iter() {
        let mut segments = Vec::with_capacity(table_view.segments.len());
        for segment in &table_view.segments {
            segments.push(write_segment(engine, &view, table, segment)?);
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
        generation: if planted(Fault::ManifestInPlace) { last.generation } else { last.generation + 1 },
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
    if planted(Fault::LogGoneBeforeManifest) {
        engine.log.truncate_before(view.lsn + 1)?;
    }
    manifest.write(&*fs, &dir)?;
    last.generation = manifest.generation;
    last.lsn = manifest.lsn;
    last.log_bytes = engine.log.size_bytes();

    let generations = Manifest::generations(&*fs, &dir)?;
    for old in generations.iter().skip(RETAINED) {
        fs.remove_file(&dir.join(format!("{old:016x}")))?;
    }
    fs.sync_dir(&dir)?;
    let Some(&oldest) = generations.get(RETAINED - 1) else { return Ok(()) };
    let oldest = Manifest::read(&*fs, &dir, oldest)?;
    engine.log.truncate_before(oldest.lsn + 1)?;
    last.log_bytes = engine.log.size_bytes();
    // While a job is under way, codes may be named that no view knows yet: they are left for the next checkpoint.
    let idle = engine.maintenance.try_lock();
    let newest = idle.is_some().then(|| engine.view());
    let newest = newest.as_ref().map(|view| &*view.tables);
    remove_unnamed(&engine.files, &[&oldest, &manifest], newest, SegmentId::MAX)?;
    Ok(())
}

/// A segment in the manifest: sealed ones as they are, mutable ones written out with the rows live in the view.
fn write_segment(
    engine: &Engine,
    view: &ReadView,
    table: TableId,
    segment: &SegmentView,
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
                let name = format!("{id}-{}", view.lsn);
                let dir = engine.files.table_dir(table).join(&name);
                engine.files.create_dirs(&engine.files.table_dir(table))?;
                let rows: Vec<u64> = live.iter().map(|(row, _)| *row).collect();
                let vectors = |column: usize, at: u32| Ok(mutable.vector(column, live[at as usize].1));
                let input = SealInput { rows: &rows, vectors: &vectors, scalars: &[] };
                Some((name, write_sealed(&*engine.files.fs, &dir, id, mutable.columns(), &input, &|_| {})?))
            };
            Ok(SegmentManifest {
                id,
                sealed: false,
                files,
                dead: Bits::new().encode(),
                overridden: Bits::new().encode(),
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
