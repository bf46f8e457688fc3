//! Rows of datums into Arrow arrays and batches.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float16Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, LargeListBuilder, LargeStringBuilder, ListArray, NullArray, StringBuilder,
    StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float16Type, IntervalMonthDayNano, IntervalUnit, Schema, SchemaRef,
    TimeUnit,
};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::ScalarValue;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState, TypeWithModifier};

use super::{arrow_field, arrow_type, decimal};
use crate::catalog::Table;

/// An Arrow array in the making.
pub struct ColumnBuilder {
    form: Form,
    /// How many bytes of text and the like it holds.
    bytes: usize,
}

/// The most bytes of text in one column of a batch: Arrow counts them with 31 bits, and memory is finite.
const COLUMN_BYTES_MAX: usize = 1 << 30;

/// One variant for each Arrow type that [`arrow_type`](super::arrow_type) gives, and a few that DataFusion does.
enum Form {
    Null(usize),
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    Utf8(StringBuilder),
    Utf8View(StringViewBuilder),
    LargeUtf8(LargeStringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder, DataType),
    Interval(IntervalMonthDayNanoBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Vector(LargeListBuilder<Float32Builder>),
    Halfvec(LargeListBuilder<Float16Builder>),
    Sparsevec(LargeListBuilder<UInt32Builder>),
    Bits(LargeListBuilder<BooleanBuilder>),
    List { item: FieldRef, offsets: Vec<i32>, valid: Vec<bool>, elements: Box<ColumnBuilder> },
}

impl ColumnBuilder {
    /// A builder of arrays of `data_type`.
    pub fn new(data_type: &DataType, capacity: usize) -> Result<Self> {
        let form = match data_type {
            DataType::Null => Form::Null(0),
            DataType::Boolean => Form::Bool(BooleanBuilder::with_capacity(capacity)),
            DataType::Int16 => Form::Int16(Int16Builder::with_capacity(capacity)),
            DataType::Int32 => Form::Int32(Int32Builder::with_capacity(capacity)),
            DataType::Int64 => Form::Int64(Int64Builder::with_capacity(capacity)),
            DataType::UInt32 => Form::UInt32(UInt32Builder::with_capacity(capacity)),
            DataType::UInt64 => Form::UInt64(UInt64Builder::with_capacity(capacity)),
            DataType::Float32 => Form::Float32(Float32Builder::with_capacity(capacity)),
            DataType::Float64 => Form::Float64(Float64Builder::with_capacity(capacity)),
            DataType::Decimal128(precision, scale) => Form::Decimal128(
                Decimal128Builder::with_capacity(capacity).with_data_type(data_type.clone()),
                *precision,
                *scale,
            ),
            DataType::Decimal256(precision, scale) => Form::Decimal256(
                Decimal256Builder::with_capacity(capacity).with_data_type(data_type.clone()),
                *precision,
                *scale,
            ),
            DataType::Utf8 => Form::Utf8(StringBuilder::with_capacity(capacity, capacity * 16)),
            DataType::Utf8View => Form::Utf8View(StringViewBuilder::with_capacity(capacity)),
            DataType::LargeUtf8 => Form::LargeUtf8(LargeStringBuilder::with_capacity(capacity, capacity * 32)),
            DataType::Binary => Form::Binary(BinaryBuilder::with_capacity(capacity, capacity * 16)),
            DataType::Date32 => Form::Date(Date32Builder::with_capacity(capacity)),
            DataType::Time64(TimeUnit::Microsecond) => Form::Time(Time64MicrosecondBuilder::with_capacity(capacity)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Form::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(capacity).with_data_type(data_type.clone()),
                data_type.clone(),
            ),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Form::Interval(IntervalMonthDayNanoBuilder::with_capacity(capacity))
            }
            DataType::FixedSizeBinary(16) => Form::Uuid(FixedSizeBinaryBuilder::with_capacity(capacity, 16)),
            DataType::LargeList(item) if *item.data_type() == DataType::Float32 => {
                Form::Vector(LargeListBuilder::with_capacity(Float32Builder::new(), capacity).with_field(item.clone()))
            }
            DataType::LargeList(item) if *item.data_type() == DataType::Float16 => {
                Form::Halfvec(LargeListBuilder::with_capacity(Float16Builder::new(), capacity).with_field(item.clone()))
            }
            DataType::LargeList(item) if *item.data_type() == DataType::UInt32 => Form::Sparsevec(
                LargeListBuilder::with_capacity(UInt32Builder::new(), capacity).with_field(item.clone()),
            ),
            DataType::LargeList(item) if *item.data_type() == DataType::Boolean => {
                Form::Bits(LargeListBuilder::with_capacity(BooleanBuilder::new(), capacity).with_field(item.clone()))
            }
            DataType::List(item) => {
                let mut offsets = Vec::with_capacity(capacity + 1);
                offsets.push(0);
                Form::List {
                    item: item.clone(),
                    offsets,
                    valid: Vec::with_capacity(capacity),
                    elements: Box::new(Self::new(item.data_type(), capacity)?),
                }
            }
            other => return Err(SqlError::unsupported(format!("a value of the Arrow type {other}"))),
        };
        Ok(Self { form, bytes: 0 })
    }

