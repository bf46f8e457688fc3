//! Numbers in text: integers, floats in their shortest form, and `numeric` with its display scale.

use bigdecimal::BigDecimal;
use num_bigint::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive, Zero};

use super::{invalid_syntax, shortened, trim_spaces};
use crate::error::{Result, SqlError, SqlState};

/// The digits a `numeric` may have, before and after its point together.
pub(crate) const MAX_DIGITS: u64 = 76;

/// Reads an integer that fits `T`.
pub(crate) fn parse_int<T: TryFrom<i64>>(text: &str, type_name: &str) -> Result<T> {
    let trimmed = trim_spaces(text);
    let (negative, digits) = split_sign(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_syntax(type_name, text));
    }
    // Counted downwards: the range of negative numbers is the larger one.
    let value =
        digits.bytes().try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_sub(i64::from(digit - b'0')));
    let value = if negative { value } else { value.and_then(i64::checked_neg) };
    value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| out_of_range(type_name, text))
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn out_of_range(type_name: &str, text: &str) -> SqlError {
    SqlError::new(
        SqlState::NumericValueOutOfRange,
        format!("value \"{}\" is out of range for type {type_name}", shortened(text)),
    )
}

/// Reads an `oid`; a negative number stands for its two's complement.
pub(crate) fn parse_oid(text: &str, type_name: &str) -> Result<u32> {
    let trimmed = trim_spaces(text);
    let (_, digits) = split_sign(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_syntax(type_name, text));
    }
    let value: i64 = trimmed.parse().map_err(|_| out_of_range(type_name, text))?;
    u32::try_from(value)
        .or_else(|_| i32::try_from(value).map(|value| value as u32))
        .map_err(|_| out_of_range(type_name, text))
}

/// Appends a decimal integer.
pub(crate) fn write_int(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads a `real`.
pub(crate) fn parse_float4(text: &str) -> Result<f32> {
    let trimmed = trim_spaces(text);
    let value: f32 = match float4_prefix(trimmed.as_bytes()) {
        Some((value, length)) if length == trimmed.len() => value,
        _ => trimmed.parse().map_err(|_| invalid_syntax("real", text))?,
    };
    check_float(trimmed, value.is_infinite(), value == 0.0, "real")?;
    Ok(value)
}

/// Reads a `double precision`.
pub(crate) fn parse_float8(text: &str) -> Result<f64> {
    let trimmed = trim_spaces(text);
    let value: f64 = trimmed.parse().map_err(|_| invalid_syntax("double precision", text))?;
    check_float(trimmed, value.is_infinite(), value == 0.0, "double precision")?;
    Ok(value)
}

/// Refuses a number that became infinite or zero only by rounding.
fn check_float(text: &str, infinite: bool, zero: bool, type_name: &str) -> Result<()> {
    let written = || text.bytes().take_while(|byte| !byte.is_ascii_alphabetic());
    let lost = (infinite && written().any(|byte| byte.is_ascii_digit()))
        || (zero && written().any(|byte| matches!(byte, b'1'..=b'9')));
    if lost {
        return Err(SqlError::new(
            SqlState::NumericValueOutOfRange,
            format!("\"{}\" is out of range for type {type_name}", shortened(text)),
        ));
    }
    Ok(())
}

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The decimal number `bytes` starts with, as the nearest float, and its length.
pub(crate) fn float4_prefix(bytes: &[u8]) -> Option<(f32, usize)> {
    let digit = |at: usize| bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10);
    let negative = bytes.first() == Some(&b'-');
    let first = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let (mut at, mut mantissa, mut point_digits) = (first, 0u64, 0i32);
    while let Some(value) = digit(at) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(value));
        at += 1;
    }
    let mut digits = at - first;
    if bytes.get(at) == Some(&b'.') {
        let point = at + 1;
        let mut end = point;
        while let Some(value) = digit(end) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(value));
            end += 1;
        }
        digits += end - point;
        if digits > 0 {
            at = end;
            point_digits = i32::try_from(end - point).unwrap_or(i32::MAX);
        }
    }
    if digits == 0 {
        return None;
    }
    // So many digits cannot have wrapped around.
    let exact = digits <= 19;
    let mut exponent = 0i32;
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        let mut end = at + 1 + sign;
        if digit(end).is_some() {
            while let Some(value) = digit(end) {
                exponent = exponent.saturating_mul(10).saturating_add(i32::from(value));
                end += 1;
            }
            if bytes.get(at + 1) == Some(&b'-') {
                exponent = -exponent;
            }
            at = end;
        }
    }
    let power = exponent.saturating_sub(point_digits);
    if exact && mantissa < 1 << 53 && power.unsigned_abs() < EXACT_POWERS.len() as u32 {
        let scale = EXACT_POWERS[power.unsigned_abs() as usize];
        // Both operands are exact, so this is the nearest double.
        let double = if power < 0 { mantissa as f64 / scale } else { mantissa as f64 * scale };
        // Rounding twice gives the nearest float unless the double lies half-way between two floats.
        let halfway = double.to_bits() & 0x1fff_ffff == 0x1000_0000;
        if mantissa == 0 || (!halfway && double >= f64::from(f32::MIN_POSITIVE) && double < f64::from(f32::MAX)) {
            let single = double as f32;
            return Some((if negative { -single } else { single }, at));
        }
    }
    let text = std::str::from_utf8(&bytes[..at]).ok()?;
    Some((text.parse().ok()?, at))
}

