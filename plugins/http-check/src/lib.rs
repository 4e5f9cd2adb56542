//! Asks servers whether they are well: how long they take, what they answer, and how long their certificates last.
//!
//! Names and meanings are those of the Collector's receiver `httpcheck`, so that dashboards fit. All targets are asked
//! in each collect, several at a time; one that does not answer costs its timeout and spoils no other.

mod certificate;
mod config;
mod tell;

use std::collections::BTreeMap;
use std::time::Duration;

use whimbrel_sdk::http::{Error as HttpError, Outcome, Request, all};
use whimbrel_sdk::{Attributes, Collector, Context, Emit, Error, More, collector, secrets, warn};

use certificate::Certificates;
pub use config::{Config, Expect, Pattern, Status, Target};

/// What is kept of a collect's time for telling what was found.
const MARGIN: Duration = Duration::from_millis(200);

/// The collector.
#[derive(Debug)]
pub struct HttpCheck {
    config: Config,
    targets: Vec<Prepared>,
    certificates: Certificates,
}

/// A target, as far as it can be made once.
#[derive(Debug)]
struct Prepared {
    request: Request,
    timeout: Duration,
    /// `http.url`, and what the configuration adds.
    series: Attributes,
    /// Of https, if it is to be looked at.
    origin: Option<String>,
    /// What was wrong the last time: each problem is said once.
    problem: Option<String>,
}

/// What came of one request.
#[derive(Debug)]
struct Found {
    took: Duration,
    /// Status and size of the answer, or why there is none.
    answer: Result<(u16, usize), HttpError>,
    /// What was expected, by its type, and whether it was so.
    validations: Vec<(&'static str, bool)>,
}

impl Found {
    fn is_good(&self) -> bool {
        self.answer.is_ok() && self.validations.iter().all(|(_, passed)| *passed)
    }
}

impl Collector for HttpCheck {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let config = context.config;
        config.check()?;
        let targets =
            config.targets.iter().map(|target| Prepared::new(target, &config)).collect::<Result<_, _>>()?;
        Ok(Self { config, targets, certificates: Certificates::default() })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let left = || out.remaining().saturating_sub(MARGIN);
        let requests =
            self.targets.iter().map(|target| target.request.clone().timeout(target.timeout.min(left())));
        let mut found: Vec<Option<Found>> = Vec::new();
        found.resize_with(self.targets.len(), || None);
        all(requests, self.config.at_once, |index, outcome| {
            found[index] = Some(Found::new(outcome, &self.config.targets[index].expect));
        });
        let found: Vec<Found> = found.into_iter().flatten().collect();
        for (target, found) in self.targets.iter_mut().zip(&found) {
            target.say(found);
        }
        let mut origins: BTreeMap<String, bool> = BTreeMap::new();
        for (target, found) in self.targets.iter().zip(&found) {
            let suspect = matches!(found.answer, Err(HttpError::Certificate(_)));
            if let Some(origin) = &target.origin {
                *origins.entry(origin.clone()).or_default() |= suspect;
            }
        }
        self.certificates.look(origins, self.config.certificate_interval, left);
        tell::tell(out, &self.targets, &self.config.targets, &found, &self.certificates)?;
        Ok(More::No)
    }
}

impl Prepared {
    fn new(target: &Target, config: &Config) -> Result<Self, Error> {
        let mut request = Request::new(&target.method, &target.url)
            .redirects(target.redirects)
            .max_body(target.max_body)
            .body(target.body.as_bytes());
        if !target.headers.keys().any(|name| name.eq_ignore_ascii_case("user-agent")) {
            request =
                request.header("user-agent", concat!("whimbrel-http-check/", env!("CARGO_PKG_VERSION")));
        }
        for (name, value) in &target.headers {
            request = request.header(name, value.reveal()?);
        }
        if let Some(name) = &target.bearer {
            request = request.bearer(&secrets::reveal(name)?);
        }
        let mut series = Attributes::new().with("http.url", &target.url);
        for (key, value) in &target.attributes {
            series.push(key, value);
        }
        Ok(Self {
            request,
            timeout: target.timeout.unwrap_or(config.timeout),
            series,
            origin: certificate::origin(&target.url).filter(|_| target.certificate),
            problem: None,
        })
    }

    /// In the agent's log, when it begins, changes, or ends.
    fn say(&mut self, found: &Found) {
        let problem =
            match &found.answer {
                Err(error) => Some(error.to_string()),
                Ok((status, _)) => found.validations.iter().find(|(_, passed)| !passed).map(|(what, _)| {
                    format!("it answered {status}, and not what is expected of it ({what})")
                }),
            };
        if problem != self.problem {
            match &problem {
                Some(problem) => warn!("a target is not well: {problem}"; "url" => self.request.url()),
                None => whimbrel_sdk::info!("a target is well again"; "url" => self.request.url()),
            }
            self.problem = problem;
        }
    }
}

impl Found {
    fn new(outcome: Outcome, expect: &Expect) -> Self {
        let mut validations = Vec::new();
        let answer = outcome.result.map(|answer| {
            validations.push(("status", expect.status(answer.status)));
            if expect.body.is_some() || expect.body_matches.is_some() {
                let text = String::from_utf8_lossy(&answer.body);
                validations.extend(expect.body.as_ref().map(|part| ("contains", text.contains(part))));
                validations
                    .extend(expect.body_matches.as_ref().map(|pattern| ("regex", pattern.is_in(&text))));
            }
            (answer.status, answer.body.len())
        });
        Self { took: outcome.took, answer, validations }
    }
}

collector!(HttpCheck {
    name: "http-check",
    description: "Asks servers whether they are well: how long they take, what they answer, how long their certificates last.",
    config_schema: include_str!("../config.schema.json"),
});
