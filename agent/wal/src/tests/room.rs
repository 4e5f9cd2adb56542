//! A full WAL, and a full disk.

use std::{path::Path, time::Duration};

use super::rig::{DIR, Rig, options, record};
use crate::{
    Encryption, Lane, NewRecord, Options, Outcome, SyncPolicy, WhenFull,
    storage::crash::{CrashStorage, Fault, Op, Random},
};

const BIG: [u8; 5000] = [1; 5000];

fn with(when_full: WhenFull) -> NewRecord<'static> {
    NewRecord { when_full, ..record(0, &BIG) }
}

fn fill(rig: &mut Rig) -> u64 {
    let mut count = 0;
    loop {
        match rig.try_append(with(WhenFull::DropNewest)).unwrap() {
            Ok(_) => count += 1,
            Err(error) => {
                assert!(error.is_full(), "{error}");
                return count;
            }
        }
        assert!(count < 1000, "it must fill");
        assert!(rig.disk.used() <= rig.core.shared.options.max_size);
    }
}

fn drain(rig: &mut Rig, consumer: &str) {
    let ids: Vec<_> = rig.read(consumer, 0).iter().map(|r| r.id).collect();
    rig.acknowledge(consumer, 0, &ids);
    rig.run();
}

#[test]
fn disk_use_never_passes_the_cap_and_most_of_it_is_used() {
    for sync in super::rig::policies() {
        let mut rig = Rig::new(Options { sync, ..options() });
        let count = fill(&mut rig);
        let stored = count * BIG.len() as u64;
        assert!(stored > crate::MIN_MAX_SIZE / 10 * 6, "{stored} bytes of records fit");
        assert!(rig.status().full);
        assert_eq!(rig.status().disk_bytes, rig.core.usage.total());
        let counted = rig.core.usage.total();
        assert!(
            rig.disk.used() <= counted && counted <= crate::MIN_MAX_SIZE,
            "{} {counted}",
            rig.disk.used()
        );
    }
}

#[test]
fn a_power_loss_does_not_bring_back_what_was_cut_off_a_sealed_segment() {
    for seed in 0..20 {
        let mut rig = Rig::new(options());
        rig.append(0, &BIG);
        let disk = rig.close();
        let used = disk.used();
        disk.power_loss(&mut Random::new(seed));
        assert!(disk.used() <= used, "seed {seed}: {} after {used}", disk.used());
    }
}

#[test]
fn drop_newest_is_told_no_and_goes_on_when_there_is_room() {
    let mut rig = Rig::new(options());
    let count = fill(&mut rig);
    drain(&mut rig, "a");
    let error = rig.try_append(with(WhenFull::DropNewest)).unwrap();
    // Consumer b alone lags now: it loses its oldest, for the others' sake.
    error.unwrap();
    let status = rig.status();
    assert!(
        status.consumers[1].total().dropped() > 0 && status.consumers[0].total().dropped() == 0,
        "{status:?}"
    );
    assert_eq!(status.losses.dropped_for_lag, status.consumers[1].total().dropped());
    drain(&mut rig, "b");
    assert!(fill(&mut rig) > count / 2);
}

/// Found by fuzzing: the writer sought room in it for ever.
#[test]
fn an_empty_file_in_quarantine_gives_no_room_and_costs_no_more_than_that() {
    let disk = CrashStorage::new();
    disk.put(&Path::new(DIR).join("0000000000000009.wal"), Vec::new());
    let mut rig = Rig::open(&disk, options()).unwrap();
    assert_eq!(rig.report.quarantined.len(), 1);
    assert!(fill(&mut rig) > 0);
    assert!(rig.try_append(with(WhenFull::DropOldest)).unwrap().is_ok());
}

