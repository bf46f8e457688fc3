//! Committing: one group at a time is logged, made durable by one fsync, applied and published.
//!
//! Commits that come while another is under way wait in a queue; a thread takes all of them as the next group. A commit that finds
//! nobody at it is done by the thread that asks: waking another one and being woken by it take longer than everything but the fsync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::{Log, Lsn};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::apply::State;
use super::record::{EncodedOps, Header, Op};
use super::view::ReadView;
use crate::catalog::TableId;
use crate::fault::{Fault, planted};
use crate::snapshot::files::SegmentStore;
use crate::store::Store;

/// A commit on its way.
struct Request {
    ops: Vec<Op>,
    encoded: EncodedOps,
    answer: oneshot::Sender<Result<Lsn, SqlError>>,
}

/// What the thread is asked to do.
enum Message {
    Commit(Request),
    /// Answer when everything sent before is committed and published; then go away.
    Stop,
}

/// The most that a commit done by the asking thread may have to write, in bytes: it holds up whatever else that thread would do.
const MOST_HERE: usize = 64 << 10;
/// Where commits take longer than this, they are left to the commit thread.
const QUICK: Duration = Duration::from_millis(1);

/// The way to commit.
pub struct Committer {
    shared: Arc<Shared>,
    requests: Mutex<Sender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("failed", &self.shared.failed).finish_non_exhaustive()
    }
}

struct Shared {
    /// Who holds this commits; empty once stopped.
    parts: Mutex<Option<CommitParts>>,
    failed: AtomicBool,
    /// Whether the last commit was alone and quick, so that the next one probably is.
    alone: AtomicBool,
}

/// What committing works on.
pub struct CommitParts {
    /// The newest state.
    pub state: State,
    /// The log.
    pub log: Arc<Log>,
    /// The rows.
    pub store: Arc<Store>,
    /// The files of the segments.
    pub files: Arc<SegmentStore>,
    /// Where views are published.
    pub view: Arc<ArcSwap<ReadView>>,
}

impl Committer {
    /// Starts the thread.
    pub fn start(parts: CommitParts) -> std::io::Result<Self> {
        let (requests, inbox) = channel();
        let shared = Arc::new(Shared {
            parts: Mutex::new(Some(parts)),
            failed: AtomicBool::new(false),
            alone: AtomicBool::new(true),
        });
        let in_thread = shared.clone();
        let thread = std::thread::Builder::new().name("lodedb-commit".into()).spawn(move || run(&in_thread, &inbox))?;
        Ok(Self { shared, requests: Mutex::new(requests), thread: Mutex::new(Some(thread)) })
    }

    /// Begins a commit; the answer comes when it is durable, applied and published, or its outcome is unknown. It may be there already.
    pub fn begin(&self, ops: Vec<Op>) -> Committing {
        // The stream is made here, by the thread of the session: committing only writes it.
        let encoded = EncodedOps::encode(&ops);
        let (answer, answered) = oneshot::channel();
        let request = Request { ops, encoded, answer };
        if let Err(request) = self.commit_here(request) {
            // If the thread is gone the answer is dropped with the request, and the receiver says so.
            let _ = self.requests.lock().send(Message::Commit(request));
        }
        Committing(answered)
    }

    /// Commits in this thread if nobody else is at it or was just now; otherwise gives the request back.
    fn commit_here(&self, request: Request) -> Result<(), Request> {
        if request.encoded.size_bytes() > MOST_HERE || !self.shared.alone.load(Ordering::Relaxed) {
            return Err(request);
        }
        let Some(mut parts) = self.shared.parts.try_lock() else { return Err(request) };
        match parts.as_mut() {
            Some(parts) => {
                commit_group(parts, vec![request], &self.shared);
                Ok(())
            }
            None => Err(request),
        }
    }

    /// Commits: returns when the commit is durable, applied and published.
    pub fn commit_blocking(&self, ops: Vec<Op>) -> Result<Lsn, SqlError> {
        self.begin(ops).0.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Commits several as one group, in this thread.
    #[cfg(test)]
    pub(crate) fn commit_together(&self, commits: Vec<Vec<Op>>) -> Vec<Result<Lsn, SqlError>> {
        let (mut group, mut answers) = (Vec::new(), Vec::new());
        for ops in commits {
            let (answer, answered) = oneshot::channel();
            group.push(Request { encoded: EncodedOps::encode(&ops), ops, answer });
            answers.push(answered);
        }
        if let Some(parts) = self.shared.parts.lock().as_mut() {
            commit_group(parts, group, &self.shared);
            self.shared.alone.store(true, Ordering::Relaxed);
        }
        answers.into_iter().map(|answered| answered.blocking_recv().unwrap_or_else(|_| Err(gone()))).collect()
    }

    /// Whether a write failed: nothing is committed any more, and the process should end.
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Lets the commits under way finish and ends the thread; later commits fail.
    pub fn stop(&self) {
        let _ = self.requests.lock().send(Message::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the commit thread panicked");
        }
        self.shared.parts.lock().take();
    }
}

/// A commit that was begun. It goes on if this is dropped.
#[derive(Debug)]
pub struct Committing(oneshot::Receiver<Result<Lsn, SqlError>>);

impl Committing {
    /// The answer, if it is there.
    pub fn answered(&mut self) -> Option<Result<Lsn, SqlError>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(gone())),
        }
    }

    /// Waits for the answer.
    pub async fn wait(self) -> Result<Lsn, SqlError> {
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> SqlError {
    outcome_unknown("the commit thread is gone")
}

fn outcome_unknown(why: impl std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::IoError, format!("the outcome of the commit is unknown: {why}"))
        .with_hint("Restart the database; it will come back with every commit that reached the disk.")
}

