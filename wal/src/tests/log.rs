//! The log in ordinary use, on real files.

use std::path::Path;
use std::sync::Arc;

use crate::fs::OsFileSystem;
use crate::ledger::{read_all, small_options};
use crate::{Log, LogError, LogOptions};

fn open(dir: &Path, first_needed: u64, floor: u64) -> Result<Log, LogError> {
    let options = LogOptions { background: true, segment_id_seed: None, ..small_options(None) };
    Log::open(Arc::new(OsFileSystem), dir, options, first_needed, floor)
}

#[test]
fn records_come_back_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("wal");
    let records: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; usize::from(i) * 6]).collect();
    let log = open(&dir, 1, 0).unwrap();
    for batch in records.chunks(7) {
        let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        log.append(&batch).unwrap();
    }
    log.sync(200).unwrap();
    assert_eq!(log.durable_lsn(), 200);
    assert!(log.size_bytes() > 20 * 4096);
    let expected: Vec<_> = (1..).zip(records).collect();
    assert_eq!(read_all(&log, 1).unwrap(), expected);
    log.close().unwrap();
    drop(log);
    let log = open(&dir, 1, 200).unwrap();
    assert_eq!(read_all(&log, 1).unwrap(), expected);
    assert_eq!(read_all(&log, 150).unwrap(), expected[149..]);
    assert!(read_all(&log, 201).unwrap().is_empty());
}

#[test]
fn a_closed_log_goes_on_in_the_same_segment() {
    let dir = tempfile::tempdir().unwrap();
    for lsn in 1..4 {
        let log = open(dir.path(), 1, lsn - 1).unwrap();
        assert_eq!(log.append(&[b"record"]).unwrap(), lsn);
        log.close().unwrap();
        assert_eq!(log.size_bytes(), 4096);
    }
}

#[test]
fn a_killed_process_loses_only_what_was_buffered() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1, 0).unwrap();
    log.append(&[b"synced"]).unwrap();
    log.sync(1).unwrap();
    log.append(&[b"flushed"]).unwrap();
    log.flush().unwrap();
    log.append(&[b"buffered"]).unwrap();
    drop(log);
    let log = open(dir.path(), 1, 1).unwrap();
    assert_eq!(read_all(&log, 1).unwrap(), [(1, b"synced".to_vec()), (2, b"flushed".to_vec())]);
}

#[test]
fn truncation_removes_whole_segments_only() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1, 0).unwrap();
    for _ in 0..20 {
        log.append(&[&[7; 1000]]).unwrap();
    }
    log.close().unwrap();
    let before = log.size_bytes();
    log.truncate_before(1).unwrap();
    assert_eq!(log.size_bytes(), before);
    log.truncate_before(11).unwrap();
    assert!(log.size_bytes() < before);
    assert_eq!(read_all(&log, 11).unwrap().len(), 10);
    assert!(matches!(read_all(&log, 1), Err(LogError::Damaged { .. })));
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(log.size_bytes(), 4096, "the active one stays");
    drop(log);
    assert!(matches!(open(dir.path(), 1, 0), Err(LogError::Damaged { .. })));
    assert_eq!(open(dir.path(), 21, 20).unwrap().last_lsn(), 20);
}

#[test]
fn an_end_below_the_floor_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path(), 1, 5), Err(LogError::BelowFloor { last: 0, floor: 5 })));
    let log = open(dir.path(), 1, 0).unwrap();
    log.append(&[b"a", b"b"]).unwrap();
    log.close().unwrap();
    drop(log);
    assert!(matches!(open(dir.path(), 1, 3), Err(LogError::BelowFloor { last: 2, floor: 3 })));
    assert!(matches!(open(dir.path(), 4, 0), Err(LogError::BelowFloor { last: 2, floor: 3 })));
    assert_eq!(open(dir.path(), 3, 2).unwrap().last_lsn(), 2);
}

#[test]
fn a_fresh_log_can_start_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 500, 499).unwrap();
    assert_eq!((log.last_lsn(), log.durable_lsn()), (499, 499));
    assert_eq!(log.append(&[b"x"]).unwrap(), 500);
    log.close().unwrap();
    drop(log);
    assert_eq!(read_all(&open(dir.path(), 500, 500).unwrap(), 500).unwrap(), [(500, b"x".to_vec())]);
}

#[test]
fn a_record_over_the_limit_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1, 0).unwrap();
    let large = vec![0; 1201];
    assert!(matches!(log.append(&[b"fits", &large]), Err(LogError::TooLarge { bytes: 1201, limit: 1200 })));
    assert_eq!(log.last_lsn(), 0);
    assert_eq!(log.append(&[b"", &large[..1200]]).unwrap(), 2);
    log.close().unwrap();
    assert_eq!(read_all(&log, 1).unwrap(), [(1, vec![]), (2, vec![0; 1200])]);
}

#[test]
fn segments_of_another_size_are_read_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1, 0).unwrap();
    log.append(&[&[1; 900], &[2; 900]]).unwrap();
    log.sync(2).unwrap();
    drop(log);
    let larger = LogOptions { segment_bytes: 16 << 10, background: false, ..small_options(None) };
    let log = Log::open(Arc::new(OsFileSystem), dir.path(), larger, 1, 2).unwrap();
    assert_eq!(log.append(&[&[3; 900]]).unwrap(), 3);
    log.close().unwrap();
    drop(log);
    assert_eq!(read_all(&open(dir.path(), 1, 3).unwrap(), 1).unwrap().len(), 3);
}

#[test]
fn bad_options_are_reported_together() {
    let bad = LogOptions { segment_bytes: 5001, max_record_bytes: 1 << 20, ..LogOptions::default() };
    let message = bad.validate().unwrap_err().to_string();
    assert!(message.contains("multiple of 512") && message.contains("max_record_bytes"), "{message}");
    LogOptions::default().validate().unwrap();
}

#[test]
fn a_record_that_looks_like_the_log_is_only_a_record() {
    // A payload holding a copy of the log's own frames must not be taken for evidence when the tail is torn.
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1, 0).unwrap();
    let other = tempfile::tempdir().unwrap();
    let copy_of = open(other.path(), 1, 0).unwrap();
    for _ in 0..5 {
        copy_of.append(&[b"x"]).unwrap();
        copy_of.sync(u64::MAX).unwrap();
    }
    let segment = std::fs::read(other.path().join(format!("{:020}.wal", 1))).unwrap();
    log.append(&[&segment[512..1000]]).unwrap();
    log.flush().unwrap();
    drop(log);
    let path = dir.path().join(format!("{:020}.wal", 1));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[520] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(open(dir.path(), 1, 0).unwrap().last_lsn(), 0, "a torn tail, dropped");
}
