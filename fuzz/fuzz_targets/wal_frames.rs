//! See `lodedb_wal::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_wal::fuzz::frames(data));
