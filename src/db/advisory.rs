//! Advisory locks: numbers that mean something to clients alone, locked for the session or until the transaction ends.
//!
//! The lock manager knows all of a session's by one owner, which outlives transactions, so that a session is never in its own way. For the
//! session they are counted, since what was locked twice has to be unlocked twice.

use std::collections::HashMap;
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::engine::Engine;
use crate::commit::locks::{LockError, LockMode, LockTarget, TxId, Wait};
use crate::query::CancelToken;

/// How many different ones a session may hold.
const MOST_HELD: usize = 100_000;

/// The advisory locks of one session.
#[derive(Debug)]
pub struct AdvisoryLocks {
    engine: Arc<Engine>,
    owner: TxId,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    locks: HashMap<(LockTarget, LockMode), Holding>,
    /// How many were taken for a transaction so far: their order.
    taken: u64,
}

/// What one is held for.
#[derive(Clone, Copy, Debug, Default)]
struct Holding {
    /// How many times for the session.
    for_session: u64,
    /// When for the transaction.
    for_transaction: Option<u64>,
}

impl Holding {
    fn is_over(&self) -> bool {
        self.for_session == 0 && self.for_transaction.is_none()
    }
}

impl AdvisoryLocks {
    /// None yet, of the session that clients know by this number.
    pub fn new(engine: Arc<Engine>, session: i32) -> Self {
        let owner = engine.locks.begin_as(session);
        Self { engine, owner, held: Mutex::default() }
    }

    /// Who holds them; the transactions of the session are within it.
    pub fn owner(&self) -> TxId {
        self.owner
    }

    /// Locks a number; `false` if it cannot be had and is not to be waited for.
    pub async fn lock(
        &self,
        target: LockTarget,
        mode: LockMode,
        for_transaction: bool,
        wait: Wait,
        cancel: &CancelToken,
    ) -> Result<bool> {
        let key = (target, mode);
        let is_full = {
            let held = self.held.lock();
            held.locks.len() >= MOST_HELD && !held.locks.contains_key(&key)
        };
        if is_full {
            return Err(SqlError::new(
                SqlState::OutOfMemory,
                format!("a session may hold no more than {MOST_HELD} advisory locks"),
            ));
        }
        let acquired = tokio::select! {
            biased;
            acquired = self.engine.locks.acquire(self.owner, key.0.clone(), mode, wait) => acquired,
            () = cancel.cancelled() => {
                // It may have been granted in the last moment.
                if !self.held.lock().locks.contains_key(&key) {
                    self.engine.locks.release(self.owner, key.0, mode);
                }
                return Err(cancel.error());
            }
        };
        match acquired {
            Err(LockError::NotAvailable) => return Ok(false),
            other => other?,
        };
        let mut held = self.held.lock();
        let taken = held.taken;
        held.taken += 1;
        let holding = held.locks.entry(key).or_default();
        if for_transaction {
            holding.for_transaction.get_or_insert(taken);
        } else {
            holding.for_session += 1;
        }
        Ok(true)
    }

    /// Unlocks a number that was locked for the session; whether it was.
    pub fn unlock(&self, target: LockTarget, mode: LockMode) -> bool {
        let mut held = self.held.lock();
        let key = (target, mode);
        let Some(holding) = held.locks.get_mut(&key).filter(|holding| holding.for_session > 0) else { return false };
        holding.for_session -= 1;
        if holding.is_over() {
            held.locks.remove(&key);
            self.engine.locks.release(self.owner, key.0, mode);
        }
        true
    }

    /// Unlocks all that was locked for the session.
    pub fn unlock_all(&self) {
        self.release(|holding| holding.for_session = 0);
    }

    /// The transaction ended.
    pub fn transaction_ended(&self) {
        self.release(|holding| holding.for_transaction = None);
    }

    /// Marks the present moment of the transaction.
    pub fn mark(&self) -> u64 {
        self.held.lock().taken
    }

    /// Unlocks what was locked for the transaction since then.
    pub fn release_after(&self, mark: u64) {
        self.release(|holding| holding.for_transaction = holding.for_transaction.filter(|&taken| taken < mark));
    }

    fn release(&self, change: impl Fn(&mut Holding)) {
        self.held.lock().locks.retain(|(target, mode), holding| {
            change(holding);
            if holding.is_over() {
                self.engine.locks.release(self.owner, target.clone(), *mode);
            }
            !holding.is_over()
        });
    }
}

impl Drop for AdvisoryLocks {
    fn drop(&mut self) {
        self.engine.locks.release_all(self.owner);
    }
}
