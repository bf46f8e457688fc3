//! The transaction of a session: where it stands, how it begins and ends, its savepoints, and the settings that end or are undone with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::statement::{IsolationLevel, Statement, TransactionModes};
use lodedb_sql::{SqlError, SqlState};

use super::clock::now_us;
use super::identity::is_of_identity;
use super::outcome::{Outcome, Prepared, TransactionStatus};
use super::session::Session;
use super::settings::{ISOLATION, READ_ONLY, Settings};
use crate::commit::{Isolation, Transaction};

/// The transaction a session is in.
#[derive(Debug, Default)]
pub(super) enum State {
    /// None.
    #[default]
    Idle,
    /// One that ends with the message or at Sync.
    Implicit(Box<Transaction>),
    /// A block that BEGIN opened.
    Block(Box<Transaction>),
    /// A block that failed, with its transaction if it can return to a savepoint.
    Failed(Option<Box<Transaction>>),
}

/// What a rollback to a savepoint brings back beside rows and definitions.
#[derive(Debug)]
pub(super) struct SavepointState {
    settings: Arc<Settings>,
    local: BTreeMap<String, Option<String>>,
    read_only: bool,
    /// How many things the commit was to do.
    intentions: usize,
    /// The moment of the transaction's advisory locks.
    advisory: u64,
}

impl Session {
    /// Where the session stands.
    pub fn status(&self) -> TransactionStatus {
        match self.state {
            State::Idle | State::Implicit(_) => TransactionStatus::Idle,
            State::Block(_) => TransactionStatus::InTransaction,
            State::Failed(_) => TransactionStatus::Failed,
        }
    }

    /// Whether a block is open.
    pub(super) fn in_block(&self) -> bool {
        matches!(self.state, State::Block(_) | State::Failed(_))
    }

    /// Refuses everything in a block that failed.
    pub(super) fn check_not_failed(&self) -> Result<()> {
        if !matches!(self.state, State::Failed(_)) {
            return Ok(());
        }
        Err(SqlError::new(
            SqlState::InFailedSqlTransaction,
            "current transaction is aborted, commands ignored until end of transaction block",
        ))
    }

    /// The isolation of transactions that do not name any.
    pub(super) fn default_isolation(&self) -> Result<Isolation> {
        Ok(match self.settings.get("default_transaction_isolation")?.as_str() {
            "serializable" => Isolation::Serializable,
            "repeatable read" => Isolation::RepeatableRead,
            _ => Isolation::ReadCommitted,
        })
    }

    fn new_transaction(&self) -> Result<Box<Transaction>> {
        let isolation = self.default_isolation()?;
        Ok(Box::new(Transaction::begin(self.db.engine().clone(), isolation, self.hooks.advisory.owner())))
    }

    /// Begins a transaction for the message under way, if none is open.
    pub(super) fn begin_implicit(&mut self) -> Result<()> {
        if matches!(self.state, State::Idle | State::Failed(_)) {
            self.state = State::Implicit(self.new_transaction()?);
        }
        Ok(())
    }

    /// The transaction the next statement writes in.
    pub(super) fn transaction(&mut self) -> Result<&mut Transaction> {
        if self.read_only {
            return Err(SqlError::new(
                SqlState::ReadOnlySqlTransaction,
                "cannot execute this statement in a read-only transaction",
            ));
        }
        self.open_transaction()
    }

    /// The transaction the next statement locks in, which may be one that only reads.
    pub(super) fn open_transaction(&mut self) -> Result<&mut Transaction> {
        self.begin_implicit()?;
        let timeouts = self.settings.lock_timeouts(self.db.engine().options.deadlock_timeout);
        let (State::Implicit(tx) | State::Block(tx)) = &mut self.state else {
            return Err(SqlError::internal("no transaction could be opened"));
        };
        tx.set_timeouts(timeouts);
        Ok(tx)
    }

