//! The sealed segment: rows sorted by id and their vectors in immutable files, opened in place.
//!
//! A folder holds `ids` (row ids, unless they are dense), `vectors.<column>` (primary) and `scalars` (derived). Index files
//! beside them belong to [`super::SegmentIndex`]. [`SegmentFiles`], in the log's Seal record and the manifest, names them all with length
//! and CRC; nothing is read that it does not name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::RecordBatch;
use lodedb_sql::error::{Result, SqlError};
use lodedb_wal::fs::{FileSystem, create_dirs};
use lodedb_wal::killpoint::reach;
use serde::{Deserialize, Serialize};

use super::blocks::{FileEntry, Frame, FrameWriter, Kind, damaged, failed};
use super::mapped::{as_u64, u64_bytes};
use super::raw::{RawVectors, RawWriter};
use super::scalars::{open_scalars, write_scalars};
use super::{RowId, SegmentId, VectorColumn};
use crate::fault::{Fault, planted};

const IDS: &str = "ids";
pub(super) const SCALARS: &str = "scalars";

/// The ids of a segment's rows, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowIds {
    /// One after another, from this one on.
    From(RowId),
    /// As the file says. Primary.
    File(FileEntry),
}

/// The files of a sealed segment: what the log's Seal record and the manifest carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFiles {
    /// The segment's number.
    pub id: SegmentId,
    /// How many rows it holds, dead ones included.
    pub rows: u32,
    /// Its vector columns, in order.
    pub columns: Vec<VectorColumn>,
    /// The ids of the rows.
    pub row_ids: RowIds,
    /// The raw vector files, one for each column, in order. Primary.
    pub vectors: Vec<FileEntry>,
    /// The Arrow copy of the scalar columns. Derived.
    pub scalars: Option<FileEntry>,
}

impl SegmentFiles {
    /// All files, primary ones first, each with whether it is primary.
    pub fn entries(&self) -> impl Iterator<Item = (&FileEntry, bool)> {
        let ids = match &self.row_ids {
            RowIds::From(_) => None,
            RowIds::File(entry) => Some(entry),
        };
        let primary = ids.into_iter().chain(&self.vectors).map(|entry| (entry, true));
        primary.chain(self.scalars.iter().map(|entry| (entry, false)))
    }
    /// The bytes they take.
    pub fn bytes(&self) -> u64 {
        self.entries().map(|(entry, _)| entry.len).sum()
    }
}

/// Gives the vector of (position of the column, position of the row), or NULL.
pub type VectorSource<'a> = dyn Fn(usize, u32) -> Result<Option<&'a [f32]>> + 'a;

/// What a sealed segment is written from.
pub struct SealInput<'a> {
    /// The row ids, strictly ascending.
    pub rows: &'a [RowId],
    /// The vectors; asked for column by column in order of the rows.
    pub vectors: &'a VectorSource<'a>,
    /// The scalar columns of the same rows in the same order, in chunks of one schema; empty for none.
    pub scalars: &'a [RecordBatch],
}

