//! The bodies of this crate's fuzz targets: any bytes in, a panic if a promise does not hold.
//!
//! libFuzzer calls them from `fuzz/`; this crate's tests replay what it has found so far.

#![expect(clippy::unwrap_used, reason = "a target that cannot go on should stop")]

mod casts;
mod copying;
mod parsing;
mod values;

#[cfg(test)]
mod tests;

pub use casts::casts;
pub use copying::copying;
pub use parsing::parsing;
pub use values::values;

use arbitrary::{Result, Unstructured};
use chrono_tz::Tz;

use crate::cast::CastEnvironment;
use crate::types::{PgType, ScalarType, TypeWithModifier};

/// Zones with whole and odd offsets.
const ZONES: [Tz; 4] = [Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kathmandu, Tz::America__Los_Angeles];

fn any_environment(u: &mut Unstructured<'_>) -> Result<CastEnvironment> {
    Ok(CastEnvironment { zone: *u.choose(&ZONES)?, now_us: 1_700_000_000_000_000 })
}

fn any_type(u: &mut Unstructured<'_>) -> Result<PgType> {
    let scalar = *u.choose(ScalarType::ALL)?;
    Ok(if u.ratio(1, 4)? && scalar.array_oid() != 0 { PgType::Array(scalar) } else { PgType::Scalar(scalar) })
}

/// A type with a modifier that a column of it may have.
fn any_column_type(u: &mut Unstructured<'_>) -> Result<TypeWithModifier> {
    let ty = any_type(u)?;
    let (PgType::Scalar(scalar) | PgType::Array(scalar)) = ty;
    let modifier = match scalar {
        _ if u.ratio(1, 2)? => -1,
        ScalarType::Varchar | ScalarType::Bpchar => u.int_in_range(1..=12)? + 4,
        ScalarType::Numeric => {
            let precision = u.int_in_range(1..=76)?;
            ((precision << 16) | u.int_in_range(0..=precision)?) + 4
        }
        ScalarType::Time | ScalarType::Timestamp | ScalarType::Timestamptz => u.int_in_range(0..=6)?,
        ScalarType::Vector | ScalarType::Halfvec | ScalarType::Sparsevec => u.int_in_range(1..=4)?,
        ScalarType::Bit | ScalarType::Varbit => u.int_in_range(1..=12)?,
        _ => -1,
    };
    Ok(TypeWithModifier { ty, modifier })
}

/// The bytes that are left, as text.
fn rest_as_text<'a>(u: &mut Unstructured<'a>) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(u.bytes(u.len()).unwrap_or_default())
}
