//! A cursor over the tokens of one statement: words, names, numbers, and the parser's expressions and queries.

use sqlparser::ast::{Expr, Query, SelectItem, TableWithJoins};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{ObjectName, Statement};
use crate::error::{Result, SqlError, SqlState};
use crate::parse::{BoundedDialect, Source, location_in, too_complex};
use crate::rewrite::Rewriter;
use crate::type_name::resolve_type;
use crate::types::TypeWithModifier;

/// The nesting that the parser bounds: brackets, and what nests without them.
const RECURSION_MAX: usize = 160;

/// Reads one statement from its tokens; `end` is the semicolon after them.
pub(crate) fn read_statement(
    source: Source<'_>,
    dialect: &BoundedDialect,
    tokens: Vec<TokenWithSpan>,
    end: Option<TokenWithSpan>,
) -> Result<Statement> {
    let parser = Parser::new(dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
    let mut reader = Reader { parser, source, end };
    let statement = reader.statement()?;
    reader.expect_end()?;
    Ok(statement)
}

/// The cursor.
pub(super) struct Reader<'a> {
    pub(super) parser: Parser<'a>,
    source: Source<'a>,
    end: Option<TokenWithSpan>,
}

impl<'a> Reader<'a> {
    /// The token ahead, without taking it.
    pub(super) fn peek(&self) -> &TokenWithSpan {
        self.parser.peek_token_ref()
    }

    /// Takes a token.
    pub(super) fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// Whether no token is left.
    pub(super) fn at_end(&self) -> bool {
        self.peek().token == Token::EOF
    }

