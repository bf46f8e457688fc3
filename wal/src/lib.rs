//! The write-ahead log: segmented, checksummed, group-committed records of opaque bytes, and the file-system seam below it.
//!
//! The crate knows no type of the engine. It promises:
//!
//! 1. A record whose [`Log::sync`] returned `Ok` is there after a crash, whole and in its place.
//! 2. What recovery yields is a prefix of what was appended: no hole, nothing invented, nothing twice.
//! 3. A damaged record that was once synced is an error naming file, offset and LSN, never a silently shorter log.
//! 4. After a failed write or sync nothing is acknowledged any more ([`LogError::Poisoned`]) until the log is opened anew.
//!
//! It assumes of the medium that a sync which returned `Ok` made the bytes durable, and that writing a sector again with the same
//! bytes does not lose them. Every byte on disk is described in `FORMAT.md` beside this crate.
//!
//! ```
//! use std::sync::Arc;
//! use lodedb_wal::{Log, LogOptions, fs::sim::SimFileSystem};
//! # fn main() -> Result<(), lodedb_wal::LogError> {
//! let fs = Arc::new(SimFileSystem::new(1));
//! let options = LogOptions { segment_bytes: 1 << 16, max_record_bytes: 1 << 12, ..LogOptions::default() };
//! let log = Log::open(fs.clone(), "/wal".as_ref(), options.clone(), 1, 0)?;
//! let last = log.append(&[b"one", b"two"])?;
//! log.sync(last)?;
//! drop(log);
//!
//! let log = Log::open(fs, "/wal".as_ref(), options, 1, last)?;
//! let records: Result<Vec<_>, _> = log.read_from(1)?.collect();
//! assert_eq!(records?, [(1, b"one".to_vec()), (2, b"two".to_vec())]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod fs;
pub mod killpoint;

mod background;
mod error;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
#[cfg_attr(not(test), allow(dead_code, reason = "the tests use more of it than the fuzz targets"))]
mod ledger;
mod log;
mod options;
mod reader;
mod recovery;
mod segment;
mod walk;

#[cfg(test)]
mod tests;

pub use error::LogError;
pub use log::Log;
pub use options::LogOptions;
pub use reader::LogReader;

/// Log sequence number: 1-based and dense, one for each record.
pub type Lsn = u64;
