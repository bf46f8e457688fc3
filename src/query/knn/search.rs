//! The search for neighbours over a view and a transaction's own changes.
//!
//! 1. The committed segments are searched for k rows and as many more as the transaction has changed.
//! 2. Rows the transaction changed or deleted are dropped; its own rows are compared one by one.
//! 3. All are merged by distance, then by row id. If fewer than k rows have a distance, rows with a NULL vector follow.

use std::cmp::Ordering;
use std::sync::Arc;

use lodedb_sql::Datum;
use lodedb_sql::compare::compare_floats;
use lodedb_sql::error::Result;
use lodedb_sql::vector::{Metric, check_same_dimensions};

use crate::catalog::{Index, IndexKind, Table};
use crate::commit::{Reader, RowChange, RowId};
use crate::db::settings::Settings;
use crate::fault::{Fault, planted};
use crate::query::cancel::CancelToken;
use crate::query::filter::{RowPredicate, SegmentFilter};
use crate::query::scan::access::Access;
use crate::query::statement_state::{Reading, Registry};
use crate::segment::{Effort, KnnRequest, RowFilter, SearchStats, search};

/// Rows named by an index of keys are compared one by one up to this many.
const MOST_NAMED_ROWS: usize = 4096;

/// Everything about a search but the query.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) registry: Arc<Registry>,
    pub(crate) reader: Reader,
    pub(crate) cancel: CancelToken,
    pub(crate) table: Arc<Table>,
    /// The place of the vector column in a row.
    pub(crate) position: usize,
    pub(crate) metric: Metric,
    pub(crate) k: usize,
    /// Whether rows as far away as the k-th are wanted too, since something else orders them.
    pub(crate) ties: bool,
    pub(crate) predicate: Option<RowPredicate>,
    /// Rows that alone can pass, where an index of keys names few.
    pub(crate) named: Option<(Arc<Index>, Arc<[RowId]>)>,
    pub(crate) effort: Effort,
    /// The index that serves.
    pub(crate) index: Option<Arc<Index>>,
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) row: RowId,
    /// `None` where its vector is NULL.
    pub(crate) distance: Option<f64>,
}

impl Ask {
    pub(crate) fn new(
        reading: &Reading,
        table: Arc<Table>,
        position: usize,
        metric: Metric,
        k: usize,
        predicate: Option<RowPredicate>,
        access: &Access,
    ) -> Self {
        let named = match access {
            Access::Index { index, rows, .. } if rows.len() <= MOST_NAMED_ROWS => Some((index.clone(), rows.clone())),
            _ => None,
        };
        let effort = effort(&reading.environment.settings);
        let index =
            if effort == Effort::Exact { None } else { serving_index(&reading.reader, &table, position, metric) };
        Self {
            registry: reading.registry.clone(),
            reader: reading.reader.clone(),
            cancel: reading.cancel.clone(),
            table,
            position,
            metric,
            k,
            ties: false,
            predicate,
            named,
            effort,
            index,
        }
    }

    /// The rows nearest to any of several queries: those nearest to each, k of which are the nearest of all.
    ///
    /// A row among the k by its least distance is among the k of the query that it is least far from. A query that is NULL is
    /// far from nothing, and counts only where all are.
    pub(crate) fn run_each(&self, queries: &[Option<Arc<[f32]>>]) -> Result<(Vec<Found>, SearchStats)> {
        let known: Vec<&[f32]> = queries.iter().filter_map(Option::as_deref).collect();
        let (first, others) = match known.split_first() {
            Some((first, others)) => (Some(*first), others),
            None => (None, [].as_slice()),
        };
        let (mut found, mut stats) = self.run(first)?;
        if others.is_empty() {
            return Ok((found, stats));
        }
        for query in others {
            let (more, of_more) = self.run(Some(query))?;
            found.extend(more);
            stats.add(of_more);
        }
        found.sort_unstable_by(|a, b| a.row.cmp(&b.row).then_with(|| order(a, b)));
        found.dedup_by_key(|found| found.row);
        found.sort_unstable_by(order);
        Ok((found, stats))
    }

