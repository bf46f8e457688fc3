//! Doing the steps of a workload to a real database on a simulated machine, with the ledger kept beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::Datum;
use lodedb_wal::fs::FileSystem;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::Machine;
use super::ledger::{BackedUp, Contents, DIMS, Item, Ledger};
use super::oracle::contents;
use super::workload::{Meanwhile, Step};
use crate::catalog::TableId;
use crate::commit::record::Op;
use crate::commit::{ReadView, Row, TableView};
use crate::compaction::choose::Job;
use crate::compaction::jobs;
use crate::db::clock;
use crate::db::error::OpenError;
use crate::query::{QueryEngine, QueryOptions};
use crate::segment::{Segment, SegmentId};
use crate::snapshot::backup::Progress;
use crate::snapshot::backup::repository::Repository;
use crate::snapshot::backup::restore::restore;
use crate::snapshot::recovery;
use crate::{Db, Options, SessionOptions};

/// The folder of the database.
pub(super) const DIR: &str = "/db";
/// The folder of its backups.
pub(super) const BACKUPS: &str = "/backups";

/// Small enough that everything a database does is done with a few hundred rows.
pub(super) fn options() -> Options {
    Options {
        background: false,
        log_segment_bytes: 8 << 10,
        checkpoint_log_bytes: 8 << 10,
        seal_bytes: 2 << 10,
        backup_dir: Some(BACKUPS.into()),
        ..Options::for_test()
    }
}

thread_local! {
    /// What is costly to make and holds nothing of a database.
    static QUERY: QueryEngine = QueryEngine::new(QueryOptions { threads: 1, ..QueryOptions::default() });
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

/// Opens the database of a machine.
pub(super) fn open(machine: &Machine, dir: &str) -> Result<Db, OpenError> {
    let fs: Arc<dyn FileSystem> = Arc::new(machine.clone());
    let opened = recovery::open(fs, Path::new(dir), &options())?;
    Db::start(opened, options(), QUERY.with(QueryEngine::clone))
}

/// Why a play ended early.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// The database stopped, as it should after what was done to it.
    Stopped,
    /// A promise was broken.
    Broken(String),
}

/// A database being worked on.
pub(super) struct Play {
    pub(super) machine: Machine,
    pub(super) ledger: Ledger,
    db: Option<Db>,
    dice: StdRng,
    next: i64,
    /// Whether calls are made to fail, so that errors are no surprise.
    pub(super) is_faulty: bool,
}

impl Play {
    /// Of a machine without a database.
    pub(super) fn new(machine: Machine, seed: u64) -> Self {
        clock::simulated::restart();
        let ledger = Ledger::starting_with(vec![Arc::default()]);
        Self { machine, ledger, db: None, dice: StdRng::seed_from_u64(seed), next: 1, is_faulty: false }
    }

    /// Opens the database, makes its table if there is none yet, and does the steps.
    pub(super) fn run(&mut self, steps: &[Step]) -> Result<(), Ended> {
        self.open()?;
        if self.ledger.newest().tables.is_empty() {
            let mut after = Contents::default();
            after.table("t").indexes.insert("t_pkey".into());
            let sql = format!("CREATE TABLE t (id bigint PRIMARY KEY, grp int NOT NULL, note text, v vector({DIMS}))");
            self.transaction(&sql, after)?;
        }
        for step in steps {
            self.step(*step).map_err(|ended| match ended {
                Ended::Broken(why) => Ended::Broken(format!("{step:?}: {why}")),
                stopped => stopped,
            })?;
        }
        Ok(())
    }

    /// Goes on with a database of which a ledger is true.
    pub(super) fn continue_from(&mut self, ledger: Ledger) {
        self.next = ledger.newest().tables.values().flat_map(|table| table.rows.keys()).max().map_or(1, |id| id + 1);
        // Rows that were deleted keep their ids.
        self.next += 10_000;
        self.ledger = ledger;
    }

