//! Places at which a process that is told to kills itself, so that tests see what a crash there leaves.
//!
//! Nothing is armed unless the program asked for it at its start; then a point costs one relaxed load. None is where a row passes by.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Every point there is, in about the order in which a database comes by them.
pub const POINTS: &[&str] = &[
    "log: before a write",
    "log: between a write and its sync",
    "log: after a sync",
    "log: before a segment begins",
    "log: after a segment began",
    "log: before segments are removed",
    "log: after segments were removed",
    "log: before an idle mark",
    "publish: before the rename",
    "publish: before the directory is synced",
    "publish: done",
    "commit: durable, not applied",
    "commit: applied, not published",
    "commit: published, not answered",
    "store: before a write",
    "store: after a write",
    "store: before a flush",
    "store: after a flush",
    "store: before a compaction",
    "staging: begun",
    "staging: written, not committed",
    "segment: folder made",
    "segment: ids written",
    "segment: vectors written",
    "segment: written",
    "codes: before they are written",
    "codes: written",
    "quantizer: written",
    "job: before a freeze",
    "job: before a segment is merged",
    "job: merged, not committed",
    "job: committed",
    "job: index built, not committed",
    "seal: before it is applied",
    "seal: applied",
    "checkpoint: begun",
    "checkpoint: rows flushed",
    "checkpoint: segments written",
    "checkpoint: manifest written",
    "checkpoint: old manifests removed",
    "checkpoint: log let go",
    "checkpoint: done",
    "cleanup: before something is removed",
    "cleanup: after something was removed",
    "archive: records written",
    "archive: done",
    "backup: begun",
    "backup: rows copied",
    "backup: log written",
    "backup: a file taken in",
    "backup: before its list",
    "backup: done",
    "backup: before old ones go",
    "recovery: locked",
    "recovery: manifest read",
    "recovery: rows open",
    "recovery: log open",
    "recovery: a commit replayed",
    "recovery: replayed",
    "recovery: done",
];

static ARMED: AtomicBool = AtomicBool::new(false);
static PLAN: OnceLock<Mutex<Plan>> = OnceLock::new();

#[derive(Debug)]
struct Plan {
    kill_at: Option<String>,
    /// How often the point is passed before.
    passes: u64,
    reached: BTreeSet<&'static str>,
    record: Option<File>,
}

/// Takes orders from the environment: `LODEDB_KILL_AT` names a point, after `@` how often it is passed before; `LODEDB_KILL_POINTS` is
/// a file to which each point is appended when it is first reached.
///
/// # Errors
/// There is no such point, or no such file.
pub fn arm_from_environment() -> Result<(), String> {
    let wanted = std::env::var("LODEDB_KILL_AT").ok();
    let record = std::env::var_os("LODEDB_KILL_POINTS");
    if wanted.is_none() && record.is_none() {
        return Ok(());
    }
    let (kill_at, passes) = match wanted.as_deref().map(|wanted| wanted.split_once('@').unwrap_or((wanted, "0"))) {
        Some((point, passes)) => {
            if !POINTS.contains(&point) {
                return Err(format!("LODEDB_KILL_AT: there is no point {point:?}"));
            }
            (Some(point.to_owned()), passes.parse().map_err(|_| format!("LODEDB_KILL_AT: {passes:?} is no number"))?)
        }
        None => (None, 0),
    };
    let open = |path| {
        let file = File::options().create(true).append(true).open(&path);
        file.map_err(|error| format!("LODEDB_KILL_POINTS: {error}"))
    };
    let plan = Plan { kill_at, passes, reached: BTreeSet::new(), record: record.map(open).transpose()? };
    // Armed once, by the program, before there is a second thread.
    let _ = PLAN.set(Mutex::new(plan));
    ARMED.store(true, Ordering::Release);
    Ok(())
}

/// The process is at a point.
#[inline]
pub fn reach(point: &'static str) {
    if ARMED.load(Ordering::Relaxed) {
        reached(point);
    }
}

#[cold]
fn reached(point: &'static str) {
    let Some(plan) = PLAN.get() else { return };
    let mut plan = plan.lock();
    debug_assert!(POINTS.contains(&point), "{point:?} is not among the points");
    if plan.reached.insert(point)
        && let Some(record) = &mut plan.record
    {
        // The test misses the point if it is not written.
        let _ = record.write_all(format!("{point}\n").as_bytes());
    }
    if plan.kill_at.as_deref() == Some(point) {
        if plan.passes > 0 {
            plan.passes -= 1;
            return;
        }
        // As SIGKILL: nothing is flushed, no destructor runs.
        std::process::abort();
    }
}