fn run(shared: &Shared, inbox: &Receiver<Message>) {
    while let Ok(first) = inbox.recv() {
        // Whoever is committing now is waited for, so that the group is all that came meanwhile.
        let mut parts = shared.parts.lock();
        let mut group = Vec::new();
        let mut stop = false;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Commit(request) => group.push(request),
                Message::Stop => {
                    stop = true;
                    break;
                }
            }
            next = inbox.try_recv().ok();
        }
        if let Some(parts) = parts.as_mut()
            && !group.is_empty()
        {
            commit_group(parts, group, shared);
        }
        if stop {
            break;
        }
    }
}

fn commit_group(parts: &mut CommitParts, group: Vec<Request>, shared: &Shared) {
    let (begun, alone) = (Instant::now(), group.len() == 1);
    // A panic in the middle leaves a state that nothing may be built on.
    let unfinished = Unfinished(&shared.failed);
    log_and_apply(parts, group, &shared.failed);
    std::mem::forget(unfinished);
    #[cfg(test)]
    let begun = if crate::db::clock::simulated::is_on() { Instant::now() } else { begun };
    shared.alone.store(alone && begun.elapsed() < QUICK, Ordering::Relaxed);
}

/// Dropped by a panic only.
struct Unfinished<'a>(&'a AtomicBool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn log_and_apply(parts: &mut CommitParts, group: Vec<Request>, failed: &AtomicBool) {
    if failed.load(Ordering::Acquire) {
        for request in group {
            let _ = request.answer.send(Err(outcome_unknown("the database stopped after a failed write")));
        }
        return;
    }
    match log_group(parts, &group) {
        Ok(logged) => apply_group(parts, group, logged, failed),
        Err(error) => {
            failed.store(true, Ordering::Release);
            tracing::error!(%error, "the log failed; the database stops");
            for request in group {
                let _ = request.answer.send(Err(outcome_unknown(&error)));
            }
        }
    }
}

/// A commit in the log: its LSN, and the first row id it has in each table.
type Logged = (Lsn, Vec<(TableId, u64)>);

/// Appends the group and makes the one fsync that covers it. Gives each commit its LSN and its first row ids.
fn log_group(parts: &CommitParts, group: &[Request]) -> Result<Vec<Logged>, lodedb_wal::LogError> {
    let time_us = crate::db::clock::now_us();
    let mut next_rows = std::collections::BTreeMap::new();
    let mut logged = Vec::with_capacity(group.len());
    for request in group {
        let mut bases: Vec<(TableId, u64)> = Vec::new();
        for op in &request.ops {
            if let Some((table, count)) = op.new_rows() {
                let next = next_rows.entry(table).or_insert_with(|| parts.state.next_row(table));
                if !bases.iter().any(|(of, _)| *of == table) {
                    bases.push((table, *next));
                }
                *next += count;
            }
        }
        // The LSN of its first record names a commit: no other one ever has it.
        let tx = parts.log.last_lsn() + 1;
        let header = Header { bases, time_us };
        let records = request.encoded.records(tx, &header);
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        logged.push((parts.log.append(&slices)?, header.bases));
    }
    if let Some((last, _)) = logged.last()
        && !planted(Fault::AcknowledgedBeforeSync)
        && !planted(Fault::AppliedBeforeSync)
    {
        parts.log.sync(*last)?;
    }
    Ok(logged)
}

/// ORDER: apply, publish, answer. A client that was answered finds its commit in the next view it takes.
fn apply_group(parts: &mut CommitParts, group: Vec<Request>, logged: Vec<Logged>, failed: &AtomicBool) {
    let mut answers = Vec::with_capacity(group.len());
    let mut broken: Option<String> = None;
    let last = logged.last().map_or(0, |(last, _)| *last);
    let torn = (planted(Fault::TornView) && parts.state.lsn.is_multiple_of(8)).then(|| parts.store.snapshot());
    for (request, (lsn, bases)) in group.into_iter().zip(logged) {
        let result = match &broken {
            Some(why) => Err(outcome_unknown(why)),
            None => {
                parts.state.apply(lsn, &bases, &request.ops, Some(&parts.store), &parts.files).map(|()| lsn).map_err(
                    |error| {
                        tracing::error!(%error, lsn, "a commit could not be applied; the database stops");
                        broken = Some(error.to_string());
                        failed.store(true, Ordering::Release);
                        outcome_unknown(error)
                    },
                )
            }
        };
        answers.push((request.answer, result));
    }
    if planted(Fault::AppliedBeforeSync)
        && let Err(error) = parts.log.sync(last)
    {
        failed.store(true, Ordering::Release);
        broken = Some(error.to_string());
        answers.iter_mut().for_each(|(_, result)| *result = Err(outcome_unknown(&error)));
    }
    if broken.is_none() {
        let view = parts.state.view(&parts.store);
        parts.view.store(Arc::new(match torn {
            Some(rows) => ReadView { rows, ..view },
            None => view,
        }));
    }
    for (answer, result) in answers {
        // A client that went away does not wait for its answer.
        let _ = answer.send(result);
    }
}
