//! Short names for the tables of functions.

use lodedb_sql::{PgType, ScalarType};

use super::definition::{Parameter, Returns};

macro_rules! types {
    ($($constant:ident $result:ident $scalar:ident,)*) => {
        $(
            pub(crate) const $constant: Parameter = Parameter::Is(PgType::Scalar(ScalarType::$scalar));
            pub(crate) const $result: Returns = Returns::Is(PgType::Scalar(ScalarType::$scalar));
        )*
    };
}

types! {
    BOOL TO_BOOL Bool,
    INT2 TO_INT2 Int2,
    INT4 TO_INT4 Int4,
    INT8 TO_INT8 Int8,
    FLOAT4 TO_FLOAT4 Float4,
    FLOAT8 TO_FLOAT8 Float8,
    NUMERIC TO_NUMERIC Numeric,
    TEXT TO_TEXT Text,
    NAME TO_NAME Name,
    CHAR TO_CHAR Char,
    BYTEA TO_BYTEA Bytea,
    DATE TO_DATE Date,
    TIME TO_TIME Time,
    TIMESTAMP TO_TIMESTAMP Timestamp,
    TIMESTAMPTZ TO_TIMESTAMPTZ Timestamptz,
    INTERVAL TO_INTERVAL Interval,
    UUID TO_UUID Uuid,
    JSON TO_JSON Json,
    JSONB TO_JSONB Jsonb,
    OID TO_OID Oid,
    REGCLASS TO_REGCLASS Regclass,
    REGTYPE TO_REGTYPE Regtype,
    REGPROC TO_REGPROC Regproc,
    REGNAMESPACE TO_REGNAMESPACE Regnamespace,
    XID TO_XID Xid,
    VECTOR TO_VECTOR Vector,
    VOID TO_VOID Void,
}

pub(crate) const TEXT_ARRAY: Parameter = Parameter::Is(PgType::Array(ScalarType::Text));
pub(crate) const TO_TEXT_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Text));
pub(crate) const TO_NAME_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Name));
pub(crate) const TO_INT4_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Int4));
pub(crate) const TO_INT8_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Int8));
pub(crate) const TO_OID_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Oid));
pub(crate) const TO_FLOAT4_ARRAY: Returns = Returns::Is(PgType::Array(ScalarType::Float4));
pub(crate) const ANY: Parameter = Parameter::Any;
pub(crate) const ANY_ARRAY: Parameter = Parameter::AnyArray;
