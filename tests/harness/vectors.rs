//! Vectors made from a seed, their text, and their neighbours by plain arithmetic.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The distance operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// `<->`
    L2,
    /// `<#>`
    InnerProduct,
    /// `<=>`
    Cosine,
    /// `<+>`
    L1,
}

impl Metric {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::L2, Self::InnerProduct, Self::Cosine, Self::L1];

    /// The operator.
    pub(crate) fn operator(self) -> &'static str {
        match self {
            Self::L2 => "<->",
            Self::InnerProduct => "<#>",
            Self::Cosine => "<=>",
            Self::L1 => "<+>",
        }
    }

    /// The operator class of an index that serves it.
    pub(crate) fn opclass(self) -> &'static str {
        match self {
            Self::L2 => "vector_l2_ops",
            Self::InnerProduct => "vector_ip_ops",
            Self::Cosine => "vector_cosine_ops",
            Self::L1 => "vector_l1_ops",
        }
    }

    /// The distance, in double precision.
    pub(crate) fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len(), "vectors of different dimensions");
        let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        match self {
            Self::L2 => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
            Self::InnerProduct => -pairs().map(|(a, b)| a * b).sum::<f64>(),
            Self::L1 => pairs().map(|(a, b)| (a - b).abs()).sum(),
            Self::Cosine => {
                let dot: f64 = pairs().map(|(a, b)| a * b).sum();
                let norms: f64 =
                    pairs().map(|(a, _)| a * a).sum::<f64>().sqrt() * pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
                1.0 - (dot / norms).clamp(-1.0, 1.0)
            }
        }
    }
}

/// Whether two distances are the same but for the rounding of single precision.
pub(crate) fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 2e-5 * a.abs().max(b.abs()).max(1.0)
}

/// Vectors in clusters, as real ones are.
pub(crate) struct Source {
    random: StdRng,
    centres: Vec<Vec<f32>>,
}

impl Source {
    /// A source of vectors of `dims` components.
    pub(crate) fn new(seed: u64, dims: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let centres = (0..16).map(|_| (0..dims).map(|_| random.random_range(-1.0..1.0)).collect()).collect();
        Self { random, centres }
    }

    /// The next vector.
    pub(crate) fn next(&mut self) -> Vec<f32> {
        let centre = self.random.random_range(0..self.centres.len());
        let mut vector = self.centres[centre].clone();
        for component in &mut vector {
            *component += self.random.random_range(-0.4..0.4);
        }
        vector
    }

    /// The next `count` vectors.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Vec<f32>> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The text form of a vector; it reads back to the same bits.
pub(crate) fn text(vector: &[f32]) -> String {
    let parts: Vec<String> = vector.iter().map(f32::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// The nearest `k` by plain arithmetic: ids and distances, ties by id.
pub(crate) fn nearest<'a>(
    metric: Metric,
    query: &[f32],
    rows: impl IntoIterator<Item = (i64, &'a [f32])>,
    k: usize,
) -> Vec<(i64, f64)> {
    let mut all: Vec<(i64, f64)> = rows.into_iter().map(|(id, vector)| (id, metric.distance(query, vector))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// Fails unless an answer is a true list of nearest neighbours: distances equal one by one, each the row's own, no row
/// twice. Rows of equal distance may stand in any order.
#[track_caller]
pub(crate) fn check_exact(
    answer: &[(i64, f64)],
    expected: &[(i64, f64)],
    own: impl Fn(i64) -> Option<f64>,
    what: &str,
) {
    assert_eq!(answer.len(), expected.len(), "{what}: {} rows instead of {}", answer.len(), expected.len());
    let mut seen = std::collections::BTreeSet::new();
    for (at, (&(id, distance), &(_, wanted))) in answer.iter().zip(expected).enumerate() {
        assert!(seen.insert(id), "{what}: row {id} comes twice");
        let Some(own) = own(id) else { panic!("{what}: row {id} should not be there") };
        assert!(close(distance, own), "{what}: row {id} is at {own}, and the answer says {distance}");
        assert!(close(distance, wanted), "{what}: place {at} is row {id} at {distance}, nearest is {wanted}");
    }
}

/// The share of the expected ids that the answer holds.
pub(crate) fn recall(answer: &[(i64, f64)], expected: &[(i64, f64)]) -> f64 {
    if expected.is_empty() {
        return 1.0;
    }
    let reach = expected.last().map_or(f64::INFINITY, |last| last.1);
    let found = answer.iter().filter(|(_, distance)| *distance <= reach || close(*distance, reach)).count();
    found.min(expected.len()) as f64 / expected.len() as f64
}
