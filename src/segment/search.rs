//! The nearest-neighbour search over the segments of a view: choose a strategy for each, nominate, compare exactly, merge.
//!
//! 1. Growing segments, segments without codes, and those with few survivors are compared exactly, row by row.
//! 2. The others nominate candidates by their codes. The coarse lists are looked up once for all segments of a generation.
//! 3. The best candidates of all segments together are compared exactly, whichever segment they came from, so that the number of segments
//!    hardly changes the work.
//! 4. When fewer rows came back than exist, what was approximate is done again exactly.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use lodedb_sql::error::{Result, SqlError};
use lodedb_sql::vector::{Metric, PreparedQuery, dot};

use super::faiss::CodeMetric;
use super::nearest::{Nearest, Target, ones, wrong_dimensions};
use super::quantizer::code_metric;
use super::strategy::{Facts, Strategy, choose};
use super::{ColumnId, IndexKind, IndexView, RowId, Segment, SegmentId, SegmentIndex, SegmentView, cancelled_by};
use crate::fault::{Fault, planted};

/// The recall a search aims for when nobody says.
pub(super) const DEFAULT_RECALL: f32 = 0.95;
/// Candidates ahead of the one being compared that are asked for from memory.
const AHEAD: usize = 12;

/// Says which rows of a segment pass a condition.
pub trait RowFilter: Send + Sync {
    /// One bit for each ordinal, lowest first; missing words are zeros. Bits of dead rows and of rows beyond the view do not matter.
    /// Rows in [`SegmentView::overridden`] must be judged by their current values.
    fn evaluate(&self, segment: &SegmentView) -> Result<Vec<u64>>;
}

/// How hard a search tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort {
    /// What the index was calibrated to need for a recall of 0.95.
    Default,
    /// What it needs for this recall.
    Recall(f32),
    /// Every row is compared.
    Exact,
    /// So many inverted lists, so many candidates (of a graph: only these).
    Explicit {
        /// Inverted lists to visit.
        probes: u32,
        /// Candidates to compare exactly.
        candidates: u32,
    },
}

/// What is asked.
pub struct KnnRequest<'a> {
    /// The vector column.
    pub column: ColumnId,
    /// The distance to order by.
    pub metric: Metric,
    /// The vector to be near to.
    pub query: &'a [f32],
    /// How many rows.
    pub k: usize,
    /// Which rows count.
    pub filter: Option<&'a dyn RowFilter>,
    /// How hard to try.
    pub effort: Effort,
    /// Raised to stop.
    pub cancelled: &'a AtomicBool,
}

/// One row of the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// The row.
    pub row: RowId,
    /// Its exact distance; NaN where there is none.
    pub distance: f64,
    /// Which of the segments given it is in.
    pub segment: u32,
    /// Where in it.
    pub ordinal: u32,
}

/// How one segment was searched.
#[derive(Clone, Copy, Debug)]
pub struct SegmentStats {
    /// The segment.
    pub segment: SegmentId,
    /// Rows in it, dead ones included.
    pub rows: u32,
    /// Rows that could be returned (without a filter an upper bound: dead rows without a vector count twice).
    pub survivors: u64,
    /// What was done.
    pub strategy: Strategy,
    /// Candidates its codes nominated.
    pub nominated: u32,
}

impl SegmentStats {
    /// Share of its rows that could be returned.
    pub fn selectivity(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.survivors as f64 / f64::from(self.rows) }
    }
}

/// How a search was done, for EXPLAIN ANALYZE.
#[derive(Clone, Debug, Default)]
pub struct SearchStats {
    /// Each segment, in the order given.
    pub segments: Vec<SegmentStats>,
    /// Exact distances computed.
    pub compared: u64,
    /// Whether too few candidates came back, so that segments were searched wider or exactly after all.
    pub widened: bool,
}

impl SearchStats {
    /// Adds what another search of the same statement did.
    pub fn add(&mut self, other: Self) {
        self.segments.extend(other.segments);
        self.compared += other.compared;
        self.widened |= other.widened;
    }
}

/// A candidate named by codes.
#[derive(Clone, Copy)]
pub(super) struct Nominee {
    /// Distance by codes, smaller first.
    pub(super) estimate: f32,
    pub(super) segment: u32,
    pub(super) ordinal: u32,
}

