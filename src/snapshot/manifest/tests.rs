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
fn manifests_of_formats_before_are_read() {
    // Empty catalogs as they were written: version, next OID, four empty maps; rights are empty maps too.
    check_older::<CatalogWithoutRights>(&FORM_2, &[0; 6]);
    check_older::<CatalogWithoutModels>(&FORM_3, &[0; 32]);
}

/// Whether a manifest of a format before is read, with a catalog that is the beginning of `catalog`.
fn check_older<C: Into<Catalog> + DeserializeOwned + Serialize>(form: &Form, catalog: &[u8]) {
    let (catalog, _): (C, usize) = bincode::serde::decode_from_slice(catalog, bincode::config::standard()).unwrap();
    let older = Older {
        generation: 4,
        lsn: 17,
        time_us: 5,
        catalog,
        sequences: vec![(16401, 9)],
        next_segment: 3,
        unsettled_from: 2,
        tables: manifest(4).tables,
    };
    let bytes = form.encode(4, &older);
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest(4));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 8;
        assert!(Manifest::decode(&bad).is_err(), "byte {at}");
    }
}
