//! The bytes of a cursor slot.
//!
//! A consumer's cursor is the file `cursors/NAME.cursor`: three slots of 4096 bytes. The valid slot with the highest
//! generation holds. A write goes to the slot that is neither the newest nor the last synced one: so a write torn by
//! the end of the process leaves the newest, and a power loss, however it mixes what was not synced, leaves the
//! synced one. Which one that is stands in the newest: who opens the file can't know it otherwise. Little endian.
//!
//! ```text
//! offset size  slot
//!      0    8  magic "whimcur\n"
//!      8    2  format version, 1
//!     10    1  lanes, 3
//!     11    1  length of the name
//!     12    4  how often this consumer began anew because no slot was valid
//!     16   16  store uuid
//!     32    8  generation: one more with each write
//!     40    4  key id
//!     44    4  zero
//!     48  128  consumer's name, zero to its end
//!    176 1264  lane 0; lanes 1 and 2 after it
//!   3968    8  synced: generation of the slot that was durable when this one was written; its own, in a new file
//!   3976   84  zero
//!   4060    4  CRC-32 of 0..4060: enough to look at it without a key
//!   4064   32  HMAC-SHA-256 of 0..4064
//!
//!              lane
//!      0    8  first: the consumer's first ordinal
//!      8    8  low: the low-water mark; every ordinal below it is acknowledged
//!     16   72  counts: delivered, skipped, dead-lettered; dropped for space, for lag, given up; damaged body, not
//!              authentic, missing
//!     88    8  rewound: how many of those counted were set back, to be delivered again
//!     96    1  ranges (at most 128)
//!     97    1  plans (at most 8)
//!     98   14  zero
//!    112 1024  ranges: u32 start above the low-water mark (of the first; of the others: above the end of the one
//!              before), u32 length
//!   1136  128  plans: u32 first above `low` (modulo 2^32: a plan may begin below), u32 last minus first, u32 count,
//!              u32 generation of the routes
//! ```
//!
//! Marks are ordinals of the lane, not places in a file: they hold however segments come and go, and cannot point
//! into the middle of a record.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::lane::{FATES, LaneCursor, MAX_PLANS, MAX_RANGES, PlanMark, Tally};
use crate::{
    options::LANES,
    segment::header::{NUMBERS_END, array_at, u16_at, u32_at, u64_at},
};

pub(crate) const SLOT_LEN: usize = 4096;
pub(crate) const SLOTS: usize = 3;
/// Longest name of a consumer, bytes.
pub(crate) const MAX_CONSUMER_NAME: usize = 128;
const MAGIC: [u8; 8] = *b"whimcur\n";
const VERSION: u16 = 1;
const NAME_AT: usize = 48;
pub(crate) const LANES_AT: usize = NAME_AT + MAX_CONSUMER_NAME;
pub(crate) const LANE_LEN: usize = 1264;
pub(crate) const REWOUND_AT: usize = 16 + FATES * 8;
pub(crate) const COUNTS_AT: usize = REWOUND_AT + 8;
pub(crate) const RANGES_AT: usize = 112;
const PLANS_AT: usize = RANGES_AT + MAX_RANGES * 8;
const SYNCED_AT: usize = LANES_AT + LANES * LANE_LEN;
pub(crate) const CRC_AT: usize = 4060;
const MAC_AT: usize = 4064;

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    pub(crate) store_uuid: [u8; 16],
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) synced_generation: u64,
    pub(crate) key_id: u32,
    pub(crate) resets: u32,
    pub(crate) lanes: [LaneCursor; LANES],
}

impl Slot {
    /// Deferred spans are not written.
    pub(crate) fn encode(&self, key: &[u8; 32]) -> Box<[u8; SLOT_LEN]> {
        let mut out = Box::new([0; SLOT_LEN]);
        out[0..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10] = LANES as u8;
        out[11] = self.name.len() as u8;
        out[12..16].copy_from_slice(&self.resets.to_le_bytes());
        out[16..32].copy_from_slice(&self.store_uuid);
        out[32..40].copy_from_slice(&self.generation.to_le_bytes());
        out[40..44].copy_from_slice(&self.key_id.to_le_bytes());
        out[NAME_AT..NAME_AT + self.name.len()].copy_from_slice(self.name.as_bytes());
        for (number, lane) in self.lanes.iter().enumerate() {
            encode_lane(lane, &mut out[LANES_AT + number * LANE_LEN..][..LANE_LEN]);
        }
        out[SYNCED_AT..SYNCED_AT + 8].copy_from_slice(&self.synced_generation.to_le_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..MAC_AT].copy_from_slice(&crc.to_le_bytes());
        let mac = mac(key, &out[..MAC_AT]).finalize().into_bytes();
        out[MAC_AT..].copy_from_slice(&mac);
        out
    }

