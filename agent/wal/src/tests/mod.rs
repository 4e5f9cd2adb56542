//! Tests of the whole over the crash-simulating file system, without a thread: the core is driven step by step.

mod damage;
mod dump;
mod faults;
mod golden;
mod keeping;
mod keys;
mod model;
mod repair;
mod rig;
mod room;
