//! The store as its callers see it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::time::{Instant, SystemTime};

use lodedb_sql::Datum;

use super::fence;
use super::key::{encode_key, key_range};
use super::{Batch, Snapshot, Store, StoreError, StoreOptions, StoredRow};

fn open(dir: &Path) -> Store {
    Store::open(dir, &StoreOptions::for_test()).expect("the store opens")
}

fn row(version: u64, number: i64) -> StoredRow {
    StoredRow { version, values: vec![Datum::Int8(number), Datum::Text(format!("row {number}"))] }
}

fn key(datums: &[Datum]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(datums, &mut out);
    out
}

fn ids(snapshot: &Snapshot, table: u32, range: impl std::ops::RangeBounds<u64>) -> Vec<u64> {
    snapshot.scan_rows(table, range).map(|item| item.expect("a row").0).collect()
}

fn is_send<T: Send + 'static>(_: &T) {}

/// The names, lengths and modification times of the files of `dir`.
fn listing(dir: &Path) -> std::io::Result<BTreeMap<OsString, (u64, SystemTime)>> {
    fs::read_dir(dir)?
        .map(|entry| {
            let entry = entry?;
            let metadata = entry.metadata()?;
            Ok((entry.file_name(), (metadata.len(), metadata.modified()?)))
        })
        .collect()
}

/// What is on disk while the store runs is what a crash leaves. A background flush may change the files while they are
/// copied, which no crash does: such a copy is thrown away and taken again.
fn crash_image(from: &Path, to: &Path) {
    loop {
        fs::create_dir_all(to).expect("a directory");
        let copied = listing(from).and_then(|before| {
            for name in before.keys().filter(|name| *name != "LOCK") {
                fs::copy(from.join(name), to.join(name))?;
            }
            Ok(before == listing(from)?)
        });
        match copied {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
        fs::remove_dir_all(to).expect("removed");
    }
}

#[test]
fn another_rocksdb_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    fence::check_version(dir.path()).expect("the one that wrote the options");
    fs::write(dir.path().join("OPTIONS-1000000"), "[Version]\n  rocksdb_version=11.7.0\n").expect("written");
    let refused = fence::check_version(dir.path()).expect_err("another one");
    assert_eq!(refused, StoreError::Version { linked: "11.7.0".into() });
}

#[test]
fn rows_are_found_by_id_and_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut batch = Batch::new();
    for id in [3, 1, 2, u64::MAX] {
        batch.put_row(7, id, &row(1, id as i64));
    }
    batch.put_row(8, 1, &row(1, 100));
    batch.put_row(u32::MAX, 5, &row(1, 5));
    store.write(batch, 1).expect("written");
    let snapshot = store.snapshot();
    assert_eq!(snapshot.row(7, 2).expect("read"), Some(row(1, 2)));
    assert_eq!(snapshot.row(7, 4).expect("read"), None);
    let rows = snapshot.rows(7, &[3, 9, 1, 3]).expect("read");
    assert_eq!(rows, [Some(row(1, 3)), None, Some(row(1, 1)), Some(row(1, 3))]);
    assert_eq!(ids(&snapshot, 7, ..), [1, 2, 3, u64::MAX]);
    assert_eq!(ids(&snapshot, 7, 2..=3), [2, 3]);
    assert_eq!(ids(&snapshot, 7, ..2), [1]);
    assert_eq!(ids(&snapshot, 7, (Bound::Excluded(3), Bound::Unbounded)), [u64::MAX]);
    assert_eq!(ids(&snapshot, 7, 5..5), [0u64; 0]);
    assert_eq!(ids(&snapshot, 7, ..0), [0u64; 0]);
    assert_eq!(ids(&snapshot, u32::MAX, ..), [5]);
    assert_eq!(snapshot.last_row(7).expect("read"), Some(u64::MAX));
    assert_eq!(snapshot.last_row(9).expect("read"), None);
    assert!(snapshot.has_rows(8).expect("read"));
    assert!(!snapshot.has_rows(9).expect("read"));
    is_send(&snapshot.scan_rows(7, ..));
    is_send(&snapshot.cursor(7, ..).expect("a cursor"));
    is_send(&snapshot.scan_index(1, Bound::Unbounded, Bound::Unbounded, false));
    assert_eq!(store.verify().expect("sound"), 7);
}

