//! Bytes as damage to a small WAL: it opens, its sums hold, and what it delivers was appended.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    mend_header, mend_record_header,
    rig::{DIR, Rig, options, record},
    sums,
};
use crate::{
    Lane, OnWrongKey, Options, Outcome, Plan,
    segment::{
        encrypt::Masters,
        frame::{RECORD_HEADER_LEN, may_begin},
        header::{HEADER_LEN, HEADER_PAGE, RECORDS_START, u32_at},
    },
    shared::segment_name,
    storage::crash::{CrashStorage, Random},
    verify::{inspect_in, verify_in},
};

/// Bytes of one operation: what, on which file, where (u16), and two more.
const OPERATION: usize = 6;
/// Openings that end without a word are not as cheap as other damage.
const MAX_CRASHES: usize = 4;

/// Appended in a life that ended without a word.
const CRASHED: &[u8] = b"in a crash";

/// A WAL of a few segments, and the payloads of each lane.
struct Sample {
    disk: CrashStorage,
    payloads: [Vec<Vec<u8>>; 3],
}

/// Four lives: three closed, the last one killed; consumer `a` has acknowledged some and has a request in flight.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let mut payloads: [Vec<Vec<u8>>; 3] = Default::default();
        let mut disk = CrashStorage::new();
        for life in 0..4u8 {
            let mut log = Rig::open(&disk, options()).unwrap();
            for n in 0..9u8 {
                let lane = usize::from(n % 3);
                let payload = vec![life * 16 + n; 20 + usize::from(n) * 7];
                let position = [life, n];
                let mut new = record(lane, &payload);
                new.checkpoint = (n % 4 == 0).then_some(&position);
                log.try_append(new).unwrap().unwrap();
                payloads[lane].push(payload);
            }
            let ids: Vec<_> = log.read("a", 1).iter().map(|record| record.id).collect();
            log.acknowledge("a", 1, &ids[..2]);
            log.consumer("a").acknowledge(Lane::ALL[1], &ids[3..], Outcome::DeadLettered).unwrap();
            let plan = Plan { first: ids[2], last: ids[2], count: 1, generation: 1 };
            log.consumer("a").plan(Lane::ALL[1], plan).unwrap();
            disk = if life < 3 { log.close() } else { log.kill() };
        }
        Sample { disk, payloads }
    })
}

/// Operations of six bytes.
pub fn open(data: &[u8]) {
    let sample = sample();
    let disk = sample.disk.fork();
    let mut crashes = 0;
    for operation in data.chunks_exact(OPERATION).take(64) {
        damage(&disk, *operation.first_chunk().unwrap(), &mut crashes);
    }
    inspect_in(&disk, Path::new(DIR)).unwrap();
    let masters = Masters::new(&options().encryption);
    verify_in(&disk, Path::new(DIR), &masters, &mut |_| {}).unwrap();
    let mut log = match Rig::open(&disk, options()) {
        Ok(log) => log,
        Err(error) => {
            assert!(error.is_wrong_key(), "a WAL always opens: {error}");
            let aside = Options { on_wrong_key: OnWrongKey::SetAside, ..options() };
            Rig::open(&disk, aside).unwrap_or_else(|error| panic!("it can't be set aside: {error}"))
        }
    };
    for (consumer, lane) in lanes() {
        delivered(sample, &log, consumer, lane);
    }
    let full = log.report.full;
    for lane in 0..3 {
        let fresh = log.try_append(record(lane, b"fresh"));
        assert!(full || matches!(fresh, Some(Ok(_))), "{fresh:?} after {:?}", log.report);
        if matches!(fresh, Some(Ok(_))) {
            assert_eq!(log.payloads("b", lane).pop().as_deref(), Some(&b"fresh"[..]));
        }
        let ids: Vec<_> = log.read("a", lane).iter().map(|record| record.id).collect();
        log.acknowledge("a", lane, &ids);
    }
    let before = sums(&log.status());
    let log = Rig::open(&log.close(), options()).unwrap();
    // What is found again need not be written: it is found again.
    for (consumer, lane) in lanes() {
        log.read(consumer, lane);
    }
    assert!(log.report.quarantined.is_empty() && log.report.cursors_reset.is_empty(), "{:?}", log.report);
    assert_eq!(sums(&log.status()), before, "recovery is done once");
}

