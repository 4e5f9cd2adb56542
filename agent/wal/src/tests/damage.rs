//! Damage: whatever is cut, flipped, missing or put there, the WAL opens and loses only what was touched.

use std::path::{Path, PathBuf};

use super::rig::{Rig, options, record, ring, segment_files};
use crate::{
    Encryption, Key, KeyRing, Lane, NewRecord, OnWrongKey, Options, Outcome,
    segment::{
        encrypt::Masters,
        header::{HEADER_LEN, RECORDS_START},
    },
    storage::crash::CrashStorage,
    verify::{inspect_in, verify_in},
};

fn payload(n: u8) -> Vec<u8> {
    vec![n; 40 + usize::from(n)]
}

/// A WAL of a few small records in the first lane, left without a word; and where each record lies.
fn small_log(count: u8) -> (CrashStorage, PathBuf) {
    let mut rig = Rig::new(options());
    for n in 0..count {
        rig.append(0, &payload(n));
    }
    let path = rig.segment_files().pop().unwrap();
    (rig.kill(), path)
}

fn opened(disk: &CrashStorage) -> Rig {
    Rig::open(disk, options()).unwrap()
}

/// What is read must be some of what was written, in order; and the sum must hold.
fn survivors(rig: &mut Rig, count: u8) -> Vec<u8> {
    let read = rig.payloads("a", 0);
    let numbers: Vec<u8> = read.iter().map(|payload| payload[0]).collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|n| *n < count), "{numbers:?}");
    for (n, read) in numbers.iter().zip(&read) {
        assert_eq!(*read, payload(*n));
    }
    rig.status();
    numbers
}

/// prometheus#18552: one bad record deletes the rest.
/// <https://github.com/prometheus/prometheus/issues/18552>
#[test]
fn a_flip_of_any_bit_costs_at_most_the_record_it_is_in() {
    const COUNT: u8 = 3;
    let (disk, path) = small_log(COUNT);
    let good = disk.content(&path);
    let end = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // The records lie behind the head; of the two pages of the header and the head, which are mostly padding, a bit of
    // every byte that means something is enough.
    let records =
        good.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).nth(2).unwrap();
    let head =
        (0..records).filter(|at| at % 64 == 0 || good[*at] != 0 && *at < 8192).map(|at| at * 8 + at % 8);
    let mut lost_any = 0;
    for bit in head.chain(records * 8..end * 8) {
        let fork = disk.fork();
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fork.put(&path, bad);
        let mut rig = opened(&fork);
        let left = survivors(&mut rig, COUNT);
        assert!(left.len() >= usize::from(COUNT) - 1, "bit {bit}: {left:?}");
        assert!(bit / 8 >= records || left.len() == usize::from(COUNT), "bit {bit} of header or head");
        lost_any += usize::from(COUNT) - left.len();
        // And goes on.
        rig.append(0, &payload(COUNT));
        assert_eq!(survivors(&mut rig, COUNT + 1).last(), Some(&COUNT), "bit {bit}");
    }
    assert!(lost_any > 1000, "flips were felt");
}

#[test]
fn a_cut_at_any_byte_leaves_what_is_before_it() {
    const COUNT: u8 = 3;
    let (disk, path) = small_log(COUNT);
    let good = disk.content(&path);
    let end = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut before = 0;
    for len in (0..8192).step_by(97).chain(8192..end) {
        let fork = disk.fork();
        fork.put(&path, good[..len].to_vec());
        let mut rig = opened(&fork);
        let left = survivors(&mut rig, COUNT);
        assert_eq!(left, (0..left.len() as u8).collect::<Vec<_>>(), "cut at {len}: a prefix");
        assert!(left.len() >= before, "cut at {len}");
        before = left.len();
        assert!(rig.report.quarantined.is_empty() || len < HEADER_LEN, "cut at {len}: {:?}", rig.report);
        rig.append(0, &payload(COUNT));
        assert_eq!(survivors(&mut rig, COUNT + 1).last(), Some(&COUNT));
    }
    // Cut in its last padding, the last record is whole.
    assert!(before >= usize::from(COUNT) - 1);
}

