//! Space comes back, indexes are made anew, and nothing is lost on the way.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::choose::{CheckpointReason, Job, choose_checkpoint, choose_job};
use super::jobs;
use crate::db::engine::{Kept, LastCheckpoint};
use crate::{Db, Options, SessionOptions};

fn open(dir: &Path) -> Db {
    Db::open(dir, Options { background: false, ..Options::for_test() }).unwrap()
}

async fn run(db: &Db, sql: &str) {
    db.session(SessionOptions::default()).unwrap().execute_sql(sql).await.unwrap();
}

/// The rows of a query as text.
async fn rows(db: &Db, sql: &str) -> Vec<String> {
    let mut session = db.session(SessionOptions::default()).unwrap();
    let rows = session.query(sql, &[]).await.unwrap();
    let text = |row: crate::Row<'_>| {
        let columns = 0..rows.fields().len();
        columns.map(|at| row.text(at).unwrap().unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join("|")
    };
    rows.iter().map(text).collect()
}

async fn fails(db: &Db, sql: &str) -> String {
    let error = db.session(SessionOptions::default()).unwrap().execute_sql(sql).await.unwrap_err();
    format!("{} {}", error.state().code(), error.message())
}

/// Rows `from` to `to` with a vector, a unique key and another one.
async fn insert(db: &Db, from: usize, to: usize) {
    let sql = format!(
        "INSERT INTO t SELECT i, 'note ' || i % 10,
             (SELECT array_agg(sin(i * (j + 1))::real) FROM generate_series(0, 15) AS g(j))::vector
         FROM generate_series({from}, {to}) AS s(i)"
    );
    run(db, &sql).await;
}

/// 2,400 rows in sealed segments, with an index over them.
async fn fill(db: &Db) {
    run(db, "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(16))").await;
    run(db, "CREATE INDEX notes ON t (note)").await;
    insert(db, 1, 2400).await;
    run(db, "CREATE INDEX near ON t USING ivfpq (v vector_l2_ops)").await;
    settle(db);
}

fn settle(db: &Db) {
    tokio::task::block_in_place(|| db.settle());
}

fn checkpoint(db: &Db) {
    tokio::task::block_in_place(|| db.checkpoint()).unwrap();
}

/// The bytes below a directory.
fn bytes(dir: &Path) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        total += if metadata.is_dir() { bytes(&entry.path()) } else { metadata.len() };
    }
    total
}

async fn sound(db: &Db) {
    assert_eq!(rows(db, "CHECK DATABASE").await, Vec::<String>::new());
}

