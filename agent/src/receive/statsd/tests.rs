//! The receiver over real sockets: what datagrams become, bounds, a stop.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::net::{UdpSocket, UnixDatagram};
use whimbrel_otlp::Signal;

use crate::{
    clock::manual::ManualClock,
    config::{ReceiverKind, ReceiverLimits, StatsdReceiver},
    receive::testing::{Rig, holds},
};

const DOCUMENT: &str = include_str!("../../../docs/statsd.md");

fn config() -> StatsdReceiver {
    StatsdReceiver { udp: Some(([127, 0, 0, 1], 0).into()), ..StatsdReceiver::nowhere() }
}

async fn rig(config: StatsdReceiver) -> (Rig, Arc<ManualClock>) {
    let clock = ManualClock::new();
    let rig =
        Rig::over(ReceiverKind::Statsd(config), ReceiverLimits::of("statsd"), 16 << 20, clock.clone()).await;
    (rig, clock)
}

/// Sends them, and returns when they are taken: a service check after them is stored at once.
async fn send(rig: &Rig, datagrams: &[&[u8]]) {
    let before = rig.status().logs.items;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in datagrams.iter().chain([&&b"_sc|last|0"[..]]) {
        socket.send_to(datagram, rig.address("udp")).await.unwrap();
    }
    rig.wait_for_status(|status| status.logs.items > before).await;
}

/// Lines of the document's `statsd` blocks and what follows as `json`.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_document_become_what_it_says() {
    let mut checked = 0;
    for block in DOCUMENT.split("```statsd\n").skip(1) {
        let (lines, rest) = block.split_once("\n```").unwrap();
        let expected = rest.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
        let expected = serde_json::from_str(expected).unwrap();
        let (rig, _) = rig(config()).await;
        send(&rig, &[lines.as_bytes()]).await;
        // A stop sends what was put together.
        rig.stop().await;
        let all = rig.all();
        assert!(all.iter().any(|stored| holds(stored, &expected)), "{lines} became {all:#?}");
        checked += 1;
    }
    assert!(checked >= 5, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_put_together_until_the_flush() {
    let (rig, clock) = rig(config()).await;
    for _ in 0..10 {
        send(&rig, &[b"hits:1|c\nhits:2|c|@0.5", b"level:5|g", b"level:+2|g"]).await;
    }
    assert!(rig.stored(Signal::Metrics).is_empty());
    clock.advance(Duration::from_secs(10));
    rig.wait_for(Signal::Metrics, |items| items == 2).await;
    let text = serde_json::to_string(&rig.json(Signal::Metrics)).unwrap();
    assert!(text.contains(r#""asDouble":50"#), "10 * (1 + 4): {text}");
    assert!(text.contains(r#""asDouble":7"#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_counted_and_the_others_taken() {
    let (rig, _) = rig(config()).await;
    send(&rig, &[b"good:1|c\nbad\nbad:x|g\n\xff:1|c\nbad:1|q\nbad:1|c|@0", b"", &[b'x'; 60_000]]).await;
    let status = rig.wait_for_status(|status| status.refused.values().sum::<u64>() == 6).await;
    assert_eq!((status.refused["bad_form"], status.refused["bad_value"]), (2, 1), "{status:?}");
    rig.stop().await;
    assert_eq!(rig.stored(Signal::Metrics).iter().map(|record| record.items).sum::<u32>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_bounded_and_what_finds_no_room_is_counted() {
    let (rig, _) = rig(StatsdReceiver { series: 3, ..config() }).await;
    for number in 0..10 {
        send(&rig, &[format!("m{number}:1|c").as_bytes()]).await;
    }
    rig.wait_for_status(|status| status.lost.get("series") == Some(&7)).await;
    rig.stop().await;
    assert_eq!(rig.stored(Signal::Metrics).iter().map(|record| record.items).sum::<u32>(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_takes_datagrams_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let (rig, _) = rig(StatsdReceiver { udp: None, unix: Some(path.clone()), ..config() }).await;
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"_sc|db|2|m:down|#a:b", &path).await.unwrap();
    rig.wait_for(Signal::Logs, |items| items == 1).await;
    let expected = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "statsd.service_check", "severityNumber": 17}]}]}]});
    assert!(holds(&rig.all()[0], &expected), "{:#?}", rig.all());
    rig.stop().await;
    assert!(!path.exists());
}
