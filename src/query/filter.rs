//! A condition on the rows of one table, judged a column at a time: over the columns that sealed segments keep, and
//! over rows of the store where there are none or they are out of date.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError};
use parking_lot::Mutex;

use super::arrow::{ColumnBuilder, arrow_field};
use super::statement_state::{broken, sql};
use crate::catalog::Table;
use crate::commit::{Reader, Row, RowId};
use crate::segment::{RowFilter, Segment, SegmentView};
use crate::store::row;

/// An expression made ready. It is simplified first, as a plan's are: DataFusion runs some functions, such as `coalesce`, only so.
pub(crate) fn physical_expr(
    state: &dyn Session,
    expr: Expr,
    schema: &DFSchema,
) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(state.config().options().clone())
        .build();
    let simplifier = ExprSimplifier::new(context);
    let simple = simplifier.simplify(simplifier.coerce(expr, schema)?)?;
    state.create_physical_expr(simple, schema)
}

/// Rows of a growing segment whose columns are decoded together.
const CHUNK_ROWS: u32 = 512;
/// Decoded columns of chunks that are kept; beyond it all are forgotten.
const MOST_CHUNKS: usize = 16_384;

/// A condition made ready.
#[derive(Clone, Debug)]
pub(crate) struct RowPredicate {
    table: Arc<Table>,
    /// The columns it looks at, by their places in a row.
    positions: Vec<usize>,
    schema: SchemaRef,
    physical: Arc<dyn PhysicalExpr>,
}

impl RowPredicate {
    /// The condition that all of `filters` hold; they name columns of `table` without a qualifier. `None` if there is
    /// none.
    pub(crate) fn new(state: &dyn Session, table: &Arc<Table>, filters: &[Expr]) -> DataFusionResult<Option<Self>> {
        let Some(condition) = conjunction(filters.iter().cloned()) else { return Ok(None) };
        let mut positions: Vec<usize> =
            condition.column_refs().iter().filter_map(|column| table.position(&column.name)).collect();
        positions.sort_unstable();
        positions.dedup();
        let fields: Vec<Field> =
            positions.iter().map(|&at| arrow_field(&table.columns[at].name, table.columns[at].ty, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let physical = physical_expr(state, condition, &DFSchema::try_from(schema.as_ref().clone())?)?;
        Ok(Some(Self { table: table.clone(), positions, schema, physical }))
    }

    /// As [`Self::new`], where the state is DataFusion's own.
    pub(crate) fn compile(state: &SessionState, table: &Arc<Table>, filters: &[Expr]) -> Result<Option<Self>> {
        sql(Self::new(state, table, filters))
    }

    /// Whether it looks at a vector.
    fn has_vectors(&self) -> bool {
        self.positions.iter().any(|&at| self.table.columns[at].ty.is_vector())
    }

    /// Whether a row passes, all values known.
    pub(crate) fn passes(&self, values: &[Datum]) -> Result<bool> {
        let columns = self
            .positions
            .iter()
            .zip(self.schema.fields())
            .map(|(&at, field)| {
                let mut builder = ColumnBuilder::new(field.data_type(), 1)?;
                builder.push(values.get(at).unwrap_or(&Datum::Null))?;
                builder.finish()
            })
            .collect::<Result<Vec<_>>>()?;
        let passed = self.evaluate(columns, 1)?;
        Ok(passed.is_valid(0) && passed.value(0))
    }

    /// The first row for which the condition is false; one that is neither true nor false is no such row.
    pub(crate) fn first_refused(&self, rows: &[Row]) -> Result<Option<usize>> {
        let columns = self
            .positions
            .iter()
            .zip(self.schema.fields())
            .map(|(&at, field)| {
                let mut builder = ColumnBuilder::new(field.data_type(), rows.len())?;
                for row in rows {
                    builder.push(row.get(at).unwrap_or(&Datum::Null))?;
                }
                builder.finish()
            })
            .collect::<Result<Vec<_>>>()?;
        let passed = self.evaluate(columns, rows.len())?;
        Ok((0..rows.len()).find(|&at| passed.is_valid(at) && !passed.value(at)))
    }

    fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<BooleanArray> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch =
            RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(SqlError::internal)?;
        let array = match sql(self.physical.evaluate(&batch))? {
            ColumnarValue::Array(array) => array,
            ColumnarValue::Scalar(scalar) => sql(scalar.to_array_of_size(rows))?,
        };
        array
            .as_any()
            .downcast_ref::<BooleanArray>()
            .cloned()
            .or_else(|| array.data_type().is_null().then(|| BooleanArray::new_null(rows)))
            .ok_or_else(|| broken("a condition is not a boolean"))
    }

    /// The columns it looks at, of some rows; NULLs for a row that is not there.
    fn read(&self, reader: &Reader, ids: &[RowId], positions: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut builders = positions
            .iter()
            .map(|at| {
                let field = arrow_field("", self.table.columns[*at].ty, true);
                ColumnBuilder::new(field.data_type(), ids.len())
            })
            .collect::<Result<Vec<_>>>()?;
        let segments = reader.view.table(self.table.id)?;
        let mut layout = row::Layout::default();
        let mut failed = None;
        reader.view.rows.rows_with(self.table.id, ids, |at, bytes| {
            let view = bytes.map(|bytes| row::view(bytes, &mut layout)).transpose()?;
            for (&position, builder) in positions.iter().zip(&mut builders) {
                let column = &self.table.columns[position];
                let pushed = if column.ty.is_vector() {
                    push_vector(builder, segments.map(Arc::as_ref), ids[at], column.id)
                } else {
                    match view.as_ref().map(|view| view.column(position)).transpose()?.flatten() {
                        Some(value) => builder.push(&value.into_datum()),
                        None => {
                            builder.push_null();
                            Ok(())
                        }
                    }
                };
                if let Err(error) = pushed {
                    failed.get_or_insert(error);
                }
            }
            Ok(())
        })?;
        match failed {
            Some(error) => Err(error),
            None => builders.iter_mut().map(ColumnBuilder::finish).collect(),
        }
    }
}

/// The expression with its columns named as [`RowPredicate`] wants them.
pub(crate) fn unqualified(expr: Expr) -> Result<Expr> {
    let unqualified = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    });
    Ok(sql(unqualified)?.data)
}

