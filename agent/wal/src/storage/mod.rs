//! Where bytes go: the small part of a file system that a WAL needs, as a trait.
//!
//! `real` is the operating system. `crash` (tests only) is a file system in memory that loses what was not synced
//! and fails on command. Nothing else in the crate touches files, but for key files.

#[cfg(test)]
pub(crate) mod crash;
mod interface;
mod real;

pub(crate) use interface::{
    Access, Entry, Environment, Storage, StoredFile, is_no_room, read_around_damage, read_full_at,
    write_all_at, write_zeros,
};
pub(crate) use real::{environment, is_locked};
