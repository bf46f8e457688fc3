//! Strings of bits (`bit`, `bit varying`), which pgvector takes for binary vectors.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::error::{Result, SqlError, SqlState};

#[cfg(test)]
mod tests;

/// The most bits of a value, as in PostgreSQL.
pub const MAX_LENGTH: usize = 83_886_080;

/// A string of bits.
///
/// INVARIANT: the first bit is the highest of the first byte, and the bits of the last byte beyond the length are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bits {
    length: u32,
    bytes: Vec<u8>,
}

impl FromIterator<bool> for Bits {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> Self {
        let mut result = Self::default();
        bits.into_iter().for_each(|bit| result.push(bit));
        result
    }
}

fn size_mismatch(operation: &str) -> SqlError {
    let message = format!("cannot {operation} bit strings of different sizes");
    SqlError::new(SqlState::StringDataLengthMismatch, message)
}

impl Bits {
    /// The first `length` bits of these bytes; `None` if they are not as many as it takes.
    pub fn from_bytes(length: usize, bytes: &[u8]) -> Option<Self> {
        let length_word = u32::try_from(length).ok()?;
        let mut bits = Self { length: length_word, bytes: bytes.to_vec() };
        bits.clear_padding();
        (bytes.len() == length.div_ceil(8)).then_some(bits)
    }

    fn clear_padding(&mut self) {
        let used = self.length % 8;
        if let (Some(last), true) = (self.bytes.last_mut(), used > 0) {
            *last &= 0xffu8 << (8 - used);
        }
    }

    /// Appends a bit.
    pub fn push(&mut self, bit: bool) {
        let place = self.length % 8;
        if place == 0 {
            self.bytes.push(0);
        }
        if let (Some(last), true) = (self.bytes.last_mut(), bit) {
            *last |= 0x80 >> place;
        }
        self.length += 1;
    }

    /// How many bits there are.
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bits, eight to a byte, the first the highest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bit at a place from 0; none beyond the end.
    pub fn get(&self, place: usize) -> Option<bool> {
        (place < self.len()).then(|| self.bytes[place / 8] & (0x80 >> (place % 8)) != 0)
    }

    /// All bits in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = bool> + '_ {
        (0..self.len()).map(|place| self.bytes[place / 8] & (0x80 >> (place % 8)) != 0)
    }

    /// How many are set.
    pub fn count_ones(&self) -> u64 {
        self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// The string cut or filled up with zeros at its end.
    pub fn resized(mut self, length: usize) -> Self {
        self.bytes.resize(length.div_ceil(8), 0);
        self.length = length as u32;
        self.clear_padding();
        self
    }

    /// `a & b`, `a | b`, `a # b`: `22026` for strings of different length.
    pub fn combined(&self, other: &Self, operation: &str, f: impl Fn(u8, u8) -> u8) -> Result<Self> {
        if self.length != other.length {
            return Err(size_mismatch(operation));
        }
        let bytes = self.bytes.iter().zip(&other.bytes).map(|(&a, &b)| f(a, b)).collect();
        Ok(Self { length: self.length, bytes })
    }

    /// `~ a`.
    pub fn inverted(&self) -> Self {
        let mut result = Self { length: self.length, bytes: self.bytes.iter().map(|byte| !byte).collect() };
        result.clear_padding();
        result
    }

    /// `a << places`; to the right where negative. The length stays.
    pub fn shifted_left(&self, places: i64) -> Self {
        let from = |place: usize| {
            let source = place as i64 + places;
            usize::try_from(source).ok().and_then(|source| self.get(source)).unwrap_or(false)
        };
        (0..self.len()).map(from).collect()
    }

    /// `a || b`: `54000` beyond the most bits a value may have.
    pub fn concat(&self, other: &Self) -> Result<Self> {
        if self.len() + other.len() > MAX_LENGTH {
            let message = format!("bit string length exceeds the maximum allowed ({MAX_LENGTH})");
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        Ok(self.iter().chain(other.iter()).collect())
    }

    /// `substring(a from start [for count])`, clipped to the string: `22011` for a negative count.
    pub fn substring(&self, start: i32, count: Option<i32>) -> Result<Self> {
        if count.is_some_and(|count| count < 0) {
            return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
        }
        let first = i64::from(start) - 1;
        let end = count.map_or(i64::MAX, |count| first + i64::from(count)).min(self.len() as i64);
        let first = first.max(0);
        Ok((first..end.max(first)).filter_map(|place| self.get(place as usize)).collect())
    }

    /// The last `length` bits of an integer in two's complement, its sign before them where there are more.
    pub fn from_integer(value: i64, length: usize) -> Self {
        (0..length).rev().map(|place| (value >> place.min(63)) & 1 == 1).collect()
    }

    /// The bits as an integer of `width` bits in two's complement; `None` where they are more.
    pub fn to_integer(&self, width: usize) -> Option<i64> {
        let value = self.iter().fold(0u64, |value, bit| value << 1 | u64::from(bit));
        (self.len() <= width).then_some(if width == 32 { i64::from(value as u32 as i32) } else { value as i64 })
    }

    fn check_same_length(&self, other: &Self) -> Result<()> {
        if self.length == other.length {
            return Ok(());
        }
        let message = format!("different bit lengths {} and {}", self.length, other.length);
        Err(SqlError::new(SqlState::DataException, message))
    }

    /// The number of places where two strings differ.
    pub fn hamming_distance(&self, other: &Self) -> Result<f64> {
        self.check_same_length(other)?;
        let differing = self.bytes.iter().zip(&other.bytes).map(|(a, b)| u64::from((a ^ b).count_ones()));
        Ok(differing.sum::<u64>() as f64)
    }

    /// 1 less the share of the places set in both among those set in either; 1 where none is set in both.
    pub fn jaccard_distance(&self, other: &Self) -> Result<f64> {
        self.check_same_length(other)?;
        let both: u64 = self.bytes.iter().zip(&other.bytes).map(|(a, b)| u64::from((a & b).count_ones())).sum();
        if both == 0 {
            return Ok(1.0);
        }
        Ok(1.0 - both as f64 / (self.count_ones() + other.count_ones() - both) as f64)
    }
}

/// PostgreSQL's order: bit by bit, then the shorter first.
pub fn compare(a: &Bits, b: &Bits) -> Ordering {
    a.bytes.cmp(&b.bytes).then(a.length.cmp(&b.length))
}
