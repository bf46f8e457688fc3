//! The quantizer of an index generation: trained coarse centroids and code books, as an index of FAISS that holds no rows.
//!
//! One immutable file `DIR/quantizers/<index>/<generation>`; every [`super::SegmentIndex`] of the generation starts as a copy of it, so
//! codes of different segments are comparable. Training is not reproducible (threads, order of sums): it is never replayed, its
//! result is a file that the log names.

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_sql::vector::{Metric, dot};
use lodedb_wal::fs::FileSystem;
use lodedb_wal::killpoint::reach;

use super::blocks::{FileEntry, Frame, FrameWriter, Kind, damaged, failed};
use super::faiss::{CodeMetric, Index, Threads};
use super::{IndexId, IndexKind, IndexSpec, IndexView, SegmentIndex, SegmentView, cancelled_by};

/// A query's lists are looked up once for all segments up to this many; beyond, each segment looks them up.
const GIVEN_LISTS: usize = 128;

/// How much farther, squared, vectors lie from their centroids when an index is trained anew: their codes say that much less.
const DRIFT: f32 = 2.0;

/// The trained part of an index generation.
pub struct Quantizer {
    index: IndexId,
    generation: u64,
    kind: IndexKind,
    metric: Metric,
    dims: u32,
    /// Dimensions of the codes: those of the column, filled with zeros to a multiple of a sub-vector.
    code_dims: u32,
    template: Index,
    bytes: Vec<u8>,
    /// See [`Quantizer::spread`].
    spread: OnceLock<f32>,
}

/// How many threads building may use.
pub(super) fn build_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl fmt::Debug for Quantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantizer(index {}, generation {}, {} lists)", self.index, self.generation, self.lists())
    }
}

impl Quantizer {
    /// Trains a quantizer for an index that will hold about `rows` rows on a sample of them (`sample` holds whole vectors of `dims`
    /// floats, as stored; [`IndexSpec::sample_rows`] says how many are wanted). The training proper cannot be interrupted;
    /// `cancelled` is looked at before and after.
    pub fn train(
        spec: &IndexSpec,
        generation: u64,
        dims: u32,
        rows: u64,
        sample: &[f32],
        progress: &dyn Fn(f64),
        cancelled: &AtomicBool,
    ) -> Result<Arc<Self>> {
        if dims == 0 || sample.is_empty() || !sample.len().is_multiple_of(dims as usize) {
            return Err(SqlError::internal("a quantizer needs a sample of whole vectors"));
        }
        // Product codes want whole sub-vectors: zeros fill the last one.
        let width = if spec.kind == IndexKind::IvfPq { dims.div_ceil(spec.choose_subquantizers(dims)) } else { 1 };
        let code_dims = dims.next_multiple_of(width);
        let mut points = Vec::with_capacity(sample.len() / dims as usize * code_dims as usize);
        for vector in sample.chunks_exact(dims as usize) {
            push_code_vector(spec.metric, vector, code_dims, &mut points);
        }
        if points.is_empty() {
            return Err(SqlError::new(SqlState::DataException, "every sampled vector is zero"));
        }
        let sampled = points.len() / code_dims as usize;
        let lists = spec.choose_lists(rows.max(sampled as u64));
        // FAISS wants 39 points for each centroid of the lists and of the 16-word code books; few rows are shown more than once.
        let wanted = (lists as usize).max(16) * 39;
        if spec.kind != IndexKind::Hnsw && sampled < wanted {
            let whole = points.len();
            for at in 0..(wanted - sampled) * code_dims as usize {
                points.push(points[at % whole]);
            }
        }
        progress(0.05);
        cancelled_by(cancelled)?;
        let mut template =
            Index::factory(code_dims as usize, &description(spec, lists, code_dims / width), code_metric(spec.metric))?;
        if spec.kind == IndexKind::Hnsw {
            template.set_parameter("efConstruction", f64::from(spec.option("ef_construction").unwrap_or(64)))?;
            template.set_parameter("efSearch", 1.0)?;
        }
        {
            let _threads = Threads::enter(build_threads());
            template.train(&points)?;
        }
        template.set_given_lists(GIVEN_LISTS.min(template.lists()));
        cancelled_by(cancelled)?;
        progress(1.0);
        let bytes = template.write()?;
        let (index, kind, metric) = (spec.id, spec.kind, spec.metric);
        let spread = OnceLock::new();
        Ok(Arc::new(Self { index, generation, kind, metric, dims, code_dims, template, bytes, spread }))
    }

