//! Numbers in keys.

use lodedb_sql::datum::Interval;

/// An integer in as few bytes as it needs: how many there are, told from 0x80 upwards for numbers from zero on and
/// downwards for those below, then the bytes.
pub(super) fn put_integer(value: i64, out: &mut Vec<u8>) {
    let magnitude = if value < 0 { !value } else { value } as u64;
    let skipped = magnitude.leading_zeros() as usize / 8;
    let len = (8 - skipped) as u8;
    out.push(if value < 0 { 0x7f - len } else { 0x80 + len });
    out.extend_from_slice(&value.to_be_bytes()[skipped..]);
}

/// Negative zero is zero; NaN is above all, and all of them are one.
pub(super) fn put_float4(value: f32, out: &mut Vec<u8>) {
    let bits = if value.is_nan() { f32::NAN.to_bits() & !(1 << 31) } else { (value + 0.0).to_bits() };
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    out.extend_from_slice(&ordered.to_be_bytes());
}

/// As [`put_float4`].
pub(super) fn put_float8(value: f64, out: &mut Vec<u8>) {
    let bits = if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (value + 0.0).to_bits() };
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&ordered.to_be_bytes());
}

/// PostgreSQL compares intervals with months of 30 days and days of 24 hours.
pub(super) fn put_interval(value: Interval, out: &mut Vec<u8>) {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    let microseconds = days * 86_400_000_000 + i128::from(value.microseconds);
    out.extend_from_slice(&((microseconds as u128) ^ (1 << 127)).to_be_bytes());
}

const NEGATIVE: u8 = 1;
const ZERO: u8 = 2;
const POSITIVE: u8 = 3;

/// A decimal of few digits.
pub(super) fn put_decimal(digits: i128, scale: i64, out: &mut Vec<u8>) {
    let mut figures = [0; 39];
    let mut start = figures.len();
    let mut rest = digits.unsigned_abs();
    // 64-bit divisions are many times as fast.
    while u64::try_from(rest).is_err() {
        start -= 1;
        figures[start] = (rest % 10) as u8;
        rest /= 10;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        start -= 1;
        figures[start] = (rest % 10) as u8;
        rest /= 10;
    }
    put_figures(digits < 0, &figures[start..], scale, out);
}

/// A decimal of any number of digits, given as text with its sign.
pub(super) fn put_long_decimal(digits: &str, scale: i64, out: &mut Vec<u8>) {
    let figures: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
    put_figures(digits.starts_with('-'), &figures, scale, out);
}

/// Sign, then the place of the decimal point, then the digits two to a byte from 1 to 100, then 0; all but the sign
/// turned over for negative numbers. Zeros at either end do not count.
fn put_figures(negative: bool, figures: &[u8], scale: i64, out: &mut Vec<u8>) {
    let Some(first) = figures.iter().position(|&figure| figure != 0) else {
        out.push(ZERO);
        return;
    };
    let last = figures.iter().rposition(|&figure| figure != 0).unwrap_or(first);
    // The number is 0.d1d2d3... times ten to this. Values have at most 76 digits, so it is far from the limits.
    let exponent = (figures.len() - first) as i64;
    let exponent = exponent.saturating_sub(scale).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    out.push(if negative { NEGATIVE } else { POSITIVE });
    let turned = out.len();
    out.extend_from_slice(&((exponent as u32) ^ (1 << 31)).to_be_bytes());
    for pair in figures[first..=last].chunks(2) {
        out.push(pair[0] * 10 + pair.get(1).copied().unwrap_or(0) + 1);
    }
    out.push(0);
    if negative {
        out[turned..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}