/// Writes the files of a sealed segment into the folder `dir`, created if missing; when this returns, they and their names are durable.
/// `progress` hears a share of 1 between the files.
///
/// CRASH: a cut leaves a folder nothing names; the clean-up at open removes it.
pub fn write_sealed(
    fs: &dyn FileSystem,
    dir: &Path,
    id: SegmentId,
    columns: &[VectorColumn],
    input: &SealInput<'_>,
    progress: &dyn Fn(f64),
) -> Result<SegmentFiles> {
    let rows = u32::try_from(input.rows.len()).map_err(|_| SqlError::internal("too many rows for one segment"))?;
    if !input.rows.is_sorted_by(|a, b| a < b) {
        return Err(SqlError::internal("row ids of a sealed segment must ascend"));
    }
    if !input.scalars.is_empty() && input.scalars.iter().map(RecordBatch::num_rows).sum::<usize>() != rows as usize {
        return Err(SqlError::internal("scalars of a sealed segment must have one value for each row"));
    }
    create_dirs(fs, dir).map_err(|e| failed(dir, &e))?;
    reach("segment: folder made");
    let steps = (columns.len() + 2) as f64;
    let row_ids = write_ids(fs, &dir.join(IDS), id, input.rows)?;
    reach("segment: ids written");
    progress(1.0 / steps);
    let mut vectors = Vec::with_capacity(columns.len());
    for (position, column) in columns.iter().enumerate() {
        let mut writer = RawWriter::create(fs, &dir.join(vectors_name(column)), id, column.dims)?;
        for row in 0..rows {
            writer.push((input.vectors)(position, row)?)?;
        }
        vectors.push(writer.finish()?);
        progress((position + 2) as f64 / steps);
    }
    reach("segment: vectors written");
    let scalars =
        if input.scalars.is_empty() { None } else { Some(write_scalars(fs, &dir.join(SCALARS), id, input.scalars)?) };
    // ORDER: every file was synced and named; now the names.
    if !planted(Fault::NamesNotSynced) {
        fs.sync_dir(dir).map_err(|e| failed(dir, &e))?;
    }
    reach("segment: written");
    progress(1.0);
    Ok(SegmentFiles { id, rows, columns: columns.to_vec(), row_ids, vectors, scalars })
}

/// The name of a column's raw file.
pub(super) fn vectors_name(column: &VectorColumn) -> String {
    format!("vectors.{}", column.id)
}

fn write_ids(fs: &dyn FileSystem, path: &Path, id: SegmentId, rows: &[RowId]) -> Result<RowIds> {
    let first = rows.first().copied().unwrap_or(0);
    if rows.last().is_none_or(|last| last - first == rows.len() as u64 - 1) {
        return Ok(RowIds::From(first));
    }
    let mut writer = FrameWriter::create(fs, path, Kind::Rows, id)?;
    writer.put(u64_bytes(rows))?;
    Ok(RowIds::File(writer.publish()?))
}

#[derive(Debug)]
enum Rows {
    From(RowId),
    Sorted(Frame),
}

/// An opened sealed segment. Immutable; shared by every view that holds it.
pub struct Sealed {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    files: SegmentFiles,
    rows: Rows,
    vectors: Vec<RawVectors>,
    scalars: OnceLock<std::result::Result<Vec<RecordBatch>, SqlError>>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} rows)", self.files.id, self.files.rows)
    }
}

impl Sealed {
    /// Opens the files that `files` names in `dir`. Headers, block tables and row ids are checked here, vectors and scalars when first
    /// touched. A primary file that is missing or damaged is `XX001` with its name.
    pub fn open(fs: &Arc<dyn FileSystem>, dir: &Path, files: &SegmentFiles) -> Result<Arc<Self>> {
        let rows = match &files.row_ids {
            RowIds::From(first) if first.checked_add(u64::from(files.rows)).is_some() => Rows::From(*first),
            RowIds::From(_) => return Err(damaged(dir, "row ids")),
            RowIds::File(entry) => {
                let path = dir.join(&entry.name);
                let frame = Frame::open(fs.as_ref(), &path, Kind::Rows, files.id, Some(entry))?;
                frame.verify_all()?;
                let ids = as_u64(frame.get(0..frame.body_len())?).ok_or_else(|| damaged(&path, "alignment"))?;
                if ids.len() != files.rows as usize || !ids.is_sorted_by(|a, b| a < b) {
                    return Err(damaged(&path, "row ids"));
                }
                Rows::Sorted(frame)
            }
        };
        if files.vectors.len() != files.columns.len() {
            return Err(damaged(dir, "a column without a file"));
        }
        let vectors = files
            .columns
            .iter()
            .zip(&files.vectors)
            .map(|(column, entry)| {
                RawVectors::open(fs.as_ref(), &dir.join(&entry.name), files.id, column.dims, files.rows, entry)
            })
            .collect::<Result<_>>()?;
        let (fs, dir, files) = (Arc::clone(fs), dir.to_owned(), files.clone());
        Ok(Arc::new(Self { fs, dir, files, rows, vectors, scalars: OnceLock::new() }))
    }

