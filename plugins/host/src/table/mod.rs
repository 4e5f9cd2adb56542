//! What each figure is emitted as: unit, kind and meaning, and the share that is worked out of it.
//!
//! Two tables: `conventions` has every figure under its name in the OpenTelemetry semantic conventions (v1.44) or,
//! where those have none, under a name of ours in their style; `hostmetrics` has what the Collector's hostmetrics
//! receiver calls the same. The tables in the README are these; a test compares them.

mod conventions;
mod hostmetrics;

pub use conventions::TABLE;
pub use hostmetrics::HOSTMETRICS;

use whimbrel_sdk::{Data, Metric};

/// A figure's meaning.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The part of the host's figures that tells it.
    pub part: &'static str,
    /// Name, unit, description, gauge or sum.
    pub metric: Metric<'static>,
    /// What its numbers are.
    pub number: Number,
    /// What is worked out of it, if anything.
    pub share: Option<Share>,
}

/// Whether numbers are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Counts and bytes.
    Int,
    /// Seconds, averages and shares.
    Double,
}

/// A gauge of how much of a whole each series has.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// The gauge.
    pub metric: Metric<'static>,
    /// What is shared out.
    pub of: Of,
    /// The attribute whose values make up the whole, where that is a sum; the other attributes say of what.
    pub state: &'static str,
    /// The values of `state` that make up the whole and have a share; none: all.
    pub among: &'static [&'static str],
    /// The share of this value of `state` alone is told, without the attribute.
    pub only: Option<&'static str>,
    /// 1, or 100 for per cent.
    pub times: f64,
}

/// What is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// What there is now, added up over the states: shares add up to 1.
    Now,
    /// What was added since the last collect, added up over the states: shares add up to 1.
    Growth,
    /// The host's CPU time since the last collect, over all CPUs and modes.
    HostCpu,
    /// The host's memory.
    HostMemory,
}

/// What the hostmetrics receiver calls a figure.
#[derive(Debug, Clone, Copy)]
pub struct Old {
    /// The figure's name in [`TABLE`].
    pub figure: &'static str,
    /// As the receiver tells it.
    pub entry: Entry,
    /// Its attributes: of what they are made. Those that are not here keep their key.
    pub keys: &'static [Key],
}

/// An attribute under another key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The conventions' key.
    pub from: &'static str,
    /// The receiver's.
    pub to: &'static str,
    /// Its values.
    pub values: Values,
}

/// The values of an attribute under another key.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// Stay.
    Same,
    /// Become others; a series with a value that is not here is none of the receiver's, and left out.
    Become(&'static [(&'static str, &'static str)]),
    /// Are put behind this text: 0 becomes `cpu0`.
    After(&'static str),
}

impl Entry {
    /// Whether it can only grow.
    #[must_use]
    pub const fn is_counter(&self) -> bool {
        matches!(self.metric.data, Data::Sum { monotonic: true, .. })
    }

    const fn double(mut self) -> Self {
        self.number = Number::Double;
        self
    }

    const fn share(
        mut self,
        name: &'static str,
        description: &'static str,
        state: &'static str,
        of: Of,
    ) -> Self {
        let metric = Metric::gauge(name, "1", description);
        self.share = Some(Share { metric, of, state, among: &[], only: None, times: 1.0 });
        self
    }
}

/// The figures of one part.
#[derive(Clone, Copy)]
struct Part(&'static str);

impl Part {
    const fn entry(self, metric: Metric<'static>) -> Entry {
        Entry { part: self.0, metric, number: Number::Int, share: None }
    }

    const fn gauge(self, name: &'static str, unit: &'static str, description: &'static str) -> Entry {
        self.entry(Metric::gauge(name, unit, description))
    }

    const fn counter(self, name: &'static str, unit: &'static str, description: &'static str) -> Entry {
        self.entry(Metric::counter(name, unit, description))
    }

    const fn level(self, name: &'static str, unit: &'static str, description: &'static str) -> Entry {
        self.entry(Metric::up_down_counter(name, unit, description))
    }
}

/// The place of a name in [`TABLE`].
#[must_use]
pub fn find(name: &str) -> Option<usize> {
    TABLE.binary_search_by(|entry| entry.metric.name.cmp(name)).ok()
}
