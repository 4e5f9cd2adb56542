//! Repairing: every kind of damage is said before anything is done, and put right when it is; afterwards the WAL is
//! whole and holds what opening the damaged one would have found. A crash in the middle changes nothing of that.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::rig::{DIR, Rig, options, ring, segment_files};
use crate::{
    Deed, Encryption, Options, RepairError, Step, VerifyReport,
    repair::{plan_in, repair_in},
    segment::{encrypt::Masters, header::RECORDS_START},
    storage::{
        Storage as _,
        crash::{CrashStorage, Random},
    },
    verify::verify_in,
};

const MAX_SIZE: u64 = crate::MIN_MAX_SIZE;

fn masters() -> Masters {
    Masters::of_ring(Some(&ring()))
}

fn plan(disk: &CrashStorage) -> Vec<Step> {
    plan_in(disk, Path::new(DIR), &masters(), MAX_SIZE, &mut |_| {}).unwrap().steps
}

fn apply(disk: &CrashStorage, steps: &[Step]) -> Result<(), RepairError> {
    repair_in(disk, Path::new(DIR), &masters(), MAX_SIZE, steps, &mut |_| {})
}

fn verified(disk: &CrashStorage) -> VerifyReport {
    verify_in(disk, Path::new(DIR), &masters(), &mut |_| {}).unwrap()
}

/// Every file that is not taken out of the way, and how often each content is in the quarantine.
fn state(disk: &CrashStorage) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeMap<Vec<u8>, usize>) {
    let (mut files, mut taken_out) = (BTreeMap::new(), BTreeMap::new());
    for path in disk.paths() {
        let content = disk.content(&path);
        if path.starts_with("/wal/quarantine") {
            *taken_out.entry(content).or_default() += 1;
        } else {
            files.insert(path, content);
        }
    }
    (files, taken_out)
}

/// What opening finds: every pending record of every lane, and each consumer's counts.
fn found_by_opening(disk: &CrashStorage) -> Vec<String> {
    let rig = Rig::open(&disk.fork(), options()).unwrap();
    let mut found = Vec::new();
    for name in ["a", "b"] {
        for lane in 0..3 {
            for record in rig.read(name, lane) {
                found.push(format!("{name} {} {:?}", record.id, record.payload().unwrap()));
            }
        }
    }
    found.extend(
        rig.status().consumers.iter().map(|consumer| format!("{} {:?}", consumer.name, consumer.total())),
    );
    found
}

/// A WAL of several segments, the first records of which "a" has acknowledged; left without a word.
fn log() -> CrashStorage {
    let mut rig = Rig::new(options());
    for n in 0..70u8 {
        rig.append(usize::from(n % 3), &vec![n; 1500 + usize::from(n) * 7]);
    }
    let ids: Vec<_> = rig.read("a", 0).iter().map(|record| record.id).collect();
    rig.acknowledge("a", 0, &ids[..2]);
    rig.acknowledge("a", 0, &ids[4..5]);
    assert!(rig.segment_files().len() >= 3);
    rig.kill()
}

/// Where the records of a segment begin, the two copies of its head first.
fn records(content: &[u8]) -> Vec<usize> {
    content.windows(4).enumerate().filter(|(_, window)| *window == b"whR\n").map(|(at, _)| at).collect()
}

fn change(disk: &CrashStorage, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = disk.content(path);
    change(&mut content);
    disk.put(path, content);
}

