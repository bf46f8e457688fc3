//! Generated statements on LodeDB and on PostgreSQL with pgvector, compared: columns, types, rows, counts, SQLSTATEs.
//!
//! `LODEDB_STATEMENTS` is how many (20,000), `LODEDB_SEED` which, and `LODEDB_ROUND` plays one round alone, the seed of which a difference names.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::generate::{CLEANING, Statement, round};
use crate::harness::reference::Reference;
use crate::harness::{self, Server};

/// Statements of a round, beside those that read its tables at the end.
const ROUND: usize = 100;

/// Differences after which a run gives up.
const ENOUGH: usize = 40;

/// What came of a statement.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// Names of columns, and their types where they were asked for; rows in text.
    Rows { columns: Vec<String>, types: Vec<String>, rows: Vec<Vec<Option<String>>>, count: u64 },
    /// Rows changed.
    Done(u64),
    /// A SQLSTATE and the sentence, which is shown but not compared.
    Refused(String, String),
    /// No answer at all.
    Broken(String),
}

impl Outcome {
    /// In a line or two.
    fn shown(&self) -> String {
        match self {
            Self::Rows { columns, types, rows, .. } => {
                let rows: Vec<String> = rows
                    .iter()
                    .take(8)
                    .map(|row| {
                        row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(" | ")
                    })
                    .collect();
                format!("{} {} [{}]", columns.join(","), types.join(","), rows.join("] ["))
            }
            Self::Done(count) => format!("{count} rows changed"),
            Self::Refused(state, words) => format!("{state} {words}"),
            Self::Broken(words) => format!("BROKEN: {words}"),
        }
    }
}

/// One of the two.
struct Side {
    config: Config,
    client: Client,
}

impl Side {
    async fn open(config: Config) -> Self {
        Self { client: connect(&config).await, config }
    }

    async fn run(&mut self, statement: &Statement) -> Outcome {
        let answered = tokio::time::timeout(Duration::from_secs(60), run(&self.client, statement)).await;
        let outcome = answered.unwrap_or_else(|_| Outcome::Broken("no answer in a minute".into()));
        if matches!(outcome, Outcome::Broken(_)) {
            self.client = connect(&self.config).await;
        }
        outcome
    }

    /// Leaves no transaction and no table of a round.
    async fn clean(&self) {
        // Outside of a transaction ROLLBACK is a warning.
        self.client.batch_execute("ROLLBACK").await.expect("ROLLBACK");
        self.client.batch_execute(CLEANING).await.expect(CLEANING);
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS vector").await.expect("the extension");
    // The client looks types up once, which a failed transaction would not let it do later.
    let types = "SELECT null::vector, null::halfvec, null::sparsevec, null::varbit";
    client.prepare(types).await.expect(types);
    client
}

fn refused(error: &tokio_postgres::Error) -> Outcome {
    match error.as_db_error() {
        Some(error) => Outcome::Refused(error.code().code().to_owned(), error.message().to_owned()),
        None => Outcome::Broken(error.to_string()),
    }
}

async fn run(client: &Client, statement: &Statement) -> Outcome {
    let mut types = Vec::new();
    if statement.described {
        match client.prepare(&statement.sql).await {
            // Numbers of pgvector's types are the server's own.
            Ok(prepared) => types.extend(prepared.columns().iter().map(|column| column.type_().name().to_owned())),
            Err(error) => return refused(&error),
        }
    }
    let messages = match client.simple_query(&statement.sql).await {
        Ok(messages) => messages,
        Err(error) => return refused(&error),
    };
    let (mut columns, mut rows, mut count) = (None, Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(description) => {
                columns = Some(description.iter().map(|column| column.name().to_owned()).collect());
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            SimpleQueryMessage::CommandComplete(told) => count = told,
            _ => {}
        }
    }
    match columns {
        Some(columns) => Outcome::Rows { columns, types, rows, count },
        None => Outcome::Done(count),
    }
}

/// The numbers of a text, and what is between them.
fn numbers(text: &str) -> (Vec<f64>, String) {
    let (mut found, mut between) = (Vec::new(), String::new());
    for piece in text.split_inclusive([',', '[', ']', '{', '}', ':', '/']) {
        let (word, end) = piece.split_at(piece.trim_end_matches([',', '[', ']', '{', '}', ':', '/']).len());
        match word.parse::<f64>() {
            Ok(number) => found.push(number),
            Err(_) => between.push_str(word),
        }
        between.push_str(end);
    }
    (found, between)
}

/// Whether two values are the same, floating-point numbers to six digits: libraries of mathematics differ in the last one.
fn same_value(ours: Option<&str>, theirs: Option<&str>) -> bool {
    same_within(ours, theirs, 1e-6)
}

fn same_within(ours: Option<&str>, theirs: Option<&str>, tolerance: f64) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            let (a, b) = (numbers(ours), numbers(theirs));
            // The sign of a zero is lost where others are added to it, and of equal zeros either may be the one that is shown.
            if ours.replace("-0", "0") == theirs.replace("-0", "0") && a == b {
                return true;
            }
            let float = |text: &str| text.contains(['.', 'e']) || text.contains("NaN") || text.contains("Infinity");
            if !float(ours) && !float(theirs) {
                return false;
            }
            let near = |a: f64, b: f64| {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-9)
            };
            a.1 == b.1
                && a.0.len() == b.0.len()
                && a.0.iter().zip(&b.0).all(|(a, b)| near(*a, *b))
                // Of one number two texts, such as 1.5 and 1.50, are two values.
                && a.0.iter().zip(&b.0).any(|(a, b)| a != b)
        }
        (ours, theirs) => ours == theirs,
    }
}

