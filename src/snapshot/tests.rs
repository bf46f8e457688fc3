//! What numbers and files a checkpoint, a crash and an opening leave.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::db::session::SessionOptions;
use crate::{Db, Options};

fn open(dir: &Path) -> Db {
    Db::open(dir, Options { background: false, ..Options::for_test() }).unwrap()
}

async fn run(db: &Db, sql: &str) {
    let mut session = db.session(SessionOptions::default()).unwrap();
    session.execute_sql(sql).await.unwrap();
}

/// A table of 800 vectors, more than an index is trained on.
async fn fill(db: &Db) {
    run(
        db,
        "CREATE TABLE t (id int PRIMARY KEY, v vector(4));
         INSERT INTO t SELECT i, ('[' || i % 7 || ',' || i % 11 || ',' || i % 13 || ',' || i % 17 || ']')::vector
         FROM generate_series(1, 800) AS s(i)",
    )
    .await;
}

/// Every number that is in use.
fn numbers(db: &Db) -> BTreeSet<u64> {
    let view = db.engine().view();
    let tables = view.tables.values();
    tables
        .flat_map(|table| {
            let segments = table.segments.iter().map(|segment| segment.segment.id());
            let built = table.index_files.values().filter_map(|files| Some(files.quantizer.as_ref()?.generation));
            segments.chain(built).collect::<Vec<_>>()
        })
        .collect()
}

