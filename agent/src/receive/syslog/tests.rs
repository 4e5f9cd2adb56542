//! The receiver over real sockets: its document's examples, framings, bounds.

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket, UnixDatagram},
};
use whimbrel_otlp::Signal;

use crate::{
    config::{Address, Endpoint, ReceiverKind, SyslogReceiver},
    receive::testing::{Rig, holds},
};

const DOCUMENT: &str = include_str!("../../../docs/syslog.md");

fn config() -> SyslogReceiver {
    let tcp = Some(Endpoint::at(Address::Tcp(([127, 0, 0, 1], 0).into())));
    SyslogReceiver { tcp, udp: Some(([127, 0, 0, 1], 0).into()), ..SyslogReceiver::nowhere() }
}

async fn rig() -> Rig {
    Rig::start(ReceiverKind::Syslog(config())).await
}

fn bodies(rig: &Rig) -> Vec<String> {
    let mut bodies = Vec::new();
    for request in rig.json(Signal::Logs) {
        for resource in request["resourceLogs"].as_array().unwrap() {
            for record in resource["scopeLogs"][0]["logRecords"].as_array().unwrap() {
                bodies.push(record["body"]["stringValue"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    bodies.sort();
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_document_become_what_it_says() {
    let mut checked = 0;
    for block in DOCUMENT.split("```syslog\n").skip(1) {
        let (line, rest) = block.split_once("\n```").unwrap();
        let expected = rest.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        let rig = rig().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(line.as_bytes(), rig.address("udp")).await.unwrap();
        let mut stream = TcpStream::connect(rig.address("tcp")).await.unwrap();
        stream.write_all(format!("{line}\n{} {line}", line.len()).as_bytes()).await.unwrap();
        rig.wait_for(Signal::Logs, |items| items == 3).await;
        for stored in rig.all() {
            assert!(holds(&stored, &expected), "{line} became {stored:#}");
        }
        checked += 1;
    }
    assert!(checked >= 2, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_syslog_is_a_record_of_its_text() {
    let rig = rig().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let odd: [&[u8]; 7] = [
        b"hello",
        b"<999>what",
        b"<34>",
        b"<34>1",
        b"\xff\xfe",
        b"<34>1 2026-13-45T99:99:99Z h a - - - m",
        b" \n",
    ];
    for message in odd {
        socket.send_to(message, rig.address("udp")).await.unwrap();
    }
    rig.wait_for(Signal::Logs, |items| items == 6).await;
    let bodies = bodies(&rig);
    assert!(bodies.iter().any(|body| body == "hello"), "{bodies:?}");
    for request in rig.stored(Signal::Logs) {
        whimbrel_otlp::walk(Signal::Logs, &request.request).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_framings_are_read_on_one_stream_byte_by_byte_and_at_its_end() {
    let rig = rig().await;
    let mut stream = TcpStream::connect(rig.address("tcp")).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let message = |n: u32| format!("<13>1 2026-09-21T14:13:20Z h a - - - m{n}");
    let (counted, lined, last) = (message(1), message(2), message(3));
    let text = format!("{} {counted}{lined}\n7 is a number\n{last}", counted.len());
    for byte in text.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    rig.wait_for(Signal::Logs, |items| items >= 3).await;
    let bodies = bodies(&rig);
    assert!(["m1", "m2"].iter().all(|body| bodies.contains(&(*body).to_owned())), "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_passed_over_and_counted() {
    let rig = rig().await;
    let mut stream = TcpStream::connect(rig.address("tcp")).await.unwrap();
    stream.write_all(&vec![b'x'; 200_000]).await.unwrap();
    stream.write_all(b"\n99999 y\n<13>Sep 21 14:13:20 till: after\n").await.unwrap();
    rig.wait_for(Signal::Logs, |items| items >= 1).await;
    rig.wait_for_status(|status| status.refused.get("too_long").is_some_and(|n| *n >= 1)).await;
    assert!(bodies(&rig).contains(&"after".to_owned()), "{:?}", bodies(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_takes_what_programs_write_to_dev_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let rig = Rig::start(ReceiverKind::Syslog(SyslogReceiver { unix: Some(path.clone()), ..config() })).await;
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"<13>Sep 21 14:13:20 till[42]: paid", &path).await.unwrap();
    rig.wait_for(Signal::Logs, |items| items == 1).await;
    let expected = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityText": "notice", "attributes": [{"key": "syslog.facility", "value": {"stringValue": "user"}}]}]}]}]});
    assert!(holds(&rig.all()[0], &expected), "{:#?}", rig.all());
    rig.stop().await;
    assert!(!path.exists());
}
