//! Merging segments into one sealed segment: live rows in order of their ids, and the codes of one generation carried over without coding
//! anything again.
//!
//! Product codes are moved between FAISS's serialised lists, whose form (`IwPf`, version 1.12, pinned) is, after a header equal for all
//! indexes of one quantizer but for the number of rows:
//!
//! ```text
//! "ilbl"  lists u64  code size u64  vectors a block u64 (32)  bytes a block u64
//! a list: number of labels u64  labels i64 ..  bytes of codes u64  blocks ..
//! ```
//!
//! In a block, sub-code `s` of vector `v` is a nibble of byte `(s / 2) * 32 + (s % 2) * 16 + lane(v % 16)`, the high one for `v >= 16`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::interleave_record_batch;
use lodedb_sql::error::{Result, SqlError};
use lodedb_wal::fs::FileSystem;

use super::faiss::Index;
use super::quantizer::{fourcc, mean_spread};
use super::scalars::SCALAR_BATCH_ROWS;
use super::{
    IndexKind, Quantizer, RowId, SealInput, Sealed, Segment, SegmentFiles, SegmentId, SegmentIndex, SegmentView,
    VectorColumn, cancelled_by, write_sealed,
};
use crate::fault::{Fault, planted};

/// Rows between two calls of `pace`.
const PACE_ROWS: u32 = 4096;
/// What stands for a row that was left out.
const GONE: u32 = u32::MAX;

/// Where the scalar columns of a merged segment come from.
pub enum Merging<'a> {
    /// It has none.
    WithoutScalars,
    /// The copies of the inputs, where every input has one of the same schema and no live row is overridden; otherwise none.
    CopyScalars,
    /// The caller's, made for the rows that [`MergedRows::plan`] gave, in that order.
    Scalars(&'a [RecordBatch]),
}

/// Which rows a merge takes, and where each row of the inputs went.
#[derive(Debug)]
pub struct MergedRows {
    rows: Vec<RowId>,
    sources: Vec<(u32, u32)>,
    places: Vec<Vec<u32>>,
}

impl MergedRows {
    /// Chooses the live rows of the inputs, in order of their ids.
    pub fn plan(inputs: &[SegmentView]) -> Result<Self> {
        let mut rows = Vec::new();
        for (number, view) in inputs.iter().enumerate() {
            for ordinal in 0..view.segment.len() {
                if !view.dead.contains(ordinal) {
                    rows.push((view.segment.row_id(ordinal), number as u32, ordinal));
                }
            }
        }
        if rows.len() >= GONE as usize {
            return Err(SqlError::internal("too many rows for one segment"));
        }
        rows.sort_unstable();
        let mut places: Vec<Vec<u32>> = inputs.iter().map(|view| vec![GONE; view.segment.len() as usize]).collect();
        for (place, &(_, input, ordinal)) in rows.iter().enumerate() {
            places[input as usize][ordinal as usize] = place as u32;
        }
        let sources = rows.iter().map(|&(_, input, ordinal)| (input, ordinal)).collect();
        Ok(Self { rows: rows.into_iter().map(|(row, ..)| row).collect(), sources, places })
    }

    /// The rows of the merged segment.
    pub fn rows(&self) -> &[RowId] {
        &self.rows
    }

    /// Where a row of an input (by position) went; `None` for one that was dead.
    pub fn place(&self, input: usize, ordinal: u32) -> Option<u32> {
        self.places.get(input)?.get(ordinal as usize).copied().filter(|&place| place != GONE)
    }
}

/// Writes the live rows of `inputs` (sealed or growing) as one sealed segment with these columns; a column that an input lacks is NULL.
/// Bits set in the inputs after their views were taken are the caller's to carry over, by [`MergedRows::place`].
/// `pace` is told now and then how many bytes were read; it may take its time, or give up.
#[expect(clippy::too_many_arguments, reason = "one call for the one caller, compaction")]
pub fn merge_sealed(
    fs: &dyn FileSystem,
    dir: &Path,
    id: SegmentId,
    columns: &[VectorColumn],
    inputs: &[SegmentView],
    rows: &MergedRows,
    scalars: &Merging<'_>,
    progress: &dyn Fn(f64),
    pace: &dyn Fn(u64) -> Result<()>,
) -> Result<SegmentFiles> {
    pace(0)?;
    let positions: Vec<Vec<Option<usize>>> =
        columns.iter().map(|column| inputs.iter().map(|view| view.segment.position(column.id)).collect()).collect();
    let copied;
    let scalars: &[RecordBatch] = match scalars {
        Merging::WithoutScalars => &[],
        Merging::Scalars(batches) => batches,
        Merging::CopyScalars => {
            copied = copy_scalars(inputs, rows)?;
            &copied
        }
    };
    let vectors = |column: usize, at: u32| {
        if at.is_multiple_of(PACE_ROWS) {
            let dims = columns.get(column).and_then(|column| column.dims).unwrap_or_default();
            pace(u64::from(PACE_ROWS) * u64::from(dims) * 4)?;
        }
        let (input, ordinal) = rows.sources[at as usize];
        match positions[column][input as usize] {
            Some(position) => inputs[input as usize].segment.vector(position, ordinal),
            None => Ok(None),
        }
    };
    write_sealed(fs, dir, id, columns, &SealInput { rows: &rows.rows, vectors: &vectors, scalars }, progress)
}

