//! The scopes of an exposition: who measured, and what waits to be sent under that name.

use std::{borrow::Cow, collections::HashMap};

use whimbrel_otlp::write::{Attributes, Envelope, Scope, append_enclosed};

use super::starts::Fnv;
use crate::parse::Labels;

/// Labels of this beginning are about the scope.
const ABOUT_SCOPE: &str = "otel_scope_";

/// What a sample says about its scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Said {
    name: String,
    version: String,
    /// In order of their names.
    attributes: Vec<(String, String)>,
}

#[derive(Debug)]
struct One {
    envelope: Envelope,
    /// The same in every exposition.
    hash: u64,
    items: Vec<u8>,
}

/// The scopes of an exposition, in the order in which they came. The first is the translator's own.
#[derive(Debug)]
pub(super) struct Scopes {
    resource: Attributes,
    all: Vec<One>,
    known: HashMap<Said, usize>,
    /// Attributes by `otel_scope_info`, of scopes by name and version.
    info: HashMap<(String, String), Vec<(String, String)>>,
}

impl Scopes {
    pub(super) fn new(resource: Attributes, own: &Scope<'_>) -> Self {
        let own = One { envelope: Envelope::new(&resource, own), hash: 0, items: Vec::new() };
        Self { resource, all: vec![own], known: HashMap::new(), info: HashMap::new() }
    }

    /// What a line `otel_scope_info` says.
    pub(super) fn learn(&mut self, labels: Labels<'_>) {
        let mut labels = labels;
        let mut said = take_scope(&mut labels);
        said.attributes.extend(labels.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())));
        self.info.entry((said.name, said.version)).or_default().extend(said.attributes);
    }

    /// The scope of a sample, whose labels are taken out.
    pub(super) fn of(&mut self, labels: &mut Labels<'_>) -> usize {
        if !labels.iter().any(|(name, _)| name == "otel_scope_name" || name == "otel_scope_version") {
            return 0;
        }
        let mut said = take_scope(labels);
        if let Some(info) = self.info.get(&(said.name.clone(), said.version.clone())) {
            let missing = info.iter().filter(|(name, _)| said.attributes.iter().all(|(n, _)| n != name));
            let missing: Vec<_> = missing.cloned().collect();
            said.attributes.extend(missing);
        }
        said.attributes.sort();
        if let Some(known) = self.known.get(&said) {
            return *known;
        }
        let mut hash = Fnv::new();
        std::hash::Hash::hash(&said, &mut hash);
        let attributes: Attributes = said.attributes.iter().map(|(k, v)| (k, v.as_str())).collect();
        let scope = Scope { name: &said.name, version: &said.version, attributes: Some(&attributes) };
        self.all.push(One {
            envelope: Envelope::new(&self.resource, &scope),
            hash: std::hash::Hasher::finish(&hash),
            items: Vec::new(),
        });
        let index = self.all.len() - 1;
        self.known.insert(said, index);
        index
    }

    /// What stands for the resource, in this run of the program.
    pub(super) fn resource_hash(&self) -> u64 {
        let mut hash = Fnv::new();
        std::hash::Hash::hash(&self.resource, &mut hash);
        std::hash::Hasher::finish(&hash)
    }

    pub(super) fn hash(&self, scope: usize) -> u64 {
        self.all[scope].hash
    }

    /// Where metrics of a scope are to be written.
    pub(super) fn items(&mut self, scope: usize) -> &mut Vec<u8> {
        &mut self.all[scope].items
    }

    /// A request of all that waits; empty if nothing does.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let waiting = self.all.iter_mut().filter(|one| !one.items.is_empty());
        let mut request = Vec::new();
        for one in waiting {
            append_enclosed(&mut request, &one.envelope, &one.items);
            one.items.clear();
        }
        request
    }
}

/// Takes out what is about the scope. The address of a schema is left out: what it says about names is not so here.
fn take_scope(labels: &mut Labels<'_>) -> Said {
    let mut said = Said::default();
    labels.retain_mut(|(name, value)| {
        let Some(about) = name.strip_prefix(ABOUT_SCOPE) else { return true };
        let value = std::mem::replace(value, Cow::Borrowed("")).into_owned();
        match about {
            "name" => said.name = value,
            "version" => said.version = value,
            "schema_url" => {}
            about => said.attributes.push((about.to_owned(), value)),
        }
        false
    });
    said
}
