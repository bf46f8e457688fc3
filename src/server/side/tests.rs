//! The side port over real sockets, with clients that mean well and others.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::db::{Db, Options};
use crate::server::ServerOptions;

fn loopback() -> SideOptions {
    SideOptions { address: SocketAddr::from(([127, 0, 0, 1], 0)), any_address: false, search: None }
}

/// Sends `request` and gives all that comes back.
async fn asked(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    asked(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_database_from_opening_to_closing() {
    let port = SidePort::start(loopback()).await.expect("a port");
    let address = port.local_addr();
    let health = get(address, "/health").await;
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("\"status\":\"recovering\""), "{health}");
    let metrics = get(address, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("\nlodedb_up 0\n"), "{metrics}");
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), Options::for_test()).expect("a database");
    let options = ServerOptions { listen: Vec::new(), ..ServerOptions::default() };
    let server = Server::start(db.clone(), options).await.expect("a server");
    port.opened(&server);
    let health = get(address, "/health?verbose").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.contains("\"status\":\"ready\""), "{health}");
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("\nlodedb_up 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
    let head = asked(address, "HEAD /health HTTP/1.1\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
    assert!(asked(address, "DELETE /health HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    port.closing();
    let health = get(address, "/health").await;
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("\"status\":\"stopping\""), "{health}");
    drop(port);
    server.shutdown(Duration::from_secs(1)).await;
    db.close().expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_wait_for_the_database() {
    let search = SearchOptions { role: "lodedb".into(), hosts: Vec::new() };
    let port = SidePort::start(SideOptions { search: Some(search), ..loopback() }).await.expect("a port");
    let page = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let early = asked(port.local_addr(), &page("localhost")).await;
    assert!(early.starts_with("HTTP/1.1 503 ") && early.contains("57P03"), "{early}");
    assert!(asked(port.local_addr(), &page("elsewhere")).await.starts_with("HTTP/1.1 403 "));
    port.closing();
    let late = asked(port.local_addr(), &page("127.0.0.1:80")).await;
    assert!(late.starts_with("HTTP/1.1 503 ") && late.contains("shutting down"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_or_too_much_hold_nobody_up() {
    let port = SidePort::start(loopback()).await.expect("a port");
    let address = port.local_addr();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
    assert!(asked(address, &long).await.starts_with("HTTP/1.1 431 "));
    assert!(asked(address, "\u{16}\u{3}garbage\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        socket.write_all(b"GET /health HT").await.expect("it is sent");
        silent.push(socket);
    }
    // Every place is taken; whoever holds one loses it after its time.
    let health = get(address, "/health").await;
    assert!(health.contains("recovering"), "{health}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    for mut socket in silent {
        assert_eq!(socket.read(&mut [0; 16]).await.unwrap_or(0), 0, "a silent client was answered");
    }
}

#[tokio::test]
async fn an_address_others_can_reach_must_be_meant() {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    let Err(refused) = SidePort::start(SideOptions { address, any_address: false, search: None }).await else {
        panic!("it listens");
    };
    assert_eq!(refused.state(), SqlState::InvalidParameterValue);
    SidePort::start(SideOptions { address, any_address: true, search: None }).await.expect("it was meant");
}