fn lanes() -> impl Iterator<Item = (&'static str, usize)> {
    ["a", "b"].into_iter().flat_map(|consumer| (0..3).map(move |lane| (consumer, lane)))
}

/// What is read was appended, in order.
fn delivered(sample: &Sample, log: &Rig, consumer: &str, lane: usize) {
    let mut appended = sample.payloads[lane].iter();
    for payload in log.payloads(consumer, lane) {
        assert!(
            payload == CRASHED || appended.any(|other| *other == payload),
            "{consumer} was given what was not appended here"
        );
    }
}

fn damage(disk: &CrashStorage, [what, which, low, high, value, more]: [u8; OPERATION], crashes: &mut usize) {
    let paths = disk.paths();
    let Some(path) = paths.get(usize::from(which) % paths.len().max(1)) else { return };
    let mut content = disk.content(path);
    let at = usize::from(u16::from_le_bytes([low, high])).min(content.len());
    let other = || &paths[usize::from(more) % paths.len()];
    match what % 16 {
        0..4 => {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= value;
            }
            match what % 16 {
                1 => mend_headers(&mut content),
                2 => mend_record(&mut content, at),
                3 => mend_slot(&mut content, at),
                _ => {}
            }
        }
        4 => content.truncate(at),
        5 => content[at..].iter_mut().take(usize::from(value) * 16).for_each(|byte| *byte = 0),
        6 => {
            let source = disk.content(other());
            let end = (at + usize::from(value) * 64).min(content.len()).min(source.len());
            if at < end {
                content[at..end].copy_from_slice(&source[at..end]);
            }
        }
        7 => return disk.take(path),
        8 => {
            disk.put(path, disk.content(other()));
            return disk.put(other(), content);
        }
        9 => content.extend((0..usize::from(value) * 8).map(|n| if more == 0 { n as u8 } else { more })),
        10 => return disk.break_sector(path, at as u64),
        11 => return disk.put(&Path::new(DIR).join(segment_name(value.into())), content),
        12 => {
            let names: [PathBuf; 4] = ["notes", "spare-1-1", "cursors/c.cursor", "quarantine/x"]
                .map(|name| Path::new(DIR).join(name));
            return disk.put(&names[usize::from(value) % names.len()], content);
        }
        13 | 14 => {
            *crashes += 1;
            if *crashes <= MAX_CRASHES {
                crash(disk, u64::from(value) + 1, more, what % 16 == 14);
            }
            return;
        }
        _ => content.clear(),
    }
    disk.put(path, content);
}

/// An opening in which the power goes, or in which the disk fails now and then.
fn crash(disk: &CrashStorage, value: u64, seed: u8, failing: bool) {
    if failing {
        disk.fail_randomly(value % 40, seed.into());
    } else {
        disk.light_fuse(value);
    }
    // It may not open: that is what faults are for.
    let opened = Rig::open(disk, options());
    if let Ok(mut log) = opened {
        let _answer = log.try_append(record(0, CRASHED));
    }
    disk.power_loss(&mut Random::new(seed.into()));
}

fn mend_headers(content: &mut [u8]) {
    for page in [0, HEADER_PAGE as usize] {
        if let Some(header) = content.get_mut(page..page + HEADER_LEN) {
            mend_header(header);
        }
    }
}

/// Right CRCs for the record that this offset is in: as somebody would who has no key.
fn mend_record(content: &mut [u8], at: usize) {
    let Some(salt) = content.get(64..96) else { return };
    let seed = crc32fast::hash(salt);
    let begins = |start: &usize| content.get(*start..).is_some_and(may_begin);
    let Some(start) = (RECORDS_START as usize..=at).rev().filter(|at| at % 8 == 0).find(begins) else {
        return;
    };
    let Some((header, body)) = content[start..].split_first_chunk_mut::<RECORD_HEADER_LEN>() else { return };
    let len = (u32_at(header, 8) as usize).min(body.len());
    header[8..12].copy_from_slice(&(len as u32).to_le_bytes());
    let crc = crc32fast::hash(&body[..len]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    mend_record_header(header, seed);
}

fn mend_slot(content: &mut [u8], at: usize) {
    if let Some(slot) = content.get_mut(at / 4096 * 4096..).and_then(|rest| rest.get_mut(..4096)) {
        let crc = crc32fast::hash(&slot[..4060]);
        slot[4060..4064].copy_from_slice(&crc.to_le_bytes());
    }
}
