//! A session: its settings, its transaction, and the statements it runs one after the other.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lodedb_sql::error::Result;
use lodedb_sql::parse::{ParsedStatement, parse};
use lodedb_sql::statement::Statement;
use lodedb_sql::{Datum, PgType, SqlError, SqlState};

use super::admission::{Place, needs_place};
use super::block::{SavepointState, State};
use super::clock::now_us;
use super::counters::StatementKind;
use super::cursors::Cursor;
use super::engine::{Db, Engine};
use super::hooks::{Effects, SessionHooks};
pub use super::identity::Authority;
use super::identity::{is_of_identity, login_role};
use super::notify::Intention;
use super::outcome::{BatchStream, Field, Outcome, Prepared, RowsTag, TransactionStatus};
use super::presence::Presence;
use super::settings::{Environment, SLOW, Settings, parse_duration_ms};
use super::slow::{Slow, Subject};
use crate::catalog::rights::RoleId;
use crate::commit::locks::LockMode;
use crate::commit::overlay::Overlay;
use crate::commit::{Isolation, Reader};
use crate::query::{CancelToken, PreparedPlan};

/// Who a session is for, and what it asked for at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Settings given at the start.
    pub parameters: Vec<(String, String)>,
    /// The address and port of the client, if it came over a network.
    pub client: Option<(IpAddr, u16)>,
    /// What it may do.
    pub authority: Authority,
    /// What the client's connection is encrypted with, if it is: version, cipher and bits.
    pub encryption: Option<(String, String, i32)>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            user: "lodedb".into(),
            database: "lodedb".into(),
            parameters: Vec::new(),
            client: None,
            authority: Authority::Superuser,
            encryption: None,
        }
    }
}

/// Something a client should know that is no error.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// `NOTICE` or `WARNING`.
    pub severity: &'static str,
    /// What there is to say.
    pub error: SqlError,
}

/// A statement whose time is measured, until its session has answered and committed it.
#[derive(Debug)]
struct Measured {
    kind: StatementKind,
    begun: Instant,
    /// How long it took so far, while the session waits for the message that commits it.
    paused: Option<Duration>,
    /// What ran, if slow statements are logged.
    subject: Option<Subject>,
}

/// A session. It runs one statement at a time.
#[derive(Debug)]
pub struct Session {
    pub(super) db: Db,
    pub(super) number: i32,
    /// Who it began as.
    pub(super) user: String,
    pub(super) login_role: RoleId,
    pub(super) database: String,
    pub(super) state: State,
    pub(super) settings: Arc<Settings>,
    pub(super) defaults: Arc<Settings>,
    /// The settings as they were before the block, and those of SET LOCAL.
    pub(super) block_settings: Option<Arc<Settings>>,
    pub(super) local_settings: BTreeMap<String, Option<String>>,
    /// What there was at each savepoint.
    pub(super) savepoint_states: Vec<SavepointState>,
    pub(super) read_only: bool,
    pub(super) transaction_time_us: i64,
    pub(super) cancel: CancelToken,
    notices: Vec<Notice>,
    /// The settings as the client was told of them.
    reported: Arc<Settings>,
    prepared: HashMap<String, Prepared>,
    pub(super) cursors: BTreeMap<String, Cursor>,
    pub(super) hooks: Arc<SessionHooks>,
    pub(super) presence: Arc<Presence>,
    /// What LISTEN, UNLISTEN and NOTIFY of the open transaction do when it commits.
    pub(super) intentions: Vec<Intention>,
    measured: Option<Measured>,
    /// The place of the statement under way among those that run.
    place: Option<Place>,
    /// Statements to be logged.
    pub(super) slow: Vec<Slow>,
    /// Whether a call of the embedded interface has begun and not ended.
    pub(super) in_call: bool,
}

