//! The codes of one sealed segment under one index: what nominates its candidates. Derived from the raw vectors and a quantizer.
//!
//! File: header of five numbers, then the labels' ordinals (only where they are not the ordinals themselves), the ordinals of vectors
//! that have no code, and FAISS's bytes.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::error::{Result, SqlError};
use lodedb_wal::fs::FileSystem;
use lodedb_wal::killpoint::reach;

use super::blocks::{BodyReader, FileEntry, Frame, FrameWriter, Kind, damaged, failed};
use super::faiss::{Allowed, Index, Threads};
use super::quantizer::{build_threads, code_metric, fourcc, known_spread};
use super::{IndexKind, Quantizer, Sealed, SegmentId, cancelled_by};

/// Rows coded between two looks at `cancelled`.
const CHUNK_FLOATS: usize = 2 << 20;
/// The most rows a chunk may hold; FAISS works in blocks of as many.
const CHUNK_ROWS: usize = 32_768;

/// At most so many vectors of a segment are compared with their centroids, and at most one in so many.
const SPREAD_ROWS: u32 = 256;
const SPREAD_ONE_IN: u32 = 8;

/// An index's codes for one sealed segment.
pub struct SegmentIndex {
    segment: SegmentId,
    quantizer: Arc<Quantizer>,
    index: Index,
    /// The ordinal of each label, where labels are counted without the rows that have no code.
    ordinals: Option<Vec<u32>>,
    /// Ordinals of vectors without a code: zero vectors, where the metric is cosine.
    uncoded: Vec<u32>,
    /// See [`SegmentIndex::spread`].
    spread: Option<f32>,
}

impl fmt::Debug for SegmentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentIndex(segment {}, generation {}, {:?})", self.segment, self.generation(), self.index)
    }
}

impl SegmentIndex {
    /// Codes the vectors of a column (by position) of a sealed segment, dead rows included. `cancelled` is looked at between chunks.
    pub fn build(
        quantizer: &Arc<Quantizer>,
        sealed: &Sealed,
        column: usize,
        progress: &dyn Fn(f64),
        cancelled: &AtomicBool,
    ) -> Result<Arc<Self>> {
        let _threads = Threads::enter(build_threads());
        let mut index = quantizer.instance()?;
        let dims = quantizer.code_dims() as usize;
        let rows_at_once = (CHUNK_FLOATS / dims).clamp(1, CHUNK_ROWS);
        // A graph cannot be given labels: it counts.
        let counted = quantizer.kind() == IndexKind::Hnsw;
        let (mut vectors, mut labels) = (Vec::with_capacity(rows_at_once * dims), Vec::with_capacity(rows_at_once));
        let (mut ordinals, mut uncoded) = (Vec::new(), Vec::new());
        let mut ordinal = 0;
        let one_in = i64::from((sealed.len() / SPREAD_ROWS).max(SPREAD_ONE_IN));
        let (mut spread, mut measured) = (0.0, 0.0);
        while ordinal < sealed.len() {
            cancelled_by(cancelled)?;
            vectors.clear();
            labels.clear();
            while ordinal < sealed.len() && labels.len() < rows_at_once {
                if let Some(vector) = sealed.vector(column, ordinal)? {
                    if vector.len() != quantizer.dims() as usize {
                        return Err(SqlError::internal("a vector's dimensions are not those of its index"));
                    }
                    if quantizer.push(vector, &mut vectors) {
                        labels.push(i64::from(ordinal));
                    } else {
                        uncoded.push(ordinal);
                    }
                }
                ordinal += 1;
            }
            if labels.is_empty() {
                continue;
            }
            for (label, vector) in labels.iter().zip(vectors.chunks_exact(dims)) {
                if label % one_in == 0
                    && let Some(distance) = quantizer.distance_from_centroid(vector)?
                {
                    spread += f64::from(distance);
                    measured += 1.0;
                }
            }
            if counted {
                index.add(&vectors)?;
                ordinals.extend(labels.iter().map(|&label| label as u32));
            } else {
                index.add_labelled(&vectors, &labels)?;
            }
            progress(f64::from(ordinal) / f64::from(sealed.len()));
        }
        let ordinals = (counted && ordinals.len() < sealed.len() as usize).then_some(ordinals);
        let spread = known_spread((spread / measured) as f32);
        Ok(Arc::new(Self { segment: sealed.id(), quantizer: Arc::clone(quantizer), index, ordinals, uncoded, spread }))
    }

    pub(super) fn from_parts(
        segment: SegmentId,
        quantizer: &Arc<Quantizer>,
        index: Index,
        uncoded: Vec<u32>,
        spread: Option<f32>,
    ) -> Arc<Self> {
        Arc::new(Self { segment, quantizer: Arc::clone(quantizer), index, ordinals: None, uncoded, spread })
    }

    /// Writes the file; when this returns, it and its name are durable.
    pub fn save(&self, fs: &dyn FileSystem, path: &Path) -> Result<FileEntry> {
        reach("codes: before they are written");
        let bytes = self.index.write()?;
        let mut writer = FrameWriter::create(fs, path, Kind::Index, self.segment)?;
        let ordinals = self.ordinals.as_deref().unwrap_or_default();
        let header = [
            u64::from(self.quantizer.index()),
            self.quantizer.generation(),
            self.index.ntotal(),
            ordinals.len() as u64 | u64::from(self.ordinals.is_some()) << 63,
            self.uncoded.len() as u64 | u64::from(self.spread.unwrap_or(0.0).to_bits()) << 32,
        ];
        for number in header {
            writer.put(&number.to_le_bytes())?;
        }
        for ordinal in ordinals.iter().chain(&self.uncoded) {
            writer.put(&ordinal.to_le_bytes())?;
        }
        writer.put(&bytes)?;
        let entry = writer.publish()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs.sync_dir(dir).map_err(|e| failed(dir, &e))?;
        reach("codes: written");
        Ok(entry)
    }

