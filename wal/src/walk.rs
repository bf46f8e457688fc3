//! Walking the frames of one segment, over bytes in memory: pure, and where a torn tail is told from damage.
//!
//! INVARIANT 1: a frame is accepted only if its header checksum, segment identity, LSN, link to the record before it and payload
//! checksum all hold; the first that does not ends the walk.
//!
//! INVARIANT 2: `durable_lsn` in a frame was true when the frame was made. So a frame that says `durable_lsn >= L` proves that
//! record `L` was once on disk, and if `L` cannot be read now, that is damage.

use std::ops::Range;

use crate::Lsn;
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_bytes};
use crate::segment::{END_MARK_BYTES, HEADER_BYTES, MARK_ALIGN, SegmentHeader};

/// A position in a segment's frames and what has been learned on the way there.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    segment_id: u64,
    /// Where the next frame is expected.
    pub(crate) offset: usize,
    /// The record expected next.
    pub(crate) next_lsn: Lsn,
    /// Header checksum of the last record.
    pub(crate) prev_crc: u32,
    /// The highest LSN that header and frames so far prove to have been durable.
    pub(crate) proven: Lsn,
    /// Whether the last frame was an idle mark.
    pub(crate) at_mark: bool,
}

/// How the bytes after a finished walk look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TailState {
    /// Nothing but zeros: nothing was ever written there.
    Clean,
    /// Something, none of it proof of a lost durable record.
    Torn,
    /// A frame at this offset proves that the expected record was durable.
    Damaged(usize),
}

impl Walk {
    /// A walk at the first frame of a segment.
    pub(crate) fn new(header: &SegmentHeader) -> Walk {
        Walk {
            segment_id: header.segment_id,
            offset: HEADER_BYTES as usize,
            next_lsn: header.first_lsn,
            prev_crc: header.prev_crc,
            // The segment before is synced before this one is used.
            proven: header.first_lsn - 1,
            at_mark: true,
        }
    }

    /// Takes the next record below `bound`: its LSN and where its payload lies. `None` at the first frame that is not acceptable.
    pub(crate) fn next(&mut self, bytes: &[u8], bound: Lsn) -> Option<(Lsn, Range<usize>)> {
        loop {
            let Some((header, crc, at)) = self.frame(bytes) else {
                // An idle mark leaves a gap of zeros before it.
                self.hop_to_mark(bytes)?;
                continue;
            };
            match header.kind {
                FrameKind::IdleMark => self.pass_mark(&header, at),
                FrameKind::Record => {
                    let payload = at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + header.len as usize;
                    if header.lsn >= bound || crc32fast::hash(&bytes[payload.clone()]) != header.payload_crc {
                        return None;
                    }
                    self.offset = at + frame_bytes(header.len as usize) as usize;
                    self.next_lsn += 1;
                    self.prev_crc = crc;
                    self.proven = self.proven.max(header.durable_lsn);
                    self.at_mark = false;
                    return Some((header.lsn, payload));
                }
            }
        }
    }

    /// The frame at the current offset, if its header holds and continues the chain.
    fn frame(&self, bytes: &[u8]) -> Option<(FrameHeader, u32, usize)> {
        let (header, crc) = FrameHeader::decode(bytes.get(self.offset..)?, self.segment_id)?;
        let follows = match header.kind {
            FrameKind::Record => header.lsn == self.next_lsn,
            FrameKind::IdleMark => header.lsn == self.next_lsn - 1 && header.len == 0,
        };
        let fits = self.offset as u64 + frame_bytes(header.len as usize) + END_MARK_BYTES <= bytes.len() as u64;
        let sound = follows && fits && header.prev_crc == self.prev_crc && header.durable_lsn < self.next_lsn;
        sound.then_some((header, crc, self.offset))
    }

    /// Moves to an idle mark at the next boundary, if there is one and only zeros before it.
    fn hop_to_mark(&mut self, bytes: &[u8]) -> Option<()> {
        let at = self.offset.next_multiple_of(MARK_ALIGN);
        if at == self.offset || !is_zero(bytes.get(self.offset..at)?) {
            return None;
        }
        let there = Walk { offset: at, ..self.clone() };
        let (header, _, _) = there.frame(bytes)?;
        if header.kind != FrameKind::IdleMark {
            return None;
        }
        self.pass_mark(&header, at);
        Some(())
    }

    fn pass_mark(&mut self, header: &FrameHeader, at: usize) {
        self.offset = at + FRAME_HEADER_BYTES;
        self.proven = self.proven.max(header.durable_lsn);
        self.at_mark = true;
    }

    /// Judges what follows the end of a walk in the last segment; learns from the end mark what it proves.
    pub(crate) fn judge_tail(&mut self, bytes: &[u8]) -> TailState {
        let Some((body, end)) = bytes.split_last_chunk::<{ END_MARK_BYTES as usize }>() else { return TailState::Torn };
        let end_mark = FrameHeader::decode(end, self.segment_id);
        let end_proves = end_mark.map_or(0, |(mark, _)| mark.durable_lsn);
        if end_proves >= self.next_lsn {
            return TailState::Damaged(body.len());
        }
        self.proven = self.proven.max(end_proves);
        let rest = body.get(self.offset..).unwrap_or_default();
        if is_zero(rest) {
            return if end_mark.is_some() || is_zero(end) { TailState::Clean } else { TailState::Torn };
        }
        for at in (0..rest.len()).step_by(FRAME_ALIGN) {
            if let Some((header, _)) = FrameHeader::decode(&rest[at..], self.segment_id)
                && header.lsn >= self.next_lsn
                && header.durable_lsn >= self.next_lsn
            {
                return TailState::Damaged(self.offset + at);
            }
        }
        TailState::Torn
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In chunks, so that 64 MiB of zeros take milliseconds.
    let mut chunks = bytes.chunks_exact(64);
    chunks.all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0) && chunks.remainder().iter().all(|&b| b == 0)
}
