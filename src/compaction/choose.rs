//! What to do next: a pure function of a view's metadata.

use crate::catalog::{IndexId, TableId};
use crate::commit::{ReadView, TableView};
use crate::db::options::Options;
use crate::segment::{IndexKind, Segment, SegmentId, SegmentView};

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
    /// Make one sealed segment of several.
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

/// The most urgent job, if any.
pub fn choose_job(view: &ReadView, options: &Options) -> Option<Job> {
    let tables = || view.tables.iter().filter(|(id, _)| view.catalog.table_by_id(**id).is_some());
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

/// An index is trained when there are rows enough, and again when there are four times as many.
fn choose_build(id: TableId, table: &TableView, options: &Options) -> Option<Job> {
    let sealed_rows: u64 = sealed(table).map(|view| u64::from(view.segment.len())).sum();
    table.indexes.iter().filter(|(_, view)| view.spec.kind != IndexKind::Flat).find_map(|(&index, view)| {
        let trained = table.index_files.get(&index).and_then(|files| files.quantizer.as_ref());
        let wanted = match trained {
            Some(trained) if !view.quantizers.is_empty() => {
                sealed_rows >= trained.rows.saturating_mul(4).max(options.train_rows)
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

/// Too many segments: the smaller half of them become one. Rows move a logarithmic number of times.
fn choose_merge(id: TableId, table: &TableView, options: &Options) -> Option<Job> {
    let mut sizes: Vec<(u32, SegmentId)> = sealed(table).map(|view| (view.segment.len(), view.segment.id())).collect();
    if sizes.len() <= options.merge_segments {
        return None;
    }
    sizes.sort_unstable();
    // Start with the smallest and take the next while it is not much larger than all before it together.
    let mut total = u64::from(sizes[0].0);
    let mut take = 1;
    while take < sizes.len() && (take < 4 || u64::from(sizes[take].0) <= 2 * total) {
        total += u64::from(sizes[take].0);
        take += 1;
    }
    Some(Job::Merge(id, sizes[..take].iter().map(|(_, id)| *id).collect()))
}

fn sealed(table: &TableView) -> impl Iterator<Item = &SegmentView> {
    table.segments.iter().filter(|segment| matches!(segment.segment, Segment::Sealed(_)))
}
