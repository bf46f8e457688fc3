//! Settings of the log, and the switches by which the crate's own tests plant bugs.

use std::time::Duration;

use crate::LogError;
use crate::frame::frame_bytes;
use crate::segment::{HEADER_BYTES, TAIL_RESERVE_BYTES};

/// Settings of a [`Log`](crate::Log). They may differ from one opening to the next: segments carry their own size.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Size of a segment file. Files are made this big before their first use and stay so.
    pub segment_bytes: u64,
    /// The largest record taken.
    pub max_record_bytes: u32,
    /// Whether threads make the next segment ahead of need and write idle marks. Without them both are done inside the calls that
    /// need them, so that one thread makes all file-system calls, in an order that repeats: for simulation.
    pub background: bool,
    /// How long the log must be quiet before the background writes an idle mark.
    pub idle_mark_after: Duration,
    /// Where segment identities come from; `None` is the process's own randomness. For tests that compare runs.
    pub segment_id_seed: Option<u64>,
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) planted: Option<Planted>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            max_record_bytes: 16 << 20,
            background: true,
            idle_mark_after: Duration::from_millis(50),
            segment_id_seed: None,
            #[cfg(any(test, feature = "fuzz"))]
            planted: None,
        }
    }
}

impl LogOptions {
    /// The smallest `segment_bytes`.
    pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;
    /// The largest `segment_bytes`: recovery reads one segment into memory at a time.
    pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

    /// Checks all settings together.
    pub fn validate(&self) -> Result<(), LogError> {
        let mut faults = Vec::new();
        if !(Self::MIN_SEGMENT_BYTES..=Self::MAX_SEGMENT_BYTES).contains(&self.segment_bytes) {
            faults.push(format!(
                "segment_bytes must be between {} and {}, not {}",
                Self::MIN_SEGMENT_BYTES,
                Self::MAX_SEGMENT_BYTES,
                self.segment_bytes
            ));
        }
        if !self.segment_bytes.is_multiple_of(512) {
            faults.push(format!("segment_bytes must be a multiple of 512, not {}", self.segment_bytes));
        }
        if self.max_record_bytes == 0 {
            faults.push("max_record_bytes must not be 0".to_owned());
        }
        let needed = HEADER_BYTES + frame_bytes(self.max_record_bytes as usize) + TAIL_RESERVE_BYTES;
        if needed > self.segment_bytes {
            faults.push(format!(
                "a record of max_record_bytes {} needs segment_bytes of at least {needed}, not {}",
                self.max_record_bytes, self.segment_bytes
            ));
        }
        if faults.is_empty() { Ok(()) } else { Err(LogError::Options(faults.join("; "))) }
    }

    pub(crate) fn is_planted(&self, bug: Planted) -> bool {
        #[cfg(any(test, feature = "fuzz"))]
        {
            self.planted == Some(bug)
        }
        #[cfg(not(any(test, feature = "fuzz")))]
        {
            let _ = bug;
            false
        }
    }
}

/// Bugs that the crash tests switch on, one at a time, to see that they would be caught. Never on outside this crate's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// `sync` returns before the fsync.
    AckBeforeSync,
    /// The directory is not synced after a new segment got its name.
    NoDirSync,
    /// A failed fsync is tried again and its second answer believed.
    RetrySync,
    /// Recovery takes any bad frame for the end of the log.
    SkipDamage,
    /// Recovery takes the length of the file for the length of the segment.
    TrustFileLength,
    /// Recovery reads a segment on past the first record of the next one.
    ReplayTwice,
    /// Frames claim that everything appended is durable.
    EarlyDurable,
    /// The tail found at opening is believed to be on disk because it could be read.
    TrustTail,
    /// A new segment gets its name before its header is synced.
    NameBeforeSync,
    /// The old segment is not synced before the new one is used.
    NoSyncAtRotation,
    /// Recovery takes a spare for zeros if its first sector is.
    TrustSpare,
    /// Opening does not sync the directory it found.
    NoDirSyncAtOpen,
    /// Truncation also removes the segment that holds the given LSN.
    TruncateTooMuch,
}
