//! FORMAT.md's "Reading" for the last segment of a log, word for word and slowly.

use std::ops::Range;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Clean,
    Torn,
    Damaged,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) records: Vec<(u64, Range<usize>)>,
    pub(super) tail: Tail,
    /// The highest LSN that header, frames and end mark prove to have been durable.
    pub(super) proven: u64,
}

/// A frame's header whose checksum and identity hold.
struct Frame {
    kind: u8,
    len: usize,
    payload_crc: u32,
    lsn: u64,
    durable: u64,
    prev: u32,
    crc: u32,
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn frame(bytes: &[u8], at: usize) -> Option<Frame> {
    let header = bytes.get(at..at + 48)?;
    let crc = number(header, 44, 4) as u32;
    let sound = header.starts_with(b"LDFR")
        && crc32fast::hash(&header[..44]) == crc
        && number(header, 16, 8) == number(bytes, 32, 8)
        && matches!(header[8..12], [1 | 2, 0, 0, 0]);
    sound.then(|| Frame {
        kind: header[8],
        len: number(header, 4, 4) as usize,
        payload_crc: number(header, 12, 4) as u32,
        lsn: number(header, 24, 8),
        durable: number(header, 32, 8),
        prev: number(header, 40, 4) as u32,
        crc,
    })
}

pub(super) fn read(bytes: &[u8]) -> Reading {
    let size = bytes.len();
    let is_zero = |range: Range<usize>| bytes[range].iter().all(|&byte| byte == 0);
    let mut expected = number(bytes, 40, 8);
    let mut prev = number(bytes, 48, 4) as u32;
    let mut proven = expected - 1;
    let mut records = Vec::new();
    let mut at = 512;
    loop {
        let acceptable = |at: usize| {
            let frame = frame(bytes, at)?;
            let end = at + 48 + frame.len.div_ceil(8) * 8;
            // A frame cannot know more to be durable than there was.
            let chained = frame.prev == prev && frame.durable < expected && end <= size - 512;
            let payload = at + 48..at + 48 + frame.len;
            let kept = match frame.kind {
                1 => frame.lsn == expected && crc32fast::hash(bytes.get(payload.clone())?) == frame.payload_crc,
                _ => frame.lsn == expected - 1 && frame.len == 0,
            };
            (chained && kept).then_some((frame, payload, end))
        };
        let mut found = acceptable(at);
        if found.is_none() {
            let boundary = at.div_ceil(512) * 512;
            if boundary != at && boundary <= size && is_zero(at..boundary) {
                found = acceptable(boundary).filter(|(frame, ..)| frame.kind == 2);
            }
        }
        let Some((frame, payload, end)) = found else { break };
        proven = proven.max(frame.durable);
        at = end;
        if frame.kind == 1 {
            records.push((expected, payload));
            expected += 1;
            prev = frame.crc;
        }
    }
    let end_mark = frame(bytes, size - 512);
    let proof = |frame: &Frame| frame.lsn >= expected && frame.durable >= expected;
    let proves = (at..size - 512 - 40).step_by(8).any(|at| frame(bytes, at).is_some_and(|frame| proof(&frame)))
        || end_mark.as_ref().is_some_and(|mark| mark.durable >= expected);
    let tail = if proves {
        Tail::Damaged
    } else if is_zero(at.min(size - 512)..size - 512) && (end_mark.is_some() || is_zero(size - 512..size)) {
        Tail::Clean
    } else {
        Tail::Torn
    };
    if let Some(mark) = end_mark {
        proven = proven.max(mark.durable);
    }
    Reading { records, tail, proven }
}
