//! Encrypted connections: which are made, what a password is bound to, and certificates that change.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, version};

use super::auth::{Guarded, initial};
use crate::harness::raw::{RawClient, field, message, startup};
use crate::harness::server::PROGRAM;
use crate::harness::{one, run};

const SSL_REQUEST: u32 = 80_877_103;
const RULES: &str = "local all all trust\nhostssl all all all scram-sha-256\nhostnossl all plain all scram-sha-256\n";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// Puts a certificate and its key under the names the server was given.
fn install(dir: &Path, name: &str) {
    for (from, to, mode) in [("crt", "server.crt", 0o644), ("key", "server.key", 0o600)] {
        let next = dir.join("next");
        std::fs::copy(fixture(&format!("{name}.{from}")), &next).expect("copied");
        std::fs::set_permissions(&next, PermissionsExt::from_mode(mode)).expect("set");
        std::fs::rename(&next, dir.join(to)).expect("renamed");
    }
}

/// A server with this certificate; the files are in the second directory.
fn encrypted(name: &str) -> (Guarded, tempfile::TempDir) {
    let files = tempfile::tempdir().expect("a directory");
    install(files.path(), name);
    let path = |file: &str| files.path().join(file).to_str().expect("UTF-8").to_owned();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    (Guarded::start_with_rules(RULES, &["--tls-cert", &certificate, "--tls-key", &key]), files)
}

