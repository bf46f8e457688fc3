//! How a database is opened: plain data, checked in one place.

use std::path::PathBuf;
use std::time::Duration;

use super::admission::Load;
use super::error::OpenError;

/// The least that a file of the log holds, in bytes: less where tests over a simulated disk write thousands of them.
pub(crate) const LEAST_LOG_SEGMENT_BYTES: u64 = if cfg!(test) { 8 << 10 } else { 4 << 20 };

/// The least memory a database works in, in bytes.
const LEAST_MEMORY_BYTES: usize = if cfg!(test) { 16 << 20 } else { 128 << 20 };

/// How a database is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Memory for everything, in bytes; 0 is three quarters of what the machine has. The two that follow are parts of it, and get less where it
    /// is small.
    pub memory_limit_bytes: usize,
    /// Memory for the block cache of the row store, in bytes.
    pub row_cache_bytes: usize,
    /// Memory queries may use for sorting, joining and grouping, in bytes, as long as segments and indexes leave so much.
    pub query_memory_bytes: usize,
    /// While less than this is free on the disk, in bytes, statements that make the database larger are refused.
    pub disk_reserve_bytes: u64,
    /// Size of one file of the log, in bytes.
    pub log_segment_bytes: u64,
    /// A checkpoint is taken when the log since the last one has grown by this many bytes.
    pub checkpoint_log_bytes: u64,
    /// A mutable segment is sealed when its vectors take this many bytes: a flat scan of about a millisecond.
    pub seal_bytes: usize,
    /// A checkpoint is taken when the last one is this long ago and something was committed.
    pub checkpoint_interval: Duration,
    /// The least time between two checkpoints that are taken so that merged segments can be removed.
    pub release_interval: Duration,
    /// Sealed segments are merged when a table has more than this many.
    pub merge_segments: usize,
    /// Sealed segments are written anew when this many in a hundred of their rows are dead.
    pub merge_dead_percent: u32,
    /// Segments with this many live rows are not merged with others.
    pub merge_rows_max: u64,
    /// What merging may read a second, in bytes; 0 is as much as it can.
    pub merge_bytes_per_second: u64,
    /// A vector index is trained once a table has this many vectors.
    pub train_rows: u64,
    /// Whether sealing, training and merging happen by themselves.
    pub background: bool,
    /// How long a lock is waited for before deadlocks are looked for.
    pub deadlock_timeout: Duration,
    /// How many statements run at once, and wait; the rest are refused with `53400`.
    pub load: Load,
    /// Statements that take this long are logged with their plans; `None` is never. Sessions may choose for themselves.
    pub log_min_duration: Option<Duration>,
    /// How often a backup is taken by itself, when something has changed; `None` is never.
    pub backup_interval: Option<Duration>,
    /// The folder these backups go to; `None` is `backups` in the directory of the database. Better on another disk.
    pub backup_dir: Option<PathBuf>,
    /// Which of them are kept.
    pub backup_keep: Keep,
    /// The folder below which roles with `pg_write_server_files` may have files written; `None` is nowhere. Superusers may anywhere.
    pub file_dir: Option<PathBuf>,
    /// The folder below which CREATE MODEL may read models; `None` is nowhere.
    pub model_dir: Option<PathBuf>,
    /// ONNX Runtime: its library, or a folder, prefix or environment of Python that has it; `None` is where `ORT_DYLIB_PATH` says, or
    /// the usual places. Looked for when the first model is used.
    pub onnx_runtime: Option<PathBuf>,
    /// Threads that work on one run of a model; 0 is one for each core.
    pub model_threads: usize,
    /// Models are run by a GPU, if the loaded ONNX Runtime has a provider for one and it can be used.
    pub model_gpu: bool,
    /// Disk for vectors that models computed, so that the same text or picture is embedded once; 0 keeps none.
    pub embedding_cache_bytes: u64,
    /// How often all files are read, to find rot; `None` is never.
    pub scrub_interval: Option<Duration>,
    /// What that may read a second, in bytes; 0 is as much as it can.
    pub scrub_bytes_per_second: u64,
    /// How often the log is archived beside these backups, at the latest; it is before a checkpoint lets go of it too.
    pub archive_interval: Duration,
}

/// Which backups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many.
    pub newest: usize,
    /// The last one of each of so many days.
    pub days: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 0,
            row_cache_bytes: 256 << 20,
            query_memory_bytes: 2 << 30,
            disk_reserve_bytes: 384 << 20,
            log_segment_bytes: 64 << 20,
            checkpoint_log_bytes: 1 << 30,
            seal_bytes: 8 << 20,
            checkpoint_interval: Duration::from_secs(300),
            release_interval: Duration::from_secs(10),
            merge_segments: 8,
            merge_dead_percent: 20,
            merge_rows_max: 4 << 20,
            merge_bytes_per_second: 256 << 20,
            train_rows: 4096,
            background: true,
            deadlock_timeout: Duration::from_secs(1),
            load: Load::default(),
            log_min_duration: None,
            backup_interval: Some(Duration::from_secs(3600)),
            backup_dir: None,
            backup_keep: Keep { newest: 24, days: 7 },
            file_dir: None,
            model_dir: None,
            onnx_runtime: None,
            model_threads: 0,
            model_gpu: false,
            embedding_cache_bytes: 256 << 20,
            scrub_interval: Some(Duration::from_secs(24 * 3600)),
            scrub_bytes_per_second: 32 << 20,
            archive_interval: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Tiny sizes, so that tests reach the edges.
    pub fn for_test() -> Self {
        Self {
            row_cache_bytes: 8 << 20,
            query_memory_bytes: 256 << 20,
            disk_reserve_bytes: 16 << 20,
            log_segment_bytes: 4 << 20,
            checkpoint_log_bytes: 4 << 20,
            seal_bytes: 4096,
            merge_segments: 4,
            train_rows: 512,
            background: true,
            deadlock_timeout: Duration::from_millis(100),
            backup_interval: None,
            scrub_interval: None,
            ..Self::default()
        }
    }

    /// Reports every bad setting at once.
    pub fn validate(&self) -> Result<(), OpenError> {
        let checks = [
            (
                self.memory_limit_bytes != 0 && self.memory_limit_bytes < LEAST_MEMORY_BYTES,
                "memory_limit_bytes must be 0 or at least 128 MiB",
            ),
            (self.row_cache_bytes < 1 << 20, "row_cache_bytes must be at least 1 MiB"),
            (self.query_memory_bytes < 16 << 20, "query_memory_bytes must be at least 16 MiB"),
            (self.log_segment_bytes < LEAST_LOG_SEGMENT_BYTES, "log_segment_bytes must be at least 4 MiB"),
            (
                self.checkpoint_log_bytes < self.log_segment_bytes,
                "checkpoint_log_bytes must be at least log_segment_bytes",
            ),
            (self.merge_segments < 2, "merge_segments must be at least 2"),
            (!(1..=100).contains(&self.merge_dead_percent), "merge_dead_percent must be 1 to 100"),
            (self.merge_rows_max < 1024, "merge_rows_max must be at least 1024"),
            (!(1..=1 << 20).contains(&self.load.running), "load.running must be between 1 and 1048576"),
            (self.backup_interval.is_some_and(|interval| interval.is_zero()), "backup_interval must not be 0"),
            (self.backup_keep.newest == 0, "backup_keep must keep the newest backup"),
        ];
        let wrong: Vec<&str> = checks.iter().filter(|(bad, _)| *bad).map(|(_, text)| *text).collect();
        if wrong.is_empty() { Ok(()) } else { Err(OpenError::Options(wrong.join("; "))) }
    }
}
