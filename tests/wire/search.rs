//! Nearest neighbours over the wire: every operator and kind of index against plain arithmetic.

use std::collections::BTreeMap;

use futures::pin_mut;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::harness::client::Vector;
use crate::harness::vectors::{Metric, Source, check_exact, nearest, recall, text};
use crate::harness::{Server, error, ok, one, rows, run};

const DIMS: usize = 24;

/// What the table holds: by id, its group and vector.
type Table = BTreeMap<i64, (i32, Vec<f32>)>;

async fn fill(client: &Client, name: &str, count: usize, seed: u64) -> Table {
    run(client, &format!("CREATE TABLE {name} (id bigint PRIMARY KEY, grp int NOT NULL, v vector({DIMS}))")).await;
    let mut source = Source::new(seed, DIMS);
    let table: Table = (0..count).map(|id| (id as i64, (id as i32 % 100, source.next()))).collect();
    let statement = ok(client.prepare(&format!("INSERT INTO {name} VALUES ($1, $2, $3)")).await, "prepare");
    let vector = statement.params()[2].clone();
    let sink = ok(client.copy_in(&format!("COPY {name} FROM STDIN (FORMAT binary)")).await, "COPY");
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT8, Type::INT4, vector]);
    pin_mut!(writer);
    for (id, (group, vector)) in &table {
        ok(writer.as_mut().write(&[id, group, &Vector(vector.clone())]).await, "a row");
    }
    assert_eq!(ok(writer.finish().await, "COPY"), count as u64);
    table
}

