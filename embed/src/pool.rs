//! From what a network gives to one vector an input: pure arithmetic over slices.

use crate::Pooling;

/// What a network's output holds for one input, by its declared dimensions after that of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One vector.
    Vector,
    /// A vector for each token or patch, one after the other.
    Tokens(Pooling),
    /// For each number of the vector a map of places: rows, columns. Their mean is taken.
    Maps,
}

/// Takes one vector of `out.len()` numbers from `values`, what the network gave for one input; of its tokens the first `seen` count.
pub(crate) fn pool(shape: Shape, values: &[f32], seen: usize, out: &mut [f32]) {
    let dims = out.len();
    match shape {
        Shape::Vector => out.copy_from_slice(values),
        Shape::Tokens(Pooling::Cls) => out.copy_from_slice(&values[..dims]),
        Shape::Tokens(Pooling::Last) => out.copy_from_slice(&values[(seen - 1) * dims..seen * dims]),
        Shape::Tokens(Pooling::Mean) => {
            out.fill(0.0);
            for token in values.chunks_exact(dims).take(seen) {
                out.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
            }
            out.iter_mut().for_each(|sum| *sum /= seen as f32);
        }
        Shape::Maps => {
            let places = values.len() / dims;
            for (mean, map) in out.iter_mut().zip(values.chunks_exact(places)) {
                *mean = map.iter().sum::<f32>() / places as f32;
            }
        }
    }
}

/// Scales `vector` to length 1 (L2). One of length 0 stays as it is.
pub(crate) fn normalize(vector: &mut [f32]) {
    // Summed in double precision: squares of large numbers overflow a float.
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}

#[cfg(test)]
mod tests;
