//! Dumping and listing: everything that is there, once, in order, as it was appended; damage is told and passed over.

use std::{ops::ControlFlow, path::Path};

use super::rig::{DIR, Rig, options, record, ring, segment_files};
use crate::{
    Damage, DumpError, DumpFilter, DumpReport, Dumped, Key, KeyRing, Lane, NewRecord, dump::dump_in,
    list::list_in, segment::encrypt::Masters, storage::crash::CrashStorage,
};

/// Sequence number, lane, source, label, first byte and length of the payload.
type Seen = (u64, u8, String, String, u8, usize);

fn masters() -> Masters {
    Masters::of_ring(Some(&ring()))
}

fn dumped(disk: &CrashStorage, filter: &DumpFilter) -> (Vec<Seen>, Vec<Damage>, DumpReport) {
    let (mut seen, mut damages) = (Vec::new(), Vec::new());
    let report = dump_in(disk, Path::new(DIR), &masters(), filter, &mut |what| {
        match what {
            Dumped::Record(record, payload) => seen.push((
                record.id.sequence(),
                record.lane.number(),
                record.source.to_string(),
                record.label.to_string(),
                payload[0],
                payload.len(),
            )),
            Dumped::Damage(damage) => damages.push(damage),
            Dumped::Progress(progress) => assert!(progress.done <= progress.total),
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((report.records, report.damages), (seen.len() as u64, damages.len() as u64));
    (seen, damages, report)
}

fn sequences(disk: &CrashStorage, filter: DumpFilter) -> Vec<u64> {
    dumped(disk, &filter).0.iter().map(|seen| seen.0).collect()
}

const COUNT: u8 = 80;

/// A compressed WAL of several segments; and what was appended to it.
fn log() -> (Rig, Vec<Seen>) {
    let mut rig = Rig::new(crate::Options { zstd_level: 1, ..options() });
    let mut appended = Vec::new();
    for n in 0..COUNT {
        let len = 1500 + usize::from(n) * 7;
        // Hard to compress, so that there are segments.
        let payload: Vec<u8> = (0..len).map(|at| if at == 0 { n } else { noise(at, n) }).collect();
        let source = format!("source-{}", n % 4);
        let label = if n % 2 == 0 { "even" } else { "" };
        let new =
            NewRecord { source: &source, label, items: u32::from(n), ..record(usize::from(n % 3), &payload) };
        let id = rig.try_append(new).unwrap().unwrap();
        appended.push((id.sequence(), n % 3, source, label.to_owned(), n, len));
    }
    assert!(rig.segment_files().len() >= 3);
    (rig, appended)
}

fn noise(at: usize, n: u8) -> u8 {
    crc32fast::hash(&[at.to_le_bytes(), [n; 8]].concat()) as u8
}

#[test]
fn everything_is_dumped_once_in_order_from_a_live_and_from_a_stopped_wal() {
    let (rig, appended) = log();
    let (seen, damages, _) = dumped(&rig.disk, &DumpFilter::default());
    assert_eq!((&seen, damages), (&appended, vec![]), "live");
    let disk = rig.kill();
    assert_eq!(dumped(&disk, &DumpFilter::default()).0, appended, "killed");
    Rig::open(&disk, options()).unwrap().close();
    assert_eq!(dumped(&disk, &DumpFilter::default()).0, appended, "closed");
    let none = CrashStorage::new();
    assert_eq!(dumped(&none, &DumpFilter::default()).2, DumpReport::default());
}

#[test]
fn filters_let_through_what_fits_all_of_them() {
    let (rig, appended) = log();
    let consumer = rig.consumer("a");
    let read = rig.read("a", 1);
    let taken: Vec<_> =
        read.iter().take(5).chain(read.iter().skip(9).take(3)).map(|record| record.id).collect();
    consumer.acknowledge(Lane::ALL[1], &taken, crate::Outcome::Delivered).unwrap();
    let disk = rig.kill();
    let of = |wanted: &dyn Fn(&Seen) -> bool| -> Vec<u64> {
        appended.iter().filter(|seen| wanted(seen)).map(|seen| seen.0).collect()
    };
    let base = DumpFilter::default;
    assert_eq!(
        sequences(&disk, DumpFilter { from: Some(20), to: Some(61), ..base() }),
        of(&|seen| (20..=61).contains(&seen.0))
    );
    assert_eq!(sequences(&disk, DumpFilter { lane: Some(Lane::ALL[2]), ..base() }), of(&|seen| seen.1 == 2));
    let source = Some("source-3".to_owned());
    assert_eq!(
        sequences(&disk, DumpFilter { source: source.clone(), lane: Some(Lane::ALL[0]), ..base() }),
        of(&|seen| seen.2 == "source-3" && seen.1 == 0)
    );
    assert_eq!(sequences(&disk, DumpFilter { source, limit: Some(3), ..base() }).len(), 3);
    assert_eq!(sequences(&disk, DumpFilter { limit: Some(0), ..base() }), [0; 0]);
    let pending = |name: &str| sequences(&disk, DumpFilter { pending: Some(name.to_owned()), ..base() });
    let gone: Vec<u64> = taken.iter().map(|id| id.sequence()).collect();
    assert_eq!(pending("a"), of(&|seen| !gone.contains(&seen.0)));
    assert_eq!(pending("b").len(), usize::from(COUNT));
    let parts: Vec<u64> = list_in(&disk, Path::new(DIR))
        .unwrap()
        .segments
        .iter()
        .flat_map(|listed| sequences(&disk, DumpFilter { segment: Some(listed.report.segment), ..base() }))
        .collect();
    assert_eq!(parts, of(&|_| true), "segment by segment");
}

fn refused(disk: &CrashStorage, masters: &Masters, filter: &DumpFilter) -> DumpError {
    dump_in(disk, Path::new(DIR), masters, filter, &mut |what| panic!("{what:?}")).unwrap_err()
}

#[test]
fn what_cannot_be_dumped_is_said_before_anything_is() {
    let (rig, _) = log();
    let disk = rig.kill();
    let other = KeyRing::new(Key::from_bytes([8; 32]));
    for masters in [Masters::of_ring(None), Masters::of_ring(Some(&other))] {
        let error = refused(&disk, &masters, &DumpFilter::default());
        assert!(error.is_wrong_key(), "{error}");
        assert!(error.to_string().contains(&format!("{:08x}", Key::from_bytes([7; 32]).id())), "{error}");
    }
    let nobody = DumpFilter { pending: Some("c".to_owned()), ..DumpFilter::default() };
    assert!(refused(&disk, &masters(), &nobody).to_string().contains("a, b"));
    let nowhere = DumpFilter { segment: Some(77), ..DumpFilter::default() };
    assert!(refused(&disk, &masters(), &nowhere).to_string().contains("4d"));
}

#[test]
fn damaged_records_are_told_and_passed_over() {
    let (rig, appended) = log();
    let disk = rig.kill();
    let files = segment_files(&disk);
    let mut content = disk.content(&files[1]);
    let at: Vec<_> =
        content.windows(4).enumerate().filter(|(_, w)| *w == b"whR\n").map(|(at, _)| at).collect();
    content[at[5] + 70] ^= 1;
    content[at[8] + 30] ^= 1;
    disk.put(&files[1], content);
    let (seen, damages, _) = dumped(&disk, &DumpFilter::default());
    assert_eq!(seen.len(), appended.len() - 2);
    assert!(seen.iter().all(|seen| appended.contains(seen)) && seen.is_sorted());
    let told: Vec<_> = damages.iter().map(|damage| (damage.path.clone(), damage.offset as usize)).collect();
    assert_eq!(told, [(files[1].clone(), at[5]), (files[1].clone(), at[8])]);
    // A torn tail is none, and neither is what is not asked for.
    let mut tail = disk.content(&files[0]);
    let last = DumpFilter { segment: Some(1), ..DumpFilter::default() };
    assert_eq!(dumped(&disk, &last).1, []);
    tail[..8192].fill(0xaa);
    disk.put(&files[0], tail);
    let (_, damages, _) = dumped(&disk, &last);
    assert!(damages.len() == 1 && damages[0].what.contains("does not begin as a segment"), "{damages:?}");
}

/// Names stand at the head of each segment; where that is damaged, in the next one's.
#[test]
fn names_are_found_where_the_head_is_damaged() {
    let (rig, appended) = log();
    let disk = rig.kill();
    let first = &segment_files(&disk)[0];
    let mut content = disk.content(first);
    content[8192 + 100] ^= 1;
    content[12288 + 100] ^= 1;
    disk.put(first, content);
    let (seen, damages, _) = dumped(&disk, &DumpFilter::default());
    assert_eq!((seen, damages.len()), (appended, 2));
}

#[test]
fn a_visitor_that_has_enough_ends_it() {
    let (rig, _) = log();
    let disk = rig.kill();
    let mut seen = 0;
    let report = dump_in(&disk, Path::new(DIR), &masters(), &DumpFilter::default(), &mut |what| {
        seen += u64::from(matches!(what, Dumped::Record(..)));
        if seen == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, report.unwrap().records), (7, 7));
}

#[test]
fn a_listing_says_what_is_in_each_segment_and_who_needs_it() {
    let (rig, appended) = log();
    for lane in 0..3 {
        let ids: Vec<_> = rig.read("a", lane).iter().map(|record| record.id).collect();
        rig.acknowledge("a", lane, &ids);
    }
    let ids: Vec<_> = rig.read("b", 0).iter().map(|record| record.id).collect();
    rig.acknowledge("b", 0, &ids[1..3]);
    let disk = rig.kill();
    let listing = list_in(&disk, Path::new(DIR)).unwrap();
    assert_eq!(listing.segments.len(), segment_files(&disk).len());
    for lane in 0..3 {
        let of_lane = || appended.iter().filter(|seen| usize::from(seen.1) == lane);
        let records: u64 = listing.segments.iter().map(|listed| listed.report.records[lane]).sum();
        let items: u64 = listing.segments.iter().map(|listed| listed.report.items[lane]).sum();
        assert_eq!(records, of_lane().count() as u64);
        assert_eq!(items, of_lane().map(|seen| u64::from(seen.4)).sum::<u64>());
    }
    let (last, sealed) = listing.segments.split_last().unwrap();
    assert!(!last.report.sealed && sealed.iter().all(|listed| listed.report.sealed));
    let mut next = 1;
    for listed in &listing.segments {
        let report = &listed.report;
        assert_eq!((report.first_sequence, report.key_id), (next, ring().ids()[0]));
        next += report.records.iter().sum::<u64>();
        let holders: Vec<_> = listed.holders.iter().map(|holder| holder.consumer.as_str()).collect();
        assert_eq!(holders, ["b"], "{listed:?}");
    }
    let pending: u64 = listing.segments.iter().flat_map(|listed| &listed.holders).map(|h| h.pending).sum();
    assert_eq!(pending, u64::from(COUNT) - 2);
    // One that is none of this WAL is named, with the reason.
    let bad = &segment_files(&disk)[1];
    disk.put(bad, vec![0xaa; 10_000]);
    let listing = list_in(&disk, Path::new(DIR)).unwrap();
    assert_eq!(listing.unusable.len(), 1);
    assert_eq!(&listing.unusable[0].0, bad);
}
