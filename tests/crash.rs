//! The ledger test: clients write over the wire while the server is killed at random, and after every restart each
//! acknowledged commit is there, no other one is half there, and searches equal plain arithmetic over the ledger.
//!
//! Half of the kills come at a random moment, three in ten once more while the server recovers, two in ten at a named place of the code
//! ([`lodedb_wal::killpoint`]). `LODEDB_KILLS` changes the number of rounds, `LODEDB_SEED` the seed (printed at the start);
//! `LODEDB_KILLS_AT_POINTS=1` kills at named places only. `tools/campaigns/kills.sh` is the long run.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{SinkExt, pin_mut};
use harness::client::{Vector, told};
use harness::server::{PATIENCE, PROGRAM};
use harness::vectors::{Metric, check_exact, nearest};
use harness::{Server, ok, one, run};
use lodedb_wal::killpoint::POINTS;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, CopyInSink};

const DIMS: usize = 96;
/// How long a server that was told to die at a point is waited for.
const POINT_PATIENCE: Duration = Duration::from_secs(4);
const CLIENTS: i64 = 4;
/// Each client writes ids of its own.
const IDS_EACH: i64 = 1_000_000;
/// Rows a client keeps at most, so that the table stays of one size.
const ROWS_EACH: usize = 9_000;

/// What a row holds; its vector follows from its id and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    version: i32,
    note: i32,
}

/// The rows of one client, by id.
type Rows = BTreeMap<i64, State>;

/// What a transaction does: rows as they become, or their end.
type Changes = Vec<(i64, Option<State>)>;

fn apply(rows: &mut Rows, changes: &Changes) {
    for (id, state) in changes {
        match state {
            Some(state) => rows.insert(*id, *state),
            None => rows.remove(id),
        };
    }
}

