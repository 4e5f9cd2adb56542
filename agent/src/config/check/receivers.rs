//! `receivers:`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    checker::{Checker, Place, Section},
    keys::{
        Keys, LISTEN, RECEIVER_INGEST, RECEIVER_LDJSON, RECEIVER_LIMITS, RECEIVER_METRICS, RECEIVER_OTLP,
        RECEIVER_STATSD, RECEIVER_SYSLOG, SERVER_TLS, nearest,
    },
    root::parse_address,
};
use crate::config::{
    Address, Answer, Endpoint, IngestMetric, IngestMetricKind, IngestOnFull, IngestReceiver, LdjsonReceiver,
    OtlpReceiver, Receiver, ReceiverKind, ReceiverLimits, Secret, ServerTls, StatsdReceiver, SyslogReceiver,
    interpolate::absolute,
    problem::{Wrong, quote, quote_key},
    tree::Value,
};

/// The kinds, and how an entry of each is begun.
const KINDS: &[(&str, &Keys)] = &[
    ("otlp", &RECEIVER_OTLP),
    ("ldjson", &RECEIVER_LDJSON),
    ("ingest", &RECEIVER_INGEST),
    ("statsd", &RECEIVER_STATSD),
    ("syslog", &RECEIVER_SYSLOG),
];

const DEFAULT_CONNECTIONS: usize = 1024;
const MOST_CONNECTIONS: i64 = 100_000;
const DEFAULT_REQUEST: usize = 16 << 20;
const LEAST_REQUEST: u64 = 64 << 10;
const MOST_REQUEST: u64 = 256 << 20;
const DEFAULT_MEMORY: usize = 24 << 20;
const MOST_MEMORY: u64 = 4 << 30;
const MOST_RATE: i64 = 10_000_000;
const SHORT_IDLE: Duration = Duration::from_secs(60);
const LONG_IDLE: Duration = Duration::from_secs(3600);
const LEAST_TIME: Duration = Duration::from_secs(1);
const MOST_TIME: Duration = Duration::from_secs(86_400);
const DEFAULT_REQUEST_TIME: Duration = Duration::from_secs(30);
const DEFAULT_SOURCES: usize = 1_000;
const DEFAULT_OPEN_SPANS: usize = 10_000;
const DEFAULT_SPAN_TIMEOUT: Duration = Duration::from_secs(3600);
const MOST_ENTRIES: i64 = 1_000_000;
const DEFAULT_BUFFER: usize = 4 << 20;
const DEFAULT_FLUSH: Duration = Duration::from_secs(10);
const DEFAULT_SERIES: usize = 10_000;

impl ReceiverLimits {
    /// The defaults of a kind.
    pub fn of(kind: &str) -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            request: DEFAULT_REQUEST,
            memory: DEFAULT_MEMORY,
            rate: None,
            idle: if matches!(kind, "ldjson" | "syslog") { LONG_IDLE } else { SHORT_IDLE },
            request_time: DEFAULT_REQUEST_TIME,
        }
    }
}

impl OtlpReceiver {
    /// Where OTLP is expected on a machine (OTLP specification, default ports).
    pub fn usual() -> Self {
        let at = |port| Some(Endpoint::at(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))));
        Self { grpc: at(4317), http: at(4318), add_resource: false }
    }
}

impl LdjsonReceiver {
    /// One that listens nowhere yet.
    pub fn nowhere() -> Self {
        Self {
            tcp: None,
            unix: None,
            sources: DEFAULT_SOURCES,
            open_spans: DEFAULT_OPEN_SPANS,
            span_timeout: DEFAULT_SPAN_TIMEOUT,
        }
    }
}

impl IngestReceiver {
    /// One with every default.
    pub fn at(http: Endpoint) -> Self {
        Self {
            http,
            answer: Answer::Durable,
            buffer: DEFAULT_BUFFER,
            on_full: IngestOnFull::Refuse,
            metrics: Vec::new(),
            cors: Vec::new(),
        }
    }
}

impl StatsdReceiver {
    /// One that listens nowhere yet.
    pub fn nowhere() -> Self {
        Self { udp: None, unix: None, flush: DEFAULT_FLUSH, series: DEFAULT_SERIES }
    }
}

