//! Many threads: groups share syncs, nobody is acknowledged early, the background does its work.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fs::sim::{CallKind, Fault, FaultKind, SimFileSystem};
use crate::fs::{DirEntry, File, FileSystem, Lock, OpenMode};
use crate::ledger::{DIR, read_all, small_options};
use crate::{Log, LogError, LogOptions};

/// The simulated disk with syncs as slow as a disk's.
#[derive(Debug, Clone)]
struct SlowDisk(SimFileSystem);

#[derive(Debug)]
struct SlowFile(Arc<dyn File>);

impl FileSystem for SlowDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SlowFile(self.0.open(path, mode)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.read_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.0.free_space(path)
    }
    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Lock> {
        self.0.try_lock(path, contents)
    }
}

impl File for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        thread::sleep(Duration::from_micros(300));
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, background: true, ..small_options(None) }
}

#[test]
fn groups_share_syncs_and_nobody_is_acknowledged_early() {
    const THREADS: u64 = 8;
    const COMMITS: u64 = 300;
    let disk = SimFileSystem::new(1);
    let log = Log::open(Arc::new(SlowDisk(disk.clone())), Path::new(DIR), options(), 1, 0).unwrap();
    let syncs_before = disk.count(CallKind::Sync);
    let acked = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let checked = thread::scope(|scope| {
        let checker = scope.spawn(|| {
            let mut checked = 0;
            while !done.load(Ordering::Acquire) {
                // ORDER: first what was promised, then the disk.
                let promised = acked.load(Ordering::Acquire);
                let harshest = disk.crash_images(2).swap_remove(0);
                let quiet = LogOptions { background: false, ..options() };
                let recovered = Log::open(Arc::new(harshest), Path::new(DIR), quiet, 1, promised).unwrap();
                assert!(recovered.last_lsn() >= promised);
                checked += 1;
            }
            checked
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|writer| {
                let (log, acked) = (&log, &acked);
                scope.spawn(move || {
                    for commit in 0..COMMITS {
                        let record = [writer.to_le_bytes(), commit.to_le_bytes()].concat();
                        let lsn = log.append(&[&record, &record]).unwrap();
                        log.sync(lsn).unwrap();
                        assert!(log.durable_lsn() >= lsn);
                        acked.fetch_max(lsn, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
        checker.join().unwrap()
    });
    let commits = THREADS * COMMITS;
    let syncs = disk.count(CallKind::Sync) - syncs_before;
    println!("{commits} commits by {THREADS} threads, {syncs} syncs, {checked} disks checked meanwhile");
    assert!(syncs < commits / 2);
    assert_eq!(log.last_lsn(), commits * 2);
    // Batches keep together, each thread's in its order.
    let records = read_all(&log, 1).unwrap();
    let mut next = [0; THREADS as usize];
    for pair in records.chunks(2) {
        assert_eq!(pair[0].1, pair[1].1);
        let writer = usize::from(pair[0].1[0]);
        let commit = u64::from_le_bytes(pair[0].1[8..].try_into().unwrap());
        assert_eq!(commit, next[writer]);
        next[writer] += 1;
    }
}

#[test]
fn all_waiters_of_a_failed_sync_fail() {
    for seed in 0..30 {
        let disk = SimFileSystem::new(seed);
        let log = Log::open(Arc::new(SlowDisk(disk.clone())), Path::new(DIR), options(), 1, 0).unwrap();
        disk.plan_fault(Fault { call: CallKind::Sync, nth: 1 + seed % 5, fault: FaultKind::Io, sticky: false });
        let acked = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    loop {
                        match log.append(&[b"record"]).and_then(|lsn| log.sync(lsn).map(|()| lsn)) {
                            Ok(lsn) => acked.fetch_max(lsn, Ordering::AcqRel),
                            Err(LogError::Io { .. } | LogError::Poisoned) => break,
                            Err(error) => panic!("{error}"),
                        };
                        // The failing sync may be the spare's, which stops nothing.
                        if log.last_lsn() > 3000 {
                            break;
                        }
                    }
                });
            }
        });
        drop(log);
        let quiet = LogOptions { background: false, ..options() };
        for image in disk.crash_images(8) {
            let log =
                Log::open(Arc::new(image), Path::new(DIR), quiet.clone(), 1, acked.load(Ordering::Acquire)).unwrap();
            assert!(log.last_lsn() >= acked.load(Ordering::Acquire));
        }
    }
}

#[test]
fn the_background_marks_an_idle_log_and_keeps_a_spare() {
    let disk = SimFileSystem::new(2);
    let options = LogOptions { idle_mark_after: Duration::from_millis(5), ..options() };
    let log = Log::open(Arc::new(disk.clone()), Path::new(DIR), options, 1, 0).unwrap();
    let lsn = log.append(&[b"last words"]).unwrap();
    log.sync(lsn).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let first = format!("{DIR}/{:020}.wal", 1);
    // The mark is at the second sector's start after the record's: 512 + 48 + 16 rounds up to 1024.
    while disk.contents(first.as_ref()).unwrap()[1024..1028] != *b"LDFR" || !disk.exists("/wal/spare".as_ref()).unwrap()
    {
        assert!(Instant::now() < deadline, "no mark or no spare");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!log.write_idle_mark().unwrap(), "one mark is enough");
}
