//! Tests of the whole over the crash-simulating file system, without a thread: the core is driven step by step.

mod damage;
mod faults;
mod keys;
mod model;
mod rig;
mod room;
