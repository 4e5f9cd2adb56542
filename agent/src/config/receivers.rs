//! `receivers:`, checked: what applications may send to, and within which bounds.
//!
//! An entry's key is its kind (`otlp`), or its kind and a name of its own (`otlp/apps`), as the OpenTelemetry Collector
//! has it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::types::Secret;

/// `receivers.NAME`: what listens for one kind of sender. The batch's source is `receivers/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The key in the configuration: `otlp`, `otlp/apps`.
    pub name: String,
    /// What it speaks, and where.
    pub kind: ReceiverKind,
    /// What it may use.
    pub limits: ReceiverLimits,
}

/// What a receiver speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverKind {
    /// OTLP over gRPC and HTTP.
    Otlp(OtlpReceiver),
    /// Line-delimited JSON.
    Ldjson(LdjsonReceiver),
    /// Events by `POST /ingest`.
    Ingest(IngestReceiver),
    /// StatsD and DogStatsD datagrams.
    Statsd(StatsdReceiver),
    /// Syslog, RFC 5424 and RFC 3164.
    Syslog(SyslogReceiver),
}

impl ReceiverKind {
    /// As the configuration names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Otlp(_) => "otlp",
            Self::Ldjson(_) => "ldjson",
            Self::Ingest(_) => "ingest",
            Self::Statsd(_) => "statsd",
            Self::Syslog(_) => "syslog",
        }
    }

    /// Where it listens, with the transport: `tcp 127.0.0.1:4317`.
    pub fn addresses(&self) -> Vec<String> {
        let stream = |endpoint: &Option<Endpoint>| {
            endpoint.as_ref().map(|endpoint| match &endpoint.listen {
                Address::Tcp(address) => ("tcp", address.to_string()),
                Address::Unix(path) => ("unix", path.display().to_string()),
            })
        };
        let udp = |address: &Option<SocketAddr>| address.map(|address| ("udp", address.to_string()));
        let unix = |path: &Option<PathBuf>| path.as_ref().map(|path| ("unix", path.display().to_string()));
        let all = match self {
            Self::Otlp(otlp) => vec![stream(&otlp.grpc), stream(&otlp.http)],
            Self::Ldjson(ldjson) => vec![stream(&ldjson.tcp), stream(&ldjson.unix)],
            Self::Ingest(ingest) => vec![stream(&Some(ingest.http.clone()))],
            Self::Statsd(statsd) => vec![udp(&statsd.udp), unix(&statsd.unix)],
            Self::Syslog(syslog) => vec![stream(&syslog.tcp), udp(&syslog.udp), unix(&syslog.unix)],
        };
        all.into_iter().flatten().map(|(transport, address)| format!("{transport} {address}")).collect()
    }
}

/// `receivers.NAME.limits`: bounds of one receiver, over all its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Connections open at a time. One more takes the place of the one that has been idle longest. Default 1024.
    pub connections: usize,
    /// One request, bytes, as it travels and as it is unpacked. Default 16 MiB.
    pub request: usize,
    /// Bytes of requests that are being received or stored, over all connections. Default 24 MiB.
    pub memory: usize,
    /// Requests, lines or datagrams a second from one address; `None`: as many as come. Default none.
    pub rate: Option<u32>,
    /// A connection on which nothing happens is closed after this. Default 60 s; for `ldjson` and `syslog` 1 h.
    pub idle: Duration,
    /// A request, or a line once it has begun, must have come in after this. Default 30 s.
    pub request_time: Duration,
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket, mode 0600; absolute.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One way in: an address and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub listen: Address,
    /// TLS instead of plain text; only over TCP.
    pub tls: Option<ServerTls>,
    /// The token that a client must show (`Authorization: Bearer`, or in LDJSON's `hello`).
    pub token: Option<Secret>,
}

impl Endpoint {
    /// A plain endpoint for this machine.
    pub fn at(listen: Address) -> Self {
        Self { listen, tls: None, token: None }
    }
}

/// `tls` of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file of the server's certificate chain; absolute.
    pub cert_file: PathBuf,
    /// PEM file of its key; absolute.
    pub key_file: PathBuf,
    /// PEM file of the authorities whose clients are let in; `None`: no client certificate is asked for.
    pub client_ca_file: Option<PathBuf>,
}

/// `otlp`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpReceiver {
    /// Where gRPC is expected; HTTP is taken there too.
    pub grpc: Option<Endpoint>,
    /// Where HTTP is expected; gRPC is taken there too.
    pub http: Option<Endpoint>,
    /// Whether the agent's resource is put to what applications send about themselves. Default no: a sound zstd body is
    /// then stored as it came.
    pub add_resource: bool,
}

/// `ldjson`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdjsonReceiver {
    /// Over TCP.
    pub tcp: Option<Endpoint>,
    /// Over a Unix socket.
    pub unix: Option<Endpoint>,
    /// Sources whose heartbeats are watched. Default 1000.
    pub sources: usize,
    /// Spans that have begun and not ended. Default 10,000.
    pub open_spans: usize,
    /// How long one of them is waited for. Default 1 h.
    pub span_timeout: Duration,
}

/// `ingest`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestReceiver {
    /// Where.
    pub http: Endpoint,
    /// When a request is answered.
    pub answer: Answer,
    /// Bytes of encoded events that may wait. Default 4 MiB.
    pub buffer: usize,
    /// What happens to events that find the buffer full, under `answer: accepted`.
    pub on_full: IngestOnFull,
    /// Types of events that become metrics too.
    pub metrics: Vec<IngestMetric>,
    /// Origins of pages that may send, `*` for all. Default: none.
    pub cors: Vec<String>,
}

/// `receivers.NAME.answer`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Once the events are as durable as `wal.sync` says. Default.
    Durable,
    /// Once they are in the bounded buffer.
    Accepted,
}

/// `receivers.NAME.on_full`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestOnFull {
    /// 429 with Retry-After. Default.
    Refuse,
    /// 202, and the events are dropped and counted.
    Drop,
}

/// One entry of `receivers.NAME.metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestMetric {
    /// The event's `type`.
    pub event: String,
    /// What its `value` is.
    pub kind: IngestMetricKind,
}

/// What the value of an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestMetricKind {
    /// The last value counts.
    Gauge,
    /// Values add up.
    Counter,
}

/// `statsd`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsdReceiver {
    /// Datagrams over UDP.
    pub udp: Option<SocketAddr>,
    /// Datagrams over a Unix socket; absolute.
    pub unix: Option<PathBuf>,
    /// How long values are put together. Default 10 s.
    pub flush: Duration,
    /// Series kept between two flushes. Default 10,000.
    pub series: usize,
}

/// `syslog`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogReceiver {
    /// A stream, octet-counted or by lines (RFC 6587).
    pub tcp: Option<Endpoint>,
    /// Datagrams (RFC 5426).
    pub udp: Option<SocketAddr>,
    /// Datagrams over a Unix socket, as programs write to `/dev/log`; absolute.
    pub unix: Option<PathBuf>,
    /// The time zone of messages of RFC 3164, which say none: an IANA name, or `local`. Default UTC.
    pub time_zone: String,
}
