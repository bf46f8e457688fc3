//! The names of types as SQL writes them, and what they mean.

use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, Ident, ObjectName, ObjectNamePart, TimezoneInfo,
};
use sqlparser::tokenizer::{Location, Span};

use crate::error::{Result, SqlError, SqlState};
use crate::types::{PgType, ScalarType, TypeWithModifier};
use crate::{bits, sparsevec, vector};

/// The most digits of a `numeric`.
const NUMERIC_DIGITS_MAX: i64 = 76;

/// The type with this name, folded to lower case: `int4`, `integer`, `_int4`, `vector`.
pub fn type_named(name: &str) -> Option<PgType> {
    let alias = match name {
        "boolean" => ScalarType::Bool,
        "smallint" => ScalarType::Int2,
        "int" | "integer" => ScalarType::Int4,
        "bigint" => ScalarType::Int8,
        "real" => ScalarType::Float4,
        "float" => ScalarType::Float8,
        "decimal" | "dec" => ScalarType::Numeric,
        "void" | "record" => return None,
        _ => {
            let find = |name: &str| ScalarType::ALL.iter().copied().find(|scalar| scalar.typname() == name);
            return match name.strip_prefix('_').and_then(find) {
                Some(element) if element.array_oid() != 0 => Some(PgType::Array(element)),
                _ => find(name).map(PgType::Scalar),
            };
        }
    };
    Some(PgType::Scalar(alias))
}

/// Whether a type has this name, folded to lower case.
pub(crate) fn is_type_name(name: &str) -> bool {
    type_named(name).is_some()
}

/// The `serial` types: the integer that stores them.
pub(crate) fn serial_named(ty: &DataType) -> Option<ScalarType> {
    let DataType::Custom(name, modifiers) = ty else { return None };
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
    if !modifiers.is_empty() {
        return None;
    }
    match fold(ident).as_str() {
        "serial" | "serial4" => Some(ScalarType::Int4),
        "bigserial" | "serial8" => Some(ScalarType::Int8),
        "smallserial" | "serial2" => Some(ScalarType::Int2),
        _ => None,
    }
}

/// The name that an identifier means: lower case unless quoted.
pub fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// A type that was refused, and where its name stands if that is known.
#[derive(Debug)]
pub(crate) struct TypeError {
    pub(crate) error: SqlError,
    pub(crate) location: Location,
}

impl From<SqlError> for TypeError {
    fn from(error: SqlError) -> Self {
        Self { error, location: Span::empty().start }
    }
}

fn unknown_type(name: &str, location: Location) -> TypeError {
    let error = SqlError::new(SqlState::UndefinedObject, format!("type \"{name}\" does not exist"));
    TypeError { error, location }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, message)
}

