//! Computing a column anew (`ALTER COLUMN .. SET EXPRESSION`), behind its readers' backs.
//!
//! The new values gather in a column of their own that nobody sees ([`Presence::Filling`]). Whoever writes a row computes both; a thread fills
//! in the rows there are, a few in a transaction, builds the indexes, and lets the new column take the place of the old one in one more
//! transaction. What there is to know lies in the catalog and in the rows: after a crash it goes on with those that lack a value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use tokio::runtime::Runtime;

use super::alter::uses;
use super::clock::now_us;
use super::ddl::{build, fill_btree};
use super::engine::Engine;
use super::error::shown;
use super::hooks::SessionHooks;
use super::settings::{Environment, Settings};
use crate::catalog::rights::BOOTSTRAP;
use crate::catalog::{
    Catalog, Change, ColumnId, Index, IndexId, IndexKind, Presence, Refill, RefillState, Sequence, Table, TableId,
};
use crate::commit::locks::{LockMode, TxId, Wait};
use crate::commit::record::Op;
use crate::commit::transaction::{Isolation, LockTimeouts, RowLocked};
use crate::commit::view::ScannedRow;
use crate::commit::{ReadView, Reader, Refused, Row, RowId, Transaction};
use crate::compaction::{Worker, jobs};
use crate::query::CancelToken;
use crate::query::scan::row_count;

/// Tables of so many rows are computed in the statement that asks for it.
const AT_ONCE_ROWS: u64 = 256;
/// Rows that are computed and written together.
const BATCH_ROWS: usize = 256;
/// The same where a model is asked.
const DEAR_ROWS: usize = 64;
/// Rows that have their values and are passed over before the thread looks whether it is to end.
const PASSED_ROWS: u64 = 16_384;
/// How often the thread looks for work.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it waits for a lock, behind which others wait meanwhile.
const LOCK_WAIT: Duration = Duration::from_millis(100);
/// And before it asks for it again.
const LOCK_REST: Duration = Duration::from_secs(1);
/// How long it rests after something failed that may pass.
const REST: Duration = Duration::from_secs(5);

/// How far a column is that is being computed anew, as `lodedb_progress` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: &'static str,
    /// Rows done.
    pub done: u64,
    /// Rows there were when it began.
    pub total: u64,
    /// What went wrong and is tried again.
    pub trouble: Option<String>,
}

/// Takes back that a column is to be computed anew, and forgets that it could not be.
pub(super) fn withdraw(tx: &mut Transaction, table: &mut Table, column: ColumnId) {
    let catalog = tx.reader().catalog();
    let Some(refill) = catalog.refill(table.id, column) else { return };
    if let RefillState::Filling(into) = refill.state {
        discard(tx, table, into);
    }
    tx.change_catalog(Change::DropRefill(table.id, column));
}

/// Drops the column that new values gather in.
fn discard(tx: &mut Transaction, table: &mut Table, into: ColumnId) {
    tx.change_catalog(Change::DropGenerated(table.id, into));
    table.columns[into as usize - 1].become_dropped();
    tx.change_catalog(Change::PutTable(table.clone()));
}

/// Computes a column anew within a transaction that holds its table alone, if it has few rows; gives the table as it is then.
pub(super) async fn at_once(
    tx: &mut Transaction,
    environment: &Arc<Environment>,
    table: &Arc<Table>,
    refill: &Refill,
    cancel: &CancelToken,
) -> Result<Arc<Table>> {
    let RefillState::Filling(into) = refill.state else { return Ok(table.clone()) };
    let reader = tx.reader();
    if row_count(&reader, table) > AT_ONCE_ROWS {
        return Ok(table.clone());
    }
    let rows: Vec<ScannedRow> = reader.scan(table, true)?.collect::<Result<_>>()?;
    let mut computed: Vec<Row> = rows.iter().map(|row| row.values.clone()).collect();
    tx.engine().query.compute(&reader, environment, table, into, &mut computed)?;
    for (row, new) in rows.iter().zip(computed) {
        if new != row.values {
            tx.update(table, row.id, &row.values, new).await?;
        }
    }
    take_over(tx, table, refill, into, Built::default(), cancel)
}

/// What is built of the indexes that are to follow on those of a column.
#[derive(Default)]
struct Built {
    /// Their ids, by those of the ones they follow on.
    ids: BTreeMap<IndexId, IndexId>,
    ops: Vec<Op>,
}