fn pairs(rows: &[Row]) -> Vec<(i64, f64)> {
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn of(table: &Table, keep: impl Fn(i64, i32) -> bool) -> Vec<(i64, &[f32])> {
    table.iter().filter(|(id, (group, _))| keep(**id, *group)).map(|(id, (_, vector))| (*id, &vector[..])).collect()
}

async fn search(client: &Client, sql: &str, query: &[f32]) -> Vec<(i64, f64)> {
    let query = Vector(query.to_vec());
    let parameters: [&(dyn ToSql + Sync); 1] = [&query];
    pairs(&ok(client.query(sql, &parameters).await, sql))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_index_every_operator_is_exact() {
    let server = Server::shared();
    let client = server.connect().await;
    let table = fill(&client, "bare", 1500, 1).await;
    let mut source = Source::new(2, DIMS);
    for metric in Metric::ALL {
        let operator = metric.operator();
        for k in [1, 10, 100, 5000] {
            let query = source.next();
            let sql = format!("SELECT id, v {operator} $1 FROM bare ORDER BY v {operator} $1 LIMIT {k}");
            let expected = nearest(metric, &query, of(&table, |_, _| true), k);
            let own = |id: i64| table.get(&id).map(|(_, vector)| metric.distance(&query, vector));
            check_exact(&search(&client, &sql, &query).await, &expected, own, &format!("{operator} k={k}"));
        }
        let query = source.next();
        let sql = format!("SELECT id, v {operator} $1 FROM bare WHERE grp = 13 AND id > 200 ORDER BY 2 LIMIT 7");
        let expected = nearest(metric, &query, of(&table, |id, group| group == 13 && id > 200), 7);
        let own = |id: i64| table.get(&id).map(|(_, vector)| metric.distance(&query, vector));
        check_exact(&search(&client, &sql, &query).await, &expected, own, &format!("{operator} filtered"));
    }
}

async fn index_kind(kind: &str, metrics: &[Metric]) {
    let server = Server::shared();
    let client = server.connect().await;
    for (number, &metric) in metrics.iter().enumerate() {
        let name = format!("indexed_{kind}_{number}");
        let mut table = fill(&client, &name, 6000, 10 + number as u64).await;
        run(&client, &format!("CREATE INDEX {name}_v ON {name} USING {kind} (v {})", metric.opclass())).await;
        let operator = metric.operator();
        let sql = format!("SELECT id, v {operator} $1 FROM {name} ORDER BY v {operator} $1 LIMIT 10");
        let mut source = Source::new(77, DIMS);

        // Rows change after the index was built; all of it shows at once.
        let late = source.take(200);
        let insert = ok(client.prepare(&format!("INSERT INTO {name} VALUES ($1, $2, $3)")).await, "prepare");
        run(&client, "BEGIN").await;
        for (at, vector) in late.iter().enumerate() {
            let id = 100_000 + at as i64;
            ok(client.execute(&insert, &[&id, &(at as i32 % 100), &Vector(vector.clone())]).await, "insert");
            table.insert(id, (at as i32 % 100, vector.clone()));
        }
        run(&client, "COMMIT").await;
        run(&client, &format!("DELETE FROM {name} WHERE id % 7 = 3")).await;
        table.retain(|id, _| id % 7 != 3);
        let moved = source.next();
        ok(
            client.execute(&format!("UPDATE {name} SET v = $1 WHERE id = 8"), &[&Vector(moved.clone())]).await,
            "update",
        );
        if let Some(row) = table.get_mut(&8) {
            row.1 = moved.clone();
        }

        let queries = source.take(60);
        let mut found = 0.0;
        for query in &queries {
            let expected = nearest(metric, query, of(&table, |_, _| true), 10);
            let answer = search(&client, &sql, query).await;
            assert_eq!(answer.len(), 10, "{kind} {operator}");
            for (id, distance) in &answer {
                let (_, vector) = table.get(id).unwrap_or_else(|| panic!("{kind} {operator}: row {id} is not there"));
                let own = metric.distance(query, vector);
                assert!(
                    crate::harness::vectors::close(*distance, own),
                    "{kind} {operator}: {distance} instead of {own}"
                );
            }
            assert!(answer.is_sorted_by(|a, b| a.1 <= b.1), "{kind} {operator}: not in order: {answer:?}");
            found += recall(&answer, &expected);
        }
        let found = found / queries.len() as f64;
        eprintln!("{kind} {operator}: recall {found:.3}");
        assert!(found >= 0.95, "{kind} {operator}: recall@10 is {found:.3}");
        // The moved row is where it is now, and only there.
        if metric == Metric::L2 {
            assert_eq!(search(&client, &sql, &moved).await.first().map(|(id, _)| *id), Some(8));
        }

        // Filters of every selectivity give k rows, near ones.
        let filters: [(&str, Box<dyn Fn(i64, i32) -> bool>); 5] = [
            ("grp < 50", Box::new(|_, group| group < 50)),
            ("grp = 42", Box::new(|_, group| group == 42)),
            ("grp IN (5, 6) AND id < 3000", Box::new(|id, group| (group == 5 || group == 6) && id < 3000)),
            ("id BETWEEN 1000 AND 1020", Box::new(|id, _| (1000..=1020).contains(&id))),
            ("grp = 42 AND id < 500", Box::new(|id, group| group == 42 && id < 500)),
        ];
        for (filter, keep) in &filters {
            let sql =
                format!("SELECT id, v {operator} $1 FROM {name} WHERE {filter} ORDER BY v {operator} $1 LIMIT 10");
            let mut found = 0.0;
            for query in &queries[..10] {
                let expected = nearest(metric, query, of(&table, keep), 10);
                let answer = search(&client, &sql, query).await;
                assert_eq!(answer.len(), expected.len(), "{kind} {operator} WHERE {filter}");
                for (id, _) in &answer {
                    let (group, _) = table.get(id).unwrap_or_else(|| panic!("row {id} is not there"));
                    assert!(keep(*id, *group), "{kind} {operator} WHERE {filter}: row {id} does not pass");
                }
                found += recall(&answer, &expected) / 10.0;
            }
            assert!(found >= 0.9, "{kind} {operator} WHERE {filter}: recall {found:.3}");
        }

        // Exact when asked for.
        run(&client, "SET lodedb.exact = on").await;
        for query in &queries[..10] {
            let expected = nearest(metric, query, of(&table, |_, _| true), 10);
            let own = |id: i64| table.get(&id).map(|(_, vector)| metric.distance(query, vector));
            check_exact(&search(&client, &sql, query).await, &expected, own, &format!("{kind} {operator} exact"));
        }
        run(&client, "RESET lodedb.exact").await;
        let plan =
            rows(&client, &format!("EXPLAIN SELECT id FROM {name} ORDER BY v {operator} '{}' LIMIT 10", text(&moved)))
                .await;
        let plan: Vec<&str> = plan.iter().map(|row| row[0].as_str()).collect();
        assert!(
            plan.iter().any(|line| line.contains("Index Scan using") && line.contains(&format!("{name}_v"))),
            "{kind} {operator}: the plan shows no index scan:\n{}",
            plan.join("\n")
        );
        run(&client, &format!("DROP TABLE {name}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ivfpq_finds_what_is_near() {
    index_kind("ivfpq", &Metric::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ivfflat_finds_what_is_near() {
    index_kind("ivfflat", &[Metric::L2, Metric::InnerProduct, Metric::Cosine]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hnsw_finds_what_is_near() {
    index_kind("hnsw", &[Metric::L2, Metric::Cosine]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_finds_what_is_near() {
    index_kind("flat", &[Metric::InnerProduct, Metric::Cosine]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shapes_programs_send_are_all_index_searches() {
    let server = Server::shared();
    let client = server.connect().await;
    let table = fill(&client, "shapes", 5000, 5).await;
    run(&client, "CREATE INDEX shapes_v ON shapes USING ivfpq (v vector_l2_ops)").await;
    let query = text(&table[&123].1);
    let expected = nearest(Metric::L2, &table[&123].1, of(&table, |_, _| true), 5);
    let ids: Vec<Vec<String>> = expected.iter().map(|(id, _)| vec![id.to_string()]).collect();
    let shapes = [
        format!("SELECT id FROM shapes ORDER BY v <-> '{query}' LIMIT 5"),
        format!("SELECT id FROM shapes ORDER BY '{query}' <-> v LIMIT 5"),
        format!("SELECT id FROM shapes ORDER BY l2_distance(v, '{query}') LIMIT 5"),
        format!("SELECT id FROM (SELECT id, v <-> '{query}' AS distance FROM shapes ORDER BY distance LIMIT 5) t"),
        format!("SELECT id FROM (SELECT id, v <-> '{query}' AS distance FROM shapes) t ORDER BY distance LIMIT 5"),
        format!("SELECT t.id FROM (SELECT id, v <-> '{query}' FROM shapes ORDER BY 2 LIMIT 5) t"),
        "SELECT id FROM shapes ORDER BY v <-> (SELECT v FROM shapes WHERE id = 123) LIMIT 5".to_owned(),
        format!("SELECT s.id FROM shapes AS s ORDER BY s.v <-> '{query}' ASC LIMIT 5"),
        format!("SELECT id FROM shapes ORDER BY v <-> '{query}' FETCH FIRST 5 ROWS ONLY"),
        format!(
            "WITH q AS (SELECT '{query}'::vector AS v) SELECT t.id FROM q, LATERAL (SELECT id FROM shapes ORDER BY shapes.v <-> q.v LIMIT 5) t"
        ),
        format!("SELECT id FROM shapes WHERE grp >= 0 ORDER BY v <-> '{query}' LIMIT 5"),
        format!("SELECT id FROM public.shapes ORDER BY v <-> '{query}'::vector({DIMS}), id LIMIT 5"),
    ];
    let mut wrong = Vec::new();
    for sql in &shapes {
        let answer = rows(&client, sql).await;
        if answer != ids {
            wrong.push(format!("{sql}\n  gave {answer:?} instead of {ids:?}"));
        }
        let plan = rows(&client, &format!("EXPLAIN {sql}")).await;
        if !plan.iter().any(|line| line[0].contains("shapes_v")) {
            let lines: Vec<&str> = plan.iter().map(|row| row[0].as_str()).collect();
            wrong.push(format!("{sql}\n  does not use the index:\n{}", lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n").replace(&query, "[..]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lateral_searches_for_many_at_once() {
    let server = Server::shared();
    let client = server.connect().await;
    let table = fill(&client, "lateral_table", 5000, 6).await;
    run(&client, "CREATE INDEX ON lateral_table USING ivfpq (v vector_cosine_ops)").await;
    run(&client, "CREATE TABLE questions (q bigint PRIMARY KEY, v vector)").await;
    run(&client, "INSERT INTO questions SELECT id, v FROM lateral_table WHERE id % 250 = 9").await;
    run(&client, "SET lodedb.exact = on").await;
    let answer = rows(
        &client,
        "SELECT q, t.id, t.d FROM questions CROSS JOIN LATERAL \
         (SELECT id, l.v <=> questions.v AS d FROM lateral_table l WHERE l.grp <> 50 ORDER BY l.v <=> questions.v LIMIT 4) t \
         ORDER BY q, d, id",
    )
    .await;
    let mut by_question: BTreeMap<i64, Vec<(i64, f64)>> = BTreeMap::new();
    for row in &answer {
        let number = |at: usize| row[at].parse::<f64>().unwrap_or_else(|_| panic!("{row:?}"));
        by_question.entry(number(0) as i64).or_default().push((number(1) as i64, number(2)));
    }
    assert_eq!(by_question.len(), 20);
    for (question, answer) in by_question {
        let query = &table[&question].1;
        let expected = nearest(Metric::Cosine, query, of(&table, |_, group| group != 50), 4);
        let own = |id: i64| table.get(&id).map(|(_, vector)| Metric::Cosine.distance(query, vector));
        check_exact(&answer, &expected, own, &format!("question {question}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_see_the_rows_of_their_own_transaction() {
    let server = Server::shared();
    let client = server.connect().await;
    let table = fill(&client, "overlaid", 5000, 7).await;
    run(&client, "CREATE INDEX ON overlaid USING ivfpq (v vector_l2_ops)").await;
    let query = table[&77].1.clone();
    let sql = "SELECT id, v <-> $1 FROM overlaid ORDER BY v <-> $1 LIMIT 3";
    run(&client, "BEGIN; DELETE FROM overlaid WHERE id = 77").await;
    ok(
        client.execute("INSERT INTO overlaid VALUES (9001, 1, $1), (9002, 2, $1)", &[&Vector(query.clone())]).await,
        "insert",
    );
    ok(client.execute("UPDATE overlaid SET v = $1 WHERE id = 5", &[&Vector(query.clone())]).await, "update");
    let mut near: Vec<i64> = search(&client, sql, &query).await.iter().map(|(id, _)| *id).collect();
    near.sort_unstable();
    assert_eq!(near, [5, 9001, 9002]);
    run(&client, "ROLLBACK").await;
    assert_eq!(search(&client, sql, &query).await.first().map(|(id, _)| *id), Some(77));
    assert_eq!(one(&client, "SELECT count(*) FROM overlaid").await, "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_do_not_fit_the_column_are_refused_by_searches() {
    let server = Server::shared();
    let client = server.connect().await;
    fill(&client, "refusing", 300, 8).await;
    run(&client, "CREATE INDEX ON refusing USING ivfpq (v vector_l2_ops)").await;
    let failed = error(&client, "SELECT id FROM refusing ORDER BY v <-> '[1,2]' LIMIT 5").await;
    assert_eq!((failed.code().code(), failed.message()), ("22000", "different vector dimensions 24 and 2"));
    let failed = client
        .query("SELECT id FROM refusing ORDER BY v <-> $1 LIMIT 5", &[&Vector(vec![1.0; 23])])
        .await
        .expect_err("the dimensions differ");
    assert_eq!(failed.code().map(|code| code.code()), Some("22000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_vector_are_no_neighbours_and_zero_vectors_have_no_angle() {
    let server = Server::shared();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE missing (id int PRIMARY KEY, v vector(2)); \
         INSERT INTO missing VALUES (1, '[1,0]'), (2, NULL), (3, '[0,0]'), (4, '[0,1]'); \
         CREATE INDEX ON missing USING ivfpq (v vector_cosine_ops)",
    )
    .await;
    let near = rows(&client, "SELECT id FROM missing WHERE v IS NOT NULL ORDER BY v <=> '[1,0.1]' LIMIT 2").await;
    assert_eq!(near, [["1"], ["4"]]);
    assert_eq!(one(&client, "SELECT v <=> '[1,0]' FROM missing WHERE id = 3").await, "NaN");
    assert_eq!(one(&client, "SELECT count(*) FROM missing WHERE v <=> '[1,0]' IS NULL").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_analyze_tells_segments_strategy_and_times() {
    let server = Server::shared();
    let client = server.connect().await;
    let table = fill(&client, "explained", 5000, 9).await;
    run(&client, "CREATE INDEX explained_v ON explained USING ivfpq (v vector_l2_ops)").await;
    let query = text(&table[&1].1);
    let lines = |rows: Vec<Vec<String>>| rows.into_iter().map(|mut row| row.remove(0)).collect::<Vec<_>>().join("\n");
    let sql = format!("EXPLAIN ANALYZE SELECT id FROM explained WHERE grp < 10 ORDER BY v <-> '{query}' LIMIT 10");
    let plan = lines(rows(&client, &sql).await);
    assert!(plan.contains("explained_v"), "{plan}");
    assert!(plan.to_lowercase().contains("segment"), "{plan}");
    assert!(plan.contains("rows=10"), "{plan}");
    assert!(plan.contains("Execution Time:"), "{plan}");
    run(&client, "SET lodedb.exact = on").await;
    let plan =
        lines(rows(&client, &format!("EXPLAIN SELECT id FROM explained ORDER BY v <-> '{query}' LIMIT 10")).await);
    assert!(plan.to_lowercase().contains("exact"), "{plan}");
}