/// What psql answers, and whether it could.
fn psql(guarded: &Guarded, settings: &str, password: &str, sql: &str) -> (bool, String) {
    let conninfo = format!("{} user=ann {settings}", guarded.server.conninfo());
    let output = guarded
        .server
        .command("psql")
        .env("PGPASSWORD", password)
        .args(["-X", "-t", "-A", "-d", &conninfo, "-c", sql])
        .stdin(Stdio::null())
        .output()
        .expect("psql runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), format!("{}{}", out.trim(), err.trim()))
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_binds_its_password_to_the_certificate() {
    for name in ["rsa", "ecdsa"] {
        let (guarded, _files) = encrypted(name);
        run(&guarded.admin().await, "CREATE ROLE ann LOGIN PASSWORD 'right'").await;
        let root = fixture(&format!("{name}.crt"));
        let verified = format!("sslmode=verify-full sslrootcert={} channel_binding=require", root.display());
        let sql = "SELECT ssl, version, bits >= 128 FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(psql(&guarded, &verified, "right", sql), (true, "t|TLSv1.3|t".into()), "{name}");
        let (done, said) = psql(&guarded, &verified, "wrong", "SELECT 1");
        assert!(!done && said.contains("password authentication failed for user \"ann\""), "{said}");
        let old = "sslmode=require channel_binding=require ssl_max_protocol_version=TLSv1.2";
        assert_eq!(psql(&guarded, old, "right", sql), (true, "t|TLSv1.2|t".into()), "{name}");
        assert_eq!(psql(&guarded, "sslmode=require channel_binding=disable", "right", "SELECT 1"), (true, "1".into()));
        let (done, said) = psql(&guarded, "sslmode=disable", "right", "SELECT 1");
        assert!(!done && said.contains("no pg_hba.conf entry") && said.contains("no encryption"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_hash_is_bound_to_by_nobody() {
    let (guarded, _files) = encrypted("ed25519");
    run(&guarded.admin().await, "CREATE ROLE ann LOGIN PASSWORD 'right'").await;
    assert_eq!(psql(&guarded, "sslmode=require channel_binding=disable", "right", "SELECT 1"), (true, "1".into()));
    let (done, said) = psql(&guarded, "sslmode=require channel_binding=require", "right", "SELECT 1");
    assert!(!done && said.contains("channel binding"), "{said}");
}

/// Asks for encryption; gives the socket if the server is willing.
fn asked(guarded: &Guarded, behind: &[u8]) -> std::net::TcpStream {
    let mut client = RawClient::bare(guarded.server.address());
    client.send(&[&8u32.to_be_bytes()[..], &SSL_REQUEST.to_be_bytes(), behind].concat());
    let mut answer = [0];
    client.stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"S");
    client.stream
}

/// Shakes hands, and gives the certificate that was shown.
async fn shaken(
    guarded: &Guarded,
    root: &str,
    versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
) -> std::io::Result<(tokio_rustls::client::TlsStream<TcpStream>, Vec<u8>)> {
    let certificate = CertificateDer::from_pem_file(fixture(root)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let socket = tokio::task::block_in_place(|| asked(guarded, &[]));
    socket.set_nonblocking(true).expect("set");
    let socket = TcpStream::from_std(socket).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    let shown = stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec();
    Ok((stream, shown))
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_when_they_change() {
    let (guarded, files) = encrypted("rsa");
    let certificate = |name: &str| CertificateDer::from_pem_file(fixture(name)).expect("a certificate").to_vec();
    let (mut before, shown) = shaken(&guarded, "rsa.crt", &[&version::TLS13]).await.expect("encrypted");
    assert_eq!(shown, certificate("rsa.crt"));
    install(files.path(), "ecdsa");
    let (_, shown) = shaken(&guarded, "ecdsa.crt", &[&version::TLS12]).await.expect("encrypted");
    assert_eq!(shown, certificate("ecdsa.crt"));
    // What cannot be read leaves things as they are, and is logged.
    std::fs::write(files.path().join("server.key"), "nothing").expect("written");
    let (_, shown) = shaken(&guarded, "ecdsa.crt", &[&version::TLS13]).await.expect("encrypted");
    assert_eq!(shown, certificate("ecdsa.crt"));
    let log = guarded.server.log_with("not read again");
    assert!(log.contains("server.key"), "{log}");
    install(files.path(), "rsa");
    shaken(&guarded, "rsa.crt", &[&version::TLS13]).await.expect("and back");
    // A connection that stands keeps what it was made with.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    before.write_all(&startup(&[("user", "ann"), ("database", "lodedb")])).await.expect("written");
    let mut answer = [0; 9];
    before.read_exact(&mut answer).await.expect("an answer");
    assert_eq!((answer[0], &answer[5..]), (b'R', &10u32.to_be_bytes()[..]));
    let mut mechanisms = [0; 34];
    before.read_exact(&mut mechanisms).await.expect("the rest");
    assert_eq!(&mechanisms, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_and_words_out_of_turn_are_refused() {
    let (guarded, _files) = encrypted("rsa");
    tokio::task::block_in_place(|| {
        // A ClientHello of TLS 1.1, and of 1.0 and SSL 3: answered by the alert `protocol_version`.
        for minor in [2, 1, 0] {
            let mut socket = asked(&guarded, &[]);
            let mut hello = vec![3, minor];
            hello.extend_from_slice(&[7; 32]);
            hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0, 0, 0]);
            let handshake = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
            let record = [&[0x16, 3, 1, 0, handshake.len() as u8][..], &handshake].concat();
            socket.write_all(&record).expect("sent");
            let mut answer = Vec::new();
            // The server closes, with or without a reset.
            let _ = socket.read_to_end(&mut answer);
            assert!(matches!(answer[..], [0x15, 3, _, 0, 2, 2, _]), "version 3.{minor}: {answer:?}");
        }
        // Words in the clear behind the request are nobody's, and nothing comes of them.
        let stuffed = startup(&[("user", "lodedb"), ("database", "lodedb")]);
        let mut client = RawClient { stream: asked(&guarded, &stuffed) };
        let (tag, body) = client.answer().expect("an error");
        assert_eq!((tag, field(&body, 'C').as_str()), ('E', "08P01"));
        assert!(field(&body, 'M').contains("unencrypted data"), "{}", field(&body, 'M'));
        assert_eq!(client.answer(), None);
        // Nor is a session begun by words in the clear after it.
        let mut client = RawClient { stream: asked(&guarded, &[]) };
        client.send(&stuffed);
        let mut answer = Vec::new();
        let _ = client.stream.read_to_end(&mut answer);
        assert!(!answer.contains(&b'R') && !answer.contains(&b'Z'), "{answer:?}");
    });
    // Asked twice.
    let (mut stream, _) = shaken(&guarded, "rsa.crt", &[&version::TLS13]).await.expect("encrypted");
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(&[8u32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"E") && String::from_utf8_lossy(&answer).contains("08P01"), "{answer:?}");
}

/// Says something, and gives everything that is answered until the server closes.
async fn answered(stream: &mut tokio_rustls::client::TlsStream<TcpStream>, words: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut answer = Vec::new();
    // It may have closed meanwhile, and does not always say goodbye.
    let _ = stream.write_all(words).await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The code of an error that is all there is of an answer.
fn only_error(answer: &[u8]) -> String {
    assert!(answer.first() == Some(&b'E'), "{:?}", String::from_utf8_lossy(answer));
    let length = u32::from_be_bytes([answer[1], answer[2], answer[3], answer[4]]) as usize;
    assert_eq!(answer.len(), length + 1, "there is more than an error: {:?}", String::from_utf8_lossy(answer));
    field(&answer[5..], 'C')
}

/// A connection that is encrypted and on which a client was asked for a proof.
async fn challenged(guarded: &Guarded) -> tokio_rustls::client::TlsStream<TcpStream> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut stream, _) = shaken(guarded, "rsa.crt", &[&version::TLS13]).await.expect("encrypted");
    stream.write_all(&startup(&[("user", "ann"), ("database", "lodedb")])).await.expect("written");
    let mut asked = [0; 43];
    stream.read_exact(&mut asked).await.expect("an answer");
    assert_eq!((asked[0], &asked[9..]), (b'R', &b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"[..]));
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_proof_is_taken_encrypted_either() {
    let (guarded, _files) = encrypted("rsa");
    let admin = guarded.admin().await;
    run(&admin, "CREATE ROLE ann LOGIN PASSWORD 'right'; CREATE TABLE t (a int); GRANT ALL ON t TO PUBLIC").await;
    for words in super::auth::words_of_a_session() {
        let (mut fresh, _) = shaken(&guarded, "rsa.crt", &[&version::TLS13]).await.expect("encrypted");
        assert_eq!(only_error(&answered(&mut fresh, &words).await), "08P01", "{}", String::from_utf8_lossy(&words));
        let answer = answered(&mut challenged(&guarded).await, &words).await;
        assert_eq!(only_error(&answer), "08P01", "{}", String::from_utf8_lossy(&words));
    }
    assert_eq!(one(&admin, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_bound_to_this_certificate_or_to_none() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::digest::{SHA256, digest};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (guarded, _files) = encrypted("rsa");
    run(&guarded.admin().await, "CREATE ROLE ann LOGIN PASSWORD 'right'").await;
    for (mechanism, first, code) in [
        // It says that it could bind and was told that the server cannot.
        ("SCRAM-SHA-256", "y,,n=,r=abc", "28000"),
        ("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=abc", "08P01"),
        ("SCRAM-SHA-256-PLUS", "y,,n=,r=abc", "08P01"),
        ("SCRAM-SHA-256-PLUS", "n,,n=,r=abc", "08P01"),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=,r=abc", "08P01"),
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=,r=abc", "08P01"),
    ] {
        let answer = answered(&mut challenged(&guarded).await, &initial(mechanism, first.as_bytes())).await;
        assert_eq!(only_error(&answer), code, "{mechanism} {first}");
    }
    let hash = |name: &str| {
        let certificate = CertificateDer::from_pem_file(fixture(name)).expect("a certificate");
        digest(&SHA256, &certificate).as_ref().to_vec()
    };
    let header = b"p=tls-server-end-point,,".to_vec();
    for (bound_to, code) in [
        // Its own: only the proof is wrong.
        ([&header[..], &hash("rsa.crt")].concat(), "28P01"),
        // What somebody between the two would show, and nothing.
        ([&header[..], &hash("ecdsa.crt")].concat(), "28000"),
        (header.clone(), "28000"),
        (b"n,,".to_vec(), "28000"),
    ] {
        let mut stream = challenged(&guarded).await;
        let first = initial("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc");
        stream.write_all(&first).await.expect("written");
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!((answer[0], &answer[5..]), (b'R', &11u32.to_be_bytes()[..]));
        let length = u32::from_be_bytes([answer[1], answer[2], answer[3], answer[4]]) as usize;
        let mut said = vec![0; length - 8];
        stream.read_exact(&mut said).await.expect("the rest");
        let said = String::from_utf8(said).expect("UTF-8");
        let nonce = said.split(',').next().expect("a nonce");
        let last = format!("c={},{nonce},p={}=", STANDARD.encode(&bound_to), "A".repeat(43));
        let answer = answered(&mut stream, &message('p', last.as_bytes())).await;
        assert_eq!(only_error(&answer), code, "{:?}", String::from_utf8_lossy(&bound_to));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_both_ways_encrypted() {
    let (guarded, _files) = encrypted("ecdsa");
    run(
        &guarded.admin().await,
        "CREATE ROLE ann LOGIN PASSWORD 'right'; CREATE TABLE t (a int, b text); GRANT ALL ON t TO ann",
    )
    .await;
    let sql = "INSERT INTO t SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 20000) g";
    assert_eq!(psql(&guarded, "sslmode=require", "right", sql), (true, "INSERT 0 20000".into()));
    let (done, said) = psql(&guarded, "sslmode=require", "right", "COPY t TO STDOUT");
    assert!(done && said.lines().count() == 20000 && said.len() > 12_000_000, "{} bytes", said.len());
    assert_eq!(one(&guarded.admin().await, "SELECT count(*) FROM t").await, "20000");
}

#[test]
fn a_key_that_others_may_read_keeps_the_server_from_starting() {
    let files = tempfile::tempdir().expect("a directory");
    install(files.path(), "rsa");
    let key = files.path().join("server.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("set");
    let output = Command::new(&*PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(files.path().join("data"))
        .arg("--tls-cert")
        .arg(files.path().join("server.crt"))
        .arg("--tls-key")
        .arg(&key)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("group or world access"), "{said}");
}
