//! Committing: one group at a time is logged, made durable by one fsync, applied and published.
//!
//! Commits that come while another is under way wait in a queue; a thread takes all of them as the next group. A commit that finds
//! nobody at it is done by the thread that asks: waking another one and being woken by it take longer than everything but the fsync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lodedb_group::{GroupCommit, Steps};
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::killpoint::reach;
use lodedb_wal::{Log, LogError, Lsn};
use tokio::sync::oneshot;

use super::apply::State;
use super::record::{EncodedOps, Header, Op};
use super::view::ReadView;
use crate::catalog::TableId;
use crate::fault::{Fault, planted};
use crate::snapshot::files::SegmentStore;
use crate::store::{Snapshot, Store};

/// A commit on its way.
struct Request {
    ops: Vec<Op>,
    encoded: EncodedOps,
    answer: oneshot::Sender<Result<Lsn, SqlError>>,
}

/// The most that a commit done by the asking thread may have to write, in bytes: it holds up whatever else that thread would do.
const MOST_HERE: usize = 64 << 10;
/// What a commit takes in the log beside its effects, at most, in bytes.
const RECORD_BYTES: u64 = 4096;
/// Where commits take longer than this, they are left to the commit thread.
const QUICK: Duration = Duration::from_millis(1);

/// The way to commit.
#[derive(Debug)]
pub struct Committer {
    group: GroupCommit<Committing>,
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
        let steps = Committing { parts, begun: Instant::now(), torn: None, late: None };
        Ok(Self { group: GroupCommit::start("lodedb-commit", steps)? })
    }

    /// Begins a commit; the answer comes when it is durable, applied and published, or its outcome is unknown. It may be there already.
    pub fn begin(&self, ops: Vec<Op>) -> Begun {
        // The stream is made here, by the thread of the session: committing only writes it.
        let encoded = EncodedOps::encode(&ops);
        let (answer, answered) = oneshot::channel();
        let here = encoded.size_bytes() <= MOST_HERE;
        // Once stopped the answer is dropped with the request, and the receiver says so.
        self.group.begin(Request { ops, encoded, answer }, here);
        Begun(answered)
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
        self.group.commit_together(group);
        answers.into_iter().map(|answered| answered.blocking_recv().unwrap_or_else(|_| Err(gone()))).collect()
    }

    /// Whether a write failed: nothing is committed any more, and the process should end.
    pub fn has_failed(&self) -> bool {
        self.group.has_failed()
    }

    /// Lets the commits under way finish and ends the thread; later commits fail.
    pub fn stop(&self) {
        if !self.group.stop() {
            tracing::error!("the commit thread panicked");
        }
    }
}

/// A commit that was begun. It goes on if this is dropped.
#[derive(Debug)]
pub struct Begun(oneshot::Receiver<Result<Lsn, SqlError>>);

impl Begun {
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

/// The steps of a commit.
struct Committing {
    parts: CommitParts,
    /// When the group under way was begun.
    begun: Instant,
    /// The rows of the view before, where [`Fault::TornView`] is planted.
    torn: Option<Snapshot>,
    /// What is synced after it is applied, where [`Fault::AppliedBeforeSync`] is planted.
    late: Option<Lsn>,
}

/// A commit in the log: its LSN, and the first row id it has in each table.
struct Logged {
    lsn: Lsn,
    bases: Vec<(TableId, u64)>,
}

impl Steps for Committing {
    type Request = Request;
    type Logged = Logged;
    type Error = SqlError;