fn copy_scalars(inputs: &[SegmentView], rows: &MergedRows) -> Result<Vec<RecordBatch>> {
    let mut batches: Vec<&RecordBatch> = Vec::new();
    // For each input: the number of its first batch, and where each of its batches starts.
    let mut starts: Vec<(usize, Vec<u32>)> = Vec::new();
    for view in inputs {
        let Segment::Sealed(sealed) = &view.segment else { return Ok(Vec::new()) };
        let Some(scalars) = sealed.scalars()? else { return Ok(Vec::new()) };
        if view.overridden.iter().any(|ordinal| !view.dead.contains(ordinal)) {
            return Ok(Vec::new());
        }
        let mut start = 0;
        let mut begins = Vec::with_capacity(scalars.len());
        let first = batches.len();
        for batch in scalars {
            if batches.first().is_some_and(|known| known.schema() != batch.schema()) {
                return Ok(Vec::new());
            }
            begins.push(start);
            start += batch.num_rows() as u32;
            batches.push(batch);
        }
        starts.push((first, begins));
    }
    let place = |&(input, ordinal): &(u32, u32)| {
        let (first, begins) = &starts[input as usize];
        let at = begins.partition_point(|&begin| begin <= ordinal).saturating_sub(1);
        (first + at, (ordinal - begins[at]) as usize)
    };
    rows.sources
        .chunks(SCALAR_BATCH_ROWS)
        .map(|chunk| {
            let indices: Vec<(usize, usize)> = chunk.iter().map(place).collect();
            interleave_record_batch(&batches, &indices).map_err(SqlError::internal)
        })
        .collect()
}

/// The codes of a merged segment. Where every input has product codes of this quantizer's generation they are moved, list by list;
/// otherwise the vectors are coded anew.
pub fn merge_index(
    quantizer: &Arc<Quantizer>,
    inputs: &[Option<Arc<SegmentIndex>>],
    rows: &MergedRows,
    merged: &Sealed,
    column: usize,
    progress: &dyn Fn(f64),
    cancelled: &AtomicBool,
) -> Result<Arc<SegmentIndex>> {
    let same: Option<Vec<&Arc<SegmentIndex>>> = inputs
        .iter()
        .map(|input| input.as_ref().filter(|input| input.generation() == quantizer.generation()))
        .collect();
    match same {
        Some(same) if quantizer.kind() == IndexKind::IvfPq && !same.is_empty() => {
            move_codes(quantizer, &same, rows, merged, cancelled)
        }
        _ => SegmentIndex::build(quantizer, merged, column, progress, cancelled),
    }
}

