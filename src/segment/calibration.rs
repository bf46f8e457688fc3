//! What effort an index needs for a recall: measured on rows of the index itself, asked for as if they were not in it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lodedb_sql::error::{Result, SqlError};
use lodedb_sql::vector::Metric;
use lodedb_wal::fs::FileSystem;
use serde::{Deserialize, Serialize};

use super::blocks::{FileEntry, Frame, FrameWriter, Kind, damaged, failed};
use super::nearest::{Nearest, Target};
use super::quantizer::build_threads;
use super::search::{Coded, Nominee, Scratch, SearchStats, code_bytes, nominate};
use super::strategy::{Facts, exact_cost, index_cost};
use super::{IndexId, IndexKind, IndexView, Segment, SegmentView};

/// Most queries a calibration asks.
const QUERIES: usize = 256;
/// Multiplications that finding the true neighbours may take: about ten seconds of a core.
const TRUTH_BUDGET: f64 = 6e10;
/// The numbers of candidates measured.
const CANDIDATES: [u32; 16] = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
/// Most queries compared with a row while it is near.
const TOGETHER: usize = 16;
/// The two numbers of neighbours recall is measured at.
const AT: [usize; 2] = [10, 100];
/// What a recall measured on a few hundred rows may be off by, and what it aims above the target for it.
const MARGIN: f32 = 0.01;

/// Recall measured over a grid of probes and candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The index.
    pub index: IndexId,
    /// Vectors it coded when it was measured.
    pub rows: u64,
    /// Queries asked.
    pub queries: u32,
    kind: IndexKind,
    dims: u32,
    code_bytes: f64,
    lists: u32,
    /// The numbers of probes measured.
    probes: Vec<u32>,
    /// For 10 and for 100 neighbours: recall for each number of probes, and in it for each number of candidates.
    recalls: [Vec<f32>; 2],
}

impl Calibration {
    /// Probes and candidates that reach a recall at `k` neighbours for the least time; the most that was measured if none does.
    pub fn choose(&self, recall: f32, k: usize) -> (u32, u32) {
        let of = |at: usize| self.cheapest(recall, at);
        let k = u32::try_from(k).unwrap_or(u32::MAX);
        let (probes, candidates) = if k <= 10 {
            of(0)
        } else if k < 100 {
            let (low, high, share) = (of(0), of(1), f64::from(k - 10) / 90.0);
            let between = |a: u32, b: u32| (f64::from(a) + share * (f64::from(b) - f64::from(a))).ceil() as u32;
            (between(low.0, high.0), between(low.1, high.1))
        } else {
            let (probes, candidates) = of(1);
            let times = f64::from(k) / 100.0;
            ((f64::from(probes) * times.sqrt()) as u32, (f64::from(candidates) * times) as u32)
        };
        (probes.max(1), candidates.max(k))
    }

    /// The recall expected at the 10 or more neighbours of a choice; for EXPLAIN.
    pub fn expected_recall(&self, k: usize, probes: u32, candidates: u32) -> f32 {
        let at = usize::from(k > 50);
        let row = self.probes.iter().rposition(|&known| known <= probes).unwrap_or(0);
        let column = CANDIDATES.iter().rposition(|&known| known <= candidates).unwrap_or(0);
        self.recalls[at].get(row * CANDIDATES.len() + column).copied().unwrap_or(0.0)
    }

    fn cheapest(&self, recall: f32, at: usize) -> (u32, u32) {
        let facts = Facts {
            kind: self.kind,
            dims: self.dims,
            code_bytes: self.code_bytes,
            coded: self.rows,
            lists: self.lists,
            survivors: self.rows,
            filtered: false,
            k: AT[at],
            probes: 0,
            candidates: 0,
            named: false,
        };
        let target = (recall + MARGIN).min(recall + (1.0 - recall) / 2.0);
        let mut best: Option<(f64, (u32, u32))> = None;
        for (row, &probes) in self.probes.iter().enumerate() {
            for (column, &candidates) in CANDIDATES.iter().enumerate() {
                if self.recalls[at][row * CANDIDATES.len() + column] >= target {
                    let cost = index_cost(&facts, probes, candidates) + f64::from(candidates) * exact_cost(self.dims);
                    if best.is_none_or(|(least, _)| cost < least) {
                        best = Some((cost, (probes, candidates)));
                    }
                }
            }
        }
        best.map_or((self.probes.last().copied().unwrap_or(1), CANDIDATES[CANDIDATES.len() - 1]), |(_, choice)| choice)
    }

    /// Its bytes, as the file holds them.
    pub fn encode(&self) -> Result<Vec<u8>> {
        bincode::serde::encode_to_vec(self, bincode::config::standard()).map_err(SqlError::internal)
    }