#[test]
fn a_torn_tail_is_cut_and_no_alarm() {
    let (disk, path) = small_log(4);
    let mut bad = disk.content(&path);
    let end = bad.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bad[end - 10..end].fill(0);
    disk.put(&path, bad);
    let mut rig = opened(&disk);
    assert!(
        rig.report.torn_bytes > 0 && rig.report.lost_records == 0 && !rig.report.is_damaged(),
        "{:?}",
        rig.report
    );
    assert_eq!(survivors(&mut rig, 4), [0, 1, 2]);
    assert_eq!(rig.status().consumers[0].total().seen, 3);
}

#[test]
fn damage_below_the_synced_mark_is_an_alarm_and_counted_once() {
    let (disk, path) = small_log(4);
    let mut bad = disk.content(&path);
    let second = bad.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).nth(4).unwrap();
    bad[second + 70] ^= 1;
    disk.put(&path, bad);
    for round in 0..3 {
        let mut rig = opened(&disk);
        if round == 0 {
            assert_eq!(rig.report.lost_records, 1);
            let report =
                verify_in(&disk.clone(), Path::new("/wal"), &Masters::of_ring(Some(&ring())), &mut |_| {})
                    .unwrap();
            assert!(!report.is_sound() && report.damages[0].what.contains("CRC"), "{report:?}");
        }
        assert_eq!(survivors(&mut rig, 4).len(), 3);
        let total = rig.status().consumers[0].total();
        assert_eq!((total.seen, total.corrupt(), total.pending), (4, 1, 3), "round {round}");
        rig.close();
    }
    // Once passed by all, it is kept for a look.
    let rig = opened(&disk);
    let ids: Vec<_> = rig.read("a", 0).iter().map(|r| r.id).collect();
    rig.acknowledge("a", 0, &ids);
    let ids: Vec<_> = rig.read("b", 0).iter().map(|r| r.id).collect();
    rig.acknowledge("b", 0, &ids);
    let mut rig = rig;
    rig.run();
    assert!(disk.paths().iter().any(|path| path.starts_with("/wal/quarantine")), "{:?}", disk.paths());
    assert_eq!(
        rig.status().quarantine_bytes,
        disk.paths()
            .iter()
            .filter(|p| p.starts_with("/wal/quarantine"))
            .map(|p| disk.content(p).len() as u64)
            .sum::<u64>()
    );
}

/// An altered body with a right CRC: no accident.
#[test]
fn a_forged_record_is_not_delivered() {
    let (disk, path) = small_log(3);
    let mut bad = disk.content(&path);
    let at = bad.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).nth(3).unwrap();
    let len = u32::from_le_bytes(bad[at + 8..at + 12].try_into().unwrap()) as usize;
    bad[at + 64] ^= 1;
    let crc = crc32fast::hash(&bad[at + 64..at + 64 + len]);
    bad[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
    let salt: [u8; 32] = bad[64..96].try_into().unwrap();
    let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(&salt));
    hasher.update(&bad[at + 8..at + 64]);
    let crc = hasher.finalize();
    bad[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    disk.put(&path, bad);
    let mut rig = opened(&disk);
    assert_eq!(survivors(&mut rig, 3).len(), 2);
    assert_eq!(rig.status().losses.not_authentic, 1);
    let report = verify_in(&disk, Path::new("/wal"), &Masters::of_ring(Some(&ring())), &mut |_| {}).unwrap();
    assert!(report.damages.iter().any(|damage| damage.what.contains("altered")), "{report:?}");
    let blind = verify_in(&disk, Path::new("/wal"), &Masters::of_ring(None), &mut |_| {}).unwrap();
    assert!(blind.is_sound(), "CRCs alone can't know: {blind:?}");
}

