//! Transactions over several sessions.

use crate::harness::{Server, error, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_is_not_seen() {
    let server = Server::shared();
    let (writer, reader) = (server.connect().await, server.connect().await);
    run(&writer, "CREATE TABLE unseen (id int PRIMARY KEY, v vector(2)); INSERT INTO unseen VALUES (1, '[0,0]')").await;
    run(&writer, "BEGIN; INSERT INTO unseen VALUES (2, '[5,5]'); UPDATE unseen SET v = '[9,9]' WHERE id = 1").await;
    assert_eq!(rows(&reader, "SELECT id, v FROM unseen ORDER BY id").await, [["1", "[0,0]"]]);
    assert_eq!(one(&reader, "SELECT id FROM unseen ORDER BY v <-> '[5,5]' LIMIT 1").await, "1");
    assert_eq!(rows(&writer, "SELECT id, v FROM unseen ORDER BY id").await, [["1", "[9,9]"], ["2", "[5,5]"]]);
    assert_eq!(one(&writer, "SELECT id FROM unseen ORDER BY v <-> '[5,5]' LIMIT 1").await, "2");
    run(&writer, "COMMIT").await;
    assert_eq!(rows(&reader, "SELECT id, v FROM unseen ORDER BY id").await, [["1", "[9,9]"], ["2", "[5,5]"]]);
    assert_eq!(one(&reader, "SELECT id FROM unseen ORDER BY v <-> '[9,9]' LIMIT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_committed_sees_what_was_committed_meanwhile() {
    let server = Server::shared();
    let (writer, reader) = (server.connect().await, server.connect().await);
    run(&writer, "CREATE TABLE meanwhile (id int PRIMARY KEY)").await;
    run(&reader, "BEGIN").await;
    assert_eq!(one(&reader, "SELECT count(*) FROM meanwhile").await, "0");
    run(&writer, "INSERT INTO meanwhile VALUES (1)").await;
    assert_eq!(one(&reader, "SELECT count(*) FROM meanwhile").await, "1");
    run(&reader, "COMMIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_block_takes_nothing_but_its_end() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE block (id int PRIMARY KEY)").await;
    run(&client, "BEGIN; INSERT INTO block VALUES (1)").await;
    assert_eq!(error(&client, "INSERT INTO block VALUES (1)").await.code().code(), "23505");
    for sql in ["SELECT 1", "INSERT INTO block VALUES (2)", "BEGIN", "SET timezone = 'UTC'"] {
        let failed = error(&client, sql).await;
        assert_eq!(failed.code().code(), "25P02", "{sql}");
        assert_eq!(failed.message(), "current transaction is aborted, commands ignored until end of transaction block");
    }
    let prepared = client.prepare("SELECT 1").await.expect_err("the block failed");
    assert_eq!(prepared.code().map(|code| code.code()), Some("25P02"));
    run(&client, "COMMIT").await;
    assert_eq!(one(&client, "SELECT count(*) FROM block").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_transaction_rolls_it_back() {
    let server = Server::shared();
    let mut client = server.connect().await;
    run(&client, "CREATE TABLE dropped (id int PRIMARY KEY)").await;
    {
        let transaction = client.transaction().await.expect("a transaction");
        transaction.execute("INSERT INTO dropped VALUES (1)", &[]).await.expect("an insert");
    }
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute("INSERT INTO dropped VALUES (2)", &[]).await.expect("an insert");
    transaction.commit().await.expect("a commit");
    assert_eq!(rows(&client, "SELECT id FROM dropped").await, [["2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_no_transaction_behind() {
    let server = Server::shared();
    let (client, other) = (server.connect().await, server.connect().await);
    run(&client, "CREATE TABLE gone (id int PRIMARY KEY)").await;
    run(&client, "BEGIN; INSERT INTO gone VALUES (1)").await;
    drop(client);
    // The key's lock goes with the session: the same key is free again.
    run(&other, "SET statement_timeout = '20s'").await;
    run(&other, "INSERT INTO gone VALUES (1)").await;
    assert_eq!(one(&other, "SELECT count(*) FROM gone").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_is_transactional() {
    let server = Server::shared();
    let (client, other) = (server.connect().await, server.connect().await);
    run(&client, "BEGIN; CREATE TABLE half (id int PRIMARY KEY, v vector(2)); INSERT INTO half VALUES (1, '[1,2]')")
        .await;
    assert_eq!(error(&other, "SELECT * FROM half").await.code().code(), "42P01");
    assert_eq!(one(&client, "SELECT v FROM half ORDER BY v <-> '[1,1]' LIMIT 1").await, "[1,2]");
    run(&client, "ROLLBACK").await;
    assert_eq!(error(&client, "SELECT * FROM half").await.code().code(), "42P01");
    run(&client, "BEGIN; CREATE TABLE half (id int); DROP TABLE half; CREATE TABLE half (name text); COMMIT").await;
    assert_eq!(rows(&other, "SELECT name FROM half").await, Vec::<Vec<String>>::new());
    run(&client, "INSERT INTO half VALUES ('x')").await;
    run(&client, "BEGIN; DROP TABLE half; ROLLBACK").await;
    assert_eq!(one(&other, "SELECT name FROM half").await, "x");
    run(&client, "BEGIN; TRUNCATE half; INSERT INTO half VALUES ('y'); ROLLBACK").await;
    assert_eq!(one(&other, "SELECT name FROM half").await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_set_before_the_first_query_and_end_with_the_block() {
    let server = Server::shared();
    let client = server.connect().await;
    let level = "SHOW transaction_isolation";
    for name in ["read committed", "repeatable read", "serializable", "read uncommitted"] {
        run(&client, &format!("BEGIN ISOLATION LEVEL {name}")).await;
        assert_eq!(one(&client, level).await, name);
        assert_eq!(one(&client, "SELECT current_setting('transaction_isolation')").await, name);
        run(&client, "COMMIT").await;
        assert_eq!(one(&client, level).await, "read committed");
    }
    run(&client, "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY").await;
    assert_eq!(one(&client, level).await, "serializable");
    assert_eq!(error(&client, "CREATE TABLE modes (id int)").await.code().code(), "25006");
    run(&client, "ROLLBACK; BEGIN; SET transaction_isolation = 'repeatable read'").await;
    assert_eq!(one(&client, level).await, "repeatable read");
    run(&client, "ROLLBACK").await;
    for (before, sql, message) in [
        ("SELECT 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "must be called before any query"),
        ("SAVEPOINT s", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "must not be called in a subtransaction"),
        ("SET TRANSACTION READ ONLY; SELECT 1", "SET TRANSACTION READ WRITE", "must be set before any query"),
    ] {
        run(&client, "BEGIN").await;
        run(&client, before).await;
        let refused = error(&client, sql).await;
        assert_eq!(refused.code().code(), "25001", "{sql}");
        assert!(refused.message().contains(message), "{}", refused.message());
        run(&client, "ROLLBACK").await;
    }
    run(&client, "SET default_transaction_isolation = 'repeatable read'").await;
    assert_eq!(one(&client, level).await, "repeatable read");
    run(&client, "BEGIN").await;
    assert_eq!(one(&client, level).await, "repeatable read");
    run(&client, "RESET ALL").await;
    assert_eq!(one(&client, level).await, "repeatable read");
    run(&client, "ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_undo_what_came_after_them() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE saved (id int PRIMARY KEY, v vector(2))").await;
    let ids = "SELECT string_agg(id::text, ',' ORDER BY id) FROM saved";
    run(&client, "BEGIN; INSERT INTO saved VALUES (1, '[1,1]'); SAVEPOINT a; INSERT INTO saved VALUES (2, '[2,2]')")
        .await;
    run(&client, "SAVEPOINT b; UPDATE saved SET id = 10, v = '[9,9]' WHERE id = 1; DELETE FROM saved WHERE id = 2")
        .await;
    assert_eq!(one(&client, ids).await, "10");
    run(&client, "ROLLBACK TO b").await;
    assert_eq!(one(&client, ids).await, "1,2");
    assert_eq!(one(&client, "SELECT id FROM saved ORDER BY v <-> '[9,9]' LIMIT 1").await, "2");
    // It is there still; what is released is not.
    run(&client, "ROLLBACK TO SAVEPOINT b; INSERT INTO saved VALUES (3, '[3,3]'); RELEASE SAVEPOINT b").await;
    assert_eq!(one(&client, ids).await, "1,2,3");
    // A key that was taken after the savepoint is free again.
    run(&client, "ROLLBACK TO a; INSERT INTO saved VALUES (2, '[5,5]')").await;
    let missing = error(&client, "ROLLBACK TO b").await;
    assert_eq!((missing.code().code(), missing.message()), ("3B001", "savepoint \"b\" does not exist"));
    run(&client, "ROLLBACK TO a; INSERT INTO saved VALUES (4, '[4,4]'); COMMIT").await;
    assert_eq!(one(&client, ids).await, "1,4");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_a_savepoint_leaves_what_came_before() {
    let server = Server::shared();
    let (client, other) = (server.connect().await, server.connect().await);
    run(&client, "CREATE TABLE partly (id int PRIMARY KEY, n int); INSERT INTO partly VALUES (1, 0), (2, 0)").await;
    run(&client, "BEGIN; UPDATE partly SET n = 1 WHERE id = 1; SAVEPOINT s; UPDATE partly SET n = 1 WHERE id = 2")
        .await;
    assert_eq!(error(&client, "INSERT INTO partly VALUES (1, 5)").await.code().code(), "23505");
    assert_eq!(error(&client, "SELECT 1").await.code().code(), "25P02");
    assert_eq!(error(&client, "RELEASE s").await.code().code(), "25P02");
    // Locks got after the savepoint are free at once; those before it are not.
    run(&other, "UPDATE partly SET n = 7 WHERE id = 2").await;
    run(&other, "SET lock_timeout = 100").await;
    assert_eq!(error(&other, "UPDATE partly SET n = 7 WHERE id = 1").await.code().code(), "55P03");
    run(&client, "ROLLBACK TO s; SAVEPOINT s; UPDATE partly SET n = n + 10 WHERE id = 2; COMMIT").await;
    assert_eq!(rows(&client, "SELECT id, n FROM partly ORDER BY id").await, [["1", "1"], ["2", "17"]]);
    for (sql, what) in
        [("SAVEPOINT s", "SAVEPOINT"), ("RELEASE s", "RELEASE SAVEPOINT"), ("ROLLBACK TO s", "ROLLBACK TO SAVEPOINT")]
    {
        let refused = error(&client, sql).await;
        assert_eq!(refused.code().code(), "25P01");
        assert_eq!(refused.message(), format!("{what} can only be used in transaction blocks"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_undo_definitions_and_settings() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "BEGIN; SET application_name = 'before'; SAVEPOINT s; CREATE TABLE undone (id int)").await;
    run(&client, "SET application_name = 'after'; SET LOCAL timezone = 'Asia/Tokyo'; ROLLBACK TO s").await;
    assert_eq!(one(&client, "SHOW application_name").await, "before");
    assert_ne!(one(&client, "SHOW timezone").await, "Asia/Tokyo");
    run(&client, "CREATE TABLE undone (name text PRIMARY KEY); INSERT INTO undone VALUES ('x'); COMMIT").await;
    assert_eq!(one(&client, "SELECT name FROM undone").await, "x");
    assert_eq!(one(&client, "SHOW application_name").await, "before");
}

/// A plan made for definitions that were rolled back was taken for one of others that came as many changes later.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_does_not_outlive_the_index_it_was_made_for() {
    let server = Server::shared();
    let (client, other) = (server.connect().await, server.connect().await);
    run(&client, "CREATE TABLE planned (id int, n int); CREATE TABLE planned_beside (id int)").await;
    run(&client, "INSERT INTO planned SELECT g, g FROM generate_series(1, 1000) g").await;
    run(&client, "BEGIN; CREATE INDEX planned_n ON planned (n); PREPARE p AS SELECT id FROM planned WHERE n = 7").await;
    assert_eq!(one(&client, "EXECUTE p").await, "7");
    run(&client, "ROLLBACK").await;
    run(&other, "CREATE INDEX beside ON planned_beside (id)").await;
    assert_eq!(one(&client, "EXECUTE p").await, "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transactions_commit_whole() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE large (id int PRIMARY KEY, v vector(8), pad text)").await;
    let insert =
        "INSERT INTO large SELECT g, ARRAY[g,g,g,g,g,g,g,g]::vector, repeat('x', 100) FROM generate_series(1, 20000) g";
    run(&client, &format!("BEGIN; {insert}; ROLLBACK")).await;
    assert_eq!(one(&client, "SELECT count(*) FROM large").await, "0");
    run(&client, &format!("BEGIN; {insert}; DELETE FROM large WHERE id % 2 = 0; COMMIT")).await;
    assert_eq!(rows(&client, "SELECT count(*), min(id), max(id) FROM large").await, [["10000", "1", "19999"]]);
    let near = rows(&client, "SELECT id FROM large ORDER BY v <-> '[99,99,99,99,99,99,99,99]', id LIMIT 3").await;
    assert_eq!(near, [["99"], ["97"], ["101"]]);
}
