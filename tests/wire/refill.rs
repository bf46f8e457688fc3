//! ALTER COLUMN .. SET EXPRESSION over many rows: computed behind the back of whoever reads and writes, and taken over at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::auth::arguments;
use super::privileges::connect;
use crate::harness::{Server, error, models, one, rows, run};

/// The rows of `lodedb_progress` about a table: phase, rows done and error.
async fn progress(client: &Client, table: &str) -> Vec<Vec<String>> {
    let sql = format!("SELECT phase, coalesce(rows_done, 0), error FROM lodedb_progress WHERE table_name = '{table}'");
    rows(client, &sql).await
}

/// Waits until a column of a table is computed, or could not be; gives why not.
async fn settled(client: &Client, table: &str) -> Option<String> {
    let begun = Instant::now();
    loop {
        let now = progress(client, table).await;
        match now.first() {
            None => return None,
            Some(row) if row[0] == "failed" => return Some(row[2].clone()),
            Some(_) => assert!(begun.elapsed() < Duration::from_secs(180), "{now:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until some rows of a table are computed, and not all.
async fn under_way(client: &Client, table: &str) {
    let begun = Instant::now();
    loop {
        let now = progress(client, table).await;
        let [row] = &now[..] else { panic!("it is over: {now:?}") };
        if row[0] == "computing values" && row[1].parse::<u64>().expect("a number") > 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{now:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A table of so many rows with a column that is computed, and others before and after it.
async fn table(client: &Client, name: &str, count: u32) {
    run(
        client,
        &format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (n * 2) STORED, n int, note text);
             INSERT INTO {name} (id, n) SELECT g, g FROM generate_series(1, {count}) g"
        ),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_written_meanwhile_have_both_and_all_change_at_once() {
    let server = Server::start();
    let client = server.connect().await;
    table(&client, "t", 30_000).await;
    run(&client, "CREATE INDEX t_twice ON t (twice); CREATE UNIQUE INDEX t_once ON t (twice, id)").await;
    let prepared = client.prepare("SELECT twice FROM t WHERE id = $1").await.expect("prepared");
    let listed = "SELECT attname, attnum FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let attributes = rows(&client, listed).await;
    let keys = "SELECT indkey FROM pg_index WHERE indexrelid IN ('t_twice'::regclass, 't_once'::regclass) ORDER BY 1";
    let indexed = rows(&client, keys).await;
    run(&client, "ALTER TABLE t ALTER COLUMN twice SET EXPRESSION AS (n * 3)").await;
    under_way(&client, "t").await;
    // Nobody sees the column that the new values gather in.
    assert_eq!(rows(&client, "SELECT * FROM t WHERE id = 7").await, [["7", "14", "7", "NULL"]]);
    assert_eq!(rows(&client, listed).await, attributes);
    let generated = "SELECT generation_expression FROM information_schema.columns WHERE table_name = 't' AND is_generated = 'ALWAYS'";
    assert_eq!(rows(&client, generated).await, [["n * 2"]]);
    let shown = "SELECT table_name, column_name, expression, models, rows_total, error FROM lodedb_progress";
    assert_eq!(rows(&client, shown).await, [["t", "twice", "n * 3", "{}", "30000", "NULL"]]);

    // Writers of every kind go on, and what they write is computed by the old expression until the new one is taken over.
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..3u32 {
        let (client, stop) = (server.connect().await, stop.clone());
        writers.push(tokio::spawn(async move {
            let mut round = 0u32;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let (old, new) = ((round * 7919 + writer) % 30_000 + 1, 100_000 * (writer + 1) + round);
                run(&client, &format!("INSERT INTO t (id, n) VALUES ({new}, {round})")).await;
                run(&client, &format!("UPDATE t SET n = n + 1 WHERE id = {old}")).await;
                run(&client, &format!("UPDATE t SET note = 'seen' WHERE id % 5000 = {}", old % 5000)).await;
                run(
                    &client,
                    &format!("INSERT INTO t (id, n) VALUES ({old}, 5) ON CONFLICT (id) DO UPDATE SET n = t.n + 2"),
                )
                .await;
                run(&client, &format!("DELETE FROM t WHERE id = {}", old / 2 + 1)).await;
            }
            round
        }));
    }
    let reader = server.connect().await;
    let begun = Instant::now();
    loop {
        let found = rows(
            &reader,
            "SELECT count(*) FILTER (WHERE twice = n * 2), count(*) FILTER (WHERE twice = n * 3), count(*) FROM t",
        )
        .await;
        let [old, new, all] = &found[0][..] else { panic!("{found:?}") };
        assert!(old == all || new == all, "a part of the rows has the new values: {found:?}");
        if new == all {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", progress(&reader, "t").await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.expect("a writer") > 0);
    }
    assert_eq!(settled(&client, "t").await, None);
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice IS DISTINCT FROM n * 3").await, "0");
    assert_eq!(rows(&client, generated).await, [["n * 3"]]);
    // The column is where it was, to whoever lists it, selects from it or has a statement ready.
    assert_eq!(rows(&client, listed).await, attributes);
    assert_eq!(rows(&client, keys).await, indexed);
    run(&client, "INSERT INTO t (id, n) VALUES (999999, 5); INSERT INTO t VALUES (999998, DEFAULT, 4, 'x')").await;
    assert_eq!(
        rows(&client, "SELECT * FROM t WHERE id >= 999998 ORDER BY id").await,
        [["999998", "12", "4", "x"], ["999999", "15", "5", "NULL"]]
    );
    let row = client.query_one(&prepared, &[&999_999]).await.expect("a row");
    assert_eq!(row.get::<_, i32>(0), 15);
    // So are its indexes.
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice = 15 AND id = 999999").await, "1");
    let explained = rows(&client, "EXPLAIN SELECT id FROM t WHERE twice = 15").await.concat().join("\n");
    assert!(explained.contains("t_twice") || explained.contains("t_once"), "{explained}");
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
    assert_eq!(rows(&client, "SELECT * FROM lodedb_progress").await, Vec::<Vec<String>>::new());
    // And again, from there.
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (n)").await;
    assert_eq!(settled(&client, "t").await, None);
    assert_eq!(rows(&client, listed).await, attributes);
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice IS DISTINCT FROM n").await, "0");
    assert_eq!(rows(&client, "SELECT * FROM t WHERE id = 999998").await, [["999998", "4", "4", "x"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_goes_on_where_it_was() {
    let mut server = Server::start();
    let client = server.connect().await;
    table(&client, "t", 40_000).await;
    run(&client, "CREATE TABLE other (id int)").await;
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (n + 1)").await;
    let mut kills = 0;
    // Before a checkpoint and after one.
    for checkpoint in [false, true, false] {
        let client = server.connect().await;
        if progress(&client, "t").await.is_empty() {
            break;
        }
        under_way(&client, "t").await;
        assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
        if checkpoint {
            run(&client, "CHECKPOINT").await;
        }
        server.kill();
        server.restart();
        kills += 1;
    }
    assert!(kills > 0);
    let client = server.connect().await;
    assert_eq!(settled(&client, "t").await, None);
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice = n + 1").await, "40000");
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT * FROM t WHERE id = 5").await, [["5", "6", "5", "NULL"]]);
    assert_eq!(progress(&client, "t").await, Vec::<Vec<String>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_refuses_leaves_the_column_as_it_was() {
    let mut server = Server::start();
    let client = server.connect().await;
    table(&client, "t", 3_000).await;
    run(&client, "UPDATE t SET n = 0 WHERE id = 2345").await;
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (1000 / n)").await;
    let why = settled(&client, "t").await.expect("a reason");
    assert_eq!(why, "row (id)=(2345) of \"t\": division by zero");
    server.log_with("division by zero");
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice = n * 2").await, "3000");
    // A row that is written is held to the old expression alone.
    run(&client, "INSERT INTO t (id, n) VALUES (5000, 0)").await;
    // It is remembered, to those who may read the table.
    run(&client, "CREATE ROLE other LOGIN").await;
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(settled(&client, "t").await, Some(why));
    let stranger = connect(&server, "other").await;
    assert_eq!(progress(&stranger, "t").await, [["failed", "0", "NULL"]]);
    // NOT NULL holds for the new values too, and so does a unique key.
    run(&client, "ALTER TABLE t ALTER twice SET NOT NULL").await;
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (nullif(n, 77))").await;
    let why = settled(&client, "t").await.expect("a reason");
    assert!(why.contains("(77)") && why.contains("violates not-null constraint"), "{why}");
    run(&client, "DELETE FROM t WHERE n = 0; CREATE UNIQUE INDEX t_twice ON t (twice)").await;
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (n / 10)").await;
    let why = settled(&client, "t").await.expect("a reason");
    assert!(why.contains("could not create unique index \"t_twice\""), "{why}");
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice = n * 2").await, "2999");
    // The expression that it has takes back what failed; another one is computed.
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (n * 2)").await;
    assert_eq!(progress(&client, "t").await, Vec::<Vec<String>>::new());
    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (1000 / n)").await;
    let refused = error(&client, "INSERT INTO t (id, n) VALUES (6000, 0)").await;
    // It may have been taken over by then: there are no two rows with the same.
    assert!(["22012", "23505"].contains(&refused.code().code()), "{refused:?}");
    let why = settled(&client, "t").await.expect("a reason");
    assert!(why.contains("t_twice"), "{why}");
    run(&client, "DROP INDEX t_twice; ALTER TABLE t ALTER twice SET EXPRESSION AS (1000 / n)").await;
    assert_eq!(settled(&client, "t").await, None);
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice = 1000 / n").await, "2999");
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_superseded_or_dropped_leaves_nothing() {
    let server = Server::start();
    let client = server.connect().await;
    table(&client, "t", 20_000).await;
    run(&client, "BEGIN; ALTER TABLE t ALTER twice SET EXPRESSION AS (n * 5)").await;
    run(&client, "INSERT INTO t (id, n) VALUES (50000, 1); UPDATE t SET n = 3 WHERE id = 3; ROLLBACK").await;
    assert_eq!(progress(&client, "t").await, Vec::<Vec<String>>::new());
    assert_eq!(rows(&client, "SELECT * FROM t WHERE id = 3").await, [["3", "6", "3", "NULL"]]);
    // In the transaction that wrote the rows, and wrote some after.
    run(
        &client,
        "BEGIN; CREATE TABLE fresh (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (n * 2) STORED, n int);
         INSERT INTO fresh (id, n) SELECT g, g FROM generate_series(1, 1000) g;
         ALTER TABLE fresh ALTER twice SET EXPRESSION AS (n * 4);
         UPDATE fresh SET n = n + 1 WHERE id <= 10; INSERT INTO fresh (id, n) VALUES (1001, 1001);
         UPDATE fresh SET id = 0 WHERE id = 1000; COMMIT",
    )
    .await;
    assert_eq!(settled(&client, "fresh").await, None);
    assert_eq!(one(&client, "SELECT count(*) FROM fresh WHERE twice = n * 4").await, "1001");

    run(&client, "ALTER TABLE t ALTER twice SET EXPRESSION AS (n * 5)").await;
    under_way(&client, "t").await;
    let refused = error(&client, "INSERT INTO t (id, n) VALUES (50000, 500000000)").await;
    assert_eq!((refused.code().code(), refused.message()), ("22003", "integer out of range"));
    assert!(refused.hint().is_some_and(|hint| hint.contains("lodedb_progress")), "{refused:?}");
    let busy = error(&client, "ALTER TABLE t ALTER twice SET NOT NULL").await;
    assert_eq!(
        (busy.code().code(), busy.message()),
        ("55000", "column \"twice\" of relation \"t\" is being computed anew")
    );
    run(&client, "ALTER TABLE t RENAME n TO m; ALTER TABLE t RENAME twice TO times; ALTER TABLE t RENAME TO u").await;
    let shown = "SELECT table_name, column_name, expression FROM lodedb_progress";
    assert_eq!(rows(&client, shown).await, [["u", "times", "m * 5"]]);
    run(&client, "ALTER TABLE u ALTER times SET EXPRESSION AS (m * 6), ADD COLUMN more int DEFAULT 9").await;
    assert_eq!(settled(&client, "u").await, None);
    assert_eq!(one(&client, "SELECT count(*) FROM u WHERE times = m * 6 AND more = 9").await, "20000");
    // A column that only the new expression names.
    run(&client, "ALTER TABLE u ALTER times SET EXPRESSION AS (m * more)").await;
    let needed = error(&client, "ALTER TABLE u DROP COLUMN more").await;
    assert_eq!(needed.detail(), Some("column times of table u depends on column more of table u"));
    run(&client, "ALTER TABLE u DROP COLUMN more CASCADE").await;
    assert_eq!(progress(&client, "u").await, Vec::<Vec<String>>::new());
    assert_eq!(one(&client, "SELECT count(*) FROM u WHERE times = m * 6").await, "20000");
    for gone in ["ALTER TABLE u ALTER times DROP EXPRESSION", "ALTER TABLE u DROP COLUMN times"] {
        if gone.contains("DROP EXPRESSION") {
            run(&client, "ALTER TABLE u ALTER times SET EXPRESSION AS (m * 7)").await;
        }
        run(&client, gone).await;
        assert_eq!(progress(&client, "u").await, Vec::<Vec<String>>::new());
    }
    run(&client, "ALTER TABLE u ADD COLUMN again int GENERATED ALWAYS AS (m) STORED").await;
    run(&client, "ALTER TABLE u ALTER again SET EXPRESSION AS (m + 1)").await;
    run(&client, "TRUNCATE u; INSERT INTO u (id, m) VALUES (1, 1)").await;
    assert_eq!(settled(&client, "u").await, None);
    assert_eq!(rows(&client, "SELECT id, again FROM u").await, [["1", "2"]]);
    run(&client, "INSERT INTO u (id, m) SELECT g, g FROM generate_series(2, 9000) g").await;
    run(&client, "ALTER TABLE u ALTER again SET EXPRESSION AS (m + 2); DROP TABLE u").await;
    assert_eq!(rows(&client, "SELECT * FROM lodedb_progress").await, Vec::<Vec<String>>::new());
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_transaction_holds_are_waited_for() {
    let server = Server::start();
    let (client, mut holder) = (server.connect().await, server.connect().await);
    table(&client, "t", 20_000).await;
    run(&client, "ALTER TABLE t ALTER COLUMN twice SET EXPRESSION AS (n * 3)").await;
    let held = holder.transaction().await.expect("a transaction");
    held.batch_execute("SELECT * FROM t WHERE id = 19999 FOR UPDATE").await.expect("a lock");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(progress(&client, "t").await[0][0], "computing values");
    // Nobody waits for what waits.
    table(&client, "u", 1_000).await;
    run(&client, "ALTER TABLE u ALTER twice SET EXPRESSION AS (n * 7)").await;
    assert_eq!(settled(&client, "u").await, None);
    run(&client, "UPDATE t SET n = 0 WHERE id = 1; DELETE FROM t WHERE id = 2").await;
    held.batch_execute("UPDATE t SET n = 8 WHERE id = 19999").await.expect("an update");
    held.commit().await.expect("a commit");
    assert_eq!(settled(&client, "t").await, None);
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE twice = n * 3").await, "19999");
    assert_eq!(one(&client, "SELECT twice FROM t WHERE id = 19999").await, "24");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_are_answered_by_the_old_vectors_until_the_new_ones_are_indexed() {
    let mut server = Server::start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (id int PRIMARY KEY, w vector(8) GENERATED ALWAYS AS (v) STORED, v vector(8), s float4);
         INSERT INTO t (id, v, s)
         SELECT g, ARRAY[sin(g), sin(g * 1.1), sin(g * 1.2), sin(g * 1.3), sin(g * 1.4), sin(g * 1.5), sin(g * 1.6), sin(g * 1.7)]::vector, g
         FROM generate_series(1, 20000) g;
         CREATE INDEX t_w ON t USING hnsw (w vector_l2_ops)",
    )
    .await;
    let nearest = |column: &str, of: &str| {
        format!("SELECT id FROM t ORDER BY {column} <-> (SELECT {of} FROM t WHERE id = 777), id LIMIT 1")
    };
    let indexed = "SELECT id FROM t ORDER BY w <-> '[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]' LIMIT 10";
    let exact = |column: &str| {
        format!("SELECT id FROM t ORDER BY ({column} <-> '[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]') + 0 LIMIT 10")
    };
    let old = rows(&client, &exact("v")).await;
    assert_eq!(rows(&client, indexed).await, old);
    run(&client, "ALTER TABLE t ALTER w SET EXPRESSION AS (v * v - v)").await;
    under_way(&client, "t").await;
    assert_eq!(rows(&client, indexed).await, old);
    server.kill();
    server.restart();
    let client = server.connect().await;
    let begun = Instant::now();
    let new = rows(&client, &exact("(v * v - v)")).await;
    assert_ne!(new, old);
    // One or the other, at any time.
    while !progress(&client, "t").await.is_empty() {
        let found = rows(&client, indexed).await;
        assert!(found == old || found == new, "{found:?} instead of {old:?} or {new:?}");
        run(&client, "INSERT INTO t (id, v) SELECT max(id) + 1, '[9e3,9e3,9e3,9e3,9e3,9e3,9e3,9e3]' FROM t").await;
        assert!(begun.elapsed() < Duration::from_secs(180), "{:?}", progress(&client, "t").await);
    }
    assert_eq!(rows(&client, indexed).await, new);
    assert_eq!(one(&client, &nearest("w", "w")).await, "777");
    assert_eq!(one(&client, "SELECT count(*) FROM t WHERE w IS DISTINCT FROM v * v - v").await, "0");
    let explained = rows(&client, &format!("EXPLAIN {indexed}")).await.concat().join("\n");
    assert!(explained.contains("Index Scan using t_w"), "{explained}");
    let status = one(&client, "SELECT lodedb_status('t')").await;
    assert!(status.contains("\"t_w\""), "{status}");
    assert_eq!(rows(&client, "CHECK DATABASE").await, Vec::<Vec<String>>::new());
    run(&client, "VACUUM FULL t").await;
    assert_eq!(rows(&client, indexed).await, new);
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(rows(&client, indexed).await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_takes_the_place_of_the_one_before() {
    let runtime = models::runtime().display().to_string();
    let folder = models::folder().display().to_string();
    let mut server = Server::start_with(arguments(&["--model-dir", &folder, "--onnx-runtime", &runtime]));
    let client = server.connect().await;
    run(&client, "CREATE MODEL clip FROM 'clip'; CREATE MODEL better FROM 'clip' WITH (default_prompt = 'again', again_prefix = 'a picture of ')").await;
    run(
        &client,
        "CREATE TABLE t (id int PRIMARY KEY, body text, emb vector GENERATED ALWAYS AS (embed('clip', body)) STORED);
         INSERT INTO t (id, body) SELECT g, 'number ' || g FROM generate_series(1, 400) g",
    )
    .await;
    run(&client, "ALTER TABLE t ALTER emb SET EXPRESSION AS (embed('better', body))").await;
    under_way(&client, "t").await;
    assert_eq!(
        one(&client, "SELECT count(*) FROM t WHERE id % 50 = 0 AND emb <-> embed('clip', body) < 1e-3").await,
        "8"
    );
    server.kill();
    server.restart();
    let client = server.connect().await;
    run(&client, "INSERT INTO t (id, body) VALUES (401, 'number 401')").await;
    assert_eq!(settled(&client, "t").await, None);
    assert_eq!(
        one(&client, "SELECT count(*) FROM t WHERE id % 50 <= 1 AND emb <-> embed('better', body) < 1e-3").await,
        "17"
    );
}
