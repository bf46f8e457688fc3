//! The bodies of this crate's fuzz targets: any bytes in, a panic if a promise does not hold.
//!
//! libFuzzer calls them from `fuzz/`; this crate's tests replay what it has found so far.

#![expect(clippy::unwrap_used, reason = "a target that cannot go on should stop")]

mod frames;
mod reference;
mod replay;

#[cfg(test)]
mod tests;

pub use frames::frames;
pub use replay::{replay, replay_damage_skipped};

/// A planted bug behind five bytes that nobody guesses at once: what finds it follows the coverage.
pub fn canary(data: &[u8]) {
    let mut bytes = data.iter();
    for wanted in b"LDFR!" {
        if bytes.next() != Some(wanted) {
            return;
        }
    }
    panic!("the canary is found");
}
