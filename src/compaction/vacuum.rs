//! What VACUUM and REINDEX do: the jobs of the background, asked for now.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::SqlError;

use super::choose::{Job, choose_job, sealed, with_dead};
use super::jobs::{build_index, commit_files, run, seal_all};
use crate::catalog::{IndexId, TableId};
use crate::commit::{ReadView, TableView};
use crate::db::engine::Engine;
use crate::segment::{IndexKind, SegmentId};
use crate::snapshot::checkpoint::checkpoint;

/// The share of dead rows, in percent, from which VACUUM writes a segment anew.
const DEAD_PERCENT: u64 = 1;
/// How often VACUUM looks again for dead rows, where rows go on dying.
const ROUNDS: usize = 16;

/// A table before or after VACUUM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Sealed segments.
    pub segments: u64,
    /// Rows of them that are dead.
    pub dead_rows: u64,
    /// Bytes of their files, codes included.
    pub bytes: u64,
}

/// The sealed segments of a table.
pub fn extent(view: &ReadView, table: TableId) -> Extent {
    let Some(inside) = view.tables.get(&table) else { return Extent::default() };
    let codes = inside.index_files.values().flat_map(|files| &files.codes).map(|(_, entry)| entry.len);
    Extent {
        segments: inside.sealed_files.len() as u64,
        dead_rows: sealed(inside).map(|view| u64::from(view.segment.len() - view.live())).sum(),
        bytes: inside.sealed_files.values().map(|files| files.bytes()).sum::<u64>() + codes.sum::<u64>(),
    }
}

/// Leaves dead rows behind. With `full` every row is sealed, all segments become one (up to `merge_rows_max` rows), the row store drops
/// what is gone, and the space is free when this returns.
pub fn vacuum(
    engine: &Arc<Engine>,
    table: TableId,
    full: bool,
    session: i32,
    stop: &AtomicBool,
) -> Result<(), SqlError> {
    if full {
        seal_now(engine, table, stop)?;
    }
    for _ in 0..ROUNDS {
        let _guard = engine.maintenance.lock();
        let view = engine.view();
        let Some(inside) = view.tables.get(&table) else { return Ok(()) };
        let inputs = if full { too_many(inside, engine.options.merge_rows_max) } else { Vec::new() };
        let inputs = if inputs.is_empty() {
            with_dead(inside, if full { 0 } else { DEAD_PERCENT }, engine.options.merge_rows_max)
        } else {
            inputs
        };
        if inputs.is_empty() {
            break;
        }
        run(engine, &view, &Job::Merge(table, inputs), session, stop)?;
    }
    settle(engine, table, session, stop)?;
    if full {
        let view = engine.view();
        let btrees: Vec<IndexId> = view.catalog.btree_indexes_of(table).map(|index| index.id).collect();
        engine.store.compact(table, &btrees)?;
        // What the manifests before held on to goes with the second one.
        for _ in 0..2 {
            checkpoint(engine).map_err(|error| error.to_sql())?;
        }
    }
    Ok(())
}

/// Trains the vector indexes of a table anew, or only one of them, on all rows there are.
pub fn rebuild(
    engine: &Arc<Engine>,
    table: TableId,
    only: Option<IndexId>,
    session: i32,
    stop: &AtomicBool,
) -> Result<(), SqlError> {
    let view = engine.view();
    let Some(inside) = view.tables.get(&table) else { return Ok(()) };
    let wanted: Vec<_> = inside
        .indexes
        .iter()
        .filter(|(id, index)| only.is_none_or(|only| only == **id) && index.spec.kind != IndexKind::Flat)
        .map(|(&id, index)| (id, index.spec.clone()))
        .collect();
    if wanted.is_empty() || inside.live_rows < engine.options.train_rows {
        return Ok(());
    }
    seal_now(engine, table, stop)?;
    for (index, spec) in wanted {
        let _guard = engine.maintenance.lock();
        let progress = |phase: &'static str, done: u64, total: u64| {
            let progress = super::Progress { session, table, index, phase, done, total };
            engine.progress.lock().insert(u64::from(index), progress);
        };
        let built = build_index(engine, &engine.view(), table, index, spec, &progress, stop);
        engine.progress.lock().remove(&u64::from(index));
        if let Some(op) = built? {
            commit_files(engine, op)?;
        }
    }
    Ok(())
}

fn seal_now(engine: &Arc<Engine>, table: TableId, stop: &AtomicBool) -> Result<(), SqlError> {
    let _guard = engine.maintenance.lock();
    seal_all(engine, table, stop)
}

/// Does all that is due for a table.
fn settle(engine: &Arc<Engine>, table: TableId, session: i32, stop: &AtomicBool) -> Result<(), SqlError> {
    loop {
        let _guard = engine.maintenance.lock();
        let view = engine.view();
        match choose_job(&view, &engine.options, Some(table)) {
            Some(job) => run(engine, &view, &job, session, stop)?,
            None => return Ok(()),
        }
    }
}

/// The segments that may become one and are not yet.
fn too_many(inside: &TableView, most: u64) -> Vec<SegmentId> {
    let mut live: Vec<(u64, SegmentId)> =
        sealed(inside).map(|view| (u64::from(view.live()), view.segment.id())).collect();
    live.sort_unstable();
    let mut total = 0;
    live.retain(|(rows, _)| {
        total += rows;
        total <= most
    });
    if live.len() > 1 { live.into_iter().map(|(_, id)| id).collect() } else { Vec::new() }
}
