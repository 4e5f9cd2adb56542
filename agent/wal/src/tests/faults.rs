//! Failing disks: writes, syncs and names that fail, once and again.

use std::{io::ErrorKind, time::Duration};

use super::rig::{Rig, options, record};
use crate::{
    Lane, NewRecord, Options, Outcome, SyncPolicy, WhenFull,
    storage::crash::{Fault, Op, Random},
};

fn once(op: Op, path: &'static str) -> Fault {
    Fault { op, path, skip: 0, times: 1, kind: ErrorKind::Other }
}

/// A failed sync drops the pages: syncing again would succeed and have written nothing.
#[test]
fn after_a_failed_sync_what_was_not_visible_is_written_again_elsewhere() {
    for sync in [SyncPolicy::Always, SyncPolicy::interval()] {
        let mut rig = Rig::new(Options { sync, ..options() });
        let before = rig.append(0, b"before");
        rig.pass(Duration::from_secs(1));
        rig.disk.fail(once(Op::Sync, ".wal"));
        let id = rig.append(0, b"the sync of this one fails");
        rig.pass(Duration::from_secs(1));
        let read = rig.read("a", 0);
        assert_eq!(read.len(), 2, "{sync:?}");
        assert_ne!(read[1].id.segment_uid(), before.segment_uid(), "another segment");
        if sync == SyncPolicy::Always {
            assert_eq!(read[1].id, id, "the id that was answered is the final one");
        }
        assert_eq!(rig.status().counters.rewritten, 1);
        rig.append(0, b"after");
        rig.pass(Duration::from_secs(1));
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut Random::new(5));
        let rig = Rig::open(&disk, options()).unwrap();
        let payloads = rig.payloads("a", 0);
        assert_eq!(payloads, [&b"before"[..], b"the sync of this one fails", b"after"], "{sync:?}");
        assert_eq!(rig.status().consumers[0].total().corrupt(), 0);
    }
}

#[test]
fn a_failed_write_is_made_good_in_a_new_segment() {
    for sync in super::rig::policies() {
        let mut rig = Rig::new(Options { sync, ..options() });
        rig.append(0, b"one");
        rig.disk.fail(once(Op::Write, ".wal"));
        rig.append(0, b"two");
        rig.append(0, b"three");
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.payloads("a", 0), [&b"one"[..], b"two", b"three"], "{sync:?}");
        let disk = rig.kill();
        let rig = Rig::open(&disk, options()).unwrap();
        assert_eq!(rig.payloads("b", 0), [&b"one"[..], b"two", b"three"], "{sync:?}");
        rig.status();
    }
}

#[test]
fn a_disk_that_keeps_failing_is_told_and_recovers_when_it_does() {
    for op in [Op::Sync, Op::Write, Op::Create, Op::Rename, Op::SyncDir] {
        let mut rig = Rig::new(options());
        rig.append(0, b"kept");
        rig.disk.fail(Fault { times: 1000, ..once(op, "") });
        rig.disk.fail(once(Op::Sync, ".wal"));
        let error = rig.try_append(record(0, b"lost")).unwrap().unwrap_err();
        assert!(!error.is_full() && !error.is_permanent(), "{op:?} {error}");
        assert!(rig.status().failing && rig.status().last_error.is_some(), "{op:?}");
        assert_eq!(rig.payloads("a", 0), [b"kept"], "{op:?}");
        rig.disk.fail_randomly(0, 0);
        rig.append(0, b"again");
        assert!(!rig.status().failing);
        assert_eq!(rig.payloads("a", 0), [&b"kept"[..], b"again"], "{op:?}");
        let disk = rig.kill();
        let rig = Rig::open(&disk, options()).unwrap();
        assert_eq!(
            rig.payloads("a", 0),
            [&b"kept"[..], b"again"],
            "{op:?}: nothing comes back from the dead"
        );
        rig.status();
    }
}

/// What was answered under `interval` is kept in memory until a segment takes it.
#[test]
fn what_was_answered_is_kept_through_a_failing_time() {
    let sync = SyncPolicy::interval();
    let mut rig = Rig::new(Options { sync, ..options() });
    rig.append(0, b"one");
    rig.disk.fail(Fault { times: 1000, ..once(Op::Sync, "") });
    rig.pass(Duration::from_secs(1));
    assert!(rig.read("a", 0).is_empty());
    rig.pass(Duration::from_secs(1));
    rig.disk.fail_randomly(0, 0);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.payloads("a", 0), [b"one"]);
}

