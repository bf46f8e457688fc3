//! What is measured, section by section. Each can run alone: it prepares what it needs, unless an earlier section or run has.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::embedding::Embedding;
use crate::glove::{Glove, K, QUERIES, SPREAD, scattered};
use crate::rates::{ROUNDS, each, median, rate, timed};
use crate::raw_faiss::{CANDIDATES, DESCRIPTION, RawFaiss};
use crate::servers::{Server, ticks};
use crate::wire::{Client, Result, vector};

/// In the order they run.
pub(crate) const SECTIONS: [&str; 19] = [
    "copy",
    "build",
    "search",
    "filter",
    "memory",
    "reopen",
    "insert",
    "indexed_copy",
    "group",
    "recovery",
    "million",
    "checkpoint",
    "backup",
    "verify",
    "pgbench",
    "pgbench_search",
    "connect",
    "copy_out",
    "embedding",
];

pub(crate) const COLUMNS: &str = "(id integer NOT NULL, word text NOT NULL, n integer NOT NULL, embedding vector(100))";
pub(crate) const NEAREST: &str = "SELECT id FROM words ORDER BY embedding <=> $1 LIMIT 10";
const FILTERED: &str = "SELECT id FROM words WHERE n >= $2 AND n < $3 ORDER BY embedding <=> $1 LIMIT 10";
/// Shares of rows that the filters pass, in thousandths.
const PASSING: [i32; 3] = [100, 10, 1];
/// Queries whose filtered answers are compared with the exact ones.
const FILTERED_QUERIES: usize = 300;
/// How long asking for recall may take.
const RECALL_TIME: Duration = Duration::from_secs(20);
/// How long an index may take to serve after COPY.
const INDEXING_TIME: Duration = Duration::from_secs(120);
/// No peer is tuned beyond this recall: effort does not reach what an exact scan answers.
const MOST_TUNED: f64 = 0.99;
/// Values of ef_search to try, in this order.
const EF_SEARCH: [u32; 16] = [40, 60, 80, 100, 120, 140, 160, 180, 200, 240, 280, 320, 400, 500, 700, 1000];

/// Everything a section works with.
pub(crate) struct Bench {
    pub(crate) glove: Glove,
    pub(crate) lodedb: Server,
    pub(crate) postgres: Server,
    /// Runs only while a section needs it.
    pub(crate) postgres15: Server,
    /// The kind of LodeDB's index, and of pgvector's.
    pub(crate) index: String,
    pub(crate) peer_index: String,
    pub(crate) embedding: Embedding,
    /// Seconds that a rate is measured for.
    pub(crate) seconds: f64,
    /// Share of their sizes that the sections of [`durability`](crate::durability) take.
    pub(crate) scale: f64,
    /// The queries in binary.
    pub(crate) queries: Vec<Vec<u8>>,
    /// The similarity of each query's k-th neighbour.
    pub(crate) kth: Vec<f32>,
    /// The results of sections, as earlier ones left them.
    pub(crate) results: serde_json::Map<String, Value>,
}

pub(crate) fn create_index(kind: &str, table: &str) -> String {
    let with = match kind {
        "hnsw" => " WITH (m = 16, ef_construction = 64)",
        "ivfflat" => " WITH (lists = 1000)",
        _ => "",
    };
    format!("CREATE INDEX {table}_embedding ON {table} USING {kind} (embedding vector_cosine_ops){with}")
}

fn row_id(value: &[u8]) -> u32 {
    value.iter().fold(0, |id, byte| id << 8 | u32::from(*byte))
}

pub(crate) fn say(what: &str) {
    eprintln!("  {what}");
}

impl Bench {
    /// Runs a section and gives its numbers.
    pub(crate) fn run(&mut self, section: &str) -> Result<Value> {
        let done = match section {
            "copy" => self.copy(),
            "build" => self.build(),
            "search" => self.search(),
            "filter" => self.filter(),
            "memory" => self.memory(),
            "reopen" => self.reopen(),
            "insert" => self.insert(),
            "indexed_copy" => self.indexed_copy(),
            "group" => self.group(),
            "recovery" => self.recovery(),
            "million" => self.million(),
            "checkpoint" => self.checkpoint(),
            "backup" => self.backup(),
            "verify" => self.verify(),
            "pgbench" => self.pgbench(),
            "pgbench_search" => self.pgbench_search(),
            "connect" => self.connect(),
            "copy_out" => self.copy_out(),
            "embedding" => self.embedding(),
            _ => Err(format!("no section {section:?}; there are {}", SECTIONS.join(", "))),
        };
        self.postgres15.stop()?;
        self.lodedb.remove_apart()?;
        done
    }