fn same_rows(ours: &[Vec<Option<String>>], theirs: &[Vec<Option<String>>], ordered: bool) -> bool {
    let same = |a: &Vec<Option<String>>, b: &Vec<Option<String>>| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a.as_deref(), b.as_deref()))
    };
    if ours.len() != theirs.len() {
        return false;
    }
    if ordered {
        return ours.iter().zip(theirs).all(|(a, b)| same(a, b));
    }
    let mut left: Vec<&Vec<Option<String>>> = theirs.iter().collect();
    ours.iter().all(|row| match left.iter().position(|other| same(row, other)) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    })
}

fn same(ours: &Outcome, theirs: &Outcome, ordered: bool) -> bool {
    match (ours, theirs) {
        (
            Outcome::Rows { columns, types, rows, count },
            Outcome::Rows { columns: their_columns, types: their_types, rows: their_rows, count: their_count },
        ) => {
            columns == their_columns
                && types == their_types
                && count == their_count
                && same_rows(rows, their_rows, ordered)
        }
        (Outcome::Done(ours), Outcome::Done(theirs)) => ours == theirs,
        (Outcome::Refused(ours, _), Outcome::Refused(theirs, _)) => ours == theirs,
        _ => false,
    }
}

/// A difference that is known: when it is this one, and why it is there. Each is in docs/compatibility.md.
struct Known {
    reason: &'static str,
    is: fn(&str, &Outcome, &Outcome) -> bool,
}

