//! What the background does and did: `lodedb_compactions` and `pg_stat_progress_vacuum`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::catalog::TableId;
use crate::db::clock::now_us;

/// Jobs that are remembered.
const REMEMBERED: usize = 1000;

/// How long the background waits after something failed.
const REST: Duration = Duration::from_secs(1);

/// One job of the background, or of a statement that asks for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compaction {
    /// Its number since the database was opened.
    pub number: u64,
    /// The session that asked; 0 if nobody did.
    pub session: i32,
    /// The table.
    pub table: TableId,
    /// What is done: `seal`, `merge`, `encode` or `build index`.
    pub kind: &'static str,
    /// When it began: microseconds since 1970 UTC.
    pub started_us: i64,
    /// When it ended; `None` while it is under way.
    pub finished_us: Option<i64>,
    /// Segments it reads.
    pub segments: u64,
    /// Rows it reads, dead ones included.
    pub rows: u64,
    /// Rows that were dead, which it leaves behind.
    pub dead_rows: u64,
    /// Bytes of the files it reads.
    pub bytes: u64,
    /// How many of a thousand parts are done.
    pub done: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// The jobs of a database, oldest first.
#[derive(Debug, Default)]
pub struct History {
    jobs: Mutex<VecDeque<Compaction>>,
    done: AtomicU64,
    next: AtomicU64,
    /// When something failed last.
    failed: Mutex<Option<Instant>>,
}

impl History {
    /// Whether something failed just now: it would fail again.
    pub(super) fn is_resting(&self) -> bool {
        self.failed.lock().is_some_and(|at| at.elapsed() < REST)
    }

    /// Something failed.
    pub(super) fn rest(&self) {
        *self.failed.lock() = Some(Instant::now());
    }

    /// A job begins.
    pub(super) fn begin(&self, job: Compaction) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.done.store(0, Ordering::Relaxed);
        let mut jobs = self.jobs.lock();
        if jobs.len() == REMEMBERED {
            jobs.pop_front();
        }
        jobs.push_back(Compaction { number, started_us: now_us(), ..job });
        number
    }

    /// The job under way is so far; one runs at a time.
    pub(super) fn advance(&self, share: f64) {
        self.done.store((share * 1000.0) as u64, Ordering::Relaxed);
    }

    /// A job ended.
    pub(super) fn end(&self, number: u64, error: Option<String>) {
        if let Some(job) = self.jobs.lock().iter_mut().rev().find(|job| job.number == number) {
            job.finished_us = Some(now_us());
            job.done = if error.is_none() { 1000 } else { self.done.load(Ordering::Relaxed) };
            job.error = error;
        }
    }

    /// The jobs that are remembered, oldest first.
    pub fn jobs(&self) -> Vec<Compaction> {
        let done = self.done.load(Ordering::Relaxed);
        let shown = |job: &Compaction| Compaction {
            done: if job.finished_us.is_none() { done } else { job.done },
            ..job.clone()
        };
        self.jobs.lock().iter().map(shown).collect()
    }
}
