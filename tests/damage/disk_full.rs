//! A disk that is really full: on a small tmpfs, with a few bytes to a few megabytes left, each kind of work is done. Whatever comes of it,
//! nothing acknowledged is lost, errors say what is missing, and once there is room everything goes on.
//!
//! `LODEDB_SIZES` is how many amounts of room are tried (4; the long run: 40). The tmpfs is mounted in a namespace of its own, which Linux
//! lets every user make.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lodedb::{Db, Options, SessionOptions, SqlError, SqlState};

const MOUNTED: &str = "LODEDB_DISK_FULL_MOUNTED";
/// Size of the tmpfs.
const DISK_MIB: u64 = 96;
/// Rows there are before the disk is full.
const ROWS: i64 = 3000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Commit,
    Copy,
    /// Rows and definitions, with a savepoint that is returned to.
    Transaction,
    Seal,
    Compact,
    Checkpoint,
    Backup,
    Recovery,
}

const WORKS: [Work; 8] = [
    Work::Commit,
    Work::Copy,
    Work::Transaction,
    Work::Seal,
    Work::Compact,
    Work::Checkpoint,
    Work::Backup,
    Work::Recovery,
];

fn options() -> Options {
    // No reserve: the disk is met full, not spared.
    Options { background: false, disk_reserve_bytes: 0, ..Options::for_test() }
}

async fn run(db: &Db, sql: &str) -> Result<(), SqlError> {
    db.session(SessionOptions::default())?.execute_sql(sql).await.map(|_| ())
}

