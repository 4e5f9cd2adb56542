//! One line of a datagram. No crate that parses StatsD is kept well, and the format is small.
//!
//! ```text
//! name:value|type|@rate|#tag:value,tag      type: c, g, ms, h, d, s; values may be packed, 1:2:3
//! _e{title length,text length}:title|text|d:seconds|t:error|#tags
//! _sc|name|status|d:seconds|#tags|m:message
//! ```
//!
//! Sources: the StatsD protocol (github.com/statsd/statsd, docs/metric_types.md) and DogStatsD's datagram format. Fields
//! that are not known (container ids) are passed over.

/// A line.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Metric(Metric<'a>),
    Event(Event<'a>),
}

/// Values of one series.
#[derive(Debug, PartialEq)]
pub(super) struct Metric<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) values: Vec<&'a str>,
    /// How much each value stands for: 1 / rate.
    pub(super) weight: f64,
    pub(super) tags: Vec<(&'a str, &'a str)>,
}

/// What the values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Timer,
    Histogram,
    Set,
}

/// An event or a service check.
#[derive(Debug, PartialEq)]
pub(super) struct Event<'a> {
    /// `statsd.event` or `statsd.service_check`.
    pub(super) kind: &'static str,
    pub(super) title: &'a str,
    pub(super) title_key: &'static str,
    pub(super) text: &'a str,
    pub(super) time_s: Option<u64>,
    pub(super) level: Level,
    pub(super) tags: Vec<(&'a str, &'a str)>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

/// Why a line is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Utf8,
    Form,
    Type,
    Value,
    Rate,
}

impl Problem {
    /// Where it is counted.
    pub(super) fn cause(self) -> &'static str {
        match self {
            Self::Utf8 => "bad_utf8",
            Self::Form => "bad_form",
            Self::Type => "bad_type",
            Self::Value => "bad_value",
            Self::Rate => "bad_rate",
        }
    }
}

/// Reads a line.
///
/// # Errors
/// [`Problem`].
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, Problem> {
    let line = std::str::from_utf8(line).map_err(|_| Problem::Utf8)?.trim_end_matches(['\r', ' ']);
    if let Some(rest) = line.strip_prefix("_e{") {
        return event(rest).map(Line::Event);
    }
    if let Some(rest) = line.strip_prefix("_sc|") {
        return check(rest).map(Line::Event);
    }
    metric(line).map(Line::Metric)
}

fn metric(line: &str) -> Result<Metric<'_>, Problem> {
    let mut fields = line.split('|');
    let (name, values) = fields.next().and_then(|first| first.split_once(':')).ok_or(Problem::Form)?;
    let kind = match fields.next().ok_or(Problem::Form)? {
        "c" | "m" => Kind::Counter,
        "g" => Kind::Gauge,
        "ms" => Kind::Timer,
        "h" | "d" => Kind::Histogram,
        "s" => Kind::Set,
        _ => return Err(Problem::Type),
    };
    if name.is_empty() {
        return Err(Problem::Form);
    }
    let values: Vec<&str> = if kind == Kind::Set { vec![values] } else { values.split(':').collect() };
    let numbers = kind == Kind::Set || values.iter().all(|value| number(value).is_some());
    if !numbers || values.iter().any(|value| value.is_empty()) {
        return Err(Problem::Value);
    }
    let mut metric = Metric { name, kind, values, weight: 1.0, tags: Vec::new() };
    for field in fields {
        if let Some(rate) = field.strip_prefix('@') {
            let rate = number(rate).filter(|rate| *rate > 0.0 && *rate <= 1.0).ok_or(Problem::Rate)?;
            metric.weight = 1.0 / rate;
        } else if let Some(tags) = field.strip_prefix('#') {
            metric.tags = pairs(tags);
        }
    }
    Ok(metric)
}

/// A number as StatsD writes it: no NaN, no infinity.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// `a:b,c`; a key that stands twice counts the first time.
fn pairs(tags: &str) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for tag in tags.split(',').filter(|tag| !tag.is_empty()) {
        let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
        if !key.is_empty() && !pairs.iter().any(|(other, _)| *other == key) {
            pairs.push((key, value));
        }
    }
    pairs
}

