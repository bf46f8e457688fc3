//! Transactions over several sessions.

use crate::harness::client::told;
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
async fn isolation_levels_that_are_not_there_are_refused_not_pretended() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "BEGIN ISOLATION LEVEL READ COMMITTED; COMMIT; BEGIN READ WRITE; COMMIT").await;
    for sql in ["BEGIN ISOLATION LEVEL SERIALIZABLE", "SAVEPOINT s"] {
        let Err(failed) = client.batch_execute(sql).await else {
            // A later version has it; then it must be real, and its own tests say so.
            run(&client, "ROLLBACK").await;
            continue;
        };
        let failed = failed.as_db_error().unwrap_or_else(|| panic!("{sql}: {}", told(&failed)));
        assert!(["0A000", "25P01"].contains(&failed.code().code()), "{sql}: {failed}");
        run(&client, "ROLLBACK").await;
    }
    assert_eq!(one(&client, "SELECT 1").await, "1");
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
