//! Casts: which types become which, where that happens unasked, and what it does to a value.
//!
//! The table is PostgreSQL's `pg_cast` with pgvector's rows, and behind it the casts through the text form: to a
//! string type in an assignment, from a string type when asked for.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use chrono_tz::Tz;
use num_traits::ToPrimitive;

use crate::bits::Bits;
use crate::datum::{ArrayDatum, Datum};
use crate::error::{Result, SqlError, SqlState};
use crate::sparsevec::SparseVector;
use crate::text::datetime::{self, DAY};
use crate::text::json::{self, Json};
use crate::text::{array, bits, interval, number, parse_text_in, string, to_text};
use crate::types::{PgType, ScalarType, TypeWithModifier};
use crate::{halfvec, vector};

#[cfg(test)]
mod tests;

/// Where a cast happens; each context allows what the ones before it allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CastContext {
    /// Unasked, in an expression.
    Implicit,
    /// Storing into a column.
    Assignment,
    /// `CAST` or `::`.
    Explicit,
}

/// What of the session a cast depends on.
#[derive(Clone, Copy, Debug)]
pub struct CastEnvironment {
    /// The session's time zone.
    pub zone: Tz,
    /// The start of the transaction, in microseconds since 1970-01-01 UTC: the `'now'` of a text.
    pub now_us: i64,
}

impl CastEnvironment {
    /// UTC, now.
    pub fn utc() -> Self {
        Self { zone: Tz::UTC, now_us: chrono::Utc::now().timestamp_micros() }
    }
}

/// The least context that converts between two scalar types by `pg_cast`, the text form aside.
fn listed_context(from: ScalarType, to: ScalarType) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    use ScalarType as T;
    let registered = |ty| matches!(ty, T::Regclass | T::Regtype | T::Regproc | T::Regnamespace);
    Some(match (from, to) {
        (T::Unknown, _) => Implicit,
        (from, to) if from == to => Implicit,
        (T::Int2, T::Int4 | T::Int8 | T::Float4 | T::Float8 | T::Numeric) => Implicit,
        (T::Int4, T::Int8 | T::Float4 | T::Float8 | T::Numeric) => Implicit,
        (T::Int4, T::Int2) => Assignment,
        (T::Int4, T::Bool | T::Char) | (T::Bool | T::Char, T::Int4) => Explicit,
        (T::Int8, T::Float4 | T::Float8 | T::Numeric) => Implicit,
        (T::Int8, T::Int2 | T::Int4) => Assignment,
        (T::Int2 | T::Int4 | T::Int8, T::Oid) => Implicit,
        (T::Int2 | T::Int4 | T::Int8, to) if registered(to) => Implicit,
        (T::Oid, T::Int4 | T::Int8) => Assignment,
        (T::Oid, to) if registered(to) => Implicit,
        (from, T::Oid) if registered(from) => Implicit,
        (from, T::Int4 | T::Int8) if registered(from) => Assignment,
        (T::Float4, T::Float8) => Implicit,
        (T::Float4, T::Int2 | T::Int4 | T::Int8 | T::Numeric) => Assignment,
        (T::Float8, T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Numeric) => Assignment,
        (T::Numeric, T::Float4 | T::Float8) => Implicit,
        (T::Numeric, T::Int2 | T::Int4 | T::Int8) => Assignment,
        (T::Text, T::Varchar | T::Bpchar | T::Name | T::Regclass) => Implicit,
        (T::Varchar, T::Text | T::Bpchar | T::Name | T::Regclass) => Implicit,
        (T::Bpchar, T::Text | T::Varchar | T::Name) => Implicit,
        (T::Name, T::Text) | (T::Char, T::Text) => Implicit,
        (T::Name | T::Char, T::Varchar | T::Bpchar) => Assignment,
        (T::Text | T::Varchar | T::Bpchar, T::Char) => Assignment,
        (T::Date, T::Timestamp | T::Timestamptz) => Implicit,
        (T::Time, T::Interval) => Implicit,
        (T::Timestamp, T::Timestamptz) => Implicit,
        (T::Timestamp, T::Date | T::Time) => Assignment,
        (T::Timestamptz, T::Date | T::Time | T::Timestamp) => Assignment,
        (T::Interval, T::Time) => Assignment,
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => Assignment,
        (T::Jsonb, T::Bool | T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Float8 | T::Numeric) => Explicit,
        (T::Vector, T::Halfvec | T::Sparsevec) | (T::Halfvec, T::Sparsevec) => Implicit,
        (T::Halfvec | T::Sparsevec, T::Vector) | (T::Sparsevec, T::Halfvec) => Assignment,
        (T::Bit, T::Varbit) | (T::Varbit, T::Bit) => Implicit,
        (T::Int4 | T::Int8, T::Bit) | (T::Bit, T::Int4 | T::Int8) => Explicit,
        _ => return None,
    })
}

