//! Rust values as SQL values, and back.

use lodedb_sql::cast::{CastContext, CastEnvironment, cast};
use lodedb_sql::error::Result;
use lodedb_sql::text::parse_text_in;
use lodedb_sql::vector::check_components;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

/// A value on its way into the database.
#[derive(Clone, Debug)]
pub struct Value {
    datum: Datum,
    /// `None` for NULL and for text: they take the type of their place.
    ty: Option<PgType>,
}

impl Value {
    fn of(datum: Datum, ty: ScalarType) -> Self {
        Self { datum, ty: Some(ty.into()) }
    }

    /// Some components as a vector.
    pub(super) fn vector(components: &[f32]) -> Self {
        Self::of(Datum::Vector(components.into()), ScalarType::Vector)
    }

    /// The value as one of type `ty`.
    pub(super) fn bind(self, ty: TypeWithModifier, environment: &CastEnvironment) -> Result<Datum> {
        if let Datum::Vector(components) = &self.datum {
            check_components(components)?;
        }
        match (self.datum, self.ty) {
            (Datum::Null, _) => Ok(Datum::Null),
            (Datum::Text(text), None) => parse_text_in(&text, ty, environment),
            (_, None) => Err(SqlError::internal("a value has no type")),
            (datum, Some(from)) => cast(datum, from, ty, CastContext::Assignment, environment),
        }
    }
}

/// What can be given to a parameter or put into a column.
///
/// | Rust | SQL |
/// | --- | --- |
/// | `bool`, `i16`, `i32`, `i64`, `f32`, `f64` | the same, cast as by an assignment: an `i64` that fits may go into an `integer` |
/// | `&str`, `String` | text, and a literal of any other type: `"2024-05-01"` is a date where one is wanted |
/// | `[f32]`, `Vec<f32>` | `vector` |
/// | `[u8]`, `Vec<u8>` | `bytea` |
/// | `uuid::Uuid` | `uuid` |
/// | `Option<T>` | `T`, or NULL |
pub trait ToSql {
    /// The value.
    fn to_sql(&self) -> Value;
}

/// What a column of a row can be read as; see [`ToSql`] for the pairs. `integer` is read as `i64` too, `real` as `f64`; NULL
/// only as an `Option`.
pub trait FromSql: Sized {
    /// The value, or `None` where it is of another type.
    fn from_sql(datum: Datum) -> Option<Self>;
}

macro_rules! plain {
    ($($rust:ty: $variant:ident $scalar:ident $(, $also:ident)*;)*) => { $(
        impl ToSql for $rust {
            fn to_sql(&self) -> Value {
                Value::of(Datum::$variant(*self), ScalarType::$scalar)
            }
        }
        impl FromSql for $rust {
            fn from_sql(datum: Datum) -> Option<Self> {
                match datum {
                    Datum::$variant(value) => Some(value),
                    $(Datum::$also(value) => Some(value.into()),)*
                    _ => None,
                }
            }
        }
    )* };
}

plain! {
    bool: Bool Bool;
    i16: Int2 Int2;
    i32: Int4 Int4, Int2;
    i64: Int8 Int8, Int4, Int2;
    f32: Float4 Float4;
    f64: Float8 Float8, Float4;
}

impl ToSql for str {
    fn to_sql(&self) -> Value {
        Value { datum: Datum::Text(self.to_owned()), ty: None }
    }
}

impl ToSql for String {
    fn to_sql(&self) -> Value {
        self.as_str().to_sql()
    }
}

impl FromSql for String {
    fn from_sql(datum: Datum) -> Option<Self> {
        match datum {
            Datum::Text(text) | Datum::Jsonb(text) => Some(text),
            _ => None,
        }
    }
}

impl ToSql for [f32] {
    fn to_sql(&self) -> Value {
        Value::vector(self)
    }
}

impl ToSql for Vec<f32> {
    fn to_sql(&self) -> Value {
        Value::vector(self)
    }
}

impl<const N: usize> ToSql for [f32; N] {
    fn to_sql(&self) -> Value {
        Value::vector(self)
    }
}

impl FromSql for Vec<f32> {
    fn from_sql(datum: Datum) -> Option<Self> {
        match datum {
            Datum::Vector(components) => Some(components.to_vec()),
            _ => None,
        }
    }
}

impl ToSql for [u8] {
    fn to_sql(&self) -> Value {
        Value::of(Datum::Bytea(self.to_vec()), ScalarType::Bytea)
    }
}

impl ToSql for Vec<u8> {
    fn to_sql(&self) -> Value {
        self.as_slice().to_sql()
    }
}

impl FromSql for Vec<u8> {
    fn from_sql(datum: Datum) -> Option<Self> {
        match datum {
            Datum::Bytea(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl ToSql for uuid::Uuid {
    fn to_sql(&self) -> Value {
        Value::of(Datum::Uuid(self.into_bytes()), ScalarType::Uuid)
    }
}

impl FromSql for uuid::Uuid {
    fn from_sql(datum: Datum) -> Option<Self> {
        match datum {
            Datum::Uuid(bytes) => Some(Self::from_bytes(bytes)),
            _ => None,
        }
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn to_sql(&self) -> Value {
        (**self).to_sql()
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn to_sql(&self) -> Value {
        self.as_ref().map_or(Value { datum: Datum::Null, ty: None }, ToSql::to_sql)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn from_sql(datum: Datum) -> Option<Self> {
        if datum.is_null() { Some(None) } else { T::from_sql(datum).map(Some) }
    }
}

/// `42804` or `22004`: a value is not what it is read as.
pub(super) fn cannot_read<T>(column: &str, ty: TypeWithModifier, is_null: bool) -> SqlError {
    let rust = std::any::type_name::<T>();
    if is_null {
        let message = format!("column \"{column}\" is NULL and cannot be read as {rust}");
        SqlError::new(SqlState::NullValueNotAllowed, message).with_hint("Read it as an Option.")
    } else {
        let message = format!("column \"{column}\" is of type {} and cannot be read as {rust}", ty.ty.sql_name());
        SqlError::new(SqlState::DatatypeMismatch, message)
    }
}