/// Found by fuzzing: who has no key can write a right CRC, and no header is believed so far that numbers run out.
#[test]
fn a_forged_header_uses_up_no_numbers() {
    let names = (u32::MAX - 1).to_le_bytes();
    let indexes = (u32::MAX - 2).to_le_bytes();
    let forgeries: [&[(usize, &[u8])]; 4] = [
        &[(16, &(1u64 << 60).to_le_bytes())],
        &[(24, &indexes), (60, &indexes)],
        &[(48, &names)],
        &[(60, &indexes)],
    ];
    for (forgery, fields) in forgeries.iter().enumerate() {
        let (disk, path) = small_log(3);
        let mut bad = disk.content(&path);
        let last =
            bad.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).next_back().unwrap();
        for (field, forged) in *fields {
            bad[last + field..][..forged.len()].copy_from_slice(forged);
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(&bad[64..96]));
        hasher.update(&bad[last + 8..last + 64]);
        let crc = hasher.finalize();
        bad[last + 4..last + 8].copy_from_slice(&crc.to_le_bytes());
        disk.put(&path, bad);
        for life in 0..3 {
            let mut rig = opened(&disk);
            assert_eq!(rig.read("a", 0).iter().filter(|read| &*read.source == "source").count(), 2);
            let source = format!("new in life {life}");
            let appended = rig.try_append(NewRecord { source: &source, ..record(1, &payload(0)) });
            assert!(appended.unwrap().is_ok(), "forgery {forgery}, life {life}");
            let status = rig.status();
            assert!(status.consumers[0].total().seen < 100, "forgery {forgery}");
            assert!(status.next_sequence < 100, "forgery {forgery}");
            rig.close();
        }
    }
}

/// contrib#35899, #49735: corruption stops the start. A missing middle segment is counted.
/// <https://github.com/open-telemetry/opentelemetry-collector-contrib/issues/35899>
#[test]
fn a_missing_or_unreadable_segment_costs_its_records_and_they_are_counted() {
    let build = || {
        let mut rig = Rig::new(options());
        for n in 0..90u8 {
            rig.append(usize::from(n % 3), &[n; 2000]);
        }
        assert!(rig.segment_files().len() >= 4);
        rig.close()
    };
    for way in ["taken away", "header gone", "of another WAL"] {
        let disk = build();
        let files = segment_files(&disk);
        let victim = &files[1];
        match way {
            "taken away" => disk.take(victim),
            "header gone" => {
                let mut bad = disk.content(victim);
                bad[..RECORDS_START as usize].fill(0xaa);
                disk.put(victim, bad);
            }
            _ => {
                let other = build();
                disk.put(victim, other.content(victim));
            }
        }
        let rig = opened(&disk);
        assert_eq!(rig.report.quarantined.len(), usize::from(way != "taken away"), "{way}: {:?}", rig.report);
        let left: usize = (0..3).map(|lane| rig.read("a", lane).len()).sum();
        let total = rig.status().consumers[0].total();
        assert!(left < 90 && left > 40, "{way}: {left}");
        assert_eq!(
            (total.seen, total.corrupt(), total.pending),
            (90, 90 - left as u64, left as u64),
            "{way}"
        );
        assert_eq!(rig.status().losses.missing, 90 - left as u64, "{way}");
        rig.close();
        let rig = opened(&disk);
        assert_eq!(rig.status().consumers[0].total().seen, 90);
        for lane in (0..3).chain(0..3) {
            let ids: Vec<_> = rig.read("a", lane).iter().map(|r| r.id).collect();
            rig.acknowledge("a", lane, &ids);
        }
        let total = rig.status().consumers[0].total();
        assert_eq!(
            (total.delivered, total.corrupt()),
            (left as u64, 90 - left as u64),
            "{way}: counted once"
        );
        rig.kill();
        assert_eq!(opened(&disk).status().consumers[0].total(), total, "{way}: and written");
    }
}

#[test]
fn files_of_others_are_left_alone_and_named() {
    let (disk, _) = small_log(2);
    for foreign in ["/wal/notes.txt", "/wal/1.wal", "/wal/cursors/readme"] {
        disk.put(Path::new(foreign), b"mine".to_vec());
    }
    let mut rig = opened(&disk);
    assert_eq!(rig.report.foreign.len(), 3, "{:?}", rig.report);
    assert_eq!(survivors(&mut rig, 2), [0, 1]);
    assert_eq!(disk.content(Path::new("/wal/notes.txt")), b"mine");
    assert_eq!(inspect_in(&disk, Path::new("/wal")).unwrap().foreign.len(), 3);
}

