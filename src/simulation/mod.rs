//! The engine over a simulated disk: power cuts before every call, failing calls, damage; and an oracle that knows what must be left.
//!
//! Everything above RocksDB's primitive is real; RocksDB itself writes past any file system of ours, so a stand-in with the same promise
//! takes its place ([`crate::store::standin`]).
//!
//! - [`machine`]: the disk, and the stores beside it.
//! - [`ledger`]: what was asked of a database, and what it answered; kept outside of the disk.
//! - [`workload`]: the steps of the workloads. [`play`]: doing them.
//! - [`oracle`]: whether what a machine comes back with keeps every promise.
//! - [`cuts`]: power cuts, also during recovery. [`faults`]: failing calls. [`planted`]: the tests tested.
//!
//! The promises, by number:
//!
//! 1. Every acknowledged transaction is there.
//! 2. What is there is a prefix of what was asked, each transaction whole.
//! 3. Nothing is there that was never asked for.
//! 4. Rows, keys, index entries and segments say the same.
//! 5. A search that visits everything finds what comparing all rows finds.
//! 6. Recovering twice gives the same state.
//! 7. A database that was recovered takes commits and keeps them.
//! 8. What fails says so by an error; nothing panics.
//! 9. After a checkpoint no file is there that nothing names.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod cuts;
mod damage;
mod faults;
mod ledger;
mod machine;
mod oracle;
mod planted;
mod play;
mod regressions;
mod results;
mod workload;

pub(crate) use machine::{Machine, repeatable};
