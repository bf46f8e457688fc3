//! Locks of tables, rows, index keys and numbers of the clients' own, held by transactions until they end.
//!
//! Called by `commit` and `query` for every statement that writes or locks. One [`LockManager`] for a database; a
//! transaction begins in it ([`LockManager::begin`]), asks for locks and, when its view is published or it has rolled
//! back, releases all of them ([`LockManager::release_all`]); whoever owns the transaction does that when dropped.
//!
//! - [`mode`]: modes and what conflicts. [`target`]: what can be locked.
//! - [`queue`]: one lock, its holders and waiters. [`table`]: all locks, and all transactions.
//! - [`wait`]: waiting, with its timeouts. [`deadlock`]: searching the waits for a circle.
//!
//! What always holds:
//!
//! 1. No two transactions hold conflicting modes of a target.
//! 2. First come, first served: a request waits behind earlier ones it conflicts with. Two exceptions: a transaction
//!    that holds the target already goes before those that do not, and a waiter is moved forward where nothing but its
//!    place makes a deadlock.
//! 3. A dropped wait leaves nothing in the queue. What was granted the moment before belongs to the transaction, and
//!    goes with it.
//! 4. A lock nobody holds or waits for takes no memory.
//! 5. ORDER: shards of locks are locked before shards of transactions; several shards of locks only in ascending order;
//!    never two shards of transactions.

mod deadlock;
mod mode;
mod queue;
mod table;
mod target;
mod wait;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use lodedb_sql::{SqlError, SqlState};

pub use mode::LockMode;
pub use table::{LockInfo, LockManager, Mark};
pub use target::LockTarget;

/// A transaction, as the lock manager numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TxId(u64);

impl TxId {
    #[cfg(test)]
    pub(in crate::commit) fn for_test(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What to do if a lock cannot be had at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Wait for it.
    Block {
        /// Look for a deadlock after this long, and again each time as long has passed.
        deadlock_timeout: Duration,
        /// Give up after this long.
        lock_timeout: Option<Duration>,
    },
    /// NOWAIT: fail with [`LockError::NotAvailable`].
    NoWait,
    /// SKIP LOCKED: the same; the caller leaves the row out.
    Skip,
}

impl Default for Wait {
    /// As PostgreSQL's settings are at first.
    fn default() -> Self {
        Self::Block { deadlock_timeout: Duration::from_secs(1), lock_timeout: None }
    }
}

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// At once, or it was held already.
    AtOnce,
    /// After waiting: what was read before may have changed.
    Waited,
}

/// Why a lock was not got.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The transactions wait for one another; this one is to give way. The DETAIL line, as PostgreSQL words it.
    #[error("deadlock detected")]
    Deadlock(String),
    /// It was not to be waited for.
    #[error("could not obtain lock")]
    NotAvailable,
    /// `lock_timeout` has passed.
    #[error("canceling statement due to lock timeout")]
    Timeout,
    /// The transaction ended while it waited.
    #[error("canceling statement due to user request")]
    Cancelled,
}

impl From<LockError> for SqlError {
    fn from(error: LockError) -> Self {
        let message = error.to_string();
        match error {
            LockError::Deadlock(detail) => {
                let hint = "See server log for query details.";
                SqlError::new(SqlState::DeadlockDetected, message).with_detail(detail).with_hint(hint)
            }
            LockError::NotAvailable | LockError::Timeout => SqlError::new(SqlState::LockNotAvailable, message),
            LockError::Cancelled => SqlError::new(SqlState::QueryCanceled, message),
        }
    }
}
