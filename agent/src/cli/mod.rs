//! The command line: one file a command.
//!
//! Each command has its `Args` and a function from them to an [`Outcome`]; `program` holds the
//! structure of the whole and turns an outcome into messages and an exit code. What is printed goes through `print`,
//! so that a closed pipe ends a command quietly.

mod program;

mod run;

mod check;
mod config;
mod confine;
pub mod demo;
mod exporter;
mod forget;
mod key;
mod plugin;
mod record;
mod reload;
mod status;
mod wal;

mod exit;
mod print;
mod source;
mod telling;
mod words;

pub use exit::{Exit, Failure, Outcome};
pub use program::main;
