//! See `lodedb_sql::fuzz::values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_sql::fuzz::values(data));
