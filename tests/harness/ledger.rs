//! Writers that know what they wrote: each has a ledger of what was acknowledged and what was sent and not answered, against which a
//! database is held after it was killed or lost its power.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, pin_mut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, CopyInSink};

use super::client::{Vector, ok, one, run, told};
use super::vectors::{self, Metric, check_exact, nearest};

/// Dimensions of the vectors.
const DIMS: usize = 96;
/// Each writer has ids of its own.
const IDS_EACH: i64 = 1_000_000;

/// What a row holds; its vector follows from its id and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    version: i32,
    note: i32,
}

/// The rows of one client, by id.
pub(crate) type Rows = BTreeMap<i64, State>;

/// What a transaction does: rows as they become, or their end.
pub(crate) type Changes = Vec<(i64, Option<State>)>;

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

/// What one writer knows: what was acknowledged, and what was sent and not answered.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) rows: Rows,
    pub(crate) unknown: Option<Changes>,
    pub(crate) commits: u64,
}

/// A transaction, and when it was sent and answered by a [`Clock`].
struct Sent {
    changes: Changes,
    asked: u64,
    answered: Option<u64>,
}

/// What time it is, where that is of interest.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// One client and its ledger.
pub(crate) struct Writer {
    seed: u64,
    number: i64,
    /// Rows it keeps at most, so that the table stays of one size.
    most: usize,
    random: StdRng,
    next: i64,
    pub(crate) ledger: Ledger,
    clock: Option<Clock>,
    history: Vec<Sent>,
}

impl Writer {
    /// Writer `number`, which keeps up to `most` rows.
    pub(crate) fn new(seed: u64, number: i64, most: usize) -> Self {
        let random = StdRng::seed_from_u64(seed + number as u64);
        Self { seed, number, most, random, next: 0, ledger: Ledger::default(), clock: None, history: Vec::new() }
    }

    /// Has it remember when each transaction was sent and answered.
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Its place among the writers.
    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    /// What it knew when the clock stood at `time`.
    pub(crate) fn at(&self, time: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for sent in self.history.iter().filter(|sent| sent.asked < time) {
            if sent.answered.is_some_and(|answered| answered <= time) {
                apply(&mut ledger.rows, &sent.changes);
                ledger.commits += 1;
            } else {
                ledger.unknown = Some(sent.changes.clone());
            }
        }
        ledger
    }

    fn ask(&mut self, changes: Changes) {
        if let Some(clock) = &self.clock {
            self.history.push(Sent { changes: changes.clone(), asked: clock(), answered: None });
        }
        self.ledger.unknown = Some(changes);
    }

    fn acknowledge(&mut self) {
        let Some(changes) = self.ledger.unknown.take() else { return };
        apply(&mut self.ledger.rows, &changes);
        self.ledger.commits += 1;
        if let (Some(clock), Some(sent)) = (&self.clock, self.history.last_mut()) {
            sent.answered = Some(clock());
        }
    }

    /// Writes so many new rows by COPY, which must succeed.
    pub(crate) async fn load(&mut self, client: &Client, count: usize) {
        let changes: Changes = self.fresh(count).into_iter().map(|(id, state)| (id, Some(state))).collect();
        ok(self.copy(client, &changes).await, "COPY");
        self.acknowledge();
    }

