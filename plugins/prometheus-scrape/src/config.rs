//! What is scraped, and within which bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use glob::Pattern;
use serde::Deserialize;
use whimbrel_sdk::http::{HeaderValue, Url};
use whimbrel_sdk::{Error, units};

/// More would not be done in an interval.
const MAX_TARGETS: usize = 500;

/// The configuration, `config:` in the agent's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is scraped.
    pub targets: Vec<Target>,
    /// The job of targets that name none: `service.name`. Without, the collector's name.
    pub job: Option<String>,
    /// Sent to each target.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderValue>,
    /// The name of a secret that is sent to each target as a bearer token.
    pub bearer: Option<String>,
    /// How long a scrape may take, where the target does not say.
    #[serde(default = "ten_seconds", deserialize_with = "units::duration")]
    pub timeout: Duration,
    /// How many are scraped at a time.
    #[serde(default = "four")]
    pub at_once: usize,
    /// Which metrics are wanted.
    #[serde(default)]
    pub metrics: Filter,
    /// The most that one target may say, in bytes, decompressed.
    #[serde(default = "four_mebibytes", deserialize_with = "units::size")]
    pub max_body: u64,
    /// The most samples of one target.
    #[serde(default = "fifty_thousand")]
    pub max_samples: usize,
    /// Whether times that samples bring count.
    #[serde(default = "yes")]
    pub honor_timestamps: bool,
    /// Whether `_total`, `_info` and units are taken off names.
    #[serde(default)]
    pub trim_suffixes: bool,
    /// Whether a series that is gone gets a last point that says so.
    #[serde(default = "yes")]
    pub stale_markers: bool,
    /// How many redirects are followed.
    #[serde(default = "three")]
    pub redirects: u32,
}

/// One exporter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Where, with its path: `http://localhost:9100/metrics`.
    pub url: String,
    /// What it is a part of: `service.name`.
    pub job: Option<String>,
    /// Attributes of its resource.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Sent along, beside those for all.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderValue>,
    /// As for all.
    pub bearer: Option<String>,
    /// How long it may take.
    #[serde(default, deserialize_with = "units::optional_duration")]
    pub timeout: Option<Duration>,
}

/// Which metrics are wanted, by patterns on the names of samples.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// If any stand here, only these.
    #[serde(default)]
    include: Vec<Glob>,
    /// Never these.
    #[serde(default)]
    exclude: Vec<Glob>,
}

/// `go_*`
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Glob(Pattern);

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn four_mebibytes() -> u64 {
    4 << 20
}

fn fifty_thousand() -> usize {
    50_000
}

fn three() -> u32 {
    3
}

fn four() -> usize {
    4
}

fn yes() -> bool {
    true
}

impl TryFrom<String> for Glob {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Pattern::new(&text).map(Glob).map_err(|error| format!("`{text}` is no pattern: {error}"))
    }
}

impl Filter {
    /// Whether nothing is left out.
    pub fn is_open(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the samples of this name are wanted.
    pub fn wants(&self, name: &str) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.0.matches(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

impl Config {
    /// What no type refuses; answers the targets' URLs.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<Vec<Url>, Error> {
        if self.targets.is_empty() || self.targets.len() > MAX_TARGETS {
            return Err(Error::config(format!(
                "targets: {} of them, and 1 to {MAX_TARGETS} are needed: - url: http://localhost:9100/metrics",
                self.targets.len()
            )));
        }
        if !(1..=12).contains(&self.at_once) {
            return Err(Error::config(
                "at_once: write 1 to 12: the agent takes 16 requests of a plugin at a time",
            ));
        }
        let mut urls: Vec<Url> = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let url =
                Url::parse(&target.url).filter(|url| ["http", "https", "http+unix"].contains(&url.scheme()));
            let Some(url) = url else {
                return Err(Error::config(format!(
                    "targets[{index}].url: `{}` is not a URL such as http://localhost:9100/metrics",
                    target.url
                )));
            };
            if urls.contains(&url) {
                return Err(Error::config(format!("targets[{index}].url: {url} stands twice")));
            }
            urls.push(url);
        }
        Ok(urls)
    }
}
