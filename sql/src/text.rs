//! The text form of every type, as PostgreSQL's input and output functions read and print it.
//!
//! Output is that of `DateStyle` ISO, MDY, `IntervalStyle` postgres and `bytea_output` hex; floats are the shortest
//! that read back as themselves.

use chrono_tz::Tz;

pub use array::MAX_ARRAY_DIMENSIONS;

use crate::cast::CastEnvironment;
use crate::datum::Datum;
use crate::error::{Result, SqlError, SqlState};
use crate::halfvec;
use crate::types::{PgType, ScalarType, TypeWithModifier};

pub(crate) mod array;
pub(crate) mod bits;
mod bytea;
pub(crate) mod datetime;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod string;
mod vector;

#[cfg(test)]
pub(crate) mod tests;

/// Reads a value of `ty`; a time without a zone is in UTC.
pub fn parse_text(text: &str, ty: TypeWithModifier) -> Result<Datum> {
    parse_text_in(text, ty, &CastEnvironment::utc())
}

/// Reads a value of `ty`; the session's zone and clock complete times that name none (`'2024-01-02 03:04'`, `'now'`).
pub fn parse_text_in(text: &str, ty: TypeWithModifier, environment: &CastEnvironment) -> Result<Datum> {
    match ty.ty {
        PgType::Scalar(scalar) => parse_scalar(text, scalar, ty.modifier, environment),
        PgType::Array(element) => array::parse(text, element, ty.modifier, environment),
    }
}

fn parse_scalar(text: &str, ty: ScalarType, modifier: i32, environment: &CastEnvironment) -> Result<Datum> {
    Ok(match ty {
        ScalarType::Bool => Datum::Bool(parse_bool(text)?),
        ScalarType::Int2 => Datum::Int2(number::parse_int(text, "smallint")?),
        ScalarType::Int4 => Datum::Int4(number::parse_int(text, "integer")?),
        ScalarType::Int8 => Datum::Int8(number::parse_int(text, "bigint")?),
        ScalarType::Float4 => Datum::Float4(number::parse_float4(text)?),
        ScalarType::Float8 => Datum::Float8(number::parse_float8(text)?),
        ScalarType::Numeric => Datum::Numeric(number::apply_modifier(number::parse_numeric(text)?, modifier)?),
        ScalarType::Text | ScalarType::Unknown | ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Name => {
            string::check_no_nul(text)?;
            Datum::Text(string::apply_modifier(text.to_owned(), ty, modifier, false)?)
        }
        ScalarType::Char => {
            string::check_no_nul(text)?;
            Datum::Text(string::first_char(text)?)
        }
        ScalarType::Bytea => Datum::Bytea(bytea::parse(text)?),
        ScalarType::Date => Datum::Date(datetime::parse_date(text, environment)?),
        ScalarType::Time => {
            Datum::Time(datetime::round_to_modifier(datetime::parse_time(text, environment)?, modifier))
        }
        ScalarType::Timestamp => Datum::Timestamp(datetime::timestamp_with_modifier(
            datetime::parse_timestamp(text, environment)?,
            modifier,
        )?),
        ScalarType::Timestamptz => Datum::Timestamptz(datetime::timestamp_with_modifier(
            datetime::parse_timestamptz(text, environment)?,
            modifier,
        )?),
        ScalarType::Interval => Datum::Interval(interval::apply_modifier(interval::parse(text)?, modifier)),
        ScalarType::Uuid => Datum::Uuid(parse_uuid(text)?),
        ScalarType::Json => {
            json::validate(text)?;
            Datum::Text(text.to_owned())
        }
        ScalarType::Jsonb => Datum::Jsonb(json::canonical(text)?),
        ScalarType::Oid | ScalarType::Xid => Datum::Oid(number::parse_oid(text, ty.sql_name())?),
        ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace => {
            Datum::Oid(parse_registered(text, ty)?)
        }
        ScalarType::Int2vector | ScalarType::Oidvector => array::parse_plain_vector(text, ty)?,
        ScalarType::Vector => {
            let expected = TypeWithModifier { ty: PgType::Scalar(ty), modifier }.vector_dims();
            Datum::Vector(vector::parse(text, expected)?)
        }
        ScalarType::Halfvec => {
            let expected = TypeWithModifier { ty: PgType::Scalar(ty), modifier }.dimensions();
            Datum::Halfvec(vector::parse_half(text, expected)?)
        }
        ScalarType::Sparsevec => {
            let expected = TypeWithModifier { ty: PgType::Scalar(ty), modifier }.dimensions();
            Datum::Sparsevec(vector::parse_sparse(text, expected)?.into())
        }
        ScalarType::Bit | ScalarType::Varbit => Datum::Bits(bits::parse(text, ty, modifier)?.into()),
        ScalarType::Void => Datum::Text(String::new()),
        ScalarType::Record => {
            return Err(SqlError::new(
                SqlState::FeatureNotSupported,
                "input of anonymous composite types is not implemented",
            ));
        }
    })
}

