//! The arithmetic of vectors: the four distances that order a search, and what pgvector's functions compute.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bits::Bits;
use crate::error::{Result, SqlError, SqlState};

#[cfg(test)]
mod tests;

/// The most components a vector may have.
pub const MAX_DIMENSIONS: usize = 16_000;

/// A distance that orders a nearest-neighbour search, smaller first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// `<->`: Euclidean.
    L2,
    /// `<#>`: the negative inner product.
    InnerProduct,
    /// `<=>`: 1 - cosine similarity; NaN where a norm is zero.
    Cosine,
    /// `<+>`: taxicab.
    L1,
}

impl Metric {
    /// The operator that orders by this metric.
    pub fn operator(self) -> &'static str {
        match self {
            Self::L2 => "<->",
            Self::InnerProduct => "<#>",
            Self::Cosine => "<=>",
            Self::L1 => "<+>",
        }
    }
    /// The distance between two vectors of equal length, as pgvector computes and returns it.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        match self {
            Self::L2 => f64::from(l2_squared(a, b)).sqrt(),
            Self::InnerProduct => -f64::from(dot(a, b)),
            Self::Cosine => cosine(a, b),
            Self::L1 => f64::from(l1(a, b)),
        }
    }
    /// What a scan with one query vector can compute once.
    pub fn prepare(self, query: &[f32]) -> PreparedQuery<'_> {
        let norm_squared = if self == Self::Cosine { dot(query, query) } else { 0.0 };
        PreparedQuery { metric: self, query, norm_squared }
    }
    /// The distance that an order key of [`PreparedQuery::order_key`] stands for.
    #[inline]
    pub fn distance_of_key(self, key: f64) -> f64 {
        if self == Self::L2 { key.sqrt() } else { key }
    }
}

/// A query vector ready to be compared with many vectors of its length.
#[derive(Clone, Copy, Debug)]
pub struct PreparedQuery<'a> {
    metric: Metric,
    query: &'a [f32],
    norm_squared: f32,
}

impl PreparedQuery<'_> {
    /// The same bits as [`Metric::distance`] of the query and `vector`.
    #[inline]
    pub fn distance(&self, vector: &[f32]) -> f64 {
        self.metric.distance_of_key(self.order_key(vector))
    }
    /// A number that orders exactly as the distance does and is cheaper: the L2 key has no root.
    #[inline]
    pub fn order_key(&self, vector: &[f32]) -> f64 {
        match self.metric {
            Metric::L2 => f64::from(l2_squared(self.query, vector)),
            Metric::InnerProduct => -f64::from(dot(self.query, vector)),
            Metric::L1 => f64::from(l1(self.query, vector)),
            Metric::Cosine => {
                let (product, norm_squared) = dot_and_norm(self.query, vector);
                cosine_of(product, self.norm_squared, norm_squared)
            }
        }
    }
    /// The query vector.
    pub fn query(&self) -> &[f32] {
        self.query
    }
}

const LANES: usize = 32;
const TAIL_LANES: usize = 8;

/// `accumulator + x * y`, rounded once where the processor does that in one instruction.
#[inline(always)]
fn fused(accumulator: f32, x: f32, y: f32) -> f32 {
    // Without the instruction `mul_add` is a slow library call.
    if cfg!(target_feature = "fma") { x.mul_add(y, accumulator) } else { accumulator + x * y }
}

/// Folds `f` over the pairs in [`LANES`] independent accumulators, a shape the compiler vectorises.
#[inline(always)]
fn fold_by_lanes(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], x[i], y[i]);
        }
    }
    let (a_chunks, b_chunks) = (a_rest.chunks_exact(TAIL_LANES), b_rest.chunks_exact(TAIL_LANES));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder()).fold(0.0, |sum, (&x, &y)| f(sum, x, y));
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..TAIL_LANES {
            lanes[i] = f(lanes[i], x[i], y[i]);
        }
    }
    reduce(lanes) + tail
}

#[inline(always)]
fn reduce(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

/// The inner product.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    fold_by_lanes(a, b, fused)
}

/// The squared Euclidean distance.
#[inline]
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    fold_by_lanes(a, b, |sum, x, y| fused(sum, x - y, x - y))
}

/// The taxicab distance.
#[inline]
pub fn l1(a: &[f32], b: &[f32]) -> f32 {
    fold_by_lanes(a, b, |sum, x, y| sum + (x - y).abs())
}

