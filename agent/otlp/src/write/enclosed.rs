//! What encloses items that arrive one by one, and requests put together from them.

use super::buffer::{message, put_varint, varint_len};
use super::scope::append_resource;
use super::{Attributes, Scope};

/// What encloses items that arrive one by one: a resource and a scope, encoded once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Envelope {
    /// Of this resource and scope.
    #[must_use]
    pub fn new(resource: &Attributes, scope: &Scope<'_>) -> Self {
        let mut envelope = Self::default();
        append_resource(resource, &mut envelope.resource);
        scope.append(&mut envelope.scope);
        envelope
    }

    /// Bytes that it adds to a request, but for lengths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resource.len() + self.scope.len()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Appends the part of an export request that these items are: one resource with one scope. Items are fields of their
/// scope (LogRecords, Metrics, Spans), with tag and length; ResourceMetrics, ResourceLogs and ResourceSpans share their
/// shape.
pub fn append_enclosed(out: &mut Vec<u8>, envelope: &Envelope, items: &[u8]) {
    let scope = envelope.scope.len() + items.len();
    let resource = envelope.resource.len() + 1 + varint_len(scope as u64) + scope;
    out.push(message(1));
    put_varint(out, resource as u64);
    out.extend_from_slice(&envelope.resource);
    out.push(message(2));
    put_varint(out, scope as u64);
    out.extend_from_slice(&envelope.scope);
    out.extend_from_slice(items);
}
