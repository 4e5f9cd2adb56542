//! What a snapshot is made of: plain mirrors of the plugin contract's `entity` and `figure`.

use std::borrow::Cow;

/// Figures of one thing: the host itself, or something on it that has an identity of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// What names the thing, as OTLP resource attributes; empty for the host itself.
    pub resource: Vec<(&'static str, Value)>,
    /// Figures of one name stand together, in the same order from one snapshot to the next as long as no
    /// device comes or goes.
    pub figures: Vec<Figure>,
}

/// One number, with what distinguishes it from others of its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// A semantic-convention name, such as `system.cpu.time`; which unit it has follows from the name.
    pub name: &'static str,
    /// Unique for the name within a snapshot; always in the same order for one name.
    pub attributes: Vec<(&'static str, Value)>,
    /// When a counter began, nanoseconds since the Unix epoch; 0 for what is not a counter.
    pub start_ns: u64,
    /// In the name's unit. Counts are exact up to 2^53.
    pub value: f64,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// UTF-8; what the kernel says in other bytes has U+FFFD in their place.
    Text(Cow<'static, str>),
    /// A number that identifies, such as that of a logical CPU.
    Int(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl Entity {
    /// Figures of the host itself.
    pub(super) fn host(figures: Vec<Figure>) -> Self {
        Self { resource: Vec::new(), figures }
    }
}

impl Figure {
    /// What is now so: a gauge or an up-down counter.
    pub(super) fn now(name: &'static str, value: f64) -> Self {
        Self { name, attributes: Vec::new(), start_ns: 0, value }
    }

    /// What has added up since `start_ns`.
    pub(super) fn since(name: &'static str, start_ns: u64, value: f64) -> Self {
        Self { name, attributes: Vec::new(), start_ns, value }
    }

    /// With one more attribute.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }
}