fn move_codes(
    quantizer: &Arc<Quantizer>,
    inputs: &[&Arc<SegmentIndex>],
    rows: &MergedRows,
    merged: &Sealed,
    cancelled: &AtomicBool,
) -> Result<Arc<SegmentIndex>> {
    let lists = quantizer.lists() as usize;
    let written = inputs.iter().map(|input| input.codes().write()).collect::<Result<Vec<_>>>()?;
    let template = quantizer.instance()?.write()?;
    let head = template.len().checked_sub(36 + 16 * lists).ok_or_else(unknown_form)?;
    let mut readers = written
        .iter()
        .map(|bytes| Lists::open(bytes.get(head..).ok_or_else(unknown_form)?, lists))
        .collect::<Result<Vec<_>>>()?;
    let form = readers.first().map(|reader| reader.form).ok_or_else(unknown_form)?;
    if readers.iter().any(|reader| reader.form != form) {
        return Err(unknown_form());
    }

    let mut out = template[..head + 36].to_vec();
    let (mut labels, mut blocks) = (Vec::new(), Vec::new());
    let mut total = 0u64;
    for _ in 0..lists {
        cancelled_by(cancelled)?;
        labels.clear();
        blocks.clear();
        for (input, reader) in readers.iter_mut().enumerate() {
            let (old_labels, codes) = reader.next_list()?;
            for (at, label) in old_labels.as_chunks::<8>().0.iter().enumerate() {
                let ordinal = inputs[input].ordinal(i64::from_le_bytes(*label)).ok_or_else(unknown_form)?;
                if let Some(mut place) = rows.place(input, ordinal) {
                    if planted(Fault::MergedCodesMisplaced) && input > 0 {
                        place = place.saturating_sub(1);
                    }
                    let to = labels.len() / 8;
                    if to % BLOCK == 0 {
                        blocks.resize(blocks.len() + form, 0);
                    }
                    copy_code(codes, at, &mut blocks, to, form);
                    labels.extend_from_slice(&i64::from(place).to_le_bytes());
                }
            }
        }
        total += labels.len() as u64 / 8;
        out.extend_from_slice(&(labels.len() as u64 / 8).to_le_bytes());
        out.extend_from_slice(&labels);
        out.extend_from_slice(&(blocks.len() as u64).to_le_bytes());
        out.extend_from_slice(&blocks);
    }
    if readers.iter().any(|reader| !reader.rest.is_empty()) {
        return Err(unknown_form());
    }
    // After the four letters and the dimensions.
    out[8..16].copy_from_slice(&total.to_le_bytes());
    let index = Index::read(&mut &out[..], fourcc(quantizer.kind()))?;
    let mut uncoded: Vec<u32> = inputs
        .iter()
        .enumerate()
        .flat_map(|(number, input)| input.uncoded().iter().filter_map(move |&ordinal| rows.place(number, ordinal)))
        .collect();
    uncoded.sort_unstable();
    if index.ntotal() != total || total + uncoded.len() as u64 > u64::from(merged.len()) {
        return Err(unknown_form());
    }
    let spread = mean_spread(inputs.iter().map(|input| &***input));
    Ok(SegmentIndex::from_parts(merged.id(), quantizer, index, uncoded, spread))
}

/// Vectors of a block.
const BLOCK: usize = 32;

fn unknown_form() -> SqlError {
    SqlError::internal("the lists of a vector index have a form that is not known")
}

/// FAISS's serialised lists, read one after another.
struct Lists<'a> {
    /// Bytes of a block.
    form: usize,
    rest: &'a [u8],
}

impl<'a> Lists<'a> {
    fn open(bytes: &'a [u8], lists: usize) -> Result<Self> {
        let mut reader = Self { form: 0, rest: bytes.strip_prefix(b"ilbl").ok_or_else(unknown_form)? };
        let (known, _code_size, vectors, form) =
            (reader.number()?, reader.number()?, reader.number()?, reader.number()?);
        if known != lists as u64 || vectors != BLOCK as u64 || form == 0 || form % BLOCK as u64 != 0 || form > 1 << 20 {
            return Err(unknown_form());
        }
        reader.form = form as usize;
        Ok(reader)
    }
    fn number(&mut self) -> Result<u64> {
        let (number, rest) = self.rest.split_first_chunk::<8>().ok_or_else(unknown_form)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*number))
    }
    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let (taken, rest) =
            usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)).ok_or_else(unknown_form)?;
        self.rest = rest;
        Ok(taken)
    }
    /// The labels and the blocks of codes of the next list.
    fn next_list(&mut self) -> Result<(&'a [u8], &'a [u8])> {
        let count = self.number()?;
        let labels = self.take(count.checked_mul(8).ok_or_else(unknown_form)?)?;
        let len = self.number()?;
        let codes = self.take(len)?;
        if len != count.div_ceil(BLOCK as u64) * self.form as u64 {
            return Err(unknown_form());
        }
        Ok((labels, codes))
    }
}

/// Copies the code of vector `from` of a list to vector `to` of another, whose nibbles are zero.
fn copy_code(codes: &[u8], from: usize, into: &mut [u8], to: usize, form: usize) {
    let nibble = |vector: usize| {
        let lane = vector % 16;
        (
            vector / BLOCK * form + if lane < 8 { lane * 2 } else { (lane - 8) * 2 + 1 },
            if vector % BLOCK < 16 { 0 } else { 4 },
        )
    };
    let ((from_at, from_shift), (to_at, to_shift)) = (nibble(from), nibble(to));
    for half in (0..form).step_by(16) {
        into[to_at + half] |= (codes[from_at + half] >> from_shift & 15) << to_shift;
    }
}
