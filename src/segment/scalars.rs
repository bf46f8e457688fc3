//! The Arrow copy of a sealed segment's scalar columns: an Arrow IPC file in our frame, its arrays read in place from the mapped file.
//! Derived: RocksDB holds the truth, and this file can be lost.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::{FileDecoder, read_footer_length};
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::arrow::ipc::{convert::fb_to_schema, root_as_footer};
use lodedb_sql::error::{Result, SqlError};
use lodedb_wal::fs::FileSystem;

use super::blocks::{Body, FileEntry, Frame, FrameWriter, Kind, damaged};

/// Rows in one batch: few batches, so that judging a condition costs its comparisons and little else.
pub const SCALAR_BATCH_ROWS: usize = 1 << 16;

/// Writes the file batch by batch.
pub(super) struct ScalarsWriter<F: Deref<Target: FileSystem>> {
    path: PathBuf,
    writer: FileWriter<FrameWriter<F>>,
}

impl<F: Deref<Target: FileSystem>> ScalarsWriter<F> {
    pub(super) fn create(fs: F, path: &Path, owner: u64, schema: &Schema) -> Result<Self> {
        let frame = FrameWriter::create(fs, path, Kind::Scalars, owner)?;
        let writer = FileWriter::try_new(frame, schema).map_err(|e| unwritten(path, &e))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Adds a batch of the schema.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| unwritten(&self.path, &e))
    }

    /// The file is durable and named when this returns. The caller syncs the directory.
    pub(super) fn finish(mut self) -> Result<FileEntry> {
        self.writer.finish().map_err(|e| unwritten(&self.path, &e))?;
        self.writer.into_inner().map_err(|e| unwritten(&self.path, &e))?.publish()
    }
}

fn unwritten(path: &Path, error: &ArrowError) -> SqlError {
    SqlError::internal(format!("could not write \"{}\": {error}", path.display()))
}

/// Writes the batches, which must share one schema; there must be at least one.
pub(super) fn write_scalars(
    fs: &dyn FileSystem,
    path: &Path,
    owner: u64,
    batches: &[RecordBatch],
) -> Result<FileEntry> {
    let schema = batches.first().map(RecordBatch::schema).ok_or_else(|| SqlError::internal("no batch of scalars"))?;
    let mut writer = ScalarsWriter::create(fs, path, owner, &schema)?;
    batches.iter().try_for_each(|batch| writer.push(batch))?;
    writer.finish()
}

/// Opens the file and checks all of it; the arrays point into it.
pub(super) fn open_scalars(
    fs: &dyn FileSystem,
    path: &Path,
    owner: u64,
    rows: u32,
    expected: &FileEntry,
) -> Result<Vec<RecordBatch>> {
    let frame = Arc::new(Frame::open(fs, path, Kind::Scalars, owner, Some(expected))?);
    frame.verify_all()?;
    // Arrow asserts some of what it reads. Checksums that hold say only that the bytes are those that were written.
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decode(Body(frame))));
    let batches = match decoded {
        Ok(batches) => batches.map_err(|e| damaged(path, e))?,
        Err(_) => return Err(damaged(path, "its columns make no sense")),
    };
    if batches.iter().map(RecordBatch::num_rows).sum::<usize>() != rows as usize {
        return Err(damaged(path, "it holds another number of rows than the segment"));
    }
    Ok(batches)
}

fn decode(body: Body) -> std::result::Result<Vec<RecordBatch>, ArrowError> {
    let buffer = Buffer::from(Bytes::from_owner(body));
    let short = || ArrowError::IpcError("too short".into());
    let trailer_at = buffer.len().checked_sub(10).ok_or_else(short)?;
    let trailer: [u8; 10] = buffer[trailer_at..].try_into().map_err(|_| short())?;
    let footer_len = read_footer_length(trailer)?;
    let footer_at = trailer_at.checked_sub(footer_len).ok_or_else(short)?;
    let footer =
        root_as_footer(&buffer[footer_at..trailer_at]).map_err(|e| ArrowError::IpcError(format!("footer: {e}")))?;
    let missing = |what: &str| ArrowError::IpcError(format!("footer without {what}"));
    let schema = fb_to_schema(footer.schema().ok_or_else(|| missing("schema"))?);
    let mut decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let slice = |block: &datafusion::arrow::ipc::Block| {
        let (at, len) = (block.offset() as usize, block.metaDataLength() as usize + block.bodyLength() as usize);
        if at.checked_add(len).is_none_or(|end| end > buffer.len()) {
            return Err(short());
        }
        Ok(buffer.slice_with_length(at, len))
    };
    for block in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(block, &slice(block)?)?;
    }
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        batches.extend(decoder.read_record_batch(block, &slice(block)?)?);
    }
    Ok(batches)
}
