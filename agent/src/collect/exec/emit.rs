//! What a program said, as OTLP.
//!
//! | Nagios | OTLP |
//! |---|---|
//! | exit code | gauge `nagios.state`: 0 ok, 1 warning, 2 critical, 3 unknown |
//! | performance data | gauge `nagios.perfdata` by `nagios.perfdata.label`, one a unit; with unit `c` a sum |
//! | thresholds, minimum, maximum | gauge `nagios.perfdata.limit` by `nagios.perfdata.label`, `nagios.limit.kind`, `nagios.limit.bound` |
//! | text | log record, event `nagios.state_change`, when the state changes |

use std::collections::BTreeMap;

use whimbrel_otlp::{
    Signal,
    write::{Attributes, Data, LogRecord, Logs, Metric, Metrics, Severity, Temporality, Value},
};
use whimbrel_prometheus_text::{Conversion, Format, Limits, Starts, convert};

use super::{
    Fault, Outcome,
    child::{Ending, Run},
    nagios::{self, Datum, Range, State},
};

/// As plugins are asked to.
const MOST_POINTS: usize = 1000;

/// Who says it, and when.
pub(super) struct Scope<'s> {
    pub(super) collector: &'s str,
    pub(super) now_ns: u64,
}

impl Scope<'_> {
    fn attributes(&self) -> Attributes {
        Attributes::new().with("whimbrel.collector", self.collector)
    }

    fn of<'a>(&self, attributes: &'a Attributes) -> whimbrel_otlp::write::Scope<'a> {
        whimbrel_otlp::write::Scope {
            name: "whimbrel.exec",
            version: env!("CARGO_PKG_VERSION"),
            attributes: Some(attributes),
        }
    }
}

/// All of the text, or nothing of it.
pub(super) fn prometheus(text: &[u8], scope: &Scope<'_>, starts: &mut Starts) -> Outcome {
    let attributes = scope.attributes();
    let conversion = Conversion {
        format: Format::of_text(text),
        limits: Limits::default(),
        now_ns: scope.now_ns,
        honor_timestamps: true,
        resource: &[],
        scope: &scope.of(&attributes),
        trim_suffixes: false,
        wanted: None,
        most_points: MOST_POINTS,
    };
    match convert(text, &conversion, starts) {
        Ok(converted) => {
            let dropped = converted.dropped;
            let fault = (dropped.total() > 0).then(|| Fault {
                cause: "format",
                message: format!(
                    "{} of {} samples can't be OTLP: {} twice, {} histograms or summaries without _count, {} \
                     malformed, {} gauge histograms",
                    dropped.total(),
                    converted.samples,
                    dropped.duplicates,
                    dropped.without_count,
                    dropped.malformed,
                    dropped.gauge_histograms
                ),
                limit: None,
            });
            let batches = converted.requests.into_iter().map(|request| (Signal::Metrics, request.bytes));
            Outcome { batches: batches.collect(), fault }
        }
        Err(error) => Outcome {
            batches: Vec::new(),
            fault: Some(Fault {
                cause: "format",
                message: format!("its output is not understood: {error}"),
                limit: None,
            }),
        },
    }
}

/// State, performance data, and where the state has changed since `before`, a log record.
pub(super) fn nagios(run: &Run, ended: Option<Fault>, scope: &Scope<'_>, before: &mut Option<u8>) -> Outcome {
    let known = match run.ending {
        Ending::Code(code) => State::of_code(code),
        _ => None,
    };
    let mut said = nagios::read(&String::from_utf8_lossy(&run.output));
    let state = known.unwrap_or(State::Unknown);
    let fault = ended.filter(|_| known.is_none());
    if let Some(fault) = &fault {
        // What a check that was ended said so far is no measurement.
        said.data.clear();
        said.text = fault.message.clone();
    }
    let mut batches = vec![(Signal::Metrics, metrics(state, &said.data, scope))];
    let previous = before.replace(state as u8);
    if previous != Some(state as u8) {
        batches.push((Signal::Logs, record(state, previous, &said.text, scope)));
    }
    let unread = (said.unread > 0 && fault.is_none()).then(|| Fault {
        cause: "format",
        message: format!("{} pieces of performance data are not understood", said.unread),
        limit: None,
    });
    Outcome { batches, fault: fault.or(unread) }
}

fn metrics(state: State, data: &[Datum], scope: &Scope<'_>) -> Vec<u8> {
    const STATE: Metric<'_> =
        Metric::gauge("nagios.state", "1", "State of the check: 0 ok, 1 warning, 2 critical, 3 unknown.");
    let own = scope.attributes();
    let mut request = Metrics::new();
    request.resource(&Attributes::new());
    request.scope(&scope.of(&own));
    let named = Attributes::new().with("nagios.state.name", state.name());
    request.metric(&STATE).point(&named, 0, scope.now_ns, state as i64);
    // One metric a unit: a unit is part of what a metric is.
    let mut by_unit: BTreeMap<(&str, bool), Vec<&Datum>> = BTreeMap::new();
    for datum in data {
        by_unit.entry(nagios::unit(&datum.unit)).or_default().push(datum);
    }
    for ((unit, counter), data) in by_unit {
        let kind = match counter {
            true => Data::Sum { temporality: Temporality::Cumulative, monotonic: true },
            false => Data::Gauge,
        };
        let metric = Metric {
            name: "nagios.perfdata",
            unit,
            description: "Performance data of the check.",
            data: kind,
        };
        let mut points = request.metric(&metric);
        for datum in &data {
            if let Some(value) = datum.value {
                points.point(&labelled(datum), 0, scope.now_ns, value);
            }
        }
        let limit =
            Metric::gauge("nagios.perfdata.limit", unit, "Thresholds and bounds of performance data.");
        let mut points = request.metric(&limit);
        for datum in &data {
            for (series, value) in limits(datum) {
                points.point(&series, 0, scope.now_ns, value);
            }
        }
    }
    request.take()
}