    pub(super) fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.error_here()) }
    }

    /// `syntax error at or near` the token ahead.
    pub(super) fn error_here(&self) -> SqlError {
        match (&self.end, self.at_end()) {
            (Some(semicolon), true) => self.source.error_near(semicolon),
            _ => self.source.error_near(self.peek()),
        }
    }

    /// An error that points at the token ahead.
    pub(super) fn place_here(&self, error: SqlError) -> SqlError {
        self.place_at(error, self.peek())
    }

    /// An error that points at a token.
    pub(super) fn place_at(&self, error: SqlError, token: &TokenWithSpan) -> SqlError {
        match token.span.start {
            start if start.line > 0 => error.with_position(self.source.offsets(start).1 + 1),
            _ => error,
        }
    }

    /// `0A000`, pointing at the token ahead.
    pub(super) fn unsupported<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        Err(self.place_here(SqlError::unsupported(what)))
    }

    /// What the parser reported, in PostgreSQL's words.
    pub(super) fn lift<T>(&self, result: std::result::Result<T, ParserError>) -> Result<T> {
        let message = match result {
            Ok(value) => return Ok(value),
            Err(ParserError::RecursionLimitExceeded) => return Err(too_complex()),
            Err(ParserError::ParserError(message) | ParserError::TokenizerError(message)) => message,
        };
        let near = match location_in(&message) {
            Some(location) => (0..)
                .map(|n| self.parser.token_at(n))
                .take_while(|token| token.token != Token::EOF)
                .find(|token| token.span.start == location),
            None if message.contains("found: EOF") => self.end.as_ref(),
            None => return Err(self.error_here()),
        };
        Err(near.map_or_else(|| self.source.error_at_end(), |token| self.source.error_near(token)))
    }

    /// Whether the token `n` ahead is this word, unquoted, whatever its case.
    pub(super) fn peek_nth_word(&self, n: usize, word: &str) -> bool {
        matches!(&self.parser.peek_nth_token_ref(n).token,
            Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    /// Whether these words are ahead, in lower or upper case; they are written here with blanks between them.
    pub(super) fn peek_words(&self, words: &str) -> bool {
        words.split(' ').enumerate().all(|(n, word)| self.peek_nth_word(n, word))
    }

    /// Takes these words if they are ahead.
    pub(super) fn take_words(&mut self, words: &str) -> bool {
        if !self.peek_words(words) {
            return false;
        }
        for _ in words.split(' ') {
            self.parser.advance_token();
        }
        true
    }

    /// Takes one of these words if it is ahead.
    pub(super) fn take_one_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().copied().find(|word| self.take_words(word))
    }

    pub(super) fn expect_words(&mut self, words: &str) -> Result<()> {
        for word in words.split(' ') {
            if !self.take_words(word) {
                return Err(self.error_here());
            }
        }
        Ok(())
    }

    /// Takes this token if it is ahead.
    pub(super) fn take(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.error_here()) }
    }

    /// A name: a word that is not reserved, or a quoted one.
    pub(super) fn name(&mut self) -> Result<String> {
        let Token::Word(word) = &self.peek().token else { return Err(self.error_here()) };
        if word.quote_style.is_none() && is_reserved(&word.value) {
            return Err(self.error_here());
        }
        let name = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_ascii_lowercase() };
        if name.is_empty() {
            let error = SqlError::new(SqlState::SyntaxError, "zero-length delimited identifier at or near \"\"\"\"");
            return Err(self.place_here(error));
        }
        self.parser.advance_token();
        Ok(name)
    }

    /// A word of any kind, in lower case unless quoted.
    pub(super) fn label(&mut self) -> Result<String> {
        let Token::Word(word) = &self.peek().token else { return Err(self.error_here()) };
        let name = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_ascii_lowercase() };
        self.parser.advance_token();
        Ok(name)
    }

    /// `name` or `schema.name`.
    pub(super) fn object_name(&mut self) -> Result<ObjectName> {
        let first = self.name()?;
        if !self.take(&Token::Period) {
            return Ok(ObjectName { schema: None, name: first });
        }
        let second = self.label()?;
        if self.peek().token == Token::Period {
            return self.unsupported("a reference to another database");
        }
        Ok(ObjectName { schema: Some(first), name: second })
    }

    /// Items separated by commas, at least one.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(name, ..)`.
    pub(super) fn names_in_parentheses(&mut self) -> Result<Vec<String>> {
        self.expect(&Token::LParen)?;
        let names = self.list(Self::name)?;
        self.expect(&Token::RParen)?;
        Ok(names)
    }

    /// A string literal of any form.
    pub(super) fn string(&mut self) -> Result<String> {
        let text = match &self.peek().token {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text)
            | Token::NationalStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return Err(self.error_here()),
        };
        self.parser.advance_token();
        Ok(text)
    }

    /// A number with its sign, as written.
    pub(super) fn number_text(&mut self) -> Result<String> {
        let sign = if self.take(&Token::Minus) {
            "-"
        } else {
            let _ = self.take(&Token::Plus);
            ""
        };
        let Token::Number(digits, _) = &self.peek().token else { return Err(self.error_here()) };
        let text = format!("{sign}{digits}");
        self.parser.advance_token();
        Ok(text)
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        let error = self.error_here();
        self.number_text()?.parse().map_err(|_| error)
    }

    /// An expression.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        let parsed = self.parser.parse_expr();
        let mut expr = self.lift(parsed)?;
        Rewriter::new(self.source).expr(&mut expr)?;
        Ok(expr)
    }

    /// An expression of operators that bind at least this tightly.
    pub(super) fn expr_above(&mut self, precedence: u8) -> Result<Expr> {
        let parsed = self.parser.parse_subexpr(precedence);
        let mut expr = self.lift(parsed)?;
        Rewriter::new(self.source).expr(&mut expr)?;
        Ok(expr)
    }

    /// A query to its end.
    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        let parsed = self.parser.parse_query();
        let mut query = self.lift(parsed)?;
        Rewriter::new(self.source).query(&mut query)?;
        Ok(query)
    }

    /// Rewrites a query that was read in parts.
    pub(super) fn rewrite_query(&self, query: &mut Query) -> Result<()> {
        Rewriter::new(self.source).query(query)
    }

    /// The items of a RETURNING.
    pub(super) fn select_items(&mut self) -> Result<Vec<SelectItem>> {
        let parsed = self.parser.parse_projection();
        let mut items = self.lift(parsed)?;
        Rewriter::new(self.source).items(&mut items)?;
        Ok(items)
    }

    /// The tables of a FROM.
    pub(super) fn tables(&mut self) -> Result<Vec<TableWithJoins>> {
        let parsed = self.parser.parse_comma_separated(Parser::parse_table_and_joins);
        let mut tables = self.lift(parsed)?;
        Rewriter::new(self.source).tables(&mut tables)?;
        Ok(tables)
    }

    /// A type as the parser has it.
    pub(super) fn written_type(&mut self) -> Result<sqlparser::ast::DataType> {
        let parsed = self.parser.parse_data_type();
        let ty = self.lift(parsed)?;
        // `integer ARRAY` and `integer ARRAY[4]`.
        if !self.take_words("array") {
            return Ok(ty);
        }
        if self.take(&Token::LBracket) {
            self.integer()?;
            self.expect(&Token::RBracket)?;
        }
        Ok(sqlparser::ast::DataType::Array(sqlparser::ast::ArrayElemTypeDef::SquareBracket(Box::new(ty), None)))
    }

    /// A type.
    pub(super) fn type_name(&mut self) -> Result<TypeWithModifier> {
        let start = self.peek().span.start;
        let ty = self.written_type()?;
        resolve_type(&ty).map_err(|refused| refused.error.with_position(self.source.offsets(start).1 + 1))
    }

    /// Where the cursor stands, for [`Reader::text_since`] and [`Reader::rewind`].
    pub(super) fn mark(&self) -> usize {
        self.parser.index()
    }

    /// Goes back to a mark.
    pub(super) fn rewind(&mut self, mark: usize) {
        while self.parser.index() > mark {
            self.parser.prev_token();
        }
    }

    /// The text between a mark and the cursor.
    pub(super) fn text_since(&self, mark: usize) -> String {
        let (first, last) = (self.parser.token_at(mark).span, self.parser.get_current_token().span);
        self.source.slice(sqlparser::tokenizer::Span { start: first.start, end: last.end }).to_owned()
    }

    /// CASCADE or RESTRICT; whether it was CASCADE.
    pub(super) fn cascade(&mut self) -> bool {
        self.take_one_of(&["cascade", "restrict"]) == Some("cascade")
    }

    /// `(name [= value], ..)`, names and values as text.
    pub(super) fn options(&mut self) -> Result<Vec<(String, String)>> {
        self.expect(&Token::LParen)?;
        let options = self.list(|reader| {
            let mut name = reader.label()?;
            while reader.take(&Token::Period) {
                name = format!("{name}.{}", reader.label()?);
            }
            let value = if reader.take(&Token::Eq) { reader.option_value()? } else { "true".to_owned() };
            Ok((name, value))
        })?;
        self.expect(&Token::RParen)?;
        Ok(options)
    }

    /// A word, a string or a number, as text.
    pub(super) fn option_value(&mut self) -> Result<String> {
        match &self.peek().token {
            Token::Word(_) => self.label(),
            Token::Number(..) | Token::Minus | Token::Plus => self.number_text(),
            _ => self.string(),
        }
    }
}

/// Whether PostgreSQL reserves a word, so that it is no name unless quoted.
pub(super) fn is_reserved(word: &str) -> bool {
    const RESERVED: &[&str] = &[
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "column",
        "constraint",
        "create",
        "current_catalog",
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "from",
        "grant",
        "group",
        "having",
        "in",
        "initially",
        "intersect",
        "into",
        "lateral",
        "leading",
        "limit",
        "localtime",
        "localtimestamp",
        "not",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "placing",
        "primary",
        "references",
        "returning",
        "select",
        "session_user",
        "some",
        "symmetric",
        "table",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "when",
        "where",
        "window",
        "with",
    ];
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}
