//! `numeric` between its datum, an arbitrary decimal, and the scaled integers of Arrow.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::{Signed, ToPrimitive};
use bigdecimal::{BigDecimal, RoundingMode};
use datafusion::arrow::datatypes::i256;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

fn overflow(precision: u8, scale: i8) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
        i32::from(precision) - i32::from(scale)
    ))
}

/// The unscaled integer of `value` at `scale`, rounded half away from zero.
fn unscaled(value: &BigDecimal, scale: i8) -> BigInt {
    if value.fractional_digit_count() == i64::from(scale) {
        return value.as_bigint_and_scale().0.into_owned();
    }
    value.with_scale_round(i64::from(scale), RoundingMode::HalfUp).into_bigint_and_scale().0
}

/// `value` as a `Decimal128(precision, scale)`, or `22003`.
pub(super) fn to_i128(value: &BigDecimal, precision: u8, scale: i8) -> Result<i128> {
    let limit = 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    unscaled(value, scale)
        .to_i128()
        .filter(|unscaled| unscaled.unsigned_abs() < limit.unsigned_abs())
        .ok_or_else(|| overflow(precision, scale))
}

/// `value` as a `Decimal256(precision, scale)`, or `22003`.
pub(super) fn to_i256(value: &BigDecimal, precision: u8, scale: i8) -> Result<i256> {
    let unscaled = unscaled(value, scale);
    if precision >= 39
        && let Some(small) = unscaled.to_i128()
    {
        return Ok(i256::from_i128(small));
    }
    if unscaled.abs() >= BigInt::from(10).pow(u32::from(precision)) {
        return Err(overflow(precision, scale));
    }
    let bytes = unscaled.to_signed_bytes_le();
    let mut wide = [if unscaled.is_negative() { 0xff } else { 0 }; 32];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Ok(i256::from_le_bytes(wide))
}

/// The decimal of a scaled integer.
pub(super) fn from_i128(unscaled: i128, scale: i8) -> BigDecimal {
    with_plain_scale(BigDecimal::from_bigint(BigInt::from(unscaled), i64::from(scale)))
}

/// The decimal of a scaled integer; `trim` drops zeros at its end.
pub(super) fn from_i256(unscaled: i256, scale: i8, trim: bool) -> BigDecimal {
    let integer = match unscaled.to_i128() {
        Some(small) => BigInt::from(small),
        None => BigInt::from_signed_bytes_le(&unscaled.to_le_bytes()),
    };
    let value = BigDecimal::from_bigint(integer, i64::from(scale));
    with_plain_scale(if trim { value.normalized() } else { value })
}

/// A decimal whose scale is not negative: `numeric` shows no exponents.
fn with_plain_scale(value: BigDecimal) -> BigDecimal {
    if value.fractional_digit_count() < 0 { value.with_scale(0) } else { value }
}
