//! Prepared statements and cursors.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{DeclareCursor, FetchDirection, Statement};
use crate::error::{Result, SqlError};

impl Reader<'_> {
    pub(super) fn prepare(&mut self) -> Result<Statement> {
        self.next();
        if self.peek_words("transaction") {
            return self.unsupported("PREPARE TRANSACTION");
        }
        let name = self.name()?;
        let mut types = Vec::new();
        if self.take(&Token::LParen) {
            types = self.list(Self::type_name)?;
            self.expect(&Token::RParen)?;
        }
        self.expect_words("as")?;
        let preparable = ["select", "values", "table", "with", "insert", "update", "delete", "merge"];
        if self.peek().token != Token::LParen && !preparable.iter().any(|word| self.peek_nth_word(0, word)) {
            return Err(self.error_here());
        }
        let parameter_count = self.highest_parameter();
        let statement = Box::new(self.statement()?);
        Ok(Statement::Prepare { name, types, parameter_count, statement })
    }

    /// The highest `$n` from here on.
    fn highest_parameter(&self) -> u16 {
        let mut highest = 0;
        for n in 0.. {
            match &self.parser.peek_nth_token_ref(n).token {
                Token::EOF => break,
                Token::Placeholder(name) => {
                    highest = highest.max(name.trim_start_matches('$').parse().unwrap_or(0));
                }
                _ => {}
            }
        }
        highest
    }

    pub(super) fn execute(&mut self) -> Result<Statement> {
        self.next();
        let name = self.name()?;
        let mut args = Vec::new();
        if self.take(&Token::LParen) && !self.take(&Token::RParen) {
            args = self.list(Self::expr)?;
            self.expect(&Token::RParen)?;
        }
        Ok(Statement::Execute { name, args })
    }

    pub(super) fn declare(&mut self) -> Result<Statement> {
        self.next();
        let name = self.name()?;
        let (mut binary, mut scroll) = (false, None);
        loop {
            if self.take_words("binary") {
                binary = true;
            } else if self.take_words("no scroll") {
                scroll = Some(false);
            } else if self.take_words("scroll") {
                scroll = Some(true);
            } else if !self.take_words("insensitive") && !self.take_words("asensitive") {
                break;
            }
        }
        self.expect_words("cursor")?;
        let hold = self.take_words("with hold");
        if !hold {
            let _ = self.take_words("without hold");
        }
        self.expect_words("for")?;
        let query = match self.statement()? {
            Statement::Query(query) => query,
            other => return Err(SqlError::unsupported(format!("DECLARE CURSOR FOR {}", other.command_tag()))),
        };
        Ok(Statement::Declare(Box::new(DeclareCursor { name, binary, scroll, hold, query })))
    }

    /// FETCH and MOVE.
    pub(super) fn fetch(&mut self) -> Result<Statement> {
        let moves = self.label()? == "move";
        let direction = self.fetch_direction()?;
        let _ = self.take_words("from") || self.take_words("in");
        let cursor = self.name()?;
        Ok(if moves { Statement::Move { cursor, direction } } else { Statement::Fetch { cursor, direction } })
    }

    fn fetch_direction(&mut self) -> Result<FetchDirection> {
        // `FETCH next` alone fetches from a cursor of that name.
        let last = self.parser.peek_nth_token_ref(1).token == Token::EOF;
        if matches!(self.peek().token, Token::Number(..) | Token::Minus | Token::Plus) {
            return Ok(FetchDirection::Forward(self.integer()?));
        }
        if last {
            return Ok(FetchDirection::Forward(1));
        }
        let words = ["next", "prior", "first", "last", "absolute", "relative", "all", "forward", "backward"];
        Ok(match self.take_one_of(&words) {
            Some("prior") => FetchDirection::Backward(1),
            Some("first") => FetchDirection::First,
            Some("last") => FetchDirection::Last,
            Some("absolute") => FetchDirection::Absolute(self.integer()?),
            Some("relative") => FetchDirection::Relative(self.integer()?),
            Some("all") => FetchDirection::ForwardAll,
            Some("forward") if self.take_words("all") => FetchDirection::ForwardAll,
            Some("backward") if self.take_words("all") => FetchDirection::BackwardAll,
            Some(way @ ("forward" | "backward")) => {
                let numbered = matches!(self.peek().token, Token::Number(..) | Token::Minus | Token::Plus);
                let count = if numbered { self.integer()? } else { 1 };
                if way == "forward" { FetchDirection::Forward(count) } else { FetchDirection::Backward(count) }
            }
            _ => FetchDirection::Forward(1),
        })
    }
}
