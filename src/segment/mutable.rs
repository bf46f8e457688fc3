//! The mutable segment: rows appended by one writer, read without locks by any number of readers up to the length they saw.
//!
//! INVARIANT 1: a slot below `len` is never written again; `len` is raised (release) only after the whole row is in place, and
//! every read starts from a length loaded with acquire.
//! INVARIANT 2: memory is never moved: chunk `i` holds `64 << i` rows and stays where it was allocated until the segment is dropped.

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use lodedb_sql::error::{Result, SqlError, SqlState};
use parking_lot::Mutex;

use super::{RowId, SegmentId, VectorColumn};

const FIRST_CHUNK: u32 = 64;
/// `64 << 0 + .. + 64 << 25` is just under 2^32.
const CHUNKS: usize = 26;

/// Where an ordinal lives: its chunk and the place in it.
#[inline]
fn locate(ordinal: u32) -> (usize, usize) {
    let chunk = (ordinal / FIRST_CHUNK + 1).ilog2();
    (chunk as usize, (ordinal - FIRST_CHUNK * ((1 << chunk) - 1)) as usize)
}

fn chunk_rows(chunk: usize) -> usize {
    (FIRST_CHUNK as usize) << chunk
}

/// Floats of one chunk of a fixed-width column.
struct Floats(Box<[UnsafeCell<f32>]>);

// SAFETY: the only writes go through `Floats::write`, which the writer's lock of `Mutable` serialises and which touches slots at or
// above `len` only; readers form references to slots below a `len` they loaded with acquire (INVARIANT 1), so no slot is ever
// read and written at once.
unsafe impl Sync for Floats {}

impl Floats {
    fn new(len: usize) -> Self {
        // Zeroed by the allocator, so untouched pages cost nothing.
        let zeros = Box::into_raw(vec![0f32; len].into_boxed_slice());
        // SAFETY: `UnsafeCell<f32>` has the layout of `f32`, and the pointer comes from a box given up on the line before.
        Self(unsafe { Box::from_raw(zeros as *mut [UnsafeCell<f32>]) })
    }

    /// The caller holds the writer's lock and no reader has been shown `at..at + values.len()`.
    fn write(&self, at: usize, values: &[f32]) {
        for (cell, value) in self.0[at..at + values.len()].iter().zip(values) {
            // SAFETY: in bounds by the slice above; unpublished, so nobody else reads or writes it (INVARIANT 1).
            unsafe { *cell.get() = *value };
        }
    }

    /// The caller has loaded, with acquire, a length that covers these floats.
    fn read(&self, at: usize, len: usize) -> &[f32] {
        let cells = &self.0[at..at + len];
        // SAFETY: in bounds by the slice above; published slots are never written again (INVARIANT 1), so a shared reference holds;
        // `UnsafeCell<f32>` has the layout of `f32`.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<f32>(), len) }
    }
}

/// The vectors of one chunk of a column without a dimension.
type VaryingChunk = Box<[OnceLock<Box<[f32]>>]>;

#[expect(clippy::large_enum_variant, reason = "one a column, and never moved")]
enum Column {
    Fixed { dims: u32, chunks: [OnceLock<(Floats, Box<[AtomicU8]>)>; CHUNKS] },
    Varying { chunks: [OnceLock<VaryingChunk>; CHUNKS] },
}

/// Row ids of one chunk, and an open-addressed table from row id to ordinal (stored plus one; zero is a free slot).
struct Rows {
    ids: Box<[AtomicU64]>,
    table: Box<[AtomicU32]>,
}

impl Rows {
    fn new(rows: usize) -> Self {
        Self {
            ids: (0..rows).map(|_| AtomicU64::new(0)).collect(),
            table: (0..rows * 2).map(|_| AtomicU32::new(0)).collect(),
        }
    }
    fn probe(&self, row: RowId) -> impl Iterator<Item = &AtomicU32> {
        let mask = self.table.len() - 1;
        let start = (row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        (0..=mask).map(move |step| &self.table[(start + step) & mask])
    }
}

/// An append-only segment in memory.
pub struct Mutable {
    id: SegmentId,
    columns: Vec<VectorColumn>,
    stores: Vec<Column>,
    rows: [OnceLock<Rows>; CHUNKS],
    len: AtomicU32,
    bytes: AtomicUsize,
    writer: Mutex<()>,
}

impl fmt::Debug for Mutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mutable({}, {} rows)", self.id, self.len())
    }
}

impl Mutable {
    /// An empty segment with these vector columns.
    pub fn new(id: SegmentId, columns: Vec<VectorColumn>) -> Arc<Self> {
        let stores = columns
            .iter()
            .map(|column| match column.dims {
                Some(dims) => Column::Fixed { dims, chunks: [const { OnceLock::new() }; CHUNKS] },
                None => Column::Varying { chunks: [const { OnceLock::new() }; CHUNKS] },
            })
            .collect();
        Arc::new(Self {
            id,
            columns,
            stores,
            rows: [const { OnceLock::new() }; CHUNKS],
            len: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            writer: Mutex::new(()),
        })
    }