#[test]
fn a_snapshot_does_not_change_and_outlives_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut batch = Batch::new();
    batch.put_row(1, 1, &row(1, 1));
    batch.put_row(1, 2, &row(1, 2));
    batch.put_unique(5, &key(&[Datum::Int4(1)]), 1);
    store.write(batch, 1).expect("written");
    let before = store.snapshot();
    let mut scan = before.scan_rows(1, ..);
    let mut batch = Batch::new();
    batch.put_row(1, 1, &row(2, 10));
    batch.delete_row(1, 2);
    batch.delete_unique(5, &key(&[Datum::Int4(1)]));
    store.write(batch, 2).expect("written");
    let after = store.snapshot();
    store.flush().expect("flushed");
    drop(store);
    assert_eq!(before.row(1, 1).expect("read"), Some(row(1, 1)));
    assert_eq!(before.unique(5, &key(&[Datum::Int4(1)])).expect("read"), Some(1));
    assert_eq!(after.row(1, 1).expect("read"), Some(row(2, 10)));
    assert_eq!(after.row(1, 2).expect("read"), None);
    assert_eq!(after.unique(5, &key(&[Datum::Int4(1)])).expect("read"), None);
    drop(before);
    assert_eq!(scan.next().expect("a row").expect("read"), (1, row(1, 1)));
    assert_eq!(scan.next().expect("a row").expect("read"), (2, row(1, 2)));
    assert!(scan.next().is_none());
}

#[test]
fn an_index_is_walked_both_ways_with_its_nulls() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut batch = Batch::new();
    for number in 0..10 {
        batch.put_unique(3, &key(&[Datum::Int4(number)]), 100 + number as u64);
    }
    for id in [7, 5] {
        batch.put_entry(3, &key(&[Datum::Null]), id);
    }
    for id in [2, 1, u64::MAX] {
        batch.put_entry(4, &key(&[Datum::Int4(1), Datum::Text("x".into())]), id);
        batch.put_entry(4, &key(&[Datum::Int4(2), Datum::Text("x".into())]), id);
    }
    store.write(batch, 1).expect("written");
    let snapshot = store.snapshot();
    let walk = |index, (from, to): (Bound<Vec<u8>>, Bound<Vec<u8>>), reverse| -> Vec<u64> {
        let scan = snapshot.scan_index(index, from, to, reverse);
        scan.map(|item| item.expect("a key").1).collect()
    };
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut wanted: Vec<u64> = (100..110).chain([5, 7]).collect();
    assert_eq!(walk(3, all.clone(), false), wanted);
    wanted.reverse();
    assert_eq!(walk(3, all.clone(), true), wanted);
    let (low, high) = (Datum::Int8(2), Datum::Int2(5));
    let range = key_range(&[], Bound::Excluded(&low), Bound::Included(&high));
    assert_eq!(walk(3, range, false), [103, 104, 105]);
    assert_eq!(walk(3, key_range(&[], Bound::Included(&Datum::Int4(8)), Bound::Unbounded), false), [108, 109]);
    let whole = key(&[Datum::Int4(4)]);
    assert_eq!(walk(3, (Bound::Included(whole.clone()), Bound::Included(whole.clone())), false), [104]);
    assert_eq!(walk(3, (Bound::Excluded(whole.clone()), Bound::Excluded(whole)), false), [0u64; 0]);
    let equal = key_range(&[Datum::Int4(1)], Bound::Unbounded, Bound::Unbounded);
    assert_eq!(walk(4, equal.clone(), false), [1, 2, u64::MAX]);
    assert_eq!(walk(4, equal, true), [u64::MAX, 2, 1]);
    let whole = key(&[Datum::Int4(1), Datum::Text("x".into())]);
    assert_eq!(walk(4, (Bound::Excluded(whole.clone()), Bound::Unbounded), false), [1, 2, u64::MAX]);
    assert_eq!(walk(4, (Bound::Unbounded, Bound::Included(whole)), true), [u64::MAX, 2, 1]);
    assert_eq!(walk(5, all, false), [0u64; 0]);
}

