//! One request as several smaller ones.
//!
//! Stands before the exporters that must keep to a receiver's limit, and where a refused request is halved to find
//! the guilty part. Envelopes (resource, scope, and a metric's name, unit, temporality) are repeated in each part;
//! items are copied byte for byte and keep their order.
//!
//! ```text
//! level  message               parts are its fields       envelope: all its other fields
//!   0    the request           1
//!   1    ResourceMetrics ...   2                           resource, schema_url
//!   2    ScopeMetrics ...      2                           scope, schema_url
//!   3    Metric                5, 7, 9, 10, 11             name, description, unit, metadata
//!   4    Gauge, Sum ...        1                           temporality, monotonic
//! ```
//!
//! Log records and spans are the parts of level 2, and not parted further.

use crate::wire::{Field, Fields, Wire};
use crate::write::buffer::{message, put_varint, varint_len};
use crate::{Signal, WalkError, walk};

/// Why a request could not be parted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// It is not well-formed.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// One item, with what encloses it, is too large already.
    #[error("{what} needs a request of {size} bytes by itself; the limit is {limit}")]
    TooLarge {
        /// Which: `data point 3 of the metric "system.disk.io" (resource 0, scope 1)`; counted from 0, the log
        /// record or data point within its scope or metric.
        what: String,
        /// How large the request with this item alone would be, in bytes.
        size: usize,
        /// The limit that was given, in bytes.
        limit: usize,
    },
}

/// Parts a request into requests of at most `max_bytes` each, in order, down to single items. A request that fits is
/// returned as it is; an empty one gives no parts.
///
/// # Errors
/// [`PartError::TooLarge`] names the first item that exceeds `max_bytes` by itself; [`PartError::Walk`] as
/// [`walk`].
pub fn part(signal: Signal, request: &[u8], max_bytes: usize) -> Result<Vec<Vec<u8>>, PartError> {
    walk(signal, request)?;
    if request.is_empty() {
        return Ok(Vec::new());
    }
    if request.len() <= max_bytes {
        return Ok(vec![request.to_vec()]);
    }
    // Unknown fields of the request itself stay, once.
    let unknown = Fields::of(request).flatten().filter(|field| field.number != 1);
    let unknown: Vec<u8> = unknown.flat_map(|field| field.whole).copied().collect();
    let mut parting = Parting { signal, max_bytes, open: vec![Level::request(unknown)], parts: Vec::new() };
    parting.descend(request)?;
    parting.end_part();
    Ok(parting.parts)
}

struct Parting {
    signal: Signal,
    max_bytes: usize,
    /// From the request down to the message that takes items at the moment.
    open: Vec<Level>,
    parts: Vec<Vec<u8>>,
}

/// A message of the current part that is still being written.
struct Level {
    /// Its field number in the message that encloses it.
    tag: u8,
    /// What is repeated in each part.
    envelope: Vec<u8>,
    /// The envelope, and what of the message is in the current part.
    body: Vec<u8>,
    /// How many pieces are in `body`.
    items: usize,
    /// Where it stands in the message that encloses it.
    index: usize,
}

impl Level {
    fn request(body: Vec<u8>) -> Self {
        Self { tag: 0, envelope: Vec::new(), body, items: 0, index: 0 }
    }
}

impl Parting {
    /// Distributes the pieces of the innermost open message.
    fn descend(&mut self, content: &[u8]) -> Result<(), PartError> {
        let pieces = Fields::of(content).flatten().filter(|field| self.is_piece(field));
        for (index, piece) in pieces.collect::<Vec<_>>().into_iter().enumerate() {
            if self.takes(piece.whole) {
                continue;
            }
            if self.is_item() {
                self.end_part();
                if !self.takes(piece.whole) {
                    return Err(self.too_large(index, piece.whole.len()));
                }
                continue;
            }
            self.open(index, &piece);
            self.descend(piece.content)?;
            self.close();
        }
        Ok(())
    }

