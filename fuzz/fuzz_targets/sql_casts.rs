#![no_main]
//! See `lodedb_sql::fuzz::casts`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_sql::fuzz::casts(data));
