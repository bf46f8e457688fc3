//! Where in the text of a statement an error is.

use datafusion::common::Diagnostic;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Location;
use lodedb_sql::parse::Places;
use lodedb_sql::rewrite::operator_of;
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

/// The error of planning a statement, with the place it is about where that is known.
pub(crate) fn placed(error: DataFusionError, places: &Places) -> SqlError {
    let location = diagnostic(&error)
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| Location { line: span.start.line, column: span.start.column });
    let error = sql_error(error);
    match location.and_then(|location| places.at(location)) {
        Some(position) if error.position().is_none() && is_about_a_name(&error) => error.with_position(position),
        _ => placed_sql(error, places),
    }
}

/// As [`placed`], for an error that is one of ours already: its place is that of the word it names.
pub(crate) fn placed_sql(error: SqlError, places: &Places) -> SqlError {
    if error.position().is_some() {
        return error;
    }
    if let Some(literal) = error.context().and_then(|context| context.strip_prefix(MARK)) {
        let position = places.literal(literal);
        return at(without_context(&error), position);
    }
    let error = written_as_operator(error, places);
    let message = error.message();
    let quoted = message.split('"').nth(1);
    let position = match error.state() {
        SqlState::UndefinedTable if message.starts_with("missing FROM-clause") => {
            quoted.and_then(|name| places.qualifier(name))
        }
        SqlState::UndefinedTable => quoted.and_then(|name| places.name(name.rsplit('.').next().unwrap_or(name))),
        SqlState::UndefinedColumn | SqlState::AmbiguousColumn | SqlState::GroupingError => {
            let dotted = message.strip_prefix("column ").and_then(|rest| rest.split(' ').next());
            quoted.or(dotted).and_then(|name| places.name(name.rsplit('.').next().unwrap_or(name)))
        }
        SqlState::DatatypeMismatch if message.starts_with("column ") => quoted.and_then(|name| places.name(name)),
        SqlState::UndefinedFunction => match called(message) {
            Some((name, _)) => places.call(name),
            None => operator_in(message).and_then(|operator| places.operator(operator, None)),
        },
        _ => None,
    };
    at(error, position)
}

fn at(error: SqlError, position: Option<u32>) -> SqlError {
    match position {
        Some(position) => error.with_position(position),
        None => error,
    }
}

/// The name and the types of the arguments in `function name(types) does not exist`.
fn called(message: &str) -> Option<(&str, &str)> {
    let (name, rest) = message.strip_prefix("function ")?.split_once('(')?;
    Some((name, rest.strip_suffix(") does not exist")?))
}

/// The operator in `operator does not exist: left + right`.
fn operator_in(message: &str) -> Option<&str> {
    let shown = message.strip_prefix("operator does not exist: ")?;
    shown.split(' ').find(|word| word.bytes().all(|byte| b"+-*/<>=~!@#%^&|`?".contains(&byte)))
}

/// Says of an operator that became a call of a function what the client wrote.
fn written_as_operator(error: SqlError, places: &Places) -> SqlError {
    let operator = called(error.message()).and_then(|(name, types)| {
        let operator = operator_of(name).filter(|_| places.call(name).is_none())?;
        let shown = match types.split_once(", ") {
            Some((left, right)) => format!("{left} {operator} {right}"),
            None => format!("{operator} {types}"),
        };
        Some((operator, shown))
    });
    let Some((operator, shown)) = operator else { return error };
    let error = SqlError::new(SqlState::UndefinedFunction, format!("operator does not exist: {shown}"))
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.");
    at(error, places.operator(operator, None))
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
