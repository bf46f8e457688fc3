//! Cancelling, disconnecting, shutting down.

use std::time::{Duration, Instant};

use super::client::*;
use super::serve;
use crate::server::connection::contained;
use crate::server::wire::Stop;

fn cancel_packet(pid: i32, key: i32) -> Vec<u8> {
    [16u32.to_be_bytes(), 80_877_102u32.to_be_bytes(), pid.to_be_bytes(), key.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_cancel_request_ends_the_statement() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let start = Instant::now();
    client.send(&query("SELECT pg_sleep(10)")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut canceller = Client::bare(address).await;
    canceller.send(&cancel_packet(client.pid, client.key)).await;
    assert_eq!(canceller.rest().await, "");
    assert!(shown(&client.until_ready().await).ends_with("E(57014) ZI"));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "T D(1) C(SELECT 1) ZI");
}

#[tokio::test]
async fn a_wrong_key_cancels_nothing_and_is_told_nothing() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    client.send(&query("SELECT pg_sleep(0.5)")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut canceller = Client::bare(address).await;
    canceller.send(&cancel_packet(client.pid, client.key ^ 1)).await;
    assert_eq!(canceller.rest().await, "");
    assert!(shown(&client.until_ready().await).ends_with("C(SELECT 1) ZI"));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_statement_with_it() {
    let (_server, address) = serve(|options| options.max_connections = 1).await;
    let mut client = Client::connect(address).await;
    client.send(&query("SELECT pg_sleep(15)")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    let start = Instant::now();
    loop {
        let mut next = Client::bare(address).await;
        if next.ask(&startup(3 << 16, &[("user", "u")])).await.last().is_some_and(|(tag, _)| *tag == 'Z') {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "the place never came free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn shutting_down_ends_idle_sessions_and_waits_for_busy_ones() {
    let (server, address) = serve(|_| {}).await;
    let mut idle = Client::connect(address).await;
    let mut busy = Client::connect(address).await;
    busy.send(&query("SELECT pg_sleep(0.3)")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    server.shutdown(Duration::from_secs(10)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(idle.rest().await, "E(57P01)");
    assert!(busy.rest().await.ends_with("C(SELECT 1) ZI E(57P01)"));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutting_down_cancels_what_outlasts_the_deadline() {
    let (server, address) = serve(|_| {}).await;
    let mut busy = Client::connect(address).await;
    busy.send(&query("SELECT pg_sleep(60)")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    server.shutdown(Duration::from_millis(100)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(busy.rest().await.contains("E(57014)"));
}

#[tokio::test]
async fn a_panic_ends_one_session() {
    let stop = contained(async { panic!("on purpose") }).await;
    assert!(matches!(stop, Stop::Fatal(error) if error.state().code() == "XX000"));
}
