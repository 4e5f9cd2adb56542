//! One target: its request, its answer, what is remembered of it.

use std::borrow::Cow;
use std::io::Read as _;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use whimbrel_otlp::write::Scope;
use whimbrel_prometheus_text::{
    Conversion, Converted, Format, Limits, ParseError, Request as Points, Series, Starts, convert,
    convert_gone,
};
use whimbrel_sdk::http::{Answer, Error as HttpError, Request, Url};
use whimbrel_sdk::{Attributes, Described as _, Error, Value, info, secrets, warn};

use crate::before::{Before, compressed};
use crate::{Config, Scrape};

/// As Prometheus asks.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
    text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// The path that needs no mention.
const USUAL_PATH: &str = "/metrics";

/// At most so many points in a request: the contract asks for about 1000.
const MOST_POINTS: usize = 1000;

/// A target, as far as it can be made once, and what changes.
#[derive(Debug)]
pub(crate) struct Prepared {
    request: Request,
    pub(crate) timeout: Duration,
    pub(crate) url: String,
    resource: Vec<(String, Resource)>,
    pub(crate) starts: Starts,
    /// The scrape before, if it went well and there was room for it.
    pub(crate) before: Option<Before>,
    /// What was wrong the last time: each problem is said once.
    problem: Option<String>,
    /// Whether it was said that something of it is left out.
    dropped: bool,
}

#[derive(Debug, PartialEq)]
enum Resource {
    Text(String),
    Port(u16),
}

impl<'a> From<&'a Resource> for Value<'a> {
    fn from(value: &'a Resource) -> Self {
        match value {
            Resource::Text(text) => Value::Text(text),
            Resource::Port(port) => Value::Int(i64::from(*port)),
        }
    }
}

impl Prepared {
    /// `index` of the configuration's targets.
    pub(crate) fn new(config: &Config, index: usize, url: &Url, instance: &str) -> Result<Self, Error> {
        let target = &config.targets[index];
        let timeout = target.timeout.unwrap_or(config.timeout);
        let mut request = Request::get(url.to_string())
            .redirects(config.redirects)
            .max_body(config.max_body)
            .header("accept", ACCEPT)
            .header("accept-encoding", "gzip")
            .header("user-agent", concat!("whimbrel-prometheus-scrape/", env!("CARGO_PKG_VERSION")))
            .header("x-prometheus-scrape-timeout-seconds", timeout.as_secs_f64().to_string());
        let own = |name: &str| target.headers.keys().any(|own| own.eq_ignore_ascii_case(name));
        let of_all = config.headers.iter().filter(|(name, _)| !own(name));
        for (name, value) in of_all.chain(&target.headers) {
            request = request.header(name, value.reveal()?);
        }
        if let Some(name) = target.bearer.as_ref().or(config.bearer.as_ref()) {
            request = request.bearer(&secrets::reveal(name)?);
        }
        Ok(Self {
            request,
            timeout,
            url: url.to_string(),
            resource: resource(config, index, url, instance),
            starts: Starts::new(),
            before: None,
            problem: None,
            dropped: false,
        })
    }

    /// What is asked.
    pub(crate) fn request(&self) -> Request {
        self.request.clone()
    }

    /// Its resource.
    pub(crate) fn resource(&self) -> Attributes {
        self.attributes().into_iter().collect()
    }

    fn attributes(&self) -> Vec<(&str, Value<'_>)> {
        self.resource.iter().map(|(key, value)| (key.as_str(), value.into())).collect()
    }

    /// What an answer says, as requests of OTLP; and what is to be kept of it, if series that go are to be told.
    pub(crate) fn read(
        &mut self,
        config: &Config,
        answer: Answer,
        now_ns: u64,
    ) -> Result<(Converted, Option<Before>), String> {
        if answer.status != 200 {
            return Err(format!("it answered {}, and not 200", answer.status));
        }
        let content_type = answer.headers.get("content-type").unwrap_or_default();
        let format = Format::of_content_type(content_type).ok_or_else(|| {
            format!("it answered `{content_type}`, and not text of Prometheus or OpenMetrics")
        })?;
        let body = decoded(&answer, config.max_body)?;
        let mut starts = std::mem::take(&mut self.starts);
        let converted =
            self.converting(config, format, now_ns, |conversion| convert(&body, conversion, &mut starts));
        self.starts = starts;
        let mut converted = converted.map_err(|error| error.to_string())?;
        let series = std::mem::take(&mut converted.series);
        let mut text = match body {
            _ if !config.stale_markers || series.is_empty() => return Ok((converted, None)),
            Cow::Borrowed(text) => compressed(text),
            Cow::Owned(_) => answer.body,
        };
        // It is kept: what it grew by when it came is not.
        text.shrink_to_fit();
        Ok((converted, Some(Before { text, format, series })))
    }

