//! Histories of transactions that append to lists and read them, and what must not be in them.
//!
//! After Kingsbury, Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations* (VLDB 2020): a list that was read says who wrote
//! it in which order, so that what each transaction depends on is known and not guessed. READ COMMITTED must have no circle of writes and of
//! reads of what was written (G0, G1), REPEATABLE READ none with one transaction that read what another one wrote anew (G-single), and
//! SERIALIZABLE none at all.
//!
//! `LODEDB_HISTORIES` is how many histories are made at each level (10; the long run: 1,000), `LODEDB_SEED` what is done in them; how threads
//! meet is left to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;

use crate::harness::client::told;
use crate::harness::{Server, rows, run};

const TRANSACTIONS: usize = 200;
const CLIENTS: usize = 5;
const KEYS: u32 = 6;

type Value = u32;

/// What a transaction did to a list.
#[derive(Clone, Debug)]
enum Operation {
    Append(u32, Value),
    Read(u32, Vec<Value>),
}

#[derive(Debug)]
struct Transaction {
    operations: Vec<Operation>,
    is_committed: bool,
}

/// What happened at one level, and what the lists were at the end.
struct History {
    transactions: Vec<Transaction>,
    lists: BTreeMap<u32, Vec<Value>>,
}

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Because {
    /// It wrote what the other one wrote over.
    WriteWrite,
    /// It wrote what the other one read.
    WriteRead,
    /// It read what the other one wrote over.
    ReadWrite,
}

fn list(text: &str) -> Vec<Value> {
    text.split(',').filter(|value| !value.is_empty()).map(|value| value.parse().expect("a number")).collect()
}

/// Runs one transaction; gives what it did up to its end or failure.
async fn transact(client: &Client, table: &str, level: &str, dice: &mut StdRng, next: &mut Value) -> Transaction {
    let mut operations = Vec::new();
    let is_committed = attempt(client, table, level, dice, next, &mut operations).await;
    if !is_committed {
        run(client, "ROLLBACK").await;
    }
    Transaction { operations, is_committed }
}

/// Whether the statement went through; errors must be those of transactions that give way.
fn went_through<T>(result: Result<T, tokio_postgres::Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let code = error.code().map_or("", |code| code.code());
            assert!(["40001", "40P01"].contains(&code), "{}", told(&error));
            None
        }
    }
}

async fn attempt(
    client: &Client,
    table: &str,
    level: &str,
    dice: &mut StdRng,
    next: &mut Value,
    operations: &mut Vec<Operation>,
) -> bool {
    run(client, &format!("BEGIN ISOLATION LEVEL {level}")).await;
    for _ in 0..dice.random_range(1..5) {
        let key = dice.random_range(0..KEYS);
        match dice.random_range(0..5) {
            0 | 1 => {
                *next += 1;
                let sql = format!("UPDATE {table} SET list = list || '{next},' WHERE key = {key}");
                // It may be there even if the answer is that it is not.
                operations.push(Operation::Append(key, *next));
                if went_through(client.batch_execute(&sql).await).is_none() {
                    return false;
                }
            }
            2 | 3 => {
                let sql = format!("SELECT list FROM {table} WHERE key = {key}");
                let Some(row) = went_through(client.query_one(&sql, &[]).await) else { return false };
                operations.push(Operation::Read(key, list(row.get(0))));
            }
            _ => {
                let sql = format!("SELECT key, list FROM {table} WHERE length(list) >= 0");
                let Some(rows) = went_through(client.query(&sql, &[]).await) else { return false };
                assert_eq!(rows.len(), KEYS as usize);
                for row in rows {
                    let key: i32 = row.get(0);
                    operations.push(Operation::Read(key as u32, list(row.get(1))));
                }
            }
        }
    }
    went_through(client.batch_execute("COMMIT").await).is_some()
}

async fn history(clients: &[Arc<Client>], table: &str, level: &'static str, seed: u64) -> History {
    run(&clients[0], &format!("CREATE TABLE {table} (key int PRIMARY KEY, list text NOT NULL)")).await;
    let keys: Vec<String> = (0..KEYS).map(|key| format!("({key}, '')")).collect();
    run(&clients[0], &format!("INSERT INTO {table} VALUES {}", keys.join(", "))).await;
    let mut tasks = Vec::new();
    for (at, client) in clients.iter().cloned().enumerate() {
        let table = table.to_owned();
        tasks.push(tokio::spawn(async move {
            let mut dice = StdRng::seed_from_u64(seed * 100 + at as u64);
            let mut next = at as Value * 1_000_000;
            let mut done = Vec::new();
            for _ in 0..TRANSACTIONS / CLIENTS {
                done.push(transact(&client, &table, level, &mut dice, &mut next).await);
            }
            done
        }));
    }
    let mut transactions = Vec::new();
    for task in tasks {
        transactions.extend(task.await.expect("a client"));
    }
    let lists = rows(&clients[0], &format!("SELECT key, list FROM {table}")).await;
    run(&clients[0], &format!("DROP TABLE {table}")).await;
    let lists = lists.iter().map(|row| (row[0].parse().expect("a key"), list(&row[1]))).collect();
    History { transactions, lists }
}

/// Of each transaction those that come after it.
type Graph = BTreeMap<usize, BTreeSet<(usize, Because)>>;

