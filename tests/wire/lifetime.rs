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
    let second = Command::new(&*PROGRAM)
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
        let output = Command::new(&*PROGRAM).arg("sql").arg(server.dir()).args(texts).stdin(Stdio::null()).output();
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
        let output = Command::new(&*PROGRAM).arg("sql").arg(server.dir()).args(texts).stdin(Stdio::null()).output();
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
fn tools_make_no_database_where_there_is_none() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (empty, file) = (temporary.path().join("empty"), temporary.path().join("file"));
    std::fs::create_dir(&empty).expect("made");
    std::fs::write(&file, "").expect("made");
    for place in [&empty, &file, &temporary.path().join("nothing")] {
        let to = temporary.path().join("backups").display().to_string();
        for arguments in [["check", "--json"].as_slice(), &["sql", "SELECT 1"], &["backup", "--to", &to]] {
            let mut command = Command::new(&*PROGRAM);
            command.arg(arguments[0]).arg(place).args(&arguments[1..]).stdin(Stdio::null());
            let output = command.output().expect("the program runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("holds no database"), "{arguments:?}: {said}");
        }
    }
    assert_eq!(std::fs::read_dir(&empty).expect("still there").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_from_a_running_server_and_restored_to_another_directory() {
    let mut server = Server::start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE safe (id serial PRIMARY KEY, v vector(2)); CREATE INDEX ON safe USING ivfpq (v vector_l2_ops);
         INSERT INTO safe (v) SELECT ARRAY[g, -g]::vector FROM generate_series(1, 5000) g",
    )
    .await;
    let temporary = tempfile::tempdir().expect("a directory");
    let (folder, copy) = (temporary.path().join("it's backups"), temporary.path().join("copy"));
    let lodedb = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(&*PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("the program runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), format!("{out}{err}"))
    };
    let backup = ["backup".as_ref(), server.dir().as_os_str(), "--to".as_ref(), folder.as_os_str()];
    let (done, said) = lodedb(&backup);
    assert!(done && said.contains("backup 1 of"), "{said}");
    run(&client, "DELETE FROM safe WHERE id > 2").await;
    drop(client);
    assert!(server.terminate().success());
    // Without a server the program opens the database itself.
    let backup = ["backup".as_ref(), server.dir().as_os_str(), "--to".as_ref(), folder.as_os_str()];
    let (done, said) = lodedb(&backup);
    assert!(done && said.contains("backup 2 of"), "{said}");
    let mut path = server.dir().join("segments");
    while path.is_dir() {
        let mut entries = std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path());
        path = entries.next().expect("a file");
    }
    let whole = std::fs::read(&path).expect("a file");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    std::fs::write(&path, damaged).expect("it is written");
    let mut mend = vec!["check".as_ref(), server.dir().as_os_str(), "--repair".as_ref()];
    mend.extend(["--backups".as_ref(), folder.as_os_str()]);
    let (done, said) = lodedb(&mend);
    assert!(done && said.contains("put back from backup") && said.contains("no faults"), "{said}");
    assert_eq!(std::fs::read(&path).expect("a file"), whole);

    let first = ["restore".as_ref(), folder.as_os_str(), "--to".as_ref(), copy.as_os_str(), "--backup=1".as_ref()];
    let (done, said) = lodedb(&first);
    assert!(done && said.contains("is backup 1"), "{said}");
    let restored = Server::start_in(&copy);
    let client = restored.connect().await;
    assert_eq!(one(&client, "SELECT count(*) FROM safe").await, "5000");
    assert_eq!(one(&client, "SELECT id FROM safe ORDER BY v <-> '[42,-42]' LIMIT 1").await, "42");
    let (done, said) = lodedb(&first);
    assert!(!done && said.contains("not empty"), "a restore went over a database: {said}");
    assert_eq!(one(&client, "SELECT count(*) FROM safe").await, "5000");
    let error = crate::harness::error(&client, &format!("BACKUP TO '{}'", copy.join("meta").display())).await;
    assert_eq!(error.code().code(), "22023");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_every_byte_that_was_changed() {
    let mut server = Server::start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE checked (id serial PRIMARY KEY, name text, v vector(64));
         CREATE INDEX ON checked (name);
         INSERT INTO checked (name, v) SELECT 'n' || g % 100, (SELECT array_agg(sin(g * j)::real) FROM generate_series(1, 64) AS s(j))::vector
         FROM generate_series(1, 6000) AS t(g);
         DELETE FROM checked WHERE id % 7 = 0; UPDATE checked SET name = 'other' WHERE id % 11 = 0",
    )
    .await;
    run(&client, "CREATE INDEX ON checked USING ivfpq (v vector_l2_ops)").await;
    run(&client, "CHECKPOINT").await;
    assert!(rows(&client, "CHECK TABLE checked").await.is_empty());
    assert_eq!(crate::harness::error(&client, "CHECK TABLE nothing").await.code().code(), "42P01");
    let check = |arguments: &[&str]| {
        let output = Command::new(&*PROGRAM).arg("check").arg(server.dir()).args(arguments).output();
        let output = output.expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, said) = check(&[]);
    assert!(status == Some(0) && said.contains("no faults"), "{said}");
    let mut files = vec![server.dir().join("segments"), server.dir().join("quantizers")];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let whole = std::fs::read(&path).expect("a file");
        let mut damaged = whole.clone();
        let at = whole.len() * (seen % 7 + 1) / 8;
        damaged[at] ^= 1;
        // In place: the server has it mapped.
        write_in_place(&path, &damaged);
        let (status, said) = check(&["--json"]);
        write_in_place(&path, &whole);
        assert_eq!(status, Some(3), "byte {at} of {} was changed: {said}", path.display());
        let told: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
        assert!(told.iter().all(|fault| fault["file"] == path.to_str().expect("UTF-8")), "{said}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen} files");
    let (status, said) = check(&["--json"]);
    assert!(status == Some(0) && said.trim() == "[]", "{said}");
    drop(client);
    assert!(server.terminate().success());
}

fn write_in_place(path: &std::path::Path, bytes: &[u8]) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.write_all(bytes).expect("it is written");
}

#[test]
fn help_tells_what_the_program_can() {
    for (arguments, words) in [
        (&["--help"][..], &["serve", "sql", "backup", "restore", "check"][..]),
        (&["serve", "--help"][..], &["--data", "--listen"][..]),
        (&["--version"][..], &["lodedb"][..]),
    ] {
        let output = Command::new(&*PROGRAM).args(arguments).output().expect("the program runs");
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stdout);
        for word in words {
            assert!(said.contains(word), "{arguments:?} does not mention {word}: {said}");
        }
    }
    let output = Command::new(&*PROGRAM)
        .args(["serve", "--listen", "0.0.0.0:0", "--data"])
        .arg(std::env::temp_dir().join("lodedb-never"))
        .output();
    let output = output.expect("the program runs");
    assert!(!output.status.success(), "an address without passwords was opened to everybody");
}
