//! Keeping what was acknowledged, setting cursors back, forgetting consumers, beginning late.

use std::{path::Path, time::Duration};

use super::rig::{DIR, Rig, options, record, ring};
use crate::{
    ConsumerOptions, ForgetError, NewRecord, Options, RewindTo, Start, WhenFull,
    forget::forget_in,
    repair::{plan_in, repair_in},
    segment::encrypt::Masters,
    storage::crash::{CrashStorage, Fault, Op, Random},
};

const HOUR: Duration = Duration::from_secs(3600);

fn retaining() -> Options {
    Options { retain: HOUR, ..options() }
}

/// Appends records of 5000 bytes, ten a segment and more, each a minute after the one before.
fn append(rig: &mut Rig, count: u64) {
    for n in 0..count {
        rig.disk.pass(Duration::from_secs(60));
        let payload = [n as u8; 5000];
        let ingest_ns = rig.disk.wall_ns();
        rig.try_append(NewRecord { ingest_ns, ..record(0, &payload) }).unwrap().unwrap();
    }
}

fn acknowledge_all(rig: &mut Rig) {
    for name in ["a", "b"] {
        let ids: Vec<_> = rig.read(name, 0).iter().map(|record| record.id).collect();
        rig.acknowledge(name, 0, &ids);
    }
    rig.run();
}

fn rewind(rig: &mut Rig, name: &str, to: [Option<u64>; 3]) -> u64 {
    let consumers = rig.core.shared.consumers();
    let state = consumers.iter().find(|state| state.name == name).unwrap();
    rig.core.rewind(state, to).unwrap()
}

#[test]
fn acknowledged_segments_are_kept_for_their_time_and_go_by_themselves() {
    let mut rig = Rig::new(retaining());
    append(&mut rig, 40);
    acknowledge_all(&mut rig);
    let kept = rig.segment_files().len();
    assert!(kept >= 4, "{kept}");
    assert!(rig.core.next_due().is_some(), "it looks again by itself");
    let disk = rig.close();
    let mut rig = Rig::open(&disk, retaining()).unwrap();
    assert!(rig.segment_files().len() >= kept, "over a restart too");
    disk.pass(HOUR);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.segment_files().len(), 1);
    assert_eq!(rig.core.next_due(), None);
}

#[test]
fn what_is_kept_goes_before_anybody_loses_anything() {
    let mut rig = Rig::new(retaining());
    append(&mut rig, 100);
    acknowledge_all(&mut rig);
    append(&mut rig, 120);
    let status = rig.status();
    assert_eq!(status.losses.total(), 0);
    assert_eq!(status.consumers[0].total().pending, 120);
    assert!(rig.disk.used() <= crate::MIN_MAX_SIZE);
}

#[test]
fn a_rewound_consumer_gets_again_what_came_in_since_and_the_sum_holds() {
    let mut rig = Rig::new(retaining());
    append(&mut rig, 40);
    let since = rig.disk.wall_ns() - 10 * 60_000_000_000;
    acknowledge_all(&mut rig);
    let before = rig.payloads("b", 0);
    let found = super::super::consumer::since(&rig.core.shared, since).unwrap();
    assert_eq!(rewind(&mut rig, "a", found), 11);
    assert_eq!(rig.read("a", 0).len(), 11);
    assert_eq!(rig.read("a", 0)[0].ingest_ns, since);
    assert_eq!(rig.payloads("b", 0), before, "the other one is as it was");
    let total = rig.status().consumers[0].total();
    assert_eq!((total.seen, total.delivered, total.pending, total.rewound), (40, 40, 11, 11));
    // Durable at once.
    let disk = rig.disk.clone();
    drop(rig);
    disk.power_loss(&mut Random::new(1));
    let mut rig = Rig::open(&disk, retaining()).unwrap();
    assert_eq!(rig.status().consumers[0].total(), total);
    acknowledge_all(&mut rig);
    let total = rig.status().consumers[0].total();
    assert_eq!((total.seen, total.delivered, total.pending, total.rewound), (40, 51, 0, 11));
    assert!(rewind(&mut rig, "a", [Some(0); 3]) >= 40, "to the oldest that is still there");
}

