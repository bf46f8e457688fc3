//! How many statements run at once: so many, a bounded queue behind them, and an error for the rest.
//!
//! A place is held only while a statement uses the processor: given back before it waits for its commit, for a lock, or for a client
//! that takes its rows slowly. So commits still come in groups, and nobody waits for a place behind somebody who waits for a lock.
//! Statements of an open transaction need none, since refusing them would keep its locks longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lodedb_sql::error::Result;
use lodedb_sql::statement::Statement;
use lodedb_sql::{SqlError, SqlState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many statements may run and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Statements that run at once.
    pub running: usize,
    /// Statements that wait for their turn.
    pub waiting: usize,
    /// How long one waits.
    pub patience: Duration,
}

impl Default for Load {
    /// Four for each core run, so that those that wait for the disk leave none idle, and ten times as many wait.
    fn default() -> Self {
        let running = 4 * std::thread::available_parallelism().map_or(2, usize::from);
        Self { running, waiting: 10 * running, patience: Duration::from_secs(30) }
    }
}

/// The places there are.
#[derive(Debug)]
pub struct Admission {
    load: Load,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue_full: AtomicU64,
    too_late: AtomicU64,
}

/// A place among the statements that run; given back when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it gives itself back")] OwnedSemaphorePermit);

/// What `/metrics` says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadCounts {
    /// Places taken.
    pub running: usize,
    /// Statements in the queue.
    pub waiting: usize,
    /// Statements refused because the queue was full.
    pub queue_full: u64,
    /// Statements refused because they had waited too long.
    pub too_late: u64,
}

/// One in the queue; out of it when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// With all places free.
    pub fn new(load: Load) -> Self {
        Self {
            load,
            places: Arc::new(Semaphore::new(load.running)),
            waiting: AtomicUsize::new(0),
            queue_full: AtomicU64::new(0),
            too_late: AtomicU64::new(0),
        }
    }

    /// A place for a statement that has not begun.
    ///
    /// # Errors
    /// `53400` if the queue is full, or after the longest wait.
    pub async fn admit(&self) -> Result<Place> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(Place(permit));
        }
        let Load { running, waiting, patience } = self.load;
        let queued = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= waiting {
            self.queue_full.fetch_add(1, Ordering::Relaxed);
            let message = format!("too many statements: {running} are running and {waiting} waiting");
            return Err(refused(message));
        }
        let Ok(place) = tokio::time::timeout(patience, self.next_place()).await else {
            self.too_late.fetch_add(1, Ordering::Relaxed);
            let message = format!("too many statements: {running} are running, and this one waited {patience:?}");
            return Err(refused(message));
        };
        drop(queued);
        place
    }

    /// A place for a statement that gave its own back for a while: however long that takes.
    pub async fn next_place(&self) -> Result<Place> {
        // Nobody closes the semaphore.
        self.places.clone().acquire_owned().await.map(Place).map_err(SqlError::internal)
    }

    /// How it is now.
    pub fn counts(&self) -> LoadCounts {
        LoadCounts {
            running: self.load.running.saturating_sub(self.places.available_permits()),
            waiting: self.waiting.load(Ordering::Relaxed),
            queue_full: self.queue_full.load(Ordering::Relaxed),
            too_late: self.too_late.load(Ordering::Relaxed),
        }
    }

    /// How many there may be.
    pub fn load(&self) -> Load {
        self.load
    }
}

fn refused(message: String) -> SqlError {
    SqlError::new(SqlState::ConfigurationLimitExceeded, message)
        .with_hint("Try again later, or start the server with a larger --max-running, --max-queue or --queue-timeout.")
}

/// Whether a statement needs a place: those that may use the processor for long, upkeep and transactions aside.
pub(super) fn needs_place(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Copy(_)
            | Statement::CreateTableAs(_)
            | Statement::Explain { .. }
            | Statement::Execute { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(running: usize, waiting: usize, patience_ms: u64) -> Admission {
        Admission::new(Load { running, waiting, patience: Duration::from_millis(patience_ms) })
    }

    #[tokio::test]
    async fn what_the_queue_does_not_hold_is_refused_at_once() {
        let admission = Arc::new(load(2, 1, 60_000));
        let first = admission.admit().await.expect("a place");
        let _second = admission.admit().await.expect("a place");
        let queued = tokio::spawn({
            let admission = admission.clone();
            async move { admission.admit().await.map(|_| ()) }
        });
        while admission.counts().waiting == 0 {
            tokio::task::yield_now().await;
        }
        let error = admission.admit().await.expect_err("the queue is full");
        assert_eq!(error.state(), SqlState::ConfigurationLimitExceeded);
        assert_eq!(error.message(), "too many statements: 2 are running and 1 waiting");
        assert_eq!(admission.counts(), LoadCounts { running: 2, waiting: 1, queue_full: 1, too_late: 0 });
        drop(first);
        queued.await.expect("it ends").expect("its turn comes");
        assert_eq!(admission.counts(), LoadCounts { running: 1, waiting: 0, queue_full: 1, too_late: 0 });
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_and_who_gives_up_leaves_the_queue() {
        let admission = load(1, 1, 20);
        let place = admission.admit().await.expect("a place");
        let error = admission.admit().await.expect_err("it waits in vain");
        assert_eq!(error.state(), SqlState::ConfigurationLimitExceeded);
        let given_up = tokio::time::timeout(Duration::from_millis(1), admission.admit()).await;
        assert!(given_up.is_err());
        assert_eq!(admission.counts(), LoadCounts { running: 1, waiting: 0, queue_full: 0, too_late: 1 });
        drop(place);
        admission.admit().await.expect("a place");
    }
}
