//! CREATE TABLE and ALTER TABLE.

use sqlparser::ast::Expr;
use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{
    AlterTable, ColumnDefinition, ConstraintKind, CreateTable, CreateTableAs, Generated, SequenceOptions, Statement,
    TableAction, TableConstraint,
};
use crate::error::{Result, SqlError, SqlState};
use crate::rewrite::is_byte_order;
use crate::type_name::{resolve_type, serial_named};
use crate::types::TypeWithModifier;

/// DEFAULT takes what binds tighter than IS, so that NOT NULL may follow it.
const DEFAULT_PRECEDENCE: u8 = 40;

impl Reader<'_> {
    /// What follows CREATE TABLE.
    pub(super) fn create_table(&mut self, unlogged: bool) -> Result<Statement> {
        let if_not_exists = self.take_words("if not exists");
        let name = self.object_name()?;
        if self.peek_words("partition of") || self.peek_words("of") {
            return self.unsupported("CREATE TABLE OF");
        }
        let mark = self.mark();
        if self.peek().token != Token::LParen || self.lists_names_before_as() {
            let mut columns = Vec::new();
            if self.peek().token == Token::LParen {
                columns = self.names_in_parentheses()?;
            }
            return self.create_table_as(name, if_not_exists, unlogged, columns);
        }
        self.rewind(mark);
        self.expect(&Token::LParen)?;
        let (mut columns, mut constraints) = (Vec::new(), Vec::new());
        if !self.take(&Token::RParen) {
            loop {
                if let Some(constraint) = self.table_constraint()? {
                    constraints.push(constraint);
                } else {
                    columns.push(self.column(&name.name, &mut constraints)?);
                }
                if !self.take(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::RParen)?;
        }
        check_columns(&mut columns, &constraints, &name.name)?;
        let options = self.table_options()?;
        Ok(Statement::CreateTable(Box::new(CreateTable {
            name,
            if_not_exists,
            unlogged,
            columns,
            constraints,
            options,
        })))
    }

    /// Whether `(a, b)` ahead is followed by AS or WITH, so that it renames the columns of a query.
    fn lists_names_before_as(&self) -> bool {
        let mut n = 1;
        loop {
            match &self.parser.peek_nth_token_ref(n).token {
                Token::Word(_) => {}
                _ => return false,
            }
            match &self.parser.peek_nth_token_ref(n + 1).token {
                Token::Comma => n += 2,
                Token::RParen => return self.peek_nth_word(n + 2, "as"),
                _ => return false,
            }
        }
    }

    fn create_table_as(
        &mut self,
        name: super::ObjectName,
        if_not_exists: bool,
        unlogged: bool,
        columns: Vec<String>,
    ) -> Result<Statement> {
        self.expect_words("as")?;
        if self.peek_words("execute") {
            return self.unsupported("CREATE TABLE AS EXECUTE");
        }
        let query = self.query()?;
        let with_data = !self.take_words("with no data");
        if with_data {
            let _ = self.take_words("with data");
        }
        let create = CreateTableAs { name, if_not_exists, unlogged, columns, query, with_data };
        Ok(Statement::CreateTableAs(Box::new(create)))
    }

    /// What follows the columns.
    fn table_options(&mut self) -> Result<Vec<(String, String)>> {
        let mut options = Vec::new();
        loop {
            if self.peek_words("with") && self.parser.peek_nth_token_ref(1).token == Token::LParen {
                self.next();
                options = self.options()?;
            } else if self.take_words("without oids") || self.take_words("using heap") {
            } else if self.peek_words("inherits") {
                return self.unsupported("INHERITS");
            } else if self.peek_words("partition by") {
                return self.unsupported("PARTITION BY");
            } else if self.peek_words("using") {
                return self.unsupported("a table access method other than heap");
            } else if self.peek_words("on commit") {
                return self.unsupported("ON COMMIT");
            } else if self.peek_words("tablespace") {
                return self.unsupported("TABLESPACE");
            } else {
                return Ok(options);
            }
        }
    }

    /// A column, its constraints put with the table's.
    fn column(&mut self, table: &str, constraints: &mut Vec<TableConstraint>) -> Result<ColumnDefinition> {
        let name = self.name()?;
        let here = self.peek().clone();
        let written = self.written_type()?;
        let (ty, serial) = match serial_named(&written) {
            Some(integer) => (TypeWithModifier::plain(integer), true),
            None => (resolve_type(&written).map_err(|refused| self.place_at(refused.error, &here))?, false),
        };
        let mut column = ColumnDefinition {
            name,
            ty,
            not_null: serial,
            default: None,
            default_text: None,
            generated: serial.then_some(Generated::Serial),
        };
        let clash = |column: &ColumnDefinition, what: &str| {
            let message = format!("{what} specified for column \"{}\" of table \"{table}\"", column.name);
            Err(SqlError::new(SqlState::SyntaxError, message))
        };
        let mut declared_null = false;
        loop {
            let constraint = if self.take_words("constraint") { Some(self.name()?) } else { None };
            if self.take_words("not null") {
                column.not_null = true;
            } else if self.take_words("null") {
                declared_null = true;
            } else if self.take_words("default") {
                if column.default.is_some() {
                    return clash(&column, "multiple default values");
                }
                let (default, text) = self.default_value()?;
                (column.default, column.default_text) = (Some(default), Some(text));
            } else if self.take_words("primary key") {
                column.not_null = true;
                let kind = ConstraintKind::PrimaryKey(vec![column.name.clone()]);
                constraints.push(TableConstraint { name: constraint, kind });
                self.index_parameters()?;
            } else if self.take_words("unique") {
                self.nulls_distinct()?;
                let kind = ConstraintKind::Unique(vec![column.name.clone()]);
                constraints.push(TableConstraint { name: constraint, kind });
                self.index_parameters()?;
            } else if self.take_words("check") {
                let kind = self.check()?;
                constraints.push(TableConstraint { name: constraint, kind });
            } else if self.take_words("generated") {
                let generated = self.generated()?;
                if let Some(before) = &column.generated {
                    return clash(&column, twice_generated(before, &generated));
                }
                column.not_null |= !matches!(generated, Generated::Stored { .. });
                column.generated = Some(generated);
            } else if self.take_words("collate") {
                self.collation()?;
            } else if self.peek_words("references") {
                return self.unsupported("REFERENCES");
            } else if self.take_words("storage") {
                self.label()?;
            } else if self.peek_words("compression") {
                return self.unsupported("COMPRESSION");
            } else if constraint.is_some() {
                return Err(self.error_here());
            } else if !self.constraint_attribute()? {
                break;
            }
        }
        if declared_null && column.not_null {
            let message =
                format!("conflicting NULL/NOT NULL declarations for column \"{}\" of table \"{table}\"", column.name);
            return Err(SqlError::new(SqlState::SyntaxError, message));
        }
        match &column.generated {
            Some(generated) if column.default.is_some() => {
                clash(&column, twice_generated(&Generated::Serial, generated))
            }
            _ => Ok(column),
        }
    }

    fn default_value(&mut self) -> Result<(Expr, String)> {
        let mark = self.mark();
        let default = self.expr_above(DEFAULT_PRECEDENCE)?;
        Ok((default, self.text_since(mark)))
    }

    fn collation(&mut self) -> Result<()> {
        // DEFAULT is a word of its own; quoted or qualified it names the collation.
        let here = self.peek().clone();
        let mut name = self.label()?;
        if self.take(&Token::Period) {
            name = self.label()?;
        }
        if is_byte_order(&name) {
            return Ok(());
        }
        Err(self.place_at(SqlError::unsupported(format!("collation \"{name}\"")), &here))
    }

    fn generated(&mut self) -> Result<Generated> {
        let always = if self.take_words("always") {
            true
        } else {
            self.expect_words("by default")?;
            false
        };
        self.expect_words("as")?;
        if self.peek().token == Token::LParen {
            if !always {
                let message = "for a generated column, GENERATED ALWAYS must be specified";
                return Err(self.place_here(SqlError::new(SqlState::SyntaxError, message)));
            }
            return self.generation_expression();
        }
        self.expect_words("identity")?;
        let mut options = SequenceOptions::default();
        if self.take(&Token::LParen) {
            options = self.sequence_options()?;
            self.expect(&Token::RParen)?;
        }
        Ok(Generated::Identity { always, options })
    }

    /// `(expression) STORED`.
    fn generation_expression(&mut self) -> Result<Generated> {
        let text = self.expression_in_parentheses()?;
        if self.peek_words("virtual") {
            return self.unsupported("GENERATED ALWAYS AS (..) VIRTUAL");
        }
        self.expect_words("stored")?;
        Ok(Generated::Stored { text })
    }

    /// `(expression)`: its text.
    fn expression_in_parentheses(&mut self) -> Result<String> {
        self.expect(&Token::LParen)?;
        let mark = self.mark();
        self.expr()?;
        let text = self.text_since(mark);
        self.expect(&Token::RParen)?;
        Ok(text)
    }

    /// `(condition)`.
    fn check(&mut self) -> Result<ConstraintKind> {
        self.expect(&Token::LParen)?;
        let mark = self.mark();
        let condition = self.expr()?;
        let text = self.text_since(mark);
        self.expect(&Token::RParen)?;
        if self.peek_words("no inherit") {
            return self.unsupported("NO INHERIT");
        }
        if self.peek_words("not valid") {
            return self.unsupported("NOT VALID");
        }
        Ok(ConstraintKind::Check { condition, text })
    }

    fn nulls_distinct(&mut self) -> Result<()> {
        if self.peek_words("nulls not distinct") {
            return self.unsupported("NULLS NOT DISTINCT");
        }
        let _ = self.take_words("nulls distinct");
        Ok(())
    }

    /// What may follow a key: storage parameters mean nothing here, the rest is refused.
    fn index_parameters(&mut self) -> Result<()> {
        if self.peek_words("include") {
            return self.unsupported("INCLUDE in a constraint");
        }
        if self.peek_words("with") && self.parser.peek_nth_token_ref(1).token == Token::LParen {
            self.next();
            self.options()?;
        }
        if self.peek_words("using index") {
            return self.unsupported("USING INDEX");
        }
        Ok(())
    }

    /// NOT DEFERRABLE and INITIALLY IMMEDIATE say what holds anyway; whether there was one.
    fn constraint_attribute(&mut self) -> Result<bool> {
        if self.peek_words("deferrable") || self.peek_words("initially deferred") {
            return self.unsupported("a deferrable constraint");
        }
        Ok(self.take_words("not deferrable") || self.take_words("initially immediate"))
    }

    /// A constraint of the table, if one is ahead.
    fn table_constraint(&mut self) -> Result<Option<TableConstraint>> {
        let name = if self.take_words("constraint") { Some(self.name()?) } else { None };
        let kind = if self.take_words("primary key") {
            let columns = self.names_in_parentheses()?;
            self.index_parameters()?;
            ConstraintKind::PrimaryKey(columns)
        } else if self.peek_words("unique") {
            self.next();
            self.nulls_distinct()?;
            let columns = self.names_in_parentheses()?;
            self.index_parameters()?;
            ConstraintKind::Unique(columns)
        } else if self.take_words("check") {
            self.check()?
        } else if self.peek_words("foreign key") {
            return self.unsupported("FOREIGN KEY");
        } else if self.peek_words("exclude")
            && !matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(ref word) if word.keyword == sqlparser::keywords::Keyword::NoKeyword)
        {
            return self.unsupported("EXCLUDE");
        } else if self.peek_words("like") {
            return self.unsupported("LIKE in CREATE TABLE");
        } else if name.is_some() {
            return Err(self.error_here());
        } else {
            return Ok(None);
        };
        while self.constraint_attribute()? {}
        Ok(Some(TableConstraint { name, kind }))
    }

    /// What follows ALTER TABLE.
    pub(super) fn alter_table(&mut self) -> Result<Statement> {
        if self.peek_words("all in") {
            return self.unsupported("ALTER TABLE ALL");
        }
        let if_exists = self.take_words("if exists");
        let _ = self.take_words("only");
        let name = self.object_name()?;
        let _ = self.take(&Token::Mul);
        let actions = self.list(|reader| reader.table_action(&name.name))?;
        Ok(Statement::AlterTable(Box::new(AlterTable { name, if_exists, actions })))
    }

    fn table_action(&mut self, table: &str) -> Result<TableAction> {
        if self.take_words("rename to") {
            return Ok(TableAction::RenameTo { name: self.name()? });
        }
        if self.take_words("rename constraint") {
            let from = self.name()?;
            self.expect_words("to")?;
            return Ok(TableAction::RenameConstraint { from, to: self.name()? });
        }
        if self.take_words("rename") {
            let _ = self.take_words("column");
            let from = self.name()?;
            self.expect_words("to")?;
            return Ok(TableAction::RenameColumn { from, to: self.name()? });
        }
        if self.take_words("add") {
            if !self.peek_words("column")
                && let Some(constraint) = self.table_constraint()?
            {
                if self.peek_words("not valid") {
                    return self.unsupported("NOT VALID");
                }
                return Ok(TableAction::AddConstraint(constraint));
            }
            let _ = self.take_words("column");
            let if_not_exists = self.take_words("if not exists");
            let mut constraints = Vec::new();
            let column = self.column(table, &mut constraints)?;
            return Ok(TableAction::AddColumn { if_not_exists, column: Box::new(column), constraints });
        }
        if self.take_words("drop constraint") {
            let if_exists = self.take_words("if exists");
            let name = self.name()?;
            return Ok(TableAction::DropConstraint { if_exists, name, cascade: self.cascade() });
        }
        if self.take_words("drop") {
            let _ = self.take_words("column");
            let if_exists = self.take_words("if exists");
            let name = self.name()?;
            return Ok(TableAction::DropColumn { if_exists, name, cascade: self.cascade() });
        }
        if self.take_words("alter") {
            let _ = self.take_words("column");
            let column = self.name()?;
            return self.column_action(column);
        }
        if self.peek_words("set") && self.parser.peek_nth_token_ref(1).token == Token::LParen {
            self.next();
            return Ok(TableAction::SetOptions(self.options()?));
        }
        if self.peek_words("reset") && self.parser.peek_nth_token_ref(1).token == Token::LParen {
            self.next();
            return Ok(TableAction::SetOptions(self.options()?));
        }
        if self.take_words("owner to") {
            return Ok(TableAction::OwnerTo { role: self.role_name()? });
        }
        for words in ["enable", "disable", "force", "no force"] {
            if self.peek_words(&format!("{words} row level security")) {
                return self.unsupported("ROW LEVEL SECURITY");
            }
        }
        let known = [
            "set",
            "cluster",
            "enable",
            "disable",
            "inherit",
            "no inherit",
            "attach",
            "detach",
            "validate",
            "replica",
            "force",
            "no force",
            "of",
            "not of",
        ];
        if known.iter().any(|words| self.peek_words(words)) {
            return self.unsupported("this form of ALTER TABLE");
        }
        Err(self.error_here())
    }

    fn column_action(&mut self, column: String) -> Result<TableAction> {
        if self.take_words("set not null") {
            return Ok(TableAction::SetNotNull { column, not_null: true });
        }
        if self.take_words("drop not null") {
            return Ok(TableAction::SetNotNull { column, not_null: false });
        }
        if self.take_words("set default") {
            let mark = self.mark();
            let default = self.expr()?;
            let text = self.text_since(mark);
            return Ok(TableAction::SetDefault { column, default: Some(default), default_text: Some(text) });
        }
        if self.take_words("drop default") {
            return Ok(TableAction::SetDefault { column, default: None, default_text: None });
        }
        if self.take_words("drop expression") {
            return Ok(TableAction::DropExpression { column, if_exists: self.take_words("if exists") });
        }
        if self.take_words("set expression") {
            self.expect_words("as")?;
            return Ok(TableAction::SetExpression { column, text: self.expression_in_parentheses()? });
        }
        if self.take_words("set storage") {
            return Ok(TableAction::SetStorage { column, storage: self.label()? });
        }
        if self.take_words("set statistics") {
            return Ok(TableAction::SetStorage { column, storage: format!("statistics {}", self.integer()?) });
        }
        if self.take_words("set data type") || self.take_words("type") {
            let ty = self.type_name()?;
            if self.take_words("collate") {
                self.collation()?;
            }
            let using = if self.take_words("using") { Some(self.expr()?) } else { None };
            return Ok(TableAction::SetType { column, ty, using });
        }
        self.unsupported("this form of ALTER COLUMN")
    }
}

