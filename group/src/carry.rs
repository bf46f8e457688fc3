//! Carrying marks over a merge: rows that died or changed while their segments were merged stay dead or changed.
//!
//! A merge reads one view, works for seconds, and its commit comes when that view is long past. What counts then is the newest state.

/// What is carried over to a row of the merged segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is in no input any more.
    Dead,
    /// Its copy of the columns is out of date.
    Overridden,
}

/// The marks of a merged segment, given to `mark` by ordinal.
///
/// `died` are the rows that are dead in an input *now*, `changed` those that are alive in one and overridden there; `lives` says whether a
/// row is alive in any input, as one that moved from one to another is; `place` is a row's ordinal in the merged segment, if it is there.
/// Costs as much as there are marks, not rows: commits wait for it.
pub fn carry_over(
    died: impl IntoIterator<Item = u64>,
    changed: impl IntoIterator<Item = u64>,
    lives: impl Fn(u64) -> bool,
    place: impl Fn(u64) -> Option<u32>,
    mut mark: impl FnMut(u32, Carried),
) {
    for row in died {
        if let Some(ordinal) = place(row).filter(|_| !lives(row)) {
            mark(ordinal, Carried::Dead);
        }
    }
    for row in changed {
        if let Some(ordinal) = place(row) {
            mark(ordinal, Carried::Overridden);
        }
    }
}
