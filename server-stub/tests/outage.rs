//! The listeners down on command, and up again: to a sender, a backend that crashed.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use server_stub::{Options, Stub};
use support::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn refuses(stub: &Stub) -> [bool; 2] {
    let mut refused = [false; 2];
    for (refused, address) in refused.iter_mut().zip([stub.http_addr, stub.grpc_addr]) {
        let connected = TcpStream::connect(address).await;
        *refused = connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    }
    refused
}

#[tokio::test]
async fn down_refuses_and_cuts_and_up_listens_at_the_same_addresses() {
    let stub = Stub::start(Options::default()).unwrap();
    post_metrics(&stub, &[], &counter("n", [1])).await;
    assert_eq!(get(&stub, "/api/stats").await["down"], Value::Null);
    // One request under way, and one connection that waits.
    control(&stub, "hang").await;
    let mut under_way = TcpStream::connect(stub.http_addr).await.unwrap();
    let head = format!("POST /v1/metrics HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n", stub.http_addr);
    let head = format!("{head}content-type: application/x-protobuf\r\n\r\n");
    under_way.write_all(head.as_bytes()).await.unwrap();
    let mut waiting = TcpStream::connect(stub.grpc_addr).await.unwrap();

    let down = control(&stub, "down").await;
    assert!(down["down"]["since_ns"].as_u64().unwrap() > 0 && down["down"]["until_ns"].is_null(), "{down}");
    assert_eq!(refuses(&stub).await, [true, true], "as soon as it is said");
    for connection in [&mut under_way, &mut waiting] {
        let mut rest = Vec::new();
        // The end or a reset, but no answer.
        let _ =
            tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await.unwrap();
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    }
    assert_eq!(values(&stub, "n").await, [1], "the page goes on");
    assert_eq!(get(&stub, "/api/stats").await["down"], down["down"]);

    let up = control(&stub, "up").await;
    assert_eq!((&up["down"], &up["open"]), (&Value::Null, &true.into()));
    assert_eq!(refuses(&stub).await, [false, false]);
    control(&stub, "reset").await;
    assert_eq!(post_metrics(&stub, &[], &counter("n", [2])).await.status, 200);
    assert_eq!(values(&stub, "n").await, [1, 2], "the data stayed");
}

#[tokio::test]
async fn down_for_a_time_ends_by_itself() {
    let stub = Stub::start(Options::default()).unwrap();
    let before = Instant::now();
    let down = control(&stub, "down?for=300ms").await;
    let length = down["down"]["until_ns"].as_u64().unwrap() - down["down"]["since_ns"].as_u64().unwrap();
    assert_eq!(length, 300_000_000);
    while refuses(&stub).await != [false, false] {
        assert!(before.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert_eq!(get(&stub, "/api/stats").await["down"], Value::Null);
}

#[tokio::test]
async fn what_is_said_last_holds_and_reset_and_the_end_come_through() {
    let stub = Stub::start(Options::default()).unwrap();
    let first = control(&stub, "down?for=50ms").await;
    let second = control(&stub, "down").await;
    assert_eq!(first["down"]["since_ns"], second["down"]["since_ns"], "it is the same outage");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(refuses(&stub).await, [true, true], "the first end holds no more");
    control(&stub, "reset").await;
    assert_eq!(refuses(&stub).await, [false, false]);
    control(&stub, "down").await;
    let before = Instant::now();
    stub.stop();
    assert!(before.elapsed() < Duration::from_secs(5), "a stub that is down stops at once");
}
