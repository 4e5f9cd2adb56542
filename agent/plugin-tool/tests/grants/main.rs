//! Grants, from within: the plugin `reach` tries what it is told to, and these tests hold what came of it against what
//! was granted.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod http;
mod process;
mod reach;
mod server;
mod sockets;
