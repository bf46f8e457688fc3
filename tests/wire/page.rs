//! Searching over HTTP: what programs are answered, who is refused, and the page in a real browser.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::auth::{Guarded, arguments};
use super::programs::{output, root};
use crate::harness::server::PATIENCE;
use crate::harness::{Server, models, one, python, run};

/// What a request was answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {} {text}", self.status))
    }

    /// The status and the code of a refusal.
    fn refusal(&self) -> (u16, String) {
        let told = self.json();
        assert!(told["message"].as_str().is_some_and(|message| !message.is_empty()), "{told}");
        (self.status, told["code"].as_str().expect("a code").to_owned())
    }

    #[track_caller]
    fn good(self) -> Value {
        assert!(matches!(self.status, 200 | 201), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// Sends bytes and reads what comes back.
fn exchange(address: SocketAddr, parts: &[&[u8]]) -> Answered {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for part in parts {
        // Who was refused already need not be read to the end.
        if socket.write_all(part).is_err() {
            break;
        }
    }
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text").to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answered { status, head, body: bytes[end + 4..].to_vec() }
}

/// A request with a host that is known and what else is given.
fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answered {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{length}{headers}\r\n");
    exchange(address, &[head.as_bytes(), body])
}

fn get(address: SocketAddr, path: &str) -> Answered {
    request(address, "GET", path, "", b"")
}

const JSON: &str = "Content-Type: application/json\r\n";

fn post(address: SocketAddr, path: &str, body: &Value) -> Answered {
    request(address, "POST", path, JSON, body.to_string().as_bytes())
}

fn search(address: SocketAddr, body: Value) -> Answered {
    post(address, "/search", &body)
}

/// The ids that were found, nearest first.
fn ids(found: &Value) -> Vec<Value> {
    found["results"].as_array().expect("results").iter().map(|hit| hit["id"].clone()).collect()
}

fn picture(name: &str) -> Vec<u8> {
    std::fs::read(models::folder().join("pictures").join(name)).expect("a picture")
}

fn encoded(name: &str) -> String {
    STANDARD.encode(picture(name))
}

/// A server that searches, without models.
fn plain() -> Server {
    Server::start_with(&["--http", "127.0.0.1:0", "--search-page"])
}

/// The same with those of the tests.
fn with_models() -> Server {
    let (folder, runtime) = (models::folder().display().to_string(), models::runtime().display().to_string());
    let words = ["--http", "127.0.0.1:0", "--search-page", "--model-dir", &folder, "--onnx-runtime", &runtime];
    Server::start_with(arguments(&words))
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_search_by_vectors_and_rows() {
    let server = plain();
    let (client, at) = (server.connect().await, server.http_address());
    run(
        &client,
        "CREATE TABLE \"It's \"\"here\"\"\" (\"the key\" bigint PRIMARY KEY, title text, price numeric, good boolean, \
         extra jsonb, tags text[], raw bytea, v vector(2), h halfvec(2));
         INSERT INTO \"It's \"\"here\"\"\" SELECT g, 'row ' || g, g * 1.5, g % 2 = 0, '{\"a\": [1]}', '{x,y}', '\\x00', \
         ARRAY[g, 1]::vector, ARRAY[1, g]::vector::halfvec FROM generate_series(1, 50) g;
         INSERT INTO \"It's \"\"here\"\"\" (\"the key\", title) VALUES (9007199254740993, 'no vector')",
    )
    .await;
    let table = "It's \"here\"";
    let found = search(at, json!({"table": table, "column": "v", "vector": [7, 1], "metric": "l2", "limit": 3})).good();
    assert_eq!(ids(&found), [json!(7), json!(6), json!(8)]);
    let first = &found["results"][0];
    assert_eq!((first["distance"].as_f64(), &first["row"]), (Some(0.0), &json!({"the key": 7, "title": "row 7"})));
    assert_eq!(found["metric"], "l2");
    for part in ["embed", "search", "total"] {
        assert!(found["took_ms"][part].as_f64().is_some_and(|took| (0.0..60_000.0).contains(&took)), "{found}");
    }
    // Rows like a row, itself aside; by the cosine where no index says otherwise.
    let found = search(at, json!({"table": table, "column": "v", "id": "20", "limit": 2})).good();
    assert_eq!((ids(&found), &found["metric"]), (vec![json!(21), json!(19)], &json!("cosine")));
    run(&client, "CREATE INDEX ON \"It's \"\"here\"\"\" USING hnsw (v vector_l2_ops)").await;
    run(&client, "CREATE INDEX ON \"It's \"\"here\"\"\" USING hnsw (h halfvec_ip_ops)").await;
    let found = search(at, json!({"table": table, "column": "v", "id": 20, "limit": 2})).good();
    assert_eq!((ids(&found).len(), &found["metric"]), (2, &json!("l2")));
    let found = search(at, json!({"table": table, "column": "h", "vector": [0, 1], "limit": 1})).good();
    assert_eq!((ids(&found), &found["metric"]), (vec![json!(50)], &json!("ip")));
    assert_eq!(found["results"][0]["distance"], -50.0);
    let found = search(at, json!({"table": table, "column": "h", "id": 1, "metric": "l1", "limit": 1})).good();
    assert_eq!((ids(&found), &found["metric"]), (vec![json!(2)], &json!("l1")));
    // Columns as they were asked for; of the rows all there are, and none without a distance.
    let columns = json!(["tags", "extra", "good", "price", "v", "title"]);
    let found = search(at, json!({"table": table, "column": "v", "vector": [1, 1], "columns": columns, "limit": 99}));
    assert!(
        String::from_utf8_lossy(&found.body)
            .contains(r#"{"tags":"{x,y}","extra":{"a":[1]},"good":false,"price":"1.5","v":[1,1],"title":"row 1"}"#)
    );
    assert_eq!(found.good()["results"].as_array().map(Vec::len), Some(50));
    // What JavaScript would round is a string, and may come back as one.
    run(&client, "UPDATE \"It's \"\"here\"\"\" SET v = '[0,5]' WHERE \"the key\" = 9007199254740993").await;
    let found = search(at, json!({"table": table, "column": "v", "vector": [0, 5], "limit": 1})).good();
    assert_eq!(ids(&found), [json!("9007199254740993")]);
    search(at, json!({"table": table, "column": "v", "id": "9007199254740993"})).good();
    // The index answers, as an ordinary search of a session that others see.
    run(&client, "CREATE TABLE big (id int PRIMARY KEY, v vector(4))").await;
    run(&client, "INSERT INTO big SELECT g, ARRAY[g % 97, g % 89, g % 83, g]::vector FROM generate_series(1, 20000) g")
        .await;
    run(&client, "CREATE INDEX ON big USING hnsw (v vector_l2_ops)").await;
    // Two of them are equally far, each time.
    let found = search(at, json!({"table": "big", "id": 500, "limit": 4})).good();
    let mut found: Vec<i64> = ids(&found).iter().map(|id| id.as_i64().expect("a number")).collect();
    found.sort_unstable();
    assert_eq!(found, [498, 499, 501, 502]);
    // Whoever is trusted may say who it is, and must be somebody.
    let as_role = |credentials: &str| {
        let header = format!("Authorization: Basic {}\r\n", STANDARD.encode(credentials));
        request(at, "GET", "/tables", &header, b"").status
    };
    assert_eq!([as_role("postgres:"), as_role("stranger:"), as_role(":")], [200, 403, 401]);
    assert_eq!(one(&client, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'search page'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_pictures_find_pictures_that_can_be_added_and_removed() {
    let server = with_models();
    let (client, at) = (server.connect().await, server.http_address());
    run(&client, "CREATE MODEL clip FROM 'clip'; CREATE MODEL lite FROM 'efficientnet-lite0'").await;
    let dims = one(&client, "SELECT dims FROM lodedb_models WHERE name = 'clip'").await;
    run(
        &client,
        &format!(
            "CREATE TABLE pictures (id bigserial PRIMARY KEY, file bytea, name text, v vector({dims}));
             CREATE TABLE computed (id int PRIMARY KEY, data bytea, title text, \
             v vector({dims}) GENERATED ALWAYS AS (embed_image('clip', data)) STORED)"
        ),
    )
    .await;
    for colour in ["red", "green", "blue"] {
        let image = encoded(&format!("{colour}.png"));
        let added = post(at, "/pictures", &json!({"table": "pictures", "name": colour, "image": image}));
        assert_eq!(added.status, 201);
        added.good();
    }
    let found = search(at, json!({"table": "pictures", "text": "green", "limit": 1})).good();
    assert_eq!((&ids(&found)[..], &found["results"][0]["row"]["name"]), (&[json!(2)][..], &json!("green")));
    assert_eq!(found["model"], "clip");
    let found = search(at, json!({"table": "pictures", "image": encoded("blue.png"), "model": "clip"})).good();
    assert_eq!(ids(&found)[0], json!(3));
    let shown = get(at, "/picture?table=pictures&id=1");
    assert_eq!((shown.status, &shown.body), (200, &picture("red.png")));
    for header in ["content-type: image/png", "content-disposition: inline", "nosniff", "default-src 'none'"] {
        assert!(shown.head.contains(header), "{header}: {}", shown.head);
    }
    // A table that computes its vectors is told none; one that gives no keys is told one.
    let image = encoded("red.png");
    let added = json!({"table": "computed", "id": 8, "name": "it's \"red\"", "image": image});
    assert_eq!(post(at, "/pictures", &added).good()["id"], json!(8));
    assert_eq!(post(at, "/pictures", &added).refusal(), (409, "23505".to_owned()));
    let without = json!({"table": "computed", "image": image});
    assert_eq!(post(at, "/pictures", &without).refusal(), (400, "23502".to_owned()));
    let found = search(at, json!({"table": "computed", "text": "red"})).good();
    assert_eq!(found["results"][0]["row"], json!({"id": 8, "title": "it's \"red\""}));
    // What the page is told.
    let offered = get(at, "/tables").good();
    let offered = offered.as_array().expect("an array");
    assert_eq!(offered.len(), 2, "{offered:?}");
    assert_eq!((&offered[0]["picture"], &offered[0]["text_models"]), (&json!("file"), &json!(["clip"])));
    assert_eq!((&offered[1]["needs_id"], &offered[1]["can_remove"]), (&json!(true), &json!(true)));

    let gone = |table: &str, id: &str| request(at, "DELETE", &format!("/pictures?table={table}&id={id}"), "", b"");
    assert_eq!(gone("pictures", "1").good()["removed"], json!(1));
    assert_eq!(gone("pictures", "1").refusal(), (404, "02000".to_owned()));
    assert_eq!(get(at, "/picture?table=pictures&id=1").refusal(), (404, "02000".to_owned()));
    assert_eq!(gone("pictures", "one").refusal(), (400, "22P02".to_owned()));
    // Neither is what is no picture, whatever a browser might make of it.
    run(
        &client,
        "CREATE MODEL minilm FROM 'minilm'; INSERT INTO pictures (id, file) VALUES (70, '\\x3c7376673e'), (71, NULL)",
    )
    .await;
    for id in [70, 71] {
        let refused = get(at, &format!("/picture?table=pictures&id={id}"));
        assert_eq!(refused.refusal(), (404, "02000".to_owned()), "{id}");
    }
    for (what, expected) in [
        (json!({"table": "pictures", "image": STANDARD.encode("<svg>")}), (400, "22P03")),
        (json!({"table": "pictures", "image": STANDARD.encode(&picture("red.png")[..20])}), (400, "22P03")),
        (json!({"table": "pictures", "image": "%"}), (400, "22P02")),
    ] {
        assert_eq!(post(at, "/pictures", &what).refusal(), (expected.0, expected.1.to_owned()), "{what}");
        assert_eq!(search(at, what.clone()).refusal(), (expected.0, expected.1.to_owned()), "{what}");
    }
    for (what, expected) in [
        (json!({"table": "pictures", "text": "red", "model": "none"}), (404, "42704")),
        (json!({"table": "pictures", "text": "red", "model": "lite"}), (400, "42809")),
        (json!({"table": "pictures", "text": "red", "model": "minilm"}), (400, "22000")),
        (json!({"table": "pictures", "text": "red", "prompt": "none"}), (400, "22023")),
        (json!({"table": "pictures", "id": 71}), (400, "22004")),
        (json!({"table": "pictures", "id": 72}), (404, "02000")),
    ] {
        assert_eq!(search(at, what.clone()).refusal(), (expected.0, expected.1.to_owned()), "{what}");
    }
    // Two models that fit must be told apart, and a table of texts has no pictures.
    run(&client, "CREATE MODEL other FROM 'clip'; CREATE TABLE texts (id int PRIMARY KEY, body text, v vector(384))")
        .await;
    run(&client, "INSERT INTO texts VALUES (1, 'a cat on a mat', embed('minilm', 'a cat on a mat')), (2, 'money', embed('minilm', 'money'))").await;
    assert_eq!(search(at, json!({"table": "pictures", "text": "red"})).refusal(), (400, "22023".to_owned()));
    assert_eq!(search(at, json!({"table": "texts", "image": image})).refusal(), (404, "42704".to_owned()));
    assert_eq!(post(at, "/pictures", &json!({"table": "texts", "image": image})).refusal(), (400, "42809".to_owned()));
    assert_eq!(gone("texts", "1").refusal(), (400, "42809".to_owned()));
    let found = search(at, json!({"table": "texts", "text": "a kitten"})).good();
    assert_eq!(found["results"][0]["row"], json!({"id": 1, "body": "a cat on a mat"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_told_so() {
    let server = plain();
    let (client, at) = (server.connect().await, server.http_address());
    run(
        &client,
        "CREATE TABLE t (id int PRIMARY KEY, data bytea, v vector(2)); CREATE TABLE two (a vector(2), b vector(2));
         CREATE TABLE none (id int); CREATE TABLE keyless (v vector(2)); INSERT INTO t VALUES (1, '\\x00', '[1,2]')",
    )
    .await;
    for (body, expected) in [
        (json!({"table": "t"}), (400, "22023")),
        (json!({"table": "t", "text": "a", "id": 1}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "wrong": 1}), (400, "22023")),
        (json!({"table": "t", "vector": "[1,2]"}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "metric": "hamming"}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "limit": 0}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "limit": 1001}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "limit": -1}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "columns": ["data"]}), (400, "22023")),
        (json!({"table": "t", "vector": [1, 2], "columns": ["nothing"]}), (404, "42703")),
        (json!({"table": "t", "vector": [1, 2], "column": "nothing"}), (404, "42703")),
        (json!({"table": "t", "vector": [1, 2], "column": "id"}), (400, "42809")),
        (json!({"table": "t", "vector": [1, 2, 3]}), (400, "22000")),
        (json!({"table": "t", "vector": []}), (400, "22000")),
        (json!({"table": "t", "vector": [1e39, 0]}), (400, "22000")),
        (json!({"table": "t", "id": {"a": 1}}), (400, "22023")),
        (json!({"table": "t", "id": "' OR true --"}), (400, "22P02")),
        (json!({"table": "t", "text": "words"}), (404, "42704")),
        (json!({"table": "T", "vector": [1, 2]}), (404, "42P01")),
        (json!({"table": "pg_class", "vector": [1, 2]}), (404, "42P01")),
        (json!({"table": "two", "vector": [1, 2]}), (400, "22023")),
        (json!({"table": "none", "vector": [1, 2]}), (400, "42809")),
        (json!({"table": "keyless", "id": 1}), (400, "42809")),
        (json!([1, 2]), (400, "22023")),
    ] {
        assert_eq!(search(at, body.clone()).refusal(), (expected.0, expected.1.to_owned()), "{body}");
    }
    assert_eq!(search(at, json!({"table": "keyless", "vector": [1, 2]})).good()["results"], json!([]));
    for body in ["", " ", "{", "{\"table\":", "\u{0}", "{\"table\": \"t\"}}"]
        .map(str::as_bytes)
        .into_iter()
        .chain([&b"\xff"[..]])
    {
        let answered = request(
            at,
            "POST",
            "/search",
            &format!("{JSON}{}", if body.is_empty() { "Content-Length: 0\r\n" } else { "" }),
            body,
        );
        assert_eq!(answered.refusal(), (400, "22P02".to_owned()), "{body:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(request(at, "POST", "/search", JSON, deep.as_bytes()).refusal().0, 400);
    for (path, expected) in [("/picture", "22023"), ("/picture?table=t", "22023"), ("/picture?id=1&table=two", "22023")]
    {
        assert_eq!(get(at, path).refusal(), (400, expected.to_owned()), "{path}");
    }
    assert_eq!(get(at, "/picture?table=t&id=1").status, 404, "it is no picture");

    // Bodies.
    let body = json!({"table": "t", "vector": [1, 2]}).to_string();
    let refused = |headers: &str, body: &[u8]| {
        let head = format!("POST /search HTTP/1.1\r\nHost: {at}\r\n{headers}\r\n");
        exchange(at, &[head.as_bytes(), body]).refusal()
    };
    assert_eq!(refused(JSON, body.as_bytes()), (411, "08P01".to_owned()));
    assert_eq!(refused(&format!("{JSON}Transfer-Encoding: chunked\r\n"), b"0\r\n\r\n"), (411, "08P01".to_owned()));
    assert_eq!(refused(&format!("{JSON}Content-Length: x\r\n"), body.as_bytes()), (400, "08P01".to_owned()));
    assert_eq!(refused(&format!("{JSON}Content-Length: 33554433\r\n"), b""), (413, "54000".to_owned()));
    let too_long = vec![b' '; 33 << 20];
    assert_eq!(refused(&format!("{JSON}Content-Length: {}\r\n", too_long.len()), &too_long), (413, "54000".to_owned()));
    for other in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(
            refused(&format!("{other}Content-Length: {}\r\n", body.len()), body.as_bytes()),
            (415, "08P01".to_owned())
        );
    }
    let begun = Instant::now();
    assert_eq!(refused(&format!("{JSON}Content-Length: 100\r\n"), body.as_bytes()), (408, "57014".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // The longest there may be is read; charsets and capitals are no matter.
    let padded = [body.as_bytes(), &vec![b' '; (32 << 20) - body.len()]].concat();
    let headers = "content-type: Application/JSON; charset=utf-8\r\n";
    request(at, "POST", "/search", headers, &padded).good();
    // Methods.
    for (method, path, allowed) in [
        ("GET", "/search", "allow: post"),
        ("OPTIONS", "/search", "allow: post"),
        ("POST", "/", "allow: get, head"),
        ("GET", "/pictures", "allow: post, delete"),
        ("DELETE", "/picture", "allow: get, head"),
        ("POST", "/health", "allow: get, head"),
    ] {
        let answered = request(at, method, path, "", b"");
        assert!(answered.status == 405 && answered.head.contains(allowed), "{method} {path}: {answered:?}");
    }
    assert_eq!(get(at, "/search/").status, 404);
    // It is not there unless it is asked for.
    let other = Server::start_with(&["--http", "127.0.0.1:0"]);
    for path in ["/", "/tables", "/picture?table=t&id=1"] {
        assert_eq!(get(other.http_address(), path).status, 404);
    }
    assert_eq!(search(other.http_address(), json!({"table": "t", "vector": [1, 2]})).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_sites_make_a_browser_send_is_refused() {
    let server = Server::start_with(&["--http", "127.0.0.1:0", "--search-page", "--search-host", "search.example.org"]);
    let (client, at) = (server.connect().await, server.http_address());
    run(
        &client,
        "CREATE TABLE t (id int PRIMARY KEY, data bytea, v vector(2)); INSERT INTO t VALUES (1, NULL, '[1,2]')",
    )
    .await;
    let body = json!({"table": "t", "vector": [1, 2]}).to_string();
    let asked = |method: &str, path: &str, headers: &str| {
        let content =
            if method == "POST" { format!("{JSON}Content-Length: {}\r\n", body.len()) } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\n{headers}{content}\r\n");
        exchange(at, &[head.as_bytes(), if method == "POST" { body.as_bytes() } else { b"" }])
    };
    let port = at.port();
    let requests = [
        ("POST", "/search"),
        ("GET", "/tables"),
        ("GET", "/picture?table=t&id=1"),
        ("POST", "/pictures"),
        ("DELETE", "/pictures?table=t&id=1"),
    ];
    // A name that somebody else made lead here.
    for host in [
        "",
        "Host: \r\n",
        "Host: evil.example\r\n",
        &format!("Host: localhost.evil.example:{port}\r\n"),
        "Host: 127.0.0.1.evil.example\r\n",
    ] {
        for (method, path) in requests.into_iter().chain([("GET", "/")]) {
            assert_eq!(asked(method, path, host).refusal(), (403, "42501".to_owned()), "{method} {path} {host}");
        }
    }
    // A page of another origin, another port of this machine included.
    for from in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://127.0.0.1\r\n",
        &format!("Origin: http://localhost:{port}\r\n"),
        &format!("Origin: file://127.0.0.1:{port}\r\n"),
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        for (method, path) in requests {
            let refused = asked(method, path, &format!("Host: {at}\r\n{from}"));
            assert_eq!(refused.refusal(), (403, "42501".to_owned()), "{method} {path} {from}");
            assert!(!refused.head.contains("access-control"), "{}", refused.head);
        }
    }
    assert_eq!(one(&client, "SELECT count(*) FROM t").await, "1");
    // What is meant, comes in.
    for headers in [
        format!("Host: {at}\r\n"),
        format!("Host: {at}\r\nOrigin: http://{at}\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"),
        format!("Host: [::1]:{port}\r\n"),
        "Host: search.example.org\r\nOrigin: https://search.example.org\r\n".to_owned(),
    ] {
        assert_eq!(asked("POST", "/search", &headers).status, 200, "{headers}");
    }
    // A link may lead to the page, which lets nobody put it into a frame, and has nothing of others.
    let page = asked("GET", "/", &format!("Host: {at}\r\nSec-Fetch-Site: cross-site\r\n"));
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html",
        "default-src 'none'",
        "frame-ancestors 'none'",
        "script-src 'sha256-",
        "nosniff",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
    assert!(!page.head.contains("unsafe"), "{}", page.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_let_in_as_by_the_other_port() {
    let guarded = Guarded::start(&["--http", "127.0.0.1:0", "--search-page=viewer"]);
    let (server, at) = (&guarded.server, guarded.server.http_address());
    run(
        &guarded.admin().await,
        "CREATE ROLE ann LOGIN PASSWORD 'a:b c'; CREATE ROLE bob LOGIN PASSWORD 'secret'; CREATE ROLE nobody PASSWORD 'secret';
         CREATE ROLE late LOGIN PASSWORD 'secret' VALID UNTIL '2020-01-01'; CREATE ROLE viewer LOGIN; CREATE ROLE one LOGIN PASSWORD 'secret' CONNECTION LIMIT 0;
         CREATE TABLE t (id int PRIMARY KEY, name text, data bytea, v vector(2)); INSERT INTO t VALUES (1, 'one', NULL, '[1,2]');
         GRANT SELECT ON t TO ann",
    )
    .await;
    let body = json!({"table": "t", "vector": [1, 2]}).to_string();
    let asked = |credentials: Option<&str>| {
        let header = credentials.map(|given| format!("Authorization: Basic {}\r\n", STANDARD.encode(given)));
        request(at, "POST", "/search", &format!("{JSON}{}", header.unwrap_or_default()), body.as_bytes())
    };
    assert_eq!(asked(Some("ann:a:b c")).good()["results"][0]["id"], json!(1));
    // Whoever has no password is asked for one, before a body is looked at, for the page as well.
    for refused in [
        asked(None),
        get(at, "/"),
        get(at, "/tables"),
        asked(Some("ann:wrong")),
        asked(Some("nothing:secret")),
        asked(Some("viewer:")),
        asked(Some("late:secret")),
        asked(Some("ann")),
    ] {
        assert_eq!(refused.refusal(), (401, "28P01".to_owned()));
        assert!(refused.head.contains("www-authenticate: basic realm"), "{}", refused.head);
    }
    let unread = request(at, "POST", "/search", &format!("{JSON}Content-Length: 1000000\r\n"), b"");
    assert_eq!(unread.status, 401);
    assert_eq!(asked(Some("nobody:secret")).refusal(), (403, "28000".to_owned()));
    assert_eq!(asked(Some("one:secret")).refusal(), (503, "53300".to_owned()));
    // Privileges are the role's.
    assert_eq!(asked(Some("bob:secret")).refusal(), (403, "42501".to_owned()));
    let as_role = |credentials: &str, method: &str, path: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let header = format!("{JSON}Authorization: Basic {}\r\n", STANDARD.encode(credentials));
        request(at, method, path, &header, body.as_bytes())
    };
    assert_eq!(as_role("bob:secret", "GET", "/tables", &Value::Null).good(), json!([]));
    let offered = as_role("ann:a:b c", "GET", "/tables", &Value::Null).good();
    assert_eq!((&offered[0]["can_add"], &offered[0]["can_remove"]), (&json!(false), &json!(false)));
    for credentials in ["ann:a:b c", "bob:secret"] {
        let refused = as_role(credentials, "DELETE", "/pictures?table=t&id=1", &Value::Null);
        assert_eq!(refused.refusal(), (403, "42501".to_owned()), "{credentials}");
    }
    assert_eq!(
        as_role("bob:secret", "GET", "/picture?table=t&id=1", &Value::Null).refusal(),
        (403, "42501".to_owned())
    );
    let image = json!({"table": "t", "id": 2, "image": STANDARD.encode(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")});
    assert!(matches!(as_role("ann:a:b c", "POST", "/pictures", &image).status, 400 | 403 | 404));
    // Who guesses waits, as at the other port, and in one row with it.
    let begun = Instant::now();
    for _ in 0..7 {
        assert_eq!(asked(Some("bob:wrong")).status, 401);
    }
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(asked(Some("bob:secret")).status == 403, "the password is right, and the privilege still missing");
    let log = server.log_with("password authentication failed");
    assert!(!log.contains("wrong") && !log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_clients_are_the_role_that_was_chosen_and_rejected_ones_nobody() {
    let rules = "local all all trust\nhost all ann 127.0.0.1/32 reject\nhost all all all trust\n";
    let guarded = Guarded::start_with_rules(rules, &["--http", "127.0.0.1:0", "--search-page=viewer"]);
    let (server, at) = (&guarded.server, guarded.server.http_address());
    let client = server.connect().await;
    run(
        &client,
        "CREATE ROLE viewer LOGIN; CREATE ROLE ann LOGIN; CREATE TABLE t (id int PRIMARY KEY, v vector(2));
         CREATE TABLE hidden (id int PRIMARY KEY, v vector(2)); GRANT SELECT ON t TO viewer; INSERT INTO t VALUES (1, '[1,2]')",
    )
    .await;
    let body = |table: &str| json!({"table": table, "vector": [1, 2]});
    assert_eq!(ids(&search(at, body("t")).good()), [json!(1)]);
    assert_eq!(search(at, body("hidden")).refusal(), (403, "42501".to_owned()));
    let offered = get(at, "/tables").good();
    assert_eq!(offered.as_array().map(Vec::len), Some(1), "{offered}");
    let named = |user: &str| {
        let header = format!("{JSON}Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:")));
        request(at, "POST", "/search", &header, body("hidden").to_string().as_bytes())
    };
    assert_eq!(named("lodedb").status, 200);
    assert_eq!(named("ann").refusal(), (403, "28000".to_owned()));
    assert_eq!(named("stranger").refusal(), (403, "28000".to_owned()));
    // A role that is gone is missed by the next request.
    run(&client, "REVOKE ALL ON t FROM viewer; DROP ROLE viewer").await;
    assert_eq!(search(at, body("t")).refusal(), (403, "28000".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_session_with_it() {
    let server = Server::start_with(&["--http", "127.0.0.1:0", "--search-page", "--max-connections", "2"]);
    let (client, at) = (server.connect().await, server.http_address());
    run(
        &client,
        "CREATE TABLE t (id int PRIMARY KEY, data bytea, v vector(2)); INSERT INTO t VALUES (1, NULL, '[1,2]')",
    )
    .await;
    run(&client, "BEGIN; UPDATE t SET v = '[3,4]'").await;
    let mut waiting = TcpStream::connect(at).expect("a connection");
    write!(waiting, "DELETE /pictures?table=t&id=1 HTTP/1.1\r\nHost: {at}\r\n\r\n").expect("sent");
    let sessions_become = async |count: &str| {
        let deadline = Instant::now() + PATIENCE;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'search page'";
        while one(&client, sessions).await != count {
            assert!(Instant::now() < deadline, "there never were {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    sessions_become("1").await;
    // They are counted together with those of the other port.
    assert_eq!(search(at, json!({"table": "t", "vector": [1, 2]})).refusal(), (503, "53300".to_owned()));
    drop(waiting);
    sessions_become("0").await;
    run(&client, "COMMIT").await;
    assert_eq!(ids(&search(at, json!({"table": "t", "vector": [1, 2]})).good()), [json!(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_searches_adds_and_removes_on_the_page() {
    let server = with_models();
    let client = server.connect().await;
    run(&client, "CREATE MODEL clip FROM 'clip'; CREATE MODEL minilm FROM 'minilm'").await;
    let dims = one(&client, "SELECT dims FROM lodedb_models WHERE name = 'clip'").await;
    run(
        &client,
        &format!(
            "CREATE TABLE pictures (id bigserial PRIMARY KEY, name text, data bytea, \
             v vector({dims}) GENERATED ALWAYS AS (embed_image('clip', data)) STORED);
             CREATE TABLE texts (id int PRIMARY KEY, body text, author text, v vector(384))"
        ),
    )
    .await;
    let insert = client.prepare("INSERT INTO pictures (name, data) VALUES ($1, $2)").await.expect("prepared");
    for (name, file) in [
        ("red", "red.png"),
        ("green", "green.png"),
        ("blue", "blue.png"),
        ("photo", "photo.jpg"),
        ("<img src=x onerror=alert(1)>", "rgb.png"),
        ("an animation whose name is long enough to need more than the one line that others need", "animated.gif"),
    ] {
        client.execute(&insert, &[&name, &picture(file)]).await.expect("inserted");
    }
    for (id, text, author) in [
        (1, "A cat sat on the mat and looked at the rain.", "anon"),
        (2, "The bank raised its rates again.", "<b>bold</b>"),
        (3, "<script>alert(1)</script>", "nobody"),
    ] {
        let sql = "INSERT INTO texts VALUES ($1, $2, $3, embed('minilm', $2::text))";
        client.execute(sql, &[&id, &text, &author]).await.expect("inserted");
    }
    let shots = tempfile::tempdir().expect("a folder");
    let kept = std::env::var_os("LODEDB_TEST_SCREENSHOTS").map_or_else(|| shots.path().to_owned(), Into::into);
    let begun = Instant::now();
    let mut command = Command::new(python());
    command
        .arg(root().join("tools/clients/python/browse.py"))
        .arg(format!("http://{}/", server.http_address()))
        .args([models::folder().join("pictures"), kept]);
    let said = output(command, "");
    assert!(said.contains("the page does what it should"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(
        one(&client, "SELECT string_agg(name, ',' ORDER BY id) FROM pictures WHERE id > 6 OR name = 'photo'").await,
        "photo"
    );
}