    pub(crate) fn load(&self, server: &Server) -> Result<()> {
        if !server.is_done("loaded") {
            let stream = self.glove.copy_stream(0..self.glove.len());
            let mut client = server.connect()?;
            client.simple(&format!("DROP TABLE IF EXISTS words; CREATE TABLE words {COLUMNS}"))?;
            client.copy_in("COPY words FROM STDIN (FORMAT BINARY)", &[&stream])?;
            server.set_done("loaded", true)?;
        }
        Ok(())
    }

    pub(crate) fn index(&self, server: &Server, kind: &str) -> Result<()> {
        self.load(server)?;
        if !server.is_done("indexed") {
            say(&format!("indexing {}", server.name()));
            let mut client = server.connect()?;
            client.simple(&create_index(kind, "words"))?;
            if server.name() == "postgres" {
                client.simple("VACUUM ANALYZE words")?;
            }
            server.set_done("indexed", true)?;
        }
        Ok(())
    }

    pub(crate) fn index_both(&self) -> Result<()> {
        self.index(&self.lodedb, &self.index)?;
        self.index(&self.postgres, &self.peer_index)
    }

    fn copy(&mut self) -> Result<Value> {
        let rows = self.glove.len();
        let stream = self.glove.copy_stream(0..rows);
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (server, rates) in [&self.lodedb, &self.postgres].into_iter().zip(&mut rates) {
                let mut client = server.connect()?;
                client.simple("DROP TABLE IF EXISTS words")?;
                client.simple(&format!("CREATE TABLE words {COLUMNS}"))?;
                let copying = || client.copy_in("COPY words FROM STDIN (FORMAT BINARY)", &[&stream]);
                rates.push(rows as f64 / timed(copying)?);
                let found = client.simple("SELECT count(*) FROM words")?;
                if found != [rows.to_string()] {
                    return Err(format!("{} holds {found:?} rows of {rows}", server.name()));
                }
                server.set_done("loaded", true)?;
                if server.is_done("indexed") {
                    server.set_done("indexed", false)?;
                }
            }
        }
        Ok(json!({ "rows": rows, "lodedb_rows_per_s": rates[0], "postgres_rows_per_s": rates[1] }))
    }

    fn build(&mut self) -> Result<Value> {
        self.load(&self.lodedb)?;
        self.load(&self.postgres)?;
        let mut ours = Vec::new();
        let mut client = self.lodedb.connect()?;
        for _ in 0..ROUNDS {
            client.simple("DROP INDEX IF EXISTS words_embedding")?;
            ours.push(timed(|| client.simple(&create_index(&self.index, "words")).map(drop))?);
        }
        self.lodedb.set_done("indexed", true)?;
        say("building pgvector's index");
        let mut client = self.postgres.connect()?;
        client.simple("DROP INDEX IF EXISTS words_embedding")?;
        let theirs = timed(|| client.simple(&create_index(&self.peer_index, "words")).map(drop))?;
        client.simple("VACUUM ANALYZE words")?;
        self.postgres.set_done("indexed", true)?;
        Ok(json!({ "lodedb_s": ours, "postgres_s": [theirs] }))
    }

    /// Runs queries once each, or as many as its time allows, shared among the clients; gives recall and how many rows the poorest answer had.
    fn recall(
        &self,
        clients: &mut [Client],
        asked: &[(usize, Range<i32>)],
        kth: &[f32],
        ask: impl Fn(&mut Client, &(usize, Range<i32>), &mut Vec<u32>) -> Result<()> + Sync,
    ) -> Result<(f64, usize)> {
        let part = asked.len().div_ceil(clients.len());
        let begun = Instant::now();
        let run = |client: &mut Client, from: usize| {
            let (mut hits, mut least, mut done, mut found) = (0, usize::MAX, 0usize, Vec::new());
            for (asked, &kth) in asked.iter().zip(kth).skip(from).take(part) {
                found.clear();
                ask(client, asked, &mut found)?;
                least = least.min(found.len());
                hits += self.glove.hits(asked.0, kth, &found);
                done += 1;
                if begun.elapsed() > RECALL_TIME {
                    say(&format!("recall is of {done} queries of {part}: they are slow"));
                    break;
                }
            }
            Ok::<_, String>((hits, least, done))
        };
        thread::scope(|scope| {
            let all: Vec<_> = clients
                .iter_mut()
                .enumerate()
                .map(|(at, client)| scope.spawn(move || run(client, at * part)))
                .collect();
            let (mut hits, mut least, mut done) = (0, usize::MAX, 0usize);
            for one in all {
                let one = one.join().map_err(|_| "a client panicked".to_owned())??;
                (hits, least, done) = (hits + one.0, least.min(one.1), done + one.2);
            }
            Ok((hits as f64 / (K * done) as f64, least))
        })
    }

    fn ask(&self, client: &mut Client, query: usize, found: &mut Vec<u32>) -> Result<()> {
        client.execute("nearest", &[&self.queries[query]], |value| found.push(row_id(value)))
    }

    /// Two sessions that have prepared the statements.
    pub(crate) fn sessions(&self, server: &Server, sessions: usize) -> Result<Vec<Client>> {
        let mut clients = server.connect_some(sessions)?;
        for client in &mut clients {
            client.prepare("nearest", NEAREST)?;
            client.prepare("filtered", FILTERED)?;
        }
        Ok(clients)
    }

    /// LodeDB's recall by default; pgvector's effort that reaches it, and its recall then.
    pub(crate) fn tune(&self, ours: &mut [Client], theirs: &mut [Client]) -> Result<(f64, u32, f64)> {
        let asked: Vec<_> = (0..QUERIES).map(|query| (query, 0..SPREAD)).collect();
        let ask =
            |client: &mut Client, asked: &(usize, Range<i32>), found: &mut Vec<u32>| self.ask(client, asked.0, found);
        let (recall, _) = self.recall(ours, &asked, &self.kth, ask)?;
        let (mut ef, mut peer) = (0, 0.0);
        let known = self.results.get("search").and_then(|search| search["ef_search"].as_u64()).unwrap_or(0) as u32;
        let start = EF_SEARCH.iter().position(|&ef| ef == known).unwrap_or(1).saturating_sub(1);
        for &candidate in &EF_SEARCH[start..] {
            for client in &mut *theirs {
                client.simple(&format!("SET hnsw.ef_search = {candidate}"))?;
            }
            (ef, peer) = (candidate, self.recall(theirs, &asked, &self.kth, ask)?.0);
            if peer >= recall.min(MOST_TUNED) {
                break;
            }
        }
        say(&format!("recall {recall:.4}; pgvector {peer:.4} with ef_search {ef}"));
        Ok((recall, ef, peer))
    }

    fn search(&mut self) -> Result<Value> {
        self.index_both()?;
        let (mut ours, mut theirs) = (self.sessions(&self.lodedb, 2)?, self.sessions(&self.postgres, 2)?);
        let (recall, ef, peer_recall) = self.tune(&mut ours, &mut theirs)?;

        let from = Instant::now();
        let mut raw = RawFaiss::build(&self.glove)?;
        let raw_build = from.elapsed().as_secs_f64();
        let (mut probes, mut raw_recall) = (8, 0.0);
        while probes <= 256 {
            raw.set_probes(probes);
            let (mut hits, mut found) = (0, Vec::new());
            for query in 0..QUERIES {
                raw.search(&self.glove, &self.glove.unit_queries[query], &mut found)?;
                hits += self.glove.hits(query, self.kth[query], &found);
            }
            raw_recall = hits as f64 / (K * QUERIES) as f64;
            // Fast-scan's codes bound what probing more can gain: what is within a thousandth is equal.
            if raw_recall >= recall.min(MOST_TUNED) - 0.001 {
                break;
            }
            probes += probes / 4;
        }
        say(&format!("raw FAISS: recall {raw_recall:.4} with {probes} probes"));

        let raw = &raw;
        let mut rates: [Vec<f64>; 3] = Default::default();
        for round in 0..ROUNDS {
            let wire = |client: &mut Client, at: usize| {
                let mut rows = 0;
                let query = (at + round * 97) % QUERIES;
                client.execute("nearest", &[&self.queries[query]], |_| rows += 1)?;
                if rows == K { Ok(()) } else { Err(format!("{rows} rows")) }
            };
            rates[0].push(rate(&mut ours, self.seconds, wire)?);
            rates[1].push(rate(&mut theirs, self.seconds, wire)?);
            let mut threads: [Vec<u32>; 2] = Default::default();
            rates[2].push(rate(&mut threads, self.seconds, |found, at| {
                RawFaiss::enter_thread();
                raw.search(&self.glove, &self.glove.unit_queries[(at + round * 97) % QUERIES], found)
            })?);
        }
        let mut one = Vec::new();
        for _ in 0..ROUNDS {
            one.push(rate(&mut ours[..1], self.seconds / 2.0, |client, at| {
                client.execute("nearest", &[&self.queries[at % QUERIES]], |_| {})
            })?);
        }
        Ok(json!({
            "recall": recall, "postgres_recall": peer_recall, "ef_search": ef,
            "raw_recall": raw_recall, "raw_probes": probes, "raw_candidates": CANDIDATES, "raw_index": DESCRIPTION,
            "raw_build_s": raw_build,
            "lodedb_qps": rates[0], "postgres_qps": rates[1], "raw_qps": rates[2], "lodedb_one_client_qps": one,
        }))
    }

    fn ask_filtered(&self, client: &mut Client, query: usize, range: &Range<i32>, on: impl FnMut(&[u8])) -> Result<()> {
        let (low, high) = (range.start.to_be_bytes(), range.end.to_be_bytes());
        client.execute("filtered", &[&self.queries[query], &low, &high], on)
    }

    fn filter(&mut self) -> Result<Value> {
        self.index_both()?;
        let (mut ours, mut theirs) = (self.sessions(&self.lodedb, 2)?, self.sessions(&self.postgres, 2)?);
        let (_, ef, _) = self.tune(&mut ours, &mut theirs)?;
        for client in &mut theirs {
            client.simple(&format!("SET hnsw.ef_search = {ef}; SET hnsw.iterative_scan = strict_order"))?;
        }
        let mut out = serde_json::Map::new();
        for passing in PASSING {
            let width = SPREAD / 1000 * passing;
            // A number of its own for each query that is ever asked, so that no two predicates are the same.
            let range = |number: u64| {
                let low = (scattered(number) % (SPREAD - width) as u64) as i32;
                low..low + width
            };
            let asked: Vec<_> = (0..FILTERED_QUERIES).map(|query| (query, range(query as u64))).collect();
            let kth = self.glove.kth_best(&asked);
            let ask = |client: &mut Client, asked: &(usize, Range<i32>), found: &mut Vec<u32>| {
                self.ask_filtered(client, asked.0, &asked.1, |value| found.push(row_id(value)))
            };
            let (recall, rows) = self.recall(&mut ours, &asked, &kth, ask)?;
            let (peer_recall, peer_rows) = self.recall(&mut theirs, &asked, &kth, ask)?;
            let mut rates: [Vec<f64>; 3] = Default::default();
            for round in 0..ROUNDS {
                let varying = |client: &mut Client, at: usize| {
                    self.ask_filtered(client, at % QUERIES, &range(((round + 1) << 32 | at) as u64), |_| {})
                };
                rates[0].push(rate(&mut ours, self.seconds, varying)?);
                rates[1].push(rate(&mut theirs, self.seconds, varying)?);
                rates[2].push(rate(&mut ours, self.seconds / 2.0, |client, at| {
                    self.ask_filtered(client, at % QUERIES, &range(0), |_| {})
                })?);
            }
            say(&format!(
                "{}%: recall {recall:.4}, {peer_recall:.4}; rows at least {rows}, {peer_rows}; {:.0}/s, {:.0}/s",
                f64::from(passing) / 10.0,
                median(&rates[0]),
                median(&rates[1])
            ));
            out.insert(
                passing.to_string(),
                json!({
                    "recall": recall, "rows": rows, "postgres_recall": peer_recall, "postgres_rows": peer_rows,
                    "lodedb_qps": rates[0], "postgres_qps": rates[1], "lodedb_warm_qps": rates[2],
                }),
            );
        }
        let plan = theirs[0].simple(&format!(
            "EXPLAIN {}",
            FILTERED
                .replace("$1", "(SELECT embedding FROM words WHERE id = 1)")
                .replace("$2", "5000")
                .replace("$3", "6000")
        ))?;
        out.insert("ef_search".into(), json!(ef));
        out.insert("postgres_plan".into(), json!(plan));
        Ok(Value::Object(out))
    }

    /// Reopens LodeDB, asks a table every query, reads every query's neighbours in `words` by their ids, and gives the server's anonymous and
    /// whole resident memory.
    fn resident(&mut self, table: &str, neighbors: &[Vec<u32>]) -> Result<(f64, f64)> {
        self.lodedb.stop()?;
        drop(self.lodedb.start()?);
        let mut clients = self.lodedb.connect_some(2)?;
        for client in &mut clients {
            client.prepare("asked", &NEAREST.replace("words", table))?;
            client.prepare("row", "SELECT id FROM words WHERE id = $1")?;
        }
        each(&mut clients, QUERIES, |client, at| {
            client.execute("asked", &[&self.queries[at]], |_| {})?;
            neighbors[at].iter().try_for_each(|id| client.execute("row", &[&id.to_be_bytes()], |_| {}))
        })?;
        let pid = self.lodedb.pid().ok_or("it does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
        let bytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
                .map_or(f64::NAN, |kib| kib * 1024.0)
        };
        Ok((bytes("RssAnon:"), bytes("VmRSS:")))
    }

    fn memory(&mut self) -> Result<Value> {
        self.index_both()?;
        let mut client = self.postgres.connect()?;
        let size = client.simple("SELECT pg_relation_size('words_embedding')")?;
        let theirs: f64 = size.first().and_then(|size| size.parse().ok()).ok_or("no size")?;
        // Without the index, the same searches of a few rows: an exact scan of all would leave buffers behind. The rows of the answers are
        // read by their ids in both, so that the store's cache holds the same blocks.
        let mut client = self.lodedb.connect()?;
        client.simple(&format!("DROP TABLE IF EXISTS few; CREATE TABLE few {COLUMNS}"))?;
        client.simple("INSERT INTO few SELECT * FROM words WHERE id < 100")?;
        client.simple("CREATE INDEX words_id ON words (id)")?;
        client.prepare("nearest", NEAREST)?;
        let mut neighbors = vec![Vec::new(); QUERIES];
        for (at, found) in neighbors.iter_mut().enumerate() {
            self.ask(&mut client, at, found)?;
        }
        let (mut with, mut without, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (anonymous, all) = self.resident("words", &neighbors)?;
            with.push(anonymous);
            whole.push(all);
        }
        self.lodedb.connect()?.simple("DROP INDEX words_embedding")?;
        self.lodedb.set_done("indexed", false)?;
        for _ in 0..ROUNDS {
            without.push(self.resident("few", &neighbors)?.0);
        }
        self.lodedb.connect()?.simple("DROP TABLE few; DROP INDEX words_id")?;
        self.index(&self.lodedb, &self.index)?;
        let rows = self.glove.len() as f64;
        Ok(json!({
            "lodedb_bytes_per_row": (median(&with) - median(&without)) / rows,
            "postgres_bytes_per_row": theirs / rows,
            "anonymous_with_index": with, "anonymous_without_index": without, "resident_with_index": whole,
        }))
    }

    fn reopen(&mut self) -> Result<Value> {
        self.index(&self.lodedb, &self.index)?;
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            self.lodedb.stop()?;
            let from = Instant::now();
            let mut client = self.lodedb.start()?;
            client.prepare("nearest", NEAREST)?;
            let mut found = Vec::new();
            self.ask(&mut client, 0, &mut found)?;
            seconds.push(from.elapsed().as_secs_f64());
            if found.len() != K {
                return Err(format!("{} rows after reopening", found.len()));
            }
        }
        Ok(json!({ "rows": self.glove.len(), "lodedb_s": seconds }))
    }

    fn insert(&mut self) -> Result<Value> {
        let servers = [&self.lodedb, &self.postgres];
        for server in servers {
            server.connect()?.simple(&format!("DROP TABLE IF EXISTS inserts; CREATE TABLE inserts {COLUMNS}"))?;
        }
        let mut out = serde_json::Map::new();
        for clients in [1, 16] {
            let mut rates = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (server, rates) in servers.into_iter().zip(&mut rates) {
                    let mut sessions = server.connect_some(clients)?;
                    for session in &mut sessions {
                        session.prepare("one", "INSERT INTO inserts VALUES ($1, $2, $3, $4)")?;
                    }
                    rates.push(rate(&mut sessions, self.seconds, |client, at| {
                        let [id, word, number, vector] = self.glove.values(at % self.glove.len());
                        client.execute("one", &[&id, &word, &number, &vector], |_| {})
                    })?);
                }
            }
            out.insert(clients.to_string(), json!({ "lodedb_per_s": rates[0], "postgres_per_s": rates[1] }));
        }
        for server in servers {
            server.connect()?.simple("DROP TABLE inserts")?;
        }
        Ok(Value::Object(out))
    }

    fn indexed_copy(&mut self) -> Result<Value> {
        let rows = self.glove.len();
        let stream = self.glove.copy_stream(0..rows);
        let (mut ours, mut copying, mut finals) = (Vec::new(), Vec::new(), Vec::new());
        let numbers: Vec<String> = self.glove.queries[0].iter().map(f32::to_string).collect();
        let query = format!("'[{}]'", numbers.join(","));
        let mut peer = self.postgres.connect()?;
        peer.simple(&format!("DROP TABLE IF EXISTS fresh; CREATE TABLE fresh {COLUMNS}"))?;
        peer.simple(&create_index(&self.peer_index, "fresh"))?;
        say("pgvector takes the table into its index");
        let theirs = rows as f64 / timed(|| peer.copy_in("COPY fresh FROM STDIN (FORMAT BINARY)", &[&stream]))?;
        for _ in 0..ROUNDS {
            let mut client = self.lodedb.connect()?;
            client.simple("DROP TABLE IF EXISTS fresh")?;
            client.simple(&format!("CREATE TABLE fresh {COLUMNS}"))?;
            client.simple(&create_index(&self.index, "fresh"))?;
            let mut clients = self.lodedb.connect_some(2)?;
            let from = Instant::now();
            client.copy_in("COPY fresh FROM STDIN (FORMAT BINARY)", &[&stream])?;
            let copied = from.elapsed().as_secs_f64();
            for client in &mut clients {
                client.prepare("fresh", &NEAREST.replace("words", "fresh"))?;
            }
            // When each burst of searches began, and its speed: short bursts, since searching takes the processors away from indexing.
            let mut bursts: Vec<(f64, f64)> = Vec::new();
            let mut burst = |seconds: f64| -> Result<f64> {
                let begun = from.elapsed().as_secs_f64();
                let speed = rate(&mut clients, seconds, |client, at| {
                    client.execute("fresh", &[&self.queries[at % QUERIES]], |_| {})
                })?;
                bursts.push((begun, speed));
                Ok(speed)
            };
            // Until the index serves every large segment; what is left in memory is compared exactly at any time.
            let explain = format!("EXPLAIN ANALYZE {}", NEAREST.replace("words", "fresh").replace("$1", &query));
            loop {
                burst(0.1)?;
                let plan = client.simple(&explain)?.join("\n");
                if plan.contains("probes") && !plan.contains("exact") {
                    break;
                }
                if from.elapsed() > INDEXING_TIME {
                    return Err(format!("the index does not serve after {INDEXING_TIME:?}:\n{plan}"));
                }
                thread::sleep(Duration::from_millis(300));
            }
            let settled = median(&(0..12).map(|_| burst(0.25)).collect::<Result<Vec<_>>>()?);
            let ready = bursts.iter().find(|burst| burst.1 >= 0.9 * settled).map_or(f64::INFINITY, |burst| burst.0);
            say(&format!("copied in {copied:.2} s, searched at full speed ({settled:.0}/s) from {ready:.2} s"));
            ours.push(rows as f64 / ready);
            copying.push(rows as f64 / copied);
            finals.push(settled);
        }
        peer.simple("DROP TABLE fresh")?;
        self.lodedb.connect()?.simple("DROP TABLE fresh")?;
        Ok(json!({
            "rows": rows, "lodedb_rows_per_s": ours, "lodedb_acknowledged_rows_per_s": copying, "final_qps": finals,
            "postgres_rows_per_s": [theirs],
        }))
    }

    /// Fills in what every section compares with.
    pub(crate) fn prepare(&mut self) {
        let asked: Vec<_> = (0..QUERIES).map(|query| (query, 0..SPREAD)).collect();
        self.kth = self.glove.kth_best(&asked);
        self.queries = self.glove.queries.iter().map(|query| vector(query)).collect();
    }

    /// Processor time that this program and the servers have used, in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        ticks(std::process::id()) + self.lodedb.ticks() + self.postgres.ticks() + self.postgres15.ticks()
    }

    /// Starts both servers.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.postgres.start()?.simple("CREATE EXTENSION IF NOT EXISTS vector")?;
        self.lodedb.start()?.simple("CREATE EXTENSION IF NOT EXISTS vector")?;
        thread::sleep(Duration::from_millis(200));
        Ok(())
    }
}