    /// Reads what [`Calibration::encode`] gave; bytes whose checksum held.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let limited = bincode::config::standard().with_limit::<{ 1 << 20 }>();
        let (read, _): (Self, usize) = bincode::serde::decode_from_slice(bytes, limited).map_err(SqlError::internal)?;
        let cells = read.probes.len() * CANDIDATES.len();
        if read.probes.is_empty() || read.recalls.iter().any(|recalls| recalls.len() != cells) {
            return Err(SqlError::internal("a calibration without measurements"));
        }
        Ok(read)
    }

    /// Writes the file; when this returns, it and its name are durable.
    pub fn save(&self, fs: &dyn FileSystem, path: &Path) -> Result<FileEntry> {
        let mut writer = FrameWriter::create(fs, path, Kind::Calibration, u64::from(self.index))?;
        writer.put(&self.encode()?)?;
        let entry = writer.publish()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs.sync_dir(dir).map_err(|e| failed(dir, &e))?;
        Ok(entry)
    }

    /// Opens the file of an index. An error means that it must be measured again.
    pub fn open(fs: &dyn FileSystem, path: &Path, index: IndexId, expected: Option<&FileEntry>) -> Result<Self> {
        let frame = Frame::open(fs, path, Kind::Calibration, u64::from(index), expected)?;
        Self::decode(frame.get(0..frame.body_len())?).map_err(|e| damaged(path, e.message()))
    }
}

/// A row used as a query.
#[derive(Clone)]
struct Probe<'a> {
    segment: u32,
    ordinal: u32,
    vector: &'a [f32],
}

/// Measures an index over the segments of a view: rows spread over all of it are asked for, their true neighbours found by comparing
/// everything, and counted among the candidates of ever more probes. Uses all cores. `None` when there is too little to measure.
pub fn calibrate(
    segments: &[SegmentView],
    index: &IndexView,
    progress: &dyn Fn(f64),
    cancelled: &AtomicBool,
) -> Result<Option<Calibration>> {
    let mut targets = Vec::new();
    let mut coded = Vec::new();
    for (number, view) in segments.iter().enumerate() {
        let Some(column) = view.segment.position(index.spec.column) else { continue };
        let target = Target { view, number: number as u32, column };
        targets.push(target);
        if let (Some(codes), Segment::Sealed(_)) = (index.segments.get(&view.segment.id()), &view.segment)
            && codes.coded() > 0
        {
            coded.push(Coded { target, index: codes, probes: 1, candidates: 1, allowed: None });
        }
    }
    let rows: u64 = coded.iter().map(|segment| segment.index.coded()).sum();
    let Some(first) = coded.first().filter(|_| rows >= 1_000) else { return Ok(None) };
    let quantizer = first.index.quantizer();
    let all_rows: u64 = targets.iter().map(|target| u64::from(target.view.segment.len())).sum();
    let affordable = TRUTH_BUDGET / (all_rows as f64 * f64::from(quantizer.dims()));
    let queries = choose_queries(&coded, (affordable as usize).clamp(48, QUERIES), index.spec.metric)?;
    if queries.len() < 16 {
        return Ok(None);
    }
    let together = queries.len().div_ceil(2 * build_threads()).min(TOGETHER);
    let batches: Vec<&[Probe<'_>]> = queries.chunks(together).collect();
    let truth = in_parallel(batches.len(), |at| true_neighbors(&targets, batches[at], index.spec.metric, cancelled))?;
    let truth: Vec<Vec<(u32, u32)>> = truth.into_iter().flatten().collect();
    progress(0.5);

    let lists = quantizer.lists();
    let mut measured = Calibration {
        index: index.spec.id,
        rows,
        queries: queries.len() as u32,
        kind: quantizer.kind(),
        dims: quantizer.dims(),
        code_bytes: code_bytes(first.index),
        lists,
        probes: Vec::new(),
        recalls: [Vec::new(), Vec::new()],
    };
    let known: Vec<Known<'_>> =
        queries.iter().zip(&truth).map(|(probe, neighbors)| Known { probe, neighbors }).collect();
    let (ladder, ranks) = if lists == 0 {
        let ranks = in_parallel(known.len(), |at| Ok(vec![ranks_in_graph(&coded, &known[at], cancelled)?]))?;
        (vec![1], ranks)
    } else {
        rank_in_lists(&coded, &known, probe_ladder(lists), cancelled)?
    };
    for (rung, &probes) in ladder.iter().enumerate() {
        measured.probes.push(probes);
        for (which, &at) in AT.iter().enumerate() {
            for column in 0..CANDIDATES.len() {
                let (mut found, mut exist) = (0usize, 0usize);
                for (ranks, truth) in ranks.iter().zip(&truth) {
                    let true_count = at.min(truth.len());
                    exist += true_count;
                    found += ranks[rung][..true_count].iter().filter(|&&rank| rank <= column as u8).count();
                }
                measured.recalls[which].push(if exist == 0 { 1.0 } else { found as f32 / exist as f32 });
            }
        }
    }
    progress(1.0);
    Ok(Some(measured))
}

fn probe_ladder(lists: u32) -> Vec<u32> {
    let mut ladder: Vec<u32> =
        (0..).map(|step| (2f64.powf(f64::from(step) / 2.0)).round() as u32).take_while(|&p| p < lists).collect();
    ladder.push(lists.max(1));
    ladder.dedup();
    ladder
}

fn choose_queries<'a>(coded: &[Coded<'a>], count: usize, metric: Metric) -> Result<Vec<Probe<'a>>> {
    let total: u64 = coded.iter().map(|segment| u64::from(segment.target.view.segment.len())).sum();
    let step = (total / count as u64).max(1);
    let mut queries = Vec::with_capacity(count);
    let (mut at, mut start) = (step / 2, 0u64);
    for segment in coded {
        let view = segment.target.view;
        let end = start + u64::from(view.segment.len());
        while at < end && queries.len() < count {
            let ordinal = (at - start) as u32;
            if !view.dead.contains(ordinal)
                && let Some(vector) = view.segment.vector(segment.target.column, ordinal)?
                && !(metric == Metric::Cosine && vector.iter().all(|&x| x == 0.0))
            {
                queries.push(Probe { segment: segment.target.number, ordinal, vector });
            }
            at += step;
        }
        start = end;
    }
    Ok(queries)
}

