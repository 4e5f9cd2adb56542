//! Where bytes go: the small part of a file system that a WAL needs, as a trait.
//!
//! `real` is the operating system. `crash` (tests and fuzzing only) is a file system in memory that loses what was not synced
//! and fails on command. Nothing else in the crate touches files, but for key files.

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, expect(dead_code, reason = "the tests need more of it"))]
pub(crate) mod crash;
mod interface;
mod real;

pub(crate) use interface::{
    Access, Entry, Environment, Storage, StoredFile, is_damage, is_no_room, read_around_damage, read_full_at,
    write_all_at, write_zeros,
};
pub(crate) use real::{environment, is_locked};
