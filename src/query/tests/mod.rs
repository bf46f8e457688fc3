//! Statements run on a database of their own, their answers as text.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

mod generated;
mod hot;
mod shell;
mod staged;
mod statements;

use shell::Shell;

/// Runs statements and compares each answer.
fn check(shell: &mut Shell, steps: &[(&str, &str)]) {
    for (statement, answer) in steps {
        assert_eq!(shell.ask(statement), *answer, "{statement}");
    }
}