#[test]
fn block_waits_for_room_in_order_and_for_no_longer_than_it_is_told() {
    let mut rig = Rig::new(options());
    fill(&mut rig);
    let patient = WhenFull::Block { up_to: Duration::from_secs(60) };
    let first = rig.submit(with(patient));
    let second = rig.submit(with(patient));
    let hasty = rig.submit(with(WhenFull::Block { up_to: Duration::ZERO }));
    rig.run();
    assert!(hasty.try_recv().unwrap().unwrap_err().is_full());
    assert!(first.try_recv().is_err() && second.try_recv().is_err(), "they wait");
    assert!(rig.core.next_due().is_some());
    rig.pass(Duration::from_secs(10));
    assert!(first.try_recv().is_err());
    for name in ["a", "b"] {
        drain(&mut rig, name);
    }
    let (first, second) = (first.try_recv().unwrap().unwrap(), second.try_recv().unwrap().unwrap());
    assert!(first.sequence() < second.sequence());
    fill(&mut rig);
    let late = rig.submit(with(patient));
    rig.run();
    rig.pass(Duration::from_secs(61));
    assert!(late.try_recv().unwrap().unwrap_err().is_full());
}

#[test]
fn drop_oldest_moves_every_cursor_and_counts() {
    let mut rig = Rig::new(options());
    let count = fill(&mut rig);
    let newest = rig.try_append(with(WhenFull::DropOldest)).unwrap().unwrap();
    let status = rig.status();
    for consumer in &status.consumers {
        let total = consumer.total();
        assert!(total.dropped() > 0 && total.dropped() < count / 2, "{total:?}");
        assert_eq!(total.seen, count + 1);
    }
    assert_eq!(rig.read("a", 0).last().unwrap().id, newest);
    assert_eq!(status.losses.dropped_for_space, 2 * status.consumers[0].total().dropped());
    // The count is durable before the records are gone: vector#25570.
    // https://github.com/vectordotdev/vector/issues/25570
    let disk = rig.disk.clone();
    disk.power_loss(&mut crate::storage::crash::Random::new(3));
    drop(rig);
    let rig = Rig::open(&disk, options()).unwrap();
    let total = rig.status().consumers[0].total();
    assert_eq!((total.seen, total.corrupt()), (count + 1, 0), "{total:?}");
    assert!(total.dropped() > 0);
    assert!(!rig.report.is_damaged(), "{:?}", rig.report);
}

/// collector#7198: a full disk can't delete. tikv#9886: a full disk can't start.
/// <https://github.com/open-telemetry/opentelemetry-collector/issues/7198>
/// <https://github.com/tikv/tikv/issues/9886>
#[test]
fn a_full_disk_opens_reads_acknowledges_and_deletes() {
    let mut rig = Rig::new(options());
    for n in 0..60u8 {
        rig.append(0, &[n; 5000]);
    }
    let disk = rig.close();
    disk.set_capacity(Some(disk.used()));
    let mut rig = Rig::open(&disk, options()).unwrap();
    assert!(rig.report.full && !rig.report.is_damaged(), "{:?}", rig.report);
    assert_eq!(rig.read("a", 0).len(), 60);
    let refused = rig.try_append(with(WhenFull::DropNewest)).unwrap().unwrap_err();
    assert!(refused.is_full() && refused.to_string().contains("disk"), "{refused}");
    for name in ["a", "b"] {
        drain(&mut rig, name);
    }
    assert!(rig.segment_files().len() < 5, "deleted without room");
    rig.append(0, b"and goes on");
    disk.set_capacity(None);
    let disk = rig.close();
    assert_eq!(Rig::open(&disk, options()).unwrap().payloads("a", 0), [b"and goes on"]);
}

#[test]
fn a_disk_that_fills_takes_the_road_of_a_full_wal() {
    for sync in super::rig::policies() {
        let mut rig = Rig::new(Options { sync, ..options() });
        for n in 0..20u8 {
            rig.append(0, &[n; 5000]);
        }
        rig.pass(Duration::from_secs(1));
        rig.disk.set_capacity(Some(rig.disk.used() + 10_000));
        let count = 20 + fill(&mut rig);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.read("a", 0).len() as u64, count, "{sync:?}");
        let refused = rig.try_append(with(WhenFull::DropNewest)).unwrap().unwrap_err();
        assert!(refused.is_full());
        rig.try_append(with(WhenFull::DropOldest)).unwrap().unwrap();
        let waiting = rig.submit(with(WhenFull::Block { up_to: Duration::from_secs(60) }));
        let mut answer = None;
        for _ in 0..40 {
            rig.run();
            answer = waiting.try_recv().ok();
            if answer.is_some() {
                break;
            }
            rig.disk.set_capacity(None);
        }
        answer.unwrap().unwrap();
        rig.pass(Duration::from_secs(1));
        rig.status();
    }
}

