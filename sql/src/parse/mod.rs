//! The bounded parser: the text of a message in, its statements out.
//!
//! No text makes it run long, recurse deep or panic: length, nesting, chained operators and backtracking are all
//! bounded ([`limits`], and fuel). A stack of 2 MiB is enough to parse, print and drop what it yields; copying and
//! planning it takes [`limits::PLANNING_STACK_LENGTH_MIN`]. Errors carry PostgreSQL's words and position.

mod dialect;
pub mod limits;
mod places;
mod source;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Result, SqlError, SqlState};
use crate::statement::{Statement, reader};

pub use places::Places;

pub(crate) use dialect::BoundedDialect;
use source::Cursor;
pub use source::too_complex;
pub(crate) use source::{Source, location_in};

/// A statement, and the piece of the message it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedStatement {
    /// Its own text, without the semicolon; it ends at a password that is in it.
    pub text: String,
    /// What it says.
    pub statement: Statement,
    /// The highest `$n` in it.
    pub parameter_count: u16,
    /// Where its words are in the message.
    pub places: Places,
}

impl ParsedStatement {
    /// A statement that nobody wrote.
    pub fn unwritten(statement: Statement) -> Self {
        Self { text: String::new(), statement, parameter_count: 0, places: Places::none() }
    }
}

/// Parses a message: any number of statements, none where there is only white space.
pub fn parse(sql: &str) -> Result<Vec<ParsedStatement>> {
    limits::check_text(sql)?;
    let source = Source { text: sql };
    let tokens = tokens::tokenize(source)?;
    let mut statements = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    let message: Arc<str> = Arc::from(sql);
    let mut cursor = Cursor::new(sql);
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
        let range = cursor.offsets(first.span.start).0..cursor.offsets(last.span.end).0;
        let whole = statements.is_empty() && rest.peek().is_none();
        let text =
            if whole { sql.trim().trim_end_matches(';').trim_end() } else { sql.get(range.clone()).unwrap_or(sql) };
        let (mut text, places) = (text.to_owned(), Places::new(message.clone(), range.clone()));
        limits::check_depth(source, &piece)?;
        let parameter_count = parameter_count(source, &piece)?;
        let dialect = BoundedDialect::new(piece.len());
        let password = password_at(source, &piece);
        let statement = reader::read_statement(source, &dialect, piece, end)?;
        if statement.holds_password() {
            let before = password.and_then(|at| sql.get(range.start..at)).unwrap_or_default();
            text = format!("{before}PASSWORD '********'");
        }
        statements.push(ParsedStatement { text, statement, parameter_count, places });
    }
    Ok(statements)
}

/// Where the first word PASSWORD is that has a literal behind it: the text from there on is shown to nobody.
fn password_at(source: Source<'_>, tokens: &[TokenWithSpan]) -> Option<usize> {
    let pair = tokens.windows(2).find(|pair| {
        let is_word = matches!(&pair[0].token,
            Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("password"));
        is_word && !matches!(pair[1].token, Token::Word(_))
    })?;
    Some(source.offsets(pair[0].span.start).0)
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
