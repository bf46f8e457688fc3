//! Where in the text of a statement an error is.

use datafusion::common::Diagnostic;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Location;
use lodedb_sql::{SqlError, SqlState};

use crate::query::functions::sql_error;

/// Between a literal's text and the message it made wrong, on the way to where the statement's text is known.
const MARK: char = '\u{1e}';

/// Notes which literal an error is about.
pub(crate) fn mark_literal(error: SqlError, literal: &str) -> SqlError {
    if error.position().is_some() || error.context().is_some() {
        return error;
    }
    error.with_context(format!("{MARK}{literal}"))
}

/// The error of planning `text`, with the place it is about where that is known.
pub(crate) fn placed(error: DataFusionError, text: &str) -> SqlError {
    let location = diagnostic(&error)
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| Location { line: span.start.line, column: span.start.column });
    let error = placed_sql(sql_error(error), text);
    match location.and_then(|location| lodedb_sql::parse::position(text, location)) {
        Some(position) if error.position().is_none() && is_about_a_name(&error) => error.with_position(position),
        _ => error,
    }
}

/// As [`placed`], for an error that is one of ours already.
pub(crate) fn placed_sql(error: SqlError, text: &str) -> SqlError {
    let Some(literal) = error.context().and_then(|context| context.strip_prefix(MARK)) else { return error };
    let written = format!("'{}'", literal.replace('\'', "''"));
    let found = text.find(&written);
    let error = without_context(&error);
    match found {
        Some(at) if text[at + written.len()..].find(&written).is_none() => {
            error.with_position(text[..at].chars().count() as u32 + 1)
        }
        _ => error,
    }
}

fn without_context(error: &SqlError) -> SqlError {
    let mut plain = SqlError::new(error.state(), error.message());
    if let Some(detail) = error.detail() {
        plain = plain.with_detail(detail);
    }
    if let Some(hint) = error.hint() {
        plain = plain.with_hint(hint);
    }
    plain
}

fn is_about_a_name(error: &SqlError) -> bool {
    matches!(
        error.state(),
        SqlState::UndefinedColumn
            | SqlState::UndefinedTable
            | SqlState::AmbiguousColumn
            | SqlState::UndefinedFunction
            | SqlState::GroupingError
    )
}

fn diagnostic(error: &DataFusionError) -> Option<&Diagnostic> {
    match error {
        DataFusionError::Diagnostic(diagnostic, _) => Some(diagnostic),
        DataFusionError::Context(_, within) => diagnostic(within),
        DataFusionError::Shared(within) => diagnostic(within),
        DataFusionError::Collection(errors) => errors.first().and_then(diagnostic),
        _ => None,
    }
}