    /// Writes the file; when this returns, it and its name are durable.
    pub fn save(&self, fs: &dyn FileSystem, path: &Path) -> Result<FileEntry> {
        let mut writer = FrameWriter::create(fs, path, Kind::Quantizer, self.generation)?;
        let spread = self.spread().unwrap_or(0.0).to_bits();
        let (kind, metric) = (self.kind as u32, self.metric as u32);
        for number in [self.index, kind, metric, self.dims, self.code_dims, self.lists(), spread, 0] {
            writer.put(&number.to_le_bytes())?;
        }
        writer.put(&self.bytes)?;
        let entry = writer.publish()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs.sync_dir(dir).map_err(|e| failed(dir, &e))?;
        reach("quantizer: written");
        Ok(entry)
    }

    /// Opens the file of a generation; every block is checked before FAISS sees it.
    pub fn open(
        fs: &dyn FileSystem,
        path: &Path,
        spec: &IndexSpec,
        generation: u64,
        expected: Option<&FileEntry>,
    ) -> Result<Arc<Self>> {
        let frame = Frame::open(fs, path, Kind::Quantizer, generation, expected)?;
        let body = frame.get(0..frame.body_len())?;
        let Some((head, bytes)) = body.split_at_checked(32) else { return Err(damaged(path, "too short")) };
        let number =
            |at: usize| u32::from_le_bytes([head[at * 4], head[at * 4 + 1], head[at * 4 + 2], head[at * 4 + 3]]);
        if [number(0), number(1), number(2)] != [spec.id, spec.kind as u32, spec.metric as u32] {
            return Err(damaged(path, "it belongs to another index"));
        }
        let bytes = bytes.to_vec();
        let template = Index::read(&mut &bytes[..], fourcc(spec.kind)).map_err(|e| damaged(path, e.message()))?;
        let agrees = template.d() == number(4) as usize
            && number(4) >= number(3)
            && template.ntotal() == 0
            && template.lists() == number(5) as usize
            && template.is_trained()
            && template.metric() == Some(code_metric(spec.metric));
        if !agrees {
            return Err(damaged(path, "it is not what its header says"));
        }
        let (index, kind, metric) = (spec.id, spec.kind, spec.metric);
        let (dims, code_dims) = (number(3), number(4));
        let spread = known_spread(f32::from_bits(number(6))).map_or_else(OnceLock::new, OnceLock::from);
        Ok(Arc::new(Self { index, generation, kind, metric, dims, code_dims, template, bytes, spread }))
    }

    /// The index it belongs to.
    pub fn index(&self) -> IndexId {
        self.index
    }
    /// Its generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// The kind of index.
    pub fn kind(&self) -> IndexKind {
        self.kind
    }
    /// The metric its codes order by (cosine by normalised vectors, taxicab nominated by Euclid).
    pub fn metric(&self) -> Metric {
        self.metric
    }
    /// Dimensions of the vectors.
    pub fn dims(&self) -> u32 {
        self.dims
    }
    /// How many inverted lists; 0 for a kind without.
    pub fn lists(&self) -> u32 {
        self.template.lists() as u32
    }
    /// The bytes of its file's content, roughly what it takes in memory twice.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The mean squared distance of the vectors it was made for from their centroids; `None` where it was not measured, or where there are
    /// no lists or distances do not say how well a vector is coded (inner product).
    pub fn spread(&self) -> Option<f32> {
        self.spread.get().copied()
    }

    /// Says once what [`Quantizer::spread`] is: of the codes of all rows there are, before it is saved.
    pub fn set_spread<'a>(&self, codes: impl Iterator<Item = &'a SegmentIndex>) {
        if let Some(spread) = mean_spread(codes) {
            // Whoever trained it calls this once.
            let _ = self.spread.set(spread);
        }
    }

    /// The squared distance of a vector, in the form that is coded, from its centroid.
    pub(super) fn distance_from_centroid(&self, vector: &[f32]) -> Result<Option<f32>> {
        if self.lists() == 0 || code_metric(self.metric) != CodeMetric::L2 {
            return Ok(None);
        }
        let (mut distance, mut list) = ([0.0], [-1]);
        self.template.nearest_lists(vector, &mut distance, &mut list)?;
        Ok((list[0] >= 0).then_some(distance[0]))
    }

    pub(super) fn code_dims(&self) -> u32 {
        self.code_dims
    }

    /// An index with the same training and no rows.
    pub(super) fn instance(&self) -> Result<Index> {
        Index::read(&mut &self.bytes[..], fourcc(self.kind))
    }

    pub(super) fn template(&self) -> &Index {
        &self.template
    }

    /// Appends the form of a vector that is coded and searched; false, and nothing, for a vector that has none.
    pub(super) fn push(&self, vector: &[f32], into: &mut Vec<f32>) -> bool {
        push_code_vector(self.metric, vector, self.code_dims, into)
    }
}

/// A mean squared distance that a file holds; 0 where there is none.
pub(super) fn known_spread(spread: f32) -> Option<f32> {
    (spread.is_finite() && spread > 0.0).then_some(spread)
}