    /// The k rows nearest to the query, and with [`Self::ties`] some more; a NULL query is equally far from all rows.
    pub(crate) fn run(&self, query: Option<&[f32]>) -> Result<(Vec<Found>, SearchStats)> {
        if !self.ties || self.k == 0 {
            return self.nearest(query);
        }
        let mut ask = Self { ties: false, ..self.clone() };
        loop {
            ask.k = ask.k.saturating_mul(2).saturating_add(8);
            let (found, stats) = ask.nearest(query)?;
            let as_far = |a: &Found, b: &Found| match (a.distance, b.distance) {
                (Some(a), Some(b)) => compare_floats(a, b).is_eq(),
                (a, b) => a.is_none() && b.is_none(),
            };
            let goes_on = match (found.get(self.k - 1), found.last()) {
                (Some(kth), Some(last)) => found.len() == ask.k && as_far(kth, last),
                _ => false,
            };
            if !goes_on {
                return Ok((found, stats));
            }
        }
    }

    fn nearest(&self, query: Option<&[f32]>) -> Result<(Vec<Found>, SearchStats)> {
        self.cancel.check()?;
        if self.k == 0 {
            return Ok((Vec::new(), SearchStats::default()));
        }
        let (mut found, stats) = match (query, &self.named) {
            (None, _) => (Vec::new(), SearchStats::default()),
            (Some(query), Some((_, rows))) => self.among(rows, query)?,
            (Some(query), None) => self.everywhere(query)?,
        };
        found.sort_unstable_by(order);
        found.truncate(self.k);
        if found.len() < self.k {
            self.append_without_distance(query.is_none(), &mut found)?;
        }
        Ok((found, stats))
    }

    fn everywhere(&self, query: &[f32]) -> Result<(Vec<Found>, SearchStats)> {
        let id = self.table.id;
        let touched = self.reader.overlay.touches(id);
        let changed = if touched { self.reader.overlay.changed(id).count() } else { 0 };
        let mut found = Vec::new();
        let mut stats = SearchStats::default();
        self.reader.view.table(id)?;
        if let Some(view) = self.reader.table_view(id) {
            let filter = self.segment_filter();
            let request = KnnRequest {
                column: self.table.columns[self.position].id,
                metric: self.metric,
                query,
                k: self.k.saturating_add(changed),
                filter: filter.as_ref().map(|filter| filter as &dyn RowFilter),
                effort: self.effort,
                cancelled: self.cancel.flag(),
            };
            let index = self.index.as_ref().and_then(|index| view.indexes.get(&index.id)).map(Arc::as_ref);
            let (neighbors, searched) = search(&view.segments, index, &request)?;
            stats = searched;
            found.extend(
                neighbors
                    .iter()
                    .filter(|neighbor| {
                        changed == 0
                            || planted(Fault::OverlayDoesNotShadow)
                            || !self.reader.overlay.is_changed(id, neighbor.row)
                    })
                    .map(|neighbor| Found { row: neighbor.row, distance: Some(neighbor.distance) }),
            );
        }
        if touched {
            self.for_own_rows(&mut |row, values| {
                if let Some(Datum::Vector(vector)) = values.get(self.position) {
                    check_same_dimensions(vector, query)?;
                    found.push(Found { row, distance: Some(self.metric.distance(vector, query)) });
                }
                Ok(true)
            })?;
        }
        Ok((found, stats))
    }

    /// Compares the rows that an index of keys named.
    fn among(&self, rows: &[RowId], query: &[f32]) -> Result<(Vec<Found>, SearchStats)> {
        let mut found = Vec::new();
        let mut stats = SearchStats::default();
        self.for_named_rows(rows, &mut |row, values| {
            if let Some(Datum::Vector(vector)) = values.get(self.position) {
                check_same_dimensions(vector, query)?;
                stats.compared += 1;
                found.push(Found { row, distance: Some(self.metric.distance(vector, query)) });
            }
            Ok(true)
        })?;
        Ok((found, stats))
    }

