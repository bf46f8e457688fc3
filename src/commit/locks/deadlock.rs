//! Searching the waits for a circle.
//!
//! A transaction waits for those who hold what it wants and for those who asked before it. The search starts at a waiter
//! whose patience is over and walks breadth first until it comes back to it, all shards locked, so what it sees is one
//! moment. A circle that rests on a place in a queue alone is opened by moving that waiter forward; for any other, the
//! waiter that found it is the victim. A session that holds locks by itself and its transaction are one here.

use std::collections::{HashMap, VecDeque};

use parking_lot::MutexGuard;

use super::table::{PendingWait, Shard};
use super::{LockManager, TxId};

/// How many circles one search opens by moving waiters before it gives way itself.
const MOVES_MAX: usize = 64;

/// One transaction waiting for another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    from: TxId,
    pub(super) to: TxId,
    wait: PendingWait,
    /// Whose place in the queue is in the way, if it is only that.
    ahead: Option<u64>,
}

impl LockManager {
    /// Whether the transaction waits for itself in the end: the DETAIL of the error then.
    pub(super) fn find_deadlock(&self, start: TxId) -> Option<String> {
        let mut shards = self.lock_all();
        let start = self.leader(start);
        for _ in 0..MOVES_MAX {
            let circle = self.circle(&shards, start)?;
            if !self.open_by_moving(&mut shards, &circle) {
                return Some(self.describe(&circle));
            }
        }
        self.circle(&shards, start).map(|circle| self.describe(&circle))
    }

    /// The shortest way from the transaction back to itself.
    fn circle(&self, shards: &[MutexGuard<'_, Shard>], start: TxId) -> Option<Vec<Edge>> {
        let mut reached_by: HashMap<TxId, Edge> = HashMap::new();
        let mut front = VecDeque::from([start]);
        while let Some(tx) = front.pop_front() {
            for edge in self.edges(shards, tx) {
                let to = edge.to;
                if reached_by.contains_key(&to) {
                    continue;
                }
                reached_by.insert(to, edge);
                if to != start {
                    front.push_back(to);
                    continue;
                }
                let mut circle = Vec::new();
                let mut at = start;
                while let Some(edge) = reached_by.remove(&at) {
                    at = edge.from;
                    circle.push(edge);
                }
                circle.reverse();
                return Some(circle);
            }
        }
        None
    }

    /// What a transaction waits for, and what belongs to it.
    pub(super) fn edges(&self, shards: &[MutexGuard<'_, Shard>], tx: TxId) -> Vec<Edge> {
        let mut edges = Vec::new();
        let waits = [Some(tx), self.within(tx)].into_iter().flatten().flat_map(|tx| self.waits(tx));
        for wait in waits {
            let Some(lock) = shards[Self::shard_index(&wait.slot)].get(&wait.slot) else { continue };
            for blocker in lock.blockers(wait.id) {
                edges.push(Edge { from: tx, to: self.leader(blocker.tx), wait: wait.clone(), ahead: blocker.ahead });
            }
        }
        edges
    }

    /// Moves the first waiter that only stands in a queue in front of the one in its way; `false` if there is none.
    fn open_by_moving(&self, shards: &mut [MutexGuard<'_, Shard>], circle: &[Edge]) -> bool {
        for edge in circle {
            let Some(ahead) = edge.ahead else { continue };
            let slot = &edge.wait.slot;
            let Some(lock) = shards[Self::shard_index(slot)].get_mut(slot) else { continue };
            if lock.move_before(edge.wait.id, ahead) {
                self.grant(slot, lock);
                return true;
            }
        }
        false
    }

    /// As PostgreSQL words it, a line for each wait.
    fn describe(&self, circle: &[Edge]) -> String {
        let line = |edge: &Edge| {
            let (from, to) = (self.process(edge.from), self.process(edge.to));
            let (mode, target) = (edge.wait.mode, &edge.wait.slot.target);
            format!("Process {from} waits for {mode} on {target}; blocked by process {to}.")
        };
        circle.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
