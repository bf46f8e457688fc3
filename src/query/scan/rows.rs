//! Rows of a table as batches: from the store by range or by id, the transaction's own changes among them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatchOptions, UInt64Builder};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::Datum;
use lodedb_sql::error::Result;

use crate::catalog::{ColumnId, Table};
use crate::commit::view::TableView;
use crate::commit::{FIRST_PROVISIONAL_ROW, Overlay, OwnRows, Reader, RowChange, RowId};
use crate::query::arrow::ColumnBuilder;
use crate::query::statement_state::{BATCH_ROWS, broken};
use crate::store::{RowCursor, row};

/// Where a column of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The column at this place in a row.
    Column(usize),
    /// The id of the row.
    RowId,
    /// The commit that wrote it.
    Version,
}

/// Which columns are read.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) schema: SchemaRef,
    pub(crate) slots: Vec<Slot>,
    /// For each slot, the number of the vector column it is.
    vectors: Vec<Option<ColumnId>>,
}

impl Projection {
    pub(crate) fn new(table: &Table, schema: SchemaRef, slots: Vec<Slot>) -> Self {
        let vectors = slots
            .iter()
            .map(|slot| match slot {
                Slot::Column(at) if table.columns[*at].ty.is_vector() => Some(table.columns[*at].id),
                _ => None,
            })
            .collect();
        Self { schema, slots, vectors }
    }
}

enum Builder {
    Values(ColumnBuilder),
    Numbers(UInt64Builder),
}

/// A batch in the making.
pub(crate) struct Filler {
    projection: Projection,
    builders: Vec<Builder>,
    rows: usize,
}

