//! The arithmetic of vectors of half precision (`halfvec`): as that of [`vector`](crate::vector) on components widened
//! to single precision, the results narrowed again.
//!
//! A component is the 16 bits of an IEEE 754 binary16 number.

use std::cmp::Ordering;
use std::sync::Arc;

use half::f16;

use crate::error::Result;
use crate::vector::{
    MAX_DIMENSIONS, check_dimensions_of, different_dimensions, norm, not_finite, out_of_range, overflow, part,
    underflow,
};

#[cfg(test)]
mod tests;

/// The name of the type, for messages.
const NAME: &str = "halfvec";

/// The component nearest to a number; infinite for one that is too large.
pub fn bits_of(number: f32) -> u16 {
    f16::from_f32(number).to_bits()
}

/// The number that a component is.
pub fn widened(component: u16) -> f32 {
    f16::from_bits(component).to_f32()
}

/// The components in single precision.
pub fn widen(a: &[u16]) -> Vec<f32> {
    a.iter().map(|&component| widened(component)).collect()
}

/// Numbers as a vector of half precision, as a cast makes it: `22003` for one that is too large.
pub fn narrow(numbers: &[f32]) -> Result<Arc<[u16]>> {
    check_dimensions(numbers.len())?;
    numbers
        .iter()
        .map(|&number| {
            let component = bits_of(number);
            match (number.is_finite(), is_finite(component)) {
                (false, _) => Err(not_finite(NAME, number)),
                (true, false) => Err(out_of_range(NAME, &crate::text::float4_text(number))),
                (true, true) => Ok(component),
            }
        })
        .collect()
}

/// Refuses a number of dimensions that no vector has.
pub fn check_dimensions(dimensions: usize) -> Result<()> {
    check_dimensions_of(NAME, dimensions, MAX_DIMENSIONS)
}

/// Refuses two vectors of different length.
pub fn check_same_dimensions(a: &[u16], b: &[u16]) -> Result<()> {
    if a.len() == b.len() { Ok(()) } else { Err(different_dimensions(NAME, a.len(), b.len())) }
}

/// Refuses components that are not finite.
pub fn check_components(components: &[u16]) -> Result<()> {
    check_dimensions(components.len())?;
    match components.iter().find(|&&component| !is_finite(component)) {
        Some(component) => Err(not_finite(NAME, widened(*component))),
        None => Ok(()),
    }
}

fn is_finite(component: u16) -> bool {
    component & 0x7c00 != 0x7c00
}

fn is_zero(component: u16) -> bool {
    component & 0x7fff == 0
}

/// What came out of arithmetic: `22003` for an infinite component.
fn results(components: impl Iterator<Item = f32>) -> Result<Arc<[u16]>> {
    let components: Arc<[u16]> = components.map(bits_of).collect();
    if components.iter().all(|&component| is_finite(component)) { Ok(components) } else { Err(overflow()) }
}

fn combine(a: &[u16], b: &[u16], f: impl Fn(f32, f32) -> f32) -> Result<Arc<[u16]>> {
    check_same_dimensions(a, b)?;
    results(a.iter().zip(b).map(|(&x, &y)| f(widened(x), widened(y))))
}

/// `a + b`.
pub fn add(a: &[u16], b: &[u16]) -> Result<Arc<[u16]>> {
    combine(a, b, |x, y| x + y)
}

/// `a - b`.
pub fn subtract(a: &[u16], b: &[u16]) -> Result<Arc<[u16]>> {
    combine(a, b, |x, y| x - y)
}

/// `a * b`, component by component.
pub fn multiply(a: &[u16], b: &[u16]) -> Result<Arc<[u16]>> {
    let result = combine(a, b, |x, y| x * y)?;
    let vanished = result.iter().zip(a.iter().zip(b)).any(|(&r, (&x, &y))| is_zero(r) && !is_zero(x) && !is_zero(y));
    if vanished { Err(underflow()) } else { Ok(result) }
}

/// `a || b`.
pub fn concat(a: &[u16], b: &[u16]) -> Result<Arc<[u16]>> {
    check_dimensions(a.len() + b.len())?;
    Ok(a.iter().chain(b).copied().collect())
}

/// The vector of length 1 in the same direction; a zero vector stays zero.
pub fn l2_normalize(a: &[u16]) -> Result<Arc<[u16]>> {
    let components = widen(a);
    let norm = norm(&components);
    if norm == 0.0 {
        return Ok(vec![0; a.len()].into());
    }
    results(components.iter().map(|&component| (f64::from(component) / norm) as f32))
}

/// `count` components from the 1-based `start` on, clipped to the vector as `substring` clips.
pub fn subvector(a: &[u16], start: i32, count: i32) -> Result<Arc<[u16]>> {
    Ok(part(NAME, a, start, count)?.into())
}

/// pgvector's order: component by component, then the shorter first.
pub fn compare(a: &[u16], b: &[u16]) -> Ordering {
    let components = a.iter().zip(b).map(|(&x, &y)| widened(x).partial_cmp(&widened(y)).unwrap_or(Ordering::Equal));
    components.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}