    fn reserve(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > COLUMN_BYTES_MAX {
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, "out of memory")
                .with_detail(format!("One column of a batch of rows holds more than {COLUMN_BYTES_MAX} bytes.")));
        }
        Ok(())
    }

    /// Appends a value; it must be one that the type of this column can hold.
    pub fn push(&mut self, datum: &Datum) -> Result<()> {
        if let Datum::Text(text) | Datum::Jsonb(text) = datum {
            self.reserve(text.len())?;
        } else if let Datum::Bytea(bytes) = datum {
            self.reserve(bytes.len())?;
        } else if let Datum::Bits(bits) = datum {
            self.reserve(bits.bytes().len())?;
        }
        match (&mut self.form, datum) {
            (_, Datum::Null) => self.push_null(),
            (Form::Bool(b), Datum::Bool(value)) => b.append_value(*value),
            (Form::Int16(b), Datum::Int2(value)) => b.append_value(*value),
            (Form::Int32(b), Datum::Int4(value)) => b.append_value(*value),
            (Form::Int32(b), Datum::Int2(value)) => b.append_value(i32::from(*value)),
            (Form::Int64(b), Datum::Int8(value)) => b.append_value(*value),
            (Form::Int64(b), Datum::Int4(value)) => b.append_value(i64::from(*value)),
            (Form::Int64(b), Datum::Int2(value)) => b.append_value(i64::from(*value)),
            (Form::Int64(b), Datum::Oid(value)) => b.append_value(i64::from(*value)),
            (Form::UInt32(b), Datum::Oid(value)) => b.append_value(*value),
            (Form::UInt64(b), Datum::Int8(value)) => b.append_value(*value as u64),
            (Form::Float32(b), Datum::Float4(value)) => b.append_value(*value),
            (Form::Float64(b), Datum::Float8(value)) => b.append_value(*value),
            (Form::Float64(b), Datum::Float4(value)) => b.append_value(f64::from(*value)),
            (Form::Decimal128(b, precision, scale), Datum::Numeric(value)) => {
                b.append_value(decimal::to_i128(value, *precision, *scale)?);
            }
            (Form::Decimal256(b, precision, scale), Datum::Numeric(value)) => {
                b.append_value(decimal::to_i256(value, *precision, *scale)?);
            }
            (Form::Utf8(b), Datum::Text(value) | Datum::Jsonb(value)) => b.append_value(value),
            (Form::Utf8View(b), Datum::Text(value) | Datum::Jsonb(value)) => b.append_value(value),
            (Form::LargeUtf8(b), Datum::Jsonb(value) | Datum::Text(value)) => b.append_value(value),
            (Form::Binary(b), Datum::Bytea(value)) => b.append_value(value),
            (Form::Date(b), Datum::Date(value)) => b.append_value(*value),
            (Form::Time(b), Datum::Time(value)) => b.append_value(*value),
            (Form::Timestamp(b, _), Datum::Timestamp(value) | Datum::Timestamptz(value)) => b.append_value(*value),
            (Form::Interval(b), Datum::Interval(value)) => {
                let nanoseconds = value
                    .microseconds
                    .checked_mul(1000)
                    .ok_or_else(|| SqlError::new(SqlState::DatetimeFieldOverflow, "interval out of range"))?;
                b.append_value(IntervalMonthDayNano::new(value.months, value.days, nanoseconds));
            }
            (Form::Uuid(b), Datum::Uuid(value)) => {
                b.append_value(value).map_err(SqlError::internal)?;
            }
            (Form::Vector(b), Datum::Vector(value)) => {
                b.values().append_slice(value);
                b.append(true);
            }
            (Form::Halfvec(b), Datum::Halfvec(value)) => {
                value.iter().for_each(|&bits| b.values().append_value(half_of(bits)));
                b.append(true);
            }
            (Form::Sparsevec(b), Datum::Sparsevec(value)) => {
                b.values().append_slice(&value.sort_words());
                b.append(true);
            }
            (Form::Bits(b), Datum::Bits(value)) => {
                value.iter().for_each(|bit| b.values().append_value(bit));
                b.append(true);
            }
            (Form::List { .. }, Datum::Array(value)) => self.push_elements(&value.dimensions, &value.elements)?,
            (_, other) => {
                return Err(SqlError::internal(format!("a column cannot hold the value {other:?}")));
            }
        }
        Ok(())
    }

    /// Appends an array: its outermost dimension is this list, the others are lists within.
    fn push_elements(&mut self, dimensions: &[(u32, i32)], values: &[Datum]) -> Result<()> {
        let Form::List { offsets, valid, elements, .. } = &mut self.form else {
            return Err(SqlError::unsupported("an array of this number of dimensions in an expression"));
        };
        if dimensions.len() <= 1 {
            if matches!(elements.form, Form::List { .. }) && !values.is_empty() {
                return Err(SqlError::unsupported("an array of this number of dimensions in an expression"));
            }
            for value in values {
                elements.push(value)?;
            }
        } else {
            let length = dimensions[0].0 as usize;
            for part in values.chunks((values.len() / length.max(1)).max(1)) {
                elements.push_elements(&dimensions[1..], part)?;
            }
        }
        valid.push(true);
        offsets.push(list_offset(elements.len())?);
        Ok(())
    }

    /// Appends NULL.
    pub fn push_null(&mut self) {
        match &mut self.form {
            Form::Null(count) => *count += 1,
            Form::Bool(b) => b.append_null(),
            Form::Int16(b) => b.append_null(),
            Form::Int32(b) => b.append_null(),
            Form::Int64(b) => b.append_null(),
            Form::UInt32(b) => b.append_null(),
            Form::UInt64(b) => b.append_null(),
            Form::Float32(b) => b.append_null(),
            Form::Float64(b) => b.append_null(),
            Form::Decimal128(b, ..) => b.append_null(),
            Form::Decimal256(b, ..) => b.append_null(),
            Form::Utf8(b) => b.append_null(),
            Form::Utf8View(b) => b.append_null(),
            Form::LargeUtf8(b) => b.append_null(),
            Form::Binary(b) => b.append_null(),
            Form::Date(b) => b.append_null(),
            Form::Time(b) => b.append_null(),
            Form::Timestamp(b, _) => b.append_null(),
            Form::Interval(b) => b.append_null(),
            Form::Uuid(b) => b.append_null(),
            Form::Vector(b) => b.append_null(),
            Form::Halfvec(b) => b.append_null(),
            Form::Sparsevec(b) => b.append_null(),
            Form::Bits(b) => b.append_null(),
            Form::List { offsets, valid, .. } => {
                valid.push(false);
                offsets.push(offsets.last().copied().unwrap_or(0));
            }
        }
    }

    /// Appends a vector without a datum around it.
    pub fn push_vector(&mut self, vector: &[f32]) -> Result<()> {
        match &mut self.form {
            Form::Vector(b) => {
                b.values().append_slice(vector);
                b.append(true);
                Ok(())
            }
            _ => Err(SqlError::internal("a column that is no vector cannot hold one")),
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        use datafusion::arrow::array::ArrayBuilder as _;
        match &self.form {
            Form::Null(count) => *count,
            Form::Bool(b) => b.len(),
            Form::Int16(b) => b.len(),
            Form::Int32(b) => b.len(),
            Form::Int64(b) => b.len(),
            Form::UInt32(b) => b.len(),
            Form::UInt64(b) => b.len(),
            Form::Float32(b) => b.len(),
            Form::Float64(b) => b.len(),
            Form::Decimal128(b, ..) => b.len(),
            Form::Decimal256(b, ..) => b.len(),
            Form::Utf8(b) => b.len(),
            Form::Utf8View(b) => b.len(),
            Form::LargeUtf8(b) => b.len(),
            Form::Binary(b) => b.len(),
            Form::Date(b) => b.len(),
            Form::Time(b) => b.len(),
            Form::Timestamp(b, _) => b.len(),
            Form::Interval(b) => b.len(),
            Form::Uuid(b) => b.len(),
            Form::Vector(b) => b.len(),
            Form::Halfvec(b) => b.len(),
            Form::Sparsevec(b) => b.len(),
            Form::Bits(b) => b.len(),
            Form::List { valid, .. } => valid.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The array; the builder is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        self.bytes = 0;
        Ok(match &mut self.form {
            Form::Null(count) => Arc::new(NullArray::new(std::mem::take(count))),
            Form::Bool(b) => Arc::new(b.finish()),
            Form::Int16(b) => Arc::new(b.finish()),
            Form::Int32(b) => Arc::new(b.finish()),
            Form::Int64(b) => Arc::new(b.finish()),
            Form::UInt32(b) => Arc::new(b.finish()),
            Form::UInt64(b) => Arc::new(b.finish()),
            Form::Float32(b) => Arc::new(b.finish()),
            Form::Float64(b) => Arc::new(b.finish()),
            Form::Decimal128(b, ..) => Arc::new(b.finish()),
            Form::Decimal256(b, ..) => Arc::new(b.finish()),
            Form::Utf8(b) => Arc::new(b.finish()),
            Form::Utf8View(b) => Arc::new(b.finish()),
            Form::LargeUtf8(b) => Arc::new(b.finish()),
            Form::Binary(b) => Arc::new(b.finish()),
            Form::Date(b) => Arc::new(b.finish()),
            Form::Time(b) => Arc::new(b.finish()),
            Form::Timestamp(b, data_type) => {
                let array = b.finish();
                debug_assert_eq!(array.data_type(), data_type);
                Arc::new(array)
            }
            Form::Interval(b) => Arc::new(b.finish()),
            Form::Uuid(b) => Arc::new(b.finish()),
            Form::Vector(b) => Arc::new(b.finish()),
            Form::Halfvec(b) => Arc::new(b.finish()),
            Form::Sparsevec(b) => Arc::new(b.finish()),
            Form::Bits(b) => Arc::new(b.finish()),
            Form::List { item, offsets, valid, elements } => {
                let elements = elements.finish()?;
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let nulls = NullBuffer::from(std::mem::take(valid));
                let nulls = (nulls.null_count() > 0).then_some(nulls);
                Arc::new(ListArray::try_new(item.clone(), offsets, elements, nulls).map_err(SqlError::internal)?)
            }
        })
    }
}

/// A component of a `halfvec` as Arrow has it.
fn half_of(bits: u16) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_bits(bits)
}

