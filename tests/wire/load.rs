//! More statements than the server runs at once: those beyond the queue are refused, and nobody waits behind somebody who waits.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio_postgres::{Client, NoTls};

use crate::harness::raw::{self, RawClient};
use crate::harness::server::PATIENCE;
use crate::harness::{Server, error, one, run};
use crate::side::Page;

/// Starts a statement that runs until it is cancelled.
fn sleeping(client: Client) -> tokio::task::JoinHandle<String> {
    tokio::spawn(async move { error(&client, "SELECT pg_sleep(600)").await.code().code().to_owned() })
}

/// Waits until a gauge has a value.
async fn until(server: &Server, name: &str, value: f64) {
    let begun = Instant::now();
    while Page::of(server).value(name, &[]) != value {
        assert!(begun.elapsed() < PATIENCE, "{name} never was {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_queue_does_not_hold_is_refused_and_every_session_lives() {
    let server = Server::start_with(&["--http", "127.0.0.1:0", "--max-running", "2", "--max-queue", "2"]);
    let clients = [server.connect().await, server.connect().await];
    let tokens = clients.each_ref().map(Client::cancel_token);
    let other = server.connect().await;
    run(&other, "CREATE TABLE busy (id int PRIMARY KEY, n int); INSERT INTO busy VALUES (1, 0)").await;
    let holder = server.connect().await;
    run(&holder, "BEGIN; UPDATE busy SET n = 1").await;

    let sleepers = clients.map(sleeping);
    until(&server, "lodedb_statements_running", 2.0).await;
    let (first, second) = (server.connect().await, server.connect().await);
    let cancelled = first.cancel_token();
    let given_up = tokio::spawn(async move {
        let code = error(&first, "SELECT count(*) FROM busy").await.code().code().to_owned();
        (first, code)
    });
    let queued = tokio::spawn(async move { one(&second, "SELECT count(*) FROM busy").await });
    until(&server, "lodedb_statements_waiting", 2.0).await;

    let begun = Instant::now();
    let refused = error(&other, "SELECT count(*) FROM busy").await;
    assert_eq!(refused.code().code(), "53400");
    assert_eq!(refused.message(), "too many statements: 2 are running and 2 waiting");
    assert_eq!(error(&other, "INSERT INTO busy VALUES (2, 2)").await.code().code(), "53400");
    assert!(other.query("SELECT count(*) FROM busy", &[]).await.is_err(), "the extended protocol has another limit");
    assert!(begun.elapsed() < Duration::from_secs(10), "refusing took {:?}", begun.elapsed());
    // Settings and the statements of an open transaction are not refused, and its commit least of all.
    run(&other, "SET application_name = 'other'").await;
    assert_eq!(one(&holder, "SELECT n FROM busy").await, "1");
    run(&holder, "UPDATE busy SET n = 2; COMMIT").await;
    let page = Page::of(&server);
    assert_eq!(page.value("lodedb_statements_shed_total", &[("reason", "queue_full")]), 3.0);
    assert_eq!(page.value("lodedb_statements_waiting_max", &[]), 2.0);

    cancelled.cancel_query(NoTls).await.expect("it is sent");
    let (first, code) = given_up.await.expect("it ends");
    assert_eq!(code, "57014", "a statement in the queue was not cancelled");
    run(&first, "SET statement_timeout = 50").await;
    assert_eq!(error(&first, "SELECT 1").await.code().code(), "57014", "the queue takes its time");
    for token in tokens {
        token.cancel_query(NoTls).await.expect("it is sent");
    }
    assert_eq!(queued.await.expect("it ends"), "1", "its turn never came");
    for sleeper in sleepers {
        assert_eq!(sleeper.await.expect("it ends"), "57014");
    }
    assert_eq!(one(&other, "SELECT n FROM busy").await, "2");
    assert_eq!(one(&first, "SELECT 1").await, "1");
    until(&server, "lodedb_statements_running", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_waits_so_long_for_its_turn_and_no_longer() {
    let server = Server::start_with(&["--http", "127.0.0.1:0", "--max-running", "1", "--queue-timeout", "1"]);
    let (sleeper, other) = (server.connect().await, server.connect().await);
    let token = sleeper.cancel_token();
    let sleeper = sleeping(sleeper);
    until(&server, "lodedb_statements_running", 1.0).await;
    let begun = Instant::now();
    let refused = error(&other, "SELECT 1").await;
    assert_eq!(refused.code().code(), "53400");
    assert_eq!(refused.message(), "too many statements: 1 are running, and this one waited 1s");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(Page::of(&server).value("lodedb_statements_shed_total", &[("reason", "too_late")]), 1.0);
    token.cancel_query(NoTls).await.expect("it is sent");
    sleeper.await.expect("it ends");
    assert_eq!(one(&other, "SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_locks_commits_and_slow_readers() {
    let server = Server::start_with(&["--http", "127.0.0.1:0", "--max-running", "1", "--max-queue", "0"]);
    let (holder, waiter, other) = (server.connect().await, server.connect().await, server.connect().await);
    run(&holder, "CREATE TABLE held (id int PRIMARY KEY, n int); INSERT INTO held VALUES (1, 0), (2, 0)").await;
    run(&holder, "BEGIN; UPDATE held SET n = 1 WHERE id = 1").await;
    let mut waiting = tokio::spawn(async move { run(&waiter, "UPDATE held SET n = n + 10 WHERE id = 1").await });
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it waits for a lock");
    assert_eq!(one(&other, "SELECT sum(n) FROM held").await, "0", "who waits for a lock had the only place");
    run(&holder, "COMMIT").await;
    waiting.await.expect("it ends");
    assert_eq!(one(&other, "SELECT n FROM held WHERE id = 1").await, "11");

    // Megabytes that nobody takes.
    let mut lazy = RawClient::connect(server.address());
    lazy.send(&raw::query("SELECT repeat('x', 50000) FROM generate_series(1, 1000)"));
    assert_eq!(lazy.answer().map(|(tag, _)| tag), Some('T'));
    // While it still fits the buffers between them the place is taken now and then.
    let (begun, mut in_a_row) = (Instant::now(), 0);
    while in_a_row < 20 {
        assert!(begun.elapsed() < PATIENCE, "a client that reads nothing has the only place");
        let answered = other.simple_query("SELECT sum(n) FROM held").await.is_ok();
        in_a_row = if answered { in_a_row + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(lazy);

    // Sixteen at once with one place and no queue: who is refused tries again, and none waits for another's commit.
    let clients = join_all((0..16).map(|_| server.connect())).await;
    let each = clients.iter().enumerate().map(|(at, client)| async move {
        for n in 0..20 {
            let insert = format!("INSERT INTO held VALUES ({}, {n})", 1000 + at * 100 + n);
            while let Err(refused) = client.batch_execute(&insert).await {
                assert_eq!(refused.code().map(|code| code.code()), Some("53400"));
            }
        }
    });
    join_all(each).await;
    assert_eq!(one(&other, "SELECT count(*) FROM held").await, "322");
}