/// A writer that deletes what a cursor is being set back to would report a loss that is none.
#[test]
fn nothing_that_a_cursor_was_set_back_to_is_deleted() {
    let mut rig = Rig::new(retaining());
    append(&mut rig, 40);
    acknowledge_all(&mut rig);
    rewind(&mut rig, "a", [Some(0); 3]);
    rig.disk.pass(HOUR * 2);
    for _ in 0..3 {
        rig.pass(Duration::from_secs(10));
    }
    assert_eq!(rig.read("a", 0).len(), 40);
    assert_eq!(rig.status().losses.total(), 0);
}

#[test]
fn rewinding_waits_for_the_writer_and_works_through_the_handle() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = crate::Wal::open(dir.path(), retaining()).unwrap();
    let append = |payload: &[u8]| wal.append_blocking(wal.prepare(record(0, payload)).unwrap()).unwrap();
    let ids = [append(b"one"), append(b"two")];
    let consumer = wal.consumer("a").unwrap();
    let lane = crate::Lane::ALL[0];
    consumer.acknowledge(lane, &ids, crate::Outcome::Delivered).unwrap();
    assert_eq!(consumer.rewind(RewindTo::Since(u64::MAX)).unwrap(), 0, "nothing came in since then");
    assert_eq!(consumer.rewind(RewindTo::Oldest).unwrap(), 2);
    assert_eq!(consumer.read(lane, None, super::rig::ALL).unwrap().len(), 2);
    assert!(matches!(wal.forget("a"), Err(ForgetError::Configured { .. })));
    wal.clone().close().unwrap();
    assert!(matches!(consumer.rewind(RewindTo::Oldest), Err(crate::CursorError::Closed)));
}

#[test]
fn a_forgotten_consumer_holds_nothing_any_more() {
    let mut rig = Rig::new(options());
    append(&mut rig, 40);
    let disk = rig.close();
    let alone = Options { consumers: vec!["a".into()], ..options() };
    let mut rig = Rig::open(&disk, alone.clone()).unwrap();
    let ids: Vec<_> = rig.read("a", 0).iter().map(|record| record.id).collect();
    rig.acknowledge("a", 0, &ids);
    rig.run();
    assert!(rig.segment_files().len() > 3, "b holds them");
    let refused = rig.core.forget("c").unwrap_err();
    assert!(refused.to_string().contains("there are: a, b"), "{refused}");
    assert!(matches!(rig.core.forget("a"), Err(ForgetError::Configured { .. })));
    rig.core.forget("b").unwrap();
    assert_eq!(rig.segment_files().len(), 1);
    assert_eq!(rig.status().consumers.len(), 1);
    let disk = rig.kill();
    let rig = Rig::open(&disk, alone).unwrap();
    assert_eq!(rig.status().consumers.len(), 1);
    assert_eq!(rig.status().losses.total(), 0);
}

#[test]
fn a_consumer_is_forgotten_without_an_agent_too_but_never_under_one() {
    let mut rig = Rig::new(options());
    rig.append(0, b"x");
    let disk = rig.disk.clone();
    let dir = Path::new(DIR);
    assert!(matches!(forget_in(&disk, dir, "b"), Err(ForgetError::Locked { .. })));
    rig.close();
    assert!(matches!(forget_in(&disk, dir, "z"), Err(ForgetError::Unknown { .. })));
    forget_in(&disk, dir, "b").unwrap();
    disk.power_loss(&mut Random::new(3));
    let alone = Options { consumers: vec!["a".into()], ..options() };
    assert_eq!(Rig::open(&disk, alone).unwrap().status().consumers.len(), 1);
}

#[test]
fn a_consumer_added_later_begins_at_the_oldest_record_or_now() {
    let mut rig = Rig::new(options());
    append(&mut rig, 20);
    let disk = rig.close();
    let late = |start| ConsumerOptions { start, ..ConsumerOptions::from("late") };
    for (start, pending) in [(Start::Oldest, 21), (Start::Now, 1)] {
        let consumers = vec!["a".into(), "b".into(), late(start)];
        let with = Options { consumers, ..options() };
        let fork = disk.fork();
        let mut rig = Rig::open(&fork, with.clone()).unwrap();
        assert_eq!(rig.report.consumers_added, ["late"]);
        rig.append(0, b"new");
        assert_eq!(rig.read("late", 0).len(), pending, "{start:?}");
        let fork = rig.kill();
        let rig = Rig::open(&fork, with.clone()).unwrap();
        assert_eq!(rig.read("late", 0).len(), pending, "{start:?}: only the first time");
        // A cursor that is damaged is no new consumer.
        let fork = rig.close();
        fork.put(Path::new("/wal/cursors/late.cursor"), vec![0; 100]);
        assert_eq!(Rig::open(&fork, with).unwrap().read("late", 0).len(), 21, "{start:?}");
    }
}

