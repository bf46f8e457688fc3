//! See `lodedb_wal::fuzz::replay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_wal::fuzz::replay(data));
