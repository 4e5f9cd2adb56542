//! Since when a series counts, where nobody says.
//!
//! OTLP's data model, "Cumulative streams: handling unknown start time": a series that is seen for the first time, or
//! that fell, starts where it is seen. So the first point of a stream says nothing about what was before it, and a
//! reset is seen as one.

use std::collections::HashMap;

use whimbrel_otlp::write::Attributes;

/// A series that was absent from so many expositions is forgotten.
const KEPT_FOR: u32 = 5;
/// One series in a checkpoint: key, start, last value.
const STORED: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    start_ns: u64,
    value: f64,
    turn: u32,
}

/// What is remembered of a target from one exposition to the next. One for each target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Starts {
    seen: HashMap<u64, Seen>,
    turn: u32,
}

impl Starts {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many series are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Since when this series counts. `value` falls only when counting began anew; for histograms and summaries it is
    /// the count.
    pub(super) fn of(
        &mut self,
        metric: &str,
        scope: u64,
        series: &Attributes,
        time_ns: u64,
        value: f64,
    ) -> u64 {
        let turn = self.turn;
        let seen = self
            .seen
            .entry(key(metric, scope, series))
            .and_modify(|seen| {
                // A time before the start is a clock that was set back: what is known then helps no more.
                if value < seen.value || time_ns < seen.start_ns {
                    seen.start_ns = time_ns;
                }
            })
            .or_insert(Seen { start_ns: time_ns, value, turn });
        seen.value = value;
        seen.turn = turn;
        seen.start_ns
    }

    /// The same of a series that is gone; `None`: nothing is known of it any more.
    pub(super) fn known(&self, metric: &str, scope: u64, series: &Attributes) -> Option<u64> {
        self.seen.get(&key(metric, scope, series)).map(|seen| seen.start_ns)
    }

    /// An exposition was read to its end: what has not been there for long is forgotten.
    pub(super) fn end_turn(&mut self) {
        let turn = self.turn;
        self.seen.retain(|_, seen| turn.wrapping_sub(seen.turn) < KEPT_FOR);
        self.turn = turn.wrapping_add(1);
    }

    /// As bytes, for a checkpoint: 24 for each series.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.seen.len() * STORED);
        for (key, seen) in &self.seen {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&seen.start_ns.to_le_bytes());
            bytes.extend_from_slice(&seen.value.to_bits().to_le_bytes());
        }
        bytes
    }

    /// From what [`to_bytes`](Self::to_bytes) made; `None` if it did not.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (stored, rest) = bytes.as_chunks::<STORED>();
        if !rest.is_empty() {
            return None;
        }
        let word = |one: &[u8; STORED], at: usize| {
            let bytes = one[at..at + 8].try_into().expect("eight bytes of twenty-four");
            u64::from_le_bytes(bytes)
        };
        let seen = stored
            .iter()
            .map(|one| {
                let value = f64::from_bits(word(one, 16));
                (word(one, 0), Seen { start_ns: word(one, 8), value, turn: 0 })
            })
            .collect();
        Some(Self { seen, turn: 0 })
    }
}

/// FNV-1a of what names a series. It is the same in every build, as a checkpoint needs it; who makes two series of
/// one target meet spoils their start times alone.
pub(super) fn key(metric: &str, scope: u64, series: &Attributes) -> u64 {
    let mut hash = Fnv::new();
    hash.write(metric.as_bytes());
    hash.write(&[0xff]);
    hash.write(&scope.to_le_bytes());
    std::hash::Hash::hash(series, &mut hash);
    std::hash::Hasher::finish(&hash)
}

/// FNV-1a, 64 bits.
pub(super) struct Fnv(u64);

impl Fnv {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        Fnv::write(self, bytes);
    }
}