    /// Points that say of series of the scrape before that they are not in this one; of all, if there is none.
    pub(crate) fn gone(&self, config: &Config, now: Option<&Series>, now_ns: u64) -> Vec<Points> {
        let Some(before) = &self.before else { return Vec::new() };
        let gone = match now {
            Some(now) => before.series.without(now),
            None => before.series.clone(),
        };
        if gone.is_empty() {
            return Vec::new();
        }
        // It was read before: that it can't be read again can't be, and if it could, nothing would be told.
        let Ok(text) = unzipped(&before.text, config.max_body) else { return Vec::new() };
        let converted = self.converting(config, before.format, now_ns, |conversion| {
            convert_gone(&text, conversion, &gone, &self.starts)
        });
        converted.unwrap_or_default()
    }

    fn converting<T>(
        &self,
        config: &Config,
        format: Format,
        now_ns: u64,
        convert: impl FnOnce(&Conversion<'_>) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let resource = self.attributes();
        let wanted = |name: &str| config.metrics.wants(name);
        let plugin = Scrape::PLUGIN;
        convert(&Conversion {
            format,
            limits: Limits { samples: config.max_samples, ..Limits::default() },
            now_ns,
            honor_timestamps: config.honor_timestamps,
            resource: &resource,
            scope: &Scope { name: plugin.name, version: plugin.version, attributes: None },
            trim_suffixes: config.trim_suffixes,
            wanted: if config.metrics.is_open() { None } else { Some(&wanted) },
            most_points: MOST_POINTS,
        })
    }

    /// Whether nothing would tell the metrics of one from those of the other.
    pub(crate) fn is_alike(&self, other: &Prepared) -> bool {
        self.resource == other.resource
    }

    /// In the agent's log, when a problem begins, changes, or ends.
    pub(crate) fn say(&mut self, result: Result<&Converted, &String>) {
        let problem = result.err();
        if problem != self.problem.as_ref() {
            match problem {
                Some(problem) => warn!("a target can't be scraped: {problem}"; "url" => self.url),
                None => info!("a target can be scraped again"; "url" => self.url),
            }
            self.problem = problem.cloned();
        }
        if let Ok(converted) = result
            && converted.dropped.total() > 0
            && !std::mem::replace(&mut self.dropped, true)
        {
            let dropped = converted.dropped;
            warn!(
                "some samples are left out: they stand twice, don't fit together, or are of a type that OTLP lacks";
                "url" => self.url, "duplicates" => dropped.duplicates, "without_count" => dropped.without_count,
                "malformed" => dropped.malformed, "gauge_histograms" => dropped.gauge_histograms
            );
        }
    }
}

/// Job, instance and address, an unusual path, and the labels of the configuration, which win. The query is left out:
/// it may be a secret.
fn resource(config: &Config, index: usize, url: &Url, instance: &str) -> Vec<(String, Resource)> {
    let target = &config.targets[index];
    let job = target.job.as_deref().or(config.job.as_deref()).unwrap_or(instance);
    let text = |text: &str| Resource::Text(text.to_owned());
    let mut all = vec![("service.name", text(job))];
    match (url.scheme(), url.port()) {
        ("http" | "https", Some(port)) => {
            let host = url.host();
            let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            all.push(("service.instance.id", Resource::Text(format!("{shown}:{port}"))));
            all.push(("server.address", text(host)));
            all.push(("server.port", Resource::Port(port)));
        }
        _ => all.push(("service.instance.id", text(url.authority()))),
    }
    all.push(("url.scheme", text(url.scheme())));
    let target_of = url.target();
    let path = target_of.split('?').next().unwrap_or_default();
    if path != USUAL_PATH {
        all.push(("url.path", text(path)));
    }
    let own = all.into_iter().filter(|(key, _)| !target.labels.contains_key(*key));
    let own = own.map(|(key, value)| (key.to_owned(), value));
    own.chain(target.labels.iter().map(|(key, value)| (key.clone(), text(value)))).collect()
}

/// The body, decompressed within its bound.
fn decoded(answer: &Answer, most: u64) -> Result<Cow<'_, [u8]>, String> {
    match answer.headers.get("content-encoding").unwrap_or("identity").trim() {
        "identity" | "" => Ok(Cow::Borrowed(&answer.body)),
        "gzip" | "x-gzip" => unzipped(&answer.body, most).map(Cow::Owned),
        other => Err(format!("it answered in the encoding `{other}`, which was not asked for")),
    }
}

fn unzipped(bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes).take(most.saturating_add(1));
    let read = reader.read_to_end(&mut body);
    read.map_err(|error| format!("its answer is not gzip as it says: {error}"))?;
    if body.len() as u64 > most {
        return Err(HttpError::TooLarge(most).to_string());
    }
    Ok(body)
}
