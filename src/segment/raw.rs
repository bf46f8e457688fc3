//! The raw vector file of one column of a sealed segment: the vectors, in the order of the rows, and which rows have one.
//!
//! ```text
//! 0   dimensions u32 (0: lengths vary)  rows u32  rows with a vector u32  zero u32  start of bits u64  start of offsets u64
//! 64  the vectors; fixed length: `rows * dimensions` floats, NULL rows zero
//! ..  from a cache line on, one bit a row, lowest first: has a vector
//! ..  where lengths vary, from a cache line on: rows + 1 offsets u64, counted in floats from the start of the vectors
//! ```

use std::ops::Deref;
use std::path::Path;

use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_wal::fs::FileSystem;

use super::blocks::{FileEntry, Frame, FrameWriter, HEADER, Kind, damaged};
use super::mapped::{as_f32, as_u64, f32_bytes, prefetch, u64_bytes};

/// Where the vectors start.
const VECTORS_AT: usize = HEADER;

/// Writes the file of one column, row after row.
pub(super) struct RawWriter<F: Deref<Target: FileSystem>> {
    frame: FrameWriter<F>,
    dims: Option<u32>,
    rows: u32,
    count: u32,
    valid: Vec<u64>,
    offsets: Vec<u64>,
    zeros: Vec<f32>,
}

impl<F: Deref<Target: FileSystem>> RawWriter<F> {
    pub(super) fn create(fs: F, path: &Path, owner: u64, dims: Option<u32>) -> Result<Self> {
        let mut frame = FrameWriter::create(fs, path, Kind::Vectors, owner)?;
        frame.put(&[0; VECTORS_AT])?;
        let zeros = vec![0f32; dims.unwrap_or(0) as usize];
        Ok(Self { frame, dims, rows: 0, count: 0, valid: Vec::new(), offsets: vec![0], zeros })
    }

    /// Adds the next row.
    pub(super) fn push(&mut self, vector: Option<&[f32]>) -> Result<()> {
        if self.rows.is_multiple_of(64) {
            self.valid.push(0);
        }
        if let Some(vector) = vector {
            if let Some(dims) = self.dims.filter(|&dims| dims as usize != vector.len()) {
                let message = format!("expected {dims} dimensions, not {}", vector.len());
                return Err(SqlError::new(SqlState::DataException, message));
            }
            self.valid[self.rows as usize / 64] |= 1 << (self.rows % 64);
            self.count += 1;
        }
        let floats = vector.unwrap_or(&self.zeros);
        self.frame.put(f32_bytes(floats))?;
        if self.dims.is_none() {
            let end = self.offsets.last().copied().unwrap_or(0) + floats.len() as u64;
            self.offsets.push(end);
        }
        self.rows += 1;
        Ok(())
    }

    /// Writes what follows the vectors; the file is durable and named when this returns. The caller syncs the directory.
    pub(super) fn finish(mut self) -> Result<FileEntry> {
        self.frame.align()?;
        let valid_at = self.frame.position();
        self.frame.put(u64_bytes(&self.valid))?;
        self.frame.align()?;
        let offsets_at = self.frame.position();
        if self.dims.is_none() {
            self.frame.put(u64_bytes(&self.offsets))?;
        }
        let mut head = Vec::with_capacity(VECTORS_AT);
        for number in [self.dims.unwrap_or(0), self.rows, self.count, 0] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&valid_at.to_le_bytes());
        head.extend_from_slice(&offsets_at.to_le_bytes());
        self.frame.publish_with_head(&head)
    }
}

/// The opened file.
#[derive(Debug)]
pub(super) struct RawVectors {
    frame: Frame,
    dims: Option<u32>,
    rows: u32,
    count: u32,
    /// Empty when every row has a vector.
    valid: Vec<u64>,
    offsets_at: usize,
}

impl RawVectors {
    pub(super) fn open(
        fs: &dyn FileSystem,
        path: &Path,
        owner: u64,
        dims: Option<u32>,
        rows: u32,
        expected: &FileEntry,
    ) -> Result<Self> {
        let frame = Frame::open(fs, path, Kind::Vectors, owner, Some(expected))?;
        let bad = |what: &str| damaged(path, what);
        if frame.body_len() < HEADER {
            return Err(bad("too short"));
        }
        let head = frame.get(0..HEADER)?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let (count, valid_at, offsets_at) = (u32_at(8), u64_at(16) as usize, u64_at(24) as usize);
        if u32_at(0) != dims.unwrap_or(0) || u32_at(4) != rows || count > rows {
            return Err(bad("its rows or dimensions are not those of the segment"));
        }
        let words = (rows as usize).div_ceil(64);
        let vectors_len = dims.map_or(0, |dims| rows as usize * dims as usize * 4);
        let offsets_len = if dims.is_none() { (rows as usize + 1) * 8 } else { 0 };
        let fits = valid_at >= VECTORS_AT + vectors_len
            && offsets_at.checked_sub(words * 8).is_some_and(|end| end >= valid_at)
            && frame.body_len().checked_sub(offsets_len).is_some_and(|end| end >= offsets_at);
        if !fits {
            return Err(bad("its parts do not fit"));
        }
        let valid = if count == rows {
            Vec::new()
        } else {
            as_u64(frame.get(valid_at..valid_at + words * 8)?).ok_or_else(|| bad("alignment"))?.to_vec()
        };
        if !valid.is_empty() && valid.iter().map(|word| word.count_ones()).sum::<u32>() != count {
            return Err(bad("row bits"));
        }
        Ok(Self { frame, dims, rows, count, valid, offsets_at })
    }

    /// How many rows have a vector.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(super) fn is_valid(&self, row: u32) -> bool {
        row < self.rows && (self.valid.is_empty() || self.valid[row as usize / 64] >> (row % 64) & 1 == 1)
    }

    /// Takes the rows without a vector out of `words`.
    pub(super) fn keep_valid(&self, words: &mut [u64]) {
        words.iter_mut().zip(&self.valid).for_each(|(word, valid)| *word &= valid);
    }

    /// The vector of a row; `None` for NULL. Its blocks are checked when first touched.
    #[inline]
    pub(super) fn vector(&self, row: u32) -> Result<Option<&[f32]>> {
        if !self.is_valid(row) {
            return Ok(None);
        }
        let bytes = match self.dims {
            Some(dims) => {
                let start = VECTORS_AT + row as usize * dims as usize * 4;
                self.frame.get(start..start + dims as usize * 4)?
            }
            None => {
                let at = self.offsets_at + row as usize * 8;
                let offsets =
                    as_u64(self.frame.get(at..at + 16)?).ok_or_else(|| damaged(self.frame.path(), "alignment"))?;
                let end = |floats: u64| (floats as usize).checked_mul(4).and_then(|len| len.checked_add(VECTORS_AT));
                match (end(offsets[0]), end(offsets[1])) {
                    (Some(start), Some(end)) if start <= end && end <= self.frame.body_len() => {
                        self.frame.get(start..end)?
                    }
                    _ => return Err(damaged(self.frame.path(), "offsets")),
                }
            }
        };
        as_f32(bytes).map(Some).ok_or_else(|| damaged(self.frame.path(), "alignment"))
    }

    /// Asks the processor to fetch a row that will be read soon.
    #[inline]
    pub(super) fn prefetch(&self, row: u32) {
        if let Some(dims) = self.dims
            && row < self.rows
        {
            let start = VECTORS_AT + row as usize * dims as usize * 4;
            if let Some(vector) = as_f32(self.frame.peek(start..start + dims as usize * 4)) {
                prefetch(vector);
            }
        }
    }

    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }
}