/// What a type of the syntax tree means.
pub(crate) fn resolve_type(ty: &DataType) -> std::result::Result<TypeWithModifier, TypeError> {
    let plain = |scalar: ScalarType| Ok(TypeWithModifier::plain(scalar));
    let sized = |scalar: ScalarType, modifier: i32| Ok(TypeWithModifier { ty: PgType::Scalar(scalar), modifier });
    match ty {
        DataType::Bool | DataType::Boolean => plain(ScalarType::Bool),
        DataType::Int2(None) | DataType::SmallInt(None) => plain(ScalarType::Int2),
        DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => plain(ScalarType::Int4),
        DataType::Int8(None) | DataType::BigInt(None) => plain(ScalarType::Int8),
        DataType::Real | DataType::Float4 => plain(ScalarType::Float4),
        DataType::Float8 | DataType::DoublePrecision => plain(ScalarType::Float8),
        DataType::Float(ExactNumberInfo::None) => plain(ScalarType::Float8),
        DataType::Float(ExactNumberInfo::Precision(bits)) => match bits {
            0 => Err(invalid("precision for type float must be at least 1 bit").into()),
            1..=24 => plain(ScalarType::Float4),
            25..=53 => plain(ScalarType::Float8),
            _ => Err(invalid("precision for type float must be less than 54 bits").into()),
        },
        DataType::Numeric(digits) | DataType::Decimal(digits) | DataType::Dec(digits) => {
            sized(ScalarType::Numeric, numeric_modifier(digits)?)
        }
        DataType::Text => plain(ScalarType::Text),
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            sized(ScalarType::Varchar, length_modifier(*length, "varchar", -1)?)
        }
        DataType::Char(length) | DataType::Character(length) => {
            sized(ScalarType::Bpchar, length_modifier(*length, "char", 5)?)
        }
        // Without a length, `bit` is one bit.
        DataType::Bit(length) => sized(ScalarType::Bit, bit_modifier(ScalarType::Bit, length.unwrap_or(1))?),
        DataType::BitVarying(None) | DataType::VarBit(None) => plain(ScalarType::Varbit),
        DataType::BitVarying(Some(length)) | DataType::VarBit(Some(length)) => {
            sized(ScalarType::Varbit, bit_modifier(ScalarType::Varbit, *length)?)
        }
        DataType::Bytea => plain(ScalarType::Bytea),
        DataType::Uuid => plain(ScalarType::Uuid),
        DataType::JSON => plain(ScalarType::Json),
        DataType::JSONB => plain(ScalarType::Jsonb),
        DataType::Regclass => plain(ScalarType::Regclass),
        DataType::Date => plain(ScalarType::Date),
        DataType::Time(precision, zone) => match zone {
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => {
                sized(ScalarType::Time, fraction_modifier(*precision)?)
            }
            _ => Err(SqlError::unsupported("type time with time zone").into()),
        },
        DataType::Timestamp(precision, zone) => {
            let modifier = fraction_modifier(*precision)?;
            match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => sized(ScalarType::Timestamp, modifier),
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => sized(ScalarType::Timestamptz, modifier),
            }
        }
        DataType::Interval { .. } => plain(ScalarType::Interval),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => array_of(resolve_type(element)?),
        DataType::Custom(name, modifiers) => custom_type(name, modifiers),
        other => Err(unknown_type(&other.to_string().to_ascii_lowercase(), Span::empty().start)),
    }
}

/// The array of a type; of an array, the same array, since dimensions are no part of a type.
pub(crate) fn array_of(element: TypeWithModifier) -> std::result::Result<TypeWithModifier, TypeError> {
    match element.ty {
        PgType::Array(_) => Ok(element),
        PgType::Scalar(scalar) if scalar.array_oid() != 0 => {
            Ok(TypeWithModifier { ty: PgType::Array(scalar), modifier: element.modifier })
        }
        PgType::Scalar(scalar) => Err(unknown_type(&format!("{}[]", scalar.sql_name()), Span::empty().start)),
    }
}

fn custom_type(name: &ObjectName, modifiers: &[String]) -> std::result::Result<TypeWithModifier, TypeError> {
    let mut idents = Vec::new();
    for part in &name.0 {
        let ObjectNamePart::Identifier(ident) = part else {
            return Err(unknown_type(&name.to_string(), Span::empty().start));
        };
        idents.push(ident);
    }
    let location = idents.first().map_or(Span::empty().start, |ident| ident.span.start);
    let (schema, ident) = match idents.as_slice() {
        [ident] => (None, *ident),
        [schema, ident] => (Some(fold(schema)), *ident),
        _ => return Err(unknown_type(&name.to_string(), location)),
    };
    let folded = fold(ident);
    let written = schema.as_ref().map_or_else(|| folded.clone(), |schema| format!("{schema}.{folded}"));
    if !matches!(schema.as_deref(), None | Some("pg_catalog" | "public")) {
        return Err(unknown_type(&written, location));
    }
    // Quoted or qualified, "char" is the one-byte type; the plain word is char(1).
    if folded == "char" && ident.quote_style.is_none() && schema.is_none() {
        return Ok(TypeWithModifier { ty: PgType::Scalar(ScalarType::Bpchar), modifier: 5 });
    }
    let known = if schema.is_some() && matches!(folded.as_str(), "int" | "integer" | "bigint" | "boolean") {
        None
    } else {
        type_named(&folded)
    };
    let Some(ty) = known else { return Err(unknown_type(&written, location)) };
    let numbers: Option<Vec<i64>> = modifiers.iter().map(|text| text.parse().ok()).collect();
    let located = |error: SqlError| TypeError { error, location };
    let modifier = match (ty, numbers.as_deref()) {
        (_, Some([])) => -1,
        (PgType::Scalar(vector @ (ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec)), numbers) => {
            match (numbers, modifiers) {
                (Some([dimensions]), _) => dimensions_modifier(vector, *dimensions).map_err(located)?,
                (None, [word]) => {
                    let word = word.trim_matches('\'');
                    let message = format!("invalid input syntax for type integer: \"{word}\"");
                    return Err(located(SqlError::new(SqlState::InvalidTextRepresentation, message)));
                }
                _ => return Err(located(invalid("invalid type modifier"))),
            }
        }
        (PgType::Scalar(bits @ (ScalarType::Bit | ScalarType::Varbit)), Some([length])) => {
            bit_modifier(bits, u64::try_from(*length).unwrap_or(0)).map_err(located)?
        }
        (PgType::Scalar(ScalarType::Varchar), Some([length])) => length_of(*length, "varchar")?,
        (PgType::Scalar(ScalarType::Bpchar), Some([length])) => length_of(*length, "char")?,
        (PgType::Scalar(ScalarType::Timestamp | ScalarType::Timestamptz | ScalarType::Time), Some([digits])) => {
            fraction_modifier(u64::try_from(*digits).ok())?
        }
        (PgType::Scalar(ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Bit | ScalarType::Varbit), _) => {
            return Err(TypeError { error: invalid("invalid type modifier"), location });
        }
        (ty, _) => {
            let message = format!("type modifier is not allowed for type \"{}\"", ty.typname());
            return Err(TypeError { error: SqlError::new(SqlState::SyntaxError, message), location });
        }
    };
    Ok(TypeWithModifier { ty, modifier })
}

