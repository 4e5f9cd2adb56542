//! The agent as a library: what was pushed is durable, over a restart too; what is no OTLP is refused with its place.

use std::time::Duration;

use whimbrel::{Agent, Signal};
use whimbrel_otlp::write::{LogRecord, Logs};

fn logs(count: usize) -> Vec<u8> {
    let mut request = Logs::new();
    (0..count).for_each(|_| request.record(&LogRecord { body: "paid".into(), ..LogRecord::default() }));
    request.take()
}

async fn start(folder: &std::path::Path) -> Agent {
    // Nobody answers there.
    let yaml = "exporters: {backend: {endpoint: \"http://127.0.0.1:9\"}}\nresource: {team: shop}\n";
    let loaded = Agent::configuration(yaml, folder).unwrap_or_else(|problems| panic!("{problems}"));
    Agent::start(loaded.config).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_durable_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let agent = start(folder.path()).await;
    for _ in 0..3 {
        assert_eq!(agent.push(Signal::Logs, "orders", &logs(5)).await.unwrap().items, 5);
    }
    let wrong = agent.push(Signal::Logs, "orders", b"no OTLP").await.unwrap_err();
    assert!(wrong.to_string().contains("not OTLP logs"), "{wrong}");
    assert_eq!(agent.status().wal.appended_items, 15);
    assert_eq!(agent.shut_down(Duration::from_millis(100)).await.unwrap(), 3, "nobody took them");
    let agent = start(folder.path()).await;
    assert_eq!(agent.status().wal.consumers[0].lanes.iter().map(|lane| lane.pending).sum::<u64>(), 3);
    assert_eq!(agent.shut_down(Duration::from_millis(100)).await.unwrap(), 3);
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    let problems =
        Agent::configuration("exporters: {backend: {endpont: x}}", std::path::Path::new("/tmp")).unwrap_err();
    assert!(problems.to_string().contains("endpont"), "{problems}");
}