fn is_string(ty: PgType) -> bool {
    matches!(ty, PgType::Scalar(ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Name))
}

/// How a value gets from one type to another.
#[derive(Clone, Copy, PartialEq)]
enum Road {
    /// The value itself, up to its modifier.
    Same,
    /// A conversion of scalars by their listed cast.
    Listed,
    /// Each element by its own cast.
    Elements,
    /// A numeric array becomes a vector of any kind.
    ArrayToVector,
    /// A dense vector becomes `real[]`.
    VectorToArray,
    /// `int2vector` and `oidvector` are arrays.
    PlainVector,
    /// Through the text form.
    Text,
}

fn road(from: PgType, to: PgType, context: CastContext) -> Option<Road> {
    use PgType::{Array, Scalar};
    use ScalarType as T;
    if from == to {
        return Some(Road::Same);
    }
    let listed = match (from, to) {
        (Scalar(T::Unknown), _) => Some((CastContext::Implicit, Road::Text)),
        (Scalar(from), Scalar(to)) => listed_context(from, to).map(|least| (least, Road::Listed)),
        (Array(T::Int4 | T::Float4 | T::Float8 | T::Numeric), Scalar(T::Vector | T::Halfvec | T::Sparsevec)) => {
            Some((CastContext::Assignment, Road::ArrayToVector))
        }
        (Scalar(T::Vector), Array(T::Float4)) => Some((CastContext::Implicit, Road::VectorToArray)),
        (Scalar(T::Halfvec), Array(T::Float4)) => Some((CastContext::Assignment, Road::VectorToArray)),
        (Scalar(T::Int2vector), Array(T::Int2)) | (Scalar(T::Oidvector), Array(T::Oid)) => {
            Some((CastContext::Implicit, Road::PlainVector))
        }
        (Scalar(T::Int2vector), Array(_)) => return road(Array(T::Int2), to, context),
        (Scalar(T::Oidvector), Array(_)) => return road(Array(T::Oid), to, context),
        (Array(from), Array(to)) => {
            let least = [CastContext::Implicit, CastContext::Assignment, CastContext::Explicit]
                .into_iter()
                .find(|&least| road(Scalar(from), Scalar(to), least).is_some());
            least.map(|least| (least, Road::Elements))
        }
        _ => None,
    };
    match listed {
        Some((least, road)) if context >= least => return Some(road),
        Some((_, Road::Elements)) => return None,
        _ => {}
    }
    let pseudo = |ty| matches!(ty, Scalar(T::Void));
    if pseudo(from) || pseudo(to) {
        return None;
    }
    if (is_string(to) && context >= CastContext::Assignment) || (is_string(from) && context == CastContext::Explicit) {
        return Some(Road::Text);
    }
    None
}

/// Whether a value of `from` becomes one of `to` in this context.
pub fn can_cast(from: impl Into<PgType>, to: impl Into<PgType>, context: CastContext) -> bool {
    road(from.into(), to.into(), context).is_some()
}

