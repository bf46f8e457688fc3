//! The SQL logic tests: every file of `tests/sql` over the wire, embedded, and on PostgreSQL 16 with pgvector 0.8.5, each on a database of
//! its own; and statements that nobody wrote (`sql/differential.rs`).
//!
//! The expected results are PostgreSQL's. Records after `onlyif lodedb` are of statements that it has not, or that are refused here. Errors
//! are matched as `SQLSTATE sentence`.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

#[path = "sql/differential.rs"]
mod differential;
#[path = "sql/embedded.rs"]
mod embedded;
#[path = "sql/generate.rs"]
mod generate;
#[path = "sql/grammar.rs"]
mod grammar;
#[path = "sql/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use sqllogictest::{Record, parse_file};

/// The files, by name.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let entries = std::fs::read_dir(&folder).expect("tests/sql can be read");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("tests/sql can be read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    if let Ok(only) = std::env::var("LODEDB_SLT") {
        files.retain(|path| path.file_stem().is_some_and(|stem| only.split(',').any(|name| stem == name)));
    }
    files.sort();
    files
}

/// The statements known to answer otherwise than PostgreSQL, with the reason: `tests/sql/differences.txt`.
fn differences() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/differences.txt");
    let text = std::fs::read_to_string(&file).expect("tests/sql/differences.txt can be read");
    let (mut reason, mut known) = (String::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match line.strip_prefix('#') {
            Some(words) => reason = words.trim().to_owned(),
            None => {
                known.insert(line.trim().to_owned(), reason.clone());
            }
        }
    }
    known
}

/// What came of one file.
struct Verdict {
    /// Records that ran.
    records: usize,
    /// Records that fail and are known to.
    known: usize,
    /// What each failed record says.
    failures: Vec<String>,
}

/// Runs each record of a file, also those after a failure, so that one run tells all there is to tell.
async fn run_file<D, M>(
    runner: &mut sqllogictest::Runner<D, M>,
    file: &Path,
    differences: &BTreeMap<String, String>,
) -> Verdict
where
    D: sqllogictest::AsyncDB<ColumnType = sqllogictest::DefaultColumnType>,
    M: sqllogictest::MakeConnection<Conn = D>,
{
    let records = parse_file(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut verdict = Verdict { records: 0, known: 0, failures: Vec::new() };
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        let sql = match &record {
            Record::Statement { sql, .. } | Record::Query { sql, .. } => Some(sql.trim().to_owned()),
            _ => None,
        };
        verdict.records += usize::from(sql.is_some());
        let known = sql.as_ref().and_then(|sql| differences.get(sql));
        match (runner.run_async(record).await, known) {
            (Ok(_), None) => {}
            (Err(_), Some(_)) => verdict.known += 1,
            (Err(error), None) => verdict.failures.push(error.display(false).to_string()),
            (Ok(_), Some(reason)) => verdict
                .failures
                .push(format!("{}\nholds now: take it out of differences.txt ({reason})", sql.unwrap_or_default())),
        }
    }
    verdict
}

/// Fails with everything that failed.
fn judge(way: impl Display, verdicts: Vec<(PathBuf, Verdict)>) {
    let records: usize = verdicts.iter().map(|(_, verdict)| verdict.records).sum();
    let mut report = String::new();
    for (file, verdict) in &verdicts {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let held = verdict.records - verdict.failures.len() - verdict.known;
        eprintln!("{way} {name}: {held} of {} records hold, {} are known to differ", verdict.records, verdict.known);
        for failure in &verdict.failures {
            report.push_str(&format!("--- {name}\n{failure}\n"));
        }
    }
    let failed: usize = verdicts.iter().map(|(_, verdict)| verdict.failures.len()).sum();
    assert!(failed == 0, "{failed} of {records} records fail {way}:\n{report}");
    assert!(records > 0, "no records ran {way}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_holds_over_the_wire() {
    let mut verdicts = Vec::new();
    for file in files() {
        let server = harness::Server::start();
        let config = server.config();
        let mut runner = sqllogictest::Runner::new(move || wire::Connection::open(config.clone(), "lodedb"));
        let verdict = run_file(&mut runner, &file, &differences()).await;
        runner.shutdown_async().await;
        verdicts.push((file, verdict));
    }
    judge("over the wire", verdicts);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_holds_embedded() {
    let mut verdicts = Vec::new();
    for file in files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let db = embedded::open(dir.path());
        let opened = db.clone();
        let mut runner = sqllogictest::Runner::new(move || embedded::Connection::open(opened.clone()));
        let verdict = run_file(&mut runner, &file, &differences()).await;
        runner.shutdown_async().await;
        db.close().expect("the database closes");
        verdicts.push((file, verdict));
    }
    judge("embedded", verdicts);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_holds_on_postgresql() {
    let reference = harness::reference::Reference::start();
    let maker = reference.connect("postgres").await;
    let mut verdicts = Vec::new();
    for (at, file) in files().into_iter().enumerate() {
        let database = format!("file{at}");
        harness::run(&maker, &format!("CREATE DATABASE {database}")).await;
        harness::run(&reference.connect(&database).await, "CREATE EXTENSION vector").await;
        let config = reference.config(&database);
        let mut runner = sqllogictest::Runner::new(move || wire::Connection::open(config.clone(), "postgresql"));
        let verdict = run_file(&mut runner, &file, &BTreeMap::new()).await;
        runner.shutdown_async().await;
        verdicts.push((file, verdict));
    }
    judge("on PostgreSQL", verdicts);
}