/// What a column has too much of; a serial is as good as a default.
fn twice_generated(before: &Generated, after: &Generated) -> &'static str {
    use Generated::{Identity, Serial, Stored};
    match (before, after) {
        (Serial, Serial) => "multiple default values",
        (Serial, Identity { .. }) | (Identity { .. }, Serial) => "both default and identity",
        (Serial, Stored { .. }) | (Stored { .. }, Serial) => "both default and generation expression",
        (Identity { .. }, Identity { .. }) => "multiple identity specifications",
        (Stored { .. }, Stored { .. }) => "multiple generation clauses",
        (Identity { .. }, Stored { .. }) | (Stored { .. }, Identity { .. }) => {
            "both identity and generation expression"
        }
    }
}

/// What holds between the columns and the constraints of a new table.
fn check_columns(columns: &mut [ColumnDefinition], constraints: &[TableConstraint], table: &str) -> Result<()> {
    for n in 1..columns.len() {
        let (before, from) = columns.split_at(n);
        if before.iter().any(|column| column.name == from[0].name) {
            let message = format!("column \"{}\" specified more than once", from[0].name);
            return Err(SqlError::new(SqlState::DuplicateColumn, message));
        }
    }
    let mut primary = 0;
    for constraint in constraints {
        let keys = match &constraint.kind {
            ConstraintKind::PrimaryKey(keys) => {
                primary += 1;
                keys
            }
            ConstraintKind::Unique(keys) => keys,
            ConstraintKind::Check { .. } => continue,
        };
        for key in keys {
            let Some(column) = columns.iter_mut().find(|column| &column.name == key) else {
                let message = format!("column \"{key}\" named in key does not exist");
                return Err(SqlError::new(SqlState::UndefinedColumn, message));
            };
            column.not_null |= matches!(constraint.kind, ConstraintKind::PrimaryKey(_));
        }
    }
    if primary > 1 {
        let message = format!("multiple primary keys for table \"{table}\" are not allowed");
        return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
    }
    Ok(())
}
