//! What there is for whoever watches the server: health and metrics on the side port, and the log of slow statements.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::harness::server::{PATIENCE, PROGRAM};
use crate::harness::{Server, error, python, rows, run};
use crate::programs::{output, root};

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
    let mut child = Command::new(&*PROGRAM)
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
        let output = Command::new(&*PROGRAM).args(["serve", "--data"]).arg(&data).args(arguments).output();
        let output = output.expect("the program runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = serve(&["--http", "0.0.0.0:0"]);
    assert!(!done && said.contains("--http-any-address"), "{said}");
    let (done, said) = serve(&["--http-any-address"]);
    assert!(!done && said.contains("--http <ADDRESS>"), "{said}");
    assert!(!data.exists(), "a database was made by a server that did not start");
}

/// A page of metrics, as the parsers of Prometheus's client read it.
pub(crate) struct Page(Vec<Value>);

impl Page {
    pub(crate) fn of(server: &Server) -> Self {
        let (status, page) = get(server.http_address(), "/metrics").expect("an answer");
        assert_eq!(status, 200, "{page}");
        let mut command = Command::new(python());
        command.arg(root().join("tools/clients/python/metrics.py"));
        let read = output(command, &page);
        Self(serde_json::from_str(&read).unwrap_or_else(|error| panic!("{error}: {read}")))
    }

