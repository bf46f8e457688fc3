//! The one thread that commits: it takes all that wait, logs them, makes one fsync, applies and publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

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

/// The way to the commit thread.
#[derive(Debug)]
pub struct Committer {
    requests: Mutex<Sender<Message>>,
    thread: Mutex<Option<JoinHandle<State>>>,
    failed: Arc<AtomicBool>,
}

/// What the commit thread works on.
pub struct CommitParts {
    /// The newest state; the thread owns it.
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
        let failed = Arc::new(AtomicBool::new(false));
        let failed_in_thread = failed.clone();
        let thread = std::thread::Builder::new()
            .name("lodedb-commit".into())
            .spawn(move || run(parts, &inbox, &failed_in_thread))?;
        Ok(Self { requests: Mutex::new(requests), thread: Mutex::new(Some(thread)), failed })
    }

    /// Commits: returns when the commit is durable, applied and published.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<Lsn, SqlError> {
        self.submit(ops).await.unwrap_or_else(|_| Err(outcome_unknown("the commit thread is gone")))
    }

    /// As [`Self::commit`], for threads.
    pub fn commit_blocking(&self, ops: Vec<Op>) -> Result<Lsn, SqlError> {
        self.submit(ops).blocking_recv().unwrap_or_else(|_| Err(outcome_unknown("the commit thread is gone")))
    }

    fn submit(&self, ops: Vec<Op>) -> oneshot::Receiver<Result<Lsn, SqlError>> {
        // The stream is made here, by the thread of the session: the commit thread only writes it.
        let encoded = EncodedOps::encode(&ops);
        let (answer, answered) = oneshot::channel();
        // If the thread is gone the answer is dropped with the request, and the receiver says so.
        let _ = self.requests.lock().send(Message::Commit(Request { ops, encoded, answer }));
        answered
    }

    /// Whether a write failed: nothing is committed any more, and the process should end.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Lets the commits under way finish, ends the thread and gives its state back.
    pub fn stop(&self) -> Option<State> {
        let _ = self.requests.lock().send(Message::Stop);
        self.thread.lock().take().and_then(|thread| thread.join().ok())
    }
}

fn outcome_unknown(why: impl std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::IoError, format!("the outcome of the commit is unknown: {why}"))
        .with_hint("Restart the database; it will come back with every commit that reached the disk.")
}

fn run(mut parts: CommitParts, inbox: &Receiver<Message>, failed: &AtomicBool) -> State {
    while let Ok(first) = inbox.recv() {
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
        if !group.is_empty() {
            commit_group(&mut parts, group, failed);
        }
        if stop {
            break;
        }
    }
    parts.state
}

fn commit_group(parts: &mut CommitParts, group: Vec<Request>, failed: &AtomicBool) {
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
    if let Some((last, _)) = logged.last() {
        parts.log.sync(*last)?;
    }
    Ok(logged)
}

/// ORDER: apply, publish, answer. A client that was answered finds its commit in the next view it takes.
fn apply_group(parts: &mut CommitParts, group: Vec<Request>, logged: Vec<Logged>, failed: &AtomicBool) {
    let mut answers = Vec::with_capacity(group.len());
    let mut broken: Option<String> = None;
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
