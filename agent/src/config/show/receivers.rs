//! `receivers:` as they work, every default filled in; tokens are never shown.

use std::{net::SocketAddr, path::PathBuf};

use super::{REDACTED, Shown, map, number, text};
use crate::config::{
    Address, Answer, Endpoint, IngestMetric, IngestMetricKind, IngestOnFull, IngestReceiver, LdjsonReceiver,
    OtlpReceiver, Receiver, ReceiverKind, ReceiverLimits, ServerTls, StatsdReceiver, SyslogReceiver,
    units::{show_duration, show_size},
};

/// What stands under its name.
pub(super) fn receiver(receiver: &Receiver) -> Shown {
    let Receiver { name: _, kind, limits } = receiver;
    let mut shown = match kind {
        ReceiverKind::Otlp(otlp) => of_otlp(otlp),
        ReceiverKind::Ldjson(ldjson) => of_ldjson(ldjson),
        ReceiverKind::Ingest(ingest) => of_ingest(ingest),
        ReceiverKind::Statsd(statsd) => of_statsd(statsd),
        ReceiverKind::Syslog(syslog) => of_syslog(syslog),
    };
    shown.push(("limits", Some(of_limits(limits))));
    map(shown.into_iter().filter_map(|(key, shown)| Some((key, shown?))))
}

type Entries = Vec<(&'static str, Option<Shown>)>;

fn of_otlp(otlp: &OtlpReceiver) -> Entries {
    let OtlpReceiver { grpc, http, add_resource } = otlp;
    vec![
        ("grpc", endpoint(grpc)),
        ("http", endpoint(http)),
        ("add_resource", Some(Shown::Boolean(*add_resource))),
    ]
}

fn of_ldjson(ldjson: &LdjsonReceiver) -> Entries {
    let LdjsonReceiver { tcp, unix, sources, open_spans, span_timeout } = ldjson;
    let path = unix.as_ref().map(|unix| match &unix.listen {
        Address::Unix(path) => text(path.display()),
        other => text(other),
    });
    vec![
        ("tcp", endpoint(tcp)),
        ("unix", path),
        ("sources", Some(count(*sources))),
        ("open_spans", Some(count(*open_spans))),
        ("span_timeout", Some(text(show_duration(*span_timeout)))),
    ]
}

fn of_ingest(ingest: &IngestReceiver) -> Entries {
    let IngestReceiver { http, answer, buffer, on_full, metrics, cors } = ingest;
    let answer = match answer {
        Answer::Durable => "durable",
        Answer::Accepted => "accepted",
    };
    let on_full = match on_full {
        IngestOnFull::Refuse => "refuse",
        IngestOnFull::Drop => "drop",
    };
    let metrics = metrics.iter().map(|IngestMetric { event, kind }| {
        let kind = match kind {
            IngestMetricKind::Gauge => "gauge",
            IngestMetricKind::Counter => "counter",
        };
        (event.clone(), text(kind))
    });
    vec![
        ("http", Some(one_endpoint(http))),
        ("answer", Some(text(answer))),
        ("buffer", Some(text(show_size(*buffer as u64)))),
        ("on_full", Some(text(on_full))),
        ("metrics", Some(Shown::Map(metrics.collect()))),
        ("cors", Some(Shown::List(cors.iter().map(text).collect()))),
    ]
}

fn of_statsd(statsd: &StatsdReceiver) -> Entries {
    let StatsdReceiver { udp, unix, flush, series } = statsd;
    vec![
        ("udp", datagrams(udp)),
        ("unix", path(unix)),
        ("flush", Some(text(show_duration(*flush)))),
        ("series", Some(count(*series))),
    ]
}

fn of_syslog(syslog: &SyslogReceiver) -> Entries {
    let SyslogReceiver { tcp, udp, unix, time_zone } = syslog;
    vec![
        ("tcp", endpoint(tcp)),
        ("udp", datagrams(udp)),
        ("unix", path(unix)),
        ("time_zone", Some(text(time_zone))),
    ]
}

fn of_limits(limits: &ReceiverLimits) -> Shown {
    let ReceiverLimits { connections, request, memory, rate, idle, request_time } = limits;
    let all = [
        ("connections", Some(count(*connections))),
        ("request", Some(text(show_size(*request as u64)))),
        ("memory", Some(text(show_size(*memory as u64)))),
        ("rate", rate.map(|rate| number(i64::from(rate)))),
        ("idle", Some(text(show_duration(*idle)))),
        ("request_time", Some(text(show_duration(*request_time)))),
    ];
    map(all.into_iter().filter_map(|(key, shown)| Some((key, shown?))))
}

fn endpoint(endpoint: &Option<Endpoint>) -> Option<Shown> {
    endpoint.as_ref().map(one_endpoint)
}

/// The address alone where nothing else is said. What is not on this machine was allowed, and is shown so.
fn one_endpoint(endpoint: &Endpoint) -> Shown {
    let Endpoint { listen, tls, token } = endpoint;
    let remote = matches!(listen, Address::Tcp(address) if !address.ip().is_loopback());
    if tls.is_none() && token.is_none() && !remote {
        return text(listen);
    }
    let known = token.is_some() || tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    let all = [
        ("listen", Some(text(listen))),
        ("tls", tls.as_ref().map(server_tls)),
        ("token", token.as_ref().map(|_| text(REDACTED))),
        ("allow_remote", remote.then_some(Shown::Boolean(true))),
        ("insecure", (remote && !(known && tls.is_some())).then_some(Shown::Boolean(true))),
    ];
    map(all.into_iter().filter_map(|(key, shown)| Some((key, shown?))))
}

fn server_tls(tls: &ServerTls) -> Shown {
    let ServerTls { cert_file, key_file, client_ca_file } = tls;
    let all = [
        ("cert_file", Some(text(cert_file.display()))),
        ("key_file", Some(text(key_file.display()))),
        ("client_ca_file", path(client_ca_file)),
    ];
    map(all.into_iter().filter_map(|(key, shown)| Some((key, shown?))))
}

fn datagrams(address: &Option<SocketAddr>) -> Option<Shown> {
    address.map(|address| one_endpoint(&Endpoint::at(Address::Tcp(address))))
}

fn path(path: &Option<PathBuf>) -> Option<Shown> {
    path.as_ref().map(|path| text(path.display()))
}

fn count(count: usize) -> Shown {
    number(i64::try_from(count).unwrap_or(i64::MAX))
}
