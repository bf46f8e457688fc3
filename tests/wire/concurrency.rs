//! Several writers at once: no lost update, no deadlock that stands, no torn read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Barrier;
use tokio_postgres::Client;

use crate::harness::client::told;
use crate::harness::{Server, error, ok, one, rows, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_writers_lose_no_update() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE counted (id int PRIMARY KEY, n int NOT NULL, v vector(2)); INSERT INTO counted VALUES (1, 0, '[0,0]'), (2, 0, '[0,0]')").await;
    const EACH: i32 = 60;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut client = server.connect().await;
                for round in 0..EACH {
                    let id = 1 + (round + writer) % 2;
                    match writer {
                        // By key, by a scan, in a block, and by a prepared statement.
                        0 => run(&client, &format!("UPDATE counted SET n = n + 1 WHERE id = {id}")).await,
                        1 => {
                            run(&client, &format!("UPDATE counted SET n = n + 1, v = v + '[1,0]' WHERE id + 0 = {id}"))
                                .await
                        }
                        2 => {
                            let transaction = client.transaction().await.expect("a transaction");
                            let sql = format!("UPDATE counted SET n = n + 1 WHERE id = {id}");
                            ok(transaction.execute(&sql, &[]).await, &sql);
                            ok(transaction.commit().await, "COMMIT");
                        }
                        _ => {
                            let sql = "UPDATE counted SET n = n + 1 WHERE id = $1";
                            assert_eq!(ok(client.execute(sql, &[&id]).await, sql), 1);
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("the writer");
    }
    assert_eq!(one(&client, "SELECT sum(n) FROM counted").await, (4 * EACH).to_string());
    assert_eq!(one(&client, "SELECT sum(v) FROM counted").await, format!("[{EACH},0]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_waiting_update_sees_the_row_as_it_was_committed() {
    let server = Server::shared();
    let (first, second) = (server.connect().await, server.connect().await);
    run(&first, "CREATE TABLE rechecked (id int PRIMARY KEY, state text, n int); INSERT INTO rechecked VALUES (1, 'open', 1), (2, 'open', 1)").await;
    run(&first, "BEGIN; UPDATE rechecked SET state = 'closed', n = 10 WHERE id = 1").await;
    let waiting = tokio::spawn(async move {
        let sql = "UPDATE rechecked SET n = n + 1 WHERE state = 'open'";
        (ok(second.execute(sql, &[]).await, sql), second)
    });
    // The update waits for the row, so it must not be done before the commit.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "the update did not wait for the row");
    run(&first, "COMMIT").await;
    let (changed, _) = waiting.await.expect("the update");
    assert_eq!(changed, 1, "the row that is no longer open was changed");
    assert_eq!(
        rows(&first, "SELECT id, state, n FROM rechecked ORDER BY id").await,
        [["1", "closed", "10"], ["2", "open", "2"]]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_insert_waits_for_the_key_and_then_fails_or_succeeds() {
    let server = Server::shared();
    let first = server.connect().await;
    run(&first, "CREATE TABLE keys_waited (id int PRIMARY KEY, who text)").await;
    for (end, expected) in [("COMMIT", Some("23505")), ("ROLLBACK", None)] {
        let second = server.connect().await;
        run(&first, "TRUNCATE keys_waited").await;
        run(&first, "BEGIN; INSERT INTO keys_waited VALUES (1, 'first')").await;
        let waiting = tokio::spawn(async move {
            second
                .execute("INSERT INTO keys_waited VALUES (1, 'second')", &[])
                .await
                .err()
                .and_then(|error| error.code().cloned())
        });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(!waiting.is_finished(), "the insert did not wait for the key");
        run(&first, end).await;
        let state = waiting.await.expect("the insert");
        assert_eq!(state.as_ref().map(|state| state.code()), expected, "after {end}");
    }
    assert_eq!(one(&first, "SELECT who FROM keys_waited").await, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadlock_ends_one_of_the_two() {
    let server = Server::shared();
    let (first, second) = (server.connect().await, server.connect().await);
    run(&first, "CREATE TABLE crossed (id int PRIMARY KEY, n int); INSERT INTO crossed VALUES (1, 0), (2, 0)").await;
    for client in [&first, &second] {
        run(client, "SET deadlock_timeout = '100ms'; BEGIN").await;
    }
    run(&first, "UPDATE crossed SET n = n + 1 WHERE id = 1").await;
    run(&second, "UPDATE crossed SET n = n + 1 WHERE id = 2").await;
    let cross = async |client: &Client, id: i32| {
        let result = client.batch_execute(&format!("UPDATE crossed SET n = n + 1 WHERE id = {id}")).await;
        let state = result.err().map(|error| error.as_db_error().unwrap_or_else(|| panic!("{}", told(&error))).clone());
        // The one that failed lets go.
        run(client, "COMMIT").await;
        state
    };
    let (one_state, other_state) = tokio::join!(cross(&first, 2), cross(&second, 1));
    let failed: Vec<_> = [one_state, other_state].into_iter().flatten().collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((failed[0].code().code(), failed[0].message()), ("40P01", "deadlock detected"));
    assert_eq!(rows(&first, "SELECT n FROM crossed ORDER BY id").await, [["1"], ["1"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_whole_transactions_and_never_wait() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE whole (id int PRIMARY KEY, n int NOT NULL, v vector(4))").await;
    run(&client, "INSERT INTO whole SELECT g, 0, '[0,0,0,0]' FROM generate_series(1, 50) g").await;
    run(&client, "CREATE INDEX ON whole USING ivfpq (v vector_l2_ops)").await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (server, done) = (server.clone(), done.clone());
        tokio::spawn(async move {
            let client = server.connect().await;
            for round in 1..=60 {
                run(&client, &format!("BEGIN; UPDATE whole SET n = {round} WHERE id <= 25; UPDATE whole SET n = {round}, v = '[{round},0,0,0]' WHERE id > 25; COMMIT")).await;
            }
            done.store(true, Ordering::Release);
        })
    };
    let mut looks = 0;
    while !done.load(Ordering::Acquire) || looks == 0 {
        assert_eq!(one(&client, "SELECT count(DISTINCT n) FROM whole").await, "1", "a transaction was seen in part");
        let torn = "SELECT count(*) FROM (SELECT n, v FROM whole WHERE id > 25 ORDER BY v <-> '[0,0,0,0]' LIMIT 25) t \
                    WHERE v <-> ('[' || n || ',0,0,0]')::vector > 0";
        assert_eq!(one(&client, torn).await, "0", "rows and vectors are of different commits");
        let found = "SELECT count(*) FROM (SELECT id FROM whole ORDER BY v <-> '[0,0,0,0]' LIMIT 100) t";
        assert_eq!(one(&client, found).await, "50", "a row was seen twice or not at all");
        looks += 1;
    }
    writer.await.expect("the writer");
    eprintln!("{looks} looks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upserts_of_one_key_from_many_sessions_count_right() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE hits (key text PRIMARY KEY, n int NOT NULL)").await;
    let barrier = Arc::new(Barrier::new(4));
    let sessions: Vec<_> = (0..4)
        .map(|_| {
            let (server, barrier) = (server.clone(), barrier.clone());
            tokio::spawn(async move {
                let client = server.connect().await;
                barrier.wait().await;
                for round in 0..40 {
                    let sql = format!(
                        "INSERT INTO hits VALUES ('k{}', 1) ON CONFLICT (key) DO UPDATE SET n = hits.n + 1",
                        round % 5
                    );
                    run(&client, &sql).await;
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.expect("the session");
    }
    assert_eq!(rows(&client, "SELECT count(*), sum(n), min(n) FROM hits").await, [["5", "160", "32"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_is_built_while_others_read() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE building (id int PRIMARY KEY, v vector(16))").await;
    run(&client, "INSERT INTO building SELECT g, ARRAY[g % 7, g % 11, g % 13, g % 17, sin(g), cos(g), g % 3, g % 5, 0, 1, 2, 3, 4, 5, 6, 7]::vector FROM generate_series(1, 20000) g").await;
    let builder = {
        let server = server.clone();
        tokio::spawn(async move {
            let client = server.connect().await;
            run(&client, "CREATE INDEX building_v ON building USING ivfpq (v vector_l2_ops)").await;
        })
    };
    let mut reads = 0;
    while !builder.is_finished() || reads == 0 {
        let near = "SELECT id FROM building ORDER BY v <-> (SELECT v FROM building WHERE id = 777) LIMIT 1";
        assert_eq!(one(&client, near).await, "777");
        reads += 1;
    }
    builder.await.expect("the index");
    eprintln!("{reads} reads during the build");
    assert_eq!(
        one(&client, "SELECT id FROM building ORDER BY v <-> (SELECT v FROM building WHERE id = 777) LIMIT 1").await,
        "777"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lock_timeout_ends_the_waiting() {
    let server = Server::shared();
    let (first, second) = (server.connect().await, server.connect().await);
    run(&first, "CREATE TABLE timed (id int PRIMARY KEY); INSERT INTO timed VALUES (1)").await;
    run(&first, "BEGIN; DELETE FROM timed WHERE id = 1").await;
    run(&second, "SET lock_timeout = '100ms'").await;
    let failed = error(&second, "DELETE FROM timed WHERE id = 1").await;
    assert_eq!((failed.code().code(), failed.message()), ("55P03", "canceling statement due to lock timeout"));
    let failed = error(&second, "DROP TABLE timed").await;
    assert_eq!(failed.code().code(), "55P03");
    run(&first, "ROLLBACK").await;
    run(&second, "DELETE FROM timed WHERE id = 1").await;
    assert_eq!(one(&first, "SELECT count(*) FROM timed").await, "0");
}
