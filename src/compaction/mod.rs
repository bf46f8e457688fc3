//! What happens behind the readers' backs: sealing, training, merging, and checkpoints when the log has grown.
//!
//! [`choose`] decides from the metadata of a view, a pure function; [`jobs`] does it. One job runs at a time,
//! under `Engine::maintenance`; each reads a view, writes new files, and swaps them in with one commit, so that what a crash cuts off is
//! one job. [`vacuum`] is what the statements VACUUM and REINDEX do; [`history`] what has been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::db::engine::Engine;

pub mod choose;
mod history;
pub mod jobs;
pub mod vacuum;

#[cfg(test)]
mod tests;

pub use history::{Compaction, History};

/// How far an index build is, as `pg_stat_progress_create_index` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The session that asked.
    pub session: i32,
    /// The table.
    pub table: u32,
    /// The index.
    pub index: u32,
    /// What is being done.
    pub phase: &'static str,
    /// Rows done in this phase.
    pub done: u64,
    /// Rows there are.
    pub total: u64,
}

/// A thread that works in the background.
#[derive(Debug)]
pub struct Worker {
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Signal {
    stop: AtomicBool,
    wake: Condvar,
    lock: Mutex<()>,
}

impl Worker {
    /// Starts the thread that seals, trains, merges and takes checkpoints, if the options want one.
    pub fn start(engine: &Arc<Engine>) -> Self {
        if !engine.options.background {
            return Self { signal: Arc::default(), thread: Mutex::new(None) };
        }
        Self::spawn("lodedb-background", Duration::from_millis(50), engine, run_one)
    }

    /// Starts a thread that calls `work` again and again, with a pause whenever there was nothing to do. It is told what says that it
    /// should end.
    pub fn spawn(
        name: &str,
        pause: Duration,
        engine: &Arc<Engine>,
        mut work: impl FnMut(&Arc<Engine>, &AtomicBool) -> bool + Send + 'static,
    ) -> Self {
        let signal = Arc::new(Signal::default());
        let (told, weak) = (signal.clone(), Arc::downgrade(engine));
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            while !told.stop.load(Ordering::Acquire) {
                let Some(engine) = weak.upgrade() else { return };
                let worked = !engine.has_failed() && work(&engine, &told.stop);
                drop(engine);
                if !worked {
                    let mut guard = told.lock.lock();
                    if !told.stop.load(Ordering::Acquire) {
                        told.wake.wait_for(&mut guard, pause);
                    }
                }
            }
        });
        let thread = thread
            .inspect_err(|error| tracing::error!(%error, name, "a thread did not start; its work waits for a restart"));
        Self { signal, thread: Mutex::new(thread.ok()) }
    }

    /// Ends the thread after the job under way gives up.
    pub fn stop(&self) {
        self.signal.stop.store(true, Ordering::Release);
        drop(self.signal.lock.lock());
        self.signal.wake.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("a background thread panicked");
        }
    }

    /// Does all there is to do now, in this thread.
    pub fn settle(&self, engine: &Arc<Engine>) {
        let never = AtomicBool::new(false);
        while !engine.has_failed() && run_one(engine, &never) {}
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Does the most urgent job. Says whether anything was done.
fn run_one(engine: &Arc<Engine>, stop: &AtomicBool) -> bool {
    if engine.compactions.is_resting() {
        return false;
    }
    // Queries get what segments and indexes leave, also where nobody writes.
    engine.held_memory();
    let guard = engine.maintenance.lock();
    let view = engine.view();
    if let Some(job) = choose::choose_job(&view, &engine.options, None) {
        match jobs::run(engine, &view, &job, 0, stop) {
            Ok(()) => return true,
            Err(error) => {
                if !stop.load(Ordering::Acquire) {
                    tracing::error!(?job, %error, "a background job failed; it will be tried again");
                    engine.compactions.rest();
                }
                return false;
            }
        }
    }
    drop(guard);
    if compact_store(engine) {
        return true;
    }
    // Held by a backup for as long as it takes: other jobs do not wait for that.
    let Some(mut last) = engine.checkpoint.try_lock() else { return false };
    if let Some(newest) = last.kept.first_mut() {
        newest.segments.extend(choose::segment_bytes(&view));
    }
    let reason = choose::choose_checkpoint(&view, &last, engine.log.size_bytes(), last.at.elapsed(), &engine.options);
    drop(last);
    let Some(reason) = reason else { return false };
    match crate::snapshot::checkpoint::checkpoint(engine) {
        Ok(()) => {
            tracing::debug!(?reason, "took a checkpoint");
            true
        }
        Err(error) => {
            tracing::error!(%error, "a checkpoint failed; it will be tried again");
            engine.compactions.rest();
            false
        }
    }
}

/// Lets the row store drop what was deleted, once that is most of it.
fn compact_store(engine: &Arc<Engine>) -> bool {
    let view = engine.view();
    let rows = view.tables.values().map(|table| table.live_rows).sum();
    match engine.store.compact_if_worn(rows) {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "the row store could not be compacted; it will be tried again");
            false
        }
    }
}
