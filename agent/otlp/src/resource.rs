//! The agent's own resource, and merging it into batches.
//!
//! Stands between the walk and the WAL. Only the small `Resource` message of each `ResourceMetrics` (or logs, or
//! spans) is written anew; all else is copied as it came. A second `resource` field in front would be legal
//! protobuf, but hand-written parsers of some receivers replace where they should merge.

use std::borrow::Cow;

use crate::Signal;
use crate::walk::{Part, Walk, WalkError, Walked, check_len, each_resource, locate};
use crate::wire::{Field, Fields};
use crate::write::Attributes;
use crate::write::buffer::{put_bytes, put_varint};

/// The field of a resource in `ResourceMetrics` and its like, and of attributes in `Resource`: number 1, with a
/// length.
const FIELD_1: u8 = 0x0a;

/// The agent's own attributes, encoded once.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    attributes: Vec<Encoded>,
    /// All of them as a field `resource`, for batches that have none.
    whole: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Encoded {
    key: Box<[u8]>,
    /// The attribute as a field of `Resource`.
    field: Box<[u8]>,
}

impl Resource {
    /// A resource of these attributes. Of a key that stands more than once, the last counts.
    #[must_use]
    pub fn new(attributes: &Attributes) -> Self {
        let mut kept: Vec<Encoded> = Vec::with_capacity(attributes.len());
        let mut encoded = Vec::new();
        attributes.append_as(FIELD_1, &mut encoded);
        for field in Fields::of(&encoded).flatten() {
            let key: Box<[u8]> = key_of(field.content).into();
            kept.retain(|other| other.key != key);
            kept.push(Encoded { key, field: field.whole.into() });
        }
        let content: Vec<u8> = kept.iter().flat_map(|attribute| attribute.field.iter().copied()).collect();
        let mut whole = Vec::new();
        if !content.is_empty() {
            put_bytes(&mut whole, FIELD_1, &content);
        }
        Self { attributes: kept, whole }
    }

    /// Whether there are no attributes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }
}

/// Walks a request and appends it to `out` with the agent's resource merged in: every `Resource` of the request
/// gets the attributes of `agent` whose keys it lacks, and where there is none, one is added. The request's own
/// attributes win and keep their place; all else stays byte for byte.
///
/// # Errors
/// As [`walk`](crate::walk), with offsets in `request`. `out` is then as long as it was.
pub fn merge_resource(
    signal: Signal,
    request: &[u8],
    agent: &Resource,
    out: &mut Vec<u8>,
) -> Result<Walked, WalkError> {
    check_len(signal, request)?;
    let before = out.len();
    // Room for one resource; more grow the buffer.
    out.reserve(request.len() + agent.whole.len() + 16);
    let mut walk = Walk { items: 0 };
    let mut resources = 0;
    let merged = each_resource(request, |part| {
        match part {
            Part::Resource { content } => {
                walk.resource(signal, content)?;
                resources += 1;
                append_merged(content, agent, out);
            }
            Part::Other(field) => out.extend_from_slice(field),
        }
        Ok(())
    });
    match merged {
        Ok(()) => Ok(Walked { items: walk.items, resources }),
        Err(wrong) => {
            out.truncate(before);
            Err(locate(signal, request, wrong))
        }
    }
}

/// Appends a walked `ResourceMetrics` (or logs, or spans) with its resource merged.
fn append_merged(content: &[u8], agent: &Resource, out: &mut Vec<u8>) {
    // More than one `resource` is legal; protobuf merges them, which is to join them.
    let own: Vec<Field<'_>> = Fields::of(content).flatten().filter(|field| field.number == 1).collect();
    let merged = merge(&own, agent);
    let own_len: usize = own.iter().map(|field| field.whole.len()).sum();
    out.push(FIELD_1);
    put_varint(out, (content.len() - own_len + merged.len()) as u64);
    let mut is_due = true;
    if own.is_empty() {
        out.extend_from_slice(&merged);
    }
    for field in Fields::of(content).flatten() {
        if field.number != 1 {
            out.extend_from_slice(field.whole);
        } else if is_due {
            out.extend_from_slice(&merged);
            is_due = false;
        }
    }
}

/// The field `resource` that takes the place of `own`.
fn merge<'a>(own: &[Field<'_>], agent: &'a Resource) -> Cow<'a, [u8]> {
    if own.iter().all(|field| field.content.is_empty()) {
        return Cow::Borrowed(&agent.whole);
    }
    let mut content: Vec<u8> = own.iter().flat_map(|field| field.content).copied().collect();
    let own_len = content.len();
    for attribute in &agent.attributes {
        let is_there = Fields::of(&content[..own_len])
            .flatten()
            .any(|field| field.number == 1 && key_of(field.content) == &*attribute.key);
        if !is_there {
            content.extend_from_slice(&attribute.field);
        }
    }
    let mut field = Vec::with_capacity(content.len() + 6);
    put_bytes(&mut field, FIELD_1, &content);
    Cow::Owned(field)
}

/// The key of a `KeyValue`. Of several fields `key` the last counts, as protobuf has it.
fn key_of(pair: &[u8]) -> &[u8] {
    Fields::of(pair).flatten().filter(|field| field.number == 1).last().map_or(&[], |field| field.content)
}
