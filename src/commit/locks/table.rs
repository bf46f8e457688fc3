//! All locks, in shards, and all transactions that hold or may hold one.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::queue::{Answer, Lock, Waiter};
use super::target::{BuildHashed, Slot};
use super::wait::Queued;
use super::{Acquired, LockError, LockMode, LockTarget, TxId, Wait};

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;

pub(super) type Shard = HashMap<Slot, Lock, BuildHashed>;

/// Every lock of the database.
pub struct LockManager {
    shards: Box<[Mutex<Shard>]>,
    transactions: Box<[Mutex<HashMap<u64, Transaction, BuildHashed>>]>,
    /// Keyed at random, so that clients cannot choose keys that collide.
    hasher: RandomState,
    next_tx: AtomicU64,
    next_waiter: AtomicU64,
}

/// What a transaction holds and waits for.
#[derive(Debug, Default)]
struct Transaction {
    /// The number clients know it by.
    process: i32,
    /// Whoever it belongs to, and whoever belongs to it: they wait as one.
    owner: Option<TxId>,
    within: Option<TxId>,
    /// Each mode of each target once, in the order they were got.
    held: Vec<(Slot, LockMode)>,
    waits: SmallVec<[PendingWait; 1]>,
}

/// One wait of a transaction.
#[derive(Clone, Debug)]
pub(super) struct PendingWait {
    pub(super) id: u64,
    pub(super) slot: Slot,
    pub(super) mode: LockMode,
}

/// A point in a transaction to which its locks can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// One line of `pg_locks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// Who.
    pub tx: TxId,
    /// The number clients know the transaction by.
    pub process: i32,
    /// What.
    pub target: LockTarget,
    /// How.
    pub mode: LockMode,
    /// Whether it is held, not waited for.
    pub granted: bool,
}

/// What a request came to.
pub(super) enum Requested<'a> {
    Granted,
    Refused,
    Queued(Queued<'a>),
}

impl Default for LockManager {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            transactions: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            next_tx: AtomicU64::new(1),
            next_waiter: AtomicU64::new(1),
        }
    }
}

impl fmt::Debug for LockManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManager").field("locks", &self.len()).finish_non_exhaustive()
    }
}

impl LockManager {
    /// No locks and no transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a transaction that nobody knows by a number.
    pub fn begin(&self) -> TxId {
        self.begin_as(0)
    }

    /// Begins a transaction of the session that clients know by this number (`pg_backend_pid()`).
    pub fn begin_as(&self, process: i32) -> TxId {
        let id = TxId(self.next_tx.fetch_add(1, Ordering::Relaxed));
        self.transactions_of(id).lock().insert(id.0, Transaction { process, ..Transaction::default() });
        id
    }

    /// Begins a transaction of a session that holds locks by itself too. One at a time is within an owner.
    pub fn begin_within(&self, owner: TxId) -> TxId {
        let id = self.begin_as(self.process(owner));
        if let Some(transaction) = self.transactions_of(id).lock().get_mut(&id.0) {
            transaction.owner = Some(owner);
        }
        if let Some(transaction) = self.transactions_of(owner).lock().get_mut(&owner.0) {
            transaction.within = Some(id);
        }
        id
    }

    /// Gets a lock, or the error that `wait` leads to. Dropping the future withdraws the request.
    pub async fn acquire(
        &self,
        tx: TxId,
        target: LockTarget,
        mode: LockMode,
        wait: Wait,
    ) -> Result<Acquired, LockError> {
        match self.request(tx, target, mode, matches!(wait, Wait::Block { .. }))? {
            Requested::Granted => Ok(Acquired::AtOnce),
            Requested::Refused => Err(LockError::NotAvailable),
            Requested::Queued(queued) => queued.granted(wait).await,
        }
    }

    /// Gets a lock if it can be had without waiting; whether it was.
    pub fn try_acquire(&self, tx: TxId, target: &LockTarget, mode: LockMode) -> bool {
        matches!(self.request(tx, target.clone(), mode, false), Ok(Requested::Granted))
    }

    /// Gets many locks, one after another in the order given; sort them to make deadlocks rare. Stops at the first that
    /// is not got and keeps those before it.
    pub async fn acquire_many<I>(&self, tx: TxId, targets: I, mode: LockMode, wait: Wait) -> Result<Acquired, LockError>
    where
        I: IntoIterator<Item = LockTarget>,
    {
        let mut acquired = Acquired::AtOnce;
        for target in targets {
            if self.acquire(tx, target, mode, wait).await? == Acquired::Waited {
                acquired = Acquired::Waited;
            }
        }
        Ok(acquired)
    }