fn labelled(datum: &Datum) -> Attributes {
    Attributes::new().with("nagios.perfdata.label", datum.label.as_str())
}

fn limits(datum: &Datum) -> Vec<(Attributes, f64)> {
    let one = |kind: &str, bound: &str, inside: bool, value: Option<f64>| {
        let series = labelled(datum).with("nagios.limit.kind", kind).with("nagios.limit.bound", bound);
        let series = if inside { series.with("nagios.limit.inside", true) } else { series };
        value.map(|value| (series, value))
    };
    let range = |kind: &str, range: Option<Range>| {
        let Range { lower, upper, inside } =
            range.unwrap_or(Range { lower: None, upper: None, inside: false });
        [one(kind, "lower", inside, lower), one(kind, "upper", inside, upper)]
    };
    let ranges = [range("warning", datum.warning), range("critical", datum.critical)];
    let ends = [one("range", "lower", false, datum.minimum), one("range", "upper", false, datum.maximum)];
    ranges.into_iter().chain([ends]).flatten().flatten().collect()
}

fn record(state: State, previous: Option<u8>, text: &str, scope: &Scope<'_>) -> Vec<u8> {
    let own = scope.attributes();
    let mut request = Logs::new();
    request.resource(&Attributes::new());
    request.scope(&scope.of(&own));
    let mut attributes = Attributes::new().with("nagios.state", state.name());
    if let Some(previous) = previous.and_then(|code| State::of_code(code.into())) {
        attributes.push("nagios.state.previous", previous.name());
    }
    let severity = match state {
        State::Ok => Severity::INFO,
        State::Warning | State::Unknown => Severity::WARN,
        State::Critical => Severity::ERROR,
    };
    request.record(&LogRecord {
        time_ns: scope.now_ns,
        observed_ns: scope.now_ns,
        severity,
        severity_text: state.name(),
        event_name: "nagios.state_change",
        body: Value::Text(text),
        attributes: Some(&attributes),
        ..LogRecord::default()
    });
    request.take()
}

#[cfg(test)]
mod tests {
    use whimbrel_otlp::to_json;

    use super::{super::child::Lines, *};

    const SCOPE: Scope<'_> = Scope { collector: "check", now_ns: 7 };

    fn run(ending: Ending, output: &str) -> Run {
        Run { ending, output: output.as_bytes().to_vec(), errors: Lines::default() }
    }

    fn shown(outcome: &Outcome) -> Vec<String> {
        let json = |(signal, bytes): &(Signal, Vec<u8>)| {
            String::from_utf8(to_json(*signal, bytes).unwrap().into()).unwrap()
        };
        outcome.batches.iter().map(json).collect()
    }

    #[test]
    fn a_check_becomes_state_data_and_at_a_change_a_record() {
        let mut before = None;
        let critical = run(Ending::Code(2), "LOAD CRITICAL | load1=9.5;5;8;0 in=3c");
        let outcome = nagios(&critical, None, &SCOPE, &mut before);
        let [metrics, logs] = &shown(&outcome)[..] else { panic!("{:?}", shown(&outcome)) };
        for part in [
            r#""name":"nagios.state""#,
            r#""asInt":"2""#,
            r#""stringValue":"load1""#,
            r#""asDouble":9.5"#,
            r#""isMonotonic":true"#,
            r#""stringValue":"critical""#,
        ] {
            assert!(metrics.contains(part), "{part} in {metrics}");
        }
        assert!(logs.contains(r#""body":{"stringValue":"LOAD CRITICAL"}"#), "{logs}");
        assert!(logs.contains(r#""severityNumber":17"#), "{logs}");
        assert!(outcome.fault.is_none());
        let again = nagios(&critical, None, &SCOPE, &mut before);
        assert_eq!(again.batches.len(), 1, "no record where nothing changed");
        let ok = nagios(&run(Ending::Code(0), "LOAD OK"), None, &SCOPE, &mut before);
        assert!(
            shown(&ok)[1].contains(r#"{"key":"nagios.state.previous","value":{"stringValue":"critical"}}"#)
        );
    }

    #[test]
    fn a_check_that_was_ended_is_unknown_and_measures_nothing() {
        let fault = Fault { cause: "deadline", message: "not done in 1s".into(), limit: None };
        let mut before = Some(0);
        let outcome = nagios(&run(Ending::Overdue, "OK | a=1"), Some(fault), &SCOPE, &mut before);
        let shown = shown(&outcome);
        assert!(shown[0].contains(r#""asInt":"3""#) && !shown[0].contains("perfdata"), "{shown:?}");
        assert!(shown[1].contains("not done in 1s"), "{shown:?}");
        assert_eq!(outcome.fault.map(|fault| fault.cause), Some("deadline"));
        assert_eq!(before, Some(3));
    }

    #[test]
    fn output_that_is_not_understood_names_its_line_and_sends_nothing() {
        let outcome = prometheus(b"a 1\nb {\n", &SCOPE, &mut Starts::new());
        assert!(outcome.batches.is_empty());
        let message = outcome.fault.unwrap().message;
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn both_formats_are_told_apart_by_their_end() {
        let open = prometheus(b"# TYPE a counter\na_total 1\n# EOF\n", &SCOPE, &mut Starts::new());
        assert!(shown(&open)[0].contains(r#""name":"a_total""#));
        assert!(open.fault.is_none());
        let text = prometheus(b"a 1\n\n", &SCOPE, &mut Starts::new());
        assert_eq!((text.batches.len(), text.fault.is_none()), (1, true));
    }
}
