//! A file system in memory that behaves as badly as real ones may. In reading order: choices, what is on the disk, the
//! storage over it.
//!
//! After `power_loss` any subset of the unsynced 512-byte sectors of a file survives, its length is the old or the
//! new one, and of the directory operations since the last directory sync a prefix survives. A failed sync drops the
//! pages: the next one succeeds and has written nothing. Writes may be short, any operation may fail, the disk has an
//! end, and the power can go in the middle of an operation.

mod disk;
mod random;
mod storage;

pub(crate) use disk::{Fault, Op};
pub(crate) use random::Random;
pub(crate) use storage::CrashStorage;