/// Whether a cast gives the same in every session and at any time, as PostgreSQL marks the functions behind it.
pub fn is_immutable(from: PgType, to: PgType) -> bool {
    use ScalarType as T;
    let is_day = |ty| matches!(ty, T::Date | T::Timestamp | T::Timestamptz);
    let is_named = |ty| matches!(ty, T::Regclass | T::Regtype | T::Regproc | T::Regnamespace | T::Record);
    match (from, to) {
        (PgType::Array(from), PgType::Array(to)) => is_immutable(PgType::Scalar(from), PgType::Scalar(to)),
        // The text of an array is that of its elements.
        (PgType::Array(_), other) | (other, PgType::Array(_)) => !is_string(other),
        (PgType::Scalar(a), PgType::Scalar(b)) => match (is_string(from), is_string(to)) {
            (true, true) => true,
            (true, false) => !is_day(b) && !is_named(b) && !matches!(b, T::Time | T::Interval),
            (false, true) => !is_day(a) && !is_named(a),
            (false, false) => a == b || (a != T::Timestamptz && b != T::Timestamptz),
        },
    }
}

/// Converts a value; the modifier of the new type is applied as the context wants it (an explicit cast cuts strings
/// that storing refuses).
pub fn cast(
    datum: Datum,
    from: PgType,
    to: TypeWithModifier,
    context: CastContext,
    environment: &CastEnvironment,
) -> Result<Datum> {
    let Some(road) = road(from, to.ty, context) else { return Err(cannot_cast(from, to.ty, context)) };
    if datum.is_null() {
        return Ok(Datum::Null);
    }
    let explicit = context == CastContext::Explicit;
    match road {
        Road::Same => apply_modifier(datum, to, explicit),
        Road::Listed => match (from, to.ty) {
            // The modifier says how many bits of the integer are taken; without one it is the last.
            (PgType::Scalar(ScalarType::Int4 | ScalarType::Int8), PgType::Scalar(ScalarType::Bit)) => {
                let length = to.modifier.max(1) as usize;
                match datum {
                    Datum::Int4(value) => Ok(Datum::Bits(Bits::from_integer(i64::from(value), length).into())),
                    Datum::Int8(value) => Ok(Datum::Bits(Bits::from_integer(value, length).into())),
                    _ => Err(wrong_value(from)),
                }
            }
            (PgType::Scalar(from), PgType::Scalar(scalar)) => {
                apply_modifier(convert(datum, from, scalar, environment)?, to, explicit)
            }
            _ => Err(wrong_value(from)),
        },
        Road::Elements => match (datum, array_element(from), to.ty) {
            (Datum::Array(array), Some(from), PgType::Array(element)) => {
                let target = TypeWithModifier { ty: PgType::Scalar(element), modifier: to.modifier };
                let elements = array
                    .elements
                    .into_iter()
                    .map(|datum| cast(datum, PgType::Scalar(from), target, context, environment))
                    .collect::<Result<Vec<_>>>()?;
                Ok(Datum::Array(Box::new(ArrayDatum { element, dimensions: array.dimensions, elements })))
            }
            _ => Err(wrong_value(from)),
        },
        Road::ArrayToVector => match datum {
            Datum::Array(array) => array_to_vector(&array, to),
            _ => Err(wrong_value(from)),
        },
        Road::VectorToArray => {
            let elements: Vec<Datum> = match datum {
                Datum::Vector(vector) => vector.iter().map(|&component| Datum::Float4(component)).collect(),
                Datum::Halfvec(vector) => vector.iter().map(|&bits| Datum::Float4(halfvec::widened(bits))).collect(),
                _ => return Err(wrong_value(from)),
            };
            Ok(Datum::Array(Box::new(ArrayDatum {
                element: ScalarType::Float4,
                dimensions: vec![(elements.len() as u32, 1)],
                elements,
            })))
        }
        Road::PlainVector => Ok(datum),
        Road::Text => {
            let text = match datum {
                Datum::Text(text) => text,
                // `true` and `false` in full: only the output function shortens them.
                Datum::Bool(value) if to.ty != PgType::Scalar(ScalarType::Name) => value.to_string(),
                datum => to_text(&datum, from, environment.zone),
            };
            match to.ty {
                PgType::Scalar(scalar) if is_string(to.ty) => {
                    Ok(Datum::Text(string::apply_modifier(text, scalar, to.modifier, explicit)?))
                }
                _ => {
                    let plain = TypeWithModifier { ty: to.ty, modifier: -1 };
                    match to.ty {
                        // A modifier of strings cuts when asked for; the input function would refuse.
                        PgType::Array(
                            ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Bit | ScalarType::Varbit,
                        )
                        | PgType::Scalar(ScalarType::Bit | ScalarType::Varbit) => {
                            apply_modifier(parse_text_in(&text, plain, environment)?, to, explicit)
                        }
                        _ => parse_text_in(&text, to, environment),
                    }
                }
            }
        }
    }
}

