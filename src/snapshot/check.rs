//! Checking a database while it is used: every block of every file that is named, and whether rows, segments, keys and index entries
//! say the same. Nothing is changed and nothing is mended.
//!
//! 1. For each table every block of the files of its segments and indexes.
//! 2. Every row is in one segment, and every row that a segment holds as live is there.
//! 3. Columns that segments have copies of, for filters, are those of their rows.
//! 4. Every entry of a btree index belongs to a row that has that key, and there are as many as rows: so none is missing.
//! 5. Of the whole database the manifests that are kept and every block of what they name, the log from the newest one on, and every
//!    entry of the row store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

use super::manifest::{Manifest, RETAINED};
use super::repair::named_files;
use crate::catalog::{Index, Table};
use crate::commit::row_writer::{IndexKey, index_key};
use crate::commit::view::TableView;
use crate::commit::{Overlay, Reader, RowId};
use crate::db::engine::Engine;
use crate::query::arrow::BatchBuilder;
use crate::segment::{FileEntry, Sealed, Segment, damaged_blocks};

/// Faults that are told; a database with more of them needs its backup.
const MOST_FAULTS: usize = 1000;
/// Rows whose copied columns are compared at once.
const COMPARED_ROWS: usize = 8192;
/// Rows between two looks at whether to stop.
const ROWS_PER_LOOK: u64 = 1024;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The table or index; `None` for what belongs to all.
    pub relation: Option<String>,
    /// The file, where it is in one.
    pub file: Option<String>,
    /// Where in the file, in bytes.
    pub offset: Option<u64>,
    /// What is wrong.
    pub fault: String,
}

/// Checks the tables, or the whole database if none is named; `stop` is asked now and then whether to give up.
pub fn check(engine: &Engine, tables: Option<&[Arc<Table>]>, stop: &dyn Fn() -> Result<()>) -> Result<Vec<Fault>> {
    // No file goes away meanwhile.
    let last = engine.checkpoint.lock();
    let view = engine.view();
    let reader = Reader { view: view.clone(), overlay: Arc::new(Overlay::default()) };
    let mut check = Check { engine, reader, faults: Vec::new(), seen: HashSet::new(), stop };
    let is_whole = tables.is_none();
    let all: Vec<Arc<Table>>;
    let tables = match tables {
        Some(tables) => tables,
        None => {
            all = view.catalog.tables().cloned().collect();
            &all
        }
    };
    for table in tables {
        let Some(inside) = view.tables.get(&table.id) else { continue };
        check.files(table, inside)?;
        let rows = check.rows(table, inside)?;
        check.columns(table, inside)?;
        for index in view.catalog.indexes_of(table.id).filter(|index| index.key_positions().is_some()) {
            check.keys(table, index, rows)?;
        }
    }
    if is_whole {
        check.whole(last.lsn)?;
    }
    Ok(check.faults)
}

struct Check<'a> {
    engine: &'a Engine,
    reader: Reader,
    faults: Vec<Fault>,
    /// Files that were checked.
    seen: HashSet<PathBuf>,
    stop: &'a dyn Fn() -> Result<()>,
}