    /// Rows without a distance come last, by id: all of them if there is no query, else those with a NULL vector.
    fn append_without_distance(&self, all: bool, found: &mut Vec<Found>) -> Result<()> {
        let id = self.table.id;
        let mut rest: Vec<RowId> = Vec::new();
        let missing = self.k - found.len();
        let lacks = |values: &[Datum]| all || !matches!(values.get(self.position), Some(Datum::Vector(_)));
        if let Some((_, rows)) = &self.named {
            self.for_named_rows(rows, &mut |row, values| {
                if lacks(values) {
                    rest.push(row);
                }
                Ok(rest.len() < missing)
            })?;
        } else {
            if let Some(view) = self.reader.table_view(id) {
                let filter = self.segment_filter();
                for segment in &view.segments {
                    let words = match &filter {
                        Some(filter) => Some(filter.evaluate(segment)?),
                        None => None,
                    };
                    let column = segment.segment.position(self.table.columns[self.position].id);
                    for ordinal in 0..segment.segment.len() {
                        let passes = words.as_ref().is_none_or(|words| {
                            words.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
                        });
                        if !passes || segment.dead.contains(ordinal) {
                            continue;
                        }
                        let has_vector = match column {
                            Some(column) if !all => segment.segment.vector(column, ordinal)?.is_some(),
                            _ => false,
                        };
                        let row = segment.segment.row_id(ordinal);
                        if !has_vector && !self.reader.overlay.is_changed(id, row) {
                            rest.push(row);
                        }
                    }
                }
            }
            if self.reader.overlay.touches(id) {
                self.for_own_rows(&mut |row, values| {
                    if lacks(values) {
                        rest.push(row);
                    }
                    Ok(true)
                })?;
            }
        }
        rest.sort_unstable();
        rest.dedup();
        found.extend(rest.into_iter().take(missing).map(|row| Found { row, distance: None }));
        Ok(())
    }

    fn segment_filter(&self) -> Option<SegmentFilter<'_>> {
        self.predicate.as_ref().map(|predicate| SegmentFilter {
            predicate,
            reader: &self.reader,
            chunks: &self.registry.chunks,
        })
    }

    /// Hands every row the transaction wrote and that passes to `each`, until it says no.
    fn for_own_rows(&self, each: &mut dyn FnMut(RowId, &[Datum]) -> Result<bool>) -> Result<()> {
        let id = self.table.id;
        let changed = self.reader.overlay.changed(id).filter_map(|(row, change)| match change {
            RowChange::Put { values, .. } => Some(Ok((row, values.clone()))),
            RowChange::Deleted => None,
        });
        for item in changed.chain(self.reader.overlay.inserted(id)) {
            let (row, values) = item?;
            if self.passes(&values)? && !each(row, &values)? {
                break;
            }
        }
        Ok(())
    }

    fn for_named_rows(&self, rows: &[RowId], each: &mut dyn FnMut(RowId, &[Datum]) -> Result<bool>) -> Result<()> {
        for &row in rows {
            let Some(scanned) = self.reader.row(&self.table, row)? else { continue };
            if self.passes(&scanned.values)? && !each(row, &scanned.values)? {
                break;
            }
        }
        Ok(())
    }

    fn passes(&self, values: &[Datum]) -> Result<bool> {
        self.predicate.as_ref().map_or(Ok(true), |predicate| predicate.passes(values))
    }
}

/// By distance, no number after every number; rows of equal distance by id.
fn order(a: &Found, b: &Found) -> Ordering {
    match (a.distance, b.distance) {
        (Some(left), Some(right)) => compare_floats(left, right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
    .then(a.row.cmp(&b.row))
}

/// How hard the session wants searches to try.
pub(crate) fn effort(settings: &Settings) -> Effort {
    if settings.is_on("lodedb.exact") {
        return Effort::Exact;
    }
    let number = |name: &str| settings.get(name).ok().and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    let (probes, candidates) = (number("lodedb.probes"), number("lodedb.candidates"));
    if probes > 0 || candidates > 0 {
        // One of the two alone: the other as a search without a calibration would take it.
        return Effort::Explicit {
            probes: if probes > 0 { probes } else { 32 },
            candidates: if candidates > 0 { candidates } else { 400 },
        };
    }
    match settings.get("lodedb.target_recall").ok().and_then(|value| value.parse::<f32>().ok()) {
        Some(recall) if (recall - 0.95).abs() > 1e-6 => {
            if recall >= 1.0 {
                Effort::Exact
            } else {
                Effort::Recall(recall)
            }
        }
        _ => Effort::Default,
    }
}

/// The index over a column that orders by a metric.
pub(crate) fn serving_index(reader: &Reader, table: &Table, position: usize, metric: Metric) -> Option<Arc<Index>> {
    let column = table.columns.get(position)?.id;
    let view = reader.table_view(table.id)?;
    reader.catalog().indexes_of(table.id).find_map(|index| match &index.kind {
        IndexKind::Vector { spec, .. }
            if spec.column == column && spec.metric == metric && view.indexes.contains_key(&index.id) =>
        {
            Some(index.clone())
        }
        _ => None,
    })
}
