//! The disk as it was before changing calls: all of them, or a fair choice.

use super::CallKind;
use super::disk::{Dice, Disk};

/// One moment before a write is offered out of so many, when not all are kept.
const WRITES_OFFERED: u64 = 8;

/// Disks that are kept.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    kept: Vec<Disk>,
    offered: u64,
    limit: usize,
    dice: Dice,
}

impl Moments {
    /// Keeps every disk that is offered.
    pub(super) fn all() -> Self {
        Self { kept: Vec::new(), offered: 0, limit: usize::MAX, dice: Dice(0) }
    }

    /// Keeps `limit` (> 0) of them.
    pub(super) fn some(limit: usize, seed: u64) -> Self {
        Self { kept: Vec::new(), offered: 0, limit: limit.max(1), dice: Dice(seed) }
    }

    /// Keeps the disk before a call, maybe in place of another: reservoir sampling (Vitter, 1985, algorithm R).
    pub(super) fn offer(&mut self, call: CallKind, disk: impl FnOnce() -> Disk) {
        if self.limit == usize::MAX {
            self.kept.push(disk());
            return;
        }
        if call == CallKind::Write && self.dice.below(WRITES_OFFERED) != 0 {
            return;
        }
        self.offered += 1;
        if self.kept.len() < self.limit {
            self.kept.push(disk());
            return;
        }
        let place = self.dice.below(self.offered) as usize;
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = disk();
        }
    }

    /// What was kept, in the order of the calls.
    pub(super) fn into_disks(mut self) -> Vec<Disk> {
        self.kept.sort_by_key(|disk| disk.calls);
        self.kept
    }
}
