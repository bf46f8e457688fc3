//! A transaction: the view of its statement, its overlay, its locks; and the checks each row passes.
//!
//! READ COMMITTED: each statement takes the newest view. A writing statement locks the rows it found; if one was
//! changed since the view, [`Transaction::refresh`] takes a new view and the statement runs again with its locks.
//!
//! REPEATABLE READ: all statements read the view that the first one took, and a row that was changed since is not written (40001): snapshot
//! isolation, as PostgreSQL has it. SERIALIZABLE is that, and what [`super::serializable`] watches for.
//!
//! A savepoint is a place in the overlay and one in the list of locks: rolling back to it undoes what came after.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};
use lodedb_wal::Lsn;

use super::locks::{self, Acquired, LockMode, LockTarget, TxId, Wait};
use super::overlay::{Mark, Overlay, Run};
use super::record::{Op, estimated_row_bytes};
use super::row_writer::{IndexKey, index_key};
use super::staging::Staging;
use super::view::{Reader, ScannedRow};
use super::{FIRST_PROVISIONAL_ROW, ReadView, Row, RowId};
use crate::catalog::{Change, Index, IndexId, SequenceId, Table, TableId};
use crate::db::admission::Place;
use crate::db::engine::Engine;
use crate::models::Making;

/// How many row and key locks a transaction takes in one table before it asks for the whole table.
const ESCALATION_LOCKS: usize = 4096;

/// What a transaction sees of those that commit while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    #[default]
    ReadCommitted,
    /// All of them see what was committed before the first one.
    RepeatableRead,
    /// The same, and as if one transaction had run after the other.
    Serializable,
}

/// What became of the rows a statement wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsLocked {
    /// They are locked, and as the statement's view shows them.
    Unchanged,
    /// They are locked, and one was changed or deleted since: the statement must run again on a fresh view.
    Changed,
}

/// What became of a row that a query wants to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLocked {
    /// It is locked, and as the statement's view shows it.
    Locked,
    /// It is locked, and was changed or deleted since: the query must run again on a fresh view.
    Changed,
    /// Another transaction holds it, and it was not to be waited for.
    Held,
}

/// What became of a row to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in, with this provisional id.
    Row(RowId),
    /// Another row has its key.
    Conflict {
        /// The unique index.
        index: IndexId,
        /// The row that has the key.
        row: RowId,
    },
}

/// Why the rows of a statement are not taken, and the first of them that is to blame.
#[derive(Debug)]
pub struct Refused {
    /// Its place among the rows.
    pub row: usize,
    /// What is wrong with it.
    pub error: SqlError,
}

impl From<Refused> for SqlError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// How long to wait for locks.
#[derive(Clone, Copy, Debug)]
pub struct LockTimeouts {
    /// When to look for a deadlock.
    pub deadlock: Duration,
    /// When to give up.
    pub lock: Option<Duration>,
}

impl Default for LockTimeouts {
    fn default() -> Self {
        Self { deadlock: Duration::from_secs(1), lock: None }
    }
}

impl From<LockTimeouts> for Wait {
    fn from(timeouts: LockTimeouts) -> Self {
        Self::Block { deadlock_timeout: timeouts.deadlock, lock_timeout: timeouts.lock }
    }
}

/// The rows of one statement on their way into one table.
#[derive(Debug)]
struct Inserting {
    table: TableId,
    /// Those that went through memory, and the bytes they take.
    rows: usize,
    bytes: usize,
    /// Where all of them are once they are too many.
    staging: Option<Staging>,
}