/// The nearest other rows of each query, found by comparing everything.
fn true_neighbors(
    targets: &[Target<'_>],
    probes: &[Probe<'_>],
    metric: Metric,
    cancelled: &AtomicBool,
) -> Result<Vec<Vec<(u32, u32)>>> {
    let queries: Vec<_> = probes.iter().map(|probe| metric.prepare(probe.vector)).collect();
    // One more, for the row itself.
    let mut nearest: Vec<_> = probes.iter().map(|_| Nearest::new(AT[1] + 1, u64::MAX)).collect();
    for target in targets {
        let mut pairs: Vec<_> = queries.iter().zip(&mut nearest).collect();
        target.scan_for_each(&target.eligible(None), &mut pairs, cancelled)?;
    }
    let others = |(nearest, probe): (Nearest, &Probe<'_>)| {
        let found = nearest.into_sorted().into_iter().map(|found| (found.segment, found.ordinal));
        found.filter(|&place| place != (probe.segment, probe.ordinal)).take(AT[1]).collect()
    };
    Ok(nearest.into_iter().zip(probes).map(others).collect())
}

/// A query and its true neighbours, by segment and ordinal, nearest first.
#[derive(Clone, Copy)]
struct Known<'a> {
    probe: &'a Probe<'a>,
    neighbors: &'a [(u32, u32)],
}

impl Known<'_> {
    /// Whether a neighbour's segment has no codes, so that it is found whatever the effort.
    fn is_uncoded(&self, coded: &[Coded<'_>], neighbor: usize) -> bool {
        !coded.iter().any(|coded| coded.target.number == self.neighbors[neighbor].0)
    }

    /// Which neighbours the codes name and in which order: calls `on` for each nominee, best first, with the number of the neighbour it is.
    fn nominees(
        &self,
        coded: &[Coded<'_>],
        probes: u32,
        candidates: u32,
        cancelled: &AtomicBool,
        mut on: impl FnMut(&Nominee, Option<usize>),
    ) -> Result<()> {
        let place: HashMap<(u32, u32), usize> = self.neighbors.iter().enumerate().map(|(at, &key)| (key, at)).collect();
        // One more, for the row itself.
        let effort: Vec<Coded<'_>> = coded
            .iter()
            .map(|segment| Coded { probes, candidates: candidates + 1, allowed: None, ..*segment })
            .collect();
        let mut scratch = Scratch::default();
        nominate(&effort, self.probe.vector, cancelled, &mut scratch, &mut SearchStats::default())?;
        scratch.nominees.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let mut left = candidates;
        for nominee in &scratch.nominees {
            let key = (coded[nominee.segment as usize].target.number, nominee.ordinal);
            if key != (self.probe.segment, self.probe.ordinal) && left > 0 {
                left -= 1;
                on(nominee, place.get(&key).copied());
            }
        }
        Ok(())
    }
}

/// For each true neighbour the first number of candidates (its place in [`CANDIDATES`]) that includes it; `u8::MAX` if none does.
/// A graph's effort is its number of candidates, so each number is a search of its own.
fn ranks_in_graph(coded: &[Coded<'_>], known: &Known<'_>, cancelled: &AtomicBool) -> Result<Vec<u8>> {
    let uncoded = |at| if known.is_uncoded(coded, at) { 0 } else { u8::MAX };
    let mut ranks: Vec<u8> = (0..known.neighbors.len()).map(uncoded).collect();
    for (column, &candidates) in CANDIDATES.iter().enumerate() {
        known.nominees(coded, 1, candidates, cancelled, |_, neighbor| {
            if let Some(at) = neighbor {
                ranks[at] = ranks[at].min(column as u8);
            }
        })?;
    }
    Ok(ranks)
}

/// For each number of probes and each true neighbour what [`ranks_in_graph`] says.
type Ranks = Vec<Vec<u8>>;

/// Ranks for each query, each number of probes and each true neighbour.
///
/// One search over the most probes says it for all: fewer probes leave out the nominees in farther lists. What was no candidate with the
/// most probes is taken for lost with fewer, which can be wrong at the largest numbers of candidates only, and to the safe side.
///
/// The ladder ends where no true neighbour is left in a farther list: more probes only cost.
fn rank_in_lists(
    coded: &[Coded<'_>],
    known: &[Known<'_>],
    mut ladder: Vec<u32>,
    cancelled: &AtomicBool,
) -> Result<(Vec<u32>, Vec<Ranks>)> {
    let list_of: Vec<Vec<Option<u32>>> = coded
        .iter()
        .map(|segment| segment.index.codes().lists_of_labels(segment.target.view.segment.len() as usize))
        .collect();
    let order: Vec<Vec<u32>> = in_parallel(known.len(), |at| order_of_lists(coded, known[at].probe))?;
    // How many lists a query must visit to come to a row.
    let depth = |query: usize, segment: usize, ordinal: u32| {
        list_of[segment][ordinal as usize].map_or(u32::MAX, |list| order[query][list as usize] + 1)
    };
    let mut depths: Vec<u32> = Vec::new();
    for (query, known) in known.iter().enumerate() {
        for &(number, ordinal) in known.neighbors {
            if let Some(segment) = coded.iter().position(|coded| coded.target.number == number) {
                depths.push(depth(query, segment, ordinal));
            }
        }
    }
    let deeper = |probes: u32| depths.iter().filter(|&&depth| depth > probes).count();
    let enough = ladder.iter().position(|&probes| deeper(probes) as f64 <= 0.0005 * depths.len() as f64);
    ladder.truncate(enough.map_or(ladder.len(), |last| last + 1));
    let most = ladder.last().copied().unwrap_or(1);
    let ranks = in_parallel(known.len(), |query| {
        let known = &known[query];
        let uncoded = |at| if known.is_uncoded(coded, at) { 0 } else { u8::MAX };
        let mut ranks: Ranks = vec![(0..known.neighbors.len()).map(uncoded).collect(); ladder.len()];
        let mut passed = vec![0; ladder.len()];
        known.nominees(coded, most, CANDIDATES[CANDIDATES.len() - 1], cancelled, |nominee, neighbor| {
            let depth = depth(query, nominee.segment as usize, nominee.ordinal);
            for (rung, _) in ladder.iter().enumerate().rev().take_while(|&(_, &probes)| probes >= depth) {
                if let Some(at) = neighbor {
                    let needed = CANDIDATES.iter().position(|&candidates| passed[rung] < candidates);
                    ranks[rung][at] = needed.map_or(u8::MAX, |column| column as u8);
                }
                passed[rung] += 1;
            }
        })?;
        Ok(ranks)
    })?;
    Ok((ladder, ranks))
}

/// For each list its place in a query's order, nearest first.
fn order_of_lists(coded: &[Coded<'_>], probe: &Probe<'_>) -> Result<Vec<u32>> {
    let Some(quantizer) = coded.first().map(|segment| segment.index.quantizer()) else { return Ok(Vec::new()) };
    let lists = quantizer.lists() as usize;
    let (mut form, mut distances, mut nearest) = (Vec::new(), vec![0.0; lists], vec![-1; lists]);
    quantizer.push(probe.vector, &mut form);
    quantizer.template().nearest_lists(&form, &mut distances, &mut nearest)?;
    let mut order = vec![u32::MAX - 1; lists];
    for (place, list) in nearest.into_iter().enumerate() {
        if let Some(order) = usize::try_from(list).ok().and_then(|list| order.get_mut(list)) {
            *order = place as u32;
        }
    }
    Ok(order)
}

/// Computes `of(0..count)` on all cores; the first error stops it.
fn in_parallel<T: Send>(count: usize, of: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(done);
            }
            match of(at) {
                Ok(result) => done.push((at, result)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let mut all = std::thread::scope(|scope| -> Result<Vec<(usize, T)>> {
        let workers: Vec<_> = (1..build_threads().min(count.max(1))).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for worker in workers {
            all.extend(worker.join().map_err(|_| SqlError::internal("a calibration thread failed"))??);
        }
        Ok(all)
    })?;
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
