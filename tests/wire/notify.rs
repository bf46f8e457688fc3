//! LISTEN and NOTIFY.

use crate::harness::raw::{RawClient, query, shown};
use crate::harness::{Server, error, one, rows, run};

/// A notification: its channel and its payload.
fn heard(client: &mut RawClient) -> (String, String) {
    let (tag, body) = client.answer().expect("a message");
    assert_eq!(tag, 'A', "{}", shown(&[(tag, body)]));
    let mut texts = body[4..].split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    (texts.next().expect("a channel"), texts.next().expect("a payload"))
}

fn pair(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_heard_after_the_commit() {
    let server = Server::shared();
    let mut listener = RawClient::connect(server.address());
    let sender = server.connect().await;
    listener.ask(&query("LISTEN first; LISTEN \"Second\""));
    run(&sender, "NOTIFY first, 'one'").await;
    assert_eq!(heard(&mut listener), pair("first", "one"));
    run(&sender, "NOTIFY nobody_listens, 'x'; NOTIFY second, 'x'; SELECT pg_notify('Second', 'two')").await;
    assert_eq!(heard(&mut listener), pair("Second", "two"));
    // In the order of the transaction, the same one once, and nothing that was rolled back.
    run(&sender, "BEGIN; NOTIFY first, 'lost'; ROLLBACK").await;
    run(&sender, "BEGIN; NOTIFY first, 'b'; NOTIFY first; NOTIFY first, 'b'; SAVEPOINT s; NOTIFY first, 'lost'").await;
    run(&sender, "ROLLBACK TO s; NOTIFY first, 'c'; COMMIT").await;
    for payload in ["b", "", "c"] {
        assert_eq!(heard(&mut listener), pair("first", payload));
    }
    assert_eq!(error(&sender, "NOTIFY first, 'lost'; SELECT 1 / 0").await.code().code(), "22012");
    run(&sender, "NOTIFY first, 'last'").await;
    assert_eq!(heard(&mut listener), pair("first", "last"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_nothing_within_a_transaction_and_itself_too() {
    let server = Server::shared();
    let mut listener = RawClient::connect(server.address());
    let sender = server.connect().await;
    listener.ask(&query("LISTEN later"));
    listener.ask(&query("BEGIN"));
    run(&sender, "NOTIFY later, 'from outside'").await;
    let answers = listener.ask(&query("NOTIFY later, 'from itself'"));
    assert!(answers.iter().all(|(tag, _)| *tag != 'A'), "{}", shown(&answers));
    let answers = listener.ask(&query("COMMIT"));
    let payloads: Vec<String> = answers
        .iter()
        .filter(|(tag, _)| *tag == 'A')
        .map(|(_, body)| String::from_utf8_lossy(&body[4 + "later\0".len()..body.len() - 1]).into_owned())
        .collect();
    assert_eq!(payloads, ["from outside", "from itself"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_begins_and_ends_with_commits() {
    let server = Server::shared();
    let mut listener = RawClient::connect(server.address());
    let client = server.connect().await;
    run(&client, "BEGIN; LISTEN mine; ROLLBACK").await;
    assert_eq!(rows(&client, "SELECT * FROM pg_listening_channels()").await.len(), 0);
    run(&client, "LISTEN mine; LISTEN mine; LISTEN other").await;
    assert_eq!(
        rows(&client, "SELECT pg_listening_channels FROM pg_listening_channels() ORDER BY 1").await,
        [["mine"], ["other"]]
    );
    run(&client, "UNLISTEN mine").await;
    assert_eq!(one(&client, "SELECT * FROM pg_listening_channels()").await, "other");
    run(&client, "UNLISTEN *").await;
    assert_eq!(rows(&client, "SELECT * FROM pg_listening_channels()").await.len(), 0);
    listener.ask(&query("LISTEN discarded"));
    listener.ask(&query("DISCARD ALL"));
    run(&client, "NOTIFY discarded").await;
    let answers = listener.ask(&query("SELECT 1"));
    assert!(answers.iter().all(|(tag, _)| *tag != 'A'), "{}", shown(&answers));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused() {
    let server = Server::shared();
    let client = server.connect().await;
    let long = "x".repeat(8000);
    for (sql, message) in [
        (format!("NOTIFY c, '{long}'"), "payload string too long"),
        ("SELECT pg_notify('', 'x')".to_owned(), "channel name cannot be empty"),
        (format!("SELECT pg_notify('{}', 'x')", &long[..64]), "channel name too long"),
    ] {
        let refused = error(&client, &sql).await;
        assert_eq!((refused.code().code(), refused.message()), ("22023", message));
    }
    run(&client, &format!("NOTIFY c, '{}'", &long[..7999])).await;
}
