//! INSERT, UPDATE, DELETE and TRUNCATE.

use sqlparser::ast::{Expr, SelectItem, With};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Span, Token};

use super::reader::Reader;
use super::{
    ConflictAction, ConflictTarget, Delete, Insert, InsertSource, InsertValue, OnConflict, Overriding, Statement,
    Update,
};
use crate::error::{Result, SqlError};
use crate::rewrite::call;

impl Reader<'_> {
    /// WITH: before a query, or before an INSERT, whose query it then belongs to, an UPDATE or a DELETE.
    pub(super) fn with(&mut self) -> Result<Statement> {
        if !self.with_precedes_change() {
            return Ok(Statement::Query(self.query()?));
        }
        self.next();
        let token = self.parser.get_current_token().clone();
        let recursive = self.take_words("recursive");
        let tables = self.parser.parse_comma_separated(Parser::parse_cte);
        let cte_tables = self.lift(tables)?;
        let mut with = With { with_token: token.into(), recursive, cte_tables };
        if self.peek_words("insert") {
            return self.insert(Some(with));
        }
        for table in &mut with.cte_tables {
            self.rewrite_query(&mut table.query)?;
        }
        if self.peek_words("update") { self.update(Some(with)) } else { self.delete(Some(with)) }
    }

    /// Whether the first word outside of brackets that opens a statement is INSERT, UPDATE or DELETE.
    fn with_precedes_change(&self) -> bool {
        let mut depth = 0usize;
        for n in 1.. {
            match &self.parser.peek_nth_token_ref(n).token {
                Token::EOF => return false,
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 && word.quote_style.is_none() => {
                    let after_bracket = matches!(self.parser.peek_nth_token_ref(n - 1).token, Token::RParen);
                    let changes =
                        ["insert", "update", "delete"].iter().any(|name| word.value.eq_ignore_ascii_case(name));
                    if after_bracket && changes {
                        return true;
                    }
                    if word.value.eq_ignore_ascii_case("select") {
                        return false;
                    }
                }
                _ => {}
            }
        }
        false
    }

    pub(super) fn insert(&mut self, with: Option<With>) -> Result<Statement> {
        self.expect_words("insert into")?;
        let table = self.object_name()?;
        let alias = if self.take_words("as") { Some(self.name()?) } else { None };
        let mut columns = Vec::new();
        if self.peek().token == Token::LParen && !self.bracket_opens_query() {
            columns = self.target_columns()?;
        }
        let mut overriding = None;
        if self.take_words("overriding") {
            overriding = match self.take_one_of(&["system value", "user value"]) {
                Some("system value") => Some(Overriding::SystemValue),
                Some(_) => Some(Overriding::UserValue),
                None => return Err(self.error_here()),
            };
        }
        let source = if with.is_none() && self.take_words("default values") {
            InsertSource::DefaultValues
        } else {
            self.insert_source(with)?
        };
        let on_conflict = if self.take_words("on conflict") { Some(self.on_conflict()?) } else { None };
        let returning = self.returning()?;
        let insert = Insert { table, alias, columns, overriding, source, on_conflict, returning };
        Ok(Statement::Insert(Box::new(insert)))
    }

    fn bracket_opens_query(&self) -> bool {
        let mut n = 1;
        while self.parser.peek_nth_token_ref(n).token == Token::LParen {
            n += 1;
        }
        n > 1 || ["select", "with", "values", "table"].iter().any(|word| self.peek_nth_word(n, word))
    }

    fn target_columns(&mut self) -> Result<Vec<String>> {
        self.expect(&Token::LParen)?;
        let columns = self.list(Self::target_column)?;
        self.expect(&Token::RParen)?;
        Ok(columns)
    }

    /// A column to write; parts of one are refused.
    fn target_column(&mut self) -> Result<String> {
        let name = self.name()?;
        if matches!(self.peek().token, Token::Period | Token::LBracket) {
            return self.unsupported("assignment to a part of a column");
        }
        Ok(name)
    }

    fn insert_source(&mut self, with: Option<With>) -> Result<InsertSource> {
        let mark = self.mark();
        if with.is_none() && self.take_words("values") {
            let rows = self.list(|reader| {
                reader.expect(&Token::LParen)?;
                let row = reader.list(Self::insert_value)?;
                reader.expect(&Token::RParen)?;
                Ok(row)
            })?;
            if self.at_end()
                || self.peek_words("on")
                || self.peek_words("returning")
                || self.peek().token == Token::RParen
            {
                return Ok(InsertSource::Values(rows));
            }
            // VALUES with an ORDER BY, a LIMIT or a UNION behind it is a query.
            self.rewind(mark);
        }
        if !matches!(self.peek().token, Token::LParen)
            && !["select", "values", "table", "with"].iter().any(|word| self.peek_nth_word(0, word))
        {
            return Err(self.error_here());
        }
        let parsed = self.parser.parse_query();
        let mut query = self.lift(parsed)?;
        if with.is_some() {
            if query.with.is_some() {
                return Err(SqlError::unsupported("WITH before INSERT and within its query at once"));
            }
            query.with = with;
        }
        self.rewrite_query(&mut query)?;
        Ok(InsertSource::Query(query))
    }

    fn insert_value(&mut self) -> Result<InsertValue> {
        if self.take_words("default") { Ok(InsertValue::Default) } else { Ok(InsertValue::Expr(self.expr()?)) }
    }

    fn on_conflict(&mut self) -> Result<OnConflict> {
        let target = if self.take_words("on constraint") {
            Some(ConflictTarget::Constraint(self.name()?))
        } else if self.peek().token == Token::LParen {
            self.expect(&Token::LParen)?;
            let columns = self.list(|reader| {
                if matches!(reader.peek().token, Token::LParen)
                    || matches!(reader.parser.peek_nth_token_ref(1).token, Token::LParen)
                {
                    return reader.unsupported("ON CONFLICT with an expression");
                }
                let name = reader.name()?;
                if matches!(reader.peek().token, Token::Word(_)) {
                    return reader.unsupported("ON CONFLICT with a collation or operator class");
                }
                Ok(name)
            })?;
            self.expect(&Token::RParen)?;
            if self.peek_words("where") {
                return self.unsupported("ON CONFLICT with a predicate");
            }
            Some(ConflictTarget::Columns(columns))
        } else {
            None
        };
        self.expect_words("do")?;
        if self.take_words("nothing") {
            return Ok(OnConflict { target, action: ConflictAction::Nothing });
        }
        self.expect_words("update set")?;
        if target.is_none() {
            let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            let error = SqlError::new(crate::error::SqlState::SyntaxError, message);
            return Err(error.with_hint("For example, ON CONFLICT (column_name)."));
        }
        let assignments = self.assignments()?;
        let condition = self.condition()?;
        Ok(OnConflict { target, action: ConflictAction::Update { assignments, condition } })
    }

    fn condition(&mut self) -> Result<Option<Expr>> {
        if !self.take_words("where") {
            return Ok(None);
        }
        if self.peek_words("current of") {
            return self.unsupported("WHERE CURRENT OF");
        }
        self.expr().map(Some)
    }

    fn returning(&mut self) -> Result<Vec<SelectItem>> {
        if self.take_words("returning") { self.select_items() } else { Ok(Vec::new()) }
    }

    /// `a = 1, (b, c) = (2, 3)`.
    fn assignments(&mut self) -> Result<Vec<(String, Expr)>> {
        let mut assignments = Vec::new();
        loop {
            if self.peek().token == Token::LParen {
                let columns = self.target_columns()?;
                self.expect(&Token::Eq)?;
                let row = self.take_words("row");
                if !row && self.bracket_opens_query() {
                    return self.unsupported("assignment of a query to several columns");
                }
                let here = self.peek().clone();
                let values = if self.take(&Token::LParen) {
                    let values = self.list(Self::assigned_value)?;
                    self.expect(&Token::RParen)?;
                    values
                } else if !row && columns.len() == 1 {
                    return Err(self.place_at(
                        SqlError::unsupported("assignment of a value that is no row to columns in parentheses"),
                        &here,
                    ));
                } else {
                    return Err(self.error_here());
                };
                if columns.len() != values.len() {
                    let message = "number of columns does not match number of values";
                    return Err(self.place_at(SqlError::new(crate::error::SqlState::SyntaxError, message), &here));
                }
                assignments.extend(columns.into_iter().zip(values));
            } else {
                let column = self.target_column()?;
                self.expect(&Token::Eq)?;
                assignments.push((column, self.assigned_value()?));
            }
            if !self.take(&Token::Comma) {
                return Ok(assignments);
            }
        }
    }

    fn assigned_value(&mut self) -> Result<Expr> {
        let span = self.peek().span;
        if self.take_words("default") {
            return Ok(call("pg_default", Vec::new(), Span { start: span.start, end: span.end }));
        }
        self.expr()
    }

    /// The table that a statement writes, and its alias; `stops` are the words that are none.
    fn target_table(&mut self, stops: &[&str]) -> Result<(super::ObjectName, Option<String>)> {
        let _ = self.take_words("only");
        let table = self.object_name()?;
        let _ = self.take(&Token::Mul);
        if self.take_words("as") {
            return Ok((table, Some(self.name()?)));
        }
        let stopped = stops.iter().any(|word| self.peek_words(word));
        let alias = if !stopped && matches!(self.peek().token, Token::Word(_)) { Some(self.name()?) } else { None };
        Ok((table, alias))
    }

    pub(super) fn update(&mut self, with: Option<With>) -> Result<Statement> {
        self.next();
        let (table, alias) = self.target_table(&["set"])?;
        self.expect_words("set")?;
        let assignments = self.assignments()?;
        let from = if self.take_words("from") { self.tables()? } else { Vec::new() };
        let condition = self.condition()?;
        let returning = self.returning()?;
        Ok(Statement::Update(Box::new(Update { with, table, alias, assignments, from, condition, returning })))
    }

    pub(super) fn delete(&mut self, with: Option<With>) -> Result<Statement> {
        self.next();
        self.expect_words("from")?;
        let (table, alias) = self.target_table(&["using", "where", "returning"])?;
        let using = if self.take_words("using") { self.tables()? } else { Vec::new() };
        let condition = self.condition()?;
        let returning = self.returning()?;
        Ok(Statement::Delete(Box::new(Delete { with, table, alias, using, condition, returning })))
    }

    pub(super) fn truncate(&mut self) -> Result<Statement> {
        self.next();
        let _ = self.take_words("table");
        let names = self.list(|reader| {
            let _ = reader.take_words("only");
            let name = reader.object_name()?;
            let _ = reader.take(&Token::Mul);
            Ok(name)
        })?;
        let restart_identity = self.take_words("restart identity");
        if !restart_identity {
            let _ = self.take_words("continue identity");
        }
        let cascade = self.cascade();
        Ok(Statement::Truncate { names, restart_identity, cascade })
    }
}