    /// Whether the transaction holds the mode, or something that shuts out as much.
    pub fn holds(&self, tx: TxId, target: &LockTarget, mode: LockMode) -> bool {
        let slot = self.slot(target.clone());
        self.shard_of(&slot).lock().get(&slot).is_some_and(|lock| lock.held(tx).cover(mode))
    }

    /// How many locks the transaction holds: when they are many, the caller takes the whole table instead.
    pub fn held_count(&self, tx: TxId) -> usize {
        self.transactions_of(tx).lock().get(&tx.0).map_or(0, |transaction| transaction.held.len())
    }

    /// Where the transaction is, for [`LockManager::release_after`].
    pub fn mark(&self, tx: TxId) -> Mark {
        Mark(self.held_count(tx))
    }

    /// Releases what was got since the mark: rolling back to a savepoint.
    pub fn release_after(&self, tx: TxId, mark: Mark) {
        let released = match self.transactions_of(tx).lock().get_mut(&tx.0) {
            Some(transaction) if mark.0 < transaction.held.len() => transaction.held.split_off(mark.0),
            _ => return,
        };
        self.release_each(tx, released);
    }

    /// Releases one mode of a target, as `pg_advisory_unlock` does; whether it was held.
    pub fn release(&self, tx: TxId, target: LockTarget, mode: LockMode) -> bool {
        let slot = self.slot(target);
        let released = match self.transactions_of(tx).lock().get_mut(&tx.0) {
            Some(transaction) => match transaction.held.iter().rposition(|held| held.1 == mode && held.0 == slot) {
                Some(place) => transaction.held.remove(place),
                None => return false,
            },
            None => return false,
        };
        self.release_each(tx, vec![released]);
        true
    }

    /// Ends the transaction: releases all it holds and cancels what it waits for. Nothing can be got for it after.
    pub fn release_all(&self, tx: TxId) {
        let Some(transaction) = self.transactions_of(tx).lock().remove(&tx.0) else { return };
        for wait in transaction.waits {
            self.withdraw(&wait.slot, wait.id);
        }
        self.release_each(tx, transaction.held);
    }

    /// The sessions that the session of this number waits for.
    pub fn blocking(&self, process: i32) -> Vec<i32> {
        let shards = self.lock_all();
        let mut waiting = Vec::new();
        for transactions in &self.transactions {
            let transactions = transactions.lock();
            let own = transactions.iter().filter(|(_, of)| of.process == process && !of.waits.is_empty());
            waiting.extend(own.map(|(&id, _)| TxId(id)));
        }
        let blockers: BTreeSet<i32> = waiting
            .into_iter()
            .flat_map(|tx| self.edges(&shards, tx))
            .map(|edge| self.process(edge.to))
            .filter(|&blocker| blocker != process)
            .collect();
        blockers.into_iter().collect()
    }

    /// Every lock held or waited for. Each shard is seen at one moment, all of them not.
    pub fn list(&self) -> Vec<LockInfo> {
        let mut list = Vec::new();
        for shard in &self.shards {
            for (slot, lock) in shard.lock().iter() {
                let mut add = |tx, mode, granted| {
                    list.push(LockInfo { tx, process: self.process(tx), target: slot.target.clone(), mode, granted });
                };
                for holder in lock.holders() {
                    holder.modes.iter().for_each(|mode| add(holder.tx, mode, true));
                }
                lock.waiters().for_each(|waiter| add(waiter.tx, waiter.mode, false));
            }
        }
        list
    }

