//! The k nearest rows found so far, and the exact arithmetic that finds them: of candidates, of survivors of a filter, of everything.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::atomic::AtomicBool;

use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_sql::vector::PreparedQuery;
use smallvec::SmallVec;

use super::bits::{Ones, full_words};
use super::mapped::prefetch;
use super::{RowId, Segment, SegmentView, cancelled_by};

/// How many rows ahead of the one being compared are asked for from memory.
const AHEAD: usize = 8;
/// Rows gathered before they are compared.
const GATHER: usize = 512;

/// One row found. Ordered by key, then by row id; a key that is no number is the greatest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) key: f64,
    pub(super) row: RowId,
    pub(super) segment: u32,
    pub(super) ordinal: u32,
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.total_cmp(&other.key).then(self.row.cmp(&other.row))
    }
}
impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Found {}

/// The `k` nearest of the rows offered.
#[derive(Debug)]
pub(super) struct Nearest {
    k: usize,
    heap: BinaryHeap<Found>,
    /// Keys above this are not among the nearest.
    bound: f64,
    /// How many distances were computed.
    pub(super) compared: u64,
}

impl Nearest {
    /// `rows` is how many will be offered at most.
    pub(super) fn new(k: usize, rows: u64) -> Self {
        let room = (k as u64).min(rows).min(1 << 20) as usize;
        Self { k, heap: BinaryHeap::with_capacity(room + 1), bound: f64::NAN, compared: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    #[inline]
    pub(super) fn offer(&mut self, key: f64, segment: u32, ordinal: u32, row: impl FnOnce() -> RowId) {
        // The processor's own NaN may be negative, which would order first.
        let key = if key.is_nan() { f64::NAN } else { key };
        if key.total_cmp(&self.bound) == Ordering::Greater {
            return;
        }
        let found = Found { key, row: row(), segment, ordinal };
        if self.heap.len() < self.k {
            self.heap.push(found);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && found < *worst
        {
            *worst = found;
        }
        if self.heap.len() == self.k {
            self.bound = self.heap.peek().map_or(f64::NAN, |worst| worst.key);
        }
    }

    /// What was found so far, in no order.
    pub(super) fn found(&self) -> impl Iterator<Item = &Found> {
        self.heap.iter()
    }

    pub(super) fn into_sorted(self) -> Vec<Found> {
        self.heap.into_sorted_vec()
    }
}

/// A segment in a search: which of the view's, and where its column is.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) view: &'a SegmentView,
    pub(super) number: u32,
    pub(super) column: usize,
}

pub(super) fn wrong_dimensions(vector: usize, query: usize) -> SqlError {
    SqlError::new(SqlState::DataException, format!("different vector dimensions {vector} and {query}"))
}

impl Target<'_> {
    /// Asks for a row's vector from memory.
    #[inline]
    pub(super) fn prefetch(&self, ordinal: u32) {
        match &self.view.segment {
            Segment::Sealed(sealed) => {
                if let Some(raw) = sealed.raw(self.column) {
                    raw.prefetch(ordinal);
                }
            }
            Segment::Mutable { .. } => {}
        }
    }

    /// Compares one row exactly.
    #[inline]
    pub(super) fn compare(&self, ordinal: u32, query: &PreparedQuery<'_>, nearest: &mut Nearest) -> Result<()> {
        let segment = &self.view.segment;
        if let Some(vector) = segment.vector(self.column, ordinal)? {
            if vector.len() != query.query().len() {
                return Err(wrong_dimensions(vector.len(), query.query().len()));
            }
            nearest.compared += 1;
            nearest.offer(query.order_key(vector), self.number, ordinal, || segment.row_id(ordinal));
        }
        Ok(())
    }

    /// Compares these rows exactly with each query.
    fn compare_all(&self, ordinals: &[u32], queries: &mut [(&PreparedQuery<'_>, &mut Nearest)]) -> Result<()> {
        let segment = &self.view.segment;
        let mut rows: SmallVec<[(u32, &[f32]); GATHER]> = SmallVec::new();
        for &ordinal in ordinals {
            if let Some(vector) = segment.vector(self.column, ordinal)? {
                rows.push((ordinal, vector));
            }
        }
        for (query, nearest) in queries {
            let dims = query.query().len();
            if let Some((_, other)) = rows.iter().find(|(_, vector)| vector.len() != dims) {
                return Err(wrong_dimensions(other.len(), dims));
            }
            rows.iter().take(AHEAD).for_each(|(_, vector)| prefetch(vector));
            for (at, &(ordinal, vector)) in rows.iter().enumerate() {
                if let Some((_, next)) = rows.get(at + AHEAD) {
                    prefetch(next);
                }
                nearest.offer(query.order_key(vector), self.number, ordinal, || segment.row_id(ordinal));
            }
            nearest.compared += rows.len() as u64;
        }
        Ok(())
    }

    /// The rows that a search may return, as bits: those of the filter (all, without one) that have a vector and are not dead.
    pub(super) fn eligible(&self, filter: Option<Vec<u64>>) -> Vec<u64> {
        let len = self.view.segment.len();
        let mut words = full_words(len);
        if let Some(filter) = filter {
            words.iter_mut().zip(filter.iter().chain(std::iter::repeat(&0))).for_each(|(word, pass)| *word &= pass);
        }
        self.view.dead.subtract_from(&mut words);
        if let Segment::Sealed(sealed) = &self.view.segment
            && let Some(raw) = sealed.raw(self.column)
        {
            raw.keep_valid(&mut words);
        }
        words
    }

    /// Compares every eligible row exactly.
    pub(super) fn scan(
        &self,
        eligible: &[u64],
        query: &PreparedQuery<'_>,
        nearest: &mut Nearest,
        cancelled: &AtomicBool,
    ) -> Result<()> {
        self.scan_for_each(eligible, &mut [(query, nearest)], cancelled)
    }

    /// Compares every eligible row exactly with each query, a few rows at a time, so that they come from memory once.
    pub(super) fn scan_for_each(
        &self,
        eligible: &[u64],
        queries: &mut [(&PreparedQuery<'_>, &mut Nearest)],
        cancelled: &AtomicBool,
    ) -> Result<()> {
        let mut compare = |ordinals: &[u32]| {
            cancelled_by(cancelled)?;
            self.compare_all(ordinals, queries)
        };
        let mut gathered = [0u32; GATHER];
        let mut len = 0;
        for (at, &word) in eligible.iter().enumerate() {
            for bit in Ones(word) {
                gathered[len] = at as u32 * 64 + bit;
                len += 1;
                if len == GATHER {
                    compare(&gathered)?;
                    len = 0;
                }
            }
        }
        compare(&gathered[..len])
    }
}

/// How many bits are set.
pub(super) fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}
