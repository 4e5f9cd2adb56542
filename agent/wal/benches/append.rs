//! Append speed.
fn main() {}
