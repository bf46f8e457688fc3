//! The Arrow form of each PostgreSQL type, and the way between rows of datums and Arrow batches.
//!
//! Types whose confusion would change a result are told apart by structure, so the difference survives any
//! expression: `jsonb` is `LargeUtf8` and `text` is `Utf8`; `vector` is `LargeList<Float32>` and `real[]` is
//! `List<Float32>`; the other kinds of vectors are large lists too ([`vectors`]). Types that PostgreSQL itself converts into each other freely share a form (`varchar` and `text`,
//! `regclass` and `oid`) and carry their name in the metadata of the field, which a plain column keeps and an
//! expression may lose.
//!
//! INVARIANT 1: `pg_type(arrow_field(_, t, _)) == t` for every type of a column.
//! INVARIANT 2: metadata that does not fit the data type of its field is ignored.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use lodedb_sql::{PgType, ScalarType, TypeWithModifier};

mod build;
mod decimal;
mod read;
#[cfg(test)]
mod tests;
mod vectors;

pub use build::{BatchBuilder, ColumnBuilder, array_of, datums_to_array, scalar_value};
pub use decimal::Shown;
pub(crate) use decimal::{decimal_of, whole_digits};
pub use read::{ColumnReader, batch_rows, batches_to_rows, datum_at, scalar_datum};
pub use vectors::vector_type;
pub(crate) use vectors::{bits_at, bits_type, halfvec_type, sparsevec_at, sparsevec_type};

/// The key of a field's metadata that names its type where the Arrow type does not.
pub const TYPE_KEY: &str = "lodedb.type";
/// The key of a field's metadata that holds `atttypmod`.
pub const MODIFIER_KEY: &str = "lodedb.modifier";
/// Digits of a `numeric` without a modifier.
pub const NUMERIC_PRECISION: u8 = 76;
/// Digits after the point of a `numeric` without a modifier: two factors multiply without overflow of the scale.
pub const NUMERIC_SCALE: i8 = 20;

/// Digits of a quotient, which no other `numeric` has: its scale depends on its value ([`Shown`]).
pub const QUOTIENT_PRECISION: u8 = 75;

/// The Arrow type of a quotient.
pub const QUOTIENT: DataType = DataType::Decimal256(QUOTIENT_PRECISION, NUMERIC_SCALE);

/// The Arrow type of a PostgreSQL type.
pub fn arrow_type(ty: TypeWithModifier) -> DataType {
    match ty.ty {
        PgType::Scalar(scalar) => scalar_type(scalar, ty.modifier),
        PgType::Array(element) => list_of(scalar_type(element, ty.modifier)),
    }
}

/// The Arrow list with elements of a type.
pub fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

fn scalar_type(scalar: ScalarType, modifier: i32) -> DataType {
    match scalar {
        ScalarType::Bool => DataType::Boolean,
        ScalarType::Int2 => DataType::Int16,
        ScalarType::Int4 => DataType::Int32,
        ScalarType::Int8 => DataType::Int64,
        ScalarType::Oid
        | ScalarType::Regclass
        | ScalarType::Regtype
        | ScalarType::Regproc
        | ScalarType::Regnamespace
        | ScalarType::Xid => DataType::UInt32,
        ScalarType::Float4 => DataType::Float32,
        ScalarType::Float8 => DataType::Float64,
        ScalarType::Numeric => numeric_type(modifier),
        ScalarType::Jsonb => DataType::LargeUtf8,
        ScalarType::Bytea => DataType::Binary,
        ScalarType::Date => DataType::Date32,
        ScalarType::Time => DataType::Time64(TimeUnit::Microsecond),
        ScalarType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ScalarType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ScalarType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        ScalarType::Uuid => DataType::FixedSizeBinary(16),
        ScalarType::Vector => vector_type(),
        ScalarType::Halfvec => halfvec_type(),
        ScalarType::Sparsevec => sparsevec_type(),
        ScalarType::Bit | ScalarType::Varbit => bits_type(),
        ScalarType::Int2vector => list_of(DataType::Int16),
        ScalarType::Oidvector => list_of(DataType::UInt32),
        // Text in its several guises; a record is its text form.
        _ => DataType::Utf8,
    }
}

/// `numeric(p,s)`: `Decimal128` up to 38 digits, `Decimal256` up to 76; without a modifier the widest.
fn numeric_type(modifier: i32) -> DataType {
    let Some((precision, scale)) = numeric_parts(modifier) else {
        return DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE);
    };
    // A negative scale rounds before the point: the value then has more digits than its precision says.
    let digits =
        if scale < 0 { precision - scale } else { precision.max(scale) }.clamp(1, i32::from(NUMERIC_PRECISION));
    let scale = scale.clamp(0, i32::from(NUMERIC_PRECISION)) as i8;
    if digits <= 38 { DataType::Decimal128(digits as u8, scale) } else { DataType::Decimal256(digits as u8, scale) }
}