    /// What these bytes say, if their CRC and shape are right. Who wrote them is for `is_authentic`.
    pub(crate) fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let known = bytes[0..8] == MAGIC && u16_at(bytes, 8) == VERSION && usize::from(bytes[10]) == LANES;
        if !known || crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return None;
        }
        let name_len = usize::from(bytes[11]);
        if name_len > MAX_CONSUMER_NAME || u64_at(bytes, 32) >= NUMBERS_END {
            return None;
        }
        let mut lanes: [LaneCursor; LANES] = Default::default();
        for (number, lane) in lanes.iter_mut().enumerate() {
            *lane = decode_lane(&bytes[LANES_AT + number * LANE_LEN..][..LANE_LEN])?;
        }
        Some(Self {
            store_uuid: array_at(bytes, 16),
            name: std::str::from_utf8(&bytes[NAME_AT..NAME_AT + name_len]).ok()?.to_owned(),
            generation: u64_at(bytes, 32),
            synced_generation: u64_at(bytes, SYNCED_AT),
            key_id: u32_at(bytes, 40),
            resets: u32_at(bytes, 12),
            lanes,
        })
    }
}

/// Whether the slot was written by a holder of this key.
pub(crate) fn is_authentic(bytes: &[u8; SLOT_LEN], key: &[u8; 32]) -> bool {
    mac(key, &bytes[..MAC_AT]).verify_slice(&bytes[MAC_AT..]).is_ok()
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(bytes);
    mac
}

fn encode_lane(lane: &LaneCursor, out: &mut [u8]) {
    out[0..8].copy_from_slice(&lane.first.to_le_bytes());
    out[8..16].copy_from_slice(&lane.low.to_le_bytes());
    for (n, count) in lane.tally.0.iter().enumerate() {
        out[16 + n * 8..][..8].copy_from_slice(&count.to_le_bytes());
    }
    out[REWOUND_AT..REWOUND_AT + 8].copy_from_slice(&lane.rewound.to_le_bytes());
    // `LaneCursor` keeps both within their limits, and its reach within 32 bits.
    out[COUNTS_AT] = lane.ranges.len() as u8;
    out[COUNTS_AT + 1] = lane.plans.len() as u8;
    let mut at = lane.low;
    for (n, (start, end)) in lane.ranges.iter().enumerate() {
        let entry = &mut out[RANGES_AT + n * 8..][..8];
        entry[..4].copy_from_slice(&((start - at) as u32).to_le_bytes());
        entry[4..].copy_from_slice(&((end - start) as u32).to_le_bytes());
        at = *end;
    }
    for (n, plan) in lane.plans.iter().enumerate() {
        let entry = &mut out[PLANS_AT + n * 16..][..16];
        entry[..4].copy_from_slice(&(plan.first.wrapping_sub(lane.low) as u32).to_le_bytes());
        entry[4..8].copy_from_slice(&((plan.last - plan.first) as u32).to_le_bytes());
        entry[8..12].copy_from_slice(&plan.count.to_le_bytes());
        entry[12..].copy_from_slice(&plan.generation.to_le_bytes());
    }
}

