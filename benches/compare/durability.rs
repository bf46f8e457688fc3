//! What surviving a crash costs, and how quick it is: commits in groups, recovery, checkpoints, backups and checking.

use std::path::{Path, PathBuf};
use std::slice::from_mut;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use lodedb_wal::fs::{OsFileSystem, drop_cached_pages};
use serde_json::{Map, Value, json};

use crate::glove::{Glove, K, QUERIES, scattered};
use crate::rates::{ROUNDS, latencies, percentile, rate, timed};
use crate::sections::{Bench, COLUMNS, NEAREST, create_index, say};
use crate::servers::{Server, remove_folder};
use crate::wire::{Client, Result, vector};

/// How many times that is done which takes long.
pub(crate) const FEW: usize = 3;
/// Rows that are written before the crash whose recovery is timed, and how many of them a transaction has. The tables that share them
/// are so small that LodeDB merges nothing: it would take a checkpoint to let go of what it merged.
const CRASH_ROWS: usize = 650_000;
const BATCH: usize = 100;
const CRASH_TABLES: usize = 5;
const MILLION: usize = 1_000_000;
/// Rows of one COPY, where a table is loaded by several.
const COPY_ROWS: usize = 250_000;
/// pgvector's index of the million rows: its other kind would be built for minutes, and recovery does not ask which it is.
const MILLION_PEER_INDEX: &str = "ivfflat";
/// The table that takes 3 GB: its rows, those of one COPY, and the words that each of its vectors is made of.
const WIDE_ROWS: usize = 750_000;
const WIDE_COPY_ROWS: usize = 93_750;
const WIDE_WORDS: usize = 10;
/// One row in so many changes between two backups.
const CHANGED: usize = 100;
/// PostgreSQL counts what a session did at its end.
const COUNTED: Duration = Duration::from_millis(300);

/// Lists of numbers by their names.
#[derive(Default)]
pub(crate) struct Figures(pub(crate) Map<String, Value>);

impl Figures {
    /// One more number of a server.
    pub(crate) fn add(&mut self, server: &Server, what: &str, number: f64) {
        let list = self.0.entry(format!("{}_{what}", server.name())).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(json!(number));
        }
    }
}

impl Bench {
    fn scaled(&self, size: usize) -> usize {
        (size as f64 * self.scale) as usize
    }

    /// Single-row commits: how long each takes, and how many share a sync.
    pub(crate) fn group(&mut self) -> Result<Value> {
        let servers = [&self.lodedb, &self.postgres];
        for server in servers {
            make_table(server, "inserts", "")?;
        }
        let mut out = Map::new();
        for clients in [1, 16] {
            let mut figures = Figures::default();
            for _ in 0..ROUNDS {
                for server in servers {
                    let moment = server.log_moment()?;
                    let took = insert_for(&self.glove, server, "inserts", clients, self.seconds)?;
                    thread::sleep(COUNTED);
                    let syncs = server.logged_since(&moment)?.syncs;
                    figures.add(server, "p50_ms", percentile(&took, 50));
                    figures.add(server, "p99_ms", percentile(&took, 99));
                    figures.add(server, "commits_per_sync", took.len() as f64 / syncs as f64);
                }
            }
            out.insert(clients.to_string(), Value::Object(figures.0));
        }
        for server in servers {
            server.connect()?.simple("DROP TABLE inserts")?;
        }
        Ok(Value::Object(out))
    }

    /// A crash after much was logged and no checkpoint was taken.
    pub(crate) fn recovery(&mut self) -> Result<Value> {
        let rows = self.scaled(CRASH_ROWS);
        let last = format!("SELECT id FROM {} WHERE id = {}", crash_table(rows - 1), rows - 1);
        let mut figures = Figures::default();
        for _ in 0..FEW {
            let mut ours = self.lodedb.apart()?;
            for server in [&mut ours, &mut self.postgres] {
                let bytes = write_log(&self.glove, server, rows)?;
                server.kill()?;
                let seconds = timed(|| match server.start()?.simple(&last)?.len() {
                    1 => Ok(()),
                    _ => Err(format!("{} lost a row", server.name())),
                })?;
                let mb = bytes as f64 / 1e6;
                say(&format!("{}: {mb:.0} MB of log in {seconds:.2} s", server.name()));
                figures.add(server, "mb", mb);
                figures.add(server, "s", seconds);
                figures.add(server, "mb_per_s", mb / seconds);
            }
        }
        for table in 0..CRASH_TABLES {
            self.postgres.connect()?.simple(&format!("DROP TABLE {}", crash_table(table * BATCH)))?;
        }
        Ok(Value::Object(figures.0))
    }