/// `dot(query, vector)` and `dot(vector, vector)`, bit for bit, in one pass over `vector`.
#[inline]
fn dot_and_norm(query: &[f32], vector: &[f32]) -> (f32, f32) {
    let (mut products, mut squares) = ([0f32; LANES], [0f32; LANES]);
    let length = query.len().min(vector.len());
    let (query, vector) = (&query[..length], &vector[..length]);
    let (a_chunks, b_chunks) = (query.chunks_exact(LANES), vector.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            products[i] = fused(products[i], x[i], y[i]);
            squares[i] = fused(squares[i], y[i], y[i]);
        }
    }
    let (a_chunks, b_chunks) = (a_rest.chunks_exact(TAIL_LANES), b_rest.chunks_exact(TAIL_LANES));
    let (mut product_tail, mut square_tail) = (0f32, 0f32);
    for (&x, &y) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        product_tail = fused(product_tail, x, y);
        square_tail = fused(square_tail, y, y);
    }
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..TAIL_LANES {
            products[i] = fused(products[i], x[i], y[i]);
            squares[i] = fused(squares[i], y[i], y[i]);
        }
    }
    (reduce(products) + product_tail, reduce(squares) + square_tail)
}

/// 1 - cosine similarity, the similarity clamped to [-1, 1]; NaN where a norm is zero.
#[inline]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    cosine_of(dot(a, b), dot(a, a), dot(b, b))
}

#[inline(always)]
fn cosine_of(product: f32, a_squared: f32, b_squared: f32) -> f64 {
    cosine_distance(f64::from(product) / (f64::from(a_squared) * f64::from(b_squared)).sqrt())
}

/// The distance of a similarity. What is no number has no sign: one with a sign would be sorted before all numbers.
#[inline(always)]
pub(crate) fn cosine_distance(similarity: f64) -> f64 {
    if similarity.is_nan() { f64::NAN } else { 1.0 - similarity.clamp(-1.0, 1.0) }
}

/// Refuses two vectors of different length, as every operator of two vectors does.
pub fn check_same_dimensions(a: &[f32], b: &[f32]) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(different_dimensions("vector", a.len(), b.len()))
}

/// The error for two vectors of a type that differ in length.
pub(crate) fn different_dimensions(type_name: &str, a: usize, b: usize) -> SqlError {
    SqlError::new(SqlState::DataException, format!("different {type_name} dimensions {a} and {b}"))
}