#[test]
fn a_wrong_key_is_refused_without_harm_or_set_aside_whole() {
    let (disk, _) = small_log(3);
    let before: Vec<_> = disk.paths().into_iter().map(|path| (disk.content(&path), path)).collect();
    let mut other = options();
    other.encryption = Encryption::Aes256Gcm(KeyRing::new(Key::from_bytes([8; 32])));
    let refused = Rig::open(&disk, other.clone()).err().unwrap();
    assert!(refused.is_wrong_key() && !refused.is_locked());
    assert!(refused.to_string().contains(&format!("{:08x}", Key::from_bytes([7; 32]).id())), "{refused}");
    let none = Options { encryption: Encryption::None, ..options() };
    assert!(Rig::open(&disk, none).err().unwrap().is_wrong_key());
    let after: Vec<_> = disk.paths().into_iter().map(|path| (disk.content(&path), path)).collect();
    assert_eq!(before, after, "nothing was changed");

    let aside = Options { on_wrong_key: OnWrongKey::SetAside, ..other.clone() };
    let mut rig = Rig::open(&disk, aside).unwrap();
    assert_eq!(rig.report.set_aside.as_deref(), Some(Path::new("/wal.aside-1")));
    assert!(rig.report.cursors_reset.is_empty(), "{:?}", rig.report);
    assert_eq!(rig.status().consumers[0].total().seen, 0);
    rig.append(0, b"new");
    let disk = rig.close();
    // What was set aside opens under its own key.
    let moved = CrashStorage::new();
    for path in disk.paths() {
        if let Ok(rest) = path.strip_prefix("/wal.aside-1") {
            moved.put(&Path::new("/wal").join(rest), disk.content(&path));
        }
    }
    assert_eq!(survivors(&mut opened(&moved), 3), [0, 1, 2]);
}

#[test]
fn an_older_key_in_the_ring_still_reads_and_new_segments_take_the_new_one() {
    let (disk, _) = small_log(3);
    let new = Key::from_bytes([8; 32]);
    let rotated = KeyRing::new(new.clone()).with_older(Key::from_bytes([7; 32]));
    let options = Options { encryption: Encryption::Aes256Gcm(rotated), ..options() };
    let mut rig = Rig::open(&disk, options.clone()).unwrap();
    assert!(!rig.report.is_damaged(), "{:?}", rig.report);
    assert_eq!(survivors(&mut rig, 3), [0, 1, 2]);
    rig.append(0, &payload(3));
    assert_eq!(inspect_in(&disk, Path::new("/wal")).unwrap().segments.last().unwrap().key_id, new.id());
    for name in ["a", "b"] {
        let ids: Vec<_> = rig.read(name, 0).iter().map(|r| r.id).collect();
        rig.acknowledge(name, 0, &ids);
    }
    rig.run();
    let disk = rig.close();
    // All that the old key sealed is gone, so it can be retired.
    let alone = Options { encryption: Encryption::Aes256Gcm(KeyRing::new(new)), ..options };
    let rig = Rig::open(&disk, alone).unwrap();
    assert!(rig.report.cursors_reset.is_empty(), "{:?}", rig.report);
    assert_eq!(rig.status().consumers[0].total().delivered, 4);
}

#[test]
fn segments_in_the_clear_are_not_believed_while_a_key_is_configured() {
    let clear = Options { encryption: Encryption::None, ..options() };
    let mut rig = Rig::new(clear.clone());
    rig.append(0, &payload(0));
    let disk = rig.close();
    let accepting = Options { accept_plain: true, ..options() };
    assert_eq!(survivors(&mut Rig::open(&disk.fork(), accepting).unwrap(), 1), [0]);
    let rig = opened(&disk.fork());
    assert_eq!(rig.report.quarantined.len(), 1, "{:?}", rig.report);
    assert!(rig.read("a", 0).is_empty());
    assert_eq!(survivors(&mut Rig::open(&disk, clear).unwrap(), 1), [0]);
}

/// Found by fuzzing: the WAL did not open, and what was written to that sector later was not read again.
#[test]
fn a_cursor_in_a_broken_sector_does_not_stop_the_start_and_forgets_nothing_afterwards() {
    let path = Path::new("/wal/cursors/a.cursor");
    for slot in 0..3 {
        let (disk, _) = small_log(6);
        disk.break_sector(path, slot * 4096 + 100);
        inspect_in(&disk, Path::new("/wal")).unwrap();
        for delivered in 1..6 {
            let rig = opened(&disk);
            let id = rig.read("a", 0)[0].id;
            rig.acknowledge("a", 0, &[id]);
            assert_eq!(rig.status().consumers[0].total().delivered, delivered, "slot {slot}");
            rig.close();
        }
    }
}

