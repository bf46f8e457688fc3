//! Group commit without I/O: who commits, in which order, and when it is known.
//!
//! What committing does is behind [`Steps`]; the engine's are in its `commit` folder. Here is what threads have to do with it, small
//! enough that model checkers try every way in which they may meet ([`sync`] is the seam, `models` are the tests). It promises:
//!
//! 1. Append, sync, apply, publish, answer: each step is taken only after the one before it succeeded for the whole group.
//! 2. Groups are committed one after the other, and answered in the order of the log.
//! 3. After a step that failed, or panicked, no step is taken any more: whoever waits or comes hears of it.
//! 4. Every request is answered once, or dropped once: by stopping, or by a panic.

#![forbid(unsafe_code)]

mod carry;
mod queue;
pub(crate) mod sync;

#[cfg(test)]
mod models;

pub use carry::{Carried, carry_over};

use std::sync::Arc;

use queue::Queue;
use sync::{AtomicBool, JoinHandle, Mutex, Ordering, spawn};

/// What it is to commit, in the order in which a group takes these steps. One thread at a time has them.
pub trait Steps: Send + 'static {
    /// A commit on its way, with whom to answer. Dropping it must tell them too.
    type Request: Send;
    /// What the log made of a commit.
    type Logged;
    /// Why a step failed.
    type Error: Clone;

    /// Answers those of a group that are refused before anything is done, and gives the others.
    fn sift(&mut self, group: Vec<Self::Request>) -> Vec<Self::Request> {
        group
    }

    /// Puts a group into the log, one after the other; gives as many as there are requests. None needs to be durable yet.
    fn append(&mut self, group: &[Self::Request]) -> Result<Vec<Self::Logged>, Self::Error>;

    /// Makes what was just appended durable.
    fn sync(&mut self, logged: &[Self::Logged]) -> Result<(), Self::Error>;

    /// Brings one commit into the state, which nobody else sees yet.
    fn apply(&mut self, request: &Self::Request, logged: &Self::Logged) -> Result<(), Self::Error>;

    /// Lets everybody see the state.
    fn publish(&mut self);

    /// Whether the group just committed took so little time that the next commit may as well be made by the thread that asks.
    fn was_quick(&self) -> bool;

    /// What those hear who come after a step failed.
    fn stopped() -> Self::Error;

    /// Tells the outcome of a commit.
    fn answer(request: Self::Request, outcome: Result<Self::Logged, Self::Error>);
}

/// The way to commit. Commits that come while another is under way wait in a queue; a thread takes all of them as the next group.
///
/// A commit that finds nobody at it is done by the thread that asks: waking another one and being woken by it take longer than
/// everything but the sync.
pub struct GroupCommit<S: Steps> {
    shared: Arc<Shared<S>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<S: Steps> {
    /// Who holds this commits; empty once stopped.
    steps: Mutex<Option<S>>,
    queue: Queue<S::Request>,
    failed: AtomicBool,
    /// Set before the queue is closed: who was dropped from it does not get through here either.
    stopping: AtomicBool,
    /// Whether the last group was one commit and quick, so that the next one probably is.
    alone: AtomicBool,
    #[cfg(test)]
    planted: Option<Planted>,
}

impl<S: Steps> std::fmt::Debug for GroupCommit<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCommit").field("failed", &self.has_failed()).finish_non_exhaustive()
    }
}

impl<S: Steps> GroupCommit<S> {
    /// Starts the thread, under this name.
    pub fn start(thread_name: &str, steps: S) -> std::io::Result<Self> {
        Self::start_shared(thread_name, Shared::new(steps))
    }