    /// After a restart: the transaction whose outcome is unknown is there, or it is not and never will be.
    pub(super) fn settle_doubt(&mut self) -> Result<(), String> {
        self.open().map_err(|ended| format!("started again: {ended:?}"))?;
        let found = contents(self.db().engine())?;
        let candidates = self.ledger.candidates(self.calls());
        let nth = candidates.iter().position(|candidate| **candidate == found);
        let nth = nth.ok_or_else(|| format!("started again, it holds none of {} states", candidates.len()))?;
        self.ledger.take_back(self.ledger.len() - (candidates.len() - 1 - nth));
        self.ledger.acknowledge(self.calls());
        self.leave();
        Ok(())
    }

    /// Leaves the database as a killed process does.
    pub(super) fn leave(&mut self) {
        self.db = None;
    }

    fn calls(&self) -> u64 {
        self.machine.disk.calls()
    }

    fn db(&self) -> Db {
        self.db.clone().unwrap()
    }

    fn open(&mut self) -> Result<(), Ended> {
        match open(&self.machine, DIR) {
            Ok(db) => self.db = Some(db),
            Err(_) if self.is_faulty => return Err(Ended::Stopped),
            Err(error) => return Err(Ended::Broken(format!("opening a sound database: {error}"))),
        }
        Ok(())
    }