fn event(rest: &str) -> Result<Event<'_>, Problem> {
    let (lengths, rest) = rest.split_once("}:").ok_or(Problem::Form)?;
    let (title, text) = lengths.split_once(',').ok_or(Problem::Form)?;
    let length = |text: &str| text.parse::<usize>().map_err(|_| Problem::Form);
    let (title_len, text_len) = (length(title)?, length(text)?);
    let title = rest.get(..title_len).ok_or(Problem::Form)?;
    let rest = rest.get(title_len..).and_then(|rest| rest.strip_prefix('|')).ok_or(Problem::Form)?;
    let text = rest.get(..text_len).ok_or(Problem::Form)?;
    let fields = rest.get(text_len..).unwrap_or_default();
    let mut event = Event {
        kind: "statsd.event",
        title,
        title_key: "event.title",
        text,
        time_s: None,
        level: Level::Info,
        tags: Vec::new(),
    };
    for field in fields.split('|') {
        match field.split_at_checked(2) {
            Some(("d:", time)) => event.time_s = time.parse().ok(),
            Some(("t:", "error")) => event.level = Level::Error,
            Some(("t:", "warning")) => event.level = Level::Warning,
            _ => event.tags = field.strip_prefix('#').map_or(event.tags, pairs),
        }
    }
    Ok(event)
}

fn check(rest: &str) -> Result<Event<'_>, Problem> {
    let mut fields = rest.split('|');
    let name = fields.next().filter(|name| !name.is_empty()).ok_or(Problem::Form)?;
    let level = match fields.next().ok_or(Problem::Form)? {
        "0" => Level::Info,
        "1" | "3" => Level::Warning,
        "2" => Level::Error,
        _ => return Err(Problem::Value),
    };
    let mut event = Event {
        kind: "statsd.service_check",
        title: name,
        title_key: "service_check.name",
        text: "",
        time_s: None,
        level,
        tags: Vec::new(),
    };
    for field in fields {
        match field.split_at_checked(2) {
            Some(("d:", time)) => event.time_s = time.parse().ok(),
            Some(("m:", message)) => event.text = message,
            _ => event.tags = field.strip_prefix('#').map_or(event.tags, pairs),
        }
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric_of(line: &str) -> Metric<'_> {
        match parse(line.as_bytes()) {
            Ok(Line::Metric(metric)) => metric,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn metrics_are_read_with_rate_tags_and_packed_values() {
        let metric = metric_of("page.views:1:2:3|c|@0.5|#country:at,canary,country:de|c:container|T1");
        assert_eq!((metric.name, metric.kind, metric.weight), ("page.views", Kind::Counter, 2.0));
        assert_eq!(metric.values, ["1", "2", "3"]);
        assert_eq!(metric.tags, [("country", "at"), ("canary", "")]);
        assert_eq!(metric_of("users:anna:b|s").values, ["anna:b"], "a set holds any text");
        assert_eq!(metric_of("t:-3.5|g\r").values, ["-3.5"]);
    }

    #[test]
    fn what_is_no_line_is_told_by_its_cause() {
        for (line, problem) in [
            (&b""[..], Problem::Form),
            (b"hello", Problem::Form),
            (b":1|c", Problem::Form),
            (b"a:1", Problem::Form),
            (b"a:1|x", Problem::Type),
            (b"a:|c", Problem::Value),
            (b"a:1:|c", Problem::Value),
            (b"a:NaN|g", Problem::Value),
            (b"a:inf|g", Problem::Value),
            (b"a:1e999|g", Problem::Value),
            (b"a:1|c|@0", Problem::Rate),
            (b"a:1|c|@-1", Problem::Rate),
            (b"a:1|c|@2", Problem::Rate),
            (b"a:\xff|c", Problem::Utf8),
            (b"_e{5,4}:title", Problem::Form),
            (b"_e{99999999999999999999,4}:t|x", Problem::Form),
            (b"_e{1,1}:\xc3\xa9|x", Problem::Form),
            (b"_sc|name|9", Problem::Value),
        ] {
            assert_eq!(parse(line), Err(problem), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn events_and_checks_are_read() {
        let Ok(Line::Event(event)) = parse(b"_e{5,7}:title|a|b\\nc!|d:1790000000|t:error|#k:v") else {
            panic!()
        };
        assert_eq!((event.title, event.text, event.time_s), ("title", "a|b\\nc!", Some(1_790_000_000)));
        assert_eq!((event.level, event.tags), (Level::Error, vec![("k", "v")]));
        let Ok(Line::Event(check)) = parse(b"_sc|db|2|m:down") else { panic!() };
        assert_eq!((check.title, check.level, check.text), ("db", Level::Error, "down"));
    }
}
