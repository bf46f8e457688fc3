//! Which statement it is, and the ones that are a few words long.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{CommentKind, DiscardTarget, ExplainFormat, ExplainOptions, LockMode, Named, ReindexTarget, Statement};
use crate::error::{Result, SqlError, SqlState};

/// Statements that PostgreSQL has and LodeDB does not, by their first words.
const UNSUPPORTED: &[&str] = &[
    "alter",
    "call",
    "cluster",
    "create",
    "do",
    "drop",
    "import foreign schema",
    "load",
    "merge",
    "reassign",
    "refresh materialized view",
    "security label",
];

impl Reader<'_> {
    /// Reads the whole statement.
    pub(super) fn statement(&mut self) -> Result<Statement> {
        let first = match &self.peek().token {
            Token::LParen => return Ok(Statement::Query(self.query()?)),
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
            _ => return Err(self.error_here()),
        };
        match first.as_str() {
            "select" | "values" | "table" => Ok(Statement::Query(self.query()?)),
            "with" => self.with(),
            "insert" => self.insert(None),
            "update" => self.update(None),
            "delete" => self.delete(None),
            "copy" => self.copy(),
            "create" => self.create(),
            "drop" => self.drop(),
            "alter" => self.alter(),
            "truncate" => self.truncate(),
            "set" => self.set(),
            "show" => self.show(),
            "reset" => self.reset(),
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => self.transaction(),
            "prepare" => self.prepare(),
            "execute" => self.execute(),
            "deallocate" => {
                self.next();
                let _ = self.take_words("prepare");
                Ok(Statement::Deallocate(self.named()?))
            }
            "declare" => self.declare(),
            "fetch" | "move" => self.fetch(),
            "close" => {
                self.next();
                Ok(Statement::Close(self.named()?))
            }
            "explain" => self.explain(),
            "vacuum" => self.vacuum(),
            "analyze" | "analyse" => self.analyze(),
            "reindex" => self.reindex(),
            "lock" => self.lock_table(),
            "comment" => self.comment(),
            "listen" => {
                self.next();
                Ok(Statement::Listen { channel: self.name()? })
            }
            "unlisten" => {
                self.next();
                let all = self.take(&Token::Mul);
                Ok(Statement::Unlisten(if all { Named::All } else { Named::Name(self.name()?) }))
            }
            "notify" => {
                self.next();
                let channel = self.name()?;
                let payload = if self.take(&Token::Comma) { Some(self.string()?) } else { None };
                Ok(Statement::Notify { channel, payload })
            }
            "discard" => self.discard(),
            "grant" => self.grant(),
            "revoke" => self.revoke(),
            "checkpoint" => {
                self.next();
                Ok(Statement::Checkpoint)
            }
            "check" => {
                self.next();
                if self.take_words("database") {
                    return Ok(Statement::Check { tables: None });
                }
                self.expect_words("table")?;
                let mut tables = vec![self.object_name()?];
                while self.take(&Token::Comma) {
                    tables.push(self.object_name()?);
                }
                Ok(Statement::Check { tables: Some(tables) })
            }
            "backup" => {
                self.next();
                self.expect_words("to")?;
                Ok(Statement::Backup { to: self.string()? })
            }
            _ => self.refuse(),
        }
    }

    /// `0A000` for a statement that PostgreSQL has, a syntax error for what it has not.
    pub(super) fn refuse(&mut self) -> Result<Statement> {
        let Some(words) = UNSUPPORTED.iter().find(|words| self.peek_words(words)) else {
            return Err(self.error_here());
        };
        let mut name = words.to_ascii_uppercase();
        if matches!(*words, "create" | "drop" | "alter") {
            let mut n = 1;
            let skipped = [
                "or",
                "replace",
                "global",
                "local",
                "temp",
                "temporary",
                "unlogged",
                "constraint",
                "procedural",
                "trusted",
            ];
            while skipped.iter().any(|word| self.peek_nth_word(n, word)) {
                n += 1;
            }
            let Token::Word(kind) = &self.parser.peek_nth_token_ref(n).token else { return Err(self.error_here()) };
            name = format!("{name} {}", kind.value.to_ascii_uppercase());
            let objects = [
                "access",
                "aggregate",
                "cast",
                "collation",
                "conversion",
                "database",
                "default",
                "domain",
                "event",
                "extension",
                "foreign",
                "function",
                "group",
                "index",
                "language",
                "large",
                "materialized",
                "operator",
                "owned",
                "policy",
                "procedure",
                "publication",
                "recursive",
                "role",
                "routine",
                "rule",
                "schema",
                "sequence",
                "server",
                "statistics",
                "subscription",
                "system",
                "table",
                "tablespace",
                "text",
                "transform",
                "trigger",
                "type",
                "user",
                "view",
            ];
            if !objects.contains(&kind.value.to_ascii_lowercase().as_str()) {
                for _ in 0..n {
                    self.next();
                }
                return Err(self.error_here());
            }
        }
        Err(SqlError::unsupported(name))
    }

    /// ALL, or a name.
    pub(super) fn named(&mut self) -> Result<Named> {
        if self.take_words("all") { Ok(Named::All) } else { Ok(Named::Name(self.name()?)) }
    }

    fn explain(&mut self) -> Result<Statement> {
        self.next();
        let mut options = ExplainOptions::default();
        // A bracket opens options, unless it opens a query.
        let listed = self.peek().token == Token::LParen
            && !["select", "with", "values", "table"].iter().any(|word| self.peek_nth_word(1, word))
            && !matches!(self.parser.peek_nth_token_ref(1).token, Token::LParen);
        if listed {
            for (name, value) in self.utility_options()? {
                self.explain_option(&mut options, &name, &value)?;
            }
        } else {
            options.analyze = self.take_words("analyze") || self.take_words("analyse");
            options.verbose = self.take_words("verbose");
        }
        let explainable = [
            "select", "values", "table", "with", "insert", "update", "delete", "create", "execute", "declare", "merge",
        ];
        if self.peek().token != Token::LParen && !explainable.iter().any(|word| self.peek_nth_word(0, word)) {
            return Err(self.error_here());
        }
        let statement = self.statement()?;
        match statement {
            Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::CreateTableAs(_)
            | Statement::Execute { .. }
            | Statement::Declare(_) => Ok(Statement::Explain { options, statement: Box::new(statement) }),
            other => Err(SqlError::unsupported(format!("EXPLAIN {}", other.command_tag()))),
        }
    }

    /// `(name [value], ..)`, names and values as text.
    fn utility_options(&mut self) -> Result<Vec<(String, String)>> {
        self.expect(&Token::LParen)?;
        let options = self.list(|reader| {
            let name = reader.label()?;
            let bare = matches!(reader.peek().token, Token::Comma | Token::RParen);
            Ok((name, if bare { "true".to_owned() } else { reader.option_value()? }))
        })?;
        self.expect(&Token::RParen)?;
        Ok(options)
    }

    fn explain_option(&self, options: &mut ExplainOptions, name: &str, value: &str) -> Result<()> {
        let on = || {
            boolean(value)
                .ok_or_else(|| SqlError::new(SqlState::SyntaxError, format!("{name} requires a Boolean value")))
        };
        match name {
            "analyze" | "analyse" => options.analyze = on()?,
            "verbose" => options.verbose = on()?,
            "costs" => options.costs = Some(on()?),
            "timing" => options.timing = Some(on()?),
            "summary" => options.summary = Some(on()?),
            "buffers" => options.buffers = Some(on()?),
            "settings" | "wal" if !on()? => {}
            "format" => match value.to_ascii_lowercase().as_str() {
                "text" => options.format = ExplainFormat::Text,
                "json" => options.format = ExplainFormat::Json,
                "xml" | "yaml" => return Err(SqlError::unsupported(format!("EXPLAIN (FORMAT {value})"))),
                _ => {
                    let message = format!("unrecognized value for EXPLAIN option \"format\": \"{value}\"");
                    return Err(SqlError::new(SqlState::InvalidParameterValue, message));
                }
            },
            "settings" | "wal" | "generic_plan" | "memory" | "serialize" => {
                return Err(SqlError::unsupported(format!("EXPLAIN ({})", name.to_ascii_uppercase())));
            }
            _ => {
                let message = format!("unrecognized EXPLAIN option \"{name}\"");
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
        }
        Ok(())
    }

    fn vacuum(&mut self) -> Result<Statement> {
        self.next();
        let (mut full, mut verbose, mut analyze) = (false, false, false);
        if self.peek().token == Token::LParen {
            for (name, value) in self.utility_options()? {
                let on = boolean(&value).unwrap_or(true);
                match name.as_str() {
                    "full" => full = on,
                    "verbose" => verbose = on,
                    "analyze" | "analyse" => analyze = on,
                    "freeze"
                    | "disable_page_skipping"
                    | "skip_locked"
                    | "index_cleanup"
                    | "process_toast"
                    | "truncate"
                    | "parallel"
                    | "process_main"
                    | "skip_database_stats"
                    | "buffer_usage_limit" => {}
                    "only_database_stats" => return Err(SqlError::unsupported("VACUUM (ONLY_DATABASE_STATS)")),
                    _ => {
                        let message = format!("unrecognized VACUUM option \"{name}\"");
                        return Err(SqlError::new(SqlState::SyntaxError, message));
                    }
                }
            }
        } else {
            full = self.take_words("full");
            let _ = self.take_words("freeze");
            verbose = self.take_words("verbose");
            analyze = self.take_words("analyze") || self.take_words("analyse");
        }
        let tables = self.analyzed_tables()?;
        Ok(Statement::Vacuum { tables, full, analyze, verbose })
    }

    fn analyze(&mut self) -> Result<Statement> {
        self.next();
        let mut verbose = false;
        if self.peek().token == Token::LParen {
            for (name, value) in self.utility_options()? {
                match name.as_str() {
                    "verbose" => verbose = boolean(&value).unwrap_or(true),
                    "skip_locked" | "buffer_usage_limit" => {}
                    _ => {
                        let message = format!("unrecognized ANALYZE option \"{name}\"");
                        return Err(SqlError::new(SqlState::SyntaxError, message));
                    }
                }
            }
        } else {
            verbose = self.take_words("verbose");
        }
        Ok(Statement::Analyze { tables: self.analyzed_tables()?, verbose })
    }

    /// `table [(column, ..)], ..`; statistics are of whole tables.
    fn analyzed_tables(&mut self) -> Result<Vec<super::ObjectName>> {
        if self.at_end() {
            return Ok(Vec::new());
        }
        self.list(|reader| {
            let name = reader.object_name()?;
            if reader.peek().token == Token::LParen {
                reader.names_in_parentheses()?;
            }
            Ok(name)
        })
    }

    fn reindex(&mut self) -> Result<Statement> {
        self.next();
        let mut concurrently = false;
        if self.peek().token == Token::LParen {
            for (name, value) in self.utility_options()? {
                match name.as_str() {
                    "concurrently" => concurrently = boolean(&value).unwrap_or(true),
                    "verbose" => {}
                    _ => return Err(SqlError::unsupported(format!("REINDEX ({})", name.to_ascii_uppercase()))),
                }
            }
        }
        let Some(kind) = self.take_one_of(&["index", "table", "schema", "database", "system"]) else {
            return Err(self.error_here());
        };
        concurrently |= self.take_words("concurrently");
        let target = match kind {
            "index" => ReindexTarget::Index(self.object_name()?),
            "table" => ReindexTarget::Table(self.object_name()?),
            "schema" => {
                self.name()?;
                ReindexTarget::All
            }
            _ => {
                if !self.at_end() {
                    self.name()?;
                }
                ReindexTarget::All
            }
        };
        Ok(Statement::Reindex { target, concurrently })
    }

    fn lock_table(&mut self) -> Result<Statement> {
        self.next();
        let _ = self.take_words("table");
        let names = self.list(|reader| {
            let _ = reader.take_words("only");
            let name = reader.object_name()?;
            let _ = reader.take(&Token::Mul);
            Ok(name)
        })?;
        let mut mode = LockMode::AccessExclusive;
        if self.take_words("in") {
            const MODES: &[(&str, LockMode)] = &[
                ("access share", LockMode::AccessShare),
                ("row share", LockMode::RowShare),
                ("row exclusive", LockMode::RowExclusive),
                ("share update exclusive", LockMode::ShareUpdateExclusive),
                ("share row exclusive", LockMode::ShareRowExclusive),
                ("share", LockMode::Share),
                ("exclusive", LockMode::Exclusive),
                ("access exclusive", LockMode::AccessExclusive),
            ];
            let Some((_, found)) = MODES.iter().find(|(words, _)| self.take_words(words)) else {
                return Err(self.error_here());
            };
            mode = *found;
            self.expect_words("mode")?;
        }
        let no_wait = self.take_words("nowait");
        Ok(Statement::LockTable { names, mode, no_wait })
    }

    fn comment(&mut self) -> Result<Statement> {
        self.next();
        self.expect_words("on")?;
        let kind = self.label()?;
        let kind = match kind.as_str() {
            "table" => CommentKind::Table(self.object_name()?),
            "index" => CommentKind::Index(self.object_name()?),
            "column" => {
                let mut parts = vec![self.name()?];
                while self.take(&Token::Period) {
                    parts.push(self.label()?);
                }
                let table = |schema, name| super::ObjectName { schema, name };
                match <[String; 3]>::try_from(parts) {
                    Ok([schema, name, column]) => CommentKind::Column { table: table(Some(schema), name), column },
                    Err(parts) => match <[String; 2]>::try_from(parts) {
                        Ok([name, column]) => CommentKind::Column { table: table(None, name), column },
                        Err(_) => return self.unsupported("a column named otherwise than table.column"),
                    },
                }
            }
            "extension" | "schema" | "database" | "role" | "sequence" => {
                CommentKind::Other { kind, name: self.object_name()?.to_string() }
            }
            "constraint" => {
                let name = self.name()?;
                self.expect_words("on")?;
                let table = self.object_name()?;
                CommentKind::Other { kind, name: format!("{name} on {table}") }
            }
            other => return Err(SqlError::unsupported(format!("COMMENT ON {}", other.to_ascii_uppercase()))),
        };
        self.expect_words("is")?;
        let comment = if self.take_words("null") { None } else { Some(self.string()?) };
        Ok(Statement::Comment { kind, comment })
    }

    fn discard(&mut self) -> Result<Statement> {
        self.next();
        let target = match self.take_one_of(&["all", "plans", "sequences", "temp", "temporary"]) {
            Some("all") => DiscardTarget::All,
            Some("plans") => DiscardTarget::Plans,
            Some("sequences") => DiscardTarget::Sequences,
            Some(_) => DiscardTarget::Temp,
            None => return Err(self.error_here()),
        };
        Ok(Statement::Discard(target))
    }
}

/// A boolean as options write it.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}
