//! Sparse vectors (`sparsevec`): the elements that are not zero, by their places, and what pgvector does with them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::error::{Result, SqlError, SqlState};
use crate::vector::{Metric, check_dimensions_of, cosine_distance, different_dimensions, not_finite, overflow};

#[cfg(test)]
mod tests;

/// The most dimensions a sparse vector may have.
pub const MAX_DIMENSIONS: usize = 1_000_000_000;
/// The most elements of it that may differ from zero.
pub const MAX_ELEMENTS: usize = 16_000;

/// The name of the type, for messages.
const NAME: &str = "sparsevec";

/// A sparse vector.
///
/// INVARIANT: places are ascending and less than the dimensions; values are finite and not zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseVector {
    dimensions: u32,
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// Refuses a number of dimensions that no sparse vector has.
pub fn check_dimensions(dimensions: i64) -> Result<u32> {
    let count = usize::try_from(dimensions).unwrap_or(0);
    check_dimensions_of(NAME, count, MAX_DIMENSIONS)?;
    Ok(count as u32)
}

/// Refuses more elements than a sparse vector may have.
pub fn check_elements(count: usize) -> Result<()> {
    if count <= MAX_ELEMENTS {
        return Ok(());
    }
    let message = format!("sparsevec cannot have more than {MAX_ELEMENTS} non-zero elements");
    Err(SqlError::new(SqlState::ProgramLimitExceeded, message))
}

/// Refuses two vectors of different dimensions.
pub fn check_same_dimensions(a: &SparseVector, b: &SparseVector) -> Result<()> {
    if a.dimensions == b.dimensions {
        return Ok(());
    }
    Err(different_dimensions(NAME, a.dimensions as usize, b.dimensions as usize))
}

fn invalid(message: &str) -> SqlError {
    SqlError::new(SqlState::DataException, message)
}

impl SparseVector {
    /// A vector of elements whose places count from 0 and must ascend: `22000` for one that is out of bounds or comes
    /// twice, is not finite or is zero.
    pub fn from_elements(dimensions: u32, elements: impl IntoIterator<Item = (i64, f32)>) -> Result<Self> {
        let (mut indices, mut values): (Vec<u32>, Vec<f32>) = (Vec::new(), Vec::new());
        for (index, value) in elements {
            let place = u32::try_from(index).ok().filter(|&place| place < dimensions);
            let place = place.ok_or_else(|| invalid("sparsevec index out of bounds"))?;
            match indices.last().map(|last| place.cmp(last)) {
                Some(Ordering::Less) => return Err(invalid("sparsevec indices must be in ascending order")),
                Some(Ordering::Equal) => return Err(invalid("sparsevec indices must not contain duplicates")),
                Some(Ordering::Greater) | None => {}
            }
            if !value.is_finite() {
                return Err(not_finite(NAME, value));
            }
            if value == 0.0 {
                return Err(invalid("binary representation of sparsevec cannot contain zero values"));
            }
            indices.push(place);
            values.push(value);
        }
        check_elements(indices.len())?;
        Ok(Self { dimensions, indices, values })
    }

    /// The elements of a dense vector that are not zero.
    pub fn from_dense(components: &[f32]) -> Result<Self> {
        let dimensions = check_dimensions(components.len() as i64)?;
        let elements = components.iter().enumerate().filter(|(_, value)| **value != 0.0);
        Self::from_elements(dimensions, elements.map(|(index, &value)| (index as i64, value)))
    }

