//! The checked core: what a guest's calls come to, whatever version of the contract it speaks.
//!
//! One [`Guest`] is the data of one instance's store. Every limit that is not wasmtime's own and every grant
//! is checked here. Nothing that a guest passes can make these functions panic, and whatever they keep is
//! bounded.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    denials::Denials,
    fault::FaultKind,
    grants::Grants,
    limits::{Limiter, Limits},
    meter::Meter,
    services::{Batch, Denied, Entity, GuestError, Level, LogLine, Services},
    text::clean,
    wasi::{Outside, Wasi},
};

/// The longest message of a log line or an error that is kept, in bytes.
pub(crate) const MAX_MESSAGE: usize = 8 << 10;
/// The longest key or value of a log line, in bytes.
const MAX_FIELD: usize = 1 << 10;
/// The most fields of a log line.
const MAX_FIELDS: usize = 32;
/// The longest name of a part or a secret that is repeated back, in bytes.
const MAX_NAME: usize = 128;
/// The most pairs that select figures in one call; so says the contract.
const MAX_SELECT: usize = 256;
/// The longest key or value of such a pair, in bytes; so says the contract.
const MAX_SELECT_TEXT: usize = 1 << 10;
/// The most random bytes in one call; so says the contract.
const MAX_RANDOM: u32 = 65_536;
/// How often a guest may hand over too much in one call before it is taken for one that will not stop.
const MAX_REFUSALS: u32 = 16;

/// The data of one instance's store.
pub(crate) struct Guest {
    pub(crate) limiter: Limiter,
    pub(crate) meter: Arc<Meter>,
    /// Of the call that goes on, or went on last.
    pub(crate) call: CallCount,
    services: Arc<dyn Services>,
    grants: Grants,
    limits: Limits,
    lines: Arc<Mutex<LineRate>>,
    denials: Arc<Denials>,
    /// Of a plugin that imports any of it.
    pub(crate) wasi: Option<Box<Wasi>>,
    /// Zero of the guest's monotonic clock.
    origin: Instant,
}

/// What one call has used.
#[derive(Debug, Default)]
pub(crate) struct CallCount {
    /// Batches taken.
    pub(crate) pushes: u32,
    /// Bytes taken.
    pub(crate) bytes: u64,
    /// Time in `push` until it was answered.
    pub(crate) waited: Duration,
    /// Lines of log left out.
    pub(crate) lines_dropped: u64,
    /// The last line that the guest wrote at level error: what a panic hook says.
    pub(crate) last_error: Option<String>,
    /// Calls of `push`, answered in whatever way.
    asked: u32,
    /// Pushes that were over the limit.
    pub(crate) refused: u32,
}

/// Ends the instance: a trap with a cause that is ours.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Stop {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
}

impl Stop {
    fn new(kind: FaultKind, message: String) -> Stop {
        Stop { kind, message }
    }

    /// The deadline has passed; `how` says what it was doing, where that is known.
    pub(crate) fn deadline(meter: &Meter, how: &str) -> Stop {
        let message = format!(
            "it was stopped after its deadline of {:?}; it had run for {:.0?}{how}",
            meter.deadline(),
            meter.spent()
        );
        Stop::new(FaultKind::Deadline, message)
    }
}

impl Guest {
    pub(crate) fn new(limits: Limits, grants: Grants, services: Arc<dyn Services>, meter: Meter) -> Guest {
        Guest {
            limiter: Limiter::new(&limits),
            meter: Arc::new(meter),
            call: CallCount::default(),
            lines: Arc::new(Mutex::new(LineRate::new(limits.log_lines_per_second))),
            denials: Arc::new(Denials::new(Arc::clone(&services))),
            wasi: None,
            services,
            grants,
            limits,
            origin: Instant::now(),
        }
    }