const KNOWN: &[Known] = &[
    Known {
        reason: "a numeric without a modifier has no zeros at its end, and a column of them has one scale",
        is: |_, ours, theirs| match (ours, theirs) {
            (Outcome::Rows { columns, types, rows, .. }, Outcome::Rows { columns: c, types: t, rows: r, .. }) => {
                let trimmed = |rows: &[Vec<Option<String>>]| -> Vec<Vec<Option<String>>> {
                    rows.iter()
                        .map(|row| row.iter().map(|value| value.as_deref().map(without_zeros)).collect())
                        .collect()
                };
                columns == c && types == t && same_rows(&trimmed(rows), &trimmed(r), false)
            }
            _ => false,
        },
    },
    Known {
        reason: "numeric has no NaN and no infinity",
        is: |_, ours, _| matches!(ours, Outcome::Refused(state, words) if state == "0A000" && words.contains("in numeric")),
    },
    Known {
        reason: "products that cancel each other are added up in single precision, in another order",
        is: |sql, ours, theirs| {
            // A cosine near 1 is taken from 1; products of numbers near 1 cancel each other as well.
            let cosine = ["<=>", "cosine_distance", "<#>"].iter().any(|name| sql.contains(name));
            let as_near = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => cosine && (a - b).abs() < 1e-6,
                _ => false,
            };
            (cosine || sql.contains("inner_product"))
                && rows_are_near(ours, theirs, |a, b| {
                    same_within(a, b, 1e-4) || a.zip(b).is_some_and(|(a, b)| as_near(a, b))
                })
        },
    },
    Known {
        reason: "a LIKE pattern that ends with a backslash matches nothing",
        is: |sql, _, theirs| sql.contains("like") && matches!(theirs, Outcome::Refused(state, _) if state == "22025"),
    },
    Known {
        reason: "a key of GROUP BY that computes the same twice is not found",
        is: |sql, ours, _| {
            sql.contains("GROUP BY")
                && matches!(ours, Outcome::Refused(state, words) if state == "42703" && words.contains("(#"))
        },
    },
    Known {
        reason: "an operator of arrays takes text[] beside varchar[]",
        is: |_, ours, theirs| {
            matches!(theirs, Outcome::Refused(state, words) if state == "42883" && words.contains("character varying[]"))
                && !matches!(ours, Outcome::Refused(..) | Outcome::Broken(_))
        },
    },
    Known {
        reason: "halves are added up in another order",
        is: |sql, ours, theirs| {
            sql.contains("halfvec")
                && (sql.contains("sum(") || sql.contains("avg("))
                && rows_are_near(ours, theirs, |a, b| same_within(a, b, 2e-3))
        },
    },
    Known {
        reason: "the variance of floats that are nearly equal is rounded otherwise",
        is: |sql, ours, theirs| {
            ["stddev", "variance(", "var_"].iter().any(|name| sql.contains(name))
                && rows_are_near(ours, theirs, |a, b| {
                    let numbers = a.zip(b).and_then(|(a, b)| a.parse::<f64>().ok().zip(b.parse::<f64>().ok()));
                    a == b || numbers.is_some_and(|(a, b)| (a - b).abs() < 1e-12)
                })
        },
    },
    Known {
        reason: "of two rows that are refused, one whose values cannot be computed is told of before one that breaks a constraint",
        is: |_, ours, theirs| match (ours, theirs) {
            (Outcome::Refused(ours, _), Outcome::Refused(theirs, _)) => {
                ours.starts_with("22") && theirs.starts_with("23")
            }
            _ => false,
        },
    },
    Known {
        reason: "a constant that fails is worked out where a row asks for it",
        is: |_, ours, theirs| {
            matches!(ours, Outcome::Rows { rows, .. } if rows.is_empty())
                && matches!(theirs, Outcome::Refused(state, _) if state == "22003")
        },
    },
    Known {
        reason: "beside a constant NULL the rest is computed, and may fail",
        is: |sql, ours, theirs| match (ours, theirs) {
            (Outcome::Refused(state, _), Outcome::Rows { columns, rows, .. }) => {
                let is_null = |at: usize| rows.iter().all(|row| row.get(at).is_some_and(Option::is_none));
                state.starts_with("22") && sql.contains("null::") && (0..columns.len()).any(is_null)
            }
            _ => false,
        },
    },
    Known {
        reason: "age has no infinite timestamps",
        is: |sql, ours, _| {
            sql.contains("age(")
                && sql.contains("infinity")
                && matches!(ours, Outcome::Refused(state, _) if state == "22008")
        },
    },
];

/// Whether both gave rows that are the same, one after the other, but for values that are `near` each other.
fn rows_are_near(ours: &Outcome, theirs: &Outcome, near: impl Fn(Option<&str>, Option<&str>) -> bool) -> bool {
    match (ours, theirs) {
        (Outcome::Rows { columns, types, rows, .. }, Outcome::Rows { columns: c, types: t, rows: r, .. }) => {
            columns == c
                && types == t
                && rows.len() == r.len()
                && rows.iter().flatten().zip(r.iter().flatten()).all(|(a, b)| near(a.as_deref(), b.as_deref()))
        }
        _ => false,
    }
}

