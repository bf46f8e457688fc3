//! Sessions as others see them, and how they are ended.

use std::time::Duration;

use crate::harness::raw::{RawClient, query};
use crate::harness::{Server, error, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_with_what_they_do() {
    let server = Server::shared();
    let (watcher, watched) = (server.connect().await, server.connect().await);
    run(&watched, "SET application_name = 'watched'").await;
    let pid = one(&watched, "SELECT pg_backend_pid()").await;
    let seen = format!(
        "SELECT application_name, state, query, xact_start IS NOT NULL FROM pg_stat_activity WHERE pid = {pid}"
    );
    assert_eq!(rows(&watcher, &seen).await, [["watched", "idle", "SELECT pg_backend_pid()", "f"]]);
    run(&watched, "BEGIN").await;
    assert_eq!(rows(&watcher, &seen).await, [["watched", "idle in transaction", "BEGIN", "t"]]);
    assert_eq!(error(&watched, "SELECT 1 / 0").await.code().code(), "22012");
    assert_eq!(rows(&watcher, &seen).await[0][1], "idle in transaction (aborted)");
    run(&watched, "ROLLBACK").await;
    let active = "SELECT state, client_addr, usename = current_user, backend_type, query_start <= clock_timestamp()
        FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    assert_eq!(rows(&watcher, active).await, [["active", "127.0.0.1", "t", "client backend", "t"]]);
    assert_eq!(one(&watcher, "SELECT inet_client_addr()").await, "127.0.0.1");
    drop(watched);
    while !rows(&watcher, &seen).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_statements_and_ends_sessions() {
    let server = Server::shared();
    let operator = server.connect().await;
    let mut busy = RawClient::connect(server.address());
    let pid = |client: &mut RawClient| {
        let answers = client.ask(&query("SELECT pg_backend_pid()"));
        let (_, row) = answers.iter().find(|(tag, _)| *tag == 'D').cloned().expect("a row");
        String::from_utf8_lossy(&row[6..]).into_owned()
    };
    let number = pid(&mut busy);
    let runs = format!("SELECT state = 'active' AND query LIKE '%sleep%' FROM pg_stat_activity WHERE pid = {number}");
    let until_it_runs = async || {
        while one(&operator, &runs).await != "t" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    busy.send(&query("SELECT pg_sleep(60)"));
    until_it_runs().await;
    assert_eq!(one(&operator, &format!("SELECT pg_cancel_backend({number})")).await, "t");
    let answers = crate::harness::raw::shown(&busy.until_ready());
    assert!(answers.contains("57014"), "{answers}");
    busy.send(&query("SELECT pg_sleep(60)"));
    until_it_runs().await;
    assert_eq!(one(&operator, &format!("SELECT pg_terminate_backend({number})")).await, "t");
    let answers = busy.rest();
    assert!(answers.ends_with("E(57P01)"), "{answers}");

    let mut idle = RawClient::connect(server.address());
    let number = pid(&mut idle);
    assert_eq!(one(&operator, &format!("SELECT pg_terminate_backend({number})")).await, "t");
    let answers = idle.rest();
    assert!(answers.ends_with("E(57P01)"), "{answers}");
    assert_eq!(one(&operator, "SELECT pg_terminate_backend(2000000000)").await, "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_rests_too_long_is_ended() {
    let server = Server::shared();
    for (settings, code) in
        [("SET idle_session_timeout = 200", "57P05"), ("SET idle_in_transaction_session_timeout = 200; BEGIN", "25P03")]
    {
        let mut client = RawClient::connect(server.address());
        client.ask(&query(settings));
        // Working is not resting.
        client.ask(&query("SELECT pg_sleep(0.4)"));
        let answers = client.rest();
        assert_eq!(answers, format!("E({code})"));
    }
    let mut client = RawClient::connect(server.address());
    client.ask(&query("SET idle_in_transaction_session_timeout = 100"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.ask(&query("SELECT 1")).last().map(|(tag, _)| *tag), Some('Z'));
}
