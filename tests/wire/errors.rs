//! Errors: the code, the sentence, the place, and what they leave behind: nothing.

use tokio_postgres::Client;

use crate::harness::client::position;
use crate::harness::{Server, error, one, run};

async fn table(client: &Client, name: &str) {
    run(
        client,
        &format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, code varchar(3) UNIQUE, n int NOT NULL DEFAULT 0 CHECK (n >= 0), \
             v vector(3)); INSERT INTO {name} VALUES (1, 'one', 1, '[1,2,3]')"
        ),
    )
    .await;
}

/// A statement, its SQLSTATE, its sentence, and the text its position points at.
type Case = (&'static str, &'static str, &'static str, Option<&'static str>);

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_code_sentence_and_place() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "faulty").await;
    let cases: [Case; 30] = [
        ("SELECT * FROM nowhere", "42P01", "relation \"nowhere\" does not exist", Some("nowhere")),
        ("SELECT nothing FROM faulty", "42703", "column \"nothing\" does not exist", Some("nothing")),
        ("SELECT faulty.nothing FROM faulty", "42703", "column faulty.nothing does not exist", Some("faulty.nothing")),
        ("SELECT 1 FROM faulty WHERE ünknown = 1", "42703", "column \"ünknown\" does not exist", Some("ünknown")),
        ("SELECT 'ü', nothing FROM faulty", "42703", "column \"nothing\" does not exist", Some("nothing")),
        ("SELECT x.id FROM faulty", "42P01", "missing FROM-clause entry for table \"x\"", Some("x.id")),
        ("SELEC 1", "42601", "syntax error at or near \"SELEC\"", Some("SELEC")),
        ("SELECT 1 +", "42601", "syntax error at end of input", None),
        ("SELECT id FROM faulty WHERE", "42601", "syntax error at end of input", None),
        ("SELECT nofunc(1)", "42883", "function nofunc(integer) does not exist", Some("nofunc")),
        (
            "SELECT id + code FROM faulty",
            "42883",
            "operator does not exist: integer + character varying",
            Some("+ code"),
        ),
        ("SELECT id <-> '[1]' FROM faulty", "42883", "operator does not exist: integer <-> unknown", Some("<->")),
        ("SELECT 'x'::integer", "22P02", "invalid input syntax for type integer: \"x\"", Some("'x'")),
        ("SELECT '[1,'::vector", "22P02", "invalid input syntax for type vector: \"[1,\"", Some("'[1,'")),
        (
            "SELECT v <-> '[1,x]' FROM faulty",
            "22P02",
            "invalid input syntax for type vector: \"[1,x]\"",
            Some("'[1,x]'"),
        ),
        ("SELECT 1::nosuchtype", "42704", "type \"nosuchtype\" does not exist", Some("nosuchtype")),
        (
            "INSERT INTO faulty (id, nothing) VALUES (2, 3)",
            "42703",
            "column \"nothing\" of relation \"faulty\" does not exist",
            Some("nothing"),
        ),
        ("INSERT INTO nowhere VALUES (1)", "42P01", "relation \"nowhere\" does not exist", Some("nowhere")),
        (
            "UPDATE faulty SET nothing = 1",
            "42703",
            "column \"nothing\" of relation \"faulty\" does not exist",
            Some("nothing"),
        ),
        ("DELETE FROM nowhere", "42P01", "relation \"nowhere\" does not exist", Some("nowhere")),
        (
            "SELECT id, count(*) FROM faulty",
            "42803",
            "column \"faulty.id\" must appear in the GROUP BY clause or be used in an aggregate function",
            Some("id"),
        ),
        ("SELECT * FROM faulty ORDER BY nothing", "42703", "column \"nothing\" does not exist", Some("nothing")),
        ("INSERT INTO faulty (id, v) VALUES (2, '[1,2]')", "22000", "expected 3 dimensions, not 2", None),
        (
            "INSERT INTO faulty (id, v) VALUES (2, '[1,2,NaN]')",
            "22000",
            "NaN not allowed in vector",
            Some("'[1,2,NaN]'"),
        ),
        (
            "INSERT INTO faulty (id, v) VALUES (2, '[1,2,Inf]')",
            "22000",
            "infinite value not allowed in vector",
            Some("'[1,2,Inf]'"),
        ),
        ("UPDATE faulty SET v = '[]'", "22000", "vector must have at least 1 dimension", Some("'[]'")),
        ("SELECT v <-> '[1,2]' FROM faulty", "22000", "different vector dimensions 3 and 2", None),
        ("SELECT 1 / (n - 1) FROM faulty", "22012", "division by zero", None),
        ("SELECT 2147483647 + n FROM faulty", "22003", "integer out of range", None),
        ("INSERT INTO faulty VALUES (2, 'four')", "22001", "value too long for type character varying(3)", None),
    ];
    let mut wrong = Vec::new();
    for (sql, state, text, place) in cases {
        let error = match client.simple_query(sql).await {
            Ok(_) => {
                wrong.push(format!("{sql}\n  succeeded"));
                continue;
            }
            Err(error) => error,
        };
        let Some(error) = error.as_db_error() else { panic!("{sql} broke the connection: {error}") };
        if error.code().code() != state || error.message() != text {
            wrong.push(format!("{sql}\n  {} {}\n  instead of {state} {text}", error.code().code(), error.message()));
        }
        // Positions count characters from 1, also after characters of several bytes.
        let expected = place.map(|place| {
            let at = sql.rfind(place).unwrap_or_else(|| panic!("{place} in {sql}"));
            sql[..at].chars().count() as u32 + 1
        });
        if expected.is_some() && position(error) != expected {
            wrong.push(format!("{sql}\n  points at {:?} instead of {expected:?}", position(error)));
        }
    }
    assert_eq!(one(&client, "SELECT count(*) FROM faulty").await, "1");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn places_count_from_the_start_of_the_message() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "placed").await;
    // The place is that of the last `#`, which is not sent.
    let cases = [
        "  \n\t SELECT #nothing FROM placed",
        "-- a comment\nSELECT #nothing FROM placed",
        "/* ünd */ SELECT 'ü', #nothing FROM placed",
        "SELECT 1; SELECT #nothing FROM placed",
        "SELECT 'ü';\n  SELECT id FROM #nowhere; SELECT 2",
        "SELECT 1; INSERT INTO #nowhere VALUES (1)",
        "SELECT 1; INSERT INTO placed (id, #nothing) VALUES (1, 2)",
        "SELECT 1; UPDATE placed SET #nothing = 1",
        "SELECT 1; DELETE FROM placed WHERE #nothing = 1",
        "SELECT 1; SELECT #nofunc('x')",
        "SELECT 1; SELECT 1 + 1, id #+ code FROM placed",
        "SELECT 1; SELECT #'x'::integer",
        "SELECT 1; SELEC#T 1",
        "SELECT 1; SELECT id FROM placed ORDER BY #nothing",
        "COPY (SELECT #nothing FROM placed) TO STDOUT",
        "CREATE TABLE placed_copy AS SELECT #nothing FROM placed",
        "PREPARE placed_one AS SELECT #nothing FROM placed",
    ];
    let mut wrong = Vec::new();
    for marked in cases {
        let marked = marked.replace("SELEC#T", "#SELEC");
        let expected = marked.chars().position(|c| c == '#').map(|at| at as u32 + 1);
        let failed = error(&client, &marked.replacen('#', "", 1)).await;
        if position(&failed) != expected {
            wrong.push(format!("{marked}: {} at {:?}, not {expected:?}", failed.message(), position(&failed)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extended_protocol_gives_the_same_places() {
    let server = Server::shared();
    let client = server.connect().await;
    let failed = client.prepare("SELECT $1::int, nothing FROM nowhere").await.expect_err("no such table");
    let failed = failed.as_db_error().expect("an error of the server");
    assert_eq!((failed.code().code(), position(failed)), ("42P01", Some(30)));
    table(&client, "places").await;
    let failed = client.query("SELECT nothing FROM places WHERE id = $1", &[&1]).await.expect_err("no such column");
    let failed = failed.as_db_error().expect("an error of the server");
    assert_eq!((failed.code().code(), position(failed)), ("42703", Some(8)));
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_name_table_column_and_constraint() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "violated").await;
    run(
        &client,
        "CREATE TABLE violated_pair (a int, b text, PRIMARY KEY (a, b)); INSERT INTO violated_pair VALUES (1, 'x')",
    )
    .await;
    let failed = error(&client, "INSERT INTO violated VALUES (1, 'two', 1)").await;
    assert_eq!(failed.code().code(), "23505");
    assert_eq!(failed.message(), "duplicate key value violates unique constraint \"violated_pkey\"");
    assert_eq!(failed.detail(), Some("Key (id)=(1) already exists."));
    assert_eq!((failed.table(), failed.constraint()), (Some("violated"), Some("violated_pkey")));
    assert_eq!(failed.schema(), Some("public"));

    let failed = error(&client, "INSERT INTO violated VALUES (2, 'one', 1)").await;
    assert_eq!((failed.code().code(), failed.constraint()), ("23505", Some("violated_code_key")));
    assert_eq!(failed.detail(), Some("Key (code)=(one) already exists."));

    let failed = error(&client, "INSERT INTO violated_pair VALUES (1, 'x')").await;
    assert_eq!(
        (failed.constraint(), failed.detail()),
        (Some("violated_pair_pkey"), Some("Key (a, b)=(1, x) already exists."))
    );

    let failed = error(&client, "INSERT INTO violated VALUES (2, 'two', NULL)").await;
    assert_eq!((failed.code().code(), failed.column(), failed.table()), ("23502", Some("n"), Some("violated")));
    assert_eq!(failed.message(), "null value in column \"n\" of relation \"violated\" violates not-null constraint");
    assert_eq!(failed.detail(), Some("Failing row contains (2, two, null, null)."));

    let failed = error(&client, "UPDATE violated SET n = -1").await;
    assert_eq!(
        (failed.code().code(), failed.constraint(), failed.table()),
        ("23514", Some("violated_n_check"), Some("violated"))
    );
    assert_eq!(failed.message(), "new row for relation \"violated\" violates check constraint \"violated_n_check\"");
    assert_eq!(failed.detail(), Some("Failing row contains (1, one, -1, [1,2,3])."));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_named() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "unsupported").await;
    let cases = [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TRIGGER t BEFORE INSERT ON unsupported EXECUTE FUNCTION f()",
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE MATERIALIZED VIEW m AS SELECT 1",
        "CREATE ROLE someone REPLICATION",
        "GRANT SELECT (a) ON unsupported TO PUBLIC",
        "CREATE DATABASE another",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "DO $$ BEGIN END $$",
        "CREATE TABLE u (a int REFERENCES unsupported (id))",
        "CREATE TABLE u (a int) PARTITION BY RANGE (a)",
        "CREATE TEMPORARY TABLE u (a int)",
        "LOAD 'something'",
        "CREATE RULE r AS ON INSERT TO unsupported DO NOTHING",
        "PREPARE TRANSACTION 'x'",
        "CREATE EXTENSION postgis",
    ];
    let mut wrong = Vec::new();
    for sql in cases {
        match client.simple_query(sql).await {
            Ok(_) => wrong.push(format!("{sql}: succeeded")),
            Err(error) => {
                let error = error.as_db_error().unwrap_or_else(|| panic!("{sql} broke the connection"));
                if error.code().code() != "0A000" {
                    wrong.push(format!("{sql}: {} {}", error.code().code(), error.message()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_statement_has_no_partial_effect() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "partial").await;
    run(&client, "INSERT INTO partial SELECT g, NULL, g, ARRAY[g,g,g]::vector FROM generate_series(2, 200) g").await;
    let before =
        one(&client, "SELECT string_agg(id || ':' || n || ':' || v::text, ';' ORDER BY id) FROM partial").await;
    for sql in [
        "INSERT INTO partial (id) SELECT g FROM generate_series(150, 300) g ORDER BY g DESC",
        "INSERT INTO partial (id, v) SELECT g, CASE WHEN g = 400 THEN '[1]' ELSE '[1,1,1]' END::vector FROM generate_series(301, 400) g",
        "UPDATE partial SET n = 100 - n",
        "UPDATE partial SET n = 1 / (id - 150)",
        "UPDATE partial SET id = 7 WHERE id > 190",
        "UPDATE partial SET code = 'dup'",
        "DELETE FROM partial WHERE 1 / (id - 150) >= 0",
        "INSERT INTO partial (id, code) VALUES (500, 'aaa'), (501, 'aaa')",
    ] {
        error(&client, sql).await;
        let after =
            one(&client, "SELECT string_agg(id || ':' || n || ':' || v::text, ';' ORDER BY id) FROM partial").await;
        assert!(before == after, "{sql}\n  failed and changed the table");
    }
    let near = one(&client, "SELECT id FROM partial ORDER BY v <-> '[150,150,150]' LIMIT 1").await;
    assert_eq!(near, "150");
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_things_are_noticed() {
    let server = Server::shared();
    let (client, mut connection) = server.config().connect(tokio_postgres::NoTls).await.expect("a session");
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let tokio_postgres::AsyncMessage::Notice(notice) = message {
                // The test may be over.
                let _ = sender.send(notice);
            }
        }
    });
    let mut expect = async |sql: &str, state: &str, text: &str| {
        run(&client, sql).await;
        let notice = notices.recv().await.expect("a notice");
        assert_eq!((notice.code().code(), notice.message()), (state, text), "{sql}");
    };
    expect("DROP TABLE IF EXISTS absent", "00000", "table \"absent\" does not exist, skipping").await;
    expect("CREATE EXTENSION IF NOT EXISTS vector", "42710", "extension \"vector\" already exists, skipping").await;
    expect("COMMIT", "25P01", "there is no transaction in progress").await;
    run(&client, "CREATE TABLE noticed (a int)").await;
    expect("CREATE TABLE IF NOT EXISTS noticed (a int)", "42P07", "relation \"noticed\" already exists, skipping")
        .await;
}
