//! A segmented, encrypted, CRC-checked write-ahead log with a durable cursor per consumer.
//!
//! It knows bytes, labels and counts; nothing of OTLP, tokio or WASM.

mod compress;
mod consumer;
mod cursor;
mod error;
mod key;
mod options;
mod record;
mod recover;
mod scan;
mod segment;
mod shared;
mod status;
mod storage;
mod survey;
mod verify;
mod wal;
mod writer;

pub use consumer::{Consumer, Outcome, Plan, Read, ReadLimit};
pub use error::{AppendError, CloseError, CursorError, OpenError, ReadError, VerifyError};
pub use key::{Key, KeyError, KeyRing};
pub use options::{
    Encryption, LANES, MAX_CHECKPOINT, MAX_CONSUMERS, MAX_NAME, MAX_NAMES, MAX_RECORD, MIN_MAX_SIZE,
    OnWrongKey, Options, SyncPolicy,
};
pub use record::{Lane, NewRecord, Prepared, Record, RecordId, WhenFull};
pub use status::{ConsumerStatus, Counters, LaneStatus, Losses, OpenReport, Status};
pub use verify::{Damage, Inspection, Progress, SegmentReport, VerifyReport, inspect, list, verify};
pub use wal::Wal;
