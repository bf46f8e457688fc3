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
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as i64)
}
