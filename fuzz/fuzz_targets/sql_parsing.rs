#![no_main]
//! See `lodedb_sql::fuzz::parsing`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_sql::fuzz::parsing(data));
