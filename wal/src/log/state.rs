//! What the log knows between calls, and encoding into its buffer: no file-system calls here.

use std::io;
use std::sync::Arc;

use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, encode_record, frame_bytes};
use crate::fs::File;
use crate::options::Planted;
use crate::recovery::Recovered;
use crate::segment::{MARK_ALIGN, SegmentFile, SegmentHeader, Spare, TAIL_RESERVE_BYTES};
use crate::{LogError, LogOptions, Lsn};

/// Buffers larger than this are not kept for the next group.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// The segment being appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame goes, counting what is still in the buffer.
    pub(crate) offset: u64,
}

/// Everything the mutex guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) active: Active,
    /// Oldest first; the last one is the active one.
    pub(crate) segments: Vec<SegmentFile>,
    /// Frames not yet written; they end at `active.offset`.
    pub(crate) buffer: Vec<u8>,
    /// The buffer of the group before, kept for its memory.
    idle_buffer: Vec<u8>,
    pub(crate) last_lsn: Lsn,
    pub(crate) written_lsn: Lsn,
    pub(crate) durable_lsn: Lsn,
    /// Header checksum of the last record.
    pub(crate) prev_crc: u32,
    /// Whether an idle mark, or the segment's header, vouches for the last record already.
    pub(crate) marked: bool,
    pub(crate) io_busy: bool,
    pub(crate) rotating: bool,
    pub(crate) poisoned: bool,
    pub(crate) spare: Option<Spare>,
    /// Why the background could not make a spare; it waits until somebody needs one.
    pub(crate) spare_error: Option<io::Error>,
    /// Whether the background waits for something to mark; not while it waits for quiet, so that syncs need not wake it.
    pub(crate) mark_waits: bool,
    pub(crate) stopping: bool,
}

impl State {
    pub(crate) fn new(recovered: Recovered) -> State {
        let last_lsn = recovered.last_lsn;
        State {
            active: Active { file: recovered.file, header: recovered.header, offset: recovered.offset },
            segments: recovered.segments,
            buffer: Vec::new(),
            idle_buffer: Vec::new(),
            last_lsn,
            written_lsn: last_lsn,
            durable_lsn: last_lsn,
            prev_crc: recovered.prev_crc,
            marked: recovered.marked,
            io_busy: false,
            rotating: false,
            poisoned: false,
            spare: recovered.spare,
            spare_error: None,
            mark_waits: false,
            stopping: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::Poisoned) } else { Ok(()) }
    }

    /// Bytes of frames the active segment still takes.
    pub(crate) fn room(&self) -> u64 {
        self.active.header.segment_bytes.saturating_sub(TAIL_RESERVE_BYTES).saturating_sub(self.active.offset)
    }

    /// Puts one record into the buffer. The caller has seen to the room.
    pub(crate) fn encode(&mut self, record: &[u8], options: &LogOptions) {
        self.last_lsn += 1;
        let durable_lsn = if options.is_planted(Planted::EarlyDurable) { self.last_lsn - 1 } else { self.durable_lsn };
        let header = self.frame_header(FrameKind::Record, durable_lsn);
        self.prev_crc = encode_record(&mut self.buffer, header, record);
        self.active.offset += frame_bytes(record.len());
        self.marked = false;
    }

    /// Whether an idle mark would say something new and true.
    pub(crate) fn wants_mark(&self) -> bool {
        !self.marked && self.buffer.is_empty() && self.durable_lsn == self.last_lsn
    }

    /// An idle mark and where it goes.
    pub(crate) fn encode_mark(&mut self) -> ([u8; FRAME_HEADER_BYTES], u64) {
        let at = self.active.offset.next_multiple_of(MARK_ALIGN as u64);
        let (bytes, _) = self.frame_header(FrameKind::IdleMark, self.durable_lsn).encode();
        self.active.offset = at + bytes.len() as u64;
        self.marked = true;
        (bytes, at)
    }

    fn frame_header(&self, kind: FrameKind, durable_lsn: Lsn) -> FrameHeader {
        FrameHeader {
            kind,
            len: 0,
            payload_crc: 0,
            segment_id: self.active.header.segment_id,
            lsn: self.last_lsn,
            durable_lsn,
            prev_crc: self.prev_crc,
        }
    }

    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.buffer, std::mem::take(&mut self.idle_buffer))
    }

    pub(crate) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            self.idle_buffer = buffer;
        }
    }
}
