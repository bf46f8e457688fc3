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
async fn guessed_cancel_keys_hit_nothing() {
    let server = Server::start();
    let begin = || {
        let mut raw = RawClient::bare(server.address());
        let answers = raw.ask(&startup(&[("user", "lodedb"), ("database", "lodedb")]));
        let (_, body) = answers.iter().find(|(tag, _)| *tag == 'K').expect("BackendKeyData").clone();
        (raw, body[..4].to_vec(), body[4..].to_vec())
    };
    let cancel = |pid: &[u8], key: &[u8]| {
        let mut raw = RawClient::bare(server.address());
        let length = 8 + pid.len() as u32 + key.len() as u32;
        raw.send(&[&length.to_be_bytes()[..], &80_877_102u32.to_be_bytes(), pid, key].concat());
        raw.rest()
    };
    let (ended, _, old_key) = begin();
    drop(ended);
    let ((mut victim, pid, key), (_other, other_pid, other_key)) = (begin(), begin());
    victim.send(&query("SELECT pg_sleep(600)"));
    let mut guesses: Vec<Vec<u8>> = vec![
        vec![0; 4],
        vec![0xff; 4],
        old_key,
        other_key,
        pid.clone(),
        key.iter().rev().copied().collect(),
        [&key[..], &[0]].concat(),
        [&key[..], &key[..]].concat(),
        [&[0; 4], &key[..]].concat(),
        [&key[..], &[0; 252]].concat(),
    ];
    for bit in 0..32 {
        let mut near = key.clone();
        near[bit / 8] ^= 1 << (bit % 8);
        guesses.push(near);
    }
    let seed = 20_261_122;
    let mut random = StdRng::seed_from_u64(seed);
    guesses.extend((0..2000).map(|_| random.random::<[u8; 4]>().to_vec()));
    for guess in guesses.iter().filter(|guess| **guess != key) {
        assert_eq!(cancel(&pid, guess), "", "a wrong key is answered by silence");
    }
    // The right key of another session, and what is too short or too long to be one.
    assert_eq!(cancel(&other_pid, &key), "");
    for wrong in [&key[..0], &key[..3], &[0; 257]] {
        assert_eq!(cancel(&pid, wrong), "E(08P01)", "{} bytes", wrong.len());
    }
    let client = server.connect().await;
    let number = i32::from_be_bytes([pid[0], pid[1], pid[2], pid[3]]);
    let running = format!("SELECT query FROM pg_stat_activity WHERE state = 'active' AND pid = {number}");
    assert_eq!(one(&client, &running).await, "SELECT pg_sleep(600)");
    assert_eq!(cancel(&pid, &key), "");
    assert_eq!(crate::harness::raw::shown(&victim.until_ready()), "T E(57014) ZI");
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
    run(&other, "SET statement_timeout = 0; DELETE FROM waited").await;
}