    /// The dense vector; the caller has seen to it that it is not too long.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut components = vec![0.0; self.dimensions as usize];
        self.elements().for_each(|(index, value)| components[index as usize] = value);
        components
    }

    /// How many components there are, zeros counted.
    pub fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// How many are not zero.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether all are zero.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The elements, their places counted from 0.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = (u32, f32)> {
        self.indices.iter().copied().zip(self.values.iter().copied())
    }

    /// The Euclidean norm, summed in double precision.
    pub fn norm(&self) -> f64 {
        crate::vector::norm(&self.values)
    }

    /// The vector of length 1 in the same direction; a zero vector stays zero.
    pub fn l2_normalize(&self) -> Result<Self> {
        let norm = self.norm();
        let scaled = self.elements().map(|(index, value)| (i64::from(index), (f64::from(value) / norm) as f32));
        let scaled: Vec<(i64, f32)> = scaled.filter(|(_, value)| *value != 0.0).collect();
        if scaled.iter().any(|(_, value)| value.is_infinite()) {
            return Err(overflow());
        }
        Self::from_elements(self.dimensions, scaled)
    }

    /// Each place where either of two vectors is not zero, with both values.
    fn pairs(&self, other: &Self, mut each: impl FnMut(f32, f32)) {
        let (mut left, mut right) = (self.elements().peekable(), other.elements().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            each(a.map_or(0.0, |(_, value)| value), b.map_or(0.0, |(_, value)| value));
        }
    }

    /// The squared Euclidean distance.
    pub fn l2_squared(&self, other: &Self) -> f32 {
        let mut sum = 0.0;
        self.pairs(other, |a, b| sum += (a - b) * (a - b));
        sum
    }

    /// The inner product.
    pub fn dot(&self, other: &Self) -> f32 {
        let mut sum = 0.0;
        // A place that only one of them has adds nothing, whatever it holds.
        self.pairs(other, |a, b| {
            if a != 0.0 && b != 0.0 {
                sum += a * b;
            }
        });
        sum
    }

    /// The distance by a metric, as [`Metric::distance`] of the dense vectors.
    pub fn distance(&self, other: &Self, metric: Metric) -> f64 {
        match metric {
            Metric::L2 => f64::from(self.l2_squared(other)).sqrt(),
            Metric::InnerProduct => -f64::from(self.dot(other)),
            Metric::L1 => {
                let mut sum = 0f32;
                self.pairs(other, |a, b| sum += (a - b).abs());
                f64::from(sum)
            }
            Metric::Cosine => {
                let norms = f64::from(self.dot(self)) * f64::from(other.dot(other));
                cosine_distance(f64::from(self.dot(other)) / norms.sqrt())
            }
        }
    }

    /// Words whose order, and whose beginning of nothing else, is that of the vectors: each element as its place and its
    /// value, then the dimensions.
    ///
    /// Vectors compare as the dense ones do. At the first place where one has an element and the other none, a positive
    /// element is greater and a negative one less than the other's zero. So the word of a place ascends with the
    /// place for negative elements, which come before the end of the elements, and descends for positive ones,
    /// which come after it.
    pub fn sort_words(&self) -> Vec<u32> {
        let mut words = Vec::with_capacity(self.len() * 2 + 2);
        for (index, value) in self.elements() {
            words.push(if value < 0.0 { index } else { u32::MAX - index });
            let bits = value.to_bits();
            words.push(if value < 0.0 { !bits } else { bits | 1 << 31 });
        }
        words.extend([END_WORD, self.dimensions]);
        words
    }

    /// The vector that has these [`sort_words`](Self::sort_words); `None` if none has.
    pub fn from_sort_words(words: &[u32]) -> Option<Self> {
        let (pairs, rest) = words.as_chunks::<2>();
        let ([END_WORD, dimensions], elements) = pairs.split_last()? else { return None };
        let elements = elements.iter().map(|[place, bits]| {
            let negative = *place < END_WORD;
            let index = if negative { *place } else { u32::MAX - place };
            (i64::from(index), f32::from_bits(if negative { !bits } else { bits & !(1 << 31) }))
        });
        let vector = Self::from_elements(*dimensions, elements).ok()?;
        rest.is_empty().then_some(vector)
    }
}

/// Stands behind the elements: greater than the place of a negative one, less than that of a positive one.
const END_WORD: u32 = 0x7fff_ffff;

/// pgvector's order, that of the dense vectors, then the fewer dimensions first; where the dimensions differ, elements
/// beyond the fewer of them count before the dimensions do.
pub fn compare(a: &SparseVector, b: &SparseVector) -> Ordering {
    a.sort_words().cmp(&b.sort_words())
}
