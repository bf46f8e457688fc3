//! Bytes that no honest client sends.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::*;
use super::serve;

async fn still_alive(address: std::net::SocketAddr) {
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "T D(1) C(SELECT 1) ZI");
}

#[tokio::test]
async fn garbage_before_a_session_is_answered_and_closed() {
    let (_server, address) = serve(|_| {}).await;
    let long = [&10_001u32.to_be_bytes()[..], &[0; 4]].concat();
    for packet in
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), long, vec![0; 8], vec![0xff; 100], vec![0x16, 3, 1, 2, 0, 1, 0, 1]]
    {
        let mut client = Client::bare(address).await;
        client.send(&packet).await;
        assert_eq!(client.rest().await, "E(08P01)", "{packet:?}");
    }
    still_alive(address).await;
}

#[tokio::test]
async fn a_startup_packet_may_be_ten_thousand_bytes() {
    let (_server, address) = serve(|_| {}).await;
    let overhead = startup(3 << 16, &[("user", "u"), ("application_name", "")]).len();
    let name = "a".repeat(10_000 - overhead);
    let mut client = Client::bare(address).await;
    let packet = startup(3 << 16, &[("user", "u"), ("application_name", &name)]);
    assert_eq!(packet.len(), 10_000);
    assert_eq!(client.ask(&packet).await.last(), Some(&('Z', b"I".to_vec())));
}

#[tokio::test]
async fn messages_of_unknown_type_end_the_session() {
    let (_server, address) = serve(|_| {}).await;
    for bytes in [&b"?"[..], b"\0\0\0\0\x04", b"Q\0\0\0\x03", b"Q\xff\xff\xff\xff", b"p\0\0\0\x05\0"] {
        let mut client = Client::connect(address).await;
        client.send(bytes).await;
        assert_eq!(client.rest().await, "E(08P01)", "{bytes:?}");
    }
    still_alive(address).await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_passed_over_and_the_session_lives() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    let length = (1 << 20) + 1;
    let answers = client.ask(&raw('Q', &vec![b'x'; length])).await;
    assert_eq!(shown(&answers), "E(54000) ZI");
    client.send(&raw('B', &vec![0; length])).await;
    assert_eq!(shown(&[client.answer().await.expect("an answer")]), "E(54000)");
    assert_eq!(client.ask_shown(&sync()).await, "ZI");
    let text = format!("{}SELECT 1", " ".repeat((1 << 20) - 9));
    assert_eq!(client.ask_shown(&query(&text)).await, "T D(1) C(SELECT 1) ZI");
}

#[tokio::test]
async fn a_gigabyte_announced_is_not_reserved() {
    let (server, address) = serve(|_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(address).await;
        client.send(&[&b"Q"[..], &0x3fff_ffffu32.to_be_bytes(), &[b'x'; 1000]].concat()).await;
        clients.push(client);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Fifty reservations of a gigabyte would show; fifty read buffers do not.
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    assert!(kilobytes < 1 << 20, "{line}");
    still_alive(address).await;
    drop(server);
}

/// Random bytes, some of them dressed as messages.
fn noise(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..8) {
        let length = random.random_range(0..40);
        let small = random.random_bool(0.5);
        let body: Vec<u8> =
            (0..length).map(|_| if small { random.random_range(0..3) } else { random.random() }).collect();
        match random.random_range(0..3) {
            0 => bytes.extend(body),
            _ => {
                let tags = b"QPBDECHSFdcfX";
                bytes.extend(raw(tags[random.random_range(0..tags.len())] as char, &body));
            }
        }
    }
    bytes
}

#[tokio::test]
async fn random_bytes_end_and_harm_nobody() {
    let (_server, address) = serve(|_| {}).await;
    let mut random = StdRng::seed_from_u64(35);
    for round in 0..400 {
        let mut client = if round % 4 == 0 { Client::bare(address).await } else { Client::connect(address).await };
        // The server may close before everything is sent.
        let _ = client.stream.write_all(&noise(&mut random)).await;
        let _ = client.stream.shutdown().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), client.stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "round {round} did not end");
    }
    still_alive(address).await;
}
