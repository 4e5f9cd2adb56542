//! A segment: its records, or the whole file.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel_wal::fuzzing::segment(data));
