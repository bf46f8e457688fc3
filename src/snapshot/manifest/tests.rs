//! Manifests written, read, and damaged.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use lodedb_wal::fs::OsFileSystem;

use super::*;

fn manifest(generation: u64) -> Manifest {
    Manifest {
        generation,
        lsn: 17,
        time_us: 5,
        catalog: Catalog::default(),
        sequences: vec![(16401, 9)],
        next_segment: 3,
        unsettled_from: 2,
        tables: vec![TableManifest {
            table: 16400,
            next_row: 8,
            live_rows: 7,
            segments: Vec::new(),
            indexes: Vec::new(),
        }],
    }
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    manifest(1).write(&OsFileSystem, dir.path()).unwrap();
    manifest(2).write(&OsFileSystem, dir.path()).unwrap();
    assert_eq!(Manifest::generations(&OsFileSystem, dir.path()).unwrap(), [2, 1]);
    assert_eq!(Manifest::read(&OsFileSystem, dir.path(), 2).unwrap(), manifest(2));
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let good = manifest(1).encode();
    for at in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(Manifest::decode(&bad).is_err(), "bit {bit} of byte {at}");
        }
    }
    for cut in 0..good.len() {
        assert!(Manifest::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = good;
    longer.push(0);
    assert!(Manifest::decode(&longer).is_err());
}

#[test]
fn a_manifest_of_the_format_before_is_read() {
    let older = Manifest2 {
        generation: 4,
        lsn: 17,
        time_us: 5,
        catalog: catalog_without_rights(),
        sequences: vec![(16401, 9)],
        next_segment: 3,
        unsettled_from: 2,
        tables: manifest(4).tables,
    };
    let bytes = FORM_2.encode(4, &older);
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest(4));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 8;
        assert!(Manifest::decode(&bad).is_err(), "byte {at}");
    }
}

/// An empty catalog as it was written before there were roles: version, next OID, four empty maps.
fn catalog_without_rights() -> CatalogWithoutRights {
    let bytes = [0; 6];
    bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap().0
}
