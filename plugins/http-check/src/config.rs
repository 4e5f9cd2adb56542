//! What is asked, how, and what a good answer is.

use std::collections::BTreeMap;
use std::time::Duration;

use regex_lite::Regex;
use serde::Deserialize;
use whimbrel_sdk::http::{HeaderValue, Url};
use whimbrel_sdk::{Error, units};

/// More would not be done in an interval.
const MAX_TARGETS: usize = 500;
/// The largest pattern, compiled, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// The configuration, `config:` in the agent's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is asked.
    pub targets: Vec<Target>,
    /// How long one answer may take, where the target does not say.
    #[serde(default = "ten_seconds", deserialize_with = "units::duration")]
    pub timeout: Duration,
    /// How many are asked at a time.
    #[serde(default = "eight")]
    pub at_once: usize,
    /// How often a server's certificate is looked at; what is left of its time is told each interval.
    #[serde(default = "ten_minutes", deserialize_with = "units::duration")]
    pub certificate_interval: Duration,
}

/// One request, and what is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Where.
    pub url: String,
    /// How.
    #[serde(default = "get")]
    pub method: String,
    /// Sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderValue>,
    /// The name of a secret that is sent as a bearer token.
    pub bearer: Option<String>,
    /// Sent along.
    #[serde(default)]
    pub body: String,
    /// What a good answer is.
    #[serde(default)]
    pub expect: Expect,
    /// How long it may take.
    #[serde(default, deserialize_with = "units::optional_duration")]
    pub timeout: Option<Duration>,
    /// How many redirects are followed.
    #[serde(default)]
    pub redirects: u32,
    /// The most that is read of an answer.
    #[serde(default = "one_mebibyte", deserialize_with = "units::size")]
    pub max_body: u64,
    /// Whether the certificate is looked at, where there is one.
    #[serde(default = "yes")]
    pub certificate: bool,
    /// Written on each figure of this target.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// What a good answer is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Its status; without, below 400.
    #[serde(default)]
    pub status: Vec<Status>,
    /// A text that its body holds.
    pub body: Option<String>,
    /// A pattern that its body matches.
    pub body_matches: Option<Pattern>,
}

/// A status, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StatusText")]
pub struct Status {
    from: u16,
    to: u16,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StatusText {
    Code(u16),
    Class(String),
}

/// A regular expression.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn eight() -> usize {
    8
}

fn one_mebibyte() -> u64 {
    1 << 20
}

fn get() -> String {
    "GET".to_owned()
}

fn yes() -> bool {
    true
}

impl TryFrom<StatusText> for Status {
    type Error = String;

    fn try_from(text: StatusText) -> Result<Self, String> {
        let wrong = |text: &str| format!("`{text}` is no status: write 200, or 2xx for a class");
        match text {
            StatusText::Code(code @ 100..=599) => Ok(Self { from: code, to: code }),
            StatusText::Code(code) => Err(wrong(&code.to_string())),
            StatusText::Class(text) => match text.as_bytes() {
                [class @ b'1'..=b'5', b'x', b'x'] => {
                    let from = u16::from(class - b'0') * 100;
                    Ok(Self { from, to: from + 99 })
                }
                _ => Err(wrong(&text)),
            },
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let built = regex_lite::RegexBuilder::new(&text).size_limit(MAX_PATTERN).build();
        built.map(Pattern).map_err(|error| format!("`{text}` is no pattern: {error}"))
    }
}

impl Expect {
    /// Whether the status is a good one.
    pub fn status(&self, status: u16) -> bool {
        match self.status.as_slice() {
            [] => (100..400).contains(&status),
            good => good.iter().any(|one| (one.from..=one.to).contains(&status)),
        }
    }
}

impl Pattern {
    /// Whether it is found in there.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl Config {
    /// What no type refuses.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), Error> {
        if self.targets.is_empty() || self.targets.len() > MAX_TARGETS {
            return Err(Error::config(format!(
                "targets: {} of them, and 1 to {MAX_TARGETS} are needed: - url: https://example.com/health",
                self.targets.len()
            )));
        }
        if !(1..=12).contains(&self.at_once) {
            return Err(Error::config(
                "at_once: write 1 to 12: the agent takes 16 requests of a plugin at a time",
            ));
        }
        for (index, target) in self.targets.iter().enumerate() {
            let url =
                Url::parse(&target.url).filter(|url| ["http", "https", "http+unix"].contains(&url.scheme()));
            if url.is_none() {
                return Err(Error::config(format!(
                    "targets[{index}].url: `{}` is not a URL such as https://example.com/health",
                    target.url
                )));
            }
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if target.method.is_empty() || !target.method.bytes().all(token) || target.method == "CONNECT" {
                return Err(Error::config(format!(
                    "targets[{index}].method: `{}` can't be sent: write GET, HEAD, POST, ...",
                    target.method
                )));
            }
        }
        Ok(())
    }
}