fn cannot_cast(from: PgType, to: PgType, context: CastContext) -> SqlError {
    let (state, what) = match context {
        CastContext::Explicit => (SqlState::CannotCoerce, "cannot cast type"),
        CastContext::Assignment | CastContext::Implicit => (SqlState::DatatypeMismatch, "cannot convert type"),
    };
    SqlError::new(state, format!("{what} {} to {}", from.sql_name(), to.sql_name()))
}

fn wrong_value(ty: PgType) -> SqlError {
    SqlError::internal(format_args!("a value that is not of type {}", ty.sql_name()))
}

/// Brings a value of the type itself into the form its modifier demands.
pub fn apply_modifier(datum: Datum, ty: TypeWithModifier, explicit: bool) -> Result<Datum> {
    let modifier = ty.modifier;
    Ok(match (datum, ty.ty) {
        (Datum::Text(text), PgType::Scalar(scalar)) => {
            Datum::Text(string::apply_modifier(text, scalar, modifier, explicit)?)
        }
        (datum, _) if modifier < 0 => datum,
        (Datum::Numeric(value), _) => Datum::Numeric(number::apply_modifier(value, modifier)?),
        (Datum::Time(value), _) => Datum::Time(datetime::round_to_modifier(value, modifier)),
        (Datum::Timestamp(value), _) => Datum::Timestamp(datetime::timestamp_with_modifier(value, modifier)?),
        (Datum::Timestamptz(value), _) => Datum::Timestamptz(datetime::timestamp_with_modifier(value, modifier)?),
        (Datum::Interval(value), _) => Datum::Interval(interval::apply_modifier(value, modifier)),
        (Datum::Vector(value), _) => {
            vector::check_expected_dimensions(ty.dimensions(), value.len())?;
            Datum::Vector(value)
        }
        (Datum::Halfvec(value), _) => {
            vector::check_expected_dimensions(ty.dimensions(), value.len())?;
            Datum::Halfvec(value)
        }
        (Datum::Sparsevec(value), _) => {
            vector::check_expected_dimensions(ty.dimensions(), value.dimensions() as usize)?;
            Datum::Sparsevec(value)
        }
        (Datum::Bits(value), PgType::Scalar(scalar)) => {
            let value = Arc::unwrap_or_clone(value);
            Datum::Bits(if explicit {
                bits::fitted(value, scalar, modifier).into()
            } else {
                bits::check_length(value, scalar, modifier)?.into()
            })
        }
        (Datum::Array(mut array), PgType::Array(element)) => {
            let target = TypeWithModifier { ty: PgType::Scalar(element), modifier };
            array.elements = array
                .elements
                .into_iter()
                .map(|datum| apply_modifier(datum, target, explicit))
                .collect::<Result<Vec<_>>>()?;
            Datum::Array(array)
        }
        (datum, _) => datum,
    })
}

fn array_to_vector(array: &ArrayDatum, to: TypeWithModifier) -> Result<Datum> {
    if array.dimensions.len() > 1 {
        return Err(SqlError::new(SqlState::DataException, "array must be 1-D"));
    }
    if array.elements.iter().any(Datum::is_null) {
        return Err(SqlError::new(SqlState::NullValueNotAllowed, "array must not contain nulls"));
    }
    let components = array
        .elements
        .iter()
        .map(|element| match element {
            Datum::Int4(value) => Ok(*value as f32),
            Datum::Float4(value) => Ok(*value),
            Datum::Float8(value) => Ok(*value as f32),
            Datum::Numeric(value) => numeric_to_float4(value),
            _ => Err(wrong_value(PgType::Array(array.element))),
        })
        .collect::<Result<Vec<f32>>>()?;
    dense(&components, to)
}

