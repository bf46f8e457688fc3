//! Headers, frames and the walk over them, against a reading of FORMAT.md that shares no code with them.

use arbitrary::{Result, Unstructured};

use super::reference::{self, Tail};
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, encode_record, u64_at};
use crate::segment::{HEADER_BYTES, MARK_ALIGN, SegmentHeader};
use crate::walk::{TailState, Walk};

/// What is decoded encodes to the same bytes, and a walk over any segment ends as [`reference`] says.
pub fn frames(data: &[u8]) {
    headers(data);
    if let Ok(bytes) = segment(&mut Unstructured::new(data)) {
        walk(&bytes);
    }
}

/// A fuzzer cannot guess checksums, so each header is read as it is and with its checksum repaired.
fn headers(data: &[u8]) {
    let mut bytes = data.to_vec();
    for repaired in [false, true] {
        if repaired && bytes.len() >= HEADER_BYTES as usize {
            let crc = crc32fast::hash(&bytes[..508]).to_le_bytes();
            bytes[508..512].copy_from_slice(&crc);
        }
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            assert_eq!(header.encode(), bytes[..HEADER_BYTES as usize]);
        }
        if repaired && bytes.len() >= FRAME_HEADER_BYTES {
            let crc = crc32fast::hash(&bytes[..44]).to_le_bytes();
            bytes[44..48].copy_from_slice(&crc);
        }
        let Some(id) = bytes.get(16..24) else { continue };
        if let Some((header, _)) = FrameHeader::decode(&bytes, u64_at(id, 0)) {
            assert_eq!(header.encode().0, bytes[..FRAME_HEADER_BYTES]);
        }
    }
}

/// A segment that is mostly as the log would write it.
fn segment(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let header = SegmentHeader {
        segment_bytes: if u.ratio(1, 8)? { 8192 } else { 4096 },
        number: u.int_in_range(1..=3)?,
        segment_id: 9,
        first_lsn: u.int_in_range(1..=3)?,
        prev_crc: if u.ratio(1, 8)? { u.arbitrary()? } else { 0 },
    };
    let mut bytes = header.encode().to_vec();
    let size = header.segment_bytes as usize;
    let (mut lsn, mut prev_crc, mut last_mark) = (header.first_lsn, header.prev_crc, None);
    while bytes.len() < size && !u.is_empty() {
        let near = |u: &mut Unstructured<'_>, right: u64| match u.int_in_range(0..=15)? {
            0 => u.arbitrary(),
            1 => Ok(right.wrapping_add(1)),
            2 => Ok(right.wrapping_sub(1)),
            _ => Ok(right),
        };
        let mut frame = FrameHeader {
            kind: FrameKind::Record,
            len: 0,
            payload_crc: 0,
            segment_id: near(u, 9)?,
            lsn: near(u, lsn)?,
            durable_lsn: if u.arbitrary()? { lsn.wrapping_sub(1) } else { u.arbitrary::<u8>()?.into() },
            prev_crc: near(u, prev_crc.into())? as u32,
        };
        match u.int_in_range(0..=9)? {
            0..=4 => {
                let len = u.int_in_range(0..=200)?;
                let payload: Vec<u8> = u.bytes(u.len().min(len))?.to_vec();
                prev_crc = encode_record(&mut bytes, frame, &payload);
                lsn = lsn.wrapping_add(1);
            }
            5 => {
                // A sound header over a payload that is not its own.
                (frame.len, frame.payload_crc) = (near(u, 16)? as u32, u.arbitrary()?);
                bytes.extend(frame.encode().0);
                bytes.extend(u.bytes(u.len().min(16))?);
            }
            6 | 7 => {
                frame.kind = FrameKind::IdleMark;
                frame.lsn = frame.lsn.wrapping_sub(1);
                frame.len = if u.ratio(1, 16)? { 8 } else { 0 };
                let boundary = if u.ratio(1, 8)? { FRAME_ALIGN } else { MARK_ALIGN };
                bytes.resize(bytes.len().next_multiple_of(boundary), 0);
                bytes.extend(frame.encode().0);
                last_mark = Some(frame);
            }
            8 => bytes.extend(u.bytes(u.len().min(24))?),
            _ => bytes.resize(bytes.len() + usize::from(u.arbitrary::<u8>()?) * 8, 0),
        }
    }
    bytes.resize(size, 0);
    if let Some(mark) = last_mark.filter(|_| u.arbitrary().unwrap_or(true)) {
        bytes[size - 512..size - 512 + FRAME_HEADER_BYTES].copy_from_slice(&mark.encode().0);
    }
    Ok(bytes)
}

fn walk(bytes: &[u8]) {
    let header = SegmentHeader::decode(bytes).unwrap();
    let expected = reference::read(bytes);
    let mut walk = Walk::new(&header);
    let mut records = Vec::new();
    while let Some((lsn, payload)) = walk.next(bytes, u64::MAX) {
        records.push((lsn, payload));
        assert!(records.len() <= bytes.len() / FRAME_HEADER_BYTES, "a walk goes forward");
    }
    assert_eq!(records, expected.records);
    let tail = match walk.judge_tail(bytes) {
        TailState::Clean => Tail::Clean,
        TailState::Torn => Tail::Torn,
        TailState::Damaged(_) => Tail::Damaged,
    };
    assert_eq!(tail, expected.tail);
    if tail != Tail::Damaged {
        assert_eq!(walk.proven, expected.proven, "what is proven durable");
    }
}