    fn fresh(&mut self, count: usize) -> Vec<(i64, State)> {
        let first = self.number * IDS_EACH + self.next;
        self.next += count as i64;
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
                let vector = vectors::text(&vector_of(self.seed, *id, state.version));
                format!("({id}, {}, {}, '{vector}')", state.version, state.note)
            })
            .collect();
        rows.join(", ")
    }

    /// Writes until the server is gone, one transaction after the other.
    pub(crate) async fn write(mut self, client: Client) -> Self {
        loop {
            // A COPY of many rows fills segments; as many leave again.
            let full = self.ledger.rows.len() > self.most;
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
                    self.ask(changes);
                    self.send(&client, &statements).await
                }
            };
            match result {
                Ok(()) => self.acknowledge(),
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
                    let vector = vectors::text(&vector_of(self.seed, *id, state.version));
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
                    if self.random.random_bool(0.3) {
                        let undone = self.changes_of_nobody();
                        client.batch_execute(&format!("SAVEPOINT s; {undone}; ROLLBACK TO s")).await?;
                    }
                    client.execute(statement, &[]).await?;
                }
                client.batch_execute("COMMIT").await
            }
        }
    }

    async fn copy(&mut self, client: &Client, changes: &Changes) -> Result<(), tokio_postgres::Error> {
        self.ask(changes.clone());
        let sink: CopyInSink<bytes::Bytes> = client.copy_in("COPY ledger FROM STDIN").await?;
        pin_mut!(sink);
        for (id, state) in changes {
            let Some(state) = state else { continue };
            let vector = vectors::text(&vector_of(self.seed, *id, state.version));
            sink.send(format!("{id}\t{}\t{}\t{vector}\n", state.version, state.note).into()).await?;
        }
        assert_eq!(sink.finish().await?, changes.len() as u64);
        Ok(())
    }

    /// Statements after which rows are there, or changed, that nobody's ledger knows.
    fn changes_of_nobody(&mut self) -> String {
        let fresh = self.fresh(3);
        let some = self.some(5);
        let ids: Vec<String> = some.iter().map(|(id, _)| id.to_string()).collect();
        let ids = if ids.is_empty() { "-1".to_owned() } else { ids.join(", ") };
        format!("INSERT INTO ledger VALUES {}; UPDATE ledger SET note = 99 WHERE id IN ({ids})", self.values(&fresh))
    }

    /// Writes that must never be seen: rolled back, or failed at their end.
    async fn undone(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let changes = self.changes_of_nobody();
        let Some((first, _)) = self.some(1).pop() else { return Ok(()) };
        if self.random.random_bool(0.5) {
            return client.batch_execute(&format!("BEGIN; {changes}; ROLLBACK")).await;
        }
        let clash = format!("INSERT INTO ledger (id) VALUES ({first})");
        match client.batch_execute(&format!("{changes}; {clash}")).await {
            Err(error) if error.code().is_some_and(|code| code.code() == "23505") => Ok(()),
            Err(error) => Err(error),
            Ok(()) => panic!("client {}: a duplicate key was taken", self.number),
        }
    }
}

/// Builds, seals, merges and checkpoints beside the writers, until the server is gone.
pub(crate) async fn maintain(client: Client, seed: u64, backups: String) {
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
pub(crate) async fn contents(client: &Client, seed: u64) -> Rows {
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

/// Settles what was unknown to the ledgers, in the order of their writers: all of it or nothing. Gives the number of rows.
pub(crate) fn settle<'a>(ledgers: impl IntoIterator<Item = &'a mut Ledger>, found: &Rows) -> usize {
    let mut known = 0;
    for (number, ledger) in (0..).zip(ledgers) {
        settle_one(number, ledger, found);
        known += ledger.rows.len();
    }
    assert_eq!(found.len(), known, "rows that nobody wrote");
    known
}

fn settle_one(number: i64, ledger: &mut Ledger, found: &Rows) {
    let range = number * IDS_EACH..(number + 1) * IDS_EACH;
    let found: Rows = found.range(range).map(|(id, state)| (*id, *state)).collect();
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
        .collect::<BTreeSet<_>>()
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
        number,
        unknown.len(),
        differences.join("\n")
    );
}

/// Searches equal plain arithmetic: on request, and when everything is probed and re-ranked.
pub(crate) async fn searches(client: &Client, seed: u64, random: &mut StdRng, rows: &Rows) -> u32 {
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
pub(crate) async fn sound(client: &Client) {
    for fault in ok(client.simple_query("CHECK DATABASE").await, "CHECK DATABASE") {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = fault {
            panic!("CHECK DATABASE: {:?} {:?} {:?}", row.get(0), row.get(1), row.get(3));
        }
    }
}

/// The table of the ledgers.
pub(crate) async fn create(client: &Client) {
    run(client, &format!("CREATE TABLE ledger (id bigint PRIMARY KEY, version int, note int, v vector({DIMS}))")).await;
}
