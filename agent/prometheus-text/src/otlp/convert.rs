//! A whole text into export requests.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use whimbrel_otlp::write::{Attributes, Scope, Value};

use super::{
    family::{Family, Meta, What, Writing},
    scopes::Scopes,
    series::Series,
    starts::Starts,
};
use crate::{
    format::{Format, Limits, Type},
    parse::{Event, Sample, one_sample, parse},
    problem::{ParseError, Problem},
};

/// Whose labels are the resource's.
const TARGET_INFO: &str = "target_info";
/// Whose labels are a scope's.
const SCOPE_INFO: &str = "otel_scope_info";
/// What samples are called beside their family.
const SUFFIXES: [&str; 8] = ["_total", "_created", "_bucket", "_count", "_sum", "_info", "_gcount", "_gsum"];

/// How a text is to be converted.
#[derive(Clone, Copy)]
pub struct Conversion<'a> {
    /// What it is written in.
    pub format: Format,
    /// What it may hold.
    pub limits: Limits,
    /// When it was read, nanoseconds since the Unix epoch: the time of samples that have none.
    pub now_ns: u64,
    /// Whether the times of samples count, or `now_ns` is the time of all.
    pub honor_timestamps: bool,
    /// What was asked. `target_info` adds what does not stand here.
    pub resource: &'a [(&'a str, Value<'a>)],
    /// Who translates: the scope of samples that say nothing of theirs.
    pub scope: &'a Scope<'a>,
    /// Whether `_total`, `_info` and the unit are taken off names. The specification's default is no.
    pub trim_suffixes: bool,
    /// By a sample's name, whether it is wanted.
    pub wanted: Option<&'a dyn Fn(&str) -> bool>,
    /// At most so many points in a request; 0 is 1.
    pub most_points: usize,
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Converted {
    /// Requests to send, in order.
    pub requests: Vec<Request>,
    /// How many samples were read, wanted or not.
    pub samples: usize,
    /// What did not become points.
    pub dropped: Dropped,
    /// What did, but for series with times of their own.
    pub series: Series,
}

/// One export request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// OTLP, an `ExportMetricsServiceRequest`.
    pub bytes: Vec<u8>,
    /// How many points it has.
    pub points: usize,
}

/// What did not become points, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Samples that nobody wants.
    pub unwanted: usize,
    /// Samples that stand twice.
    pub duplicates: usize,
    /// Series of histograms and summaries without `_count`.
    pub without_count: usize,
    /// Series whose parts don't fit: buckets that fall, counts that are none, bounds that are no numbers.
    pub malformed: usize,
    /// Series of a type that OTLP does not have.
    pub gauge_histograms: usize,
}

impl Dropped {
    /// All but what nobody wants.
    #[must_use]
    pub fn total(&self) -> usize {
        self.duplicates + self.without_count + self.malformed + self.gauge_histograms
    }
}

/// Converts a whole text. `starts` is what is remembered of where it came from; after an error it may hold what the
/// text began with, which does no harm.
///
/// # Errors
/// What is wrong, and in which line. Nothing is to be sent then: what follows the line is not known.
pub fn convert(
    text: &[u8],
    conversion: &Conversion<'_>,
    starts: &mut Starts,
) -> Result<Converted, ParseError> {
    let what = What::Values(&mut *starts);
    let converted = Converter::new(text, conversion, what).run(text)?;
    starts.end_turn();
    Ok(converted)
}

/// Of a text that was converted before, points that say of these series that they have no value any more: OTLP's flag
/// `NO_RECORDED_VALUE`, at [`Conversion::now_ns`]. `conversion` is otherwise what it was then.
///
/// # Errors
/// As [`convert`]: the text or the conversion is another than then.
pub fn convert_gone(
    text: &[u8],
    conversion: &Conversion<'_>,
    gone: &Series,
    starts: &Starts,
) -> Result<Vec<Request>, ParseError> {
    let converted = Converter::new(text, conversion, What::Gone { gone, starts }).run(text)?;
    Ok(converted.requests)
}