impl SyslogReceiver {
    /// One that listens nowhere yet.
    pub fn nowhere() -> Self {
        Self { tcp: None, udp: None, unix: None, time_zone: "UTC".to_owned() }
    }
}

impl Checker<'_> {
    /// `receivers:`, every key a kind, or a kind, a slash and a name.
    pub(super) fn receivers(&mut self, place: &Place<'_>) -> Vec<Receiver> {
        let example = "write a kind, such as `otlp:`, and where it listens below it";
        let Some(section) = self.map(place, example) else { return Vec::new() };
        let receivers = section.entries.iter().filter_map(|entry| {
            let place = section.place(entry);
            let (kind, own) = entry.key.split_once('/').map_or((&*entry.key, None), |(k, n)| (k, Some(n)));
            let Some((kind, keys)) = KINDS.iter().find(|(known, _)| *known == kind) else {
                let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
                let remedy = match nearest(kind, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`? Known: {}", names.join(", ")),
                    None => format!("known: {}, and each with a name: `otlp/apps`", names.join(", ")),
                };
                let what = format!("{} is not a kind of receiver", quote_key(kind));
                self.problem(entry.key_at, &place.key, what, remedy);
                return None;
            };
            if let Some(own) = own {
                self.name(own, entry.key_at, &place.key).then_some(())?;
            }
            self.receiver(&entry.key, kind, keys, &place)
        });
        let mut receivers: Vec<Receiver> = receivers.collect();
        receivers.sort_by(|one, other| one.name.cmp(&other.name));
        self.one_each(&receivers, &section);
        receivers
    }

    fn receiver(&mut self, name: &str, kind: &str, keys: &Keys, place: &Place<'_>) -> Option<Receiver> {
        let section = self.section(place, keys)?;
        let mut limits = ReceiverLimits::of(kind);
        if let Some(place) = section.get("limits") {
            self.receiver_limits(&place, &mut limits);
        }
        let kind = match kind {
            "otlp" => ReceiverKind::Otlp(self.otlp(&section)?),
            "ldjson" => ReceiverKind::Ldjson(self.ldjson(&section)?),
            "ingest" => ReceiverKind::Ingest(self.ingest(&section)?),
            "statsd" => ReceiverKind::Statsd(self.statsd(&section)?),
            _ => ReceiverKind::Syslog(self.syslog(&section)?),
        };
        Some(Receiver { name: name.to_owned(), kind, limits })
    }

    fn receiver_limits(&mut self, place: &Place<'_>, limits: &mut ReceiverLimits) {
        let Some(section) = self.section(place, &RECEIVER_LIMITS) else { return };
        self.set(&mut limits.connections, &section, "connections", |c, p| {
            usize::try_from(c.integer(p, 1..=MOST_CONNECTIONS)?).ok()
        });
        self.set(&mut limits.request, &section, "request", |c, p| {
            usize::try_from(c.size(p, LEAST_REQUEST..=MOST_REQUEST)?).ok()
        });
        self.set(&mut limits.memory, &section, "memory", |c, p| {
            usize::try_from(c.size(p, LEAST_REQUEST..=MOST_MEMORY)?).ok()
        });
        self.set(&mut limits.rate, &section, "rate", |c, p| {
            Some(u32::try_from(c.integer(p, 1..=MOST_RATE)?).ok())
        });
        self.set(&mut limits.idle, &section, "idle", |c, p| c.duration(p, LEAST_TIME..=MOST_TIME));
        self.set(&mut limits.request_time, &section, "request_time", |c, p| {
            c.duration(p, LEAST_TIME..=MOST_TIME)
        });
        if limits.memory < limits.request {
            let what = "`memory` is less than `request`, so that the largest request would never be taken";
            self.problem(section.at, &section.key, what, "make `memory` at least `request`");
        }
    }

    /// The usual ports where none is named: `otlp: {}` is enough.
    fn otlp(&mut self, section: &Section<'_>) -> Option<OtlpReceiver> {
        let mut otlp = OtlpReceiver::usual();
        let named = section.get("grpc").is_some() || section.get("http").is_some();
        if named {
            (otlp.grpc, otlp.http) = (None, None);
        }
        self.set(&mut otlp.grpc, section, "grpc", |c, p| c.listen(p, true).map(Some));
        self.set(&mut otlp.http, section, "http", |c, p| c.listen(p, true).map(Some));
        self.set(&mut otlp.add_resource, section, "add_resource", Checker::boolean);
        (otlp.grpc.is_some() || otlp.http.is_some()).then_some(otlp)
    }

    fn ldjson(&mut self, section: &Section<'_>) -> Option<LdjsonReceiver> {
        let mut ldjson = LdjsonReceiver::nowhere();
        self.needs_one(section, &["tcp", "unix"], "tcp: 127.0.0.1:17000");
        self.set(&mut ldjson.tcp, section, "tcp", |c, p| c.listen(p, true).map(Some));
        self.set(&mut ldjson.unix, section, "unix", |c, p| {
            c.socket_path(p).map(|path| Some(Endpoint::at(Address::Unix(path))))
        });
        self.entries(&mut ldjson.sources, section, "sources");
        self.entries(&mut ldjson.open_spans, section, "open_spans");
        self.set(&mut ldjson.span_timeout, section, "span_timeout", |c, p| {
            c.duration(p, LEAST_TIME..=MOST_TIME)
        });
        (ldjson.tcp.is_some() || ldjson.unix.is_some()).then_some(ldjson)
    }

    fn ingest(&mut self, section: &Section<'_>) -> Option<IngestReceiver> {
        self.needs_one(section, &["http"], "http: 127.0.0.1:8090");
        let mut ingest = IngestReceiver::at(self.listen(&section.get("http")?, true)?);
        self.set(&mut ingest.answer, section, "answer", |c, p| {
            c.choice(p, &[("durable", Answer::Durable), ("accepted", Answer::Accepted)], &[])
        });
        self.set(&mut ingest.buffer, section, "buffer", |c, p| {
            usize::try_from(c.size(p, LEAST_REQUEST..=MOST_REQUEST)?).ok()
        });
        self.set(&mut ingest.on_full, section, "on_full", |c, p| {
            c.choice(p, &[("refuse", IngestOnFull::Refuse), ("drop", IngestOnFull::Drop)], &[])
        });
        self.set(&mut ingest.metrics, section, "metrics", Checker::ingest_metrics);
        self.set(&mut ingest.cors, section, "cors", |c, p| {
            let items = c.list(p, "write a list of origins: [\"https://shop.example.com\"]")?;
            items.iter().map(|item| c.value(item, origin)).collect()
        });
        if ingest.on_full == IngestOnFull::Drop
            && ingest.answer == Answer::Durable
            && let Some(place) = section.get("on_full")
        {
            let what = "`drop` has no effect: with `answer: durable` an event that is not stored is refused";
            self.warn(place.node.at, &place.key, what, "remove it, or write `answer: accepted`");
        }
        Some(ingest)
    }

    /// A map of event types to what their value is.
    fn ingest_metrics(&mut self, place: &Place<'_>) -> Option<Vec<IngestMetric>> {
        let section = self.map(place, "write types of events and `gauge` or `counter` behind each")?;
        let kinds = [("gauge", IngestMetricKind::Gauge), ("counter", IngestMetricKind::Counter)];
        let metrics = section.entries.iter().filter_map(|entry| {
            let kind = self.choice(&section.place(entry), &kinds, RECEIVER_METRICS)?;
            Some(IngestMetric { event: entry.key.clone(), kind })
        });
        Some(metrics.collect())
    }

    fn statsd(&mut self, section: &Section<'_>) -> Option<StatsdReceiver> {
        let mut statsd = StatsdReceiver::nowhere();
        self.needs_one(section, &["udp", "unix"], "udp: 127.0.0.1:8125");
        self.set(&mut statsd.udp, section, "udp", |c, p| c.datagrams(p).map(Some));
        self.set(&mut statsd.unix, section, "unix", |c, p| c.socket_path(p).map(Some));
        self.set(&mut statsd.flush, section, "flush", |c, p| c.duration(p, LEAST_TIME..=MOST_TIME));
        self.entries(&mut statsd.series, section, "series");
        (statsd.udp.is_some() || statsd.unix.is_some()).then_some(statsd)
    }

    fn syslog(&mut self, section: &Section<'_>) -> Option<SyslogReceiver> {
        let mut syslog = SyslogReceiver::nowhere();
        self.needs_one(section, &["tcp", "udp", "unix"], "udp: 127.0.0.1:5514");
        self.set(&mut syslog.tcp, section, "tcp", |c, p| c.listen(p, false).map(Some));
        self.set(&mut syslog.udp, section, "udp", |c, p| c.datagrams(p).map(Some));
        self.set(&mut syslog.unix, section, "unix", |c, p| c.socket_path(p).map(Some));
        self.set(&mut syslog.time_zone, section, "time_zone", |c, p| c.value(p, time_zone));
        (syslog.tcp.is_some() || syslog.udp.is_some() || syslog.unix.is_some()).then_some(syslog)
    }

    fn needs_one(&mut self, section: &Section<'_>, keys: &[&str], example: &str) {
        if keys.iter().all(|key| section.get(key).is_none()) {
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            let what = format!("listens nowhere: it has no {}", keys.join(" and no "));
            self.problem(section.at, &section.key, what, format!("add `{example}`"));
        }
    }

    fn entries(&mut self, target: &mut usize, section: &Section<'_>, name: &str) {
        self.set(target, section, name, |c, p| usize::try_from(c.integer(p, 1..=MOST_ENTRIES)?).ok());
    }

    pub(super) fn boolean(&mut self, place: &Place<'_>) -> Option<bool> {
        self.choice(place, &[("true", true), ("false", false)], &[])
    }

    /// `ADDRESS:PORT`, `unix:PATH`, or a map with `listen` and who may connect. `tokens`: whether clients of this
    /// protocol can show one.
    fn listen(&mut self, place: &Place<'_>, tokens: bool) -> Option<Endpoint> {
        if !matches!(place.node.value, Value::Map(_)) {
            let endpoint = Endpoint::at(self.address(place)?);
            self.guarded(place, &endpoint, None);
            return Some(endpoint);
        }
        let section = self.section(place, &LISTEN)?;
        let Some(listen) = section.get("listen") else {
            self.problem(section.at, &section.key, "has no `listen`", "add `listen: 127.0.0.1:4317`");
            return None;
        };
        let mut endpoint = Endpoint::at(self.address(&listen)?);
        self.set(&mut endpoint.tls, &section, "tls", |c, p| c.server_tls(p).map(Some));
        self.set(&mut endpoint.token, &section, "token", |c, p| c.token(p).map(Some));
        if let Some(token) = section.get("token").filter(|_| !tokens) {
            let what = "clients of this protocol can't show a token";
            self.problem(token.node.at, &token.key, what, "use `tls` with `client_ca_file`");
        }
        if let (Address::Unix(_), Some(tls)) = (&endpoint.listen, section.get("tls")) {
            let what = "`tls` has no effect on a Unix socket, which only the agent's own user may open";
            self.problem(tls.node.at, &tls.key, what, "remove it");
        }
        self.guarded(&listen, &endpoint, Some(&section));
        Some(endpoint)
    }

    /// Refuses to listen for other machines without their being told apart.
    fn guarded(&mut self, listen: &Place<'_>, endpoint: &Endpoint, section: Option<&Section<'_>>) {
        let mut flag = |name: &str| {
            section
                .and_then(|section| section.get(name))
                .and_then(|place| self.boolean(&place))
                .unwrap_or(false)
        };
        let (allowed, insecure) = (flag("allow_remote"), flag("insecure"));
        let remote = matches!(&endpoint.listen, Address::Tcp(address) if !address.ip().is_loopback());
        if !remote {
            return;
        }
        if !allowed {
            let what = format!("{} lets other machines send", endpoint.listen);
            let remedy = "listen on 127.0.0.1 or [::1], or write {listen: ..., allow_remote: true} with `tls` or `token`";
            self.problem(listen.node.at, &listen.key, what, remedy);
            return;
        }
        let known =
            endpoint.token.is_some() || endpoint.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        if !known && !insecure {
            let what = format!("anybody who reaches {} could send", endpoint.listen);
            let remedy = "add `token`, or `tls` with `client_ca_file`, or say `insecure: true`";
            self.problem(listen.node.at, &listen.key, what, remedy);
        } else if endpoint.tls.is_none() && !insecure {
            let what = "the token and all data go over the network in clear text";
            self.warn(listen.node.at, &listen.key, what, "add `tls`, or say `insecure: true`");
        }
    }

    fn server_tls(&mut self, place: &Place<'_>) -> Option<ServerTls> {
        let section = self.section(place, &SERVER_TLS)?;
        let mut path = |name: &str| match section.get(name) {
            Some(place) => self.path(&place),
            None => {
                let what = format!("has no `{name}`");
                self.problem(section.at, &section.key, what, format!("add `{name}: PATH` of a PEM file"));
                None
            }
        };
        let (cert_file, key_file) = (path("cert_file"), path("key_file"));
        let client_ca_file = section.get("client_ca_file").and_then(|place| self.path(&place));
        Some(ServerTls { cert_file: cert_file?, key_file: key_file?, client_ca_file })
    }

    fn token(&mut self, place: &Place<'_>) -> Option<Secret> {
        let place = place.clone().secret();
        let text = self.header_value(&place)?;
        if text.len() < LEAST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = format!("is shorter than {LEAST_TOKEN} characters, or holds other than visible ASCII");
            self.wrong(&place, Wrong::new(what, "make one: `openssl rand -hex 32`"));
            return None;
        }
        Some(Secret::new(text))
    }

    fn address(&mut self, place: &Place<'_>) -> Option<Address> {
        let folder = &self.texts.get(place.node.at.text).folder;
        self.value(place, |text| match text.strip_prefix("unix:") {
            Some(path) => socket_at(absolute(folder, path)).map(Address::Unix),
            None => parse_address(text).map(Address::Tcp),
        })
    }

    fn socket_path(&mut self, place: &Place<'_>) -> Option<PathBuf> {
        let path = self.path(place)?;
        match socket_at(path) {
            Ok(path) => Some(path),
            Err(wrong) => {
                self.wrong(place, wrong);
                None
            }
        }
    }

    /// An address for datagrams: their sender can't be known, so that other machines need the word `insecure`.
    fn datagrams(&mut self, place: &Place<'_>) -> Option<SocketAddr> {
        let endpoint = self.listen(place, false)?;
        match endpoint {
            Endpoint { listen: Address::Tcp(address), tls: None, .. } => Some(address),
            _ => {
                let what = "datagrams go over UDP without TLS";
                self.problem(place.node.at, &place.key, what, "write an IP address and a port");
                None
            }
        }
    }

    /// No two receivers may want the same address.
    fn one_each(&mut self, receivers: &[Receiver], section: &Section<'_>) {
        let mut taken: Vec<(String, &str)> = Vec::new();
        for receiver in receivers {
            for address in receiver.kind.addresses().into_iter().filter(|address| !address.ends_with(":0")) {
                if let Some((_, other)) = taken.iter().find(|(other, _)| *other == address) {
                    let what = if *other == receiver.name {
                        format!("listens on {} twice", quote(&address))
                    } else {
                        format!("listens on {}, as `{other}` does", quote(&address))
                    };
                    let key = format!("{}.{}", section.key, receiver.name);
                    let entry = section.entries.iter().find(|entry| entry.key == receiver.name);
                    let at = entry.map_or(section.at, |entry| entry.key_at);
                    self.problem(at, &key, what, "give each its own");
                }
                taken.push((address, &receiver.name));
            }
        }
    }
}

/// Shortest token, characters.
const LEAST_TOKEN: usize = 16;

fn socket_at(path: PathBuf) -> Result<PathBuf, Wrong> {
    let (length, most) = (path.as_os_str().len(), super::root::MAX_SOCKET_PATH);
    match length > most {
        true => Err(Wrong::new(
            format!("is the path of a socket of {length} bytes, and at most {most} are possible"),
            "name a shorter one",
        )),
        false => Ok(path),
    }
}

/// `scheme://host[:port]`, or `*`.
fn origin(text: &str) -> Result<String, Wrong> {
    let uri = text.parse::<http::Uri>().ok();
    let good = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.path() == "/"
    });
    match text == "*" || (good && !text.ends_with('/')) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new("is not an origin", "write https://HOST, http://HOST:PORT, or *")),
    }
}

fn time_zone(text: &str) -> Result<String, Wrong> {
    let known = text == "local" || text == "UTC" || jiff::tz::TimeZone::get(text).is_ok();
    match known {
        true => Ok(text.to_owned()),
        false => {
            Err(Wrong::new("is not a time zone here", "write UTC, local, or a name such as Europe/Vienna"))
        }
    }
}
