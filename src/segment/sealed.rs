//! A sealed segment: rows sorted by id, their vectors, and Arrow copies of their other columns, in mapped files.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::ipc::reader::{FileDecoder, read_footer_length};
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::arrow::ipc::{convert::fb_to_schema, root_as_footer};
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_wal::fs::FileSystem;
use serde::{Deserialize, Serialize};

use super::error::SegmentError;
use super::file::{self, FileInfo, Kind, Payload, damaged};
use super::{ColumnId, RowId, SegmentId, VectorColumn};

/// The files of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFiles {
    /// How many rows there are.
    pub rows: u32,
    /// The row ids: primary.
    pub row_ids: FileInfo,
    /// The vectors of each column: primary.
    pub vectors: Vec<(VectorColumn, FileInfo)>,
    /// The Arrow copies of the other columns: derived.
    pub scalars: Option<FileInfo>,
}

/// What a sealed segment is written from.
pub struct SealInput<'a> {
    /// The row ids, ascending.
    pub rows: &'a [RowId],
    /// The vector of a column, by its place, and of a row, by its place in `rows`.
    pub vectors: &'a dyn Fn(usize, usize) -> Option<&'a [f32]>,
    /// The other columns, `rows` rows in all.
    pub scalars: Option<&'a [RecordBatch]>,
}

/// A sealed segment, open.
#[derive(Debug)]
pub struct Sealed {
    id: SegmentId,
    rows: u32,
    row_ids: Payload,
    columns: Vec<VectorColumn>,
    vectors: Vec<VectorFile>,
    scalars: Option<Vec<RecordBatch>>,
}

/// The vectors of one column. Payload: validity words, then either `dims` floats a row, or offsets and floats.
#[derive(Debug)]
struct VectorFile {
    payload: Payload,
    dims: Option<usize>,
    offsets: usize,
    data: usize,
    all_valid: bool,
}

const DATA_ALIGNMENT: usize = 64;

fn bytes_of_floats(floats: &[f32], out: &mut Vec<u8>) {
    for float in floats {
        out.extend(float.to_le_bytes());
    }
}

/// Writes a sealed segment into a folder of its own, durable when this returns.
pub fn write_sealed(
    files: &dyn FileSystem,
    dir: &Path,
    _id: SegmentId,
    columns: &[VectorColumn],
    input: &SealInput<'_>,
) -> Result<SegmentFiles, SegmentError> {
    let io = |error| SegmentError::Io { path: dir.to_owned(), error };
    if files.exists(dir).map_err(io)? {
        // Left by a job that did not get to its commit.
        files.remove_dir_all(dir).map_err(io)?;
    }
    files.create_dir(dir).map_err(io)?;
    let ids = input.rows.chunks(8192).map(|chunk| chunk.iter().flat_map(|row| row.to_le_bytes()).collect());
    let row_ids = file::write(files, dir, "rows", Kind::Rows, &mut ids.into_iter())?;
    let mut vectors = Vec::with_capacity(columns.len());
    for (place, column) in columns.iter().enumerate() {
        let name = format!("vectors.{}", column.id);
        let info = file::write(files, dir, &name, Kind::Vectors, &mut vector_pieces(place, *column, input))?;
        vectors.push((*column, info));
    }
    let scalars = match input.scalars.and_then(|batches| Some((batches, batches.first()?))) {
        Some((batches, first)) if first.num_columns() > 0 => {
            let mut bytes = Vec::new();
            let written = FileWriter::try_new(&mut bytes, &first.schema()).and_then(|mut writer| {
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()
            });
            written.map_err(|error| damaged(dir, error.to_string()))?;
            Some(file::write(files, dir, "scalars", Kind::Scalars, &mut std::iter::once(bytes))?)
        }
        _ => None,
    };
    files.sync_dir(dir).map_err(io)?;
    if let Some(parent) = dir.parent() {
        files.sync_dir(parent).map_err(io)?;
    }
    Ok(SegmentFiles { rows: input.rows.len() as u32, row_ids, vectors, scalars })
}

