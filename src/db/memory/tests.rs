//! The one budget for memory: what does not fit is refused, and what is left is enough to get out of it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::time::Duration;

use crate::{Db, Options, SessionOptions};

/// The values of the first column, as text.
async fn column(db: &Db, sql: &str) -> Vec<String> {
    let mut session = db.session(SessionOptions::default()).unwrap();
    let rows = session.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.text(0).unwrap().unwrap_or_else(|| "NULL".into())).collect()
}

async fn state(db: &Db, sql: &str) -> Option<String> {
    let result = db.session(SessionOptions::default()).unwrap().execute_sql(sql).await;
    result.err().map(|error| format!("{} {}", error.state().code(), error.message()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_in_memory_is_refused_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Segments are never sealed, so that they only grow.
    let options =
        Options { memory_limit_bytes: 16 << 20, seal_bytes: 1 << 30, background: false, ..Options::for_test() };
    let db = Db::open(dir.path(), options).unwrap();
    assert_eq!(state(&db, "CREATE TABLE t (id int PRIMARY KEY, v vector(1000))").await, None);
    let mut rows = 0;
    let refused = loop {
        let vector = "(SELECT array_agg(i::real) FROM generate_series(1, 1000))::vector";
        let (from, to) = (rows + 1, rows + 200);
        let insert = format!("INSERT INTO t SELECT i, {vector} FROM generate_series({from}, {to}) AS s(i)");
        tokio::time::sleep(Duration::from_millis(110)).await;
        match state(&db, &insert).await {
            None => rows = to,
            Some(refused) => break refused,
        }
        assert!(rows < 10_000, "40 MB are no more than 16");
    };
    assert!(refused.starts_with("53200 not enough memory"), "{refused}");
    assert!(rows * 4000 > 4 << 20, "{rows} rows fit");
    assert!(db.engine().refusal().is_some_and(|refusal| !refusal.is_final && refusal.reason.contains("memory")));
    assert_eq!(column(&db, "SELECT count(*) FROM t").await, [rows.to_string()]);
    assert_eq!(state(&db, "DELETE FROM t WHERE id % 2 = 0").await, None);
    // Sealed, they are in files.
    assert_eq!(state(&db, "VACUUM FULL t").await, None);
    tokio::time::sleep(Duration::from_millis(110)).await;
    assert_eq!(state(&db, "INSERT INTO t (id) VALUES (100000)").await, None);
    assert_eq!(column(&db, "SELECT count(*) FROM t").await, [(rows / 2 + 1).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_wants_more_than_is_left_spills_or_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memory_limit_bytes: 16 << 20, background: false, ..Options::for_test() };
    let db = Db::open(dir.path(), options).unwrap();
    let series = "SELECT repeat(i::text, 100) AS word FROM generate_series(1, 100000) AS s(i)";
    let sorted =
        format!("SELECT count(*) FROM (SELECT word FROM ({series}) AS words ORDER BY word DESC OFFSET 1) AS sorted");
    assert_eq!(column(&db, &sorted).await, ["99999"]);
    let refused =
        state(&db, &format!("SELECT count(*) FROM (SELECT array_agg(word) FROM ({series}) AS words) AS one")).await;
    assert!(refused.is_none_or(|refused| refused.starts_with("53200")), "refused for another reason");
    assert_eq!(column(&db, "SELECT 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_the_server_was_started_is_shown_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        memory_limit_bytes: 64 << 20,
        backup_interval: Some(Duration::from_secs(5400)),
        scrub_interval: None,
        ..Options::for_test()
    };
    let db = Db::open(dir.path(), options).unwrap();
    for (name, value) in [
        ("lodedb.memory_limit", "64MB"),
        ("lodedb.row_cache", "8MB"),
        ("lodedb.backup_interval", "90min"),
        ("lodedb.backup_keep", "24,7"),
        ("lodedb.scrub_interval", "0"),
    ] {
        assert_eq!(column(&db, &format!("SHOW {name}")).await, [value], "{name}");
        let context = format!("SELECT context || ' ' || setting FROM pg_settings WHERE name = '{name}'");
        assert_eq!(column(&db, &context).await, [format!("postmaster {value}")]);
    }
    let refused = state(&db, "SET lodedb.memory_limit = '1GB'").await.unwrap();
    assert_eq!(refused, "55P02 parameter \"lodedb.memory_limit\" cannot be changed without restarting the server");
    assert!(state(&db, "SET server_version = '17'").await.unwrap().starts_with("55P02"));
    assert_eq!(state(&db, "RESET ALL").await, None);
    assert_eq!(column(&db, "SHOW lodedb.memory_limit").await, ["64MB"]);
}
