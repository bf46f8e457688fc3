//! The frame: one record, or an idle mark, as bytes. Encoding and decoding, nothing else.

use crate::Lsn;

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 48;
/// Frames start at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;

const MAGIC: [u8; 4] = *b"LDFR";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Carries a record.
    Record,
    /// Carries nothing but `durable_lsn`; its `lsn` is that of the record before it.
    IdleMark,
}

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) len: u32,
    pub(crate) payload_crc: u32,
    /// Identity of the segment, so that a frame copied from elsewhere is not taken for one of this file.
    pub(crate) segment_id: u64,
    pub(crate) lsn: Lsn,
    /// Highest LSN known to be on disk when this frame was made: the evidence that tells damage from a torn tail.
    pub(crate) durable_lsn: Lsn,
    /// Header checksum of the record before this frame.
    pub(crate) prev_crc: u32,
}

/// Bytes a record of `len` bytes takes on disk.
pub(crate) fn frame_bytes(len: usize) -> u64 {
    (FRAME_HEADER_BYTES + len.next_multiple_of(FRAME_ALIGN)) as u64
}

impl FrameHeader {
    /// The header's bytes and its checksum.
    pub(crate) fn encode(&self) -> ([u8; FRAME_HEADER_BYTES], u32) {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8] = match self.kind {
            FrameKind::Record => 1,
            FrameKind::IdleMark => 2,
        };
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable_lsn.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.prev_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header at the start of `bytes` and its checksum, if it is one of the segment `segment_id`.
    pub(crate) fn decode(bytes: &[u8], segment_id: u64) -> Option<(FrameHeader, u32)> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        // Cheapest first: scanning a torn tail asks this at every eighth byte.
        if bytes[0..4] != MAGIC || u64_at(bytes, 16) != segment_id {
            return None;
        }
        let crc = u32_at(bytes, 44);
        if crc32fast::hash(&bytes[..44]) != crc {
            return None;
        }
        let kind = match bytes[8..12] {
            [1, 0, 0, 0] => FrameKind::Record,
            [2, 0, 0, 0] => FrameKind::IdleMark,
            _ => return None,
        };
        let header = FrameHeader {
            kind,
            len: u32_at(bytes, 4),
            payload_crc: u32_at(bytes, 12),
            segment_id,
            lsn: u64_at(bytes, 24),
            durable_lsn: u64_at(bytes, 32),
            prev_crc: u32_at(bytes, 40),
        };
        Some((header, crc))
    }
}

/// Appends a record's frame to `out`; gives its header checksum. `header.len` and `header.payload_crc` are filled in here.
pub(crate) fn encode_record(out: &mut Vec<u8>, mut header: FrameHeader, payload: &[u8]) -> u32 {
    header.len = payload.len() as u32;
    header.payload_crc = crc32fast::hash(payload);
    let (bytes, crc) = header.encode();
    out.extend_from_slice(&bytes);
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(FRAME_ALIGN), 0);
    crc
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}