    /// How many targets are held or waited for.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether nothing is held or waited for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn request(
        &self,
        tx: TxId,
        target: LockTarget,
        mode: LockMode,
        may_queue: bool,
    ) -> Result<Requested<'_>, LockError> {
        let slot = self.slot(target);
        let mut shard = self.shard_of(&slot).lock();
        match shard.entry(slot) {
            Entry::Vacant(vacant) => {
                let slot = vacant.key().clone();
                if !self.note_held(tx, slot, mode) {
                    return Err(LockError::Cancelled);
                }
                vacant.insert(Lock::default()).hold(tx, mode);
                Ok(Requested::Granted)
            }
            Entry::Occupied(mut occupied) => match occupied.get().answer(tx, mode) {
                Answer::Held => Ok(Requested::Granted),
                Answer::Free => {
                    let slot = occupied.key().clone();
                    if !self.note_held(tx, slot, mode) {
                        return Err(LockError::Cancelled);
                    }
                    occupied.get_mut().hold(tx, mode);
                    Ok(Requested::Granted)
                }
                Answer::Taken if !may_queue => Ok(Requested::Refused),
                Answer::Taken => {
                    let id = self.next_waiter.fetch_add(1, Ordering::Relaxed);
                    let slot = occupied.key().clone();
                    let wait = PendingWait { id, slot: slot.clone(), mode };
                    match self.transactions_of(tx).lock().get_mut(&tx.0) {
                        Some(transaction) => transaction.waits.push(wait),
                        None => return Err(LockError::Cancelled),
                    }
                    let (sender, receiver) = oneshot::channel();
                    occupied.get_mut().enqueue(Waiter { id, tx, mode, granted: sender });
                    Ok(Requested::Queued(Queued::new(self, tx, slot, id, receiver)))
                }
            },
        }
    }

    /// Takes a wait back; whether it was still in the queue.
    pub(super) fn withdraw(&self, slot: &Slot, id: u64) -> bool {
        let mut shard = self.shard_of(slot).lock();
        let Some(lock) = shard.get_mut(slot) else { return false };
        let Some(waiter) = lock.dequeue(id) else { return false };
        self.forget_wait(waiter.tx, id);
        self.grant(slot, lock);
        Self::tidy(&mut shard, slot);
        true
    }

    /// Gives the lock to all who can have it now. Called with the lock's shard locked.
    pub(super) fn grant(&self, slot: &Slot, lock: &mut Lock) {
        loop {
            let mut undone = false;
            for waiter in lock.take_grantable() {
                self.forget_wait(waiter.tx, waiter.id);
                if self.note_held(waiter.tx, slot.clone(), waiter.mode) {
                    // Whoever dropped the receiver has the lock all the same, until the transaction ends.
                    let _ = waiter.granted.send(());
                } else {
                    // The transaction has ended meanwhile, so others may have it.
                    lock.release(waiter.tx, waiter.mode);
                    undone = true;
                }
            }
            if !undone {
                return;
            }
        }
    }

    /// Every shard, locked: the waits as they are at one moment.
    pub(super) fn lock_all(&self) -> Vec<MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock()).collect()
    }

    pub(super) fn waits(&self, tx: TxId) -> SmallVec<[PendingWait; 1]> {
        self.transactions_of(tx).lock().get(&tx.0).map(|transaction| transaction.waits.clone()).unwrap_or_default()
    }

    /// The one that stands for all that belong together.
    pub(super) fn leader(&self, tx: TxId) -> TxId {
        self.transactions_of(tx).lock().get(&tx.0).and_then(|transaction| transaction.owner).unwrap_or(tx)
    }

    /// Whoever belongs to it.
    pub(super) fn within(&self, tx: TxId) -> Option<TxId> {
        self.transactions_of(tx).lock().get(&tx.0).and_then(|transaction| transaction.within)
    }

    /// The number clients know a transaction by; its own where they know none.
    pub(super) fn process(&self, tx: TxId) -> i32 {
        match self.transactions_of(tx).lock().get(&tx.0) {
            Some(transaction) if transaction.process != 0 => transaction.process,
            _ => tx.0 as i32,
        }
    }

    pub(super) fn forget_wait(&self, tx: TxId, id: u64) {
        if let Some(transaction) = self.transactions_of(tx).lock().get_mut(&tx.0) {
            transaction.waits.retain(|wait| wait.id != id);
        }
    }

    pub(super) fn shard_index(slot: &Slot) -> usize {
        (slot.hash >> (u64::BITS - SHARD_BITS)) as usize
    }

    /// Drops a lock nobody uses, and memory that many such have left.
    pub(super) fn tidy(shard: &mut Shard, slot: &Slot) {
        if shard.get(slot).is_some_and(Lock::is_unused) {
            shard.remove(slot);
        }
        if shard.capacity() > 1024 && shard.len() * 8 < shard.capacity() {
            shard.shrink_to(shard.len() * 2);
        }
    }

    fn release_each(&self, tx: TxId, held: Vec<(Slot, LockMode)>) {
        for (slot, mode) in held {
            let mut shard = self.shard_of(&slot).lock();
            if let Some(lock) = shard.get_mut(&slot) {
                lock.release(tx, mode);
                self.grant(&slot, lock);
            }
            Self::tidy(&mut shard, &slot);
        }
    }

    /// Remembers that the transaction holds this; `false` if it has ended.
    fn note_held(&self, tx: TxId, slot: Slot, mode: LockMode) -> bool {
        match self.transactions_of(tx).lock().get_mut(&tx.0) {
            Some(transaction) => {
                transaction.held.push((slot, mode));
                true
            }
            None => false,
        }
    }

    fn slot(&self, target: LockTarget) -> Slot {
        Slot { hash: self.hasher.hash_one(&target), target }
    }

    fn shard_of(&self, slot: &Slot) -> &Mutex<Shard> {
        &self.shards[Self::shard_index(slot)]
    }

    fn transactions_of(&self, tx: TxId) -> &Mutex<HashMap<u64, Transaction, BuildHashed>> {
        &self.transactions[tx.0 as usize % SHARDS]
    }
}
