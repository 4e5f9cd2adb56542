//! `exporters:`

use std::time::Duration;

use whimbrel_plugin_host::registry::is_loopback;

use super::{
    checker::{Checker, Place, Section},
    endpoint::{check_grpc_endpoint, parse_endpoint},
    keys::{EXPORTER, HEADER, RETRY, TLS},
};
use crate::config::{
    Beginning, Compression, Exporter, Protocol, Retry, Secret, Signals, Tls,
    interpolate::{absolute, read_named_variable, read_value},
    problem::{Wrong, quote_key},
    tree::Value,
    units,
};

/// Four MiB, the largest message that servers commonly take, less room for what compression and framing add.
const DEFAULT_MAX_REQUEST: usize = (4 << 20) - (64 << 10);
const LEAST_REQUEST: u64 = 64 << 10;
/// What OTLP 1.11 recommends that servers take.
const MOST_REQUEST: u64 = 64 << 20;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
const MOST_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(1);
const MOST_DELAY: Duration = Duration::from_secs(3600);
/// As many plans as a lane of a cursor keeps.
const MOST_CONCURRENCY: i64 = 8;
const LEAST_BACKOFF: Duration = Duration::from_millis(10);
const MOST_BACKOFF: Duration = Duration::from_secs(3600);
const MOST_GIVE_UP: Duration = Duration::from_secs(365 * 86_400);
const LEAST_LAG: u64 = 1 << 20;
const LEAST_AGE: Duration = Duration::from_secs(1);
const MOST_AGE: Duration = Duration::from_secs(365 * 86_400);

/// The names of `compression`.
pub(in crate::config) const COMPRESSIONS: &[(&str, Compression)] = &[
    ("auto", Compression::Auto),
    ("zstd", Compression::Zstd),
    ("gzip", Compression::Gzip),
    ("none", Compression::None),
];

/// The names of `protocol`, and those that are not in this version.
pub(in crate::config) const PROTOCOLS: &[(&str, Protocol)] =
    &[("http/protobuf", Protocol::HttpProtobuf), ("grpc", Protocol::Grpc)];
pub(in crate::config) const LATER_PROTOCOLS: &[(&str, &str)] =
    &[("http/json", "in this version exporters send protobuf, which every OTLP receiver takes")];

/// The names of `from`.
const FROM: &[(&str, Beginning)] = &[("oldest", Beginning::Oldest), ("now", Beginning::Now)];

/// Headers that the exporter itself sets, beside those of gRPC.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Exporter {
    /// An exporter with every default.
    pub(in crate::config) fn new(name: &str, endpoint: String) -> Self {
        Self {
            name: name.to_owned(),
            protocol: Protocol::usual_at(&endpoint),
            endpoint,
            headers: Vec::new(),
            tls: Tls::default(),
            compression: Compression::Auto,
            timeout: DEFAULT_TIMEOUT,
            concurrency: None,
            max_request: DEFAULT_MAX_REQUEST,
            max_delay: DEFAULT_MAX_DELAY,
            max_lag: None,
            max_age: None,
            from: Beginning::Oldest,
            retry: Retry {
                initial: Duration::from_millis(500),
                maximum: Duration::from_secs(30),
                give_up_after: None,
            },
            signals: Signals::default(),
        }
    }
}