fn vector_pieces<'a>(
    place: usize,
    column: VectorColumn,
    input: &'a SealInput<'a>,
) -> Box<dyn Iterator<Item = Vec<u8>> + 'a> {
    let rows = input.rows.len();
    let mut head: Vec<u8> = Vec::new();
    let mut validity = vec![0u64; rows.div_ceil(64)];
    for (row, word) in (0..rows).map(|row| (row, row / 64)) {
        if (input.vectors)(place, row).is_some() {
            validity[word] |= 1 << (row % 64);
        }
    }
    head.extend(validity.iter().flat_map(|word| word.to_le_bytes()));
    if column.dims.is_none() {
        let mut offset = 0u64;
        head.extend(offset.to_le_bytes());
        for row in 0..rows {
            offset += (input.vectors)(place, row).map_or(0, |vector| vector.len() as u64);
            head.extend(offset.to_le_bytes());
        }
    }
    head.resize(head.len().next_multiple_of(DATA_ALIGNMENT), 0);
    let body = (0..rows).step_by(4096).map(move |start| {
        let mut piece = Vec::new();
        for row in start..rows.min(start + 4096) {
            match ((input.vectors)(place, row), column.dims) {
                (Some(vector), _) => bytes_of_floats(vector, &mut piece),
                (None, Some(dims)) => piece.resize(piece.len() + dims as usize * 4, 0),
                (None, None) => {}
            }
        }
        piece
    });
    Box::new(std::iter::once(head).chain(body))
}

impl VectorFile {
    fn new(payload: Payload, dims: Option<u32>, rows: usize) -> Result<Self, String> {
        let offsets = rows.div_ceil(64) * 8;
        let head = offsets + if dims.is_none() { (rows + 1) * 8 } else { 0 };
        let data = head.next_multiple_of(DATA_ALIGNMENT);
        let mut file =
            Self { payload, dims: dims.map(|dims| dims as usize), offsets, data, all_valid: false };
        if file.payload.len() < data {
            return Err("it is shorter than its rows".into());
        }
        let floats = match file.dims {
            Some(dims) => rows * dims,
            None => {
                let mut last = 0;
                for row in 0..=rows {
                    let offset = file.offset(row);
                    if offset < last {
                        return Err("its offsets do not ascend".into());
                    }
                    last = offset;
                }
                last
            }
        };
        if file.payload.len() != data + floats * 4 {
            return Err("its length does not fit its rows".into());
        }
        file.all_valid = (0..rows).all(|row| file.is_valid(row));
        Ok(file)
    }

    fn word(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.payload[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn offset(&self, row: usize) -> usize {
        self.word(self.offsets + row * 8) as usize
    }

    fn is_valid(&self, row: usize) -> bool {
        self.word(row / 64 * 8) >> (row % 64) & 1 == 1
    }

    #[inline]
    fn vector(&self, row: usize) -> Option<&[f32]> {
        if !self.all_valid && !self.is_valid(row) {
            return None;
        }
        let (start, len) = match self.dims {
            Some(dims) => (row * dims, dims),
            None => (self.offset(row), self.offset(row + 1) - self.offset(row)),
        };
        let bytes = &self.payload[self.data + start * 4..self.data + (start + len) * 4];
        // SAFETY: every bit pattern is a float; the address is a multiple of 4, because the payload starts at byte 64
        // of a page or of a heap block and `data` is a multiple of 64, which the empty prefix below confirms.
        let (prefix, floats, _) = unsafe { bytes.align_to::<f32>() };
        debug_assert!(prefix.is_empty());
        Some(floats)
    }
}

impl Sealed {
    /// Opens a segment and verifies its files.
    pub fn open(files: &Arc<dyn FileSystem>, dir: &Path, names: &SegmentFiles) -> Result<Arc<Self>, SegmentError> {
        let rows = names.rows as usize;
        let row_ids = file::open(&**files, dir, &names.row_ids, Kind::Rows)?;
        if row_ids.len() != rows * 8 {
            return Err(damaged(&dir.join(&names.row_ids.name), "it has another number of rows"));
        }
        let mut columns = Vec::new();
        let mut vectors = Vec::new();
        for (column, info) in &names.vectors {
            let payload = file::open(&**files, dir, info, Kind::Vectors)?;
            let file = VectorFile::new(payload, column.dims, rows)
                .map_err(|reason| damaged(&dir.join(&info.name), reason))?;
            columns.push(*column);
            vectors.push(file);
        }
        let scalars = match &names.scalars {
            None => None,
            // Derived: a copy that cannot be read is done without.
            Some(info) => match open_scalars(&**files, dir, info, rows) {
                Ok(batches) => Some(batches),
                Err(error) => {
                    tracing::warn!(%error, "the Arrow columns of a segment cannot be read; rows are used instead");
                    None
                }
            },
        };
        let id = dir
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split('-').next())
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| damaged(dir, "its folder is not named by a segment id"))?;
        Ok(Arc::new(Self { id, rows: names.rows, row_ids, columns, vectors, scalars }))
    }