/// Appends a `real` as PostgreSQL prints it.
pub(crate) fn write_float4(value: f32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return write_not_finite(value.is_nan(), value > 0.0, out);
    }
    if value == value.trunc() && value.abs() < 1e6 && !(value == 0.0 && value.is_sign_negative()) {
        return write_int(value as i64, out);
    }
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value).as_bytes();
    // Here both lay digits out alike, and no bound (see Binary) is as short as a shortest decimal.
    if (1e-4..1e6).contains(&value.abs()) {
        return out.extend_from_slice(shortest);
    }
    let decimal = Decimal::parse(shortest);
    let bits = value.abs().to_bits();
    let (fraction, exponent) = (u64::from(bits & 0x7f_ffff), (bits >> 23) as i32);
    let binary = Binary::new(fraction, exponent, 1 << 23, -149);
    let decimal = if binary.has_bound(&decimal) {
        binary.shortest_inside(&decimal, |digits| format!("{value:.digits$e}"), |text| text.parse() == Ok(value))
    } else {
        decimal
    };
    decimal.write(value.is_sign_negative(), 6, out);
}

/// Appends a `double precision` as PostgreSQL prints it.
pub(crate) fn write_float8(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return write_not_finite(value.is_nan(), value > 0.0, out);
    }
    if value == value.trunc() && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative()) {
        return write_int(value as i64, out);
    }
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value).as_bytes();
    // Here both lay digits out alike, and no bound (see Binary) is as short as a shortest decimal.
    if (1e-4..1e15).contains(&value.abs()) {
        return out.extend_from_slice(shortest);
    }
    let decimal = Decimal::parse(shortest);
    let bits = value.abs().to_bits();
    let (fraction, exponent) = (bits & 0xf_ffff_ffff_ffff, (bits >> 52) as i32);
    let binary = Binary::new(fraction, exponent, 1 << 52, -1074);
    let decimal = if binary.has_bound(&decimal) {
        binary.shortest_inside(&decimal, |digits| format!("{value:.digits$e}"), |text| text.parse() == Ok(value))
    } else {
        decimal
    };
    decimal.write(value.is_sign_negative(), 15, out);
}

fn write_not_finite(nan: bool, positive: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if nan {
        b"NaN"
    } else if positive {
        b"Infinity"
    } else {
        b"-Infinity"
    });
}

/// A number as digits: 0.DIGITS x 10^point.
struct Decimal {
    digits: [u8; 20],
    count: usize,
    point: i32,
}

