//! TCP and UDP: whom a guest may speak with.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};
use whimbrel_plugin_host::{DeniedGrowth, FaultKind, Grants, Limits, Reserved};

use crate::reach::Reach;

fn tcp(endpoints: &[&str]) -> Reach {
    let tcp = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    Reach::granted(Grants { tcp, ..Grants::default() })
}

/// Answers each connection with what it sent.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut piece = [0; 100];
            if let Ok(read) = stream.read(&mut piece).await {
                let _ = stream.write_all(&piece[..read]).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_granted_address_is_connected_to_and_no_other() {
    let address = echo().await;
    let step = json!([{"tcp": [address, "hello"]}]);
    tcp(&[&address]).take(step.clone()).await.is(&["hello"]);
    let grant = format!("grants: {{ tcp: [\"{address}\"] }}");
    for reach in [Reach::default(), tcp(&["127.0.0.1:1", "127.0.0.2:80"])] {
        reach.take(step.clone()).await.is_refused("access-denied", &grant);
    }
    let udp_only = Reach::granted(Grants { udp: vec![address.parse().unwrap()], ..Grants::default() });
    udp_only.take(step).await.is_refused("access-denied", &grant);
}

#[tokio::test]
async fn a_granted_name_is_looked_up_and_covers_what_it_leads_to() {
    let address = echo().await;
    let port = address.rsplit_once(':').unwrap().1;
    let names: &[(&str, &[&[&str]])] = &[("db.corp", &[&["127.0.0.1"]]), ("other.corp", &[&["127.0.0.1"]])];
    let inside = format!("db.corp:{port} in 127.0.0.0/8");
    let steps = json!([{"lookup": "db.corp"}, {"tcp": [address, "hello"]}]);
    tcp(&[&inside]).names(names).take(steps.clone()).await.is(&["127.0.0.1", "hello"]);
    // The name alone does not cover an address of this machine.
    let came = tcp(&[&format!("db.corp:{port}")]).names(names).take(steps).await;
    assert!(came.steps[1].contains("access-denied"), "{came:?}");
    // An address that another name has is not covered.
    let elsewhere = tcp(&[&inside]).names(&[("db.corp", &[&["127.0.0.9"]])]);
    let came = elsewhere.take(json!([{"tcp": [address, "hello"]}])).await;
    came.is_refused("access-denied", "tcp: [");
    let came = tcp(&[&inside]).names(names).take(json!([{"lookup": "other.corp"}])).await;
    came.is_refused("access-denied", "grants: { tcp: [\"other.corp:PORT\"] }");
}

#[tokio::test]
async fn no_grant_reaches_what_the_agent_listens_on() {
    let address = echo().await;
    let reserved = Reserved { listeners: vec![address.parse().unwrap()], paths: Vec::new() };
    let came = tcp(&[&address]).reserved(reserved).take(json!([{"tcp": [address, "x"]}])).await;
    came.is_refused("access-denied", "agent's own listener");
}

#[tokio::test]
async fn nobody_listens() {
    for address in ["127.0.0.1:0", "0.0.0.0:9999"] {
        let came = tcp(&["127.0.0.1:9999"]).take(json!([{"listen": address}])).await;
        came.is_refused("access-denied", "nothing can grant it");
    }
    // Bound to any free port, as for a connection, and then made to listen.
    let came = tcp(&[]).take(json!([{"listen": "0.0.0.0:0"}])).await;
    came.is_refused("access-denied", "nothing can grant it");
}

#[tokio::test]
async fn sockets_have_a_bound_and_who_meets_it_is_told() {
    for resources in [1000, 160] {
        let limits = Limits { resources, ..Limits::default() };
        let most = resources / 16 + usize::from(resources % 16 > 0);
        let came = Reach { limits, ..tcp(&[]) }.take(json!([{"sockets": 1000}])).await;
        assert_eq!(came.steps, [format!("{most} sockets, then new-socket-limit")], "{came:?}");
        assert_eq!(came.short, Some(DeniedGrowth::Open { limit: most as u64 }));
    }
}

#[tokio::test]
async fn resources_have_a_bound() {
    Reach::default().take(json!([{"timers": 900}])).await.is(&["900 timers"]);
    let fault = Reach::default().take(json!([{"timers": 5000}])).await.fault.expect("it was stopped");
    assert_eq!(fault.kind, FaultKind::Resources, "{fault}");
    assert!(fault.message.contains("limits.resources"), "{fault}");
}

#[tokio::test]
async fn lookups_that_are_let_go_are_no_harm() {
    let names: &[(&str, &[&[&str]])] = &[("db.corp", &[&["127.0.0.1"]])];
    let reach = tcp(&["db.corp:1"]).names(names);
    reach
        .take(json!([{"lookups": ["db.corp", 10_000]}, {"lookup": "db.corp"}]))
        .await
        .is(&["10000 lookups begun", "127.0.0.1"]);
}

#[tokio::test]
async fn datagrams_go_to_granted_addresses_and_come_from_them() {
    let (server, stranger) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = server.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut piece = [0; 100];
        while let Ok((read, from)) = server.recv_from(&mut piece).await {
            stranger.send_to(b"from a stranger", from).await.unwrap();
            server.send_to(&piece[..read], from).await.unwrap();
        }
    });
    let step = json!([{"udp": [address, "hello"]}]);
    let granted = Reach::granted(Grants { udp: vec![address.parse().unwrap()], ..Grants::default() });
    granted.take(step.clone()).await.is(&["hello"]);
    let came = tcp(&[&address]).take(step).await;
    came.is_refused("access-denied", &format!("grants: {{ udp: [\"{address}\"] }}"));
}
