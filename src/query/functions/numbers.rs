//! Arithmetic functions with PostgreSQL's rounding and PostgreSQL's errors.

use bigdecimal::num_traits::{Signed, ToPrimitive, Zero};
use bigdecimal::{BigDecimal, RoundingMode};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};
use rand::Rng;

use super::definition::{Definition, Returns, function};
use super::quotient::quotient;
use super::types::*;

fn float(args: &[Datum], place: usize) -> f64 {
    match args.get(place) {
        Some(Datum::Float8(value)) => *value,
        Some(Datum::Float4(value)) => f64::from(*value),
        _ => 0.0,
    }
}

fn long(args: &[Datum], place: usize) -> i64 {
    match args.get(place) {
        Some(Datum::Int8(value)) => *value,
        Some(Datum::Int4(value)) => i64::from(*value),
        Some(Datum::Int2(value)) => i64::from(*value),
        _ => 0,
    }
}

fn decimal(args: &[Datum], place: usize) -> BigDecimal {
    match args.get(place) {
        Some(Datum::Numeric(value)) => value.clone(),
        _ => BigDecimal::zero(),
    }
}

fn out_of_range(what: &str) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, format!("{what} out of range"))
}

fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DivisionByZero, "division by zero")
}

/// A result that became infinite from finite arguments is an overflow, one that became zero an underflow.
fn checked(value: f64, args: &[Datum]) -> Result<Datum> {
    let finite = args.iter().all(|arg| !matches!(arg, Datum::Float8(value) if !value.is_finite()));
    if finite && value.is_infinite() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
    }
    Ok(Datum::Float8(value))
}

/// As [`checked`], of a function that is zero nowhere.
fn checked_positive(value: f64, args: &[Datum]) -> Result<Datum> {
    let finite = args.iter().all(|arg| !matches!(arg, Datum::Float8(value) if !value.is_finite()));
    if finite && value == 0.0 {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: underflow"));
    }
    checked(value, args)
}

/// The angle whose sine or cosine the argument is.
fn angle(args: &[Datum], of: fn(f64) -> f64) -> Result<Datum> {
    if float(args, 0).abs() > 1.0 {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "input is out of range"));
    }
    Ok(Datum::Float8(of(float(args, 0))))
}

fn rounded(value: &BigDecimal, digits: i64, mode: RoundingMode) -> Datum {
    let digits = digits.clamp(-100, 60);
    let rounded = value.with_scale_round(digits, mode);
    Datum::Numeric(if digits < 0 { rounded.with_scale(0) } else { rounded })
}

fn power(args: &[Datum]) -> Result<Datum> {
    let (base, exponent) = (float(args, 0), float(args, 1));
    let refused = |what: &str| Err(SqlError::new(SqlState::InvalidArgumentForPowerFunction, what.to_owned()));
    if base == 0.0 && exponent < 0.0 {
        return refused("zero raised to a negative power is undefined");
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return refused("a negative number raised to a non-integer power yields a complex result");
    }
    if base == 0.0 { checked(base.powf(exponent), args) } else { checked_positive(base.powf(exponent), args) }
}

/// A whole power exactly, any other by way of floats.
fn numeric_power(args: &[Datum]) -> Result<Datum> {
    let (base, exponent) = (decimal(args, 0), decimal(args, 1));
    let whole = exponent.is_integer().then(|| exponent.to_i64()).flatten();
    if base.is_zero() && exponent.is_negative() {
        return Err(SqlError::new(
            SqlState::InvalidArgumentForPowerFunction,
            "zero raised to a negative power is undefined",
        ));
    }
    if let Some(exponent) = whole.filter(|exponent| exponent.unsigned_abs() <= 1000) {
        let digits = base.digits() * exponent.unsigned_abs();
        if digits <= 1000 {
            let mut value = BigDecimal::from(1);
            for _ in 0..exponent.unsigned_abs() {
                value *= &base;
            }
            return Ok(if exponent < 0 {
                rounded(&(BigDecimal::from(1) / value), 20, RoundingMode::HalfUp)
            } else {
                Datum::Numeric(value)
            });
        }
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format"));
    }
    let value = base.to_f64().unwrap_or(0.0).powf(exponent.to_f64().unwrap_or(0.0));
    decimal_of(value)
}

