//! The memory that operators of all statements share: DataFusion's fair pool, below a limit that may change.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// A [`FairSpillPool`] of which, for the time being, only a part may be had.
#[derive(Debug)]
pub(crate) struct LimitedPool {
    fair: FairSpillPool,
    limit: AtomicUsize,
}

impl LimitedPool {
    /// All `most` bytes may be had.
    pub(crate) fn new(most: usize) -> Self {
        Self { fair: FairSpillPool::new(most), limit: AtomicUsize::new(most) }
    }

    /// Only so many may be had from now on. Who has more keeps it and gets none.
    pub(crate) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }
}

impl fmt::Display for LimitedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.name(), self.limit.load(Ordering::Relaxed))
    }
}

impl MemoryPool for LimitedPool {
    fn name(&self) -> &str {
        "limited"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let (reserved, limit) = (self.reserved(), self.limit.load(Ordering::Relaxed));
        if reserved.saturating_add(additional) > limit {
            return Err(resources_datafusion_err!("{additional} bytes are wanted; {reserved} of {limit} are in use"));
        }
        self.fair.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit.load(Ordering::Relaxed))
    }
}
