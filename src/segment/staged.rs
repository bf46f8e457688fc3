//! Rows written out ahead of their commit: their vectors and scalar columns as a sealed segment, and the rows themselves in a file that
//! stands for the log until the row store has them.
//!
//! A folder of a sealed segment with one more file, `rows`: for each row a length u32 and as many bytes, which mean nothing here. A table
//! without vector columns has that file alone. Nothing knows the row ids yet: the commit gives the first one, and the others follow.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_wal::fs::{FileSystem, create_dirs};
use serde::{Deserialize, Serialize};

use super::blocks::{FileEntry, Frame, FrameWriter, Kind, damaged, failed};
use super::raw::RawWriter;
use super::scalars::ScalarsWriter;
use super::sealed::{SCALARS, vectors_name};
use super::{ColumnId, RowId, RowIds, SegmentFiles, SegmentId, VectorColumn};

/// The name of the file of rows.
pub const STAGED_ROWS: &str = "rows";

/// The files of staged rows: what the log's InsertStaged record carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFiles {
    /// The segment's number, which names the folder.
    pub id: SegmentId,
    /// How many rows there are.
    pub count: u32,
    /// The rows. Needed by the log alone.
    pub rows: FileEntry,
    /// The files of the sealed segment, its row ids from 0 on; `None` for a table without vector columns.
    segment: Option<SegmentFiles>,
}

impl StagedFiles {
    /// The sealed segment once the id of the first row is known.
    pub fn segment_from(&self, first: RowId) -> Option<SegmentFiles> {
        self.segment.clone().map(|files| SegmentFiles { row_ids: RowIds::From(first), ..files })
    }

    /// All files, each with whether it is primary.
    pub fn entries(&self) -> impl Iterator<Item = (&FileEntry, bool)> {
        std::iter::once((&self.rows, true)).chain(self.segment.iter().flat_map(SegmentFiles::entries))
    }
}

/// Writes staged rows, row after row. Dropped before the end, it leaves a folder that nothing names.
pub struct StagedWriter {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    id: SegmentId,
    columns: Vec<VectorColumn>,
    count: u32,
    rows: FrameWriter<Arc<dyn FileSystem>>,
    vectors: Vec<RawWriter<Arc<dyn FileSystem>>>,
    scalars: Option<ScalarsWriter<Arc<dyn FileSystem>>>,
}

impl StagedWriter {
    /// Begins in the folder `dir`, created if missing. `schema`: of the scalar columns, where there are vector columns.
    pub fn create(
        fs: &Arc<dyn FileSystem>,
        dir: &Path,
        id: SegmentId,
        columns: Vec<VectorColumn>,
        schema: &Schema,
    ) -> Result<Self> {
        create_dirs(&**fs, dir).map_err(|e| failed(dir, &e))?;
        let vectors = columns
            .iter()
            .map(|column| RawWriter::create(Arc::clone(fs), &dir.join(vectors_name(column)), id, column.dims))
            .collect::<Result<Vec<_>>>()?;
        let scalars = match columns.is_empty() {
            true => None,
            false => Some(ScalarsWriter::create(Arc::clone(fs), &dir.join(SCALARS), id, schema)?),
        };
        let rows = FrameWriter::create(Arc::clone(fs), &dir.join(STAGED_ROWS), Kind::StagedRows, id)?;
        Ok(Self { fs: Arc::clone(fs), dir: dir.to_owned(), id, columns, count: 0, rows, vectors, scalars })
    }

    /// Whether the table has vector columns.
    pub fn has_vectors(&self) -> bool {
        !self.columns.is_empty()
    }

    /// How many rows there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a row with the vector (or NULL) that it has in each column. Gives where it starts, for [`StagedRows::at`].
    pub fn push<'v>(&mut self, row: &[u8], vector: impl Fn(ColumnId) -> Option<&'v [f32]>) -> Result<u64> {
        let next = self.count.checked_add(1).filter(|&count| count < u32::MAX);
        let (Some(next), Ok(len)) = (next, u32::try_from(row.len())) else {
            return Err(SqlError::new(
                SqlState::ProgramLimitExceeded,
                "too many rows, or too large a row, for one segment",
            ));
        };
        let at = self.rows.position();
        self.rows.put(&len.to_le_bytes())?;
        self.rows.put(row)?;
        for (writer, column) in self.vectors.iter_mut().zip(&self.columns) {
            writer.push(vector(column.id))?;
        }
        self.count = next;
        Ok(at)
    }

    /// Adds the scalar columns of the next rows; together they must be as many as the rows.
    pub fn push_scalars(&mut self, batch: &RecordBatch) -> Result<()> {
        self.scalars.as_mut().map_or(Ok(()), |writer| writer.push(batch))
    }

    /// When this returns, the files and their names are durable.
    pub fn finish(self) -> Result<StagedFiles> {
        let Self { fs, dir, id, columns, count, rows, vectors, scalars } = self;
        let vectors = vectors.into_iter().map(RawWriter::finish).collect::<Result<Vec<_>>>()?;
        let scalars = scalars.map(ScalarsWriter::finish).transpose()?;
        let rows = rows.publish()?;
        // ORDER: every file was synced and named; now the names.
        fs.sync_dir(&dir).map_err(|e| failed(&dir, &e))?;
        let segment = (!columns.is_empty()).then_some(SegmentFiles {
            id,
            rows: count,
            columns,
            row_ids: RowIds::From(0),
            vectors,
            scalars,
        });
        Ok(StagedFiles { id, count, rows, segment })
    }
}

/// The opened file of staged rows.
#[derive(Debug)]
pub struct StagedRows {
    path: PathBuf,
    frame: Frame,
}

impl StagedRows {
    /// Opens the file in the folder `dir`.
    pub fn open(fs: &dyn FileSystem, dir: &Path, files: &StagedFiles) -> Result<Self> {
        let path = dir.join(&files.rows.name);
        let frame = Frame::open(fs, &path, Kind::StagedRows, files.id, Some(&files.rows))?;
        Ok(Self { path, frame })
    }

    /// The row that starts at `at`, and where the next one does. The first starts at 0.
    pub fn at(&self, at: u64) -> Result<(&[u8], u64)> {
        let outside = || damaged(&self.path, "a row lies outside of it");
        let body = self.frame.body_len();
        let start = usize::try_from(at).ok().and_then(|at| at.checked_add(4)).filter(|&start| start <= body);
        let start = start.ok_or_else(outside)?;
        let len = self.frame.get(start - 4..start)?;
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let end = start.checked_add(len).filter(|&end| end <= body).ok_or_else(outside)?;
        Ok((self.frame.get(start..end)?, end as u64))
    }
}
