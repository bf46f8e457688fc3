//! A set of ordinals that is cheap to copy and to change a little.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 65,536 bits a chunk.
const CHUNK_WORDS: usize = 1024;
const CHUNK_BITS: usize = CHUNK_WORDS * 64;

/// A set of ordinals. A clone shares all chunks; a change copies the one chunk it is in.
#[derive(Clone, Default)]
pub struct Bits {
    chunks: Vec<Option<Arc<[u64; CHUNK_WORDS]>>>,
    count: u32,
}

impl Bits {
    /// Whether the ordinal is in the set.
    #[inline]
    pub fn contains(&self, ordinal: u32) -> bool {
        if self.count == 0 {
            return false;
        }
        let at = ordinal as usize;
        match self.chunks.get(at / CHUNK_BITS) {
            Some(Some(chunk)) => chunk[at % CHUNK_BITS / 64] >> (at % 64) & 1 == 1,
            _ => false,
        }
    }

    /// Adds an ordinal; says whether it is new.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        if self.contains(ordinal) {
            return false;
        }
        let at = ordinal as usize;
        if self.chunks.len() <= at / CHUNK_BITS {
            self.chunks.resize(at / CHUNK_BITS + 1, None);
        }
        let chunk = self.chunks[at / CHUNK_BITS].get_or_insert_with(|| Arc::new([0; CHUNK_WORDS]));
        Arc::make_mut(chunk)[at % CHUNK_BITS / 64] |= 1 << (at % 64);
        self.count += 1;
        true
    }

    /// How many ordinals are in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its ordinals, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().enumerate().flat_map(|(chunk, words)| {
            words.iter().flat_map(move |words| {
                words.iter().enumerate().flat_map(move |(word, &bits)| {
                    let base = (chunk * CHUNK_BITS + word * 64) as u32;
                    (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| base + bit)
                })
            })
        })
    }

    /// Clears in `words` every bit that is in the set.
    pub fn subtract_from(&self, words: &mut [u64]) {
        for (chunk, own) in self.chunks.iter().enumerate() {
            let Some(own) = own else { continue };
            let start = chunk * CHUNK_WORDS;
            if start >= words.len() {
                break;
            }
            for (word, own) in words[start..].iter_mut().zip(own.iter()) {
                *word &= !own;
            }
        }
    }
}

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl std::fmt::Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bits({})", self.count)
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut previous = 0;
        let gaps: Vec<u32> = self
            .iter()
            .map(|ordinal| {
                let gap = ordinal - previous;
                previous = ordinal;
                gap
            })
            .collect();
        gaps.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bits = Self::default();
        let mut ordinal = 0u32;
        for gap in Vec::<u32>::deserialize(deserializer)? {
            ordinal = ordinal.checked_add(gap).ok_or_else(|| serde::de::Error::custom("an ordinal is too large"))?;
            bits.insert(ordinal);
        }
        Ok(bits)
    }
}