/// Components as a vector of the type wanted.
fn dense(components: &[f32], to: TypeWithModifier) -> Result<Datum> {
    let vector = match to.ty {
        PgType::Scalar(ScalarType::Halfvec) => Datum::Halfvec(halfvec::narrow(components)?),
        PgType::Scalar(ScalarType::Sparsevec) => Datum::Sparsevec(SparseVector::from_dense(components)?.into()),
        _ => {
            vector::check_components(components)?;
            Datum::Vector(components.into())
        }
    };
    apply_modifier(vector, to, true)
}

/// `22003`: the number does not fit the integer type.
fn out_of_range(to: ScalarType) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, format!("{} out of range", to.sql_name()))
}

fn integer(value: i64, to: ScalarType) -> Result<Datum> {
    match to {
        ScalarType::Int2 => i16::try_from(value).map(Datum::Int2),
        ScalarType::Int4 => i32::try_from(value).map(Datum::Int4),
        _ => return Ok(Datum::Int8(value)),
    }
    .map_err(|_| out_of_range(to))
}

/// A float as an integer, rounded half to even as C's `rint` does.
fn float_to_integer(value: f64, to: ScalarType) -> Result<Datum> {
    let rounded = value.round_ties_even();
    // The bounds of bigint as doubles: the upper one is the first that does not fit.
    if rounded.is_nan() || !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
        return Err(out_of_range(to));
    }
    integer(rounded as i64, to)
}

fn numeric_to_float8(value: &BigDecimal) -> Result<f64> {
    let mut text = Vec::new();
    number::write_numeric(value, &mut text);
    number::parse_float8(&String::from_utf8_lossy(&text))
}

fn numeric_to_float4(value: &BigDecimal) -> Result<f32> {
    let mut text = Vec::new();
    number::write_numeric(value, &mut text);
    number::parse_float4(&String::from_utf8_lossy(&text))
}

/// A float as a numeric of so many significant digits: what the float type promises to keep.
fn float_to_numeric(value: f64, significant: usize) -> Result<BigDecimal> {
    if !value.is_finite() {
        let what = if value.is_nan() { "NaN" } else { "infinity" };
        return Err(SqlError::unsupported(format_args!("{what} in numeric")));
    }
    // A tiny number loses digits rather than failing: the float was never exact.
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i64 };
    let excess = significant as i64 - 1 - exponent - number::MAX_DIGITS as i64;
    let Ok(keep) = usize::try_from(significant as i64 - 1 - excess.max(0)) else {
        return Ok(BigDecimal::from(0));
    };
    let scientific = format!("{value:.keep$e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    // C's %g drops the zeros at the end.
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    number::parse_numeric(&format!("{digits}e{exponent}"))
}

fn float8_to_float4(value: f64) -> Result<f32> {
    let result = value as f32;
    let problem = if result.is_infinite() && value.is_finite() {
        "overflow"
    } else if result == 0.0 && value != 0.0 {
        "underflow"
    } else {
        return Ok(result);
    };
    Err(SqlError::new(SqlState::NumericValueOutOfRange, format!("value out of range: {problem}")))
}

