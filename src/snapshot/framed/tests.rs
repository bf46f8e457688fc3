//! Manifests and lists of backups that are not what was written: any bytes, and payloads changed under checksums that hold.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use proptest::prelude::*;

use super::*;
use crate::catalog::Catalog;
use crate::snapshot::backup::{Backup, BackupFile};
use crate::snapshot::manifest::{Manifest, TableManifest};

const LISTS: Form = Form { magic: b"LODEBACK", format: 1, name: "list of a backup" };

fn manifest() -> Manifest {
    let table = TableManifest { table: 16400, next_row: 8, live_rows: 7, segments: Vec::new(), indexes: Vec::new() };
    Manifest {
        generation: 3,
        lsn: 17,
        time_us: 5,
        catalog: Catalog::default(),
        sequences: vec![(16401, 9)],
        next_segment: 3,
        unsettled_from: 2,
        tables: vec![table],
    }
}

fn list() -> Backup {
    let file = |at: u8| BackupFile { path: format!("wal/{at}"), len: 9, hash: [at; 32] };
    Backup { number: 3, database: [1; 16], lsn: 4, time_us: 5, files: vec![file(1), file(2)], copied_bytes: 18 }
}

/// The frame of `good` around another payload.
fn reframed(good: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = good[..HEADER_BYTES].to_vec();
    bytes[20..28].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes[28..32].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let header = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&header.to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn read(bytes: &[u8]) {
    let _ = Manifest::decode(bytes);
    let _ = LISTS.decode::<Backup>(bytes);
}

/// Payloads that differ from a good one in one stretch: other bytes, or a number of eight bytes where bincode may look for a length.
fn changed(good: &[u8], at: usize, taken: usize, put: &[u8]) -> Vec<u8> {
    let payload = &good[HEADER_BYTES..];
    let at = at % payload.len();
    let end = (at + taken).min(payload.len());
    reframed(good, &[&payload[..at], put, &payload[end..]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Manifest::decode(&bytes).is_err());
        prop_assert!(LISTS.decode::<Backup>(&bytes).is_err());
    }

    #[test]
    fn a_payload_of_any_bytes_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&reframed(&manifest().encode(), &payload));
        read(&reframed(&LISTS.encode(3, &list()), &payload));
    }

    #[test]
    fn a_changed_payload_is_read_or_refused(at: usize, taken in 0..9usize, put in prop::collection::vec(any::<u8>(), 0..9)) {
        read(&changed(&manifest().encode(), at, taken, &put));
        read(&changed(&LISTS.encode(3, &list()), at, taken, &put));
    }

    #[test]
    fn an_enormous_length_is_refused_without_making_room(at: usize, length in 1u64 << 28..) {
        let put = [&[253][..], &length.to_le_bytes()].concat();
        read(&changed(&manifest().encode(), at, 1, &put));
        read(&changed(&LISTS.encode(3, &list()), at, 1, &put));
    }
}

#[test]
fn what_is_reframed_unchanged_is_read() {
    let good = manifest().encode();
    assert_eq!(Manifest::decode(&reframed(&good, &good[HEADER_BYTES..])).unwrap(), manifest());
    let good = LISTS.encode(3, &list());
    assert_eq!(LISTS.decode::<Backup>(&reframed(&good, &good[HEADER_BYTES..])).unwrap(), (3, list()));
}
