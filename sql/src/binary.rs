//! The binary form of every type, as PostgreSQL's receive and send functions have it.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use num_bigint::{BigInt, Sign};
use num_traits::{ToPrimitive, Zero};

use crate::bits::{Bits, MAX_LENGTH};
use crate::cast::{self, array_element};
use crate::datum::{ArrayDatum, Datum, Interval};
use crate::error::{Result, SqlError, SqlState};
use crate::sparsevec::SparseVector;
use crate::text::array::{MAX_ARRAY_DIMENSIONS, plain_vector, too_many_dimensions};
use crate::text::datetime::{self, DAY, PG_EPOCH};
use crate::text::{self, json, number, string};
use crate::types::{PgType, ScalarType, TypeWithModifier};
use crate::{halfvec, sparsevec, vector};

#[cfg(test)]
mod tests;

/// 2000-01-01 in days since 1970: the day PostgreSQL's binary dates count from.
const PG_EPOCH_DAYS: i32 = 10_957;

/// Reads a value of `ty`, all of `bytes`.
pub fn parse_binary(bytes: &[u8], ty: TypeWithModifier) -> Result<Datum> {
    let mut reader = Reader(bytes);
    let datum = match ty.ty {
        PgType::Scalar(scalar) => parse_scalar(&mut reader, scalar, ty.modifier)?,
        PgType::Array(element) => Datum::Array(Box::new(parse_array(&mut reader, element, ty.modifier)?)),
    };
    if reader.0.is_empty() { Ok(datum) } else { Err(invalid("incorrect binary data format")) }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidBinaryRepresentation, message)
}

fn timestamp_out_of_range() -> SqlError {
    datetime::timestamp_out_of_range()
}

/// The bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| SqlError::new(SqlState::ProtocolViolation, "insufficient data left in message"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut result = [0; N];
        result.copy_from_slice(self.bytes(N)?);
        Ok(result)
    }
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }
    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }
    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }
    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }
}

