//! Attributes, encoded once and copied from then on.

use super::buffer::{message, varint_len};
use super::value::{Value, append_key_value};

/// The field that attributes have in a number data point. They are kept in that form, because points are what is
/// written most; everywhere else the tags are changed while copying.
const KEPT_AS: u8 = message(7);

/// Attributes of a series, a resource, a scope or a log record, encoded already.
///
/// Make them once for each series and keep them: writing a point then copies one slice. A key should stand once;
/// receivers disagree about which of two wins.
///
/// ```
/// use whimbrel_otlp::write::Attributes;
/// let series = Attributes::new().with("system.device", "sda").with("disk.io.direction", "read");
/// assert_eq!(series.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    encoded: Vec<u8>,
    len: usize,
}

impl Attributes {
    /// No attributes.
    #[must_use]
    pub const fn new() -> Self {
        Self { encoded: Vec::new(), len: 0 }
    }

    /// These attributes and one more.
    #[must_use]
    pub fn with<'v>(mut self, key: &str, value: impl Into<Value<'v>>) -> Self {
        self.push(key, value);
        self
    }

    /// Adds one attribute.
    pub fn push<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        append_key_value(&mut self.encoded, KEPT_AS, key, &value.into());
        self.len += 1;
    }

    /// Adds all of `other`.
    pub fn extend_from(&mut self, other: &Attributes) {
        self.encoded.extend_from_slice(&other.encoded);
        self.len += other.len;
    }

    /// Removes all, and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.len = 0;
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The encoded form of a number data point's field `attributes`.
    pub(crate) fn as_point_field(&self) -> &[u8] {
        &self.encoded
    }

    /// Appends them as a field with another tag than a number data point's.
    pub(crate) fn append_as(&self, tag: u8, out: &mut Vec<u8>) {
        for pair in self.pairs() {
            out.push(tag);
            out.extend_from_slice(&pair[1..]);
        }
    }

    /// Each attribute as the field of a number data point: tag, length, `KeyValue`.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.encoded.as_slice();
        std::iter::from_fn(move || {
            let mut content = 0usize;
            for (shift, byte) in rest.get(1..)?.iter().enumerate() {
                content |= usize::from(byte & 0x7f) << (7 * shift);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let (pair, after) = rest.split_at_checked(1 + varint_len(content as u64) + content)?;
            rest = after;
            Some(pair)
        })
    }
}

impl<'v, K: AsRef<str>, V: Into<Value<'v>>> FromIterator<(K, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut attributes = Self::new();
        attributes.extend(pairs);
        attributes
    }
}

impl<'v, K: AsRef<str>, V: Into<Value<'v>>> Extend<(K, V)> for Attributes {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.push(key.as_ref(), value);
        }
    }
}

impl<'v, K: AsRef<str>, V: Into<Value<'v>>, const N: usize> From<[(K, V); N]> for Attributes {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}