    /// Gives it what it imports of WASI.
    ///
    /// # Errors
    /// A granted folder was not opened within the time for starting.
    pub(crate) async fn with_wasi(&mut self, outside: &Arc<Outside>) -> Result<(), Stop> {
        let Guest { grants, limits, services, lines, denials, .. } = self;
        let (grants, limits, outside) = (grants.clone(), limits.clone(), Arc::clone(outside));
        let (services, lines, denials) = (Arc::clone(services), Arc::clone(lines), Arc::clone(denials));
        let (time, mounts) = (limits.init, !grants.read.is_empty() || !grants.write.is_empty());
        let make = move || Box::new(Wasi::new(&grants, &limits, &services, &lines, &denials, &outside));
        if !mounts {
            self.wasi = Some(make());
            return Ok(());
        }
        // A folder of a server that is gone would keep this thread, and all the others' collects.
        match tokio::time::timeout(time, tokio::task::spawn_blocking(make)).await {
            Ok(Ok(wasi)) => self.wasi = Some(wasi),
            Ok(Err(error)) => return Err(Stop::new(FaultKind::Host, error.to_string())),
            Err(_) => {
                let message = format!("its granted folders were not opened within {time:?} (`limits.init`)");
                return Err(Stop::new(FaultKind::Deadline, message));
            }
        }
        Ok(())
    }

    /// After a call: what it wrote and has not ended with a line, how much was left out, and what there was no room for.
    pub(crate) fn settle(&mut self) {
        let Some(wasi) = &mut self.wasi else { return };
        let (written, shortage) = wasi.settle();
        if let Some(denied) = shortage {
            self.limiter.deny(denied);
        }
        self.call.lines_dropped += written.dropped;
        if self.call.last_error.is_none() {
            self.call.last_error = written.last_error;
        }
    }

    /// Bytes that it may hand over in one call.
    pub(crate) fn output_limit(&self) -> u64 {
        self.limits.output
    }

    /// Handles of resources that may be alive at a time.
    pub(crate) fn handle_limit(&self) -> usize {
        self.limits.resources
    }

    /// Begins an `emit.push`. Answers how many bytes the guest may still hand over in this call.
    pub(crate) fn begin_push(&mut self) -> Result<u64, Stop> {
        self.call.asked += 1;
        if self.call.asked > self.limits.pushes {
            let message = format!(
                "it pushed more than {} batches in one call: put points together",
                self.limits.pushes
            );
            return Err(Stop::new(FaultKind::Output, message));
        }
        Ok(self.limits.output.saturating_sub(self.call.bytes))
    }

    /// Ends one that is more than what may still be handed over.
    pub(crate) fn refuse(&mut self) -> Result<GuestError, Stop> {
        self.call.refused += 1;
        if self.call.refused > MAX_REFUSALS {
            let message = format!(
                "it went on pushing after the {} bytes that it may hand over in one call (`limits.output`)",
                self.limits.output
            );
            return Err(Stop::new(FaultKind::Output, message));
        }
        Ok(GuestError::TooLarge(self.limits.output))
    }

    /// Ends one that is whole, and counts so many bytes.
    pub(crate) async fn push(
        &mut self,
        batch: Batch,
        checkpoint: Option<Vec<u8>>,
        bytes: u64,
    ) -> Result<Result<(), GuestError>, Stop> {
        self.meter.pause();
        let since = Instant::now();
        let answer = self.services.push(batch, checkpoint).await;
        self.call.waited += since.elapsed();
        self.meter.resume();
        if answer.is_ok() {
            self.call.pushes += 1;
            self.call.bytes += bytes;
        }
        Ok(answer)
    }

    /// `clock.now-ns`.
    pub(crate) fn now_ns(&self) -> u64 {
        self.services.now_ns()
    }

    /// `clock.monotonic-ns`.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        let passed = self.origin.elapsed().saturating_add(self.services.skipped());
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// `clock.random`.
    pub(crate) fn random(&self, len: u32) -> Result<Vec<u8>, Stop> {
        if len > MAX_RANDOM {
            let message = format!("it asked for {len} random bytes at once; {MAX_RANDOM} is the most");
            return Err(Stop::new(FaultKind::Contract, message));
        }
        let mut bytes = vec![0; len as usize];
        getrandom::fill(&mut bytes).map_err(|error| {
            Stop::new(FaultKind::Host, format!("the machine gave no random bytes: {error}"))
        })?;
        Ok(bytes)
    }

