//! A transaction: the view of its statement, its overlay, its locks; and the checks each row passes.
//!
//! READ COMMITTED: each statement takes the newest view. A writing statement locks the rows it found; if one was
//! changed since the view, [`Transaction::refresh`] takes a new view and the statement runs again with its locks.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::locks::{Acquired, LockMode, LockTarget, TxId, Wait};
use super::overlay::{Mark, Overlay, Run};
use super::record::{Op, estimated_row_bytes};
use super::row_writer::{IndexKey, index_key};
use super::staging::Staging;
use super::view::{Reader, ScannedRow};
use super::{FIRST_PROVISIONAL_ROW, ReadView, Row, RowId};
use crate::catalog::{Change, Index, IndexId, SequenceId, Table, TableId};
use crate::db::admission::Place;
use crate::db::engine::Engine;

/// How many row and key locks a transaction takes in one table before it asks for the whole table.
const ESCALATION_LOCKS: usize = 4096;

/// What became of the rows a statement wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsLocked {
    /// They are locked, and as the statement's view shows them.
    Unchanged,
    /// They are locked, and one was changed or deleted since: the statement must run again on a fresh view.
    Changed,
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

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    engine: Arc<Engine>,
    id: TxId,
    view: Arc<ReadView>,
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
}

impl Transaction {
    /// Begins, on the newest view.
    pub fn begin(engine: Arc<Engine>) -> Self {
        let (id, view) = (engine.locks.begin(), engine.view());
        let overlay = Arc::new(Overlay::default());
        let mark = overlay.mark();
        Self {
            engine,
            id,
            view,
            overlay,
            mark,
            inserting: None,
            locks_taken: Default::default(),
            escalated: HashSet::new(),
            timeouts: LockTimeouts::default(),
            place: None,
        }
    }

    /// Takes the place of a statement that writes over from its session, or gives it back.
    pub fn set_place(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// The database it works on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Sets how long its statements wait for locks.
    pub fn set_timeouts(&mut self, timeouts: LockTimeouts) {
        self.timeouts = timeouts;
    }

    /// A statement begins: it reads the newest view, and what it changes can be undone by itself.
    pub fn start_statement(&mut self) {
        self.rollback_inserting();
        self.view = self.engine.view();
        self.mark = self.overlay.mark();
    }

    /// Undoes what the statement changed; its locks stay.
    pub fn rollback_statement(&mut self) {
        self.rollback_inserting();
        let mark = self.mark;
        if self.overlay.mark() != mark {
            Arc::make_mut(&mut self.overlay).rollback_to(mark);
        }
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

    /// Locks a table. If it had to wait, the view is a fresh one afterwards.
    pub async fn lock_table(&mut self, table: TableId, mode: LockMode) -> Result<()> {
        let target = LockTarget::Table(table);
        if self.engine.locks.try_acquire(self.id, &target, mode) {
            return Ok(());
        }
        if self.acquire(target, mode).await? == Acquired::Waited {
            self.view = self.engine.view();
        }
        Ok(())
    }

    /// Locks a name against being created twice.
    pub async fn lock_name(&mut self, name: &str) -> Result<()> {
        if self.acquire(LockTarget::Key(0, name.as_bytes().into()), LockMode::AccessExclusive).await?
            == Acquired::Waited
        {
            self.view = self.engine.view();
        }
        Ok(())
    }

    async fn acquire(&mut self, target: LockTarget, mode: LockMode) -> Result<Acquired> {
        // Whoever holds the lock may need it to go on; after the wait the statement goes on without, since others wait for its locks now.
        self.place = None;
        let wait = Wait::Block { deadlock_timeout: self.timeouts.deadlock, lock_timeout: self.timeouts.lock };
        self.engine.locks.acquire(self.id, target, mode, wait).await.map_err(SqlError::from)
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
                return Ok(RowsLocked::Changed);
            }
        }
        Ok(RowsLocked::Unchanged)
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
        let moved = table.visible_columns().any(|(at, column)| column.ty.is_vector() && old.get(at) != new.get(at));
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
        let overlay = std::mem::take(&mut self.overlay);
        if overlay.is_empty() {
            return Ok(());
        }
        let ops = self.ops(&overlay);
        drop(overlay);
        let engine = self.engine.clone();
        let files: Vec<u64> = ops.iter().flat_map(crate::compaction::jobs::file_ids).collect();
        let mut committing = engine.committer.begin(ops);
        let finish = move |result: Result<_>| {
            for id in files {
                engine.segment_ids.settle(id);
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

impl Drop for Transaction {
    fn drop(&mut self) {
        for id in self.overlay.attached().iter().flat_map(crate::compaction::jobs::file_ids) {
            self.engine.segment_ids.settle(id);
        }
        self.engine.locks.release_all(self.id);
    }
}
