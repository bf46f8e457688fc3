//! What the campaigns found: plays that broke a promise at some cut before it was mended. Each is cut everywhere.

use super::cuts::{cut_steps, with_deep_stack};
use super::workload::Meanwhile::{Changes, Checkpoint as AndCheckpoint, Nothing};
use super::workload::Step::{self, *};

/// Codes that a crash left in the folder of a segment which the log may name stayed there: of a generation that nobody took, whole
/// (Merging seed 2, cut 150) or half written (Merging seed 3, cut 130).
const CODES_LEFT_BEHIND: &[Step] = &[
    Insert(12),
    Freeze,
    Seal(Nothing),
    VectorIndex,
    Build,
    Insert(12),
    Freeze,
    Seal(Nothing),
    Build,
    Merge(Changes),
    Encode,
];

/// Rows that went or changed after a growing segment was read to be sealed, and before a checkpoint, came back with the sealed one when its
/// commit was replayed: the checkpoint's copy of the growing segment did not have them (found by kills).
const GONE_BEFORE_A_CHECKPOINT: &[Step] =
    &[Insert(12), Freeze, Seal(AndCheckpoint), Insert(4), Freeze, Seal(AndCheckpoint)];

#[test]
fn what_was_mended_stays_so() {
    with_deep_stack(|| {
        assert!(cut_steps(CODES_LEFT_BEHIND, 1).unwrap().images > 1000);
        assert!(cut_steps(GONE_BEFORE_A_CHECKPOINT, 1).unwrap().images > 1000);
    });
}