impl Built {
    /// Gives up the files.
    fn release(self, engine: &Engine) {
        self.ops.iter().flat_map(jobs::file_ids).for_each(|id| engine.segment_ids.settle(id));
    }
}

/// What follows on an index of the column: the same on the one that new values gather in. What has keys or codes has an id of its own.
fn successor(old: &Index, refill: &Refill, into: ColumnId, id: IndexId) -> Index {
    let mut index = old.clone();
    let renumber = |column: &mut ColumnId| {
        if *column == refill.column {
            *column = into;
        }
    };
    match &mut index.kind {
        IndexKind::Btree { columns, .. } => {
            columns.iter_mut().for_each(renumber);
            index.id = id;
        }
        IndexKind::Vector { spec, .. } => {
            renumber(&mut spec.column);
            spec.id = id;
            index.id = id;
        }
        IndexKind::Exact { column, uses, .. } => column.iter_mut().chain(uses).for_each(renumber),
    }
    index
}

/// Lets the column that new values gathered in take the place of the one they are for. The transaction holds the table alone, and every
/// row has its value.
fn take_over(
    tx: &mut Transaction,
    table: &Arc<Table>,
    refill: &Refill,
    into: ColumnId,
    built: Built,
    cancel: &CancelToken,
) -> Result<Arc<Table>> {
    let catalog = tx.reader().catalog();
    let (old, new) = (refill.column as usize - 1, into as usize - 1);
    let mut next = Table::clone(table);
    next.columns[new].presence = Presence::ShownAt(table.number(refill.column));
    next.columns[new].not_null = table.columns[old].not_null;
    next.columns[old].become_dropped();
    tx.change_catalog(Change::DropGenerated(table.id, refill.column));
    tx.change_catalog(Change::DropRefill(table.id, refill.column));
    tx.change_catalog(Change::PutTable(next.clone()));
    let next = Arc::new(next);
    // From here on the transaction sees to their files.
    built.ops.into_iter().for_each(|op| tx.attach(op));
    for old in catalog.indexes_of(table.id).filter(|index| uses(index, refill.column)) {
        // One that was made since the others were built is built by the background.
        let id = built.ids.get(&old.id).copied().unwrap_or_else(|| tx.engine().next_oid());
        let index = successor(old, refill, into, id);
        match index.kind {
            IndexKind::Btree { .. } => {
                tx.change_catalog(Change::DropIndex(old.id));
                fill_btree(tx, &next, index, cancel)?;
            }
            IndexKind::Vector { .. } => {
                tx.change_catalog(Change::DropIndex(old.id));
                tx.change_catalog(Change::PutIndex(index));
            }
            IndexKind::Exact { .. } => tx.change_catalog(Change::PutIndex(index)),
        }
    }
    let owned = catalog.sequences().filter(|sequence| sequence.owner == Some((refill.table, refill.column)));
    for sequence in owned {
        let owner = Some((refill.table, into));
        tx.change_catalog(Change::PutSequence(Sequence { owner, ..sequence.as_ref().clone() }));
    }
    Ok(next)
}