#[test]
fn dropping_takes_one_table_and_one_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut batch = Batch::new();
    for table in [1, 2, u32::MAX] {
        batch.put_row(table, 1, &row(1, 1));
        batch.put_row(table, u64::MAX, &row(1, 1));
        batch.put_unique(table, b"\x01k", 1);
        batch.put_entry(table, b"\x01k", u64::MAX);
    }
    store.write(batch, 1).expect("written");
    let mut batch = Batch::new();
    for id in [1, u32::MAX] {
        batch.drop_table(id);
        batch.drop_index(id);
    }
    store.write(batch, 2).expect("written");
    let snapshot = store.snapshot();
    for id in [1, u32::MAX] {
        assert!(!snapshot.has_rows(id).expect("read"));
        assert_eq!(snapshot.unique(id, b"\x01k").expect("read"), None);
        assert_eq!(snapshot.scan_index(id, Bound::Unbounded, Bound::Unbounded, false).count(), 0);
    }
    assert_eq!(ids(&snapshot, 2, ..), [1, u64::MAX]);
    assert_eq!(snapshot.scan_index(2, Bound::Unbounded, Bound::Unbounded, false).count(), 2);
}

#[test]
fn names_hold_values() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut batch = Batch::new();
    batch.put_meta(b"table/1", b"one");
    batch.put_meta(b"table/2", b"two");
    batch.put_meta(b"role/1", b"me");
    batch.put_meta(b"table/2", b"twice");
    batch.put_meta(b"gone", b"");
    batch.delete_meta(b"gone");
    store.write(batch, 1).expect("written");
    let snapshot = store.snapshot();
    assert_eq!(snapshot.meta(b"role/1").expect("read").as_deref(), Some(b"me".as_slice()));
    assert_eq!(snapshot.meta(b"gone").expect("read"), None);
    assert_eq!(snapshot.meta(b"applied_lsn").expect("read"), None);
    let tables = snapshot.metas(b"table/").expect("read");
    assert_eq!(tables, [(b"table/1".to_vec(), b"one".to_vec()), (b"table/2".to_vec(), b"twice".to_vec())]);
    assert_eq!(snapshot.metas(b"").expect("read").len(), 3);
}

#[test]
fn lsns_do_not_go_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert_eq!(store.applied_lsn().expect("read"), 0);
    store.write(Batch::new(), 5).expect("written");
    store.write(Batch::new(), 5).expect("a commit in several batches");
    assert_eq!(store.write(Batch::new(), 4), Err(StoreError::OutOfOrder { lsn: 4, applied: 5 }));
    assert_eq!(store.applied_lsn().expect("read"), 5);
    assert_eq!(store.persisted_lsn().expect("read"), 0);
    store.flush().expect("flushed");
    assert_eq!(store.persisted_lsn().expect("read"), 5);
    store.write(Batch::new(), 6).expect("written");
    assert_eq!(store.persisted_lsn().expect("read"), 5);
    assert_eq!(store.background_errors().expect("read"), 0);
    drop(store);
    // Closing in order flushes.
    assert_eq!(open(dir.path()).applied_lsn().expect("read"), 6);
}

