//! Carrying marks over a merge: rows that died or changed while their segments were merged stay dead or changed.
//!
//! A merge reads one view, works for seconds, and its commit comes when that view is long past. What counts then is the newest state.

use std::collections::HashMap;

/// What is carried over to a row of the merged segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is in no input any more.
    Dead,
    /// Its copy of the columns is out of date.
    Overridden,
}

/// The marks of a merged segment.
///
/// `live` are the rows that are alive in the inputs *now*, each with whether it is overridden there; `output` are the rows of the
/// merged segment, by ordinal. Calls `mark` with the ordinals that get one, ascending. Costs a table of the live rows.
pub fn carry_over(
    live: impl IntoIterator<Item = (u64, bool)>,
    output: impl IntoIterator<Item = u64>,
    mut mark: impl FnMut(u32, Carried),
) {
    let live: HashMap<u64, bool> = live.into_iter().collect();
    for (ordinal, row) in (0..).zip(output) {
        match live.get(&row) {
            None => mark(ordinal, Carried::Dead),
            Some(true) => mark(ordinal, Carried::Overridden),
            Some(false) => {}
        }
    }
}