async fn ids(db: &Db) -> Vec<i64> {
    let mut session = db.session(SessionOptions::default()).unwrap();
    let rows = session.query("SELECT id FROM t ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.get::<i64>(0).unwrap()).collect()
}

fn inserts(from: i64, to: i64) -> String {
    let vector = "(SELECT array_agg(sin(i * (j + 1))::real) FROM generate_series(0, 31) AS g(j))::vector";
    format!("INSERT INTO t SELECT i, repeat('note ', 20) || i, {vector} FROM generate_series({from}, {to}) AS s(i)")
}

async fn insert(db: &Db, from: i64, to: i64) -> Result<(), SqlError> {
    run(db, &inserts(from, to)).await
}

/// How many rows the table has that a transaction makes; none without it.
async fn made(db: &Db) -> Option<i64> {
    let mut session = db.session(SessionOptions::default()).unwrap();
    match session.query("SELECT count(*) FROM made", &[]).await {
        Ok(rows) => rows.iter().next().map(|row| row.get(0).unwrap()),
        Err(error) => {
            assert_eq!(error.state(), SqlState::UndefinedTable, "{error:?}");
            None
        }
    }
}

fn free(dir: &Path) -> u64 {
    lodedb_wal::fs::FileSystem::free_space(&lodedb_wal::fs::OsFileSystem, dir).unwrap()
}

/// A file that leaves so many bytes on the disk.
fn fill(dir: &Path, left: u64) -> PathBuf {
    let path = dir.join("ballast");
    let file = File::create(&path).unwrap();
    let chunk = vec![1; 1 << 20];
    let mut at = 0;
    while free(dir) > left {
        let len = (free(dir) - left).min(chunk.len() as u64) as usize;
        match file.write_at(&chunk[..len], at) {
            Ok(written) => at += written as u64,
            Err(_) => break,
        }
    }
    path
}

/// Whether a full disk may give this error: another one than `53100` only where the database stopped.
fn is_typed(error: &SqlError, db: &Db) -> bool {
    error.state() == SqlState::DiskFull || error.state() == SqlState::IoError && db.has_failed()
}

/// One kind of work with so many bytes left. Says whether it was done, and whether the database had to be opened again.
async fn try_work(disk: &Path, work: Work, left: u64) -> (bool, bool) {
    let data = disk.join("data");
    let mut db = Db::open(&data, options()).unwrap();
    run(&db, "CREATE TABLE t (id bigint PRIMARY KEY, note text, v vector(32))").await.unwrap();
    insert(&db, 1, ROWS).await.unwrap();
    run(&db, "CREATE INDEX near ON t USING ivfpq (v vector_l2_ops)").await.unwrap();
    insert(&db, ROWS + 1, ROWS + 400).await.unwrap();
    run(&db, "DELETE FROM t WHERE id % 3 = 0").await.unwrap();
    let mut expected: Vec<i64> = (1..=ROWS + 400).filter(|id| id % 3 != 0).collect();
    let ballast = fill(disk, left);
    let mut next = 10_000;
    let (mut done, mut again) = (false, false);
    let result: Result<(), SqlError> = match work {
        Work::Commit => {
            let mut result = Ok(());
            for _ in 0..40 {
                result = insert(&db, next, next + 49).await;
                if result.is_err() {
                    break;
                }
                expected.extend(next..=next + 49);
                next += 50;
            }
            result
        }
        Work::Copy => {
            let result = insert(&db, next, next + 5999).await;
            if result.is_ok() {
                expected.extend(next..=next + 5999);
            }
            result
        }
        Work::Transaction => {
            let (kept, undone) = (inserts(next, next + 99), inserts(next + 100, next + 199));
            let sql = format!(
                "BEGIN; {kept}; SAVEPOINT a; {undone}; DROP INDEX near; ROLLBACK TO a; CREATE TABLE made (id bigint PRIMARY KEY); \
                 INSERT INTO made SELECT id FROM t WHERE id >= {next}; ALTER TABLE t ADD COLUMN size int DEFAULT 1; COMMIT"
            );
            let result = run(&db, &sql).await;
            if result.is_ok() {
                expected.extend(next..=next + 99);
            }
            result
        }
        Work::Seal => tokio::task::block_in_place(|| {
            db.settle();
            Ok(())
        }),
        Work::Compact => run(&db, "VACUUM FULL t").await,
        Work::Checkpoint => run(&db, "CHECKPOINT").await,
        Work::Backup => run(&db, &format!("BACKUP TO '{}'", disk.join("backups").display())).await,
        Work::Recovery => Ok(()),
    };
    match &result {
        Ok(()) => done = true,
        Err(error) => assert!(is_typed(error, &db), "{work:?} with {left} bytes left: {error:?}"),
    }
    // Reading goes on, whatever happened.
    if work != Work::Recovery {
        if result.is_ok() || !db.has_failed() {
            let found = tokio::time::timeout(Duration::from_secs(60), ids(&db)).await.expect("reads go on");
            assert_eq!(found, expected, "{work:?} with {left} bytes left: {result:?}");
        }
    } else {
        // As after a crash: no checkpoint, all of it in the log.
        drop(db);
        match tokio::task::block_in_place(|| Db::open(&data, options())) {
            Ok(opened) => {
                assert_eq!(ids(&opened).await, expected, "recovered with {left} bytes left");
                done = true;
                drop(opened);
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("pace left") || text.contains("pace on"), "with {left} bytes left: {text}");
            }
        }
        std::fs::remove_file(&ballast).unwrap();
        db = Db::open(&data, options()).unwrap();
        assert_eq!(ids(&db).await, expected, "recovered with room again, {left} bytes were left");
        again = true;
    }
    if ballast.exists() {
        std::fs::remove_file(&ballast).unwrap();
    }
    // Writing goes on by itself; a database that stopped says so, and does after it is opened again.
    let patience = Instant::now();
    loop {
        if db.has_failed() {
            drop(db);
            db = Db::open(&data, options()).unwrap();
            again = true;
            // What was not answered is there or not, whole.
            let found = ids(&db).await;
            let missing: Vec<i64> = expected.iter().filter(|id| found.binary_search(id).is_err()).copied().collect();
            assert!(missing.is_empty(), "{work:?} with {left} bytes left: {missing:?}");
            let more = found.len() - expected.len();
            assert!([0, 50, 100, 6000].contains(&more), "{work:?} with {left} bytes left: {more} more rows");
            expected = found;
        }
        match insert(&db, 90_000, 90_000).await {
            Ok(()) => break,
            Err(error) => {
                assert!(is_typed(&error, &db), "{error:?}");
                assert!(patience.elapsed() < Duration::from_secs(60), "{work:?} with {left} bytes left: {error:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if work == Work::Transaction {
        // Whole or not at all: the table as well as the rows.
        let rows = expected.iter().filter(|id| **id >= next).count() as i64;
        assert_eq!(made(&db).await, (rows > 0).then_some(rows), "{work:?} with {left} bytes left");
    }
    expected.push(90_000);
    tokio::task::block_in_place(|| db.settle());
    run(&db, "CHECKPOINT").await.unwrap();
    assert_eq!(ids(&db).await, expected, "{work:?} with {left} bytes left");
    let mut session = db.session(SessionOptions::default()).unwrap();
    let faults = session.query("CHECK DATABASE", &[]).await.unwrap();
    assert_eq!(faults.len(), 0, "{work:?} with {left} bytes left");
    drop(session);
    tokio::task::block_in_place(|| db.close()).unwrap();
    drop(db);
    for entry in std::fs::read_dir(disk).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    (done, again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let Ok(disk) = std::env::var(MOUNTED) else {
        return in_own_mount();
    };
    let sizes: u64 = std::env::var("LODEDB_SIZES").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    for work in WORKS {
        let (mut done, mut again) = (0, 0);
        for at in 0..sizes {
            // From nothing to 16 MiB, closer together where it is little.
            let left = if at == 0 { 0 } else { 4096 << (12 * at / sizes.max(2)) } + at * 1000;
            let outcome = try_work(Path::new(&disk), work, left).await;
            done += u64::from(outcome.0);
            again += u64::from(outcome.1);
        }
        println!(
            "{work:?}: {sizes} amounts of room, done with {done} of them, opened again after {again}, nothing lost"
        );
    }
}

/// Runs this test again where a small tmpfs is mounted.
fn in_own_mount() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={DISK_MIB}m none '{0}' && {MOUNTED}='{0}' exec \"$0\" --exact disk_full::a_full_disk_loses_nothing --nocapture",
        dir.path().display()
    );
    let me = std::env::current_exe().unwrap();
    let can = |flags: &str| {
        Command::new("unshare")
            .args([flags, "mount", "-t", "tmpfs", "none"])
            .arg(dir.path())
            .status()
            .is_ok_and(|it| it.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(|flags| can(flags)) else {
        println!("SKIPPED: this system lets nobody mount a tmpfs");
        return;
    };
    let status = Command::new("unshare").args([flags, "sh", "-c", &script]).arg(me).status().unwrap();
    assert!(status.success(), "it failed on the small disk; see above");
}