fn vector_of(seed: u64, id: i64, version: i32) -> Vec<f32> {
    let mut random =
        StdRng::seed_from_u64(seed ^ (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((version as u64) << 48));
    let centre = random.random_range(0..12);
    (0..DIMS).map(|at| ((at * (centre + 3)) % 11) as f32 / 5.0 + random.random_range(-0.5..0.5)).collect()
}

/// What one client knows: what was acknowledged, and what was sent and not answered.
#[derive(Default)]
struct Ledger {
    rows: Rows,
    next: i64,
    unknown: Option<Changes>,
    commits: u64,
}

/// One client and its ledger.
struct Writer {
    seed: u64,
    number: i64,
    random: StdRng,
    ledger: Ledger,
}

impl Writer {
    fn fresh(&mut self, count: usize) -> Vec<(i64, State)> {
        let first = self.number * IDS_EACH + self.ledger.next;
        self.ledger.next += count as i64;
        (first..first + count as i64)
            .map(|id| (id, State { version: 0, note: self.random.random_range(0..50) }))
            .collect()
    }

    fn some(&mut self, count: usize) -> Vec<(i64, State)> {
        let mut chosen = BTreeMap::new();
        if let (Some((&first, _)), Some((&last, _))) =
            (self.ledger.rows.first_key_value(), self.ledger.rows.last_key_value())
        {
            for _ in 0..count {
                let from = self.random.random_range(first..=last);
                if let Some((&id, &state)) = self.ledger.rows.range(from..).next() {
                    chosen.insert(id, state);
                }
            }
        }
        chosen.into_iter().collect()
    }

    fn values(&self, rows: &[(i64, State)]) -> String {
        let rows: Vec<String> = rows
            .iter()
            .map(|(id, state)| {
                let vector = harness::vectors::text(&vector_of(self.seed, *id, state.version));
                format!("({id}, {}, {}, '{vector}')", state.version, state.note)
            })
            .collect();
        rows.join(", ")
    }

    /// Writes until the server is gone, one transaction after the other.
    async fn write(mut self, client: Client) -> Self {
        loop {
            // A COPY of many rows fills segments; as many leave again.
            let full = self.ledger.rows.len() > ROWS_EACH;
            let choice = if full { 7 } else { self.random.random_range(0..12) };
            let changes: Changes = match choice {
                0 | 1 => self.fresh(1).into_iter().map(|(id, state)| (id, Some(state))).collect(),
                2 | 3 => {
                    let count = self.random.random_range(2..8);
                    self.fresh(count).into_iter().map(|(id, state)| (id, Some(state))).collect()
                }
                4 => {
                    let count = self.random.random_range(100..600);
                    self.fresh(count).into_iter().map(|(id, state)| (id, Some(state))).collect()
                }
                5 | 9 => {
                    let count = self.random.random_range(1..6);
                    let note = self.random.random_range(0..50);
                    self.some(count).into_iter().map(|(id, state)| (id, Some(State { note, ..state }))).collect()
                }
                6 | 10 => {
                    let count = self.random.random_range(1..6);
                    self.some(count)
                        .into_iter()
                        .map(|(id, state)| (id, Some(State { version: state.version + 1, ..state })))
                        .collect()
                }
                7 => {
                    let count = if full { 1500 } else { self.random.random_range(1..40) };
                    self.some(count).into_iter().map(|(id, _)| (id, None)).collect()
                }
                8 => {
                    // Everything at once: new rows, moved rows, ended rows, in one transaction.
                    let mut changes: Changes = self.fresh(3).into_iter().map(|(id, state)| (id, Some(state))).collect();
                    for (at, (id, state)) in self.some(4).into_iter().enumerate() {
                        changes.push((id, (at % 2 == 0).then_some(State { version: state.version + 1, note: 7 })));
                    }
                    changes
                }
                _ => Changes::new(),
            };
            let result = match choice {
                4 => self.copy(&client, &changes).await,
                11 => self.undone(&client).await,
                _ => {
                    let statements = self.statements(&changes);
                    self.ledger.unknown = Some(changes.clone());
                    self.send(&client, &statements).await
                }
            };
            match result {
                Ok(()) => {
                    if let Some(changes) = self.ledger.unknown.take() {
                        apply(&mut self.ledger.rows, &changes);
                        self.ledger.commits += 1;
                    }
                }
                Err(error) => {
                    assert!(error.as_db_error().is_none(), "client {}: {}", self.number, told(&error));
                    return self;
                }
            }
        }
    }

    fn statements(&self, changes: &Changes) -> Vec<String> {
        let mut statements = Vec::new();
        let fresh: Vec<(i64, State)> = changes
            .iter()
            .filter(|(id, _)| !self.ledger.rows.contains_key(id))
            .filter_map(|(id, state)| state.map(|state| (*id, state)))
            .collect();
        if !fresh.is_empty() {
            statements.push(format!("INSERT INTO ledger VALUES {}", self.values(&fresh)));
        }
        for (id, state) in changes {
            match (self.ledger.rows.get(id), state) {
                (Some(before), Some(state)) if before.version != state.version => {
                    let vector = harness::vectors::text(&vector_of(self.seed, *id, state.version));
                    statements.push(format!(
                        "UPDATE ledger SET version = {}, note = {}, v = '{vector}' WHERE id = {id}",
                        state.version, state.note
                    ));
                }
                (Some(_), Some(state)) => {
                    statements.push(format!("UPDATE ledger SET note = {} WHERE id = {id}", state.note));
                }
                _ => {}
            }
        }
        let ended: Vec<String> =
            changes.iter().filter(|(_, state)| state.is_none()).map(|(id, _)| id.to_string()).collect();
        if !ended.is_empty() {
            statements.push(format!("DELETE FROM ledger WHERE id IN ({})", ended.join(", ")));
        }
        statements
    }

    /// As one message, as a block, or with prepared statements.
    async fn send(&mut self, client: &Client, statements: &[String]) -> Result<(), tokio_postgres::Error> {
        match (self.random.random_range(0..3), statements) {
            (_, []) => Ok(()),
            (0, _) => client.batch_execute(&statements.join("; ")).await,
            (1, [statement]) => client.execute(statement, &[]).await.map(|_| ()),
            _ => {
                client.batch_execute("BEGIN").await?;
                for statement in statements {
                    client.execute(statement, &[]).await?;
                }
                client.batch_execute("COMMIT").await
            }
        }
    }

    async fn copy(&mut self, client: &Client, changes: &Changes) -> Result<(), tokio_postgres::Error> {
        self.ledger.unknown = Some(changes.clone());
        let sink: CopyInSink<bytes::Bytes> = client.copy_in("COPY ledger FROM STDIN").await?;
        pin_mut!(sink);
        for (id, state) in changes {
            let Some(state) = state else { continue };
            let vector = harness::vectors::text(&vector_of(self.seed, *id, state.version));
            sink.send(format!("{id}\t{}\t{}\t{vector}\n", state.version, state.note).into()).await?;
        }
        assert_eq!(sink.finish().await?, changes.len() as u64);
        Ok(())
    }

    /// Writes that must never be seen: rolled back, or failed at their end.
    async fn undone(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let fresh = self.fresh(3);
        let insert = format!("INSERT INTO ledger VALUES {}", self.values(&fresh));
        let some = self.some(5);
        let ids: Vec<String> = some.iter().map(|(id, _)| id.to_string()).collect();
        let Some(first) = ids.first() else { return Ok(()) };
        let change = format!("UPDATE ledger SET note = 99 WHERE id IN ({})", ids.join(", "));
        if self.random.random_bool(0.5) {
            return client.batch_execute(&format!("BEGIN; {insert}; {change}; ROLLBACK")).await;
        }
        let clash = format!("INSERT INTO ledger (id) VALUES ({first})");
        match client.batch_execute(&format!("{insert}; {change}; {clash}")).await {
            Err(error) if error.code().is_some_and(|code| code.code() == "23505") => Ok(()),
            Err(error) => Err(error),
            Ok(()) => panic!("client {}: a duplicate key was taken", self.number),
        }
    }
}

/// Builds, seals, merges and checkpoints beside the writers, until the server is gone.
async fn maintain(client: Client, seed: u64, backups: String) {
    let mut random = StdRng::seed_from_u64(seed);
    let backup = format!("BACKUP TO '{backups}'");
    loop {
        let statement = match random.random_range(0..16) {
            0..2 => "VACUUM",
            2..5 => "CHECKPOINT",
            5 => "DROP INDEX IF EXISTS ledger_v",
            6 => "CREATE INDEX IF NOT EXISTS ledger_note ON ledger (note)",
            7 => "VACUUM FULL ledger",
            8 => "REINDEX TABLE ledger",
            9 => "CREATE TABLE IF NOT EXISTS passing (id int, note text, v vector(4))",
            10 => "DROP TABLE IF EXISTS passing",
            // So many bytes that they are staged.
            13 => {
                "INSERT INTO passing SELECT i, repeat('staged', 600), '[1,2,3,4]' FROM generate_series(1, 3000) AS s(i)"
            }
            11 | 12 => &backup,
            _ => "CREATE INDEX IF NOT EXISTS ledger_v ON ledger USING ivfpq (v vector_l2_ops)",
        };
        match client.batch_execute(statement).await {
            Err(error) if error.as_db_error().is_none() => return,
            // The schedule is at the same folder; two waited for each other; the table is not there.
            Err(error) if error.code().is_some_and(|code| ["55006", "40P01", "42P01"].contains(&code.code())) => {}
            Err(error) => panic!("{statement}: {}", told(&error)),
            Ok(()) => {}
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..100))).await;
    }
}

