//! COPY in and out, in its three formats, right and wrong.

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::DbError;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, CopyInSink};

use crate::harness::client::{Vector, told};
use crate::harness::raw::{RawClient, field, message, query};
use crate::harness::{Server, ok, one, rows, run};

pub(super) async fn copy_in(client: &Client, sql: &str, data: &[u8]) -> Result<u64, DbError> {
    let sink: CopyInSink<Bytes> = match client.copy_in(sql).await {
        Ok(sink) => sink,
        Err(error) => return Err(error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}")).clone()),
    };
    pin_mut!(sink);
    // In small pieces, so that lines and fields are cut anywhere.
    let mut failed = None;
    for piece in data.chunks(7) {
        if let Err(error) = sink.send(Bytes::copy_from_slice(piece)).await {
            failed = Some(error);
            break;
        }
    }
    let result = match failed {
        Some(error) => Err(error),
        None => sink.finish().await,
    };
    result.map_err(|error| error.as_db_error().unwrap_or_else(|| panic!("{sql}: {}", told(&error))).clone())
}

async fn copy_out(client: &Client, sql: &str) -> Vec<u8> {
    let stream = ok(client.copy_out(sql).await, sql);
    let pieces: Vec<Bytes> = ok(stream.try_collect().await, sql);
    pieces.concat()
}

async fn table(client: &Client, name: &str) {
    run(
        client,
        &format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, name text, n numeric(6,2), at timestamp, words text[], v vector(3))"
        ),
    )
    .await;
}

const TEXT: &str = "1\tone\t1.50\t2024-02-29 01:02:03\t{a,b}\t[1,2,3]\n\
                    2\ttab\\tand\\nline\\\\\t\\N\t\\N\t{\"x y\",NULL}\t\\N\n\
                    3\t\t-7.00\t2000-01-01 00:00:00\t{}\t[0.5,-1,1e-07]\n";

