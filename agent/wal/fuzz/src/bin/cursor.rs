//! A cursor: slots, a file of them, operations on its lanes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel_wal::fuzzing::cursor(data));
