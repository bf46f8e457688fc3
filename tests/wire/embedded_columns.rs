//! Columns that models compute, and what is kept of that: rows in, vectors with them.

use super::copy::copy_in;
use super::models::{a_jpeg, bytea, server, server_with};
use crate::harness::{error, models, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_embedded_as_they_come() {
    let mut server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'").await;
    let table = "CREATE TABLE docs (id int PRIMARY KEY, body text, \
                 emb vector(384) GENERATED ALWAYS AS (embed('minilm', body)) STORED)";
    run(&client, table).await;
    run(&client, "INSERT INTO docs VALUES (1, 'The cat sat on the mat'), (2, 'Interest rates went up'), (3, NULL)")
        .await;
    let copied = "4\tA dog barks at night\n5\tHow to bake bread\n";
    assert_eq!(copy_in(&client, "COPY docs (id, body) FROM STDIN", copied.as_bytes()).await, Ok(2));
    let right = "SELECT count(*) FROM docs WHERE emb <-> embed('minilm', body) < 1e-5";
    assert_eq!(one(&client, right).await, "4");
    let nearest = "SELECT id FROM docs ORDER BY emb <=> embed('minilm', 'a kitten lay on a rug') LIMIT 1";
    assert_eq!(one(&client, nearest).await, "1");
    // What changes is embedded again, and nothing else is.
    let calls = "SELECT embedded FROM lodedb_models";
    run(&client, "UPDATE docs SET body = 'A kitten lay on a rug' WHERE id = 2").await;
    assert_eq!(one(&client, nearest).await, "2");
    assert_eq!(one(&client, right).await, "4");
    let before = one(&client, calls).await;
    run(&client, "UPDATE docs SET id = id + 100; INSERT INTO docs VALUES (200, 'How to bake bread')").await;
    assert_eq!(one(&client, calls).await, before);
    run(&client, "INSERT INTO docs VALUES (110, 'x') ON CONFLICT (id) DO UPDATE SET body = excluded.body").await;
    assert_eq!(one(&client, right).await, "6");
    let given = error(&client, "INSERT INTO docs VALUES (7, 'text', embed('minilm', 'text'))").await;
    assert_eq!(given.code().code(), "428C9");
    // It is so after a crash, and a model that is no more is missed.
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(one(&client, right).await, "6");
    run(&client, "INSERT INTO docs VALUES (8, 'after the crash')").await;
    assert_eq!(one(&client, right).await, "7");
    let refused = error(&client, "DROP MODEL minilm").await;
    assert_eq!(refused.code().code(), "2BP01");
    assert_eq!(refused.detail(), Some("column emb of table docs depends on model minilm"));
    run(&client, "BEGIN; DROP MODEL minilm CASCADE; ROLLBACK").await;
    assert_eq!(one(&client, right).await, "7");
    run(&client, "DROP MODEL minilm CASCADE").await;
    assert_eq!(error(&client, "SELECT emb FROM docs").await.code().code(), "42703");
    run(&client, "INSERT INTO docs VALUES (9, 'without a vector')").await;
    assert_eq!(one(&client, "SELECT count(*) FROM docs").await, "9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_knows_its_model() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'; CREATE MODEL lite FROM 'efficientnet-lite0'").await;
    for (column, code, said) in [
        ("vector(384) GENERATED ALWAYS AS (embed(body, body)) STORED", "42P17", "must be a constant"),
        (
            "vector(384) GENERATED ALWAYS AS (embed('nothing', body)) STORED",
            "42704",
            "model \"nothing\" does not exist",
        ),
        ("vector(384) GENERATED ALWAYS AS (embed('minilm', now()::text)) STORED", "42P17", "not immutable"),
    ] {
        let refused = error(&client, &format!("CREATE TABLE bad (body text, emb {column})")).await;
        assert_eq!(refused.code().code(), code, "{column}: {refused:?}");
        assert!(refused.message().contains(said), "{column}: {refused:?}");
    }
    // Of another size than the model's it takes nothing.
    run(&client, "CREATE TABLE small (body text, emb vector(3) GENERATED ALWAYS AS (embed('minilm', body)) STORED)")
        .await;
    let refused = error(&client, "INSERT INTO small VALUES ('text')").await;
    assert_eq!((refused.code().code(), refused.message()), ("22000", "expected 3 dimensions, not 384"));
    // The picture that is none fails its statement, and is named; the others do not stay.
    let images =
        "CREATE TABLE images (id int, data bytea, emb vector GENERATED ALWAYS AS (embed_image('lite', data)) STORED)";
    run(&client, images).await;
    let good = bytea(models::folder().join("pictures").join(a_jpeg()));
    let refused = error(&client, &format!("INSERT INTO images VALUES (1, {good}), (2, '\\x00'), (3, {good})")).await;
    assert_eq!(refused.code().code(), "22P03", "{refused:?}");
    assert_eq!(one(&client, "SELECT count(*) FROM images").await, "0");
    run(&client, &format!("INSERT INTO images VALUES (1, {good})")).await;
    run(&client, "ALTER TABLE images ADD COLUMN twice vector GENERATED ALWAYS AS (embed_image('lite', data)) STORED")
        .await;
    assert_eq!(one(&client, "SELECT emb = twice FROM images").await, "t");
    // What is made of a query has the model's dimensions, and can be indexed.
    run(
        &client,
        "CREATE TABLE made AS SELECT embed('minilm', 'text') AS emb, embed('minilm', ARRAY['a', 'b']) AS both",
    )
    .await;
    let types = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'made'::regclass AND attnum > 0 ORDER BY attnum";
    assert_eq!(rows(&client, types).await.concat(), ["vector(384)", "vector[]"]);
    run(&client, "CREATE INDEX ON made USING hnsw (emb vector_cosine_ops)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_embedded_is_not_embedded_again() {
    let mut server = server();
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'").await;
    run(&client, "CREATE TABLE t AS SELECT g AS id, 'text number ' || g % 50 AS body FROM generate_series(1, 500) g")
        .await;
    run(&client, "CREATE TABLE first AS SELECT id, embed('minilm', body) AS emb FROM t").await;
    let inputs = "SELECT embedded FROM lodedb_models";
    assert_eq!(one(&client, inputs).await, "50");
    let same = "SELECT count(*) FROM first JOIN t USING (id) WHERE first.emb = embed('minilm', body)";
    assert_eq!(one(&client, same).await, "500");
    assert_eq!(one(&client, inputs).await, "50");
    let cut = "word ".repeat(400);
    run(&client, &format!("SELECT embed('minilm', '{cut}'), embed('minilm', '{cut}')")).await;
    assert_eq!(one(&client, inputs).await, "51");
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(one(&client, same).await, "500");
    // Nothing was asked of the network.
    assert_eq!(one(&client, "SELECT coalesce(sum(embedded), 0) FROM lodedb_models").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_is_embedded_once_a_statement() {
    let server = server_with(&["--embedding-cache-mib", "0"]);
    let client = server.connect().await;
    run(&client, "CREATE MODEL minilm FROM 'minilm'; CREATE TABLE t (id int, emb vector(384))").await;
    run(&client, "INSERT INTO t SELECT g, embed('minilm', 'number ' || g) FROM generate_series(1, 20) g").await;
    let mut embedded = 20;
    for index in ["", "CREATE INDEX ON t USING hnsw (emb vector_cosine_ops)"] {
        run(&client, index).await;
        for query in [
            "SELECT id FROM t ORDER BY emb <=> embed('minilm', $1) LIMIT 1",
            "SELECT id, emb <=> embed('minilm', $1) FROM t ORDER BY emb <=> embed('minilm', $1), id LIMIT 1",
            "SELECT id FROM t ORDER BY LEAST(emb <=> embed('minilm', $1), emb <=> embed('minilm', $1)) LIMIT 1",
            "SELECT id FROM t WHERE emb <=> embed('minilm', $1) < 0.001",
        ] {
            let found = client.query(query, &[&"number 7"]).await.expect("a row");
            assert_eq!(found[0].get::<_, i32>(0), 7);
            embedded += 1;
            assert_eq!(one(&client, "SELECT embedded FROM lodedb_models").await, embedded.to_string(), "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_phrasings_are_one_search() {
    let server = server();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (id int PRIMARY KEY, place int, emb vector(8))").await;
    run(&client, "INSERT INTO t SELECT g, g % 7, array_agg(sin(g * h))::vector(8) FROM generate_series(1, 2000) g, generate_series(1, 8) h GROUP BY g").await;
    run(&client, "INSERT INTO t VALUES (3000, 1, NULL)").await;
    let of = |id: i32| format!("(SELECT emb FROM t WHERE id = {id})");
    let order = format!("LEAST(emb <-> {}, emb <-> {}, emb <-> NULL)", of(17), of(1234));
    let queries = [
        format!("SELECT id FROM t ORDER BY {order} LIMIT 20"),
        format!("SELECT id FROM t WHERE place = 3 ORDER BY {order}, id LIMIT 20"),
        format!("SELECT id FROM t ORDER BY {order} LIMIT 10 OFFSET 5"),
        "SELECT id FROM t WHERE id > 1990 ORDER BY LEAST(emb <-> NULL, NULL <-> emb), id LIMIT 50".to_owned(),
    ];
    run(&client, "SET lodedb.exact = on").await;
    let mut exact = Vec::new();
    for query in &queries {
        // What computes the distance of every row is not taken for a search.
        exact.push(rows(&client, &query.replace("ORDER BY LEAST", "ORDER BY 0 + LEAST")).await);
        assert_eq!(rows(&client, query).await, exact[exact.len() - 1], "{query}");
    }
    run(&client, "SET lodedb.exact = off; CREATE INDEX ON t USING hnsw (emb vector_l2_ops)").await;
    for (query, exact) in queries.iter().zip(&exact) {
        assert_eq!(rows(&client, query).await, *exact, "{query}");
    }
    let explained = rows(&client, &format!("EXPLAIN {}", queries[0])).await.concat().join("\n");
    assert!(explained.contains("Index Scan using") && explained.contains("LEAST("), "{explained}");
    // Of two metrics there is no one search.
    let mixed = "SELECT id FROM t ORDER BY LEAST(emb <-> array_fill(0.5, ARRAY[8])::vector, emb <=> array_fill(0.5, ARRAY[8])::vector) LIMIT 3";
    let explained = rows(&client, &format!("EXPLAIN {mixed}")).await.concat().join("\n");
    assert!(!explained.contains("Index Scan using"), "{explained}");
}
