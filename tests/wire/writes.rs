//! Writes over the extended protocol: RETURNING, ON CONFLICT, UPDATE .. FROM, DELETE .. USING.

use crate::harness::client::Vector;
use crate::harness::{Server, ok, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn returning_gives_the_rows_that_were_written() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE returning_table (id serial PRIMARY KEY, name text, v vector(2))").await;
    let sql =
        "INSERT INTO returning_table (name, v) VALUES ($1, $2), ($3, $4) RETURNING id, upper(name), v <-> '[0,0]' AS d";
    let (first, second) = (Vector(vec![3.0, 4.0]), Vector(vec![0.0, 1.0]));
    let written = ok(client.query(sql, &[&"a", &first, &"b", &second]).await, sql);
    let written: Vec<(i32, String, f64)> = written.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(written, [(1, "A".to_owned(), 5.0), (2, "B".to_owned(), 1.0)]);
    let sql = "UPDATE returning_table SET name = name || $1 WHERE id = $2 RETURNING *";
    let row = ok(client.query_one(sql, &[&"!", &1]).await, sql);
    assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1), row.get::<_, Vector>(2)), (1, "a!", first));
    let sql = "DELETE FROM returning_table WHERE v <-> $1 < 2 RETURNING id";
    let row = ok(client.query_one(sql, &[&Vector(vec![0.0, 0.0])]).await, sql);
    assert_eq!(row.get::<_, i32>(0), 2);
    assert_eq!(one(&client, "SELECT count(*) FROM returning_table").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_conflict_inserts_or_updates() {
    let server = Server::shared();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE upserted (id bigint PRIMARY KEY, name text UNIQUE, hits int NOT NULL DEFAULT 1, v vector(2))",
    )
    .await;
    let sql = "INSERT INTO upserted (id, name, v) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE \
               SET name = EXCLUDED.name, v = EXCLUDED.v, hits = upserted.hits + 1 RETURNING hits";
    let upsert = ok(client.prepare(sql).await, sql);
    for round in 1..=3i32 {
        for id in 0..20i64 {
            let vector = Vector(vec![id as f32, round as f32]);
            let row = ok(client.query_one(&upsert, &[&id, &format!("n{id}"), &vector]).await, sql);
            assert_eq!(row.get::<_, i32>(0), round);
        }
    }
    assert_eq!(rows(&client, "SELECT count(*), sum(hits) FROM upserted").await, [["20", "60"]]);
    let near = rows(&client, "SELECT id, v FROM upserted ORDER BY v <-> '[7,3]' LIMIT 1").await;
    assert_eq!(near, [["7", "[7,3]"]]);
    let sql = "INSERT INTO upserted (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    assert_eq!(ok(client.execute(sql, &[&5i64, &"other"]).await, sql), 0);
    assert_eq!(ok(client.execute(sql, &[&500i64, &"n5"]).await, sql), 0);
    assert_eq!(ok(client.execute(sql, &[&500i64, &"new"]).await, sql), 1);
    let sql = "INSERT INTO upserted (id, name) VALUES (600, 'n5') ON CONFLICT (id) DO NOTHING";
    assert_eq!(crate::harness::error(&client, sql).await.constraint(), Some("upserted_name_key"));
    let sql = "INSERT INTO upserted (id, name) VALUES (600, 'n5') ON CONFLICT ON CONSTRAINT upserted_name_key DO UPDATE SET hits = 0 RETURNING id";
    assert_eq!(one(&client, sql).await, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_join_other_tables() {
    let server = Server::shared();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE joined (id int PRIMARY KEY, total int NOT NULL, v vector(2));
         CREATE TABLE changes (id int, by int);
         INSERT INTO joined SELECT g, 0, ARRAY[g, g]::vector FROM generate_series(1, 100) g;
         INSERT INTO changes SELECT g * 2, g FROM generate_series(1, 60) g",
    )
    .await;
    let sql =
        "UPDATE joined j SET total = total + c.by, v = v + '[1,1]' FROM changes c WHERE c.id = j.id AND c.by > $1";
    assert_eq!(ok(client.execute(sql, &[&10]).await, sql), 40);
    assert_eq!(one(&client, "SELECT sum(total) FROM joined").await, (11..=50).sum::<i32>().to_string());
    assert_eq!(one(&client, "SELECT v FROM joined WHERE id = 50").await, "[51,51]");
    let sql = "DELETE FROM joined USING changes WHERE changes.id = joined.id AND changes.by <= $1 RETURNING joined.id";
    assert_eq!(ok(client.query(sql, &[&10]).await, sql).len(), 10);
    assert_eq!(one(&client, "SELECT count(*) FROM joined").await, "90");
    let sql = "DELETE FROM joined WHERE id IN (SELECT id FROM joined ORDER BY v <-> $1 LIMIT 5)";
    assert_eq!(ok(client.execute(sql, &[&Vector(vec![100.0, 100.0])]).await, sql), 5);
    assert_eq!(one(&client, "SELECT max(id) FROM joined").await, "95");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_written_by_parameters() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE wide_insert (id bigint PRIMARY KEY, name text, v vector(3))").await;
    let values: Vec<String> =
        (0..1000).map(|at| format!("(${}, ${}, ${})", at * 3 + 1, at * 3 + 2, at * 3 + 3)).collect();
    let sql = format!("INSERT INTO wide_insert VALUES {}", values.join(", "));
    let data: Vec<(i64, String, Vector)> =
        (0..1000i64).map(|id| (id, format!("name {id}"), Vector(vec![id as f32, 0.5, -1.0]))).collect();
    let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = data
        .iter()
        .flat_map(|(id, name, vector)| {
            let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [id, name, vector];
            row
        })
        .collect();
    assert_eq!(ok(client.execute(&sql, &parameters).await, "1000 rows"), 1000);
    let sql = "SELECT name FROM wide_insert WHERE id = ANY($1) ORDER BY id";
    let ids: Vec<i64> = vec![3, 999, 5000, 0];
    let names = ok(client.query(sql, &[&ids]).await, sql);
    let names: Vec<String> = names.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["name 0", "name 3", "name 999"]);
    let sql = "INSERT INTO wide_insert SELECT * FROM unnest($1::bigint[], $2::text[]) AS u(id, name)";
    let (ids, names) = (vec![2000i64, 2001], vec!["x", "y"]);
    match client.execute(sql, &[&ids, &names]).await {
        Ok(count) => assert_eq!(count, 2),
        Err(error) => panic!("{sql}: {}", crate::harness::client::told(&error)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_hold_after_every_kind_of_write() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE constrained (id int PRIMARY KEY, a int, b int, UNIQUE (a, b)); INSERT INTO constrained VALUES (1, 1, 1), (2, 2, NULL), (3, 2, NULL)").await;
    let fails = async |sql: &str| assert_eq!(crate::harness::error(&client, sql).await.code().code(), "23505", "{sql}");
    fails("INSERT INTO constrained VALUES (4, 1, 1)").await;
    fails("UPDATE constrained SET a = 1, b = 1 WHERE id = 2").await;
    fails("INSERT INTO constrained SELECT id + 10, 5, 5 FROM constrained").await;
    fails("UPDATE constrained SET id = 3 WHERE id = 1").await;
    run(&client, "DELETE FROM constrained WHERE id = 1; INSERT INTO constrained VALUES (1, 1, 1)").await;
    run(&client, "BEGIN; DELETE FROM constrained WHERE id = 1; INSERT INTO constrained VALUES (7, 1, 1); COMMIT").await;
    run(
        &client,
        "BEGIN; UPDATE constrained SET a = 9, b = 9 WHERE id = 7; INSERT INTO constrained VALUES (8, 1, 1); ROLLBACK",
    )
    .await;
    fails("INSERT INTO constrained VALUES (8, 1, 1)").await;
    assert_eq!(rows(&client, "SELECT id FROM constrained ORDER BY id").await, [["2"], ["3"], ["7"]]);
}