    /// Whether a field of the innermost open message is one of the pieces that it is parted into.
    fn is_piece(&self, field: &Field<'_>) -> bool {
        let numbers: &[u32] = match self.open.len() {
            1 | 5 => &[1],
            2 | 3 => &[2],
            _ => &[5, 7, 9, 10, 11],
        };
        field.wire == Wire::Length && numbers.contains(&field.number)
    }

    /// Whether the pieces of the innermost open message can't be parted themselves.
    fn is_item(&self) -> bool {
        self.open.len() == if self.signal == Signal::Metrics { 5 } else { 3 }
    }

    /// Adds a piece to the innermost open message if it fits into the current part.
    fn takes(&mut self, piece: &[u8]) -> bool {
        if self.size_with(piece.len()) > self.max_bytes {
            return false;
        }
        if let Some(level) = self.open.last_mut() {
            level.body.extend_from_slice(piece);
            level.items += 1;
        }
        true
    }

    /// How long the current part would be with so many more bytes in the innermost open message.
    fn size_with(&self, more: usize) -> usize {
        let nested = self.open.iter().skip(1).rev().fold(more, |inner, level| {
            let content = level.body.len() + inner;
            1 + varint_len(content as u64) + content
        });
        self.open[0].body.len() + nested
    }

    fn open(&mut self, index: usize, piece: &Field<'_>) {
        // The numbers of pieces are below 16; the piece's own tag may be longer than it need be.
        self.open.push(Level {
            tag: message(piece.number as u8),
            envelope: Vec::new(),
            body: Vec::new(),
            items: 0,
            index,
        });
        let envelope: Vec<u8> = Fields::of(piece.content)
            .flatten()
            .filter(|field| !self.is_piece(field))
            .flat_map(|field| field.whole)
            .copied()
            .collect();
        if let Some(level) = self.open.last_mut() {
            level.body.clone_from(&envelope);
            level.envelope = envelope;
        }
    }

    /// Ends the innermost open message.
    fn close(&mut self) {
        if let Some(level) = self.open.pop() {
            self.put(&level);
        }
    }

    /// Adds a message to the innermost open one; not if there is nothing in it but its envelope.
    fn put(&mut self, level: &Level) {
        if let (Some(outer), 1..) = (self.open.last_mut(), level.items) {
            outer.body.push(level.tag);
            put_varint(&mut outer.body, level.body.len() as u64);
            outer.body.extend_from_slice(&level.body);
            outer.items += 1;
        }
    }

    /// Ends the current part; the next begins with the same messages open.
    fn end_part(&mut self) {
        let mut reopened = Vec::with_capacity(self.open.len());
        while self.open.len() > 1 {
            if let Some(mut level) = self.open.pop() {
                self.put(&level);
                level.body.clone_from(&level.envelope);
                level.items = 0;
                reopened.push(level);
            }
        }
        if self.open[0].items > 0 {
            self.parts.push(std::mem::take(&mut self.open[0].body));
            self.open[0].items = 0;
        }
        self.open.extend(reopened.into_iter().rev());
    }

    fn too_large(&self, index: usize, len: usize) -> PartError {
        let at = |level: usize| self.open.get(level).map_or(0, |level| level.index);
        let place = format!("(resource {}, scope {})", at(1), at(2));
        let item = self.signal.item();
        let what = match self.open.get(3) {
            Some(metric) => {
                format!("{item} {index} of the metric {:?} {place}", metric_name(&metric.envelope))
            }
            None => format!("{item} {index} {place}"),
        };
        PartError::TooLarge { what, size: self.size_with(len), limit: self.max_bytes }
    }
}

/// The name of a metric, cut where no name should reach.
fn metric_name(envelope: &[u8]) -> String {
    let name = Fields::of(envelope).flatten().filter(|field| field.number == 1).last();
    let name = String::from_utf8_lossy(name.map_or(&[], |field| field.content));
    name.chars().take(100).collect()
}