    fn start_shared(thread_name: &str, shared: Shared<S>) -> std::io::Result<Self> {
        let shared = Arc::new(shared);
        let in_thread = Arc::clone(&shared);
        let thread = spawn(thread_name, move || in_thread.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Begins a commit; it may be answered already when this returns. `here` allows it to be made by this thread.
    ///
    /// Once stopped, the request is dropped.
    pub fn begin(&self, request: S::Request, here: bool) {
        let left = if here { self.commit_here(request) } else { Some(request) };
        if let Some(request) = left {
            self.shared.enqueue(request);
        }
    }

    /// Commits in this thread if nobody else is at it or was just now; otherwise gives the request back.
    fn commit_here(&self, request: S::Request) -> Option<S::Request> {
        let Shared { alone, stopping, .. } = &*self.shared;
        if !alone.load(Ordering::Relaxed) || stopping.load(Ordering::Relaxed) {
            return Some(request);
        }
        let Some(mut steps) = self.shared.steps.try_lock() else { return Some(request) };
        match steps.as_mut() {
            Some(steps) => {
                self.shared.commit(steps, vec![request]);
                None
            }
            None => Some(request),
        }
    }

    /// Makes these one group, in this thread. Once stopped they are dropped.
    pub fn commit_together(&self, group: Vec<S::Request>) {
        if let Some(steps) = self.shared.steps.lock().as_mut() {
            self.shared.commit(steps, group);
            self.shared.alone.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a step failed: nothing is committed any more.
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Lets the commits under way finish and ends the thread; later ones are dropped. Says whether the thread ended in order.
    pub fn stop(&self) -> bool {
        if !self.shared.is_planted(Planted::StoppedByHalves) {
            self.shared.stopping.store(true, Ordering::Relaxed);
        }
        self.shared.queue.close();
        let thread = self.thread.lock().take();
        let ended = thread.is_none_or(|thread| thread.join().is_ok());
        self.shared.steps.lock().take();
        ended
    }
}

impl<S: Steps> Drop for GroupCommit<S> {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl<S: Steps> Shared<S> {
    fn new(steps: S) -> Self {
        Self {
            steps: Mutex::new(Some(steps)),
            queue: Queue::new(),
            failed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            alone: AtomicBool::new(true),
            #[cfg(test)]
            planted: None,
        }
    }

    fn enqueue(&self, request: S::Request) {
        let wake = !self.is_planted(Planted::LostWakeUp) || self.steps.try_lock().is_some();
        self.queue.push(request, wake);
    }

    fn run(&self) {
        // A panic in the middle must not leave anybody waiting in a queue that nobody empties.
        let _closing = Closing(&self.queue);
        loop {
            self.queue.wait();
            // Whoever is committing now is waited for, so that the group is all that came meanwhile.
            let mut steps = self.steps.lock();
            let (mut group, closed) = self.queue.take();
            if closed && self.is_planted(Planted::StopForgets) {
                group.clear();
            }
            if let Some(steps) = steps.as_mut()
                && !group.is_empty()
            {
                self.commit(steps, group);
            }
            if closed {
                return;
            }
        }
    }

    fn commit(&self, steps: &mut S, group: Vec<S::Request>) {
        if self.failed.load(Ordering::Acquire) {
            for request in group {
                S::answer(request, Err(S::stopped()));
            }
            return;
        }
        let group = steps.sift(group);
        if group.is_empty() {
            return;
        }
        let alone = group.len() == 1;
        // A panic in the middle leaves a state that nothing may be built on.
        let unfinished = Unfinished(&self.failed);
        match self.take_steps(steps, &group) {
            Ok(logged) => {
                std::mem::forget(unfinished);
                self.alone.store(alone && steps.was_quick(), Ordering::Relaxed);
                self.answer(group.into_iter().zip(logged));
            }
            Err(error) => {
                // ORDER: known to all before anybody hears of it, who might ask at once.
                if self.is_planted(Planted::FailureForgotten) {
                    std::mem::forget(unfinished);
                } else {
                    drop(unfinished);
                }
                for request in group {
                    S::answer(request, Err(error.clone()));
                }
            }
        }
        if self.is_planted(Planted::PublishedLast) {
            steps.publish();
        }
    }

    /// ORDER: append, sync, apply, publish; then answer. A client that was answered finds its commit in the next view it takes.
    fn take_steps(&self, steps: &mut S, group: &[S::Request]) -> Result<Vec<S::Logged>, S::Error> {
        let logged = steps.append(group)?;
        let late = self.is_planted(Planted::AppliedBeforeSync);
        if !late && !self.is_planted(Planted::NotSynced) {
            steps.sync(&logged)?;
        }
        for (request, logged) in group.iter().zip(&logged) {
            steps.apply(request, logged)?;
        }
        if !self.is_planted(Planted::PublishedLast) {
            steps.publish();
        }
        if late {
            steps.sync(&logged)?;
        }
        Ok(logged)
    }

    fn answer(&self, group: impl DoubleEndedIterator<Item = (S::Request, S::Logged)> + ExactSizeIterator) {
        if self.is_planted(Planted::AnsweredBackwards) {
            group.rev().for_each(|(request, logged)| S::answer(request, Ok(logged)));
        } else {
            group.for_each(|(request, logged)| S::answer(request, Ok(logged)));
        }
    }

    fn is_planted(&self, bug: Planted) -> bool {
        #[cfg(test)]
        {
            self.planted == Some(bug)
        }
        #[cfg(not(test))]
        {
            let _ = bug;
            false
        }
    }
}

/// Dropped by a panic or a failure only.
struct Unfinished<'a>(&'a AtomicBool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Closes the queue of a thread that ends, however it ends.
struct Closing<'a, R>(&'a Queue<R>);

impl<R> Drop for Closing<'_, R> {
    fn drop(&mut self) {
        self.0.close();
        drop(self.0.take());
    }
}

/// Bugs that the models switch on, one at a time, to see that they would be caught. Never on outside this crate's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    /// The sync is left out.
    NotSynced,
    /// Commits are applied and seen before the sync that covers them.
    AppliedBeforeSync,
    /// The answers come before the view.
    PublishedLast,
    /// The last of a group is answered first.
    AnsweredBackwards,
    /// A failure is told to its group and forgotten.
    FailureForgotten,
    /// The thread is not woken for a request that comes while somebody commits.
    LostWakeUp,
    /// Stopping drops what waits.
    StopForgets,
    /// Once stopped, some commits are dropped and others made.
    StoppedByHalves,
}
