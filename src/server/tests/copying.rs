//! COPY in both directions, in both protocols.

use super::client::*;
use super::serve;

async fn table(client: &mut Client) {
    client.ask(&query("CREATE TABLE copied (a int8, b text)")).await;
}

#[tokio::test]
async fn rows_go_in_and_come_out() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    table(&mut client).await;
    client.send(&query("COPY copied FROM STDIN")).await;
    assert_eq!(client.answer().await, Some(('G', vec![0, 0, 2, 0, 0, 0, 0])));
    let data = [raw('d', b"1\tone\n2\tt"), raw('d', b"wo\n"), raw('c', b"")].concat();
    assert_eq!(client.ask_shown(&data).await, "C(COPY 2) ZI");
    let answers = client.ask(&query("COPY copied TO STDOUT")).await;
    assert_eq!(answers[0], ('H', vec![0, 0, 2, 0, 0, 0, 0]));
    assert_eq!(shown(&answers[1..]), "d(1\tone) d(2\ttwo) c C(COPY 2) ZI");
}

#[tokio::test]
async fn a_copy_the_client_fails_leaves_nothing() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    table(&mut client).await;
    client.send(&query("COPY copied FROM STDIN")).await;
    assert_eq!(client.answer().await.expect("an answer").0, 'G');
    let answers = client.ask(&[raw('d', b"1\tone\n"), raw('f', b"no more\0")].concat()).await;
    assert_eq!(shown(&answers), "E(57014) ZI");
    assert_eq!(field(&answers[0].1, 'M'), "COPY from stdin failed: no more");
    assert_eq!(client.ask_shown(&query("COPY copied TO STDOUT")).await, "H c C(COPY 0) ZI");
}

#[tokio::test]
async fn data_after_a_failed_copy_is_passed_over() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    table(&mut client).await;
    client.send(&query("COPY copied FROM STDIN")).await;
    assert_eq!(client.answer().await.expect("an answer").0, 'G');
    let answers = client.ask(&[raw('d', b"bad\n"), raw('d', b"1\tone\n"), raw('c', b"")].concat()).await;
    assert_eq!(shown(&answers), "E(22P04) ZI");
    assert!(field(&answers[0].1, 'W').starts_with("COPY copied, line 1"));
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "T D(1) C(SELECT 1) ZI");
}

#[tokio::test]
async fn other_messages_fail_a_copy() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    table(&mut client).await;
    client.send(&query("COPY copied FROM STDIN")).await;
    assert_eq!(client.answer().await.expect("an answer").0, 'G');
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "E(08P01) ZI");
    assert_eq!(client.ask_shown(&query("SELECT 1")).await, "T D(1) C(SELECT 1) ZI");
}

#[tokio::test]
async fn the_extended_protocol_copies_too() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    table(&mut client).await;
    // The Sync that comes with the Execute is passed over; the one after the data counts.
    let start = [parse("", "COPY copied FROM STDIN"), bind("", "", &[]), execute("", 0), sync()].concat();
    client.send(&start).await;
    for tag in ['1', '2', 'G'] {
        assert_eq!(client.answer().await.expect("an answer").0, tag);
    }
    let data = [raw('d', b"7\tseven\n"), raw('c', b""), sync()].concat();
    assert_eq!(client.ask_shown(&data).await, "C(COPY 1) ZI");
    let out =
        [parse("", "COPY copied TO STDOUT"), bind("", "", &[]), describe('P', ""), execute("", 0), sync()].concat();
    assert_eq!(client.ask_shown(&out).await, "1 2 n H d(7\tseven) c C(COPY 1) ZI");
}

#[tokio::test]
async fn a_failed_copy_in_the_extended_protocol_skips_to_sync() {
    let (_server, address) = serve(|_| {}).await;
    let mut client = Client::connect(address).await;
    table(&mut client).await;
    client.send(&[parse("", "COPY copied FROM STDIN"), bind("", "", &[]), execute("", 0)].concat()).await;
    for tag in ['1', '2', 'G'] {
        assert_eq!(client.answer().await.expect("an answer").0, tag);
    }
    let data = [raw('d', b"bad\n"), raw('d', b"1\tone\n"), raw('c', b""), sync()].concat();
    assert_eq!(client.ask_shown(&data).await, "E(22P04) ZI");
}
