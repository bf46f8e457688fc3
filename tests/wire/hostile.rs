//! Clients that mean ill, and statements that run too long: the server and the other sessions live on.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::NoTls;

use crate::harness::raw::{RawClient, bind, execute, field, message, parse, query, startup, sync};
use crate::harness::{Server, error, one, run};

/// A query that would run for minutes.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE (a + b) % 7 = 3";

async fn lives(server: &Server) {
    let client = server.connect().await;
    assert_eq!(one(&client, "SELECT 1 + 1").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_the_statement_and_nothing_else() {
    let server = Server::start();
    let client = server.connect().await;
    let token = client.cancel_token();
    let canceller = tokio::spawn(async move {
        // A cancel that comes before the statement begins is lost, as in PostgreSQL; so it is sent until it works.
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if token.cancel_query(NoTls).await.is_err() {
                break;
            }
        }
    });
    let started = Instant::now();
    let failed = error(&client, ENDLESS).await;
    canceller.abort();
    assert_eq!((failed.code().code(), failed.message()), ("57014", "canceling statement due to user request"));
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    // A late cancel may still be under way; the session itself goes on.
    for _ in 0..50 {
        if client.simple_query("SELECT 1").await.is_ok() {
            return;
        }
    }
    panic!("the session does not come back after a cancel");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_cancel_key_cancels_nothing() {
    let server = Server::start();
    let mut raw = RawClient::bare(server.address());
    let answers = raw.ask(&startup(&[("user", "lodedb"), ("database", "lodedb")]));
    let (_, key) = answers.iter().find(|(tag, _)| *tag == 'K').expect("BackendKeyData").clone();
    let mut wrong = key[4..].to_vec();
    wrong[0] ^= 0x5a;
    let request = [&[0, 0, 0, 12 + wrong.len() as u8][..], &80_877_102u32.to_be_bytes(), &key[..4], &wrong].concat();
    raw.send(&query(
        "SELECT count(*) FROM generate_series(1, 3000) a, generate_series(1, 1000) b WHERE (a + b) % 7 = 3",
    ));
    let mut canceller = RawClient::bare(server.address());
    canceller.send(&request);
    assert_eq!(canceller.rest(), "");
    assert!(crate::harness::raw::shown(&raw.until_ready()).contains("C(SELECT 1) ZI"));
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_timeout_ends_a_statement() {
    let server = Server::start();
    let client = server.connect().await;
    run(&client, "SET statement_timeout = '200ms'").await;
    let started = Instant::now();
    let failed = error(&client, ENDLESS).await;
    assert_eq!((failed.code().code(), failed.message()), ("57014", "canceling statement due to statement timeout"));
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    assert_eq!(one(&client, "SELECT 1").await, "1");
    run(&client, "SET statement_timeout = 0").await;
    // It also ends waiting for a lock.
    let other = server.connect().await;
    run(&client, "CREATE TABLE waited (id int PRIMARY KEY); INSERT INTO waited VALUES (1)").await;
    run(&client, "BEGIN; UPDATE waited SET id = 1").await;
    run(&other, "SET statement_timeout = '200ms'").await;
    assert_eq!(error(&other, "DELETE FROM waited").await.code().code(), "57014");
    run(&client, "COMMIT").await;
    run(&other, "DELETE FROM waited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_leaves_the_server_alive() {
    let server = Server::start();
    let seed = 20_261_121;
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // Before the session: anything at all.
    let mut openings: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
        [&8u32.to_be_bytes()[..], &0xdead_beefu32.to_be_bytes()].concat(),
        [&4u32.to_be_bytes()[..], b"xx"].concat(),
        startup(&[("database", "lodedb")]),
        message('Q', b"SELECT 1\0"),
    ];
    for _ in 0..30 {
        let length = random.random_range(1..300);
        openings.push((0..length).map(|_| random.random()).collect());
    }
    for opening in &openings {
        let mut raw = RawClient::bare(server.address());
        raw.send(opening);
        raw.stream.shutdown(std::net::Shutdown::Write).ok();
        raw.rest();
    }
    lives(&server).await;
    // Within a session: messages of no meaning, and bodies that do not fit their type.
    for round in 0..60 {
        let mut raw = RawClient::connect(server.address());
        let length = random.random_range(0..40);
        let body: Vec<u8> = (0..length).map(|_| random.random()).collect();
        let tag = if round % 2 == 0 { b"QPBDECSHFdcfp"[round / 2 % 13] as char } else { random.random_range('!'..'~') };
        raw.send(&message(tag, &body));
        raw.send(&sync());
        raw.stream.shutdown(std::net::Shutdown::Write).ok();
        raw.rest();
    }
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_gigabyte_is_refused_unread() {
    let server = Server::start();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned();
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0)
    };
    // Before the session.
    let mut raw = RawClient::bare(server.address());
    raw.send(&(1u32 << 30).to_be_bytes());
    raw.send(&[0; 64]);
    raw.rest();
    // Within it.
    let before = resident();
    for tag in [b'Q', b'P', b'B', b'd'] {
        let mut raw = RawClient::connect(server.address());
        raw.send(&[&[tag][..], &(1u32 << 30).to_be_bytes(), &[b'x'; 1000]].concat());
        let answers = raw.until_ready();
        let state = answers.first().map(|(_, body)| field(body, 'C')).unwrap_or_default();
        assert!(["08P01", "54000", "53200"].contains(&state.as_str()), "{} answered {state:?}", tag as char);
    }
    assert!(resident() < before + 65_536, "memory grew from {before} to {} KiB", resident());
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_below_their_minimum_close_the_session() {
    let server = Server::start();
    for length in [0u32, 1, 3, u32::MAX] {
        let mut raw = RawClient::connect(server.address());
        raw.send(&[&b"Q"[..], &length.to_be_bytes(), b"x"].concat());
        raw.stream.shutdown(std::net::Shutdown::Write).ok();
        raw.rest();
    }
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_statements_are_refused_in_time() {
    let server = Server::start();
    let client = server.connect().await;
    let nested = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
    let cases = [
        nested(5_000),
        nested(100_000),
        format!("SELECT 1{}", "+1".repeat(200_000)),
        format!("SELECT {}1", "NOT ".repeat(50_000)),
        format!("SELECT {}1", "- ".repeat(50_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(30_000)),
        format!("SELECT a{}", "[1]".repeat(70_000)),
        format!("SELECT 1{}", "::int".repeat(70_000)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(3_000), " END".repeat(3_000)),
        format!("SELECT {}", "((((((((((((((((((((((((((((((".repeat(5)),
        format!("SELECT '{}'::jsonb", "[".repeat(200_000)),
        format!("SELECT '{}'::int[]", "{".repeat(200_000)),
    ];
    for sql in cases {
        let started = Instant::now();
        // Whether it is refused or answered: at once, and the session lives.
        if let Err(error) = client.simple_query(&sql).await {
            assert!(error.as_db_error().is_some(), "{}... broke the connection: {error}", &sql[..40]);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{}... took {:?}", &sql[..40], started.elapsed());
    }
    assert_eq!(one(&client, "SELECT 1").await, "1");
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_values_are_refused() {
    let server = Server::start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE heavy (id int PRIMARY KEY, v vector, t text)").await;
    let wide = format!("[{}]", vec!["1"; 16_001].join(","));
    let failed = error(&client, &format!("SELECT '{wide}'::vector")).await;
    assert_eq!((failed.code().code(), failed.message()), ("54000", "vector cannot have more than 16000 dimensions"));
    let widest = format!("[{}]", vec!["1"; 16_000].join(","));
    run(&client, &format!("INSERT INTO heavy VALUES (1, '{widest}', repeat('x', 3000000))")).await;
    assert_eq!(one(&client, "SELECT vector_dims(v) + length(t) FROM heavy").await, "3016000");
    let huge = client.simple_query(&format!("SELECT length('{}')", "y".repeat(20 << 20))).await;
    if let Err(failed) = huge {
        assert_eq!(failed.code().map(|code| code.code()), Some("54000"));
    }
    let huge = client.simple_query("SELECT length(repeat('x', 2000000000))").await;
    assert!(huge.is_err(), "a text of 2 GB was made");
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_told_so() {
    let server = Server::start();
    let mut clients = Vec::new();
    let refused = loop {
        match server.try_connect().await {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 500, "there is no limit");
    };
    assert_eq!(refused.code().map(|code| code.code()), Some("53300"));
    assert!(clients.len() >= 50, "only {} sessions", clients.len());
    assert_eq!(one(&clients[0], "SELECT 1").await, "1");
    // Room again when some leave.
    clients.truncate(10);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.try_connect().await.is_err() {
        assert!(Instant::now() < deadline, "the sessions that left still count");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_stops_nobody_else() {
    let server = Server::start();
    let mut stalled = RawClient::connect(server.address());
    let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)";
    stalled.send(&[parse("", sql), bind("", "", &[], 0), execute("", 0), sync()].concat());
    let client = server.connect().await;
    run(&client, "CREATE TABLE beside (id int PRIMARY KEY)").await;
    for id in 0..50 {
        run(&client, &format!("INSERT INTO beside VALUES ({id})")).await;
    }
    assert_eq!(one(&client, "SELECT count(*) FROM beside").await, "50");
    drop(stalled);
    lives(&server).await;
}
