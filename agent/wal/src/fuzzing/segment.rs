//! Bytes as the records behind a valid header, and as a whole file.

use std::path::{Path, PathBuf};

use super::{
    mend_header, mend_records,
    rig::{DIR, Rig, options, record, ring},
    sums,
};
use crate::{
    Encryption, Lane, Options,
    scan::{Bounds, Depth, Scan, make_durable, scan},
    segment::{
        encrypt::{Masters, SegmentCipher},
        frame::{Kind, SealBody, part_body},
        header::{HEADER_LEN, HEADER_PAGE, RECORDS_START, SegmentHeader},
        state,
        walk::{Step, Walker},
    },
    shared::segment_name,
    storage::{Access, Storage as _, StoredFile, crash::CrashStorage},
    survey::read_header,
    verify::{inspect_in, verify_in},
};

/// The first byte says what the others are:
///
/// ```text
/// bit 7   a whole file: 192 bytes of header, then records; else records behind a header that is right
/// bit 0   sealed, under a key of the ring; else in the clear
///         of a whole file:
/// bit 1   its header gets the right CRC
/// bit 2   and the right number
/// bit 3   and the right key id and commitment
/// bit 4   the second copy is like the first; else zero
/// bit 5   what follows are records to be mended; else it is left
/// bit 6   the file ends where the input does, even within the header
/// ```
pub fn segment(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let options = Options {
        encryption: if mode & 1 != 0 { Encryption::Aes256Gcm(ring()) } else { Encryption::None },
        ..options()
    };
    let masters = Masters::new(&options.encryption);
    let content =
        if mode & 0x80 == 0 { behind_a_header(&masters, rest) } else { whole(mode, &masters, rest) };
    let disk = CrashStorage::new();
    let path = Path::new(DIR).join(segment_name(1));
    disk.put(&path, content);
    let file = disk.open(&path, Access::Write).unwrap();
    if let Ok(header) = read_header(file.as_ref()).unwrap() {
        // Whoever reads without opening has checked nothing but its CRC.
        let master = masters.get(header.master_id(), &header.store_uuid);
        read(file.as_ref(), &header, master.and_then(|master| SegmentCipher::of(&master, &header)).as_ref());
    }
    as_a_log(&disk, &path, &options, &masters);
}

fn behind_a_header(masters: &Masters, records: &[u8]) -> Vec<u8> {
    let uuid = [0x11; 16];
    let mut header = SegmentHeader {
        encrypted: masters.encrypts(),
        store_uuid: uuid,
        segment: 1,
        first_sequence: 1,
        created_ns: 1,
        key_id: masters.current_id(),
        previous_count: 0,
        salt: [0x22; 32],
        commitment: [0; 32],
        previous_tag: [0; 16],
        lane_first: [1; 3],
    };
    let cipher = SegmentCipher::create(&masters.get(header.master_id(), &uuid).unwrap(), &mut header);
    let mut content = vec![0; RECORDS_START as usize];
    for page in [0, HEADER_PAGE as usize] {
        content[page..page + HEADER_LEN].copy_from_slice(&header.encode());
    }
    content.extend_from_slice(records);
    mend_records(&mut content[RECORDS_START as usize..], &cipher, header.crc_seed());
    content
}

fn whole(mode: u8, masters: &Masters, data: &[u8]) -> Vec<u8> {
    let (head, records) = data.split_at(data.len().min(HEADER_LEN));
    let mut content = head.to_vec();
    if mode & 0x40 != 0 && head.len() < HEADER_LEN {
        return content;
    }
    content.resize(HEADER_LEN, 0);
    if mode & 4 != 0 {
        content[32..40].copy_from_slice(&1u64.to_le_bytes());
    }
    // What is just below the limit comes to it in 146,000 years only.
    for number in [40, 144, 152, 160] {
        content[number + 7] &= !0x20;
    }
    if mode & 2 != 0 {
        mend_header(&mut content);
    }
    let decoded = content.first_chunk().and_then(|bytes| SegmentHeader::decode(bytes).ok());
    let mut cipher = None;
    if mode & 8 != 0
        && let Some(mut header) = decoded
    {
        header.encrypted = masters.encrypts();
        header.key_id = masters.current_id();
        let master = masters.get(header.master_id(), &header.store_uuid).unwrap();
        cipher = Some((SegmentCipher::create(&master, &mut header), header.crc_seed()));
        content.copy_from_slice(&header.encode());
    }
    let first = content.clone();
    content.resize(RECORDS_START as usize, 0);
    if mode & 0x10 != 0 {
        content[HEADER_PAGE as usize..][..HEADER_LEN].copy_from_slice(&first);
    }
    content.extend_from_slice(records);
    if mode & 0x20 != 0
        && let Some((cipher, seed)) = cipher
    {
        mend_records(&mut content[RECORDS_START as usize..], &cipher, seed);
    }
    content
}

