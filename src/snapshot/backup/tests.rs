//! Backups taken, damaged, restored and let go.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lodedb_wal::fs::{FileSystem, OsFileSystem};

use super::archive::{Until, archive};
use super::repository::Repository;
use super::restore::restore;
use super::{Backup, BackupError, Progress};
use crate::db::options::Keep;
use crate::snapshot::manifest::Manifest;
use crate::snapshot::repair::named_files;
use crate::{Db, Options, SessionOptions};

fn options() -> Options {
    Options { background: false, ..Options::for_test() }
}

fn open(dir: &Path) -> Db {
    Db::open(dir, options()).unwrap()
}

async fn run(db: &Db, sql: &str) {
    db.session(SessionOptions::default()).unwrap().execute_sql(sql).await.unwrap();
}

/// The rows of a query as text.
async fn rows(db: &Db, sql: &str) -> Vec<String> {
    let mut session = db.session(SessionOptions::default()).unwrap();
    let rows = session.query(sql, &[]).await.unwrap();
    let text = |row: crate::Row<'_>| {
        (0..rows.fields().len())
            .map(|at| row.text(at).unwrap().unwrap_or_else(|| "NULL".into()))
            .collect::<Vec<_>>()
            .join("|")
    };
    rows.iter().map(text).collect()
}

/// 2,000 rows with vectors, keys, an index, updates and deletes.
async fn fill(db: &Db) {
    run(
        db,
        "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(16));
         CREATE SEQUENCE s;
         INSERT INTO t SELECT i, 'note ' || i,
             (SELECT array_agg(sin(i * (j + 1))::real) FROM generate_series(0, 15) AS g(j))::vector
         FROM generate_series(1, 2000) AS s(i)",
    )
    .await;
    run(db, "CREATE INDEX i ON t USING ivfpq (v vector_l2_ops)").await;
    run(
        db,
        "UPDATE t SET note = 'other' WHERE id % 50 = 0;
         DELETE FROM t WHERE id % 31 = 0;
         SELECT nextval('s'), nextval('s')",
    )
    .await;
}

const ALL: &str = "SELECT id, note, v FROM t ORDER BY id";
const NEAR: &str = "SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 77) LIMIT 10";

fn fs() -> Arc<dyn FileSystem> {
    Arc::new(OsFileSystem)
}

fn take(db: &Db, into: &Path) -> Result<Backup, BackupError> {
    tokio::task::block_in_place(|| db.backup(into, 0, &|| false))
}

fn restored(from: &Path, number: Option<u64>, to: &Path) -> Result<Backup, BackupError> {
    tokio::task::block_in_place(|| restore(&fs(), from, number, to, None, &Progress::new(0))).map(|made| made.backup)
}

fn restored_until(from: &Path, until: Until, to: &Path) -> Result<u64, BackupError> {
    tokio::task::block_in_place(|| restore(&fs(), from, None, to, Some(until), &Progress::new(0))).map(|made| made.lsn)
}

