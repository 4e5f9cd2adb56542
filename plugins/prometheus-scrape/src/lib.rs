//! Reads what exporters for Prometheus show, in its text format or OpenMetrics, and hands it on as OTLP.
//!
//! Text becomes OTLP in `whimbrel-prometheus-text`, by the OpenTelemetry specification "Prometheus and OpenMetrics
//! Compatibility". Here is what lies around it: the requests, several at a time, their bounds, the resource of each
//! target, the figures of each scrape, which series are gone from it, and since when each counts, which is kept over
//! restarts.
//!
//! A target that fails is told by `up`, and spoils no other: of a text with a mistake nothing is handed on.

mod before;
mod config;
mod memory;
mod target;

use std::time::Duration;

use whimbrel_prometheus_text::Request;
use whimbrel_sdk::http::{Outcome, all};
use whimbrel_sdk::{
    Attributes, Collector, Context, Emit, Error, Metric, More, Signal, clock, collector, warn,
};

use before::Room;
pub use config::{Config, Filter, Target};
use memory::Memory;
use target::Prepared;

/// What is kept of a collect's time for telling what was found.
const MARGIN: Duration = Duration::from_millis(200);

const UP: Metric<'_> = Metric::gauge("up", "", "The scraping was successful");
const DURATION: Metric<'_> = Metric::gauge("scrape_duration_seconds", "s", "Duration of the scrape");
const SAMPLES: Metric<'_> =
    Metric::gauge("scrape_samples_scraped", "", "The number of samples the target exposed");
const KEPT: Metric<'_> = Metric::gauge(
    "scrape_samples_post_metric_relabeling",
    "",
    "The number of samples remaining after metric relabeling was applied",
);

/// The collector.
#[derive(Debug)]
pub struct Scrape {
    config: Config,
    targets: Vec<Prepared>,
    memory: Memory,
    /// For the last scrapes of all targets.
    room: Room,
}

/// What is told of each scrape.
struct Scraped {
    took: Duration,
    up: bool,
    samples: usize,
    kept: usize,
}

impl Collector for Scrape {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let config = context.config;
        let urls = config.check()?.into_iter().enumerate();
        let targets = urls.map(|(index, url)| Prepared::new(&config, index, &url, &context.instance));
        let mut targets = targets.collect::<Result<Vec<_>, _>>()?;
        for (index, target) in targets.iter().enumerate() {
            if let Some(first) = targets[..index].iter().position(|first| first.is_alike(target)) {
                return Err(Error::config(format!(
                    "targets[{index}]: nothing would tell its metrics from those of targets[{first}]: \
                     give one of them a label of its own, such as labels: {{probe: b}}"
                )));
            }
        }
        if let Some(checkpoint) = &context.checkpoint {
            match memory::read(checkpoint) {
                None => {
                    warn!("the checkpoint is not mine: all series begin anew"; "bytes" => checkpoint.len())
                }
                Some(mut kept) => {
                    for target in &mut targets {
                        target.starts = kept.remove(&memory::hash(target.url.as_bytes())).unwrap_or_default();
                    }
                }
            }
        }
        Ok(Self { config, targets, memory: Memory::default(), room: Room::default() })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let time = out.remaining().saturating_sub(MARGIN);
        let end_ns = clock::monotonic_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let left = || Duration::from_nanos(end_ns.saturating_sub(clock::monotonic_ns()));
        let mut scraped: Vec<Option<Scraped>> = Vec::new();
        scraped.resize_with(self.targets.len(), || None);
        // Nothing of the targets is held while they are asked: requests are made when their turn comes.
        let requests: Vec<_> = self.targets.iter().map(|target| target.request()).collect();
        let timeouts: Vec<_> = self.targets.iter().map(|target| target.timeout).collect();
        let requests =
            requests.into_iter().zip(timeouts).map(|(request, timeout)| request.timeout(timeout.min(left())));
        let mut refused = Ok(());
        all(requests, self.config.at_once, |index, outcome| {
            let target = &mut self.targets[index];
            let (one, pushed) = take(target, &self.config, &mut self.room, outcome, out);
            scraped[index] = Some(one);
            if refused.is_ok() {
                refused = pushed;
            }
        });
        refused?;
        self.tell(out, &scraped)?;
        let kept = self.targets.iter().map(|target| (target.url.as_str(), &target.starts));
        if let Some(checkpoint) = self.memory.checkpoint(kept) {
            out.checkpoint(checkpoint)?;
        }
        Ok(More::No)
    }

    fn rewind(&mut self, _durable: Option<&[u8]>, _cause: &Error) {
        self.memory.forget();
    }
}

/// Reads an answer, and pushes what it says, and what it says no more.
fn take(
    target: &mut Prepared,
    config: &Config,
    room: &mut Room,
    outcome: Outcome,
    out: &mut Emit,
) -> (Scraped, Result<(), Error>) {
    let Outcome { result, took, .. } = outcome;
    let began_ns = clock::now_ns().saturating_sub(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    let result =
        result.map_err(|error| error.to_string()).and_then(|answer| target.read(config, answer, began_ns));
    target.say(result.as_ref().map(|(converted, _)| converted));
    let mut push = |requests: Vec<Request>| {
        requests.into_iter().try_for_each(|request| out.otlp(Signal::Metrics, request.bytes))
    };
    let (scraped, now, pushed) = match result {
        Ok((converted, now)) => {
            let kept = converted.samples.saturating_sub(converted.dropped.unwanted);
            let scraped = Scraped { took, up: true, samples: converted.samples, kept };
            (scraped, now, push(converted.requests))
        }
        Err(_) => (Scraped { took, up: false, samples: 0, kept: 0 }, None, Ok(())),
    };
    let pushed =
        pushed.and_then(|()| push(target.gone(config, now.as_ref().map(|now| &now.series), began_ns)));
    // What could not be pushed as gone is still to be told: then the next scrape is compared with the same.
    if pushed.is_ok() && !room.replace(&mut target.before, now) && !std::mem::replace(&mut room.told, true) {
        warn!(
            "too much to remember which series there were: when some of this target go, it is not told";
            "url" => target.url, "most" => before::MOST
        );
    }
    (scraped, pushed)
}

impl Scrape {
    /// What Prometheus itself tells of each scrape.
    fn tell(&self, out: &mut Emit, scraped: &[Option<Scraped>]) -> Result<(), Error> {
        let none = Attributes::new();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (target, scraped) in self.targets.iter().zip(scraped) {
            let Some(scraped) = scraped else { continue };
            out.resource(&target.resource());
            out.metric(&UP).point(&none, i64::from(scraped.up))?;
            out.metric(&DURATION).point(&none, scraped.took.as_secs_f64())?;
            out.metric(&SAMPLES).point(&none, count(scraped.samples))?;
            out.metric(&KEPT).point(&none, count(scraped.kept))?;
        }
        Ok(())
    }
}

collector!(Scrape {
    name: "prometheus-scrape",
    description: "Reads what exporters for Prometheus show, in its text format or OpenMetrics.",
    config_schema: include_str!("../config.schema.json"),
});