/// What the database holds, row by row; vectors must be those of their version.
async fn contents(client: &Client, seed: u64) -> Rows {
    let sql = "SELECT id, version, note, v FROM ledger";
    let mut rows = Rows::new();
    for row in ok(client.query(sql, &[]).await, sql) {
        let (id, state) = (row.get::<_, i64>(0), State { version: row.get(1), note: row.get(2) });
        let vector: Vector = row.get(3);
        assert!(
            vector.0 == vector_of(seed, id, state.version),
            "row {id} version {} has another vector",
            state.version
        );
        assert!(rows.insert(id, state).is_none(), "row {id} is there twice");
    }
    rows
}

/// Settles what was unknown: all of it or nothing.
fn settle(writer: &mut Writer, found: &Rows) {
    let range = writer.number * IDS_EACH..(writer.number + 1) * IDS_EACH;
    let found: Rows = found.range(range).map(|(id, state)| (*id, *state)).collect();
    let ledger = &mut writer.ledger;
    let unknown = ledger.unknown.take().unwrap_or_default();
    let mut with = ledger.rows.clone();
    apply(&mut with, &unknown);
    if found == with {
        ledger.rows = with;
        return;
    }
    if found == ledger.rows {
        return;
    }
    let differences: Vec<String> = (found.keys().chain(ledger.rows.keys()))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter(|id| found.get(id) != ledger.rows.get(id))
        .take(20)
        .map(|id| {
            let sent = unknown.iter().find(|(of, _)| of == id);
            format!("row {id}: acknowledged {:?}, found {:?}, unanswered {sent:?}", ledger.rows.get(id), found.get(id))
        })
        .collect();
    panic!(
        "client {}: the database is neither without nor with the unanswered transaction of {} changes:\n{}",
        writer.number,
        unknown.len(),
        differences.join("\n")
    );
}

