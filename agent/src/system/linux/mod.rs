//! Linux: files under `/proc` and `/sys`, kept open, each read once a snapshot.
//!
//! `host` holds the parts and what they share; one file a part. `proc_file` reads, `starts` knows since when
//! a counter counts, `probe` keeps a dead mount from holding up a snapshot, `aside` a dead sensor or service
//! manager.

mod host;

mod aside;
mod proc_file;
mod starts;
mod stat;
mod table;
mod vmstat;

mod cpu;
mod memory;
mod paging;
mod pressure;

mod disk;
mod filesystem;
mod mounts;
mod probe;

mod connections;
mod links;
mod network;
mod protocols;

mod each;
mod process;

mod kernel;
mod sensors;
mod services;

#[cfg(test)]
mod tests;

pub(super) use host::Host;