#[tokio::test(flavor = "multi_thread")]
async fn text_goes_in_and_comes_out_the_same() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "copy_text").await;
    assert_eq!(copy_in(&client, "COPY copy_text FROM STDIN", TEXT.as_bytes()).await, Ok(3));
    assert_eq!(one(&client, "SELECT name FROM copy_text WHERE id = 2").await, "tab\tand\nline\\");
    assert_eq!(one(&client, "SELECT name = '' FROM copy_text WHERE id = 3").await, "t");
    let out = copy_out(&client, "COPY (SELECT * FROM copy_text ORDER BY id) TO STDOUT").await;
    assert_eq!(String::from_utf8_lossy(&out), TEXT);
    let out = copy_out(&client, "COPY copy_text (name, id) TO STDOUT WITH (DELIMITER '|', NULL 'none')").await;
    assert!(String::from_utf8_lossy(&out).contains("one|1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_goes_in_and_comes_out_the_same() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "copy_csv").await;
    let csv = "id,name,n,at,words,v\n\
               1,one,1.50,2024-02-29 01:02:03,\"{a,b}\",\"[1,2,3]\"\n\
               2,\"quoted \"\"and\"\"\nbroken, with comma\",,,\"{\"\"x y\"\",NULL}\",\n\
               3,\"\",-7.00,2000-01-01 00:00:00,{},\"[0.5,-1,1e-07]\"\n";
    assert_eq!(
        copy_in(&client, "COPY copy_csv FROM STDIN WITH (FORMAT csv, HEADER true)", csv.as_bytes()).await,
        Ok(3)
    );
    assert_eq!(one(&client, "SELECT name FROM copy_csv WHERE id = 2").await, "quoted \"and\"\nbroken, with comma");
    assert_eq!(one(&client, "SELECT count(*) FROM copy_csv WHERE n IS NULL AND v IS NULL").await, "1");
    let out = copy_out(&client, "COPY (SELECT * FROM copy_csv ORDER BY id) TO STDOUT CSV HEADER").await;
    assert_eq!(String::from_utf8_lossy(&out), csv);
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_goes_in_and_comes_out_the_same() {
    let server = Server::shared();
    let client = server.connect().await;
    table(&client, "copy_binary").await;
    run(&client, "CREATE TABLE copy_binary_again AS SELECT * FROM copy_binary").await;
    assert_eq!(copy_in(&client, "COPY copy_binary FROM STDIN", TEXT.as_bytes()).await, Ok(3));
    let out = copy_out(&client, "COPY (SELECT * FROM copy_binary ORDER BY id) TO STDOUT (FORMAT binary)").await;
    assert_eq!(&out[..19], b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    assert_eq!(&out[out.len() - 2..], [0xff, 0xff]);
    assert_eq!(copy_in(&client, "COPY copy_binary_again FROM STDIN BINARY", &out).await, Ok(3));
    let again = copy_out(&client, "COPY (SELECT * FROM copy_binary_again ORDER BY id) TO STDOUT").await;
    assert_eq!(String::from_utf8_lossy(&again), TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_binary_rows_fills_a_table_with_an_index() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE bulk (id bigint PRIMARY KEY, v vector(4))").await;
    run(&client, "CREATE INDEX ON bulk USING ivfpq (v vector_l2_ops)").await;
    let vector = ok(client.prepare("INSERT INTO bulk VALUES ($1, $2)").await, "prepare").params()[1].clone();
    let sink = ok(client.copy_in("COPY bulk FROM STDIN (FORMAT binary)").await, "COPY");
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT8, vector]);
    pin_mut!(writer);
    for id in 0..10_000i64 {
        let vector = Vector(vec![id as f32, 1.0, 0.0, -1.0]);
        ok(writer.as_mut().write(&[&id, &vector]).await, "a row");
    }
    assert_eq!(ok(writer.finish().await, "COPY"), 10_000);
    assert_eq!(one(&client, "SELECT count(*) FROM bulk").await, "10000");
    let near = rows(&client, "SELECT id FROM bulk ORDER BY v <-> '[777.2,1,0,-1]' LIMIT 3").await;
    assert_eq!(near, [["777"], ["778"], ["776"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_may_be_named_and_the_rest_take_their_defaults() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE copy_some (id serial PRIMARY KEY, name text NOT NULL, flag boolean DEFAULT true)").await;
    assert_eq!(copy_in(&client, "COPY copy_some (name) FROM STDIN", b"x\ny\n").await, Ok(2));
    assert_eq!(rows(&client, "SELECT * FROM copy_some ORDER BY id").await, [["1", "x", "t"], ["2", "y", "t"]]);
    assert_eq!(copy_in(&client, "COPY copy_some (name) FROM STDIN", b"last\n\\.\n").await, Ok(1));
    assert_eq!(copy_in(&client, "COPY copy_some (name) FROM STDIN", b"no end of line").await, Ok(1));
    assert_eq!(copy_in(&client, "COPY copy_some (name) FROM STDIN", b"").await, Ok(0));
    assert_eq!(one(&client, "SELECT count(*) FROM copy_some").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_columns_are_left_out_both_ways_and_computed() {
    let server = Server::shared();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE copy_computed (id int PRIMARY KEY, v vector(2) GENERATED ALWAYS AS (ARRAY[n, id]::vector) STORED, n int, \
         share int GENERATED ALWAYS AS (100 / n) STORED CHECK (share < 50))",
    )
    .await;
    let lines: String = (1..=10_000).map(|id| format!("{id}\t{}\n", id + 2)).collect();
    assert_eq!(copy_in(&client, "COPY copy_computed FROM STDIN", lines.as_bytes()).await, Ok(10_000));
    let near = rows(&client, "SELECT id, v, share FROM copy_computed ORDER BY v <-> '[52,50]' LIMIT 1").await;
    assert_eq!(near, [["50", "[52,50]", "1"]]);
    let binary = copy_out(&client, "COPY copy_computed TO STDOUT (FORMAT binary)").await;
    let sql = "UPDATE copy_computed SET n = n + $1 WHERE id = $2 RETURNING v::text, share";
    let row = ok(client.query_one(sql, &[&8, &40]).await, sql);
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), ("[50,40]", 2));
    assert_eq!(
        copy_out(&client, "COPY (SELECT * FROM copy_computed WHERE id = 40) TO STDOUT").await,
        b"40\t[50,40]\t50\t2\n"
    );
    run(&client, "TRUNCATE copy_computed").await;
    assert_eq!(copy_in(&client, "COPY copy_computed (n, id) FROM STDIN", b"4\t1\n5\t2\n").await, Ok(2));
    assert_eq!(copy_out(&client, "COPY copy_computed TO STDOUT").await, b"1\t4\n2\t5\n");
    run(&client, "TRUNCATE copy_computed").await;
    assert_eq!(copy_in(&client, "COPY copy_computed FROM STDIN BINARY", &binary).await, Ok(10_000));
    let wrong = [
        ("COPY copy_computed FROM STDIN", "20001\t9\n20002\t0\n20003\t1\n", "22012", "COPY copy_computed, line 2"),
        ("COPY copy_computed FROM STDIN", "20001\t9\n20002\t1\n20003\t0\n", "23514", "COPY copy_computed, line 2"),
        ("COPY copy_computed FROM STDIN", "20001\t9\n5\t9\n20003\t0\n", "23505", "COPY copy_computed, line 2"),
        ("COPY copy_computed FROM STDIN", "20001\t0\nx\t9\n", "22012", "COPY copy_computed, line 1"),
    ];
    for (sql, data, state, line) in wrong {
        let error = copy_in(&client, sql, data.as_bytes()).await.expect_err(data);
        assert_eq!((error.code().code(), error.where_()), (state, Some(line)), "{data}");
    }
    let named = copy_in(&server.connect().await, "COPY copy_computed (id, share) FROM STDIN", b"")
        .await
        .expect_err("a computed column");
    assert_eq!((named.code().code(), named.message()), ("42P10", "column \"share\" is a generated column"));
    assert_eq!(named.detail(), Some("Generated columns cannot be used in COPY."));
    assert_eq!(one(&client, "SELECT count(*) FROM copy_computed").await, "10000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_and_nothing_is_kept() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE copy_bad (id int PRIMARY KEY, name varchar(5) NOT NULL, v vector(2), CHECK (id < 100))")
        .await;
    run(&client, "INSERT INTO copy_bad VALUES (50, 'there', NULL)").await;
    let from = "COPY copy_bad FROM STDIN";
    let csv = "COPY copy_bad FROM STDIN CSV";
    let cases: [(&str, &str, &str, &str, &str); 16] = [
        (from, "1\ta\t[1,2]\nx\tb\t[1,2]\n", "22P02", "line 2", "invalid input syntax for type integer: \"x\""),
        (from, "1\ta\t[1,2]\n2\tb\t[1,2]\n3\tc\t[1,2,3]\n", "22000", "line 3", "expected 2 dimensions, not 3"),
        (from, "1\ta\t[1,2\n", "22P02", "line 1", "invalid input syntax for type vector: \"[1,2\""),
        (from, "1\ta\t[1,NaN]\n", "22000", "line 1", "NaN not allowed in vector"),
        (from, "1\ta\t[1,2]\n2\tb\n", "22P04", "line 2", "missing data for column \"v\""),
        (from, "1\ta\t[1,2]\textra\n", "22P04", "line 1", "extra data after last expected column"),
        (from, "1\ta\t[1,2]\n2\ttoo long\t\\N\n", "22001", "line 2", "value too long for type character varying(5)"),
        (
            from,
            "1\t\\N\t[1,2]\n",
            "23502",
            "line 1",
            "null value in column \"name\" of relation \"copy_bad\" violates not-null constraint",
        ),
        (
            from,
            "1\ta\t\\N\n1\tb\t\\N\n",
            "23505",
            "line 2",
            "duplicate key value violates unique constraint \"copy_bad_pkey\"",
        ),
        (
            from,
            "1\ta\t\\N\n50\tb\t\\N\n",
            "23505",
            "line 2",
            "duplicate key value violates unique constraint \"copy_bad_pkey\"",
        ),
        (
            from,
            "1\ta\t\\N\n200\tb\t\\N\n",
            "23514",
            "line 2",
            "new row for relation \"copy_bad\" violates check constraint \"copy_bad_id_check\"",
        ),
        (from, "99999999999\ta\t\\N\n", "22003", "line 1", "value \"99999999999\" is out of range for type integer"),
        (csv, "1,a,\"[1,2]\"\n2,b,\"[1,2\n", "22P04", "line 3", "unterminated CSV quoted field"),
        (csv, "1,a,\n2,b,\"[1,2]\",x\n", "22P04", "line 2", "extra data after last expected column"),
        (
            "COPY copy_bad FROM STDIN BINARY",
            "no header of a copy file",
            "22P04",
            "",
            "COPY file signature not recognized",
        ),
        (
            "COPY copy_bad FROM STDIN (FORMAT csv, HEADER match)",
            "id,nom,v\n",
            "22P04",
            "line 1",
            "column name mismatch in header line field 2: got \"nom\", expected \"name\"",
        ),
    ];
    let mut wrong = Vec::new();
    for (sql, data, state, line, text) in cases {
        match copy_in(&client, sql, data.as_bytes()).await {
            Ok(count) => wrong.push(format!("{data:?}: {count} rows were taken")),
            Err(error) => {
                let place = error.where_().unwrap_or_default().to_owned();
                if error.code().code() != state || error.message() != text || !place.contains(line) {
                    wrong.push(format!("{data:?}: {} {} ({place})", error.code().code(), error.message()));
                }
            }
        }
        let count = one(&client, "SELECT count(*) FROM copy_bad").await;
        if count != "1" {
            wrong.push(format!("{data:?}: {count} rows are in the table"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_bad_row_is_named_wherever_it_is() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE copy_long (id int PRIMARY KEY, n int NOT NULL CHECK (n > 0 AND 100 / n > 0))").await;
    // More rows than are taken at a time; of the two that are wrong the earlier one counts.
    let line = |at: usize, bad: usize, text: &str| match at {
        _ if at == bad => text.to_owned(),
        9_500 => "9500\t\\N\n".to_owned(),
        _ => format!("{at}\t1\n"),
    };
    for (bad, text, state) in [
        (9_001, "9001\t\\N\n", "23502"),
        (9_001, "9001\t-1\n", "23514"),
        (9_001, "9001\t0\n", "23514"),
        (9_001, "17\t1\n", "23505"),
        (9_001, "8999\t1\n", "23505"),
        (1, "1\t500\n", "23514"),
    ] {
        let data: String = (1..=10_000).map(|at| line(at, bad, text)).collect();
        let error = copy_in(&client, "COPY copy_long FROM STDIN", data.as_bytes()).await.expect_err("a bad row");
        let place = format!("COPY copy_long, line {bad}");
        assert_eq!(
            (error.code().code(), error.where_()),
            (state, Some(place.as_str())),
            "{text:?}: {}",
            error.message()
        );
    }
    // A quoted value over two lines.
    let data = "1,1\n\"2\n\",1\n3,\n";
    let error = copy_in(&client, "COPY copy_long FROM STDIN CSV", data.as_bytes()).await.expect_err("a bad row");
    assert_eq!((error.code().code(), error.where_()), ("23502", Some("COPY copy_long, line 4")), "{}", error.message());
    assert_eq!(one(&client, "SELECT count(*) FROM copy_long").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_of_what_is_not_there_fails_before_data_is_asked_for() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE copy_there (a int)").await;
    let cases = [
        ("COPY nowhere FROM STDIN", "42P01"),
        ("COPY copy_there (b) FROM STDIN", "42703"),
        ("COPY copy_there (a, a) FROM STDIN", "42701"),
        ("COPY copy_there FROM STDIN (FORMAT avro)", "22023"),
        ("COPY copy_there FROM STDIN (DELIMITER 'ab')", "0A000"),
    ];
    for (sql, state) in cases {
        // A driver may not recover from a COPY that never began, so each has a session of its own.
        let error = copy_in(&server.connect().await, sql, b"").await.expect_err(sql);
        assert_eq!(error.code().code(), state, "{sql}: {error}");
    }
    for (sql, state) in [("COPY nowhere TO STDOUT", "42P01"), ("COPY (SELECT b FROM copy_there) TO STDOUT", "42703")] {
        let Err(error) = client.copy_out(sql).await else { panic!("{sql} succeeded") };
        assert_eq!(error.code().map(|code| code.code()), Some(state), "{sql}");
    }
    let file = client.batch_execute("COPY copy_there FROM '/etc/passwd'").await.expect_err("files are not read");
    let state = file.code().map(|code| code.code().to_owned()).unwrap_or_default();
    assert!(["0A000", "42501"].contains(&state.as_str()), "{state}");
    assert_eq!(one(&client, "SELECT count(*) FROM copy_there").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_the_client_gives_up_leaves_nothing() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE given_up (a int)").await;
    let mut raw = RawClient::connect(server.address());
    raw.send(&query("COPY given_up FROM STDIN"));
    assert_eq!(raw.answer().map(|(tag, _)| tag), Some('G'));
    raw.send(&message('d', b"1\n2\n"));
    let answers = raw.ask(&message('f', b"changed my mind\0"));
    let (_, body) = answers.first().expect("an error");
    assert_eq!(field(body, 'C'), "57014");
    assert_eq!(field(body, 'M'), "COPY from stdin failed: changed my mind");
    assert_eq!(raw.ask_shown(&query("SELECT count(*) FROM given_up")), "T D(0) C(SELECT 1) ZI");
    // Nor does one whose client goes away.
    raw.send(&query("COPY given_up FROM STDIN"));
    raw.send(&message('d', b"1\n2\n"));
    drop(raw);
    run(&client, "SET statement_timeout = '20s'; TRUNCATE given_up").await;
    assert_eq!(one(&client, "SELECT count(*) FROM given_up").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_is_part_of_its_transaction() {
    let server = Server::shared();
    let mut client = server.connect().await;
    run(&client, "CREATE TABLE copy_tx (a int PRIMARY KEY)").await;
    let transaction = client.transaction().await.expect("a transaction");
    let sink = transaction.copy_in("COPY copy_tx FROM STDIN").await.expect("COPY");
    pin_mut!(sink);
    sink.send(BytesMut::from("1\n2\n3\n").freeze()).await.expect("rows");
    assert_eq!(sink.finish().await.expect("COPY"), 3);
    assert_eq!(transaction.query_one("SELECT count(*) FROM copy_tx", &[]).await.expect("a count").get::<_, i64>(0), 3);
    transaction.rollback().await.expect("a rollback");
    assert_eq!(one(&client, "SELECT count(*) FROM copy_tx").await, "0");
    // Rows of the transaction itself are copied out, too.
    run(&client, "BEGIN; INSERT INTO copy_tx VALUES (9)").await;
    assert_eq!(copy_out(&client, "COPY copy_tx TO STDOUT").await, b"9\n");
    run(&client, "ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_with_vectors_is_copied_out() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE copy_near (id int PRIMARY KEY, v vector(2)); INSERT INTO copy_near SELECT g, ARRAY[g, 0]::vector FROM generate_series(1, 50) g").await;
    let out = copy_out(
        &client,
        "COPY (SELECT id, v <-> '[10,0]' AS d FROM copy_near ORDER BY v <-> '[10,0]', id LIMIT 3) TO STDOUT",
    )
    .await;
    assert_eq!(String::from_utf8_lossy(&out), "10\t0\n9\t1\n11\t1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_how_far_a_copy_is() {
    let server = Server::start();
    let (client, other) = (server.connect().await, server.connect().await);
    table(&client, "watched").await;
    let watched = "SELECT relid::regclass, command, type, bytes_processed, bytes_total, tuples_processed, tuples_excluded \
                   FROM pg_stat_progress_copy";
    let sink: CopyInSink<Bytes> = client.copy_in("COPY watched FROM STDIN").await.expect("a COPY");
    pin_mut!(sink);
    sink.send(Bytes::from_static(TEXT.as_bytes())).await.expect("rows");
    sink.flush().await.expect("rows");
    let bytes = TEXT.len().to_string();
    let expected = ["watched", "COPY FROM", "PIPE", &bytes, "0", "3", "0"];
    let begun = std::time::Instant::now();
    while rows(&other, watched).await != [expected] {
        assert!(begun.elapsed().as_secs() < 30, "{:?}", rows(&other, watched).await);
    }
    let pid = one(&other, "SELECT pid FROM pg_stat_progress_copy").await;
    assert_eq!(sink.finish().await.expect("the end"), 3);
    assert_eq!(rows(&other, watched).await, Vec::<Vec<String>>::new());
    assert_eq!(one(&client, "SELECT pg_backend_pid()").await, pid);

    let many = "COPY (SELECT g, repeat('x', 1000) FROM generate_series(1, 100000) g) TO STDOUT";
    let stream = client.copy_out(many).await.expect("a COPY");
    pin_mut!(stream);
    // The server waits for the client, far from the end.
    assert!(stream.try_next().await.expect("a piece").is_some());
    let halfway = "SELECT pid, relid, command, bytes_processed > 1000, tuples_processed BETWEEN 1 AND 99999 \
                   FROM pg_stat_progress_copy";
    assert_eq!(rows(&other, halfway).await, [[pid.as_str(), "0", "COPY TO", "t", "t"]]);
    while stream.try_next().await.expect("a piece").is_some() {}
    assert_eq!(rows(&other, watched).await, Vec::<Vec<String>>::new());
    // What fails is over as well.
    run(&client, "INSERT INTO watched (id) VALUES (77)").await;
    assert!(copy_in(&client, "COPY watched (id) FROM STDIN", b"77\n").await.is_err());
    assert_eq!(rows(&other, watched).await, Vec::<Vec<String>>::new());
}
