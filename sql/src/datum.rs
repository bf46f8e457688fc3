//! One value of any type.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use serde::{Deserialize, Serialize};

use crate::bits::Bits;
use crate::sparsevec::SparseVector;
use crate::types::ScalarType;

/// One value. Its column or parameter says which of the types that share a form it has (`text`, `varchar`,
/// `json` are all [`Datum::Text`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Datum {
    /// SQL NULL of any type.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `smallint`.
    Int2(i16),
    /// `integer`.
    Int4(i32),
    /// `bigint`.
    Int8(i64),
    /// `real`.
    Float4(f32),
    /// `double precision`.
    Float8(f64),
    /// `numeric`; the scale of the decimal is the display scale. At most 76 digits.
    Numeric(#[serde(with = "decimal_parts")] BigDecimal),
    /// `text`, `varchar`, `char(n)`, `name`, `"char"`, `json`, `unknown`.
    Text(String),
    /// `bytea`.
    Bytea(Vec<u8>),
    /// `date`: days since 1970-01-01; `i32::MAX` and `i32::MIN` are the infinities.
    Date(i32),
    /// `time`: microseconds since midnight.
    Time(i64),
    /// `timestamp`: microseconds since 1970-01-01; `i64::MAX` and `i64::MIN` are the infinities.
    Timestamp(i64),
    /// `timestamptz`: microseconds since 1970-01-01 UTC; infinities as for `timestamp`.
    Timestamptz(i64),
    /// `interval`.
    Interval(Interval),
    /// `uuid`.
    Uuid([u8; 16]),
    /// `jsonb`, as its canonical text.
    Jsonb(String),
    /// `oid` and the `reg*` types.
    Oid(u32),
    /// `vector`: finite components, 1 to 16,000 of them.
    Vector(Arc<[f32]>),
    /// An array.
    Array(Box<ArrayDatum>),
    /// `halfvec`: the bits of finite components of half precision, 1 to 16,000 of them.
    Halfvec(Arc<[u16]>),
    /// `sparsevec`.
    Sparsevec(Arc<SparseVector>),
    /// `bit` and `bit varying`.
    Bits(Arc<Bits>),
}

/// `interval`: three parts that do not convert into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// Months, years counted in.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub microseconds: i64,
}

/// The value of an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayDatum {
    /// The type of the elements.
    pub element: ScalarType,
    /// Length and lower bound of each dimension; empty for `{}`.
    pub dimensions: Vec<(u32, i32)>,
    /// The elements in row-major order.
    pub elements: Vec<Datum>,
}

impl Datum {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// A decimal as its digits and its scale: formats that do not describe themselves can read that back.
mod decimal_parts {
    use bigdecimal::BigDecimal;
    use bigdecimal::num_bigint::BigInt;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(decimal: &BigDecimal, serializer: S) -> Result<S::Ok, S::Error> {
        let (digits, scale) = decimal.as_bigint_and_exponent();
        (digits.to_signed_bytes_le(), scale).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BigDecimal, D::Error> {
        let (digits, scale) = <(Vec<u8>, i64)>::deserialize(deserializer)?;
        Ok(BigDecimal::new(BigInt::from_signed_bytes_le(&digits), scale))
    }
}
