//! Programs that speak to the server as their users know them: psql, pgbench, and the drivers of Python, Node, Java, Go and Rust.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Server, models, one, python, run};

/// What a program printed, both ways; it must have succeeded.
#[track_caller]
pub(crate) fn output(mut command: Command, input: &str) -> String {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}; run tools/install-test-deps.sh"));
    child.stdin.take().expect("standard input").write_all(input.as_bytes()).expect("the program reads");
    let output = child.wait_with_output().expect("the program ends");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{input}\nended with {}:\n{out}\n{err}", output.status);
    format!("{out}{err}")
}

fn psql(server: &Server, script: &str) -> String {
    let mut command = server.command("psql");
    command.args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--pset", "pager=off"]);
    output(command, script)
}

#[track_caller]
fn expect(text: &str, parts: &[&str]) {
    // Columns are as wide as their widest value; only what they hold counts.
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = plain(text);
    for part in parts {
        assert!(shown.contains(&plain(part)), "{part:?} is not in:\n{text}");
    }
}

async fn shop(server: &Server) {
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE shop (id bigserial PRIMARY KEY, name varchar(20) NOT NULL, price numeric(8,2) DEFAULT 9.99, \
         v vector(3), tags text[], code text UNIQUE, CONSTRAINT cheap CHECK (price < 1000));
         CREATE INDEX shop_v ON shop USING hnsw (v vector_cosine_ops) WITH (m = 12);
         CREATE INDEX shop_name ON shop (name);
         CREATE TABLE empty (a integer)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_what_there_is() {
    let server = Server::start();
    shop(&server).await;
    expect(
        &psql(&server, "\\d\n"),
        &[
            "List of relations",
            "Schema | Name | Type | Owner",
            "public | empty | table | lodedb",
            "public | shop | table | lodedb",
            "public | shop_id_seq | sequence | lodedb",
            "(3 rows)",
        ],
    );
    expect(
        &psql(&server, "\\d shop\n"),
        &[
            "Table \"public.shop\"",
            "Column | Type | Collation | Nullable | Default",
            "id | bigint | | not null | nextval('shop_id_seq'::regclass)",
            "name | character varying(20) | | not null |",
            "price | numeric(8,2) | | | 9.99",
            "v | vector(3) | | |",
            "tags | text[] | | |",
            "Indexes: \"shop_pkey\" PRIMARY KEY, btree (id)",
            "\"shop_code_key\" UNIQUE CONSTRAINT, btree (code)",
            "\"shop_name\" btree (name)",
            "\"shop_v\" hnsw (v vector_cosine_ops) WITH (m='12')",
            "Check constraints: \"cheap\" CHECK (",
            "price < 1000",
        ],
    );
    expect(&psql(&server, "\\dt\n"), &["public | empty | table", "public | shop | table", "(2 rows)"]);
    expect(
        &psql(&server, "\\di\n"),
        &[
            "public | shop_code_key | index | lodedb | shop",
            "public | shop_name | index | lodedb | shop",
            "public | shop_v | index",
            "(4 rows)",
        ],
    );
    expect(&psql(&server, "\\ds\n"), &["public | shop_id_seq | sequence"]);
    expect(&psql(&server, "\\l\n"), &["List of databases", "Name | Owner | Encoding", "lodedb | lodedb | UTF8"]);
    expect(&psql(&server, "\\dn\n"), &["List of schemas", "public |"]);
    expect(&psql(&server, "\\dx\n"), &["vector |"]);
    expect(&psql(&server, "\\d+ empty\n"), &["Table \"public.empty\"", "a | integer |"]);
    expect(&psql(&server, "\\d shop_v\n"), &["Index \"public.shop_v\"", "hnsw, for table \"public.shop\""]);
    expect(&psql(&server, "\\dt nowhere\n"), &["Did not find any relation named \"nowhere\"."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_what_changed() {
    let server = Server::start();
    shop(&server).await;
    let client = server.connect().await;
    run(&client, "DROP TABLE empty; ALTER TABLE shop RENAME COLUMN name TO title; ALTER TABLE shop ADD COLUMN more jsonb; DROP INDEX shop_v").await;
    let shown = psql(&server, "\\d shop\n");
    expect(&shown, &["title | character varying(20)", "more | jsonb", "\"shop_name\" btree (title)"]);
    assert!(!shown.contains("hnsw") && !shown.contains("name |"), "{shown}");
    let shown = psql(&server, "\\dt\n");
    assert!(!shown.contains("empty"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_runs_scripts_and_copies() {
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (csv, tsv) = (dir.path().join("rows.csv"), dir.path().join("rows.tsv"));
    std::fs::write(&csv, "id,word,v\n1,king,\"[1,2]\"\n2,\"queen, the\",\"[2,3]\"\n3,,\n").expect("a file");
    let script = format!(
        "CREATE EXTENSION IF NOT EXISTS vector;
         CREATE TABLE words (id int PRIMARY KEY, word text, v vector(2));
         \\copy words FROM '{}' CSV HEADER
         \\copy (SELECT id, word FROM words ORDER BY id) TO '{}'
         SELECT word, v <-> '[1,2]' AS distance FROM words WHERE v IS NOT NULL ORDER BY 2 LIMIT 10;
         \\echo :ROW_COUNT
         BEGIN;
         DELETE FROM words;
         ROLLBACK;
         PREPARE near (vector) AS SELECT id FROM words ORDER BY v <-> $1 LIMIT 1;
         EXECUTE near('[2,3]');
         SELECT count(*) FROM words \\gset c_
         \\echo count is :c_count
         \\timing on
         SELECT 1;
         EXPLAIN SELECT 1;
         COPY words FROM STDIN;\n4\tjack\t[9,9]\n\\.\nSELECT max(id) FROM words;\n",
        csv.display(),
        tsv.display()
    );
    let shown = psql(&server, &script);
    expect(
        &shown,
        &[
            "COPY 3",
            "king | 0",
            "queen, the | 1.4142135623730951",
            "count is 3",
            "QUERY PLAN",
            "Time:",
            "COPY 1",
            "max ----- 4",
        ],
    );
    assert_eq!(std::fs::read_to_string(&tsv).expect("the copy"), "1\tking\n2\tqueen, the\n3\t\\N\n");
    let client = server.connect().await;
    assert_eq!(one(&client, "SELECT count(*) FROM words").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_points_at_the_error() {
    let server = Server::shared();
    let mut command = server.command("psql");
    command.args(["--no-psqlrc", "--set", "VERBOSITY=verbose", "-c", "SELECT 1,\n  nothing_here"]);
    let output = command.output().expect("psql runs");
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(shown.contains("ERROR:  42703: column \"nothing_here\" does not exist"), "{shown}");
    assert!(shown.contains("LINE 2:   nothing_here\n          ^"), "{shown}");
}

/// The number after `name` in a report of pgbench.
fn figure(report: &str, name: &str) -> f64 {
    let line = report.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name:?} in:\n{report}"));
    let rest = &line[line.find(name).unwrap_or(0) + name.len()..];
    let digits: String =
        rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {name:?} in {line:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_keeps_its_books() {
    let server = Server::start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
         CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
         CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
         CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
         INSERT INTO pgbench_branches VALUES (1, 0);
         INSERT INTO pgbench_tellers SELECT g, 1, 0 FROM generate_series(1, 10) g;
         INSERT INTO pgbench_accounts SELECT g, 1, 0, '' FROM generate_series(1, 1000) g",
    )
    .await;
    let script = "\\set aid random(1, 1000)\n\\set tid random(1, 10)\n\\set delta random(-5000, 5000)\nBEGIN;\n\
                  UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n\
                  SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
                  UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;\n\
                  UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;\n\
                  INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);\nEND;\n";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("tpcb.sql");
    std::fs::write(&file, script).expect("a file");
    let mut total = 0.0;
    for mode in ["simple", "extended", "prepared"] {
        let mut command = server.command("pgbench");
        command.args(["-n", "-c", "4", "-j", "2", "-t", "25", "--random-seed=7", "-M", mode, "-f"]).arg(&file);
        let report = output(command, "");
        assert_eq!(figure(&report, "number of failed transactions:"), 0.0, "{report}");
        total += figure(&report, "number of transactions actually processed:");
    }
    assert_eq!(total, 300.0);
    let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(tbalance) FROM pgbench_tellers) \
                AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT bbalance FROM pgbench_branches) \
                AND (SELECT bbalance FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)";
    assert_eq!(one(&client, sums).await, "t");
    assert_eq!(one(&client, "SELECT count(*) FROM pgbench_history").await, "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_searches_in_every_mode() {
    let server = Server::start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE points (id int PRIMARY KEY, grp int, v vector(4));
         INSERT INTO points SELECT g, g % 10, ARRAY[sin(g), cos(g), sin(g * 0.37), cos(g * 0.11)]::vector FROM generate_series(1, 6000) g;
         CREATE INDEX ON points USING ivfpq (v vector_l2_ops)",
    )
    .await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("near.sql");
    let script = "\\set id random(1, 6000)\n\\set x random(-1000, 1000)\n\\set grp random(0, 9)\n\
                  SELECT id FROM points ORDER BY v <-> ('[0.' || abs(:x) || ',0.5,-0.5,0.1]')::vector LIMIT 10;\n\
                  SELECT id FROM points WHERE grp = :grp ORDER BY v <-> '[0.1,0.2,0.3,0.4]' LIMIT 10;\n\
                  SELECT v FROM points WHERE id = :id;\n";
    std::fs::write(&file, script).expect("a file");
    for mode in ["simple", "extended", "prepared"] {
        let mut command = server.command("pgbench");
        command.args(["-n", "-c", "2", "-j", "2", "-t", "100", "--random-seed=7", "-M", mode, "-f"]).arg(&file);
        let report = output(command, "");
        assert_eq!(figure(&report, "number of transactions actually processed:"), 200.0, "{report}");
        assert_eq!(figure(&report, "number of failed transactions:"), 0.0, "{report}");
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A check in Python, which prints `all held` at its end.
fn check_in_python(script: &str, arguments: impl FnOnce(&Server) -> Vec<String>) {
    let server = Server::start();
    let mut command = server.command(&python().display().to_string());
    command.arg(root().join("tools/clients/python").join(script)).args(arguments(&server));
    let shown = output(command, "");
    assert!(shown.contains("all held"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_3_works() {
    check_in_python("check.py", |server| vec![server.conninfo()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_2_works() {
    check_in_python("check_psycopg2.py", |server| vec![server.conninfo()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_works() {
    check_in_python("check_asyncpg.py", |_| Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn pg8000_works() {
    check_in_python("check_pg8000.py", |server| {
        let address = server.address();
        vec![address.ip().to_string(), address.port().to_string(), "lodedb".to_owned(), "lodedb".to_owned()]
    });
}

/// The packages of Node that the tests need.
pub(crate) fn node_modules() -> PathBuf {
    let folder =
        std::env::var_os("LODEDB_TEST_NODE_DIR").map_or_else(|| root().join("tools/clients/node"), PathBuf::from);
    let modules = folder.join("node_modules");
    let missing = ["pg", "postgres"].into_iter().find(|package| !modules.join(package).exists());
    assert!(missing.is_none(), "there is no {missing:?} in {}; run tools/install-test-deps.sh", modules.display());
    modules
}

fn check_in_node(script: &str) {
    let server = Server::start();
    let mut command = server.command("node");
    command.arg(root().join("tools/clients/node").join(script));
    command.env("NODE_PATH", node_modules()).env("LODEDB_NODE_MODULES", node_modules());
    let shown = output(command, "");
    assert!(shown.contains("all held"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres_works() {
    check_in_node("check.js");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_js_works() {
    check_in_node("check-postgres-js.mjs");
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_works() {
    let server = Server::start();
    let mut command = server.command("java");
    command.args(["-cp", "/usr/share/java/postgresql.jar"]).arg(root().join("tools/clients/java/Check.java"));
    command.arg(format!("jdbc:postgresql://{}/lodedb?user=lodedb", server.address()));
    let shown = output(command, "");
    assert!(shown.contains("all held"), "{shown}");
}

/// A program in Go or Rust that was built beside the Python that has what the tests need.
fn check_program(name: &str, arguments: impl FnOnce(&Server) -> String) {
    let server = Server::start();
    let program = python().with_file_name(name);
    let mut command = server.command(&program.display().to_string());
    command.arg(arguments(&server));
    let shown = output(command, "");
    assert!(shown.contains("all held"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pgx_works() {
    check_program("check-pgx", Server::conninfo);
}

fn url(server: &Server) -> String {
    format!("postgres://lodedb@{}/lodedb?sslmode=disable", server.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_works() {
    check_program("check-sqlx", url);
}

#[tokio::test(flavor = "multi_thread")]
async fn diesel_works() {
    check_program("check-diesel", url);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_were_turned_and_scaled_find_their_own_by_votes_of_descriptors() {
    let server = Server::start();
    let mut command = Command::new(models::python());
    let port = server.address().port().to_string();
    command.arg(root().join("examples/search/sift.py")).args(["--port", &port, "--rows", "8", "--asked", "2"]);
    expect(&output(command, ""), &["2 of 2 pictures, turned and scaled, find their own first"]);
}
