//! What to do next: a pure function of a view's metadata.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{IndexId, TableId};
use crate::commit::{ReadView, TableView};
use crate::db::engine::LastCheckpoint;
use crate::db::options::Options;
use crate::segment::{IndexKind, Segment, SegmentId, SegmentView, has_drifted};

/// A job of the background thread.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// The mutable segment is large: end it and begin another.
    Freeze(TableId),
    /// Write a frozen segment out, sorted, with its codes.
    Seal(TableId, SegmentId),
    /// Train an index on what there is now, and encode every sealed segment.
    BuildIndex(TableId, IndexId),
    /// Give a sealed segment the codes it lacks.
    Encode(TableId, SegmentId),
    /// Make one sealed segment of the live rows of others, or of one with many dead rows.
    Merge(TableId, Vec<SegmentId>),
}

impl Job {
    /// Its place in [`JOBS`](crate::db::counters::JOBS).
    pub fn kind(&self) -> usize {
        match self {
            Self::Freeze(_) => 0,
            Self::Seal(..) => 1,
            Self::BuildIndex(..) => 2,
            Self::Encode(..) => 3,
            Self::Merge(..) => 4,
        }
    }
}

/// Why a checkpoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointReason {
    /// The log has grown.
    LogGrown,
    /// Files could go that nothing but kept manifests names.
    Release,
    /// The last one is long ago, and something was committed since the oldest that is kept.
    Time,
}

/// As long as less than this could be let go, no checkpoint is taken for it, in bytes.
const RELEASED_BYTES: u64 = 1 << 20;

/// The most urgent job, if any, of all tables or of one.
pub fn choose_job(view: &ReadView, options: &Options, only: Option<TableId>) -> Option<Job> {
    let is_wanted = |id: TableId| only.is_none_or(|only| only == id) && view.catalog.table_by_id(id).is_some();
    let tables = || view.tables.iter().filter(|(id, _)| is_wanted(**id));
    tables()
        .find_map(|(&id, table)| choose_seal(id, table))
        .or_else(|| tables().find_map(|(&id, table)| choose_freeze(id, table, options)))
        .or_else(|| tables().find_map(|(&id, table)| choose_build(id, table, options)))
        .or_else(|| tables().find_map(|(&id, table)| choose_encode(id, table)))
        .or_else(|| tables().find_map(|(&id, table)| choose_merge(id, table, options)))
}

/// A segment is frozen when another mutable one follows it.
fn choose_seal(id: TableId, table: &TableView) -> Option<Job> {
    let (_, before) = table.segments.split_last()?;
    before
        .iter()
        .find(|view| matches!(view.segment, Segment::Mutable { .. }))
        .map(|view| Job::Seal(id, view.segment.id()))
}

fn choose_freeze(id: TableId, table: &TableView, options: &Options) -> Option<Job> {
    match &table.segments.last()?.segment {
        Segment::Mutable { segment, len } if *len > 0 && segment.bytes() >= options.seal_bytes => Some(Job::Freeze(id)),
        _ => None,
    }
}

/// An index is trained when there are rows enough, and again when there are four times as many or they lie in other places.
fn choose_build(id: TableId, table: &TableView, options: &Options) -> Option<Job> {
    let sealed_rows: u64 = sealed(table).map(|view| u64::from(view.segment.len())).sum();
    table.indexes.iter().filter(|(_, view)| view.spec.kind != IndexKind::Flat).find_map(|(&index, view)| {
        let trained = table.index_files.get(&index).and_then(|files| files.quantizer.as_ref());
        let wanted = match trained {
            Some(trained) if !view.quantizers.is_empty() => {
                let has_grown = sealed_rows >= trained.rows.saturating_mul(4).max(options.train_rows);
                has_grown || sealed_rows >= options.train_rows && has_drifted(view)
            }
            _ => sealed_rows >= options.train_rows,
        };
        wanted.then_some(Job::BuildIndex(id, index))
    })
}