/// Buffers that a thread keeps between searches.
#[derive(Default)]
pub(super) struct Scratch {
    query: Vec<f32>,
    distances: Vec<f32>,
    labels: Vec<i64>,
    lists: Vec<i64>,
    list_distances: Vec<f32>,
    pub(super) nominees: Vec<Nominee>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A segment that nominates by its codes.
pub(super) struct Coded<'a> {
    pub(super) target: Target<'a>,
    pub(super) index: &'a SegmentIndex,
    pub(super) probes: u32,
    pub(super) candidates: u32,
    /// The rows that may be nominated, where a bitmap is used.
    pub(super) allowed: Option<Vec<u64>>,
}

/// The `k` rows nearest to the query among the segments, best first: by exact distance, then by row id.
///
/// The index serves if it is over the request's column and metric and effort is not [`Effort::Exact`]. Whatever it is, `k` rows come back
/// whenever `k` live rows with a vector pass the filter.
pub fn search(
    segments: &[SegmentView],
    index: Option<&IndexView>,
    request: &KnnRequest<'_>,
) -> Result<(Vec<Neighbor>, SearchStats)> {
    let mut stats = SearchStats::default();
    for column in segments.iter().flat_map(|view| view.segment.columns()).filter(|column| column.id == request.column) {
        if let Some(dims) = column.dims.filter(|&dims| dims as usize != request.query.len()) {
            return Err(wrong_dimensions(dims as usize, request.query.len()));
        }
    }
    if request.k == 0 {
        return Ok((Vec::new(), stats));
    }
    let query = request.metric.prepare(request.query);
    // Nothing is near to a zero vector under cosine: every distance is no number, and codes know none.
    let no_direction = request.metric == Metric::Cosine && dot(request.query, request.query) == 0.0;
    let index = index.filter(|index| {
        index.spec.column == request.column
            && index.spec.metric == request.metric
            && index.spec.kind != IndexKind::Flat
            && request.effort != Effort::Exact
            && !no_direction
    });
    let (probes, candidates) = index.map_or((0, 0), |index| effort(index, request));

    let total: u64 = segments.iter().map(|view| u64::from(view.segment.len())).sum();
    let mut nearest = Nearest::new(request.k, total);
    let mut coded = Vec::new();
    for (number, view) in segments.iter().enumerate() {
        cancelled_by(request.cancelled)?;
        let Some(column) = view.segment.position(request.column) else {
            stats.segments.push(stats_of(view, 0, Strategy::Skip));
            continue;
        };
        let target = Target { view, number: number as u32, column };
        let codes = index.and_then(|index| index.segments.get(&view.segment.id()));
        let eligible = match request.filter {
            Some(filter) if planted(Fault::FilterOfAnotherSegment) => {
                Some(target.eligible(Some(filter.evaluate(&segments[0])?)))
            }
            Some(filter) => Some(target.eligible(Some(filter.evaluate(view)?))),
            None => None,
        };
        let survivors = eligible.as_deref().map_or_else(|| with_vector(&target), ones);
        let strategy = match (codes, &view.segment) {
            _ if survivors == 0 => Strategy::Skip,
            (Some(codes), Segment::Sealed(_)) => choose(&Facts {
                kind: codes.quantizer().kind(),
                dims: codes.quantizer().dims(),
                code_bytes: code_bytes(codes),
                coded: codes.coded(),
                lists: codes.quantizer().lists(),
                survivors,
                filtered: eligible.is_some(),
                k: request.k,
                probes,
                candidates,
                named: matches!(request.effort, Effort::Explicit { .. }),
            }),
            _ => Strategy::Exact,
        };
        stats.segments.push(stats_of(view, survivors, strategy));
        match (strategy, codes) {
            (Strategy::Index { probes, candidates, selective }, Some(index)) => {
                let allowed = selective.then(|| eligible.unwrap_or_else(|| target.eligible(None)));
                coded.push(Coded { target, index, probes, candidates, allowed });
            }
            (Strategy::Exact, _) => {
                let eligible = eligible.unwrap_or_else(|| target.eligible(None));
                target.scan(&eligible, &query, &mut nearest, request.cancelled)?;
            }
            _ => {}
        }
    }

    if !coded.is_empty() {
        // Taken out while in use: a filter that searches itself finds an empty one, not a borrowed one.
        let mut scratch = SCRATCH.take();
        let done = search_coded(&coded, &query, request, &mut scratch, &mut nearest, &mut stats);
        SCRATCH.replace(scratch);
        done?;
        if nearest.len() < request.k {
            nearest = fill_up(&coded, &query, request, nearest, total, &mut stats)?;
        }
    }
    stats.compared += nearest.compared;
    let answer = nearest
        .into_sorted()
        .into_iter()
        .map(|found| Neighbor {
            row: found.row,
            distance: request.metric.distance_of_key(found.key),
            segment: found.segment,
            ordinal: found.ordinal,
        })
        .collect();
    Ok((answer, stats))
}

