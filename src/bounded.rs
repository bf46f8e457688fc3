//! Reading bincode that may say anything: a length it names is believed only as far as there are bytes to go with it.
//!
//! Bincode makes room for a string before it looks whether the string is there, and has one limit, fixed when the program is compiled.
//! So there is a ladder of them, and the bytes at hand choose the rung.

use bincode::config::{Configuration, standard};
use bincode::error::DecodeError;
use serde::de::DeserializeOwned;

/// The most that a number of one byte counts for.
const COUNTED_PER_BYTE: usize = 8;
/// How far a rung is above the one before, and so above what is needed.
const STEP: u32 = 4;

/// The value at the front of `bytes`, and how many bytes it took. Makes room for at most 128 times as many bytes as there are, or 1 MiB.
pub(crate) fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    const fn limited<const N: usize>()
    -> Configuration<bincode::config::LittleEndian, bincode::config::Varint, bincode::config::Limit<N>> {
        standard().with_limit::<N>()
    }
    use bincode::serde::decode_from_slice as decode;
    let needed = bytes.len().saturating_mul(COUNTED_PER_BYTE);
    let rung = needed.max(1 << 20).next_power_of_two().trailing_zeros().next_multiple_of(STEP);
    match rung {
        20 => decode(bytes, limited::<{ 1 << 20 }>()),
        24 => decode(bytes, limited::<{ 1 << 24 }>()),
        28 => decode(bytes, limited::<{ 1 << 28 }>()),
        32 => decode(bytes, limited::<{ 1 << 32 }>()),
        36 => decode(bytes, limited::<{ 1 << 36 }>()),
        _ => decode(bytes, limited::<{ 1 << 44 }>()),
    }
}

#[cfg(test)]
mod tests;
