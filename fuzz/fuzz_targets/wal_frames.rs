#![no_main]
//! See `lodedb_wal::fuzz::frames`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_wal::fuzz::frames(data));