/// A cursor that can't be believed begins again; it never skips.
#[test]
fn a_damaged_or_forged_cursor_begins_at_the_oldest_record_and_is_counted() {
    let (disk, _) = small_log(3);
    let rig = opened(&disk);
    let ids: Vec<_> = rig.read("a", 0).iter().map(|r| r.id).collect();
    rig.acknowledge("a", 0, &ids[..2]);
    let disk = rig.kill();
    let path = Path::new("/wal/cursors/a.cursor");
    let good = disk.content(path);
    for (way, cut) in [("zeroed", 0), ("short", 100), ("marks moved", 0)] {
        let fork = disk.fork();
        let mut bad = good.clone();
        match way {
            "zeroed" => bad.fill(0),
            "short" => bad.truncate(cut),
            _ => {
                for slot in bad.chunks_mut(4096) {
                    slot[176 + 8] += 1;
                    slot[176 + 16] += 1;
                    let crc = crc32fast::hash(&slot[..4060]);
                    slot[4060..4064].copy_from_slice(&crc.to_le_bytes());
                }
            }
        }
        fork.put(path, bad);
        let mut rig = opened(&fork);
        assert_eq!(rig.report.cursors_reset, ["a"], "{way}");
        assert_eq!(survivors(&mut rig, 3), [0, 1, 2], "{way}");
        assert_eq!(rig.status().consumers[0].resets, 1, "{way}");
        let b = rig.status().consumers[1].clone();
        assert_eq!((b.resets, b.total().pending), (0, 3), "{way}: the other one is as it was");
    }
}

/// A bad configuration must not discard the backlog: fluent-bit#2246.
/// <https://github.com/fluent/fluent-bit/issues/2246>
#[test]
fn a_consumer_that_leaves_the_configuration_keeps_its_records() {
    let mut rig = Rig::new(options());
    for n in 0..40u8 {
        rig.append(0, &[n; 3000]);
    }
    rig.acknowledge("b", 0, &rig.read("b", 0).iter().map(|r| r.id).collect::<Vec<_>>());
    let disk = rig.close();
    let without = Options { consumers: vec!["b".into()], ..options() };
    let mut rig = Rig::open(&disk, without).unwrap();
    for _ in 0..5 {
        rig.run();
    }
    let status = rig.status();
    assert_eq!((status.consumers[1].name.as_str(), status.consumers[1].configured), ("a", false));
    assert_eq!(status.consumers[1].total().pending, 40);
    let disk = rig.close();
    let rig = opened(&disk);
    assert_eq!(rig.read("a", 0).len(), 40);
}

#[test]
fn names_and_checkpoints_survive_damage_to_the_head_and_deletion_of_old_segments() {
    let mut rig = Rig::new(options());
    for round in 0..40u8 {
        let source = format!("source-{}", round % 3);
        let payload = [round; 4000];
        let new = NewRecord {
            source: &source,
            label: "l",
            checkpoint: (round < 3).then_some(source.as_bytes()),
            ..record(0, &payload)
        };
        rig.try_append(new).unwrap().unwrap();
        for name in ["a", "b"] {
            let read = rig.read(name, 0);
            assert_eq!(&*read[0].source, source);
            rig.acknowledge(name, 0, &[read[0].id]);
        }
        rig.run();
    }
    assert!(rig.segment_files().len() < 4, "old ones are deleted");
    rig.append(0, b"one more");
    let disk = rig.kill();
    let last = segment_files(&disk).pop().unwrap();
    for copies in [1, 2] {
        let fork = disk.fork();
        let mut bad = fork.content(&last);
        // The first copy of the head fills a page, the second the next.
        bad[8192..8192 + copies * 4096].fill(0xaa);
        fork.put(&last, bad);
        let rig = opened(&fork);
        for n in 0..3 {
            let source = format!("source-{n}");
            let checkpoint =
                rig.core.shared.checkpoints.read().unwrap().get(source.as_str()).map(|c| c.to_vec());
            let kept = segment_files(&disk).len() > 1 || copies == 1;
            assert_eq!(checkpoint.is_some(), kept, "{copies} copies damaged");
        }
        assert_eq!(rig.payloads("a", 0).last().unwrap(), b"one more");
    }
}