impl Checker<'_> {
    /// `exporters:`, every name one, over a WAL of this size, bytes.
    pub(super) fn exporters(&mut self, place: &Place<'_>, wal_size: u64) -> Vec<Exporter> {
        let Some(section) = self.map(place, "write a name, and `endpoint:` below it") else {
            return Vec::new();
        };
        let exporters = section.entries.iter().filter_map(|entry| {
            let place = section.place(entry);
            self.name(&entry.key, entry.key_at, &place.key).then_some(())?;
            self.exporter(&entry.key, &place, wal_size)
        });
        let mut exporters: Vec<Exporter> = exporters.collect();
        exporters.sort_by(|one, other| one.name.cmp(&other.name));
        exporters
    }

    fn exporter(&mut self, name: &str, place: &Place<'_>, wal_size: u64) -> Option<Exporter> {
        let section = self.section(place, &EXPORTER)?;
        let elsewhere = EXPORTER.later.iter().any(|(key, _)| section.get(key).is_some());
        let endpoint = match section.get("endpoint") {
            Some(place) => self.endpoint(place),
            // An exporter of a later kind has been refused already.
            None if elsewhere => None,
            None => {
                let remedy = "add `endpoint: https://...`, the address of an OTLP receiver";
                self.problem(place.node.at, &place.key, "has no `endpoint`", remedy);
                None
            }
        };
        let mut exporter = Exporter::new(name, endpoint.clone().unwrap_or_default());
        self.set(&mut exporter.protocol, &section, "protocol", |c, p| {
            c.choice(p, PROTOCOLS, LATER_PROTOCOLS)
        });
        if let Some(place) = section.get("endpoint")
            && exporter.protocol == Protocol::Grpc
            && let Err(wrong) = check_grpc_endpoint(&exporter.endpoint)
        {
            self.wrong(&place, wrong);
        }
        self.set(&mut exporter.headers, &section, "headers", Checker::headers);
        self.set(&mut exporter.tls, &section, "tls", Checker::tls);
        self.set(&mut exporter.compression, &section, "compression", |c, p| c.choice(p, COMPRESSIONS, &[]));
        self.set(&mut exporter.timeout, &section, "timeout", |c, p| {
            c.duration(p, LEAST_TIMEOUT..=MOST_TIMEOUT)
        });
        self.set(&mut exporter.concurrency, &section, "concurrency", |c, p| {
            Some(usize::try_from(c.integer(p, 1..=MOST_CONCURRENCY)?).ok())
        });
        self.set(&mut exporter.max_request, &section, "max_request", |c, p| {
            usize::try_from(c.size(p, LEAST_REQUEST..=MOST_REQUEST)?).ok()
        });
        self.set(&mut exporter.max_delay, &section, "max_delay", |c, p| {
            c.duration(p, Duration::ZERO..=MOST_DELAY)
        });
        self.set(&mut exporter.max_lag, &section, "max_lag", |c, p| c.max_lag(p, wal_size).map(Some));
        self.set(&mut exporter.max_age, &section, "max_age", |c, p| c.max_age(p));
        self.set(&mut exporter.from, &section, "from", |c, p| c.choice(p, FROM, &[]));
        self.set(&mut exporter.retry, &section, "retry", Checker::retry);
        self.doubt(&section, &exporter);
        endpoint.map(|_| exporter)
    }

    /// A size within what the WAL may take.
    fn max_lag(&mut self, place: &Place<'_>, wal_size: u64) -> Option<u64> {
        let lag = self.size(place, LEAST_LAG..=u64::MAX)?;
        if lag > wal_size {
            let size = units::show_size(wal_size);
            let what = format!("is more than the whole WAL may take, which is {size} (`wal.max_size`)");
            let remedy = format!("write at most {size}, or raise `wal.max_size`");
            self.wrong(place, Wrong::new(what, remedy));
            return None;
        }
        Some(lag)
    }

    /// A duration, or `none`.
    fn max_age(&mut self, place: &Place<'_>) -> Option<Option<Duration>> {
        self.value(place, |text| match text {
            "none" => Ok(None),
            text => match units::parse_duration(text)? {
                age if age < LEAST_AGE => Err(Wrong::new("is less than 1s", "write 1s to 365d, or none")),
                age if age > MOST_AGE => Err(Wrong::new("is more than 365d", "write 1s to 365d, or none")),
                age => Ok(Some(age)),
            },
        })
    }

    /// Warns of what is allowed and likely not meant.
    fn doubt(&mut self, section: &Section<'_>, exporter: &Exporter) {
        let Some(place) = section.get("endpoint") else { return };
        let port = exporter.endpoint.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16());
        let doubtful = match (exporter.protocol, port) {
            (Protocol::Grpc, Some(4318)) => Some("port 4318 is commonly OTLP over HTTP, and this is gRPC"),
            (Protocol::Grpc, None) if exporter.endpoint.starts_with("http://") => {
                Some("without a port this is port 80, and OTLP over gRPC is commonly on 4317")
            }
            _ => None,
        };
        if let Some(what) = doubtful {
            self.warn(place.node.at, &place.key, what, "write the port: http://HOST:4317");
        }
        if !exporter.endpoint.starts_with("http://") {
            return;
        }
        if let Some(tls) = section.get("tls").filter(|_| exporter.tls != Tls::default()) {
            self.warn(
                tls.node.at,
                &tls.key,
                "`tls` has no effect on an `http://` endpoint",
                "write `https://`",
            );
        }
        let authority = exporter.endpoint["http://".len()..].split('/').next().unwrap_or_default();
        let here = is_loopback(authority);
        if let Some(headers) = section.get("headers").filter(|_| !here && !exporter.headers.is_empty()) {
            let what = "headers go over the network in clear text, since the endpoint is `http://`";
            self.warn(headers.node.at, &headers.key, what, "write `https://`");
        }
    }

    fn endpoint(&mut self, place: Place<'_>) -> Option<String> {
        // A password or token in a URL is refused, and not shown.
        let telling = |text: &str| text.contains(['@', '?', '#']);
        let place = match &place.node.value {
            Value::Scalar(scalar) if scalar.may_interpolate() && scalar.text.contains("${file:") => {
                let what = "an endpoint is shown in `status` and logs, so no file can be put into it";
                self.problem(place.node.at, &place.key, what, "put keys and tokens into `headers`");
                return None;
            }
            Value::Scalar(scalar) if telling(&scalar.text) => place.secret(),
            _ => place,
        };
        self.value(&place, parse_endpoint)
    }

    fn headers(&mut self, place: &Place<'_>) -> Option<Vec<(String, Secret)>> {
        let section = self.map(&place.clone().secret(), "write names and values below it")?;
        let mut headers: Vec<(String, Secret)> = Vec::new();
        for entry in section.entries {
            let place = section.place(entry);
            let name = entry.key.to_ascii_lowercase();
            if headers.iter().any(|(other, _)| *other == name) {
                let what = format!("the header {} is given twice, in upper and lower case", quote_key(&name));
                self.problem(entry.key_at, &place.key, what, "keep one of the two");
                continue;
            }
            if let Err(wrong) = check_header_name(&name) {
                self.problem(
                    entry.key_at,
                    &place.key,
                    format!("{} {}", quote_key(&name), wrong.what),
                    wrong.remedy,
                );
                continue;
            }
            let Some(value) = self.header_value(&place) else { continue };
            match check_header(&name, &value) {
                Ok(()) => headers.push((name, Secret::new(value))),
                Err(wrong) => self.wrong(&place, wrong),
            }
        }
        Some(headers)
    }

    /// A text, or `{prefix, file | env}`.
    pub(super) fn header_value(&mut self, place: &Place<'_>) -> Option<String> {
        if !matches!(place.node.value, Value::Map(_)) {
            return self.text(place).map(std::borrow::Cow::into_owned);
        }
        let section = self.section(place, &HEADER)?;
        let prefix = match section.get("prefix") {
            Some(place) => self.text(&place)?.into_owned(),
            None => String::new(),
        };
        let value = match (section.get("file"), section.get("env")) {
            (Some(file), None) => {
                let folder = &self.texts.get(file.node.at.text).folder;
                self.value(&file, |path| read_value(&absolute(folder, path)))
            }
            (None, Some(env)) => {
                let environment = self.environment;
                self.value(&env, |name| read_named_variable(name, environment))
            }
            (Some(_), Some(_)) => {
                self.problem(section.at, &section.key, "has both `file` and `env`", "keep one of the two");
                None
            }
            (None, None) if section.get("command").is_some() => None,
            (None, None) => {
                let remedy = "add `file:` or `env:`, or write the value as a text";
                self.problem(section.at, &section.key, "has neither `file` nor `env`", remedy);
                None
            }
        }?;
        if value.is_empty() {
            let what = "the file or variable that the value comes from is empty";
            self.problem(section.at, &section.key, what, "put the value in");
            return None;
        }
        Some(prefix + &value)
    }

    fn tls(&mut self, place: &Place<'_>) -> Option<Tls> {
        let section = self.section(place, &TLS)?;
        let path = |checker: &mut Self, name: &str| section.get(name).and_then(|place| checker.path(&place));
        let tls = Tls {
            ca_file: path(self, "ca_file"),
            cert_file: path(self, "cert_file"),
            key_file: path(self, "key_file"),
            server_name: section.get("server_name").and_then(|place| {
                self.value(&place, |text| match rustls::pki_types::ServerName::try_from(text) {
                    Ok(_) => Ok(text.to_owned()),
                    Err(_) => {
                        Err(Wrong::new("is neither a host name nor an IP address", "write the bare name"))
                    }
                })
            }),
        };
        let pair = [("cert_file", "key_file"), ("key_file", "cert_file")];
        for (given, missing) in pair {
            if section.get(given).is_some() && section.get(missing).is_none() {
                let what = format!("has `{given}` without `{missing}`");
                self.problem(
                    section.at,
                    &section.key,
                    what,
                    format!("add `{missing}`: the two belong together"),
                );
            }
        }
        Some(tls)
    }

    fn retry(&mut self, place: &Place<'_>) -> Option<Retry> {
        let section = self.section(place, &RETRY)?;
        let Retry { mut initial, mut maximum, mut give_up_after } = Exporter::new("", String::new()).retry;
        let backoff = LEAST_BACKOFF..=MOST_BACKOFF;
        self.set(&mut initial, &section, "initial", |c, p| c.duration(p, backoff.clone()));
        self.set(&mut maximum, &section, "maximum", |c, p| c.duration(p, backoff));
        self.set(&mut give_up_after, &section, "give_up_after", |c, p| {
            c.value(p, |text| match text {
                "never" => Ok(None),
                text => match units::parse_duration(text)? {
                    time if time < Duration::from_secs(1) => {
                        Err(Wrong::new("is less than 1s", "write 1s to 365d, or never"))
                    }
                    time if time > MOST_GIVE_UP => {
                        Err(Wrong::new("is more than 365d", "write 1s to 365d, or never"))
                    }
                    time => Ok(Some(time)),
                },
            })
        });
        if initial > maximum {
            let what = format!(
                "the first backoff ({}) is longer than the longest ({})",
                units::show_duration(initial),
                units::show_duration(maximum)
            );
            self.problem(section.at, &section.key, what, "make `initial` at most `maximum`");
        }
        Some(Retry { initial, maximum, give_up_after })
    }
}

/// A header's name that HTTP takes and the exporter does not set itself.
fn check_header_name(name: &str) -> Result<(), Wrong> {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(Wrong::new("can't be the name of a header", "use letters, digits and `-`"));
    }
    match OWN_HEADERS.contains(&name) || name.starts_with("grpc-") {
        true => Err(Wrong::new("is set by the exporter itself", "remove it")),
        false => Ok(()),
    }
}

/// A header that can be sent. No message quotes the value.
pub(in crate::config) fn check_header(name: &str, value: &str) -> Result<(), Wrong> {
    check_header_name(name)?;
    match http::HeaderValue::from_str(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(Wrong::new(
            "holds a line break or another character that a header can't",
            "remove it; look at the end of the file or variable that it comes from",
        )),
    }
}
