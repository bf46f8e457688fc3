//! Cursors of SQL.

use std::sync::Arc;

use tokio_postgres::Client;

use crate::harness::{Server, error, one, rows, run};

async fn table(name: &str) -> (Arc<Server>, Client) {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, &format!("CREATE TABLE {name} (id int PRIMARY KEY, v vector(2))")).await;
    // More rows than one batch has.
    let sql = format!("INSERT INTO {name} SELECT g, ARRAY[g, 1]::vector FROM generate_series(1, 20000) g");
    run(&client, &sql).await;
    (server, client)
}

async fn ids(client: &Client, sql: &str) -> String {
    let rows = rows(client, sql).await;
    rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_as_they_are_fetched() {
    let (_server, client) = table("fetched").await;
    run(&client, "BEGIN; DECLARE c CURSOR FOR SELECT id, v FROM fetched ORDER BY id").await;
    assert_eq!(ids(&client, "FETCH c").await, "1");
    assert_eq!(ids(&client, "FETCH NEXT FROM c").await, "2");
    assert_eq!(ids(&client, "FETCH 3 IN c").await, "3,4,5");
    assert_eq!(ids(&client, "FETCH FORWARD 0 FROM c").await, "5");
    assert_eq!(ids(&client, "FETCH RELATIVE 2 FROM c").await, "7");
    assert_eq!(ids(&client, "FETCH ABSOLUTE 10 FROM c").await, "10");
    run(&client, "MOVE FORWARD 9985 FROM c").await;
    assert_eq!(rows(&client, "FETCH 2 FROM c").await, [["9996", "[9996,1]"], ["9997", "[9997,1]"]]);
    assert_eq!(rows(&client, "FETCH ALL FROM c").await.len(), 20_000 - 9997);
    assert_eq!(ids(&client, "FETCH c").await, "");
    run(&client, "COMMIT").await;
    assert_eq!(error(&client, "FETCH c").await.code().code(), "34000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_scrolls_goes_back() {
    let (_server, client) = table("scrolled").await;
    run(&client, "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM scrolled ORDER BY id").await;
    assert_eq!(ids(&client, "FETCH LAST FROM c").await, "20000");
    assert_eq!(ids(&client, "FETCH c").await, "");
    assert_eq!(ids(&client, "FETCH PRIOR FROM c").await, "20000");
    assert_eq!(ids(&client, "FETCH BACKWARD 3 FROM c").await, "19999,19998,19997");
    assert_eq!(ids(&client, "FETCH FIRST FROM c").await, "1");
    assert_eq!(ids(&client, "FETCH -1 FROM c").await, "");
    assert_eq!(ids(&client, "FETCH 2 FROM c").await, "1,2");
    assert_eq!(ids(&client, "FETCH ABSOLUTE -2 FROM c").await, "19999");
    assert_eq!(ids(&client, "FETCH RELATIVE -9999 FROM c").await, "10000");
    assert_eq!(rows(&client, "FETCH BACKWARD ALL FROM c").await.len(), 9999);
    assert_eq!(ids(&client, "FETCH RELATIVE 0 FROM c").await, "");
    run(&client, "COMMIT; BEGIN; DECLARE c CURSOR FOR SELECT id FROM scrolled ORDER BY id; FETCH 5 FROM c").await;
    let refused = error(&client, "FETCH PRIOR FROM c").await;
    assert_eq!((refused.code().code(), refused.message()), ("55000", "cursor can only scan forward"));
    run(&client, "ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_sees_what_was_there_when_it_was_declared() {
    let (_server, client) = table("declared").await;
    run(&client, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM declared ORDER BY id; FETCH c").await;
    run(&client, "DELETE FROM declared WHERE id < 10; INSERT INTO declared VALUES (0, '[0,0]')").await;
    assert_eq!(ids(&client, "FETCH 3 FROM c").await, "2,3,4");
    run(&client, "ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_with_hold_outlives_its_transaction() {
    let (_server, client) = table("held").await;
    run(&client, "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM held ORDER BY id; FETCH c; COMMIT").await;
    run(&client, "DELETE FROM held").await;
    assert_eq!(ids(&client, "FETCH 2 FROM c").await, "2,3");
    run(&client, "DECLARE d CURSOR WITH HOLD FOR SELECT 7 AS seven").await;
    assert_eq!(one(&client, "FETCH d").await, "7");
    run(&client, "BEGIN; DECLARE gone CURSOR WITH HOLD FOR SELECT 1; ROLLBACK").await;
    assert_eq!(error(&client, "FETCH gone").await.code().code(), "34000");
    run(&client, "CLOSE c").await;
    assert_eq!(error(&client, "FETCH c").await.code().code(), "34000");
    run(&client, "CLOSE ALL").await;
    assert_eq!(error(&client, "CLOSE d").await.code().code(), "34000");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_end_with_their_savepoints_and_their_block() {
    let (_server, client) = table("ended").await;
    run(&client, "BEGIN; DECLARE before CURSOR FOR SELECT 1; SAVEPOINT s; DECLARE after CURSOR FOR SELECT 2").await;
    run(&client, "ROLLBACK TO s").await;
    assert_eq!(one(&client, "FETCH before").await, "1");
    run(&client, "SAVEPOINT t; DECLARE kept CURSOR FOR SELECT 3; RELEASE t").await;
    assert_eq!(one(&client, "FETCH kept").await, "3");
    assert_eq!(error(&client, "FETCH after").await.code().code(), "34000");
    run(&client, "ROLLBACK").await;
    let outside = error(&client, "DECLARE c CURSOR FOR SELECT 1").await;
    assert_eq!(outside.code().code(), "25P01");
    assert_eq!(outside.message(), "DECLARE CURSOR can only be used in transaction blocks");
    run(&client, "BEGIN; DECLARE c CURSOR FOR SELECT 1").await;
    assert_eq!(error(&client, "DECLARE c CURSOR FOR SELECT 1").await.code().code(), "42P03");
    run(&client, "ROLLBACK").await;
}

/// As drivers do it: parameters in DECLARE, rows in binary form.
#[tokio::test(flavor = "multi_thread")]
async fn cursors_work_in_the_extended_protocol() {
    let (_server, client) = table("extended_cursor").await;
    run(&client, "BEGIN").await;
    let declare = "DECLARE c CURSOR FOR SELECT id FROM extended_cursor WHERE id > $1 ORDER BY id";
    client.execute(declare, &[&19_998i32]).await.expect("a cursor");
    let rows = client.query("FETCH FORWARD 5 FROM c", &[]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [19_999, 20_000]);
    run(&client, "COMMIT").await;
}