    /// `log.write`.
    pub(crate) fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        // A number is whole whatever happened to another who held it.
        let mut rate = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = rate.pass(Instant::now());
        if !passes && level < Level::Error {
            self.call.lines_dropped += 1;
            return;
        }
        let message = clean(message, MAX_MESSAGE);
        if level == Level::Error {
            self.call.last_error = Some(message.clone());
        }
        if !passes {
            self.call.lines_dropped += 1;
            return;
        }
        let fields = fields.into_iter().take(MAX_FIELDS);
        let fields = fields.map(|(key, value)| (clean(key, MAX_FIELD), clean(value, MAX_FIELD))).collect();
        let dropped_before = std::mem::take(&mut rate.dropped);
        drop(rate);
        self.services.log(LogLine { level, message, fields, dropped_before });
    }

    /// `secrets.reveal`.
    pub(crate) fn reveal(&mut self, name: &str) -> Result<String, GuestError> {
        match self.grants.secret(name) {
            Ok(()) => self.services.reveal(name),
            Err(denied) => Err(self.deny(denied)),
        }
    }

    /// `system.snapshot`.
    pub(crate) fn snapshot(
        &mut self,
        part: &str,
        select: &[(String, String)],
    ) -> Result<Vec<Entity>, GuestError> {
        match self.grants.system(part) {
            Ok(()) => {
                check_select(part, select)?;
                self.services.snapshot(part, select)
            }
            Err(denied) => Err(self.deny(denied)),
        }
    }

    fn deny(&mut self, denied: Denied) -> GuestError {
        let denied = match denied {
            Denied::System(name) => Denied::System(clean(name, MAX_NAME)),
            Denied::Secret(name) => Denied::Secret(clean(name, MAX_NAME)),
            other => other,
        };
        let error = GuestError::Denied(denied.to_string());
        self.denials.note(denied);
        error
    }
}

/// Whoever applies a selection may compare every pair with every thing: both have a bound.
fn check_select(part: &str, select: &[(String, String)]) -> Result<(), GuestError> {
    let part = || clean(part.to_owned(), MAX_NAME);
    if select.len() > MAX_SELECT {
        return Err(GuestError::Invalid(format!(
            "{} pairs select figures of {}, and {MAX_SELECT} is the most: use patterns, or fewer of them",
            select.len(),
            part()
        )));
    }
    let long = select.iter().find(|(key, value)| key.len().max(value.len()) > MAX_SELECT_TEXT);
    long.map_or(Ok(()), |(key, value)| {
        Err(GuestError::Invalid(format!(
            "{} of {}: {} bytes, and {MAX_SELECT_TEXT} is the most",
            clean(key.clone(), MAX_NAME),
            part(),
            key.len().max(value.len())
        )))
    })
}

/// So many lines in each second, counted from the first of them.
#[derive(Debug)]
pub(crate) struct LineRate {
    limit: u32,
    since: Option<Instant>,
    count: u32,
    /// Left out since the last line that passed.
    pub(crate) dropped: u64,
}

impl LineRate {
    fn new(limit: u32) -> LineRate {
        LineRate { limit, since: None, count: 0, dropped: 0 }
    }

    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.count = 0;
        }
        let passes = self.count < self.limit;
        if passes {
            self.count += 1;
        } else {
            self.dropped += 1;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_has_a_bound_in_number_and_in_length() {
        let pairs = |count: usize, len: usize| vec![("include".to_owned(), "x".repeat(len)); count];
        assert_eq!(check_select("disk", &pairs(MAX_SELECT, MAX_SELECT_TEXT)), Ok(()));
        let text = check_select("disk", &pairs(MAX_SELECT + 1, 1)).unwrap_err().to_string();
        assert!(text.contains("257 pairs") && text.contains("disk") && text.contains("256"), "{text}");
        let text = check_select("disk", &pairs(1, MAX_SELECT_TEXT + 1)).unwrap_err().to_string();
        assert!(text.contains("include of disk: 1025 bytes"), "{text}");
        let key = vec![("k".repeat(5000), String::new())];
        let text = check_select("disk", &key).unwrap_err().to_string();
        assert!(text.contains("5000 bytes") && text.len() < 400, "{text}");
    }

    #[test]
    fn lines_pass_up_to_the_rate_and_again_in_the_next_second() {
        let mut rate = LineRate::new(2);
        let start = Instant::now();
        let passed: Vec<bool> = (0..4).map(|ms| rate.pass(start + Duration::from_millis(ms))).collect();
        assert_eq!(passed, [true, true, false, false]);
        assert_eq!(rate.dropped, 2);
        assert!(rate.pass(start + Duration::from_secs(1)));
    }
}