/// Starts the thread, if the options want what is done in the background.
pub(super) fn start(engine: &Arc<Engine>) -> Option<Worker> {
    if !engine.options.background {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime =
        runtime.inspect_err(|error| tracing::error!(%error, "columns are not computed anew before a restart")).ok()?;
    let mut filler = Filler { runtime, owner: engine.locks.begin(), passes: BTreeMap::new() };
    Some(Worker::spawn("lodedb-refill", PAUSE, engine, move |engine, stop| filler.work(engine, stop)))
}

/// What computes columns anew: one after the other, unless one has to wait.
struct Filler {
    runtime: Runtime,
    /// Whom its locks belong to.
    owner: TxId,
    passes: BTreeMap<(TableId, ColumnId), Pass>,
}

/// A column under way.
struct Pass {
    refill: Arc<Refill>,
    into: ColumnId,
    /// The next row to look at; those from `end` on came with a value.
    next: RowId,
    end: RowId,
    /// Rows before it that others held, or changed meanwhile.
    left: Vec<RowId>,
    /// The indexes, once they are built.
    built: Option<Built>,
    done: u64,
    total: u64,
    rests_until: Option<Instant>,
}

/// Why a step was not taken.
enum Stopped {
    /// It may be another time.
    Later(SqlError),
    /// A row is to blame, or the rows together.
    Never(SqlError),
}

impl From<SqlError> for Stopped {
    fn from(error: SqlError) -> Self {
        // Classes 53, 57 and 58 are about the machine and its operator, 40 and 55 about others at work, XX about us.
        let code = error.state().code();
        let passes = ["40", "53", "55", "57", "58", "XX"].iter().any(|class| code.starts_with(class));
        if passes { Self::Later(error) } else { Self::Never(error) }
    }
}

impl Filler {
    /// Takes a step; whether there was one to take.
    fn work(&mut self, engine: &Arc<Engine>, stop: &AtomicBool) -> bool {
        let view = engine.view();
        // One may have been taken back, asked for otherwise, or be another one since a column was renamed.
        self.passes.retain(|at, pass| {
            let is_wanted = pass.is_wanted(&view.catalog);
            if !is_wanted {
                engine.refills.lock().remove(at);
                pass.built.take().into_iter().for_each(|built| built.release(engine));
            }
            is_wanted
        });
        for refill in view.catalog.refills() {
            if let RefillState::Filling(into) = refill.state {
                let pass = self.passes.entry((refill.table, refill.column));
                pass.or_insert_with(|| Pass::new(&view, refill, into));
            }
        }
        let now = Instant::now();
        let mut ready = self.passes.values_mut().filter(|pass| pass.rests_until.is_none_or(|until| until <= now));
        ready.any(|pass| match pass.step(engine, &self.runtime, self.owner, stop) {
            Ok(worked) => worked,
            Err(_) if stop.load(Ordering::Acquire) => false,
            Err(Stopped::Later(error)) => {
                let is_locked = error.state() == SqlState::LockNotAvailable;
                pass.rests_until = Some(Instant::now() + if is_locked { LOCK_REST } else { REST });
                if !is_locked {
                    let table = pass.refill.table;
                    tracing::warn!(table, %error, "a column could not be computed anew; it will be tried again");
                    pass.report(engine, "resting", Some(&error));
                }
                false
            }
            Err(Stopped::Never(error)) => {
                let failed = self.runtime.block_on(pass.fail(engine, self.owner, &error));
                // Whatever kept it from being noted, the row will be found again.
                pass.rests_until = failed.is_err().then(|| Instant::now() + LOCK_REST);
                failed.is_ok()
            }
        })
    }
}

impl Pass {
    fn new(view: &ReadView, refill: &Arc<Refill>, into: ColumnId) -> Self {
        let (end, total) = view.tables.get(&refill.table).map_or((0, 0), |table| (table.next_row, table.live_rows));
        Self {
            refill: refill.clone(),
            into,
            next: 0,
            end,
            left: Vec::new(),
            built: None,
            done: 0,
            total,
            rests_until: None,
        }
    }

    fn is_wanted(&self, catalog: &Catalog) -> bool {
        catalog.refill(self.refill.table, self.refill.column) == Some(&self.refill)
    }

    fn report(&self, engine: &Engine, phase: &'static str, trouble: Option<&SqlError>) {
        let trouble = trouble.map(ToString::to_string);
        let progress = Progress { phase, done: self.done.min(self.total), total: self.total, trouble };
        engine.refills.lock().insert((self.refill.table, self.refill.column), progress);
    }

    /// Takes a step; whether it was one.
    fn step(
        &mut self,
        engine: &Arc<Engine>,
        runtime: &Runtime,
        owner: TxId,
        stop: &AtomicBool,
    ) -> Result<bool, Stopped> {
        engine.check_room()?;
        if self.next < self.end || !self.left.is_empty() {
            self.report(engine, "computing values", None);
            return runtime.block_on(self.fill(engine, owner));
        }
        if self.built.is_none() {
            self.report(engine, "building indexes", None);
            self.built = Some(self.build(engine, stop)?);
            return Ok(true);
        }
        self.report(engine, "taking over", None);
        runtime.block_on(self.finish(engine, owner))?;
        Ok(true)
    }

    /// Computes some rows and writes them; whether any were written or passed over.
    async fn fill(&mut self, engine: &Arc<Engine>, owner: TxId) -> Result<bool, Stopped> {
        let view = engine.view();
        let Some(table) = view.catalog.table_by_id(self.refill.table).cloned() else { return Ok(false) };
        let reader = Reader { view, overlay: Arc::default() };
        let is_again = self.next >= self.end;
        let rows = if is_again { self.rows_left(&reader, &table)? } else { self.next_rows(&reader, &table)? };
        if rows.is_empty() {
            return Ok(true);
        }
        match self.fill_rows(engine, owner, &reader, &table, &rows).await {
            Ok(left) => {
                // What others hold is tried again after a while.
                let worked = !is_again || left.len() < rows.len();
                self.left.extend(left);
                Ok(worked)
            }
            Err(stopped) => {
                self.left.extend(rows.iter().map(|row| row.id));
                Err(stopped)
            }
        }
    }

    /// Computes rows and writes them; gives those that others hold or have changed meanwhile.
    async fn fill_rows(
        &self,
        engine: &Arc<Engine>,
        owner: TxId,
        reader: &Reader,
        table: &Arc<Table>,
        rows: &[ScannedRow],
    ) -> Result<Vec<RowId>, Stopped> {
        let all = || rows.iter().map(|row| row.id).collect();
        let mut computed: Vec<Row> = rows.iter().map(|row| row.values.clone()).collect();
        let environment = environment(engine, &reader.catalog());
        if let Err(Refused { row, error }) = engine.query.compute(reader, &environment, table, self.into, &mut computed)
        {
            let row = &rows[row];
            let Stopped::Never(error) = Stopped::from(error.clone()) else { return Err(error.into()) };
            let is_still_so =
                engine.view().rows.version(table.id, row.id).map_err(SqlError::from)? == Some(row.version);
            let blamed = || error.with_context(describe(&reader.catalog(), table, row));
            return if is_still_so { Err(Stopped::Never(blamed())) } else { Ok(all()) };
        }
        let mut tx = self.begin_transaction(engine, owner, LockMode::RowExclusive).await?;
        let catalog = tx.reader().catalog();
        if !self.is_wanted(&catalog) || catalog.table_by_id(table.id) != Some(table) {
            return Ok(all());
        }
        let (at, mut left) = (self.into as usize - 1, Vec::new());
        for (row, new) in rows.iter().zip(computed) {
            // What gives NULL has it already.
            if new[at].is_null() {
                continue;
            }
            match tx.lock_row(table, row.id, row.version, LockMode::ForUpdate, Some(Wait::Skip)).await? {
                RowLocked::Locked => tx.update(table, row.id, &row.values, new).await?,
                RowLocked::Held | RowLocked::Changed => left.push(row.id),
            }
        }
        tx.commit().await?;
        Ok(left)
    }

    /// How many rows are computed together.
    fn batch_rows(&self) -> usize {
        if self.refill.models.is_empty() { BATCH_ROWS } else { DEAR_ROWS }
    }

    /// The next rows without a value.
    fn next_rows(&mut self, reader: &Reader, table: &Table) -> Result<Vec<ScannedRow>> {
        let (mut rows, mut passed, mut next) = (Vec::new(), 0, self.end);
        for item in reader.view.rows.scan_rows(table.id, self.next..self.end) {
            let (id, stored) = item?;
            let values = reader.fill(table, id, stored.values, true)?;
            passed += 1;
            if values[self.into as usize - 1].is_null() {
                rows.push(ScannedRow { id, version: stored.version, values });
            }
            if rows.len() == self.batch_rows() || passed == PASSED_ROWS {
                next = id + 1;
                break;
            }
        }
        self.next = next;
        self.done += passed;
        Ok(rows)
    }

    /// Some of the rows that were left.
    fn rows_left(&mut self, reader: &Reader, table: &Table) -> Result<Vec<ScannedRow>> {
        let ids: Vec<RowId> = self.left.drain(..self.left.len().min(self.batch_rows())).collect();
        let rows = ids.iter().filter_map(|&id| reader.row(table, id).transpose());
        let mut rows: Vec<ScannedRow> = rows.collect::<Result<_>>().inspect_err(|_| self.left.extend(ids))?;
        rows.retain(|row| row.values[self.into as usize - 1].is_null());
        Ok(rows)
    }

    async fn begin_transaction(&self, engine: &Arc<Engine>, owner: TxId, mode: LockMode) -> Result<Transaction> {
        let mut tx = Transaction::begin(engine.clone(), Isolation::ReadCommitted, owner);
        tx.set_timeouts(LockTimeouts { deadlock: engine.options.deadlock_timeout, lock: Some(LOCK_WAIT) });
        tx.start_statement();
        tx.lock_table(self.refill.table, mode).await?;
        Ok(tx)
    }

    /// Builds what follows on the vector indexes of the column.
    fn build(&self, engine: &Arc<Engine>, stop: &AtomicBool) -> Result<Built> {
        let view = engine.view();
        let mut built = Built::default();
        for old in view.catalog.indexes_of(self.refill.table).filter(|index| uses(index, self.refill.column)) {
            let index = successor(old, &self.refill, self.into, engine.next_oid());
            let IndexKind::Vector { spec, .. } = index.kind else { continue };
            match build(engine, 0, self.refill.table, index.id, spec, stop) {
                Ok(op) => built.ops.extend(op),
                Err(error) => {
                    built.release(engine);
                    return Err(error);
                }
            }
            built.ids.insert(old.id, index.id);
        }
        Ok(built)
    }

    /// The new column takes the place of the old one.
    async fn finish(&mut self, engine: &Arc<Engine>, owner: TxId) -> Result<()> {
        let mut tx = self.begin_transaction(engine, owner, LockMode::AccessExclusive).await?;
        let catalog = tx.reader().catalog();
        let (true, Some(table)) = (self.is_wanted(&catalog), catalog.table_by_id(self.refill.table)) else {
            return Ok(());
        };
        let built = self.built.take().unwrap_or_default();
        take_over(&mut tx, table, &self.refill, self.into, built, &CancelToken::new())?;
        tx.commit().await?;
        let column = &table.columns[self.refill.column as usize - 1].name;
        tracing::info!(table = table.name, column, expression = self.refill.expression, "computed a column anew");
        Ok(())
    }

    /// The column stays as it was, and why is noted.
    async fn fail(&self, engine: &Arc<Engine>, owner: TxId, error: &SqlError) -> Result<()> {
        let mut tx = self.begin_transaction(engine, owner, LockMode::AccessExclusive).await?;
        let catalog = tx.reader().catalog();
        let (true, Some(table)) = (self.is_wanted(&catalog), catalog.table_by_id(self.refill.table)) else {
            return Ok(());
        };
        let mut next = Table::clone(table);
        discard(&mut tx, &mut next, self.into);
        let told = match error.context() {
            Some(context) => format!("{}: {}", context, error.message()),
            None => error.message().to_owned(),
        };
        let column = &table.columns[self.refill.column as usize - 1].name;
        tracing::error!(
            table = table.name,
            column,
            expression = self.refill.expression,
            error = told,
            "a column stays as it was"
        );
        tx.change_catalog(Change::PutRefill(Refill {
            state: RefillState::Failed(told),
            ..self.refill.as_ref().clone()
        }));
        tx.commit().await
    }
}

/// Which row it is, as far as its table tells them apart.
fn describe(catalog: &Catalog, table: &Table, row: &ScannedRow) -> String {
    let Some(key) = catalog.primary_key(table.id) else { return format!("row {} of \"{}\"", row.id, table.name) };
    let columns: Vec<usize> = key.key_positions().into_iter().flatten().collect();
    let names: Vec<&str> = columns.iter().map(|&at| table.columns[at].name.as_str()).collect();
    let values: Vec<String> = columns.iter().map(|&at| shown(&row.values[at], table.columns[at].ty.ty)).collect();
    format!("row ({})=({}) of \"{}\"", names.join(", "), values.join(", "), table.name)
}

/// What expressions are computed in: whatever they see of it, they are the same in every session.
fn environment(engine: &Arc<Engine>, catalog: &Arc<Catalog>) -> Arc<Environment> {
    let (now, settings, name) = (now_us(), Settings::default(), "lodedb".to_owned());
    Arc::new(Environment {
        user: name.clone(),
        session_user: name.clone(),
        role: BOOTSTRAP,
        login: (BOOTSTRAP, name.clone()),
        catalog: catalog.clone(),
        database: name,
        session: 0,
        zone: settings.zone(),
        transaction_time_us: now,
        statement_time_us: now,
        settings: Arc::new(settings),
        hooks: SessionHooks::new(engine.clone(), 0).hooks(),
    })
}
