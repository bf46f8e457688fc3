//! The demo: word vectors through COPY into a table, an index over them, a question through psql, and a kill in between.
//!
//! It is an ordinary client: it starts `lodedb serve` as a child and speaks to it with tokio-postgres and psql. Run it by
//! `make demo`, which fetches the vectors.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const DIMENSIONS: usize = 100;
/// Words whose neighbours are compared with the exact ones.
const QUERIES: usize = 100;
const NEIGHBOURS: usize = 10;
/// How much goes into one message of COPY.
const CHUNK_BYTES: usize = 256 << 10;
const KING: &str = "SELECT word, embedding <=> (SELECT embedding FROM words WHERE word = 'king') AS distance \
                    FROM words ORDER BY 2 LIMIT 10";

/// What the command line says.
struct Arguments {
    json: PathBuf,
    server_binary: PathBuf,
    data: PathBuf,
    rows: usize,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let (mut json, mut server_binary, mut data, mut rows) = (None, None, None, usize::MAX);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--json" => json = Some(PathBuf::from(value()?)),
                "--server-binary" => server_binary = Some(PathBuf::from(value()?)),
                "--data" => data = Some(PathBuf::from(value()?)),
                "--rows" => rows = value()?.parse().map_err(|error| format!("--rows: {error}"))?,
                _ => {
                    let usage = "words --json FILE --server-binary FILE --data DIR [--rows N]";
                    return Err(format!("{word} is not known; usage: {usage}").into());
                }
            }
        }
        if rows < 1_000 {
            return Err("--rows must be at least 1000".into());
        }
        Ok(Self {
            json: json.ok_or("--json is missing")?,
            server_binary: server_binary.ok_or("--server-binary is missing")?,
            data: data.ok_or("--data is missing")?,
            rows,
        })
    }
}

