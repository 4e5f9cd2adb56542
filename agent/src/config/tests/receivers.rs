//! `receivers:`, read into their places, refused where others could send unknown, and shown again.

use std::time::Duration;

use super::{Folder, MINIMAL};
use crate::config::{
    Address, Answer, Endpoint, IngestMetric, IngestMetricKind, IngestOnFull, Receiver, ReceiverKind,
    ReceiverLimits,
};

fn one(text: &str) -> Receiver {
    let loaded = Folder::with(format!("{MINIMAL}receivers: {{{text}}}\n")).load().unwrap();
    let [receiver] = loaded.config.receivers.as_slice() else { panic!("{:?}", loaded.config.receivers) };
    receiver.clone()
}

fn problems(text: &str) -> Vec<String> {
    Folder::with(format!("{MINIMAL}receivers: {{{text}}}\n")).problems()
}

fn at(address: &str) -> Endpoint {
    Endpoint::at(Address::Tcp(address.parse().unwrap()))
}

#[test]
fn an_empty_otlp_receiver_listens_on_the_usual_ports_of_this_machine_only() {
    let ReceiverKind::Otlp(otlp) = one("otlp: {}").kind else { panic!() };
    assert_eq!(otlp.grpc, Some(at("127.0.0.1:4317")));
    assert_eq!(otlp.http, Some(at("127.0.0.1:4318")));
    let ReceiverKind::Otlp(otlp) = one("otlp: {http: \"[::1]:4318\"}").kind else { panic!() };
    assert_eq!((otlp.grpc, otlp.http), (None, Some(at("[::1]:4318"))), "only what is named");
}

#[test]
fn the_documented_defaults_hold() {
    let receiver = one("ldjson: {tcp: \"127.0.0.1:0\"}");
    let limits = ReceiverLimits {
        connections: 1024,
        request: 16 << 20,
        memory: 24 << 20,
        rate: None,
        idle: Duration::from_secs(3600),
        request_time: Duration::from_secs(30),
    };
    assert_eq!(receiver.limits, limits);
    assert_eq!(one("otlp: {}").limits, ReceiverLimits { idle: Duration::from_secs(60), ..limits });
    let ReceiverKind::Ingest(ingest) = one("ingest: {http: \"127.0.0.1:8090\"}").kind else { panic!() };
    assert_eq!((ingest.answer, ingest.on_full), (Answer::Durable, IngestOnFull::Refuse));
    assert!(ingest.cors.is_empty() && ingest.metrics.is_empty());
}

#[test]
fn a_receiver_may_have_a_name_of_its_own() {
    assert_eq!(one("ingest/shop: {http: \"127.0.0.1:8090\"}").name, "ingest/shop");
    let wrong = problems("ingest/: {http: \"127.0.0.1:8090\"}");
    assert!(wrong[0].contains("can't be a name"), "{wrong:?}");
}

#[test]
fn a_kind_that_is_none_is_told_with_the_nearest() {
    let wrong = problems("oltp: {}");
    assert!(
        wrong[0].contains("receivers.oltp: `oltp` is not a kind of receiver => did you mean `otlp`?"),
        "{wrong:?}"
    );
    let wrong = problems("kafka: {}");
    assert!(wrong[0].contains("known: otlp, ldjson, ingest, statsd, syslog"), "{wrong:?}");
}

#[test]
fn events_that_become_metrics_are_named() {
    let text = "ingest: {http: \"127.0.0.1:8090\", metrics: {queue: gauge, sale: counter}}";
    let ReceiverKind::Ingest(ingest) = one(text).kind else { panic!() };
    let metric = |event: &str, kind| IngestMetric { event: event.to_owned(), kind };
    assert_eq!(
        ingest.metrics,
        [metric("queue", IngestMetricKind::Gauge), metric("sale", IngestMetricKind::Counter)]
    );
    let wrong = problems("ingest: {http: \"127.0.0.1:8090\", metrics: {queue: guage}}");
    assert!(wrong[0].contains("did you mean `gauge`?"), "{wrong:?}");
}