fn decode_lane(bytes: &[u8]) -> Option<LaneCursor> {
    let count = |n: usize| u64_at(bytes, 16 + n * 8);
    let (first, low) = (u64_at(bytes, 0), u64_at(bytes, 8));
    let mut lane = LaneCursor::starting_at(first);
    lane.low = low;
    lane.tally = Tally(std::array::from_fn(count));
    lane.rewound = u64_at(bytes, REWOUND_AT);
    let (ranges, plans) = (usize::from(bytes[COUNTS_AT]), usize::from(bytes[COUNTS_AT + 1]));
    if ranges > MAX_RANGES || plans > MAX_PLANS || low < first {
        return None;
    }
    let mut at = low;
    for n in 0..ranges {
        let (gap, len) = (u32_at(bytes, RANGES_AT + n * 8), u32_at(bytes, RANGES_AT + n * 8 + 4));
        if gap == 0 || len == 0 {
            return None;
        }
        let start = at.checked_add(gap.into())?;
        at = start.checked_add(len.into())?;
        lane.ranges.push((start, at));
    }
    for n in 0..plans {
        let entry = &bytes[PLANS_AT + n * 16..][..16];
        // Sign-extended: the first of a plan may be below the mark.
        let above = u32_at(entry, 0) as i32;
        let first = low.checked_add_signed(above.into())?;
        // No longer than `LaneCursor::plan` takes them: else it could not be written again.
        let len = i32::try_from(u32_at(entry, 4)).ok()?;
        lane.plans.push(PlanMark {
            first,
            last: first.checked_add_signed(len.into())?,
            count: u32_at(entry, 8),
            generation: u32_at(entry, 12),
        });
    }
    if lane.reach().max(lane.rewound) >= NUMBERS_END {
        return None;
    }
    let counted: Option<u64> = (0..FATES).try_fold(0u64, |sum, n| sum.checked_add(count(n)));
    let taken = lane.ranges.iter().try_fold(low - first, |sum, (start, end)| sum.checked_add(end - start))?;
    (counted? == taken.checked_add(lane.rewound)?).then_some(lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::lane::Fate;

    const KEY: [u8; 32] = [9; 32];

    fn example() -> Slot {
        let mut slot = Slot {
            store_uuid: [0x11; 16],
            name: "backend".to_owned(),
            generation: 0x22,
            synced_generation: 0x21,
            key_id: 0x33,
            resets: 0x44,
            lanes: std::array::from_fn(|n| LaneCursor::starting_at(0x100 * n as u64)),
        };
        slot.lanes[1].acknowledge([(0x100, 0x103), (0x105, 0x107), (0x110, 0x111)], Fate::Delivered).unwrap();
        slot.lanes[1].acknowledge([(0x107, 0x108)], Fate::GivenUp).unwrap();
        slot.lanes[2].acknowledge([(0x200, 0x20b)], Fate::Delivered).unwrap();
        slot.lanes[2].rewind(0x208);
        slot.lanes[1].plan(PlanMark { first: 0x104, last: 0x109, count: 3, generation: 7 }).unwrap();
        slot
    }

    #[test]
    fn the_bytes_of_format_version_1_stay() {
        let bytes = example().encode(&KEY);
        let mut golden = vec![0; SLOT_LEN];
        golden[0..16].copy_from_slice(b"whimcur\n\x01\0\x03\x07\x44\0\0\0");
        golden[16..32].copy_from_slice(&[0x11; 16]);
        golden[32] = 0x22;
        golden[40] = 0x33;
        golden[48..55].copy_from_slice(b"backend");
        let lane = 176 + 1264;
        golden[lane..lane + 24].copy_from_slice(b"\0\x01\0\0\0\0\0\0\x03\x01\0\0\0\0\0\0\x06\0\0\0\0\0\0\0");
        golden[lane + 16 + 5 * 8] = 1;
        golden[lane + 96] = 2;
        golden[lane + 97] = 1;
        golden[lane + 112..lane + 128].copy_from_slice(b"\x02\0\0\0\x03\0\0\0\x08\0\0\0\x01\0\0\0");
        golden[lane + 1136..lane + 1152].copy_from_slice(b"\x01\0\0\0\x05\0\0\0\x03\0\0\0\x07\0\0\0");
        let last = lane + 1264;
        golden[last..last + 16].copy_from_slice(b"\0\x02\0\0\0\0\0\0\x08\x02\0\0\0\0\0\0");
        golden[last + 16] = 11;
        golden[last + 88] = 3;
        golden[3968] = 0x21;
        let crc = crc32fast::hash(&golden[..4060]);
        golden[4060..4064].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(bytes[..4064], golden[..4064]);
        assert!(is_authentic(&bytes, &KEY));
        assert_eq!(bytes[4064..4072], [143, 128, 57, 56, 80, 240, 197, 145], "computed by another program");
    }

    #[test]
    fn a_slot_is_read_as_written() {
        let slot = example();
        assert_eq!(Slot::decode(&slot.encode(&KEY)), Some(slot));
    }

    #[test]
    fn a_slot_under_another_key_or_forged_is_not_authentic() {
        let bytes = example().encode(&KEY);
        assert!(!is_authentic(&bytes, &[8; 32]));
        let mut forged = bytes.clone();
        forged[LANES_AT + 8] += 1;
        let crc = crc32fast::hash(&forged[..CRC_AT]);
        forged[CRC_AT..MAC_AT].copy_from_slice(&crc.to_le_bytes());
        assert!(!is_authentic(&forged, &KEY));
    }

    #[test]
    fn a_flip_of_any_bit_is_found() {
        let good = example().encode(&KEY);
        for bit in 0..SLOT_LEN * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Slot::decode(&bad).is_none() || !is_authentic(&bad, &KEY), "bit {bit}");
        }
    }

    /// Found by fuzzing: what is written next would overflow.
    #[test]
    fn numbers_that_would_overflow_are_refused() {
        let refused = |change: fn(&mut Slot)| {
            let mut slot = example();
            change(&mut slot);
            assert_eq!(Slot::decode(&slot.encode(&KEY)), None);
        };
        refused(|slot| slot.generation = u64::MAX);
        refused(|slot| slot.lanes[0] = LaneCursor::starting_at(NUMBERS_END));
        refused(|slot| {
            slot.lanes[0].rewound = NUMBERS_END;
            slot.lanes[0].tally.0[0] += NUMBERS_END;
        });
        refused(|slot| slot.lanes[1].plans[0].last += u64::from(u32::MAX / 2));
    }

    /// Counts that don't fit the marks would break the sum for ever.
    #[test]
    fn counts_that_do_not_add_up_are_refused() {
        let mut slot = example();
        slot.lanes[0].tally.0[0] += 1;
        assert_eq!(Slot::decode(&slot.encode(&KEY)), None);
    }
}
