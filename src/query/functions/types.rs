//! Short names for the tables of functions.

use lodedb_sql::{PgType, ScalarType};

use super::definition::{Parameter, Returns};

macro_rules! parameters {
    ($($constant:ident $scalar:ident,)*) => {
        $(pub(crate) const $constant: Parameter = Parameter::Is(PgType::Scalar(ScalarType::$scalar));)*
    };
}

macro_rules! results {
    ($($constant:ident $scalar:ident,)*) => {
        $(pub(crate) const $constant: Returns = Returns::Is(PgType::Scalar(ScalarType::$scalar));)*
    };
}

parameters! {
    BOOL Bool,
    INT2 Int2,
    INT4 Int4,
    INT8 Int8,
    FLOAT4 Float4,
    FLOAT8 Float8,
    NUMERIC Numeric,
    TEXT Text,
    BPCHAR Bpchar,
    NAME Name,
    CHAR Char,
    BYTEA Bytea,
    DATE Date,
    TIME Time,
    TIMESTAMP Timestamp,
    TIMESTAMPTZ Timestamptz,
    INTERVAL Interval,
    JSON Json,
    JSONB Jsonb,
    OID Oid,
    REGCLASS Regclass,
    VECTOR Vector,
    HALFVEC Halfvec,
    SPARSEVEC Sparsevec,
    BIT Bit,
    VARBIT Varbit,
}

results! {
    TO_BOOL Bool,
    TO_INT2 Int2,
    TO_INT4 Int4,
    TO_INT8 Int8,
    TO_FLOAT4 Float4,
    TO_FLOAT8 Float8,
    TO_NUMERIC Numeric,
    TO_TEXT Text,
    TO_NAME Name,
    TO_BYTEA Bytea,
    TO_DATE Date,
    TO_TIME Time,
    TO_TIMESTAMP Timestamp,
    TO_TIMESTAMPTZ Timestamptz,
    TO_INTERVAL Interval,
    TO_UUID Uuid,
    TO_JSON Json,
    TO_JSONB Jsonb,
    TO_OID Oid,
    TO_REGCLASS Regclass,
    TO_REGTYPE Regtype,
    TO_REGPROC Regproc,
    TO_REGNAMESPACE Regnamespace,
    TO_VECTOR Vector,
    TO_HALFVEC Halfvec,
    TO_SPARSEVEC Sparsevec,
    TO_BIT Bit,
    TO_VARBIT Varbit,
    TO_VOID Void,
}

pub(crate) const TEXT_ARRAY: Parameter = Parameter::Is(PgType::Array(ScalarType::Text));
pub(crate) const TO_TEXT_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Text));
pub(crate) const TO_VECTOR_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Vector));
pub(crate) const TO_NAME_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Name));
pub(crate) const INT4_ARRAY: Parameter = Parameter::Is(PgType::Array(ScalarType::Int4));
pub(crate) const TO_INT4_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Int4));
pub(crate) const TO_OID_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Oid));
pub(crate) const FLOAT8_ARRAY: Parameter = Parameter::Is(PgType::Array(ScalarType::Float8));
pub(crate) const TO_FLOAT8_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Float8));
pub(crate) const TO_FLOAT4_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Float4));
pub(crate) const ANY: Parameter = Parameter::Any;
pub(crate) const ANY_ARRAY: Parameter = Parameter::AnyArray;