/// A decimal number without the zeros that say nothing.
fn without_zeros(text: &str) -> String {
    let is_decimal =
        text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if is_decimal { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

struct Difference {
    round: u64,
    sql: String,
    ours: Outcome,
    theirs: Outcome,
}

#[derive(Default)]
struct Tally {
    statements: usize,
    rows: usize,
    refused: BTreeMap<String, usize>,
    known: BTreeMap<&'static str, usize>,
    differences: Vec<Difference>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.statements += other.statements;
        self.rows += other.rows;
        other.refused.into_iter().for_each(|(state, count)| *self.refused.entry(state).or_default() += count);
        other.known.into_iter().for_each(|(reason, count)| *self.known.entry(reason).or_default() += count);
        self.differences.extend(other.differences);
    }
}

/// Plays a round on both.
async fn play(seed: u64, ours: &mut Side, theirs: &mut Side) -> Tally {
    let mut tally = Tally::default();
    ours.clean().await;
    theirs.clean().await;
    for statement in round(seed, ROUND) {
        let (a, b) = tokio::join!(ours.run(&statement), theirs.run(&statement));
        tally.statements += 1;
        match &b {
            Outcome::Rows { rows, .. } => tally.rows += usize::from(!rows.is_empty()),
            Outcome::Refused(state, _) => *tally.refused.entry(state.clone()).or_default() += 1,
            _ => {}
        }
        if same(&a, &b, statement.ordered) {
            continue;
        }
        match KNOWN.iter().find(|known| (known.is)(&statement.sql, &a, &b)) {
            Some(known) => *tally.known.entry(known.reason).or_default() += 1,
            None => tally.differences.push(Difference {
                round: seed,
                sql: statement.sql.clone(),
                ours: a.clone(),
                theirs: b.clone(),
            }),
        }
        // What follows would differ for the same reason.
        if !statement.reads
            || matches!(a, Outcome::Broken(_))
            || matches!(a, Outcome::Refused(..)) != matches!(b, Outcome::Refused(..))
        {
            break;
        }
    }
    tally
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_statements_are_answered_as_postgresql_answers_them() {
    let (wanted, seed) = (number("LODEDB_STATEMENTS", 20_000) as usize, number("LODEDB_SEED", 1));
    let only = std::env::var("LODEDB_ROUND").ok().and_then(|text| text.parse::<u64>().ok());
    let reference = Reference::start();
    let workers = if only.is_some() { 1 } else { 2 };
    let mut playing = Vec::new();
    for worker in 0..workers {
        let database = format!("worker{worker}");
        harness::run(&reference.connect("postgres").await, &format!("CREATE DATABASE {database}")).await;
        let config = reference.config(&database);
        playing.push(tokio::spawn(async move {
            let server = Server::start();
            let mut ours = Side::open(server.config()).await;
            let mut theirs = Side::open(config).await;
            let mut tally = Tally::default();
            let mut at = worker;
            while tally.statements < wanted / workers as usize && tally.differences.len() < ENOUGH {
                let round = only.unwrap_or_else(|| seed.wrapping_mul(1_000_000_000).wrapping_add(at));
                tally.add(play(round, &mut ours, &mut theirs).await);
                at += workers;
                if only.is_some() {
                    break;
                }
            }
            tally
        }));
    }
    let mut tally = Tally::default();
    for played in playing {
        tally.add(played.await.expect("a worker ends"));
    }
    eprintln!("{} statements, {} gave rows; refused: {:?}", tally.statements, tally.rows, tally.refused);
    for (reason, count) in &tally.known {
        eprintln!("{count} differ as is known: {reason}");
    }
    let mut report = String::new();
    for Difference { round, sql, ours, theirs } in &tally.differences {
        report.push_str(&format!(
            "LODEDB_ROUND={round}\n  {sql}\n  ours:   {}\n  theirs: {}\n",
            ours.shown(),
            theirs.shown()
        ));
    }
    assert!(
        tally.differences.is_empty(),
        "{} differences in {} statements:\n{report}",
        tally.differences.len(),
        tally.statements
    );
    assert!(only.is_some() || tally.rows * 3 > tally.statements, "a third of the statements has rows");
}

#[test]
fn values_are_compared_as_they_should_be() {
    let same = |a, b| same_value(Some(a), Some(b));
    assert!(same("0.1", "0.1") && same("[1,2.0000001]", "[1,2]") && same("0.30000000000000004", "0.3"));
    assert!(same("-0", "0") && same("[-0,1]", "[0,1]") && !same("-01", "01") && !same("-0.5", "0.5"));
    assert!(
        !same("1", "2")
            && !same("1.5", "1.50")
            && !same("[1,2.5]", "[1,2.6]")
            && !same("a", "b")
            && !same("1.5a", "1.5b")
            && !same("[-1,0]", "[1,0]")
    );
    assert!(!same_value(None, Some("0")) && !same("NaN", "0") && !same("[1,2]", "[1,2,3]"));
    let rows = |values: &[&str]| values.iter().map(|value| vec![Some((*value).to_owned())]).collect::<Vec<_>>();
    assert!(
        same_rows(&rows(&["1", "2"]), &rows(&["2", "1"]), false)
            && !same_rows(&rows(&["1", "2"]), &rows(&["2", "1"]), true)
    );
    assert!(!same_rows(&rows(&["1", "1"]), &rows(&["1", "2"]), false));
}