/// Appends the text form of a value of `ty`; NULL appends nothing.
pub fn write_text(datum: &Datum, ty: PgType, zone: Tz, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Datum::Int2(value) => number::write_int(i64::from(*value), out),
        Datum::Int4(value) => number::write_int(i64::from(*value), out),
        Datum::Int8(value) => number::write_int(*value, out),
        Datum::Float4(value) => number::write_float4(*value, out),
        Datum::Float8(value) => number::write_float8(*value, out),
        Datum::Numeric(value) => number::write_numeric(value, out),
        Datum::Text(value) | Datum::Jsonb(value) => out.extend_from_slice(value.as_bytes()),
        Datum::Bytea(value) => bytea::write(value, out),
        Datum::Date(value) => datetime::write_date(*value, out),
        Datum::Time(value) => datetime::write_time(*value, out),
        Datum::Timestamp(value) => datetime::write_timestamp(*value, out),
        Datum::Timestamptz(value) => datetime::write_timestamptz(*value, zone, out),
        Datum::Interval(value) => interval::write(*value, out),
        Datum::Uuid(value) => write_uuid(value, out),
        Datum::Oid(value) => match ty {
            PgType::Scalar(ScalarType::Regtype) => write_type_name(*value, out),
            PgType::Scalar(ScalarType::Regclass | ScalarType::Regproc | ScalarType::Regnamespace) if *value == 0 => {
                out.push(b'-');
            }
            _ => number::write_int(i64::from(*value), out),
        },
        Datum::Vector(value) => vector::write(value.iter().copied(), out),
        Datum::Halfvec(value) => vector::write(value.iter().map(|&component| halfvec::widened(component)), out),
        Datum::Sparsevec(value) => vector::write_sparse(value, out),
        Datum::Bits(value) => bits::write(value, out),
        Datum::Array(value) => match ty {
            PgType::Scalar(ScalarType::Int2vector | ScalarType::Oidvector) => array::write_plain_vector(value, out),
            _ => array::write(value, zone, out),
        },
    }
}

/// The text form of a value of `ty`; empty for NULL.
pub fn to_text(datum: &Datum, ty: PgType, zone: Tz) -> String {
    let mut out = Vec::new();
    write_text(datum, ty, zone, &mut out);
    // Every writer above appends UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

/// A `real` as it is written in a message.
pub(crate) fn float4_text(value: f32) -> String {
    to_text(&Datum::Float4(value), PgType::Scalar(ScalarType::Float4), Tz::UTC)
}

/// `22P02`: the text is no value of the type.
pub(crate) fn invalid_syntax(type_name: &str, text: &str) -> SqlError {
    SqlError::new(
        SqlState::InvalidTextRepresentation,
        format!("invalid input syntax for type {type_name}: \"{}\"", shortened(text)),
    )
}

/// At most the first 1,024 bytes: an error message is no place for a whole document.
pub(crate) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(1024)]
}

/// C's `isspace` in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// `text` without the blanks around it.
pub(crate) fn trim_spaces(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii() && is_space(c as u8))
}

