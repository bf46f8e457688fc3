//! One column of a batch with its Arrow array found out: what both forms are written from.

use chrono_tz::Tz;
use datafusion::arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray,
    LargeStringArray, StringArray, StringViewArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type, i256,
};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use super::array::ArrayColumn;
use super::numeric::Scale;
use crate::query::arrow::{bits_at, sparsevec_at};

/// A column and how its values are to be written.
pub(super) struct Column<'a> {
    pub(super) nulls: Option<&'a NullBuffer>,
    pub(super) values: Values<'a>,
    pub(super) ty: PgType,
    pub(super) binary: bool,
    pub(super) zone: Tz,
}

/// The values of a column, by the shape of their array.
pub(super) enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int2(&'a [i16]),
    Int4(&'a [i32]),
    Int8(&'a [i64]),
    Oid(&'a [u32]),
    Float4(&'a [f32]),
    Float8(&'a [f64]),
    Decimal128(&'a [i128], Scale),
    Decimal256(&'a [i256], Scale),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Bytes(&'a BinaryArray),
    LargeBytes(&'a LargeBinaryArray),
    BytesView(&'a BinaryViewArray),
    Date(&'a [i32]),
    Time(&'a [i64]),
    Timestamp(&'a [i64]),
    Timestamptz(&'a [i64]),
    Interval(&'a [IntervalMonthDayNano]),
    Uuid(&'a FixedSizeBinaryArray),
    Vector(&'a [i64], &'a [f32]),
    Halfvec(&'a [i64], &'a [HalfFloat]),
    Sparsevec(&'a [i64], &'a [u32]),
    Bits(&'a [i64], &'a BooleanArray),
    Array(ArrayColumn<'a>),
}

impl<'a> Column<'a> {
    /// Finds the shape of an array that is to be written as `ty`; `None` if it is not one for that type.
    pub(super) fn bind(array: &'a dyn Array, ty: TypeWithModifier, binary: bool, zone: Tz) -> Option<Self> {
        if !super::is_readable(array.data_type(), ty.ty) {
            return None;
        }
        let PgType::Scalar(scalar) = ty.ty else {
            let values = match array.data_type() {
                DataType::Null => Values::Null,
                _ => Values::Array(ArrayColumn::bind(array, ty, binary, zone)?),
            };
            return Some(Self { nulls: array.nulls(), values, ty: ty.ty, binary, zone });
        };
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int16 => Values::Int2(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Values::Int4(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Values::Int8(array.as_primitive::<Int64Type>().values()),
            DataType::UInt32 => Values::Oid(array.as_primitive::<UInt32Type>().values()),
            DataType::Float32 => Values::Float4(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Values::Float8(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(precision, scale) => Values::Decimal128(
                array.as_primitive::<Decimal128Type>().values(),
                Scale::new(*precision, *scale, ty.modifier),
            ),
            DataType::Decimal256(precision, scale) => Values::Decimal256(
                array.as_primitive::<Decimal256Type>().values(),
                Scale::new(*precision, *scale, ty.modifier),
            ),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::LargeUtf8 => Values::LargeText(array.as_string()),
            DataType::Utf8View => Values::TextView(array.as_string_view()),
            DataType::Binary => Values::Bytes(array.as_binary()),
            DataType::LargeBinary => Values::LargeBytes(array.as_binary()),
            DataType::BinaryView => Values::BytesView(array.as_binary_view()),
            DataType::Date32 => Values::Date(array.as_primitive::<Date32Type>().values()),
            DataType::Time64(_) => Values::Time(array.as_primitive::<Time64MicrosecondType>().values()),
            DataType::Timestamp(..) => {
                let values = array.as_primitive::<TimestampMicrosecondType>().values();
                if scalar == ScalarType::Timestamptz { Values::Timestamptz(values) } else { Values::Timestamp(values) }
            }
            DataType::Interval(_) => Values::Interval(array.as_primitive::<IntervalMonthDayNanoType>().values()),
            DataType::FixedSizeBinary(_) => Values::Uuid(array.as_fixed_size_binary()),
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                let (offsets, items) = (list.value_offsets(), list.values());
                match items.data_type() {
                    DataType::Float16 => Values::Halfvec(offsets, items.as_primitive_opt::<Float16Type>()?.values()),
                    DataType::UInt32 => Values::Sparsevec(offsets, items.as_primitive_opt::<UInt32Type>()?.values()),
                    DataType::Boolean => Values::Bits(offsets, items.as_boolean_opt()?),
                    _ => Values::Vector(offsets, items.as_primitive_opt::<Float32Type>()?.values()),
                }
            }
            DataType::List(_) => Values::Array(ArrayColumn::bind(array, ty, binary, zone)?),
            _ => return None,
        };
        Some(Self { nulls: array.nulls(), values, ty: ty.ty, binary, zone })
    }

    /// Whether the value of a row is NULL.
    pub(super) fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the length of a row's value and the value; -1 for NULL.
    pub(super) fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(());
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        if self.binary {
            self.write_binary(row, out)?;
        } else {
            self.write_text(row, out)?;
        }
        // Values longer than an i32 says are refused with their row, which is longer still.
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// The bytes of a value that is a string or a string of bytes; `None` for other values.
    pub(super) fn bytes(&self, row: usize) -> Option<&'a [u8]> {
        Some(match &self.values {
            Values::Text(array) => array.value(row).as_bytes(),
            Values::LargeText(array) => array.value(row).as_bytes(),
            Values::TextView(array) => array.value(row).as_bytes(),
            Values::Bytes(array) => array.value(row),
            Values::LargeBytes(array) => array.value(row),
            Values::BytesView(array) => array.value(row),
            Values::Uuid(array) => array.value(row),
            _ => return None,
        })
    }
}

/// The components of one vector.
pub(super) fn components<'a, T>(offsets: &[i64], values: &'a [T], row: usize) -> &'a [T] {
    &values[offsets[row] as usize..offsets[row + 1] as usize]
}

/// The sparse vector of a row.
pub(super) fn sparse(offsets: &[i64], words: &[u32], row: usize) -> Result<Datum> {
    Ok(Datum::Sparsevec(sparsevec_at(components(offsets, words, row))?.into()))
}

/// The string of bits of a row.
pub(super) fn bits(offsets: &[i64], items: &BooleanArray, row: usize) -> Datum {
    Datum::Bits(bits_at(items, offsets[row] as usize..offsets[row + 1] as usize).into())
}

/// A component of a `halfvec`.
pub(super) type HalfFloat = <Float16Type as ArrowPrimitiveType>::Native;