fn stats_of(view: &SegmentView, survivors: u64, strategy: Strategy) -> SegmentStats {
    SegmentStats { segment: view.segment.id(), rows: view.segment.len(), survivors, strategy, nominated: 0 }
}

/// Rows with a vector that are not dead; a few too few where dead rows had none.
fn with_vector(target: &Target<'_>) -> u64 {
    let rows = match &target.view.segment {
        Segment::Sealed(sealed) => sealed.raw(target.column).map_or(0, |raw| raw.count()),
        Segment::Mutable { .. } => target.view.segment.len(),
    };
    let dead = if target.view.dead.is_empty() { 0 } else { target.view.dead.count_below(target.view.segment.len()) };
    // One is kept: whether all are dead is for the scan to find out.
    u64::from(rows.saturating_sub(dead).max(u32::from(rows > 0 && dead < target.view.segment.len())))
}

pub(super) fn code_bytes(codes: &SegmentIndex) -> f64 {
    let quantizer = codes.quantizer();
    match quantizer.kind() {
        IndexKind::IvfPq => f64::from(quantizer.code_dims()) / 4.0,
        _ => f64::from(quantizer.code_dims()),
    }
}

/// Probes and candidates of an unfiltered search.
fn effort(index: &IndexView, request: &KnnRequest<'_>) -> (u32, u32) {
    let recall = match request.effort {
        Effort::Explicit { probes, candidates } => return (probes.max(1), candidates.max(1)),
        Effort::Recall(recall) => recall,
        Effort::Default | Effort::Exact => DEFAULT_RECALL,
    };
    if let Some(calibration) = &index.calibration {
        return calibration.choose(recall, request.k);
    }
    // Not measured yet: what served every set that was tried.
    let lists = index.quantizers.iter().map(|quantizer| quantizer.lists()).max().unwrap_or(1);
    let k = u32::try_from(request.k).unwrap_or(u32::MAX);
    ((lists / 12).max(8), k.saturating_mul(12).max(240))
}