impl Filler {
    pub(crate) fn new(projection: Projection, capacity: usize) -> Result<Self> {
        let builders = projection
            .slots
            .iter()
            .zip(projection.schema.fields())
            .map(|(slot, field)| match slot {
                Slot::Column(_) => ColumnBuilder::new(field.data_type(), capacity).map(Builder::Values),
                Slot::RowId | Slot::Version => Ok(Builder::Numbers(UInt64Builder::with_capacity(capacity))),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { projection, builders, rows: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Appends a row of which all values are known.
    pub(crate) fn push(&mut self, id: RowId, version: u64, values: &[Datum]) -> Result<()> {
        for (slot, builder) in self.projection.slots.iter().zip(&mut self.builders) {
            match (slot, builder) {
                (Slot::Column(at), Builder::Values(builder)) => match values.get(*at) {
                    Some(datum) => builder.push(datum)?,
                    None => builder.push_null(),
                },
                (Slot::RowId, Builder::Numbers(builder)) => builder.append_value(id),
                (Slot::Version, Builder::Numbers(builder)) => builder.append_value(version),
                _ => return Err(broken("a column of a scan is of another kind than its builder")),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Appends a row as it is stored; its vectors are looked up in the segments.
    pub(crate) fn push_stored(
        &mut self,
        id: RowId,
        view: &row::RowView<'_>,
        segments: Option<&TableView>,
    ) -> Result<()> {
        let mut located = None;
        for (at, (slot, builder)) in self.projection.slots.iter().zip(&mut self.builders).enumerate() {
            match (slot, builder) {
                (Slot::Column(position), Builder::Values(builder)) => match self.projection.vectors[at] {
                    None => match view.column(*position)? {
                        Some(value) => builder.push(&value.into_datum())?,
                        None => builder.push_null(),
                    },
                    Some(column) => {
                        let place = *located.get_or_insert_with(|| segments.and_then(|view| view.locate(id)));
                        push_vector(builder, segments, place, column)?;
                    }
                },
                (Slot::RowId, Builder::Numbers(builder)) => builder.append_value(id),
                (Slot::Version, Builder::Numbers(builder)) => builder.append_value(view.version()),
                _ => return Err(broken("a column of a scan is of another kind than its builder")),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The batch; the filler is empty again.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let columns = self
            .builders
            .iter_mut()
            .map(|builder| match builder {
                Builder::Values(builder) => builder.finish(),
                Builder::Numbers(builder) => Ok(Arc::new(builder.finish()) as ArrayRef),
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        RecordBatch::try_new_with_options(self.projection.schema.clone(), columns, &options)
            .map_err(|error| broken(&format!("rows do not fit their schema: {error}")))
    }
}

fn push_vector(
    builder: &mut ColumnBuilder,
    segments: Option<&TableView>,
    place: Option<(usize, u32)>,
    column: ColumnId,
) -> Result<()> {
    let Some((view, (segment, ordinal))) = segments.zip(place) else {
        builder.push_null();
        return Ok(());
    };
    let segment = &view.segments[segment].segment;
    // A segment older than the column has no vector for it.
    let vector = match segment.position(column) {
        Some(position) => segment.vector(position, ordinal)?,
        None => None,
    };
    match vector {
        Some(vector) => builder.push_vector(vector),
        None => {
            builder.push_null();
            Ok(())
        }
    }
}

/// Which rows are read.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Those with ids in a range, and maybe the transaction's own.
    Range { ids: RangeInclusive<RowId>, own: bool },
    /// Those with these ids.
    Ids(Arc<[RowId]>),
}

/// Reads rows, a batch at a time.
pub(crate) struct RowBatches {
    reader: Reader,
    table: Arc<Table>,
    filler: Filler,
    wanted: Wanted,
    limit: usize,
    cursor: Option<RowCursor>,
    /// Rows of the transaction still to come.
    own: Option<OwnRows<Arc<Overlay>>>,
    next_id: usize,
    finished: bool,
}

impl RowBatches {
    pub(crate) fn new(
        reader: Reader,
        table: Arc<Table>,
        projection: Projection,
        wanted: Wanted,
        limit: Option<usize>,
    ) -> Result<Self> {
        let capacity = match &wanted {
            Wanted::Ids(ids) => ids.len().min(BATCH_ROWS),
            Wanted::Range { .. } => limit.unwrap_or(BATCH_ROWS).min(1024),
        };
        Ok(Self {
            reader,
            table,
            filler: Filler::new(projection, capacity)?,
            wanted,
            limit: limit.unwrap_or(usize::MAX),
            cursor: None,
            own: None,
            next_id: 0,
            finished: false,
        })
    }

    /// The next batch; `None` at the end.
    pub(crate) fn advance(&mut self) -> Result<Option<RecordBatch>> {
        if self.finished {
            return Ok(None);
        }
        let room = self.limit.min(BATCH_ROWS);
        match self.wanted.clone() {
            Wanted::Ids(ids) => self.fill_by_id(&ids, room)?,
            Wanted::Range { ids, own } => self.fill_by_range(ids, own, room)?,
        }
        let rows = self.filler.len();
        self.limit -= rows.min(self.limit);
        if rows < room || self.limit == 0 {
            self.finished = true;
        }
        if rows == 0 { Ok(None) } else { self.filler.finish().map(Some) }
    }

    fn fill_by_id(&mut self, ids: &[RowId], room: usize) -> Result<()> {
        let reader = self.reader.clone();
        let segments = reader.view.table(self.table.id)?.map(Arc::as_ref);
        let chunk = &ids[self.next_id..];
        let truncated = reader.overlay.is_truncated(self.table.id);
        let touched = reader.overlay.touches(self.table.id);
        let mut taken = 0;
        let mut layout = row::Layout::default();
        for part in chunk.chunks(512) {
            if self.filler.len() >= room {
                break;
            }
            let part = &part[..part.len().min(room - self.filler.len())];
            taken += part.len();
            if !touched {
                let filler = &mut self.filler;
                let mut failed = None;
                reader.view.rows.rows_with(self.table.id, part, |at, bytes| {
                    if let (Some(bytes), None) = (bytes, &failed) {
                        let view = row::view(bytes, &mut layout)?;
                        if let Err(error) = filler.push_stored(part[at], &view, segments) {
                            failed = Some(error);
                        }
                    }
                    Ok(())
                })?;
                if let Some(error) = failed {
                    return Err(error);
                }
                continue;
            }
            for &id in part {
                match reader.overlay.change(self.table.id, id)? {
                    Some(RowChange::Deleted) => {}
                    Some(RowChange::Put { values, .. }) => self.filler.push(id, 0, &values)?,
                    None if truncated || id >= FIRST_PROVISIONAL_ROW => {}
                    None => {
                        let filler = &mut self.filler;
                        let pushed = reader.view.rows.row_with(self.table.id, id, |bytes| -> Result<()> {
                            let view = row::view(bytes, &mut layout)?;
                            filler.push_stored(id, &view, segments)
                        })?;
                        pushed.unwrap_or(Ok(()))?;
                    }
                }
            }
        }
        self.next_id += taken;
        // Rows that are gone leave the batch short; that is not the end.
        if self.filler.len() < room && self.next_id < ids.len() {
            return self.fill_by_id(ids, room);
        }
        Ok(())
    }

    fn fill_by_range(&mut self, ids: RangeInclusive<RowId>, own: bool, room: usize) -> Result<()> {
        let reader = self.reader.clone();
        let table = self.table.id;
        let segments = reader.view.table(table)?.map(Arc::as_ref);
        let touched = reader.overlay.touches(table);
        if self.own.is_none() && !reader.overlay.is_truncated(table) {
            if self.cursor.is_none() {
                self.cursor = Some(reader.view.rows.cursor(table, ids)?);
            }
            while let Some(cursor) = &mut self.cursor {
                if self.filler.len() >= room {
                    return Ok(());
                }
                let Some((id, view)) = cursor.advance()? else {
                    self.cursor = None;
                    break;
                };
                let change = if touched { reader.overlay.change(table, id)? } else { None };
                match change {
                    None => self.filler.push_stored(id, &view, segments)?,
                    Some(RowChange::Deleted) => {}
                    Some(RowChange::Put { values, .. }) => self.filler.push(id, 0, &values)?,
                }
            }
        }
        if !own || !touched {
            return Ok(());
        }
        let own_rows = self.own.get_or_insert_with(|| OwnRows::new(reader.overlay.clone(), table));
        while self.filler.len() < room {
            let Some(item) = own_rows.next() else { return Ok(()) };
            let (id, values) = item?;
            self.filler.push(id, 0, &values)?;
        }
        Ok(())
    }
}
