//! Arrow arrays and batches into rows of datums.

use std::fmt::Write as _;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray,
    LargeListArray, LargeStringArray, ListArray, PrimitiveArray, StringArray, StringViewArray, StructArray,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float16Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use lodedb_sql::datum::{ArrayDatum, Interval};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::{Shown, arrow_type, bits_at, decimal, sparsevec_at, structural_type};

/// An Arrow array whose values are read as datums of one type.
pub struct ColumnReader<'a> {
    nulls: Option<datafusion::arrow::buffer::NullBuffer>,
    form: Form<'a>,
}

enum Form<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt32(&'a PrimitiveArray<UInt32Type>),
    UInt64(&'a PrimitiveArray<UInt64Type>),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal128(&'a Decimal128Array, i8),
    Decimal256(&'a Decimal256Array, i8, Shown),
    Utf8(&'a StringArray, bool),
    Utf8View(&'a StringViewArray, bool),
    LargeUtf8(&'a LargeStringArray, bool),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedBinary(&'a FixedSizeBinaryArray, bool),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, bool),
    Interval(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    Vector(&'a LargeListArray),
    Halfvec(&'a LargeListArray),
    Sparsevec(&'a LargeListArray),
    Bits(&'a LargeListArray),
    List(&'a ListArray, ScalarType, i32),
    Struct(&'a StructArray),
    /// Converted once from a form DataFusion may give, but this house does not use.
    Converted(ArrayRef, TypeWithModifier),
}

impl<'a> ColumnReader<'a> {
    /// A reader of `array` as values of `ty`.
    pub fn new(array: &'a dyn Array, ty: TypeWithModifier) -> Result<Self> {
        let scalar = match ty.ty {
            PgType::Scalar(scalar) => scalar,
            PgType::Array(_) => ScalarType::Text,
        };
        let jsonb = scalar == ScalarType::Jsonb;
        let form = match array.data_type() {
            DataType::Null => Form::Null,
            DataType::Boolean => Form::Bool(array.as_boolean()),
            DataType::Int16 => Form::Int16(array.as_primitive()),
            DataType::Int32 => Form::Int32(array.as_primitive()),
            DataType::Int64 => Form::Int64(array.as_primitive()),
            DataType::UInt32 => Form::UInt32(array.as_primitive()),
            DataType::UInt64 => Form::UInt64(array.as_primitive()),
            DataType::Float32 => Form::Float32(array.as_primitive()),
            DataType::Float64 => Form::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Form::Decimal128(array.as_primitive(), *scale),
            DataType::Decimal256(precision, scale) => {
                Form::Decimal256(array.as_primitive(), *scale, Shown::new(*precision, *scale, ty.modifier))
            }
            DataType::Utf8 => Form::Utf8(array.as_string(), jsonb),
            DataType::Utf8View => Form::Utf8View(array.as_string_view(), jsonb),
            DataType::LargeUtf8 => Form::LargeUtf8(array.as_string(), jsonb),
            DataType::Binary => Form::Binary(array.as_binary()),
            DataType::LargeBinary => Form::LargeBinary(array.as_binary()),
            DataType::BinaryView => Form::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(width) => {
                Form::FixedBinary(array.as_fixed_size_binary(), *width == 16 && scalar == ScalarType::Uuid)
            }
            DataType::Date32 => Form::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Form::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Form::Timestamp(array.as_primitive(), zone.is_some() || scalar == ScalarType::Timestamptz)
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Form::Interval(array.as_primitive()),
            DataType::LargeList(item) if *item.data_type() == DataType::Float32 => Form::Vector(array.as_list()),
            DataType::LargeList(item) if *item.data_type() == DataType::Float16 => Form::Halfvec(array.as_list()),
            DataType::LargeList(item) if *item.data_type() == DataType::UInt32 => Form::Sparsevec(array.as_list()),
            DataType::LargeList(item) if *item.data_type() == DataType::Boolean => Form::Bits(array.as_list()),
            DataType::List(_) => {
                let (element, lower) = match ty.ty {
                    PgType::Array(element) => (element, 1),
                    PgType::Scalar(ScalarType::Int2vector) => (ScalarType::Int2, 0),
                    PgType::Scalar(ScalarType::Oidvector) => (ScalarType::Oid, 0),
                    PgType::Scalar(_) => match structural_type(array.data_type()) {
                        PgType::Array(element) | PgType::Scalar(element) => (element, 1),
                    },
                };
                Form::List(array.as_list(), element, lower)
            }
            DataType::Struct(_) => Form::Struct(array.as_struct()),
            other => {
                let target = plain_form(other);
                if target == *other {
                    return Err(SqlError::unsupported(format!("a value of the Arrow type {other}")));
                }
                let options = CastOptions { safe: false, ..CastOptions::default() };
                let converted = cast_with_options(array, &target, &options)
                    .map_err(|error| SqlError::new(SqlState::NumericValueOutOfRange, error.to_string()))?;
                Form::Converted(converted, ty)
            }
        };
        Ok(Self { nulls: array.logical_nulls(), form })
    }

    /// The value of a row.
    pub fn datum(&self, row: usize) -> Result<Datum> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(Datum::Null);
        }
        let text = |value: &str, jsonb: bool| {
            if jsonb { Datum::Jsonb(value.to_owned()) } else { Datum::Text(value.to_owned()) }
        };
        Ok(match &self.form {
            Form::Null => Datum::Null,
            Form::Bool(a) => Datum::Bool(a.value(row)),
            Form::Int16(a) => Datum::Int2(a.value(row)),
            Form::Int32(a) => Datum::Int4(a.value(row)),
            Form::Int64(a) => Datum::Int8(a.value(row)),
            Form::UInt32(a) => Datum::Oid(a.value(row)),
            Form::UInt64(a) => Datum::Int8(
                i64::try_from(a.value(row))
                    .map_err(|_| SqlError::new(SqlState::NumericValueOutOfRange, "bigint out of range"))?,
            ),
            Form::Float32(a) => Datum::Float4(a.value(row)),
            Form::Float64(a) => Datum::Float8(a.value(row)),
            Form::Decimal128(a, scale) => Datum::Numeric(decimal::from_i128(a.value(row), *scale)),
            Form::Decimal256(a, scale, shown) => Datum::Numeric(decimal::decimal_of(a.value(row), *scale, *shown)),
            Form::Utf8(a, jsonb) => text(a.value(row), *jsonb),
            Form::Utf8View(a, jsonb) => text(a.value(row), *jsonb),
            Form::LargeUtf8(a, jsonb) => text(a.value(row), *jsonb),
            Form::Binary(a) => Datum::Bytea(a.value(row).to_vec()),
            Form::LargeBinary(a) => Datum::Bytea(a.value(row).to_vec()),
            Form::BinaryView(a) => Datum::Bytea(a.value(row).to_vec()),
            Form::FixedBinary(a, uuid) => match <[u8; 16]>::try_from(a.value(row)) {
                Ok(bytes) if *uuid => Datum::Uuid(bytes),
                _ => Datum::Bytea(a.value(row).to_vec()),
            },
            Form::Date(a) => Datum::Date(a.value(row)),
            Form::Time(a) => Datum::Time(a.value(row)),
            Form::Timestamp(a, true) => Datum::Timestamptz(a.value(row)),
            Form::Timestamp(a, false) => Datum::Timestamp(a.value(row)),
            Form::Interval(a) => {
                let value = a.value(row);
                Datum::Interval(Interval {
                    months: value.months,
                    days: value.days,
                    microseconds: value.nanoseconds / 1000,
                })
            }
            Form::Vector(a) => {
                let values = a.value(row);
                Datum::Vector(
                    values.as_primitive::<datafusion::arrow::datatypes::Float32Type>().values().as_ref().into(),
                )
            }
            Form::Halfvec(a) => {
                let values = a.value(row);
                Datum::Halfvec(
                    values.as_primitive::<Float16Type>().values().iter().map(|half| half.to_bits()).collect(),
                )
            }
            Form::Sparsevec(a) => {
                let words = a.value(row);
                Datum::Sparsevec(sparsevec_at(words.as_primitive::<UInt32Type>().values())?.into())
            }
            Form::Bits(a) => {
                let items = a.value(row);
                Datum::Bits(bits_at(items.as_boolean(), 0..items.len()).into())
            }
            Form::List(a, element, lower) => list_datum(&a.value(row), *element, *lower)?,
            Form::Struct(a) => Datum::Text(record_text(a, row)?),
            Form::Converted(a, ty) => datum_at(a, row, *ty)?,
        })
    }
}

/// The form of this house for a type of DataFusion's; itself where there is none.
fn plain_form(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_form(values),
        DataType::Duration(_) | DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::FixedSizeList(item, _)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(item.clone()),
        _ => match structural_type(data_type) {
            PgType::Scalar(ScalarType::Text) => data_type.clone(),
            ty => arrow_type(TypeWithModifier::plain(ty)),
        },
    }
}

/// A list, and lists within it, as an array.
fn list_datum(values: &ArrayRef, element: ScalarType, lower: i32) -> Result<Datum> {
    let mut dimensions = Vec::new();
    let mut elements = Vec::with_capacity(values.len());
    collect_elements(values, element, lower, 0, &mut dimensions, &mut elements)?;
    if elements.is_empty() {
        dimensions.clear();
    }
    Ok(Datum::Array(Box::new(ArrayDatum { element, dimensions, elements })))
}

fn collect_elements(
    values: &ArrayRef,
    element: ScalarType,
    lower: i32,
    depth: usize,
    dimensions: &mut Vec<(u32, i32)>,
    elements: &mut Vec<Datum>,
) -> Result<()> {
    let length = values.len() as u32;
    match dimensions.get(depth) {
        None => dimensions.push((length, lower)),
        Some(&(expected, _)) if expected == length => {}
        Some(_) => {
            return Err(SqlError::new(
                SqlState::ArraySubscriptError,
                "multidimensional arrays must have array expressions with matching dimensions",
            ));
        }
    }
    if let DataType::List(_) = values.data_type() {
        let lists: &ListArray = values.as_list();
        for row in 0..lists.len() {
            collect_elements(&lists.value(row), element, lower, depth + 1, dimensions, elements)?;
        }
        return Ok(());
    }
    let reader = ColumnReader::new(values, TypeWithModifier::plain(element))?;
    for row in 0..values.len() {
        elements.push(reader.datum(row)?);
    }
    Ok(())
}

/// A row value as PostgreSQL prints it: `(1,"a b",)`.
fn record_text(record: &StructArray, row: usize) -> Result<String> {
    let mut out = String::from("(");
    for (i, (column, field)) in record.columns().iter().zip(record.fields()).enumerate() {
        if i > 0 {
            out.push(',');
        }
        let ty = super::pg_type(field);
        let value = datum_at(column, row, ty)?;
        if value.is_null() {
            continue;
        }
        let text = lodedb_sql::text::to_text(&value, ty.ty, chrono_tz::UTC);
        let special = |c: char| matches!(c, '(' | ')' | ',' | '"' | '\\') || c.is_ascii_whitespace();
        if text.is_empty() || text.contains(special) {
            let _ = write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\""));
        } else {
            out.push_str(&text);
        }
    }
    out.push(')');
    Ok(out)
}

/// One value of an array. To read many, make one [`ColumnReader`].
pub fn datum_at(array: &dyn Array, row: usize, ty: TypeWithModifier) -> Result<Datum> {
    ColumnReader::new(array, ty)?.datum(row)
}

/// The datum of a literal.
pub fn scalar_datum(value: &ScalarValue, ty: TypeWithModifier) -> Result<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let array = value.to_array().map_err(SqlError::internal)?;
    datum_at(&array, 0, ty)
}

/// The rows of a batch, with the types of its fields.
pub fn batch_rows(batch: &RecordBatch, types: &[TypeWithModifier]) -> Result<Vec<Vec<Datum>>> {
    let mut rows: Vec<Vec<Datum>> = (0..batch.num_rows()).map(|_| Vec::with_capacity(types.len())).collect();
    for (column, ty) in batch.columns().iter().zip(types) {
        let reader = ColumnReader::new(column, *ty)?;
        for (row, values) in rows.iter_mut().enumerate() {
            values.push(reader.datum(row)?);
        }
    }
    Ok(rows)
}

/// The rows of several batches of one schema.
pub fn batches_to_rows(batches: &[RecordBatch]) -> Result<Vec<Vec<Datum>>> {
    let mut rows = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for batch in batches {
        let types: Vec<_> = batch.schema().fields().iter().map(|field| super::pg_type(field)).collect();
        rows.append(&mut batch_rows(batch, &types)?);
    }
    Ok(rows)
}
