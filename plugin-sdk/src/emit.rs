//! Where a collector's findings go: into one buffer of OTLP, and from there to the host.

use std::time::Duration;

use whimbrel_otlp::Signal;
use whimbrel_otlp::write::{
    Attributes, Histogram, HistogramPoint, LogRecord, Logs, Metric, Metrics, Number, Scope,
};

use crate::{Error, Plugin, host};

/// A push is made when so many items are waiting: the contract asks for about 1000.
const MAX_ITEMS: u32 = 1000;

/// A push is made when so many bytes are waiting.
const MAX_BYTES: usize = 1 << 20;

/// From so many items on a checkpoint is a good moment to push: what was emitted and what it stands for then
/// become durable together.
const CHECKPOINT_ITEMS: u32 = MAX_ITEMS / 2;

/// What a collect emits.
///
/// Points and records are encoded at once; a request is pushed when 1000 items or 1 MiB are reached, and at the end
/// of the collect. After a push that was refused nothing more is pushed in the same collect, and the collect fails.
///
/// # Checkpoints
/// [`checkpoint`](Self::checkpoint) says: everything emitted so far is what the source held up to here. It becomes
/// durable in one record with that data, or not at all. With at most 500 items between two checkpoints nothing is
/// ever pushed ahead of its checkpoint, so that after any fault nothing is read twice and nothing is skipped.
#[derive(Debug)]
pub struct Emit {
    plugin: Plugin,
    now_ns: u64,
    deadline_ns: u64,
    metrics: Metrics,
    logs: Logs,
    resource: Attributes,
    metrics_begun: bool,
    logs_begun: bool,
    checkpoint: Option<Vec<u8>>,
    durable: Option<Vec<u8>>,
    /// Bytes of batches that were pushed in this collect.
    pushed: u64,
    /// What the host answered to the first refused push of this collect.
    refused: Option<Error>,
}

impl Emit {
    pub(crate) fn new(plugin: Plugin, durable: Option<Vec<u8>>) -> Self {
        Self {
            plugin,
            now_ns: 0,
            deadline_ns: 0,
            metrics: Metrics::new(),
            logs: Logs::new(),
            resource: Attributes::new(),
            metrics_begun: false,
            logs_begun: false,
            checkpoint: None,
            durable,
            pushed: 0,
            refused: None,
        }
    }

