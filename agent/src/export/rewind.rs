//! Setting an exporter's cursor back under its running lanes.
//!
//! First the lanes settle: what is on the wire is answered and acknowledged, so that nothing that is set back is in
//! flight. Then the cursor moves, durably, and the lanes begin anew, as after a restart of the process. Requests that
//! waited for their next try are not lost: where the cursor did not move they go out again as they were planned.
//!
//! What is sent again bears other keys than before ([`Lane::key`](super::lane::Lane)): the count of records set back is
//! part of them, and as durable as the cursor.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, UNIX_EPOCH},
};

use futures_util::future::join_all;
use whimbrel_otlp::Signal;

use super::{
    exporter::{Exporter, ExporterHandle},
    orders::Phase,
    source::{ReadLimit, RewindTo, SourceError},
};

/// How long requests on the wire may take to be answered before rewinding gives up.
const SETTLING: Duration = Duration::from_secs(30);

/// What rewinding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound {
    /// Records that are pending again.
    pub records: u64,
    /// When the oldest record came in that is to be sent now, nanoseconds since 1970; `None` where there is none.
    pub oldest_ns: Option<u64>,
    /// Whether that one is older than `max_age`: it and its like are given up, not sent.
    pub beyond_max_age: bool,
}

/// Why a cursor was not set back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RewindError {
    /// Another rewinding of this exporter is under way.
    #[error("{name} is being rewound already; try again when that is done")]
    Busy {
        /// The exporter.
        name: String,
    },
    /// The agent stops.
    #[error("the agent is stopping")]
    Stopping,
    /// The receiver takes long to answer. Nothing was changed.
    #[error("a request of {name} is still unanswered after {} s: nothing was set back; try again later", .waited.as_secs())]
    InFlight {
        /// The exporter.
        name: String,
        /// How long its answer was waited for.
        waited: Duration,
    },
    /// The WAL. The cursor may have been set back all the same.
    #[error("setting the cursor of {name} back: {cause}")]
    Source {
        /// The exporter.
        name: String,
        /// What failed.
        cause: SourceError,
    },
}

impl RewindError {
    /// Whether the agent is about to end, so that trying again is of no use.
    pub fn is_stopping(&self) -> bool {
        matches!(self, Self::Stopping)
    }
}

impl ExporterHandle {
    /// Sets the cursor back, so that what was delivered and is still kept is sent again, under new keys.
    ///
    /// Cancel safety: once called it is done to its end, in a task of its own.
    ///
    /// # Errors
    /// [`RewindError`].
    pub async fn rewind(&self, to: RewindTo) -> Result<Rewound, RewindError> {
        let exporter = Arc::clone(&self.exporter);
        match tokio::spawn(async move { exporter.rewind(to).await }).await {
            Ok(rewound) => rewound,
            Err(error) => Err(self.exporter.failed(SourceError::new(format_args!("interrupted: {error}")))),
        }
    }
}

/// The lanes go on when it is dropped.
struct Settling<'e> {
    exporter: &'e Exporter,
    number: u64,
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.exporter.orders.send_modify(|orders| orders.settling = None);
    }
}

impl Exporter {
    async fn rewind(self: &Arc<Self>, to: RewindTo) -> Result<Rewound, RewindError> {
        let settling = self.begin_settling()?;
        let all = join_all(self.lanes.iter().map(|lane| lane.orders.has_settled(settling.number)));
        let mut orders = self.orders.subscribe();
        tokio::select! {
            _ = all => {}
            _ = orders.wait_for(|orders| orders.phase == Phase::Stopping) => return Err(RewindError::Stopping),
            () = self.clock.sleep(SETTLING) => {
                return Err(RewindError::InFlight { name: self.name.to_string(), waited: SETTLING });
            }
        }
        let source = Arc::clone(&self.source);
        let rewound = tokio::task::spawn_blocking(move || {
            let records = source.rewind(to)?;
            let one = ReadLimit { records: 1, uncompressed_bytes: 1 };
            let first = |signal| source.read(signal, None, one);
            // Told if it can be read; the lanes find out what can't be.
            let first = Signal::ALL.into_iter().filter_map(|signal| first(signal).ok()?.into_iter().next());
            Ok((records, first.map(|record| record.ingest_ns).min()))
        });
        let rewound = match rewound.await {
            Ok(rewound) => rewound,
            Err(error) => Err(SourceError::new(format_args!("interrupted: {error}"))),
        };
        let (records, oldest_ns) = rewound.map_err(|cause| self.failed(cause))?;
        drop(settling);
        tracing::info!(exporter = %self.name, records, "the cursor was set back: they are sent again");
        Ok(Rewound { records, oldest_ns, beyond_max_age: oldest_ns.is_some_and(|ns| self.is_beyond(ns)) })
    }

    fn begin_settling(&self) -> Result<Settling<'_>, RewindError> {
        let number = self.settlings.fetch_add(1, Ordering::Relaxed) + 1;
        let mut refused = None;
        self.orders.send_if_modified(|orders| {
            refused = match (orders.phase, orders.settling) {
                (Phase::Running, None) => None,
                (Phase::Running, Some(_)) => Some(RewindError::Busy { name: self.name.to_string() }),
                (Phase::Draining | Phase::Stopping, _) => Some(RewindError::Stopping),
            };
            if refused.is_none() {
                orders.settling = Some(number);
            }
            refused.is_none()
        });
        match refused {
            Some(error) => Err(error),
            None => Ok(Settling { exporter: self, number }),
        }
    }

    fn is_beyond(&self, ingest_ns: u64) -> bool {
        let now = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.max_age.is_some_and(|max_age| now.saturating_sub(Duration::from_nanos(ingest_ns)) > max_age)
    }

    fn failed(&self, cause: SourceError) -> RewindError {
        RewindError::Source { name: self.name.to_string(), cause }
    }
}