fn search_coded(
    coded: &[Coded<'_>],
    query: &PreparedQuery<'_>,
    request: &KnnRequest<'_>,
    scratch: &mut Scratch,
    nearest: &mut Nearest,
    stats: &mut SearchStats,
) -> Result<()> {
    nominate(coded, request.query, request.cancelled, scratch, stats)?;
    let wanted = coded.iter().map(|segment| segment.candidates as usize).max().unwrap_or(0);
    keep_best(&mut scratch.nominees, if planted(Fault::NotReranked) { request.k } else { wanted });
    compare_nominees(coded, &scratch.nominees, query, nearest)
}

/// Fills `scratch.nominees` with the candidates of every segment, dead rows taken out.
pub(super) fn nominate(
    coded: &[Coded<'_>],
    query: &[f32],
    cancelled: &AtomicBool,
    scratch: &mut Scratch,
    stats: &mut SearchStats,
) -> Result<()> {
    let Scratch { query: form, distances, labels, lists, list_distances, nominees } = scratch;
    nominees.clear();
    let (mut coded_for, mut listed_for) = (None, None);
    for (at, segment) in coded.iter().enumerate() {
        cancelled_by(cancelled)?;
        let quantizer = segment.index.quantizer();
        let sign = if code_metric(quantizer.metric()) == CodeMetric::InnerProduct { -1.0 } else { 1.0 };
        if coded_for != Some(quantizer.generation()) {
            form.clear();
            if !quantizer.push(query, form) {
                return Err(SqlError::internal("a zero vector reached the codes"));
            }
            coded_for = Some(quantizer.generation());
        }
        // Looking the lists up once pays from the second segment of a generation on.
        let shared = segment.allowed.is_none()
            && (listed_for == Some((quantizer.generation(), segment.probes))
                || coded.get(at + 1).is_some_and(|next| {
                    next.allowed.is_none()
                        && next.probes == segment.probes
                        && next.index.generation() == quantizer.generation()
                }));
        let mut probes = segment.probes;
        loop {
            let wanted = (segment.candidates as usize).min(segment.index.coded() as usize);
            distances.clear();
            distances.resize(wanted, 0.0);
            labels.clear();
            labels.resize(wanted, -1);
            let given = shared
                && quantizer.lists() > 0
                && (listed_for == Some((quantizer.generation(), probes))
                    || quantizer.nearest_lists(form, probes.min(quantizer.lists()) as usize, lists, list_distances)?);
            if given {
                listed_for = Some((quantizer.generation(), probes));
                segment.index.codes().search_lists(form, lists, list_distances, distances, labels)?;
            } else {
                segment.index.nominate(form, probes as usize, segment.allowed.as_deref(), distances, labels)?;
            }
            let named = labels.iter().take_while(|&&label| label >= 0).count();
            if !too_few(segment, probes, named) {
                break;
            }
            // The rows that pass lie elsewhere than where the query does.
            probes = probes.saturating_mul(4).min(quantizer.lists());
            stats.widened = true;
        }
        let dead = &segment.target.view.dead;
        let before = nominees.len();
        for (&distance, &label) in distances.iter().zip(labels.iter()) {
            if let Some(ordinal) = segment.index.ordinal(label)
                && (segment.allowed.is_some() || dead.is_empty() || !dead.contains(ordinal))
            {
                nominees.push(Nominee { estimate: sign * distance, segment: at as u32, ordinal });
            }
        }
        if let Some(stats) = stats.segments.get_mut(segment.target.number as usize) {
            stats.nominated = (nominees.len() - before) as u32;
        }
    }
    Ok(())
}

/// Whether the lists visited held far fewer rows that pass than their share, so that the near ones may be in others.
fn too_few(segment: &Coded<'_>, probes: u32, named: usize) -> bool {
    let lists = segment.index.quantizer().lists();
    let Some(allowed) = segment.allowed.as_deref().filter(|_| probes < lists) else { return false };
    if named >= segment.candidates as usize {
        return false;
    }
    let share = ones(allowed) as f64 * f64::from(probes) / f64::from(lists);
    (named as f64) < (share / 2.0).min(f64::from(segment.candidates))
}

/// Cuts the nominees to the `wanted` best by their codes.
pub(super) fn keep_best(nominees: &mut Vec<Nominee>, wanted: usize) {
    if wanted > 0 && nominees.len() > wanted {
        nominees.select_nth_unstable_by(wanted - 1, |a, b| a.estimate.total_cmp(&b.estimate));
        nominees.truncate(wanted);
    }
}

fn compare_nominees(
    coded: &[Coded<'_>],
    nominees: &[Nominee],
    query: &PreparedQuery<'_>,
    nearest: &mut Nearest,
) -> Result<()> {
    for nominee in &nominees[..nominees.len().min(AHEAD)] {
        coded[nominee.segment as usize].target.prefetch(nominee.ordinal);
    }
    for (at, nominee) in nominees.iter().enumerate() {
        if let Some(next) = nominees.get(at + AHEAD) {
            coded[next.segment as usize].target.prefetch(next.ordinal);
        }
        coded[nominee.segment as usize].target.compare(nominee.ordinal, query, nearest)?;
    }
    Ok(())
}

/// Too few rows came back. Those without a code are compared; if coded rows are still missing, all of them are.
fn fill_up(
    coded: &[Coded<'_>],
    query: &PreparedQuery<'_>,
    request: &KnnRequest<'_>,
    mut nearest: Nearest,
    total: u64,
    stats: &mut SearchStats,
) -> Result<Nearest> {
    let mut eligible = Vec::with_capacity(coded.len());
    for segment in coded {
        let words = match (&segment.allowed, request.filter) {
            (Some(allowed), _) => allowed.clone(),
            (None, Some(filter)) => segment.target.eligible(Some(filter.evaluate(segment.target.view)?)),
            (None, None) => segment.target.eligible(None),
        };
        for &ordinal in segment.index.uncoded() {
            if words.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1) {
                segment.target.compare(ordinal, query, &mut nearest)?;
            }
        }
        eligible.push(words);
    }
    let is_coded = |number: u32| coded.iter().any(|segment| segment.target.number == number);
    // Segments compared exactly have given all they have; what is missing can only be among the coded ones.
    let exist: u64 = eligible.iter().map(|words| ones(words)).sum();
    let have = nearest.found().filter(|found| is_coded(found.segment)).count() as u64;
    if have >= exist {
        return Ok(nearest);
    }
    stats.widened = true;
    let mut all = Nearest::new(request.k, total);
    all.compared = nearest.compared;
    for (segment, words) in coded.iter().zip(&eligible) {
        segment.target.scan(words, query, &mut all, request.cancelled)?;
    }
    for found in nearest.found().filter(|found| !is_coded(found.segment)) {
        all.offer(found.key, found.segment, found.ordinal, || found.row);
    }
    Ok(all)
}
