//! The simple and the extended protocol.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::client::*;
use super::{open_database, serve};
use crate::server::ServerOptions;
use crate::server::connection;
use crate::server::listener::Shared;

#[tokio::test]
async fn a_query_holds_any_number_of_statements() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "T D(1) C(SELECT 1) ZI");
    assert_eq!(client.ask_shown(&query("SELECT 1; SELECT 1;")).await, "T D(1) C(SELECT 1) T D(1) C(SELECT 1) ZI");
    assert_eq!(client.ask_shown(&query("")).await, "I ZI");
    assert_eq!(client.ask_shown(&query(" ;; ")).await, "I ZI");
}

#[tokio::test]
async fn the_first_error_ends_a_query() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask_shown(&query("SELECT 1; SELECT 1/0; SELECT 1")).await, "T D(1) C(SELECT 1) E(22012) ZI");
    let answers = client.ask(&query("SELEC 1")).await;
    assert_eq!(shown(&answers), "E(42601) ZI");
    assert_eq!((field(&answers[0].1, 'P'), field(&answers[0].1, 'S')), ("1".into(), "ERROR".into()));
}

#[tokio::test]
async fn the_status_byte_follows_the_transaction() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask_shown(&query("BEGIN")).await, "C(BEGIN) ZT");
    assert_eq!(client.ask_shown(&query("SELEC 1")).await, "E(42601) ZE");
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "E(25P02) ZE");
    assert_eq!(client.ask_shown(&query("COMMIT")).await, "C(ROLLBACK) ZI");
}

#[tokio::test]
async fn notices_and_settings_are_told() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask_shown(&query("DROP TABLE IF EXISTS missing")).await, "N(00000) C(DROP TABLE) ZI");
    let answers = client.ask(&query("SET application_name = 'renamed'")).await;
    assert_eq!(shown(&answers), "C(SET) S ZI");
    assert_eq!(answers[1].1, b"application_name\0renamed\0");
}

#[tokio::test]
async fn an_error_in_the_middle_of_rows_ends_the_statement() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let text = "SELECT 1/(3 - g) FROM generate_series(1, 3) AS g";
    assert!(client.ask_shown(&query(text)).await.ends_with("E(22012) ZI"));
    assert!(client.ask_shown(&query("SELECT 1")).await.ends_with("ZI"));
}

#[tokio::test]
async fn a_statement_is_parsed_bound_described_and_executed() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let group = [
        parse("s", "SELECT $1::int8 AS n"),
        describe('S', "s"),
        bind("", "s", &["42"]),
        describe('P', ""),
        execute("", 0),
        sync(),
    ]
    .concat();
    let answers = client.ask(&group).await;
    assert_eq!(shown(&answers), "1 t T 2 T D(42) C(SELECT 1) ZI");
    assert_eq!(answers[1].1, [0, 1, 0, 0, 0, 20]);
    assert_eq!(answers[2].1, [&b"\0\x01n\0"[..], &[0; 6], &[0, 0, 0, 20, 0, 8, 255, 255, 255, 255, 0, 0]].concat());
    let binary = encode(&pgwire::messages::extendedquery::Bind::new(
        None,
        Some("s".into()),
        vec![1],
        vec![Some(7i64.to_be_bytes().to_vec().into())],
        vec![1],
    ));
    let answers = client.ask(&[binary, execute("", 0), close('S', "s"), close('S', "s"), sync()].concat()).await;
    assert_eq!(answers[1].1, [&[0, 1, 0, 0, 0, 8][..], &7i64.to_be_bytes()].concat());
    let tags: String = answers.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, "2DC33Z");
    assert_eq!(client.ask_shown(&[bind("", "s", &["1"]), sync()].concat()).await, "E(26000) ZI");
}

#[tokio::test]
async fn an_empty_statement_answers_nothing() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    for name in ["", "named"] {
        let group = [parse(name, " "), describe('S', name), bind("", name, &[]), execute("", 0), sync()].concat();
        assert_eq!(client.ask_shown(&group).await, "1 t n 2 I ZI");
    }
    assert_eq!(client.ask_shown(&[parse("", "SELECT 1; SELECT 1"), sync()].concat()).await, "E(42601) ZI");
}

#[tokio::test]
async fn a_row_limit_suspends_a_portal() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let start = [parse("", "SELECT g FROM generate_series(1, 5) AS g"), bind("p", "", &[]), execute("p", 2)].concat();
    // Within one implicit transaction: no Sync yet.
    client.send(&[start, execute("p", 2), execute("p", 2), execute("p", 2), sync()].concat()).await;
    assert_eq!(shown(&client.until_ready().await), "1 2 D(1) D(2) s D(3) D(4) s D(5) C(SELECT 1) C(SELECT 0) ZI");
    // The Sync has ended the transaction and the portal with it.
    assert_eq!(client.ask_shown(&[execute("p", 0), sync()].concat()).await, "E(34000) ZI");
}

#[tokio::test]
async fn a_limit_that_is_met_exactly_suspends_too() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let group = [parse("", "SELECT 1"), bind("", "", &[]), execute("", 1), execute("", 1), sync()].concat();
    assert_eq!(client.ask_shown(&group).await, "1 2 D(1) s C(SELECT 0) ZI");
}

#[tokio::test]
async fn portals_of_a_block_outlive_sync_but_not_the_block() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    client.ask(&query("BEGIN")).await;
    let start =
        [parse("", "SELECT g FROM generate_series(1, 3) AS g"), bind("c", "", &[]), execute("c", 1), sync()].concat();
    assert_eq!(client.ask_shown(&start).await, "1 2 D(1) s ZT");
    assert_eq!(client.ask_shown(&[execute("c", 1), sync()].concat()).await, "D(2) s ZT");
    assert_eq!(client.ask_shown(&[bind("c", "", &[]), sync()].concat()).await, "E(42P03) ZE");
    assert_eq!(client.ask_shown(&[execute("c", 1), sync()].concat()).await, "E(25P02) ZE");
    assert_eq!(client.ask_shown(&query("ROLLBACK")).await, "C(ROLLBACK) ZI");
    assert_eq!(client.ask_shown(&[execute("c", 1), sync()].concat()).await, "E(34000) ZI");
}

