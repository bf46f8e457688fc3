//! The wall clock, read in one place. It labels; it never orders.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment as people write it, in UTC; given in microseconds since 1970.
pub fn shown(time_us: i64) -> String {
    lodedb_sql::text::to_text(
        &lodedb_sql::Datum::Timestamptz(time_us),
        lodedb_sql::PgType::Scalar(lodedb_sql::ScalarType::Timestamptz),
        chrono_tz::UTC,
    )
}

/// Microseconds since 1970-01-01 UTC.
pub fn now_us() -> i64 {
    #[cfg(test)]
    if let Some(time_us) = simulated::next() {
        return time_us;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as i64)
}

/// A clock that repeats, for a thread that plays over a simulated disk.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Option<i64>> = const { Cell::new(None) };
    }

    /// From here on this thread's clock counts from the same time, one microsecond each time it is read.
    pub(crate) fn restart() {
        NOW.set(Some(1_700_000_000_000_000));
    }

    pub(super) fn next() -> Option<i64> {
        let now = NOW.get()?;
        NOW.set(Some(now + 1));
        Some(now)
    }

    /// Whether this thread has such a clock.
    pub(crate) fn is_on() -> bool {
        NOW.get().is_some()
    }
}
