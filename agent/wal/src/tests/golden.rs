//! The bytes of format version 1, whole directories of them. `tests/golden/v1/` was written once, and two things hold for it
//! as long as there is a version 1: this program reads all of it, and, given the same records, keys and random numbers,
//! writes the same bytes. So any two versions of this program for which the test passes read what the other wrote: going back
//! one version is possible. A change of format needs a new directory beside this one, and must not be written before the
//! operator asked for it.
//!
//! `WHIMBREL_GOLDEN=write` writes it anew: only while nothing has been released.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::rig::{DIR, Rig, options};
use crate::{
    Lane, NewRecord, Options, Outcome, Plan, WhenFull, compress::Codec, record::Prepared,
    storage::crash::CrashStorage, verify::verify_in,
};

/// `"zstd " * 40` at level 1, by the zstd program, version 1.5.4.
const FRAME: [u8; 21] = [
    0x28, 0xb5, 0x2f, 0xfd, 0x20, 0xc8, 0x65, 0x00, 0x00, 0x28, 0x7a, 0x73, 0x74, 0x64, 0x20, 0x01, 0x00,
    0x40, 0x50, 0x45, 0x0b,
];

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Three lanes, names, labels, checkpoints, a zstd frame, a big record, two openings, a sealed segment and one that is not,
/// ranges, a plan, a consumer that was set back and one that gave up.
fn scenario() -> CrashStorage {
    let disk = CrashStorage::new();
    disk.draw_from(0x0b5e_55ed);
    disk.pass(Duration::from_secs(1_700_000_000));
    let mut rig = Rig::open(&disk, options()).unwrap();
    for n in 0..12u8 {
        let payload = vec![n; 20 + usize::from(n) * 300];
        let record = NewRecord {
            lane: Lane::ALL[usize::from(n) % 3],
            source: ["collectors/host", "receivers/otlp"][usize::from(n) % 2],
            label: ["", "archive"][usize::from(n) / 6],
            items: u32::from(n) + 1,
            ingest_ns: 1_700_000_000_000_000_000 + u64::from(n),
            payload: &payload,
            checkpoint: (n % 4 == 0).then_some(b"position".as_slice()),
            when_full: WhenFull::DropNewest,
        };
        rig.try_append(record).unwrap().unwrap();
    }
    let disk = rig.close();
    disk.pass(Duration::from_secs(60));
    let mut rig = Rig::open(&disk, options()).unwrap();
    let big: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
    rig.append(1, &big);
    let frame = Prepared {
        lane: Lane::ALL[2],
        codec: Codec::Zstd,
        source: "receivers/otlp".into(),
        label: "".into(),
        items: 40,
        ingest_ns: 1_700_000_060_000_000_000,
        uncompressed_len: 200,
        stored: FRAME.to_vec(),
        checkpoint: None,
        when_full: WhenFull::DropNewest,
        state_only: false,
    };
    rig.submit_prepared(frame).recv().unwrap().unwrap();
    let a = rig.consumer("a");
    let lane = Lane::ALL[0];
    let ids: Vec<_> = rig.read("a", 0).iter().map(|record| record.id).collect();
    a.acknowledge(lane, &[ids[0], ids[2]], Outcome::Delivered).unwrap();
    a.plan(lane, Plan { first: ids[1], last: ids[1], count: 1, generation: 7 }).unwrap();
    let ids: Vec<_> = rig.read("b", 2).iter().map(|record| record.id).collect();
    rig.consumer("b").acknowledge(Lane::ALL[2], &ids, Outcome::Dropped).unwrap();
    let state = rig.core.shared.consumers()[1].clone();
    rig.core.rewind(&state, [None, None, Some(3)]).unwrap();
    rig.kill()
}

/// Files by their path below the WAL, without the zeros behind the last byte that means something.
fn files(disk: &CrashStorage) -> BTreeMap<PathBuf, Vec<u8>> {
    let trimmed = |path: &Path| {
        let mut bytes = disk.content(path);
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    };
    let below = |path: &Path| path.strip_prefix(DIR).unwrap().to_owned();
    disk.paths()
        .iter()
        .filter(|path| !below(path).to_string_lossy().starts_with("spare"))
        .map(|path| (below(path), trimmed(path)))
        .collect()
}

fn stored() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for sub in ["", "cursors"] {
        for entry in std::fs::read_dir(golden_dir().join(sub)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let below = path.strip_prefix(golden_dir()).unwrap().to_owned();
                found.insert(below, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn this_version_writes_what_version_1_is() {
    let written = files(&scenario());
    if std::env::var_os("WHIMBREL_GOLDEN").is_some_and(|value| value == "write") {
        for (path, bytes) in &written {
            let path = golden_dir().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let golden = stored();
    assert_eq!(written.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    for (path, bytes) in written {
        let first = bytes.iter().zip(&golden[&path]).position(|(a, b)| a != b);
        assert!(bytes == golden[&path], "{} differs, first at {first:?}", path.display());
    }
}

#[test]
fn this_version_reads_what_version_1_wrote() {
    let disk = CrashStorage::new();
    for (path, mut bytes) in stored() {
        // Cursors have a fixed length.
        if path.starts_with("cursors") {
            bytes.resize(3 * 4096, 0);
        }
        // The last record's padding may be what was trimmed.
        bytes.extend_from_slice(&[0; 64]);
        disk.put(&Path::new(DIR).join(path), bytes);
    }
    let crate::Encryption::Aes256Gcm(ring) = options().encryption else { panic!("encrypted") };
    let masters = crate::segment::encrypt::Masters::of_ring(Some(&ring));
    let verified = verify_in(&disk, Path::new(DIR), &masters, &mut |_| {}).unwrap();
    assert!(verified.is_sound() && verified.authenticated, "{verified:?}");

    let rig = Rig::open(&disk, Options { max_size: 8 << 20, ..options() }).unwrap();
    assert!(!rig.report.is_damaged() && rig.report.consumers_added.is_empty(), "{:?}", rig.report);
    let counts = |name| (0..3).map(|lane| rig.read(name, lane).len()).collect::<Vec<_>>();
    assert_eq!(counts("a"), [2, 5, 5]);
    assert_eq!(counts("b"), [4, 5, 3]);
    let status = rig.status();
    let b = status.consumers[1].total();
    assert_eq!((b.seen, b.pending, b.losses.given_up, b.rewound), (14, 12, 5, 3));
    let plans = rig.consumer("a").plans(Lane::ALL[0]).unwrap();
    assert_eq!((plans.len(), plans[0].generation), (1, 7));
    let last = rig.read("a", 2).pop().unwrap();
    assert_eq!((&*last.source, last.items), ("receivers/otlp", 40));
    assert_eq!(&last.payload().unwrap()[..], "zstd ".repeat(40).as_bytes());
    let first = &rig.read("b", 1)[0];
    assert_eq!(
        (&*first.source, &*first.label, first.ingest_ns),
        ("receivers/otlp", "", 1_700_000_000_000_000_001)
    );
    let checkpoints = rig.core.shared.checkpoints.read().unwrap();
    assert_eq!(checkpoints.get("collectors/host").map(|bytes| &bytes[..]), Some(&b"position"[..]));
}
