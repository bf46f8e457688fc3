//! The two background threads: one makes the next segment ahead of need, one writes idle marks. Neither is needed for correctness.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::MutexGuard;

use crate::LogError;
use crate::log::Shared;
use crate::segment::make_spare;

/// Starts both threads.
pub(crate) fn spawn(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, LogError> {
    let start = |name: &str, work: fn(&Shared)| {
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared))
    };
    let spares = start("wal-spare", keep_spare_ready).map_err(LogError::io("start thread for", &shared.dir))?;
    match start("wal-idle", mark_when_idle) {
        Ok(marks) => Ok(vec![spares, marks]),
        Err(e) => {
            shared.state.lock().stopping = true;
            shared.spare_wanted.notify_all();
            let _ = spares.join();
            Err(LogError::io("start thread for", &shared.dir)(e))
        }
    }
}

fn keep_spare_ready(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        while !state.stopping && (state.poisoned || state.spare.is_some() || state.spare_error.is_some()) {
            shared.spare_wanted.wait(&mut state);
        }
        if state.stopping {
            return;
        }
        let bytes = shared.options.segment_bytes;
        match MutexGuard::unlocked(&mut state, || make_spare(shared.fs.as_ref(), &shared.dir, bytes)) {
            Ok(spare) => state.spare = Some(spare),
            Err(e) => {
                // Not the end: an unused file is missing, no record is. The next rotation asks again.
                tracing::warn!(dir = %shared.dir.display(), error = %e, "could not make the next segment ahead of need");
                state.spare_error = Some(e);
            }
        }
        shared.changed.notify_all();
    }
}

fn mark_when_idle(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        while !state.stopping && (state.poisoned || !state.wants_mark()) {
            state.mark_waits = true;
            shared.mark_wanted.wait(&mut state);
            state.mark_waits = false;
        }
        // Quiet means: nothing new was made durable, or appended, for a whole interval.
        let durable_lsn = state.durable_lsn;
        let deadline = Instant::now() + shared.options.idle_mark_after;
        while !state.stopping && !shared.mark_wanted.wait_until(&mut state, deadline).timed_out() {}
        if state.stopping {
            return;
        }
        if state.durable_lsn == durable_lsn && state.wants_mark() {
            // A failure poisons the log and is reported by it.
            let _ = MutexGuard::unlocked(&mut state, || shared.write_idle_mark());
        }
    }
}
