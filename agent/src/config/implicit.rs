//! What OpenTelemetry's own variables say: the exporter that exists where none is configured, and resource attributes.
//!
//! `OTEL_EXPORTER_OTLP_*` configure that exporter only: a header meant for one backend must not reach another. The
//! rules are those of the OpenTelemetry specification (Protocol / OpenTelemetry Protocol Exporter; Resource SDK;
//! General SDK configuration): a variable that is empty is not set, those of a signal go before the general ones, a
//! signal's endpoint is used as it is (over gRPC the general one too), a number or name that is not understood is
//! warned of and left out. What would send data to the wrong place or without its credentials is a problem: a
//! protocol that this version does not speak, an address that is none, headers that can't be read. Where no
//! protocol is set, [`Protocol::usual_at`] the endpoint is spoken.

use std::{collections::BTreeMap, path::Path, time::Duration};

use whimbrel_otlp::Signal;

use super::{
    Compression, Exporter, Protocol, Secret, SignalSettings, Tls,
    check::{
        COMPRESSIONS, LATER_PROTOCOLS, PROTOCOLS, check_grpc_endpoint, check_header, choose, parse_endpoint,
    },
    environment::Environment,
    interpolate::absolute,
    problem::{Problem, Problems, Wrong, quote},
    text::{Position, Texts},
};

/// The exporter's name.
const NAME: &str = "otlp";

/// The specification's default endpoints.
fn default_endpoint(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::HttpProtobuf => "http://localhost:4318",
        Protocol::Grpc => "http://localhost:4317",
    }
}

/// What the variables for all signals say about where to send.
struct General {
    /// If one is set.
    protocol: Option<Protocol>,
    /// Set or not.
    spoken: Protocol,
    /// If one is set.
    endpoint: Option<String>,
}

/// Reads variables, and notes what is wrong with them.
pub(super) struct Variables<'v> {
    pub(super) environment: &'v dyn Environment,
    pub(super) current_dir: &'v Path,
    pub(super) texts: &'v mut Texts,
    pub(super) problems: &'v mut Problems,
    pub(super) warnings: &'v mut Problems,
}

/// A variable that is set.
struct Variable {
    name: String,
    text: String,
}