fn push_vector(
    builder: &mut ColumnBuilder,
    view: Option<&crate::commit::view::TableView>,
    row: RowId,
    column: u32,
) -> Result<()> {
    let place = view.and_then(|view| view.locate(row).map(|at| (view, at)));
    if let Some((view, (segment, ordinal))) = place {
        let segment = &view.segments[segment].segment;
        if let Some(position) = segment.position(column)
            && let Some(vector) = segment.vector(position, ordinal)?
        {
            return builder.push_vector(vector);
        }
    }
    builder.push_null();
    Ok(())
}

/// A segment, a chunk of it, and the place of a column.
type ChunkColumn = (u64, u32, usize);

/// Columns of growing segments that were decoded before.
///
/// INVARIANT: a chunk serves readers of its own commit and later ones. What changed in between is among the rows that
/// the reader's view has overridden, and those are read again.
#[derive(Debug, Default)]
pub(crate) struct DecodedChunks {
    chunks: Mutex<HashMap<ChunkColumn, (u64, ArrayRef)>>,
}

impl DecodedChunks {
    fn get(&self, segment: u64, chunk: u32, position: usize, lsn: u64) -> Option<ArrayRef> {
        let chunks = self.chunks.lock();
        chunks.get(&(segment, chunk, position)).filter(|(made_at, _)| *made_at <= lsn).map(|(_, array)| array.clone())
    }

    fn put(&self, segment: u64, chunk: u32, position: usize, lsn: u64, array: ArrayRef) {
        let mut chunks = self.chunks.lock();
        if chunks.len() >= MOST_CHUNKS {
            chunks.clear();
        }
        chunks.insert((segment, chunk, position), (lsn, array));
    }
}

/// A predicate over the segments of one view.
pub(crate) struct SegmentFilter<'a> {
    pub(crate) predicate: &'a RowPredicate,
    pub(crate) reader: &'a Reader,
    pub(crate) chunks: &'a DecodedChunks,
}

impl RowFilter for SegmentFilter<'_> {
    fn evaluate(&self, view: &SegmentView) -> Result<Vec<u64>> {
        let len = view.segment.len();
        let mut words = vec![0u64; (len as usize).div_ceil(64)];
        let kept = match &view.segment {
            // A damaged copy is not needed.
            Segment::Sealed(sealed) if !self.predicate.has_vectors() => sealed.scalars().unwrap_or(None),
            _ => None,
        };
        let whole = kept.and_then(|batches| self.kept_columns(batches));
        let copied = match whole {
            Some(columns) => {
                let mut at = 0;
                for (columns, rows) in columns {
                    set_bits(&mut words, at, &self.predicate.evaluate(columns, rows)?);
                    at += rows;
                }
                true
            }
            None => self.judge_by_store(view, len, &mut words)?,
        };
        if copied {
            self.correct(view, len, &mut words)?;
        }
        Ok(words)
    }
}

