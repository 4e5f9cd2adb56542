//! What a metric is, apart from its points.

/// What the time between two points of one series means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temporality {
    /// A point covers what happened since the one before.
    Delta,
    /// A point covers what happened since the start.
    Cumulative,
}

impl Temporality {
    pub(super) const fn number(self) -> u8 {
        match self {
            Temporality::Delta => 1,
            Temporality::Cumulative => 2,
        }
    }
}

/// What the numbers of a metric mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// Each point is a reading of its own.
    Gauge,
    /// Points add up over series.
    Sum {
        /// Whether a point counts from the start or from the one before.
        temporality: Temporality,
        /// Whether it can only grow.
        monotonic: bool,
    },
}

/// A metric of numbers: its name and meaning. Cheap to copy, and can be a constant.
///
/// ```
/// use whimbrel_otlp::write::Metric;
/// const CPU_TIME: Metric = Metric::counter("system.cpu.time", "s", "Seconds each CPU spent in each mode.");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metric<'a> {
    /// Such as `system.cpu.time`.
    pub name: &'a str,
    /// UCUM: `By`, `s`, `1`, `{process}`.
    pub unit: &'a str,
    /// What it means, for people; may be empty.
    pub description: &'a str,
    /// Gauge or sum.
    pub data: Data,
}

impl<'a> Metric<'a> {
    /// A reading of something that does not add up: a temperature, a ratio.
    #[must_use]
    pub const fn gauge(name: &'a str, unit: &'a str, description: &'a str) -> Self {
        Self { name, unit, description, data: Data::Gauge }
    }

    /// A cumulative, monotonic sum: bytes sent since the start.
    #[must_use]
    pub const fn counter(name: &'a str, unit: &'a str, description: &'a str) -> Self {
        Self::sum(name, unit, description, Temporality::Cumulative, true)
    }

    /// A cumulative sum that grows and shrinks: memory in use by state.
    #[must_use]
    pub const fn up_down_counter(name: &'a str, unit: &'a str, description: &'a str) -> Self {
        Self::sum(name, unit, description, Temporality::Cumulative, false)
    }

    /// Any sum.
    #[must_use]
    pub const fn sum(
        name: &'a str,
        unit: &'a str,
        description: &'a str,
        temporality: Temporality,
        monotonic: bool,
    ) -> Self {
        Self { name, unit, description, data: Data::Sum { temporality, monotonic } }
    }
}

/// A metric of histograms: its name and meaning. Cheap to copy, and can be a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Histogram<'a> {
    /// Such as `http.server.request.duration`.
    pub name: &'a str,
    /// UCUM: `By`, `s`, `1`, `{process}`.
    pub unit: &'a str,
    /// What it means, for people; may be empty.
    pub description: &'a str,
    /// Whether a point counts from the start or from the one before.
    pub temporality: Temporality,
}

/// A number as OTLP has it: integers stay integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Number::Int(value)
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Number::Int(value.into())
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Number::Int(value.into())
    }
}

impl From<u64> for Number {
    /// OTLP has no unsigned 64-bit numbers: above `i64::MAX` it stays there.
    fn from(value: u64) -> Self {
        Number::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Double(value)
    }
}

/// One histogram point. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct HistogramPoint<'a> {
    /// When counting began; 0: not known.
    pub start_ns: u64,
    /// When it was read.
    pub time_ns: u64,
    /// How many values.
    pub count: u64,
    /// Their sum, if it can be given.
    pub sum: Option<f64>,
    /// The least of them.
    pub min: Option<f64>,
    /// The greatest of them.
    pub max: Option<f64>,
    /// Upper bounds, ascending; one fewer than `buckets`, or both empty.
    pub bounds: &'a [f64],
    /// How many values in each bucket; the last is beyond all bounds.
    pub buckets: &'a [u64],
}
