//! Messages a peer encodes are decoded; messages nobody should send are refused, and never panic.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::extendedquery as peer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// The body of a message as pgwire writes it.
fn body(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes).expect("encodes");
    bytes.freeze().slice(5..)
}

#[test]
fn parse_is_read_as_a_peer_writes_it() {
    let body = body(&peer::Parse::new(Some("s1".into()), "SELECT $1".into(), vec![0, 20, 16385]));
    let parse = decode_parse(&body).expect("decodes");
    assert_eq!((parse.name, parse.text, &parse.types[..]), ("s1", "SELECT $1", &[0, 20, 16385][..]));
}

#[test]
fn bind_is_read_as_a_peer_writes_it() {
    let values = vec![Some(Bytes::from_static(b"7")), None, Some(Bytes::new())];
    let body = body(&peer::Bind::new(Some("p".into()), None, vec![1, 0, 1], values, vec![1]));
    let bind = decode_bind(&body).expect("decodes");
    assert_eq!((bind.portal, bind.statement), ("p", ""));
    assert_eq!(&bind.parameters[..], &[Some(&b"7"[..]), None, Some(&b""[..])]);
    assert_eq!(bind.parameter_formats, Formats::Each(SmallVec::from_slice(&[true, false, true])));
    assert_eq!(bind.result_formats, Formats::All(true));
}

#[test]
fn counts_beyond_the_message_are_refused() {
    let mut bind = BytesMut::from(&b"\0\0\0\0"[..]);
    bind.put_u16(0xffff);
    assert_eq!(decode_bind(&bind).expect_err("refused").state(), SqlState::ProtocolViolation);
    let mut parse = BytesMut::from(&b"\0SELECT 1\0"[..]);
    parse.put_u16(2);
    parse.put_u32(20);
    assert_eq!(decode_parse(&parse).expect_err("refused").state(), SqlState::ProtocolViolation);
}

#[test]
fn formats_must_match_parameters_and_be_known() {
    let two_for_one = body(&peer::Bind::new(None, None, vec![0, 0], vec![None], vec![]));
    let error = decode_bind(&two_for_one).expect_err("refused");
    assert_eq!(error.message(), "bind message has 2 parameter formats but 1 parameters");
    let unknown = body(&peer::Bind::new(None, None, vec![2], vec![None], vec![]));
    assert_eq!(decode_bind(&unknown).expect_err("refused").state(), SqlState::InvalidParameterValue);
}

#[test]
fn text_must_be_utf8_and_end() {
    let error = decode_text(b"SELECT '\xff'\0").expect_err("refused");
    assert_eq!(error.state(), SqlState::CharacterNotInRepertoire);
    assert_eq!(error.message(), "invalid byte sequence for encoding \"UTF8\": 0xff");
    assert_eq!(decode_text(b"SELECT 1").expect_err("refused").state(), SqlState::ProtocolViolation);
    assert_eq!(decode_text(b"SELECT 1\0x").expect_err("refused").state(), SqlState::ProtocolViolation);
}

#[test]
fn limits_of_execute_are_positive() {
    for (sent, read) in [(0, None), (-1, None), (5, Some(5))] {
        let body = body(&peer::Execute::new(None, sent));
        assert_eq!(decode_execute(&body).expect("decodes").rows_max, read);
    }
}

#[test]
fn random_bodies_never_panic() {
    let mut random = StdRng::seed_from_u64(34);
    for _ in 0..50_000 {
        let length = random.random_range(0..64);
        // Small bytes make plausible counts.
        let small = random.random_bool(0.7);
        let body: Vec<u8> =
            (0..length).map(|_| if small { random.random_range(0..4) } else { random.random() }).collect();
        let _ = decode_text(&body);
        let _ = decode_parse(&body);
        let _ = decode_bind(&body);
        let _ = decode_target("CLOSE", &body);
        let _ = decode_execute(&body);
        let _ = decode_startup(&body);
        let _ = decode_cancel(Bytes::from(body));
    }
}
