//! Other keys while the WAL is in use, with crashes, failing disks and full ones in between.

use std::{
    io::ErrorKind,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aes_gcm::Aes256Gcm;
use zeroize::ZeroizeOnDrop;

use super::rig::{ALL, DIR, Rig, options, policies, record, ring};
use crate::{
    Encryption, Key, KeyRing, Lane, Options, Outcome, RotateError, Wal, inspect,
    storage::crash::{CrashStorage, Fault, Op, Random},
    verify::inspect_in,
};

fn new_key() -> Key {
    Key::from_bytes([8; 32])
}

fn old_key() -> Key {
    Key::from_bytes([7; 32])
}

/// The ring after a rotation: the new key, and the old one for what it sealed.
fn both() -> KeyRing {
    KeyRing::new(new_key()).with_older(old_key())
}

fn with(ring: KeyRing) -> Options {
    Options { encryption: Encryption::Aes256Gcm(ring), ..options() }
}

fn ids() -> (u32, u32) {
    (old_key().id(), new_key().id())
}

fn in_use(rig: &Rig) -> Vec<u32> {
    let mut ids: Vec<u32> = rig.core.shared.key_use().into_keys().collect();
    ids.sort_unstable_by_key(|id| *id != old_key().id());
    ids
}

fn drain(rig: &mut Rig) {
    for name in ["a", "b"] {
        let ids: Vec<_> = rig.read(name, 0).iter().map(|record| record.id).collect();
        rig.acknowledge(name, 0, &ids);
    }
    rig.run();
}

#[test]
fn new_segments_and_cursors_go_under_the_new_key_and_all_is_read() {
    let (old, new) = ids();
    for sync in policies() {
        let mut rig = Rig::new(Options { sync, ..options() });
        let first = rig.append(0, b"one");
        rig.append(0, b"two");
        rig.pass(Duration::from_secs(1));
        rig.acknowledge("a", 0, &[first]);
        rig.append(0, b"three");
        rig.core.rotate(both()).unwrap();
        rig.append(0, b"four");
        rig.pass(Duration::from_secs(1));
        let expected = [&b"two"[..], b"three", b"four"];
        assert_eq!(rig.payloads("a", 0), expected, "{sync:?}");
        assert_eq!(in_use(&rig), [old, new]);
        let found = inspect_in(&rig.disk, Path::new(DIR)).unwrap();
        let keys: Vec<u32> = found.segments.iter().map(|segment| segment.key_id).collect();
        assert_eq!(keys, [old, new], "{sync:?}");
        assert!(found.consumers.iter().all(|consumer| consumer.key_id == new), "{sync:?}");
        assert!(rig.status().consumers.iter().all(|consumer| consumer.key_id == new));
        let disk = rig.kill();
        let rig = Rig::open(&disk, with(both())).unwrap();
        assert_eq!(rig.payloads("a", 0), expected, "{sync:?}");
        assert_eq!(rig.payloads("b", 0).len(), 4);
    }
}

/// What was answered under `interval` is in the segment that is sealed.
#[test]
fn a_rotation_makes_durable_what_was_only_written() {
    for sync in policies() {
        let mut rig = Rig::new(Options { sync, ..options() });
        rig.append(0, b"not synced yet");
        rig.core.rotate(both()).unwrap();
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut Random::new(4));
        let rig = Rig::open(&disk, with(both())).unwrap();
        assert_eq!(rig.payloads("a", 0), [b"not synced yet"], "{sync:?}");
    }
}

#[test]
fn a_key_that_is_needed_cannot_be_left_out_and_nothing_is_changed() {
    let (old, _) = ids();
    let mut rig = Rig::new(options());
    rig.append(0, b"sealed with the old key");
    let before: Vec<_> = rig.disk.paths().iter().map(|path| rig.disk.content(path)).collect();
    let refused = rig.core.rotate(KeyRing::new(new_key())).unwrap_err();
    assert!(
        matches!(refused, RotateError::InUse { id, segments: 1, cursors: 2 } if id == old),
        "{refused:?}"
    );
    assert!(refused.is_in_use() && refused.to_string().contains(&format!("{old:08x}")), "{refused}");
    let after: Vec<_> = rig.disk.paths().iter().map(|path| rig.disk.content(path)).collect();
    assert!(before == after, "not a byte");
    rig.append(0, b"and goes on");
    let disk = rig.close();
    assert_eq!(Rig::open(&disk, options()).unwrap().read("a", 0).len(), 2);
}