fn parse_scalar(reader: &mut Reader<'_>, ty: ScalarType, modifier: i32) -> Result<Datum> {
    Ok(match ty {
        ScalarType::Bool => Datum::Bool(reader.array::<1>()? != [0]),
        ScalarType::Int2 => Datum::Int2(reader.i16()?),
        ScalarType::Int4 => Datum::Int4(reader.i32()?),
        ScalarType::Int8 => Datum::Int8(reader.i64()?),
        ScalarType::Float4 => Datum::Float4(f32::from_bits(reader.u32()?)),
        ScalarType::Float8 => Datum::Float8(f64::from_be_bytes(reader.array()?)),
        ScalarType::Numeric => Datum::Numeric(number::apply_modifier(parse_numeric(reader)?, modifier)?),
        ScalarType::Text | ScalarType::Unknown | ScalarType::Varchar | ScalarType::Bpchar => {
            let text = string::from_utf8(reader.rest())?;
            Datum::Text(string::apply_modifier(text.to_owned(), ty, modifier, false)?)
        }
        ScalarType::Name => {
            let text = string::from_utf8(reader.rest())?;
            if text.len() > 63 {
                return Err(SqlError::new(SqlState::DataException, "identifier too long")
                    .with_detail("Identifier must be less than 64 characters."));
            }
            Datum::Text(text.to_owned())
        }
        ScalarType::Char => match reader.array::<1>()? {
            [0] => Datum::Text(String::new()),
            byte => Datum::Text(string::from_utf8(&byte)?.to_owned()),
        },
        ScalarType::Bytea => Datum::Bytea(reader.rest().to_vec()),
        ScalarType::Date => Datum::Date(match reader.i32()? {
            infinite @ (i32::MAX | i32::MIN) => infinite,
            day => day
                .checked_add(PG_EPOCH_DAYS)
                .filter(|&day| datetime::is_valid_day(i64::from(day)))
                .ok_or_else(|| SqlError::new(SqlState::DatetimeFieldOverflow, "date out of range"))?,
        }),
        ScalarType::Time => {
            let value = reader.i64()?;
            if !(0..=DAY).contains(&value) {
                return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "time out of range"));
            }
            Datum::Time(datetime::round_to_modifier(value, modifier))
        }
        ScalarType::Timestamp => Datum::Timestamp(parse_timestamp(reader, modifier)?),
        ScalarType::Timestamptz => Datum::Timestamptz(parse_timestamp(reader, modifier)?),
        ScalarType::Interval => {
            let microseconds = reader.i64()?;
            let days = reader.i32()?;
            let interval = Datum::Interval(Interval { months: reader.i32()?, days, microseconds });
            cast::apply_modifier(interval, TypeWithModifier { ty: ty.into(), modifier }, false)?
        }
        ScalarType::Uuid => Datum::Uuid(reader.array()?),
        ScalarType::Json => {
            let text = string::from_utf8(reader.rest())?;
            json::validate(text)?;
            Datum::Text(text.to_owned())
        }
        ScalarType::Jsonb => {
            let [version] = reader.array::<1>()?;
            if version != 1 {
                return Err(SqlError::internal(format_args!("unsupported jsonb version number {version}")));
            }
            Datum::Jsonb(json::canonical(string::from_utf8(reader.rest())?)?)
        }
        ScalarType::Oid
        | ScalarType::Xid
        | ScalarType::Regclass
        | ScalarType::Regtype
        | ScalarType::Regproc
        | ScalarType::Regnamespace => Datum::Oid(reader.u32()?),
        ScalarType::Int2vector | ScalarType::Oidvector => {
            let element = array_element(PgType::Scalar(ty)).unwrap_or(ScalarType::Int2);
            let array = parse_array(reader, element, -1)?;
            if array.dimensions.len() > 1 || array.elements.iter().any(Datum::is_null) {
                return Err(invalid(format!("invalid {} data", ty.sql_name())));
            }
            Datum::Array(Box::new(plain_vector(element, array.elements)))
        }
        ScalarType::Vector => {
            let expected = TypeWithModifier { ty: ty.into(), modifier }.vector_dims();
            Datum::Vector(parse_vector(reader, expected)?)
        }
        ScalarType::Halfvec => {
            let expected = TypeWithModifier { ty: ty.into(), modifier }.dimensions();
            Datum::Halfvec(parse_halfvec(reader, expected)?)
        }
        ScalarType::Sparsevec => {
            let expected = TypeWithModifier { ty: ty.into(), modifier }.dimensions();
            Datum::Sparsevec(parse_sparsevec(reader, expected)?.into())
        }
        ScalarType::Bit | ScalarType::Varbit => {
            Datum::Bits(text::bits::check_length(parse_bits(reader)?, ty, modifier)?.into())
        }
        ScalarType::Void => {
            reader.rest();
            Datum::Text(String::new())
        }
        ScalarType::Record => {
            return Err(SqlError::new(
                SqlState::FeatureNotSupported,
                "input of anonymous composite types is not implemented",
            ));
        }
    })
}

fn parse_timestamp(reader: &mut Reader<'_>, modifier: i32) -> Result<i64> {
    match reader.i64()? {
        infinite @ (i64::MAX | i64::MIN) => Ok(infinite),
        value => {
            let value = value
                .checked_add(PG_EPOCH)
                .filter(|&value| datetime::is_valid_timestamp(value))
                .ok_or_else(timestamp_out_of_range)?;
            datetime::timestamp_with_modifier(value, modifier)
        }
    }
}

fn parse_vector(reader: &mut Reader<'_>, expected: Option<usize>) -> Result<Arc<[f32]>> {
    let dimensions = reader.i16()?;
    let unused = reader.i16()?;
    let dimensions = usize::try_from(dimensions).unwrap_or(0);
    vector::check_dimensions(dimensions)?;
    vector::check_expected_dimensions(expected, dimensions)?;
    check_unused(i32::from(unused))?;
    let (components, _) = reader.bytes(4 * dimensions)?.as_chunks::<4>();
    // Exactly as many as promised, so the one allocation is of the right size.
    let vector: Arc<[f32]> = components.iter().map(|bytes| f32::from_be_bytes(*bytes)).collect();
    vector::check_components(&vector)?;
    Ok(vector)
}

fn check_unused(unused: i32) -> Result<()> {
    if unused == 0 {
        return Ok(());
    }
    Err(SqlError::new(SqlState::DataException, format!("expected unused to be 0, not {unused}")))
}

