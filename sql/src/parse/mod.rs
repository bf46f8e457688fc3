//! The bounded parser: the text of a message in, its statements out.
//!
//! No text makes it run long, recurse deep or panic: length, nesting, chained operators and backtracking are all
//! bounded ([`limits`], and fuel). A stack of 2 MiB is enough to parse, print and drop what it yields; copying and
//! planning it takes [`limits::PLANNING_STACK_LENGTH_MIN`]. Errors carry PostgreSQL's words and position.

mod dialect;
pub mod limits;
mod source;
mod tokens;

#[cfg(test)]
mod tests;

use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::error::{Result, SqlError, SqlState};
use crate::statement::{Statement, reader};

pub(crate) use dialect::BoundedDialect;
pub(crate) use source::{Source, location_in, too_complex};

/// A statement, and the piece of the message it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedStatement {
    /// Its own text, without the semicolon.
    pub text: String,
    /// What it says.
    pub statement: Statement,
    /// The highest `$n` in it.
    pub parameter_count: u16,
}

/// Parses a message: any number of statements, none where there is only white space.
pub fn parse(sql: &str) -> Result<Vec<ParsedStatement>> {
    limits::check_text(sql)?;
    let source = Source { text: sql };
    let tokens = tokens::tokenize(source)?;
    let mut statements = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while rest.peek().is_some() {
        let mut piece: Vec<TokenWithSpan> = Vec::new();
        let mut end = None;
        for token in rest.by_ref() {
            if token.token == Token::SemiColon {
                end = Some(token);
                break;
            }
            piece.push(token);
        }
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
        let whole = statements.is_empty() && rest.peek().is_none();
        let text = if whole {
            sql.trim().trim_end_matches(';').trim_end().to_owned()
        } else {
            let (start, end) = (source.offsets(first.span.start).0, source.offsets(last.span.end).0);
            sql.get(start..end).unwrap_or(sql).to_owned()
        };
        limits::check_depth(source, &piece)?;
        let parameter_count = parameter_count(source, &piece)?;
        let dialect = BoundedDialect::new(piece.len());
        let statement = reader::read_statement(source, &dialect, piece, end)?;
        statements.push(ParsedStatement { text, statement, parameter_count });
    }
    Ok(statements)
}

/// The position (characters, counted from 1) of a line and column that the syntax tree carries; none where it
/// carries none.
pub fn position(sql: &str, location: Location) -> Option<u32> {
    (location.line > 0).then(|| Source { text: sql }.offsets(location).1 + 1)
}

fn parameter_count(source: Source<'_>, tokens: &[TokenWithSpan]) -> Result<u16> {
    let mut highest = 0;
    for token in tokens {
        if let Token::Placeholder(name) = &token.token {
            let number = name.strip_prefix('$').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let Some(number) = number else { return Err(source.error_near(token)) };
            match number.parse::<u16>() {
                Ok(number) if number > 0 => highest = highest.max(number),
                _ => {
                    return Err(SqlError::new(SqlState::UndefinedParameter, format!("there is no parameter {name}"))
                        .with_position(source.offsets(token.span.start).1 + 1));
                }
            }
        }
    }
    Ok(highest)
}