/// A segment has no codes when it was staged, or when they could not be read.
fn choose_encode(id: TableId, table: &TableView) -> Option<Job> {
    table.indexes.values().filter(|view| !view.quantizers.is_empty()).find_map(|view| {
        let lacking = |segment: &&SegmentView| {
            !view.segments.contains_key(&segment.segment.id()) && segment.segment.position(view.spec.column).is_some()
        };
        sealed(table).find(lacking).map(|segment| Job::Encode(id, segment.segment.id()))
    })
}

/// Segments with many dead rows become one; else, if there are too many segments, the smaller half of them. Sizes are of live rows, so
/// that rows move a logarithmic number of times.
fn choose_merge(id: TableId, table: &TableView, options: &Options) -> Option<Job> {
    let share = u64::from(options.merge_dead_percent);
    let worn: Vec<SegmentId> = with_dead(table, share, options.merge_rows_max);
    if !worn.is_empty() {
        return Some(Job::Merge(id, worn));
    }
    let mut sizes: Vec<(u32, SegmentId)> = sealed(table)
        .map(|view| (view.live(), view.segment.id()))
        .filter(|(live, _)| u64::from(*live) < options.merge_rows_max)
        .collect();
    if sizes.len() <= options.merge_segments {
        return None;
    }
    sizes.sort_unstable();
    // Start with the smallest and take the next while it is not much larger than all before it together.
    let mut total = u64::from(sizes[0].0);
    let mut take = 1;
    while take < sizes.len() && (take < 4 || u64::from(sizes[take].0) <= 2 * total) {
        total += u64::from(sizes[take].0);
        if total > options.merge_rows_max {
            break;
        }
        take += 1;
    }
    (take > 1).then(|| Job::Merge(id, sizes[..take].iter().map(|(_, id)| *id).collect()))
}

/// Sealed segments of whose rows at least `percent` are dead, as many of them as have `most` live rows together.
pub fn with_dead(table: &TableView, percent: u64, most: u64) -> Vec<SegmentId> {
    let mut total = 0;
    sealed(table)
        .filter(|view| !view.dead.is_empty())
        .filter(|view| u64::from(view.segment.len() - view.live()) * 100 >= u64::from(view.segment.len()) * percent)
        .take_while(|view| {
            let is_first = total == 0;
            total += u64::from(view.live());
            is_first || total <= most
        })
        .map(|view| view.segment.id())
        .collect()
}

/// Whether a checkpoint is due: `log_bytes` is the size of the log, `since` the time since the last checkpoint, successful or not.
pub fn choose_checkpoint(
    view: &ReadView,
    last: &LastCheckpoint,
    log_bytes: u64,
    since: Duration,
    options: &Options,
) -> Option<CheckpointReason> {
    if view.lost().is_some() {
        return None;
    }
    if log_bytes.saturating_sub(last.log_bytes) > options.checkpoint_log_bytes {
        return Some(CheckpointReason::LogGrown);
    }
    let is_behind = last.kept.iter().any(|kept| kept.lsn < view.lsn);
    if !is_behind || since < options.release_interval {
        return None;
    }
    // What only kept manifests and the log after them hold goes away once they no longer do.
    let now = segment_bytes(view);
    let released: u64 = last
        .kept
        .iter()
        .flat_map(|kept| &kept.segments)
        .filter(|(segment, _)| !now.contains_key(segment))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .sum();
    if released > RELEASED_BYTES.max(now.values().sum::<u64>() / 10) {
        return Some(CheckpointReason::Release);
    }
    (since >= options.checkpoint_interval).then_some(CheckpointReason::Time)
}

/// The sealed segments of a view and their bytes.
pub fn segment_bytes(view: &ReadView) -> BTreeMap<(TableId, SegmentId), u64> {
    let of_table = |(&table, inside): (&TableId, &Arc<TableView>)| {
        inside.sealed_files.iter().map(|(&segment, files)| ((table, segment), files.bytes())).collect::<Vec<_>>()
    };
    view.tables.iter().flat_map(of_table).collect()
}

/// The sealed segments of a table.
pub(super) fn sealed(table: &TableView) -> impl Iterator<Item = &SegmentView> {
    table.segments.iter().filter(|segment| matches!(segment.segment, Segment::Sealed(_)))
}
