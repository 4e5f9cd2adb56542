//! A lane's reading side: which records the next request holds.
//!
//! What was in flight when the last process died comes out again as it was, in its place among the others. What is
//! new waits for more to join it until the oldest is `max_delay` old; a backlog does not wait.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio::task::JoinError;

use super::{
    deliver::Ended,
    lane::{Lane, Stopped},
    orders::{Orders, Phase},
    source::{Plan, ReadLimit, Record, RecordId},
};

/// Records in one request at most: bounds what tiny records cost in memory and in halving.
const MAX_RECORDS: usize = 4096;

/// The lane's place in the WAL.
pub(super) struct Reader<'a> {
    lane: &'a Arc<Lane>,
    /// Behind this record comes what was not taken yet.
    after: Option<RecordId>,
    /// What was in flight when the last process died, or the lane settled, in order.
    plans: VecDeque<Plan>,
    /// A request ended without settling all its records: read again from the first, once no other is in flight.
    pub(super) lost_track: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lane: &'a Arc<Lane>) -> Self {
        Self { lane, after: None, plans: VecDeque::new(), lost_track: false }
    }

    /// Takes over the plans of the last process, or of the lane before it settled.
    pub(super) async fn remember(&mut self) -> Result<(), Stopped> {
        let call = |lane: &Lane| Ok((lane.source.plans(lane.signal)?, lane.source.rewound(lane.signal)));
        let (mut plans, rewound) = self.lane.persist("reading the cursor", call).await?.unwrap_or_default();
        self.lane.begins(rewound);
        plans.sort_by_key(|plan| (plan.first, plan.last));
        self.plans = plans.into();
        Ok(())
    }

    /// A request has ended.
    pub(super) fn reap(&mut self, ended: Option<Result<Ended, JoinError>>) {
        let lane = self.lane;
        match ended {
            None => return,
            Some(Ok(Ended::Settled | Ended::Stopped)) => {}
            Some(Ok(Ended::Gone)) => self.lost_track = true,
            Some(Err(error)) => {
                tracing::error!(exporter = %lane.exporter, signal = %lane.signal, %error,
                    "a request's task failed; its records are read again");
                self.lost_track = true;
            }
        }
        lane.count(|status| status.in_flight -= 1);
    }

    /// The records of the next request; none if there are none, or the exporter was paused meanwhile.
    pub(super) async fn next_request(&mut self) -> Result<Vec<Record>, Stopped> {
        if std::mem::take(&mut self.lost_track) {
            self.after = None;
        }
        let max_request = self.lane.config.max_request;
        loop {
            let mut records = self.read(self.after, MAX_RECORDS, max_request).await?;
            let Some(first) = records.first().map(|record| record.id) else { return Ok(records) };
            while self.plans.front().is_some_and(|plan| plan.last < first) {
                self.plans.pop_front();
            }
            let plan = self.plans.front().copied();
            if self.lane.is_paused() {
                return Ok(Vec::new());
            }
            if let Some(plan) = plan.filter(|plan| plan.first <= first) {
                self.plans.pop_front();
                // As it was, whatever the limits say now: the same records make the same key.
                let call = move |lane: &Lane| lane.source.read_plan(lane.signal, &plan);
                records = self.lane.persist("reading the WAL", call).await?.unwrap_or_default();
                if records.is_empty() {
                    continue;
                }
                self.after = records.last().map(|record| record.id);
                return Ok(records);
            }
            records.retain(|record| plan.is_none_or(|plan| record.id < plan.first));
            let last = records.last().map(|record| record.id);
            let (old, mut records): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|record| self.lane.is_too_old(record));
            if !old.is_empty() {
                self.lane.give_up(&old).await?;
            }
            let Some(oldest_ns) = records.first().map(|record| record.ingest_ns) else {
                self.after = last.or(self.after);
                continue;
            };
            if plan.is_none() && !self.is_backlog(&records) && self.wait_for_more(oldest_ns).await? {
                let room = max_request.saturating_sub(bytes(&records));
                let after = records.last().map(|record| record.id);
                let more = self.read(after, MAX_RECORDS - records.len(), room).await?;
                let mut added = 0;
                // A read gives at least one record, even one that does not fit any more.
                records.extend(more.into_iter().take_while(|record| {
                    added += record.uncompressed_len as usize;
                    added <= room
                }));
            }
            if self.lane.is_paused() {
                // Nothing of it is planned yet: it is read again.
                return Ok(Vec::new());
            }
            self.after = records.last().map(|record| record.id);
            return Ok(records);
        }
    }

    async fn read(
        &self,
        after: Option<RecordId>,
        records: usize,
        uncompressed_bytes: usize,
    ) -> Result<Vec<Record>, Stopped> {
        let limit = ReadLimit { records, uncompressed_bytes: uncompressed_bytes as u64 };
        let call = move |lane: &Lane| lane.source.read(lane.signal, after, limit);
        Ok(self.lane.persist("reading the WAL", call).await?.unwrap_or_default())
    }

    /// So much that waiting for more would only delay it.
    fn is_backlog(&self, records: &[Record]) -> bool {
        records.len() >= MAX_RECORDS || bytes(records) >= self.lane.config.max_request / 2
    }

    /// Gives others the time to join the oldest record. Whether there was any left.
    async fn wait_for_more(&self, oldest_ns: u64) -> Result<bool, Stopped> {
        let lane = self.lane;
        let now = lane.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A record from the future (the clock was set back) is as good as new.
        let age = now.saturating_sub(Duration::from_nanos(oldest_ns));
        let left = lane.config.max_delay.saturating_sub(age);
        if left.is_zero() || lane.orders.now().phase == Phase::Draining {
            return Ok(false);
        }
        let mut orders = lane.orders.watch();
        tokio::select! {
            () = lane.clock.sleep(left) => {}
            _ = orders.wait_for(|orders| *orders != Orders::FIRST) => {}
        }
        if lane.orders.now().ends() { Err(Stopped) } else { Ok(true) }
    }
}

fn bytes(records: &[Record]) -> usize {
    records.iter().map(|record| record.uncompressed_len as usize).sum()
}