impl Decimal {
    /// Reads what a float's formatter writes: `-1.5e30`, `0.001`, `12.0`. The sign is left out.
    fn parse(text: &[u8]) -> Self {
        let mut decimal = Self { digits: [0; 20], count: 0, point: 0 };
        let mut seen_point = false;
        for (i, &byte) in text.iter().enumerate() {
            match byte {
                b'-' => {}
                b'.' => seen_point = true,
                b'e' => {
                    let exponent: i32 =
                        std::str::from_utf8(&text[i + 1..]).ok().and_then(|e| e.parse().ok()).unwrap_or(0);
                    decimal.point += exponent;
                    break;
                }
                // Zeros before the first digit only move the point.
                b'0' if decimal.count == 0 => decimal.point -= i32::from(seen_point),
                _ => {
                    if decimal.count < decimal.digits.len() {
                        decimal.digits[decimal.count] = byte;
                        decimal.count += 1;
                    }
                    decimal.point += i32::from(!seen_point);
                }
            }
        }
        while decimal.count > 0 && decimal.digits[decimal.count - 1] == b'0' {
            decimal.count -= 1;
        }
        decimal
    }

    /// Appends the number as PostgreSQL lays it out: with an exponent below 1e-4 and from `10^fixed` on.
    fn write(&self, negative: bool, fixed: i32, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.count];
        if negative {
            out.push(b'-');
        }
        if digits.is_empty() {
            out.push(b'0');
            return;
        }
        let scientific = self.point - 1;
        if (-4..fixed).contains(&scientific) {
            let whole = usize::try_from(self.point).unwrap_or(0);
            if whole == 0 {
                out.extend_from_slice(b"0.");
                out.extend(std::iter::repeat_n(b'0', self.point.unsigned_abs() as usize));
                out.extend_from_slice(digits);
            } else if whole >= digits.len() {
                out.extend_from_slice(digits);
                out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
            } else {
                out.extend_from_slice(&digits[..whole]);
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        } else {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if scientific < 0 { b"e-" } else { b"e+" });
            if scientific.abs() < 10 {
                out.push(b'0');
            }
            write_int(i64::from(scientific.abs()), out);
        }
    }
}

/// A float's magnitude: mantissa x 2^exponent.
///
/// PostgreSQL never prints a decimal that lies exactly half-way to a neighbouring float, though it would read back:
/// 1e23 is printed 9.999999999999999e+22. Ryu as published does print it, so that rare case is looked for here.
struct Binary {
    mantissa: u64,
    exponent: i32,
    /// Whether the next smaller float is nearer than the next larger one.
    lower_is_nearer: bool,
}

impl Binary {
    fn new(fraction: u64, exponent: i32, hidden: u64, least: i32) -> Self {
        let mantissa = if exponent == 0 { fraction } else { fraction | hidden };
        Self { mantissa, exponent: least + exponent.max(1) - 1, lower_is_nearer: fraction == 0 && exponent > 1 }
    }