    /// The segment's number.
    pub fn id(&self) -> SegmentId {
        self.files.id
    }
    /// Its files.
    pub fn files(&self) -> &SegmentFiles {
        &self.files
    }
    /// The folder they are in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// How many rows it holds, dead ones included.
    #[inline]
    pub fn len(&self) -> u32 {
        self.files.rows
    }
    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.files.rows == 0
    }
    /// Its vector columns.
    pub fn columns(&self) -> &[VectorColumn] {
        &self.files.columns
    }

    #[inline]
    fn sorted(&self) -> &[RowId] {
        match &self.rows {
            Rows::From(_) => &[],
            // Checked whole at open.
            Rows::Sorted(frame) => as_u64(frame.peek(0..frame.body_len())).unwrap_or(&[]),
        }
    }

    /// The row at an ordinal below [`Sealed::len`]; 0 above it.
    #[inline]
    pub fn row_id(&self, ordinal: u32) -> RowId {
        match &self.rows {
            Rows::From(base) if ordinal < self.files.rows => base + u64::from(ordinal),
            Rows::From(_) => 0,
            Rows::Sorted(_) => self.sorted().get(ordinal as usize).copied().unwrap_or(0),
        }
    }

    /// The ordinal of a row.
    pub fn find(&self, row: RowId) -> Option<u32> {
        match &self.rows {
            Rows::From(base) => {
                row.checked_sub(*base).filter(|&at| at < u64::from(self.files.rows)).map(|at| at as u32)
            }
            Rows::Sorted(_) => self.sorted().binary_search(&row).ok().map(|at| at as u32),
        }
    }

    /// The vector of a column (by position) at an ordinal; `None` for NULL. Damage found on the way is `XX001`.
    #[inline]
    pub fn vector(&self, column: usize, ordinal: u32) -> Result<Option<&[f32]>> {
        match self.vectors.get(column) {
            Some(vectors) => vectors.vector(ordinal),
            None => Ok(None),
        }
    }

    #[inline]
    pub(super) fn raw(&self, column: usize) -> Option<&RawVectors> {
        self.vectors.get(column)
    }

    /// The Arrow copy of the scalar columns, opened and checked on first use; `None` if the segment has none. An error means that the
    /// derived file is damaged or missing: the caller reads RocksDB instead and rebuilds it with [`Sealed::rewrite_scalars`].
    pub fn scalars(&self) -> Result<Option<&[RecordBatch]>> {
        let Some(entry) = &self.files.scalars else { return Ok(None) };
        let opened = self.scalars.get_or_init(|| {
            open_scalars(self.fs.as_ref(), &self.dir.join(&entry.name), self.files.id, self.files.rows, entry)
        });
        opened.as_ref().map(|batches| Some(batches.as_slice())).map_err(SqlError::clone)
    }

    /// Writes a new Arrow copy under the name `scalars.<version>` and gives the files with it named; the caller logs and publishes them.
    pub fn rewrite_scalars(&self, version: u64, batches: &[RecordBatch]) -> Result<SegmentFiles> {
        let path = self.dir.join(format!("{SCALARS}.{version}"));
        let entry = write_scalars(self.fs.as_ref(), &path, self.files.id, batches)?;
        self.fs.sync_dir(&self.dir).map_err(|e| failed(&self.dir, &e))?;
        Ok(SegmentFiles { scalars: Some(entry), ..self.files.clone() })
    }

    /// Checks every block of every primary file that was not checked yet.
    pub fn verify(&self) -> Result<()> {
        self.vectors.iter().try_for_each(|vectors| vectors.frame().verify_all())
    }

    /// Checks every block of every primary file again: what the scrubber asks.
    pub fn scrub(&self) -> Result<()> {
        if let Rows::Sorted(frame) = &self.rows {
            frame.verify_again()?;
        }
        self.vectors.iter().try_for_each(|vectors| vectors.frame().verify_again())
    }
}