impl Variables<'_> {
    /// The exporter that exists where none is configured.
    pub(super) fn exporter(&mut self) -> Exporter {
        let protocol = self.protocol("");
        let endpoint = match self.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            Some(variable) => self.parse(&variable, parse_endpoint),
            None => None,
        };
        let usual = endpoint.as_deref().map_or(Protocol::HttpProtobuf, Protocol::usual_at);
        let spoken = protocol.unwrap_or(usual);
        let general = General { protocol, spoken, endpoint: endpoint.clone() };
        let endpoint = endpoint.unwrap_or_else(|| default_endpoint(spoken).to_owned());
        let mut exporter = Exporter::new(NAME, endpoint);
        exporter.protocol = spoken;
        let settings = self.settings("");
        exporter.headers = settings.headers.unwrap_or_default();
        exporter.compression = settings.compression.unwrap_or(exporter.compression);
        exporter.timeout = settings.timeout.unwrap_or(exporter.timeout);
        exporter.tls = settings.tls.unwrap_or_default();
        exporter.signals.metrics = self.signal("METRICS_", Signal::Metrics, &general);
        exporter.signals.logs = self.signal("LOGS_", Signal::Logs, &general);
        exporter.signals.traces = self.signal("TRACES_", Signal::Traces, &general);
        self.check_general(&general, &exporter);
        let signals = &mut exporter.signals;
        for own in [&mut signals.metrics, &mut signals.logs, &mut signals.traces] {
            let Some(own) = &mut own.tls else { continue };
            own.ca_file = own.ca_file.take().or_else(|| exporter.tls.ca_file.clone());
            own.cert_file = own.cert_file.take().or_else(|| exporter.tls.cert_file.clone());
            own.key_file = own.key_file.take().or_else(|| exporter.tls.key_file.clone());
        }
        exporter
    }

    fn signal(&mut self, name: &str, signal: Signal, general: &General) -> SignalSettings {
        let own = self.protocol(name);
        let mut settings = self.settings(name);
        let endpoint = self.get(&format!("OTEL_EXPORTER_OTLP_{name}ENDPOINT"));
        let usual = |variable: &Variable| Protocol::usual_at(&variable.text);
        let spoken =
            own.or(general.protocol).unwrap_or_else(|| endpoint.as_ref().map_or(general.spoken, usual));
        settings.protocol = (spoken != general.spoken).then_some(spoken);
        settings.url = match &endpoint {
            Some(variable) => self.parse(variable, |text| {
                let trimmed = parse_endpoint(text)?;
                if spoken == Protocol::Grpc {
                    check_grpc_endpoint(&trimmed)?;
                    return Ok(trimmed);
                }
                // "If an URL contains no path part, the root path / MUST be used."
                let has_path = trimmed.splitn(4, '/').nth(3).is_some();
                Ok(if has_path { text.to_owned() } else { format!("{trimmed}/") })
            }),
            // Another protocol than the general one, and no endpoint at all: that protocol's default.
            None if settings.protocol.is_some() && general.endpoint.is_none() => Some(match spoken {
                Protocol::HttpProtobuf => format!("{}{}", default_endpoint(spoken), signal.path()),
                Protocol::Grpc => default_endpoint(spoken).to_owned(),
            }),
            None => None,
        };
        settings
    }

    /// The general endpoint, where a signal uses it over gRPC.
    fn check_general(&mut self, general: &General, exporter: &Exporter) {
        let Some(endpoint) = &general.endpoint else { return };
        let signals = [&exporter.signals.metrics, &exporter.signals.logs, &exporter.signals.traces];
        let over_grpc = signals
            .into_iter()
            .any(|own| own.url.is_none() && own.protocol.unwrap_or(general.spoken) == Protocol::Grpc);
        if over_grpc && let Some(variable) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            self.parse(&variable, |_| check_grpc_endpoint(endpoint));
        }
    }

    /// The settings that are named alike for all signals and for each.
    fn settings(&mut self, signal: &str) -> SignalSettings {
        let name = |setting: &str| format!("OTEL_EXPORTER_OTLP_{signal}{setting}");
        let headers = self.get(&name("HEADERS"));
        let headers = headers.map(|variable| self.parse_secret(&variable, parse_headers).unwrap_or_default());
        let timeout = match self.get(&name("TIMEOUT")) {
            Some(variable) => {
                let remedy = "set it to milliseconds, at least 1";
                self.parse_or_warn(&variable, |text| match text.trim().parse::<u32>() {
                    Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds.into())),
                    _ => Err(Wrong::new("is not a time in milliseconds, and is left out", remedy)),
                })
            }
            None => None,
        };
        let compression = match self.get(&name("COMPRESSION")) {
            Some(variable) => self.parse_or_warn(&variable, parse_compression),
            None => None,
        };
        let file = |variables: &mut Self, setting: &str| {
            let variable = variables.get(&name(setting))?;
            Some(absolute(variables.current_dir, &variable.text))
        };
        let tls = Tls {
            ca_file: file(self, "CERTIFICATE"),
            cert_file: file(self, "CLIENT_CERTIFICATE"),
            key_file: file(self, "CLIENT_KEY"),
            server_name: None,
        };
        let tls = Some(tls).filter(|tls| *tls != Tls::default());
        SignalSettings { url: None, protocol: None, headers, tls, compression, timeout }
    }

    fn protocol(&mut self, signal: &str) -> Option<Protocol> {
        let variable = self.get(&format!("OTEL_EXPORTER_OTLP_{signal}PROTOCOL"))?;
        self.parse(&variable, |text| choose(text, PROTOCOLS, LATER_PROTOCOLS))
    }

    /// Resource attributes: those of the configuration, and under them those of the environment.
    pub(super) fn resource(&mut self, configured: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut resource = BTreeMap::new();
        if let Some(variable) = self.get("OTEL_RESOURCE_ATTRIBUTES") {
            // "In case of any error the entire environment variable value SHOULD be discarded."
            resource.extend(self.parse_or_warn(&variable, parse_attributes).unwrap_or_default());
        }
        if let Some(variable) = self.get("OTEL_SERVICE_NAME") {
            resource.insert("service.name".to_owned(), variable.text);
        }
        resource.extend(configured);
        resource
    }

    /// The name of the variable that gives an endpoint, if one is set: it is not used where exporters are configured.
    pub(super) fn unused_endpoint(&mut self) -> Option<String> {
        self.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|variable| variable.name)
    }

    fn get(&mut self, name: &str) -> Option<Variable> {
        let value = self.environment.variable(name).filter(|value| !value.is_empty())?;
        let Ok(text) = value.into_string() else {
            let at = self.place(name);
            self.problems.push(Problem::new(
                self.texts,
                at,
                "",
                "the value is not UTF-8",
                "set it to a text in UTF-8",
            ));
            return None;
        };
        Some(Variable { name: name.to_owned(), text })
    }

    fn place(&mut self, name: &str) -> Position {
        Position::whole(self.texts.add_variable(name, self.current_dir.to_owned()))
    }

    fn parse<T>(&mut self, variable: &Variable, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let shown = match variable.text.contains(['@', '?', '#']) {
            true => "the value".to_owned(),
            false => quote(&variable.text),
        };
        self.noted(variable, &shown, false, parse)
    }

    fn parse_secret<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.noted(variable, "the value", false, parse)
    }

    fn parse_or_warn<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.noted(variable, &quote(&variable.text), true, parse)
    }

    fn noted<T>(
        &mut self,
        variable: &Variable,
        shown: &str,
        warn: bool,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        match parse(&variable.text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let at = self.place(&variable.name);
                let problem =
                    Problem::new(self.texts, at, "", format!("{shown} {}", wrong.what), wrong.remedy);
                if warn {
                    self.warnings.push(problem)
                } else {
                    self.problems.push(problem)
                }
                None
            }
        }
    }
}