    /// Whether the decimal is exactly one of the two points half-way to a neighbour.
    fn has_bound(&self, decimal: &Decimal) -> bool {
        // Half-way reads back as this float only if its mantissa is even.
        if self.mantissa % 2 == 1 || decimal.count == 0 {
            return false;
        }
        let ten = decimal.point - decimal.count as i32;
        // A bound has at least the bits of the mantissa, and five divides it as often as ten divides the decimal.
        if !(-25..=27).contains(&ten) {
            return false;
        }
        let digits = decimal.digits[..decimal.count]
            .iter()
            .fold(0u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
        let twos = digits.trailing_zeros() as i32 + ten;
        let odd = u128::from(digits >> digits.trailing_zeros());
        let fives = 5u128.pow(ten.unsigned_abs());
        let mantissa = u128::from(self.mantissa);
        let lower = if self.lower_is_nearer {
            (4 * mantissa - 1, self.exponent - 2)
        } else {
            (2 * mantissa - 1, self.exponent - 1)
        };
        [(2 * mantissa + 1, self.exponent - 1), lower].into_iter().any(|(bound, exponent)| {
            let equal =
                if ten >= 0 { odd.checked_mul(fives) == Some(bound) } else { bound.checked_mul(fives) == Some(odd) };
            equal && twos == exponent
        })
    }

    /// The shortest decimal strictly between the bounds.
    fn shortest_inside(
        &self,
        at_bound: &Decimal,
        format: impl Fn(usize) -> String,
        reads_back: impl Fn(&str) -> bool,
    ) -> Decimal {
        for digits in at_bound.count.saturating_sub(1)..17 {
            let text = format(digits);
            let decimal = Decimal::parse(text.as_bytes());
            if reads_back(&text) && !self.has_bound(&decimal) {
                return decimal;
            }
        }
        Decimal { ..*at_bound }
    }
}

/// Reads a `numeric` of any scale.
pub(crate) fn parse_numeric(text: &str) -> Result<BigDecimal> {
    let trimmed = trim_spaces(text);
    let (negative, unsigned) = split_sign(trimmed);
    let lower = unsigned.to_ascii_lowercase();
    if lower == "nan" && unsigned.len() == trimmed.len() {
        return Err(SqlError::unsupported("NaN in numeric"));
    }
    if lower == "inf" || lower == "infinity" {
        return Err(SqlError::unsupported("infinity in numeric"));
    }
    let literal = DecimalLiteral::parse(unsigned.as_bytes()).ok_or_else(|| invalid_syntax("numeric", text))?;
    literal.to_numeric(negative)
}

/// A decimal number as it is written: digits, where its point is, and its exponent.
struct DecimalLiteral<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> DecimalLiteral<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let digits = |bytes: &'a [u8]| {
            let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            bytes.split_at(count)
        };
        let (whole, rest) = digits(bytes);
        let (fraction, rest) = match rest {
            [b'.', after @ ..] => digits(after),
            _ => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', after @ ..] => {
                let (negative, after) = match after {
                    [b'-', after @ ..] => (true, after),
                    [b'+', after @ ..] => (false, after),
                    _ => (false, after),
                };
                let (exponent, rest) = digits(after);
                if exponent.is_empty() || !rest.is_empty() {
                    return None;
                }
                let value = exponent.iter().fold(0i64, |value, digit| {
                    value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1 << 40)
                });
                if negative { -value } else { value }
            }
            _ => return None,
        };
        Some(Self { whole, fraction, exponent })
    }

    fn to_numeric(&self, negative: bool) -> Result<BigDecimal> {
        let scale = self.fraction.len() as i64 - self.exponent;
        let mut digits: Vec<u8> =
            self.whole.iter().chain(self.fraction).copied().skip_while(|&digit| digit == b'0').collect();
        let zero = digits.is_empty();
        if !zero && scale < 0 {
            if digits.len() as u64 + scale.unsigned_abs() > MAX_DIGITS {
                return Err(numeric_overflow());
            }
            digits.resize(digits.len() + scale.unsigned_abs() as usize, b'0');
        }
        let scale = scale.max(0);
        if digits.len() as u64 > MAX_DIGITS || scale as u64 > MAX_DIGITS {
            return Err(numeric_overflow());
        }
        let magnitude = BigInt::parse_bytes(&digits, 10).unwrap_or_default();
        Ok(BigDecimal::new(if negative { -magnitude } else { magnitude }, scale))
    }
}

/// `22003`: more digits than a `numeric` holds.
pub(crate) fn numeric_overflow() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format")
        .with_detail(format!("A numeric value has at most {MAX_DIGITS} digits."))
}

/// Refuses a `numeric` with more digits than one holds.
pub(crate) fn check_numeric(value: BigDecimal) -> Result<BigDecimal> {
    let value = if value.fractional_digit_count() < 0 { value.with_scale(0) } else { value };
    let scale = value.fractional_digit_count();
    // Three bits a digit: no count is needed to see that most values are small enough.
    let (magnitude, _) = value.as_bigint_and_exponent();
    let digits = if magnitude.bits() < 3 * MAX_DIGITS { 1 } else { magnitude.magnitude().to_string().len() as u64 };
    if digits > MAX_DIGITS || scale as u64 > MAX_DIGITS { Err(numeric_overflow()) } else { Ok(value) }
}

/// Precision and scale of a `numeric(p,s)` modifier.
pub(crate) fn precision_and_scale(modifier: i32) -> Option<(u32, i32)> {
    (modifier >= 4).then(|| {
        let packed = modifier - 4;
        ((packed >> 16) as u32 & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024)
    })
}

