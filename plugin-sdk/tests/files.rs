//! Files of granted folders, over the test's host.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]
