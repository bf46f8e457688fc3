//! CREATE, DROP and ALTER of everything but tables and indexes, and which of those it is.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{IndexAction, ObjectName, SequenceOptions, Statement};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{PgType, ScalarType};

impl Reader<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        let temporary = ["temp", "temporary", "local", "global"].iter().any(|word| self.peek_nth_word(1, word));
        if temporary
            && ["table", "sequence"].iter().any(|word| self.peek_nth_word(2, word) || self.peek_nth_word(3, word))
        {
            return self.unsupported("a temporary table or sequence");
        }
        if self.take_words("create table") {
            return self.create_table(false);
        }
        if self.take_words("create unlogged table") {
            return self.create_table(true);
        }
        if self.take_words("create index") {
            return self.create_index(false);
        }
        if self.take_words("create unique index") {
            return self.create_index(true);
        }
        if self.take_words("create extension") {
            let if_not_exists = self.take_words("if not exists");
            let name = self.name()?;
            let _ = self.take_words("with");
            loop {
                if self.take_words("schema") {
                    self.name()?;
                } else if self.take_words("version") {
                    self.option_value()?;
                } else if !self.take_words("cascade") {
                    break;
                }
            }
            return Ok(Statement::CreateExtension { name, if_not_exists });
        }
        if self.take_words("create schema") {
            let if_not_exists = self.take_words("if not exists");
            let name = self.name()?;
            if self.take_words("authorization") {
                self.name()?;
            }
            if !self.at_end() {
                return self.unsupported("CREATE SCHEMA with elements");
            }
            return Ok(Statement::CreateSchema { name, if_not_exists });
        }
        if self.take_words("create sequence") {
            let if_not_exists = self.take_words("if not exists");
            let name = self.object_name()?;
            let options = self.sequence_options()?;
            return Ok(Statement::CreateSequence { name, if_not_exists, options });
        }
        if self.take_words("create model") {
            let name = self.name()?;
            self.expect_words("from")?;
            let directory = self.string()?;
            let options = if self.take_words("with") { self.options()? } else { Vec::new() };
            return Ok(Statement::CreateModel { name, directory, options });
        }
        if !self.peek_words("create user mapping")
            && let Some(words) = self.take_one_of(&["create role", "create user", "create group"])
        {
            return self.create_role(words == "create user");
        }
        self.refuse()
    }

    pub(super) fn drop(&mut self) -> Result<Statement> {
        if !self.peek_words("drop user mapping")
            && self.take_one_of(&["drop role", "drop user", "drop group"]).is_some()
        {
            return self.drop_role();
        }
        if self.take_words("drop model") {
            let if_exists = self.take_words("if exists");
            let names = self.list(Self::name)?;
            return Ok(Statement::DropModel { names, if_exists, cascade: self.cascade() });
        }
        let Some(words) =
            self.take_one_of(&["drop table", "drop index", "drop sequence", "drop schema", "drop extension"])
        else {
            return self.refuse();
        };
        let concurrently = words == "drop index" && self.take_words("concurrently");
        let if_exists = self.take_words("if exists");
        let names = self.list(Self::object_name)?;
        let cascade = self.cascade();
        let plain = |names: Vec<ObjectName>| names.into_iter().map(|name| name.to_string()).collect();
        Ok(match words {
            "drop table" => Statement::DropTable { names, if_exists, cascade },
            "drop index" => Statement::DropIndex { names, if_exists, concurrently, cascade },
            "drop sequence" => Statement::DropSequence { names, if_exists, cascade },
            "drop schema" => Statement::DropSchema { names: plain(names), if_exists, cascade },
            _ => Statement::DropExtension { names: plain(names), if_exists, cascade },
        })
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        if self.take_words("alter table") {
            return self.alter_table();
        }
        if self.take_words("alter index") {
            let if_exists = self.take_words("if exists");
            let name = self.object_name()?;
            let action = if self.take_words("rename to") {
                IndexAction::RenameTo { name: self.name()? }
            } else if self.take_words("set") {
                IndexAction::SetOptions(self.options()?)
            } else {
                return self.unsupported("this form of ALTER INDEX");
            };
            return Ok(Statement::AlterIndex { name, if_exists, action });
        }
        if self.take_words("alter sequence") {
            let if_exists = self.take_words("if exists");
            let name = self.object_name()?;
            if self.take_words("owner to") {
                return Ok(Statement::SequenceOwner { name, if_exists, role: self.role_name()? });
            }
            let options = self.sequence_options()?;
            if !self.at_end() {
                return self.unsupported("this form of ALTER SEQUENCE");
            }
            return Ok(Statement::AlterSequence { name, if_exists, options });
        }
        if self.take_words("alter default privileges") {
            return self.default_privileges();
        }
        if !self.peek_words("alter user mapping")
            && let Some(words) = self.take_one_of(&["alter role", "alter user", "alter group"])
        {
            return self.alter_role(words == "alter group");
        }
        self.refuse()
    }

    /// The options of a sequence, in any order.
    pub(super) fn sequence_options(&mut self) -> Result<SequenceOptions> {
        let mut options = SequenceOptions::default();
        loop {
            if self.take_words("as") {
                let ty = self.type_name()?;
                let integer = [ScalarType::Int2, ScalarType::Int4, ScalarType::Int8];
                if !integer.iter().any(|&scalar| ty.ty == PgType::Scalar(scalar)) {
                    let message = "sequence type must be smallint, integer, or bigint";
                    return Err(SqlError::new(SqlState::InvalidParameterValue, message));
                }
                options.ty = Some(ty);
            } else if self.take_words("increment") {
                let _ = self.take_words("by");
                options.increment = Some(self.integer()?);
            } else if self.take_words("minvalue") {
                options.min_value = Some(Some(self.integer()?));
            } else if self.take_words("no minvalue") {
                options.min_value = Some(None);
            } else if self.take_words("maxvalue") {
                options.max_value = Some(Some(self.integer()?));
            } else if self.take_words("no maxvalue") {
                options.max_value = Some(None);
            } else if self.take_words("start") {
                let _ = self.take_words("with");
                options.start = Some(self.integer()?);
            } else if self.take_words("restart") {
                let numbered = self.take_words("with")
                    || matches!(self.peek().token, Token::Number(..) | Token::Minus | Token::Plus);
                options.restart = Some(if numbered { Some(self.integer()?) } else { None });
            } else if self.take_words("cache") {
                options.cache = Some(self.integer()?);
            } else if self.take_words("cycle") {
                options.cycle = Some(true);
            } else if self.take_words("no cycle") {
                options.cycle = Some(false);
            } else if self.take_words("owned by none") {
                options.owned_by = Some(None);
            } else if self.take_words("owned by") {
                let mut parts = vec![self.name()?];
                while self.take(&Token::Period) {
                    parts.push(self.label()?);
                }
                let column = parts.pop().unwrap_or_default();
                let table = match parts.as_mut_slice() {
                    [name] => ObjectName { schema: None, name: std::mem::take(name) },
                    [schema, name] => ObjectName { schema: Some(std::mem::take(schema)), name: std::mem::take(name) },
                    _ => return Err(SqlError::new(SqlState::SyntaxError, "invalid OWNED BY option")),
                };
                options.owned_by = Some(Some((table, column)));
            } else {
                return Ok(options);
            }
        }
    }
}