impl Session {
    pub(super) fn new(db: Db, number: i32, options: SessionOptions) -> Result<Self> {
        let mut settings = db.engine().shown.clone();
        settings.set("session_authorization", None)?;
        if let Some(limit) = db.engine().options.log_min_duration {
            settings.set(SLOW, Some(&limit.as_millis().to_string()))?;
        }
        for (name, value) in options.parameters.iter().filter(|(name, _)| !is_of_identity(name)) {
            settings.set(name, Some(value))?;
        }
        let login_role = login_role(&db.engine().view().catalog, &options.user, options.authority)?;
        let settings = Arc::new(settings);
        let hooks = SessionHooks::new(db.engine().clone(), number);
        let cancel = CancelToken::new();
        let presence = Presence::new(number, login_role, &options, cancel.clone(), settings.clone());
        let presence = Arc::new(presence);
        db.engine().sessions.enter(presence.clone());
        let mut session = Self {
            db,
            number,
            user: options.user,
            login_role,
            database: options.database,
            state: State::Idle,
            defaults: settings.clone(),
            reported: settings.clone(),
            settings,
            block_settings: None,
            savepoint_states: Vec::new(),
            local_settings: BTreeMap::new(),
            read_only: false,
            transaction_time_us: 0,
            cancel,
            notices: Vec::new(),
            prepared: HashMap::new(),
            cursors: BTreeMap::new(),
            hooks,
            presence,
            intentions: Vec::new(),
            measured: None,
            place: None,
            slow: Vec::new(),
            in_call: false,
        };
        session.show_superuser();
        for (name, value) in &options.parameters {
            session.check_setting(name)?;
            if is_of_identity(name) {
                session.change_setting(name, Some(value), false)?;
            }
        }
        session.defaults = session.settings.clone();
        session.reported = session.settings.clone();
        Ok(session)
    }

    /// The engine it works on.
    pub(super) fn engine(&self) -> &Arc<Engine> {
        self.db.engine()
    }

    /// How others see and reach it.
    pub fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// The number of the session, as `pg_backend_pid()` gives it.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// The settings a client is told of at the start.
    pub fn parameter_status(&self) -> Vec<(String, String)> {
        self.told(&self.settings)
    }

    fn told(&self, settings: &Settings) -> Vec<(String, String)> {
        let mut all = settings.reported();
        for (name, value) in &mut all {
            if name == "session_authorization" && value.is_empty() {
                value.clone_from(&self.user);
            }
        }
        all
    }