#[test]
fn skipping_by_source_needs_no_body() {
    let mut rig = Rig::new(options());
    for n in 0..10u8 {
        let source = if n % 2 == 0 { "wanted" } else { "other" };
        let payload = [n; 100];
        rig.try_append(NewRecord { source, ..record(0, &payload) }).unwrap().unwrap();
    }
    let a = rig.consumer("a");
    let read = a.read_where(Lane::ALL[0], None, super::rig::ALL, &|source, _| source == "wanted").unwrap();
    assert_eq!((read.records.len(), read.skipped), (5, 5));
    let ids: Vec<_> = read.records.iter().map(|r| r.id).collect();
    a.acknowledge(Lane::ALL[0], &ids, Outcome::Delivered).unwrap();
    let total = rig.status().consumers[0].total();
    assert_eq!((total.delivered, total.skipped, total.pending), (5, 5, 0));
    let disk = rig.kill();
    let total = opened(&disk).status().consumers[0].total();
    assert_eq!((total.delivered, total.skipped, total.pending), (5, 5, 0), "and stays so");
}

/// telegraf#16500: after a restart everything is sent again. otel-arrow#1951: what was written is never replayed.
/// <https://github.com/influxdata/telegraf/issues/16500>
/// <https://github.com/open-telemetry/otel-arrow/issues/1951>
#[test]
fn after_a_restart_exactly_what_was_not_acknowledged_comes() {
    for sync in super::rig::policies() {
        let mut rig = Rig::new(Options { sync, ..options() });
        for n in 0..50u8 {
            rig.append(0, &[n; 3000]);
        }
        rig.pass(std::time::Duration::from_secs(1));
        let ids: Vec<_> = rig.read("a", 0).iter().map(|r| r.id).collect();
        rig.acknowledge("a", 0, &ids[..20]);
        rig.acknowledge("a", 0, &ids[30..40]);
        let disk = rig.kill();
        let rig = Rig::open(&disk, Options { sync, ..options() }).unwrap();
        let again: Vec<_> = rig.read("a", 0).iter().map(|r| r.id).collect();
        assert_eq!(again, [&ids[20..30], &ids[40..]].concat(), "{sync:?}");
        assert_eq!(rig.read("b", 0).len(), 50);
    }
}

/// vector#10436: stored counters diverge from what is there. Here they are the cursor's own, and the sum is checked at
/// every status of every test; after damage too.
/// <https://github.com/vectordotdev/vector/issues/10436>
#[test]
fn the_sum_holds_after_damage_acknowledgement_and_reopening() {
    let (disk, path) = small_log(6);
    let mut bad = disk.content(&path);
    let third = bad.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).nth(5).unwrap();
    bad[third + 30] ^= 4;
    disk.put(&path, bad);
    let rig = opened(&disk);
    let ids: Vec<_> = rig.read("a", 0).iter().map(|r| r.id).collect();
    assert_eq!(ids.len(), 5);
    rig.acknowledge("a", 0, &ids[..3]);
    let total = rig.status().consumers[0].total();
    assert_eq!((total.seen, total.delivered, total.corrupt(), total.pending), (6, 3, 1, 2));
    let disk = rig.kill();
    for consumer in inspect_in(&disk, Path::new("/wal")).unwrap().consumers {
        assert!(consumer.total().adds_up(), "{consumer:?}");
    }
    let rig = opened(&disk);
    assert_eq!(rig.status().consumers[0].total(), total);
}

/// The device reports an error for a sector: it costs the records in it, and the reader goes on.
#[test]
fn a_sector_that_cannot_be_read_costs_the_records_in_it() {
    let mut rig = Rig::new(options());
    for n in 0..8u8 {
        rig.append(0, &[n; 700]);
    }
    let path = rig.segment_files().pop().unwrap();
    let content = rig.disk.content(&path);
    let fourth =
        content.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).nth(6).unwrap();
    rig.disk.break_sector(&path, (fourth + 300) as u64);
    let read: Vec<u8> = rig.payloads("a", 0).iter().map(|payload| payload[0]).collect();
    assert!(read.len() >= 6 && read.len() < 8, "{read:?}");
    rig.append(0, b"and on");
    assert_eq!(rig.payloads("b", 0).last().unwrap(), b"and on");
    let total = rig.status().consumers[0].total();
    assert_eq!(total.corrupt() as usize, 8 - read.len());
}