    /// A crash with a million rows and an index.
    pub(crate) fn million(&mut self) -> Result<Value> {
        let rows = self.scaled(MILLION);
        let mut ours = self.lodedb.apart()?;
        let mut figures = Figures::default();
        for (server, kind) in [(&mut ours, self.index.as_str()), (&mut self.postgres, MILLION_PEER_INDEX)] {
            say(&format!("loading {}", server.name()));
            make_table(server, "million", "")?;
            let mut client = server.connect()?;
            for from in (0..rows).step_by(COPY_ROWS) {
                let stream = self.glove.copy_stream(from..rows.min(from + COPY_ROWS));
                client.copy_in("COPY million FROM STDIN (FORMAT BINARY)", &[&stream])?;
            }
            client.simple(&create_index(kind, "million"))?;
            for _ in 0..ROUNDS {
                server.connect()?.simple("CHECKPOINT")?;
                insert_for(&self.glove, server, "million", 1, self.seconds)?;
                server.kill()?;
                let seconds = first_answer(server, "million", &self.queries[0])?;
                figures.add(server, "s", seconds);
            }
        }
        self.postgres.connect()?.simple("DROP TABLE million")?;
        figures.0.insert("rows".into(), json!(rows));
        Ok(Value::Object(figures.0))
    }

    /// Searches and commits while checkpoints are taken one after the other, and while none is.
    pub(crate) fn checkpoint(&mut self) -> Result<Value> {
        self.index_both()?;
        let servers = [&self.lodedb, &self.postgres];
        let mut figures = Figures::default();
        for _ in 0..FEW {
            for server in servers {
                let mut p99 = [[0.0; 2]; 2];
                for (is_busy, p99) in [false, true].into_iter().zip(&mut p99) {
                    let (searches, commits, checkpoints) = self.streams(server, is_busy)?;
                    *p99 = [percentile(&searches, 99), percentile(&commits, 99)];
                    let when = if is_busy { "busy" } else { "quiet" };
                    figures.add(server, &format!("search_{when}_p99_ms"), p99[0]);
                    figures.add(server, &format!("commit_{when}_p99_ms"), p99[1]);
                    if is_busy {
                        figures.add(server, "checkpoints_per_s", checkpoints);
                    }
                }
                figures.add(server, "search_ratio", p99[1][0] / p99[0][0]);
                figures.add(server, "commit_ratio", p99[1][1] / p99[0][1]);
            }
        }
        for server in servers {
            server.connect()?.simple("DROP TABLE commits")?;
        }
        Ok(Value::Object(figures.0))
    }

    /// One client searches and one commits, perhaps beside a third that takes checkpoints: how long each search and each commit took, in
    /// milliseconds, and how many checkpoints there were in a second.
    fn streams(&self, server: &Server, with_checkpoints: bool) -> Result<(Vec<f64>, Vec<f64>, f64)> {
        make_table(server, "commits", ", PRIMARY KEY (id)")?;
        let mut searcher = self.sessions(server, 1)?;
        let [mut writer, mut other] = [server.connect()?, server.connect()?];
        writer.prepare("one", "INSERT INTO commits VALUES ($1, $2, $3, $4)")?;
        writer.prepare("again", "UPDATE commits SET n = n + 1 WHERE id = $1")?;
        // Each row is inserted and then updated.
        let commit = |client: &mut Client, at: usize| {
            let [id, word, number, vector] = self.glove.values(at / 2);
            match at % 2 {
                0 => client.execute("one", &[&id, &word, &number, &vector], |_| {}),
                _ => client.execute("again", &[&id], |_| {}),
            }
        };
        thread::scope(|scope| {
            let searching = scope.spawn(|| {
                latencies(&mut searcher, self.seconds, |client, at| {
                    client.execute("nearest", &[&self.queries[at % QUERIES]], |_| {})
                })
            });
            let checkpointing = scope.spawn(|| match with_checkpoints {
                true => rate(from_mut(&mut other), self.seconds, |client, _| client.simple("CHECKPOINT").map(drop)),
                false => Ok(0.0),
            });
            let commits = latencies(from_mut(&mut writer), self.seconds, commit)?;
            let panicked = |_| "a client panicked".to_owned();
            Ok((searching.join().map_err(panicked)??, commits, checkpointing.join().map_err(panicked)??))
        })
    }

