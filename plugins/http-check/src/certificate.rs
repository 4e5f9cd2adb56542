//! The certificates of the targets' servers: looked at now and then, told each time.

use std::collections::BTreeMap;
use std::time::Duration;

use whimbrel_sdk::certificates::{Certificate, Flaw, peer};
use whimbrel_sdk::http::Url;
use whimbrel_sdk::{clock, warn};

/// A failed look is repeated after so long, however rarely one is made.
const AGAIN: Duration = Duration::from_secs(60);

/// All flaws there are: each is told, with 1 or 0.
pub(crate) const FLAWS: [Flaw; 5] =
    [Flaw::Expired, Flaw::NotYetValid, Flaw::WrongName, Flaw::Untrusted, Flaw::Other];

/// By origin.
#[derive(Debug, Default)]
pub(crate) struct Certificates(BTreeMap<String, Look>);

#[derive(Debug)]
struct Look {
    next_ns: u64,
    found: Option<Certificate>,
    /// Said once until it changes.
    problem: Option<String>,
}

impl Certificates {
    /// Looks at those whose time has come, as long as `left` says that there is some. `suspect`: the server was just
    /// refused on account of its certificate, so that what is known of it may be old.
    pub(crate) fn look(
        &mut self,
        origins: impl IntoIterator<Item = (String, bool)>,
        every: Duration,
        left: impl Fn() -> Duration,
    ) {
        for (origin, suspect) in origins {
            let now_ns = clock::monotonic_ns();
            let look =
                self.0.entry(origin.clone()).or_insert(Look { next_ns: 0, found: None, problem: None });
            let old = suspect && look.found.as_ref().is_some_and(|found| found.flaws.is_empty());
            // One that is slow must not take the others' time.
            let most = left() / 2;
            if (look.next_ns > now_ns && !old) || most < Duration::from_millis(50) {
                continue;
            }
            let (found, problem, wait) = match peer(&origin, most) {
                Ok(found) => (Some(found), None, every),
                Err(error) => (None, Some(error.to_string()), every.min(AGAIN)),
            };
            if let Some(problem) = &problem
                && look.problem.as_ref() != Some(problem)
            {
                warn!("a certificate can't be looked at: {problem}"; "origin" => origin);
            }
            let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            *look = Look { next_ns: now_ns.saturating_add(wait), found, problem };
        }
    }

    /// What the server showed when it was last looked at.
    pub(crate) fn of(&self, origin: &str) -> Option<&Certificate> {
        self.0.get(origin).and_then(|look| look.found.as_ref())
    }
}

/// The origin whose certificate is looked at, if there is one.
pub(crate) fn origin(url: &str) -> Option<String> {
    Url::parse(url).filter(|url| url.scheme() == "https").map(|url| url.origin())
}

/// Whether the certificate has this flaw at this time, in seconds since the epoch: what was not expired when it was
/// looked at may be so now.
pub(crate) fn has(certificate: &Certificate, flaw: Flaw, now: i64) -> bool {
    certificate.flaws.iter().any(|(found, _)| *found == flaw)
        || (flaw == Flaw::Expired && now > certificate.not_after)
}

/// The common name of a distinguished name, or all of it.
pub(crate) fn common_name(name: &str) -> &str {
    let part = name.split(", ").find_map(|part| part.trim().strip_prefix("CN="));
    part.unwrap_or(name)
}
