//! Where in a message the words of a statement are, for errors that are found after it was parsed.

use std::ops::Range;
use std::sync::Arc;

use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::source::{Cursor, Source};
use super::tokens::tokenize;

/// The message a statement is part of, and which part. Nothing is looked up before there is an error to place.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    source: Arc<str>,
    statement: Range<usize>,
}

/// A token and its position.
type Placed = (Token, Location, u32);

impl Places {
    /// Those of the statement at these bytes of a message.
    pub(crate) fn new(source: Arc<str>, statement: Range<usize>) -> Self {
        Self { source, statement }
    }

    /// Those of a statement that nobody wrote.
    pub fn none() -> Self {
        Self { source: Arc::from(""), statement: 0..0 }
    }

    /// The position (characters, counted from 1) of a line and column that the syntax tree carries; none where it
    /// carries none.
    pub fn at(&self, location: Location) -> Option<u32> {
        (location.line > 0).then(|| Source { text: &self.source }.offsets(location).1 + 1)
    }

    /// Whether `text` is written at a line and column.
    pub fn is_written(&self, text: &str, location: Location) -> bool {
        let (byte, _) = Source { text: &self.source }.offsets(location);
        let found = self.source.get(byte..byte + text.len());
        location.line > 0 && found.is_some_and(|found| found.eq_ignore_ascii_case(text))
    }

    /// The string literal with this value, if there is just one.
    pub fn literal(&self, value: &str) -> Option<u32> {
        let tokens = self.tokens();
        let mut found = tokens.iter().filter(|(token, ..)| match token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text == value,
            Token::DollarQuotedString(text) => text.value == value,
            _ => false,
        });
        let (_, _, position) = found.next()?;
        found.next().is_none().then_some(*position)
    }

    /// The first place where a name stands by itself, or else at the end of a qualified one.
    pub fn name(&self, name: &str) -> Option<u32> {
        let tokens = self.tokens();
        let is_period = |at: Option<usize>| at.and_then(|at| tokens.get(at)).is_some_and(|(t, ..)| *t == Token::Period);
        let named = |at: &usize| is_name(&tokens[*at].0, name);
        let alone =
            (0..tokens.len()).filter(named).find(|&at| !is_period(at.checked_sub(1)) && !is_period(Some(at + 1)));
        match alone {
            Some(at) => Some(tokens[at].2),
            None => {
                let mut at = (0..tokens.len()).filter(named).find(|&at| !is_period(Some(at + 1)))?;
                while at >= 2 && is_period(Some(at - 1)) {
                    at -= 2;
                }
                Some(tokens[at].2)
            }
        }
    }

    /// The first place where a name qualifies another.
    pub fn qualifier(&self, name: &str) -> Option<u32> {
        let tokens = self.tokens();
        tokens.windows(2).find(|pair| is_name(&pair[0].0, name) && pair[1].0 == Token::Period).map(|pair| pair[0].2)
    }

    /// The first call of a function.
    pub fn call(&self, name: &str) -> Option<u32> {
        let tokens = self.tokens();
        tokens.windows(2).find(|pair| is_name(&pair[0].0, name) && pair[1].0 == Token::LParen).map(|pair| pair[0].2)
    }

    /// The first place of an operator after a line and column, or the only one where there is no such place.
    pub fn operator(&self, operator: &str, after: Option<Location>) -> Option<u32> {
        let tokens = self.tokens();
        let mut found = tokens.iter().filter(|(token, location, _)| {
            token.to_string() == operator && after.is_none_or(|after| *location >= after)
        });
        let (_, _, position) = found.next()?;
        (after.is_some() || found.next().is_none()).then_some(*position)
    }

    fn tokens(&self) -> Vec<Placed> {
        // It was tokenized before, or there would be no statement.
        let tokens = tokenize(Source { text: &self.source }).unwrap_or_default();
        let mut cursor = Cursor::new(&self.source);
        let placed = |TokenWithSpan { token, span }| {
            let (byte, characters) = cursor.offsets(span.start);
            self.statement.contains(&byte).then_some((token, span.start, characters + 1))
        };
        tokens.into_iter().filter_map(placed).collect()
    }
}

fn is_name(token: &Token, name: &str) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_some() => word.value == name,
        Token::Word(word) => word.value.to_lowercase() == name,
        _ => false,
    }
}
