//! Frames and headers as bytes: what is encoded is decoded, and no bytes make the walk panic, not even soundly checksummed ones.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::frame::{FrameHeader, FrameKind, encode_record};
use crate::segment::{SegmentHeader, parse_segment_name, segment_path};
use crate::walk::{TailState, Walk};

fn any_frame() -> impl Strategy<Value = FrameHeader> {
    let near = prop_oneof![0..12u64, any::<u64>()];
    (any::<bool>(), any::<u32>(), near.clone(), near, prop_oneof![Just(0), any::<u32>()]).prop_map(
        |(mark, len, lsn, durable_lsn, prev_crc)| FrameHeader {
            kind: if mark { FrameKind::IdleMark } else { FrameKind::Record },
            len: if mark { 0 } else { len },
            payload_crc: 0,
            segment_id: 9,
            lsn,
            durable_lsn,
            prev_crc,
        },
    )
}

fn header(first_lsn: u64) -> SegmentHeader {
    SegmentHeader { segment_bytes: 4096, number: 1, segment_id: 9, first_lsn, prev_crc: 0 }
}

proptest! {
    #[test]
    fn frames_come_back(frame in any_frame(), payload in vec(any::<u8>(), 0..100)) {
        let mut bytes = Vec::new();
        let crc = encode_record(&mut bytes, frame, &payload);
        prop_assert_eq!(bytes.len() % 8, 0);
        let (decoded, decoded_crc) = FrameHeader::decode(&bytes, 9).expect("sound");
        prop_assert_eq!(decoded_crc, crc);
        let (len, payload_crc) = (payload.len() as u32, crc32fast::hash(&payload));
        prop_assert_eq!(decoded, FrameHeader { len, payload_crc, ..frame });
        prop_assert!(FrameHeader::decode(&bytes, 10).is_none(), "another segment's");
        for byte in 0..48 {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1;
            prop_assert!(FrameHeader::decode(&damaged, 9).is_none());
        }
    }

    #[test]
    fn segment_headers_come_back(number: u64, segment_id: u64, first_lsn in 1..u64::MAX >> 1, prev_crc: u32) {
        let header = SegmentHeader { segment_bytes: 8192, number, segment_id, first_lsn, prev_crc };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let path = segment_path("/".as_ref(), first_lsn);
        prop_assert_eq!(parse_segment_name(&path.file_name().expect("has one").to_string_lossy()), Some(first_lsn));
    }

    #[test]
    fn hostile_frames_never_panic_the_walk(
        frames in vec((any_frame(), vec(any::<u8>(), 0..80), any::<bool>()), 0..12),
        noise in vec((512..4096usize, any::<u8>()), 0..6),
        first_lsn in 1..4u64,
    ) {
        let mut bytes = header(first_lsn).encode().to_vec();
        for (frame, payload, honest) in frames {
            if honest {
                encode_record(&mut bytes, frame, &payload);
            } else {
                bytes.extend_from_slice(&frame.encode().0);
                bytes.extend_from_slice(&payload);
            }
        }
        bytes.resize(4096, 0);
        for (at, byte) in noise {
            bytes[at] = byte;
        }
        let mut walk = Walk::new(&header(first_lsn));
        let mut expected = first_lsn;
        while let Some((lsn, payload)) = walk.next(&bytes, u64::MAX) {
            prop_assert_eq!(lsn, expected);
            prop_assert!(payload.end <= bytes.len());
            expected += 1;
        }
        prop_assert!(walk.proven < walk.next_lsn);
        let tail = walk.judge_tail(&bytes);
        prop_assert!(walk.proven < walk.next_lsn || matches!(tail, TailState::Damaged(_)));
    }

    #[test]
    fn any_bytes_are_no_segment(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
        prop_assert!(FrameHeader::decode(&bytes, 9).is_none());
    }
}