/// Nor does a power loss bring back what it sealed.
#[test]
fn when_what_it_sealed_is_delivered_the_old_key_can_go() {
    let (old, new) = ids();
    for seed in 0..40 {
        let mut rig = Rig::new(options());
        rig.append(0, b"sealed with the old key");
        rig.core.rotate(both()).unwrap();
        assert!(rig.core.rotate(KeyRing::new(new_key())).unwrap_err().is_in_use());
        drain(&mut rig);
        assert_eq!(in_use(&rig), [new], "seed {seed}");
        rig.core.rotate(KeyRing::new(new_key())).unwrap();
        assert!(!rig.core.shared.masters().ids().contains(&old), "it is forgotten");
        rig.append(0, b"sealed with the new one");
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut Random::new(seed));
        let rig = Rig::open(&disk, with(KeyRing::new(new_key()))).unwrap();
        assert!(rig.report.cursors_reset.is_empty(), "seed {seed}");
        assert_eq!(rig.payloads("a", 0), [b"sealed with the new one"], "seed {seed}");
    }
}

/// Nothing more is acknowledged of it, and the next seal may be days away.
#[test]
fn what_was_delivered_before_the_rotation_needs_the_old_key_no_more() {
    let (_, new) = ids();
    let mut rig = Rig::new(options());
    rig.append(0, b"sealed with the old key");
    drain(&mut rig);
    rig.core.rotate(both()).unwrap();
    assert_eq!(in_use(&rig), [new]);
}

/// Whatever is damaged then, opening does not ask for the key that went.
#[test]
fn a_damaged_slot_of_a_cursor_is_no_wrong_key_after_the_old_one_went() {
    let mut rig = Rig::new(options());
    rig.append(0, b"delivered");
    drain(&mut rig);
    rig.core.rotate(both()).unwrap();
    rig.core.rotate(KeyRing::new(new_key())).unwrap();
    let disk = rig.kill();
    let path = Path::new("/wal/cursors/a.cursor");
    for slot in 0..3 {
        let fork = disk.fork();
        let mut bytes = disk.content(path);
        bytes[slot * 4096 + 200] ^= 1;
        fork.put(path, bytes);
        let rig = Rig::open(&fork, with(KeyRing::new(new_key()))).unwrap();
        assert!(rig.report.cursors_reset.is_empty(), "slot {slot}");
        assert!(rig.read("a", 0).is_empty(), "slot {slot}: what was acknowledged stays so");
    }
}

#[test]
fn the_same_current_key_only_brings_or_takes_older_ones() {
    let mut rig = Rig::new(options());
    let created = rig.status().counters.segments_created;
    let other = Key::from_bytes([9; 32]);
    rig.core.rotate(ring().with_older(other.clone())).unwrap();
    assert!(rig.core.shared.masters().ids().contains(&other.id()));
    rig.core.rotate(ring()).unwrap();
    assert!(!rig.core.shared.masters().ids().contains(&other.id()));
    assert_eq!(rig.status().counters.segments_created, created);
}

#[test]
fn a_wal_in_the_clear_has_no_keys_to_rotate() {
    let mut rig = Rig::new(Options { encryption: Encryption::None, ..options() });
    rig.append(0, b"in the clear");
    assert!(matches!(rig.core.rotate(both()), Err(RotateError::Plain)));
    assert_eq!(in_use(&rig), []);
}

/// Opened again after a crash within a rotation: everything answered is there, nothing acknowledged comes again.
fn examine(disk: &CrashStorage, context: &str) {
    let rig = Rig::open(disk, with(both())).unwrap_or_else(|error| panic!("{context}: {error}"));
    let report = &rig.report;
    assert!(report.cursors_reset.is_empty() && report.quarantined.is_empty(), "{context}: {report:?}");
    assert_eq!(report.lost_records, 0, "{context}");
    let rest: Vec<Vec<u8>> = (2..6u8).map(|n| vec![n; 900]).collect();
    assert_eq!(rig.payloads("a", 0), rest, "{context}");
    assert_eq!(rig.payloads("b", 0).len(), 6, "{context}");
    rig.status();
}

