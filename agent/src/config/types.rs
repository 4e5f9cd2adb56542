//! The checked configuration: what the stages are built from. No text, no positions, nothing left to refuse.
//!
//! Made by `config::load` only; every value here is within its limits.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use whimbrel_otlp::Signal;
use whimbrel_plugin_host::{Endpoint, Origin, Trust};

use super::{Encryption, Plugins, Registered, exec::Exec, receivers::Receiver};

/// The collectors that are shipped inside the agent, as `builtin:NAME`.
pub const BUILTIN_PLUGINS: &[&str] = &["file-tail", "heartbeat", "host", "http-check", "prometheus-scrape"];

/// The parts of the `system` interface that can be granted.
pub const SYSTEM_PARTS: &[&str] = &[
    "cpu",
    "disk",
    "filesystem",
    "host",
    "memory",
    "network",
    "paging",
    "pressure",
    "process",
    "sensors",
    "service",
];

/// The whole configuration, checked. Names are unique within their section and ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the WAL, the dead letters, the plugin cache and the control socket live. Absolute.
    pub data_dir: PathBuf,
    /// How the agent writes about itself.
    pub log: Log,
    /// Resource attributes from the configuration and `OTEL_RESOURCE_ATTRIBUTES`; found ones come later.
    pub resource: BTreeMap<String, String>,
    /// What is asked on an interval.
    pub collectors: Vec<Collector>,
    /// What others send to.
    pub receivers: Vec<Receiver>,
    /// The durable buffer.
    pub wal: Wal,
    /// The ways out.
    pub exporters: Vec<Exporter>,
    /// What collectors may be granted by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; `None`: nowhere.
    pub health: Option<SocketAddr>,
    /// The Unix socket of `whimbrel status` and its like. Absolute.
    pub control_socket: PathBuf,
    /// Where the host is seen.
    pub system: System,
    /// Whose plugins are taken, and from where.
    pub plugins: Plugins,
    /// When the configuration is read again.
    pub reload: Reload,
}

/// `reload:`, when the configuration is read again beside SIGHUP and `whimbrel reload`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reload {
    /// Whenever one of its files, or the file of a component, changes. Default no: a file that is saved half done, or
    /// swapped by someone who may write there and nothing else, must not go live by itself.
    pub watch: bool,
}

/// `system:`, where the host is seen: the agent's own root, or where it is mounted in the agent's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The folder that is the host's root. Absolute, and there. Default `$HOST_ROOT`, else `/`.
    pub root_path: PathBuf,
    /// Its procfs: `proc` below `root_path`, or `$HOST_PROC` where the configuration names no root.
    pub proc_path: PathBuf,
    /// Its sysfs: `sys` below `root_path`, or `$HOST_SYS` where the configuration names no root.
    pub sys_path: PathBuf,
}

impl System {
    /// Everything below `root_path`.
    pub fn at(root_path: &Path) -> Self {
        Self {
            root_path: root_path.to_owned(),
            proc_path: root_path.join("proc"),
            sys_path: root_path.join("sys"),
        }
    }
}

/// `log:`, how the agent writes about itself, to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Default info.
    pub level: LogLevel,
    /// Default auto.
    pub format: LogFormat,
}

/// What is written at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what changed.
    Info,
    /// And why.
    Debug,
    /// And each step.
    Trace,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `collectors.NAME`: a plugin that is asked on an interval.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector {
    /// The key in the configuration; the batch's source is `collectors/NAME`.
    pub name: String,
    /// Which component.
    pub plugin: PluginRef,
    /// How often `collect` is called. Default 10 s, at least 100 ms.
    pub interval: Duration,
    /// The plugin's own configuration, handed over as JSON; an object. Default `{}`. It may hold what came from
    /// `${env:...}` or `${file:...}`, so debug output leaves it out.
    pub config: serde_json::Value,
    /// What it may reach. Default: nothing.
    pub grants: Grants,
    /// What it may use.
    pub limits: Limits,
    /// Whose signature it needs; for a builtin, nobody's.
    pub trust: Trust,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("interval", &self.interval)
            .field("config", &format_args!("[plugin configuration]"))
            .field("grants", &self.grants)
            .field("limits", &self.limits)
            .field("trust", &self.trust)
            .finish()
    }
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginRef {
    /// `builtin:NAME`: shipped inside the agent.
    Builtin(String),
    /// A file; absolute.
    Path(PathBuf),
    /// `oci://...`: in a registry.
    Registry(Box<Registered>),
    /// No component at all, but a program, which runs outside the sandbox.
    Exec(Box<Exec>),
}

