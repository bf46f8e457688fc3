//! The simple and the extended protocol, as drivers use and misuse them.

use futures::{StreamExt, TryStreamExt, pin_mut};

use crate::harness::raw::{RawClient, bind, close, describe, execute, field, message, parse, query, startup, sync};
use crate::harness::{Server, ok, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_what_drivers_read() {
    let server = Server::shared();
    let mut raw = RawClient::bare(server.address());
    // SSLRequest and GSSENCRequest are answered with one byte, and the session goes on in the clear.
    for code in [80_877_103u32, 80_877_104] {
        raw.send(&[8u32.to_be_bytes(), code.to_be_bytes()].concat());
        let mut answer = [0];
        std::io::Read::read_exact(&mut raw.stream, &mut answer).expect("an answer");
        assert_eq!(answer[0], b'N');
    }
    let parameters =
        [("user", "lodedb"), ("database", "lodedb"), ("application_name", "probe"), ("client_encoding", "'utf-8'")];
    let answers = raw.ask(&startup(&parameters));
    let status: Vec<(String, String)> = answers
        .iter()
        .filter(|(tag, _)| *tag == 'S')
        .map(|(_, body)| {
            let text = String::from_utf8_lossy(body);
            let mut parts = text.split('\0');
            (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned())
        })
        .collect();
    let value = |name: &str| {
        status
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_else(|| panic!("no {name}"))
    };
    assert!(value("server_version").starts_with(|c: char| c.is_ascii_digit()), "{}", value("server_version"));
    assert_eq!(value("client_encoding"), "UTF8");
    assert_eq!(value("server_encoding"), "UTF8");
    assert_eq!(value("DateStyle"), "ISO, MDY");
    assert_eq!(value("IntervalStyle"), "postgres");
    assert_eq!(value("integer_datetimes"), "on");
    assert_eq!(value("standard_conforming_strings"), "on");
    assert_eq!(value("application_name"), "probe");
    assert!(answers.iter().any(|(tag, _)| *tag == 'K'), "no BackendKeyData");
    assert_eq!(answers.last().map(|(tag, body)| (*tag, body[0])), Some(('Z', b'I')));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_database_or_option_is_refused_by_name() {
    let server = Server::shared();
    let refused = |parameters: &[(&str, &str)]| {
        let mut raw = RawClient::bare(server.address());
        let answers = raw.ask(&startup(parameters));
        let (tag, body) = answers.first().expect("an answer").clone();
        assert_eq!(tag, 'E');
        (field(&body, 'S'), field(&body, 'C'), field(&body, 'M'))
    };
    let (severity, state, text) = refused(&[("user", "lodedb"), ("database", "nowhere")]);
    assert_eq!((severity.as_str(), state.as_str()), ("FATAL", "3D000"));
    assert_eq!(text, "database \"nowhere\" does not exist");
    let (_, state, text) = refused(&[("user", "lodedb"), ("database", "lodedb"), ("options", "-c no_such=1")]);
    assert_eq!((state.as_str(), text.as_str()), ("42704", "unrecognized configuration parameter \"no_such\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_startup_packet_are_settings() {
    let server = Server::shared();
    let client = {
        let mut config = server.config();
        config.options("-c statement_timeout=12345 -c TimeZone=Europe/Berlin").application_name("opted");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    };
    assert_eq!(one(&client, "SELECT extract(hour from '2024-06-01 00:00:00+00'::timestamptz)").await, "2");
    assert_eq!(one(&client, "SHOW application_name").await, "opted");
    assert_eq!(one(&client, "SHOW timezone").await, "Europe/Berlin");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_are_reported() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    let answers = raw.ask(&query("SET application_name = 'told'; SET timezone = 'Asia/Tokyo'"));
    let reports: Vec<String> = answers
        .iter()
        .filter(|(tag, _)| *tag == 'S')
        .map(|(_, body)| String::from_utf8_lossy(body).replace('\0', " ").trim().to_owned())
        .collect();
    assert!(reports.contains(&"application_name told".to_owned()), "{reports:?}");
    assert!(reports.contains(&"TimeZone Asia/Tokyo".to_owned()), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_statements_in_one_message_are_one_transaction() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE several (id int PRIMARY KEY)").await;
    run(&client, "INSERT INTO several VALUES (1); INSERT INTO several VALUES (2)").await;
    let failed = client.batch_execute("INSERT INTO several VALUES (3); INSERT INTO several VALUES (1); SELECT 1").await;
    assert_eq!(failed.expect_err("a duplicate key").code().map(|code| code.code()), Some("23505"));
    assert_eq!(rows(&client, "SELECT id FROM several ORDER BY id").await, [["1"], ["2"]]);
    // A block that begins within the message takes in what came before it.
    run(&client, "INSERT INTO several VALUES (4); BEGIN; INSERT INTO several VALUES (5)").await;
    run(&client, "ROLLBACK").await;
    assert_eq!(one(&client, "SELECT count(*) FROM several WHERE id > 3").await, "0");
    // COMMIT within the message ends one transaction and begins the next.
    let failed =
        client.batch_execute("BEGIN; INSERT INTO several VALUES (6); COMMIT; INSERT INTO several VALUES (6)").await;
    assert!(failed.is_err());
    assert_eq!(one(&client, "SELECT count(*) FROM several WHERE id = 6").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_of_a_message_has_its_own_result() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    let sql = "CREATE TABLE tagged (a int); INSERT INTO tagged VALUES (1), (2); SELECT a FROM tagged ORDER BY a; \
               UPDATE tagged SET a = 3; DELETE FROM tagged WHERE a = 9; DROP TABLE tagged";
    assert_eq!(
        raw.ask_shown(&query(sql)),
        "C(CREATE TABLE) C(INSERT 0 2) T D(1) D(2) C(SELECT 2) C(UPDATE 2) C(DELETE 0) C(DROP TABLE) ZI"
    );
    assert_eq!(raw.ask_shown(&query("")), "I ZI");
    assert_eq!(raw.ask_shown(&query(" ; -- nothing\n")), "I ZI");
    assert_eq!(
        raw.ask_shown(&query("SELECT 1; SELECT 1/(g-1) FROM generate_series(1, 1) g; SELECT 2")),
        "T D(1) C(SELECT 1) T E(22012) ZI"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn command_tags_are_those_drivers_parse() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    let expected = [
        ("CREATE TABLE tags (a int PRIMARY KEY, v vector(2))", "C(CREATE TABLE) ZI"),
        ("CREATE INDEX tags_a ON tags (a)", "C(CREATE INDEX) ZI"),
        ("CREATE EXTENSION IF NOT EXISTS vector", "C(CREATE EXTENSION) ZI"),
        ("BEGIN", "C(BEGIN) ZT"),
        ("COMMIT", "C(COMMIT) ZI"),
        ("START TRANSACTION", "C(START TRANSACTION) ZT"),
        ("SELECT 1/(g-1) FROM generate_series(1, 1) g", "T E(22012) ZE"),
        ("SELECT 1", "E(25P02) ZE"),
        ("COMMIT", "C(ROLLBACK) ZI"),
        ("BEGIN", "C(BEGIN) ZT"),
        ("ROLLBACK", "C(ROLLBACK) ZI"),
        ("SET search_path = public", "C(SET) ZI"),
        ("RESET search_path", "C(RESET) ZI"),
        ("SHOW server_encoding", "T D(UTF8) C(SHOW) ZI"),
        ("PREPARE p AS SELECT 1", "C(PREPARE) ZI"),
        ("EXECUTE p", "T D(1) C(SELECT 1) ZI"),
        ("DEALLOCATE p", "C(DEALLOCATE) ZI"),
        ("DEALLOCATE ALL", "C(DEALLOCATE ALL) ZI"),
        ("DISCARD ALL", "C(DISCARD ALL) ZI"),
        ("TRUNCATE tags", "C(TRUNCATE TABLE) ZI"),
        ("ALTER TABLE tags ADD COLUMN b int", "C(ALTER TABLE) ZI"),
        ("VACUUM tags", "C(VACUUM) ZI"),
        ("ANALYZE tags", "C(ANALYZE) ZI"),
        ("CREATE TABLE tags2 AS SELECT 1 AS a UNION ALL SELECT 2", "C(SELECT 2) ZI"),
        ("DROP INDEX tags_a", "C(DROP INDEX) ZI"),
        ("DROP TABLE tags, tags2", "C(DROP TABLE) ZI"),
    ];
    for (sql, answer) in expected {
        assert_eq!(raw.ask_shown(&query(sql)), answer, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_run_many_times() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE prepared (id int PRIMARY KEY, name text)").await;
    let insert = ok(client.prepare("INSERT INTO prepared VALUES ($1, $2)").await, "prepare");
    for id in 0..100i32 {
        assert_eq!(ok(client.execute(&insert, &[&id, &format!("n{id}")]).await, "insert"), 1);
    }
    let select = ok(client.prepare("SELECT name FROM prepared WHERE id = $1").await, "prepare");
    for id in (0..100i32).rev() {
        let row = ok(client.query_one(&select, &[&id]).await, "select");
        assert_eq!(row.get::<_, String>(0), format!("n{id}"));
    }
    assert!(ok(client.query(&select, &[&1000]).await, "select").is_empty());
    // A failed run leaves the statement usable.
    assert!(client.execute(&insert, &[&5, &"again"]).await.is_err());
    assert_eq!(ok(client.execute(&insert, &[&100, &"next"]).await, "insert"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_outlive_changes_of_the_table() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE changing (id int PRIMARY KEY, a text); INSERT INTO changing VALUES (1, 'x')").await;
    let named = ok(client.prepare("SELECT a FROM changing WHERE id = $1").await, "prepare");
    let star = ok(client.prepare("SELECT * FROM changing WHERE id = $1").await, "prepare");
    run(&client, "ALTER TABLE changing ADD COLUMN b int DEFAULT 7; CREATE INDEX ON changing (a)").await;
    assert_eq!(ok(client.query_one(&named, &[&1]).await, "named").get::<_, &str>(0), "x");
    let error = client.query(&star, &[&1]).await.expect_err("the columns changed");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!((error.code().code(), error.message()), ("0A000", "cached plan must not change result type"));
    run(&client, "DROP TABLE changing").await;
    let error = client.query(&named, &[&1]).await.expect_err("the table is gone");
    assert_eq!(error.code().map(|code| code.code()), Some("42P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_give_rows_in_portions() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    let sql = "SELECT g FROM generate_series(1, 5) g ORDER BY g";
    let begin = [query("BEGIN")].concat();
    raw.ask(&begin);
    let messages =
        [parse("s", sql), bind("p", "s", &[], 0), execute("p", 2), execute("p", 2), execute("p", 2), sync()].concat();
    assert_eq!(raw.ask_shown(&messages), "1 2 D(1) D(2) s D(3) D(4) s D(5) C(SELECT 1) ZT");
    assert_eq!(raw.ask_shown(&[close('P', "p"), close('S', "s"), close('S', "none"), sync()].concat()), "3 3 3 ZT");
    assert_eq!(raw.ask_shown(&query("COMMIT")), "C(COMMIT) ZI");

    let mut client = server.connect().await;
    let transaction = client.transaction().await.expect("a transaction");
    let portal = transaction.bind(sql, &[]).await.expect("a portal");
    let first = transaction.query_portal(&portal, 3).await.expect("rows");
    let second = transaction.query_portal(&portal, 3).await.expect("rows");
    assert_eq!((first.len(), second.len()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_skips_to_sync() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    let messages = [
        parse("", "SELECT 1/0"),
        bind("", "", &[], 0),
        execute("", 0),
        parse("", "SELECT 2"),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
        parse("", "SELECT 3"),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
    ]
    .concat();
    assert_eq!(raw.ask_shown(&messages).replace("1 2 ", ""), "E(22012) ZI");
    assert_eq!(crate::harness::raw::shown(&raw.until_ready()), "1 2 D(3) C(SELECT 1) ZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_one_transaction_up_to_sync() {
    let server = Server::shared();
    let client = server.connect().await;
    run(&client, "CREATE TABLE pipeline (id int PRIMARY KEY)").await;
    let mut raw = RawClient::connect(server.address());
    let insert = |id: &str| {
        [parse("", "INSERT INTO pipeline VALUES ($1)"), bind("", "", &[Some(id)], 0), execute("", 0)].concat()
    };
    assert_eq!(raw.ask_shown(&[insert("1"), insert("2"), sync()].concat()), "1 2 C(INSERT 0 1) 1 2 C(INSERT 0 1) ZI");
    assert_eq!(
        raw.ask_shown(&[insert("3"), insert("1"), insert("4"), sync()].concat()),
        "1 2 C(INSERT 0 1) 1 2 E(23505) ZI"
    );
    assert_eq!(rows(&client, "SELECT id FROM pipeline ORDER BY id").await, [["1"], ["2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_statements_are_kept_apart() {
    let server = Server::shared();
    let mut raw = RawClient::connect(server.address());
    assert_eq!(raw.ask_shown(&[parse("s", "SELECT 1"), sync()].concat()), "1 ZI");
    assert_eq!(raw.ask_shown(&[parse("s", "SELECT 2"), sync()].concat()), "E(42P05) ZI");
    assert_eq!(raw.ask_shown(&[bind("", "none", &[], 0), sync()].concat()), "E(26000) ZI");
    assert_eq!(raw.ask_shown(&[execute("none", 0), sync()].concat()), "E(34000) ZI");
    assert_eq!(raw.ask_shown(&[describe('S', "s"), sync()].concat()), "t T ZI");
    assert_eq!(
        raw.ask_shown(&[parse("i", "CREATE TABLE never (a int)"), describe('S', "i"), sync()].concat()),
        "1 t n ZI"
    );
    assert_eq!(raw.ask_shown(&[bind("", "s", &[Some("1")], 0), sync()].concat()), "E(08P01) ZI");
    assert_eq!(raw.ask_shown(&[message('H', &[]), sync()].concat()), "ZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_streamed_in_order() {
    let server = Server::shared();
    let client = server.connect().await;
    let parameters: [i32; 0] = [];
    let stream = client.query_raw("SELECT g, g * 2 FROM generate_series(1, 50000) g ORDER BY g", parameters).await;
    let stream = ok(stream, "generate_series");
    pin_mut!(stream);
    let mut expected = 0i32;
    while let Some(row) = stream.next().await {
        let row = ok(row, "a row");
        expected += 1;
        assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1)), (expected, expected * 2));
    }
    assert_eq!(expected, 50_000);
    let rest: Vec<_> = client
        .query_raw("SELECT 1 WHERE false", parameters)
        .await
        .expect("no rows")
        .try_collect()
        .await
        .expect("no rows");
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_do_not_see_each_others_statements_and_settings() {
    let server = Server::shared();
    let (one_client, other) = (server.connect().await, server.connect().await);
    run(&one_client, "PREPARE mine AS SELECT 1; SET timezone = 'Asia/Tokyo'").await;
    assert_eq!(crate::harness::error(&other, "EXECUTE mine").await.code().code(), "26000");
    assert_eq!(one(&other, "SHOW timezone").await, "UTC");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_one_column_whatever_is_explained() {
    let server = Server::shared();
    let client = server.connect().await;
    let explained = client.prepare("EXPLAIN SELECT $1::int, 2, 3").await.expect("prepared");
    let names: Vec<&str> = explained.columns().iter().map(tokio_postgres::Column::name).collect();
    assert_eq!(names, ["QUERY PLAN"]);
    let lines = ok(client.query(&explained, &[&1]).await, "EXPLAIN");
    assert!(!lines.is_empty() && lines.iter().all(|line| !line.get::<_, &str>(0).is_empty()));
}
