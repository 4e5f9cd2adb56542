//! Bytes as a slot, as a cursor's file, and as what is done to its lanes.

use std::path::Path;

use crate::{
    cursor::{
        file::{CursorFile, read_slots},
        lane::{FATES, Fate, LaneCursor, PlanMark},
        slot::{
            COUNTS_AT, CRC_AT, LANE_LEN, LANES_AT, RANGES_AT, REWOUND_AT, SLOT_LEN, SLOTS, Slot, is_authentic,
        },
    },
    storage::{Access, Storage as _, crash::CrashStorage},
};

const KEY: [u8; 32] = [9; 32];
/// Bytes of one operation.
const OPERATION: usize = 6;
/// Nothing is acknowledged so far above a lane's mark here, deferred or not.
const FAR: u64 = 1 << 21;

/// The first byte says what the others are: bit 0, slots get the right CRC; bit 1, and counts of delivered records that
/// fit the marks; bits 2 and 3, how many slots there are. Then a length (u16), a slot's bytes (zero to its end), and so on
/// for each slot; then operations on the lanes of the newest.
pub fn cursor(data: &[u8]) {
    let Some((&mode, mut rest)) = data.split_first() else { return };
    let mut content = Vec::new();
    for _ in 0..usize::from(mode >> 2 & 3).max(1) {
        let Some((len, after)) = rest.split_first_chunk() else { return };
        let len = usize::from(u16::from_le_bytes(*len)).min(SLOT_LEN).min(after.len());
        let mut bytes = Box::new([0; SLOT_LEN]);
        bytes[..len].copy_from_slice(&after[..len]);
        rest = &after[len..];
        mend(&mut bytes, mode);
        if let Some(slot) = Slot::decode(&bytes) {
            round_trip(&slot);
        }
        content.extend_from_slice(bytes.as_slice());
    }
    let disk = CrashStorage::new();
    let path = Path::new("/wal/cursors/a.cursor");
    disk.put(path, content);
    let file = disk.open(path, Access::Write).unwrap();
    let slots = read_slots(file.as_ref()).unwrap().slots;
    assert!(slots.is_sorted_by(|a, b| a.slot.generation >= b.slot.generation), "the newest first");
    let oldest = slots.last().map(|found| (found.at, found.slot.generation));
    let Some((found, oldest)) = slots.into_iter().next().zip(oldest) else { return };
    let mut slot = found.slot;
    operate(&mut slot, rest);
    round_trip(&slot);
    // Written as a consumer writes it, it is the newest that is read.
    slot.generation += 1;
    let mut cursor = CursorFile::opened(path.to_owned(), file.clone(), KEY.into(), found.at, oldest);
    cursor.write(&disk, &mut slot).unwrap();
    cursor.sync(&disk, &mut slot).unwrap();
    assert!(file.len().unwrap() <= (SLOTS * SLOT_LEN) as u64);
    let read = read_slots(file.as_ref()).unwrap().slots;
    let newest = read.iter().find(|found| is_authentic(&found.bytes, &KEY)).unwrap();
    assert!(newest.slot.generation == slot.generation);
}

fn mend(bytes: &mut [u8; SLOT_LEN], mode: u8) {
    // What is just below the limit comes to it in 146,000 years only: the generation, where lanes begin
    // and stand, and how much was set back.
    for number in
        (0..3).flat_map(|lane| [0, 8, REWOUND_AT].map(|at| LANES_AT + lane * LANE_LEN + at)).chain([32])
    {
        bytes[number + 7] &= !0x20;
    }
    if mode & 2 != 0 {
        for lane in 0..3 {
            let lane = &mut bytes[LANES_AT + lane * LANE_LEN..][..LANE_LEN];
            let at = |at: usize| u64::from_le_bytes(*lane[at..].first_chunk().unwrap());
            let length = |n: usize| u32::from_le_bytes(*lane[RANGES_AT + n * 8 + 4..].first_chunk().unwrap());
            let ranges = usize::from(lane[COUNTS_AT]).min(128);
            let taken =
                (0..ranges).fold(at(8).wrapping_sub(at(0)), |sum, n| sum.wrapping_add(length(n).into()));
            let others = (1..FATES).fold(0u64, |sum, n| sum.wrapping_add(at(16 + n * 8)));
            let counted = taken.wrapping_add(at(REWOUND_AT)).wrapping_sub(others);
            lane[16..24].copy_from_slice(&counted.to_le_bytes());
        }
    }
    if mode & 1 != 0 {
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// What is deferred is not written; all else is.
fn round_trip(slot: &Slot) {
    let bytes = slot.encode(&KEY);
    assert!(is_authentic(&bytes, &KEY));
    let read = Slot::decode(&bytes).unwrap_or_else(|| panic!("{slot:?}"));
    assert_eq!(read.encode(&KEY), bytes);
    for (lane, read) in slot.lanes.iter().zip(&read.lanes) {
        assert!(read.is_written_as(lane));
    }
    assert_eq!((&read.name, read.generation, read.resets), (&slot.name, slot.generation, slot.resets));
}

fn operate(slot: &mut Slot, operations: &[u8]) {
    for operation in operations.chunks_exact(OPERATION) {
        let lane = &mut slot.lanes[usize::from(operation[0] >> 6) % 3];
        let above = |at: usize| i64::from(i16::from_le_bytes([operation[at], operation[at + 1]]));
        // Records have ordinals in `first..end`; the end is an agent's life away from overflowing.
        let start = lane.low.saturating_add_signed(above(1)).max(lane.first);
        let end = start + u64::from(operation[3]) + 1;
        let fate = Fate::ALL[usize::from(operation[0] & 7 | operation[5] & 8) % FATES];
        let before = lane.clone();
        let far = lane.reach().max(end) + FAR;
        let pending = lane.pending(far);
        let new = match operation[0] >> 3 & 7 {
            0..4 => lane.acknowledge([(start, end), (end + u64::from(operation[4]), end + 300)], fate),
            4 => Ok(lane.give_up_below(start, fate)),
            5 => {
                let back = lane.low.saturating_sub(operation[3].into());
                let again = lane.rewind(back);
                assert_eq!(lane.low, back);
                assert_eq!(lane.pending(far), pending + again);
                sound(lane, lane);
                continue;
            }
            _ => {
                let last = end - 1 + (u64::from(operation[5]) << 24);
                let plan = PlanMark { first: start, last, count: operation[4].into(), generation: 1 };
                lane.plan(plan).map(|()| 0)
            }
        };
        match new {
            Ok(new) => assert_eq!(lane.pending(far), pending - new, "what is new was pending"),
            Err(_) => assert_eq!(*lane, before, "a refusal changes nothing"),
        }
        sound(&before, lane);
    }
}

/// seen + rewound = delivered + skipped + dead-lettered + dropped + corrupt + pending, and the invariants of the module `lane`.
fn sound(before: &LaneCursor, lane: &LaneCursor) {
    assert!(lane.low >= before.low && lane.low >= lane.first, "the mark never moves back");
    assert!(lane.ranges.is_sorted_by(|a, b| a.1 < b.0), "ranges lie apart");
    assert!(lane.ranges.iter().all(|(start, end)| start < end && *start > lane.low));
    assert!(lane.plans.iter().all(|plan| plan.first <= plan.last));
    let tally = lane.tally();
    let end = lane.reach() + FAR;
    assert_eq!(end - lane.first + lane.rewound, tally.total() + lane.pending(end), "{lane:?}");
}