    /// Refuses a group for which the log has no room: nothing of it is logged, and later ones may find some.
    fn sift(&mut self, group: Vec<Request>) -> Vec<Request> {
        let bytes: u64 = group.iter().map(|request| request.encoded.size_bytes() as u64 + RECORD_BYTES).sum();
        match self.parts.log.make_room(bytes) {
            Err(LogError::Io { source, path, .. }) if source.kind() == std::io::ErrorKind::StorageFull => {
                let message = format!("not enough room on the disk of \"{}\" for the log", path.display());
                let error = SqlError::new(SqlState::DiskFull, message)
                    .with_hint("Nothing was changed; try again once there is room.");
                tracing::error!(%error, "commits are refused");
                for request in group {
                    let _ = request.answer.send(Err(error.clone()));
                }
                Vec::new()
            }
            // Whatever else it is, appending meets it too.
            _ => group,
        }
    }

    /// Gives each commit its LSN and its first row ids.
    fn append(&mut self, group: &[Request]) -> Result<Vec<Logged>, SqlError> {
        self.begun = Instant::now();
        let CommitParts { state, log, .. } = &self.parts;
        let time_us = crate::db::clock::now_us();
        let mut next_rows = BTreeMap::new();
        let mut logged = Vec::with_capacity(group.len());
        for request in group {
            let mut bases: Vec<(TableId, u64)> = Vec::new();
            for op in &request.ops {
                if let Some((table, count)) = op.new_rows() {
                    let next = next_rows.entry(table).or_insert_with(|| state.next_row(table));
                    if !bases.iter().any(|(of, _)| *of == table) {
                        bases.push((table, *next));
                    }
                    *next += count;
                }
            }
            // The LSN of its first record names a commit: no other one ever has it.
            let tx = log.last_lsn() + 1;
            let header = Header { bases, time_us };
            let records = request.encoded.records(tx, &header);
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let lsn = log.append(&slices).map_err(log_failed)?;
            logged.push(Logged { lsn, bases: header.bases });
        }
        Ok(logged)
    }

    /// The one fsync that covers the group.
    fn sync(&mut self, logged: &[Logged]) -> Result<(), SqlError> {
        let Some(last) = logged.last() else { return Ok(()) };
        self.late = planted(Fault::AppliedBeforeSync).then_some(last.lsn);
        if !planted(Fault::AppliedBeforeSync) && !planted(Fault::AcknowledgedBeforeSync) {
            self.parts.log.sync(last.lsn).map_err(log_failed)?;
        }
        reach("commit: durable, not applied");
        let torn = planted(Fault::TornView) && self.parts.state.lsn.is_multiple_of(8);
        self.torn = torn.then(|| self.parts.store.snapshot());
        Ok(())
    }

    fn apply(&mut self, request: &Request, logged: &Logged) -> Result<(), SqlError> {
        let CommitParts { state, store, files, log, .. } = &mut self.parts;
        state.apply(logged.lsn, &logged.bases, &request.ops, Some(store), files).map_err(|error| {
            tracing::error!(%error, lsn = logged.lsn, "a commit could not be applied; the database stops");
            outcome_unknown(error)
        })?;
        if self.late == Some(logged.lsn) {
            log.sync(logged.lsn).map_err(log_failed)?;
        }
        Ok(())
    }

    fn publish(&mut self) {
        reach("commit: applied, not published");
        let view = self.parts.state.view(&self.parts.store);
        self.parts.view.store(Arc::new(match self.torn.take() {
            Some(rows) => ReadView { rows, ..view },
            None => view,
        }));
        reach("commit: published, not answered");
    }

    fn was_quick(&self) -> bool {
        #[cfg(test)]
        if crate::db::clock::simulated::is_on() {
            return true;
        }
        self.begun.elapsed() < QUICK
    }

    fn stopped() -> SqlError {
        outcome_unknown("the database stopped after a failed write")
    }

    fn answer(request: Request, outcome: Result<Logged, SqlError>) {
        // A client that went away does not wait for its answer.
        let _ = request.answer.send(outcome.map(|logged| logged.lsn));
    }
}

fn log_failed(error: lodedb_wal::LogError) -> SqlError {
    tracing::error!(%error, "the log failed; the database stops");
    outcome_unknown(error)
}
