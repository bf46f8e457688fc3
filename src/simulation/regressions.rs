//! What the campaigns found: plays that broke a promise at some cut before it was mended. Each is cut everywhere.

use super::cuts::{cut_steps, on_all_processors};
use super::workload::Step::{self, *};

/// Codes that a crash left in the folder of a segment which the log may name stayed there: of a generation that nobody took, whole
/// (Merging seed 2, cut 150) or half written (Merging seed 3, cut 130).
const CODES_LEFT_BEHIND: &[Step] =
    &[Insert(12), Freeze, Seal(false), VectorIndex, Build, Insert(12), Freeze, Seal(false), Build, Merge(true), Encode];

/// A folder of rows whose name was never synced would have been lost with the rows in it.
const ROWS_LOST_WITH_THEIR_FOLDER: &[Step] = &[Insert(3), Checkpoint, Insert(3)];

#[test]
fn what_was_mended_stays_so() {
    let cases = [("codes", CODES_LEFT_BEHIND), ("rows", ROWS_LOST_WITH_THEIR_FOLDER)];
    let next = std::sync::atomic::AtomicUsize::new(0);
    on_all_processors(&|| {
        while let Some((name, steps)) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            cut_steps(steps, 1).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    });
}
