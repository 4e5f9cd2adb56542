//! Environment, output, exit, clocks.

use std::time::{Duration, Instant};

use serde_json::json;
use whimbrel_plugin_host::{FaultKind, Grants, Level, Limits};

use crate::reach::Reach;

#[tokio::test]
async fn only_granted_variables_are_seen() {
    // cargo sets both for tests.
    let name = env!("CARGO_PKG_NAME");
    assert_eq!(std::env::var("CARGO_PKG_NAME").as_deref(), Ok(name));
    assert!(std::env::var_os("CARGO_PKG_VERSION").is_some());
    Reach::default().take(json!(["env"])).await.is(&["[]"]);
    let env = vec!["CARGO_PKG_NAME".to_owned(), "WHIMBREL_NOT_SET".to_owned()];
    let granted = Reach::granted(Grants { env, ..Grants::default() });
    granted.take(json!(["env"])).await.is(&[&format!("[CARGO_PKG_NAME={name}]")]);
}

#[tokio::test]
async fn output_becomes_lines_of_the_log() {
    let came = Reach::default()
        .take(json!([{"print": "one\ntw"}, {"print": "o\n\u{1b}[31mred\n"}, {"complain": "bad\n"}, {"print": "end"}]))
        .await;
    let said = |level| {
        let lines = came.lines.iter().filter(move |(of, text)| *of == level && text != "written");
        lines.map(|(_, text)| text.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(said(Level::Info), ["one", "two", "\u{fffd}[31mred", "end"], "{came:?}");
    assert_eq!(said(Level::Warn), ["bad"], "{came:?}");
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_counted() {
    let limits = Limits { log_lines_per_second: 5, ..Limits::default() };
    let came = Reach { limits, ..Reach::default() }.take(json!([{"print": "x\n".repeat(1000)}])).await;
    assert!(came.lines.len() <= 10, "{}", came.lines.len());
    assert!(came.lines_dropped >= 990, "{}", came.lines_dropped);
    let long = Reach::default().take(json!([{"print": "y".repeat(20_000)}])).await;
    assert_eq!(long.lines.iter().filter(|(_, line)| line.starts_with('y')).count(), 3, "in pieces: {long:?}");
}

#[tokio::test]
async fn an_exit_ends_the_instance_with_its_last_words() {
    for code in [0, 1] {
        let came = Reach::default().take(json!([{"complain": "cannot go on\n"}, {"exit": code}])).await;
        let fault = came.fault.expect("an exit is a fault");
        assert_eq!(fault.kind, FaultKind::Exit);
        assert!(fault.message.contains(&format!("exit code {code}: cannot go on")), "{fault}");
    }
}

#[tokio::test]
async fn a_deadline_holds_while_the_guest_sleeps() {
    Reach::default().take(json!([{"sleep": 30}])).await.is(&["slept true, random true"]);
    let deadline = Duration::from_millis(200);
    let since = Instant::now();
    let came = Reach { deadline, ..Reach::default() }.take(json!([{"sleep": 600_000}])).await;
    assert_eq!(came.fault.expect("it was stopped").kind, FaultKind::Deadline);
    assert!(since.elapsed() < Duration::from_secs(60));
}