/// The mean of segments' spreads, each vector counting once; of those whose spread is known.
pub(super) fn mean_spread<'a>(codes: impl Iterator<Item = &'a SegmentIndex>) -> Option<f32> {
    let (mut sum, mut rows) = (0.0, 0.0);
    for codes in codes {
        if let Some(spread) = codes.spread() {
            sum += f64::from(spread) * codes.coded() as f64;
            rows += codes.coded() as f64;
        }
    }
    known_spread((sum / rows) as f32)
}

/// Whether the vectors that are coded lie in other places than those an index was trained for: their mean squared distance from their
/// centroids is [`DRIFT`] times what it was. Not before half of them were measured.
pub fn has_drifted(index: &IndexView) -> bool {
    let Some((quantizer, made_for)) = index.quantizers.last().and_then(|newest| Some((newest, newest.spread()?)))
    else {
        return false;
    };
    let current = || index.segments.values().filter(|codes| codes.generation() == quantizer.generation());
    let rows = |only_measured: bool| -> u64 {
        current().filter(|codes| !only_measured || codes.spread().is_some()).map(|codes| codes.coded()).sum()
    };
    2 * rows(true) >= rows(false)
        && mean_spread(current().map(|codes| &**codes)).is_some_and(|now| now > DRIFT * made_for)
}

/// A sample of `count` live, non-null vectors of a column (by position), spread evenly over all rows; whole vectors one after another.
pub fn sample_vectors(segments: &[SegmentView], column: usize, count: usize, dims: u32) -> Result<Vec<f32>> {
    let total: u64 = segments.iter().map(|view| u64::from(view.segment.len())).sum();
    let mut sample = Vec::with_capacity(count.min(total as usize) * dims as usize);
    if total == 0 || count == 0 {
        return Ok(sample);
    }
    // A stride through all rows that is odd against their order, from an offset of its own in every round.
    let step = (total / count as u64).max(1);
    let (mut start, mut at) = (0u64, 0u64);
    for view in segments {
        let end = start + u64::from(view.segment.len());
        while at < end {
            let jitter = (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % step;
            let ordinal = (at + jitter).min(end - 1) - start;
            if !view.dead.contains(ordinal as u32)
                && let Some(vector) = view.segment.vector(column, ordinal as u32)?
                && vector.len() == dims as usize
            {
                sample.extend_from_slice(vector);
            }
            at += step;
        }
        start = end;
    }
    sample.truncate(count * dims as usize);
    Ok(sample)
}

pub(super) fn code_metric(metric: Metric) -> CodeMetric {
    match metric {
        Metric::InnerProduct => CodeMetric::InnerProduct,
        Metric::L2 | Metric::Cosine | Metric::L1 => CodeMetric::L2,
    }
}

fn push_code_vector(metric: Metric, vector: &[f32], code_dims: u32, into: &mut Vec<f32>) -> bool {
    let end = into.len() + code_dims as usize;
    if metric == Metric::Cosine {
        // Scaled first, so that neither squares nor their sum leave the range of a float.
        let largest = vector.iter().fold(0f32, |most, x| most.max(x.abs()));
        if largest == 0.0 {
            return false;
        }
        let start = into.len();
        into.extend(vector.iter().map(|x| x / largest));
        let norm = dot(&into[start..], &into[start..]).sqrt();
        into[start..].iter_mut().for_each(|x| *x /= norm);
    } else {
        into.extend_from_slice(vector);
    }
    into.resize(end, 0.0);
    true
}

fn description(spec: &IndexSpec, lists: u32, subquantizers: u32) -> String {
    match spec.kind {
        IndexKind::IvfPq => format!("IVF{lists},PQ{subquantizers}x4fs"),
        IndexKind::IvfFlat => format!("IVF{lists},SQ8"),
        IndexKind::Hnsw => format!("HNSW{}_SQ8", spec.option("m").unwrap_or(16)),
        IndexKind::Flat => "Flat".into(),
    }
}

pub(super) fn fourcc(kind: IndexKind) -> &'static [u8; 4] {
    match kind {
        IndexKind::IvfPq => b"IwPf",
        IndexKind::IvfFlat => b"IwSq",
        IndexKind::Hnsw => b"IHNs",
        IndexKind::Flat => b"IxF2",
    }
}

impl Quantizer {
    /// The `given` lists nearest to a coded query, into buffers of exactly as many; false when more probes are wanted than can be given.
    pub(super) fn nearest_lists(
        &self,
        query: &[f32],
        probes: usize,
        lists: &mut Vec<i64>,
        distances: &mut Vec<f32>,
    ) -> Result<bool> {
        let given = self.template.given_lists();
        if probes > given {
            return Ok(false);
        }
        lists.clear();
        lists.resize(probes, -1);
        distances.clear();
        distances.resize(probes, 0.0);
        self.template.nearest_lists(query, distances, lists)?;
        lists.resize(given, -1);
        distances.resize(given, 0.0);
        Ok(true)
    }
}
