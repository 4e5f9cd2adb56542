//! The harness of the end-to-end tests: starts the real binaries and asks them.
