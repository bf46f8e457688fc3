//! The segment that grows: in memory, appended to by one thread, read by any number without locks.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::error::SegmentError;
use super::{ColumnId, RowId, SegmentId, VectorColumn};

/// Rows in one chunk. Chunks never move, so a reader may hold a slice while the segment grows.
const CHUNK_ROWS: usize = 1024;
/// The most rows of a segment.
const ROWS_MAX: u32 = u32::MAX - 1;

/// A segment that grows.
pub struct Mutable {
    id: SegmentId,
    columns: Vec<VectorColumn>,
    chunks: RwLock<Arc<Vec<Arc<Chunk>>>>,
    /// Rows completely written; readers go by the length their view gives, which is never greater.
    len: AtomicU32,
    bytes: AtomicUsize,
    /// Where each row was last put.
    places: RwLock<HashMap<RowId, Vec<u32>>>,
}

struct Chunk {
    slots: Box<[UnsafeCell<Slot>]>,
}

#[derive(Default)]
struct Slot {
    row: RowId,
    vectors: Vec<Option<Box<[f32]>>>,
}

// SAFETY: a slot is written once, by the one writer, before `len` is raised past it with Release; readers touch only
// slots below a length they got after that, with Acquire. So no slot is read while it is written.
unsafe impl Sync for Chunk {}

impl std::fmt::Debug for Mutable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutable").field("id", &self.id).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Mutable {
    /// An empty segment for these columns.
    pub fn new(id: SegmentId, columns: Vec<VectorColumn>) -> Arc<Self> {
        Arc::new(Self {
            id,
            columns,
            chunks: RwLock::default(),
            len: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            places: RwLock::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The vector columns it holds.
    pub fn columns(&self) -> &[VectorColumn] {
        &self.columns
    }

    /// Rows completely written.
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory its vectors take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds a row with a vector for each column. One thread at a time may call this.
    pub fn append(&self, row: RowId, vectors: &[Option<&[f32]>]) -> Result<u32, SegmentError> {
        let ordinal = self.len.load(Ordering::Relaxed);
        if ordinal >= ROWS_MAX {
            return Err(SegmentError::Full(ROWS_MAX));
        }
        let (chunk, slot) = (ordinal as usize / CHUNK_ROWS, ordinal as usize % CHUNK_ROWS);
        if slot == 0 {
            let mut chunks = self.chunks.write();
            let fresh = Chunk { slots: (0..CHUNK_ROWS).map(|_| UnsafeCell::default()).collect() };
            Arc::make_mut(&mut chunks).push(Arc::new(fresh));
        }
        let chunk = self.chunks.read()[chunk].clone();
        let written = Slot { row, vectors: vectors.iter().map(|vector| vector.map(Into::into)).collect() };
        self.bytes.fetch_add(
            vectors.iter().flatten().map(|vector| vector.len() * 4).sum::<usize>() + 32,
            Ordering::Relaxed,
        );
        // SAFETY: the slot is at `len`, which no reader reaches, and there is one writer.
        unsafe { *chunk.slots[slot].get() = written };
        self.places.write().entry(row).or_default().push(ordinal);
        self.len.store(ordinal + 1, Ordering::Release);
        Ok(ordinal)
    }

    /// A reader of the rows there are now; it takes the one lock once.
    pub fn read(&self) -> MutableRows {
        MutableRows { len: self.len(), chunks: self.chunks.read().clone() }
    }

    /// The id of a row.
    pub fn row_id(&self, ordinal: u32) -> RowId {
        let chunks = self.chunks.read();
        assert!(ordinal < self.len(), "row {ordinal} of a segment of {}", self.len());
        let slot = chunks[ordinal as usize / CHUNK_ROWS].slots[ordinal as usize % CHUNK_ROWS].get();
        // SAFETY: below `len`: written, and never changed again.
        unsafe { (*slot).row }
    }

    /// The place of a column among the columns.
    pub fn column_index(&self, column: ColumnId) -> Option<usize> {
        self.columns.iter().position(|own| own.id == column)
    }

    /// A vector by the place of its column.
    pub fn vector(&self, column: usize, ordinal: u32) -> Option<&[f32]> {
        if ordinal >= self.len() {
            return None;
        }
        let chunks = self.chunks.read();
        let slot = chunks[ordinal as usize / CHUNK_ROWS].slots[ordinal as usize % CHUNK_ROWS].get();
        // SAFETY: the slot is below `len`, so it is written and never changes again. It lives as long as the segment:
        // chunks are only added, never dropped, so the reference may outlive the lock and the list it came from.
        let slot: &Slot = unsafe { &*slot };
        slot.vectors.get(column)?.as_deref()
    }

    /// The last ordinal below `len` at which a row was put.
    pub fn find(&self, row: RowId, len: u32) -> Option<u32> {
        self.places.read().get(&row)?.iter().rev().copied().find(|&ordinal| ordinal < len)
    }
}

/// The rows of a mutable segment at one moment.
pub struct MutableRows {
    len: u32,
    chunks: Arc<Vec<Arc<Chunk>>>,
}

impl MutableRows {
    fn slot(&self, ordinal: u32) -> &Slot {
        assert!(ordinal < self.len, "row {ordinal} of a segment of {}", self.len);
        let slot = self.chunks[ordinal as usize / CHUNK_ROWS].slots[ordinal as usize % CHUNK_ROWS].get();
        // SAFETY: below `len`: written, and never changed again.
        unsafe { &*slot }
    }

    /// The id of a row.
    pub fn row_id(&self, ordinal: u32) -> RowId {
        self.slot(ordinal).row
    }

    /// A vector by the place of its column.
    pub fn vector(&self, column: usize, ordinal: u32) -> Option<&[f32]> {
        self.slot(ordinal).vectors.get(column)?.as_deref()
    }
}
