//! The committed components are of the committed sources. (That they can be built from them again is checked by
//! `cargo run -p whimbrel-plugins-build -- check`, which needs a WebAssembly compiler.)

use std::process::Command;

#[test]
fn the_committed_components_are_those_of_the_sources() {
    let output = Command::new(env!("CARGO_BIN_EXE_whimbrel-plugins-build"))
        .args(["check", "--sources-only"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
