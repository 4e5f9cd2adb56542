//! One segment file: header, records, seal. In reading order: the header, the keys it yields, a record's bytes, what
//! state records hold, walking over a segment.

pub(crate) mod encrypt;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod state;
pub(crate) mod walk;
