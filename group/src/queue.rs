//! Where requests wait for the thread that commits, and how it is woken.

use crate::sync::{Condvar, Mutex};

pub(crate) struct Queue<R> {
    waiting: Mutex<Waiting<R>>,
    /// Something came, or the queue was closed. One thread waits for it.
    changed: Condvar,
}

struct Waiting<R> {
    requests: Vec<R>,
    closed: bool,
}

impl<R> Queue<R> {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Waiting { requests: Vec::new(), closed: false }), changed: Condvar::new() }
    }

    /// Adds a request; drops it if the queue is closed. `wake` is false only where a bug is planted.
    pub(crate) fn push(&self, request: R, wake: bool) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            // Whoever hears of the drop may come back here.
            drop(waiting);
            return;
        }
        waiting.requests.push(request);
        drop(waiting);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Waits until there is a request, or the queue is closed.
    pub(crate) fn wait(&self) {
        let mut waiting = self.waiting.lock();
        while waiting.requests.is_empty() && !waiting.closed {
            self.changed.wait(&mut waiting);
        }
    }

    /// All that wait now, in the order they came, and whether none will come any more.
    pub(crate) fn take(&self) -> (Vec<R>, bool) {
        let mut waiting = self.waiting.lock();
        (std::mem::take(&mut waiting.requests), waiting.closed)
    }

    /// Takes no more requests.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }
}