#[tokio::test]
async fn an_error_skips_to_sync() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let good = [parse("", "SELECT 1"), bind("", "", &[]), execute("", 0)].concat();
    let group = [good.clone(), bind("", "none", &[]), good.clone(), query("SELECT 1"), sync(), good, sync()].concat();
    client.send(&group).await;
    assert_eq!(shown(&client.until_ready().await), "1 2 D(1) C(SELECT 1) E(26000) ZI");
    assert_eq!(shown(&client.until_ready().await), "1 2 D(1) C(SELECT 1) ZI");
}

#[tokio::test]
async fn an_error_is_told_before_the_sync_comes() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    client.send(&execute("none", 0)).await;
    assert_eq!(shown(&[client.answer().await.expect("an answer")]), "E(34000)");
    assert_eq!(client.ask_shown(&sync()).await, "ZI");
}

#[tokio::test]
async fn mistakes_in_binding_have_postgresqls_codes() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    client.ask(&[parse("s", "SELECT $1::int8 AS n"), sync()].concat()).await;
    let bound = |formats, values, results| {
        encode(&pgwire::messages::extendedquery::Bind::new(None, Some("s".into()), formats, values, results))
    };
    let value = |bytes: &[u8]| Some(bytes::Bytes::copy_from_slice(bytes));
    for (message, code) in [
        (parse("s", "SELECT 1"), "42P05"),
        (bind("", "s", &[]), "08P01"),
        (bind("", "s", &["1", "2"]), "08P01"),
        (bind("", "s", &["x"]), "22P02"),
        (bound(vec![1], vec![value(&[1, 2, 3])], vec![]), "08P01"),
        (bound(vec![1], vec![value(&[0; 9])], vec![]), "22P03"),
        (bound(vec![0], vec![value(b"1")], vec![0, 1]), "08P01"),
        (bound(vec![0], vec![value(b"\xff")], vec![]), "22021"),
        (encode(&pgwire::messages::extendedquery::Parse::new(None, "SELECT 1".into(), vec![1])), "42704"),
        (raw('F', &[0; 8]), "0A000"),
    ] {
        let answers = client.ask(&[message, sync()].concat()).await;
        assert_eq!(shown(&answers), format!("E({code}) ZI"));
        if answers[0].1.windows(5).any(|part| part == b"0A000") {
            // A function call is answered by ReadyForQuery itself, and the Sync by another.
            client.until_ready().await;
        }
    }
}

#[tokio::test]
async fn flush_sends_what_there_is() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    client.send(&[parse("", "SELECT 1"), raw('H', b"")].concat()).await;
    assert_eq!(client.answer().await, Some(('1', vec![])));
    assert_eq!(client.ask_shown(&sync()).await, "ZI");
}

#[tokio::test]
async fn long_results_arrive_whole() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let answers = client.ask(&query("SELECT g::int8, g::text FROM generate_series(1, 50000) AS g")).await;
    assert_eq!(answers.len(), 50_003);
    assert_eq!(row(&answers[50_000].1), ["50000", "50000"]);
    assert_eq!(shown(&answers[50_001..]), "C(SELECT 50000) ZI");
}

/// A socket that counts how often it is written to.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}
impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_pipelined_group_is_answered_with_one_write() {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let shared = Arc::new(Shared::new(open_database(), ServerOptions::default()));
    let slot = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().expect("a slot");
    let phase = shared.registry.watch();
    tokio::spawn(connection::serve(shared, Box::new(Counted(far, writes.clone())), slot, phase));
    near.write_all(&startup(3 << 16, &[("user", "u")])).await.expect("is sent");
    let mut answer = vec![0; 4096];
    let _ = near.read(&mut answer).await.expect("is read");
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    let group =
        [parse("", "SELECT $1::int8 AS n"), bind("", "", &["1"]), describe('P', ""), execute("", 0), sync()].concat();
    near.write_all(&group).await.expect("is sent");
    let read = near.read(&mut answer).await.expect("is read");
    assert_eq!(answer[..read].last(), Some(&b'I'));
    assert_eq!(writes.load(Ordering::Relaxed), 2);
}

#[tokio::test]
#[ignore = "a measurement: run it alone, in release"]
async fn speed_of_prepared_statements() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    client.ask(&[parse("s", "SELECT $1::int8 AS n"), sync()].concat()).await;
    let group = [bind("", "s", &["1"]), describe('P', ""), execute("", 0), sync()].concat();
    let (count, start) = (20_000, std::time::Instant::now());
    for _ in 0..count {
        client.ask(&group).await;
    }
    println!("{:.0} statements/s, one at a time", f64::from(count) / start.elapsed().as_secs_f64());
    // Many Syncs at once: the server's own work, without the round trips.
    let many = group.repeat(100);
    let start = std::time::Instant::now();
    for _ in 0..count / 100 {
        client.send(&many).await;
        for _ in 0..100 {
            client.until_ready().await;
        }
    }
    println!("{:.0} statements/s, a hundred in flight", f64::from(count) / start.elapsed().as_secs_f64());
    let start = std::time::Instant::now();
    client.ask(&query("SELECT g::int8, g::text FROM generate_series(1, 1000000) AS g")).await;
    println!("{:.0} rows/s over the socket, client included", 1e6 / start.elapsed().as_secs_f64());
}