#[test]
fn other_machines_are_let_in_only_where_it_is_said_and_they_are_known() {
    let wrong = problems("otlp: {grpc: \"0.0.0.0:4317\"}");
    assert!(wrong[0].contains("0.0.0.0:4317 lets other machines send => listen on 127.0.0.1"), "{wrong:?}");
    let wrong = problems("otlp: {grpc: {listen: \"0.0.0.0:4317\", allow_remote: true}}");
    assert!(wrong[0].contains("anybody who reaches 0.0.0.0:4317 could send => add `token`"), "{wrong:?}");
    let wrong = problems("statsd: {udp: \"0.0.0.0:8125\"}");
    assert!(wrong[0].contains("lets other machines send"), "{wrong:?}");
    for good in [
        "otlp: {grpc: {listen: \"0.0.0.0:4317\", allow_remote: true, insecure: true}}",
        "otlp: {grpc: {listen: \"0.0.0.0:4317\", allow_remote: true, token: 0123456789abcdef}}",
        "otlp: {grpc: {listen: \"0.0.0.0:4317\", allow_remote: true, \
         tls: {cert_file: a, key_file: b, client_ca_file: c}}}",
        "statsd: {udp: {listen: \"0.0.0.0:8125\", allow_remote: true, insecure: true}}",
    ] {
        one(good);
    }
}

#[test]
fn a_token_in_clear_text_is_warned_of() {
    let text =
        "receivers: {otlp: {grpc: {listen: \"0.0.0.0:4317\", allow_remote: true, token: 0123456789abcdef}}}";
    let loaded = Folder::with(format!("{MINIMAL}{text}\n")).load().unwrap();
    assert!(loaded.warnings.iter().next().unwrap().what.contains("clear text"), "{:?}", loaded.warnings);
}

#[test]
fn a_token_is_never_shown() {
    let endpoint = "{listen: \"127.0.0.1:4317\", token: s3cret-of-sixteen}";
    let loaded =
        Folder::with(format!("{MINIMAL}receivers: {{otlp: {{grpc: {endpoint}}}}}\n")).load().unwrap();
    let shown =
        loaded.effective().to_yaml().unwrap() + &loaded.written().to_yaml().unwrap() + &format!("{loaded:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let wrong = problems("otlp: {grpc: {listen: \"127.0.0.1:4317\", token: s3cret}}");
    assert!(wrong[0].contains("shorter than 16") && !wrong[0].contains("s3cret"), "{wrong:?}");
}

#[test]
fn two_receivers_can_not_have_the_same_address() {
    let wrong = problems("otlp: {http: \"127.0.0.1:4318\"}, ingest: {http: \"127.0.0.1:4318\"}");
    assert!(
        wrong[0].contains("receivers.otlp: listens on `tcp 127.0.0.1:4318`, as `ingest` does"),
        "{wrong:?}"
    );
    let wrong = problems("otlp: {http: \"127.0.0.1:4318\", grpc: \"127.0.0.1:4318\"}");
    assert!(wrong[0].contains("listens on `tcp 127.0.0.1:4318` twice"), "{wrong:?}");
    one("syslog: {tcp: \"127.0.0.1:5514\", udp: \"127.0.0.1:5514\"}");
    one("otlp: {http: \"127.0.0.1:0\", grpc: \"127.0.0.1:0\"}");
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for (text, expected) in [
        ("ldjson: {}", "listens nowhere: it has no `tcp` and no `unix`"),
        ("ingest: {}", "listens nowhere: it has no `http`"),
        ("otlp: {grpc: {tls: {}}}", "has no `listen`"),
        ("otlp: {grpc: {listen: \"127.0.0.1:1\", tls: {cert_file: a}}}", "has no `key_file`"),
        (
            "otlp: {grpc: {listen: \"unix:a.sock\", tls: {cert_file: a, key_file: b}}}",
            "`tls` has no effect on a Unix socket",
        ),
        ("syslog: {tcp: {listen: \"127.0.0.1:1\", token: 0123456789abcdef}}", "can't show a token"),
        ("otlp: {limits: {request: 32MiB}}", "`memory` is less than `request`"),
        ("otlp: {limits: {connections: 0}}", "is less than 1"),
        ("syslog: {udp: \"127.0.0.1:1\", time_zone: Middle/Earth}", "is not a time zone here"),
        ("ingest: {http: \"127.0.0.1:1\", cors: [shop.example.com]}", "is not an origin"),
        ("otlp: {grpc: localhost:4317}", "write 127.0.0.1:4317"),
        ("ldjson: {unix: {listen: a}}", "a single value is needed here"),
    ] {
        let wrong = problems(text);
        assert!(wrong.iter().any(|one| one.contains(expected)), "{text}: {wrong:#?}");
    }
    let text = format!("ldjson: {{unix: /{}}}", "d".repeat(120));
    assert!(problems(&text)[0].contains("at most 107 are possible"));
}
