//! Cursors: what a consumer has acknowledged, lane by lane, and which requests it has in flight. In reading order: the
//! rules of one lane, the bytes of a slot, the file.

pub(crate) mod file;
pub(crate) mod lane;
pub(crate) mod slot;