fn dimensions_modifier(ty: ScalarType, dimensions: i64) -> Result<i32> {
    let most = if ty == ScalarType::Sparsevec { sparsevec::MAX_DIMENSIONS } else { vector::MAX_DIMENSIONS };
    match usize::try_from(dimensions) {
        Err(_) | Ok(0) => Err(invalid(format!("dimensions for type {} must be at least 1", ty.sql_name()))),
        Ok(dimensions) if dimensions <= most => Ok(dimensions as i32),
        Ok(_) => Err(invalid(format!("dimensions for type {} cannot exceed {most}", ty.sql_name()))),
    }
}

fn bit_modifier(ty: ScalarType, length: u64) -> Result<i32> {
    match length {
        0 => Err(invalid(format!("length for type {} must be at least 1", ty.typname()))),
        length if length <= bits::MAX_LENGTH as u64 => Ok(length as i32),
        _ => Err(invalid(format!("length for type {} cannot exceed {}", ty.typname(), bits::MAX_LENGTH))),
    }
}

fn length_modifier(length: Option<CharacterLength>, name: &str, none: i32) -> Result<i32> {
    match length {
        None => Ok(none),
        Some(CharacterLength::IntegerLength { length, unit: None }) => {
            length_of(i64::try_from(length).unwrap_or(i64::MAX), name)
        }
        Some(_) => Err(SqlError::unsupported("a length with a unit")),
    }
}

fn length_of(length: i64, name: &str) -> Result<i32> {
    match length {
        ..1 => Err(invalid(format!("length for type {name} must be at least 1"))),
        1..=10_485_760 => Ok(length as i32 + 4),
        _ => Err(invalid(format!("length for type {name} cannot exceed 10485760"))),
    }
}

/// PostgreSQL keeps at most six digits of a second, and says so with a warning.
fn fraction_modifier(precision: Option<u64>) -> Result<i32> {
    Ok(precision.map_or(-1, |digits| digits.min(6) as i32))
}

fn numeric_modifier(digits: &ExactNumberInfo) -> Result<i32> {
    let (precision, scale) = match *digits {
        ExactNumberInfo::None => return Ok(-1),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let precision = i64::try_from(precision).unwrap_or(i64::MAX);
    if !(1..=1000).contains(&precision) {
        return Err(invalid(format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if precision > NUMERIC_DIGITS_MAX {
        return Err(SqlError::unsupported(format!("numeric with more than {NUMERIC_DIGITS_MAX} digits")));
    }
    if !(0..=NUMERIC_DIGITS_MAX).contains(&scale) {
        return Err(if (-1000..=1000).contains(&scale) {
            SqlError::unsupported(format!("a numeric scale outside of 0 to {NUMERIC_DIGITS_MAX}"))
        } else {
            invalid(format!("NUMERIC scale {scale} must be between -1000 and 1000"))
        });
    }
    Ok(((precision as i32) << 16 | (scale as i32 & 0x7ff)) + 4)
}
