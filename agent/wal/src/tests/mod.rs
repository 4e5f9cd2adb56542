//! Tests of the whole over the crash-simulating file system, without a thread: the core is driven step by step.

mod damage;
mod dump;
mod faults;
mod keeping;
mod model;
mod repair;
mod rig;
mod room;