/// A body that was altered, with right CRCs: only its tag is wrong.
fn forge(content: &mut [u8], at: usize) {
    let len = u32::from_le_bytes(content[at + 8..at + 12].try_into().unwrap()) as usize;
    content[at + 64] ^= 1;
    let crc = crc32fast::hash(&content[at + 64..at + 64 + len]);
    content[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(&content[64..96]));
    hasher.update(&content[at + 8..at + 64]);
    let crc = hasher.finalize();
    content[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Moves the marks of a cursor's slots forward, with a right CRC.
fn forge_slots(content: &mut [u8], which: impl Fn(usize) -> bool) {
    for (_, slot) in content.chunks_mut(4096).enumerate().filter(|(at, slot)| which(*at) && slot[0] != 0) {
        slot[176 + 8] += 1;
        slot[176 + 16] += 1;
        let crc = crc32fast::hash(&slot[..4060]);
        slot[4060..4064].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The slot of a cursor with the highest generation.
fn newest_slot(content: &[u8]) -> usize {
    let generation = |slot: &[u8]| u64::from_le_bytes(slot[32..40].try_into().unwrap());
    content.chunks(4096).enumerate().max_by_key(|(_, slot)| generation(slot)).unwrap().0
}

/// A kind of damage, how it is done, words of the plan, and its deeds on segments and cursors, in order.
type Way = (&'static str, fn(&CrashStorage, &[PathBuf]), &'static [&'static str], &'static [&'static str]);

const CURSOR: &str = "/wal/cursors/a.cursor";

/// Every kind of damage that the tests of damage know, and leftovers.
const WAYS: [Way; 17] = [
    (
        "a body",
        |disk, files| {
            change(disk, &files[1], |c| {
                let at = records(c)[6];
                c[at + 70] ^= 1
            })
        },
        &["its CRC is wrong"],
        &["copy", "note"],
    ),
    (
        "a forged body",
        |disk, files| {
            change(disk, &files[1], |c| {
                let at = records(c)[6];
                forge(c, at)
            })
        },
        &["it was altered"],
        &["copy", "note"],
    ),
    (
        "a record's header",
        |disk, files| {
            change(disk, &files[1], |c| {
                let at = records(c)[6];
                c[at + 30] ^= 1
            })
        },
        &["bytes in which no record is"],
        &["copy", "note"],
    ),
    (
        "two segments",
        |disk, files| {
            for file in &files[..2] {
                change(disk, file, |c| {
                    let at = records(c)[6];
                    c[at + 70] ^= 1
                });
            }
        },
        &["its CRC is wrong"],
        &["copy", "copy", "note"],
    ),
    (
        "the last segment's durable part",
        |disk, files| {
            change(disk, files.last().unwrap(), |c| {
                let at = records(c)[3];
                c[at + 70] ^= 1
            })
        },
        &["its CRC is wrong"],
        &["copy", "note"],
    ),
    (
        "a torn tail",
        |disk, files| {
            change(disk, files.last().unwrap(), |c| {
                let at = *records(c).last().unwrap();
                c[at + 80] ^= 1
            })
        },
        &["a crash interrupted"],
        &["cut"],
    ),
    (
        "a sealed segment cut short",
        |disk, files| {
            change(disk, &files[1], |c| {
                let at = records(c)[9];
                c.truncate(at + 5)
            })
        },
        &["it ends early"],
        &["copy", "note"],
    ),
    (
        "a seal",
        |disk, files| {
            change(disk, &files[1], |c| {
                let at = *records(c).last().unwrap();
                c[at + 70] ^= 1
            })
        },
        &["its seal is gone"],
        &["copy", "note"],
    ),
    ("a segment taken away", |disk, files| disk.take(&files[1]), &["does not follow"], &["note"]),
    (
        "a segment's headers",
        |disk, files| change(disk, &files[1], |c| c[..RECORDS_START as usize].fill(0xaa)),
        &["does not begin as a segment does", "does not follow"],
        &["note", "move"],
    ),
    (
        "the last segment's headers",
        |disk, files| change(disk, files.last().unwrap(), |c| c[..RECORDS_START as usize].fill(0)),
        &["does not begin as a segment does"],
        &["move"],
    ),
    (
        "a segment of another WAL",
        |disk, files| {
            let other = log();
            disk.put(&files[1], other.content(&segment_files(&other)[1]))
        },
        &["it belongs to another WAL", "does not follow"],
        &["note", "move"],
    ),
    (
        "a header that was altered",
        |disk, files| {
            change(disk, &files[1], |c| {
                for page in [0, 4096] {
                    c[page + 48] ^= 1;
                    let crc = crc32fast::hash(&c[page..page + 188]);
                    c[page + 188..page + 192].copy_from_slice(&crc.to_le_bytes());
                }
            })
        },
        &["it does not commit to its key", "does not follow"],
        &["note", "move"],
    ),
    (
        "a cursor",
        |disk, _| change(disk, Path::new(CURSOR), |c| c.fill(0)),
        &["\"a\" begins again at the oldest record"],
        &["move"],
    ),
    (
        "a forged cursor",
        |disk, _| change(disk, Path::new(CURSOR), |c| forge_slots(c, |_| true)),
        &["was altered", "\"a\" begins again at the oldest record"],
        &["move"],
    ),
    (
        "a forged slot of a cursor",
        |disk, _| {
            change(disk, Path::new(CURSOR), |c| {
                let newest = newest_slot(c);
                forge_slots(c, |at| at == newest)
            })
        },
        &["was altered", "goes on from an older slot"],
        &["copy", "blank"],
    ),
    (
        "the lock and what was being made",
        |disk, _| {
            disk.put(Path::new("/wal/lock"), b"whimbrel wal ffff".to_vec());
            disk.put(Path::new("/wal/spare-9-9"), vec![0; 100]);
            disk.put(Path::new("/wal/cursors/a.cursor-new"), vec![0; 10]);
        },
        &["nothing is in it", "does not say whose WAL"],
        &["remove", "remove", "name"],
    ),
];

fn deeds(steps: &[Step]) -> Vec<&'static str> {
    let of = |step: &Step| match step.deed {
        Deed::Move { .. } => "move",
        Deed::Copy { .. } => "copy",
        Deed::Cut { .. } => "cut",
        Deed::Blank { .. } => "blank",
        Deed::Remove => "remove",
        Deed::Note => "note",
        Deed::Name => "name",
    };
    steps.iter().map(of).collect()
}

/// A whole WAL without leftovers, damaged in one way.
fn damaged((_, damage, _, _): &Way, whole: &CrashStorage) -> CrashStorage {
    let disk = whole.fork();
    damage(&disk, &segment_files(&disk));
    disk
}

/// What a kill leaves is no damage: spares and a torn end of zeros.
fn whole() -> CrashStorage {
    let disk = log();
    let steps = plan(&disk);
    assert!(steps.iter().all(|step| step.deed == Deed::Remove), "{steps:?}");
    apply(&disk, &steps).unwrap();
    disk
}

#[test]
fn every_kind_of_damage_is_said_put_right_and_opens_as_it_would_have() {
    let whole = whole();
    for way in &WAYS {
        let (name, _, words, expected) = way;
        let disk = damaged(way, &whole);
        let (before, found) = (state(&disk), found_by_opening(&disk));
        let steps = plan(&disk);
        assert!(state(&disk) == before, "{name}: planning changes nothing");
        assert_eq!(deeds(&steps), *expected, "{name}: {steps:#?}");
        for word in *words {
            assert!(steps.iter().any(|step| step.why.contains(word)), "{name}: {word:?} in {steps:#?}");
        }
        apply(&disk, &steps).unwrap();
        let report = verified(&disk);
        assert!(report.is_sound() && report.torn_bytes == 0, "{name}: {report:#?}");
        assert_eq!(found_by_opening(&disk), found, "{name}: the same records and counts");
        assert_eq!(plan(&disk), [], "{name}: nothing is left to be done");
        let mut rig = Rig::open(&disk, options()).unwrap();
        assert!(rig.report.quarantined.is_empty() && rig.report.cursors_reset.is_empty(), "{name}");
        rig.append(0, b"and goes on");
        assert_eq!(rig.payloads("b", 0).last().unwrap(), b"and goes on", "{name}");
    }
}

/// Nothing that a repair takes away is gone: the bytes of every file it cuts short, blanks or moves are kept.
#[test]
fn what_is_taken_out_is_kept_as_it_was() {
    let whole = whole();
    for way in &WAYS {
        let disk = damaged(way, &whole);
        let steps = plan(&disk);
        let kept: Vec<_> = steps
            .iter()
            .filter_map(|step| match &step.deed {
                Deed::Move { to } | Deed::Copy { to } => Some((to.clone(), disk.content(&step.path))),
                _ => None,
            })
            .collect();
        apply(&disk, &steps).unwrap();
        for (to, content) in kept {
            assert!(disk.content(&to) == content, "{}: {}", way.0, to.display());
        }
    }
}

#[test]
fn a_repair_that_is_interrupted_anywhere_ends_the_same_when_run_again() {
    let whole = whole();
    let mut interrupted = 0;
    for way in &WAYS {
        let disk = damaged(way, &whole);
        let done = disk.fork();
        apply(&done, &plan(&done)).unwrap();
        let (expected, found) = (state(&done), found_by_opening(&done));
        for operations in 1.. {
            let fork = disk.fork();
            fork.light_fuse(operations);
            let ended = apply(&fork, &plan(&fork)).is_ok();
            match operations % 2 {
                0 => fork.kill(),
                _ => fork.power_loss(&mut Random::new(operations)),
            }
            // Twice: the second time early in another repair.
            fork.light_fuse(1 + operations / 2);
            let _ = apply(&fork, &plan(&fork));
            fork.kill();
            apply(&fork, &plan(&fork)).unwrap();
            assert!(state(&fork) == expected, "{} after {operations} operations", way.0);
            assert_eq!(found_by_opening(&fork), found, "{} after {operations} operations", way.0);
            assert!(verified(&fork).is_sound(), "{} after {operations} operations", way.0);
            if ended {
                break;
            }
            interrupted += 1;
        }
    }
    assert!(interrupted > 50, "repairs were interrupted: {interrupted}");
}

#[test]
fn damage_that_was_noted_is_known_and_new_damage_is_not() {
    let disk = whole();
    let files = segment_files(&disk);
    change(&disk, &files[1], |content| {
        let at = records(content)[6];
        content[at + 70] ^= 1;
    });
    assert_eq!(verified(&disk).damages.len(), 1);
    apply(&disk, &plan(&disk)).unwrap();
    let report = verified(&disk);
    assert_eq!((report.damages.len(), report.known.len()), (0, 1), "{report:#?}");
    let blind = verify_in(&disk, Path::new(DIR), &Masters::of_ring(None), &mut |_| {}).unwrap();
    assert_eq!((blind.damages.len(), blind.known.len()), (0, 1), "without key");
    // Another bit of the same record; and of another one.
    for (which, offset) in [(6, 71), (7, 70)] {
        let fork = disk.fork();
        change(&fork, &files[1], |content| {
            let at = records(content)[which];
            content[at + offset] ^= 1;
        });
        assert_eq!(verified(&fork).damages.len(), 1, "record {which}");
        assert_eq!(deeds(&plan(&fork)), ["copy", "note"], "record {which}");
    }
    // The segment itself goes: that is new, and known once it is noted, until more goes.
    disk.take(&files[1]);
    assert_eq!(deeds(&plan(&disk)), ["note"]);
    apply(&disk, &plan(&disk)).unwrap();
    assert!(verified(&disk).is_sound());
    change(&disk, &files[0], |content| content.truncate(records(content)[9]));
    assert!(!verified(&disk).is_sound());
}

#[test]
fn an_unknown_key_is_no_damage() {
    let disk = whole();
    let before = state(&disk);
    let other = crate::KeyRing::new(crate::Key::from_bytes([8; 32]));
    for masters in [Masters::of_ring(None), Masters::of_ring(Some(&other))] {
        let plan = plan_in(&disk, Path::new(DIR), &masters, MAX_SIZE, &mut |_| {}).unwrap();
        assert_eq!(plan.steps, []);
    }
    assert!(state(&disk) == before);
    // What needs no key to be known is found all the same.
    change(&disk, &segment_files(&disk)[1], |content| {
        let at = records(content)[6];
        content[at + 70] ^= 1;
    });
    let blind = Masters::of_ring(None);
    let steps = plan_in(&disk, Path::new(DIR), &blind, MAX_SIZE, &mut |_| {}).unwrap().steps;
    assert_eq!(deeds(&steps), ["copy", "note"]);
    repair_in(&disk, Path::new(DIR), &blind, MAX_SIZE, &steps, &mut |_| {}).unwrap();
    assert!(verify_in(&disk, Path::new(DIR), &blind, &mut |_| {}).unwrap().is_sound());
    assert!(!verified(&disk).is_sound(), "who holds the key does not believe notes made without it");
}

#[test]
fn a_wal_in_the_clear_is_repaired_alike() {
    let clear = Options { encryption: Encryption::None, ..options() };
    let mut rig = Rig::new(clear.clone());
    for n in 0..70u8 {
        rig.append(0, &[n; 2000]);
    }
    let disk = rig.kill();
    change(&disk, &segment_files(&disk)[1], |content| {
        let at = records(content)[6];
        content[at + 70] ^= 1;
    });
    let masters = Masters::of_ring(None);
    let steps = plan_in(&disk, Path::new(DIR), &masters, MAX_SIZE, &mut |_| {}).unwrap().steps;
    assert!(deeds(&steps).starts_with(&["copy", "note"]), "{steps:#?}");
    repair_in(&disk, Path::new(DIR), &masters, MAX_SIZE, &steps, &mut |_| {}).unwrap();
    let report = verify_in(&disk, Path::new(DIR), &masters, &mut |_| {}).unwrap();
    assert!(report.is_sound() && report.authenticated, "{report:#?}");
    assert_eq!(Rig::open(&disk, clear).unwrap().read("a", 0).len(), 69);
}

#[test]
fn older_quarantined_files_make_room_and_what_a_repair_took_out_stays() {
    let disk = whole();
    let files = segment_files(&disk);
    for n in 0..3 {
        disk.put(&PathBuf::from(format!("/wal/quarantine/old-{n}")), vec![n; 10_000]);
    }
    disk.put(Path::new("/wal/quarantine/0000000000000000.wal.repair"), vec![9; 50_000]);
    change(&disk, &files[1], |content| {
        let at = records(content)[6];
        content[at + 70] ^= 1;
    });
    let steps = plan(&disk);
    assert_eq!(deeds(&steps), ["remove", "remove", "remove", "copy", "note"], "{steps:#?}");
    apply(&disk, &steps).unwrap();
    let kept: Vec<_> = disk.paths().into_iter().filter(|path| path.starts_with("/wal/quarantine")).collect();
    let name = files[1].file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(
        kept,
        [
            PathBuf::from("/wal/quarantine/0000000000000000.wal.repair"),
            PathBuf::from(format!("/wal/quarantine/{name}.repair"))
        ]
    );
}

#[test]
fn a_wal_in_use_or_changed_since_is_not_touched() {
    let disk = whole();
    disk.put(Path::new("/wal/spare-9-9"), vec![0; 100]);
    let steps = plan(&disk);
    disk.put(Path::new("/wal/spare-9-8"), vec![0; 100]);
    let before = state(&disk);
    assert!(matches!(apply(&disk, &steps), Err(RepairError::Changed { .. })));
    let held = disk.lock(Path::new("/wal/lock")).unwrap().unwrap();
    let refused = apply(&disk, &plan(&disk)).unwrap_err();
    assert!(refused.is_locked() && refused.to_string().contains("/wal"), "{refused}");
    assert!(state(&disk) == before);
    drop(held);
    apply(&disk, &plan(&disk)).unwrap();
}

/// A full disk ends it with the file named; nothing that was there is lost, and room lets it go on.
#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let whole = whole();
    let disk = damaged(&WAYS[0], &whole);
    let found = found_by_opening(&disk);
    disk.set_capacity(Some(disk.used() + 1000));
    let refused = apply(&disk, &plan(&disk)).unwrap_err();
    assert!(refused.to_string().contains("copying /wal/"), "{refused}");
    assert_eq!(found_by_opening(&disk), found);
    disk.set_capacity(None);
    apply(&disk, &plan(&disk)).unwrap();
    assert!(verified(&disk).is_sound());
    assert!(
        !disk.paths().iter().any(|path| path.to_string_lossy().contains("copying")),
        "{:?}",
        disk.paths()
    );
}

/// A segment that is authentic in itself, but of another history of the same WAL: only the chain of seals tells.
#[test]
fn a_segment_of_another_history_is_found_by_the_seal_that_the_next_one_repeats() {
    let disk = whole();
    let history = |disk: &CrashStorage, byte: u8| {
        let mut rig = Rig::open(disk, options()).unwrap();
        rig.append(0, &[byte; 100]);
        let path = rig.segment_files().pop().unwrap();
        rig.close();
        Rig::open(disk, options()).unwrap().close();
        path
    };
    let other = disk.fork();
    let (path, other_path) = (history(&disk, 1), history(&other, 2));
    assert_eq!(path, other_path);
    assert!(verified(&disk).is_sound() && verified(&other).is_sound());
    disk.put(&path, other.content(&path));
    let report = verified(&disk);
    assert_eq!(report.damages.len(), 1, "{report:#?}");
    assert!(report.damages[0].what.contains("not the one that was sealed"), "{report:#?}");
    let blind = verify_in(&disk, Path::new(DIR), &Masters::of_ring(None), &mut |_| {}).unwrap();
    assert!(blind.is_sound(), "CRCs alone can't know: {blind:?}");
    apply(&disk, &plan(&disk)).unwrap();
    assert!(verified(&disk).is_sound());
}