    /// The value of a sample, if it is there.
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = |sample: &&Value| {
            sample["name"] == name && labels.iter().all(|(label, value)| sample["labels"][*label] == *value)
        };
        self.0.iter().find(wanted).map(|sample| sample["value"].as_f64().expect("a number"))
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name} with {labels:?}"))
    }

    /// How many statements of a kind ended so.
    #[track_caller]
    fn statements(&self, kind: &str, outcome: &str) -> f64 {
        self.value("lodedb_statements_total", &[("kind", kind), ("outcome", outcome)])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_move_as_the_server_works() {
    let server = Server::start_with(&["--http", "127.0.0.1:0", "--max-connections", "3"]);
    let client = server.connect().await;
    let before = Page::of(&server);
    for kind in ["select", "knn", "insert", "update", "delete", "copy", "ddl", "other"] {
        assert_eq!((before.statements(kind, "ok"), before.statements(kind, "error")), (0.0, 0.0), "{kind}");
    }
    assert_eq!(before.value("lodedb_up", &[]), 1.0);
    assert_eq!(before.value("lodedb_writable", &[]), 1.0);
    assert_eq!(before.value("lodedb_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    run(&client, "CREATE TABLE measured (id int PRIMARY KEY, v vector(2)); CREATE TABLE plain (id int)").await;
    run(&client, "INSERT INTO measured SELECT g, ARRAY[g, -g]::vector FROM generate_series(1, 1000) g").await;
    let insert = client.prepare("INSERT INTO measured VALUES ($1, '[0,0]')").await.expect("it is prepared");
    for id in 2001..2011 {
        client.execute(&insert, &[&id]).await.expect("it is inserted");
    }
    run(&client, "BEGIN").await;
    run(&client, "DELETE FROM measured WHERE id <= 10").await;
    run(&client, "COMMIT").await;
    run(&client, "UPDATE measured SET id = -id WHERE id = 11").await;
    rows(&client, "SELECT count(*) FROM measured").await;
    rows(&client, "SELECT pg_sleep(0.3)").await;
    // By the hot road, by a plan, and by a name.
    rows(&client, "SELECT id FROM measured ORDER BY v <-> '[1,2]' LIMIT 3").await;
    rows(&client, "SELECT a.id FROM (SELECT id FROM measured ORDER BY v <-> '[1,2]' LIMIT 3) a ORDER BY a.id").await;
    run(&client, "PREPARE near AS SELECT id FROM measured ORDER BY v <-> '[1,2]' LIMIT 3").await;
    rows(&client, "EXECUTE near").await;
    let copied: Vec<_> = client.copy_out("COPY plain TO STDOUT").await.expect("it begins").collect().await;
    assert!(copied.is_empty());
    assert_eq!(error(&client, "SELECT * FROM nowhere").await.code().code(), "42P01");
    assert_eq!(error(&client, "SELECT 1 / (id - id) FROM measured").await.code().code(), "22012");
    assert_eq!(error(&client, "INSERT INTO measured VALUES (2001)").await.code().code(), "23505");
    assert!(client.execute(&insert, &[&2001]).await.is_err(), "a key was taken twice");
    assert_eq!(error(&client, "SELEC").await.code().code(), "42601");
    let (second, third) = (server.connect().await, server.connect().await);
    assert!(server.try_connect().await.is_err(), "a fourth session was begun");

    let page = Page::of(&server);
    let counted = |kind| (page.statements(kind, "ok"), page.statements(kind, "error"));
    assert_eq!(counted("select"), (2.0, 2.0));
    assert_eq!(counted("knn"), (3.0, 0.0));
    assert_eq!(counted("insert"), (11.0, 2.0));
    assert_eq!(counted("update"), (1.0, 0.0));
    assert_eq!(counted("delete"), (1.0, 0.0));
    assert_eq!(counted("copy"), (1.0, 0.0));
    assert_eq!(counted("ddl"), (2.0, 0.0));
    assert_eq!(counted("other"), (3.0, 0.0), "BEGIN, COMMIT and PREPARE");
    let took = |name: &str, kind| page.value(&format!("lodedb_statement_duration_seconds{name}"), &[("kind", kind)]);
    assert_eq!(took("_count", "select"), 4.0);
    let slept = took("_sum", "select");
    assert!((0.3..10.0).contains(&slept), "they took {slept} s");
    let within = |le| page.value("lodedb_statement_duration_seconds_bucket", &[("kind", "select"), ("le", le)]);
    assert_eq!((within("0.25"), within("+Inf")), (3.0, 4.0));
    // Each of these waited for an fsync, even on the quickest disk.
    assert!(took("_sum", "insert") > 11.0 * 10e-6, "commits are not in the time: {}", took("_sum", "insert"));

    assert_eq!(page.value("lodedb_connections", &[]), 3.0);
    assert_eq!(page.value("lodedb_connections_max", &[]), 3.0);
    assert_eq!(page.value("lodedb_connections_accepted_total", &[]), 3.0);
    assert_eq!(page.value("lodedb_connections_refused_total", &[]), 1.0);
    assert_eq!(page.value("lodedb_tables", &[]), 2.0);
    assert_eq!(page.value("lodedb_tables_omitted", &[]), 0.0);
    assert_eq!(page.value("lodedb_table_rows", &[("table", "measured")]), 1000.0);
    assert_eq!(page.value("lodedb_table_rows", &[("table", "plain")]), 0.0);
    assert_eq!(page.value("lodedb_table_dead_rows", &[("table", "measured")]), 10.0);
    assert_eq!(page.value("lodedb_table_segments", &[("table", "measured"), ("state", "mutable")]), 1.0);
    assert!(page.value("lodedb_log_size_bytes", &[]) > 1e6);
    let lsn = page.value("lodedb_log_last_lsn", &[]);
    assert!(lsn > before.value("lodedb_log_last_lsn", &[]));
    assert_eq!(page.value("lodedb_log_durable_lsn", &[]), lsn);
    assert_eq!(page.value("lodedb_view_lsn", &[]), lsn);
    assert!(page.value("lodedb_resident_memory_bytes", &[]) > 1e6);
    assert!(page.value("lodedb_store_buffers_bytes", &[]) > 0.0);

    drop((second, third));
    assert_eq!(page.value("lodedb_checkpoints_total", &[("outcome", "ok")]), 0.0);
    let temporary = tempfile::tempdir().expect("a directory");
    run(&client, "CHECKPOINT").await;
    run(&client, &format!("BACKUP TO '{}'", temporary.path().join("kept").display())).await;
    let refused = format!("BACKUP TO '{}'", server.dir().join("meta").display());
    assert_eq!(error(&client, &refused).await.code().code(), "22023");
    let page = Page::of(&server);
    assert_eq!(page.value("lodedb_checkpoints_total", &[("outcome", "ok")]), 1.0, "the backup found nothing new");
    assert_eq!(page.value("lodedb_checkpoint_last_lsn", &[]), lsn);
    assert_eq!(page.value("lodedb_backups_total", &[("outcome", "ok")]), 1.0);
    assert_eq!(page.value("lodedb_backups_total", &[("outcome", "error")]), 1.0);
    assert_eq!(page.value("lodedb_backup_last_lsn", &[]), lsn);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    for of in ["checkpoint", "backup"] {
        let taken = page.value(&format!("lodedb_{of}_last_timestamp_seconds"), &[]);
        assert!((now - 60.0..=now).contains(&taken), "{of} at {taken}, now it is {now}");
    }
    assert_eq!(page.value("lodedb_connections", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_background_work_and_of_many_tables() {
    let server = Server::start_with(&["--http", "127.0.0.1:0"]);
    let client = server.connect().await;
    run(&client, "CREATE TABLE large (id serial PRIMARY KEY, v vector(512))").await;
    let vector = "('[' || repeat(g % 97 || ',', 511) || g || ']')::vector";
    for _ in 0..5 {
        run(&client, &format!("INSERT INTO large (v) SELECT {vector} FROM generate_series(1, 1000) AS t(g)")).await;
    }
    run(&client, "VACUUM").await;
    let many: String = (0..1005).map(|at| format!("CREATE TABLE \"many {at:04} \\ \"\"\" (id int);")).collect();
    run(&client, &many).await;
    let page = Page::of(&server);
    assert!(page.value("lodedb_table_segments", &[("table", "large"), ("state", "sealed")]) >= 1.0);
    assert!(page.value("lodedb_table_segment_files_bytes", &[("table", "large")]) > 4096.0 * 512.0 * 4.0);
    for job in ["freeze", "seal"] {
        assert!(page.value("lodedb_background_jobs_total", &[("job", job), ("outcome", "ok")]) >= 1.0, "{job}");
        assert!(page.value("lodedb_background_job_seconds_total", &[("job", job)]) > 0.0, "{job}");
    }
    assert_eq!(page.value("lodedb_tables", &[]), 1006.0);
    assert_eq!(page.value("lodedb_tables_omitted", &[]), 6.0);
    assert!(page.find("lodedb_table_rows", &[("table", "many 0998 \\ \"")]).is_some(), "names come back as they are");
    assert!(page.find("lodedb_table_rows", &[("table", "many 0999 \\ \"")]).is_none());
}

/// The lines of the log of slow statements, once there are `count` of them.
async fn slow(server: &Server, count: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let log = server.log();
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .filter(|line: &Value| line["target"] == "lodedb::slow")
            .collect();
        if lines.len() >= count || begun.elapsed() > Duration::from_secs(20) {
            assert_eq!(lines.len(), count, "{log}");
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_statements_are_logged_with_their_plans() {
    let server = Server::start_with(&["--log-format", "json", "--log-min-duration", "100"]);
    let client = server.connect().await;
    run(&client, "CREATE TABLE watched (id int PRIMARY KEY, v vector(2)); INSERT INTO watched VALUES (1, '[1,2]')")
        .await;
    assert_eq!(rows(&client, "SHOW log_min_duration_statement").await, [["100"]]);
    rows(&client, "SELECT id FROM watched").await;
    rows(&client, "SELECT pg_sleep(0.2), 'two\nlines' FROM watched WHERE id = 1").await;
    let lines = slow(&server, 1).await;
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["outcome"], "ok");
    assert_eq!(lines[0]["parameters"], 0);
    assert_eq!(lines[0]["statement"], "SELECT pg_sleep(0.2), 'two\nlines' FROM watched WHERE id = 1");
    let took = lines[0]["duration_ms"].as_f64().expect("a number");
    assert!((200.0..20_000.0).contains(&took), "it took {took} ms");
    let plan = lines[0]["plan"].as_str().expect("a plan");
    assert!(plan.contains("Index Scan using watched_pkey on watched"), "{plan}");

    // One that fails, one within a block that has failed, and one that is cancelled by its time.
    assert_eq!(error(&client, "SELECT pg_sleep(0.2), 1 / (id - id) FROM watched").await.code().code(), "22012");
    run(&client, "SET statement_timeout = 150").await;
    let ended = "BEGIN; CREATE TABLE gone (a int); INSERT INTO gone VALUES (1); SELECT pg_sleep(9), a FROM gone";
    assert_eq!(error(&client, ended).await.code().code(), "57014");
    run(&client, "ROLLBACK; RESET statement_timeout").await;
    let lines = slow(&server, 3).await;
    assert_eq!(lines[1]["outcome"], "error");
    assert!(lines[1]["plan"].as_str().expect("a plan").contains("Seq Scan on watched"), "{}", lines[1]);
    assert_eq!(lines[2]["outcome"], "error");
    assert!(lines[2]["plan"].as_str().expect("a plan").contains("not known"), "its table is gone: {}", lines[2]);

    // A session chooses for itself, and what it chooses ends with it.
    run(&client, "SET log_min_duration_statement = 0").await;
    let near = client.prepare("SELECT id FROM watched ORDER BY v <-> $1::text::vector LIMIT 1").await.expect("it is");
    client.query(&near, &[&"[1,1]"]).await.expect("it runs");
    client.execute("INSERT INTO watched VALUES ($1, '[3,4]')", &[&7]).await.expect("it runs");
    let lines = slow(&server, 6).await;
    assert_eq!(lines[3]["statement"], "SET log_min_duration_statement = 0");
    assert_eq!(lines[4]["parameters"], 1);
    assert!(lines[4]["plan"].as_str().expect("a plan").contains("on watched"), "{}", lines[4]);
    assert!(lines[5]["plan"].as_str().expect("a plan").contains("Insert on watched"), "{}", lines[5]);
    run(&client, "SET log_min_duration_statement = -1").await;
    rows(&client, "SELECT pg_sleep(0.2)").await;
    run(&client, "RESET log_min_duration_statement").await;
    assert_eq!(rows(&client, "SHOW log_min_duration_statement").await, [["100"]]);
    assert_eq!(error(&client, "SET log_min_duration_statement = -2").await.code().code(), "22023");
    rows(&client, "SELECT pg_sleep(0.2), 'last'").await;
    let lines = slow(&server, 7).await;
    assert_eq!(lines[6]["statement"], "SELECT pg_sleep(0.2), 'last'");
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("notify");
    let told = UnixDatagram::bind(&path).expect("a socket");
    told.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut child = Command::new(&*PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(temporary.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let next = || {
        let mut bytes = [0; 256];
        let count = told.recv(&mut bytes).expect("it is told");
        String::from_utf8_lossy(&bytes[..count]).trim().to_owned()
    };
    assert!(next().starts_with("STATUS=opening"));
    assert_eq!(next(), "READY=1");
    assert_eq!(next(), "STATUS=serving");
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert_eq!(next(), "STOPPING=1");
    assert!(child.wait().expect("it ends").success());
}