#[test]
fn a_failing_cursor_file_is_replaced() {
    for op in [Op::Write, Op::Sync] {
        let mut rig = Rig::new(options());
        let ids: Vec<_> = (0..4).map(|_| rig.append(0, b"x")).collect();
        rig.acknowledge("a", 0, &ids[..1]);
        rig.disk.fail(once(op, ".cursor"));
        rig.acknowledge("a", 0, &ids[1..2]);
        rig.pass(Duration::from_secs(10));
        rig.acknowledge("a", 0, &ids[2..3]);
        rig.pass(Duration::from_secs(10));
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut Random::new(2));
        let rig = Rig::open(&disk, options()).unwrap();
        assert_eq!(rig.read("a", 0).len(), 1, "{op:?}");
        assert!(!disk.paths().iter().any(|path| path.to_string_lossy().ends_with("cursor-new")));
    }
}

#[test]
fn an_acknowledgement_that_cannot_be_written_is_refused_and_changes_nothing() {
    let mut rig = Rig::new(options());
    let id = rig.append(0, b"x");
    rig.disk.fail(Fault { times: 100, ..once(Op::Write, "cursor") });
    let refused = rig.consumer("a").acknowledge(Lane::ALL[0], &[id], Outcome::Delivered);
    assert!(refused.unwrap_err().to_string().contains("a.cursor"));
    assert_eq!(rig.read("a", 0).len(), 1);
    rig.disk.fail_randomly(0, 0);
    rig.acknowledge("a", 0, &[id]);
    assert!(rig.read("a", 0).is_empty());
}

/// vector#17644: the reader acknowledged what was only in the page cache, and its cursor pointed past the end.
/// <https://github.com/vectordotdev/vector/issues/17644>
#[test]
fn a_cursor_ahead_of_the_wal_is_no_endless_loop() {
    for seed in 0..30 {
        let sync = SyncPolicy::Never;
        let mut rig = Rig::new(Options { sync, ..options() });
        let ids: Vec<_> = (0..20u8).map(|n| rig.append(0, &[n; 600])).collect();
        rig.acknowledge("a", 0, &ids);
        // The cursor is durable, the WAL behind it is not.
        for consumer in rig.core.shared.consumers().iter() {
            consumer.sync(&rig.core.shared).unwrap();
        }
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut Random::new(seed));
        let mut rig = Rig::open(&disk, Options { sync, ..options() }).unwrap();
        assert!(rig.read("a", 0).is_empty());
        let left = rig.read("b", 0).len() as u64;
        let new = rig.append(0, b"new");
        assert_eq!(rig.payloads("a", 0), [b"new"], "seed {seed}");
        assert_eq!(rig.read("b", 0).last().unwrap().id, new);
        let status = rig.status();
        assert_eq!(status.consumers[0].total().delivered, 20);
        let b = status.consumers[1].total();
        assert_eq!((b.seen, b.corrupt(), b.pending), (21, 20 - left, left + 1), "seed {seed}");
    }
}

/// Under `always`, whatever the power loss leaves, everything answered is there.
#[test]
fn nothing_answered_is_lost_to_a_power_loss() {
    for seed in 0..60 {
        let mut rig = Rig::new(options());
        let mut random = Random::new(seed);
        let mut answered = Vec::new();
        rig.disk.light_fuse(20 + random.below(150));
        for n in 0..60u64 {
            let payload = vec![n as u8; 100 + random.below(3000) as usize];
            let appended =
                rig.try_append(NewRecord { when_full: WhenFull::DropNewest, ..record(0, &payload) });
            if let Some(Ok(_)) = appended {
                answered.push(payload);
            }
            if rig.disk.is_off() {
                break;
            }
        }
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut random);
        let rig = Rig::open(&disk, options()).unwrap();
        let read = rig.payloads("a", 0);
        assert_eq!(read[..answered.len()], answered, "seed {seed}");
        assert!(read.len() <= answered.len() + 1, "seed {seed}: at most the one in flight besides");
        assert_eq!(rig.report.lost_records, 0, "seed {seed}");
        rig.status();
    }
}

/// The process ends, and the power goes while the next one opens: the slot that was durable must not be written over. Found
/// by the model; which slot that is now stands in the newest one.
#[test]
fn an_opening_that_the_power_interrupts_leaves_what_was_durably_acknowledged() {
    for writes_after in 0..4 {
        for fuse in 1..40 {
            let mut rig = Rig::new(options());
            let ids: Vec<_> = (0..12u8).map(|n| rig.append(0, &[n; 50])).collect();
            for id in &ids[..5] {
                rig.acknowledge("a", 0, &[*id]);
            }
            for _ in 0..2 {
                rig.pass(Duration::from_secs(10));
            }
            assert!(!rig.core.shared.consumers()[0].is_dirty());
            for id in &ids[5..5 + writes_after] {
                rig.acknowledge("a", 0, &[*id]);
            }
            let disk = rig.kill();
            disk.light_fuse(fuse);
            let opened = Rig::open(&disk, options());
            drop(opened);
            disk.power_loss(&mut Random::new(fuse));
            let rig = Rig::open(&disk, options()).unwrap();
            assert!(!rig.report.is_damaged(), "{:?}", rig.report);
            assert!(rig.read("a", 0)[0].id > ids[4], "{writes_after} {fuse}");
        }
    }
}