fn parse_halfvec(reader: &mut Reader<'_>, expected: Option<usize>) -> Result<Arc<[u16]>> {
    let dimensions = reader.i16()?;
    let unused = reader.i16()?;
    let dimensions = usize::try_from(dimensions).unwrap_or(0);
    halfvec::check_dimensions(dimensions)?;
    vector::check_expected_dimensions(expected, dimensions)?;
    check_unused(i32::from(unused))?;
    let (components, _) = reader.bytes(2 * dimensions)?.as_chunks::<2>();
    let vector: Arc<[u16]> = components.iter().map(|bytes| u16::from_be_bytes(*bytes)).collect();
    halfvec::check_components(&vector)?;
    Ok(vector)
}

fn parse_sparsevec(reader: &mut Reader<'_>, expected: Option<usize>) -> Result<SparseVector> {
    let (dimensions, elements, unused) = (reader.i32()?, reader.i32()?, reader.i32()?);
    let dimensions = sparsevec::check_dimensions(i64::from(dimensions))?;
    let Ok(elements) = usize::try_from(elements) else {
        let message = "sparsevec cannot have negative number of elements";
        return Err(SqlError::new(SqlState::DataException, message));
    };
    sparsevec::check_elements(elements)?;
    if elements > dimensions as usize {
        let message = "sparsevec cannot have more elements than dimensions";
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    vector::check_expected_dimensions(expected, dimensions as usize)?;
    check_unused(unused)?;
    let (indices, _) = reader.bytes(4 * elements)?.as_chunks::<4>();
    let (values, _) = reader.bytes(4 * elements)?.as_chunks::<4>();
    let indices = indices.iter().map(|bytes| i64::from(i32::from_be_bytes(*bytes)));
    SparseVector::from_elements(dimensions, indices.zip(values.iter().map(|bytes| f32::from_be_bytes(*bytes))))
}

fn parse_bits(reader: &mut Reader<'_>) -> Result<Bits> {
    let length = usize::try_from(reader.i32()?).ok().filter(|&length| length <= MAX_LENGTH);
    let length = length.ok_or_else(|| invalid("invalid length in external bit string"))?;
    let bytes = reader.bytes(length.div_ceil(8))?;
    Bits::from_bytes(length, bytes).ok_or_else(|| invalid("invalid length in external bit string"))
}

const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xc000;
const NUMERIC_INFINITY: u16 = 0xd000;
const NUMERIC_NEGATIVE_INFINITY: u16 = 0xf000;

/// Digits of four decimals, the first of them with weight 10000^weight; cut at the display scale.
fn parse_numeric(reader: &mut Reader<'_>) -> Result<BigDecimal> {
    let digits = reader.i16()?;
    let weight = i64::from(reader.i16()?);
    let sign = reader.i16()? as u16;
    let scale = reader.i16()?;
    match sign {
        0 | NUMERIC_NEGATIVE => {}
        NUMERIC_NAN => return Err(SqlError::unsupported("NaN in numeric")),
        NUMERIC_INFINITY | NUMERIC_NEGATIVE_INFINITY => return Err(SqlError::unsupported("infinity in numeric")),
        _ => return Err(invalid("invalid sign in external \"numeric\" value")),
    }
    if !(0..=0x3fff).contains(&scale) {
        return Err(invalid("invalid scale in external \"numeric\" value"));
    }
    let scale = i64::from(scale);
    let count = usize::try_from(digits).map_err(|_| invalid("invalid length in external \"numeric\" value"))?;
    let (groups, _) = reader.bytes(2 * count)?.as_chunks::<2>();
    let mut decimals = Vec::with_capacity(4 * count);
    for group in groups {
        let group = u16::from_be_bytes(*group);
        if group >= 10_000 {
            return Err(invalid("invalid digit in external \"numeric\" value"));
        }
        decimals.extend([group / 1000, group / 100 % 10, group / 10 % 10, group % 10].map(|digit| digit as u8));
    }
    if scale as u64 > number::MAX_DIGITS {
        return Err(number::numeric_overflow());
    }
    // The value is 0.DECIMALS x 10^point; leading zeros go, so the checks below see its true size.
    let leading = decimals.iter().take_while(|&&digit| digit == 0).count();
    decimals.drain(..leading);
    let point = (weight + 1) * 4 - leading as i64;
    let keep = point + scale;
    if decimals.is_empty() || keep <= 0 {
        return Ok(BigDecimal::new(BigInt::zero(), scale));
    }
    if keep as u64 > number::MAX_DIGITS {
        return Err(number::numeric_overflow());
    }
    decimals.resize(keep as usize, 0);
    let sign = if sign == NUMERIC_NEGATIVE { Sign::Minus } else { Sign::Plus };
    let magnitude = BigInt::from_radix_be(sign, &decimals, 10).unwrap_or_default();
    Ok(BigDecimal::new(magnitude, scale))
}

fn parse_array(reader: &mut Reader<'_>, element: ScalarType, modifier: i32) -> Result<ArrayDatum> {
    let dimension_count = reader.i32()?;
    let flags = reader.i32()?;
    let oid = reader.u32()?;
    let dimension_count = usize::try_from(dimension_count)
        .map_err(|_| invalid(format!("invalid number of dimensions: {dimension_count}")))?;
    if dimension_count > MAX_ARRAY_DIMENSIONS {
        return Err(too_many_dimensions(dimension_count));
    }
    if flags != 0 && flags != 1 {
        return Err(invalid("invalid array flags"));
    }
    if oid != element.oid() {
        return Err(SqlError::new(
            SqlState::DatatypeMismatch,
            format!(
                "binary data has array element type {oid} instead of expected {} ({})",
                element.oid(),
                element.sql_name()
            ),
        ));
    }
    let too_large =
        || SqlError::new(SqlState::ProgramLimitExceeded, "array size exceeds the maximum allowed (134217727)");
    let mut dimensions = Vec::with_capacity(dimension_count);
    let mut count = 1u64;
    for _ in 0..dimension_count {
        let length = u32::try_from(reader.i32()?).map_err(|_| too_large())?;
        let lower = reader.i32()?;
        if lower.checked_add_unsigned(length).is_none() {
            return Err(SqlError::new(
                SqlState::ProgramLimitExceeded,
                format!("array lower bound is too large: {lower}"),
            ));
        }
        count = count.checked_mul(u64::from(length)).filter(|&count| count < 1 << 27).ok_or_else(too_large)?;
        dimensions.push((length, lower));
    }
    if dimension_count == 0 || count == 0 {
        return Ok(ArrayDatum { element, dimensions: Vec::new(), elements: Vec::new() });
    }
    // Each element takes at least its length word.
    if count * 4 > reader.0.len() as u64 {
        return Err(SqlError::new(SqlState::ProtocolViolation, "insufficient data left in message"));
    }
    let target = TypeWithModifier { ty: PgType::Scalar(element), modifier };
    let mut elements = Vec::with_capacity(count as usize);
    for _ in 0..count {
        elements.push(match reader.i32()? {
            -1 => Datum::Null,
            length => {
                let length = usize::try_from(length).map_err(|_| invalid("insufficient data left in message"))?;
                parse_binary(reader.bytes(length)?, target)?
            }
        });
    }
    Ok(ArrayDatum { element, dimensions, elements })
}

/// Appends the binary form of a value of `ty`; NULL appends nothing.
pub fn write_binary(datum: &Datum, ty: PgType, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Int4(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Int8(value) | Datum::Time(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Numeric(value) => write_numeric(value, out),
        Datum::Text(value) => match ty {
            PgType::Scalar(ScalarType::Char) => out.push(value.as_bytes().first().copied().unwrap_or(0)),
            _ => out.extend_from_slice(value.as_bytes()),
        },
        Datum::Jsonb(value) => {
            out.push(1);
            out.extend_from_slice(value.as_bytes());
        }
        Datum::Bytea(value) => out.extend_from_slice(value),
        Datum::Date(value) => {
            let day = match *value {
                i32::MAX | i32::MIN => *value,
                _ => value.saturating_sub(PG_EPOCH_DAYS),
            };
            out.extend_from_slice(&day.to_be_bytes());
        }
        Datum::Timestamp(value) | Datum::Timestamptz(value) => {
            let value = match value {
                &i64::MAX | &i64::MIN => *value,
                _ => value.saturating_sub(PG_EPOCH),
            };
            out.extend_from_slice(&value.to_be_bytes());
        }
        Datum::Interval(value) => {
            out.extend_from_slice(&value.microseconds.to_be_bytes());
            out.extend_from_slice(&value.days.to_be_bytes());
            out.extend_from_slice(&value.months.to_be_bytes());
        }
        Datum::Uuid(value) => out.extend_from_slice(value),
        Datum::Oid(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Vector(value) => write_vector(value, out),
        Datum::Halfvec(value) => {
            out.extend_from_slice(&(value.len() as i16).to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            value.iter().for_each(|component| out.extend_from_slice(&component.to_be_bytes()));
        }
        Datum::Sparsevec(value) => write_sparsevec(value, out),
        Datum::Bits(value) => {
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value.bytes());
        }
        // These two have their one dimension even when they are empty.
        Datum::Array(value) if value.elements.is_empty() && !matches!(ty, PgType::Array(_)) => {
            for word in [1, 0, value.element.oid(), 0, 0] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        Datum::Array(value) => write_array(value, out),
    }
}

fn write_vector(value: &[f32], out: &mut Vec<u8>) {
    out.reserve(4 + 4 * value.len());
    out.extend_from_slice(&(value.len() as i16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    let start = out.len();
    out.resize(start + 4 * value.len(), 0);
    let (slots, _) = out[start..].as_chunks_mut::<4>();
    for (slot, component) in slots.iter_mut().zip(value) {
        *slot = component.to_be_bytes();
    }
}

/// Appends the binary form of a sparse vector.
pub fn write_sparsevec(value: &SparseVector, out: &mut Vec<u8>) {
    for word in [value.dimensions(), value.len() as u32, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    value.elements().for_each(|(index, _)| out.extend_from_slice(&index.to_be_bytes()));
    value.elements().for_each(|(_, component)| out.extend_from_slice(&component.to_be_bytes()));
}

fn write_numeric(value: &BigDecimal, out: &mut Vec<u8>) {
    let (magnitude, scale) = value.as_bigint_and_exponent();
    // The digits of BigInt come most significant first; zeros after them stand for a negative scale.
    let (sign, mut decimals) = magnitude.to_radix_be(10);
    if scale < 0 && sign != Sign::NoSign {
        decimals.resize(decimals.len() + scale.unsigned_abs() as usize, 0);
    }
    let scale = usize::try_from(scale).unwrap_or(0);
    if sign == Sign::NoSign {
        decimals.clear();
    }
    // Groups of four start at the point, in both directions.
    let fraction_padding = (4 - scale % 4) % 4;
    decimals.resize(decimals.len() + fraction_padding, 0);
    let missing = (4 - decimals.len() % 4) % 4;
    let mut groups: Vec<u16> = Vec::with_capacity(decimals.len() / 4 + 1);
    let mut group = 0u16;
    for (i, digit) in decimals.iter().enumerate() {
        group = group * 10 + u16::from(*digit);
        if (i + missing) % 4 == 3 {
            groups.push(group);
            group = 0;
        }
    }
    let mut weight = groups.len() as i64 - ((scale + fraction_padding) / 4) as i64 - 1;
    let leading = groups.iter().take_while(|&&group| group == 0).count();
    groups.drain(..leading);
    weight -= leading as i64;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if sign == Sign::Minus { NUMERIC_NEGATIVE } else { 0 };
    out.extend_from_slice(&(groups.len().to_i16().unwrap_or(i16::MAX)).to_be_bytes());
    out.extend_from_slice(&weight.to_i16().unwrap_or(i16::MAX).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(scale as u16).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

fn write_array(array: &ArrayDatum, out: &mut Vec<u8>) {
    let dimensions = if array.elements.is_empty() { &[] } else { array.dimensions.as_slice() };
    out.extend_from_slice(&(dimensions.len() as i32).to_be_bytes());
    out.extend_from_slice(&i32::from(array.elements.iter().any(Datum::is_null)).to_be_bytes());
    out.extend_from_slice(&array.element.oid().to_be_bytes());
    for (length, lower) in dimensions {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&lower.to_be_bytes());
    }
    for element in &array.elements {
        write_field(element, PgType::Scalar(array.element), out);
    }
}

/// Appends a value behind its length word: -1 for NULL. Arrays, rows and COPY have this form.
pub fn write_field(datum: &Datum, ty: PgType, out: &mut Vec<u8>) {
    if datum.is_null() {
        out.extend_from_slice(&(-1i32).to_be_bytes());
        return;
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write_binary(datum, ty, out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
