//! A small WAL that is damaged, and must open.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel_wal::fuzzing::open(data));