/// Searches equal plain arithmetic: on request, and when everything is probed and re-ranked.
async fn searches(client: &Client, seed: u64, random: &mut StdRng, rows: &Rows) -> u32 {
    let vectors: BTreeMap<i64, (i32, Vec<f32>)> =
        rows.iter().map(|(id, state)| (*id, (state.note, vector_of(seed, *id, state.version)))).collect();
    let mut done = 0;
    for settings in [
        "SET lodedb.exact = on",
        "SET lodedb.exact = off; SET lodedb.probes = 1048576; SET lodedb.candidates = 16777216",
    ] {
        run(client, settings).await;
        for _ in 0..3 {
            let query = vector_of(seed, random.random_range(0..1000), 1000);
            let note = random.random_range(0..50);
            for (filter, below) in
                [("true".to_owned(), i32::MAX), (format!("note < {note}"), note), ("note < 1".to_owned(), 1)]
            {
                let sql = format!("SELECT id, v <-> $1 FROM ledger WHERE {filter} ORDER BY v <-> $1 LIMIT 20");
                let answer = ok(client.query(&sql, &[&Vector(query.clone())]).await, &sql);
                let answer: Vec<(i64, f64)> = answer.iter().map(|row| (row.get(0), row.get(1))).collect();
                let kept =
                    vectors.iter().filter(|(_, (note, _))| *note < below).map(|(id, (_, vector))| (*id, &vector[..]));
                let expected = nearest(Metric::L2, &query, kept, 20);
                let own = |id: i64| {
                    vectors
                        .get(&id)
                        .filter(|(note, _)| *note < below)
                        .map(|(_, vector)| Metric::L2.distance(&query, vector))
                };
                check_exact(&answer, &expected, own, &format!("{settings}; {filter}"));
                done += 1;
            }
        }
    }
    run(client, "RESET ALL").await;
    // Keys and indexes say the same as the scan.
    for (id, state) in rows.iter().step_by((rows.len() / 20).max(1)) {
        let sql = "SELECT version, note FROM ledger WHERE id = $1";
        let row = ok(client.query_one(sql, &[id]).await, sql);
        assert_eq!(State { version: row.get(0), note: row.get(1) }, *state, "row {id} by its key");
    }
    let note = random.random_range(0..50);
    let counted = one(client, &format!("SELECT count(*) FROM ledger WHERE note = {note}")).await;
    assert_eq!(counted, rows.values().filter(|state| state.note == note).count().to_string(), "rows with note {note}");
    done
}

