//! CREATE INDEX.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{CreateIndex, IndexColumn, IndexKey, Statement};
use crate::error::{Result, SqlError};
use crate::rewrite::is_byte_order;

impl Reader<'_> {
    /// What follows CREATE [UNIQUE] INDEX.
    pub(super) fn create_index(&mut self, unique: bool) -> Result<Statement> {
        let concurrently = self.take_words("concurrently");
        let if_not_exists = self.take_words("if not exists");
        let name = if self.peek_words("on") { None } else { Some(self.object_name()?) };
        // An index lies in its table's schema whatever is written.
        let name = name.map(|name| name.name);
        self.expect_words("on")?;
        let _ = self.take_words("only");
        let table = self.object_name()?;
        let method = if self.take_words("using") { self.name()? } else { "btree".to_owned() };
        self.expect(&Token::LParen)?;
        let columns = self.list(Self::index_column)?;
        self.expect(&Token::RParen)?;
        let include = if self.take_words("include") { self.names_in_parentheses()? } else { Vec::new() };
        if self.take_words("nulls not distinct") {
            return self.unsupported("NULLS NOT DISTINCT");
        }
        let _ = self.take_words("nulls distinct");
        let options = if self.take_words("with") { self.options()? } else { Vec::new() };
        if self.peek_words("tablespace") {
            return self.unsupported("TABLESPACE");
        }
        let (mut predicate, mut predicate_text) = (None, None);
        if self.take_words("where") {
            let mark = self.mark();
            predicate = Some(self.expr()?);
            predicate_text = Some(self.text_since(mark));
        }
        let index = CreateIndex {
            name,
            if_not_exists,
            concurrently,
            unique,
            table,
            method,
            columns,
            include,
            options,
            predicate,
            predicate_text,
        };
        Ok(Statement::CreateIndex(Box::new(index)))
    }

    /// `{ column | function(..) | (expression) } [COLLATE c] [opclass] [ASC | DESC] [NULLS FIRST | LAST]`.
    fn index_column(&mut self) -> Result<IndexColumn> {
        let mark = self.mark();
        let key = if self.take(&Token::LParen) {
            let mark = self.mark();
            let expr = self.expr()?;
            let text = self.text_since(mark);
            self.expect(&Token::RParen)?;
            IndexKey::Expr { expr, text }
        } else if matches!(self.parser.peek_nth_token_ref(1).token, Token::LParen | Token::Period) {
            // A call binds tighter than any operator, so nothing but it is read here.
            let expr = self.expr_above(u8::MAX)?;
            IndexKey::Expr { expr, text: self.text_since(mark) }
        } else {
            IndexKey::Column(self.name()?)
        };
        if self.take_words("collate") {
            let collation = self.object_name()?;
            if !is_byte_order(&collation.name) {
                return Err(SqlError::unsupported(format!("collation \"{collation}\"")));
            }
        }
        let plain = ["asc", "desc", "nulls"].iter().any(|word| self.peek_words(word));
        let mut opclass = None;
        if !plain && matches!(self.peek().token, Token::Word(_)) {
            opclass = Some(self.object_name()?.name);
            if self.peek().token == Token::LParen {
                return self.unsupported("an operator class with options");
            }
        }
        let descending = self.take_one_of(&["asc", "desc"]) == Some("desc");
        let nulls_first = match self.take_one_of(&["nulls first", "nulls last"]) {
            Some(words) => words == "nulls first",
            None => descending,
        };
        Ok(IndexColumn { key, opclass, descending, nulls_first })
    }
}
