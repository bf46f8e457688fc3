//! What must hold however threads meet: the clients, the log and the views that [`GroupCommit`] is tried with.
//!
//! The same scenes run in three ways: under loom, which tries every interleaving of two or three threads (`--features loom`); under
//! shuttle, which tries very many of a few more (`--features shuttle`); and with real threads. Each bug that can be planted must be
//! noticed by one of the scenes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

#[cfg(feature = "loom")]
mod loom;
#[cfg(all(feature = "shuttle", not(feature = "loom")))]
mod shuttle;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod threads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, spawn};
use crate::{Carried, GroupCommit, Planted, Shared, Steps, carry_over};

/// What a commit does.
#[derive(Clone, Debug)]
enum Op {
    /// Nothing but being a commit.
    Mark,
    /// A row dies.
    Delete(u64),
    /// A row gets other columns.
    Override(u64),
    /// A row gets another vector: dead where it was, appended to the last segment.
    Move(u64),
    /// Segments are replaced by one with these rows.
    Seal { inputs: Vec<u64>, output: u64, rows: Vec<u64> },
}

#[derive(Clone, Debug, Default)]
struct Segment {
    rows: Vec<u64>,
    dead: BTreeSet<u64>,
    overridden: BTreeSet<u64>,
}

impl Segment {
    fn live(&self) -> impl Iterator<Item = u64> + '_ {
        self.rows.iter().copied().filter(|row| !self.dead.contains(row))
    }
}

/// What readers hold.
#[derive(Clone, Debug, Default)]
struct View {
    lsn: u64,
    segments: BTreeMap<u64, Segment>,
}

impl View {
    /// The segments in which a row is alive, each with whether it is overridden there.
    fn find(&self, row: u64) -> Vec<(u64, bool)> {
        let holds = |segment: &Segment| segment.live().any(|live| live == row);
        self.segments
            .iter()
            .filter(|(_, segment)| holds(segment))
            .map(|(id, segment)| (*id, segment.overridden.contains(&row)))
            .collect()
    }
}

/// What clients can see of the database.
struct Seen {
    /// What the disk holds. `Relaxed` everywhere: that it is seen in time is what [`GroupCommit`] must bring about.
    durable: AtomicU64,
    view: Mutex<Arc<View>>,
    /// The last commit that was answered. Not a primitive of the checker: it watches and must not order anything.
    answered: std::sync::atomic::AtomicU64,
}

impl Seen {
    fn view(&self) -> Arc<View> {
        let view = self.view.lock().clone();
        assert!(self.durable.load(Ordering::Relaxed) >= view.lsn, "a view shows what is not durable");
        view
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done(u64),
    Failed,
    /// Dropped without an answer.
    Gone,
}

/// Where the outcome of one commit arrives.
struct Slot {
    outcome: Mutex<Option<Outcome>>,
    told: Condvar,
}

impl Slot {
    fn tell(&self, outcome: Outcome) {
        let before = self.outcome.lock().replace(outcome);
        assert_eq!(before, None, "a commit was answered twice");
        self.told.notify_all();
    }

    fn wait(&self) -> Outcome {
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = *outcome {
                return outcome;
            }
            self.told.wait(&mut outcome);
        }
    }
}

struct Request {
    op: Op,
    seen: Arc<Seen>,
    slot: Option<Arc<Slot>>,
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.tell(Outcome::Gone);
        }
    }
}

/// The disk, the log and the newest state.
struct Model {
    seen: Arc<Seen>,
    appended: u64,
    state: View,
    /// The sync that covers this LSN fails.
    sync_fails_at: Option<u64>,
    /// Applying this LSN fails.
    apply_fails_at: Option<u64>,
    broken: bool,
    /// Whether groups count as quick, by their last LSN.
    quick: fn(u64) -> bool,
    /// Planted: a merge goes by the view it read, as if nothing had happened since.
    forgets_the_dead: bool,
}

impl Steps for Model {
    type Request = Request;
    type Logged = u64;
    type Error = ();

