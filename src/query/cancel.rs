//! Ending a statement from outside: by the client, by its timeout, or by an operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use tokio::sync::Notify;
use tokio::time::Instant;

const CLIENT: u8 = 0;
const TIMEOUT: u8 = 1;
const OPERATOR: u8 = 2;

#[derive(Debug)]
struct Shared {
    cancelled: AtomicBool,
    reason: AtomicU8,
    waiting: Notify,
    deadline: Option<Instant>,
}

/// A flag that ends one statement. Clones share it.
#[derive(Clone, Debug)]
pub struct CancelToken {
    current: Arc<Shared>,
    /// The same for every statement of a session, so that another thread reaches the one under way.
    session: Arc<parking_lot::Mutex<Arc<Shared>>>,
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        let current = Arc::new(Shared::new(None));
        Self { session: Arc::new(parking_lot::Mutex::new(current.clone())), current }
    }

    /// A token for the next statement of the same session; `timeout_ms` 0 is no limit.
    pub fn renewed(&self, timeout_ms: u64) -> Self {
        let deadline = (timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(timeout_ms));
        let current = Arc::new(Shared::new(deadline));
        *self.session.lock() = current.clone();
        Self { current, session: self.session.clone() }
    }

    /// Cancels the statement of this session that is under way.
    pub fn cancel(&self) {
        self.end(CLIENT);
    }

    /// Ends it because the server stops or an operator wants it to.
    pub fn terminate(&self) {
        self.end(OPERATOR);
    }

    fn end(&self, reason: u8) {
        let current = self.session.lock().clone();
        current.end(reason);
    }

    /// Whether the statement is to end.
    pub fn is_cancelled(&self) -> bool {
        if self.current.cancelled.load(Ordering::Relaxed) {
            return true;
        }
        match self.current.deadline {
            Some(deadline) if Instant::now() >= deadline => {
                self.current.end(TIMEOUT);
                true
            }
            _ => false,
        }
    }

    /// The flag itself, for code that looks at nothing else. A timeout sets it only while somebody waits in
    /// [`Self::cancelled`] or asks [`Self::is_cancelled`].
    pub fn flag(&self) -> &AtomicBool {
        &self.current.cancelled
    }

    /// `57014` if the statement is to end.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(self.error()) } else { Ok(()) }
    }

    /// Comes back when the statement is to end.
    pub async fn cancelled(&self) {
        loop {
            let notified = self.current.waiting.notified();
            if self.is_cancelled() {
                return;
            }
            match self.current.deadline {
                Some(deadline) => {
                    // Either way the loop looks again.
                    let _ = tokio::time::timeout_at(deadline, notified).await;
                }
                None => notified.await,
            }
        }
    }

    /// The error of a statement that was ended.
    pub fn error(&self) -> SqlError {
        match self.current.reason.load(Ordering::Relaxed) {
            TIMEOUT => SqlError::new(SqlState::QueryCanceled, "canceling statement due to statement timeout"),
            OPERATOR => SqlError::new(SqlState::AdminShutdown, "terminating connection due to administrator command"),
            _ => SqlError::new(SqlState::QueryCanceled, "canceling statement due to user request"),
        }
    }
}

impl Shared {
    fn new(deadline: Option<Instant>) -> Self {
        Self { cancelled: AtomicBool::new(false), reason: AtomicU8::new(CLIENT), waiting: Notify::new(), deadline }
    }

    fn end(&self, reason: u8) {
        if !self.cancelled.load(Ordering::Relaxed) {
            self.reason.store(reason, Ordering::Relaxed);
            self.cancelled.store(true, Ordering::Release);
        }
        self.waiting.notify_waiters();
    }
}
