//! One stored value where it lies, and as a value of its own.

use std::sync::Arc;

use lodedb_sql::Datum;
use lodedb_sql::bits::Bits;
use lodedb_sql::datum::Interval;
use lodedb_sql::sparsevec::SparseVector;

use super::super::{Result, StoreError};
use super::{array, tag};

/// A stored value, borrowed from its row.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the types'; see `Datum`")]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    /// A `numeric` of at most 38 digits: `digits` divided by ten to the `scale`.
    Decimal {
        digits: i128,
        scale: i32,
    },
    Text(&'a str),
    Bytea(&'a [u8]),
    Date(i32),
    Time(i64),
    Timestamp(i64),
    Timestamptz(i64),
    Interval(Interval),
    Uuid([u8; 16]),
    Jsonb(&'a str),
    Oid(u32),
    /// Any other: a longer `numeric`, a vector of any kind, bits, an array.
    Owned(Datum),
}

impl ValueRef<'_> {
    /// The value, no longer borrowed.
    pub fn into_datum(self) -> Datum {
        match self {
            Self::Null => Datum::Null,
            Self::Bool(value) => Datum::Bool(value),
            Self::Int2(value) => Datum::Int2(value),
            Self::Int4(value) => Datum::Int4(value),
            Self::Int8(value) => Datum::Int8(value),
            Self::Float4(value) => Datum::Float4(value),
            Self::Float8(value) => Datum::Float8(value),
            Self::Decimal { digits, scale } => Datum::Numeric((digits, i64::from(scale)).into()),
            Self::Text(value) => Datum::Text(value.to_owned()),
            Self::Bytea(value) => Datum::Bytea(value.to_vec()),
            Self::Date(value) => Datum::Date(value),
            Self::Time(value) => Datum::Time(value),
            Self::Timestamp(value) => Datum::Timestamp(value),
            Self::Timestamptz(value) => Datum::Timestamptz(value),
            Self::Interval(value) => Datum::Interval(value),
            Self::Uuid(value) => Datum::Uuid(value),
            Self::Jsonb(value) => Datum::Jsonb(value.to_owned()),
            Self::Oid(value) => Datum::Oid(value),
            Self::Owned(value) => value,
        }
    }
}

/// The value with this tag in these bytes, which are its slot or its long value.
#[inline]
pub(super) fn decode(tag: u8, bytes: &[u8], depth: u8) -> Result<ValueRef<'_>> {
    Ok(match tag {
        tag::NULL => ValueRef::Null,
        tag::FALSE => ValueRef::Bool(false),
        tag::TRUE => ValueRef::Bool(true),
        tag::INT2 => ValueRef::Int2(i16::from_le_bytes(exactly(bytes)?)),
        tag::INT4 => ValueRef::Int4(i32::from_le_bytes(exactly(bytes)?)),
        tag::INT8 => ValueRef::Int8(i64::from_le_bytes(exactly(bytes)?)),
        tag::FLOAT4 => ValueRef::Float4(f32::from_le_bytes(exactly(bytes)?)),
        tag::FLOAT8 => ValueRef::Float8(f64::from_le_bytes(exactly(bytes)?)),
        tag::DECIMAL64 => {
            let (digits, scale) = split(bytes)?;
            ValueRef::Decimal { digits: i64::from_le_bytes(digits).into(), scale: i32::from_le_bytes(exactly(scale)?) }
        }
        tag::DECIMAL128 => {
            let (digits, scale) = split(bytes)?;
            ValueRef::Decimal { digits: i128::from_le_bytes(digits), scale: i32::from_le_bytes(exactly(scale)?) }
        }
        tag::DECIMAL => ValueRef::Owned(large_decimal(bytes)?),
        tag::TEXT => ValueRef::Text(text(bytes)?),
        tag::BYTEA => ValueRef::Bytea(bytes),
        tag::DATE => ValueRef::Date(i32::from_le_bytes(exactly(bytes)?)),
        tag::TIME => ValueRef::Time(i64::from_le_bytes(exactly(bytes)?)),
        tag::TIMESTAMP => ValueRef::Timestamp(i64::from_le_bytes(exactly(bytes)?)),
        tag::TIMESTAMPTZ => ValueRef::Timestamptz(i64::from_le_bytes(exactly(bytes)?)),
        tag::INTERVAL => {
            let (months, rest) = split(bytes)?;
            let (days, microseconds) = split(rest)?;
            ValueRef::Interval(Interval {
                months: i32::from_le_bytes(months),
                days: i32::from_le_bytes(days),
                microseconds: i64::from_le_bytes(exactly(microseconds)?),
            })
        }
        tag::UUID => ValueRef::Uuid(exactly(bytes)?),
        tag::JSONB => ValueRef::Jsonb(text(bytes)?),
        tag::OID => ValueRef::Oid(u32::from_le_bytes(exactly(bytes)?)),
        tag::VECTOR => ValueRef::Owned(vector(bytes)?),
        tag::HALFVEC => ValueRef::Owned(halfvec(bytes)?),
        tag::SPARSEVEC => ValueRef::Owned(sparsevec(bytes)?),
        tag::BITS => ValueRef::Owned(bits(bytes)?),
        tag::ARRAY => ValueRef::Owned(Datum::Array(Box::new(array::decode(bytes, depth)?))),
        _ => return Err(StoreError::damaged(format!("a row has a column of unknown kind {tag}"))),
    })
}

