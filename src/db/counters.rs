//! What has happened since the database was opened, counted for whoever watches it.
//!
//! Relaxed atomics, a few for a statement: each number is right by itself, and two that are read together need not fit. What can be
//! read off a view or a file is not counted here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lodedb_sql::statement::Statement;

/// The bounds of the buckets of a histogram of durations, in microseconds; one more bucket takes what is longer.
pub const BOUNDS_US: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// What kind of statement it is, as metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// A query.
    Select,
    /// A query that was run as a search for neighbours.
    Knn,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// COPY, either way.
    Copy,
    /// What changes the catalog.
    Ddl,
    /// The rest: transactions, settings, upkeep.
    Other,
}

impl StatementKind {
    /// All of them, each at its own place.
    pub const ALL: [Self; 8] =
        [Self::Select, Self::Knn, Self::Insert, Self::Update, Self::Delete, Self::Copy, Self::Ddl, Self::Other];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Knn => "knn",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Copy => "copy",
            Self::Ddl => "ddl",
            Self::Other => "other",
        }
    }

    /// The kind of a statement, as far as its text tells it.
    pub fn of(statement: &Statement) -> Self {
        match statement {
            Statement::Query(_) => Self::Select,
            Statement::Insert(_) => Self::Insert,
            Statement::Update(_) => Self::Update,
            Statement::Delete(_) => Self::Delete,
            Statement::Copy(_) => Self::Copy,
            Statement::CreateTable(_)
            | Statement::CreateTableAs(_)
            | Statement::DropTable { .. }
            | Statement::AlterTable(_)
            | Statement::Truncate { .. }
            | Statement::CreateIndex(_)
            | Statement::DropIndex { .. }
            | Statement::AlterIndex { .. }
            | Statement::Reindex { .. }
            | Statement::CreateSequence { .. }
            | Statement::AlterSequence { .. }
            | Statement::DropSequence { .. }
            | Statement::CreateSchema { .. }
            | Statement::DropSchema { .. }
            | Statement::CreateExtension { .. }
            | Statement::DropExtension { .. }
            | Statement::Comment { .. } => Self::Ddl,
            _ => Self::Other,
        }
    }
}

/// How many there were, and how long they took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    fn record(&self, took: Duration) {
        let us = took.as_micros();
        let bucket = BOUNDS_US.partition_point(|&bound| u128::from(bound) < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    /// How many were within each bound and above the one before, and last those above all.
    pub fn buckets(&self) -> [u64; BOUNDS_US.len() + 1] {
        self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// How long all took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed))
    }
}

/// Statements of one kind that came to their end.
#[derive(Debug, Default)]
pub struct Statements {
    /// How long they took, those that failed too.
    pub took: Histogram,
    failed: AtomicU64,
}

impl Statements {
    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Work of one kind that is done now and then.
#[derive(Debug, Default)]
pub struct Work {
    done: AtomicU64,
    failed: AtomicU64,
    spent_ns: AtomicU64,
}

impl Work {
    /// Counts one that began at `begun` and ends now.
    pub fn record(&self, begun: Instant, is_done: bool) {
        if is_done { &self.done } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
        self.spent_ns.fetch_add(nanoseconds(begun.elapsed()), Ordering::Relaxed);
    }

    /// How many were done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How long all took together.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }
}

/// The last of something that stands for a commit; there is none while its time is 0.
#[derive(Debug, Default)]
pub struct Latest {
    lsn: AtomicU64,
    time_us: AtomicI64,
}

impl Latest {
    /// There is a newer one: its commit, and when it was taken, in microseconds since 1970 UTC.
    pub fn set(&self, lsn: u64, time_us: i64) {
        self.lsn.store(lsn, Ordering::Relaxed);
        self.time_us.store(time_us, Ordering::Relaxed);
    }

    /// Its commit and its time, if there is one.
    pub fn get(&self) -> Option<(u64, i64)> {
        let time_us = self.time_us.load(Ordering::Relaxed);
        (time_us != 0).then(|| (self.lsn.load(Ordering::Relaxed), time_us))
    }
}

/// All that is counted of one open database.
#[derive(Debug, Default)]
pub struct Counters {
    statements: [Statements; StatementKind::ALL.len()],
    jobs: [Work; JOBS.len()],
    /// Checkpoints.
    pub checkpoints: Work,
    /// The last checkpoint.
    pub last_checkpoint: Latest,
    /// Backups, wherever they went.
    pub backups: Work,
    /// The last backup, as far as this process knows.
    pub last_backup: Latest,
    /// How many backups the folder holds that they go to by themselves, when it was last looked at.
    pub backups_kept: AtomicU64,
}

/// The kinds of background jobs, as metrics name them.
pub const JOBS: [&str; 5] = ["freeze", "seal", "build_index", "encode", "merge"];

impl Counters {
    /// Counts a statement that came to its end.
    pub fn statement(&self, kind: StatementKind, took: Duration, is_done: bool) {
        let statements = self.statements(kind);
        statements.took.record(took);
        if !is_done {
            statements.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The statements of one kind.
    pub fn statements(&self, kind: StatementKind) -> &Statements {
        &self.statements[kind as usize]
    }

    /// The background jobs of one kind, by its place in [`JOBS`].
    pub fn job(&self, kind: usize) -> &Work {
        &self.jobs[kind]
    }
}

/// As a counter keeps it: half a millennium fits.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_goes_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 50, 51, 60_000_000, 60_000_001, 600_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[17], buckets[18]), (2, 1, 1, 2));
        assert_eq!(buckets.iter().sum::<u64>(), 6);
        assert_eq!(histogram.sum(), Duration::from_micros(720_000_102));
    }

    #[test]
    fn every_kind_has_its_own_counters() {
        let counters = Counters::default();
        for (at, kind) in StatementKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            counters.statement(kind, Duration::ZERO, at % 2 == 0);
            assert_eq!(counters.statements(kind).failed(), (at % 2) as u64);
        }
    }
}
