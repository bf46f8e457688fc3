//! The arithmetic of vectors: the four distances that order a search.

use serde::{Deserialize, Serialize};

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
}

const LANES: usize = 32;

/// Sums `f(a[i], b[i])` in [`LANES`] independent accumulators, a shape the compiler vectorises.
#[inline(always)]
fn sum_by_lanes(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(&x, &y)| f(x, y)).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0] + tail
}

/// The inner product.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_by_lanes(a, b, |x, y| x * y)
}

/// The squared Euclidean distance.
#[inline]
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    sum_by_lanes(a, b, |x, y| (x - y) * (x - y))
}

/// The taxicab distance.
#[inline]
pub fn l1(a: &[f32], b: &[f32]) -> f32 {
    sum_by_lanes(a, b, |x, y| (x - y).abs())
}

/// 1 - cosine similarity, the similarity clamped to [-1, 1]; NaN where a norm is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let similarity = f64::from(dot(a, b)) / (f64::from(dot(a, a)) * f64::from(dot(b, b))).sqrt();
    1.0 - similarity.clamp(-1.0, 1.0)
}
