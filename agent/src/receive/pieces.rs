//! Encoded items by envelope and signal: what a protocol makes of some events before they are gathered.

use std::sync::Arc;

use whimbrel_otlp::{Signal, write::Envelope};

/// Buffers of groups that are kept to be used again.
const KEPT: usize = 8;

/// Items of some envelopes, encoded.
#[derive(Default)]
pub(crate) struct Pieces {
    groups: Vec<Group>,
    /// How many of `groups` are in use; the others' buffers wait to be used again.
    used: usize,
}

struct Group {
    envelope: Arc<Envelope>,
    items: [Vec<u8>; 3],
    counts: [u32; 3],
}

/// Items of one signal under one envelope.
pub(crate) struct Piece<'p> {
    pub(crate) signal: Signal,
    pub(crate) envelope: &'p Arc<Envelope>,
    /// LogRecords, Metrics or Spans as the fields of their scope, with tag and length.
    pub(crate) encoded: &'p [u8],
    pub(crate) items: u32,
}

impl Pieces {
    /// The buffer of a signal and an envelope, one item counted.
    pub(crate) fn out(&mut self, signal: Signal, envelope: &Arc<Envelope>) -> &mut Vec<u8> {
        self.counted(signal, envelope, 1)
    }

    /// The buffer of a signal and an envelope, so many items counted.
    pub(crate) fn counted(&mut self, signal: Signal, envelope: &Arc<Envelope>, items: u32) -> &mut Vec<u8> {
        let known = self.groups[..self.used].iter().position(|group| Arc::ptr_eq(&group.envelope, envelope));
        let at = known.unwrap_or_else(|| {
            match self.groups.get_mut(self.used) {
                Some(group) => group.envelope = envelope.clone(),
                None => self.groups.push(Group {
                    envelope: envelope.clone(),
                    items: Default::default(),
                    counts: [0; 3],
                }),
            }
            self.used += 1;
            self.used - 1
        });
        let group = &mut self.groups[at];
        group.counts[lane(signal)] += items;
        &mut group.items[lane(signal)]
    }

    /// What is in it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Piece<'_>> + Clone {
        self.groups[..self.used].iter().flat_map(|group| {
            Signal::ALL.into_iter().zip(group.counts).filter(|(_, items)| *items > 0).map(
                |(signal, items)| Piece {
                    signal,
                    envelope: &group.envelope,
                    encoded: &group.items[lane(signal)],
                    items,
                },
            )
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Empties it; memory stays.
    pub(crate) fn clear(&mut self) {
        for group in &mut self.groups[..self.used] {
            group.items.iter_mut().for_each(Vec::clear);
            group.counts = [0; 3];
        }
        self.used = 0;
        // A burst of sources is no reason to keep their buffers.
        self.groups.truncate(KEPT);
    }
}

/// One signal's place among the three.
pub(crate) fn lane(signal: Signal) -> usize {
    match signal {
        Signal::Metrics => 0,
        Signal::Logs => 1,
        Signal::Traces => 2,
    }
}