fn list_offset(length: usize) -> Result<i32> {
    i32::try_from(length).map_err(|_| {
        SqlError::new(SqlState::ProgramLimitExceeded, "the arrays of one batch hold more than 2^31 elements")
    })
}

/// Rows in the making: a batch of some columns of a table.
pub struct BatchBuilder {
    schema: SchemaRef,
    positions: Vec<usize>,
    columns: Vec<ColumnBuilder>,
    rows: usize,
}

impl BatchBuilder {
    /// A builder of batches of `schema`, whose column `i` is the value at `positions[i]` of a row.
    pub fn new(schema: SchemaRef, positions: Vec<usize>, capacity: usize) -> Result<Self> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| ColumnBuilder::new(field.data_type(), capacity))
            .collect::<Result<Vec<_>>>()?;
        debug_assert_eq!(columns.len(), positions.len());
        Ok(Self { schema, positions, columns, rows: 0 })
    }

    /// A builder of batches of a table's columns that are not vectors, named by their numbers: what segments carry.
    pub fn of_scalars(table: &Table, capacity: usize) -> Result<Self> {
        let scalars = || table.stored_columns().filter(|(_, column)| !column.ty.is_vector());
        let fields: Vec<_> =
            scalars().map(|(_, column)| arrow_field(&column.id.to_string(), column.ty, true)).collect();
        Self::new(Arc::new(Schema::new(fields)), scalars().map(|(at, _)| at).collect(), capacity)
    }

    /// What its batches look like.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends a row; a value it is too short for is NULL.
    pub fn push(&mut self, row: &[Datum]) -> Result<()> {
        for (column, &position) in self.columns.iter_mut().zip(&self.positions) {
            match row.get(position) {
                Some(datum) => column.push(datum)?,
                None => column.push_null(),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The batch; the builder is empty again.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| {
            // The one thing a row can get wrong: NULL where the schema promises none.
            SqlError::internal(format!("rows do not fit their schema: {error}"))
        })
    }
}