    fn append(&mut self, group: &[Request]) -> Result<Vec<u64>, ()> {
        assert!(!self.broken, "a step is taken after one failed");
        let first = self.appended + 1;
        self.appended += group.len() as u64;
        Ok((first..=self.appended).collect())
    }

    fn sync(&mut self, logged: &[u64]) -> Result<(), ()> {
        if self.sync_fails_at.is_some_and(|lsn| logged.contains(&lsn)) {
            self.broken = true;
            return Err(());
        }
        self.seen.durable.store(self.appended, Ordering::Relaxed);
        Ok(())
    }

    fn apply(&mut self, request: &Request, logged: &u64) -> Result<(), ()> {
        assert_eq!(self.state.lsn + 1, *logged, "commits are applied in the order of the log");
        if self.apply_fails_at == Some(*logged) {
            self.broken = true;
            return Err(());
        }
        self.state.lsn = *logged;
        self.apply_op(&request.op);
        Ok(())
    }

    fn publish(&mut self) {
        *self.seen.view.lock() = Arc::new(self.state.clone());
    }

    fn was_quick(&self) -> bool {
        (self.quick)(self.appended)
    }

    fn stopped() {}

    fn answer(mut request: Request, outcome: Result<u64, ()>) {
        if let Ok(lsn) = outcome {
            let before = request.seen.answered.swap(lsn, std::sync::atomic::Ordering::Relaxed);
            assert!(before < lsn, "commit {before} was answered before {lsn}");
        }
        let slot = request.slot.take().expect("answered once");
        slot.tell(outcome.map_or(Outcome::Failed, Outcome::Done));
    }
}

impl Model {
    fn apply_op(&mut self, op: &Op) {
        let segments = &mut self.state.segments;
        let home = |segments: &BTreeMap<u64, Segment>, row: u64| {
            segments.iter().find(|(_, segment)| segment.live().any(|live| live == row)).map(|(id, _)| *id)
        };
        match op {
            Op::Mark => {}
            Op::Delete(row) | Op::Override(row) | Op::Move(row) => {
                let id = home(segments, *row).expect("each row dies or changes once");
                let segment = segments.get_mut(&id).unwrap();
                if matches!(op, Op::Override(_)) {
                    segment.overridden.insert(*row);
                } else {
                    segment.dead.insert(*row);
                }
                if matches!(op, Op::Move(_)) {
                    segments.values_mut().next_back().unwrap().rows.push(*row);
                }
            }
            Op::Seal { inputs, output, rows } => {
                let mut sealed = Segment { rows: rows.clone(), ..Segment::default() };
                let now: Vec<&Segment> = inputs.iter().map(|input| &segments[input]).collect();
                let died = now.iter().flat_map(|input| input.dead.iter().copied());
                let changed = now.iter().flat_map(|input| input.overridden.difference(&input.dead).copied());
                let lives = |row| now.iter().any(|input| input.live().any(|live| live == row));
                let place = |row| rows.iter().position(|at| *at == row).map(|at| at as u32);
                if !self.forgets_the_dead {
                    carry_over(died, changed, lives, place, |ordinal, carried| {
                        let row = rows[ordinal as usize];
                        match carried {
                            Carried::Dead => sealed.dead.insert(row),
                            Carried::Overridden => sealed.overridden.insert(row),
                        };
                    });
                }
                segments.retain(|id, _| !inputs.contains(id));
                segments.insert(*output, sealed);
            }
        }
    }
}

/// A database at its start, and what is to go wrong in it.
#[derive(Clone, Copy)]
struct Start {
    planted: Option<Planted>,
    forgets_the_dead: bool,
    sync_fails_at: Option<u64>,
    apply_fails_at: Option<u64>,
    quick: fn(u64) -> bool,
}

impl Start {
    fn sound() -> Self {
        Self { planted: None, forgets_the_dead: false, sync_fails_at: None, apply_fails_at: None, quick: |_| true }
    }

