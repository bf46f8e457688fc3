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
        let (mut line, mut column, mut characters) = (1, 1, 0);
        for (byte, c) in self.text.char_indices() {
            if (line, column) >= (location.line, location.column) {
                return (byte, characters);
            }
            characters += 1;
            if c == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
        }
        (self.text.len(), characters)
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

/// `54001`.
pub(crate) fn too_complex() -> SqlError {
    SqlError::new(SqlState::StatementTooComplex, "statement is too complex")
        .with_detail("It nests too deeply or chains too many operators.")
}

/// The location at the end of a message of the parser: ` at Line: 1, Column: 8`.
pub(crate) fn location_in(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? })
}
