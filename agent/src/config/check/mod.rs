//! Tree -> checked types, one file a section. Every problem is found in one pass: a value that is wrong is noted,
//! its default stands in for it, and the check goes on; nothing of the result is used where anything was noted.

mod checker;
mod collectors;
mod encryption;
mod endpoint;
mod exec;
mod exporters;
mod grants;
mod keys;
mod plugins;
mod receivers;
mod root;
mod system;
mod wal;

pub(super) use checker::{Checker, Place, choose};
pub(crate) use collectors::plugin_named;
pub(super) use collectors::written_config;
pub(super) use endpoint::{check_grpc_endpoint, parse_endpoint};
pub(super) use exporters::{COMPRESSIONS, LATER_PROTOCOLS, PROTOCOLS, check_header};
pub(super) use keys::{Keys, SECTIONS, is_known};
pub(super) use root::check;
