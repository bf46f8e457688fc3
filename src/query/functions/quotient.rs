//! Division of numerics, with as many digits as PostgreSQL gives.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::num_traits::{Signed, ToPrimitive};
use bigdecimal::{BigDecimal, RoundingMode};

use crate::query::arrow::{NUMERIC_SCALE, whole_digits};

/// Significant digits of a quotient at least.
const SIGNIFICANT: i64 = 16;

/// `a / b`, rounded to the scale that PostgreSQL chooses; `b` is not zero.
pub(super) fn quotient(a: &BigDecimal, b: &BigDecimal) -> BigDecimal {
    let ((a_weight, a_first), (b_weight, b_first)) = (leading(a), leading(b));
    // The weight of the quotient, in groups of four digits, as far as the first groups tell it.
    let weight = a_weight - b_weight - i64::from(a_first <= b_first);
    let scale = (SIGNIFICANT - 4 * weight).max(a.fractional_digit_count()).max(b.fractional_digit_count());
    divided(a, b, scale.clamp(0, i64::from(NUMERIC_SCALE)))
}

/// `a / b` with so many digits behind the point, rounded half away from zero.
pub(super) fn divided(a: &BigDecimal, b: &BigDecimal, scale: i64) -> BigDecimal {
    let ((mut numerator, a_scale), (mut denominator, b_scale)) =
        (a.as_bigint_and_exponent(), b.as_bigint_and_exponent());
    let shift = scale + b_scale - a_scale;
    let power: BigInt = BigInt::from(10).pow(shift.unsigned_abs() as u32);
    if shift >= 0 {
        numerator *= power
    } else {
        denominator *= power
    }
    let negative = (numerator.sign() == Sign::Minus) != (denominator.sign() == Sign::Minus);
    let (numerator, denominator) = (numerator.abs(), denominator.abs());
    let rounded: BigInt = (numerator * 2 + &denominator) / (denominator * 2);
    BigDecimal::from_bigint(if negative { -rounded } else { rounded }, scale)
}

/// The weight of the first group of four digits that is not zero, and that group.
fn leading(value: &BigDecimal) -> (i64, i64) {
    let Some(whole) = whole_digits(value) else { return (0, 0) };
    let weight = (whole - 1).div_euclid(4);
    let (digits, scale) = value.as_bigint_and_exponent();
    let shifted = BigDecimal::from_bigint(digits, scale + 4 * weight);
    (weight, shifted.abs().with_scale_round(0, RoundingMode::Down).to_i64().unwrap_or(0))
}
