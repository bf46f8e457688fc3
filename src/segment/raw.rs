//! The raw vector file of one column of a sealed segment: which rows have a vector, and the vectors, in the order of the rows.
//!
//! ```text
//! 0   dimensions u32 (0: lengths vary)  rows u32  rows with a vector u32  zero u32  start of offsets u64  start of vectors u64
//! 64  one bit a row, lowest first: has a vector
//! ..  where lengths vary: rows + 1 offsets u64, counted in floats from the start of the vectors
//! ..  the vectors, from a cache line on; fixed length: `rows * dimensions` floats, NULL rows zero
//! ```

use std::path::Path;

use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_wal::fs::FileSystem;

use super::blocks::{FileEntry, Frame, FrameWriter, HEADER, Kind, damaged};
use super::mapped::{as_f32, as_u64, f32_bytes, prefetch, u64_bytes};

/// Writes the file of one column. `vector(i)` is asked for each row in order, up to three times.
pub(super) fn write_raw<'v>(
    fs: &dyn FileSystem,
    path: &Path,
    owner: u64,
    dims: Option<u32>,
    rows: u32,
    vector: &dyn Fn(u32) -> Result<Option<&'v [f32]>>,
) -> Result<FileEntry> {
    let mut valid = vec![0u64; (rows as usize).div_ceil(64)];
    let mut offsets = vec![0u64];
    for row in 0..rows {
        let length = match vector(row)? {
            Some(vector) => {
                if let Some(dims) = dims.filter(|&dims| dims as usize != vector.len()) {
                    let message = format!("expected {dims} dimensions, not {}", vector.len());
                    return Err(SqlError::new(SqlState::DataException, message));
                }
                valid[row as usize / 64] |= 1 << (row % 64);
                vector.len()
            }
            None => 0,
        };
        if dims.is_none() {
            offsets.push(offsets[row as usize] + length as u64);
        }
    }
    let count: u32 = valid.iter().map(|word| word.count_ones()).sum();
    let up = |at: usize| at.next_multiple_of(HEADER);
    let offsets_at = up(HEADER + valid.len() * 8);
    let vectors_at = if dims.is_some() { offsets_at } else { up(offsets_at + offsets.len() * 8) };

    let mut writer = FrameWriter::create(fs, path, Kind::Vectors, owner)?;
    writer.put(&dims.unwrap_or(0).to_le_bytes())?;
    writer.put(&rows.to_le_bytes())?;
    writer.put(&count.to_le_bytes())?;
    writer.put(&[0; 4])?;
    writer.put(&(offsets_at as u64).to_le_bytes())?;
    writer.put(&(vectors_at as u64).to_le_bytes())?;
    writer.align()?;
    writer.put(u64_bytes(&valid))?;
    writer.align()?;
    if dims.is_none() {
        writer.put(u64_bytes(&offsets))?;
        writer.align()?;
    }
    let zeros = vec![0f32; dims.unwrap_or(0) as usize];
    for row in 0..rows {
        writer.put(f32_bytes(vector(row)?.unwrap_or(&zeros)))?;
    }
    writer.publish()
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
    vectors_at: usize,
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
        let (count, offsets_at, vectors_at) = (u32_at(8), u64_at(16) as usize, u64_at(24) as usize);
        if u32_at(0) != dims.unwrap_or(0) || u32_at(4) != rows || count > rows {
            return Err(bad("its rows or dimensions are not those of the segment"));
        }
        let words = (rows as usize).div_ceil(64);
        let vectors_len = dims.map_or(0, |dims| rows as usize * dims as usize * 4);
        let offsets_len = if dims.is_none() { (rows as usize + 1) * 8 } else { 0 };
        let fits = offsets_at >= HEADER + words * 8
            && vectors_at.checked_sub(offsets_len).is_some_and(|end| end >= offsets_at)
            && frame.body_len().checked_sub(vectors_len).is_some_and(|end| end >= vectors_at);
        if !fits {
            return Err(bad("its parts do not fit"));
        }
        let valid = if count == rows {
            Vec::new()
        } else {
            as_u64(frame.get(HEADER..HEADER + words * 8)?).ok_or_else(|| bad("alignment"))?.to_vec()
        };
        if !valid.is_empty() && valid.iter().map(|word| word.count_ones()).sum::<u32>() != count {
            return Err(bad("row bits"));
        }
        Ok(Self { frame, dims, rows, count, valid, offsets_at, vectors_at })
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
                let start = self.vectors_at + row as usize * dims as usize * 4;
                self.frame.get(start..start + dims as usize * 4)?
            }
            None => {
                let at = self.offsets_at + row as usize * 8;
                let offsets =
                    as_u64(self.frame.get(at..at + 16)?).ok_or_else(|| damaged(self.frame.path(), "alignment"))?;
                let end =
                    |floats: u64| (floats as usize).checked_mul(4).and_then(|len| len.checked_add(self.vectors_at));
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
            let start = self.vectors_at + row as usize * dims as usize * 4;
            if let Some(vector) = as_f32(self.frame.peek(start..start + dims as usize * 4)) {
                prefetch(vector);
            }
        }
    }

    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }
}
