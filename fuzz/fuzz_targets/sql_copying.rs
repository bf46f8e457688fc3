#![no_main]
//! See `lodedb_sql::fuzz::copying`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_sql::fuzz::copying(data));
