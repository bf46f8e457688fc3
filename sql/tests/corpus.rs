//! Reads every statement of the corpus: it parses, or is refused as not supported, and never takes long.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lodedb_sql::{SqlState, parse};

/// The statements of a file; a line that starts with `--` separates them.
fn statements(text: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("--") {
            statements.push(String::new());
        } else if let Some(last) = statements.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

/// Another folder may be named by `LODEDB_SQL_CORPUS`.
fn folder() -> PathBuf {
    std::env::var_os("LODEDB_SQL_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"), PathBuf::from)
}

#[test]
fn statements_of_real_clients_parse_or_are_refused_by_name() {
    let mut surprises = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (mut parsed, mut unsupported) = (0, 0);
        for sql in statements(&text) {
            let start = Instant::now();
            let outcome = parse(&sql);
            assert!(start.elapsed() < Duration::from_millis(500), "slow: {sql}");
            match outcome {
                Ok(_) => parsed += 1,
                Err(error) if error.state() == SqlState::FeatureNotSupported => {
                    unsupported += 1;
                    println!("  refused: {error}\n    {:.150}", sql.trim());
                }
                Err(error) => {
                    surprises += 1;
                    println!("  SURPRISE: {error} at {:?}\n    {:.3000}", error.position(), sql.trim());
                }
            }
        }
        println!("{}: {parsed} parse, {unsupported} not supported", path.display());
    }
    println!("{surprises} surprises");
    if std::env::var_os("LODEDB_SQL_CORPUS").is_none() {
        assert_eq!(surprises, 0);
    }
}