impl SegmentFilter<'_> {
    /// The columns of the predicate out of a segment's batches; `None` if one is missing or of another type.
    fn kept_columns(&self, batches: &[RecordBatch]) -> Option<Vec<(Vec<ArrayRef>, usize)>> {
        let schema = batches.first()?.schema_ref();
        let wanted = self.predicate.positions.iter().zip(self.predicate.schema.fields());
        let places: Vec<usize> = wanted
            .map(|(&at, wanted)| {
                let column = &self.predicate.table.columns[at];
                let (found, field) = schema.column_with_name(&kept_name(column.id))?;
                (field.data_type() == wanted.data_type()).then_some(found)
            })
            .collect::<Option<_>>()?;
        let columns = |batch: &RecordBatch| places.iter().map(|&at| batch.column(at).clone()).collect();
        Some(batches.iter().map(|batch| (columns(batch), batch.num_rows())).collect())
    }

    /// Judges by rows of the store; whether some of what it judged by may be out of date.
    fn judge_by_store(&self, view: &SegmentView, len: u32, words: &mut [u64]) -> Result<bool> {
        let lsn = self.reader.view.lsn;
        let segment = view.segment.id();
        let cacheable = !self.predicate.has_vectors();
        let mut start = 0;
        while start < len {
            let end = (start + CHUNK_ROWS).min(len);
            let chunk = start / CHUNK_ROWS;
            let full = end - start == CHUNK_ROWS && cacheable;
            let mut columns: Vec<Option<ArrayRef>> = self
                .predicate
                .positions
                .iter()
                .map(|&position| if full { self.chunks.get(segment, chunk, position, lsn) } else { None })
                .collect();
            if columns.iter().any(Option::is_none) {
                let ids: Vec<RowId> = (start..end).map(|ordinal| view.segment.row_id(ordinal)).collect();
                let missing: Vec<usize> = (0..columns.len()).filter(|&at| columns[at].is_none()).collect();
                let positions: Vec<usize> = missing.iter().map(|&at| self.predicate.positions[at]).collect();
                let read = self.predicate.read(self.reader, &ids, &positions)?;
                for (at, array) in missing.into_iter().zip(read) {
                    if full {
                        self.chunks.put(segment, chunk, self.predicate.positions[at], lsn, array.clone());
                    }
                    columns[at] = Some(array);
                }
            }
            let columns: Vec<ArrayRef> = columns.into_iter().flatten().collect();
            let rows = (end - start) as usize;
            set_bits(words, start as usize, &self.predicate.evaluate(columns, rows)?);
            start = end;
        }
        Ok(cacheable)
    }

    /// Judges the rows again that have changed since their columns were copied.
    fn correct(&self, view: &SegmentView, len: u32, words: &mut [u64]) -> Result<()> {
        if view.overridden.is_empty() {
            return Ok(());
        }
        let ordinals: Vec<u32> =
            view.overridden.iter().filter(|&ordinal| ordinal < len && !view.dead.contains(ordinal)).collect();
        for part in ordinals.chunks(4096) {
            let ids: Vec<RowId> = part.iter().map(|&ordinal| view.segment.row_id(ordinal)).collect();
            let columns = self.predicate.read(self.reader, &ids, &self.predicate.positions)?;
            let passed = self.predicate.evaluate(columns, ids.len())?;
            for (at, &ordinal) in part.iter().enumerate() {
                let bit = 1u64 << (ordinal % 64);
                if passed.is_valid(at) && passed.value(at) {
                    words[ordinal as usize / 64] |= bit;
                } else {
                    words[ordinal as usize / 64] &= !bit;
                }
            }
        }
        Ok(())
    }
}

/// The name a column has among those a segment keeps: its number, which outlives its name.
pub(crate) fn kept_name(column: u32) -> String {
    column.to_string()
}

/// Sets the bits of the rows that passed; the first of them is row `at`.
fn set_bits(words: &mut [u64], at: usize, passed: &BooleanArray) {
    let bits: BooleanBuffer = match passed.nulls() {
        Some(nulls) => passed.values() & nulls.inner(),
        None => passed.values().clone(),
    };
    let (word, shift) = (at / 64, at % 64);
    for (offset, chunk) in bits.bit_chunks().iter_padded().enumerate() {
        if chunk == 0 {
            continue;
        }
        words[word + offset] |= chunk << shift;
        if shift > 0 && chunk >> (64 - shift) != 0 {
            words[word + offset + 1] |= chunk >> (64 - shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_wherever_they_begin() {
        for (at, rows) in [(0usize, 64usize), (0, 130), (64, 1), (3, 64), (63, 200), (120, 7)] {
            let passed: Vec<Option<bool>> = (0..rows).map(|row| (row % 7 != 3).then_some(row % 3 == 0)).collect();
            let mut words = vec![0u64; (at + rows).div_ceil(64)];
            set_bits(&mut words, at, &BooleanArray::from(passed.clone()));
            let expected = |place: usize| place >= at && place < at + rows && passed[place - at] == Some(true);
            for place in 0..words.len() * 64 {
                assert_eq!(words[place / 64] >> (place % 64) & 1 == 1, expected(place), "{place} of {rows} at {at}");
            }
        }
    }
}
