//! What a reader holds: one consistent state, and its own transaction's overlay on it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError};

use super::overlay::{Overlay, OwnRows, RowChange};
use super::{Row, RowId};
use crate::catalog::{Catalog, IndexId, SequenceId, Table, TableId};
use crate::segment::{IndexView, SegmentFiles, SegmentId, SegmentView};
use crate::snapshot::manifest::IndexManifest;
use crate::store;

/// One published state of the database. It never changes; a new commit publishes a new one.
#[derive(Debug)]
pub struct ReadView {
    /// The last commit in it.
    pub lsn: u64,
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// Rows, keys and entries as of `lsn`.
    pub rows: store::Snapshot,
    /// The segments of the tables that have any.
    pub tables: Arc<BTreeMap<TableId, Arc<TableView>>>,
    /// The last value each sequence gave out, as far as it was committed.
    pub sequences: Arc<BTreeMap<SequenceId, i64>>,
}

/// The part of a view that belongs to one table.
#[derive(Clone, Debug, Default)]
pub struct TableView {
    /// The id the next row gets.
    pub next_row: RowId,
    /// How many rows there are.
    pub live_rows: u64,
    /// The segments, oldest first; the last one is the mutable segment that grows. Empty without vectors.
    pub segments: Vec<SegmentView>,
    /// The vector indexes.
    pub indexes: BTreeMap<IndexId, Arc<IndexView>>,
    /// The files of the sealed segments, for the next manifest.
    pub sealed_files: BTreeMap<SegmentId, SegmentFiles>,
    /// The files of the indexes that are built, for the next manifest.
    pub index_files: BTreeMap<IndexId, IndexManifest>,
    /// Why nothing of the table can be read or written: a primary file is damaged and no backup holds it. Then `segments` is empty.
    pub lost: Option<Arc<SqlError>>,
}

impl ReadView {
    /// The part of a table, if it has rows or vectors; an error if it is lost.
    pub fn table(&self, table: TableId) -> Result<Option<&Arc<TableView>>> {
        match self.tables.get(&table) {
            Some(found) => match &found.lost {
                Some(error) => Err(error.as_ref().clone()),
                None => Ok(Some(found)),
            },
            None => Ok(None),
        }
    }

    /// The first table that is lost.
    pub fn lost(&self) -> Option<&SqlError> {
        self.tables.values().find_map(|table| table.lost.as_deref())
    }
}

impl TableView {
    /// Gives the table up until its files are back.
    pub fn lose(&mut self, name: &str, error: SqlError) {
        tracing::error!(table = name, %error, "a table is lost until its files are put back");
        let hint = "Put the file back with lodedb check --repair from a folder of backups that holds it, or drop the table; \
                    what was committed since waits in the log.";
        let message = format!("table \"{name}\" cannot be used: {}", error.message());
        self.lost = Some(Arc::new(SqlError::new(error.state(), message).with_hint(hint)));
        self.segments.clear();
        self.sealed_files.clear();
        self.index_files.clear();
        for index in self.indexes.values_mut() {
            *index = Arc::new(IndexView::empty(index.spec.clone()));
        }
    }

    /// Where the vectors of a row are: the place of its segment in `segments`, and its ordinal there.
    pub fn locate(&self, row: RowId) -> Option<(usize, u32)> {
        self.segments.iter().enumerate().rev().find_map(|(place, view)| {
            view.segment.find(row).filter(|&ordinal| !view.dead.contains(ordinal)).map(|ordinal| (place, ordinal))
        })
    }
}

/// A view with an overlay: what one statement reads.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The committed state.
    pub view: Arc<ReadView>,
    /// The transaction's own changes.
    pub overlay: Arc<Overlay>,
}

/// A row as a scan yields it.
#[derive(Clone, Debug)]
pub struct ScannedRow {
    /// Its id, provisional for a row of this transaction.
    pub id: RowId,
    /// The commit that wrote it; 0 for a row this transaction wrote.
    pub version: u64,
    /// Its values, vectors included where they were asked for.
    pub values: Row,
}

