//! The SQL logic tests: every file of `tests/sql` over the wire and embedded, each on a database of its own.
//!
//! The expected results are those of PostgreSQL 16 with pgvector 0.8.5; where LodeDB has statements of its own, or
//! refuses one of PostgreSQL's, the record says so itself. Errors are matched as `SQLSTATE sentence`.
#![allow(unreachable_pub, clippy::type_complexity, reason = "a test program has no users, and says its types once")]

mod harness;

#[path = "sql/embedded.rs"]
mod embedded;
#[path = "sql/wire.rs"]
mod wire;

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

/// What came of one file.
struct Verdict {
    /// Records that ran.
    records: usize,
    /// What each failed record says.
    failures: Vec<String>,
}

/// Runs each record of a file, also those after a failure, so that one run tells all there is to tell.
async fn run_file<D, M>(runner: &mut sqllogictest::Runner<D, M>, file: &Path) -> Verdict
where
    D: sqllogictest::AsyncDB<ColumnType = sqllogictest::DefaultColumnType>,
    M: sqllogictest::MakeConnection<Conn = D>,
{
    let records = parse_file(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut verdict = Verdict { records: 0, failures: Vec::new() };
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        let counts = matches!(record, Record::Statement { .. } | Record::Query { .. });
        let result = runner.run_async(record).await;
        if counts {
            verdict.records += 1;
        }
        if let Err(error) = result {
            verdict.failures.push(error.display(false).to_string());
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
        eprintln!("{way} {name}: {} of {} records hold", verdict.records - verdict.failures.len(), verdict.records);
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
        let mut runner = sqllogictest::Runner::new(move || wire::Connection::open(config.clone()));
        let verdict = run_file(&mut runner, &file).await;
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
        let verdict = run_file(&mut runner, &file).await;
        runner.shutdown_async().await;
        db.close().expect("the database closes");
        verdicts.push((file, verdict));
    }
    judge("embedded", verdicts);
}
