//! The log of slow statements: what they were, how long they took, and the plans they have.

use std::sync::Arc;
use std::time::Duration;

use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::parse::ParsedStatement;
use lodedb_sql::statement::{ExplainOptions, Statement};

use super::outcome::Prepared;
use super::session::Session;
use crate::query::CancelToken;

/// How much of a statement is logged.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// What ran, kept until it is known how long it took.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) prepared: Prepared,
    pub(super) params: Vec<Datum>,
}

/// A statement that was slow and is not logged yet.
#[derive(Debug)]
pub(super) struct Slow {
    pub(super) subject: Subject,
    pub(super) took: Duration,
    pub(super) is_done: bool,
}

impl Session {
    /// Logs the statements that were slow since the last call. Their plans are made again for it: what EXPLAIN shows now.
    pub async fn log_slow(&mut self) {
        if !tracing::enabled!(target: "lodedb::slow", tracing::Level::INFO) {
            self.slow.clear();
        }
        for Slow { subject, took, is_done } in std::mem::take(&mut self.slow) {
            let plan = match self.explained(&subject).await {
                Ok(lines) => lines.join("\n"),
                Err(error) => format!("not known: {error}"),
            };
            // The values of parameters are the client's own business.
            tracing::info!(
                target: "lodedb::slow",
                duration_ms = took.as_secs_f64() * 1e3,
                outcome = if is_done { "ok" } else { "error" },
                session = self.number,
                parameters = subject.params.len(),
                statement = shortened(&subject.prepared.statement.text),
                plan,
                "slow statement"
            );
        }
    }

    /// The lines of EXPLAIN; none where there is nothing to plan.
    async fn explained(&mut self, subject: &Subject) -> Result<Vec<String>> {
        let Subject { prepared, params } = subject;
        let ParsedStatement { statement, parameter_count, places, .. } = &*prepared.statement;
        if !matches!(
            statement,
            Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_)
        ) {
            return Ok(Vec::new());
        }
        let options = ExplainOptions::default();
        let explain = Statement::Explain { options: options.clone(), statement: Box::new(statement.clone()) };
        let explain = ParsedStatement {
            text: prepared.statement.text.clone(),
            statement: explain,
            parameter_count: *parameter_count,
            places: places.clone(),
        };
        let types: Vec<_> = prepared.parameters.iter().copied().map(Some).collect();
        let (reader, environment, engine) = (self.reader(), self.environment(), self.engine().clone());
        let plan = engine.query.prepare(&reader, &environment, &Arc::new(explain), &types).await?;
        engine.query.explain(&plan, &options, reader, None, environment, params, CancelToken::new()).await
    }
}

/// The beginning of a text that is long.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_statement_is_cut_between_letters() {
        assert_eq!(shortened("SELECT 1"), "SELECT 1");
        let long = format!("x{}", "\u{e9}".repeat(TEXT_BYTES_MAX));
        assert_eq!(shortened(&long).len(), TEXT_BYTES_MAX - 1);
    }
}