/// What the configuration grants a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Parts of the `system` interface.
    pub system: SystemGrant,
    /// Whom requests may go to.
    pub http: Vec<Origin>,
    /// Folders to read in. Absolute, apart from the data directory.
    pub read: Vec<PathBuf>,
    /// Folders to read and write in. Absolute, apart from the data directory.
    pub write: Vec<PathBuf>,
    /// Whom to connect to.
    pub tcp: Vec<Endpoint>,
    /// Whom to exchange datagrams with.
    pub udp: Vec<Endpoint>,
    /// Unix sockets over which requests may go. Absolute.
    pub unix: Vec<PathBuf>,
    /// Names of variables of the agent's environment.
    pub env: Vec<String>,
    /// Secrets, with their names.
    pub secrets: Vec<(String, Secret)>,
}

/// Which parts of `system` are granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SystemGrant {
    /// None.
    #[default]
    None,
    /// Every part there is.
    All,
    /// These parts.
    Parts(Vec<String>),
}

/// What a plugin may use; each is counted when it is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, bytes. Default 64 MiB, 1 MiB to 4 GiB.
    pub memory: u64,
    /// How long one `collect` may take. Default min(interval / 2, 10 s).
    pub deadline: Duration,
    /// How long `init` may take. Default 30 s.
    pub init: Duration,
    /// Bytes pushed in one collect. Default 8 MiB.
    pub output: u64,
    /// Elements of all tables together. Default 100000, up to 10000000.
    pub tables: u64,
    /// Handles of resources (files, connections, streams) that are alive at a time; a sixteenth of them may be open files
    /// and sockets. Default 1000, up to 100000.
    pub resources: u32,
    /// Lines of log a second. Default 100.
    pub log_rate: u32,
    /// Stack, bytes. Default 512 KiB, 64 KiB to 8 MiB; taken up to the next 64 KiB.
    pub stack: u64,
}

/// `wal:`, the durable buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wal {
    /// When an append is answered.
    pub sync: Sync,
    /// Disk cap, bytes, all included. Default 2 GiB, at least 8 MiB.
    pub max_size: u64,
    /// How long segments are kept that every exporter has delivered, for rewinding; they go first when room is needed.
    /// Default 0s: none is kept. At most 365 days.
    pub retain: Duration,
    /// What happens to collectors' batches when it is full. Default drop_oldest.
    pub on_full_collectors: OnFull,
    /// What happens to receivers' batches when it is full. Default block.
    pub on_full_receivers: OnFull,
    /// zstd level; 0 stores plainly. Default 1, 0 to 19.
    pub zstd_level: i32,
    /// How the records are sealed.
    pub encryption: Encryption,
}

/// `wal.sync`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Answer after fdatasync; group commit.
    Always,
    /// fdatasync on a timer. Default 200 ms.
    Interval(Duration),
    /// fdatasync when a segment is sealed.
    Never,
}

/// `wal.on_full.*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// The source waits, and is told `unavailable`.
    Block,
    /// Lagging exporters lose their oldest, counted.
    DropOldest,
    /// What comes is refused at once, counted.
    DropNewest,
}

/// `exporters.NAME`: one way out, with its own cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exporter {
    /// The key in the configuration.
    pub name: String,
    /// Base URL, scheme `http` or `https`, without a trailing slash, and for gRPC without a path; `/v1/metrics` or
    /// the service's path and their like are appended by [`Exporter::metrics`], [`Exporter::logs`] and
    /// [`Exporter::traces`].
    pub endpoint: String,
    /// How requests travel. Default: see [`Protocol::usual_at`].
    pub protocol: Protocol,
    /// Sent with every request. Values are secrets.
    pub headers: Vec<(String, Secret)>,
    /// For `https`.
    pub tls: Tls,
    /// Default zstd where the receiver is known to take it, else gzip: `auto`.
    pub compression: Compression,
    /// One request's time. Default 10 s.
    pub timeout: Duration,
    /// Requests in flight a signal: default 1 for metrics, 2 for logs and traces.
    pub concurrency: Option<usize>,
    /// Uncompressed bytes of one request. Default 4 MiB less headroom.
    pub max_request: usize,
    /// How long the oldest record may wait for others to join it. Default 1 s.
    pub max_delay: Duration,
    /// How far it may lag when it lags alone, bytes of the WAL; beyond, it loses its oldest records, counted. Default
    /// (`None`): 80 % of `wal.max_size`. At least 1 MiB, at most `wal.max_size`. Whole segments go.
    pub max_lag: Option<u64>,
    /// Records that are older than this when their turn comes are given up, counted. Default (`None`): however old they
    /// are, they are sent. At least 1 s, at most 365 days.
    pub max_age: Option<Duration>,
    /// Where it begins when the WAL does not know it yet. Default oldest.
    pub from: Beginning,
    /// Backoff.
    pub retry: Retry,
    /// What one signal has of its own: only ever set by `OTEL_EXPORTER_OTLP_METRICS_*` and its like.
    pub signals: Signals,
}