struct Converter<'c, 'a> {
    conversion: &'c Conversion<'c>,
    what: What<'c>,
    scopes: Scopes,
    meta: HashMap<Cow<'a, str>, Meta<'a>>,
    open: Option<Family<'a>>,
    /// Families that ended; in OpenMetrics they don't come again.
    ended: HashSet<Cow<'a, str>>,
    waiting: usize,
    /// Of the series that were written.
    hashes: Vec<u64>,
    converted: Converted,
}

impl<'c, 'a> Converter<'c, 'a> {
    fn new(text: &'a [u8], conversion: &'c Conversion<'c>, what: What<'c>) -> Self {
        // What is said about resource and scopes may stand behind what it is about.
        let mut target = Vec::new();
        let mut about_scopes = Vec::new();
        for line in text.split(|b| *b == b'\n') {
            if !(line.starts_with(TARGET_INFO.as_bytes()) || line.starts_with(SCOPE_INFO.as_bytes())) {
                continue;
            }
            match one_sample(line, conversion.format, &conversion.limits) {
                Some(sample) if sample.name == TARGET_INFO => target.extend(sample.labels),
                Some(sample) if sample.name == SCOPE_INFO => about_scopes.push(sample.labels),
                _ => {}
            }
        }
        let mut resource = Attributes::new();
        let mut known = HashSet::new();
        for (key, value) in conversion.resource {
            known.insert(Cow::Borrowed(*key));
            resource.push(key, value.clone());
        }
        for (key, value) in target {
            if known.insert(key.clone()) {
                resource.push(&key, Value::Text(&value));
            }
        }
        let mut scopes = Scopes::new(resource, conversion.scope);
        about_scopes.into_iter().for_each(|labels| scopes.learn(labels));
        Self {
            conversion,
            what,
            scopes,
            meta: HashMap::new(),
            open: None,
            ended: HashSet::new(),
            waiting: 0,
            hashes: Vec::new(),
            converted: Converted::default(),
        }
    }

    fn run(mut self, text: &'a [u8]) -> Result<Converted, ParseError> {
        let mut events = parse(text, self.conversion.format, &self.conversion.limits);
        while let Some(event) = events.next() {
            self.take(event?).map_err(|problem| ParseError { line: events.line(), problem })?;
        }
        Ok(self.end())
    }

    fn take(&mut self, event: Event<'a>) -> Result<(), Problem> {
        let strict = self.conversion.format == Format::OpenMetrics;
        let twice = |what, family: Cow<'a, str>| Problem::MetadataTwice { what, family: family.into_owned() };
        match event {
            Event::Type { family, kind } => {
                let meta = self.meta_of(&family)?;
                if strict && meta.kind.is_some() {
                    return Err(twice("TYPE", family));
                }
                meta.kind = Some(kind);
            }
            Event::Help { family, text } => {
                let meta = self.meta_of(&family)?;
                if strict && meta.help.is_some() {
                    return Err(twice("HELP", family));
                }
                meta.help = Some(text);
            }
            Event::Unit { family, unit } => {
                let meta = self.meta_of(&family)?;
                if strict && meta.unit.is_some() {
                    return Err(twice("UNIT", family));
                }
                meta.unit = Some(unit);
            }
            Event::Sample(sample) => self.sample(sample)?,
        }
        Ok(())
    }