    /// What an error means: nothing if calls are made to fail, unless the database stopped.
    fn tolerate<T>(&self, done: Result<T, impl std::fmt::Display>) -> Result<Option<T>, Ended> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if !self.is_faulty => Err(Ended::Broken(error.to_string())),
            Err(_) if self.db().has_failed() => Err(Ended::Stopped),
            Err(_) => Ok(None),
        }
    }

    /// Runs statements that end with the one transaction after which the database holds `after`.
    fn transaction(&mut self, sql: &str, after: Contents) -> Result<(), Ended> {
        let len = self.ledger.len();
        self.ledger.ask(self.calls(), after);
        let done = self.execute(sql);
        self.settle(done, len)
    }

    /// Runs statements in a session of their own.
    fn execute(&self, sql: &str) -> lodedb_sql::error::Result<u64> {
        let mut session = self.db().session(SessionOptions::default())?;
        RUNTIME.with(|runtime| runtime.block_on(session.execute_sql(sql)))
    }

    fn settle<T>(&mut self, done: Result<T, impl std::fmt::Display>, len: usize) -> Result<(), Ended> {
        match self.tolerate(done)? {
            Some(_) => self.ledger.acknowledge(self.calls()),
            None => self.ledger.take_back(len),
        }
        Ok(())
    }

    fn newest(&self) -> Contents {
        self.ledger.newest().as_ref().clone()
    }

    fn new_item(&mut self) -> Item {
        let note = self.dice.random_ratio(4, 5).then(|| format!("note {}", self.dice.random_range(0..1000)));
        let v = self.dice.random_ratio(9, 10).then(|| (0..DIMS).map(|_| self.dice.random_range(-8.0..8.0)).collect());
        Item { grp: self.dice.random_range(0..5), note, v }
    }

    fn new_rows(&mut self, count: usize) -> Vec<(i64, Item)> {
        (0..count)
            .map(|_| {
                self.next += 1;
                (self.next, self.new_item())
            })
            .collect()
    }

    /// Some ids of rows that are there.
    fn some_ids(&mut self, count: usize) -> Vec<i64> {
        let newest = self.ledger.newest();
        self.some_ids_of(&newest, count)
    }

    fn some_ids_of(&mut self, contents: &Contents, count: usize) -> Vec<i64> {
        let ids: Vec<i64> = contents.rows("t").map(|(id, _)| *id).collect();
        ids.choose_multiple(&mut self.dice, count).copied().collect()
    }

    /// What happens between the view that a job reads and its commit; vectors change too if they `move`.
    fn meanwhile(&mut self, meanwhile: Meanwhile, moves: bool) -> Result<(), Ended> {
        if meanwhile == Meanwhile::Nothing {
            return Ok(());
        }
        self.step(Step::Update(2, false))?;
        if moves {
            self.step(Step::Update(2, true))?;
        }
        self.step(Step::Delete(2))?;
        if meanwhile == Meanwhile::Checkpoint { self.step(Step::Checkpoint) } else { Ok(()) }
    }

    fn step(&mut self, step: Step) -> Result<(), Ended> {
        match step {
            Step::Insert(count) => {
                let rows = self.new_rows(count);
                let mut after = self.newest();
                put(&mut after, &rows);
                self.transaction(&insert(&rows), after)
            }
            Step::Group(count) => self.group(count),
            Step::Upsert(count) => {
                let mut rows: Vec<(i64, Item)> =
                    self.some_ids(count).into_iter().map(|id| (id, self.new_item())).collect();
                rows.extend(self.new_rows(count));
                let mut after = self.newest();
                put(&mut after, &rows);
                let set = "grp = excluded.grp, note = excluded.note, v = excluded.v";
                self.transaction(&format!("{} ON CONFLICT (id) DO UPDATE SET {set}", insert(&rows)), after)
            }
            Step::Update(count, moved) => {
                let ids = self.some_ids(count);
                let (sql, after) = self.update(&ids, moved);
                self.transaction(&sql, after)
            }
            Step::Delete(count) => {
                let ids = self.some_ids(count);
                let mut after = self.newest();
                let sql = delete(&mut after, &ids);
                self.transaction(&sql, after)
            }
            Step::Truncate => {
                let mut after = self.newest();
                after.table("t").rows.clear();
                self.transaction("TRUNCATE t", after)
            }
            Step::Block => self.block(),
            Step::Savepoints => self.savepoints(),
            Step::OtherTable => {
                let mut after = self.newest();
                let sql = self.other_table(&mut after);
                self.transaction(&format!("BEGIN; {sql}; COMMIT"), after)
            }
            Step::KeyIndex => {
                let mut after = self.newest();
                let sql = key_index(&mut after);
                self.transaction(&sql, after)
            }
            Step::VectorIndex => {
                let mut after = self.newest();
                let sql = index(&mut after, "t_v", "USING ivfflat (v vector_l2_ops)");
                self.transaction(&sql, after)
            }
            Step::Staged(count, interrupted) => self.staged(count, interrupted),
            Step::Freeze => {
                let Some((_, table, _)) = self.table() else { return Ok(()) };
                self.tolerate(jobs::freeze(self.db().engine(), table)).map(drop)
            }
            Step::Seal(meanwhile) => {
                let Some((view, table, inside)) = self.table() else { return Ok(()) };
                let frozen: Vec<SegmentId> = inside
                    .segments
                    .split_last()
                    .map_or(&[][..], |(_, before)| before)
                    .iter()
                    .filter(|view| matches!(view.segment, Segment::Mutable { .. }))
                    .map(|view| view.segment.id())
                    .collect();
                self.meanwhile(meanwhile, true)?;
                frozen.into_iter().try_for_each(|segment| self.job(&view, &Job::Seal(table, segment)))
            }
            Step::Merge(meanwhile) => {
                let Some((view, table, inside)) = self.table() else { return Ok(()) };
                let sealed = sealed(&inside);
                self.meanwhile(meanwhile, false)?;
                if sealed.len() < 2 {
                    return Ok(());
                }
                self.job(&view, &Job::Merge(table, sealed))
            }
            Step::Build => {
                let Some((view, table, inside)) = self.table() else { return Ok(()) };
                let Some(&index) = inside.indexes.keys().next() else { return Ok(()) };
                self.job(&view, &Job::BuildIndex(table, index))
            }
            Step::Encode => {
                let Some((view, table, inside)) = self.table() else { return Ok(()) };
                let lacking: Vec<SegmentId> = sealed(&inside)
                    .into_iter()
                    .filter(|id| inside.indexes.values().any(|index| !index.segments.contains_key(id)))
                    .collect();
                lacking.into_iter().try_for_each(|segment| self.job(&view, &Job::Encode(table, segment)))
            }
            Step::Checkpoint => self.tolerate(self.db().checkpoint()).map(drop),
            Step::Mark => self.tolerate(self.db().engine().log.write_idle_mark()).map(drop),
            Step::Backup => {
                let contents = self.ledger.newest();
                let Some(backup) = self.tolerate(self.db().backup(Path::new(BACKUPS), 0, &|| false))? else {
                    return Ok(());
                };
                let since = self.calls();
                self.ledger.backups.push(BackedUp { since, until: u64::MAX, backup, contents });
                Ok(())
            }
            Step::Forget => self.forget(),
            Step::Restore => {
                let Some(newest) = self.ledger.backups.last() else { return Ok(()) };
                let (contents, to) = (newest.contents.clone(), format!("/restored-{}", self.ledger.restored.len()));
                self.ledger.restored.push((to.clone(), u64::MAX, contents));
                let fs: Arc<dyn FileSystem> = Arc::new(self.machine.clone());
                let restored = restore(&fs, Path::new(BACKUPS), None, Path::new(&to), None, &Progress::new(0));
                if self.tolerate(restored)?.is_some()
                    && let (calls, Some(restored)) = (self.calls(), self.ledger.restored.last_mut())
                {
                    restored.1 = calls;
                }
                Ok(())
            }
            Step::Close => {
                let closed = self.db().close();
                self.tolerate(closed)?;
                self.leave();
                self.open()
            }
            Step::Reopen => {
                self.leave();
                self.open()
            }
        }
    }

    /// The newest view, and the table in it.
    fn table(&self) -> Option<(Arc<ReadView>, TableId, Arc<TableView>)> {
        let view = self.db().engine().view();
        let id = view.catalog.table("t")?.id;
        let inside = view.tables.get(&id)?.clone();
        Some((view, id, inside))
    }

    fn job(&mut self, view: &Arc<ReadView>, job: &Job) -> Result<(), Ended> {
        let db = self.db();
        let _one = db.engine().maintenance.lock();
        self.tolerate(jobs::run(db.engine(), view, job, 0, &AtomicBool::new(false))).map(drop)
    }

    /// Several commits in one group, which one fsync covers.
    fn group(&mut self, count: usize) -> Result<(), Ended> {
        let Some((_, table, _)) = self.table() else { return Ok(()) };
        let len = self.ledger.len();
        let mut commits = Vec::new();
        for _ in 0..count {
            let some = self.dice.random_range(1..4);
            let rows = self.new_rows(some);
            let mut after = self.newest();
            put(&mut after, &rows);
            self.ledger.ask(self.calls(), after);
            commits.push(vec![Op::Insert { table, rows: rows.iter().map(stored).collect() }]);
        }
        let answers = self.db().engine().committer.commit_together(commits);
        self.settle(answers.into_iter().collect::<Result<Vec<_>, _>>(), len)
    }

    fn update(&mut self, ids: &[i64], moved: bool) -> (String, Contents) {
        let mut after = self.newest();
        let grp = self.dice.random_range(0..5);
        let v: Vec<f32> = (0..DIMS).map(|_| self.dice.random_range(-8.0..8.0)).collect();
        let mut set = format!("grp = {grp}");
        if moved {
            set.push_str(&format!(", v = '{}'", text(&v)));
        }
        for id in ids {
            if let Some(item) = after.table("t").rows.get_mut(id) {
                let item = Arc::make_mut(item);
                item.grp = grp;
                if moved {
                    item.v = Some(v.clone());
                }
            }
        }
        (format!("UPDATE t SET {set} WHERE id IN ({})", list(ids)), after)
    }

    fn block(&mut self) -> Result<(), Ended> {
        let (kept, undone) = (self.new_rows(2), self.new_rows(2));
        let (updated, deleted) = (self.some_ids(2), self.some_ids(2));
        let rolled_back =
            format!("BEGIN; {}; DELETE FROM t WHERE id IN ({}); ROLLBACK", insert(&undone), list(&updated));
        let done = self.execute(&rolled_back);
        self.tolerate(done)?;
        // The second row has the key of the first.
        let twice = [undone[0].clone(), undone[0].clone()];
        if self.execute(&format!("BEGIN; {}; {}; COMMIT", insert(&kept), insert(&twice))).is_ok() {
            return Err(Ended::Broken("a key was inserted twice".into()));
        }
        let mut after = self.newest();
        put(&mut after, &kept);
        for id in &updated {
            if let Some(item) = after.table("t").rows.get_mut(id) {
                Arc::make_mut(item).grp = 9;
            }
        }
        let update = format!("UPDATE t SET grp = 9 WHERE id IN ({})", list(&updated));
        let sql = format!("BEGIN; {}; {update}; {}; COMMIT", insert(&kept), delete(&mut after, &deleted));
        self.transaction(&sql, after)
    }

    /// Statements at any level of isolation, savepoints among them; what comes after one may be undone.
    fn savepoints(&mut self) -> Result<(), Ended> {
        let level = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][self.dice.random_range(0..3)];
        let mut sql = vec![format!("BEGIN ISOLATION LEVEL {level}")];
        let mut now = self.newest();
        let mut saved: Vec<Contents> = Vec::new();
        for _ in 0..self.dice.random_range(4..14) {
            let at = self.dice.random_range(0..saved.len().max(1));
            let said = match self.dice.random_range(0..12) {
                0..=2 => {
                    saved.push(now.clone());
                    format!("SAVEPOINT s{}", saved.len())
                }
                3..=4 if !saved.is_empty() => {
                    saved.truncate(at + 1);
                    now.clone_from(&saved[at]);
                    format!("ROLLBACK TO s{}", at + 1)
                }
                5 if !saved.is_empty() => {
                    saved.truncate(at);
                    format!("RELEASE s{}", at + 1)
                }
                6 => self.other_table(&mut now),
                7 => key_index(&mut now),
                8..=9 => {
                    let ids = self.some_ids_of(&now, 3);
                    for id in &ids {
                        if let Some(item) = now.table("t").rows.get_mut(id) {
                            Arc::make_mut(item).grp = 7;
                        }
                    }
                    format!("UPDATE t SET grp = 7 WHERE id IN ({})", list(&ids))
                }
                10 => {
                    let ids = self.some_ids_of(&now, 2);
                    delete(&mut now, &ids)
                }
                _ => {
                    let rows = self.new_rows(3);
                    put(&mut now, &rows);
                    insert(&rows)
                }
            };
            sql.push(said);
        }
        if self.dice.random_ratio(1, 6) {
            sql.push("ROLLBACK".into());
            let done = self.execute(&sql.join("; "));
            return self.tolerate(done).map(drop);
        }
        sql.push("COMMIT".into());
        self.transaction(&sql.join("; "), now)
    }

    /// Makes the other table with rows, or drops it.
    fn other_table(&mut self, after: &mut Contents) -> String {
        if after.tables.remove("u").is_some() {
            return "DROP TABLE u".into();
        }
        let rows = self.new_rows(3);
        let table = after.table("u");
        table.indexes.insert("u_pkey".into());
        let mut values = Vec::new();
        for (id, item) in rows {
            let item = Item { v: None, ..item };
            values.push(format!("({id}, {}, {})", item.grp, literal(item.note.as_deref())));
            table.rows.insert(id, Arc::new(item));
        }
        let create = "CREATE TABLE u (id bigint PRIMARY KEY, grp int NOT NULL, note text)";
        format!("{create}; INSERT INTO u VALUES {}", values.join(", "))
    }

    /// Rows that are written out before the commit.
    fn staged(&mut self, count: usize, interrupted: bool) -> Result<(), Ended> {
        let rows = self.new_rows(count);
        let mut after = self.newest();
        put(&mut after, &rows);
        if !interrupted {
            return self.transaction(&insert(&rows), after);
        }
        let db = self.db();
        let run = |session: &mut crate::Session, sql: &str| {
            RUNTIME.with(|runtime| runtime.block_on(session.execute_sql(sql)))
        };
        let Some(mut session) = self.tolerate(db.session(SessionOptions::default()))? else { return Ok(()) };
        let begun = run(&mut session, &format!("BEGIN; {}", insert(&rows)));
        if self.tolerate(begun)?.is_none() {
            return Ok(());
        }
        self.tolerate(db.checkpoint())?;
        let len = self.ledger.len();
        self.ledger.ask(self.calls(), after);
        let done = run(&mut session, "COMMIT");
        self.settle(done, len)
    }

    fn forget(&mut self) -> Result<(), Ended> {
        let calls = self.calls();
        let Some((_, older)) = self.ledger.backups.split_last_mut() else { return Ok(()) };
        let older: Vec<_> = older.iter_mut().filter(|backed_up| backed_up.until == u64::MAX).collect();
        let mut numbers = Vec::new();
        for backed_up in older {
            backed_up.until = calls;
            numbers.push(backed_up.backup.number);
        }
        let fs: Arc<dyn FileSystem> = Arc::new(self.machine.clone());
        let forgotten = Repository::open(fs, Path::new(BACKUPS), self.db().engine().id)
            .and_then(|repository| repository.forget(&numbers));
        self.tolerate(forgotten).map(drop)
    }
}

