//! What was found, as metrics.

use whimbrel_sdk::{Attributes, Emit, Error, Metric, Temporality, Value};

use crate::certificate::{Certificates, FLAWS, common_name, has};
use crate::{Found, Prepared, Target};

/// The longest text of an error in an attribute, in bytes.
const MAX_ERROR: usize = 256;

/// A sum that is neither cumulative in truth nor monotonic: so has the Collector's receiver them.
const fn count(name: &'static str, unit: &'static str, description: &'static str) -> Metric<'static> {
    Metric::sum(name, unit, description, Temporality::Cumulative, false)
}

const UP: Metric<'_> =
    Metric::gauge("httpcheck.up", "1", "1 if the answer was all that is expected of it, otherwise 0.");
const DURATION: Metric<'_> =
    Metric::gauge("httpcheck.duration", "ms", "Measures the duration of the HTTP check.");
const STATUS: Metric<'_> = count(
    "httpcheck.status",
    "1",
    "1 if the check resulted in status_code matching the status_class, otherwise 0.",
);
const ERROR: Metric<'_> = count("httpcheck.error", "{error}", "Records errors occurring during HTTP check.");
const SIZE: Metric<'_> = Metric::gauge("httpcheck.response.size", "By", "Size of the answer's body.");
const PASSED: Metric<'_> =
    count("httpcheck.validation.passed", "{validation}", "Validations of the answer that passed.");
const FAILED: Metric<'_> =
    count("httpcheck.validation.failed", "{validation}", "Validations of the answer that failed.");
const REMAINING: Metric<'_> = Metric::gauge(
    "httpcheck.tls.cert_remaining",
    "s",
    "Time in seconds until the certificate expires. Negative: since it expired.",
);
const FLAW: Metric<'_> =
    Metric::gauge("httpcheck.tls.cert_flaw", "1", "1 if the certificate has this flaw, otherwise 0.");

/// One metric after the other, each for all targets.
pub(crate) fn tell(
    out: &mut Emit,
    targets: &[Prepared],
    config: &[Target],
    found: &[Found],
    certificates: &Certificates,
) -> Result<(), Error> {
    let all = || targets.iter().zip(found);
    let mut points = out.metric(&UP);
    for (target, found) in all() {
        points.point(&target.series, i64::from(found.is_good()))?;
    }
    let mut points = out.metric(&DURATION);
    for (target, found) in all() {
        points.point(&target.series, i64::try_from(found.took.as_millis()).unwrap_or(i64::MAX))?;
    }
    let mut points = out.metric(&STATUS);
    for ((target, found), config) in all().zip(config) {
        let status = found.answer.as_ref().map_or(0, |(status, _)| *status);
        for (class, name) in [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")] {
            let series = target
                .series
                .clone()
                .with("http.status_code", i64::from(status))
                .with("http.method", &config.method)
                .with("http.status_class", name);
            points.point(&series, i64::from(status / 100 == class))?;
        }
    }
    errors(out, all())?;
    let sized = all().filter_map(|(target, found)| Some((target, found.answer.as_ref().ok()?.1)));
    let mut points = out.metric(&SIZE);
    for (target, size) in sized {
        points.point(&target.series, i64::try_from(size).unwrap_or(i64::MAX))?;
    }
    for (metric, wanted) in [(PASSED, true), (FAILED, false)] {
        let mut points = out.metric(&metric);
        for (target, found) in all() {
            for (what, passed) in &found.validations {
                let series = target.series.clone().with("validation.type", *what);
                points.point(&series, i64::from(*passed == wanted))?;
            }
        }
    }
    tls(out, targets, certificates)
}

fn errors<'a>(out: &mut Emit, all: impl Iterator<Item = (&'a Prepared, &'a Found)>) -> Result<(), Error> {
    let failed = all.filter_map(|(target, found)| Some((target, found.answer.as_ref().err()?)));
    let mut points = out.metric(&ERROR);
    for (target, error) in failed {
        let mut message = error.to_string();
        message.truncate(message.floor_char_boundary(MAX_ERROR));
        let series = target.series.clone().with("error.message", &message).with("error.type", error.kind());
        points.point(&series, 1i64)?;
    }
    Ok(())
}

fn tls(out: &mut Emit, targets: &[Prepared], certificates: &Certificates) -> Result<(), Error> {
    let now = i64::try_from(out.now_ns() / 1_000_000_000).unwrap_or(i64::MAX);
    let shown: Vec<_> = targets
        .iter()
        .filter_map(|target| Some((target, certificates.of(target.origin.as_ref()?)?)))
        .collect();
    let mut points = out.metric(&REMAINING);
    for (target, certificate) in &shown {
        let names = certificate.names.iter().map(|name| Value::Text(name)).collect();
        let series = target
            .series
            .clone()
            .with("http.tls.issuer", &certificate.issuer)
            .with("http.tls.cn", common_name(&certificate.subject))
            .with("http.tls.san", Value::Array(names));
        points.point(&series, certificate.not_after.saturating_sub(now))?;
    }
    let mut points = out.metric(&FLAW);
    for (target, certificate) in &shown {
        for flaw in FLAWS {
            let series: Attributes = target.series.clone().with("http.tls.flaw", flaw.name());
            points.point(&series, i64::from(has(certificate, flaw, now)))?;
        }
    }
    Ok(())
}