    /// Its id.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// How many rows it has, dead ones included.
    pub fn len(&self) -> u32 {
        self.rows
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The vector columns it holds.
    pub fn columns(&self) -> &[VectorColumn] {
        &self.columns
    }

    /// The place of a column among the columns.
    pub fn column_index(&self, column: ColumnId) -> Option<usize> {
        self.columns.iter().position(|own| own.id == column)
    }

    /// The id of a row.
    #[inline]
    pub fn row_id(&self, ordinal: u32) -> RowId {
        let at = ordinal as usize * 8;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.row_ids[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    /// The ordinal of a row.
    pub fn find(&self, row: RowId) -> Option<u32> {
        if self.rows == 0 {
            return None;
        }
        let (first, last) = (self.row_id(0), self.row_id(self.rows - 1));
        if row < first || row > last {
            return None;
        }
        // Ids are mostly dense: look where the row would be before searching.
        if let Ok(guess) = u32::try_from(row - first) {
            if guess < self.rows && self.row_id(guess) == row {
                return Some(guess);
            }
        }
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.row_id(middle) < row {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.rows && self.row_id(low) == row).then_some(low)
    }

    /// A vector, by the place of its column.
    #[inline]
    pub fn vector(&self, column: usize, ordinal: u32) -> Option<&[f32]> {
        self.vectors[column].vector(ordinal as usize)
    }

    /// All vectors of a column one after the other, where every row has one of `dims` floats.
    pub(super) fn dense(&self, column: usize) -> Option<&[f32]> {
        let file = &self.vectors[column];
        if !file.all_valid || file.dims.is_none() {
            return None;
        }
        // SAFETY: as in `vector`.
        let (_, floats, _) = unsafe { file.payload[file.data..].align_to::<f32>() };
        Some(floats)
    }

    /// The other columns, in batches of equal length but for the last.
    pub fn scalars(&self) -> Option<&[RecordBatch]> {
        self.scalars.as_deref()
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> usize {
        self.row_ids.len() + self.vectors.iter().map(|file| file.payload.len()).sum::<usize>()
    }
}

/// The batches of an Arrow file, their buffers in the mapped file.
fn open_scalars(
    files: &dyn FileSystem,
    dir: &Path,
    info: &FileInfo,
    rows: usize,
) -> Result<Vec<RecordBatch>, SegmentError> {
    let payload = file::open(files, dir, info, Kind::Scalars)?;
    let path = dir.join(&info.name);
    let wrong = |reason: String| damaged(&path, reason);
    let buffer = Buffer::from(bytes::Bytes::from_owner(payload));
    let trailer = buffer.len().checked_sub(10).ok_or_else(|| wrong("it is shorter than its trailer".into()))?;
    let mut tail = [0; 10];
    tail.copy_from_slice(&buffer[trailer..]);
    let footer_len = read_footer_length(tail).map_err(|error| wrong(error.to_string()))?;
    let start = trailer.checked_sub(footer_len).ok_or_else(|| wrong("its footer does not fit".into()))?;
    let footer = root_as_footer(&buffer[start..trailer]).map_err(|error| wrong(error.to_string()))?;
    let schema = fb_to_schema(footer.schema().ok_or_else(|| wrong("it has no schema".into()))?);
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let len = block.bodyLength() as usize + block.metaDataLength() as usize;
        let data = buffer.slice_with_length(block.offset() as usize, len);
        let batch = decoder.read_record_batch(block, &data).map_err(|error| wrong(error.to_string()))?;
        batches.extend(batch);
    }
    if batches.iter().map(RecordBatch::num_rows).sum::<usize>() != rows {
        return Err(wrong("it has another number of rows".into()));
    }
    Ok(batches)
}
