//! From the first byte to the first ReadyForQuery.

use super::client::*;
use super::serve;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

#[tokio::test]
async fn encryption_is_declined_and_the_start_goes_on() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::bare(address).await;
    for code in [SSL, GSS] {
        client.send(&request(code)).await;
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut answer).await.expect("an answer");
        assert_eq!(&answer, b"N");
    }
    let answers = client.ask(&startup(3 << 16, &[("user", "u"), ("application_name", "app")])).await;
    let tags: String = answers.iter().map(|(tag, _)| *tag).filter(|&tag| tag != 'S').collect();
    assert_eq!(tags, "RKZ");
    assert_eq!(answers[0].1, [0; 4]);
    assert!(answers.iter().any(|(tag, body)| *tag == 'S' && body.starts_with(b"server_version\015.")));
    assert!(answers.iter().any(|(tag, body)| *tag == 'S' && body == b"application_name\0app\0"));
    assert_eq!(answers.last(), Some(&('Z', b"I".to_vec())));
}

#[tokio::test]
async fn what_cannot_be_is_fatal_and_says_why() {
    let (_server, address) = serve(|_| {}).await;
    for (parameters, code) in [
        (&[("user", "u"), ("database", "nowhere")][..], "3D000"),
        (&[("user", "u"), ("database", "lodedb"), ("options", "-c nonsense_setting=1")], "42704"),
        (&[("user", "u"), ("client_encoding", "LATIN1")], "22023"),
        (&[("user", "u"), ("replication", "true")], "0A000"),
        (&[("database", "lodedb")], "08P01"),
    ] {
        let mut client = Client::bare(address).await;
        client.send(&startup(3 << 16, parameters)).await;
        let (tag, body) = client.answer().await.expect("an answer");
        assert_eq!(tag, 'E');
        assert_eq!(
            (field(&body, 'S'), field(&body, 'V'), field(&body, 'C')),
            ("FATAL".into(), "FATAL".into(), code.into())
        );
        assert_eq!(client.answer().await, None);
    }
}

#[tokio::test]
async fn newer_minor_versions_are_talked_down() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::bare(address).await;
    let answers = client.ask(&startup(3 << 16 | 2, &[("user", "u"), ("_pq_.option", "1")])).await;
    assert_eq!(answers[0], ('v', [&(3u32 << 16).to_be_bytes()[..], &1u32.to_be_bytes(), b"_pq_.option\0"].concat()));
    assert_eq!(answers[1].0, 'R');
    let mut other = Client::bare(address).await;
    other.send(&startup(2 << 16, &[("user", "u")])).await;
    assert_eq!(other.rest().await, "E(0A000)");
}

#[tokio::test]
async fn the_quoted_encoding_of_asyncpg_is_understood() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::bare(address).await;
    let answers = client.ask(&startup(3 << 16, &[("user", "u"), ("client_encoding", "'utf-8'")])).await;
    assert_eq!(answers.last(), Some(&('Z', b"I".to_vec())));
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_place_comes_free() {
    let (_server, address) = serve(|options| options.max_connections = 1).await;
    let first = Client::connect(address).await;
    let mut second = Client::bare(address).await;
    second.send(&startup(3 << 16, &[("user", "u")])).await;
    assert_eq!(second.rest().await, "E(53300)");
    drop(first);
    for _ in 0..100 {
        let mut third = Client::bare(address).await;
        if third.ask(&startup(3 << 16, &[("user", "u")])).await.last() == Some(&('Z', b"I".to_vec())) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the place never came free");
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_ended() {
    let (_server, address) = serve(|options| options.startup_ms_max = 100).await;
    let mut client = Client::bare(address).await;
    client.send(&[0, 0]).await;
    assert_eq!(client.rest().await, "E(57014)");
}

#[tokio::test]
async fn the_unix_socket_serves_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let (server, _) = serve(|options| options.socket = Some(path.clone())).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.expect("connects");
    let packet = startup(3 << 16, &[("user", "u")]);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &packet).await.expect("is sent");
    let mut tag = [0];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut tag).await.expect("an answer");
    assert_eq!(&tag, b"R");
    server.shutdown(std::time::Duration::from_secs(5)).await;
    assert!(!path.exists());
}