    /// A backup, and another one after some rows changed.
    pub(crate) fn backup(&mut self) -> Result<Value> {
        self.index(&self.postgres, &self.peer_index)?;
        let mut figures = Figures::default();
        for round in 0..FEW {
            // Anew: rows that changed in one round would be copied again in the next, as long as they are few.
            let ours = self.lodedb.apart()?;
            self.index(&ours, &self.index)?;
            let folder = ours.data().with_file_name("backups");
            let mut client = ours.connect()?;
            client.simple("CHECKPOINT")?;
            let mut back_up = || timed(|| client.simple(&format!("BACKUP TO '{}'", folder.display())).map(drop));
            let seconds = back_up()?;
            let first = bytes_below(&folder)?;
            ours.connect()?.simple(&change_some(&self.glove, round))?;
            let again = back_up()?;
            let second = bytes_below(&folder)? - first;
            remove_folder(&folder)?;
            figures.add(&ours, "mb", first as f64 / 1e6);
            figures.add(&ours, "mb_per_s", first as f64 / 1e6 / seconds);
            figures.add(&ours, "second_percent", 100.0 * second as f64 / first as f64);
            figures.add(&ours, "second_s", again);

            let peer = &self.postgres;
            let folder = peer.data().with_extension("backup");
            peer.connect()?.simple("CHECKPOINT")?;
            let seconds = timed(|| peer.base_backup(&folder))?;
            let bytes = bytes_below(&folder)?;
            remove_folder(&folder)?;
            figures.add(peer, "mb", bytes as f64 / 1e6);
            figures.add(peer, "mb_per_s", bytes as f64 / 1e6 / seconds);
        }
        Ok(Value::Object(figures.0))
    }

    /// Opening a large database after a clean close, and reading all of it.
    pub(crate) fn verify(&mut self) -> Result<Value> {
        let mut ours = self.lodedb.apart()?;
        self.load_wide(&ours)?;
        let query: Vec<f32> = self.glove.queries[..WIDE_WORDS].concat();
        let query = vector(&query);
        let mut figures = Figures::default();
        for _ in 0..FEW {
            ours.stop()?;
            let warm = first_answer(&mut ours, "wide", &query)?;
            ours.stop()?;
            drop_cache(ours.data())?;
            let cold = first_answer(&mut ours, "wide", &query)?;
            figures.add(&ours, "open_s", warm);
            figures.add(&ours, "open_cold_s", cold);
        }
        ours.stop()?;
        let gb = (bytes_below(ours.data())? - bytes_below(&ours.data().join("wal"))?) as f64 / 1e9;
        figures.add(&ours, "gb", gb);
        for _ in 0..FEW {
            figures.add(&ours, "check_gb_per_s", gb / timed(|| ours.check())?);
            figures.add(&ours, "scrub_gb_per_s", scrub(ours.data())?);
        }
        Ok(Value::Object(figures.0))
    }

    fn load_wide(&self, server: &Server) -> Result<()> {
        let (rows, d) = (self.scaled(WIDE_ROWS), WIDE_WORDS * self.glove.d);
        say(&format!("loading {rows} vectors of {d} dimensions"));
        let mut client = server.connect()?;
        client.simple(&format!("CREATE TABLE wide (id integer NOT NULL, embedding vector({d}))"))?;
        for from in (0..rows).step_by(WIDE_COPY_ROWS) {
            let stream = self.glove.wide_copy_stream(from..rows.min(from + WIDE_COPY_ROWS), WIDE_WORDS);
            client.copy_in("COPY wide FROM STDIN (FORMAT BINARY)", &[&stream])?;
        }
        let indexing = timed(|| client.simple(&create_index(&self.index, "wide")).map(drop))?;
        say(&format!("indexed in {indexing:.1} s"));
        Ok(())
    }
}

/// Makes an empty table of words.
fn make_table(server: &Server, table: &str, constraint: &str) -> Result<()> {
    let columns = COLUMNS.replace("))", &format!("){constraint})"));
    let mut client = server.connect()?;
    client.simple(&format!("DROP TABLE IF EXISTS {table}"))?;
    client.simple(&format!("CREATE TABLE {table} {columns}")).map(drop)
}

