//! One budget for memory: the row cache, rows on their way to files and the codes of indexes are what they are; queries get what is left,
//! and statements that make the database larger are refused when there is too little.
//!
//! What is mapped from files is not counted: the system takes it back when it needs to.

#[cfg(test)]
mod tests;

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};

use super::engine::Engine;
use super::options::Options;
use crate::segment::Segment;

/// What queries are always left, as a share of the whole: below it nothing may grow.
const LEFT_FOR_QUERIES: usize = 8;
/// How long what was counted last is believed.
const BELIEVED: Duration = Duration::from_millis(100);

/// What is held, and when that was counted.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    began: Instant,
    /// Milliseconds since `began`, and one; 0 is never.
    counted: AtomicU64,
}

impl Budget {
    /// So many bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0), began: Instant::now(), counted: AtomicU64::new(0) }
    }

    /// The whole of it, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether it is time to count again; true for one caller only.
    fn is_stale(&self) -> bool {
        let now = self.began.elapsed().as_millis() as u64 + 1;
        let counted = self.counted.load(Ordering::Relaxed);
        let is_stale = counted == 0 || now - counted >= BELIEVED.as_millis() as u64;
        is_stale && self.counted.compare_exchange(counted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Options {
    /// The memory the database may hold, in bytes: what was asked for, or three quarters of what the machine has.
    pub fn memory_limit(&self) -> usize {
        match self.memory_limit_bytes {
            0 => machine_memory().map_or(4 << 30, |bytes| bytes / 4 * 3),
            limit => limit,
        }
    }
}

/// The memory of the machine, or of the control group the process is in if that is less.
fn machine_memory() -> Option<usize> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? << 10)
    });
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.into_iter().find_map(|path| read(path)?.trim().parse::<usize>().ok());
    total.into_iter().chain(group).min()
}

impl Engine {
    /// The memory held by other things than queries, in bytes. Counted anew a few times a second at the most; what queries may have is
    /// changed with it.
    pub fn held_memory(&self) -> usize {
        if self.memory.is_stale() {
            let held = self.count_memory();
            self.memory.held.store(held, Ordering::Relaxed);
            let left = self.memory.limit.saturating_sub(held);
            self.query
                .set_memory_limit(left.max(self.memory.limit / LEFT_FOR_QUERIES).min(self.options.query_memory_bytes));
        }
        self.memory.held.load(Ordering::Relaxed)
    }

    /// Whether there is memory for more rows: `53200` where segments and indexes leave queries less than an eighth of it.
    pub fn check_memory(&self) -> Result<()> {
        let (held, limit) = (self.held_memory(), self.memory.limit);
        if held <= limit - limit / LEFT_FOR_QUERIES {
            return Ok(());
        }
        let message = format!(
            "not enough memory: the row cache, growing segments and indexes hold {held} bytes of the {limit} that lodedb.memory_limit is"
        );
        Err(SqlError::new(SqlState::OutOfMemory, message)
            .with_hint("Queries, DELETE, TRUNCATE, DROP and VACUUM go on. Drop an index, or start the server with a larger --memory-limit."))
    }

    fn count_memory(&self) -> usize {
        let (cache, writes) = self.store.memory_bytes().unwrap_or_default();
        let view = self.view();
        let tables = view.tables.values().map(|table| {
            let growing = table.segments.iter().map(|view| match &view.segment {
                Segment::Mutable { segment, .. } => segment.bytes() as u64,
                Segment::Sealed(_) => 0,
            });
            // A quantizer is there trained, and as the bytes that copies are made of.
            let codes = table.index_files.values().map(|files| {
                let codes: u64 = files.codes.iter().map(|(_, file)| file.len).sum();
                codes + files.quantizer.as_ref().map_or(0, |files| 2 * files.quantizer.len)
            });
            growing.sum::<u64>() + codes.sum::<u64>()
        });
        (cache + writes + tables.sum::<u64>()) as usize
    }
}
