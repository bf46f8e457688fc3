//! The living sessions: their cancel keys, how many there are, and how they are told to end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lodedb_sql::error::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::sync::watch;

use crate::auth::same_bytes;
use crate::query::CancelToken;

/// What the server asks of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Serve.
    Serving,
    /// End when idle.
    Draining,
    /// End now.
    Killing,
}

/// The sessions by their process numbers, and the phase all tasks watch.
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
    phase: watch::Sender<Phase>,
    max_connections: usize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// How many sessions there are, may be, were begun, and were refused.
pub(super) struct Counts {
    pub(super) now: usize,
    pub(super) max: usize,
    pub(super) accepted: u64,
    pub(super) refused: u64,
}

#[derive(Default)]
struct Sessions {
    /// Seats taken, whether their session stands yet or not.
    seats: usize,
    by_pid: HashMap<i32, Entry>,
}

struct Entry {
    key: [u8; 4],
    cancel: CancelToken,
}

/// A session's place among `max_connections`; given back when dropped.
pub(super) struct Seat {
    registry: Arc<Registry>,
    pid: Option<i32>,
}

impl Registry {
    pub(super) fn new(max_connections: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            phase: watch::channel(Phase::Serving).0,
            max_connections,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// For whoever counts.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            now: self.sessions.lock().seats,
            max: self.max_connections,
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// What a task watches; while it holds the receiver, [`Registry::ended`] waits for it.
    pub(super) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Takes a place for a new session.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Seat> {
        let mut sessions = self.sessions.lock();
        if sessions.seats >= self.max_connections {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SqlError::new(SqlState::TooManyConnections, "sorry, too many clients already"));
        }
        sessions.seats += 1;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { registry: self.clone(), pid: None })
    }

    /// Cancels the statement of the session that has this key, if there is one. Says nothing either way.
    pub(super) fn cancel(&self, pid: i32, key: &[u8]) {
        let token = {
            let sessions = self.sessions.lock();
            sessions.by_pid.get(&pid).filter(|entry| same_bytes(&entry.key, key)).map(|entry| entry.cancel.clone())
        };
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// Cancels whatever runs.
    pub(super) fn cancel_all(&self) {
        let tokens: Vec<_> = self.sessions.lock().by_pid.values().map(|entry| entry.cancel.clone()).collect();
        tokens.iter().for_each(CancelToken::cancel);
    }

    /// Asks the listeners to stop and the sessions to end when they are idle.
    pub(super) fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Asks every task to end where it stands.
    pub(super) fn kill(&self) {
        self.phase.send_replace(Phase::Killing);
    }

    /// Waits until no task is left.
    pub(super) async fn ended(&self) {
        self.phase.closed().await;
    }
}

impl Seat {
    /// Makes the session's statements cancellable: by its number, and by a key from the system's random numbers,
    /// which it returns.
    pub(super) fn enter(&mut self, pid: i32, cancel: CancelToken) -> Result<[u8; 4]> {
        let mut key = [0; 4];
        OsRng.try_fill_bytes(&mut key).map_err(|error| SqlError::internal(format!("no random numbers: {error}")))?;
        self.registry.sessions.lock().by_pid.insert(pid, Entry { key, cancel });
        self.pid = Some(pid);
        Ok(key)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sessions = self.registry.sessions.lock();
        sessions.seats -= 1;
        if let Some(pid) = self.pid {
            sessions.by_pid.remove(&pid);
        }
    }
}
