//! Figures of the host, granted by part: `grants: {system: [cpu, memory]}`.

use whimbrel_otlp::write::{Attributes, Value as Encodable};

use crate::{Error, host};

/// An attribute's value as the host gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A truth value.
    Boolean(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Arrays and maps, as JSON text.
    Json(String),
}

/// An attribute as the host gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Such as `cpu.mode`.
    pub key: String,
    /// Such as `user`.
    pub value: Value,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// A semantic-convention name, such as `system.cpu.time`.
    pub name: String,
    /// What distinguishes it from others of its name.
    pub attributes: Vec<Attribute>,
    /// When a counter began, in nanoseconds since the Unix epoch; 0 for what is not a counter.
    pub start_ns: u64,
    /// Its value, in the unit of the conventions.
    pub value: f64,
}

/// What figures belong to: the host itself, or a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Empty for the host itself; what names the process for figures of a process.
    pub resource: Vec<Attribute>,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// The figures of one part: cpu, memory, paging, pressure, disk, filesystem, network, process, sensors, host.
///
/// # Errors
/// [`Error::Denied`] if the part is not granted, [`Error::Unavailable`] if this host doesn't have it now,
/// [`Error::Invalid`] if there is no such part.
pub fn snapshot(part: &str) -> Result<Vec<Entity>, Error> {
    host::snapshot(part, &[])
}

/// The figures of one part as far as they are wanted: `snapshot_with("process.each", &[("top", "10")])`. A key may
/// stand several times, and what matches any of its values is told. It is applied where the figures are read, so
/// that what is not wanted costs next to nothing.
///
/// # Errors
/// As [`snapshot`]; [`Error::Invalid`] also for a key that the part doesn't know, a value it can't use, more than
/// 256 pairs, or a key or value of more than 1024 bytes.
pub fn snapshot_with<K: AsRef<str>, V: AsRef<str>>(
    part: &str,
    select: &[(K, V)],
) -> Result<Vec<Entity>, Error> {
    let owned = |(key, value): &(K, V)| (key.as_ref().to_owned(), value.as_ref().to_owned());
    let select: Vec<(String, String)> = select.iter().map(owned).collect();
    host::snapshot(part, &select)
}

/// Encodes attributes as the host gives them. JSON text stays text here.
#[must_use]
pub fn encode(attributes: &[Attribute]) -> Attributes {
    attributes.iter().map(|attribute| (&attribute.key, &attribute.value)).collect()
}

impl<'a> From<&'a Value> for Encodable<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Text(text) | Value::Json(text) => Encodable::Text(text),
            Value::Boolean(value) => Encodable::Bool(*value),
            Value::Int(value) => Encodable::Int(*value),
            Value::Double(value) => Encodable::Double(*value),
            Value::Bytes(bytes) => Encodable::Bytes(bytes),
        }
    }
}

impl Attribute {
    /// An attribute whose value is a string.
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Value::Text(value.into()) }
    }

    /// An attribute whose value is an integer.
    pub fn int(key: impl Into<String>, value: i64) -> Self {
        Self { key: key.into(), value: Value::Int(value) }
    }
}
