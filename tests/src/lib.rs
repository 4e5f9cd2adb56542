//! The harness of the end-to-end tests: starts the real binaries, asks them, kills them.
//!
//! The programs are built once a test run with the cargo that runs the tests; nothing here sleeps for luck: every
//! wait asks for a condition, and says what it saw last when the time is up.

pub mod agent;
pub mod author;
pub mod disk;
pub mod guest;
pub mod http;
pub mod judge;
pub mod load;
pub mod process;
pub mod programs;
pub mod registry;
pub mod server;
pub mod single;
pub mod stub;
pub mod wait;
pub mod witness;