#[test]
fn a_crash_leaves_an_earlier_state_and_its_lsn() {
    let dir = tempfile::tempdir().expect("a directory");
    let live = dir.path().join("live");
    let store = open(&live);
    // Every commit moves one row, takes one key away and gives another, so any mixture of two states shows.
    let commit = |lsn: u64| {
        let mut batch = Batch::new();
        batch.put_row(1, 1, &row(lsn, lsn as i64));
        batch.put_row(2, lsn, &StoredRow { version: lsn, values: vec![Datum::Text("x".repeat(700))] });
        batch.delete_unique(1, &key(&[Datum::Int8(lsn as i64 - 1)]));
        batch.put_unique(1, &key(&[Datum::Int8(lsn as i64)]), lsn);
        batch.put_entry(2, &key(&[Datum::Int8(7)]), lsn);
        store.write(batch, lsn).expect("written");
    };
    let mut lsn = 0;
    let mut seen = Vec::new();
    for crash in 0..6 {
        for _ in 0..150 {
            lsn += 1;
            commit(lsn);
        }
        if crash == 2 {
            store.flush().expect("flushed");
        }
        let promised = store.persisted_lsn().expect("read");
        let copy = dir.path().join(format!("crash-{crash}"));
        crash_image(&live, &copy);
        let found = Store::open(&copy, &StoreOptions::for_test()).expect("a crash image opens");
        let applied = found.applied_lsn().expect("read");
        assert!(promised <= applied && applied <= lsn, "{promised} <= {applied} <= {lsn}");
        let snapshot = found.snapshot();
        let counted: Vec<u64> = (1..=applied).collect();
        assert_eq!(ids(&snapshot, 2, ..), counted);
        let expected = (applied > 0).then(|| row(applied, applied as i64));
        assert_eq!(snapshot.row(1, 1).expect("read"), expected);
        let scan = snapshot.scan_index(1, Bound::Unbounded, Bound::Unbounded, false);
        let keys: Vec<_> = scan.map(|item| item.expect("a key").1).collect();
        assert_eq!(keys, Vec::from_iter((applied > 0).then_some(applied)));
        assert_eq!(snapshot.scan_index(2, Bound::Unbounded, Bound::Unbounded, false).count() as u64, applied);
        found.verify().expect("sound");
        seen.push(applied);
    }
    assert!(seen.iter().any(|&applied| applied >= 450), "no crash after the flush was looked at: {seen:?}");
}

#[test]
fn a_damaged_file_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut batch = Batch::new();
    for id in 0..1000 {
        batch.put_row(1, id, &row(1, id as i64));
    }
    store.write(batch, 1).expect("written");
    drop(store);
    let listing = fs::read_dir(dir.path()).expect("a listing").map(|entry| entry.expect("an entry").path());
    let tables = listing.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let largest = tables.max_by_key(|path| fs::metadata(path).expect("a size").len()).expect("a file");
    let mut bytes = fs::read(&largest).expect("read");
    bytes[100] ^= 1;
    fs::write(&largest, bytes).expect("written");
    let verified = Store::open(dir.path(), &StoreOptions::for_test()).and_then(|store| store.verify());
    assert!(matches!(verified, Err(StoreError::Damaged(_))), "{verified:?}");
}

#[test]
fn a_checkpoint_is_a_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("live"));
    let mut batch = Batch::new();
    batch.put_row(1, 1, &StoredRow { version: 3, values: vec![Datum::Bytea(vec![7; 100_000])] });
    store.write(batch, 3).expect("written");
    let into = dir.path().join("checkpoint");
    store.checkpoint(&into).expect("a checkpoint");
    let copy = open(&into);
    assert_eq!(copy.applied_lsn().expect("read"), 3);
    let found = copy.snapshot().row(1, 1).expect("read").expect("a row");
    assert_eq!(found.values, [Datum::Bytea(vec![7; 100_000])]);
    assert!(store.disk_bytes().expect("read") > 0);
}