impl History {
    /// What depends on what among the committed transactions, if every read could have been made.
    fn graph(&self, is_snapshot: bool) -> Result<Graph, String> {
        let mut writer: HashMap<Value, usize> = HashMap::new();
        let mut last_of: HashMap<(usize, u32), Value> = HashMap::new();
        for (at, transaction) in self.transactions.iter().enumerate() {
            for operation in &transaction.operations {
                if let Operation::Append(key, value) = operation {
                    writer.insert(*value, at);
                    last_of.insert((at, *key), *value);
                }
            }
        }
        let mut places: HashMap<Value, usize> = HashMap::new();
        for list in self.lists.values() {
            for (place, value) in list.iter().enumerate() {
                let by = writer.get(value).ok_or_else(|| format!("{value} was written by nobody"))?;
                if !self.transactions[*by].is_committed {
                    return Err(format!("{value} of a transaction that was rolled back is there (G1a)"));
                }
                if places.insert(*value, place).is_some() {
                    return Err(format!("{value} is there twice"));
                }
            }
        }
        let mut graph = Graph::new();
        let mut before = |one: usize, other: usize, because: Because| {
            if one != other {
                graph.entry(one).or_default().insert((other, because));
            }
        };
        for list in self.lists.values() {
            for pair in list.windows(2) {
                before(writer[&pair[0]], writer[&pair[1]], Because::WriteWrite);
            }
        }
        for (at, transaction) in self.transactions.iter().enumerate() {
            let mut own: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
            let mut seen: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
            for operation in &transaction.operations {
                match operation {
                    Operation::Append(key, value) => {
                        if transaction.is_committed && !places.contains_key(value) {
                            return Err(format!("{value} was committed and is lost"));
                        }
                        own.entry(*key).or_default().push(*value);
                    }
                    Operation::Read(key, read) => {
                        let own = own.get(key).map_or(&[][..], Vec::as_slice);
                        let Some(base) = read.strip_suffix(own) else {
                            return Err(format!("{read:?} lacks {own:?}, which the transaction wrote itself"));
                        };
                        let list = &self.lists[key];
                        if !list.starts_with(base) {
                            return Err(format!("{base:?} was read, and never was: it became {list:?} (G1a)"));
                        }
                        if let Some(last) = base.last()
                            && last_of[&(writer[last], *key)] != *last
                        {
                            return Err(format!("{base:?} ends within a transaction (G1b)"));
                        }
                        if is_snapshot && seen.insert(*key, base.to_vec()).is_some_and(|before| before != base) {
                            return Err(format!("{base:?} was read, and before that something else"));
                        }
                        if !transaction.is_committed {
                            continue;
                        }
                        if let Some(last) = base.last() {
                            before(writer[last], at, Because::WriteRead);
                        }
                        if let Some(next) = list.get(base.len()) {
                            before(at, writer[next], Because::ReadWrite);
                        }
                    }
                }
            }
        }
        Ok(graph)
    }
}

/// The transactions that come after one, by edges of these kinds.
fn after(graph: &Graph, from: usize, kinds: &[Because]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(at) = left.pop() {
        for (next, because) in graph.get(&at).into_iter().flatten() {
            if kinds.contains(because) && found.insert(*next) {
                left.push(*next);
            }
        }
    }
    found
}

/// A transaction that comes after itself.
fn circle(graph: &Graph, kinds: &[Because]) -> Option<usize> {
    graph.keys().copied().find(|&at| after(graph, at, kinds).contains(&at))
}

/// A transaction that read what another one wrote anew, and comes after that one.
fn skewed_read(graph: &Graph) -> Option<usize> {
    let edges = graph.iter().flat_map(|(&from, edges)| edges.iter().map(move |&(to, because)| (from, to, because)));
    let mut anew = edges.filter(|(_, _, because)| *because == Because::ReadWrite);
    anew.find(|&(from, to, _)| after(graph, to, &WRITTEN).contains(&from)).map(|(from, ..)| from)
}

const WRITTEN: [Because; 2] = [Because::WriteWrite, Because::WriteRead];
const ALL: [Because; 3] = [Because::WriteWrite, Because::WriteRead, Because::ReadWrite];

/// Makes histories at a level; gives how many of them have reads that are skewed, and how many have any circle.
async fn histories(level: &'static str) -> (u64, u64, u64) {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(otherwise)
    };
    let (count, seed) = (number("LODEDB_HISTORIES", 10), number("LODEDB_SEED", 1));
    let server = Server::shared();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Arc::new(server.connect().await));
    }
    let (mut skewed, mut circular, mut committed) = (0, 0, 0);
    for at in 0..count {
        let table = format!("history_{}_{at}", level.replace(' ', "_"));
        let history = history(&clients, &table, level, seed + at).await;
        committed += history.transactions.iter().filter(|transaction| transaction.is_committed).count() as u64;
        let told = |what: &str| panic!("{level}, LODEDB_SEED={}: {what}", seed + at);
        let graph = history.graph(level != "READ COMMITTED").unwrap_or_else(|why| told(&why));
        if let Some(at) = circle(&graph, &WRITTEN) {
            told(&format!("{at} comes after itself (G1c): {:?}", history.transactions[at]));
        }
        skewed += u64::from(skewed_read(&graph).is_some());
        circular += u64::from(circle(&graph, &ALL).is_some());
    }
    println!(
        "{level}: {count} histories of {TRANSACTIONS}, {committed} committed, {skewed} skewed, {circular} circular"
    );
    assert!(committed * 10 > count * TRANSACTIONS as u64, "hardly anything was committed");
    (count, skewed, circular)
}

/// Reads are skewed at this level; that they are found says that they would be at others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_committed() {
    let (_, skewed, _) = histories("READ COMMITTED").await;
    assert!(skewed > 0);
}

/// Writes are skewed at this level; that they are found says that they would be at others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeatable_read() {
    let (_, skewed, circular) = histories("REPEATABLE READ").await;
    assert_eq!(skewed, 0);
    assert!(circular > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable() {
    let (_, _, circular) = histories("SERIALIZABLE").await;
    assert_eq!(circular, 0);
}
