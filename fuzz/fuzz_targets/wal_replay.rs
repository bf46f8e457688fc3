#![no_main]
//! See `lodedb_wal::fuzz::replay`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lodedb_wal::fuzz::replay(data));