fn decimal_of(value: f64) -> Result<Datum> {
    match BigDecimal::try_from(value) {
        Ok(value) => Ok(Datum::Numeric(value.with_prec(17).with_scale_round(16, RoundingMode::HalfUp))),
        Err(_) => Err(SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format")),
    }
}

fn logarithm(value: f64, log: fn(f64) -> f64) -> Result<Datum> {
    if value == 0.0 {
        return Err(SqlError::new(SqlState::InvalidArgumentForLogarithm, "cannot take logarithm of zero"));
    }
    if value < 0.0 {
        return Err(SqlError::new(SqlState::InvalidArgumentForLogarithm, "cannot take logarithm of a negative number"));
    }
    Ok(Datum::Float8(log(value)))
}

fn square_root(args: &[Datum]) -> Result<Datum> {
    if float(args, 0) < 0.0 {
        return Err(SqlError::new(
            SqlState::InvalidArgumentForPowerFunction,
            "cannot take square root of a negative number",
        ));
    }
    Ok(Datum::Float8(float(args, 0).sqrt()))
}

fn modulo(a: i64, b: i64) -> Result<i64> {
    if b == 0 { Err(division_by_zero()) } else { Ok(a.wrapping_rem(b)) }
}

fn numeric_division(args: &[Datum]) -> Result<(BigDecimal, BigDecimal)> {
    let (a, b) = (decimal(args, 0), decimal(args, 1));
    if b.is_zero() { Err(division_by_zero()) } else { Ok((a, b)) }
}

fn greatest_divisor(args: &[Datum]) -> i128 {
    let (mut a, mut b) = (i128::from(long(args, 0)), i128::from(long(args, 1)));
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

fn least_multiple(args: &[Datum]) -> i128 {
    let (a, b) = (i128::from(long(args, 0)), i128::from(long(args, 1)));
    if a == 0 || b == 0 { 0 } else { (a / greatest_divisor(args) * b).abs() }
}

fn to_int4(value: i128) -> Result<Datum> {
    i32::try_from(value).map(Datum::Int4).map_err(|_| out_of_range("integer"))
}

fn to_int8(value: i128) -> Result<Datum> {
    i64::try_from(value).map(Datum::Int8).map_err(|_| out_of_range("bigint"))
}

fn factorial(args: &[Datum]) -> Result<Datum> {
    let n = long(args, 0);
    if n < 0 {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "factorial of a negative number is undefined"));
    }
    if n > 57 {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format"));
    }
    Ok(Datum::Numeric((1..=n).fold(BigDecimal::from(1), |product, factor| product * factor)))
}

