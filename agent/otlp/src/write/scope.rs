//! The instrumentation scope: which code measured.

use super::attributes::Attributes;
use super::buffer::{close_short, message, open_short, put_text};

/// The instrumentation scope. The default, without name, leaves it out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scope<'a> {
    /// The scope's name; the SDK takes the plugin's name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its attributes; usually none.
    pub attributes: Option<&'a Attributes>,
}

impl Scope<'_> {
    /// Appends the field `scope` of `ScopeMetrics` and `ScopeLogs`: 1 name, 2 version, 3 attributes.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        let attributes = self.attributes.filter(|attributes| !attributes.is_empty());
        if self.name.is_empty() && self.version.is_empty() && attributes.is_none() {
            return;
        }
        let start = open_short(out, message(1));
        put_text(out, message(1), self.name);
        put_text(out, message(2), self.version);
        if let Some(attributes) = attributes {
            attributes.append_as(message(3), out);
        }
        close_short(out, start);
    }
}

/// Appends the field `resource` of `ResourceMetrics` and `ResourceLogs`; nothing if there are no attributes.
pub(crate) fn append_resource(attributes: &Attributes, out: &mut Vec<u8>) {
    if !attributes.is_empty() {
        let start = open_short(out, message(1));
        attributes.append_as(message(1), out);
        close_short(out, start);
    }
}
