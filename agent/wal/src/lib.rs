//! A write-ahead log (WAL) for telemetry: segmented, encrypted, checked, with a durable cursor for every consumer.
//!
//! It knows bytes, labels and counts; nothing of OTLP, tokio or WebAssembly. An append is answered when the record is as
//! durable as the [policy](SyncPolicy) says; every consumer reads at its own pace and loses nothing without its being
//! counted; whatever lies on the disk, the WAL opens and loses only what was damaged.
//!
//! ```
//! use whimbrel_wal::{
//!     Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, ReadLimit, Wal, WhenFull,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let key = Key::create_file(&dir.join("key"))?;
//! let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(key)));
//! options.consumers = vec!["backend".into()];
//! let (wal, report) = Wal::open(&dir.join("wal"), options)?;
//! assert!(!report.is_damaged());
//!
//! let lane = Lane::ALL[0];
//! let record = NewRecord {
//!     lane,
//!     source: "collectors/host",
//!     label: "",
//!     items: 2,
//!     ingest_ns: 0,
//!     payload: b"two data points",
//!     checkpoint: None,
//!     when_full: WhenFull::DropOldest,
//! };
//! let id = wal.append_blocking(wal.prepare(record)?)?; // it is on the disk now
//!
//! let backend = wal.consumer("backend").ok_or("not configured")?;
//! let limit = ReadLimit { records: 100, uncompressed_bytes: 4 << 20 };
//! for record in backend.read(lane, None, limit)? {
//!     assert_eq!((record.id, &record.payload()?[..]), (id, &b"two data points"[..]));
//!     backend.acknowledge(lane, &[record.id], Outcome::Delivered)?;
//! }
//! wal.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//! Compression runs in the callers ([`Wal::prepare`]). One thread owns everything that changes files: it seals, frames and
//! writes what waits, syncs once for all of it (group commit), makes it visible and answers. Consumers read files
//! themselves and write only their own cursors. Bytes on disk are described beside their constants: `segment::header`,
//! `segment::frame`, `segment::state`, `segment::encrypt`, `cursor::slot`.
//!
//! # In the directory
//! `lock`, `%016x.wal` (segments), `spare-*` (a file for the next one), `cursors/`, `quarantine/` (what could not be used,
//! bounded). All of it counts against [`Options::max_size`], but for `noted`, a few lines that a [`repair()`] leaves.
//!
//! # From outside
//! [`inspect`], [`list`], [`verify`] and [`dump()`] need no lock and change nothing, so the WAL may be in use.
//! [`plan_repair`] and [`repair()`] need it for themselves.
//!
//! # What is not detected
//! Encryption and tags find alteration, reordering, splicing and missing pieces. Without an anchor outside the directory
//! nothing can find that the whole of it was set back to an older state, that the unsealed end was cut off above what is
//! known to be durable, or that everything was deleted. Lengths after compression can be seen. Copy-on-write file systems
//! need free space even to overwrite, so there a full disk also stops acknowledgements.

mod wal;

mod options;

mod record;

mod key;

mod error;

mod status;

mod consumer;

mod forget;

mod newest;

mod verify;

mod list;

mod dump;

mod repair;

mod judge;

mod notes;

mod compress;

mod segment;

mod cursor;

mod shared;

mod writer;

mod survey;

mod scan;

mod recover;

mod storage;

mod mutants;

#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub mod fuzzing;

pub use consumer::{Consumer, Outcome, Plan, Read, ReadLimit, RewindTo};
pub use dump::{DumpFilter, DumpReport, Dumped, dump};
pub use error::{
    AppendError, CloseError, CursorError, DumpError, OpenError, ReadError, RotateError, VerifyError,
};
pub use forget::{ForgetError, forget};
pub use key::{Key, KeyError, KeyRing};
pub use list::{Holder, Listed, Listing, list};
pub use newest::{HeaderField, StoredRecord};
pub use options::{
    ConsumerOptions, Encryption, LANES, MAX_CHECKPOINT, MAX_CONSUMERS, MAX_NAME, MAX_NAMES, MAX_RECORD,
    MIN_MAX_SIZE, OnWrongKey, Options, Start, SyncPolicy,
};
pub use record::{Lane, NewRecord, Prepared, Record, RecordId, WhenFull};
pub use repair::{Deed, RepairError, Step, plan_repair, repair};
pub use status::{ConsumerStatus, Counters, LaneStatus, Losses, OpenReport, Status};
pub use verify::{Damage, Inspection, Progress, SegmentReport, VerifyReport, inspect, verify};
pub use wal::Wal;
