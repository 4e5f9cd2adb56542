//! Opening: everything is read and decided first, then the disk is changed.
//!
//! Reads the headers, the cursors, and the last segment (or those at the end whose state can't be read), nothing else.
//! A segment counts as far as the next one says; only the last one has to be read through to know its end. It is cut
//! there and never written again: the first thing an open WAL does is to begin a new segment.

mod apply;
mod decide;
mod open;

pub(crate) use decide::bounds_of;
pub(crate) use open::open;