fn main() -> ExitCode {
    let run = || -> Result<()> {
        let arguments = Arguments::parse()?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(demo(&arguments))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", shown(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error with what caused it.
fn shown(error: &(dyn Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.as_db_error()) {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

async fn demo(arguments: &Arguments) -> Result<()> {
    let words = read_words(&arguments.json, arguments.rows)?;

    if arguments.data.exists() {
        std::fs::remove_dir_all(&arguments.data)?;
    }
    if let Some(parent) = arguments.data.parent() {
        std::fs::create_dir_all(parent)?;
    }
    step("Starting the server on an empty directory");
    let mut server = Server::start(arguments).await?;
    let client = server.connect().await?;

    step("COPY words FROM STDIN (FORMAT BINARY)");
    client
        .batch_execute(
            "CREATE EXTENSION IF NOT EXISTS vector;
             CREATE TABLE words (id bigint PRIMARY KEY, word text NOT NULL, embedding vector(100));",
        )
        .await?;
    let copying = copy(&client, &words).await?;

    step("CREATE INDEX ON words USING ivfpq (embedding vector_cosine_ops)");
    let building = build_index(&server, &client).await?;

    step("The same question through psql");
    psql(server.port)?;

    step("Recall and latency over one connection");
    let measured = measure(&client, &words.queries).await?;
    let resident = server.resident_mib();
    let (count, answer) = (count(&client).await?, exact_answer(&client).await?);

    step("Killing the server (SIGKILL) and starting it again");
    drop(client);
    server.kill()?;
    let started = Instant::now();
    let mut server = Server::start(arguments).await?;
    let client = server.connect().await?;
    let count_after = self::count(&client).await?;
    let recovery = started.elapsed();
    let answer_after = exact_answer(&client).await?;
    if (count, &answer) != (count_after, &answer_after) {
        return Err(format!(
            "after the kill there are {count_after} rows instead of {count}, and the answer is {answer_after:?} \
             instead of {answer:?}"
        )
        .into());
    }
    println!("{count_after} rows, and the same answer to the last digit");
    psql(server.port)?;

    step("Stopping the server (SIGTERM) and starting it once more");
    drop(client);
    let stopping = server.terminate()?;
    let started = Instant::now();
    let mut server = Server::start(arguments).await?;
    let client = server.connect().await?;
    client.simple_query(KING).await?;
    let reopening = started.elapsed();
    if self::count(&client).await? != count {
        return Err("rows are missing after a clean stop".into());
    }
    drop(client);
    server.terminate()?;

    step("Summary");
    let rate = words.rows as f64 / copying.as_secs_f64();
    println!("rows                          {:>12}", words.rows);
    println!("COPY, durable                 {:>12}   {rate:.0} rows/s", seconds(copying));
    println!("index build                   {:>12}", seconds(building));
    println!("recall@{NEIGHBOURS} of {QUERIES} words         {:>12.3}   against an exact scan", measured.recall);
    println!(
        "median query                  {:>12}   exact scan: {}",
        milliseconds(measured.median),
        milliseconds(measured.exact_median)
    );
    println!("resident memory of the server {resident:>8} MiB");
    println!("start after SIGKILL           {:>12}   until count(*) answered, the log replayed", seconds(recovery));
    println!("clean stop                    {:>12}", seconds(stopping));
    println!("start after a clean stop      {:>12}   until the first search answered", seconds(reopening));
    println!();
    println!("The database is still there. To go on with it:");
    println!("  {} serve --data {}", arguments.server_binary.display(), arguments.data.display());
    println!("  psql -h 127.0.0.1 -p 5433 -U lodedb lodedb");
    Ok(())
}

fn step(what: &str) {
    println!("\n== {what}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// A bar that knows where it ends.
fn bar(total: u64, template: &str) -> Result<ProgressBar> {
    Ok(ProgressBar::new(total).with_style(ProgressStyle::with_template(template)?.progress_chars("=> ")))
}

// ---------------------------------------------------------------------------------------------------------------------
// The words

/// Rows in the form COPY wants them, and some of them as queries.
struct Words {
    /// Rows one after another, cut into messages: how many rows, their bytes.
    chunks: Vec<(u64, Bytes)>,
    rows: usize,
    queries: Vec<Query>,
}

/// A word whose neighbours are asked for.
struct Query {
    id: i64,
    vector: Vec<f32>,
}

/// Reads the most frequent words and their vectors.
fn read_words(path: &Path, rows_max: usize) -> Result<Words> {
    step("Reading the word vectors");
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bar = bar(file.metadata()?.len(), "{wide_bar} {bytes}/{total_bytes}")?;
    let reader = BufReader::with_capacity(1 << 20, bar.wrap_read(file));
    let mut gathered = Gathered { rows_max, ..Gathered::default() };
    let mut json = serde_json::Deserializer::from_reader(reader);
    json.deserialize_map(&mut gathered).map_err(|error| format!("{}: {error}", path.display()))?;
    bar.finish_and_clear();
    gathered.cut();
    println!("{} words, {DIMENSIONS} dimensions", gathered.rows);
    Ok(Words { chunks: gathered.chunks, rows: gathered.rows, queries: gathered.queries })
}

/// What has been read so far. A visitor of the file's outer object, so that no tree of all of it is made.
#[derive(Default)]
struct Gathered {
    rows_max: usize,
    /// Words in the file.
    size: usize,
    chunk: BytesMut,
    chunk_rows: u64,
    chunks: Vec<(u64, Bytes)>,
    rows: usize,
    queries: Vec<Query>,
}

impl Gathered {
    fn push(&mut self, word: &str, values: &[f64]) -> std::result::Result<(), String> {
        // The vector, its length, and the word's place in the order of frequency.
        let [components @ .., _, place] = values else { return Err(format!("{word:?} has no vector")) };
        if components.len() != DIMENSIONS {
            return Err(format!("{word:?} has {} dimensions", components.len()));
        }
        let place = *place as usize;
        if place >= self.rows_max {
            return Ok(());
        }
        let vector: Vec<f32> = components.iter().map(|&value| value as f32).collect();
        let row = &mut self.chunk;
        row.put_i16(3);
        row.put_i32(8);
        row.put_i64(place as i64);
        row.put_i32(word.len() as i32);
        row.put_slice(word.as_bytes());
        put_vector(&vector, row, true);
        self.rows += 1;
        self.chunk_rows += 1;
        if self.chunk.len() >= CHUNK_BYTES {
            self.cut();
        }
        let stride = (self.size.min(self.rows_max) / QUERIES).max(1);
        if place % stride == stride / 2 && self.queries.len() < QUERIES && vector.iter().any(|&x| x != 0.0) {
            self.queries.push(Query { id: place as i64, vector });
        }
        Ok(())
    }

    fn cut(&mut self) {
        if self.chunk_rows > 0 {
            self.chunks.push((std::mem::take(&mut self.chunk_rows), self.chunk.split().freeze()));
        }
    }
}

/// The binary form of a vector: dimensions, zero, components.
fn put_vector(vector: &[f32], out: &mut BytesMut, with_length: bool) {
    if with_length {
        out.put_i32(4 + 4 * vector.len() as i32);
    }
    out.put_i16(vector.len() as i16);
    out.put_i16(0);
    vector.iter().for_each(|&component| out.put_f32(component));
}

impl<'de> Visitor<'de> for &mut Gathered {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with dimensions, words and vectors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "size" => self.size = map.next_value()?,
                "vectors" => map.next_value_seed(Vectors(self))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The object of words and their vectors.
struct Vectors<'a>(&'a mut Gathered);

impl<'de> DeserializeSeed<'de> for Vectors<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Vectors<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of vectors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut values = Vec::with_capacity(DIMENSIONS + 2);
        while let Some(word) = map.next_key::<String>()? {
            map.next_value_seed(Numbers(&mut values))?;
            self.0.push(&word, &values).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

/// One array of numbers, into a buffer that is used again.
struct Numbers<'a>(&'a mut Vec<f64>);

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        self.0.clear();
        while let Some(number) = seq.next_element()? {
            self.0.push(number);
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The server

/// `lodedb serve` as a child of this process. It is killed when this is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    async fn start(arguments: &Arguments) -> Result<Self> {
        // Another program could take the port before the server does; then the demo says so and is run again.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(&arguments.server_binary)
            .arg("serve")
            .arg("--data")
            .arg(&arguments.data)
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .spawn()
            .map_err(|error| format!("{}: {error}", arguments.server_binary.display()))?;
        let mut server = Self { child, port };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended at its start: {status}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(server)
    }

    async fn connect(&self) -> Result<Client> {
        let address = format!("host=127.0.0.1 port={} user=lodedb dbname=lodedb application_name=words", self.port);
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await?;
        // It ends with the client, or with the server; the client's next call says which.
        tokio::spawn(connection);
        Ok(client)
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn terminate(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let id = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: a system call without memory; the child was not waited for yet, so the id is its own.
        if unsafe { libc::kill(id, libc::SIGTERM) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("the server did not stop cleanly: {status}").into());
        }
        Ok(started.elapsed())
    }

    /// The memory of the process, mapped files included as far as they are in it.
    fn resident_mib(&self) -> u64 {
        let mut text = String::new();
        let read =
            File::open(format!("/proc/{}/status", self.child.id())).and_then(|mut file| file.read_to_string(&mut text));
        let line = read.ok().and_then(|_| text.lines().find_map(|line| line.strip_prefix("VmRSS:")));
        line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The statements

async fn copy(client: &Client, words: &Words) -> Result<Duration> {
    let bar = bar(words.rows as u64, "{wide_bar} {human_pos}/{human_len} rows, {per_sec}")?;
    let started = Instant::now();
    let sink = client.copy_in::<_, Bytes>("COPY words (id, word, embedding) FROM STDIN (FORMAT BINARY)").await?;
    let mut sink = Box::pin(sink);
    let mut header = BytesMut::from(&b"PGCOPY\n\xff\r\n\0"[..]);
    header.put_i32(0);
    header.put_i32(0);
    sink.send(header.freeze()).await?;
    for (rows, bytes) in &words.chunks {
        sink.send(bytes.clone()).await?;
        bar.inc(*rows);
    }
    sink.send(Bytes::from_static(&[0xff, 0xff])).await?;
    let copied = sink.as_mut().finish().await?;
    let time = started.elapsed();
    bar.finish_and_clear();
    println!(
        "COPY {copied} in {}, {:.0} rows/s, committed and on disk",
        seconds(time),
        copied as f64 / time.as_secs_f64()
    );
    Ok(time)
}

async fn build_index(server: &Server, client: &Client) -> Result<Duration> {
    let watcher = server.connect().await?;
    let bar = bar(0, "{wide_bar} {msg} {human_pos}/{human_len}")?;
    let started = Instant::now();
    let mut building =
        std::pin::pin!(client.batch_execute("CREATE INDEX ON words USING ivfpq (embedding vector_cosine_ops)"));
    loop {
        tokio::select! {
            biased;
            built = &mut building => {
                built?;
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                let seen = watcher
                    .simple_query("SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index")
                    .await?;
                for message in seen {
                    if let SimpleQueryMessage::Row(row) = message {
                        let number = |at| row.get(at).and_then(|text: &str| text.parse().ok()).unwrap_or(0);
                        bar.set_length(number(2));
                        bar.set_position(number(1));
                        bar.set_message(row.get(0).unwrap_or_default().to_owned());
                    }
                }
            }
        }
    }
    let time = started.elapsed();
    bar.finish_and_clear();
    println!("CREATE INDEX in {}", seconds(time));
    Ok(time)
}

fn psql(port: u16) -> Result<()> {
    let status = Command::new("psql")
        .args(["--no-psqlrc", "--host", "127.0.0.1", "--username", "lodedb", "--dbname", "lodedb"])
        .args(["--port", &port.to_string(), "--set", "ON_ERROR_STOP=1", "--pset", "pager=off"])
        .args(["--command", "\\timing on", "--command", KING])
        .status()
        .map_err(|error| format!("psql: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("psql: {status}").into()) }
}

async fn count(client: &Client) -> Result<i64> {
    Ok(client.query_one("SELECT count(*) FROM words", &[]).await?.get(0))
}

/// The king's neighbours with their distances as text, every row compared.
async fn exact_answer(client: &Client) -> Result<Vec<(String, String)>> {
    client.batch_execute("SET lodedb.exact = on").await?;
    let messages = client.simple_query(KING).await?;
    client.batch_execute("SET lodedb.exact = off").await?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(messages
        .iter()
        .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
        .map(|row| (text(row.get(0)), text(row.get(1))))
        .collect())
}

/// What the queries showed.
struct Measured {
    recall: f64,
    median: Duration,
    exact_median: Duration,
}

/// Asks for the neighbours of some words, by the index and exactly. A word is not counted as its own neighbour.
async fn measure(client: &Client, queries: &[Query]) -> Result<Measured> {
    let limit = NEIGHBOURS + 1;
    let statement = client.prepare(&format!("SELECT id FROM words ORDER BY embedding <=> $1 LIMIT {limit}")).await?;
    let mut answers = Vec::new();
    let mut medians = Vec::new();
    for exact in ["off", "on"] {
        client.batch_execute(&format!("SET lodedb.exact = {exact}")).await?;
        let mut times = Vec::with_capacity(queries.len());
        let mut found = Vec::with_capacity(queries.len());
        // The first round warms up and is not timed.
        let rounds = if exact == "off" { 2 } else { 1 };
        for _ in 0..rounds {
            found.clear();
            times.clear();
            let bar = bar(queries.len() as u64, "{wide_bar} {msg} {pos}/{len}")?;
            bar.set_message(if exact == "on" { "exact" } else { "by the index" });
            for query in queries {
                let started = Instant::now();
                let rows = client.query(&statement, &[&VectorParameter(&query.vector)]).await?;
                times.push(started.elapsed());
                let ids = rows.iter().map(|row| row.get::<_, i64>(0)).filter(|&id| id != query.id);
                found.push(ids.take(NEIGHBOURS).collect::<Vec<i64>>());
                bar.inc(1);
            }
            bar.finish_and_clear();
        }
        times.sort();
        medians.push(times.get(times.len() / 2).copied().unwrap_or_default());
        answers.push(found);
    }
    client.batch_execute("SET lodedb.exact = off").await?;
    let (found, truth) = (&answers[0], &answers[1]);
    let hits: usize =
        found.iter().zip(truth).map(|(found, truth)| truth.iter().filter(|id| found.contains(id)).count()).sum();
    let exist: usize = truth.iter().map(Vec::len).sum();
    let measured = Measured { recall: hits as f64 / exist.max(1) as f64, median: medians[0], exact_median: medians[1] };
    println!(
        "recall@{NEIGHBOURS} {:.3}, median {} by the index, {} exactly",
        measured.recall,
        milliseconds(measured.median),
        milliseconds(measured.exact_median)
    );
    Ok(measured)
}

/// A vector as a binary parameter.
#[derive(Debug)]
struct VectorParameter<'a>(&'a [f32]);

impl ToSql for VectorParameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        put_vector(self.0, out, false);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "vector"
    }

    to_sql_checked!();
}