#[test]
fn a_crash_at_any_operation_of_a_rotation_loses_nothing_and_resets_no_cursor() {
    let (old, new) = ids();
    let mut operations = 0;
    for fuse in 1.. {
        let mut finished = false;
        for seed in 0..12 {
            let mut rig = Rig::new(options());
            let ids: Vec<_> = (0..6u8).map(|n| rig.append(0, &[n; 900])).collect();
            rig.acknowledge("a", 0, &ids[..2]);
            rig.run();
            rig.pass(Duration::from_secs(10));
            assert!(!rig.core.shared.consumers()[0].is_dirty());
            rig.disk.light_fuse(fuse);
            let rotated = rig.core.rotate(both());
            let disk = rig.disk.clone();
            finished = !disk.is_off();
            assert_eq!(rotated.is_ok(), finished, "operation {fuse}: {rotated:?}");
            drop(rig);
            if seed == 0 {
                disk.kill();
            } else {
                disk.power_loss(&mut Random::new(seed));
            }
            let context = format!("operation {fuse}, seed {seed}");
            // Who has the old key alone is told so, or finds everything: never a cursor that begins anew.
            match Rig::open(&disk.fork(), options()) {
                Ok(rig) => {
                    assert!(!finished && rig.report.cursors_reset.is_empty(), "{context}");
                    assert_eq!(rig.read("a", 0).len(), 4, "{context}");
                }
                Err(error) => {
                    assert!(error.is_wrong_key(), "{context}: {error}");
                    assert!(error.to_string().contains(&format!("{new:08x}")), "{context}: {error}");
                }
            }
            examine(&disk, &context);
            disk.kill();
            let mut rig = Rig::open(&disk, with(both())).unwrap();
            rig.core.rotate(both()).unwrap();
            drain(&mut rig);
            assert_eq!(in_use(&rig), [new], "{context}: the rotation ends in the end; {old:08x} can go");
        }
        if finished {
            operations = fuse;
            break;
        }
    }
    // Sealing, beginning, naming, and a write and a sync for each of the two cursors.
    assert!(operations > 8, "{operations} operations were cut off");
}

#[test]
fn a_cursor_under_a_key_that_is_not_there_is_a_wrong_key() {
    let mut rig = Rig::new(options());
    let id = rig.append(0, b"one");
    rig.acknowledge("a", 0, &[id]);
    rig.core.rotate(both()).unwrap();
    let disk = rig.close();
    for path in super::rig::segment_files(&disk).into_iter().skip(1) {
        disk.take(&path);
    }
    let Err(error) = Rig::open(&disk, options()) else { panic!("it opened") };
    assert!(error.is_wrong_key() && error.to_string().contains("a.cursor"), "{error}");
    let rig = Rig::open(&disk, with(both())).unwrap();
    assert!(rig.read("a", 0).is_empty(), "what was acknowledged stays so");
}

#[test]
fn a_failing_disk_is_told_and_the_rotation_can_be_tried_again() {
    let (old, new) = ids();
    for op in [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::SyncDir] {
        for path in [".wal", "spare", ".cursor", ""] {
            let mut rig = Rig::new(options());
            rig.append(0, b"one");
            let kind = ErrorKind::Other;
            rig.disk.fail(Fault { op, path, skip: 0, times: 1000, kind });
            let rotated = rig.core.rotate(both());
            let context = format!("{op:?} {path}: {rotated:?}");
            let used = in_use(&rig);
            assert!(used.contains(&old), "{context}");
            if let Err(RotateError::Io { taken, .. }) = &rotated {
                assert_eq!(rig.core.shared.masters().current_id() == new, *taken, "{context}");
            }
            assert!(rotated.is_ok() || rig.status().failing, "{context}");
            rig.disk.fail_randomly(0, 0);
            rig.core.rotate(both()).unwrap();
            rig.append(0, b"two");
            assert_eq!(rig.payloads("a", 0), [b"one", b"two"], "{context}");
            drain(&mut rig);
            assert_eq!(in_use(&rig), [new], "{context}");
            let disk = rig.kill();
            let rig = Rig::open(&disk, with(KeyRing::new(new_key()))).unwrap();
            assert!(rig.report.cursors_reset.is_empty(), "{context}");
        }
    }
}

/// What is answered and can't be written for now is carried through a rotation.
#[test]
fn what_was_answered_outlives_a_rotation_on_a_failing_disk() {
    let sync = crate::SyncPolicy::interval();
    let mut rig = Rig::new(Options { sync, ..options() });
    rig.append(0, b"answered");
    rig.disk.fail(Fault { op: Op::Sync, path: "", skip: 0, times: 1000, kind: ErrorKind::Other });
    rig.pass(Duration::from_secs(1));
    assert!(rig.core.rotate(both()).is_err());
    rig.disk.fail_randomly(0, 0);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.payloads("a", 0), [b"answered"]);
}