    /// The settings that changed since the last call, for the client.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        if self.settings == self.reported {
            return Vec::new();
        }
        let (before, mut changed) = (self.told(&self.reported), self.parameter_status());
        changed.retain(|entry| !before.contains(entry));
        self.reported = self.settings.clone();
        changed
    }

    /// What there is to say besides the answer, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn notice(&mut self, severity: &'static str, error: SqlError) {
        self.notices.push(Notice { severity, error });
    }

    /// The session's time zone.
    pub fn zone(&self) -> chrono_tz::Tz {
        self.settings.zone()
    }

    /// A result with the names of objects (`regclass` and its kin) in the columns that are read as text; without it
    /// they come as numbers.
    pub fn name_objects(&self, batches: BatchStream, fields: &[Field], is_text: impl Fn(usize) -> bool) -> BatchStream {
        crate::query::name_objects(batches, fields, self.catalog(), is_text)
    }

    /// How long the client may send nothing now, and the error if it does.
    pub fn rest_limit(&self) -> Option<(Duration, SqlError)> {
        let (name, state, what) = match self.status() {
            TransactionStatus::Idle => ("idle_session_timeout", SqlState::IdleSessionTimeout, "idle-session"),
            TransactionStatus::InTransaction | TransactionStatus::Failed => (
                "idle_in_transaction_session_timeout",
                SqlState::IdleInTransactionSessionTimeout,
                "idle-in-transaction",
            ),
        };
        let limit = parse_duration_ms(self.settings.chosen(name)?).filter(|&limit| limit > 0)?;
        let message = format!("terminating connection due to {what} timeout");
        Some((Duration::from_millis(limit), SqlError::new(state, message)))
    }

    /// Ends the statement under way when it is told to, from any thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Parses a message: any number of statements. In a block that failed, only what is no SQL at all is told.
    pub fn parse(&self, sql: &str) -> Result<Vec<ParsedStatement>> {
        parse(sql).map_err(|error| match self.check_not_failed() {
            Err(failed) if error.state() != SqlState::SyntaxError => failed,
            _ => error,
        })
    }

    pub(super) fn environment(&self) -> Arc<Environment> {
        let (now, identity) = (now_us(), self.identity());
        Arc::new(Environment {
            user: identity.user,
            session_user: identity.session_user,
            role: identity.role,
            login: (self.login_role, self.user.clone()),
            catalog: self.catalog(),
            database: self.database.clone(),
            session: self.number,
            zone: self.settings.zone(),
            transaction_time_us: if self.transaction_time_us == 0 { now } else { self.transaction_time_us },
            statement_time_us: now,
            settings: self.settings.clone(),
            hooks: self.hooks.hooks(),
        })
    }

    /// What the next statement reads.
    pub(super) fn reader(&mut self) -> Reader {
        match &mut self.state {
            State::Implicit(tx) | State::Block(tx) => {
                tx.start_statement();
                tx.reader()
            }
            State::Idle | State::Failed(_) => {
                Reader { view: self.db.engine().view(), overlay: Arc::new(Overlay::default()) }
            }
        }
    }

    /// A statement is about to read tables.
    pub(super) fn note_reads(&mut self, plan: &PreparedPlan) -> Result<()> {
        if matches!(self.state, State::Idle) && self.default_isolation()? == Isolation::Serializable {
            self.begin_implicit()?;
        }
        match &mut self.state {
            State::Implicit(tx) | State::Block(tx) if tx.isolation() == Isolation::Serializable => {
                tx.start_statement();
                tx.reads(plan.tables_read())
            }
            _ => Ok(()),
        }
    }

    /// Makes a statement ready. `types`: those the client gave for `$1`, `$2`, ...
    pub async fn prepare(&mut self, statement: ParsedStatement, types: &[Option<PgType>]) -> Result<Prepared> {
        self.begin_statement(&statement.statement);
        let ready = self.make_ready(statement, types).await;
        if ready.is_ok() {
            // It counts when it runs.
            self.measured = None;
        }
        self.judged(ready)
    }

    /// As [`Session::prepare`], as a part of the statement under way.
    pub(super) async fn make_ready(
        &mut self,
        statement: ParsedStatement,
        types: &[Option<PgType>],
    ) -> Result<Prepared> {
        if !ends_transaction(&statement.statement) {
            self.check_not_failed()?;
        }
        let result = self.prepare_inner(statement, types).await;
        if result.is_err() {
            self.statement_failed();
        }
        result
    }

    async fn prepare_inner(&mut self, statement: ParsedStatement, types: &[Option<PgType>]) -> Result<Prepared> {
        let statement = Arc::new(statement);
        let mut prepared =
            Prepared { parameters: Arc::from([]), fields: None, statement: statement.clone(), plan: None };
        match &statement.statement {
            Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
                self.plan(&mut prepared, types).await?;
            }
            Statement::Explain { statement: explained, .. } => {
                if let Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) =
                    &**explained
                {
                    self.plan(&mut prepared, types).await?;
                }
                // What it answers, whatever the statement within would.
                prepared.fields = Some(Arc::from([super::outcome::text_field("QUERY PLAN")]));
            }
            Statement::Declare(_) => {
                self.plan(&mut prepared, types).await?;
                prepared.fields = None;
            }
            Statement::Fetch { cursor, .. } => prepared.fields = Some(self.cursor_fields(cursor)?),
            Statement::Check { .. } => prepared.fields = Some(super::upkeep::check_fields()),
            Statement::Show(name) => prepared.fields = Some(super::commands::show_fields(name)),
            Statement::Execute { name, .. } => {
                prepared.fields = self.prepared_statement(name)?.fields.clone();
            }
            // Its parameters are those of the statement within.
            Statement::Prepare { .. } => {}
            other => {
                if statement.parameter_count > 0 {
                    return Err(SqlError::new(
                        SqlState::UndefinedParameter,
                        format!("{} takes no parameters", other.command_tag()),
                    ));
                }
            }
        }
        Ok(prepared)
    }

    async fn plan(&mut self, prepared: &mut Prepared, types: &[Option<PgType>]) -> Result<()> {
        let (reader, environment) = (self.reader(), self.environment());
        let query = &self.db.engine().query;
        let plan = query.prepare(&reader, &environment, &prepared.statement, types).await?;
        prepared.parameters = plan.parameters();
        prepared.fields = plan.fields();
        prepared.plan = Some(plan);
        Ok(())
    }

    /// Runs the query of a cursor; gives its columns and its rows.
    pub(super) async fn open_cursor(
        &mut self,
        prepared: &Prepared,
        params: &[Datum],
    ) -> Result<(Arc<[Field]>, BatchStream)> {
        // DECLARE itself has no columns: what they are is asked again.
        let types: Vec<Option<PgType>> = prepared.parameters.iter().copied().map(Some).collect();
        let mut prepared = prepared.clone();
        self.plan(&mut prepared, &types).await?;
        let (Some(plan), Some(fields)) = (&prepared.plan, prepared.fields.clone()) else {
            return Err(SqlError::internal("the query of a cursor was not planned"));
        };
        if plan.locks_rows() {
            return match self.write(&prepared, params).await? {
                Outcome::Rows { batches, .. } => Ok((fields, batches)),
                _ => Err(SqlError::internal("a query that locks rows gave none")),
            };
        }
        self.note_reads(plan)?;
        let (reader, environment) = (self.reader(), self.environment());
        // It goes on in statements to come, each of which is cancelled by itself.
        let cancel = CancelToken::new();
        let running = self.db.engine().query.query(plan, reader, environment, params, cancel).await?;
        Ok((fields, running.batches))
    }

    /// The statement with a plan for the catalog as it is now.
    async fn current(&mut self, prepared: &Prepared) -> Result<Prepared> {
        let reader = self.reader();
        let fresh = prepared.plan.as_ref().is_none_or(|plan| plan.is_current(&reader));
        if fresh {
            return Ok(prepared.clone());
        }
        let types: Vec<Option<PgType>> = prepared.parameters.iter().copied().map(Some).collect();
        let mut again = prepared.clone();
        self.plan(&mut again, &types).await?;
        if again.fields != prepared.fields {
            return Err(SqlError::new(SqlState::FeatureNotSupported, "cached plan must not change result type"));
        }
        Ok(again)
    }

    /// Runs a statement that was made ready.
    pub async fn execute_prepared(&mut self, prepared: &Prepared, params: Vec<Datum>) -> Result<Outcome> {
        self.log_slow().await;
        let outcome = match self.admit(&prepared.statement).await {
            Ok(()) => self.run_shown(prepared, params).await,
            Err(error) => Err(error),
        };
        self.judged(outcome)
    }

    /// As [`Session::execute_prepared`], as a part of the statement under way.
    pub(super) async fn run_ready(&mut self, prepared: &Prepared, params: Vec<Datum>) -> Result<Outcome> {
        let statement = prepared.statement.clone();
        if !ends_transaction(&statement.statement) {
            self.check_not_failed()?;
        }
        if let Err(error) = self.authorize(&statement.statement) {
            self.statement_failed();
            return Err(error);
        }
        if self.read_only && !statement.statement.is_read_only() {
            self.statement_failed();
            return Err(SqlError::new(
                SqlState::ReadOnlySqlTransaction,
                format!("cannot execute {} in a read-only transaction", statement.statement.command_tag()),
            ));
        }
        if statement.statement.grows()
            && let Err(error) = self.engine().check_room()
        {
            self.statement_failed();
            return Err(error);
        }
        let cancel = self.cancel.clone();
        let result = or_cancelled(&cancel, self.dispatch(prepared, &params)).await;
        self.keep_subject(prepared, params);
        if result.is_err() {
            self.statement_failed();
        }
        result
    }

    /// Runs a statement without parameters.
    pub async fn run(&mut self, statement: ParsedStatement) -> Result<Outcome> {
        self.log_slow().await;
        let outcome = match self.admit(&statement).await {
            Ok(()) => self.run_parsed(statement).await,
            Err(error) => Err(error),
        };
        self.judged(outcome)
    }

    /// A statement begins, and waits until its turn comes. None of an open transaction waits: others wait for its locks.
    async fn admit(&mut self, statement: &ParsedStatement) -> Result<()> {
        self.begin_statement(&statement.statement);
        self.cancel = self.cancel.renewed(self.settings.duration_ms("statement_timeout"));
        if matches!(self.state, State::Idle) && needs_place(&statement.statement) && !self.may_wait(statement) {
            let cancel = self.cancel.clone();
            self.place = Some(or_cancelled(&cancel, self.db.engine().admission.admit()).await?);
        }
        Ok(())
    }

    /// Whether a statement may wait for an advisory lock, which others may need a place to give back.
    fn may_wait(&self, statement: &ParsedStatement) -> bool {
        let text = match &statement.statement {
            Statement::Execute { name, .. } => self.prepared.get(name).map_or("", |prepared| &prepared.statement.text),
            _ => &statement.text,
        };
        text.contains("advisory")
    }

    /// The statement under way gives its place away, to be dropped or held by its transaction.
    pub fn take_place(&mut self) -> Option<Place> {
        self.place.take()
    }

    /// The statement under way, which gave its place away to wait for its client, goes on as soon as there is one again.
    pub async fn next_place(&mut self) -> Result<()> {
        let cancel = self.cancel.clone();
        self.place = Some(or_cancelled(&cancel, self.db.engine().admission.next_place()).await?);
        Ok(())
    }

    async fn run_parsed(&mut self, statement: ParsedStatement) -> Result<Outcome> {
        let prepared = self.make_ready(statement, &[]).await?;
        if !prepared.parameters.is_empty() {
            self.statement_failed();
            return Err(SqlError::new(SqlState::UndefinedParameter, "there is no parameter $1"));
        }
        self.run_shown(&prepared, Vec::new()).await
    }

    /// Runs a statement that others can see meanwhile.
    async fn run_shown(&mut self, prepared: &Prepared, params: Vec<Datum>) -> Result<Outcome> {
        let transaction_us = Some(self.transaction_time_us).filter(|&us| us != 0);
        self.presence.begins(&prepared.statement, transaction_us);
        self.run_ready(prepared, params).await
    }

    /// A statement begins. The one before is over, if nobody said so.
    fn begin_statement(&mut self, statement: &Statement) {
        self.end_statement(true);
        let kind = match statement {
            Statement::Execute { name, .. } => match self.prepared.get(name) {
                Some(prepared) => StatementKind::of(&prepared.statement.statement),
                None => StatementKind::Other,
            },
            other => StatementKind::of(other),
        };
        self.measured = Some(Measured { kind, begun: Instant::now(), paused: None, subject: None });
    }

    /// The statement under way is answered. Unless its commit is still to come it is over; until that comes, time is the client's.
    pub fn statement_answered(&mut self) {
        self.place = None;
        if !matches!(self.state, State::Implicit(_)) {
            self.end_statement(true);
        } else if let Some(measured) = &mut self.measured {
            measured.paused = Some(measured.begun.elapsed());
        }
    }

    /// Counts the statement under way, if there is one.
    pub(super) fn end_statement(&mut self, is_done: bool) {
        self.place = None;
        self.presence.rests(self.status(), &self.settings);
        let Some(Measured { kind, begun, paused, subject }) = self.measured.take() else { return };
        let took = paused.unwrap_or_else(|| begun.elapsed());
        self.db.engine().counters.statement(kind, took, is_done);
        if let Some(subject) = subject
            && self.settings.slow_after().is_some_and(|limit| took >= limit)
        {
            self.slow.push(Slow { subject, took, is_done });
        }
    }

    /// What ran is logged if it turns out to be slow. Of a statement within another one, the one within.
    fn keep_subject(&mut self, prepared: &Prepared, params: Vec<Datum>) {
        if self.settings.slow_after().is_some()
            && let Some(Measured { subject: subject @ None, .. }) = &mut self.measured
        {
            *subject = Some(Subject { prepared: prepared.clone(), params });
        }
    }

    /// The result, after which a statement that failed is over.
    fn judged<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.end_statement(false);
        }
        result
    }

    async fn dispatch(&mut self, prepared: &Prepared, params: &[Datum]) -> Result<Outcome> {
        match &prepared.statement.statement {
            Statement::Query(_) => {
                let current = self.current(prepared).await?;
                let (Some(plan), Some(fields)) = (&current.plan, &current.fields) else {
                    return Err(SqlError::internal("a query was not planned"));
                };
                if plan.locks_rows() {
                    return self.write(&current, params).await;
                }
                self.note_reads(plan)?;
                let (reader, environment) = (self.reader(), self.environment());
                let running =
                    self.db.engine().query.query(plan, reader, environment, params, self.cancel.clone()).await?;
                if let Some(measured) = &mut self.measured
                    && running.is_search
                {
                    measured.kind = StatementKind::Knn;
                }
                self.absorb()?;
                Ok(Outcome::Rows { fields: fields.clone(), batches: running.batches, tag: RowsTag::Select })
            }
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => self.write(prepared, params).await,
            Statement::Begin { modes, .. } => self.begin(modes, prepared),
            Statement::Commit => self.commit_block().await,
            Statement::Rollback => Ok(self.rollback_block()),
            Statement::Savepoint { .. } | Statement::Release { .. } | Statement::RollbackTo { .. } => {
                self.savepoint(&prepared.statement.statement)
            }
            _ => Box::pin(self.command(prepared, params)).await,
        }
    }

    async fn write(&mut self, prepared: &Prepared, params: &[Datum]) -> Result<Outcome> {
        let current = self.current(prepared).await?;
        match self.write_current(&current, params).await {
            // The table was altered while the statement waited for it, and is the statement's by now.
            Err(error) if error.state() == SqlState::SerializationFailure => {
                let again = self.current(&current).await?;
                let was_altered = again.plan.as_ref().zip(current.plan.as_ref()).is_some_and(|(a, b)| !a.is_same(b));
                if was_altered { self.write_current(&again, params).await } else { Err(error) }
            }
            outcome => outcome,
        }
    }

    async fn write_current(&mut self, current: &Prepared, params: &[Datum]) -> Result<Outcome> {
        let Some(plan) = current.plan.clone() else {
            return Err(SqlError::internal("a statement was not planned"));
        };
        self.transaction()?;
        self.note_reads(&plan)?;
        let (environment, cancel, engine) = (self.environment(), self.cancel.clone(), self.db.engine().clone());
        let place = self.take_place();
        let tx = self.transaction()?;
        tx.set_place(place);
        tx.start_statement();
        let outcome = engine.query.write(&plan, tx, environment, params, cancel).await;
        // Its commit is left, which others make with it.
        tx.set_place(None);
        let outcome = match outcome {
            Ok(outcome) => tx.finish_statement().await.map(|()| outcome),
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                tx.rollback_statement();
                return Err(error);
            }
        };
        self.absorb()?;
        Ok(match (outcome.returning, &current.fields) {
            (Some(batches), Some(fields)) => Outcome::Rows {
                fields: fields.clone(),
                batches: Box::pin(futures::stream::iter(batches.into_iter().map(Ok))),
                tag: RowsTag::Fixed(outcome.tag),
            },
            _ => Outcome::Command(outcome.tag),
        })
    }

    /// The message or the pipeline is over: commits what it did outside a block.
    pub async fn finish(&mut self) -> Result<()> {
        self.place = None;
        if let Some(measured) = &mut self.measured
            && let Some(took) = measured.paused.take()
        {
            let now = Instant::now();
            measured.begun = now.checked_sub(took).unwrap_or(now);
        }
        let finished = self.commit_implicit().await;
        self.end_statement(finished.is_ok());
        finished
    }

    pub(super) fn prepared_statement(&self, name: &str) -> Result<&Prepared> {
        self.prepared.get(name).ok_or_else(|| {
            SqlError::new(SqlState::InvalidSqlStatementName, format!("prepared statement \"{name}\" does not exist"))
        })
    }

    pub(crate) fn prepared_statements(&mut self) -> &mut HashMap<String, Prepared> {
        &mut self.prepared
    }

    /// Takes over what functions of the statement left behind: sequence values for the log, settings, notifications, warnings.
    pub(super) fn absorb(&mut self) -> Result<()> {
        self.absorb_intentions()?;
        let (sequences, settings, warnings) = {
            let mut effects = self.hooks.effects.lock();
            let Effects { sequences, settings, warnings, cut_texts, .. } = &mut *effects;
            *cut_texts = 0;
            (std::mem::take(sequences), std::mem::take(settings), std::mem::take(warnings))
        };
        warnings.into_iter().for_each(|warning| self.notice("WARNING", warning));
        for (name, value, local) in settings {
            self.change_setting(&name, value.as_deref(), local)?;
        }
        if !sequences.is_empty() {
            let tx = self.transaction()?;
            for (sequence, value) in sequences {
                tx.advance_sequence(sequence, value);
            }
        }
        Ok(())
    }

    /// Runs a text of any number of statements, in one transaction unless they say otherwise, and gives how many rows the
    /// last one changed or returned.
    pub async fn execute_sql(&mut self, sql: &str) -> Result<u64> {
        use futures::StreamExt;
        let mut rows = 0;
        for statement in self.parse(sql)? {
            match self.run(statement).await {
                Ok(Outcome::Rows { mut batches, tag, .. }) => {
                    rows = 0;
                    while let Some(batch) = batches.next().await {
                        match batch {
                            Ok(batch) => rows += batch.num_rows() as u64,
                            Err(error) => {
                                self.statement_failed();
                                return Err(error);
                            }
                        }
                    }
                    if let RowsTag::Fixed(tag) = tag {
                        rows = rows_of(&tag);
                    }
                }
                Ok(Outcome::Command(tag)) => rows = rows_of(&tag),
                Ok(Outcome::CopyIn(_) | Outcome::CopyOut(_)) => {
                    self.statement_failed();
                    return Err(SqlError::unsupported("COPY through execute")
                        .with_hint("Session::table inserts many rows at once."));
                }
                Ok(Outcome::Empty) => {}
                Err(error) => {
                    self.abort_implicit();
                    return Err(error);
                }
            }
        }
        self.finish().await?;
        Ok(rows)
    }
}