impl Exporter {
    /// Where metrics go, and how.
    pub fn metrics(&self) -> Target<'_> {
        self.target(Signal::Metrics, &self.signals.metrics)
    }

    /// Where logs go, and how.
    pub fn logs(&self) -> Target<'_> {
        self.target(Signal::Logs, &self.signals.logs)
    }

    /// Where traces go, and how.
    pub fn traces(&self) -> Target<'_> {
        self.target(Signal::Traces, &self.signals.traces)
    }

    fn target<'a>(&'a self, signal: Signal, own: &'a SignalSettings) -> Target<'a> {
        let protocol = own.protocol.unwrap_or(self.protocol);
        let url = match (protocol, &own.url) {
            (Protocol::HttpProtobuf, Some(url)) => url.clone(),
            (Protocol::HttpProtobuf, None) => format!("{}{}", self.endpoint, signal.path()),
            (Protocol::Grpc, own) => {
                let base = own.as_deref().unwrap_or(&self.endpoint);
                format!("{base}{}", signal.grpc_path())
            }
        };
        Target {
            url,
            protocol,
            headers: own.headers.as_deref().unwrap_or(&self.headers),
            tls: own.tls.as_ref().unwrap_or(&self.tls),
            compression: own.compression.unwrap_or(self.compression),
            timeout: own.timeout.unwrap_or(self.timeout),
        }
    }
}

/// Where the batches of one signal go: the exporter's settings with the signal's own put over them.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The whole URL of the request; for gRPC its path is the method's.
    pub url: String,
    /// See [`Exporter::protocol`].
    pub protocol: Protocol,
    /// See [`Exporter::headers`].
    pub headers: &'a [(String, Secret)],
    /// See [`Exporter::tls`].
    pub tls: &'a Tls,
    /// See [`Exporter::compression`].
    pub compression: Compression,
    /// See [`Exporter::timeout`].
    pub timeout: Duration,
}

/// What the signals have of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    /// `OTEL_EXPORTER_OTLP_METRICS_*`
    pub metrics: SignalSettings,
    /// `OTEL_EXPORTER_OTLP_LOGS_*`
    pub logs: SignalSettings,
    /// `OTEL_EXPORTER_OTLP_TRACES_*`
    pub traces: SignalSettings,
}

/// What replaces the exporter's setting for one signal; `None`: nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignalSettings {
    /// The whole URL, used as it is: nothing is appended (OTLP specification, exporter configuration). For gRPC the
    /// base URL, to which the method's path is appended.
    pub url: Option<String>,
    /// In place of the general one.
    pub protocol: Option<Protocol>,
    /// In place of the general ones, not added to them.
    pub headers: Option<Vec<(String, Secret)>>,
    /// In place of the general one.
    pub tls: Option<Tls>,
    /// In place of the general one.
    pub compression: Option<Compression>,
    /// In place of the general one.
    pub timeout: Option<Duration>,
}

/// `exporters.NAME.protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`: a POST to a path a signal.
    HttpProtobuf,
    /// `grpc`: a unary call a request, over HTTP/2.
    Grpc,
}

impl Protocol {
    /// As the configuration and the OTLP specification name it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::HttpProtobuf => "http/protobuf",
            Protocol::Grpc => "grpc",
        }
    }

    /// What an endpoint most likely speaks that was given without a protocol: `http/protobuf`, the specification's
    /// default, but gRPC on port 4317, which the specification gives to it: over HTTP nothing would answer there.
    pub fn usual_at(endpoint: &str) -> Self {
        let uri = endpoint.parse::<http::Uri>().ok();
        match uri.and_then(|uri| uri.port_u16()) {
            Some(GRPC_PORT) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        }
    }
}

/// Of OTLP over gRPC (OTLP specification, "OTLP/gRPC Default Port").
const GRPC_PORT: u16 = 4317;

/// `exporters.NAME.compression`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd at first, gzip where the receiver refuses it; remembered for that endpoint.
    Auto,
    /// The stored frames, untouched.
    Zstd,
    /// Unpacked, joined, compressed.
    Gzip,
    /// Unpacked and joined.
    None,
}

/// `exporters.NAME.from`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Beginning {
    /// With the oldest record that is still kept.
    #[default]
    Oldest,
    /// With what comes in from its first start on.
    Now,
}

/// `exporters.NAME.retry`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// First backoff. Default 500 ms.
    pub initial: Duration,
    /// Longest backoff. Default 30 s.
    pub maximum: Duration,
    /// After which a request is given up and counted as dropped. Default: never.
    pub give_up_after: Option<Duration>,
}

/// `exporters.NAME.tls`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities to trust instead of the system's; absolute.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain; absolute.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's key; absolute.
    pub key_file: Option<PathBuf>,
    /// The name to verify instead of the endpoint's host.
    pub server_name: Option<String>,
}

/// A text that does not show itself in debug output, logs or errors, and is zeroed when dropped.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}