#[test]
fn a_lower_cap_is_reached_by_dropping_and_never_by_failing_to_open() {
    let mut rig = Rig::new(Options { max_size: 4 * crate::MIN_MAX_SIZE, ..options() });
    for _ in 0..400 {
        rig.try_append(with(WhenFull::DropNewest)).unwrap().unwrap();
    }
    let disk = rig.close();
    let mut rig = Rig::open(&disk, options()).unwrap();
    assert!(rig.report.full);
    assert_eq!(rig.read("a", 0).len(), 400);
    rig.try_append(with(WhenFull::DropOldest)).unwrap().unwrap();
    assert!(disk.used() <= crate::MIN_MAX_SIZE, "{}", disk.used());
}

#[test]
fn a_record_that_is_bigger_than_a_segment_fits_and_one_bigger_than_the_cap_is_refused() {
    let mut rig = Rig::new(options());
    let big = vec![5; 300_000];
    rig.append(1, &big);
    assert_eq!(rig.payloads("b", 1), [big]);
    let huge = vec![5; 2_000_000];
    let refused = rig.try_append(NewRecord { when_full: WhenFull::DropOldest, ..record(1, &huge) });
    assert!(refused.unwrap().unwrap_err().is_full());
    rig.append(1, b"small");
    assert!(rig.disk.used() <= crate::MIN_MAX_SIZE);
}

/// An idle agent, or one that restarts in a loop, writes little and keeps little.
#[test]
fn opening_again_and_again_does_not_add_up() {
    let disk = CrashStorage::new();
    for _ in 0..50 {
        let mut rig = Rig::open(&disk, Options { max_size: 1 << 30, ..options() }).unwrap();
        let id = rig.append(0, b"x");
        for name in ["a", "b"] {
            rig.acknowledge(name, 0, &[id]);
        }
        rig.kill();
    }
    assert!(disk.used() < 400_000, "{}", disk.used());
    assert!(super::rig::segment_files(&disk).len() <= 2);
}

#[test]
fn without_any_consumer_records_are_kept_until_space_is_short() {
    let alone = Options { consumers: Vec::new(), encryption: Encryption::None, ..options() };
    let mut rig = Rig::new(alone.clone());
    let count = fill(&mut rig);
    rig.try_append(with(WhenFull::DropOldest)).unwrap().unwrap();
    let disk = rig.close();
    let rig = Rig::open(&disk, Options { consumers: vec!["late".into()], ..alone }).unwrap();
    let read = rig.read("late", 0).len() as u64;
    assert!(read > count / 2 && read <= count, "{read} of {count}");
    assert_eq!(rig.report.consumers_added, ["late"]);
}

#[test]
fn cursors_are_synced_before_segments_go_under_every_policy() {
    for sync in [SyncPolicy::Always, SyncPolicy::Never] {
        let mut rig = Rig::new(Options { sync, ..options() });
        for n in 0..60u8 {
            rig.append(0, &[n; 5000]);
        }
        for name in ["a", "b"] {
            drain(&mut rig, name);
        }
        let disk = rig.disk.clone();
        drop(rig);
        disk.power_loss(&mut crate::storage::crash::Random::new(11));
        let rig = Rig::open(&disk, Options { sync, ..options() }).unwrap();
        let total = rig.status().consumers[0].total();
        assert_eq!(total.corrupt(), 0, "{sync:?} {total:?}");
        assert!(disk.paths().contains(&Path::new("/wal/cursors/a.cursor").to_owned()));
    }
}