fn width_bucket(args: &[Datum]) -> Result<Datum> {
    let (value, low, high, buckets) = (float(args, 0), float(args, 1), float(args, 2), i128::from(long(args, 3)));
    let wrong = |what: &str| Err(SqlError::new(SqlState::InvalidArgumentForWidthBucket, what));
    if buckets <= 0 {
        return wrong("count must be greater than zero");
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return wrong("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return wrong("lower and upper bounds must be finite");
    }
    if low == high {
        return wrong("lower bound cannot equal upper bound");
    }
    let (before, beyond) = if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
    let place = match (before, beyond) {
        (true, _) => 0,
        (_, true) => buckets + 1,
        _ => (((value - low) / (high - low) * buckets as f64) as i128).min(buckets - 1) + 1,
    };
    to_int4(place)
}

fn numeric_sign(value: &BigDecimal) -> Datum {
    Datum::Numeric(value.signum().with_scale(0))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("round", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).round_ties_even()))),
    function("round", &[NUMERIC], Returns::Rounded, |_, args| Ok(rounded(&decimal(args, 0), 0, RoundingMode::HalfUp))),
    function("round", &[NUMERIC, INT4], Returns::Rounded, |_, args| {
        Ok(rounded(&decimal(args, 0), long(args, 1), RoundingMode::HalfUp))
    }),
    function("trunc", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).trunc()))),
    function("trunc", &[NUMERIC], Returns::Rounded, |_, args| Ok(rounded(&decimal(args, 0), 0, RoundingMode::Down))),
    function("trunc", &[NUMERIC, INT4], Returns::Rounded, |_, args| {
        Ok(rounded(&decimal(args, 0), long(args, 1), RoundingMode::Down))
    }),
    function("ceil", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).ceil()))),
    function("ceil", &[NUMERIC], Returns::Rounded, |_, args| Ok(rounded(&decimal(args, 0), 0, RoundingMode::Ceiling))),
    function("ceiling", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).ceil()))),
    function("ceiling", &[NUMERIC], Returns::Rounded, |_, args| {
        Ok(rounded(&decimal(args, 0), 0, RoundingMode::Ceiling))
    }),
    function("floor", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).floor()))),
    function("floor", &[NUMERIC], Returns::Rounded, |_, args| Ok(rounded(&decimal(args, 0), 0, RoundingMode::Floor))),
    function("abs", &[INT2], TO_INT2, |_, args| {
        (long(args, 0) as i16).checked_abs().map(Datum::Int2).ok_or_else(|| out_of_range("smallint"))
    }),
    function("abs", &[INT4], TO_INT4, |_, args| {
        (long(args, 0) as i32).checked_abs().map(Datum::Int4).ok_or_else(|| out_of_range("integer"))
    }),
    function("abs", &[INT8], TO_INT8, |_, args| {
        long(args, 0).checked_abs().map(Datum::Int8).ok_or_else(|| out_of_range("bigint"))
    }),
    function("abs", &[FLOAT4], TO_FLOAT4, |_, args| Ok(Datum::Float4(float(args, 0).abs() as f32))),
    function("abs", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).abs()))),
    function("abs", &[NUMERIC], Returns::SameAs(0), |_, args| Ok(Datum::Numeric(decimal(args, 0).abs()))),
    function("sign", &[FLOAT8], TO_FLOAT8, |_, args| {
        let value = float(args, 0);
        Ok(Datum::Float8(if value == 0.0 || value.is_nan() { 0.0 } else { value.signum() }))
    }),
    function("sign", &[NUMERIC], Returns::Rounded, |_, args| Ok(numeric_sign(&decimal(args, 0)))),
    function("pg_bitwise_not", &[INT2], TO_INT2, |_, args| Ok(Datum::Int2(!long(args, 0) as i16))),
    function("pg_bitwise_not", &[INT4], TO_INT4, |_, args| Ok(Datum::Int4(!long(args, 0) as i32))),
    function("pg_bitwise_not", &[INT8], TO_INT8, |_, args| Ok(Datum::Int8(!long(args, 0)))),
    // The operator `#`: DataFusion takes `a # a` for zero where `a` is NULL.
    function("integer_xor", &[INT2, INT2], TO_INT2, |_, args| Ok(Datum::Int2((long(args, 0) ^ long(args, 1)) as i16))),
    function("integer_xor", &[INT4, INT4], TO_INT4, |_, args| Ok(Datum::Int4((long(args, 0) ^ long(args, 1)) as i32))),
    function("integer_xor", &[INT8, INT8], TO_INT8, |_, args| Ok(Datum::Int8(long(args, 0) ^ long(args, 1)))),
    function("mod", &[INT2, INT2], TO_INT2, |_, args| {
        modulo(long(args, 0), long(args, 1)).map(|value| Datum::Int2(value as i16))
    }),
    function("mod", &[INT4, INT4], TO_INT4, |_, args| {
        modulo(long(args, 0), long(args, 1)).map(|value| Datum::Int4(value as i32))
    }),
    function("mod", &[INT8, INT8], TO_INT8, |_, args| modulo(long(args, 0), long(args, 1)).map(Datum::Int8)),
    function("mod", &[NUMERIC, NUMERIC], TO_NUMERIC, |_, args| {
        numeric_division(args).map(|(a, b)| Datum::Numeric(a % b))
    }),
    function("div", &[NUMERIC, NUMERIC], Returns::Rounded, |_, args| {
        numeric_division(args).map(|(a, b)| rounded(&(a / b), 0, RoundingMode::Down))
    }),
    function("power", &[FLOAT8, FLOAT8], TO_FLOAT8, |_, args| power(args)),
    function("power", &[NUMERIC, NUMERIC], Returns::Quotient, |_, args| numeric_power(args)),
    function("pow", &[FLOAT8, FLOAT8], TO_FLOAT8, |_, args| power(args)),
    function("pow", &[NUMERIC, NUMERIC], Returns::Quotient, |_, args| numeric_power(args)),
    function("sqrt", &[FLOAT8], TO_FLOAT8, |_, args| square_root(args)),
    function("sqrt", &[NUMERIC], TO_NUMERIC, |_, args| {
        let value = decimal(args, 0);
        match value.sqrt() {
            Some(root) => Ok(rounded(&root, 15, RoundingMode::HalfUp)),
            None => square_root(&[Datum::Float8(-1.0)]),
        }
    }),
    function("cbrt", &[FLOAT8], TO_FLOAT8, |_, args| Ok(Datum::Float8(float(args, 0).cbrt()))),
    function("exp", &[FLOAT8], TO_FLOAT8, |_, args| checked_positive(float(args, 0).exp(), args)),
    function("asin", &[FLOAT8], TO_FLOAT8, |_, args| angle(args, f64::asin)),
    function("acos", &[FLOAT8], TO_FLOAT8, |_, args| angle(args, f64::acos)),
    function("ln", &[FLOAT8], TO_FLOAT8, |_, args| logarithm(float(args, 0), f64::ln)),
    function("log", &[FLOAT8], TO_FLOAT8, |_, args| logarithm(float(args, 0), f64::log10)),
    function("log10", &[FLOAT8], TO_FLOAT8, |_, args| logarithm(float(args, 0), f64::log10)),
    function("log", &[NUMERIC, NUMERIC], TO_NUMERIC, |_, args| {
        let (base, value) = (decimal(args, 0).to_f64().unwrap_or(0.0), decimal(args, 1).to_f64().unwrap_or(0.0));
        match (logarithm(value, f64::ln)?, logarithm(base, f64::ln)?) {
            (Datum::Float8(value), Datum::Float8(base)) if base != 0.0 => decimal_of(value / base),
            _ => Err(division_by_zero()),
        }
    }),
    function("degrees", &[FLOAT8], TO_FLOAT8, |_, args| checked(float(args, 0).to_degrees(), args)),
    function("radians", &[FLOAT8], TO_FLOAT8, |_, args| checked(float(args, 0).to_radians(), args)),
    function("pi", &[], TO_FLOAT8, |_, _| Ok(Datum::Float8(std::f64::consts::PI))),
    function("random", &[], TO_FLOAT8, |_, _| Ok(Datum::Float8(rand::rng().random::<f64>()))).volatile(),
    function("setseed", &[FLOAT8], TO_VOID, |_, _| Ok(Datum::Text(String::new()))).volatile(),
    function("gcd", &[INT4, INT4], TO_INT4, |_, args| to_int4(greatest_divisor(args))),
    function("gcd", &[INT8, INT8], TO_INT8, |_, args| to_int8(greatest_divisor(args))),
    function("lcm", &[INT4, INT4], TO_INT4, |_, args| to_int4(least_multiple(args))),
    function("lcm", &[INT8, INT8], TO_INT8, |_, args| to_int8(least_multiple(args))),
    function("factorial", &[INT8], TO_NUMERIC, |_, args| factorial(args)),
    function("width_bucket", &[FLOAT8, FLOAT8, FLOAT8, INT4], TO_INT4, |_, args| width_bucket(args)),
    function("scale", &[NUMERIC], TO_INT4, |_, args| Ok(Datum::Int4(decimal(args, 0).fractional_digit_count() as i32))),
    function("numeric_mul", &[NUMERIC, NUMERIC], TO_NUMERIC, |_, args| {
        Ok(Datum::Numeric(decimal(args, 0) * decimal(args, 1)))
    }),
    function("numeric_div", &[NUMERIC, NUMERIC], Returns::Quotient, |_, args| {
        numeric_division(args).map(|(a, b)| Datum::Numeric(quotient(&a, &b)))
    }),
];