/// A value as the number `pg_cast` converts from.
fn convert(datum: Datum, from: ScalarType, to: ScalarType, environment: &CastEnvironment) -> Result<Datum> {
    use ScalarType as T;
    Ok(match (datum, to) {
        (datum, to) if from == to => datum,
        (Datum::Text(text), T::Char) if matches!(from, T::Text | T::Varchar | T::Bpchar) => {
            Datum::Text(string::first_char(&text)?)
        }
        (Datum::Text(text), T::Int4) if from == T::Char => {
            Datum::Int4(text.as_bytes().first().map_or(0, |&byte| i32::from(byte as i8)))
        }
        (Datum::Text(text), T::Text | T::Varchar | T::Name) if from == T::Bpchar => {
            Datum::Text(string::without_padding(text))
        }
        (Datum::Text(text), T::Text | T::Varchar | T::Bpchar | T::Name) => Datum::Text(text),
        (Datum::Text(text), to) => parse_text_in(&text, TypeWithModifier::plain(to), environment)?,
        (Datum::Jsonb(text), T::Json) => Datum::Text(text),
        (Datum::Jsonb(text), to) => jsonb_to_scalar(&text, to)?,
        (Datum::Bool(value), T::Int4) => Datum::Int4(i32::from(value)),
        (Datum::Int4(value), T::Bool) => Datum::Bool(value != 0),
        (Datum::Int4(value), T::Char) => match u8::try_from(value) {
            Ok(0) => Datum::Text(String::new()),
            Ok(byte) if byte.is_ascii() => Datum::Text(char::from(byte).to_string()),
            _ => return Err(SqlError::new(SqlState::NumericValueOutOfRange, "\"char\" out of range")),
        },
        (Datum::Vector(value), T::Halfvec | T::Sparsevec) => dense(&value, TypeWithModifier::plain(to))?,
        (Datum::Halfvec(value), T::Vector | T::Sparsevec) => {
            dense(&halfvec::widen(&value), TypeWithModifier::plain(to))?
        }
        (Datum::Sparsevec(value), T::Vector | T::Halfvec) => {
            // Before room is made for them: there may be 1,000,000,000.
            let dimensions = value.dimensions() as usize;
            if to == T::Halfvec {
                halfvec::check_dimensions(dimensions)?
            } else {
                vector::check_dimensions(dimensions)?
            }
            dense(&value.to_dense(), TypeWithModifier::plain(to))?
        }
        (Datum::Bits(value), T::Bit | T::Varbit) => Datum::Bits(value),
        (Datum::Bits(value), T::Int4 | T::Int8) => {
            let width = if to == T::Int4 { 32 } else { 64 };
            integer(value.to_integer(width).ok_or_else(|| out_of_range(to))?, to)?
        }
        (Datum::Int2(value), to) => from_integer(i64::from(value), from, to)?,
        (Datum::Int4(value), to) => from_integer(i64::from(value), from, to)?,
        (Datum::Int8(value), to) => from_integer(value, from, to)?,
        (Datum::Oid(value), T::Int4) => Datum::Int4(value as i32),
        (Datum::Oid(value), T::Int8) => Datum::Int8(i64::from(value)),
        (Datum::Oid(value), T::Oid | T::Regclass | T::Regtype | T::Regproc | T::Regnamespace) => Datum::Oid(value),
        (Datum::Float4(value), T::Float8) => Datum::Float8(f64::from(value)),
        (Datum::Float4(value), T::Numeric) => Datum::Numeric(float_to_numeric(f64::from(value), 6)?),
        (Datum::Float4(value), to) => float_to_integer(f64::from(value), to)?,
        (Datum::Float8(value), T::Float4) => Datum::Float4(float8_to_float4(value)?),
        (Datum::Float8(value), T::Numeric) => Datum::Numeric(float_to_numeric(value, 15)?),
        (Datum::Float8(value), to) => float_to_integer(value, to)?,
        (Datum::Numeric(value), T::Float4) => Datum::Float4(numeric_to_float4(&value)?),
        (Datum::Numeric(value), T::Float8) => Datum::Float8(numeric_to_float8(&value)?),
        (Datum::Numeric(value), to) => integer(number::numeric_to_i64(&value).ok_or_else(|| out_of_range(to))?, to)?,
        (Datum::Date(day), to @ (T::Timestamp | T::Timestamptz)) => date_to_timestamp(day, to, environment)?,
        (Datum::Time(value), T::Interval) => {
            Datum::Interval(crate::datum::Interval { months: 0, days: 0, microseconds: value })
        }
        (Datum::Interval(value), T::Time) => Datum::Time(value.microseconds.rem_euclid(DAY)),
        (Datum::Timestamp(value), to) => from_timestamp(value, to, environment)?,
        (Datum::Timestamptz(value), to) => {
            let finite = value != i64::MAX && value != i64::MIN;
            let local = if finite { datetime::utc_to_local(value, environment.zone) } else { value };
            match to {
                T::Timestamp if finite && !datetime::is_valid_timestamp(local) => {
                    return Err(datetime::timestamp_out_of_range());
                }
                T::Timestamp => Datum::Timestamp(local),
                _ => from_timestamp(local, to, environment)?,
            }
        }
        _ => return Err(wrong_value(PgType::Scalar(from))),
    })
}