/// Walks, scans, opens every body.
fn read(file: &dyn StoredFile, header: &SegmentHeader, cipher: Option<&SegmentCipher>) {
    let len = file.len().unwrap();
    let seed = header.crc_seed();
    let mut walker = Walker::new(file, seed, RECORDS_START.min(len), len, u32::MAX);
    let (mut at, mut index) = (RECORDS_START.min(len), None);
    while let Some(step) = walker.step().unwrap() {
        match step {
            Step::Gap { offset, len } => {
                assert!(offset == at && len > 0, "steps lie side by side");
                at += len;
            }
            Step::Record { offset, header } => {
                assert_eq!(offset, at, "steps lie side by side");
                assert!(index.is_none_or(|before| before < header.index), "indexes ascend");
                index = Some(header.index);
                at += header.stride();
                let Some(cipher) = cipher else { continue };
                let Ok(body) = walker.body(offset, &header, cipher).unwrap() else { continue };
                assert_eq!(body.len() + cipher.overhead(), header.body_len as usize);
                if let Some((section, payload)) = part_body(&header, &body) {
                    assert!(section.end <= body.len() && payload <= body.len());
                    assert!(state::entries(&body[section]).count() <= body.len());
                }
                assert!(header.kind() != Some(Kind::State) || state::entries(&body).count() <= body.len());
                if let Some(seal) = SealBody::decode(&body) {
                    assert_eq!(SealBody::decode(&seal.encode()), Some(seal));
                }
            }
        }
        assert!(at <= len || at == walker.offset());
    }
    let mut depths = vec![Depth::Crc];
    depths.extend(cipher.into_iter().flat_map(|cipher| [Depth::State(cipher), Depth::Tags(cipher)]));
    for depth in depths {
        let look = |len| scan(file, header, depth, len, Bounds::NONE, &mut |_| {}).unwrap();
        let whole = look(len);
        check(&whole, len);
        // Recovery cuts it there: then it must be the same, and end there.
        let cut = look(whole.end);
        assert_eq!((whole.end, whole.index_end, whole.records), (cut.end, cut.index_end, cut.records));
        assert_eq!((whole.lane_end, whole.next_sequence), (cut.lane_end, cut.next_sequence));
        assert_eq!((whole.missing(), &whole.faults), (cut.missing(), &cut.faults));
        assert_eq!(cut.torn_bytes, 0);
        make_durable(file, header, &cut).unwrap();
        assert_eq!(file.len().unwrap(), len, "written again in place");
    }
}

fn check(scan: &Scan, len: u64) {
    assert!(scan.end <= len && scan.end + scan.torn_bytes <= len);
    assert!(scan.synced == 0 || scan.index_end > 0);
    let mut at = 0;
    for fault in &scan.faults {
        assert!(fault.offset >= at && fault.offset < scan.end, "faults lie in order, before the end");
        at = fault.offset;
    }
}

/// The same as the only segment of a WAL.
fn as_a_log(disk: &CrashStorage, path: &PathBuf, options: &Options, masters: &Masters) {
    inspect_in(disk, Path::new(DIR)).unwrap();
    for masters in [masters, &Masters::of_ring(None)] {
        verify_in(disk, Path::new(DIR), masters, &mut |_| {}).unwrap();
    }
    let mut log = match Rig::open(disk, options.clone()) {
        Ok(log) => log,
        Err(error) => {
            assert!(error.is_wrong_key(), "a WAL always opens: {error}");
            assert!(disk.paths().contains(path), "a refusal changes nothing");
            return;
        }
    };
    for lane in 0..3 {
        for record in log.read("a", lane) {
            // A frame that is not what its header says is told, not believed.
            assert!(record.payload().is_err() || record.payload().unwrap().len() <= crate::MAX_RECORD);
        }
        let half: Vec<_> = log.read("a", lane).iter().step_by(2).map(|record| record.id).collect();
        // More than 128 gaps are refused; the sum holds all the same.
        let refused = log.consumer("a").acknowledge(Lane::ALL[lane], &half, crate::Outcome::Delivered);
        assert!(refused.is_ok() || half.len() > 128);
    }
    sums(&log.status());
    log.append(1, b"fresh");
    assert_eq!(log.payloads("a", 1).pop().as_deref(), Some(&b"fresh"[..]));
    assert_eq!(log.try_append(record(2, b"more")).map(|appended| appended.is_ok()), Some(true));
    let before = sums(&log.status());
    let disk = log.close();
    let log = Rig::open(&disk, options.clone()).unwrap();
    assert!(log.report.quarantined.is_empty() && log.report.cursors_reset.is_empty(), "{:?}", log.report);
    let after = sums(&log.status());
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        for (before, after) in before.iter().zip(after) {
            assert_eq!(
                (before[0], before[1]),
                (after[0], after[1]),
                "{name}: what was seen and delivered stays"
            );
        }
    }
}