    fn open(self) -> Arc<Database> {
        // Two sealed segments, and the mutable one that takes moved rows.
        let segment = |rows: &[u64]| Segment { rows: rows.to_vec(), ..Segment::default() };
        let segments = BTreeMap::from([(1, segment(&[1, 2, 3])), (2, segment(&[4, 5])), (9, segment(&[]))]);
        let state = View { lsn: 0, segments };
        let seen = Arc::new(Seen {
            durable: AtomicU64::new(0),
            view: Mutex::new(Arc::new(state.clone())),
            answered: std::sync::atomic::AtomicU64::new(0),
        });
        let mut shared = Shared::new(Model {
            seen: seen.clone(),
            appended: 0,
            state,
            sync_fails_at: self.sync_fails_at,
            apply_fails_at: self.apply_fails_at,
            broken: false,
            quick: self.quick,
            forgets_the_dead: self.forgets_the_dead,
        });
        shared.planted = self.planted;
        Arc::new(Database { seen, group: GroupCommit::start_shared("commit", shared).unwrap() })
    }
}

struct Database {
    seen: Arc<Seen>,
    group: GroupCommit<Model>,
}

impl Database {
    fn begin(&self, op: Op, here: bool) -> Arc<Slot> {
        let slot = Arc::new(Slot { outcome: Mutex::new(None), told: Condvar::new() });
        self.group.begin(Request { op, seen: self.seen.clone(), slot: Some(slot.clone()) }, here);
        slot
    }

    /// Commits and checks what every client relies on.
    fn commit(&self, op: Op, last: &mut u64) -> Outcome {
        let outcome = self.begin(op, true).wait();
        if let Outcome::Done(lsn) = outcome {
            assert!(self.seen.durable.load(Ordering::Relaxed) >= lsn, "answered before the sync");
            let view = self.seen.view();
            assert!(view.lsn >= lsn, "a client does not find its own commit");
            assert!(view.lsn >= *last && lsn > *last, "a session goes back in time");
            *last = view.lsn;
        }
        outcome
    }

    /// Commits one after the other; once one fails, all that follow must.
    fn client(&self, ops: impl IntoIterator<Item = Op>) -> Vec<Outcome> {
        let mut last = 0;
        let outcomes: Vec<Outcome> = ops.into_iter().map(|op| self.commit(op, &mut last)).collect();
        let end = outcomes.iter().position(|outcome| !matches!(outcome, Outcome::Done(_))).unwrap_or(outcomes.len());
        assert!(outcomes[end..].iter().all(|outcome| *outcome == outcomes[end]), "a commit succeeded after one failed");
        outcomes
    }

    fn stop(&self) -> Arc<View> {
        assert!(self.group.stop(), "the thread panicked");
        self.seen.view()
    }
}

/// Runs each in a thread of its own, but the last: it is this thread's.
fn together(jobs: Vec<Box<dyn FnOnce() + Send>>) {
    let mut jobs = jobs;
    let last = jobs.pop();
    let threads: Vec<_> = jobs.into_iter().map(|job| spawn("client", job).unwrap()).collect();
    if let Some(last) = last {
        last();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn clients(
    database: &Arc<Database>,
    count: usize,
    ops: usize,
    check: fn(Vec<Outcome>),
) -> Vec<Box<dyn FnOnce() + Send>> {
    let client = |_| -> Box<dyn FnOnce() + Send> {
        let database = database.clone();
        Box::new(move || check(database.client(vec![Op::Mark; ops])))
    };
    (0..count).map(client).collect()
}

/// Clients commit; all succeed, and the log has as many as they made.
fn commits(start: Start, count: usize, ops: usize) {
    let database = start.open();
    together(clients(&database, count, ops, |outcomes| {
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))), "{outcomes:?}");
    }));
    assert_eq!(database.stop().lsn, (count * ops) as u64);
}