/// The files below `segments` and `quantizers`, those of segments by their folders, codes by their names.
fn derived(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.join("segments"), dir.join("quantizers")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// How many quantizers there are.
fn quantizers(files: &BTreeSet<String>) -> usize {
    files.iter().filter(|file| file.starts_with("quantizers/") && !file.ends_with(".calibration")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_does_not_give_a_generation_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    run(&db, "CREATE INDEX i ON t USING ivfpq (v vector_l2_ops)").await;
    let last = db.engine().segment_ids.next() - 1;
    assert_eq!(numbers(&db).last(), Some(&last), "the generation came last");
    // Not closed: the log tells it all.
    drop(db);
    let db = open(dir.path());
    assert!(db.engine().segment_ids.next() > last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_taken_and_not_used_before_a_checkpoint_gives_no_later_one_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    let taken = db.engine().segment_ids.take();
    run(&db, "CREATE INDEX i ON t USING ivfpq (v vector_l2_ops)").await;
    assert!(numbers(&db).last() > Some(&taken));
    db.checkpoint().unwrap();
    let next = db.engine().segment_ids.next();
    drop(db);
    assert_eq!(open(dir.path()).engine().segment_ids.next(), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_old_generations_and_dropped_indexes_go_with_the_manifests_that_named_them() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    run(
        &db,
        "CREATE INDEX i ON t USING ivfpq (v vector_l2_ops); CREATE INDEX j ON t USING ivfflat (v vector_cosine_ops)",
    )
    .await;
    db.checkpoint().unwrap();
    let named = derived(dir.path());
    assert_eq!(quantizers(&named), 2, "{named:?}");
    // Four times as many rows: both are trained again.
    run(&db, "INSERT INTO t SELECT id + 1000 * i, v FROM t, generate_series(1, 4) AS s(i)").await;
    tokio::task::block_in_place(|| db.settle());
    let both = derived(dir.path());
    assert_eq!(quantizers(&both), 4, "{both:?}");
    for _ in 0..2 {
        run(&db, "DELETE FROM t WHERE id = (SELECT max(id) FROM t)").await;
        db.checkpoint().unwrap();
    }
    let after = derived(dir.path());
    assert_eq!(quantizers(&after), 2, "{after:?}");
    let trained = |file: &&String| file.contains("codes.") || file.starts_with("quantizers/");
    assert!(named.iter().filter(trained).all(|file| !after.contains(file)), "{after:?}");
    run(&db, "DROP INDEX j").await;
    for _ in 0..2 {
        assert_eq!(quantizers(&derived(dir.path())), 2, "an older manifest names them");
        run(&db, "DELETE FROM t WHERE id = (SELECT max(id) FROM t)").await;
        db.checkpoint().unwrap();
    }
    assert_eq!(quantizers(&derived(dir.path())), 1);
    run(&db, "DROP TABLE t").await;
    for _ in 0..2 {
        run(&db, "CREATE TABLE s (id int); DROP TABLE s").await;
        db.checkpoint().unwrap();
    }
    assert_eq!(derived(dir.path()), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_goes_when_the_database_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    run(&db, "CREATE INDEX i ON t USING ivfpq (v vector_l2_ops)").await;
    let (next, table) = (db.engine().segment_ids.next(), *db.engine().view().tables.keys().next().unwrap());
    let segment = *db.engine().view().tables[&table].sealed_files.keys().next().unwrap();
    drop(db);
    let before = derived(dir.path());
    let left = [
        format!("segments/{table}/{next}/ids"),
        format!("segments/{table}/{}-5/ids", next + 1),
        format!("segments/77/{}/rows.tmp", next + 2),
        format!("quantizers/78/{}", next + 3),
        format!("quantizers/78/{}.calibration.tmp", next + 3),
    ];
    for file in &left {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"half").unwrap();
    }
    let db = open(dir.path());
    assert_eq!(derived(dir.path()), before, "what the log names stays");
    assert!(!dir.path().join("segments/77").exists() && !dir.path().join("quantizers/78").exists());
    run(&db, "SELECT id FROM t ORDER BY v <-> '[1,2,3,4]' LIMIT 3").await;
    for _ in 0..2 {
        run(&db, "DELETE FROM t WHERE id = (SELECT max(id) FROM t)").await;
        db.checkpoint().unwrap();
    }
    drop(db);
    let codes = format!("segments/{table}/{segment}/codes.16999.{}", next + 1);
    std::fs::write(dir.path().join(&codes), b"half").unwrap();
    open(dir.path());
    assert!(!dir.path().join(codes).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_behind_the_manifest_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    db.close().unwrap();
    drop(db);
    // As a lost directory entry leaves it: RocksDB would begin anew, without any of the rows.
    std::fs::remove_dir_all(dir.path().join("meta")).unwrap();
    let refused = Db::open(dir.path(), Options::for_test()).unwrap_err();
    assert!(refused.to_string().contains("the rows are those of commit 0"), "{refused}");
}

/// What was committed since the last checkpoint may be in the log alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_its_log_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (data, aside) = (dir.path().join("data"), dir.path().join("aside"));
    let db = open(&data);
    fill(&db).await;
    drop(db);
    std::fs::rename(data.join("wal"), &aside).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            std::fs::create_dir(data.join("wal")).unwrap();
        }
        let refused = Db::open(&data, Options { background: false, ..Options::for_test() }).unwrap_err().to_string();
        assert!(refused.contains("holds no log"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(data.join("wal")).unwrap().count(), 0);
    std::fs::remove_dir(data.join("wal")).unwrap();
    std::fs::rename(&aside, data.join("wal")).unwrap();
    let db = open(&data);
    let mut session = db.session(SessionOptions::default()).unwrap();
    let rows = session.query("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(rows.iter().next().unwrap().get::<i64>(0).unwrap(), 800);
}

/// The files of the row store but for what RocksDB writes for people.
fn rows_on_disk(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir.join("meta")).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| !name.starts_with("LOG"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

/// RocksDB takes a MANIFEST that ends early for an older state, and removes the files that this does not name.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_state_are_refused_before_anything_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let db = open(&data);
    fill(&db).await;
    for last in 801..804 {
        run(&db, &format!("INSERT INTO t VALUES ({last}, '[1,1,1,1]')")).await;
        tokio::task::block_in_place(|| db.checkpoint()).unwrap();
    }
    tokio::task::block_in_place(|| db.close()).unwrap();
    drop(db);
    let name = rows_on_disk(&data).into_keys().find(|name| name.starts_with("MANIFEST")).unwrap();
    let whole = std::fs::read(data.join("meta").join(&name)).unwrap();
    let mut refused = 0;
    for cut in (0..whole.len()).step_by(whole.len() / 60) {
        copy_dir(&data, &copy);
        std::fs::write(copy.join("meta").join(&name), &whole[..cut]).unwrap();
        let before = rows_on_disk(&copy);
        match Db::open(&copy, Options { background: false, ..Options::for_test() }) {
            Ok(db) => {
                let mut session = db.session(SessionOptions::default()).unwrap();
                let rows = session.query("SELECT count(*) FROM t", &[]).await.unwrap();
                assert_eq!(rows.iter().next().unwrap().get::<i64>(0).unwrap(), 803, "cut at {cut}");
            }
            Err(_) => {
                refused += 1;
                assert!(rows_on_disk(&copy) == before, "cut at {cut} of {}: files were touched", whole.len());
            }
        }
        std::fs::remove_dir_all(&copy).unwrap();
    }
    assert!(refused > 30, "{refused} refused");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