/// The database finds no fault with itself.
async fn sound(client: &Client) {
    for fault in ok(client.simple_query("CHECK DATABASE").await, "CHECK DATABASE") {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = fault {
            panic!("CHECK DATABASE: {:?} {:?} {:?}", row.get(0), row.get(1), row.get(3));
        }
    }
}

/// Starts the program on the directory and kills it while it recovers.
fn kill_in_recovery(server: &Server, after: Duration) {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(after);
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("the program is gone");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_commit_survives_being_killed() {
    let kills = number("LODEDB_KILLS", 80);
    let seed = number("LODEDB_SEED", rand::random());
    let only_points = number("LODEDB_KILLS_AT_POINTS", 0) != 0;
    eprintln!("LODEDB_SEED={seed} LODEDB_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let records = tempfile::tempdir().expect("a temporary directory");
    let record = records.path().join("points").to_str().expect("a plain name").to_owned();
    let mut server = Server::start_with(&["--backup-interval", "2s", "--backup-keep", "2,1", "--log-segment", "4"]);
    server.kill();
    let recorded = [("LODEDB_KILL_POINTS", record.as_str())];
    server.restart_with(&recorded).unwrap_or_else(|problem| panic!("{problem}"));
    let backups = server.dir().join("backups").display().to_string();
    let client = server.connect().await;
    run(&client, &format!("CREATE TABLE ledger (id bigint PRIMARY KEY, version int, note int, v vector({DIMS}))"))
        .await;
    drop(client);
    let mut writers: Vec<Writer> = (0..CLIENTS)
        .map(|number| Writer {
            seed,
            number,
            random: StdRng::seed_from_u64(seed + number as u64),
            ledger: Ledger::default(),
        })
        .collect();
    // Enough rows that an index is trained and segments are sealed from the first round on.
    let client = server.connect().await;
    for writer in &mut writers {
        for _ in 0..6 {
            let changes: Changes = writer.fresh(500).into_iter().map(|(id, state)| (id, Some(state))).collect();
            ok(writer.copy(&client, &changes).await, "COPY");
            let Some(changes) = writer.ledger.unknown.take() else { continue };
            apply(&mut writer.ledger.rows, &changes);
        }
    }
    // Each kind of upkeep once to its end: rounds may be too short for any.
    let backup = format!("BACKUP TO '{backups}'");
    let staged =
        "INSERT INTO passing SELECT i, repeat('staged', 600), '[1,2,3,4]' FROM generate_series(1, 3000) AS s(i)";
    let upkeep = [
        "CREATE INDEX ledger_v ON ledger USING ivfpq (v vector_l2_ops)",
        "CREATE TABLE passing (id int, note text, v vector(4))",
        staged,
        "CHECKPOINT",
        &backup,
        "REINDEX TABLE ledger",
        "VACUUM FULL ledger",
        "DROP TABLE passing",
        "CHECKPOINT",
    ];
    for statement in upkeep {
        let begun = Instant::now();
        while let Err(error) = client.batch_execute(statement).await {
            // The schedule is at the same folder.
            let waits = error.code().is_some_and(|code| code.code() == "55006") && begun.elapsed() < PATIENCE;
            assert!(waits, "{statement}: {}", told(&error));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(client);
    let (mut again, mut compared, mut unknown, started) = (0, 0, 0, Instant::now());
    // How often the server died at each point; the one it waits for, if it was told to die at one.
    let mut deaths: BTreeMap<&str, u32> = POINTS.iter().map(|point| (*point, 0)).collect();
    let mut tried = deaths.clone();
    let mut armed: Option<&str> = None;
    for round in 1..=kills {
        // Log-uniform between 1 ms and 1.5 s.
        let after = Duration::from_secs_f64(0.001 * 1500f64.powf(random.random::<f64>()));
        let mut tasks = Vec::new();
        let mut idle = Vec::new();
        for writer in writers.drain(..) {
            match server.try_connect().await {
                Ok(client) => tasks.push(tokio::spawn(writer.write(client))),
                Err(error) => {
                    assert!(armed.is_some(), "round {round}: {error}; the server said:\n{}", server.log());
                    idle.push(writer);
                }
            }
        }
        let maintenance = server.try_connect().await.ok();
        let maintenance = maintenance.map(|client| tokio::spawn(maintain(client, seed ^ round, backups.clone())));
        let waiting = Instant::now();
        while armed.is_some() && waiting.elapsed() < POINT_PATIENCE && server.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match armed {
            Some(point) if !server.is_alive() => *deaths.entry(point).or_default() += 1,
            Some(_) => {}
            None => tokio::time::sleep(after).await,
        }
        assert!(armed.is_some() || server.is_alive(), "the server died by itself in round {round}");
        server.kill();
        for task in tasks {
            writers.push(task.await.unwrap_or_else(|error| panic!("round {round}: {error}")));
        }
        writers.append(&mut idle);
        if let Some(maintenance) = maintenance {
            maintenance.await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        unknown += writers.iter().filter(|writer| writer.ledger.unknown.is_some()).count();
        if random.random_bool(0.3) {
            kill_in_recovery(&server, Duration::from_millis(random.random_range(0..300)));
            again += 1;
        }
        server.restart_with(&recorded).unwrap_or_else(|problem| panic!("{problem}"));
        let client = server.connect().await;
        let found = contents(&client, seed).await;
        for writer in &mut writers {
            settle(writer, &found);
        }
        let known: usize = writers.iter().map(|writer| writer.ledger.rows.len()).sum();
        assert_eq!(found.len(), known, "rows that nobody wrote");
        sound(&client).await;
        compared += searches(&client, seed, &mut random, &found).await;
        // The next round's point, told before the start: many are on the way up.
        armed = (round < kills && (only_points || random.random_bool(0.2))).then(|| {
            let least = tried.values().min().copied().unwrap_or(0);
            let points: Vec<&str> =
                tried.iter().filter(|(_, tries)| **tries == least).map(|(point, _)| *point).collect();
            points[random.random_range(0..points.len())]
        });
        if let Some(point) = armed {
            *tried.entry(point).or_default() += 1;
            let passes = if point.starts_with("recovery") { 0 } else { random.random_range(0..3) };
            let order = format!("{point}@{passes}");
            server.kill();
            if server.restart_with(&[("LODEDB_KILL_AT", &order), recorded[0]]).is_err() {
                *deaths.entry(point).or_default() += 1;
                armed = None;
                server.restart_with(&recorded).unwrap_or_else(|problem| panic!("{problem}"));
            }
        }
        let commits: u64 = writers.iter().map(|writer| writer.ledger.commits).sum();
        eprintln!("round {round}: killed after {after:?}, {known} rows, {commits} commits so far");
    }
    // The last word: a clean stop keeps it all, too.
    assert!(server.terminate().success(), "{}", server.log());
    server.restart();
    let client = server.connect().await;
    let found = contents(&client, seed).await;
    for writer in &mut writers {
        settle(writer, &found);
    }
    let commits: u64 = writers.iter().map(|writer| writer.ledger.commits).sum();
    let reached = std::fs::read_to_string(&record).unwrap_or_default();
    let missed: Vec<&&str> = POINTS.iter().filter(|point| !reached.lines().any(|line| line == **point)).collect();
    assert!(kills < 80 || missed.is_empty(), "no run came by {missed:?}");
    let died: u32 = deaths.values().sum();
    let spared: Vec<&&str> = deaths.iter().filter(|(_, deaths)| **deaths == 0).map(|(point, _)| point).collect();
    eprintln!("{died} of them at {} named places; at none of {spared:?}", deaths.len() - spared.len());
    eprintln!(
        "{kills} kills, {again} of them again in recovery, {commits} acknowledged commits, {unknown} unanswered, \
         {compared} searches compared, in {:?}",
        started.elapsed()
    );
    assert!(commits > 0, "nothing was acknowledged");
}
