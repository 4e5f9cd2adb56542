//! Datagrams as the receiver `statsd` reads them: what they become walks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| whimbrel::receive::fuzzing::statsd(data));