    /// What is known about a family. Metadata ends the family before it.
    fn meta_of(&mut self, family: &Cow<'a, str>) -> Result<&mut Meta<'a>, Problem> {
        if self.open.as_ref().is_some_and(|open| !open.samples_of(family)) {
            self.end_family();
        }
        if self.conversion.format == Format::OpenMetrics && self.ended.contains(family) {
            return Err(Problem::Interleaved(family.clone().into_owned()));
        }
        Ok(self.meta.entry(family.clone()).or_default())
    }

    fn sample(&mut self, mut sample: Sample<'a>) -> Result<(), Problem> {
        self.converted.samples += 1;
        if sample.name == TARGET_INFO || sample.name == SCOPE_INFO {
            return Ok(());
        }
        if !self.conversion.honor_timestamps {
            sample.time_ns = None;
        }
        let (base, kind) = self.family_of(&sample.name);
        let family = cut(&sample.name, base);
        let suffix = sample.name[base..].to_owned();
        if self.open.as_ref().is_none_or(|open| !open.samples_of(&family) || open.kind != kind) {
            self.end_family();
            if self.conversion.format == Format::OpenMetrics && self.ended.contains(&family) {
                return Err(Problem::Interleaved(family.into_owned()));
            }
            let metric = self.metric_name(&sample.name, &family, kind);
            self.open = Some(Family::new(family, metric, kind));
        }
        // A filter takes single samples away, not what keeps families apart.
        if self.conversion.wanted.is_some_and(|wanted| !wanted(&sample.name)) {
            self.converted.dropped.unwanted += 1;
            return Ok(());
        }
        let open = self.open.as_mut().expect("it was opened above");
        let now_ns = self.conversion.now_ns;
        open.add(sample, &suffix, now_ns, &mut self.scopes, &mut self.converted.dropped);
        Ok(())
    }

    /// How much of a sample's name is its family's, and what that is.
    fn family_of(&self, name: &str) -> (usize, Type) {
        let kind = |family: &str| self.meta.get(family).and_then(|meta| meta.kind);
        match kind(name) {
            // These have no samples of their family's name: it is someone else's.
            Some(Type::Histogram | Type::GaugeHistogram) => return (name.len(), Type::Unknown),
            Some(kind) => return (name.len(), kind),
            None => {}
        }
        for suffix in SUFFIXES {
            if let Some(family) = name.strip_suffix(suffix)
                && let Some(kind) = kind(family)
                && kind.has_suffix(suffix)
            {
                return (family.len(), kind);
            }
        }
        (name.len(), Type::Unknown)
    }

    fn metric_name(&self, sample: &str, family: &str, kind: Type) -> String {
        let full = match kind {
            // Its value may follow its `_created`.
            Type::Counter if sample != family => format!("{family}_total"),
            Type::Info if sample != family => format!("{family}_info"),
            _ => family.to_owned(),
        };
        if !self.conversion.trim_suffixes {
            return full;
        }
        let suffix = match kind {
            Type::Counter => "_total",
            Type::Info => "_info",
            _ => "",
        };
        let mut name = full.strip_suffix(suffix).unwrap_or(&full);
        let unit = self.meta.get(family).and_then(|meta| meta.unit).filter(|unit| !unit.is_empty());
        if let Some(short) = unit.and_then(|unit| name.strip_suffix(unit)?.strip_suffix('_')) {
            name = short;
        }
        name.to_owned()
    }

    fn end_family(&mut self) {
        let Some(family) = self.open.take() else { return };
        if self.conversion.format == Format::OpenMetrics {
            self.ended.insert(family.name.clone());
        }
        let nothing = Meta::default();
        let meta = self.meta.get(&family.name).unwrap_or(&nothing);
        let mut writing = Writing {
            scopes: &mut self.scopes,
            what: &mut self.what,
            hashes: &mut self.hashes,
            dropped: &mut self.converted.dropped,
            waiting: self.waiting,
            most: self.conversion.most_points.max(1),
        };
        let requests = &mut self.converted.requests;
        family.write(meta, &mut writing, |scopes, points| {
            requests.push(Request { bytes: scopes.take(), points });
        });
        self.waiting = writing.waiting;
    }

    fn end(mut self) -> Converted {
        self.end_family();
        if self.waiting > 0 {
            self.converted.requests.push(Request { bytes: self.scopes.take(), points: self.waiting });
        }
        self.converted.series = Series::of(self.hashes);
        self.converted
    }
}

/// The first `len` bytes of a name.
fn cut<'a>(name: &Cow<'a, str>, len: usize) -> Cow<'a, str> {
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(&name[..len]),
        Cow::Owned(name) => Cow::Owned(name[..len].to_owned()),
    }
}