#[test]
fn a_full_disk_neither_keeps_cursors_from_being_signed_nor_from_moving() {
    let (_, new) = ids();
    let mut rig = Rig::new(options());
    let id = rig.append(0, b"one");
    rig.disk.set_capacity(Some(rig.disk.used()));
    rig.core.rotate(both()).unwrap();
    assert!(rig.status().consumers.iter().all(|consumer| consumer.key_id == new));
    for name in ["a", "b"] {
        rig.acknowledge(name, 0, &[id]);
    }
    let disk = rig.kill();
    disk.set_capacity(Some(disk.used()));
    let rig = Rig::open(&disk, with(both())).unwrap();
    assert!(rig.report.cursors_reset.is_empty() && rig.read("a", 0).is_empty());
}

#[test]
fn a_full_disk_does_not_keep_a_wal_from_opening_under_a_new_key() {
    let (_, new) = ids();
    let mut rig = Rig::new(options());
    let id = rig.append(0, b"one");
    rig.append(0, b"two");
    rig.acknowledge("a", 0, &[id]);
    let disk = rig.close();
    disk.set_capacity(Some(disk.used()));
    let rig = Rig::open(&disk, with(both())).unwrap();
    assert_eq!(rig.payloads("a", 0), [b"two"]);
    assert!(rig.status().consumers.iter().all(|consumer| consumer.key_id == new));
}

/// Through the handle, over real files, while others append and read.
#[test]
fn appending_and_reading_go_on_through_rotations() {
    const ROTATIONS: u8 = 6;
    let dir = tempfile::tempdir().unwrap();
    let key = |n: u8| Key::from_bytes([n; 32]);
    let (wal, _) = Wal::open(dir.path(), with(KeyRing::new(key(0)))).unwrap();
    // One that the first key seals, whenever the threads begin.
    wal.append_blocking(wal.prepare(record(0, &0u64.to_le_bytes())).unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    let appended = std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            let mut count = 1u64;
            while !stop.load(Ordering::Relaxed) {
                let payload = count.to_le_bytes();
                wal.append_blocking(wal.prepare(record(0, &payload)).unwrap()).unwrap();
                count += 1;
            }
            count
        });
        let delivering = scope.spawn(|| {
            let a = wal.consumer("a").unwrap();
            while !stop.load(Ordering::Relaxed) {
                let ids: Vec<_> = a.read(Lane::ALL[0], None, ALL).unwrap().iter().map(|r| r.id).collect();
                a.acknowledge(Lane::ALL[0], &ids, Outcome::Delivered).unwrap();
            }
        });
        let mut ring = KeyRing::new(key(0));
        for n in 1..=ROTATIONS {
            ring = ring.ids().iter().fold(KeyRing::new(key(n)), |next, id| {
                next.with_older((0..n).map(key).find(|key| key.id() == *id).unwrap())
            });
            wal.rotate(ring.clone()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        delivering.join().unwrap();
        appending.join().unwrap()
    });
    let numbers = |consumer: &str| -> Vec<u64> {
        let records = wal.consumer(consumer).unwrap().read(Lane::ALL[0], None, ALL).unwrap();
        records
            .iter()
            .map(|record| u64::from_le_bytes(record.payload().unwrap()[..].try_into().unwrap()))
            .collect()
    };
    assert_eq!(numbers("b"), (0..appended).collect::<Vec<_>>(), "each once, in order");
    let used = wal.keys_in_use();
    assert!(used.contains(&key(ROTATIONS).id()) && used.contains(&key(0).id()), "{used:x?}");
    assert_eq!(inspect(dir.path()).unwrap().segments.last().unwrap().key_id, key(ROTATIONS).id());
    wal.clone().close().unwrap();
    assert!(matches!(wal.rotate(KeyRing::new(key(1))), Err(RotateError::Closed)));
}

/// Of types that say so; that they do is their own tests' business.
#[test]
fn what_holds_keys_zeroes_them() {
    fn zeroes<T: ZeroizeOnDrop>() {}
    zeroes::<sha2::Sha256>();
    zeroes::<Key>();
    zeroes::<Aes256Gcm>();
}