#[test]
fn checkpoints_and_names_are_bounded() {
    let mut rig = Rig::new(options());
    // All checkpoints together: a quarter of a segment of 64 KiB.
    let position = [7; 9000];
    let with = |source| NewRecord { source, checkpoint: Some(&position), ..record(0, b"x") };
    rig.try_append(with("one")).unwrap().unwrap();
    rig.try_append(with("one")).unwrap().unwrap();
    let refused = rig.try_append(with("two")).unwrap().unwrap_err();
    assert!(refused.is_permanent(), "{refused}");
    for n in 0..2 * crate::MAX_NAMES {
        let label = n.to_string();
        if let Err(error) = rig
            .try_append(NewRecord { label: &label, when_full: WhenFull::DropOldest, ..record(0, b"x") })
            .unwrap()
        {
            assert!(error.to_string().contains("different sources and labels"), "{error}");
        }
    }
    rig.append(0, b"known names go on");
    let disk = rig.close();
    let rig = Rig::open(&disk, options()).unwrap();
    assert_eq!(&*rig.read("a", 0).last().unwrap().label, "label");
}

/// `ENOSPC`, `EDQUOT` and `EROFS`, on each operation that can meet them, as long as they like: told as a full WAL, nothing
/// lost, and over as soon as they are.
#[test]
fn no_room_no_quota_and_read_only_take_the_same_road_on_every_operation() {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    for kind in [StorageFull, QuotaExceeded, ReadOnlyFilesystem] {
        for op in [Op::Create, Op::Write, Op::Sync, Op::SetLen, Op::Rename, Op::Remove, Op::SyncDir] {
            for sync in super::rig::policies() {
                let mut rig = Rig::new(Options { sync, ..options() });
                let mut kept: Vec<Vec<u8>> = Vec::new();
                for n in 0..8u8 {
                    rig.append(0, &[n; 5000]);
                    kept.push(vec![n; 5000]);
                }
                rig.pass(Duration::from_secs(1));
                rig.disk.fail(Fault { op, path: "", skip: 0, times: u32::MAX, kind });
                for n in 8..40u8 {
                    match rig
                        .try_append(NewRecord { payload: &[n; 5000], ..with(WhenFull::DropNewest) })
                        .unwrap()
                    {
                        Ok(_) => kept.push(vec![n; 5000]),
                        Err(error) => {
                            assert!(error.is_full() && error.to_string().contains("disk"), "{error}")
                        }
                    }
                }
                let seen = rig.payloads("a", 0);
                assert!(seen.len() >= 8 && kept.starts_with(&seen), "{kind} {op:?} {sync:?}");
                // An acknowledgement is taken or refused, and never half.
                let first = rig.read("b", 0)[0].id;
                let taken = rig.consumer("b").acknowledge(Lane::ALL[0], &[first], Outcome::Delivered).is_ok();
                rig.status();
                rig.disk.fail_randomly(0, 0);
                rig.pass(Duration::from_secs(2));
                rig.append(0, b"again");
                rig.pass(Duration::from_secs(2));
                kept.push(b"again".to_vec());
                assert_eq!(rig.payloads("a", 0), kept, "{kind} {op:?} {sync:?}");
                assert!(!rig.status().full && !rig.status().failing);
                let disk = rig.kill();
                let rig = Rig::open(&disk, Options { sync, ..options() }).unwrap();
                assert_eq!(rig.payloads("a", 0), kept, "{kind} {op:?} {sync:?}: after a restart");
                assert_eq!(rig.read("b", 0).len(), kept.len() - usize::from(taken), "{kind} {op:?} {sync:?}");
                assert!(!rig.report.is_damaged(), "{:?}", rig.report);
            }
        }
    }
}

/// Else nothing of what it passed goes, and its key stays in use, until it passes more.
#[test]
fn segments_go_when_the_cursor_that_passed_them_had_to_be_replaced() {
    let mut rig = Rig::new(Options { consumers: vec!["a".into()], ..options() });
    for _ in 0..40 {
        rig.append(0, &BIG);
    }
    let ids: Vec<_> = rig.read("a", 0).iter().map(|record| record.id).collect();
    for _ in 0..3 {
        rig.pass(Duration::from_secs(30));
    }
    rig.disk.fail(Fault {
        op: Op::Write,
        path: "a.cursor",
        skip: 0,
        times: 1,
        kind: std::io::ErrorKind::Other,
    });
    rig.acknowledge("a", 0, &ids);
    for _ in 0..5 {
        rig.pass(Duration::from_secs(30));
    }
    assert_eq!(rig.segment_files().len(), 1);
}
