//! Linux: files under `/proc` and `/sys`, kept open, each read once a snapshot.
//!
//! `host` holds the parts and what they share; one file a part. `proc_file` reads, `starts` knows since when
//! a counter counts, `probe` keeps a dead mount from holding up a snapshot.

mod host;
mod proc_file;
mod starts;
mod stat;
mod table;

mod cpu;
mod memory;
mod paging;

mod connections;
mod disk;
mod filesystem;
mod mounts;
mod network;
mod probe;
mod process;

#[cfg(test)]
mod tests;

pub(super) use host::Host;