/// An array of the Arrow type of `ty`.
pub fn datums_to_array<'a>(datums: impl IntoIterator<Item = &'a Datum>, ty: TypeWithModifier) -> Result<ArrayRef> {
    array_of(datums, &arrow_type(ty))
}

/// An array of a given Arrow type: for values that came from such an array.
pub fn array_of<'a>(datums: impl IntoIterator<Item = &'a Datum>, data_type: &DataType) -> Result<ArrayRef> {
    let datums = datums.into_iter();
    let mut builder = ColumnBuilder::new(data_type, datums.size_hint().0)?;
    for datum in datums {
        builder.push(datum)?;
    }
    builder.finish()
}

/// The value as DataFusion holds a literal.
pub fn scalar_value(datum: &Datum, ty: TypeWithModifier) -> Result<ScalarValue> {
    // An array of several dimensions has its own Arrow type: a list of lists.
    let data_type = match datum {
        Datum::Array(array) if array.dimensions.len() > 1 => (1..array.dimensions.len())
            .fold(arrow_type(ty), |list, _| DataType::List(Arc::new(Field::new_list_field(list, true)))),
        _ => arrow_type(ty),
    };
    let array = array_of([datum], &data_type)?;
    ScalarValue::try_from_array(&array, 0).map_err(SqlError::internal)
}