/// How many seconds of processor time a process has used.
fn processor_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server's stat");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse().ok()).collect();
    ticks.iter().sum::<f64>() / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_runs_long_ends_at_once_and_leaves_nothing_running() {
    let server = Server::start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE sink (x int); SET statement_timeout = '100ms'").await;
    let (a, b) = ("generate_series(1, 100000) a", "generate_series(1, 100000) b");
    let statements = [
        format!("SELECT sum(a * b) FROM {a}, {b}"),
        format!("SELECT count(*) FROM {a}, {b} WHERE a + b < 0"),
        format!("SELECT a % 10, count(*) FROM {a}, {b} GROUP BY 1"),
        format!("SELECT count(*) FROM {a} LEFT JOIN {b} ON a + b < 0"),
        format!("SELECT count(*) FROM {a} JOIN {b} ON a % 2 = b % 2"),
        format!("SELECT count(*) FROM {a} JOIN {b} ON a % 2 = b % 2 AND a + b < 0"),
        format!("SELECT count(*) FROM {a} WHERE EXISTS (SELECT 1 FROM {b} WHERE a % 2 = b % 2 AND a + b < 0)"),
        format!("SELECT count(*) FROM {a} WHERE a > (SELECT count(*) FROM {b} WHERE b % 7 = a % 7)"),
        format!("SELECT count(*) FROM {a}, LATERAL (SELECT * FROM {b} WHERE b > a) AS l"),
        format!("INSERT INTO sink SELECT 1 FROM {a}, {b} WHERE a + b < 0"),
        format!("UPDATE sink SET x = 1 WHERE (SELECT count(*) FROM {a}, {b} WHERE a + b < 0) > 0"),
        format!("EXPLAIN ANALYZE SELECT count(*) FROM {a}, {b} WHERE a + b < 0"),
        "SELECT pg_sleep(60)".to_owned(),
        "SELECT count(*) FROM generate_series(1, 10000000000) a".to_owned(),
        "SELECT count(*) FROM generate_series(1, 10000000000) a WHERE md5(a::text) LIKE 'zz%'".to_owned(),
        "SELECT a FROM generate_series(1, 10000000) a ORDER BY a % 1000, a DESC OFFSET 9999999".to_owned(),
        "SELECT sum(n) FROM (SELECT row_number() OVER (ORDER BY a % 9) AS n FROM generate_series(1, 10000000) a) AS w"
            .to_owned(),
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r".to_owned(),
    ];
    run(&client, "INSERT INTO sink VALUES (1)").await;
    for sql in &statements {
        let started = Instant::now();
        let failed = error(&client, sql).await;
        assert_eq!(failed.code().code(), "57014", "{sql}: {}", failed.message());
        assert!(started.elapsed() < Duration::from_secs(2), "{sql} took {:?}", started.elapsed());
    }
    let before = processor_seconds(server.pid());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = processor_seconds(server.pid()) - before;
    assert!(used < 0.3, "{used} s of work went on after the last statement had ended");
    assert_eq!(one(&client, "SELECT count(*) FROM sink").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_use_every_processor_keep_nobody_waiting() {
    let server = Server::start();
    let mut tokens = Vec::new();
    let mut busy = Vec::new();
    for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) * 2 + 1 {
        let client = server.connect().await;
        tokens.push(client.cancel_token());
        busy.push(tokio::spawn(async move {
            let sql = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a + b < 0";
            error(&client, sql).await.code().code().to_owned()
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    lives(&server).await;
    assert!(started.elapsed() < Duration::from_secs(3), "a new session waited {:?}", started.elapsed());
    for token in tokens {
        token.cancel_query(NoTls).await.expect("the cancel is taken");
    }
    for statement in busy {
        assert_eq!(statement.await.expect("no panic"), "57014");
    }
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

fn chain_of_with_queries(length: usize, next: impl Fn(&str) -> String) -> String {
    let rest: String = (1..length).map(|at| format!(", w{at} AS ({})", next(&format!("w{}", at - 1)))).collect();
    format!("WITH w0 AS (SELECT 1 AS x){rest} SELECT count(*) FROM w{}", length - 1)
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
        format!("SELECT '{}'::json", "{\"a\":".repeat(200_000)),
        format!("SELECT '{}{}'::jsonb", "[".repeat(512), "]".repeat(512)),
        format!("SELECT 1{}", "+1".repeat(195)),
        format!("SELECT 1{} FROM (VALUES (1)) v(a)", "+a".repeat(195)),
        format!("SELECT 'a'{}", "||'a'".repeat(195)),
        format!("SELECT true FROM (VALUES (1)) v(a) WHERE a = 1{}", " AND a = 1".repeat(1_600)),
        format!("SELECT 1 FROM (VALUES (1)) v(a) WHERE a = 0{}", " OR a = 1".repeat(1_600)),
        format!("SELECT 1{}", "::int".repeat(195)),
        format!("SELECT 1{}", " IS NULL".repeat(4_900)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(900)),
        format!("SELECT {}1{}", "abs(".repeat(45), ")".repeat(45)),
        format!("SELECT * FROM {}(VALUES (1)) v{}", "(SELECT * FROM ".repeat(40), ") v".repeat(40)),
        format!("SELECT * FROM {}", vec!["(VALUES (1)) v"; 100_000].join(",")),
        chain_of_with_queries(100_000, |before| format!("SELECT x FROM {before}")),
        chain_of_with_queries(40, |before| format!("SELECT l.x FROM {before} l, {before} r")),
        format!("SELECT 'x' ~ '{}a{}'", "(".repeat(10_000), ")".repeat(10_000)),
        "SELECT 'x' ~ '(((a{1000}){1000}){1000}){1000}'".to_owned(),
        "SELECT '1e1000000000'::numeric".to_owned(),
        "SELECT power(10::numeric, 1000000000)".to_owned(),
        "SELECT round(1.5::numeric, 2147483647)".to_owned(),
        format!("{}SELECT nothing", "SELECT 1;".repeat(3_000)),
        format!("SELECT 1 WHERE 1 IN ({})", vec!["2"; 50_000].join(",")),
    ];
    for sql in cases {
        let started = Instant::now();
        // Whether it is refused or answered: at once, and the session lives.
        if let Err(error) = client.simple_query(&sql).await {
            assert!(error.as_db_error().is_some(), "{}... broke the connection: {error}", &sql[..40]);
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{}... took {:?}", &sql[..40], started.elapsed());
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
    for (huge, state) in [
        ("repeat('x', 2000000000)", "54000"),
        ("lpad('x', 2000000000)", "54000"),
        ("rpad('x', 2000000000, 'ab')", "54000"),
        ("replace(repeat('x', 100000), 'x', repeat('y', 100000))", "54000"),
        ("regexp_replace(repeat('x', 100000), 'x', repeat('y', 100000), 'g')", "54000"),
        ("format('%2000000000s', 'x')", "54000"),
        ("format('%99999999999s', 'x')", "22003"),
    ] {
        let failed = error(&client, &format!("SELECT length({huge})")).await;
        assert_eq!(failed.code().code(), state, "{huge}: {}", failed.message());
    }
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_in_memory_goes_to_disk_or_is_refused() {
    let server = Server::start_with(&["--query-memory", "64"]);
    let client = server.connect().await;
    let grouped = "SELECT count(*) FROM (SELECT a, n, count(*) FROM (SELECT (n * 7919) % 10000019 AS a, n \
                   FROM generate_series(1, 5000000::bigint) n) s GROUP BY 1, 2) t";
    assert_eq!(one(&client, grouped).await, "5000000");
    let folders = std::fs::read_dir(server.dir().join("spill")).expect("the folder of what is put aside");
    let left: usize = folders.flatten().map(|folder| std::fs::read_dir(folder.path()).expect("a folder").count()).sum();
    assert_eq!(left, 0, "files are left");
    let failed =
        error(&client, "SELECT array_length(array_agg(n), 1) FROM generate_series(1, 100000000::bigint) n").await;
    assert_eq!((failed.code().code(), failed.message()), ("53200", "out of memory"));
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