fn parse_bool(text: &str) -> Result<bool> {
    let word = trim_spaces(text).to_ascii_lowercase();
    let is_prefix = |of: &str, at_least: usize| word.len() >= at_least && of.starts_with(word.as_str());
    if word == "1" || word == "on" || is_prefix("true", 1) || is_prefix("yes", 1) {
        Ok(true)
    } else if word == "0" || is_prefix("off", 2) || is_prefix("false", 1) || is_prefix("no", 1) {
        Ok(false)
    } else {
        Err(invalid_syntax("boolean", text))
    }
}

fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let digits = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'));
    digits.and_then(uuid_digits).ok_or_else(|| invalid_syntax("uuid", text))
}

/// 32 hexadecimal digits; a hyphen may follow any group of four but the last.
fn uuid_digits(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let mut rest = text.as_bytes();
    for (i, byte) in bytes.iter_mut().enumerate() {
        let (pair, after) = rest.split_at_checked(2)?;
        *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
        rest = after;
        if i % 2 == 1 && i < 15 && rest.first() == Some(&b'-') {
            rest = &rest[1..];
        }
    }
    rest.is_empty().then_some(bytes)
}

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

pub(crate) const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn write_uuid(value: &[u8; 16], out: &mut Vec<u8>) {
    for (i, byte) in value.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX_DIGITS[usize::from(byte >> 4)]);
        out.push(HEX_DIGITS[usize::from(byte & 15)]);
    }
}

/// A `reg*` value: a number, `-` for none, or the name of a type. Other names need the catalog.
fn parse_registered(text: &str, ty: ScalarType) -> Result<u32> {
    if text == "-" {
        return Ok(0);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number::parse_oid(text, ty.sql_name());
    }
    let (state, what) = match ty {
        ScalarType::Regclass => (SqlState::UndefinedTable, "relation"),
        ScalarType::Regproc => (SqlState::UndefinedFunction, "function"),
        ScalarType::Regnamespace => (SqlState::InvalidSchemaName, "schema"),
        _ => match type_by_name(text) {
            Some(ty) => return Ok(ty.oid()),
            None => (SqlState::UndefinedObject, "type"),
        },
    };
    Err(SqlError::new(state, format!("{what} \"{}\" does not exist", shortened(text))))
}

/// The type with this `typname` or SQL name; `[]` behind it makes an array.
fn type_by_name(text: &str) -> Option<PgType> {
    let trimmed = trim_spaces(text);
    let trimmed = trimmed.strip_prefix("pg_catalog.").or_else(|| trimmed.strip_prefix("public.")).unwrap_or(trimmed);
    let (name, array) = match trimmed.strip_suffix("[]") {
        Some(name) => (trim_spaces(name), true),
        None => (trimmed, false),
    };
    let (name, array) = match name.strip_prefix('_') {
        Some(element) if !array => (element, true),
        _ => (name, array),
    };
    // A quoted name keeps its case; `"char"` is listed with its quotes, which tell it from `char`.
    let name = match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some("char") => name.to_owned(),
        Some(quoted) => quoted.to_owned(),
        None => name.to_ascii_lowercase(),
    };
    let scalar = match name.as_str() {
        "int" => Some(ScalarType::Int4),
        "decimal" => Some(ScalarType::Numeric),
        "float" => Some(ScalarType::Float8),
        "timestamp without time zone" => Some(ScalarType::Timestamp),
        "char" if array && trimmed.starts_with('_') => Some(ScalarType::Char),
        "char" => Some(ScalarType::Bpchar),
        _ => ScalarType::ALL.iter().copied().find(|ty| ty.typname() == name || ty.sql_name() == name),
    }?;
    (!array || scalar.array_oid() != 0).then_some(if array { PgType::Array(scalar) } else { PgType::Scalar(scalar) })
}

fn write_type_name(oid: u32, out: &mut Vec<u8>) {
    match PgType::from_oid(oid) {
        Some(ty) => out.extend_from_slice(ty.sql_name().as_bytes()),
        None if oid == 0 => out.push(b'-'),
        None => number::write_int(i64::from(oid), out),
    }
}
