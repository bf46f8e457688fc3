//! Advisory locks, and who waits for whom.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::harness::{Server, error, one, rows, run};

async fn pair() -> (Arc<Server>, Arc<Client>, Arc<Client>) {
    let server = Server::shared();
    let (a, b) = (Arc::new(server.connect().await), Arc::new(server.connect().await));
    (server, a, b)
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_for_the_session_stays_until_it_is_unlocked_as_often() {
    let (_server, a, b) = pair().await;
    let free = "SELECT pg_try_advisory_lock(71)";
    run(&a, "SELECT pg_advisory_lock(71); SELECT pg_advisory_lock(71)").await;
    assert_eq!(one(&b, free).await, "f");
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock_shared(71)").await, "f");
    // Two numbers are another lock than one.
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock(0, 71)").await, "t");
    assert_eq!(one(&a, "SELECT pg_advisory_unlock(71)").await, "t");
    assert_eq!(one(&b, free).await, "f");
    run(&a, "BEGIN; SELECT pg_advisory_unlock(71); ROLLBACK").await;
    assert_eq!(one(&b, free).await, "t");
    assert_eq!(one(&a, "SELECT pg_advisory_unlock(71)").await, "f");
    run(&b, "SELECT pg_advisory_unlock_all()").await;
    assert_eq!(one(&a, "SELECT pg_try_advisory_lock(0, 71)").await, "t");
    run(&a, "DISCARD ALL").await;
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock(0, 71)").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_shared_and_each_mode_is_given_back_by_itself() {
    let (_server, a, b) = pair().await;
    run(&a, "SELECT pg_advisory_lock(72), pg_advisory_lock_shared(72)").await;
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock_shared(72)").await, "f");
    assert_eq!(one(&a, "SELECT pg_advisory_unlock(72)").await, "t");
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock_shared(72)").await, "t");
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock(72)").await, "f");
    run(&a, "SELECT pg_advisory_unlock_shared(72)").await;
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock(72)").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_for_the_transaction_ends_with_it() {
    let (_server, a, b) = pair().await;
    let free = "SELECT pg_try_advisory_xact_lock(73)";
    run(&a, "SELECT pg_advisory_xact_lock(73)").await;
    assert_eq!(one(&b, free).await, "t");
    run(&a, "BEGIN; SELECT pg_advisory_xact_lock(73)").await;
    assert_eq!(one(&b, free).await, "f");
    assert_eq!(one(&a, "SELECT pg_advisory_unlock(73)").await, "f");
    run(&a, "COMMIT").await;
    assert_eq!(one(&b, free).await, "t");
    run(&a, "BEGIN; SAVEPOINT s; SELECT pg_advisory_xact_lock(73); ROLLBACK TO s").await;
    assert_eq!(one(&b, free).await, "t");
    run(&a, "SELECT pg_advisory_xact_lock(73)").await;
    assert_eq!(error(&a, "SELECT 1 / 0").await.code().code(), "22012");
    assert_eq!(one(&b, free).await, "t");
    run(&a, "ROLLBACK").await;
    // The session's stay through all of that.
    run(&a, "BEGIN; SELECT pg_advisory_lock(73); ROLLBACK").await;
    assert_eq!(one(&b, free).await, "f");
    run(&a, "SELECT pg_advisory_unlock(73)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_gives_its_locks_back() {
    let (server, _, b) = pair().await;
    let gone = server.connect().await;
    run(&gone, "SELECT pg_advisory_lock(74)").await;
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock(74)").await, "f");
    drop(gone);
    run(&b, "SELECT pg_advisory_lock(74)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_listed_time_out_and_can_be_cancelled() {
    let (_server, a, b) = pair().await;
    run(&a, "SELECT pg_advisory_lock(7, 5)").await;
    run(&b, "SET lock_timeout = 100").await;
    let refused = error(&b, "SELECT pg_advisory_lock(7, 5)").await;
    assert_eq!((refused.code().code(), refused.message()), ("55P03", "canceling statement due to lock timeout"));
    run(&b, "SET lock_timeout = 0; SET statement_timeout = 100").await;
    assert_eq!(error(&b, "SELECT pg_advisory_lock(7, 5)").await.code().code(), "57014");
    run(&b, "SET statement_timeout = 0").await;
    let (holder, waiter) = (one(&a, "SELECT pg_backend_pid()").await, one(&b, "SELECT pg_backend_pid()").await);
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { error(&b, "SELECT pg_advisory_lock(7, 5)").await.code().code().to_owned() }
    });
    let blocking = format!("SELECT pg_blocking_pids({waiter})");
    while one(&a, &blocking).await != format!("{{{holder}}}") {
        sleep(10).await;
    }
    let locks = "SELECT pid, mode, granted FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 7 AND objid = 5 AND objsubid = 2 ORDER BY granted DESC";
    assert_eq!(
        rows(&a, locks).await,
        [[holder.as_str(), "ExclusiveLock", "t"], [waiter.as_str(), "ExclusiveLock", "f"]]
    );
    assert_eq!(one(&a, &format!("SELECT pg_cancel_backend({waiter})")).await, "t");
    assert_eq!(waiting.await.expect("the waiter"), "57014");
    assert_eq!(one(&a, &blocking).await, "{}");
    run(&a, "SELECT pg_advisory_unlock_all()").await;
    assert_eq!(one(&b, "SELECT pg_try_advisory_lock(7, 5)").await, "t");
}

/// One half of the circle is a row, which a transaction locks, the other a number, which its session does.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_over_rows_and_numbers_is_found() {
    let (_server, a, b) = pair().await;
    run(&a, "CREATE TABLE circle (id int PRIMARY KEY, n int); INSERT INTO circle VALUES (1, 0)").await;
    run(&a, "SELECT pg_advisory_lock(76)").await;
    run(&b, "BEGIN; UPDATE circle SET n = 1 WHERE id = 1").await;
    let waiting = tokio::spawn({
        let a = a.clone();
        async move {
            let first = a.batch_execute("UPDATE circle SET n = 2 WHERE id = 1").await;
            // The number is the session's: it would stay locked.
            run(&a, "SELECT pg_advisory_unlock(76)").await;
            first
        }
    });
    sleep(100).await;
    let second = b.batch_execute("SELECT pg_advisory_lock(76)").await;
    run(&b, "ROLLBACK").await;
    let first = waiting.await.expect("the first");
    let codes: Vec<String> = [first, second]
        .into_iter()
        .filter_map(|result| result.err()?.code().map(|code| code.code().to_owned()))
        .collect();
    assert_eq!(codes, ["40P01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_is_not_waited_for_with_nowait() {
    let (_server, a, b) = pair().await;
    run(&a, "CREATE TABLE not_now (id int)").await;
    run(&a, "BEGIN; LOCK TABLE not_now IN SHARE MODE").await;
    run(&b, "BEGIN; LOCK TABLE not_now IN SHARE MODE NOWAIT; COMMIT; BEGIN").await;
    let refused = error(&b, "LOCK TABLE not_now IN ACCESS EXCLUSIVE MODE NOWAIT").await;
    assert_eq!(refused.code().code(), "55P03");
    assert_eq!(refused.message(), "could not obtain lock on relation \"not_now\"");
    run(&b, "ROLLBACK").await;
    let mode = "SELECT mode FROM pg_locks WHERE relation = 'not_now'::regclass AND granted";
    assert_eq!(one(&b, mode).await, "ShareLock");
    run(&a, "COMMIT").await;
}