const NEAR: &str = "SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 77) LIMIT 10";

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_dead_rows_are_written_anew_and_their_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (full, fresh) = (dir.path().join("full"), dir.path().join("fresh"));
    let db = open(&full);
    fill(&db).await;
    run(&db, "DELETE FROM t WHERE id % 4 <> 1").await;
    let near = rows(&db, NEAR).await;
    settle(&db);
    checkpoint(&db);
    checkpoint(&db);
    assert_eq!(rows(&db, NEAR).await, near);
    sound(&db).await;
    let jobs = rows(&db, "SELECT kind, state, dead_rows > 0 FROM lodedb_compactions WHERE kind = 'merge'").await;
    assert_eq!(jobs.last().map(String::as_str), Some("merge|done|t"));

    let survivors = open(&fresh);
    run(&survivors, "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(16))").await;
    insert(&survivors, 1, 2400).await;
    run(&survivors, "DELETE FROM t WHERE id % 4 <> 1").await;
    run(&survivors, "VACUUM FULL t").await;
    run(&survivors, "CREATE INDEX near ON t USING ivfpq (v vector_l2_ops)").await;
    checkpoint(&survivors);
    checkpoint(&survivors);
    let (left, least) = (bytes(&full.join("segments")), bytes(&fresh.join("segments")));
    assert!(left as f64 <= 1.3 * least as f64, "{left} bytes are left, {least} are needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_full_makes_one_segment_and_frees_space_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    insert(&db, 2401, 2600).await;
    run(&db, "DELETE FROM t WHERE id % 2 = 0").await;
    let (near, before) = (rows(&db, NEAR).await, bytes(&dir.path().join("segments")));
    run(&db, "VACUUM FULL t").await;
    assert_eq!(
        rows(&db, "SELECT s->>'segments', s->>'dead_rows', s->>'rows' FROM (SELECT lodedb_status('t') AS s) AS x")
            .await,
        ["1|0|1300"]
    );
    assert!(bytes(&dir.path().join("segments")) < before * 2 / 3);
    assert_eq!(rows(&db, NEAR).await, near);
    sound(&db).await;
    assert_eq!(fails(&db, "BEGIN; VACUUM t").await, "25001 VACUUM cannot run inside a transaction block");
    assert_eq!(fails(&db, "VACUUM none").await, "42P01 relation \"none\" does not exist");
    drop(db);
    let db = open(dir.path());
    assert_eq!(rows(&db, NEAR).await, near);
    sound(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_vacuum_leaves_dead_rows_behind() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    run(&db, "DELETE FROM t WHERE id <= 120").await;
    let dead = "SELECT lodedb_status('t')->>'dead_rows'";
    settle(&db);
    assert_eq!(rows(&db, dead).await, ["120"], "a twentieth is left to VACUUM");
    let mut session = db.session(SessionOptions::default()).unwrap();
    session.execute_sql("VACUUM (VERBOSE) t").await.unwrap();
    let told = session.take_notices();
    assert!(told.iter().any(|notice| notice.error.message().contains("with 120 dead rows")), "{told:?}");
    assert_eq!(rows(&db, dead).await, ["0"]);
    sound(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reindex_makes_indexes_anew() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    let generation = || {
        db.engine().view().tables.values().find_map(|table| {
            table.index_files.values().find_map(|files| files.quantizer.as_ref().map(|files| files.generation))
        })
    };
    let before = generation().unwrap();
    run(&db, "REINDEX INDEX near").await;
    assert!(generation().unwrap() > before);
    run(&db, "REINDEX TABLE t").await;
    run(&db, "REINDEX INDEX t_pkey").await;
    sound(&db).await;
    assert_eq!(rows(&db, "SELECT count(*) FROM t WHERE note = 'note 3'").await, ["240"]);
    assert_eq!(fails(&db, "INSERT INTO t VALUES (77, 'again', NULL)").await.split(' ').next(), Some("23505"));
    assert_eq!(fails(&db, "REINDEX INDEX t").await, "42P01 \"t\" is not an index");
    run(&db, "SELECT lodedb_rebuild('t')").await;
    run(&db, "SELECT lodedb_merge('t')").await;
    assert_eq!(rows(&db, "SELECT lodedb_status('t')->>'segments'").await, ["1"]);
    drop(db);
    let db = open(dir.path());
    sound(&db).await;
    assert_eq!(rows(&db, "SELECT note FROM t WHERE id = 77").await, ["note 7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_tables_leave_the_row_store() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    run(&db, "CREATE TABLE big (id int, note text)").await;
    run(&db, "INSERT INTO big SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 150000) AS s(i)").await;
    checkpoint(&db);
    let before = db.engine().store.disk_bytes().unwrap();
    run(&db, "DROP TABLE big").await;
    settle(&db);
    let after = db.engine().store.disk_bytes().unwrap();
    assert!(after < before / 10, "{before} bytes became {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_due_for_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    checkpoint(&db);
    let options = Options::default();
    let (view, minute) = (db.engine().view(), Duration::from_secs(60));
    let last = |lsns: [u64; 2], released: u64| LastCheckpoint {
        generation: 9,
        lsn: lsns[0],
        time_us: 0,
        log_bytes: 0,
        at: Instant::now(),
        kept: lsns.map(|lsn| Kept { lsn, segments: BTreeMap::from([((1, 1), released)]) }).into(),
    };
    let due = |last: &LastCheckpoint, log, since| choose_checkpoint(&view, last, log, since, &options);
    let now = view.lsn;
    assert_eq!(due(&last([now, now], 0), 0, minute * 60), None);
    assert_eq!(due(&last([now - 1, now - 1], 0), 0, minute), None);
    assert_eq!(due(&last([now - 1, now - 1], 0), 0, minute * 6), Some(CheckpointReason::Time));
    assert_eq!(due(&last([now, now - 1], 0), 0, minute * 6), Some(CheckpointReason::Time));
    assert_eq!(due(&last([now, now - 1], 100 << 20), 0, minute), Some(CheckpointReason::Release));
    assert_eq!(due(&last([now, now - 1], 100 << 20), 0, Duration::ZERO), None);
    assert_eq!(due(&last([now, now], 0), 2 << 30, Duration::ZERO), Some(CheckpointReason::LogGrown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_and_merged_away_between_checkpoints_is_let_go_of() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { release_interval: Duration::ZERO, checkpoint_log_bytes: 1 << 30, ..Options::for_test() };
    let db = Db::open(dir.path(), Options { background: false, ..options }).unwrap();
    checkpoint(&db);
    checkpoint(&db);
    // No manifest ever names the segments that these rows are in first.
    run(&db, "CREATE TABLE wide (id int, v vector(1000))").await;
    let rows = "SELECT i, (SELECT array_agg(i::real) FROM generate_series(1, 1000))::vector FROM generate_series(1, 1000) AS s(i)";
    run(&db, &format!("INSERT INTO wide {rows}")).await;
    settle(&db);
    run(&db, "DELETE FROM wide WHERE id > 100").await;
    settle(&db);
    let left = bytes(&dir.path().join("segments"));
    assert!(left < 1 << 20, "{left} bytes for 100 rows of 4,000 each");
    sound(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_trained_anew_when_vectors_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    let generation = || {
        let view = db.engine().view();
        let files = view.tables.values().flat_map(|table| table.index_files.values()).next().cloned().unwrap();
        files.quantizer.unwrap().generation
    };
    let insert = async |from: usize, to: usize, scale: usize| {
        let vector = format!(
            "(SELECT array_agg(({scale} * sin(i * (j + 1)))::real) FROM generate_series(0, 15) AS g(j))::vector"
        );
        run(&db, &format!("INSERT INTO t SELECT i, 'more', {vector} FROM generate_series({from}, {to}) AS s(i)")).await;
        settle(&db);
    };
    let first = generation();
    insert(10_001, 12_000, 1).await;
    assert_eq!(generation(), first, "as many again in the same places");
    insert(20_001, 24_000, 50).await;
    let second = generation();
    assert_ne!(second, first, "most are elsewhere");
    insert(30_001, 34_000, 50).await;
    assert_eq!(generation(), second, "it was trained for them");
    drop(db);
    let db = open(dir.path());
    settle(&db);
    let view = db.engine().view();
    let index =
        view.tables.values().flat_map(|table| table.indexes.values()).find(|index| !index.quantizers.is_empty());
    assert!(index.unwrap().quantizers[0].spread().is_some(), "a quantizer keeps what it was made for");
    assert!(index.unwrap().segments.values().all(|codes| codes.spread().is_some()), "and codes what they are");
    sound(&db).await;
}

/// A job reads a view, and its commit comes later. A checkpoint in between keeps the live rows of growing segments; when the commit is
/// replayed after it, what died or changed in the meantime must stay so.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_before_a_checkpoint_stay_gone_when_their_seal_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    run(&db, "CREATE TABLE t (id int PRIMARY KEY, note text, v vector(16))").await;
    // So few at a time that none are staged.
    for first in (1..100).step_by(10) {
        insert(&db, first, first + 9).await;
    }
    let engine = db.engine().clone();
    let (table, segment) = {
        let view = engine.view();
        let (&table, inside) = view.tables.iter().next().unwrap();
        let growing = inside.segments.last().unwrap();
        assert_eq!(growing.live(), 100);
        (table, growing.segment.id())
    };
    tokio::task::block_in_place(|| jobs::freeze(&engine, table)).unwrap();
    let view = engine.view();
    run(&db, "DELETE FROM t WHERE id = 7").await;
    run(&db, "UPDATE t SET note = 'changed' WHERE id = 8").await;
    run(&db, "UPDATE t SET v = (SELECT v FROM t WHERE id = 77) WHERE id = 9").await;
    checkpoint(&db);
    let never = std::sync::atomic::AtomicBool::new(false);
    let sealed = tokio::task::block_in_place(|| jobs::run(&engine, &view, &Job::Seal(table, segment), 0, &never));
    sealed.unwrap();
    let near = "SELECT id FROM t WHERE note IN ('changed', 'note 7', 'note 9') ORDER BY v <-> (SELECT v FROM t WHERE id = 77), id LIMIT 30";
    let before = rows(&db, near).await;
    assert_eq!(&before[..2], ["9", "77"], "9 is where 77 is");
    drop((db, engine, view));
    // As after being killed: from the checkpoint, and the log.
    let db = open(dir.path());
    sound(&db).await;
    assert_eq!(rows(&db, near).await, before);
    assert_eq!(
        rows(&db, "SELECT note FROM t WHERE note = 'changed' ORDER BY v <-> (SELECT v FROM t WHERE id = 8) LIMIT 2")
            .await,
        ["changed"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn worn_segments_are_chosen_and_large_ones_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    fill(&db).await;
    let choose = |options: &Options| choose_job(&db.engine().view(), options, None);
    let options = Options { merge_segments: 100, ..Options::for_test() };
    assert_eq!(choose(&options), None);
    run(&db, "DELETE FROM t WHERE id <= 60").await;
    assert_eq!(choose(&options), None, "a fortieth is dead");
    assert!(matches!(choose(&Options { merge_dead_percent: 1, ..options.clone() }), Some(Job::Merge(..))));
    run(&db, "DELETE FROM t WHERE id % 2 = 0").await;
    assert!(matches!(choose(&options), Some(Job::Merge(..))));
    let many = Options { merge_segments: 0, merge_dead_percent: 100, merge_rows_max: 1, ..Options::for_test() };
    assert_eq!(choose(&many), None, "each has its most rows");
}
