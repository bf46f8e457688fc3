//! Waiting for a lock: until it is granted, a timeout passes, a deadlock is found, or the caller loses interest.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::target::Slot;
use super::{Acquired, LockError, LockManager, TxId, Wait};

/// The least time between two searches for a deadlock by one waiter.
const SEARCH_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Later than anyone waits.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A request in a queue. Dropping it takes it out.
pub(super) struct Queued<'a> {
    locks: &'a LockManager,
    tx: TxId,
    slot: Slot,
    id: u64,
    receiver: oneshot::Receiver<()>,
    /// Whether it is out of the queue for certain.
    over: bool,
}

impl<'a> Queued<'a> {
    pub(super) fn new(locks: &'a LockManager, tx: TxId, slot: Slot, id: u64, receiver: oneshot::Receiver<()>) -> Self {
        Self { locks, tx, slot, id, receiver, over: false }
    }

    /// Waits.
    pub(super) async fn granted(mut self, wait: Wait) -> Result<Acquired, LockError> {
        let Wait::Block { deadlock_timeout, lock_timeout } = wait else {
            return Err(LockError::NotAvailable);
        };
        let start = Instant::now();
        let give_up = lock_timeout.map(|timeout| start + timeout.min(FOREVER));
        let mut search = start + deadlock_timeout.min(FOREVER);
        loop {
            let until = give_up.map_or(search, |give_up| give_up.min(search));
            match timeout_at(until, &mut self.receiver).await {
                Ok(answer) => {
                    self.over = true;
                    return answer.map(|()| Acquired::Waited).map_err(|_| LockError::Cancelled);
                }
                Err(_) if give_up.is_some_and(|give_up| give_up <= until) => return self.end(LockError::Timeout),
                Err(_) => {
                    if let Some(detail) = self.locks.find_deadlock(self.tx) {
                        return self.end(LockError::Deadlock(detail));
                    }
                    search = Instant::now() + deadlock_timeout.clamp(SEARCH_PAUSE_MIN, FOREVER);
                }
            }
        }
    }

    /// Leaves the queue with an error, unless the lock was granted in the last moment.
    fn end(mut self, error: LockError) -> Result<Acquired, LockError> {
        self.over = true;
        if self.locks.withdraw(&self.slot, self.id) {
            return Err(error);
        }
        match self.receiver.try_recv() {
            Ok(()) => Ok(Acquired::Waited),
            Err(_) => Err(LockError::Cancelled),
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.locks.withdraw(&self.slot, self.id);
        }
    }
}