/// Clients commit, and a step fails at some LSN: nobody is told success from there on.
fn failing(start: Start, count: usize, ops: usize) {
    let database = start.open();
    together(clients(&database, count, ops, |outcomes| {
        assert!(outcomes.iter().all(|outcome| *outcome != Outcome::Gone), "somebody was not told");
    }));
    let fails_at = start.sync_fails_at.or(start.apply_fails_at).expect("something fails here");
    assert!(database.group.has_failed() || fails_at > (count * ops) as u64);
    assert!(database.stop().lsn < fails_at, "a failed commit is seen");
}

/// The database stops while clients commit: what was begun before is committed, and nobody waits for ever.
fn stopping(start: Start, count: usize, ops: usize) {
    let database = start.open();
    let before = database.begin(Op::Mark, false);
    let mut jobs = clients(&database, count, ops, |_| {});
    let stopped = database.clone();
    jobs.push(Box::new(move || {
        let view = stopped.stop();
        let outcome = before.wait();
        assert!(matches!(outcome, Outcome::Done(lsn) if lsn <= view.lsn), "begun before the stop: {outcome:?}");
    }));
    together(jobs);
    let mut last = database.seen.view().lsn;
    assert_eq!(database.commit(Op::Mark, &mut last), Outcome::Gone, "nothing is committed once stopped");
}

/// A merge reads a view, writes its segment and commits, while clients delete, change and move the rows it copies.
fn merging(start: Start, ops: &[&[Op]]) {
    let database = start.open();
    let mut jobs: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for ops in ops {
        let (database, ops) = (database.clone(), ops.to_vec());
        jobs.push(Box::new(move || {
            let mut last = 0;
            for op in ops {
                assert!(matches!(database.commit(op.clone(), &mut last), Outcome::Done(_)));
                check_row(&database.seen.view(), &op);
            }
        }));
    }
    let job = database.clone();
    jobs.push(Box::new(move || {
        let view = job.seen.view();
        let inputs = vec![1, 2];
        let rows = inputs.iter().flat_map(|input| view.segments[input].live()).collect();
        let outcome = job.commit(Op::Seal { inputs, output: 3, rows }, &mut 0);
        assert!(matches!(outcome, Outcome::Done(_)));
    }));
    together(jobs);
    let view = database.stop();
    let all: Vec<&Op> = ops.iter().copied().flatten().collect();
    all.iter().for_each(|op| check_row(&view, op));
    let untouched = (1..=5).filter(|row| {
        !all.iter().any(|op| matches!(op, Op::Delete(of) | Op::Override(of) | Op::Move(of) if of == row))
    });
    for row in untouched {
        assert_eq!(view.find(row), [(3, false)], "row {row} was only copied");
    }
}

/// That a view shows what a commit did to its row.
fn check_row(view: &View, op: &Op) {
    let (row, places) = match op {
        Op::Delete(row) | Op::Override(row) | Op::Move(row) => (*row, view.find(*row)),
        Op::Mark | Op::Seal { .. } => return,
    };
    match op {
        Op::Delete(_) => assert_eq!(places, [], "row {row} is back"),
        Op::Override(_) => {
            assert!(matches!(places[..], [(_, true)]), "the old columns of row {row} are back: {places:?}")
        }
        _ => assert_eq!(places, [(9, false)], "row {row} moved"),
    }
}

/// That a scene notices a bug. It is tried in a process of its own: a checker that unwinds may end its process.
#[cfg(any(feature = "loom", feature = "shuttle"))]
fn notices(run: impl FnOnce()) {
    const IN_CHILD: &str = "LODEDB_TEST_IN_CHILD";
    if std::env::var_os(IN_CHILD).is_some() {
        return run();
    }
    let (name, program) = (std::thread::current().name().unwrap().to_owned(), std::env::current_exe().unwrap());
    let child = std::process::Command::new(program).args([&name, "--exact"]).env(IN_CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("running 1 test"), "{said}");
    assert!(!child.status.success(), "the planted bug was not noticed: {said}");
    let first = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
    println!("noticed: {first}");
}
