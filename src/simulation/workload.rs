//! The workloads: which steps a seed makes of each.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Inserts so many rows.
    Insert(usize),
    /// So many commits in one group, each of some rows.
    Group(usize),
    /// INSERT .. ON CONFLICT DO UPDATE of rows old and new.
    Upsert(usize),
    /// Changes some rows; with `true` their vectors too.
    Update(usize, bool),
    Delete(usize),
    Truncate,
    /// A transaction of several statements, after one that is rolled back and one that fails.
    Block,
    /// A transaction with savepoints, some of which it returns to; definitions change in it too.
    Savepoints,
    /// Makes the other table with rows, or drops it.
    OtherTable,
    /// Makes or drops an index of keys.
    KeyIndex,
    /// Makes or drops the vector index.
    VectorIndex,
    /// Inserts so many rows that they are staged; with `true` a checkpoint comes between them and the commit.
    Staged(usize, bool),
    /// Ends the mutable segment.
    Freeze,
    /// Seals the frozen segments.
    Seal(Meanwhile),
    /// Merges all sealed segments.
    Merge(Meanwhile),
    /// Trains the vector index.
    Build,
    /// Encodes what lacks codes.
    Encode,
    Checkpoint,
    /// Vouches for what is durable.
    Mark,
    Backup,
    /// Lets go of all backups but the newest.
    Forget,
    /// Makes a database of the newest backup.
    Restore,
    /// Closes the database in order and opens it.
    Close,
    /// Leaves it as a killed process does and opens it.
    Reopen,
}

/// What happens between the view that a job reads and its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    /// Rows change and go.
    Changes,
    /// The same, and then a checkpoint, from which the commit of the job will be replayed.
    Checkpoint,
}

impl Meanwhile {
    fn any(dice: &mut StdRng) -> Self {
        [Self::Nothing, Self::Changes, Self::Checkpoint][dice.random_range(0..3)]
    }
}

/// The kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    /// W1: commits, alone and in groups.
    Commits,
    /// W2: all ways to change rows, and what exists.
    Statements,
    /// W3: growing, freezing, sealing, checkpoints.
    Sealing,
    /// W4: merges, index builds, codes, rows that change meanwhile.
    Merging,
    /// W5: backups, restoring, letting go; staged rows.
    Backups,
    /// W6: transactions of many statements, with savepoints.
    Transactions,
}

use Step::*;

impl Workload {
    pub(super) const ALL: [Self; 6] =
        [Self::Commits, Self::Statements, Self::Sealing, Self::Merging, Self::Backups, Self::Transactions];

    /// The steps of a seed.
    pub(super) fn steps(self, seed: u64, count: usize) -> Vec<Step> {
        let mut dice = StdRng::seed_from_u64(seed ^ (self as u64) << 32);
        let mut steps = vec![Insert(dice.random_range(1..12))];
        while steps.len() < count {
            let few = dice.random_range(1..6);
            let next = match self {
                Self::Commits => match dice.random_range(0..12) {
                    0..=4 => Insert(few),
                    5..=8 => Group(dice.random_range(1..5)),
                    9 => Mark,
                    10 => Checkpoint,
                    _ => Reopen,
                },
                Self::Statements => match dice.random_range(0..20) {
                    0..=2 => Insert(few),
                    3..=5 => Upsert(few),
                    6..=8 => Update(few, dice.random()),
                    9..=11 => Delete(few),
                    12..=13 => Block,
                    14 => OtherTable,
                    15 => KeyIndex,
                    16 => Staged(dice.random_range(40..60), dice.random()),
                    17 => {
                        if dice.random_ratio(1, 4) {
                            Truncate
                        } else {
                            Block
                        }
                    }
                    18 => Checkpoint,
                    _ => Reopen,
                },
                Self::Sealing => match dice.random_range(0..14) {
                    0..=3 => Insert(dice.random_range(4..16)),
                    4 => Update(few, true),
                    5 => Delete(few),
                    6 => Freeze,
                    7..=9 => {
                        steps.push(Freeze);
                        Seal(Meanwhile::any(&mut dice))
                    }
                    10..=12 => Checkpoint,
                    _ => {
                        if dice.random() {
                            Reopen
                        } else {
                            Close
                        }
                    }
                },
                Self::Merging => match dice.random_range(0..16) {
                    0..=1 => Insert(dice.random_range(4..16)),
                    2 => Update(few, dice.random()),
                    3 => Delete(few),
                    4..=6 => {
                        steps.extend([Insert(dice.random_range(4..16)), Freeze]);
                        Seal(Meanwhile::any(&mut dice))
                    }
                    7..=8 => Merge(Meanwhile::any(&mut dice)),
                    9 => Staged(dice.random_range(40..60), false),
                    10 => VectorIndex,
                    11 => Build,
                    12 => Encode,
                    13..=14 => Checkpoint,
                    _ => Reopen,
                },
                Self::Backups => match dice.random_range(0..14) {
                    0..=1 => Insert(few),
                    2 => Update(few, dice.random()),
                    3 => Delete(few),
                    4 => {
                        steps.extend([Insert(dice.random_range(4..16)), Freeze]);
                        Seal(Meanwhile::Nothing)
                    }
                    5 => Staged(dice.random_range(40..60), dice.random()),
                    6..=8 => Backup,
                    9 => Forget,
                    10..=11 => Restore,
                    12 => Checkpoint,
                    _ => Reopen,
                },
                Self::Transactions => match dice.random_range(0..14) {
                    0..=7 => Savepoints,
                    8 => Insert(few),
                    9 => Staged(dice.random_range(40..60), dice.random()),
                    10 => {
                        steps.extend([Insert(dice.random_range(4..16)), Freeze]);
                        Seal(Meanwhile::Nothing)
                    }
                    11..=12 => Checkpoint,
                    _ => Reopen,
                },
            };
            steps.push(next);
        }
        steps
    }

    /// As many steps as one play has.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Commits => 30,
            Self::Statements => 26,
            Self::Sealing => 22,
            Self::Merging => 20,
            Self::Backups => 16,
            Self::Transactions => 18,
        }
    }
}
