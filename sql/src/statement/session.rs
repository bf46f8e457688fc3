//! Settings and transactions.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{IsolationLevel, Named, SetScope, SetValue, Statement, TransactionModes};
use crate::error::{Result, SqlError};

impl Reader<'_> {
    pub(super) fn set(&mut self) -> Result<Statement> {
        self.next();
        if self.take_words("session characteristics as transaction") {
            let modes = self.transaction_modes(true)?;
            return Ok(Statement::SetTransaction { session: true, modes });
        }
        if self.peek_words("transaction snapshot") {
            return self.unsupported("SET TRANSACTION SNAPSHOT");
        }
        if self.take_words("constraints") {
            if !self.take_words("all") {
                self.list(Self::object_name)?;
            }
            return match self.take_one_of(&["deferred", "immediate"]) {
                Some(word) => Ok(Statement::SetConstraints { deferred: word == "deferred" }),
                None => Err(self.error_here()),
            };
        }
        // SESSION and LOCAL may also be the first word of what is set.
        let scope = if self.take_words("local") {
            SetScope::Local
        } else {
            if !self.peek_words("session authorization") {
                let _ = self.take_words("session");
            }
            SetScope::Session
        };
        if self.take_words("transaction") {
            let modes = self.transaction_modes(true)?;
            return Ok(Statement::SetTransaction { session: false, modes });
        }
        let (name, value) = self.setting()?;
        Ok(Statement::Set { scope, name, value })
    }

    /// What follows SET and its scope.
    fn setting(&mut self) -> Result<(String, SetValue)> {
        if self.take_words("time zone") {
            return Ok(("timezone".into(), self.time_zone()?));
        }
        if self.take_words("names") {
            let encoding = if self.at_end() || self.take_words("default") {
                SetValue::Default
            } else {
                SetValue::Values(vec![self.string()?])
            };
            return Ok(("client_encoding".into(), encoding));
        }
        if self.take_words("schema") {
            return Ok(("search_path".into(), SetValue::Values(vec![self.string()?])));
        }
        if self.take_words("session authorization") {
            let value = if self.take_words("default") {
                SetValue::Default
            } else {
                SetValue::Values(vec![self.name_or_string()?])
            };
            return Ok(("session_authorization".into(), value));
        }
        if self.peek_words("role") && !matches!(self.parser.peek_nth_token_ref(1).token, Token::Eq) {
            self.next();
            let _ = self.take_words("to");
            if self.take_words("default") {
                return Ok(("role".into(), SetValue::Default));
            }
            return Ok(("role".into(), SetValue::Values(vec![self.name_or_string()?])));
        }
        let name = self.setting_name()?;
        if !self.take(&Token::Eq) && !self.take_words("to") {
            return Err(self.error_here());
        }
        if self.take_words("default") {
            return Ok((name, SetValue::Default));
        }
        if name == "timezone" && self.peek_words("interval") {
            return Ok((name, self.time_zone()?));
        }
        let values = self.list(|reader| match reader.peek().token {
            Token::Word(_) | Token::Number(..) | Token::Minus | Token::Plus => reader.option_value(),
            _ => reader.string(),
        })?;
        Ok((name, SetValue::Values(values)))
    }

    fn name_or_string(&mut self) -> Result<String> {
        if matches!(self.peek().token, Token::Word(_)) { self.label() } else { self.string() }
    }

    /// The name of a setting: `hnsw.ef_search`.
    fn setting_name(&mut self) -> Result<String> {
        let mut name = self.name()?;
        while self.take(&Token::Period) {
            name = format!("{name}.{}", self.label()?);
        }
        Ok(name.to_ascii_lowercase())
    }

    /// What follows TIME ZONE.
    fn time_zone(&mut self) -> Result<SetValue> {
        if self.take_words("local") || self.take_words("default") {
            return Ok(SetValue::Default);
        }
        if self.take_words("interval") {
            let text = self.string()?;
            if !self.at_end() {
                self.expect_words("hour")?;
                if self.take_words("to") {
                    self.expect_words("minute")?;
                }
            }
            return Ok(SetValue::Values(vec![text]));
        }
        Ok(SetValue::Values(vec![self.option_value()?]))
    }

    pub(super) fn show(&mut self) -> Result<Statement> {
        self.next();
        self.named_setting().map(Statement::Show)
    }

    pub(super) fn reset(&mut self) -> Result<Statement> {
        self.next();
        self.named_setting().map(Statement::Reset)
    }

    /// What SHOW and RESET name.
    fn named_setting(&mut self) -> Result<Named> {
        let name = if self.take_words("all") {
            return Ok(Named::All);
        } else if self.take_words("time zone") {
            "timezone".to_owned()
        } else if self.take_words("transaction isolation level") {
            "transaction_isolation".to_owned()
        } else if self.take_words("session authorization") {
            "session_authorization".to_owned()
        } else {
            self.setting_name()?
        };
        Ok(Named::Name(name))
    }

    pub(super) fn transaction(&mut self) -> Result<Statement> {
        let word = self.label()?;
        match word.as_str() {
            "begin" | "start" => {
                let start = word == "start";
                if start {
                    self.expect_words("transaction")?;
                } else {
                    self.work();
                }
                let modes = self.transaction_modes(false)?;
                Ok(Statement::Begin { modes, start })
            }
            "savepoint" => Ok(Statement::Savepoint { name: self.name()? }),
            "release" => {
                let _ = self.take_words("savepoint");
                Ok(Statement::Release { name: self.name()? })
            }
            "commit" | "end" => {
                if self.peek_words("prepared") {
                    return self.unsupported("COMMIT PREPARED");
                }
                self.work();
                self.and_chain()?;
                Ok(Statement::Commit)
            }
            _ => {
                if self.peek_words("prepared") {
                    return self.unsupported("ROLLBACK PREPARED");
                }
                self.work();
                if word == "rollback" && self.take_words("to") {
                    let _ = self.take_words("savepoint");
                    return Ok(Statement::RollbackTo { name: self.name()? });
                }
                self.and_chain()?;
                Ok(Statement::Rollback)
            }
        }
    }

    fn work(&mut self) {
        let _ = self.take_words("work") || self.take_words("transaction");
    }

    fn and_chain(&mut self) -> Result<()> {
        if self.take_words("and no chain") {
            return Ok(());
        }
        if self.peek_words("and chain") {
            return Err(self.place_here(SqlError::unsupported("AND CHAIN")));
        }
        Ok(())
    }

    /// Modes, with commas between them or without.
    fn transaction_modes(&mut self, required: bool) -> Result<TransactionModes> {
        let mut modes = TransactionModes::default();
        let mut any = false;
        loop {
            if self.take_words("isolation level") {
                const LEVELS: &[(&str, IsolationLevel)] = &[
                    ("read uncommitted", IsolationLevel::ReadUncommitted),
                    ("read committed", IsolationLevel::ReadCommitted),
                    ("repeatable read", IsolationLevel::RepeatableRead),
                    ("serializable", IsolationLevel::Serializable),
                ];
                let Some((_, level)) = LEVELS.iter().find(|(words, _)| self.take_words(words)) else {
                    return Err(self.error_here());
                };
                modes.isolation = Some(*level);
            } else if self.take_words("read only") {
                modes.read_only = Some(true);
            } else if self.take_words("read write") {
                modes.read_only = Some(false);
            } else if self.take_words("deferrable") {
                modes.deferrable = Some(true);
            } else if self.take_words("not deferrable") {
                modes.deferrable = Some(false);
            } else if required && !any {
                return Err(self.error_here());
            } else {
                return Ok(modes);
            }
            any = true;
            if self.take(&Token::Comma) && self.at_end() {
                return Err(self.error_here());
            }
        }
    }
}
