//! A set of 32-bit ordinals as copy-on-write chunks of bits: which rows of a segment are dead, overridden, or pass a filter.

use std::fmt;
use std::sync::Arc;

use lodedb_sql::error::{Result, SqlError, SqlState};

const CHUNK_BITS: u32 = 32_768;
const CHUNK_WORDS: usize = (CHUNK_BITS / 64) as usize;
/// Up to this many ordinals a chunk is written as a list, above it as words.
const LIST_LIMIT: u32 = 1_024;
const MAGIC: [u8; 4] = *b"LDBT";
const VERSION: u8 = 1;

type Chunk = [u64; CHUNK_WORDS];

/// A set of ordinals. `Clone` copies one pointer for each 32,768 ordinals; a clone that is written to afterwards copies only
/// the chunks it changes.
#[derive(Clone, Default)]
pub struct Bits {
    chunks: Vec<Option<Arc<Chunk>>>,
    count: u32,
}

impl Bits {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the ordinal is in the set.
    #[inline]
    pub fn contains(&self, ordinal: u32) -> bool {
        match self.chunks.get((ordinal / CHUNK_BITS) as usize) {
            Some(Some(chunk)) => {
                let bit = ordinal % CHUNK_BITS;
                chunk[(bit / 64) as usize] >> (bit % 64) & 1 == 1
            }
            _ => false,
        }
    }

    /// Adds an ordinal; true if it was not there.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let at = (ordinal / CHUNK_BITS) as usize;
        if at >= self.chunks.len() {
            self.chunks.resize(at + 1, None);
        }
        let chunk = self.chunks[at].get_or_insert_with(|| Arc::new([0; CHUNK_WORDS]));
        let (word, mask) = ((ordinal % CHUNK_BITS / 64) as usize, 1u64 << (ordinal % 64));
        if chunk[word] & mask != 0 {
            return false;
        }
        Arc::make_mut(chunk)[word] |= mask;
        self.count += 1;
        true
    }

    /// How many ordinals the set holds.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the set holds no ordinal.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many ordinals below `end` the set holds.
    pub fn count_below(&self, end: u32) -> u32 {
        let mut count = 0;
        for (first, word) in self.words() {
            if first + 64 <= u64::from(end) {
                count += word.count_ones();
            } else if first < u64::from(end) {
                count += (word & low_mask(u64::from(end) - first)).count_ones();
            }
        }
        count
    }

    /// The ordinals, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words().flat_map(|(first, word)| Ones(word).map(move |bit| (first + u64::from(bit)) as u32))
    }

    /// The set as words of 64 bits, lowest ordinal first, cut or filled with zeros to `len` ordinals.
    pub fn to_words(&self, len: u32) -> Vec<u64> {
        let mut words = vec![0u64; (len as usize).div_ceil(64)];
        for (into, chunk) in words.chunks_mut(CHUNK_WORDS).zip(&self.chunks) {
            if let Some(chunk) = chunk {
                into.copy_from_slice(&chunk[..into.len()]);
            }
        }
        if let Some(last) = words.last_mut() {
            *last &= low_mask(u64::from(len) - (u64::from(len) - 1) / 64 * 64);
        }
        words
    }

    /// Takes the ordinals of this set out of `words`, which start at ordinal 0.
    pub fn subtract_from(&self, words: &mut [u64]) {
        for (from, chunk) in words.chunks_mut(CHUNK_WORDS).zip(&self.chunks) {
            if let Some(chunk) = chunk {
                from.iter_mut().zip(chunk.iter()).for_each(|(word, gone)| *word &= !gone);
            }
        }
    }

    /// The set of the ones in `words`, which start at ordinal 0.
    pub fn from_words(words: &[u64]) -> Self {
        let mut bits = Self::new();
        for part in words.chunks(CHUNK_WORDS) {
            let ones: u32 = part.iter().map(|word| word.count_ones()).sum();
            bits.count += ones;
            bits.chunks.push((ones > 0).then(|| {
                let mut chunk = [0; CHUNK_WORDS];
                chunk[..part.len()].copy_from_slice(part);
                Arc::new(chunk)
            }));
        }
        bits
    }

    /// A framed, checksummed form; [`Bits::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        for (index, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            let ones: u32 = chunk.iter().map(|word| word.count_ones()).sum();
            bytes.extend_from_slice(&(index as u32).to_le_bytes());
            bytes.extend_from_slice(&ones.to_le_bytes());
            if ones <= LIST_LIMIT {
                for (at, word) in chunk.iter().enumerate() {
                    Ones(*word).for_each(|bit| bytes.extend_from_slice(&((at * 64) as u16 + bit as u16).to_le_bytes()));
                }
            } else {
                chunk.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            }
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what [`Bits::encode`] wrote; a damaged form is `XX001`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_checked(bytes)
            .ok_or_else(|| SqlError::new(SqlState::DataCorrupted, "a set of row bits is damaged"))
    }

    fn decode_checked(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?;
        let mut take = |n: usize| {
            rest.split_at_checked(n).map(|(head, tail)| {
                rest = tail;
                head
            })
        };
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let count = number(take(4)?)?;
        let mut bits = Self::new();
        let mut left = body.len() - 9;
        while left > 0 {
            let (index, ones) = (number(take(4)?)?, number(take(4)?)?);
            if index > u32::MAX / CHUNK_BITS || (index as usize) < bits.chunks.len() || ones > CHUNK_BITS {
                return None;
            }
            let mut chunk = [0u64; CHUNK_WORDS];
            let size = if ones <= LIST_LIMIT { ones as usize * 2 } else { CHUNK_WORDS * 8 };
            let data = take(size)?;
            if ones <= LIST_LIMIT {
                for bit in data.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)) {
                    *chunk.get_mut(usize::from(bit) / 64)? |= 1 << (bit % 64);
                }
            } else {
                chunk
                    .iter_mut()
                    .zip(data.as_chunks::<8>().0)
                    .for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            }
            if chunk.iter().map(|word| word.count_ones()).sum::<u32>() != ones {
                return None;
            }
            bits.chunks.resize(index as usize, None);
            bits.chunks.push(Some(Arc::new(chunk)));
            bits.count += ones;
            left -= 8 + size;
        }
        (bits.count == count).then_some(bits)
    }

    fn words(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.chunks.iter().enumerate().filter_map(|(at, chunk)| Some((at, chunk.as_ref()?))).flat_map(|(at, chunk)| {
            let first = at as u64 * u64::from(CHUNK_BITS);
            chunk.iter().enumerate().map(move |(word_at, word)| (first + word_at as u64 * 64, *word))
        })
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<T: IntoIterator<Item = u32>>(ordinals: T) -> Self {
        let mut bits = Self::new();
        for ordinal in ordinals {
            bits.insert(ordinal);
        }
        bits
    }
}

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Bits {}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits({} set)", self.count)
    }
}

/// A word whose lowest `bits` (up to 64) are ones.
#[inline]
pub(super) fn low_mask(bits: u64) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// All ordinals below `len`, as words.
pub(super) fn full_words(len: u32) -> Vec<u64> {
    let mut words = vec![u64::MAX; (len as usize).div_ceil(64)];
    if let Some(last) = words.last_mut() {
        *last = low_mask(u64::from(len) - (u64::from(len) - 1) / 64 * 64);
    }
    words
}

/// The positions of the ones of a word, ascending.
pub(super) struct Ones(pub(super) u64);

impl Iterator for Ones {
    type Item = u32;
    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