impl Drop for Session {
    /// Its client is gone, and with it the statement under way.
    fn drop(&mut self) {
        self.end_statement(false);
        self.unlisten_all();
        self.hooks.advisory.unlock_all();
        self.hooks.advisory.transaction_ended();
        self.engine().sessions.leave(self.number);
    }
}

/// The number at the end of a command tag.
pub(super) fn rows_of(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn ends_transaction(statement: &Statement) -> bool {
    matches!(statement, Statement::Commit | Statement::Rollback | Statement::RollbackTo { .. })
}

/// The future's result, or `57014` as soon as the token is cancelled.
pub(super) async fn or_cancelled<T, E: Into<SqlError>>(
    cancel: &CancelToken,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    tokio::select! {
        biased;
        result = future => result.map_err(Into::into),
        () = cancel.cancelled() => Err(cancel.error()),
    }
}

/// The lock mode a clause of LOCK TABLE names.
pub(super) fn lock_mode(mode: lodedb_sql::statement::LockMode) -> LockMode {
    use lodedb_sql::statement::LockMode as Clause;
    match mode {
        Clause::AccessShare => LockMode::AccessShare,
        Clause::RowShare => LockMode::RowShare,
        Clause::RowExclusive => LockMode::RowExclusive,
        Clause::ShareUpdateExclusive => LockMode::ShareUpdateExclusive,
        Clause::Share => LockMode::Share,
        Clause::ShareRowExclusive => LockMode::ShareRowExclusive,
        Clause::Exclusive => LockMode::Exclusive,
        Clause::AccessExclusive => LockMode::AccessExclusive,
    }
}
