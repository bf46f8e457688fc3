//! Starting, stopping, and what is there afterwards.

use std::process::{Command, Stdio};

use crate::harness::server::PROGRAM;
use crate::harness::{Server, one, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_cleanly_and_everything_is_there_again() {
    let mut server = Server::start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE kept (id serial PRIMARY KEY, name text UNIQUE DEFAULT 'x', v vector(2) NOT NULL, CHECK (id < 5000));
         CREATE INDEX kept_v ON kept USING ivfpq (v vector_l2_ops); CREATE INDEX kept_name ON kept (name);
         INSERT INTO kept (name, v) SELECT 'n' || g, ARRAY[g, -g]::vector FROM generate_series(1, 2000) g;
         DELETE FROM kept WHERE id % 10 = 0; UPDATE kept SET v = '[5000,5000]' WHERE id = 7",
    )
    .await;
    drop(client);
    let status = server.terminate();
    assert!(status.success(), "SIGTERM ended the server with {status}; it said:\n{}", server.log());
    server.restart();
    let client = server.connect().await;
    assert_eq!(one(&client, "SELECT count(*) FROM kept").await, "1800");
    assert_eq!(one(&client, "SELECT id FROM kept ORDER BY v <-> '[5001,5001]' LIMIT 1").await, "7");
    assert_eq!(
        rows(&client, "SELECT id FROM kept ORDER BY v <-> '[42,-42]', id LIMIT 3").await,
        [["42"], ["41"], ["43"]]
    );
    assert_eq!(
        crate::harness::error(&client, "INSERT INTO kept (name, v) VALUES ('n42', '[0,0]')").await.code().code(),
        "23505"
    );
    // A sequence never goes back.
    let next: i64 = one(&client, "INSERT INTO kept (name, v) VALUES ('new', '[0,0]') RETURNING id")
        .await
        .parse()
        .expect("a number");
    assert!(next > 2000, "the sequence gave {next}");
    assert_eq!(
        crate::harness::error(&client, "INSERT INTO kept VALUES (9999, 'big', '[0,0]')").await.code().code(),
        "23514"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE acknowledged (id int PRIMARY KEY, v vector(2))").await;
    for id in 0..50 {
        run(&client, &format!("INSERT INTO acknowledged VALUES ({id}, '[{id},0]')")).await;
    }
    run(&client, "DELETE FROM acknowledged WHERE id = 10; UPDATE acknowledged SET v = '[0,99]' WHERE id = 20").await;
    run(&client, "BEGIN; INSERT INTO acknowledged VALUES (1000, '[0,0]')").await;
    server.kill();
    server.restart();
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT count(*), sum(id), max(id) FROM acknowledged").await, [["49", "1215", "49"]]);
    assert_eq!(one(&client, "SELECT id FROM acknowledged ORDER BY v <-> '[0,100]' LIMIT 1").await, "20");
    assert_eq!(one(&client, "SELECT id FROM acknowledged ORDER BY v <-> '[10,0]', id LIMIT 1").await, "9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_owner_is_told_who_the_first_is() {
    let server = Server::start();
    let second = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.dir())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&server.pid().to_string()), "the holder is not named: {said}");
    let client = server.connect().await;
    assert_eq!(one(&client, "SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn lodedb_sql_works_with_and_without_a_server() {
    let mut server = Server::start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE shell (id int PRIMARY KEY, name text); INSERT INTO shell VALUES (1, 'one')").await;
    let sql = |texts: &[&str]| {
        let output = Command::new(PROGRAM).arg("sql").arg(server.dir()).args(texts).stdin(Stdio::null()).output();
        let output = output.expect("the program runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), format!("{out}{err}"))
    };
    let (done, said) = sql(&["SELECT name FROM shell", "INSERT INTO shell VALUES (2, 'two')"]);
    assert!(done && said.contains("one"), "{said}");
    assert_eq!(one(&client, "SELECT count(*) FROM shell").await, "2");
    let (done, said) = sql(&["SELECT nothing FROM shell"]);
    assert!(!done && said.contains("42703"), "{said}");
    drop(client);
    assert!(server.terminate().success());
    let sql = |texts: &[&str]| {
        let output = Command::new(PROGRAM).arg("sql").arg(server.dir()).args(texts).stdin(Stdio::null()).output();
        let output = output.expect("the program runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), format!("{out}{err}"))
    };
    let (done, said) = sql(&["SELECT count(*) AS rows_there FROM shell", "INSERT INTO shell VALUES (3, 'three')"]);
    assert!(done && said.contains("rows_there") && said.contains('2'), "{said}");
    let (done, said) = sql(&["SELECT name FROM shell WHERE id = 3"]);
    assert!(done && said.contains("three"), "{said}");
}

#[test]
fn help_tells_what_the_program_can() {
    for (arguments, words) in [
        (&["--help"][..], &["serve", "sql"][..]),
        (&["serve", "--help"][..], &["--data", "--listen"][..]),
        (&["--version"][..], &["lodedb"][..]),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().expect("the program runs");
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stdout);
        for word in words {
            assert!(said.contains(word), "{arguments:?} does not mention {word}: {said}");
        }
    }
    let output = Command::new(PROGRAM)
        .args(["serve", "--listen", "0.0.0.0:0", "--data"])
        .arg(std::env::temp_dir().join("lodedb-never"))
        .output();
    let output = output.expect("the program runs");
    assert!(!output.status.success(), "an address without passwords was opened to everybody");
}