impl Check<'_> {
    fn tell(&mut self, relation: Option<&str>, file: Option<&Path>, offset: Option<u64>, fault: String) {
        if self.faults.len() < MOST_FAULTS {
            let file = file.map(|file| file.display().to_string());
            self.faults.push(Fault { relation: relation.map(str::to_owned), file, offset, fault });
        }
    }

    fn look(&self, at: u64) -> Result<()> {
        if at.is_multiple_of(ROWS_PER_LOOK) { (self.stop)() } else { Ok(()) }
    }

    /// What belongs to no table.
    fn whole(&mut self, manifest_lsn: u64) -> Result<()> {
        let engine = self.engine;
        let (fs, dir) = (&*engine.files.fs, engine.dir.join("manifest"));
        let generations = Manifest::generations(fs, &dir).map_err(|error| io(&dir, &error))?;
        for &generation in generations.iter().take(RETAINED) {
            match Manifest::read(fs, &dir, generation) {
                Ok(manifest) => self.named(&manifest)?,
                Err(error) => {
                    let path = dir.join(format!("{generation:016x}"));
                    self.tell(None, Some(&path), None, error.to_string());
                }
            }
        }
        for model in engine.view().catalog.models() {
            for file in &model.files {
                (self.stop)()?;
                let path = engine.models.folder(&model.hash).join(&file.name);
                let fault = match lodedb_wal::fs::read_file(fs, &path) {
                    Ok(bytes) if blake3::hash(&bytes).to_hex().as_str() == file.hash => continue,
                    Ok(_) => format!("it is not what model \"{}\" was made of", model.name),
                    Err(error) => error.to_string(),
                };
                self.tell(None, Some(&path), None, fault);
            }
        }
        let records = engine.log.read_from(manifest_lsn + 1).and_then(|records| {
            let stopped = |at: usize| self.look(at as u64);
            for (at, record) in records.enumerate() {
                record?;
                if let Err(error) = stopped(at) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        });
        match records {
            Ok(read) => read?,
            Err(error) => self.tell(None, Some(&engine.dir.join("wal")), None, error.to_string()),
        }
        (self.stop)()?;
        if let Err(error) = engine.store.verify() {
            self.tell(None, Some(&engine.dir.join("meta")), None, error.to_string());
        }
        Ok(())
    }

    /// The files that a manifest names: those of growing segments and of older states are named by nothing else.
    fn named(&mut self, manifest: &Manifest) -> Result<()> {
        for (path, entry, _) in named_files(manifest, &self.engine.dir) {
            self.file(None, path, &entry)?;
        }
        Ok(())
    }

    fn files(&mut self, table: &Table, inside: &TableView) -> Result<()> {
        let files = self.engine.files.clone();
        for (&segment, segment_files) in &inside.sealed_files {
            let folder = files.segment_dir(table.id, segment);
            for (entry, _) in segment_files.entries() {
                self.file(Some(&table.name), folder.join(&entry.name), entry)?;
            }
        }
        for (index, index_files) in &inside.index_files {
            let catalog = self.reader.catalog();
            let name = catalog.index_by_id(*index).map_or_else(|| index.to_string(), |index| index.name.clone());
            for (segment, entry) in &index_files.codes {
                self.file(Some(&name), files.segment_dir(table.id, *segment).join(&entry.name), entry)?;
            }
            if let Some(quantizer) = &index_files.quantizer {
                for entry in quantizer.entries() {
                    self.file(Some(&name), files.quantizer_dir(*index).join(&entry.name), entry)?;
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, relation: Option<&str>, path: PathBuf, entry: &FileEntry) -> Result<()> {
        (self.stop)()?;
        if !self.seen.insert(path.clone()) {
            return Ok(());
        }
        match damaged_blocks(&*self.engine.files.fs, &path, entry) {
            Ok(blocks) => {
                for (offset, len) in blocks {
                    let fault = format!("{len} bytes fail their checksum");
                    self.tell(relation, Some(&path), Some(offset), fault);
                }
            }
            Err(error) => self.tell(relation, Some(&path), None, error.message().to_owned()),
        }
        Ok(())
    }

    /// Rows against segments; gives how many rows there are.
    fn rows(&mut self, table: &Arc<Table>, inside: &TableView) -> Result<u64> {
        let mut rows = 0;
        let has_segments = table.has_vectors();
        for row in self.reader.scan(table, false)? {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    self.tell(Some(&table.name), None, None, format!("its rows cannot be read: {}", error.message()));
                    return Ok(rows);
                }
            };
            rows += 1;
            self.look(rows)?;
            if has_segments && inside.locate(row.id).is_none() {
                self.tell(Some(&table.name), None, None, format!("row {} is in no segment", row.id));
            }
            if row.id >= inside.next_row {
                let next = inside.next_row;
                self.tell(Some(&table.name), None, None, format!("row {} is there and ids go on at {next}", row.id));
            }
        }
        if inside.live_rows != rows {
            let counted = inside.live_rows;
            self.tell(Some(&table.name), None, None, format!("{counted} rows are counted and there are {rows}"));
        }
        let live: u64 = inside.segments.iter().map(|segment| u64::from(segment.live())).sum();
        if has_segments && live != rows {
            self.strays(table, inside)?;
        }
        Ok(rows)
    }

    /// What segments hold as live and the store has not, or what two of them hold.
    fn strays(&mut self, table: &Table, inside: &TableView) -> Result<()> {
        for (place, segment) in inside.segments.iter().enumerate() {
            for ordinal in (0..segment.segment.len()).filter(|&ordinal| !segment.dead.contains(ordinal)) {
                self.look(ordinal.into())?;
                let row: RowId = segment.segment.row_id(ordinal);
                let id = segment.segment.id();
                if self.reader.view.rows.version(table.id, row)?.is_none() {
                    self.tell(Some(&table.name), None, None, format!("segment {id} has row {row}, which is gone"));
                } else if inside.locate(row) != Some((place, ordinal)) {
                    let fault = format!("segment {id} has row {row}, which is in another");
                    self.tell(Some(&table.name), None, None, fault);
                }
            }
        }
        Ok(())
    }

    /// Copies of columns against rows. Where a bit says that a row changed since, or there is no such column any more, nobody reads them.
    fn columns(&mut self, table: &Table, inside: &TableView) -> Result<()> {
        for view in &inside.segments {
            let Segment::Sealed(sealed) = &view.segment else { continue };
            // What cannot be read was told of by its file.
            let Ok(Some(batches)) = sealed.scalars() else { continue };
            let mut first = 0;
            for batch in batches {
                let end = first + batch.num_rows() as u32;
                let read = |ordinal: &u32| !view.dead.contains(*ordinal) && !view.overridden.contains(*ordinal);
                let ordinals: Vec<u32> = (first..end).filter(read).collect();
                for some in ordinals.chunks(COMPARED_ROWS) {
                    (self.stop)()?;
                    self.compare(table, sealed, (batch, first), some)?;
                }
                first = end;
            }
        }
        Ok(())
    }

    /// Compares some rows of a batch, which begins at an ordinal, with those of the store.
    fn compare(
        &mut self,
        table: &Table,
        sealed: &Sealed,
        (batch, first): (&RecordBatch, u32),
        some: &[u32],
    ) -> Result<()> {
        let ids: Vec<RowId> = some.iter().map(|&ordinal| sealed.row_id(ordinal)).collect();
        let mut rows = BatchBuilder::of_scalars(table, ids.len())?;
        for stored in self.reader.view.rows.rows(table.id, &ids)? {
            // Told of where rows are compared with segments.
            let Some(stored) = stored else { return Ok(()) };
            rows.push(&stored.values)?;
        }
        let rows = rows.finish()?;
        let places = UInt32Array::from_iter_values(some.iter().map(|ordinal| ordinal - first));
        for (at, field) in rows.schema().fields().iter().enumerate() {
            let Some(copy) = batch.column_by_name(field.name()) else { continue };
            let (copy, column) = (take(copy, &places, None).map_err(SqlError::internal)?, rows.column(at));
            if copy.data_type() != column.data_type() || copy.to_data() == column.to_data() {
                continue;
            }
            let wrong = (0..some.len()).find(|&at| copy.slice(at, 1).to_data() != column.slice(at, 1).to_data());
            if let Some(at) = wrong {
                let (id, row, column) = (sealed.id(), ids[at], field.name());
                let fault = format!("segment {id} has another value of column {column} for row {row}");
                self.tell(Some(&table.name), None, None, fault);
            }
        }
        Ok(())
    }

    fn keys(&mut self, table: &Arc<Table>, index: &Arc<Index>, rows: u64) -> Result<()> {
        use std::ops::Bound::Unbounded;
        let (mut entries, mut wrong) = (0u64, 0u64);
        for entry in self.reader.view.rows.scan_index(index.id, Unbounded, Unbounded, false) {
            let (key, row) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.tell(Some(&index.name), None, None, format!("its keys cannot be read: {error}"));
                    return Ok(());
                }
            };
            entries += 1;
            self.look(entries)?;
            let found = match self.reader.row(table, row) {
                Ok(found) => found,
                Err(error) => {
                    wrong += 1;
                    self.tell(Some(&table.name), None, None, format!("row {row} cannot be read: {}", error.message()));
                    continue;
                }
            };
            let expected = found.and_then(|found| index_key(index, &found.values));
            let fits = matches!(expected, Some(IndexKey::Unique(own) | IndexKey::Entry(own)) if own == key);
            if !fits {
                wrong += 1;
                self.tell(Some(&index.name), None, None, format!("it has a key for row {row} that the row has not"));
            }
        }
        let right = entries - wrong;
        if right != rows {
            self.tell(Some(&index.name), None, None, format!("it has keys for {right} of {rows} rows"));
        }
        Ok(())
    }
}

fn io(path: &Path, error: &std::io::Error) -> SqlError {
    SqlError::new(SqlState::of_io(error), format!("{}: {error}", path.display()))
}