    /// Opens the file of a segment: every block is checked, those same bytes are given to FAISS, and what it read is compared with the
    /// header, the quantizer and the segment. An error means that the index must be built again.
    pub fn open(
        fs: &dyn FileSystem,
        path: &Path,
        quantizer: &Arc<Quantizer>,
        sealed: &Sealed,
        expected: Option<&FileEntry>,
    ) -> Result<Arc<Self>> {
        let frame = Frame::open(fs, path, Kind::Index, sealed.id(), expected)?;
        let mut body = BodyReader::new(&frame);
        let wrong = |what: &str| damaged(path, what);
        let unread = |error: std::io::Error| failed(path, &error);
        let mut head = [0; 40];
        if frame.body_len() < head.len() {
            return Err(wrong("too short"));
        }
        body.read_exact(&mut head).map_err(unread)?;
        let mut header = head.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || header.next().unwrap_or(0);
        let (index_id, generation, rows, labelled, last) = (next(), next(), next(), next(), next());
        let (uncoded_len, spread) = (last & 0xffff_ffff, known_spread(f32::from_bits((last >> 32) as u32)));
        if index_id != u64::from(quantizer.index()) || generation != quantizer.generation() {
            return Err(wrong("it belongs to another quantizer"));
        }
        let (has_ordinals, ordinals_len) = (labelled >> 63 == 1, labelled & !(1 << 63));
        let lists_len =
            ordinals_len.checked_add(uncoded_len).and_then(|n| n.checked_mul(4)).and_then(|n| usize::try_from(n).ok());
        let lists_len = lists_len.filter(|&len| len <= frame.body_len() - head.len());
        let mut lists = vec![0; lists_len.ok_or_else(|| wrong("its parts do not fit"))?];
        body.read_exact(&mut lists).map_err(unread)?;
        let mut ordinals: Vec<u32> = lists.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let uncoded = ordinals.split_off(ordinals_len as usize);
        if ordinals.iter().chain(&uncoded).any(|&ordinal| ordinal >= sealed.len()) {
            return Err(wrong("a row that the segment has not"));
        }
        let ordinals = has_ordinals.then_some(ordinals);
        let index = Index::read(&mut body, fourcc(quantizer.kind())).map_err(|e| wrong(e.message()))?;
        let agrees = index.d() == quantizer.code_dims() as usize
            && index.ntotal() == rows
            && rows + uncoded.len() as u64 <= u64::from(sealed.len())
            && ordinals.as_ref().is_none_or(|ordinals| ordinals.len() as u64 == rows)
            && index.lists() == quantizer.lists() as usize
            && index.given_lists() == quantizer.template().given_lists()
            && index.is_trained()
            && index.metric() == Some(code_metric(quantizer.metric()));
        if !agrees {
            return Err(wrong("it is not what its header says"));
        }
        Ok(Arc::new(Self { segment: sealed.id(), quantizer: Arc::clone(quantizer), index, ordinals, uncoded, spread }))
    }

    /// The segment it codes.
    pub fn segment(&self) -> SegmentId {
        self.segment
    }
    /// The generation of its quantizer.
    pub fn generation(&self) -> u64 {
        self.quantizer.generation()
    }
    /// How many vectors it codes.
    pub fn coded(&self) -> u64 {
        self.index.ntotal()
    }

    /// The mean squared distance of its vectors from their centroids, measured on some of them; `None` as of [`Quantizer::spread`].
    pub fn spread(&self) -> Option<f32> {
        self.spread
    }

    pub(super) fn quantizer(&self) -> &Arc<Quantizer> {
        &self.quantizer
    }
    pub(super) fn codes(&self) -> &Index {
        &self.index
    }
    pub(super) fn uncoded(&self) -> &[u32] {
        &self.uncoded
    }

    /// The ordinal behind a label of FAISS; `None` for its filler and for what is no label.
    #[inline]
    pub(super) fn ordinal(&self, label: i64) -> Option<u32> {
        let label = u32::try_from(label).ok()?;
        match &self.ordinals {
            None => Some(label),
            Some(ordinals) => ordinals.get(label as usize).copied(),
        }
    }

    /// Fills `distances` and `labels` with the best codes for a coded query, of the rows `allowed` (bits over ordinals) if given.
    pub(super) fn nominate(
        &self,
        query: &[f32],
        probes: usize,
        allowed: Option<&[u64]>,
        distances: &mut [f32],
        labels: &mut [i64],
    ) -> Result<()> {
        let translated: Vec<u64>;
        let allowed = match (allowed, &self.ordinals) {
            (Some(words), Some(ordinals)) => {
                // The selector speaks labels.
                translated = ordinals
                    .chunks(64)
                    .map(|chunk| {
                        let bit = |&ordinal: &u32| {
                            words.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
                        };
                        chunk.iter().enumerate().fold(0, |word, (at, ordinal)| word | u64::from(bit(ordinal)) << at)
                    })
                    .collect();
                Some(Allowed(&translated))
            }
            (words, _) => words.map(Allowed),
        };
        self.index.search(query, probes, allowed, distances, labels)
    }
}