/// A consumer that begins now where it has no cursor, left with five records to deliver.
fn beginning_now() -> (CrashStorage, Options) {
    let late = ConsumerOptions { start: Start::Now, ..ConsumerOptions::from("late") };
    let options = Options { consumers: vec!["a".into(), late], ..options() };
    let mut rig = Rig::new(options.clone());
    for n in 0..5u8 {
        rig.append(0, &[n; 100]);
    }
    (rig.close(), options)
}

#[test]
fn a_consumer_whose_cursor_a_repair_took_out_loses_nothing_though_it_begins_now() {
    let (disk, options) = beginning_now();
    disk.put(Path::new("/wal/cursors/late.cursor"), vec![0; 3 * 4096]);
    let (masters, dir, size) = (Masters::of_ring(Some(&ring())), Path::new(DIR), crate::MIN_MAX_SIZE);
    let steps = plan_in(&disk, dir, &masters, size, &mut |_| {}).unwrap().steps;
    assert!(steps[0].why.contains("begins again at the oldest record"), "{steps:?}");
    repair_in(&disk, dir, &masters, size, &steps, &mut |_| {}).unwrap();
    let rig = Rig::open(&disk, options).unwrap();
    assert_eq!(rig.read("late", 0).len(), 5);
    assert_eq!(rig.status().consumers[1].resets, 1);
}

#[test]
fn a_crash_in_the_opening_that_resets_a_cursor_loses_nothing_though_it_begins_now() {
    for fuse in 1.. {
        let mut finished = false;
        for seed in 0..6 {
            let (disk, options) = beginning_now();
            disk.put(Path::new("/wal/cursors/late.cursor"), vec![0; 100]);
            disk.light_fuse(fuse);
            drop(Rig::open(&disk, options.clone()));
            finished = !disk.is_off();
            if seed == 0 {
                disk.kill()
            } else {
                disk.power_loss(&mut Random::new(seed))
            }
            let rig = Rig::open(&disk, options).unwrap();
            assert_eq!(rig.read("late", 0).len(), 5, "operation {fuse}, seed {seed}");
        }
        if finished {
            assert!(fuse > 10, "{fuse} operations were cut off");
            return;
        }
    }
}

/// Each opening leaves a small segment: one that goes makes less room than zeros ahead of the writer take.
#[test]
fn small_segments_that_are_kept_do_not_bring_the_disk_use_over_the_cap() {
    let options = Options { max_size: 4 << 20, ..retaining() };
    let disk = CrashStorage::new();
    while disk.used() + 120_000 < options.max_size {
        let mut rig = Rig::open(&disk, options.clone()).unwrap();
        rig.append(0, b"small");
        acknowledge_all(&mut rig);
        rig.close();
    }
    let mut rig = Rig::open(&disk, options.clone()).unwrap();
    for n in 0..300 {
        rig.append(0, &[1; 5000]);
        acknowledge_all(&mut rig);
        assert!(disk.used() <= options.max_size, "record {n}: {} of {}", disk.used(), options.max_size);
    }
}

/// Requests are answered in any order: what was acknowledged above one that is still under way is set back too.
#[test]
fn what_was_acknowledged_above_the_mark_is_set_back_too() {
    let mut rig = Rig::new(options());
    let ids: Vec<_> = (0..10u8).map(|n| rig.append(0, &[n; 10])).collect();
    rig.acknowledge("a", 0, &ids[3..]);
    assert_eq!(rewind(&mut rig, "a", [Some(ids[5].ordinal()), None, None]), 5);
    assert_eq!(rig.read("a", 0).len(), 8);
    let total = rig.status().consumers[0].total();
    assert_eq!((total.delivered, total.rewound, total.pending), (7, 5, 8));
}