    pub(super) fn begin(&mut self, modes: &TransactionModes, prepared: &Prepared) -> Result<Outcome> {
        let tag = prepared.statement.statement.command_tag().to_owned();
        match std::mem::take(&mut self.state) {
            State::Block(tx) => {
                self.state = State::Block(tx);
                self.notice(
                    "WARNING",
                    SqlError::new(SqlState::ActiveSqlTransaction, "there is already a transaction in progress"),
                );
                return Ok(Outcome::Command(tag));
            }
            // BEGIN within a message of several statements turns what it did so far into a block.
            State::Implicit(tx) => self.state = State::Block(tx),
            State::Idle | State::Failed(_) => self.state = State::Block(self.new_transaction()?),
        }
        self.transaction_time_us = now_us();
        self.block_settings = Some(self.settings.clone());
        self.read_only = self.settings.is_on("default_transaction_read_only");
        self.set_modes(modes)?;
        Ok(Outcome::Command(tag))
    }

    /// Sets how the open transaction is isolated, and whether it may write.
    pub(super) fn set_modes(&mut self, modes: &TransactionModes) -> Result<()> {
        let (State::Implicit(tx) | State::Block(tx)) = &mut self.state else { return Ok(()) };
        let refused = |message: &str| Err(SqlError::new(SqlState::ActiveSqlTransaction, message));
        if let Some(level) = modes.isolation {
            let isolation = match level {
                IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => Isolation::ReadCommitted,
                IsolationLevel::RepeatableRead => Isolation::RepeatableRead,
                IsolationLevel::Serializable => Isolation::Serializable,
            };
            if isolation != tx.isolation() {
                if tx.has_read() {
                    return refused("SET TRANSACTION ISOLATION LEVEL must be called before any query");
                }
                if tx.savepoints() > 0 {
                    return refused("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
                }
                tx.set_isolation(isolation);
            }
            self.set_of_transaction(ISOLATION, Some(level.name()))?;
        }
        if let Some(read_only) = modes.read_only {
            if self.read_only && !read_only {
                let (State::Implicit(tx) | State::Block(tx)) = &self.state else { return Ok(()) };
                if tx.has_read() {
                    return refused("transaction read-write mode must be set before any query");
                }
                if tx.savepoints() > 0 {
                    return refused("cannot set transaction read-write mode inside a read-only transaction");
                }
            }
            self.read_only = read_only;
            self.set_of_transaction(READ_ONLY, Some(if read_only { "on" } else { "off" }))?;
        }
        let (State::Implicit(tx) | State::Block(tx)) = &self.state else { return Ok(()) };
        // It would never be refused; elsewhere the word says nothing.
        if modes.deferrable == Some(true) && self.read_only && tx.isolation() == Isolation::Serializable {
            return Err(SqlError::unsupported("DEFERRABLE"));
        }
        Ok(())
    }

    /// Sets what is shown of the open transaction.
    fn set_of_transaction(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let mut settings = Settings::clone(&self.settings);
        settings.set(name, value)?;
        self.settings = Arc::new(settings);
        Ok(())
    }

    /// How many savepoints the open transaction has.
    pub(super) fn savepoints(&self) -> usize {
        self.savepoint_states.len()
    }

    /// SAVEPOINT, RELEASE and ROLLBACK TO.
    pub(super) fn savepoint(&mut self, statement: &Statement) -> Result<Outcome> {
        let tag = statement.command_tag();
        let (State::Block(tx) | State::Failed(Some(tx))) = &mut self.state else {
            let message = match (&self.state, statement) {
                (State::Failed(None), Statement::RollbackTo { name }) => {
                    return Err(SqlError::new(
                        SqlState::InvalidSavepointSpecification,
                        format!("savepoint \"{name}\" does not exist"),
                    ));
                }
                (_, Statement::Savepoint { .. }) => "SAVEPOINT can only be used in transaction blocks",
                (_, Statement::Release { .. }) => "RELEASE SAVEPOINT can only be used in transaction blocks",
                _ => "ROLLBACK TO SAVEPOINT can only be used in transaction blocks",
            };
            return Err(SqlError::new(SqlState::NoActiveSqlTransaction, message));
        };
        match statement {
            Statement::Savepoint { name } => {
                tx.savepoint(name);
                self.savepoint_states.push(SavepointState {
                    settings: self.settings.clone(),
                    local: self.local_settings.clone(),
                    read_only: self.read_only,
                    intentions: self.intentions.len(),
                    advisory: self.hooks.advisory.mark(),
                });
            }
            Statement::Release { name } => {
                let left = tx.release_savepoint(name)?;
                self.savepoint_states.truncate(left);
                self.savepoints_left(left, false);
            }
            Statement::RollbackTo { name } => {
                let left = tx.rollback_to_savepoint(name)?;
                self.savepoint_states.truncate(left);
                self.savepoints_left(left, true);
                if let Some(at) = self.savepoint_states.last() {
                    self.settings = at.settings.clone();
                    self.local_settings = at.local.clone();
                    self.read_only = at.read_only;
                    self.intentions.truncate(at.intentions);
                    self.hooks.advisory.release_after(at.advisory);
                }
                self.state = match std::mem::take(&mut self.state) {
                    State::Failed(Some(tx)) => State::Block(tx),
                    other => other,
                };
            }
            other => return Err(SqlError::internal(format!("{} is no savepoint", other.command_tag()))),
        }
        Ok(Outcome::Command(tag.to_owned()))
    }

    /// The statement failed: an implicit transaction is rolled back, a block waits for its end.
    pub fn statement_failed(&mut self) {
        self.end_statement(false);
        match std::mem::take(&mut self.state) {
            State::Idle | State::Implicit(_) => {}
            // What came before the last savepoint can be returned to.
            State::Block(mut tx) => self.state = State::Failed(tx.rollback_to_last_savepoint().then_some(tx)),
            State::Failed(tx) => self.state = State::Failed(tx),
        }
        match (&self.state, self.savepoint_states.last()) {
            (State::Failed(Some(_)), Some(at)) => self.hooks.advisory.release_after(at.advisory),
            _ => self.transaction_over(false),
        }
        self.presence.rests(self.status(), &self.settings);
    }

    pub(super) async fn commit_block(&mut self) -> Result<Outcome> {
        match std::mem::take(&mut self.state) {
            State::Idle => {
                self.notice(
                    "WARNING",
                    SqlError::new(SqlState::NoActiveSqlTransaction, "there is no transaction in progress"),
                );
                Ok(Outcome::Command("COMMIT".into()))
            }
            State::Failed(_) => {
                self.end_block(false);
                Ok(Outcome::Command("ROLLBACK".into()))
            }
            State::Implicit(tx) | State::Block(tx) => {
                let result = match self.hold_cursors().await.and_then(|()| self.absorb_intentions()) {
                    Ok(()) => tx.commit().await,
                    Err(error) => Err(error),
                };
                self.end_block(result.is_ok());
                result.map(|()| Outcome::Command("COMMIT".into()))
            }
        }
    }

    pub(super) fn rollback_block(&mut self) -> Outcome {
        match std::mem::take(&mut self.state) {
            State::Idle => self.notice(
                "WARNING",
                SqlError::new(SqlState::NoActiveSqlTransaction, "there is no transaction in progress"),
            ),
            State::Failed(_) | State::Implicit(_) | State::Block(_) => self.end_block(false),
        }
        Outcome::Command("ROLLBACK".into())
    }

    pub(super) async fn commit_implicit(&mut self) -> Result<()> {
        // Rows were streamed since the statement began: they may have drawn from sequences.
        self.absorb()?;
        let committed = match std::mem::take(&mut self.state) {
            State::Implicit(tx) => tx.commit().await,
            other => {
                self.state = other;
                Ok(())
            }
        };
        if !self.in_block() {
            self.transaction_over(committed.is_ok());
        }
        committed
    }

    /// Undoes what the message did outside a block.
    pub fn abort_implicit(&mut self) {
        if let State::Implicit(_) = self.state {
            self.state = State::Idle;
            self.transaction_over(false);
        }
    }

    /// The transaction is over: its advisory locks are free, and what was to be done with its commit is done, or is not to be done.
    fn transaction_over(&mut self, committed: bool) {
        if committed {
            self.carry_out_intentions();
        } else {
            self.intentions.clear();
            self.hooks.effects.lock().intentions.clear();
        }
        self.hooks.advisory.transaction_ended();
    }

    /// After a block: SET LOCAL ends, SET is undone by a rollback.
    fn end_block(&mut self, committed: bool) {
        if let Some(before) = self.block_settings.take() {
            if committed {
                let mut settings = Settings::clone(&self.settings);
                for (name, value) in std::mem::take(&mut self.local_settings) {
                    // The value was accepted once, so it is accepted again.
                    let _ = settings.set(&name, value.as_deref());
                }
                self.settings = Arc::new(settings);
            } else {
                self.settings = before;
            }
        }
        if [ISOLATION, READ_ONLY].iter().any(|name| self.settings.chosen(name).is_some()) {
            let mut settings = Settings::clone(&self.settings);
            for of_transaction in [ISOLATION, READ_ONLY] {
                // Not one of the block any more: what is shown is what the next one will have.
                let _ = settings.set(of_transaction, None);
            }
            self.settings = Arc::new(settings);
        }
        self.savepoint_states.clear();
        self.transaction_over(committed);
        self.end_cursors(committed);
        self.local_settings.clear();
        self.read_only = false;
        self.transaction_time_us = 0;
        if self.settings.identity() != (None, None) {
            self.show_superuser();
        }
    }

    /// Changes a setting, for the session or for the transaction.
    pub(super) fn change_setting(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if is_of_identity(name) {
            return self.change_identity(&name.to_ascii_lowercase(), value, local);
        }
        self.check_setting(name)?;
        self.change_plain_setting(name, value, local)
    }

    /// Changes whom the session acts for, if it may.
    fn change_identity(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        let mut wanted = Settings::clone(&self.settings);
        wanted.set(name, value.or_else(|| self.defaults.chosen(name)))?;
        if name == "session_authorization" {
            wanted.set("role", None)?;
        }
        self.identity_in(&self.catalog(), &wanted)?;
        self.change_plain_setting(name, value, local)?;
        if name == "session_authorization" {
            self.change_plain_setting("role", Some("none"), local)?;
        }
        self.show_superuser();
        Ok(())
    }

    fn change_plain_setting(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if let ISOLATION | READ_ONLY = name {
            return self.change_transaction(name, value);
        }
        if name.starts_with("default_transaction_") {
            self.keep_modes();
        }
        if local {
            if self.block_settings.is_none() {
                self.notice(
                    "WARNING",
                    SqlError::new(SqlState::NoActiveSqlTransaction, "SET LOCAL can only be used in transaction blocks"),
                );
                return Settings::clone(&self.settings).set(name, value);
            }
            let before = self.settings.get(name)?;
            self.local_settings.entry(name.to_owned()).or_insert(Some(before));
        } else {
            self.local_settings.remove(name);
        }
        let mut settings = Settings::clone(&self.settings);
        // Without a value it goes back to what the session began with.
        settings.set(name, value.or_else(|| self.defaults.chosen(name)))?;
        self.settings = Arc::new(settings);
        Ok(())
    }

    /// Changes a setting that is of the open transaction: another way to say SET TRANSACTION.
    fn change_transaction(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let mut checked = Settings::clone(&self.settings);
        checked.set(name, value)?;
        let text = checked.get(name)?;
        if !self.in_block() {
            // Of a transaction of its own, which is over at once.
            return Ok(());
        }
        let mut modes = TransactionModes::default();
        if name == ISOLATION {
            modes.isolation = IsolationLevel::ALL.into_iter().find(|level| level.name() == text);
        } else {
            modes.read_only = Some(text == "on");
        }
        self.set_modes(&modes)
    }

    /// What is shown of an open block stays, whatever becomes of the settings that it began with.
    fn keep_modes(&mut self) {
        if self.in_block() {
            let mut settings = Settings::clone(&self.settings);
            for of_transaction in [ISOLATION, READ_ONLY] {
                // Its own value was accepted once.
                let _ = settings.set(of_transaction, self.settings.get(of_transaction).ok().as_deref());
            }
            self.settings = Arc::new(settings);
        }
    }

    /// All settings as they were at the start of the session.
    pub(super) fn reset_settings(&mut self) {
        self.keep_modes();
        let mut settings = Settings::clone(&self.defaults);
        for of_transaction in [ISOLATION, READ_ONLY] {
            // The value was accepted once, so it is accepted again.
            let _ = settings.set(of_transaction, self.settings.chosen(of_transaction));
        }
        self.settings = Arc::new(settings);
        self.show_superuser();
    }
}
