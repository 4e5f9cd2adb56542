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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use whimbrel_sdk::Described;
    use whimbrel_sdk::testing::{Host, Kind, Point, PointValue, Running};

    use super::*;

    fn collect(run: &mut Running<Heartbeat>) -> Point {
        let pushes = run.collect().unwrap();
        assert_eq!(pushes.len(), 1);
        let mut points = pushes[0].points();
        assert_eq!(points.len(), 1);
        points.remove(0)
    }

    #[test]
    fn it_counts_on_after_a_restart() {
        let mut run = Host::new().start::<Heartbeat>().unwrap();
        let first = collect(&mut run);
        assert_eq!(first.value, PointValue::Int(1));
        assert_eq!(first.metric.name, "whimbrel.heartbeat.count");
        assert_eq!(first.metric.unit, "{heartbeat}");
        assert!(matches!(first.metric.kind, Kind::Sum { monotonic: true, .. }));
        run.advance(Duration::from_secs(10));
        assert_eq!(collect(&mut run).value, PointValue::Int(2));

        let mut run = run.restart().unwrap();
        run.advance(Duration::from_secs(10));
        let third = collect(&mut run);
        assert_eq!(third.value, PointValue::Int(3));
        assert_eq!(third.start_ns, first.start_ns, "one series, one start");
        assert_eq!(third.time_ns, first.time_ns + 20_000_000_000);
    }

    #[test]
    fn a_refused_beat_is_not_skipped() {
        let mut run = Host::new().start::<Heartbeat>().unwrap();
        collect(&mut run);
        run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
        assert!(run.collect().unwrap_err().is_retryable());
        assert_eq!(collect(&mut run).value, PointValue::Int(2));
    }

    #[test]
    fn the_message_becomes_an_attribute() {
        let mut run = Host::new().config(r#"{"message": "still here"}"#).start::<Heartbeat>().unwrap();
        let point = collect(&mut run);
        assert_eq!(point.attributes.text("whimbrel.heartbeat.message"), Some("still here"));
    }

    #[test]
    fn mistakes_are_named() {
        let start = |host: Host| host.start::<Heartbeat>().map(|_| ()).unwrap_err().to_string();
        let error = start(Host::new().config(r#"{"mesage": "x"}"#));
        assert_eq!(error, "configuration: mesage: unknown field `mesage`, expected `message`");
        let error = start(Host::new().checkpoint(*b"short"));
        assert_eq!(error, "failed: a checkpoint of 5 bytes, not 16");
    }

    #[test]
    fn the_schema_knows_the_configuration() {
        let schema: serde_json::Value = serde_json::from_str(Heartbeat::PLUGIN.config_schema).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["message"]["type"], "string");
    }
}