/// Precision and scale of the modifier of a `numeric`.
pub fn numeric_parts(modifier: i32) -> Option<(i32, i32)> {
    (modifier >= 4).then(|| {
        let packed = modifier - 4;
        ((packed >> 16) & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024)
    })
}

/// Whether the Arrow type alone says which type this is.
fn is_structural(scalar: ScalarType) -> bool {
    !matches!(
        scalar,
        ScalarType::Varchar
            | ScalarType::Bpchar
            | ScalarType::Name
            | ScalarType::Char
            | ScalarType::Json
            | ScalarType::Unknown
            | ScalarType::Void
            | ScalarType::Record
            | ScalarType::Regclass
            | ScalarType::Regtype
            | ScalarType::Regproc
            | ScalarType::Regnamespace
            | ScalarType::Xid
            | ScalarType::Int2vector
            | ScalarType::Oidvector
            | ScalarType::Varbit
    )
}

/// The metadata a field of this type carries.
pub fn metadata(ty: TypeWithModifier) -> HashMap<String, String> {
    let scalar = match ty.ty {
        PgType::Scalar(scalar) | PgType::Array(scalar) => scalar,
    };
    let mut metadata = HashMap::new();
    if !is_structural(scalar) || ty.modifier >= 0 {
        metadata.insert(TYPE_KEY.to_owned(), ty.ty.typname());
    }
    if ty.modifier >= 0 {
        metadata.insert(MODIFIER_KEY.to_owned(), ty.modifier.to_string());
    }
    metadata
}

/// The Arrow field of a column.
pub fn arrow_field(name: &str, ty: TypeWithModifier, nullable: bool) -> Field {
    Field::new(name, arrow_type(ty), nullable).with_metadata(metadata(ty))
}

/// The same as [`arrow_field`], for results of functions: nullable and shared.
pub fn result_field(name: &str, ty: TypeWithModifier) -> FieldRef {
    Arc::new(arrow_field(name, ty, true))
}

/// The type a `typname` names.
pub fn type_of_typname(typname: &str) -> Option<PgType> {
    let by_name = |name: &str| ScalarType::ALL.iter().copied().find(|scalar| scalar.typname() == name);
    match typname.strip_prefix('_') {
        Some(element) => by_name(element).map(PgType::Array),
        None => by_name(typname).map(PgType::Scalar),
    }
}

/// The PostgreSQL type of a field: what its metadata says if that fits, else what its Arrow type says.
pub fn pg_type(field: &Field) -> TypeWithModifier {
    let structural = structural_type(field.data_type());
    let Some(named) = field.metadata().get(TYPE_KEY).and_then(|name| type_of_typname(name)) else {
        return TypeWithModifier::plain(structural);
    };
    let modifier = field.metadata().get(MODIFIER_KEY).and_then(|text| text.parse().ok()).unwrap_or(-1);
    let named = TypeWithModifier { ty: named, modifier };
    let fits = arrow_type(named) == *field.data_type()
        || structural_type(&arrow_type(named)) == structural && !matches!(field.data_type(), DataType::Null);
    let same_scale =
        !matches!(structural, PgType::Scalar(ScalarType::Numeric)) || arrow_type(named) == *field.data_type();
    if fits && same_scale { named } else { TypeWithModifier::plain(structural) }
}

/// The PostgreSQL type of an Arrow type, with whatever DataFusion may produce.
pub fn structural_type(data_type: &DataType) -> PgType {
    let scalar = match data_type {
        DataType::Boolean => ScalarType::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => ScalarType::Int2,
        DataType::UInt16 | DataType::Int32 => ScalarType::Int4,
        DataType::Int64 | DataType::UInt64 => ScalarType::Int8,
        DataType::UInt32 => ScalarType::Oid,
        DataType::Float16 | DataType::Float32 => ScalarType::Float4,
        DataType::Float64 => ScalarType::Float8,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            ScalarType::Numeric
        }
        DataType::LargeUtf8 => ScalarType::Jsonb,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ScalarType::Bytea,
        DataType::FixedSizeBinary(16) => ScalarType::Uuid,
        DataType::FixedSizeBinary(_) => ScalarType::Bytea,
        DataType::Date32 | DataType::Date64 => ScalarType::Date,
        DataType::Time32(_) | DataType::Time64(_) => ScalarType::Time,
        DataType::Timestamp(_, None) => ScalarType::Timestamp,
        DataType::Timestamp(_, Some(_)) => ScalarType::Timestamptz,
        DataType::Interval(_) | DataType::Duration(_) => ScalarType::Interval,
        DataType::Struct(_) => ScalarType::Record,
        DataType::Dictionary(_, values) => return structural_type(values),
        DataType::LargeList(item) if vectors::kind_of(item).is_some() => {
            vectors::kind_of(item).unwrap_or(ScalarType::Vector)
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            return match structural_type(item.data_type()) {
                PgType::Scalar(element) | PgType::Array(element) => PgType::Array(element),
            };
        }
        _ => ScalarType::Text,
    };
    PgType::Scalar(scalar)
}
