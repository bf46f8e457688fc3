//! Rows that queries lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::harness::{Server, error, one, rows, run};

async fn table(name: &str) -> (Arc<Server>, Arc<Client>, Arc<Client>) {
    let server = Server::shared();
    let (one, other) = (Arc::new(server.connect().await), Arc::new(server.connect().await));
    run(&one, &format!("CREATE TABLE {name} (id int PRIMARY KEY, state text, v vector(2))")).await;
    let rows = format!("INSERT INTO {name} SELECT g, 'new', ARRAY[g, 0]::vector FROM generate_series(1, 5) g");
    run(&one, &rows).await;
    (server, one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_update_make_others_wait_that_change_them() {
    let (_server, one_, other) = table("for_update").await;
    run(&one_, "BEGIN").await;
    let sql = "SELECT *, id + 1 AS next FROM for_update WHERE id <= 2 ORDER BY id FOR UPDATE";
    assert_eq!(rows(&one_, sql).await, [["1", "new", "[1,0]", "2"], ["2", "new", "[2,0]", "3"]]);
    // Reading goes on.
    assert_eq!(one(&other, "SELECT count(*) FROM for_update").await, "5");
    for sql in
        ["SELECT id FROM for_update WHERE id = 2 FOR UPDATE NOWAIT", "SELECT id FROM for_update FOR SHARE NOWAIT"]
    {
        let refused = error(&other, sql).await;
        assert_eq!(refused.code().code(), "55P03", "{sql}");
        assert_eq!(refused.message(), "could not obtain lock on row in relation \"for_update\"");
    }
    run(&other, "SET lock_timeout = 100").await;
    assert_eq!(error(&other, "UPDATE for_update SET state = 'x' WHERE id = 1").await.code().code(), "55P03");
    assert_eq!(error(&other, "SELECT 1 FROM for_update WHERE id = 1 FOR UPDATE").await.code().code(), "55P03");
    run(&other, "UPDATE for_update SET state = 'x' WHERE id = 3; SET lock_timeout = 0").await;
    run(&one_, "UPDATE for_update SET state = 'old' WHERE id = 2; COMMIT").await;
    assert_eq!(one(&other, "SELECT state FROM for_update WHERE id = 2 FOR UPDATE").await, "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_waited_for_is_read_as_it_is_by_then() {
    let (_server, one_, other) = table("waited_for").await;
    run(&one_, "BEGIN; UPDATE waited_for SET state = 'taken' WHERE id = 1").await;
    let waiting = {
        let other = other.clone();
        let sql = "SELECT id, state FROM waited_for WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE";
        tokio::spawn(async move { rows(&other, sql).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    run(&one_, "COMMIT").await;
    assert_eq!(waiting.await.expect("the query"), [["2", "new"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_rows_can_be_shared() {
    let (_server, one_, other) = table("shared").await;
    run(&one_, "BEGIN; SELECT 1 FROM shared WHERE id = 1 FOR SHARE").await;
    assert_eq!(one(&other, "SELECT id FROM shared WHERE id = 1 FOR SHARE NOWAIT").await, "1");
    assert_eq!(error(&other, "SELECT id FROM shared WHERE id = 1 FOR UPDATE NOWAIT").await.code().code(), "55P03");
    run(&one_, "COMMIT").await;
    assert_eq!(one(&other, "SELECT id FROM shared WHERE id = 1 FOR UPDATE NOWAIT").await, "1");
}

/// The queue that people make of a table.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_queue_gives_each_job_to_one_worker() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE jobs (id int PRIMARY KEY, worker int)").await;
    run(&client, "INSERT INTO jobs SELECT g, NULL FROM generate_series(1, 120) g").await;
    let workers: Vec<_> = (1..=4)
        .map(|worker: i32| {
            let server = server.clone();
            tokio::spawn(async move {
                let client = server.connect().await;
                let mut taken = Vec::new();
                loop {
                    run(&client, "BEGIN").await;
                    let sql = "SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED";
                    let rows = client.query(sql, &[&3i64]).await.expect("jobs");
                    let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
                    for id in &ids {
                        run(&client, &format!("UPDATE jobs SET worker = {worker} WHERE id = {id} AND worker IS NULL"))
                            .await;
                    }
                    run(&client, "COMMIT").await;
                    if ids.is_empty() {
                        return taken;
                    }
                    taken.extend(ids);
                }
            })
        })
        .collect();
    let (mut all, mut count) = (BTreeSet::new(), 0);
    for worker in workers {
        let taken = worker.await.expect("a worker");
        count += taken.len();
        all.extend(taken);
    }
    assert_eq!((count, all.len()), (120, 120));
    assert_eq!(one(&client, "SELECT count(*) FROM jobs WHERE worker IS NULL").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_rows_are_left_out_and_limit_and_offset_count_the_others() {
    let (_server, one_, other) = table("left_out").await;
    run(&one_, "BEGIN; SELECT 1 FROM left_out WHERE id IN (1, 3) FOR UPDATE").await;
    let ids = async |sql: &str| rows(&other, sql).await.concat().join(",");
    let from = "SELECT id FROM left_out ORDER BY id";
    assert_eq!(ids(&format!("{from} FOR UPDATE SKIP LOCKED")).await, "2,4,5");
    assert_eq!(ids(&format!("{from} LIMIT 2 FOR UPDATE SKIP LOCKED")).await, "2,4");
    assert_eq!(ids(&format!("{from} LIMIT 1 + 1 OFFSET 1 FOR UPDATE SKIP LOCKED")).await, "4,5");
    let nearest = "SELECT id FROM left_out ORDER BY v <-> '[3,0]' LIMIT 2 FOR UPDATE SKIP LOCKED";
    assert_eq!(ids(nearest).await, "2,4");
    run(&one_, "ROLLBACK").await;
    assert_eq!(ids(&format!("{from} LIMIT 2 FOR UPDATE SKIP LOCKED")).await, "1,2");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_tables_that_are_named_are_locked() {
    let (_server, one_, other) = table("named_here").await;
    run(&one_, "CREATE TABLE named_there (id int PRIMARY KEY, here int)").await;
    run(&one_, "INSERT INTO named_there VALUES (10, 1), (20, 2)").await;
    run(&one_, "BEGIN").await;
    let join = "FROM named_here h JOIN named_there t ON t.here = h.id";
    let sql = format!("SELECT h.id, t.id {join} ORDER BY 1 FOR UPDATE OF t");
    assert_eq!(rows(&one_, &sql).await, [["1", "10"], ["2", "20"]]);
    assert_eq!(one(&other, "SELECT count(*) FROM (SELECT 1) AS n").await, "1");
    assert_eq!(rows(&other, "SELECT id FROM named_here WHERE id = 1 FOR UPDATE NOWAIT").await, [["1"]]);
    assert_eq!(error(&other, "SELECT id FROM named_there FOR UPDATE NOWAIT").await.code().code(), "55P03");
    run(&one_, "ROLLBACK").await;
    let missing = error(&one_, "SELECT 1 FROM named_here FOR UPDATE OF other").await;
    assert_eq!(missing.code().code(), "42P01");
    assert_eq!(missing.message(), "relation \"other\" in FOR UPDATE clause not found in FROM clause");
    for (sql, what) in [
        ("SELECT DISTINCT id FROM named_here FOR UPDATE", "FOR UPDATE is not allowed with DISTINCT clause"),
        ("SELECT id FROM named_here GROUP BY id FOR SHARE", "FOR SHARE is not allowed with GROUP BY clause"),
        (
            "SELECT id FROM named_here UNION SELECT id FROM named_there FOR UPDATE",
            "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT",
        ),
        (
            "SELECT h.id FROM named_here h LEFT JOIN named_there t ON true FOR UPDATE",
            "FOR UPDATE cannot be applied to the nullable side of an outer join",
        ),
    ] {
        let refused = error(&one_, sql).await;
        assert_eq!((refused.code().code(), refused.message()), ("0A000", what), "{sql}");
    }
    run(&one_, "BEGIN READ ONLY").await;
    assert_eq!(error(&one_, "SELECT id FROM named_here FOR UPDATE").await.code().code(), "25006");
    run(&one_, "ROLLBACK").await;
}
