//! Statements: any text.

use std::time::{Duration, Instant};

use crate::parse;

/// Far beyond what a text of a fuzzer may take: the fuel allows milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// Any text parses or is refused, soon, and errors point into it.
pub fn parsing(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let begun = Instant::now();
    let parsed = parse(&text);
    assert!(begun.elapsed() < LIMIT, "parsing took {:?}", begun.elapsed());
    match parsed {
        Ok(statements) => {
            for statement in &statements {
                assert!(text.contains(&statement.text), "a statement is a piece of its message");
                assert_eq!(*statement, statement.clone());
            }
            assert!(begun.elapsed() < LIMIT, "comparing took {:?}", begun.elapsed());
        }
        Err(error) => {
            let length = text.chars().count() as u32;
            assert!(error.position().is_none_or(|position| (1..=length + 1).contains(&position)), "{error}");
            assert!(error.message().len() <= data.len() * 4 + 1024, "an error is not longer than what it is about");
        }
    }
}