#[test]
fn each_consumer_that_lags_alone_has_its_own_limit() {
    let tight = ConsumerOptions { max_lag: Some(200_000), ..ConsumerOptions::from("a") };
    let mut rig = Rig::new(Options { consumers: vec![tight, "b".into(), "c".into()], ..options() });
    for n in 0..100u8 {
        rig.append(0, &[n; 5000]);
        let ids: Vec<_> = rig.read("c", 0).iter().map(|record| record.id).collect();
        rig.acknowledge("c", 0, &ids);
    }
    let status = rig.status();
    let total = |n: usize| status.consumers[n].total();
    assert!(total(0).losses.dropped_for_lag > 30, "{:?}", total(0));
    assert!(status.consumers[0].lag_bytes <= 280_000, "{}", status.consumers[0].lag_bytes);
    assert_eq!((total(1).losses.total(), total(1).pending), (0, 100));
}

#[test]
fn losses_are_kept_by_cause_and_consumer_over_a_restart() {
    let mut rig = Rig::new(options());
    while rig.status().losses.dropped_for_space == 0 {
        rig.try_append(NewRecord { when_full: WhenFull::DropOldest, ..record(0, &[1; 5000]) })
            .unwrap()
            .unwrap();
    }
    let id = rig.read("a", 0)[0].id;
    rig.consumer("a").acknowledge(crate::Lane::ALL[0], &[id], crate::Outcome::Dropped).unwrap();
    let losses = rig.status().consumers[0].total().losses;
    assert_eq!((losses.given_up, losses.corrupt()), (1, 0));
    assert!(losses.dropped_for_space > 0);
    let disk = rig.close();
    let rig = Rig::open(&disk, options()).unwrap();
    assert_eq!(rig.status().consumers[0].total().losses, losses);
    assert_eq!(rig.status().losses.total(), 0, "those since it was opened");
}

/// One that is told "done" must stay set back over a power loss.
#[test]
fn a_rewind_whose_sync_fails_is_told() {
    let mut rig = Rig::new(retaining());
    append(&mut rig, 10);
    acknowledge_all(&mut rig);
    for _ in 0..2 {
        rig.pass(Duration::from_secs(10));
    }
    let failing =
        |op| Fault { op, path: "cursor", skip: 0, times: u32::MAX, kind: std::io::ErrorKind::Other };
    rig.disk.fail(failing(Op::Sync));
    let consumers = rig.core.shared.consumers();
    let refused = rig.core.rewind(&consumers[0], [Some(0); 3]).unwrap_err();
    assert!(refused.to_string().contains("a.cursor"), "{refused}");
    rig.disk.fail_randomly(0, 0);
    rig.core.rewind(&consumers[0], [Some(0); 3]).unwrap();
    assert_eq!(rig.read("a", 0).len(), 10);
}

/// The time in a segment's header is information only.
#[test]
fn records_of_before_the_clock_was_set_back_are_found() {
    let mut rig = Rig::new(retaining());
    rig.disk.pass(HOUR);
    append(&mut rig, 30);
    let since = rig.disk.wall_ns() - 5 * 60_000_000_000;
    rig.disk.set_wall_ns(0);
    append(&mut rig, 30);
    let found = super::super::consumer::since(&rig.core.shared, since).unwrap();
    assert_eq!(found[0], Some(25));
}

/// Segments that are kept for rewinding give way, as many as it takes, when what failed is written again.
#[test]
fn a_failed_write_is_made_good_at_the_cost_of_what_is_kept() {
    let mut rig = Rig::new(retaining());
    for n in 0..120u8 {
        rig.append(0, &[n; 5000]);
        acknowledge_all(&mut rig);
    }
    assert!(rig.segment_files().len() > 8);
    let big = vec![7; 300_000];
    rig.disk.set_capacity(Some(rig.disk.used() + 320_000));
    rig.disk.fail(Fault { op: Op::Sync, path: ".wal", skip: 0, times: 1, kind: std::io::ErrorKind::Other });
    rig.try_append(record(0, &big)).unwrap().unwrap();
    assert_eq!(rig.payloads("a", 0), [big]);
    assert_eq!(rig.status().losses.total(), 0);
}
