//! `numeric` between its datum, an arbitrary decimal, and the scaled integers of Arrow.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::{Signed, ToPrimitive, Zero};
use bigdecimal::{BigDecimal, RoundingMode};
use datafusion::arrow::datatypes::i256;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

use super::{NUMERIC_PRECISION, NUMERIC_SCALE, QUOTIENT_PRECISION};

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

/// The decimal of a scaled integer.
fn from_i256(unscaled: i256, scale: i8) -> BigDecimal {
    let integer = match unscaled.to_i128() {
        Some(small) => BigInt::from(small),
        None => BigInt::from_signed_bytes_le(&unscaled.to_le_bytes()),
    };
    with_plain_scale(BigDecimal::from_bigint(integer, i64::from(scale)))
}

/// A decimal whose scale is not negative: `numeric` shows no exponents.
fn with_plain_scale(value: BigDecimal) -> BigDecimal {
    if value.fractional_digit_count() < 0 { value.with_scale(0) } else { value }
}

/// How many digits behind the point a decimal column shows, those aside that are not zeros: they are always shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// So many at least.
    Digits(usize),
    /// As many as PostgreSQL gives to a quotient: sixteen significant ones, in groups of four.
    Quotient,
}

impl Shown {
    /// What a decimal type says, and the modifier of its column: a scale that was declared or computed is shown, that
    /// of a `numeric` without one is only room.
    pub fn new(precision: u8, scale: i8, modifier: i32) -> Self {
        match super::numeric_parts(modifier) {
            Some((_, declared)) => Self::Digits(declared.max(0) as usize),
            None if precision == NUMERIC_PRECISION => Self::Digits(0),
            None if precision == QUOTIENT_PRECISION => Self::Quotient,
            None => Self::Digits(scale.max(0) as usize),
        }
    }

    /// The digits shown of a number with so many digits before the point (negative for zeros behind it, none for 0).
    pub fn digits(self, whole: Option<i64>) -> usize {
        match self {
            Self::Digits(digits) => digits,
            Self::Quotient => {
                let weight = whole.map_or(-1, |whole| (whole - 1).div_euclid(4));
                (16 - 4 * weight).clamp(0, i64::from(NUMERIC_SCALE)) as usize
            }
        }
    }

    /// The decimal with the digits that are shown.
    fn apply(self, value: BigDecimal) -> BigDecimal {
        if let Self::Digits(digits) = self
            && digits as i64 == value.fractional_digit_count()
        {
            return value;
        }
        let value = value.normalized();
        let scale = (self.digits(whole_digits(&value)) as i64).max(value.fractional_digit_count());
        value.with_scale(scale)
    }
}

/// How many digits a decimal has before the point, less the zeros behind it; `None` for zero.
pub(crate) fn whole_digits(value: &BigDecimal) -> Option<i64> {
    (!value.is_zero()).then(|| value.digits() as i64 - value.fractional_digit_count())
}

/// The decimal of a scaled integer, with the digits that are shown.
pub(crate) fn decimal_of(unscaled: i256, scale: i8, shown: Shown) -> BigDecimal {
    shown.apply(from_i256(unscaled, scale))
}