fn sealed(inside: &TableView) -> Vec<SegmentId> {
    let is_sealed = |view: &&crate::segment::SegmentView| matches!(view.segment, Segment::Sealed(_));
    inside.segments.iter().filter(is_sealed).map(|view| view.segment.id()).collect()
}

fn put(after: &mut Contents, rows: &[(i64, Item)]) {
    after.table("t").rows.extend(rows.iter().map(|(id, item)| (*id, Arc::new(item.clone()))));
}

fn delete(after: &mut Contents, ids: &[i64]) -> String {
    ids.iter().for_each(|id| {
        after.table("t").rows.remove(id);
    });
    format!("DELETE FROM t WHERE id IN ({})", list(ids))
}

/// Makes an index of the first table, or drops it.
fn index(after: &mut Contents, name: &str, of: &str) -> String {
    let indexes = &mut after.table("t").indexes;
    if indexes.remove(name) {
        return format!("DROP INDEX {name}");
    }
    indexes.insert(name.to_owned());
    format!("CREATE INDEX {name} ON t {of}")
}

fn key_index(after: &mut Contents) -> String {
    index(after, "t_grp", "(grp, note)")
}

fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    if ids.is_empty() { "-1".into() } else { ids.join(", ") }
}

fn literal(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".into(), |text| format!("'{text}'"))
}

fn text(v: &[f32]) -> String {
    let parts: Vec<String> = v.iter().map(f32::to_string).collect();
    format!("[{}]", parts.join(","))
}

fn insert(rows: &[(i64, Item)]) -> String {
    let values: Vec<String> = rows
        .iter()
        .map(|(id, item)| {
            let v = item.v.as_deref().map(text);
            format!("({id}, {}, {}, {})", item.grp, literal(item.note.as_deref()), literal(v.as_deref()))
        })
        .collect();
    format!("INSERT INTO t VALUES {}", values.join(", "))
}

/// A row as the log has it.
pub(super) fn stored((id, item): &(i64, Item)) -> Row {
    let note = item.note.clone().map_or(Datum::Null, Datum::Text);
    let v = item.v.as_ref().map_or(Datum::Null, |v| Datum::Vector(v.as_slice().into()));
    vec![Datum::Int8(*id), Datum::Int4(item.grp), note, v].into()
}