/// Changes one byte of a file.
fn damage(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at as usize % bytes.len();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// The files of a backup whose bytes are not in another.
fn new_in<'a>(backup: &'a Backup, earlier: &Backup) -> Vec<&'a super::BackupFile> {
    let is_new = |file: &&super::BackupFile| earlier.files.iter().all(|before| before.hash != file.hash);
    backup.files.iter().filter(is_new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_restored_is_the_database_of_its_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("data"), dir.path().join("backups"));
    let db = open(&data);
    fill(&db).await;
    let (all, near) = (rows(&db, ALL).await, rows(&db, NEAR).await);
    let backup = take(&db, &folder).unwrap();
    assert_eq!(backup.copied_bytes, backup.size_bytes());
    run(&db, "DELETE FROM t WHERE id > 100; INSERT INTO t VALUES (9999, 'later', NULL)").await;
    let changed = rows(&db, ALL).await;
    take(&db, &folder).unwrap();

    let first = dir.path().join("first");
    restored(&folder, Some(1), &first).unwrap();
    let copy = open(&first);
    assert_eq!(rows(&copy, ALL).await, all);
    assert_eq!(rows(&copy, NEAR).await, near);
    assert_eq!(rows(&copy, "SELECT nextval('s')").await, ["3"]);
    let error = copy.session(SessionOptions::default()).unwrap().execute_sql("INSERT INTO t VALUES (5)").await;
    assert_eq!(error.unwrap_err().state(), crate::SqlState::UniqueViolation);
    // It goes its own way.
    run(&copy, "INSERT INTO t VALUES (31, 'again', NULL)").await;
    let refused = take(&copy, &folder).unwrap_err();
    assert!(refused.to_string().contains("its backups are of database"), "{refused}");
    drop(copy);
    assert_eq!(rows(&open(&first), "SELECT note FROM t WHERE id = 31").await, ["again"]);

    // The newest, without a number.
    let second = dir.path().join("second");
    assert_eq!(restored(&folder, None, &second).unwrap().number, 2);
    assert_eq!(rows(&open(&second), ALL).await, changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_is_not_copied_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    let db = open(&dir.path().join("data"));
    fill(&db).await;
    let first = take(&db, &folder).unwrap();
    run(&db, "UPDATE t SET note = 'changed' WHERE id = 1").await;
    let second = take(&db, &folder).unwrap();
    assert!(second.copied_bytes * 4 < first.copied_bytes, "{} after {}", second.copied_bytes, first.copied_bytes);
    let third = take(&db, &folder).unwrap();
    assert_eq!(third.lsn, second.lsn);
    // RocksDB may put its files together at any time, and then they are other ones.
    for (backup, before) in [(&second, &first), (&third, &second)] {
        let new = new_in(backup, before);
        assert_eq!(backup.copied_bytes, new.iter().map(|file| file.len).sum::<u64>());
        assert!(new.iter().all(|file| file.path.starts_with("meta/") || file.path.starts_with("manifest/")), "{new:?}");
        assert!(backup.copied_bytes < first.copied_bytes, "{} after {}", backup.copied_bytes, first.copied_bytes);
    }

    let repository = Repository::existing(fs(), &folder).unwrap();
    let count = || {
        let folders = std::fs::read_dir(folder.join("files")).unwrap();
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let before = count();
    repository.forget(&[1, 3]).unwrap();
    assert!(count() < before);
    assert_eq!(repository.numbers().unwrap(), [2]);
    drop(repository);
    let to = dir.path().join("restored");
    restored(&folder, None, &to).unwrap();
    assert_eq!(rows(&open(&to), ALL).await, rows(&db, ALL).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn writers_go_on_and_a_backup_holds_whole_commits() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    let db = Db::open(dir.path().join("data"), Options::for_test()).unwrap();
    run(&db, "CREATE TABLE t (id serial PRIMARY KEY, batch int, v vector(4))").await;
    let stop = Arc::new(AtomicBool::new(false));
    // Batches of 3 rows, and of 700 which are staged.
    let writer = tokio::spawn({
        let (db, stop) = (db.clone(), stop.clone());
        async move {
            let mut batch = 0;
            while !stop.load(Ordering::Acquire) {
                batch += 1;
                let size = if batch % 5 == 0 { 700 } else { 3 };
                let vector = "('[' || i % 7 || ',' || i % 11 || ',' || i % 13 || ',' || i % 17 || ']')::vector";
                let insert = format!(
                    "INSERT INTO t (batch, v) SELECT {batch}, {vector} FROM generate_series(1, {size}) AS s(i)"
                );
                run(&db, &insert).await;
            }
            batch
        }
    });
    let mut taken = Vec::new();
    for _ in 0..6 {
        let before: i64 = rows(&db, "SELECT coalesce(max(batch), 0) FROM t").await[0].parse().unwrap();
        let backup = take(&db, &folder).unwrap();
        let after: i64 = rows(&db, "SELECT coalesce(max(batch), 0) FROM t").await[0].parse().unwrap();
        taken.push((backup.number, before, after));
    }
    stop.store(true, Ordering::Release);
    let last: i64 = writer.await.unwrap();
    assert!(last > 5, "{last} batches");
    for (number, before, after) in taken {
        let to = dir.path().join(format!("restored-{number}"));
        restored(&folder, Some(number), &to).unwrap();
        let copy = open(&to);
        let highest: i64 = rows(&copy, "SELECT coalesce(max(batch), 0) FROM t").await[0].parse().unwrap();
        assert!((before..=after + 1).contains(&highest), "{before} <= {highest} <= {after}");
        let whole = "SELECT count(*) FROM (SELECT batch, count(*) AS n FROM t GROUP BY batch) AS b
                     WHERE n = CASE WHEN batch % 5 = 0 THEN 700 ELSE 3 END";
        assert_eq!(rows(&copy, whole).await, [highest.to_string()]);
        let near = "SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3,4]' LIMIT 100000) AS n";
        assert_eq!(rows(&copy, near).await, rows(&copy, "SELECT count(*) FROM t").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_restored_and_the_one_before_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    let db = open(&dir.path().join("data"));
    fill(&db).await;
    let all = rows(&db, ALL).await;
    let first = take(&db, &folder).unwrap();
    run(&db, "INSERT INTO t SELECT id + 10000, note, v FROM t").await;
    let second = take(&db, &folder).unwrap();
    let only_second: Vec<_> = new_in(&second, &first);
    assert!(only_second.len() > 2, "{only_second:?}");
    for (at, file) in only_second.iter().enumerate() {
        let path = Repository::path_in(&folder, file);
        let bytes = std::fs::read(&path).unwrap();
        match at % 3 {
            0 => damage(&path, at as u64 * 7919),
            1 => std::fs::remove_file(&path).unwrap(),
            _ => std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
        }
        let to = dir.path().join(format!("{at}"));
        let error = restored(&folder, Some(2), &to);
        if file.path != "FORMAT" {
            let error = error.unwrap_err();
            assert_eq!(error.to_sql().state(), crate::SqlState::DataCorrupted, "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error} names {}", path.display());
            assert!(!to.exists(), "nothing is at the place of what failed");
            assert_eq!(restored(&folder, None, &to).unwrap().number, 1);
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(rows(&open(&dir.path().join("0")), ALL).await, all);
    // The list itself.
    damage(&folder.join("lists").join(format!("{:016x}", 2)), 60);
    let to = dir.path().join("by-list");
    assert_eq!(restored(&folder, None, &to).unwrap().number, 1);
    // While it cannot be read nothing is let go: it may name anything.
    let repository = Repository::existing(fs(), &folder).unwrap();
    assert!(repository.forget(&[]).is_err());
    assert!(first.files.iter().all(|file| repository.holds(file).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_does_not_get_into_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("data"), dir.path().join("backups"));
    let db = open(&data);
    fill(&db).await;
    db.close().unwrap();
    drop(db);
    let primary = |name: &str| name.starts_with("vectors");
    let derived = |name: &str| name.starts_with("codes.");
    let find = |wanted: &dyn Fn(&str) -> bool| {
        let mut folders = vec![data.join("segments")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                match entry.is_dir() {
                    true => folders.push(entry),
                    false if wanted(entry.file_name().unwrap().to_str().unwrap()) => return entry,
                    false => {}
                }
            }
        }
        panic!("no such file");
    };
    let (primary, derived) = (find(&primary), find(&derived));
    // Opened first: blocks are checked when they are touched, and a backup touches all.
    let db = open(&data);
    let whole = std::fs::read(&primary).unwrap();
    damage(&primary, whole.len() as u64 / 2);
    let error = take(&db, &folder).unwrap_err();
    assert_eq!(error.to_sql().state(), crate::SqlState::DataCorrupted, "{error}");
    assert!(error.to_string().contains(primary.to_str().unwrap()), "{error}");
    assert!(Repository::look(fs(), &folder).unwrap().is_empty());
    std::fs::write(&primary, whole).unwrap();
    // What can be built again is left out, and built again.
    damage(&derived, 5000);
    let backup = take(&db, &folder).unwrap();
    let name = derived.file_name().unwrap().to_str().unwrap();
    assert!(backup.files.iter().all(|file| !file.path.ends_with(name)));
    let to = dir.path().join("restored");
    restored(&folder, None, &to).unwrap();
    let copy = open(&to);
    tokio::task::block_in_place(|| copy.settle());
    assert_eq!(rows(&copy, ALL).await, rows(&db, ALL).await);
    assert_eq!(rows(&copy, NEAR).await[0], "77");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_hold_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let db = open(&data);
    fill(&db).await;
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), b"dear").unwrap();
    for (folder, told) in [(foreign.clone(), "letter.txt"), (data.join("segments"), "inside the database")] {
        let error = take(&db, &folder).unwrap_err();
        assert_eq!(error.to_sql().state(), crate::SqlState::InvalidParameterValue, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert!(take(&db, &file).is_err());
    assert!(matches!(restored(&foreign, None, &dir.path().join("x")), Err(BackupError::None(_))));
    let folder = dir.path().join("backups");
    take(&db, &folder).unwrap();
    for used in [&foreign, &data] {
        let error = restored(&folder, None, used).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
    }
    assert_eq!(std::fs::read(foreign.join("letter.txt")).unwrap(), b"dear");
    let missing = restored(&folder, Some(7), &dir.path().join("x")).unwrap_err();
    assert!(missing.to_string().contains("0000000000000007"), "{missing}");
    // Somebody works there.
    let held = Repository::existing(fs(), &folder).unwrap();
    let error = take(&db, &folder).unwrap_err();
    assert_eq!(error.to_sql().state(), crate::SqlState::ObjectInUse, "{error}");
    drop(held);
    // Given up: nothing is half there.
    let given_up = tokio::task::block_in_place(|| db.backup(&folder, 0, &|| true));
    assert!(matches!(given_up, Err(BackupError::Closed)));
    assert_eq!(Repository::look(fs(), &folder).unwrap().len(), 1);
    take(&db, &folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_by_themselves_when_something_changed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let options = Options {
        backup_interval: Some(Duration::from_millis(200)),
        backup_keep: Keep { newest: 2, days: 1 },
        ..options()
    };
    let db = Db::open(&data, options.clone()).unwrap();
    run(&db, "CREATE TABLE t (id int)").await;
    let numbers = || {
        let backups = Repository::look(fs(), &data.join("backups")).unwrap();
        backups.iter().map(|backup| backup.number).collect::<Vec<_>>()
    };
    for wanted in 1..=4u64 {
        let patience = std::time::Instant::now();
        while numbers().first() < Some(&wanted) {
            assert!(patience.elapsed() < Duration::from_secs(30), "{:?}", numbers());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run(&db, &format!("INSERT INTO t VALUES ({wanted})")).await;
    }
    while rows(&db, "SELECT number FROM lodedb_backups ORDER BY lsn DESC").await != ["5", "4"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Nothing changes: nothing is taken.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(numbers(), [5, 4]);
    db.close().unwrap();
    drop(db);
    // By hand and in SQL it goes anywhere.
    let db = open(&data);
    let other = dir.path().join("other");
    run(&db, &format!("BACKUP TO '{}'", other.display())).await;
    assert_eq!(Repository::look(fs(), &other).unwrap().len(), 1);
    let mut session = db.session(SessionOptions::default()).unwrap();
    let error = session.execute_sql(&format!("BEGIN; BACKUP TO '{}'", other.display())).await.unwrap_err();
    assert_eq!(error.state(), crate::SqlState::ActiveSqlTransaction);
}

/// The files of segments and indexes that the newest manifest names.
fn files_of(data: &Path) -> Vec<PathBuf> {
    let dir = data.join("manifest");
    let newest = Manifest::generations(&*fs(), &dir).unwrap()[0];
    let manifest = Manifest::read(&*fs(), &dir, newest).unwrap();
    named_files(&manifest, data).into_iter().map(|(path, _, _)| path).collect()
}

fn is_primary(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with("vectors.") || name == "ids"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_primary_file_comes_back_when_the_database_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let db = open(&data);
    fill(&db).await;
    // These are in a growing segment, which a checkpoint copies.
    run(&db, "INSERT INTO t SELECT id + 5000, note, v FROM t WHERE id < 20").await;
    let all = rows(&db, ALL).await;
    take(&db, &data.join("backups")).unwrap();
    db.close().unwrap();
    drop(db);
    let primary: Vec<PathBuf> = files_of(&data).into_iter().filter(|path| is_primary(path)).collect();
    assert!(primary.iter().any(|path| path.parent().unwrap().to_str().unwrap().contains('-')), "{primary:?}");
    for (path, kind) in primary.iter().flat_map(|path| (0..3).map(move |kind| (path, kind))) {
        let whole = std::fs::read(path).unwrap();
        match kind {
            0 => damage(path, 20),
            1 => std::fs::remove_file(path).unwrap(),
            _ => std::fs::write(path, &whole[..whole.len() - 1]).unwrap(),
        }
        let db = open(&data);
        assert_eq!(std::fs::read(path).unwrap(), whole);
        let mended = rows(&db, "SELECT file FROM lodedb_repairs ORDER BY repaired DESC LIMIT 1").await;
        assert_eq!(mended, [path.strip_prefix(&data).unwrap().to_str().unwrap()]);
        assert_eq!(rows(&db, ALL).await, all);
        db.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_files_are_lost_is_refused_and_comes_back_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let db = open(&data);
    fill(&db).await;
    run(&db, "CREATE TABLE other (id int, v vector(2))").await;
    run(&db, "INSERT INTO other VALUES (1, '[1,2]')").await;
    let all = rows(&db, ALL).await;
    db.close().unwrap();
    drop(db);
    let primary =
        files_of(&data).into_iter().find(|path| is_primary(path) && !path.to_str().unwrap().contains('-')).unwrap();
    let whole = std::fs::read(&primary).unwrap();
    damage(&primary, 20);
    let damaged = std::fs::read(&primary).unwrap();
    for _ in 0..2 {
        let db = open(&data);
        for sql in [
            ALL,
            NEAR,
            "SELECT note FROM t WHERE id = 5",
            "SELECT count(note) FROM t",
            "INSERT INTO t VALUES (10000, 'new', NULL)",
            "UPDATE t SET note = 'x' WHERE id = 5",
            "DELETE FROM t",
            "COPY t TO STDOUT",
            "BACKUP TO '/nowhere/at/all'",
        ] {
            let mut session = db.session(SessionOptions::default()).unwrap();
            let error = session.execute_sql(sql).await.unwrap_err();
            if sql.starts_with("BACKUP") || sql.starts_with("COPY") {
                continue;
            }
            assert_eq!(error.state(), crate::SqlState::DataCorrupted, "{sql}: {error:?}");
            assert!(error.message().contains(primary.to_str().unwrap()), "{sql}: {}", error.message());
            assert!(error.hint().is_some(), "{sql}");
        }
        // Everything else goes on, and what is committed meanwhile is kept.
        run(&db, "INSERT INTO other SELECT id + 1, v FROM other").await;
        assert!(db.checkpoint().is_err());
        db.close().unwrap();
    }
    assert_eq!(std::fs::read(&primary).unwrap(), damaged, "left as it is");
    std::fs::write(&primary, &whole).unwrap();
    let db = open(&data);
    assert_eq!(rows(&db, ALL).await, all);
    assert_eq!(rows(&db, "SELECT count(*) FROM other").await, ["4"]);
    assert_eq!(rows(&db, "CHECK DATABASE").await, Vec::<String>::new());
    db.close().unwrap();
    drop(db);
    // Or the table goes.
    damage(&primary, 20);
    let db = open(&data);
    run(&db, "TRUNCATE t").await;
    assert_eq!(rows(&db, ALL).await, Vec::<String>::new());
    run(&db, "INSERT INTO t VALUES (1, 'again', NULL)").await;
    db.close().unwrap();
    drop(db);
    let db = open(&data);
    assert_eq!(rows(&db, "SELECT note FROM t").await, ["again"]);
    run(&db, "DROP TABLE t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_before_and_the_log_have_what_the_newest_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let db = open(&data);
    fill(&db).await;
    tokio::task::block_in_place(|| db.checkpoint()).unwrap();
    run(&db, "INSERT INTO t SELECT id + 5000, note, v FROM t WHERE id < 20").await;
    run(&db, "UPDATE t SET v = (SELECT v FROM t WHERE id = 3) WHERE id = 4").await;
    let all = rows(&db, ALL).await;
    db.close().unwrap();
    drop(db);
    let growing =
        files_of(&data).into_iter().find(|path| is_primary(path) && path.to_str().unwrap().contains('-')).unwrap();
    damage(&growing, 20);
    for _ in 0..3 {
        let db = open(&data);
        assert_eq!(rows(&db, ALL).await, all);
        assert_eq!(rows(&db, "CHECK TABLE t").await, Vec::<String>::new());
        run(&db, "INSERT INTO t VALUES (20000, 'more', NULL)").await;
        run(&db, "DELETE FROM t WHERE id = 20000").await;
        db.close().unwrap();
    }
    let db = open(&data);
    assert_eq!(rows(&db, "CHECK DATABASE").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn repairing_mends_every_file_a_backup_holds_and_lets_the_rest_be_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("data"), dir.path().join("elsewhere"));
    let db = open(&data);
    fill(&db).await;
    let all = rows(&db, ALL).await;
    take(&db, &folder).unwrap();
    let repair = |backups: &Path| {
        let backups = Some(backups.to_owned());
        tokio::task::block_in_place(|| crate::snapshot::repair::repair(&fs(), &data, backups))
    };
    assert!(matches!(repair(&folder), Err(crate::db::error::OpenError::InUse { .. })));
    db.close().unwrap();
    drop(db);
    assert_eq!(repair(&folder).unwrap(), [], "nothing is wrong");
    let files = files_of(&data);
    let wholes: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for (path, whole) in files.iter().zip(&wholes) {
        damage(path, whole.len() as u64 / 2);
    }
    assert_eq!(repair(&folder).unwrap().len(), files.len());
    for (path, whole) in files.iter().zip(&wholes) {
        assert_eq!(&std::fs::read(path).unwrap(), whole, "{}", path.display());
    }
    // Derived files alone, and no backup.
    let derived: Vec<&PathBuf> = files.iter().filter(|path| !is_primary(path)).collect();
    assert!(derived.len() >= 3, "{derived:?}");
    derived.iter().for_each(|path| damage(path, 100));
    let nowhere = dir.path().join("nowhere");
    assert_eq!(repair(&nowhere).unwrap().len(), derived.len());
    let db = open(&data);
    assert_eq!(rows(&db, ALL).await, all);
    tokio::task::block_in_place(|| db.settle());
    assert!(rows(&db, &format!("EXPLAIN {NEAR}")).await.join(" ").contains("Index"), "the index serves again");
    assert_eq!(rows(&db, NEAR).await[0], "77");
    assert!(matches!(
        crate::snapshot::repair::repair(&fs(), dir.path(), None),
        Err(crate::db::error::OpenError::Foreign { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_restored_to_any_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("data"), dir.path().join("backups"));
    let hour = Some(Duration::from_secs(3600));
    let options = Options { backup_interval: hour, backup_dir: Some(folder.clone()), ..options() };
    let db = Db::open(&data, options).unwrap();
    let save = || tokio::task::block_in_place(|| archive(db.engine(), &db.engine().checkpoint.lock())).unwrap();
    fill(&db).await;
    take(&db, &folder).unwrap();
    // Each step with what follows it: the commit, the moment, and what is there.
    let mut moments = Vec::new();
    let steps = [
        "INSERT INTO t SELECT id + 3000, note, v FROM t WHERE id < 1500",
        "UPDATE t SET note = 'changed' WHERE id % 7 = 0",
        "checkpoint",
        "DELETE FROM t WHERE id % 3 = 0",
        "settle",
        "UPDATE t SET v = (SELECT v FROM t WHERE id = 1) WHERE id % 11 = 0",
        "checkpoint",
        "CREATE TABLE u (id int PRIMARY KEY, v vector(2))",
        "INSERT INTO u SELECT i, ARRAY[i, 1]::real[]::vector FROM generate_series(1, 3000) AS s(i)",
        "settle",
        "REINDEX INDEX i",
        "VACUUM FULL t",
        "DELETE FROM u WHERE id > 100",
        "TRUNCATE t",
        "checkpoint",
        "INSERT INTO t VALUES (1, 'new', NULL)",
    ];
    let everything = async |db: &Db| {
        let mut all = rows(db, ALL).await;
        if rows(db, "SELECT to_regclass('u') IS NOT NULL").await == ["t"] {
            all.extend(rows(db, "SELECT id, v FROM u ORDER BY id").await);
        }
        all
    };
    for (at, step) in steps.iter().enumerate() {
        match *step {
            "checkpoint" => tokio::task::block_in_place(|| db.checkpoint()).unwrap(),
            "settle" => tokio::task::block_in_place(|| db.settle()),
            sql => run(&db, sql).await,
        }
        if at % 3 == 1 {
            save();
        }
        let lsn = db.engine().view().lsn;
        moments.push((lsn, crate::db::clock::now_us(), everything(&db).await));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    save();
    for (at, (lsn, time_us, all)) in moments.iter().enumerate() {
        for until in [Until::Lsn(*lsn), Until::Time(*time_us)] {
            if at + 1 == moments.len() && until == Until::Time(*time_us) {
                continue;
            }
            let to = dir.path().join(format!("{at} {until:?}"));
            let reached = restored_until(&folder, until, &to).unwrap();
            assert!(reached <= *lsn, "{until:?} {reached}");
            let copy = open(&to);
            assert!(everything(&copy).await == *all, "step {at} {until:?}");
            assert_eq!(rows(&copy, "CHECK DATABASE").await, Vec::<String>::new());
            copy.close().unwrap();
            drop(copy);
            std::fs::remove_dir_all(&to).unwrap();
        }
    }
    let to = dir.path().join("none");
    let error = |until| restored_until(&folder, until, &to).unwrap_err().to_string();
    let last = moments.last().unwrap().0;
    assert!(error(Until::Lsn(last + 1)).contains(&format!("ends with commit {last}")));
    assert!(error(Until::Lsn(1)).contains("no backup is as old"));
    // A piece that is gone is a gap; one whose bytes changed is damaged.
    let mut pieces: Vec<PathBuf> =
        std::fs::read_dir(folder.join("logs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pieces.sort();
    assert!(pieces.len() >= 5, "{pieces:?}");
    std::fs::remove_file(&pieces[1]).unwrap();
    assert!(error(Until::Lsn(last)).contains("gap"), "{}", error(Until::Lsn(last)));
    damage(&pieces[0], 60);
    assert!(error(Until::Lsn(last)).contains("damaged"), "{}", error(Until::Lsn(last)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scrubber_finds_rot_and_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let db = open(&data);
    fill(&db).await;
    let (all, near) = (rows(&db, ALL).await, rows(&db, NEAR).await);
    take(&db, &data.join("backups")).unwrap();
    let scrub = || {
        let never = AtomicBool::new(false);
        tokio::task::block_in_place(|| crate::snapshot::scrub::scrub(db.engine(), 0, &never)).unwrap()
    };
    let files = files_of(&data);
    let pass = scrub();
    assert_eq!((pass.faults, pass.files), (0, files.len() as u64));
    for path in &files {
        damage(path, std::fs::metadata(path).unwrap().len() / 2);
    }
    assert_eq!(scrub().faults, files.len() as u64);
    assert_eq!(scrub().faults, 0, "mended");
    assert_eq!(rows(&db, "SELECT count(*) FROM lodedb_repairs").await, [files.len().to_string()]);
    assert_eq!(rows(&db, "SELECT faults FROM lodedb_scrub ORDER BY started").await[0], "0");
    // Derived and in no backup: removed, and built again when the database is opened.
    std::fs::remove_dir_all(data.join("backups")).unwrap();
    let derived = files.iter().find(|path| !is_primary(path)).unwrap();
    damage(derived, 100);
    assert_eq!(scrub().faults, 1);
    assert!(!derived.exists());
    db.close().unwrap();
    drop(db);
    let db = open(&data);
    tokio::task::block_in_place(|| db.settle());
    assert_eq!(rows(&db, ALL).await, all);
    assert_eq!(rows(&db, NEAR).await, near);
}

#[test]
fn a_store_without_room_is_a_full_disk() {
    let full = crate::store::StoreError::NoSpace("No space left on device".into());
    assert_eq!(BackupError::from(full).to_sql().state(), crate::SqlState::DiskFull);
}