/// Clients insert rows one by one for some seconds; gives how long each commit took, in milliseconds.
fn insert_for(glove: &Glove, server: &Server, table: &str, clients: usize, seconds: f64) -> Result<Vec<f64>> {
    let mut sessions = server.connect_some(clients)?;
    for session in &mut sessions {
        session.prepare("one", &format!("INSERT INTO {table} VALUES ($1, $2, $3, $4)"))?;
    }
    latencies(&mut sessions, seconds, |client, at| {
        let [id, word, number, vector] = glove.values(at);
        client.execute("one", &[&id, &word, &number, &vector], |_| {})
    })
}

/// The table that a row is written to before a crash.
fn crash_table(row: usize) -> String {
    format!("crash{}", row / BATCH % CRASH_TABLES)
}

/// After a checkpoint, inserts rows by small transactions, each followed by an update of one of its rows; gives the bytes this logged.
fn write_log(glove: &Glove, server: &Server, rows: usize) -> Result<u64> {
    let mut client = server.connect()?;
    for table in 0..CRASH_TABLES {
        let table = crash_table(table * BATCH);
        make_table(server, &table, ", PRIMARY KEY (id)")?;
        client.prepare(&table, &format!("UPDATE {table} SET n = n + 1 WHERE id = $1"))?;
    }
    client.simple("CHECKPOINT")?;
    let (moment, checkpoint) = (server.log_moment()?, server.last_checkpoint()?);
    for from in (0..rows).step_by(BATCH) {
        let (table, stream) = (crash_table(from), glove.copy_stream(from..rows.min(from + BATCH)));
        client.copy_in(&format!("COPY {table} FROM STDIN (FORMAT BINARY)"), &[&stream])?;
        client.execute(&table, &[&(from as i32).to_be_bytes()], |_| {})?;
    }
    let bytes = server.logged_since(&moment)?.bytes;
    if server.last_checkpoint()? != checkpoint {
        return Err(format!("{} took a checkpoint of its own: only the log since then is replayed", server.name()));
    }
    Ok(bytes)
}

/// Starts a server and asks it for neighbours; gives the seconds until they are there.
fn first_answer(server: &mut Server, table: &str, query: &[u8]) -> Result<f64> {
    timed(|| {
        let mut client = server.start()?;
        client.prepare("nearest", &NEAREST.replace("words", table))?;
        let mut rows = 0;
        client.execute("nearest", &[query], |_| rows += 1)?;
        if rows == K { Ok(()) } else { Err(format!("{rows} rows after starting")) }
    })
}

/// The statement that changes some of the words, and their vectors: they become longer, and are as near to others as before.
fn change_some(glove: &Glove, round: usize) -> String {
    let rows = glove.len();
    let number = |at: usize| scattered((round * rows + at) as u64) % rows as u64;
    let ids: Vec<String> = (0..rows / CHANGED).map(|at| number(at).to_string()).collect();
    format!("UPDATE words SET n = n + 1, embedding = embedding + embedding WHERE id IN ({})", ids.join(", "))
}

/// The scrubber's speed over a database that nobody has open, without its bound, in GB/s: it reads from the disk.
fn scrub(data: &Path) -> Result<f64> {
    let options =
        lodedb::Options { background: false, backup_interval: None, scrub_interval: None, ..Default::default() };
    let db = lodedb::Db::open(data, options).map_err(|error| error.to_string())?;
    let from = Instant::now();
    let pass = lodedb::snapshot::scrub::scrub(db.engine(), 0, &AtomicBool::new(false));
    let seconds = from.elapsed().as_secs_f64();
    let pass = pass.map_err(|error| error.to_string())?;
    db.close().map_err(|error| error.to_string())?;
    if pass.faults == 0 { Ok(pass.bytes as f64 / 1e9 / seconds) } else { Err("the scrubber found damage".into()) }
}

/// The files below a folder.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.file_type().map_err(failed)? {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())?),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(files)
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let length = |path: PathBuf| std::fs::metadata(&path).map(|file| file.len()).map_err(|error| error.to_string());
    files_below(folder)?.into_iter().map(length).sum()
}

/// Lets go of what the operating system keeps in memory of a folder's files.
fn drop_cache(folder: &Path) -> Result<()> {
    let drop_one = |path: &PathBuf| drop_cached_pages(&OsFileSystem, path).map_err(|error| error.to_string());
    files_below(folder)?.iter().try_for_each(drop_one)
}