/// A place in a transaction to return to.
#[derive(Debug)]
struct Savepoint {
    name: String,
    mark: Mark,
    locks: locks::Mark,
    escalated: HashSet<TableId>,
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    engine: Arc<Engine>,
    id: TxId,
    isolation: Isolation,
    view: Arc<ReadView>,
    /// Whether a statement has read: from then on the view stays, unless it is READ COMMITTED.
    has_read: bool,
    savepoints: Vec<Savepoint>,
    overlay: Arc<Overlay>,
    mark: Mark,
    /// What the statement inserts, while it is inserting many rows.
    inserting: Option<Inserting>,
    locks_taken: std::collections::BTreeMap<TableId, usize>,
    /// Tables this transaction holds alone, so that it needs no locks within them.
    escalated: HashSet<TableId>,
    timeouts: LockTimeouts,
    /// The place of the statement under way among those that run, until it waits for a lock.
    place: Option<Place>,
    /// The models it made, whose files stay until it has ended.
    models: Vec<Making>,
}

impl Transaction {
    /// Begins, on the newest view. `session`: who holds the session's own locks.
    pub fn begin(engine: Arc<Engine>, isolation: Isolation, session: TxId) -> Self {
        let (id, view) = (engine.locks.begin_within(session), engine.view());
        let overlay = Arc::new(Overlay::default());
        let mark = overlay.mark();
        Self {
            engine,
            id,
            isolation,
            view,
            has_read: false,
            savepoints: Vec::new(),
            overlay,
            mark,
            inserting: None,
            locks_taken: Default::default(),
            escalated: HashSet::new(),
            timeouts: LockTimeouts::default(),
            place: None,
            models: Vec::new(),
        }
    }

    /// Takes the place of a statement that writes over from its session, or gives it back.
    pub fn set_place(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// Keeps the files of a model that it made until it has ended.
    pub fn keep_model(&mut self, making: Making) {
        self.models.push(making);
    }

    /// The database it works on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Sets how long its statements wait for locks.
    pub fn set_timeouts(&mut self, timeouts: LockTimeouts) {
        self.timeouts = timeouts;
    }

    /// How it is isolated from others.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Isolates it in another way; nothing may have been read yet.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        debug_assert!(!self.has_read);
        self.isolation = isolation;
    }

    /// Whether one of its statements has read.
    pub fn has_read(&self) -> bool {
        self.has_read
    }

    /// Whether its view is the one of its first statement.
    fn is_fixed(&self) -> bool {
        self.has_read && self.isolation != Isolation::ReadCommitted
    }

    /// A statement begins: it reads the newest view, or that of the first one, and what it changes can be undone by itself.
    pub fn start_statement(&mut self) {
        self.rollback_inserting();
        if !self.is_fixed() {
            self.view = match self.isolation {
                Isolation::Serializable => self.engine.serializable.begin(self.id, || self.engine.view()),
                Isolation::ReadCommitted | Isolation::RepeatableRead => self.engine.view(),
            };
            self.has_read = true;
        }
        self.mark = self.overlay.mark();
    }

    /// Tables are about to be read by the statement that began; `40001` if that could not be in any order one after the other.
    pub fn reads(&self, tables: impl IntoIterator<Item = TableId>) -> Result<()> {
        if self.isolation == Isolation::Serializable && self.has_read {
            self.engine.serializable.reads(self.id, tables)?;
        }
        Ok(())
    }

    /// Undoes what the statement changed; its locks stay.
    pub fn rollback_statement(&mut self) {
        self.undo_to(self.mark);
    }

    fn undo_to(&mut self, mark: Mark) {
        self.rollback_inserting();
        if self.overlay.mark() == mark {
            return;
        }
        let attached: Vec<Op> = self.overlay.attached().to_vec();
        self.overlay_mut().rollback_to(mark);
        for id in attached[self.overlay.attached().len()..].iter().flat_map(crate::compaction::jobs::file_ids) {
            self.engine.segment_ids.settle(id);
        }
    }

    /// Marks the present moment. A savepoint of the same name before is hidden by it.
    pub fn savepoint(&mut self, name: &str) {
        self.savepoints.push(Savepoint {
            name: name.to_owned(),
            mark: self.overlay.mark(),
            locks: self.engine.locks.mark(self.id),
            escalated: self.escalated.clone(),
        });
    }