    /// Appends one row, with one vector (or NULL) for each column in order, and gives its ordinal.
    ///
    /// A row id may come again: the later ordinal is the newer version. On an error nothing was appended.
    pub fn append(&self, row: RowId, vectors: &[Option<&[f32]>]) -> Result<u32> {
        if vectors.len() != self.columns.len() {
            return Err(SqlError::internal(format!("{} vectors for {} columns", vectors.len(), self.columns.len())));
        }
        for (column, vector) in self.columns.iter().zip(vectors) {
            if let (Some(dims), Some(vector)) = (column.dims, vector)
                && vector.len() != dims as usize
            {
                let message = format!("expected {dims} dimensions, not {}", vector.len());
                return Err(SqlError::new(SqlState::DataException, message));
            }
        }
        let _writer = self.writer.lock();
        let ordinal = self.len.load(Ordering::Relaxed);
        if ordinal >= FIRST_CHUNK * ((1 << CHUNKS) - 1) {
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, "segment is full"));
        }
        let (chunk, at) = locate(ordinal);
        let mut grown = 24;
        for (store, vector) in self.stores.iter().zip(vectors) {
            match store {
                Column::Fixed { dims, chunks } => {
                    let dims = *dims as usize;
                    let (floats, valid) = chunks[chunk].get_or_init(|| {
                        let rows = chunk_rows(chunk);
                        (Floats::new(rows * dims), (0..rows).map(|_| AtomicU8::new(0)).collect())
                    });
                    if let Some(vector) = vector {
                        floats.write(at * dims, vector);
                        valid[at].store(1, Ordering::Relaxed);
                    }
                    grown += dims * 4 + 1;
                }
                Column::Varying { chunks } => {
                    let slots = chunks[chunk].get_or_init(|| (0..chunk_rows(chunk)).map(|_| OnceLock::new()).collect());
                    if let Some(vector) = vector {
                        slots[at].get_or_init(|| (*vector).into());
                        grown += vector.len() * 4 + 24;
                    }
                }
            }
        }
        let rows = self.rows[chunk].get_or_init(|| Rows::new(chunk_rows(chunk)));
        rows.ids[at].store(row, Ordering::Relaxed);
        if let Some(free) = rows.probe(row).find(|slot| slot.load(Ordering::Relaxed) == 0) {
            free.store(ordinal + 1, Ordering::Release);
        }
        self.bytes.fetch_add(grown, Ordering::Relaxed);
        // ORDER: the row first, then the length that shows it.
        self.len.store(ordinal + 1, Ordering::Release);
        Ok(ordinal)
    }

    /// The segment's number.
    pub fn id(&self) -> SegmentId {
        self.id
    }
    /// Its vector columns.
    pub fn columns(&self) -> &[VectorColumn] {
        &self.columns
    }
    /// How many rows are published.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }
    /// Whether no row is published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Roughly the memory its rows take.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The row at an ordinal below [`Mutable::len`]; 0 above it.
    #[inline]
    pub fn row_id(&self, ordinal: u32) -> RowId {
        let (chunk, at) = locate(ordinal);
        match self.rows.get(chunk).and_then(OnceLock::get) {
            Some(rows) if ordinal < self.len() => rows.ids[at].load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// The vector of a column (by position) at an ordinal; `None` for NULL and above [`Mutable::len`].
    #[inline]
    pub fn vector(&self, column: usize, ordinal: u32) -> Option<&[f32]> {
        if ordinal >= self.len() {
            return None;
        }
        let (chunk, at) = locate(ordinal);
        match self.stores.get(column)? {
            Column::Fixed { dims, chunks } => {
                let (floats, valid) = chunks[chunk].get()?;
                let dims = *dims as usize;
                (valid[at].load(Ordering::Relaxed) == 1).then(|| floats.read(at * dims, dims))
            }
            Column::Varying { chunks } => chunks[chunk].get()?[at].get().map(|vector| &**vector),
        }
    }

    /// The latest ordinal of a row among the first `len`.
    pub fn find(&self, row: RowId, len: u32) -> Option<u32> {
        let len = len.min(self.len());
        let newest = locate(len.checked_sub(1)?).0;
        (0..=newest).rev().find_map(|chunk| {
            let rows = self.rows[chunk].get()?;
            rows.probe(row)
                .map(|slot| slot.load(Ordering::Acquire))
                .take_while(|&stored| stored != 0)
                .map(|stored| stored - 1)
                .filter(|&ordinal| ordinal < len && rows.ids[locate(ordinal).1].load(Ordering::Relaxed) == row)
                .max()
        })
    }
}