impl Reader {
    /// The catalog with the transaction's own changes.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.overlay.catalog(&self.view.catalog)
    }

    /// The segments of a table, if it has rows or vectors.
    pub fn table_view(&self, table: TableId) -> Option<&Arc<TableView>> {
        if self.overlay.is_truncated(table) { None } else { self.view.tables.get(&table) }
    }

    /// One row, its vectors included; its version is 0 if this transaction wrote it.
    pub fn row(&self, table: &Table, id: RowId) -> Result<Option<ScannedRow>> {
        match self.overlay.change(table.id, id)? {
            Some(RowChange::Deleted) => return Ok(None),
            Some(RowChange::Put { values, .. }) => {
                return Ok(Some(ScannedRow { id, version: 0, values: widened(table, values) }));
            }
            None if self.overlay.is_truncated(table.id) => return Ok(None),
            None => {}
        }
        self.view.table(table.id)?;
        let stored = self.view.rows.row(table.id, id)?;
        let Some(stored) = stored else { return Ok(None) };
        Ok(Some(ScannedRow { id, version: stored.version, values: self.fill(table, id, stored.values, true)? }))
    }

    /// Completes stored values: columns added later become NULL, vectors come from the segments.
    pub fn fill(&self, table: &Table, id: RowId, mut values: Vec<Datum>, with_vectors: bool) -> Result<Row> {
        values.resize(table.columns.len(), Datum::Null);
        if with_vectors
            && table.has_vectors()
            && let Some((view, (place, ordinal))) =
                self.view.table(table.id)?.and_then(|view| view.locate(id).map(|at| (view, at)))
        {
            for (position, column) in table.stored_columns().filter(|(_, column)| column.ty.is_vector()) {
                let segment = &view.segments[place].segment;
                // A segment older than the column has no vector for it.
                let Some(at) = segment.position(column.id) else { continue };
                if let Some(vector) = segment.vector(at, ordinal)? {
                    values[position] = Datum::Vector(vector.into());
                }
            }
        }
        Ok(values.into())
    }

    /// Every row of a table by id, own rows last; vectors only if asked for.
    pub fn scan(
        &self,
        table: &Arc<Table>,
        with_vectors: bool,
    ) -> Result<impl Iterator<Item = Result<ScannedRow>> + Send + use<>> {
        self.view.table(table.id)?;
        let reader = self.clone();
        let table = table.clone();
        let (own, definition) = (self.overlay.clone(), table.clone());
        let table_id = table.id;
        let stored = (!self.overlay.is_truncated(table_id))
            .then(|| self.view.rows.scan_rows(table_id, ..))
            .into_iter()
            .flatten();
        let committed = stored.filter_map(move |item| {
            let (id, stored) = match item {
                Ok(item) => item,
                Err(error) => return Some(Err(error.into())),
            };
            match reader.overlay.change(table.id, id) {
                Err(error) => Some(Err(error)),
                Ok(Some(RowChange::Deleted)) => None,
                Ok(Some(RowChange::Put { values, .. })) => {
                    Some(Ok(ScannedRow { id, version: 0, values: widened(&table, values) }))
                }
                Ok(None) => Some(reader.fill(&table, id, stored.values, with_vectors).map(|values| ScannedRow {
                    id,
                    version: stored.version,
                    values,
                })),
            }
        });
        let inserted = OwnRows::new(own, table_id).map(move |item| {
            item.map(|(id, values)| ScannedRow { id, version: 0, values: widened(&definition, values) })
        });
        Ok(committed.chain(inserted))
    }

    /// The row that has this key in a unique index.
    pub fn unique(&self, table: TableId, index: IndexId, key: &[u8]) -> Result<Option<RowId>> {
        match self.overlay.unique(index, key) {
            Some(own) => Ok(own),
            None if self.overlay.is_truncated(table) => Ok(None),
            None => Ok(self.view.rows.unique(index, key)?),
        }
    }

    /// The rows whose keys lie in a range of an index, in the order of the keys.
    pub fn scan_index(
        &self,
        table: TableId,
        index: IndexId,
        lower: Bound<Vec<u8>>,
        upper: Bound<Vec<u8>>,
        reverse: bool,
    ) -> Result<Vec<(Vec<u8>, RowId)>> {
        let mut found = Vec::new();
        if !self.overlay.is_truncated(table) {
            for entry in self.view.rows.scan_index(index, lower.clone(), upper.clone(), reverse) {
                let (key, row) = entry?;
                if !self.overlay.hides_entry(index, &key, row) {
                    found.push((key, row));
                }
            }
        }
        let before = found.len();
        found.extend(self.overlay.entries(index, lower, upper));
        if found.len() > before {
            found.sort();
            if reverse {
                found.reverse();
            }
        }
        Ok(found)
    }
}

/// A row that this transaction wrote before it added a column: that is NULL.
fn widened(table: &Table, values: Row) -> Row {
    if values.len() >= table.columns.len() {
        return values;
    }
    let mut values = values.to_vec();
    values.resize(table.columns.len(), Datum::Null);
    values.into()
}
