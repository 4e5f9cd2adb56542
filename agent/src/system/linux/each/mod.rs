//! Processes one by one: the part `process.each`.
//!
//! `ranking` decides which ones, by one small file of each process and no more often than its price allows;
//! `folder` reads those that were chosen; `figures` tells what was read. A process that ends meanwhile is left
//! out without a word: that is what processes do.

mod ranking;

mod figures;
mod folder;

pub(super) use ranking::Each;
