//! Tests of the log: against power cuts, faults, damage and planted bugs, all over the simulated disk; and with real threads and files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bytes;
mod crash;
mod damage;
mod faults;
mod log;
mod planted;
mod threads;