fn parse_compression(text: &str) -> Result<Compression, Wrong> {
    let found = COMPRESSIONS.iter().find(|(name, _)| *name == text);
    let remedy = "set it to gzip, zstd or none";
    found
        .map(|(_, compression)| *compression)
        .ok_or_else(|| Wrong::new("is not a compression, and is left out", remedy))
}

/// `name=value,name=value`, values percent-encoded (W3C Baggage, without properties). No message quotes a value.
fn parse_headers(text: &str) -> Result<Vec<(String, Secret)>, Wrong> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    for (name, value) in
        pairs(text).ok_or_else(|| Wrong::new("is not a list of headers", "write name=value,name=value"))?
    {
        let name = name.to_ascii_lowercase();
        check_header(&name, &value)
            .map_err(|wrong| Wrong::new(format!("has a header that {}", wrong.what), wrong.remedy))?;
        headers.retain(|(other, _)| *other != name);
        headers.push((name, Secret::new(value)));
    }
    Ok(headers)
}

fn parse_attributes(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let remedy = "write name=value,name=value, with %2C for a comma and %3D for an equals sign";
    pairs(text).ok_or_else(|| Wrong::new("is not a list of attributes, and is left out", remedy))
}

/// Pairs parted by commas; empty ones are passed over.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (percent_decode(name.trim())?, percent_decode(value.trim())?);
        Some((name, value)).filter(|(name, _)| !name.is_empty())
    });
    pairs.collect()
}

/// RFC 3986, 2.1; `None` where a `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digit = |index: usize| char::from(*after.get(index)?).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok()
}
