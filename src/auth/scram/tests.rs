//! The exchange against the example of the RFC, and against clients that cheat.

use super::*;

const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

fn verifier() -> Verifier {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    Verifier::derive("pencil", &salt, 4096)
}

fn begin(mechanism: &str, first: &str, binding: Option<&[u8]>) -> Result<(Exchange, String)> {
    Exchange::begin_with(mechanism, first.as_bytes(), verifier(), true, binding, SERVER_NONCE)
}

/// The last message of a client that knows `password`.
fn last(password: &str, header: &[u8], first: &str, answer: &str) -> String {
    let bare = first.splitn(3, ',').nth(2).expect("a bare message");
    let nonce = answer.split(',').next().expect("a nonce");
    let without_proof = format!("c={},{nonce}", STANDARD.encode(header));
    let said = format!("{bare},{answer},{without_proof}");
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let mut salted = [0; 32];
    let rounds = std::num::NonZeroU32::new(4096).expect("not zero");
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let client_key = mac(&salted, b"Client Key");
    let signature = mac(&hash(&client_key), said.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

fn state(result: Result<impl std::fmt::Debug>) -> &'static str {
    result.expect_err("refused").state().code()
}

#[test]
fn the_example_of_rfc_7677() {
    let (exchange, answer) = begin(PLAIN, FIRST, None).expect("begun");
    assert_eq!(answer, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let last =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let proof = exchange.finish(last.as_bytes()).expect("read");
    assert_eq!(proof.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
}

#[test]
fn a_wrong_password_and_a_stand_in_end_alike() {
    for (password, is_real, passes) in [("pencil", true, true), ("pencils", true, false), ("pencil", false, false)] {
        let (exchange, answer) =
            Exchange::begin_with(PLAIN, FIRST.as_bytes(), verifier(), is_real, None, SERVER_NONCE).expect("begun");
        let proof = exchange.finish(last(password, b"n,,", FIRST, &answer).as_bytes()).expect("read");
        assert_eq!(proof.is_some(), passes, "{password} {is_real}");
    }
    // What is kept of a password is no password, in any of its forms.
    for kept in [verifier().to_string(), STANDARD.encode(verifier().stored_key), STANDARD.encode(verifier().server_key)]
    {
        let (exchange, answer) = begin(PLAIN, FIRST, None).expect("begun");
        assert_eq!(exchange.finish(last(&kept, b"n,,", FIRST, &answer).as_bytes()).expect("read"), None);
    }
    // Nor does it do as the key of a client.
    let (exchange, answer) = begin(PLAIN, FIRST, None).expect("begun");
    let honest = last("pencil", b"n,,", FIRST, &answer);
    let (without_proof, _) = honest.rsplit_once(",p=").expect("a proof");
    let said = format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{answer},{without_proof}");
    let signature = mac(&verifier().stored_key, said.as_bytes());
    let proof: Vec<u8> = verifier().stored_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let forged = format!("{without_proof},p={}", STANDARD.encode(proof));
    assert_eq!(exchange.finish(forged.as_bytes()).expect("read"), None);
}

#[test]
fn a_channel_is_bound_or_the_client_is_refused() {
    let hash = [7; 32];
    let first = "p=tls-server-end-point,,n=,r=abc";
    let bound = [b"p=tls-server-end-point,,".as_slice(), &hash].concat();
    let (exchange, answer) = begin(PLUS, first, Some(&hash)).expect("begun");
    assert!(exchange.finish(last("pencil", &bound, first, &answer).as_bytes()).expect("read").is_some());
    // The proof of a client that sees another certificate.
    let other = [b"p=tls-server-end-point,,".as_slice(), &[8; 32]].concat();
    let (exchange, answer) = begin(PLUS, first, Some(&hash)).expect("begun");
    assert_eq!(state(exchange.finish(last("pencil", &other, first, &answer).as_bytes())), "28000");
    // One that binds nothing may say so, and must say so to the end.
    let (exchange, answer) = begin(PLAIN, FIRST, Some(&hash)).expect("begun");
    assert!(exchange.finish(last("pencil", b"n,,", FIRST, &answer).as_bytes()).expect("read").is_some());
    let (exchange, answer) = begin(PLAIN, FIRST, Some(&hash)).expect("begun");
    assert_eq!(state(exchange.finish(last("pencil", b"y,,", FIRST, &answer).as_bytes())), "08P01");

    for (mechanism, first, binding, code) in [
        // It was told that there is no binding, and there is.
        (PLAIN, "y,,n=,r=abc", Some(&hash[..]), "28000"),
        (PLUS, "y,,n=,r=abc", Some(&hash[..]), "08P01"),
        (PLUS, "n,,n=,r=abc", Some(&hash[..]), "08P01"),
        (PLUS, first, None, "08P01"),
        (PLAIN, first, Some(&hash[..]), "08P01"),
        (PLAIN, first, None, "08P01"),
        (PLUS, "p=tls-unique,,n=,r=abc", Some(&hash[..]), "08P01"),
        ("SCRAM-SHA-1", FIRST, None, "08P01"),
        ("", FIRST, None, "08P01"),
    ] {
        assert_eq!(state(begin(mechanism, first, binding)), code, "{mechanism} {first}");
    }
    begin(PLAIN, "y,,n=,r=abc", None).expect("it could bind, and there is nothing to bind to");
}

#[test]
fn first_messages_that_are_none() {
    for (first, code) in [
        ("", "08P01"),
        ("n", "08P01"),
        ("n,", "08P01"),
        ("n,,", "08P01"),
        ("n,,n=user", "08P01"),
        ("n,,n=user,r=", "08P01"),
        ("n,,n=user,r=a\u{e9}", "08P01"),
        ("n,,n=user,r=a b", "08P01"),
        ("n,,r=abc,n=user", "08P01"),
        ("n,,n=user,r=abc,", "08P01"),
        ("n,,n=user,r=abc,=", "08P01"),
        ("x,,n=user,r=abc", "08P01"),
        ("p,,n=user,r=abc", "08P01"),
        ("n,a=other,n=user,r=abc", "0A000"),
        ("n,b=other,n=user,r=abc", "08P01"),
        ("n,,m=ext,n=user,r=abc", "0A000"),
        ("n,,n=user\0,r=abc", "08P01"),
    ] {
        assert_eq!(state(begin(PLAIN, first, None)), code, "{first}");
    }
    let bytes = Exchange::begin_with(PLAIN, b"n,,n=\xff,r=abc", verifier(), true, None, SERVER_NONCE);
    assert_eq!(state(bytes), "08P01");
    begin(PLAIN, "n,,n=user,r=abc,x=more", None).expect("extensions may be passed over");
}

#[test]
fn last_messages_that_are_none() {
    let honest = |exchange: &str| last("pencil", b"n,,", FIRST, exchange);
    type Change = fn(String) -> Vec<u8>;
    let cases: [(Change, &str); 9] = [
        (|_| Vec::new(), "08P01"),
        (|text| text.replace("c=biws", "c=eSws").into_bytes(), "08P01"),
        (|text| text.replace("c=biws", "c=*").into_bytes(), "08P01"),
        (|text| text.replace("c=biws,", "").into_bytes(), "08P01"),
        // The nonce of another exchange.
        (|text| text.replace("hvYDpWUa2R", "hvYDpWUa2Q").into_bytes(), "08P01"),
        (|text| text.replace(",r=", ",q=").into_bytes(), "08P01"),
        (|text| text.replace(",p=", ",p=AAAA").into_bytes(), "08P01"),
        (|text| text.replace(",p=", ",proof=").into_bytes(), "08P01"),
        (|text| [text.as_bytes(), b"\xff"].concat(), "08P01"),
    ];
    for (number, (change, code)) in cases.into_iter().enumerate() {
        let (exchange, answer) = begin(PLAIN, FIRST, None).expect("begun");
        assert_eq!(state(exchange.finish(&change(honest(&answer)))), code, "case {number}");
    }
}

#[test]
fn a_message_that_was_heard_cannot_be_said_again() {
    let (exchange, answer) = Exchange::begin(PLAIN, FIRST.as_bytes(), verifier(), true, None).expect("begun");
    let heard = last("pencil", b"n,,", FIRST, &answer);
    assert!(exchange.finish(heard.as_bytes()).expect("read").is_some());
    let (again, _) = Exchange::begin(PLAIN, FIRST.as_bytes(), verifier(), true, None).expect("begun");
    let error = again.finish(heard.as_bytes()).expect_err("refused");
    assert_eq!((error.state().code(), error.detail()), ("08P01", Some("Nonce does not match.")));
}
