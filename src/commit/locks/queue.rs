//! One lock: who holds it, who waits for it, and who is next. No locking and no waiting in here: pure decisions.

use std::collections::VecDeque;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::TxId;
use super::mode::{LockMode, Modes};

/// The state of one target. It exists while anyone holds it or waits for it.
#[derive(Debug, Default)]
pub(super) struct Lock {
    holders: SmallVec<[Holder; 1]>,
    /// Boxed, since hardly any lock is waited for.
    #[expect(clippy::box_collection, reason = "one word instead of four in each of millions of locks")]
    queue: Option<Box<VecDeque<Waiter>>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) tx: TxId,
    pub(super) modes: Modes,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) tx: TxId,
    pub(super) mode: LockMode,
    pub(super) granted: oneshot::Sender<()>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The transaction has it already.
    Held,
    /// It can be had at once.
    Free,
    /// Others are in the way.
    Taken,
}

/// Somebody in the way of a waiter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocker {
    pub(super) tx: TxId,
    /// The waiter's id, if what is in the way is no more than an earlier place in the queue.
    pub(super) ahead: Option<u64>,
}

impl Lock {
    pub(super) fn answer(&self, tx: TxId, mode: LockMode) -> Answer {
        let held = self.held(tx);
        if held.has(mode) {
            return Answer::Held;
        }
        // Nobody else is let in by it. It is held by itself, since the other one may be released before it.
        if held.cover(mode) {
            return Answer::Free;
        }
        // Whoever holds the lock already goes before those who hold nothing: they could not have it before him anyway.
        let queued =
            held.is_empty() && self.waiters().any(|waiter| waiter.tx != tx && waiter.mode.conflicts_with(mode));
        if queued || self.shut_out(tx, mode) { Answer::Taken } else { Answer::Free }
    }

    /// What the transaction holds here.
    pub(super) fn held(&self, tx: TxId) -> Modes {
        self.holders.iter().find(|holder| holder.tx == tx).map_or_else(Modes::default, |holder| holder.modes)
    }

    pub(super) fn holders(&self) -> &[Holder] {
        &self.holders
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.queue.iter().flat_map(|queue| queue.iter())
    }

    pub(super) fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.queue.is_none()
    }

    pub(super) fn hold(&mut self, tx: TxId, mode: LockMode) {
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.tx == tx) {
            holder.modes.add(mode);
        } else {
            let mut modes = Modes::default();
            modes.add(mode);
            self.holders.push(Holder { tx, modes });
        }
    }

    /// Gives up one mode; whether it was held.
    pub(super) fn release(&mut self, tx: TxId, mode: LockMode) -> bool {
        let Some(index) = self.holders.iter().position(|holder| holder.tx == tx) else { return false };
        let modes = &mut self.holders[index].modes;
        let had = modes.has(mode);
        modes.remove(mode);
        if modes.is_empty() {
            self.holders.swap_remove(index);
        }
        had
    }

    /// Queues a request: at the end, or, if its transaction holds the lock already, before all who do not.
    pub(super) fn enqueue(&mut self, waiter: Waiter) {
        let upgrade = !self.held(waiter.tx).is_empty();
        let place = upgrade.then(|| self.waiters().position(|other| self.held(other.tx).is_empty())).flatten();
        let queue = self.queue.get_or_insert_default();
        queue.insert(place.unwrap_or(queue.len()), waiter);
    }

    /// Takes a waiter out of the queue; `None` if it is not there any more.
    pub(super) fn dequeue(&mut self, id: u64) -> Option<Waiter> {
        let queue = self.queue.as_mut()?;
        let place = queue.iter().position(|waiter| waiter.id == id)?;
        let waiter = queue.remove(place);
        self.drop_empty_queue();
        waiter
    }

    /// Moves a waiter in front of another; whether both were there, in the other order.
    pub(super) fn move_before(&mut self, id: u64, ahead: u64) -> bool {
        let Some(queue) = self.queue.as_mut() else { return false };
        let place = |wanted| queue.iter().position(|waiter| waiter.id == wanted);
        let (Some(from), Some(to)) = (place(id), place(ahead)) else { return false };
        if from < to {
            return false;
        }
        if let Some(waiter) = queue.remove(from) {
            queue.insert(to, waiter);
        }
        true
    }

    /// Takes out of the queue, in its order, all that can be had now: those in no conflict with a holder nor with
    /// anyone who still waits before them. They hold the lock when this returns.
    pub(super) fn take_grantable(&mut self) -> SmallVec<[Waiter; 2]> {
        let mut grantable = SmallVec::new();
        let mut passed = Modes::default();
        let mut place = 0;
        while let Some(waiter) = self.queue.as_ref().and_then(|queue| queue.get(place)) {
            let (tx, mode) = (waiter.tx, waiter.mode);
            if passed.conflict_with(mode) || self.shut_out(tx, mode) {
                passed.add(mode);
                place += 1;
                continue;
            }
            self.hold(tx, mode);
            grantable.extend(self.queue.as_mut().and_then(|queue| queue.remove(place)));
        }
        self.drop_empty_queue();
        grantable
    }

    /// Everyone in the way of a waiter.
    pub(super) fn blockers(&self, id: u64) -> Vec<Blocker> {
        let mut ahead = Vec::new();
        for waiter in self.waiters() {
            if waiter.id != id {
                ahead.push(waiter);
                continue;
            }
            let (tx, mode) = (waiter.tx, waiter.mode);
            let holders = self.holders.iter().filter(|holder| holder.tx != tx && holder.modes.conflict_with(mode));
            let queued = ahead.into_iter().filter(|other| other.tx != tx && other.mode.conflicts_with(mode));
            return holders
                .map(|holder| Blocker { tx: holder.tx, ahead: None })
                .chain(queued.map(|other| Blocker { tx: other.tx, ahead: Some(other.id) }))
                .collect();
        }
        Vec::new()
    }

    /// Whether another transaction holds what does not go with this.
    fn shut_out(&self, tx: TxId, mode: LockMode) -> bool {
        self.holders.iter().any(|holder| holder.tx != tx && holder.modes.conflict_with(mode))
    }

    fn drop_empty_queue(&mut self) {
        if self.queue.as_ref().is_some_and(|queue| queue.is_empty()) {
            self.queue = None;
        }
    }
}
