//! The text of a message, and where in it a line and column are.

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::error::{SqlError, SqlState};

/// The text that a client sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// The byte offset and the number of characters before a location.
    pub(crate) fn offsets(self, location: Location) -> (usize, u32) {
        Cursor::new(self.text).offsets(location)
    }

    /// The text that a span covers.
    pub(crate) fn slice(self, span: Span) -> &'a str {
        let (start, end) = (self.offsets(span.start).0, self.offsets(span.end).0);
        self.text.get(start..end).unwrap_or("")
    }

    /// `syntax error at or near` a token.
    pub(crate) fn error_near(self, token: &TokenWithSpan) -> SqlError {
        if token.token == Token::EOF || token.span.start.line == 0 {
            return self.error_at_end();
        }
        let message = format!("syntax error at or near \"{}\"", self.slice(token.span));
        SqlError::new(SqlState::SyntaxError, message).with_position(self.offsets(token.span.start).1 + 1)
    }

    /// `syntax error at end of input`.
    pub(crate) fn error_at_end(self) -> SqlError {
        let position = self.text.chars().count() as u32 + 1;
        SqlError::new(SqlState::SyntaxError, "syntax error at end of input").with_position(position)
    }

    /// An error of the tokenizer.
    pub(crate) fn error_in_token(self, message: &str, location: Location) -> SqlError {
        let (byte, characters) = self.offsets(location);
        let rest = &self.text[byte..];
        let message = if message.contains("nterminated") {
            let what = match rest.chars().next() {
                Some('"') => "quoted identifier",
                Some('$') => "dollar-quoted string",
                Some('/') => "/* comment",
                _ if message.contains("comment") => "/* comment",
                _ => "quoted string",
            };
            format!("unterminated {what} at or near \"{rest}\"")
        } else {
            let near: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
            format!("syntax error at or near \"{near}\"")
        };
        SqlError::new(SqlState::SyntaxError, message).with_position(characters + 1)
    }
}

/// A place in a text that only moves on, so that all the places of a long text are found in one pass.
pub(crate) struct Cursor<'a> {
    rest: std::str::Chars<'a>,
    length: usize,
    characters: u32,
    location: Location,
}

impl<'a> Cursor<'a> {
    /// The beginning of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text.chars(), length: text.len(), characters: 0, location: Location { line: 1, column: 1 } }
    }

    /// The byte offset and the number of characters before a location, which is not before the one asked for last.
    pub(crate) fn offsets(&mut self, location: Location) -> (usize, u32) {
        while (self.location.line, self.location.column) < (location.line, location.column) {
            let Some(c) = self.rest.next() else { break };
            self.characters += 1;
            if c == '\n' {
                self.location = Location { line: self.location.line + 1, column: 1 };
            } else {
                self.location.column += 1;
            }
        }
        (self.length - self.rest.as_str().len(), self.characters)
    }
}

/// `54001`.
pub fn too_complex() -> SqlError {
    SqlError::new(SqlState::StatementTooComplex, "statement is too complex")
        .with_detail("It nests too deeply or chains too many operators.")
}

/// The location at the end of a message of the parser: ` at Line: 1, Column: 8`.
pub(crate) fn location_in(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? })
}
