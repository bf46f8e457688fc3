//! The Hermitage cases (Kleppmann, *Hermitage: testing the "I" in ACID*, 2014) with the outcomes that PostgreSQL has.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::harness::{Server, error, rows, run};

/// Two rows, `(1, 10)` and `(2, 20)`, and sessions that have begun a transaction each.
struct Case {
    _server: Arc<Server>,
    table: String,
    sessions: Vec<Arc<Client>>,
}

/// What a statement ended with: nothing wrong, or an SQLSTATE.
type Ended = Result<(), String>;

impl Case {
    async fn begin(name: &str, level: &str, sessions: usize) -> Self {
        let server = Server::shared();
        let table = format!("hermitage_{}_{name}", level.replace(' ', "_"));
        let mut clients = Vec::new();
        for _ in 0..sessions {
            clients.push(Arc::new(server.connect().await));
        }
        run(&clients[0], &format!("CREATE TABLE {table} (id int PRIMARY KEY, value int)")).await;
        run(&clients[0], &format!("INSERT INTO {table} VALUES (1, 10), (2, 20)")).await;
        for client in &clients {
            run(client, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        }
        Self { _server: server, table, sessions: clients }
    }

    /// `test` is the table.
    fn sql(&self, sql: &str) -> String {
        sql.replace("test", &self.table)
    }

    async fn run(&self, session: usize, sql: &str) {
        run(&self.sessions[session - 1], &self.sql(sql)).await;
    }

    async fn fails(&self, session: usize, sql: &str) {
        let failed = error(&self.sessions[session - 1], &self.sql(sql)).await;
        assert_eq!(failed.code().code(), "40001", "{sql}: {}", failed.message());
    }

    async fn ends(&self, session: usize, sql: &str) -> Ended {
        ended(&self.sessions[session - 1], &self.sql(sql)).await
    }

    /// The rows of a query: `1:10 2:20`.
    async fn sees(&self, session: usize, condition: &str, expected: &str) {
        let sql = self.sql(&format!("SELECT id, value FROM test {condition} ORDER BY id"));
        let found = rows(&self.sessions[session - 1], &sql).await;
        let found: Vec<String> = found.iter().map(|row| row.join(":")).collect();
        assert_eq!(found.join(" "), expected, "session {session}: {sql}");
    }

    /// Begins a statement that has to wait.
    async fn waits(&self, session: usize, sql: &str) -> JoinHandle<Ended> {
        let (client, sql) = (self.sessions[session - 1].clone(), self.sql(sql));
        let waiting = tokio::spawn(async move { ended(&client, &sql).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished(), "session {session} did not wait");
        waiting
    }
}

async fn ended(client: &Client, sql: &str) -> Ended {
    let ended = client.batch_execute(sql).await;
    ended.map_err(|error| error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()))
}

async fn passes(waiting: JoinHandle<Ended>) {
    assert_eq!(waiting.await.expect("the statement"), Ok(()));
}

async fn is_refused(waiting: JoinHandle<Ended>) {
    assert_eq!(waiting.await.expect("the statement"), Err("40001".to_owned()));
}

const READ_COMMITTED: &str = "READ COMMITTED";
const REPEATABLE_READ: &str = "REPEATABLE READ";
const SERIALIZABLE: &str = "SERIALIZABLE";

/// Dirty writes: transactions do not write over what others have not committed.
#[tokio::test(flavor = "multi_thread")]
async fn g0() {
    let case = Case::begin("g0", READ_COMMITTED, 2).await;
    case.run(1, "UPDATE test SET value = 11 WHERE id = 1").await;
    let waiting = case.waits(2, "UPDATE test SET value = 12 WHERE id = 1").await;
    case.run(1, "UPDATE test SET value = 21 WHERE id = 2; COMMIT").await;
    passes(waiting).await;
    case.sees(1, "", "1:11 2:21").await;
    case.run(2, "UPDATE test SET value = 22 WHERE id = 2; COMMIT").await;
    case.sees(1, "", "1:12 2:22").await;
}

/// Aborted and intermediate reads, and circular flow of information.
#[tokio::test(flavor = "multi_thread")]
async fn g1() {
    let case = Case::begin("g1a", READ_COMMITTED, 2).await;
    case.run(1, "UPDATE test SET value = 101 WHERE id = 1").await;
    case.sees(2, "", "1:10 2:20").await;
    case.run(1, "ROLLBACK").await;
    case.sees(2, "", "1:10 2:20").await;

    let case = Case::begin("g1b", READ_COMMITTED, 2).await;
    case.run(1, "UPDATE test SET value = 101 WHERE id = 1").await;
    case.sees(2, "", "1:10 2:20").await;
    case.run(1, "UPDATE test SET value = 11 WHERE id = 1; COMMIT").await;
    case.sees(2, "", "1:11 2:20").await;

    let case = Case::begin("g1c", READ_COMMITTED, 2).await;
    case.run(1, "UPDATE test SET value = 11 WHERE id = 1").await;
    case.run(2, "UPDATE test SET value = 22 WHERE id = 2").await;
    case.sees(1, "WHERE id = 2", "2:20").await;
    case.sees(2, "WHERE id = 1", "1:10").await;
    case.run(1, "COMMIT").await;
    case.run(2, "COMMIT").await;
}

/// Observed transaction vanishes.
#[tokio::test(flavor = "multi_thread")]
async fn otv() {
    let case = Case::begin("otv", READ_COMMITTED, 3).await;
    case.run(1, "UPDATE test SET value = 11 WHERE id = 1; UPDATE test SET value = 19 WHERE id = 2").await;
    let waiting = case.waits(2, "UPDATE test SET value = 12 WHERE id = 1").await;
    case.run(1, "COMMIT").await;
    passes(waiting).await;
    case.sees(3, "", "1:11 2:19").await;
    case.run(2, "UPDATE test SET value = 18 WHERE id = 2").await;
    case.sees(3, "", "1:11 2:19").await;
    case.run(2, "COMMIT").await;
    case.sees(3, "", "1:12 2:18").await;
}

/// Predicates that many precede.
#[tokio::test(flavor = "multi_thread")]
async fn pmp() {
    let case = Case::begin("pmp", READ_COMMITTED, 2).await;
    case.sees(1, "WHERE value = 30", "").await;
    case.run(2, "INSERT INTO test VALUES (3, 30); COMMIT").await;
    case.sees(1, "WHERE value % 3 = 0", "3:30").await;

    let case = Case::begin("pmp", REPEATABLE_READ, 2).await;
    case.sees(1, "WHERE value = 30", "").await;
    case.run(2, "INSERT INTO test VALUES (3, 30); COMMIT").await;
    case.sees(1, "WHERE value % 3 = 0", "").await;
}

/// The same, of predicates of statements that write.
#[tokio::test(flavor = "multi_thread")]
async fn pmp_of_writes() {
    let case = Case::begin("pmp_write", READ_COMMITTED, 2).await;
    case.run(1, "UPDATE test SET value = value + 10").await;
    let waiting = case.waits(2, "DELETE FROM test WHERE value = 20").await;
    case.run(1, "COMMIT").await;
    passes(waiting).await;
    // The row it found has another value by now, and the one that has the value was not found.
    case.sees(2, "", "1:20 2:30").await;

    let case = Case::begin("pmp_write", REPEATABLE_READ, 2).await;
    case.run(1, "UPDATE test SET value = value + 10").await;
    case.sees(2, "", "1:10 2:20").await;
    let waiting = case.waits(2, "DELETE FROM test WHERE value = 20").await;
    case.run(1, "COMMIT").await;
    is_refused(waiting).await;
}

/// Lost update.
#[tokio::test(flavor = "multi_thread")]
async fn p4() {
    for (level, is_prevented) in [(READ_COMMITTED, false), (REPEATABLE_READ, true), (SERIALIZABLE, true)] {
        let case = Case::begin("p4", level, 2).await;
        case.sees(1, "WHERE id = 1", "1:10").await;
        case.sees(2, "WHERE id = 1", "1:10").await;
        case.run(1, "UPDATE test SET value = 11 WHERE id = 1").await;
        let update = "UPDATE test SET value = 11 WHERE id = 1";
        if level == SERIALIZABLE {
            // It could not commit any more: it is told so at once.
            assert_eq!(case.ends(2, update).await, Err("40001".to_owned()));
            case.run(1, "COMMIT").await;
            case.run(2, "ROLLBACK").await;
            continue;
        }
        let waiting = case.waits(2, update).await;
        case.run(1, "COMMIT").await;
        if is_prevented {
            is_refused(waiting).await;
        } else {
            passes(waiting).await;
        }
        case.run(2, "COMMIT").await;
    }
}

/// Read skew.
#[tokio::test(flavor = "multi_thread")]
async fn g_single() {
    for (level, expected) in [(READ_COMMITTED, "2:18"), (REPEATABLE_READ, "2:20")] {
        let case = Case::begin("g_single", level, 2).await;
        case.sees(1, "WHERE id = 1", "1:10").await;
        case.sees(2, "", "1:10 2:20").await;
        case.run(2, "UPDATE test SET value = 12 WHERE id = 1; UPDATE test SET value = 18 WHERE id = 2; COMMIT").await;
        case.sees(1, "WHERE id = 2", expected).await;
        case.run(1, "COMMIT").await;
    }
    let case = Case::begin("g_single_predicate", REPEATABLE_READ, 2).await;
    case.sees(1, "WHERE value % 5 = 0", "1:10 2:20").await;
    case.run(2, "UPDATE test SET value = 12 WHERE value = 10; COMMIT").await;
    case.sees(1, "WHERE value % 3 = 0", "").await;
}

/// Read skew of which a write is a part.
#[tokio::test(flavor = "multi_thread")]
async fn g_single_with_writes() {
    let case = Case::begin("g_single_write_1", REPEATABLE_READ, 2).await;
    case.sees(1, "WHERE id = 1", "1:10").await;
    case.sees(2, "", "1:10 2:20").await;
    case.run(2, "UPDATE test SET value = 12 WHERE id = 1; UPDATE test SET value = 18 WHERE id = 2; COMMIT").await;
    case.fails(1, "DELETE FROM test WHERE value = 20").await;

    let case = Case::begin("g_single_write_2", REPEATABLE_READ, 2).await;
    case.sees(1, "WHERE id = 1", "1:10").await;
    case.sees(2, "", "1:10 2:20").await;
    case.run(2, "UPDATE test SET value = 12 WHERE id = 1").await;
    case.run(1, "DELETE FROM test WHERE value = 20").await;
    let waiting = case.waits(2, "UPDATE test SET value = 18 WHERE id = 2").await;
    case.run(1, "ROLLBACK").await;
    passes(waiting).await;
    case.run(2, "COMMIT").await;
}

/// Write skew, of rows and of predicates.
#[tokio::test(flavor = "multi_thread")]
async fn g2() {
    for (level, is_prevented) in [(REPEATABLE_READ, false), (SERIALIZABLE, true)] {
        for (name, condition, seen, first, second) in [
            (
                "g2_item",
                "WHERE id IN (1, 2)",
                "1:10 2:20",
                "UPDATE test SET value = 11 WHERE id = 1",
                "UPDATE test SET value = 21 WHERE id = 2",
            ),
            ("g2", "WHERE value % 3 = 0", "", "INSERT INTO test VALUES (3, 30)", "INSERT INTO test VALUES (4, 42)"),
        ] {
            let case = Case::begin(name, level, 2).await;
            case.sees(1, condition, seen).await;
            case.sees(2, condition, seen).await;
            let mut ended = Vec::new();
            for (session, sql) in [(1, first), (2, second), (1, "COMMIT"), (2, "COMMIT")] {
                ended.push(case.ends(session, sql).await);
            }
            let refused = ended.iter().filter(|ended| **ended == Err("40001".to_owned())).count();
            assert_eq!(refused > 0, is_prevented, "{level} {name}: {ended:?}");
            // One of them is through.
            let table = &case.table;
            let changed = format!("SELECT count(*) FROM {table} WHERE value IN (11, 21, 30, 42)");
            let changed = rows(&case.sessions[0], &changed).await;
            assert_eq!(changed[0][0], if is_prevented { "1" } else { "2" }, "{level} {name}: {ended:?}");
        }
    }
}

/// Fekete's anomaly of a transaction that only reads: two edges of which the reads are a part.
#[tokio::test(flavor = "multi_thread")]
async fn g2_with_two_edges() {
    let server = Server::shared();
    let case = Case::begin("g2_two_edges", SERIALIZABLE, 1).await;
    let (second, third) = (server.connect().await, server.connect().await);
    case.sees(1, "", "1:10 2:20").await;
    run(&second, &case.sql("BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE test SET value = value + 5 WHERE id = 2")).await;
    run(&second, "COMMIT").await;
    run(&third, "BEGIN ISOLATION LEVEL SERIALIZABLE").await;
    assert_eq!(rows(&third, &case.sql("SELECT id, value FROM test ORDER BY id")).await, [["1", "10"], ["2", "25"]]);
    run(&third, "COMMIT").await;
    let written = case.ends(1, "UPDATE test SET value = 0 WHERE id = 1").await;
    let ended = [written, case.ends(1, "COMMIT").await];
    assert!(ended.contains(&Err("40001".to_owned())), "{ended:?}");
}

/// What is come upon by a key, and not by the view, is not written either.
#[tokio::test(flavor = "multi_thread")]
async fn on_conflict_does_not_see_more_than_the_transaction() {
    let case = Case::begin("on_conflict", REPEATABLE_READ, 2).await;
    case.sees(1, "", "1:10 2:20").await;
    case.run(2, "INSERT INTO test VALUES (3, 30); COMMIT").await;
    case.fails(1, "INSERT INTO test VALUES (3, 1) ON CONFLICT (id) DO UPDATE SET value = excluded.value").await;
    case.run(1, "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    case.sees(1, "", "1:10 2:20 3:30").await;
    case.run(2, "INSERT INTO test VALUES (4, 40)").await;
    case.fails(1, "INSERT INTO test VALUES (4, 1) ON CONFLICT DO NOTHING").await;
    case.run(1, "ROLLBACK").await;
    case.sees(1, "", "1:10 2:20 3:30 4:40").await;
}

/// A transaction goes on with the definitions it began with, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_do_not_change_under_a_transaction() {
    let case = Case::begin("definitions", REPEATABLE_READ, 2).await;
    case.sees(1, "", "1:10 2:20").await;
    case.run(2, "ROLLBACK; ALTER TABLE test ADD COLUMN more int DEFAULT 7").await;
    case.sees(1, "", "1:10 2:20").await;
    case.fails(1, "INSERT INTO test VALUES (5, 50)").await;
    case.run(1, "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    case.sees(1, "", "1:10 2:20").await;
    case.run(2, "UPDATE test SET value = 20 WHERE id = 1").await;
    // An index of the rows as they were would not have the rows as they are.
    case.fails(1, "CREATE UNIQUE INDEX ON test (value)").await;
    case.run(1, "ROLLBACK").await;
    assert_eq!(case.ends(1, "CREATE UNIQUE INDEX ON test (value)").await, Err("23505".to_owned()));
}