fn from_integer(value: i64, from: ScalarType, to: ScalarType) -> Result<Datum> {
    use ScalarType as T;
    Ok(match to {
        T::Int2 | T::Int4 | T::Int8 => integer(value, to)?,
        T::Float4 => Datum::Float4(value as f32),
        T::Float8 => Datum::Float8(value as f64),
        T::Numeric => Datum::Numeric(BigDecimal::from(value)),
        // The narrow integers are taken bit for bit, bigint must fit.
        T::Oid | T::Regclass | T::Regtype | T::Regproc | T::Regnamespace => match from {
            T::Int8 => Datum::Oid(
                u32::try_from(value)
                    .map_err(|_| SqlError::new(SqlState::NumericValueOutOfRange, "OID out of range"))?,
            ),
            _ => Datum::Oid(value as i32 as u32),
        },
        _ => return Err(wrong_value(PgType::Scalar(from))),
    })
}

fn date_to_timestamp(day: i32, to: ScalarType, environment: &CastEnvironment) -> Result<Datum> {
    let too_far = || SqlError::new(SqlState::DatetimeFieldOverflow, "date out of range for timestamp");
    let local = match day {
        i32::MAX => i64::MAX,
        i32::MIN => i64::MIN,
        _ => datetime::timestamp_of(i64::from(day), 0).ok_or_else(too_far)?,
    };
    if to == ScalarType::Timestamp { Ok(Datum::Timestamp(local)) } else { from_timestamp(local, to, environment) }
}

fn from_timestamp(value: i64, to: ScalarType, environment: &CastEnvironment) -> Result<Datum> {
    let infinite = value == i64::MAX || value == i64::MIN;
    Ok(match to {
        ScalarType::Timestamptz if infinite => Datum::Timestamptz(value),
        ScalarType::Timestamptz => Datum::Timestamptz(
            datetime::local_to_utc(value, environment.zone).ok_or_else(datetime::timestamp_out_of_range)?,
        ),
        ScalarType::Date if infinite => Datum::Date(if value > 0 { i32::MAX } else { i32::MIN }),
        // A timestamp's days always fit.
        ScalarType::Date => Datum::Date(value.div_euclid(DAY) as i32),
        ScalarType::Time if infinite => Datum::Null,
        ScalarType::Time => Datum::Time(value.rem_euclid(DAY)),
        _ => return Err(wrong_value(PgType::Scalar(ScalarType::Timestamp))),
    })
}

fn jsonb_to_scalar(text: &str, to: ScalarType) -> Result<Datum> {
    let cannot = |kind: &str| {
        SqlError::new(SqlState::InvalidParameterValue, format!("cannot cast jsonb {kind} to type {}", to.sql_name()))
    };
    match json::parse(text)? {
        Json::Bool(value) if to == ScalarType::Bool => Ok(Datum::Bool(value)),
        Json::Number(digits) if to != ScalarType::Bool => {
            let value = number::parse_numeric(&digits)?;
            Ok(match to {
                ScalarType::Numeric => Datum::Numeric(value),
                ScalarType::Float4 => Datum::Float4(numeric_to_float4(&value)?),
                ScalarType::Float8 => Datum::Float8(numeric_to_float8(&value)?),
                _ => {
                    let value = number::round_numeric(&value, 0).to_i64().ok_or_else(|| out_of_range(to))?;
                    integer(value, to)?
                }
            })
        }
        Json::Null => Err(cannot("null")),
        Json::Bool(_) => Err(cannot("boolean")),
        Json::Number(_) => Err(cannot("numeric")),
        Json::String(_) => Err(cannot("string")),
        Json::Array(_) => Err(cannot("array")),
        Json::Object(_) => Err(cannot("object")),
    }
}

/// The element type of an array-like type: of `int2vector` and `oidvector` too.
pub(crate) fn array_element(ty: PgType) -> Option<ScalarType> {
    match ty {
        PgType::Array(element) => Some(element),
        PgType::Scalar(ty @ (ScalarType::Int2vector | ScalarType::Oidvector)) => Some(array::plain_vector_element(ty)),
        PgType::Scalar(_) => None,
    }
}
