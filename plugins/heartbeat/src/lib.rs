//! The smallest collector: one counter that goes on counting after a restart.
//!
//! It shows what every plugin does: read a configuration, encode the attributes of a series once, emit a point,
//! and leave a checkpoint. As a watchdog it is useful too: `whimbrel.heartbeat.count` stops where the way of a
//! batch is broken.

use serde::Deserialize;
use whimbrel_sdk::{Attributes, Collector, Context, Emit, Error, Metric, More, clock, collector};

const COUNT: Metric<'_> =
    Metric::counter("whimbrel.heartbeat.count", "{heartbeat}", "Heartbeats since the first start.");

/// The configuration, `config:` in the agent's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Written as the attribute `whimbrel.heartbeat.message`, if given.
    message: Option<String>,
}

/// The collector.
#[derive(Debug)]
pub struct Heartbeat {
    series: Attributes,
    beats: Beats,
}

/// What survives a restart: how often, and since when. On disk: two little-endian u64.
#[derive(Clone, Copy, Debug)]
struct Beats {
    count: u64,
    since_ns: u64,
}

impl Collector for Heartbeat {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let beats = match context.checkpoint {
            Some(checkpoint) => Beats::from_checkpoint(&checkpoint)?,
            None => Beats { count: 0, since_ns: clock::now_ns() },
        };
        let mut series = Attributes::new();
        if let Some(message) = &context.config.message {
            series.push("whimbrel.heartbeat.message", message);
        }
        Ok(Self { series, beats })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let beats = Beats { count: self.beats.count + 1, ..self.beats };
        out.metric(&COUNT).since(beats.since_ns).point(&self.series, beats.count)?;
        out.checkpoint(beats.to_checkpoint())?;
        // Count it only when it is durable: a refused beat is not skipped, but tried again.
        out.flush()?;
        self.beats = beats;
        Ok(More::No)
    }
}

impl Beats {
    fn from_checkpoint(bytes: &[u8]) -> Result<Self, Error> {
        let (count, since_ns) = bytes
            .split_first_chunk()
            .and_then(|(count, rest)| Some((count, rest.try_into().ok()?)))
            .ok_or_else(|| Error::permanent(format!("a checkpoint of {} bytes, not 16", bytes.len())))?;
        Ok(Self { count: u64::from_le_bytes(*count), since_ns: u64::from_le_bytes(since_ns) })
    }

    fn to_checkpoint(self) -> Vec<u8> {
        [self.count.to_le_bytes(), self.since_ns.to_le_bytes()].concat()
    }
}

collector!(Heartbeat {
    name: "heartbeat",
    description: "Counts its own collects, across restarts.",
    config_schema: include_str!("../config.schema.json"),
});