/// Rounds to the scale of a `numeric(p,s)`, half away from zero, and refuses what its precision cannot hold.
pub(crate) fn apply_modifier(value: BigDecimal, modifier: i32) -> Result<BigDecimal> {
    let Some((precision, scale)) = precision_and_scale(modifier) else { return Ok(value) };
    let rounded = round_numeric(&value, i64::from(scale));
    let limit = i64::from(precision) - i64::from(scale);
    let (magnitude, own_scale) = rounded.as_bigint_and_exponent();
    let digits =
        if magnitude.is_zero() { i64::MIN } else { magnitude.magnitude().to_string().len() as i64 - own_scale };
    if digits > limit {
        let bound = match limit {
            0 => "1".to_owned(),
            _ => format!("10^{limit}"),
        };
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
        )));
    }
    check_numeric(rounded)
}

/// `value` with `scale` digits behind the point, half rounded away from zero; a negative scale rounds before it and
/// displays none.
pub(crate) fn round_numeric(value: &BigDecimal, scale: i64) -> BigDecimal {
    let (magnitude, own_scale) = value.as_bigint_and_exponent();
    let rounded = if own_scale <= scale {
        magnitude * BigInt::from(10).pow((scale - own_scale).min(100_000) as u32)
    } else {
        let drop = own_scale - scale;
        // Beyond the digits there are, everything rounds to zero.
        if drop > magnitude.magnitude().to_string().len() as i64 {
            BigInt::zero()
        } else {
            let unit = BigInt::from(10).pow(drop as u32);
            let half = &unit / 2;
            let away: BigInt = (magnitude.abs() + half) / &unit;
            if magnitude.sign() == Sign::Minus { -away } else { away }
        }
    };
    let result = BigDecimal::new(rounded, scale);
    if scale < 0 { result.with_scale(0) } else { result }
}

/// The nearest integer, half rounded away from zero, if it fits.
pub(crate) fn numeric_to_i64(value: &BigDecimal) -> Option<i64> {
    round_numeric(value, 0).as_bigint_and_exponent().0.to_i64()
}

/// Appends a `numeric` with its display scale.
pub(crate) fn write_numeric(value: &BigDecimal, out: &mut Vec<u8>) {
    let (magnitude, scale) = value.as_bigint_and_exponent();
    let digits = magnitude.magnitude().to_string();
    if magnitude.sign() == Sign::Minus {
        out.push(b'-');
    }
    write_digits(digits.as_bytes(), scale, out);
}

/// Appends a whole number divided by 10^scale.
fn write_digits(digits: &[u8], scale: i64, out: &mut Vec<u8>) {
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.extend(std::iter::repeat_n(b'0', scale.unsigned_abs() as usize));
        }
        return;
    }
    let scale = scale as usize;
    if digits.len() > scale {
        out.extend_from_slice(&digits[..digits.len() - scale]);
        out.push(b'.');
        out.extend_from_slice(&digits[digits.len() - scale..]);
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits);
    }
}

/// The digits a number in a JSON document may take when its exponent is written out.
const MAX_EXPANDED_DIGITS: i64 = 1_000;

/// Appends a JSON number as `jsonb` prints it: its exponent written out, its fraction kept.
pub(crate) fn write_json_number(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let (negative, unsigned) = split_sign(text);
    let Some(literal) = DecimalLiteral::parse(unsigned.as_bytes()) else {
        return Err(invalid_syntax("numeric", text));
    };
    let scale = literal.fraction.len() as i64 - literal.exponent;
    let digits: Vec<u8> =
        literal.whole.iter().chain(literal.fraction).copied().skip_while(|&digit| digit == b'0').collect();
    // Few bytes must not become a whole page.
    if scale > MAX_EXPANDED_DIGITS.max(text.len() as i64)
        || (!digits.is_empty() && digits.len() as i64 - scale > MAX_EXPANDED_DIGITS.max(text.len() as i64))
    {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format"));
    }
    if negative && !digits.is_empty() {
        out.push(b'-');
    }
    write_digits(if digits.is_empty() { b"0" } else { &digits }, scale, out);
    Ok(())
}