/// These bytes, being as many as wanted.
pub(super) fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| StoreError::damaged("a row's value has a wrong length"))
}

/// The first bytes, and the rest.
pub(super) fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8])> {
    let (first, rest) = bytes.split_first_chunk().ok_or_else(|| StoreError::damaged("a row's value is cut short"))?;
    Ok((*first, rest))
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| StoreError::damaged("a row's text is not UTF-8"))
}

fn large_decimal(bytes: &[u8]) -> Result<Datum> {
    let damaged = || StoreError::damaged("a row's numeric has a wrong form");
    let (scale, digits) = split(bytes)?;
    let scale = i64::from_le_bytes(scale);
    let digits = text(digits)?;
    let figures = digits.strip_prefix('-').unwrap_or(digits);
    if figures.is_empty() || !figures.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(damaged());
    }
    let exponent = scale.checked_neg().ok_or_else(damaged)?;
    Ok(Datum::Numeric(format!("{digits}e{exponent}").parse().map_err(|_| damaged())?))
}

fn halfvec(bytes: &[u8]) -> Result<Datum> {
    let (components, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(StoreError::damaged("a row's halfvec has a wrong length"));
    }
    Ok(Datum::Halfvec(components.iter().map(|component| u16::from_le_bytes(*component)).collect()))
}

fn sparsevec(bytes: &[u8]) -> Result<Datum> {
    let (dimensions, bytes) = split(bytes)?;
    let (elements, rest) = bytes.as_chunks::<8>();
    let damaged = || StoreError::damaged("a row's sparsevec has a wrong form");
    let elements = elements.iter().map(|element| {
        let [a, b, c, d, value @ ..] = *element;
        (i64::from(u32::from_le_bytes([a, b, c, d])), f32::from_le_bytes(value))
    });
    let vector = SparseVector::from_elements(u32::from_le_bytes(dimensions), elements).map_err(|_| damaged())?;
    if rest.is_empty() { Ok(Datum::Sparsevec(vector.into())) } else { Err(damaged()) }
}

fn bits(bytes: &[u8]) -> Result<Datum> {
    let (length, bytes) = split(bytes)?;
    let bits = Bits::from_bytes(u32::from_le_bytes(length) as usize, bytes);
    bits.map(|bits| Datum::Bits(bits.into())).ok_or_else(|| StoreError::damaged("a row's bits have a wrong length"))
}

fn vector(bytes: &[u8]) -> Result<Datum> {
    let (components, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(StoreError::damaged("a row's vector has a wrong length"));
    }
    let components: Arc<[f32]> = components.iter().map(|component| f32::from_le_bytes(*component)).collect();
    Ok(Datum::Vector(components))
}