/// Not a test of anything: prints how fast the hot paths are.
#[test]
#[ignore = "a measurement"]
fn speed_of_loading_and_scanning() {
    const ROWS: u64 = 300_000;
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), &StoreOptions::default()).expect("the store opens");
    let rows: Vec<StoredRow> = (0..ROWS)
        .map(|id| {
            let (number, text) = (Datum::Int8(id as i64), Datum::Text(format!("word number {id}")));
            let values = vec![number, text, Datum::Float8(id as f64), Datum::Null, Datum::Bool(id % 2 == 0)];
            StoredRow { version: 1, values }
        })
        .collect();
    let rate = |what: &str, count: u64, start: Instant| {
        println!("{what}: {:.0}/s", count as f64 / start.elapsed().as_secs_f64());
    };
    let start = Instant::now();
    let mut batch = Batch::new();
    for (id, row) in rows.iter().enumerate() {
        batch.put_row(1, id as u64, row);
    }
    rate("rows encoded", ROWS, start);
    let start = Instant::now();
    store.write(batch, 1).expect("written");
    rate("rows written in one batch", ROWS, start);
    let start = Instant::now();
    let mut batch = Batch::new();
    let mut bytes = Vec::new();
    for id in 0..ROWS {
        bytes.clear();
        encode_key(&[Datum::Int8(id as i64)], &mut bytes);
        batch.put_unique(1, &bytes, id);
    }
    rate("keys encoded", ROWS, start);
    let start = Instant::now();
    store.write(batch, 2).expect("written");
    rate("keys written in one batch", ROWS, start);
    store.flush().expect("flushed");
    let snapshot = store.snapshot();
    for round in ["cold", "warm"] {
        let start = Instant::now();
        let (mut cursor, mut sum) = (snapshot.cursor(1, ..).expect("a cursor"), 0.0);
        while let Some((_, view)) = cursor.advance().expect("a row") {
            if let Some(super::ValueRef::Float8(value)) = view.column(2).expect("a value") {
                sum += value;
            }
        }
        assert!(sum > 0.0);
        rate(&format!("rows scanned for one column, {round}"), ROWS, start);
    }
    let start = Instant::now();
    assert_eq!(snapshot.scan_rows(1, ..).count() as u64, ROWS);
    rate("rows scanned whole", ROWS, start);
    let start = Instant::now();
    for id in 0..ROWS / 3 {
        assert!(snapshot.row(1, id * 7919 % ROWS).expect("read").is_some());
    }
    rate("rows read by id", ROWS / 3, start);
    let wanted: Vec<u64> = (0..ROWS).step_by(10).collect();
    let start = Instant::now();
    assert_eq!(snapshot.rows(1, &wanted).expect("read").len(), wanted.len());
    rate("rows read by many ids", wanted.len() as u64, start);
    let start = Instant::now();
    for id in 0..ROWS / 3 {
        bytes.clear();
        encode_key(&[Datum::Int8((id * 7919 % ROWS) as i64)], &mut bytes);
        assert!(snapshot.unique(1, &bytes).expect("read").is_some());
    }
    rate("keys looked up", ROWS / 3, start);
    let start = Instant::now();
    let snapshots: Vec<_> = (0..10_000).map(|_| store.snapshot()).collect();
    rate("snapshots taken", snapshots.len() as u64, start);
}

/// RocksDB names a new MANIFEST in CURRENT, each time it is opened, before the names of both are durable.
#[test]
fn a_name_of_current_that_came_too_early_is_taken_back() {
    let dir = tempfile::tempdir().expect("it works");
    let (one, options) = (dir.path().join("one"), StoreOptions::for_test());
    let open_on = |least| Store::open_on(&lodedb_wal::fs::OsFileSystem, &one, &options, least);
    let store = open_on(0).expect("it works");
    let mut batch = Batch::new();
    batch.put_row(7, 1, &row(5, 1));
    store.write(batch, 5).expect("it works");
    store.flush().expect("it works");
    drop(store);
    fs::write(one.join("CURRENT"), "MANIFEST-999999\n").expect("it works");
    let before = listing(&one).expect("it works");
    // The state before is too old: nothing is touched.
    let refused = open_on(6).expect_err("it is refused").to_string();
    assert!(refused.contains("the rows are those of commit 5"), "{refused}");
    let names = |listing: BTreeMap<OsString, _>| {
        listing.into_keys().filter(|name| !name.to_string_lossy().starts_with("LOG")).collect::<Vec<_>>()
    };
    assert_eq!(names(listing(&one).expect("it works")), names(before));
    assert_eq!(fs::read(one.join("CURRENT")).expect("it works"), b"MANIFEST-999999\n");
    let store = open_on(5).expect("it works");
    assert_eq!((store.applied_lsn().expect("it works"), ids(&store.snapshot(), 7, ..)), (5, vec![1]));
    drop(store);
    // With rows and no MANIFEST at all it is damaged.
    for name in
        listing(&one).expect("it works").into_keys().filter(|name| name.to_string_lossy().starts_with("MANIFEST"))
    {
        fs::remove_file(one.join(name)).expect("it works");
    }
    assert!(open_on(0).is_err());
    // Without rows it was being made.
    fs::remove_dir_all(&one).expect("it works");
    fs::create_dir(&one).expect("it works");
    fs::write(one.join("CURRENT"), "MANIFEST-000001\n").expect("it works");
    assert!(open_on(1).is_err());
    assert_eq!(open_on(0).expect("it works").applied_lsn().expect("it works"), 0);
}