    /// When this collect began, in nanoseconds since the Unix epoch; the time of every point that is given no other.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How long this collect may still take before the host stops it. Waiting in a push doesn't count.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_nanos(self.deadline_ns.saturating_sub(host::monotonic_ns()))
    }

    /// How many bytes of batches this collect has come to so far, pushed and waiting. The limit `output` counts them,
    /// and checkpoints beside them: who has more than fits stops below it, and says [`More::Yes`](crate::More::Yes).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.pushed + (self.metrics.size() + self.logs.size()) as u64
    }

    /// What follows belongs to this resource, merged over the agent's own; without attributes, to the agent's own
    /// alone, as it is at the beginning of a collect.
    pub fn resource(&mut self, attributes: &Attributes) {
        self.resource.clone_from(attributes);
        self.metrics_begun = false;
        self.logs_begun = false;
    }

    /// Begins a metric; what is returned takes its points.
    pub fn metric<'a>(&'a mut self, metric: &Metric<'a>) -> Points<'a> {
        self.begin_metrics();
        self.metrics.metric(metric);
        Points { emit: self, metric: *metric, start_ns: 0 }
    }

    /// Begins a metric of histograms; what is returned takes its points.
    pub fn histogram<'a>(&'a mut self, metric: &Histogram<'a>) -> HistogramPoints<'a> {
        self.begin_metrics();
        self.metrics.histogram(metric);
        HistogramPoints { emit: self, metric: *metric }
    }

    /// Writes a log record. One without the time that it was observed is given that of this collect.
    ///
    /// # Errors
    /// What the host answered to a push; the record is not taken then.
    pub fn log(&mut self, mut record: LogRecord<'_>) -> Result<(), Error> {
        self.push_if_full()?;
        if !self.logs_begun {
            self.logs_begun = true;
            self.logs.resource(&self.resource);
            self.logs.scope(&Scope {
                name: self.plugin.name,
                version: self.plugin.version,
                attributes: None,
            });
        }
        if record.observed_ns == 0 {
            record.observed_ns = self.now_ns;
        }
        self.logs.record(&record);
        Ok(())
    }

    /// Pushes a request that was encoded elsewhere, after what is waiting. For exemplars, exponential histograms,
    /// summaries and spans.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not well-formed OTLP of that signal, and as [`flush`](Self::flush).
    pub fn otlp(&mut self, signal: Signal, request: Vec<u8>) -> Result<(), Error> {
        let checkpoint = self.checkpoint.take();
        self.push_waiting()?;
        self.push(signal, request, checkpoint).1
    }

    /// Everything emitted so far is what the source held up to here; see above.
    ///
    /// # Errors
    /// As [`flush`](Self::flush): it pushes if 500 items are waiting.
    pub fn checkpoint(&mut self, checkpoint: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.checkpoint = Some(checkpoint.into());
        if self.waiting() >= CHECKPOINT_ITEMS { self.flush() } else { Ok(()) }
    }

    /// Pushes what is waiting, with the checkpoint. When it returns, both are durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the agent can't take it now, [`Error::TooLarge`] beyond the output limit. What was
    /// waiting is dropped; return the error, and [`Collector::rewind`](crate::Collector::rewind) is called.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.push_waiting()?;
        match self.checkpoint.take() {
            // No data, but a new position: an empty request carries it.
            Some(checkpoint) => self.push(Signal::Logs, Vec::new(), Some(checkpoint)).1,
            None => Ok(()),
        }
    }

    /// The last checkpoint that is durable.
    #[must_use]
    pub fn durable(&self) -> Option<&[u8]> {
        self.durable.as_deref()
    }

    pub(crate) fn begin(&mut self, deadline: Duration) {
        self.now_ns = host::now_ns();
        let deadline = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        self.deadline_ns = host::monotonic_ns().saturating_add(deadline);
        self.pushed = 0;
        self.resource(&Attributes::new());
    }

    /// Pushes the rest. A push that was refused fails the collect, even if the collector took no notice.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// Drops what is waiting. Whether anything was dropped, now or by a refused push of this collect.
    pub(crate) fn discard(&mut self) -> bool {
        let dropped = self.refused.is_some() || self.waiting() > 0 || self.checkpoint.is_some();
        self.metrics.clear();
        self.logs.clear();
        self.metrics_begun = false;
        self.logs_begun = false;
        self.checkpoint = None;
        self.refused = None;
        dropped
    }

    fn waiting(&self) -> u32 {
        self.metrics.points() + self.logs.records()
    }

    fn begin_metrics(&mut self) {
        if !self.metrics_begun {
            self.metrics_begun = true;
            self.metrics.resource(&self.resource);
            self.metrics.scope(&Scope {
                name: self.plugin.name,
                version: self.plugin.version,
                attributes: None,
            });
        }
    }

    #[inline]
    fn push_if_full(&mut self) -> Result<(), Error> {
        if self.waiting() < MAX_ITEMS && self.metrics.size() + self.logs.size() < MAX_BYTES {
            return Ok(());
        }
        self.push_waiting()
    }

    /// Pushes metrics, then logs; the checkpoint goes with the last of them.
    fn push_waiting(&mut self) -> Result<(), Error> {
        self.metrics_begun = false;
        self.logs_begun = false;
        if self.metrics.points() > 0 {
            let checkpoint = if self.logs.records() == 0 { self.checkpoint.take() } else { None };
            let request = self.metrics.take();
            let (buffer, answer) = self.push(Signal::Metrics, request, checkpoint);
            self.metrics.reuse(buffer);
            answer?;
        }
        if self.logs.records() > 0 {
            let checkpoint = self.checkpoint.take();
            let request = self.logs.take();
            let (buffer, answer) = self.push(Signal::Logs, request, checkpoint);
            self.logs.reuse(buffer);
            answer?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        signal: Signal,
        request: Vec<u8>,
        checkpoint: Option<Vec<u8>>,
    ) -> (Vec<u8>, Result<(), Error>) {
        // What comes after a refused push must not become durable before it: a checkpoint would skip the gap.
        if let Some(error) = &self.refused {
            return (request, Err(error.clone()));
        }
        let kept = checkpoint.clone();
        self.pushed += request.len() as u64;
        let (buffer, answer) = host::push(signal, request, checkpoint);
        match &answer {
            Ok(()) if kept.is_some() => self.durable = kept,
            Ok(()) => {}
            Err(error) => self.refused = Some(error.clone()),
        }
        (buffer, answer)
    }
}

/// Takes the points of one metric.
#[derive(Debug)]
pub struct Points<'a> {
    emit: &'a mut Emit,
    metric: Metric<'a>,
    start_ns: u64,
}

impl Points<'_> {
    /// The following points count from this moment, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn since(mut self, start_ns: u64) -> Self {
        self.start_ns = start_ns;
        self
    }

    /// Writes a point of the time of this collect.
    ///
    /// # Errors
    /// What the host answered to a push; the point is not taken then.
    #[inline]
    pub fn point(&mut self, series: &Attributes, value: impl Into<Number>) -> Result<(), Error> {
        self.point_at(series, self.start_ns, self.emit.now_ns, value)
    }

    /// Writes a point of another start (0: not known) and time.
    ///
    /// # Errors
    /// What the host answered to a push; the point is not taken then.
    #[inline]
    pub fn point_at(
        &mut self,
        series: &Attributes,
        start_ns: u64,
        time_ns: u64,
        value: impl Into<Number>,
    ) -> Result<(), Error> {
        self.emit.push_if_full()?;
        self.emit.begin_metrics();
        self.emit.metrics.resume(&self.metric).point(series, start_ns, time_ns, value);
        Ok(())
    }
}

/// Takes the points of one metric of histograms.
#[derive(Debug)]
pub struct HistogramPoints<'a> {
    emit: &'a mut Emit,
    metric: Histogram<'a>,
}

impl HistogramPoints<'_> {
    /// Writes a point. One without a time is given that of this collect.
    ///
    /// # Errors
    /// What the host answered to a push; the point is not taken then.
    pub fn point(&mut self, series: &Attributes, point: &HistogramPoint<'_>) -> Result<(), Error> {
        self.emit.push_if_full()?;
        self.emit.begin_metrics();
        let time_ns = if point.time_ns == 0 { self.emit.now_ns } else { point.time_ns };
        self.emit.metrics.resume_histogram(&self.metric).point(series, &HistogramPoint { time_ns, ..*point });
        Ok(())
    }
}