    /// How many savepoints there are.
    pub fn savepoints(&self) -> usize {
        self.savepoints.len()
    }

    fn find_savepoint(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(|| {
            SqlError::new(SqlState::InvalidSavepointSpecification, format!("savepoint \"{name}\" does not exist"))
        })
    }

    /// Forgets a savepoint and those after it; gives how many are left.
    pub fn release_savepoint(&mut self, name: &str) -> Result<usize> {
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at);
        Ok(at)
    }

    /// Undoes all that came after a savepoint, which stays, and releases its locks; gives how many savepoints are left.
    pub fn rollback_to_savepoint(&mut self, name: &str) -> Result<usize> {
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at + 1);
        self.rollback_to_last_savepoint();
        Ok(at + 1)
    }

    /// Undoes all that came after the last savepoint, if there is one, and says whether there is.
    pub fn rollback_to_last_savepoint(&mut self) -> bool {
        let Some(Savepoint { mark, locks, escalated, .. }) = self.savepoints.last() else { return false };
        let (mark, locks, escalated) = (*mark, *locks, escalated.clone());
        self.undo_to(mark);
        self.mark = mark;
        self.engine.locks.release_after(self.id, locks);
        self.escalated = escalated;
        true
    }

    /// The statement inserted all it will: its rows can be read from now on.
    pub async fn finish_statement(&mut self) -> Result<()> {
        let Some(Inserting { table, rows, staging: Some(staging), .. }) = self.inserting.take() else { return Ok(()) };
        let finished = tokio::task::spawn_blocking(move || staging.finish()).await.map_err(SqlError::internal);
        match finished.and_then(|finished| finished) {
            Ok(staged) => self.overlay_mut().attach_staged(table, Arc::new(staged), rows),
            Err(error) => {
                self.overlay_mut().give_up_staging(table, rows);
                return Err(error);
            }
        }
        Ok(())
    }

    fn rollback_inserting(&mut self) {
        if let Some(Inserting { table, rows, staging: Some(_), .. }) = self.inserting.take() {
            self.overlay_mut().give_up_staging(table, rows);
        }
    }

    /// Takes a fresh view for another run of the statement.
    pub fn refresh(&mut self) {
        debug_assert!(!self.is_fixed());
        self.rollback_statement();
        self.view = self.engine.view();
    }

    /// What the statement reads.
    pub fn reader(&self) -> Reader {
        Reader { view: self.view.clone(), overlay: self.overlay.clone() }
    }

    /// Whether it changed anything.
    pub fn has_changes(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Locks a table. It is in the view as it is from then on; `40001` where the view cannot be a newer one.
    pub async fn lock_table(&mut self, table: TableId, mode: LockMode) -> Result<()> {
        let target = LockTarget::Table(table);
        let mut acquired = Acquired::AtOnce;
        if !self.engine.locks.try_acquire(self.id, &target, mode) {
            acquired = self.acquire(target, mode).await?;
        }
        self.table_locked(table, mode, acquired)
    }

    /// As [`Self::lock_table`], at once or not at all (`55P03`).
    pub fn lock_table_now(&mut self, table: &Table, mode: LockMode) -> Result<()> {
        if !self.engine.locks.try_acquire(self.id, &LockTarget::Table(table.id), mode) {
            let message = format!("could not obtain lock on relation \"{}\"", table.name);
            return Err(SqlError::new(SqlState::LockNotAvailable, message));
        }
        self.table_locked(table.id, mode, Acquired::AtOnce)
    }

    fn table_locked(&mut self, table: TableId, mode: LockMode, acquired: Acquired) -> Result<()> {
        let is_same = |own: &ReadView, newest: &ReadView| {
            let is_as_defined = own.catalog.table_by_id(table) == newest.catalog.table_by_id(table)
                && own.catalog.indexes_of(table).eq(newest.catalog.indexes_of(table));
            // Who shuts out others that write goes over all of its rows.
            is_as_defined && (mode < LockMode::Share || is_untouched(own, newest, table))
        };
        self.renew(acquired, is_same)?;
        if self.isolation == Isolation::Serializable && mode >= LockMode::RowExclusive {
            self.engine.serializable.writes(self.id, table)?;
        }
        Ok(())
    }

    /// Locks a name against being created twice.
    pub async fn lock_name(&mut self, name: &str) -> Result<()> {
        let target = LockTarget::Key(0, name.as_bytes().into());
        let acquired = self.acquire(target, LockMode::AccessExclusive).await?;
        self.renew(acquired, |own, newest| own.catalog.version() == newest.catalog.version())
    }

    /// After a wait, or where definitions changed: takes a newer view, or makes sure that what was locked `is_same` in it.
    fn renew(&mut self, acquired: Acquired, is_same: impl Fn(&ReadView, &ReadView) -> bool) -> Result<()> {
        let newest = self.engine.view();
        if !self.is_fixed() {
            if acquired == Acquired::Waited || newest.catalog.version() != self.view.catalog.version() {
                self.view = newest;
            }
        } else if newest.lsn != self.view.lsn && !is_same(&self.view, &newest) {
            return Err(SqlError::new(
                SqlState::SerializationFailure,
                "could not serialize access due to concurrent changes of the table",
            ));
        }
        Ok(())
    }

    async fn acquire(&mut self, target: LockTarget, mode: LockMode) -> Result<Acquired> {
        // Whoever holds the lock may need it to go on; after the wait the statement goes on without, since others wait for its locks now.
        self.place = None;
        self.engine.locks.acquire(self.id, target, mode, self.timeouts.into()).await.map_err(SqlError::from)
    }

    /// Takes the whole table once a statement has taken many locks in it, if nobody else is writing there.
    fn escalate(&mut self, table: TableId, more: usize) -> bool {
        if self.escalated.contains(&table) {
            return true;
        }
        let taken = self.locks_taken.entry(table).or_default();
        *taken += more;
        if *taken >= ESCALATION_LOCKS {
            *taken = 0;
            if self.engine.locks.try_acquire(self.id, &LockTarget::Table(table), LockMode::ShareRowExclusive) {
                self.escalated.insert(table);
                return true;
            }
        }
        false
    }

    /// Locks rows for writing and says whether one of them is not what the statement's view shows.
    ///
    /// `rows`: ids with the versions read.
    pub async fn lock_rows(&mut self, table: &Arc<Table>, rows: &[(RowId, u64)]) -> Result<RowsLocked> {
        for &(row, _) in rows.iter().filter(|(row, _)| *row < FIRST_PROVISIONAL_ROW) {
            if self.escalate(table.id, 1) {
                break;
            }
            let target = LockTarget::Row(table.id, row);
            if !self.engine.locks.try_acquire(self.id, &target, LockMode::ForUpdate) {
                self.acquire(target, LockMode::ForUpdate).await?;
            }
        }
        let newest = self.engine.view();
        if newest.lsn == self.view.lsn {
            return Ok(RowsLocked::Unchanged);
        }
        for &(row, version) in rows.iter().filter(|(row, version)| *row < FIRST_PROVISIONAL_ROW && *version != 0) {
            let current = newest.rows.version(table.id, row)?;
            if current != Some(version) {
                if self.is_fixed() {
                    return Err(concurrent(current));
                }
                return Ok(RowsLocked::Changed);
            }
        }
        Ok(RowsLocked::Unchanged)
    }

    /// Locks a row for a query. `wait`: what to do if it cannot be had at once, other than waiting.
    pub async fn lock_row(
        &mut self,
        table: &Table,
        row: RowId,
        version: u64,
        mode: LockMode,
        wait: Option<Wait>,
    ) -> Result<RowLocked> {
        if row >= FIRST_PROVISIONAL_ROW {
            return Ok(RowLocked::Locked);
        }
        let target = LockTarget::Row(table.id, row);
        if !self.engine.locks.try_acquire(self.id, &target, mode) {
            match wait {
                Some(Wait::Skip) => return Ok(RowLocked::Held),
                Some(Wait::NoWait) => {
                    let message = format!("could not obtain lock on row in relation \"{}\"", table.name);
                    return Err(SqlError::new(SqlState::LockNotAvailable, message));
                }
                Some(Wait::Block { .. }) | None => self.acquire(target, mode).await?,
            };
        }
        // Version 0: the transaction changed it itself.
        if version == 0 {
            return Ok(RowLocked::Locked);
        }
        let newest = self.engine.view();
        let current = newest.rows.version(table.id, row)?;
        match current == Some(version) {
            true => Ok(RowLocked::Locked),
            false if self.is_fixed() => Err(concurrent(current)),
            false => Ok(RowLocked::Changed),
        }
    }

    /// Makes sure that a row which a statement came upon by its key is as its view shows it, where the view cannot be a newer one.
    pub fn check_seen(&self, table: &Table, row: RowId) -> Result<()> {
        if !self.is_fixed() || row >= FIRST_PROVISIONAL_ROW || self.overlay.is_changed(table.id, row) {
            return Ok(());
        }
        let current = self.engine.view().rows.version(table.id, row)?;
        if current == self.view.rows.version(table.id, row)? { Ok(()) } else { Err(concurrent(current)) }
    }

    /// The newest committed form of a row, or this transaction's own. Meant for a row that is locked.
    pub async fn latest_row(&mut self, table: &Table, row: RowId) -> Result<Option<ScannedRow>> {
        Reader { view: self.engine.view(), overlay: self.overlay.clone() }.row(table, row)
    }

    fn overlay_mut(&mut self) -> &mut Overlay {
        Arc::make_mut(&mut self.overlay)
    }

    /// The btree indexes of a table, this transaction's own included.
    fn btree_indexes(&self, table: TableId) -> Vec<Arc<Index>> {
        let catalog = self.overlay.catalog(&self.view.catalog);
        catalog.btree_indexes_of(table).cloned().collect()
    }

    /// Locks a key and gives the row that has it, if any other than `except` does.
    async fn claim_key(
        &mut self,
        table: TableId,
        index: IndexId,
        key: &[u8],
        except: Option<RowId>,
    ) -> Result<Option<RowId>> {
        if !self.escalate(table, 1) {
            let target = LockTarget::Key(index, key.into());
            if !self.engine.locks.try_acquire(self.id, &target, LockMode::Exclusive) {
                self.acquire(target, LockMode::Exclusive).await?;
            }
        }
        let newest = Reader { view: self.engine.view(), overlay: self.overlay.clone() };
        Ok(newest.unique(table, index, key)?.filter(|&row| Some(row) != except))
    }

    /// Inserts a row, unless another one has one of its keys.
    pub async fn insert(&mut self, table: &Arc<Table>, row: Row) -> Result<Inserted> {
        let indexes = self.btree_indexes(table.id);
        self.insert_with(table, &indexes, row, false).await
    }

    /// `many`: the statement only inserts, so its rows may be staged.
    async fn insert_with(
        &mut self,
        table: &Arc<Table>,
        indexes: &[Arc<Index>],
        row: Row,
        many: bool,
    ) -> Result<Inserted> {
        self.view.table(table.id)?;
        let keys: smallvec::SmallVec<[(IndexId, IndexKey); 4]> =
            indexes.iter().filter_map(|index| Some((index.id, index_key(index, &row)?))).collect();
        for (index, key) in &keys {
            if let IndexKey::Unique(key) = key
                && let Some(row) = self.claim_key(table.id, *index, key, None).await?
            {
                return Ok(Inserted::Conflict { index: *index, row });
            }
        }
        let id = if many { self.add_row(table, row)? } else { self.overlay_mut().insert(table.id, row) };
        if keys.is_empty() {
            return Ok(Inserted::Row(id));
        }
        let overlay = self.overlay_mut();
        for (index, key) in keys {
            match key {
                IndexKey::Unique(key) => overlay.set_key(index, key, Some(id)),
                IndexKey::Entry(key) => overlay.set_entry(index, key, id, true),
            }
        }
        Ok(Inserted::Row(id))
    }

    /// Adds a checked row; all of the statement's rows go to files once they are more than a mutable segment holds.
    fn add_row(&mut self, table: &Arc<Table>, row: Row) -> Result<RowId> {
        let limit = self.engine.options.seal_bytes;
        let inserting = self.inserting.get_or_insert(Inserting { table: table.id, rows: 0, bytes: 0, staging: None });
        debug_assert_eq!(inserting.table, table.id, "a statement inserts many rows into one table");
        if let Some(staging) = &mut inserting.staging {
            let id = self.overlay.next_inserted(table.id) + RowId::from(staging.count());
            staging.push(&row)?;
            return Ok(id);
        }
        inserting.rows += 1;
        inserting.bytes += estimated_row_bytes(&row);
        let (rows, bytes) = (inserting.rows, inserting.bytes);
        let id = self.overlay_mut().insert(table.id, row);
        if bytes > limit {
            let mut staging = Staging::begin(&self.engine, table)?;
            let moved = self.overlay_mut().split_off(table.id, rows);
            let pushed = moved.iter().try_for_each(|row| staging.push(row));
            if let Some(inserting) = &mut self.inserting {
                inserting.staging = Some(staging);
            }
            pushed?;
        }
        Ok(id)
    }

    /// Inserts rows; the first key that another row has is an error. [`Self::finish_statement`] must follow before they
    /// are read.
    pub async fn insert_many(&mut self, table: &Arc<Table>, rows: Vec<Row>) -> Result<(), Refused> {
        let indexes = self.btree_indexes(table.id);
        // A COPY may go on for long after its statement was let in.
        self.engine.check_room().map_err(|error| Refused { row: 0, error })?;
        for (at, row) in rows.into_iter().enumerate() {
            let refused = |error| Refused { row: at, error };
            match self.insert_with(table, &indexes, row.clone(), true).await.map_err(refused)? {
                Inserted::Conflict { index, .. } => return Err(refused(self.unique_violation(table, index, &row))),
                Inserted::Row(_) => {}
            }
        }
        Ok(())
    }

    /// Replaces a row that is locked. `old` is what it was, vectors included.
    pub async fn update(&mut self, table: &Arc<Table>, id: RowId, old: &Row, new: Row) -> Result<()> {
        let mut changes = Vec::new();
        for index in self.btree_indexes(table.id) {
            let (Some(before), Some(after)) = (index_key(&index, old), index_key(&index, &new)) else { continue };
            if before == after {
                continue;
            }
            if let IndexKey::Unique(key) = &after
                && self.claim_key(table.id, index.id, key, Some(id)).await?.is_some()
            {
                return Err(self.unique_violation(table, index.id, &new));
            }
            changes.push((index.id, before, after));
        }
        let moved = table.stored_columns().any(|(at, column)| column.ty.is_vector() && old.get(at) != new.get(at));
        let overlay = self.overlay_mut();
        for (index, before, after) in changes {
            match before {
                IndexKey::Unique(key) => overlay.set_key(index, key, None),
                IndexKey::Entry(key) => overlay.set_entry(index, key, id, false),
            }
            match after {
                IndexKey::Unique(key) => overlay.set_key(index, key, Some(id)),
                IndexKey::Entry(key) => overlay.set_entry(index, key, id, true),
            }
        }
        overlay.put(table.id, id, new, moved);
        Ok(())
    }

    /// Removes a row that is locked. `old` is what it was.
    pub fn delete(&mut self, table: &Arc<Table>, id: RowId, old: &Row) -> Result<()> {
        let keys: Vec<(IndexId, IndexKey)> =
            self.btree_indexes(table.id).iter().filter_map(|index| Some((index.id, index_key(index, old)?))).collect();
        let overlay = self.overlay_mut();
        for (index, key) in keys {
            match key {
                IndexKey::Unique(key) => overlay.set_key(index, key, None),
                IndexKey::Entry(key) => overlay.set_entry(index, key, id, false),
            }
        }
        overlay.delete(table.id, id);
        Ok(())
    }

    /// Removes every row of a table that is locked exclusively.
    pub fn truncate(&mut self, table: TableId) {
        let indexes = self.btree_indexes(table);
        let overlay = self.overlay_mut();
        overlay.truncate(table);
        overlay.forget_keys(&indexes.iter().map(|index| index.id).collect::<Vec<_>>());
    }

    /// Changes what exists.
    pub fn change_catalog(&mut self, change: Change) {
        self.overlay_mut().change_catalog(change);
    }

    /// Notes the value a sequence gave to this transaction.
    pub fn advance_sequence(&mut self, sequence: SequenceId, value: i64) {
        self.overlay_mut().advance_sequence(sequence, value);
    }

    /// Effects that come with the commit besides rows: an index that was built.
    pub fn attach(&mut self, op: Op) {
        self.overlay_mut().attach(op);
    }

    /// Enters rows into an index this transaction makes: keys, rows, whether the key is unique.
    pub fn enter_keys(&mut self, index: IndexId, entries: Vec<(Vec<u8>, RowId, bool)>) {
        let overlay = self.overlay_mut();
        for (key, row, unique) in entries {
            if unique {
                overlay.set_key(index, key, Some(row));
            } else {
                overlay.set_entry(index, key, row, true);
            }
        }
    }

    /// `23505`: a row has a key that another one has.
    pub fn unique_violation(&self, table: &Table, index: IndexId, row: &[Datum]) -> SqlError {
        let catalog = self.overlay.catalog(&self.view.catalog);
        match catalog.index_by_id(index) {
            Some(index) => self.unique_violation_of(table, index, row),
            None => SqlError::new(SqlState::UniqueViolation, "duplicate key value violates unique constraint"),
        }
    }

    /// As [`Self::unique_violation`], of an index that need not be in the catalog.
    pub fn unique_violation_of(&self, table: &Table, index: &Index, row: &[Datum]) -> SqlError {
        let positions: Vec<usize> = index.key_positions().into_iter().flatten().collect();
        let names: Vec<&str> = positions.iter().map(|&at| table.columns[at].name.as_str()).collect();
        let values: Vec<String> =
            positions.iter().map(|&at| crate::db::error::shown(&row[at], table.columns[at].ty.ty)).collect();
        SqlError::new(
            SqlState::UniqueViolation,
            format!("duplicate key value violates unique constraint \"{}\"", index.name),
        )
        .with_detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
        .with_table(&table.name)
        .with_constraint(&index.name)
    }

    /// Commits: durable, applied and published when it returns; then the locks are free.
    pub async fn commit(mut self) -> Result<()> {
        self.finish_statement().await?;
        let is_watched = self.isolation == Isolation::Serializable && self.has_read;
        if is_watched {
            self.engine.serializable.prepare(self.id)?;
        }
        let overlay = std::mem::take(&mut self.overlay);
        if overlay.is_empty() {
            if is_watched {
                self.engine.serializable.committed(self.id, None);
            }
            return Ok(());
        }
        let ops = self.ops(&overlay);
        drop(overlay);
        let engine = self.engine.clone();
        let files: Vec<u64> = ops.iter().flat_map(crate::compaction::jobs::file_ids).collect();
        let mut committing = engine.committer.begin(ops);
        let finish = move |result: Result<Lsn>| {
            for id in files {
                engine.segment_ids.settle(id);
            }
            if let (true, Ok(lsn)) = (is_watched, &result) {
                engine.serializable.committed(self.id, Some(*lsn));
            }
            drop(self);
            result.map(|_| ())
        };
        if let Some(result) = committing.answered() {
            return finish(result);
        }
        // The commit goes on if this future is dropped; the locks must outlive it, so they travel along.
        let finished = tokio::spawn(async move { finish(committing.wait().await) });
        finished.await.unwrap_or_else(|error| Err(SqlError::internal(error)))
    }

    /// The net effects of the overlay, in the order they are applied.
    fn ops(&self, overlay: &Overlay) -> Vec<Op> {
        let catalog = overlay.catalog(&self.view.catalog);
        let mut ops: Vec<Op> = overlay.changes().iter().cloned().map(Op::Catalog).collect();
        let put: BTreeSet<TableId> = overlay
            .changes()
            .iter()
            .filter_map(|change| if let Change::PutTable(table) = change { Some(table.id) } else { None })
            .collect();
        for id in put {
            let before = self.view.catalog.table_by_id(id).map(|table| table.vector_columns());
            let after = catalog.table_by_id(id).map(|table| table.vector_columns()).unwrap_or_default();
            if !after.is_empty() && before.as_ref() != Some(&after) {
                ops.push(Op::Freeze { table: id, segment: self.engine.next_segment() });
            }
        }
        for id in overlay.tables().filter(|&id| catalog.table_by_id(id).is_some()) {
            let is_new = self.view.catalog.table_by_id(id).is_none();
            if overlay.is_truncated(id) && !is_new {
                ops.push(Op::Truncate { table: id });
                if catalog.table_by_id(id).is_some_and(|table| table.has_vectors()) {
                    ops.push(Op::Freeze { table: id, segment: self.engine.next_segment() });
                }
            }
            for (row, change) in overlay.changed(id) {
                ops.push(match change {
                    super::RowChange::Put { values, moved } => {
                        Op::Update { table: id, row, values: values.clone(), moved: *moved }
                    }
                    super::RowChange::Deleted => Op::Delete { table: id, row },
                });
            }
            for run in overlay.inserted_runs(id) {
                match run {
                    Run::Memory(rows) => {
                        let rows: Vec<Row> = rows.iter().flatten().cloned().collect();
                        // One operation is decoded as one piece: keep the pieces small.
                        for rows in rows.chunks(4096) {
                            ops.push(Op::Insert { table: id, rows: rows.to_vec() });
                        }
                    }
                    Run::Staged(staged, replaced) => ops.push(Op::InsertStaged {
                        table: id,
                        files: staged.keep(),
                        replaced: replaced.iter().map(|(&at, values)| (at, values.clone())).collect(),
                    }),
                }
            }
        }
        ops.extend(overlay.sequences().map(|(id, value)| Op::Sequence { id, value: Some(value) }));
        ops.extend(overlay.attached().iter().cloned());
        ops
    }
}

/// Whether nothing was written into a table between two views.
fn is_untouched(one: &ReadView, other: &ReadView, table: TableId) -> bool {
    match (one.tables.get(&table), other.tables.get(&table)) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// `40001`: a row of the view is another one by now, or gone.
fn concurrent(current: Option<u64>) -> SqlError {
    let what = if current.is_some() { "update" } else { "delete" };
    SqlError::new(SqlState::SerializationFailure, format!("could not serialize access due to concurrent {what}"))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        for id in self.overlay.attached().iter().flat_map(crate::compaction::jobs::file_ids) {
            self.engine.segment_ids.settle(id);
        }
        if self.isolation == Isolation::Serializable {
            self.engine.serializable.ended(self.id);
        }
        self.engine.locks.release_all(self.id);
    }
}