/// RocksDB syncs its MANIFEST after it appended to it: what a power cut leaves of that may be as long as it was to be, and end in zeros.
#[test]
fn the_end_of_a_manifest_that_was_cut_off_is_taken_off() {
    let dir = tempfile::tempdir().expect("it works");
    let (one, options) = (dir.path().join("one"), StoreOptions::for_test());
    let open_on = |dir: &std::path::Path, least| Store::open_on(&lodedb_wal::fs::OsFileSystem, dir, &options, least);
    let store = open_on(&one, 0).expect("it works");
    let name = fs::read_to_string(one.join("CURRENT")).expect("it works");
    let name = name.trim_end();
    let mut whole = Vec::new();
    for lsn in 1..4 {
        let mut batch = Batch::new();
        batch.put_row(7, lsn, &row(lsn, 1));
        store.write(batch, lsn).expect("it works");
        store.flush().expect("it works");
        whole.push(fs::read(one.join(name)).expect("it works"));
    }
    drop(store);
    // The record of the third flush, all but its beginning.
    let mut torn = whole[2].clone();
    torn[whole[1].len() + 9..].fill(0);
    // Damage before its end is none that a power cut leaves.
    let mut damaged = whole[2].clone();
    damaged[20] ^= 1;
    for (case, manifest, least, found) in
        [("torn", &torn, 2, true), ("new", &torn, 0, true), ("old", &torn, 3, false), ("damaged", &damaged, 1, false)]
    {
        let copy = dir.path().join(case);
        fs::create_dir(&copy).expect("it works");
        for entry in fs::read_dir(&one).expect("it works") {
            let entry = entry.expect("it works");
            fs::copy(entry.path(), copy.join(entry.file_name())).expect("it works");
        }
        fs::write(copy.join(name), manifest).expect("it works");
        match open_on(&copy, least) {
            Ok(store) => {
                assert!(found, "{case}");
                let state = (store.applied_lsn().expect("it works"), ids(&store.snapshot(), 7, ..));
                assert_eq!(state, (2, vec![1, 2]), "{case}");
            }
            Err(refused) => {
                assert!(!found && refused.to_string().contains("MANIFEST"), "{case}: {refused}");
                assert_eq!(fs::read(copy.join(name)).expect("it works"), *manifest, "{case}: it is as it was");
            }
        }
    }
}

/// RocksDB would read such a MANIFEST for ever.
#[test]
fn a_record_of_a_kind_that_none_has_is_damage() {
    let dir = tempfile::tempdir().expect("it works");
    let (one, options) = (dir.path().join("one"), StoreOptions::for_test());
    let open = || Store::open_on(&lodedb_wal::fs::OsFileSystem, &one, &options, 1);
    let store = Store::open(&one, &options).expect("it works");
    let mut batch = Batch::new();
    batch.put_row(7, 1, &row(1, 1));
    store.write(batch, 1).expect("it works");
    store.flush().expect("it works");
    drop(store);
    let name = fs::read_to_string(one.join("CURRENT")).expect("it works");
    let path = one.join(name.trim_end());
    let whole = fs::read(&path).expect("it works");
    let second = 7 + usize::from(u16::from_le_bytes([whole[4], whole[5]]));
    for kind in [5, 6, 7, 8, 9, 10, 11, 129, 130, 131, 255] {
        let mut damaged = whole.clone();
        damaged[second + 6] = kind;
        fs::write(&path, &damaged).expect("it works");
        let refused = open().expect_err("it is refused").to_string();
        assert!(refused.contains("Corruption"), "{kind}: {refused}");
        assert_eq!(fs::read(&path).expect("it works"), damaged, "{kind}: it is as it was");
    }
    fs::write(&path, &whole).expect("it works");
    assert_eq!(open().expect("it works").applied_lsn().expect("it works"), 1);
}
