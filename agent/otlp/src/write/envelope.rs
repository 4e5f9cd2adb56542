//! What encloses items: the request, its resources, their scopes.

use super::attributes::Attributes;
use super::buffer::{abandon_wide, close_wide, message, open_wide};
use super::scope::{Scope, append_resource};

/// A message that is being written, and that vanishes if no item follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    content: usize,
    items_before: u32,
}

/// A request in the making. `ResourceMetrics`, `ResourceLogs` and `ResourceSpans` share their shape:
/// 1 resource, 2 scopes; and so do their scopes: 1 scope, 2 metrics, log records or spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) out: Vec<u8>,
    pub(crate) items: u32,
    resource: Option<Level>,
    scope: Option<Level>,
}

impl Envelope {
    pub(crate) fn open(&mut self, field: u8) -> Level {
        let content = open_wide(&mut self.out, message(field));
        Level { content, items_before: self.items }
    }

    pub(crate) fn close(&mut self, level: Level) {
        if self.items == level.items_before {
            abandon_wide(&mut self.out, level.content);
        } else {
            close_wide(&mut self.out, level.content);
        }
    }

    pub(crate) fn begin_resource(&mut self, attributes: &Attributes) {
        self.end();
        self.resource = Some(self.open(1));
        append_resource(attributes, &mut self.out);
    }

    pub(crate) fn begin_scope(&mut self, scope: &Scope<'_>) {
        self.end_scope();
        if self.resource.is_none() {
            self.begin_resource(&Attributes::new());
        }
        self.scope = Some(self.open(2));
        scope.append(&mut self.out);
    }

    /// Makes sure that a scope is open; without a name, if none was begun.
    pub(crate) fn need_scope(&mut self) {
        if self.scope.is_none() {
            self.begin_scope(&Scope::default());
        }
    }

    fn end_scope(&mut self) {
        if let Some(scope) = self.scope.take() {
            self.close(scope);
        }
    }

    pub(crate) fn end(&mut self) {
        self.end_scope();
        if let Some(resource) = self.resource.take() {
            self.close(resource);
        }
    }

    /// Everything back to the beginning; the buffer's memory stays.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.items = 0;
        self.resource = None;
        self.scope = None;
    }
}
