//! Rows in PostgreSQL's form, written straight from Arrow columns; no value in between.
//!
//! [`Columns::bind`] looks at each column of a batch once; [`Columns::write_row`] then only follows what it found.

mod array;
mod binary;
mod column;
mod numeric;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field as ArrowField, IntervalUnit, Schema, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::error::{Result, SqlError, SqlState};
use lodedb_sql::{PgType, ScalarType, TypeWithModifier};

use super::frontend::Formats;
use crate::db::Field;
use crate::query::arrow::{arrow_type, structural_type};
use column::Column;

/// The longest row a client can take.
const ROW_BYTES_MAX: usize = 0x3fff_ffff;

/// The columns of a batch, ready to be written row by row.
pub(super) struct Columns<'a>(Vec<Column<'a>>);

impl<'a> Columns<'a> {
    /// Finds the form of each column. The batch has been through [`conform`].
    pub(super) fn bind(batch: &'a RecordBatch, fields: &[Field], formats: &Formats, zone: Tz) -> Result<Self> {
        fields
            .iter()
            .zip(batch.columns())
            .enumerate()
            .map(|(index, (field, array))| {
                Column::bind(array.as_ref(), field.ty, formats.is_binary(index), zone)
                    .ok_or_else(|| mismatch(field, array.data_type()))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Appends the DataRow of one row.
    pub(super) fn write_row(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.write_message(b'D', &[], row, out)
    }

    /// Appends one row as COPY's binary format has it, `before` in the same message. What a DataRow says is the same.
    pub(super) fn write_copied_row(&self, row: usize, before: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.write_message(b'd', before, row, out)
    }

    fn write_message(&self, tag: u8, before: &[u8], row: usize, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.extend_from_slice(&[tag, 0, 0, 0, 0]);
        out.extend_from_slice(before);
        out.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        let written = self.0.iter().try_for_each(|column| column.write_value(row, out));
        let length = out.len() - start - 1;
        if written.is_err() || length > ROW_BYTES_MAX {
            // A row half written is not a message.
            out.truncate(start);
            written?;
            let message = format!("a row of {length} bytes is too long to be sent");
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        out[start + 1..start + 5].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(())
    }
}

/// The batch with every column in a form that [`Columns::bind`] reads: dictionaries are decoded, other units, offsets
/// and views cast. A batch that is in order already is handed through.
pub(super) fn conform(batch: RecordBatch, fields: &[Field]) -> Result<RecordBatch> {
    if batch.num_columns() != fields.len() {
        let (columns, fields) = (batch.num_columns(), fields.len());
        return Err(SqlError::internal(format!("a result of {fields} columns came with {columns}")));
    }
    let in_order = fields.iter().zip(batch.columns()).all(|(field, array)| is_readable(array.data_type(), field.ty.ty));
    if in_order {
        return Ok(batch);
    }
    let columns = fields.iter().zip(batch.columns()).map(|(field, array)| conform_column(array, field));
    let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
    let described = fields.iter().zip(&columns);
    let described = described.map(|(field, array)| ArrowField::new(&field.name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(described.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns).map_err(SqlError::internal)
}

fn conform_column(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if is_readable(array.data_type(), field.ty.ty) {
        return Ok(array.clone());
    }
    let wanted = readable_form(array.data_type(), field.ty.ty).ok_or_else(|| mismatch(field, array.data_type()))?;
    cast(array, &wanted).map_err(|error| {
        SqlError::internal(format!(
            "column \"{}\" could not be sent as {}: {error}",
            field.name,
            field.ty.ty.sql_name()
        ))
    })
}

/// A broken promise of the engine: the column's array is not one for its type.
fn mismatch(field: &Field, came: &DataType) -> SqlError {
    let ty = field.ty.ty.sql_name();
    SqlError::internal(format!("column \"{}\" of type {ty} came as {came}", field.name))
}

/// Whether [`Column::bind`] reads this Arrow type as that PostgreSQL type.
fn is_readable(came: &DataType, ty: PgType) -> bool {
    if *came == DataType::Null {
        return true;
    }
    match (ty, came) {
        (PgType::Array(element), DataType::List(item)) => {
            is_readable(item.data_type(), element.into()) || is_readable(item.data_type(), ty)
        }
        (PgType::Array(_), _) => false,
        (PgType::Scalar(scalar), came) => match scalar {
            ScalarType::Bool => *came == DataType::Boolean,
            ScalarType::Int2 => *came == DataType::Int16,
            ScalarType::Int4 => *came == DataType::Int32,
            ScalarType::Int8 => *came == DataType::Int64,
            ScalarType::Oid | ScalarType::Xid => *came == DataType::UInt32,
            ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace => {
                matches!(came, DataType::UInt32 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            }
            ScalarType::Float4 => *came == DataType::Float32,
            ScalarType::Float8 => *came == DataType::Float64,
            ScalarType::Numeric => matches!(came, DataType::Decimal128(..) | DataType::Decimal256(..)),
            ScalarType::Text
            | ScalarType::Varchar
            | ScalarType::Bpchar
            | ScalarType::Name
            | ScalarType::Char
            | ScalarType::Json
            | ScalarType::Jsonb
            | ScalarType::Unknown
            | ScalarType::Void
            | ScalarType::Record => matches!(came, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
            ScalarType::Bytea => matches!(came, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
            ScalarType::Date => *came == DataType::Date32,
            ScalarType::Time => *came == DataType::Time64(TimeUnit::Microsecond),
            ScalarType::Timestamp | ScalarType::Timestamptz => {
                matches!(came, DataType::Timestamp(TimeUnit::Microsecond, _))
            }
            ScalarType::Interval => *came == DataType::Interval(IntervalUnit::MonthDayNano),
            ScalarType::Uuid => *came == DataType::FixedSizeBinary(16),
            ScalarType::Int2vector => match came {
                DataType::List(item) => *item.data_type() == DataType::Int16,
                _ => matches!(came, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
            },
            ScalarType::Oidvector => match came {
                DataType::List(item) => *item.data_type() == DataType::UInt32,
                _ => matches!(came, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
            },
            ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec | ScalarType::Bit | ScalarType::Varbit => {
                *came == arrow_type(TypeWithModifier::plain(scalar))
            }
        },
    }
}

/// The Arrow type to cast to where [`is_readable`] says no.
fn readable_form(came: &DataType, ty: PgType) -> Option<DataType> {
    if let DataType::Dictionary(_, values) = came {
        return if is_readable(values, ty) { Some(values.as_ref().clone()) } else { readable_form(values, ty) };
    }
    let item = |data_type| Arc::new(ArrowField::new("item", data_type, true));
    Some(match ty {
        PgType::Array(element) => match came {
            DataType::List(child) | DataType::LargeList(child) | DataType::FixedSizeList(child, _) => {
                // A list of lists may be an array of two dimensions, or of vectors.
                let child = child.data_type();
                let nested = matches!(structural_type(child), PgType::Array(_));
                let inside = if nested { ty } else { element.into() };
                let form = if is_readable(child, inside) { child.clone() } else { readable_form(child, inside)? };
                DataType::List(item(form))
            }
            _ => return None,
        },
        PgType::Scalar(scalar) => match scalar {
            ScalarType::Bool => DataType::Boolean,
            ScalarType::Int2 => DataType::Int16,
            ScalarType::Int4 => DataType::Int32,
            ScalarType::Int8 => DataType::Int64,
            ScalarType::Oid | ScalarType::Xid => DataType::UInt32,
            ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace => {
                DataType::UInt32
            }
            ScalarType::Float4 => DataType::Float32,
            ScalarType::Float8 => DataType::Float64,
            ScalarType::Numeric if came.is_integer() => DataType::Decimal128(20, 0),
            ScalarType::Numeric => return None,
            ScalarType::Bytea => DataType::Binary,
            ScalarType::Date => DataType::Date32,
            ScalarType::Time => DataType::Time64(TimeUnit::Microsecond),
            ScalarType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            ScalarType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            ScalarType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            ScalarType::Uuid => DataType::FixedSizeBinary(16),
            ScalarType::Int2vector => DataType::List(item(DataType::Int16)),
            ScalarType::Oidvector => DataType::List(item(DataType::UInt32)),
            ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec | ScalarType::Bit | ScalarType::Varbit => {
                arrow_type(TypeWithModifier::plain(scalar))
            }
            _ => DataType::Utf8,
        },
    })
}
