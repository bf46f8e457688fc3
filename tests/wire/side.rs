//! The side port: health, for whoever watches the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::server::{PATIENCE, PROGRAM};
use crate::harness::{Server, run};

/// The status and the body of an answer; `None` if nobody listens.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn health(address: SocketAddr) -> Option<(u16, String)> {
    let (status, body) = get(address, "/health")?;
    let health: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    Some((status, health["status"].as_str().expect("a status").to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_recovering_while_the_log_is_replayed_and_ready_after() {
    let mut server = Server::start_with(&["--http", "127.0.0.1:0"]);
    let address = server.http_address();
    assert_eq!(health(address), Some((200, "ready".to_owned())));
    assert_eq!(get(address, "/etc/passwd").map(|(status, _)| status), Some(404));
    let client = server.connect().await;
    run(&client, "CREATE TABLE replayed (id int PRIMARY KEY, v vector(4))").await;
    for from in (0..200_000).step_by(2000) {
        let rows = format!("generate_series({from}, {}) g", from + 1999);
        run(&client, &format!("INSERT INTO replayed SELECT g, ARRAY[g, -g, 2, 3]::vector FROM {rows}")).await;
    }
    server.kill();
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
        .arg(server.dir())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.split_once(" on http://")?.1.parse().ok()).expect("an address");
    // What else it says must be read, or it would wait.
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
    let mut seen = Vec::new();
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE && seen.last() != Some(&(200, "ready".to_owned())) {
        let now = health(address).expect("an answer");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("the server is gone");
    let said = rest.join().expect("what it said");
    assert_eq!(seen, [(503, "recovering".to_owned()), (200, "ready".to_owned())], "{said}");
}

#[test]
fn the_side_port_is_for_this_machine_unless_it_is_meant_for_others() {
    let data = std::env::temp_dir().join("lodedb-never-opened");
    let serve = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(["serve", "--data"]).arg(&data).args(arguments).output();
        let output = output.expect("the program runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = serve(&["--http", "0.0.0.0:0"]);
    assert!(!done && said.contains("--http-any-address"), "{said}");
    let (done, said) = serve(&["--http-any-address"]);
    assert!(!done && said.contains("--http <ADDRESS>"), "{said}");
    assert!(!data.exists(), "a database was made by a server that did not start");
}
