//! The primitives that threads meet at: the real ones, or those of a model checker, which tries every order in which they may meet.
//!
//! All three have the interface of `parking_lot`, which does not know poisoned locks: what a panic leaves behind is
//! [`GroupCommit`](crate::GroupCommit)'s own business.

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use real::*;

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) use modelled::*;

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod real {
    #[cfg(test)]
    pub(crate) use std::sync::atomic::AtomicU64;
    pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use std::thread::JoinHandle;

    pub(crate) use parking_lot::{Condvar, Mutex};

    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name.to_owned()).spawn(run)
    }
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
mod modelled {
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;

    #[cfg(feature = "loom")]
    use loom::{sync, thread};
    #[cfg(not(feature = "loom"))]
    use shuttle::{sync, thread};

    #[cfg(test)]
    pub(crate) use sync::atomic::AtomicU64;
    pub(crate) use sync::atomic::{AtomicBool, Ordering};
    pub(crate) use thread::JoinHandle;

    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name.to_owned()).spawn(run)
    }

    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    /// Without a guard only while [`Condvar::wait`] has it.
    pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("only a wait is without its guard")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("only a wait is without its guard")
        }
    }

    pub(crate) struct Condvar(sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if let Some(held) = guard.0.take() {
                guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
            }
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        #[cfg(test)]
        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
