//! Rows of an open transaction, written out ahead of its commit: what makes a COPY of any size one commit in bounded memory.
//!
//! A statement that inserts more than a mutable segment would hold writes its rows as the files of a sealed segment,
//! while they come. The commit logs the names and checksums of the files; applying opens the segment and feeds the rows
//! to the row store.
//!
//! CRASH: before the commit nothing names the folder; the clean-up at open removes it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError};
use lodedb_wal::killpoint::reach;

use super::Row;
use crate::catalog::Table;
use crate::db::engine::Engine;
use crate::query::arrow::BatchBuilder;
use crate::segment::{SCALAR_BATCH_ROWS, Sealed, SegmentId, StagedFiles, StagedRows, StagedWriter};
use crate::store::row;

/// Every this many rows their place in the file is remembered.
const PLACE_ROWS: u32 = 64;

/// The folder of staged rows. It goes with them, unless a commit names it.
struct Folder {
    engine: Arc<Engine>,
    path: PathBuf,
    id: SegmentId,
    is_kept: AtomicBool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Acquire) {
            // Best effort: the clean-up finds what stays.
            let _ = self.engine.files.fs.remove_dir_all(&self.path);
            self.engine.segment_ids.settle(self.id);
        }
    }
}

/// Staged rows in the making.
pub struct Staging {
    table: Arc<Table>,
    writer: StagedWriter,
    scalars: BatchBuilder,
    places: Vec<u64>,
    encoded: Vec<u8>,
    /// Last, so that the writers have let go of their files when it is removed.
    folder: Folder,
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staging({}, {} rows)", self.folder.id, self.writer.count())
    }
}

impl Staging {
    /// Begins to stage rows of a table.
    pub fn begin(engine: &Arc<Engine>, table: &Arc<Table>) -> Result<Self> {
        let id = engine.segment_ids.take();
        let path = engine.files.segment_dir(table.id, id);
        let folder = Folder { engine: engine.clone(), path, id, is_kept: AtomicBool::new(false) };
        let scalars = BatchBuilder::of_scalars(table, 1024)?;
        let columns = table.vector_columns();
        let writer = StagedWriter::create(&engine.files.fs, &folder.path, id, columns, scalars.schema())?;
        reach("staging: begun");
        Ok(Self { table: table.clone(), writer, scalars, places: Vec::new(), encoded: Vec::new(), folder })
    }

    /// How many rows there are.
    pub fn count(&self) -> u32 {
        self.writer.count()
    }

    /// Adds a row.
    pub fn push(&mut self, values: &[Datum]) -> Result<()> {
        self.encoded.clear();
        row::encode(0, without_vectors(values), &mut self.encoded);
        let place = self.writer.push(&self.encoded, |column| vector_of(values, column))?;
        if (self.writer.count() - 1).is_multiple_of(PLACE_ROWS) {
            self.places.push(place);
        }
        if self.writer.has_vectors() {
            self.scalars.push(values)?;
            if self.scalars.len() == SCALAR_BATCH_ROWS {
                self.writer.push_scalars(&self.scalars.finish()?)?;
            }
        }
        Ok(())
    }

    /// Makes the files durable and the rows readable. Waits for the disk.
    pub fn finish(mut self) -> Result<Staged> {
        if !self.scalars.is_empty() {
            self.writer.push_scalars(&self.scalars.finish()?)?;
        }
        let files = self.writer.finish()?;
        reach("staging: written, not committed");
        let fs = &self.folder.engine.files.fs;
        let rows = StagedRows::open(&**fs, &self.folder.path, &files)?;
        let sealed = files.segment_from(0).map(|segment| Sealed::open(fs, &self.folder.path, &segment)).transpose()?;
        Ok(Staged { files, rows, sealed, places: self.places, columns: self.table.columns.len(), folder: self.folder })
    }
}

/// Staged rows of an open transaction.
pub struct Staged {
    files: StagedFiles,
    rows: StagedRows,
    sealed: Option<Arc<Sealed>>,
    places: Vec<u64>,
    columns: usize,
    folder: Folder,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({}, {} rows)", self.files.id, self.files.count)
    }
}

impl Staged {
    /// What the commit is to name. From here on the files stay, whatever becomes of the transaction.
    pub fn keep(&self) -> StagedFiles {
        self.folder.is_kept.store(true, Ordering::Release);
        self.files.clone()
    }

    /// How many rows there are.
    pub fn count(&self) -> u32 {
        self.files.count
    }

    /// One row.
    pub fn row(&self, ordinal: u32) -> Result<Row> {
        let place = self.places.get((ordinal / PLACE_ROWS) as usize).copied();
        let mut at = place.ok_or_else(|| SqlError::internal("a staged row that is not there"))?;
        for _ in 0..ordinal % PLACE_ROWS {
            self.skip(&mut at)?;
        }
        self.next(ordinal, &mut at)
    }

    /// The row at `ordinal`, which starts at `at` in the file; then `at` is where the next one does. The first is at 0.
    pub fn next(&self, ordinal: u32, at: &mut u64) -> Result<Row> {
        let (bytes, after) = self.rows.at(*at)?;
        *at = after;
        self.complete(ordinal, bytes)
    }

    /// Passes over the row that starts at `at`.
    pub fn skip(&self, at: &mut u64) -> Result<()> {
        *at = self.rows.at(*at)?.1;
        Ok(())
    }

    fn complete(&self, ordinal: u32, bytes: &[u8]) -> Result<Row> {
        let mut values = row::decode(bytes)?.values;
        values.resize(self.columns, Datum::Null);
        if let Some(sealed) = &self.sealed {
            for (at, column) in sealed.columns().iter().enumerate() {
                if let Some(vector) = sealed.vector(at, ordinal)? {
                    values[column.id as usize - 1] = Datum::Vector(vector.into());
                }
            }
        }
        Ok(values.into())
    }
}

/// The values that the row store keeps of a row: vectors are in the segments.
pub fn without_vectors(values: &[Datum]) -> impl ExactSizeIterator<Item = &Datum> + Clone {
    values.iter().map(|value| if matches!(value, Datum::Vector(_)) { &Datum::Null } else { value })
}

/// The vector that a row has in a vector column.
pub fn vector_of(values: &[Datum], column: u32) -> Option<&[f32]> {
    match values.get(column as usize - 1) {
        Some(Datum::Vector(vector)) => Some(vector),
        _ => None,
    }
}