/// Refuses a vector that a `vector(n)` column or cast does not take.
pub fn check_expected_dimensions(expected: Option<usize>, actual: usize) -> Result<()> {
    match expected {
        Some(expected) if expected != actual => {
            Err(SqlError::new(SqlState::DataException, format!("expected {expected} dimensions, not {actual}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a number of dimensions that no vector has.
pub fn check_dimensions(dimensions: usize) -> Result<()> {
    check_dimensions_of("vector", dimensions, MAX_DIMENSIONS)
}

/// Refuses a number of dimensions that no vector of a type has.
pub(crate) fn check_dimensions_of(type_name: &str, dimensions: usize, most: usize) -> Result<()> {
    if dimensions < 1 {
        return Err(no_dimensions(type_name));
    }
    if dimensions > most {
        let message = format!("{type_name} cannot have more than {most} dimensions");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    Ok(())
}

fn no_dimensions(type_name: &str) -> SqlError {
    SqlError::new(SqlState::DataException, format!("{type_name} must have at least 1 dimension"))
}

/// Refuses components that are not finite, and impossible numbers of them.
pub fn check_components(components: &[f32]) -> Result<()> {
    check_dimensions(components.len())?;
    // One branch for the whole vector, so the check costs no more than reading it: the exponent bits of
    // infinities and NaNs, and only of those, carry into the sign bit.
    let carried = components.iter().fold(0u32, |acc, x| acc | (x.to_bits() & 0x7fff_ffff).wrapping_add(0x0080_0000));
    if carried >> 31 == 0 {
        return Ok(());
    }
    match components.iter().find(|x| !x.is_finite()) {
        Some(component) => Err(not_finite("vector", *component)),
        None => Ok(()),
    }
}

/// The error for a component that is not finite.
pub(crate) fn not_finite(type_name: &str, component: f32) -> SqlError {
    let what = if component.is_nan() { "NaN" } else { "infinite value" };
    SqlError::new(SqlState::DataException, format!("{what} not allowed in {type_name}"))
}

/// The error for a number that a type has no room for, as it is written.
pub(crate) fn out_of_range(type_name: &str, number: &str) -> SqlError {
    let message = format!("\"{}\" is out of range for type {type_name}", crate::text::shortened(number));
    SqlError::new(SqlState::NumericValueOutOfRange, message)
}

pub(crate) fn overflow() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow")
}

pub(crate) fn underflow() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: underflow")
}

fn combine(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> Result<Arc<[f32]>> {
    check_same_dimensions(a, b)?;
    let result: Arc<[f32]> = a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect();
    if result.iter().any(|x| x.is_infinite()) {
        return Err(overflow());
    }
    Ok(result)
}

/// `a + b`.
pub fn add(a: &[f32], b: &[f32]) -> Result<Arc<[f32]>> {
    combine(a, b, |x, y| x + y)
}

/// `a - b`.
pub fn subtract(a: &[f32], b: &[f32]) -> Result<Arc<[f32]>> {
    combine(a, b, |x, y| x - y)
}

/// `a * b`, component by component.
pub fn multiply(a: &[f32], b: &[f32]) -> Result<Arc<[f32]>> {
    let result = combine(a, b, |x, y| x * y)?;
    let vanished = result.iter().zip(a.iter().zip(b)).any(|(&r, (&x, &y))| r == 0.0 && x != 0.0 && y != 0.0);
    if vanished { Err(underflow()) } else { Ok(result) }
}

/// `a || b`.
pub fn concat(a: &[f32], b: &[f32]) -> Result<Arc<[f32]>> {
    check_dimensions(a.len() + b.len())?;
    Ok(a.iter().chain(b).copied().collect())
}

/// The Euclidean norm, summed in double precision as pgvector does.
pub fn norm(a: &[f32]) -> f64 {
    // From 0: the sum of nothing is -0.
    a.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x)).sqrt()
}

/// The vector of length 1 in the same direction; a zero vector stays zero.
pub fn l2_normalize(a: &[f32]) -> Result<Arc<[f32]>> {
    let norm = norm(a);
    if norm == 0.0 {
        return Ok(vec![0.0; a.len()].into());
    }
    let result: Arc<[f32]> = a.iter().map(|&x| (f64::from(x) / norm) as f32).collect();
    if result.iter().any(|x| x.is_infinite()) { Err(overflow()) } else { Ok(result) }
}

/// `count` components from the 1-based `start` on, clipped to the vector as `substring` clips.
pub fn subvector(a: &[f32], start: i32, count: i32) -> Result<Arc<[f32]>> {
    Ok(part("vector", a, start, count)?.into())
}

/// `count` of some components from the 1-based `start` on, at least one of them.
pub(crate) fn part<'a, T>(type_name: &str, a: &'a [T], start: i32, count: i32) -> Result<&'a [T]> {
    if count < 1 {
        return Err(no_dimensions(type_name));
    }
    let length = a.len() as i64;
    let end = (i64::from(start) + i64::from(count)).min(length + 1);
    let start = i64::from(start).max(1);
    if start > length || end <= start {
        return Err(no_dimensions(type_name));
    }
    Ok(&a[(start - 1) as usize..(end - 1) as usize])
}

/// One bit for each component: whether it is greater than zero.
pub fn binary_quantize(a: &[f32]) -> Bits {
    a.iter().map(|&component| component > 0.0).collect()
}

/// The angle between two vectors of length 1, in units of pi.
pub fn spherical_distance(a: &[f32], b: &[f32]) -> f64 {
    f64::from(dot(a, b)).clamp(-1.0, 1.0).acos() / std::f64::consts::PI
}

/// pgvector's order: component by component, then the shorter first.
pub fn compare(a: &[f32], b: &[f32]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        // Components are finite, so -0 and 0 are the only equal values with two forms.
        match x.partial_cmp(y) {
            Some(Ordering::Equal) | None => {}
            Some(order) => return order,
        }
    }
    a.len().cmp(&b.len())
}

/// The running state of `avg` and `sum` of vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorAverage {
    count: u64,
    sums: Vec<f64>,
}

impl VectorAverage {
    /// Takes one more vector in.
    pub fn add(&mut self, vector: &[f32]) -> Result<()> {
        if self.count == 0 {
            self.sums = vector.iter().map(|&x| f64::from(x)).collect();
        } else {
            check_expected_dimensions(Some(self.sums.len()), vector.len())?;
            for (sum, &x) in self.sums.iter_mut().zip(vector) {
                *sum += f64::from(x);
            }
        }
        self.count += 1;
        Ok(())
    }
    /// Takes another state in.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.count == 0 {
            return Ok(());
        }
        if self.count == 0 {
            self.clone_from(other);
            return Ok(());
        }
        check_expected_dimensions(Some(self.sums.len()), other.sums.len())?;
        for (sum, x) in self.sums.iter_mut().zip(&other.sums) {
            *sum += x;
        }
        self.count += other.count;
        Ok(())
    }
    /// The average, or nothing for no rows.
    pub fn finish(&self) -> Result<Option<Arc<[f32]>>> {
        if self.count == 0 {
            return Ok(None);
        }
        let average: Arc<[f32]> = self.sums.iter().map(|sum| (sum / self.count as f64) as f32).collect();
        check_components(&average)?;
        Ok(Some(average))
    }
    /// How many vectors were taken in, and the sums of their components.
    pub fn parts(&self) -> (u64, &[f64]) {
        (self.count, &self.sums)
    }
    /// The state with these parts.
    pub fn from_parts(count: u64, sums: Vec<f64>) -> Self {
        Self { count, sums }
    }
}
