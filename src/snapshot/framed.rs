//! The frame of small files that are read whole: a header, checksums, and one value in bincode.
//!
//! ```text
//! 0   magic  format u32  number u64  payload length u64  crc32 of the payload u32  crc32 of bytes 0..32 u32
//! 36  payload
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bounded::decode_front;
use crate::fault::{Fault, planted};

const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 4 + 4;

/// A kind of such files.
pub(super) struct Form {
    pub(super) magic: &'static [u8; 8],
    pub(super) format: u32,
    /// What errors call such a file.
    pub(super) name: &'static str,
}

impl Form {
    /// The bytes of a file.
    pub(super) fn encode<T: Serialize>(&self, number: u64, value: &T) -> Vec<u8> {
        let mut payload = Vec::new();
        if let Err(error) = bincode::serde::encode_into_std_write(value, &mut payload, bincode::config::standard()) {
            unreachable!("a {} could not be encoded: {error}", self.name);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        bytes.extend(self.magic);
        bytes.extend(self.format.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend((payload.len() as u64).to_le_bytes());
        bytes.extend(crc32fast::hash(&payload).to_le_bytes());
        let header = crc32fast::hash(&bytes);
        bytes.extend(header.to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Whether these bytes begin as such a file does: of this kind, and of this format.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(self.magic) && bytes.get(8..12) == Some(&self.format.to_le_bytes()[..])
    }

    /// The number and the value in what [`Self::encode`] wrote. Nothing is parsed before its checksum holds.
    pub(super) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<(u64, T), String> {
        let (header, payload) = bytes.split_at_checked(HEADER_BYTES).ok_or("it is shorter than its header")?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if &header[..8] != self.magic {
            return Err(format!("it is no {}", self.name));
        }
        if crc32fast::hash(&header[..HEADER_BYTES - 4]) != u32_at(HEADER_BYTES - 4) {
            return Err("its header fails its checksum".into());
        }
        if u32_at(8) != self.format {
            return Err(format!("its format is {}, and this version knows {}", u32_at(8), self.format));
        }
        if payload.len() as u64 != u64_at(20) {
            return Err(format!("it has {} bytes and should have {}", payload.len(), u64_at(20)));
        }
        if crc32fast::hash(payload) != u32_at(28) && !planted(Fault::ManifestNotVerified) {
            return Err("its payload fails its checksum".into());
        }
        let (value, used): (T, usize) = decode_front(payload).map_err(|error| error.to_string())?;
        if used != payload.len() {
            return Err("its payload is not what its header says".into());
        }
        Ok((u64_at(12), value))
    }
}

#[cfg(test)]
mod tests;
