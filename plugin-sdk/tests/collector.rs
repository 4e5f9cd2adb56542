//! What a collector written with the SDK can rely on.

#![allow(clippy::unwrap_used, reason = "what a test relies on is true, or the test fails")]

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use whimbrel_sdk::log::Level;
use whimbrel_sdk::system::{Attribute, Entity, Figure};
use whimbrel_sdk::testing::{Host, Kind, Point, PointValue, Value};
use whimbrel_sdk::{
    Attributes, Collector, Context, Emit, Error, Histogram, HistogramPoint, LogRecord, Metric, More,
    NoConfig, Severity, Signal, Temporality, clock, secrets, system,
};

/// A collector made of a function, so that each test says what is collected.
struct Scripted;

type Script = fn(&mut Emit) -> Result<More, Error>;

thread_local! {
    static SCRIPT: Cell<Script> = const { Cell::new(|_| Ok(More::No)) };
}

impl Collector for Scripted {
    type Config = NoConfig;

    fn new(_context: Context<NoConfig>) -> Result<Self, Error> {
        Ok(Self)
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        SCRIPT.get()(out)
    }
}

/// Each collector in a module of its own: `collector!` stands once in a crate.
mod scripted {
    use super::Scripted;

    whimbrel_sdk::collector!(Scripted { name: "scripted", description: "Does what a test says." });
}

const GAUGE: Metric<'_> = Metric::gauge("test.gauge", "1", "A test.");

fn running(script: Script) -> whimbrel_sdk::testing::Running<Scripted> {
    SCRIPT.set(script);
    Host::new().start().unwrap()
}

#[test]
fn points_carry_scope_resource_and_the_time_of_the_collect() {
    let mut run = running(|out| {
        let series = Attributes::new().with("k", "v");
        out.metric(&GAUGE).point(&series, 1.5)?;
        out.resource(&Attributes::new().with("device", "a"));
        let mut counter = out.metric(&Metric::counter("test.count", "{thing}", "")).since(7);
        counter.point(&series, 3u64)?;
        counter.point_at(&Attributes::new(), 8, 9, -4i64)?;
        let latency =
            Histogram { name: "test.latency", unit: "s", description: "", temporality: Temporality::Delta };
        let point = HistogramPoint {
            count: 2,
            sum: Some(0.5),
            bounds: &[1.0],
            buckets: &[2, 0],
            ..Default::default()
        };
        out.histogram(&latency).point(&series, &point)?;
        Ok(More::No)
    });
    run.advance(Duration::from_secs(10));
    let pushes = run.collect().unwrap();
    assert_eq!(pushes.len(), 1);
    let points = pushes[0].points();
    let now = 1_767_225_610_000_000_000;
    assert_eq!(points.len(), 4);
    assert!(points.iter().all(|point| point.source.scope_name == "scripted"
        && point.source.scope_version == env!("CARGO_PKG_VERSION")));
    assert_eq!((points[0].start_ns, points[0].time_ns, &points[0].value), (0, now, &PointValue::Double(1.5)));
    assert!(points[0].source.resource.0.is_empty());
    assert_eq!(points[0].attributes.text("k"), Some("v"));
    assert_eq!(points[1].source.resource.text("device"), Some("a"));
    assert_eq!((points[1].start_ns, points[1].time_ns, &points[1].value), (7, now, &PointValue::Int(3)));
    let kind = Kind::Sum { temporality: Some(Temporality::Cumulative), monotonic: true };
    assert_eq!((points[1].metric.kind, points[1].metric.unit.as_str()), (kind, "{thing}"));
    assert_eq!((points[2].start_ns, points[2].time_ns, &points[2].value), (8, 9, &PointValue::Int(-4)));
    assert_eq!(points[3].metric.kind, Kind::Histogram { temporality: Some(Temporality::Delta) });
    assert_eq!(points[3].time_ns, now);
    // The next collect begins with the agent's own resource again.
    let pushes = run.collect().unwrap();
    assert!(pushes[0].points()[0].source.resource.0.is_empty());
}

#[test]
fn a_push_is_made_at_a_thousand_points_and_each_is_whole() {
    let mut run = running(|out| {
        out.resource(&Attributes::new().with("device", "a"));
        let mut points = out.metric(&GAUGE);
        for i in 0..2500i64 {
            points.point(&Attributes::new().with("i", i), i)?;
        }
        Ok(More::No)
    });
    let pushes = run.collect().unwrap();
    let points: Vec<Vec<Point>> = pushes.iter().map(whimbrel_sdk::testing::Push::points).collect();
    assert_eq!(points.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    for (i, point) in points.concat().iter().enumerate() {
        assert_eq!(point.value, PointValue::Int(i as i64));
        assert_eq!(point.metric.name, "test.gauge");
        assert_eq!(point.source.resource.text("device"), Some("a"));
        assert_eq!(point.source.scope_name, "scripted");
    }
}

#[test]
fn a_push_is_made_at_a_mebibyte() {
    let mut run = running(|out| {
        let long = "x".repeat(100_000);
        for _ in 0..25 {
            out.log(LogRecord {
                body: long.as_str().into(),
                severity: Severity::INFO,
                ..LogRecord::default()
            })?;
        }
        Ok(More::No)
    });
    let pushes = run.collect().unwrap();
    assert_eq!(pushes.len(), 3);
    assert!(pushes.iter().all(|push| push.bytes.len() < 1_200_000 && push.signal == Signal::Logs));
    let records = pushes[0].records();
    assert_eq!(records[0].observed_ns, 1_767_225_600_000_000_000);
    assert_eq!(records[0].severity, Severity::INFO);
}

#[test]
fn a_plugin_is_asked_again_while_it_has_more() {
    let mut run = running(|out| {
        out.metric(&GAUGE).point(&Attributes::new(), 1i64)?;
        Ok(if clock::random(1)[0].is_multiple_of(4) { More::No } else { More::Yes })
    });
    let pushes = run.collect().unwrap();
    assert!((2..100).contains(&pushes.len()), "{}", pushes.len());
}

#[test]
fn what_is_encoded_elsewhere_goes_out_in_order() {
    let mut run = running(|out| {
        out.metric(&GAUGE).point(&Attributes::new(), 1i64)?;
        out.otlp(Signal::Traces, vec![0x0a, 0x00])?;
        out.metric(&GAUGE).point(&Attributes::new(), 2i64)?;
        Ok(More::No)
    });
    let pushes = run.collect().unwrap();
    assert_eq!(
        pushes.iter().map(|push| push.signal).collect::<Vec<_>>(),
        [Signal::Metrics, Signal::Traces, Signal::Metrics]
    );
    assert_eq!(pushes[1].bytes, [0x0a, 0x00]);
}

#[test]
fn a_checkpoint_goes_with_the_last_of_its_data_or_alone() {
    let mut run = running(|out| {
        out.metric(&GAUGE).point(&Attributes::new(), 1i64)?;
        out.log(LogRecord { body: "line".into(), ..LogRecord::default() })?;
        out.checkpoint(*b"here")?;
        out.flush()?;
        assert_eq!(out.durable(), Some(&b"here"[..]));
        out.checkpoint(*b"there")?;
        Ok(More::No)
    });
    let pushes = run.collect().unwrap();
    assert_eq!(pushes.len(), 3);
    assert_eq!((pushes[0].signal, pushes[0].checkpoint.as_deref()), (Signal::Metrics, None));
    assert_eq!((pushes[1].signal, pushes[1].checkpoint.as_deref()), (Signal::Logs, Some(&b"here"[..])));
    assert_eq!((pushes[2].bytes.len(), pushes[2].checkpoint.as_deref()), (0, Some(&b"there"[..])));
    assert_eq!(run.checkpoint(), Some(&b"there"[..]));
}

#[test]
fn an_error_drops_what_was_not_pushed_and_keeps_what_was() {
    let mut run = running(|out| {
        out.metric(&GAUGE).point(&Attributes::new(), 1i64)?;
        out.flush()?;
        out.metric(&GAUGE).point(&Attributes::new(), 2i64)?;
        Err(Error::transient("the device is gone"))
    });
    assert_eq!(run.collect(), Err(Error::Transient("the device is gone".to_owned())));
    SCRIPT.set(|out| {
        out.metric(&GAUGE).point(&Attributes::new(), 3i64)?;
        Ok(More::No)
    });
    run.collect().unwrap();
    let values: Vec<PointValue> =
        run.pushes().iter().flat_map(|push| push.points()).map(|p| p.value).collect();
    assert_eq!(values, [PointValue::Int(1), PointValue::Int(3)]);
}

#[test]
fn after_a_refused_push_nothing_more_is_pushed_even_if_the_plugin_takes_no_notice() {
    let mut run = running(|out| {
        for i in 0..3i64 {
            out.metric(&GAUGE).point(&Attributes::new(), i)?;
            out.checkpoint([i as u8])?;
            let _ = out.flush();
        }
        Ok(More::No)
    });
    run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    assert_eq!(run.collect(), Err(Error::Unavailable("the WAL is full".to_owned())));
    assert_eq!(run.pushes(), []);
    assert_eq!(run.checkpoint(), None);
    // The next collect starts afresh.
    assert_eq!(run.collect().unwrap().len(), 3);
}

/// Follows a journal of numbers, one record each.
struct Follower {
    next: u64,
}

const JOURNAL: u64 = 20_000;

impl Collector for Follower {
    type Config = NoConfig;

    fn new(context: Context<NoConfig>) -> Result<Self, Error> {
        Ok(Self { next: position(context.checkpoint.as_deref()) })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        for _ in 0..1300 {
            if self.next == JOURNAL {
                return Ok(More::No);
            }
            out.log(LogRecord { body: whimbrel_sdk::Value::Int(self.next as i64), ..LogRecord::default() })?;
            self.next += 1;
            out.checkpoint(self.next.to_le_bytes())?;
        }
        Ok(More::Yes)
    }

    fn rewind(&mut self, durable: Option<&[u8]>, _cause: &Error) {
        self.next = position(durable);
    }
}

fn position(checkpoint: Option<&[u8]>) -> u64 {
    checkpoint.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

mod follower {
    use super::Follower;

    whimbrel_sdk::collector!(Follower { name: "follower", description: "Follows a journal." });
}

#[test]
fn a_follower_reads_every_line_once_through_refusals_and_restarts() {
    for seed in 0..20u64 {
        let mut run = Host::new().start::<Follower>().unwrap();
        let mut random = seed;
        let mut disturbed = 0;
        for _ in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match random >> 61 {
                0 => run.refuse_push(Error::Unavailable("full".to_owned())),
                1 => run.refuse_push(Error::Transient("busy".to_owned())),
                2 => run = run.restart().unwrap(),
                _ => {}
            }
            disturbed += u32::from(run.collect_once().is_err());
        }
        let lines: Vec<Value> =
            run.pushes().iter().flat_map(|push| push.records()).map(|record| record.body).collect();
        let expected: Vec<Value> = (0..JOURNAL as i64).map(Value::Int).collect();
        assert!(lines == expected, "seed {seed}: {} lines", lines.len());
        assert!(disturbed > 0, "seed {seed}");
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    filter: Filter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    exclude: Vec<String>,
}

#[derive(Debug)]
struct Configured {
    settings: Settings,
}

impl Collector for Configured {
    type Config = Settings;

    fn new(context: Context<Settings>) -> Result<Self, Error> {
        assert_eq!(context.instance, "disks");
        assert_eq!(context.interval, Duration::from_secs(60));
        Ok(Self { settings: context.config })
    }

    fn collect(&mut self, _out: &mut Emit) -> Result<More, Error> {
        whimbrel_sdk::warn!("{} excluded", self.settings.filter.exclude.len(); "first" => self.settings.filter.exclude[0]);
        whimbrel_sdk::debug!("plain");
        Ok(More::No)
    }

    fn shutdown(self) {
        whimbrel_sdk::info!("bye");
    }
}

mod configured {
    use super::Configured;

    whimbrel_sdk::collector!(Configured {
        name: "configured",
        description: "Has a \"configuration\".",
        config_schema: "{}",
    });
}

#[test]
fn configuration_arrives_as_the_plugins_own_type_and_mistakes_name_their_key() {
    let start = |config: &str| {
        let host = Host::new().instance("disks").interval(Duration::from_secs(60)).config(config);
        host.start::<Configured>()
    };
    let error = |config: &str| start(config).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        error(r#"{"filter": {"exclude": ["loop*", 3]}}"#),
        "configuration: filter.exclude[1]: invalid type: integer `3`, expected a string"
    );
    assert_eq!(
        error(r#"{"filter": {"exlude": []}}"#),
        "configuration: filter.exlude: unknown field `exlude`, expected `exclude`"
    );
    assert!(matches!(start("{").map(|_| ()), Err(Error::Config(_))));

    let mut run = start(r#"{"filter": {"exclude": ["loop*"]}}"#).unwrap();
    run.collect().unwrap();
    let line = &run.lines()[0];
    assert_eq!((line.level, line.message.as_str()), (Level::Warn, "1 excluded"));
    assert_eq!(line.fields, [("first".to_owned(), "loop*".to_owned())]);
    assert_eq!(run.lines()[1].level, Level::Debug);
    assert_eq!(run.shutdown().lines().last().unwrap().message, "bye");
}

#[test]
fn no_config_refuses_keys() {
    let error = Host::new().config(r#"{"a": 1}"#).start::<Scripted>().map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Config(message) if message.contains("`a`")), "{error}");
}

#[test]
fn figures_and_secrets_are_there_when_granted() {
    let disk = Entity {
        resource: Vec::new(),
        figures: vec![Figure {
            name: "system.disk.io".to_owned(),
            attributes: vec![Attribute::text("system.device", "sda"), Attribute::int("n", 2)],
            start_ns: 5,
            value: 1.0,
        }],
    };
    SCRIPT.set(|out| {
        for figure in system::snapshot("disk")?.iter().flat_map(|entity| &entity.figures) {
            let metric = Metric::counter(&figure.name, "By", "");
            out.metric(&metric)
                .since(figure.start_ns)
                .point(&system::encode(&figure.attributes), figure.value)?;
        }
        assert_eq!(secrets::reveal("token")?, "s3cret");
        assert!(system::snapshot("cpu").unwrap_err().is_denied());
        system::snapshot_with("disk", &[("include", "sd*"), ("include", "vd*")])?;
        assert!(matches!(system::snapshot("moon"), Err(Error::Invalid(_))));
        assert!(secrets::reveal("other").unwrap_err().is_denied());
        Ok(More::No)
    });
    let host = Host::new().snapshot("disk", vec![disk]).secret("token", "s3cret");
    let host = host.no_snapshot("moon", Error::Invalid("there is no part moon".to_owned()));
    let mut run = host.start::<Scripted>().unwrap();
    let points = run.collect().unwrap()[0].points();
    assert_eq!(points[0].attributes.text("system.device"), Some("sda"));
    assert_eq!(points[0].attributes.get("n"), Some(&Value::Int(2)));
    assert_eq!(points[0].start_ns, 5);
    let pair = |value: &str| ("include".to_owned(), value.to_owned());
    assert_eq!(run.selected("disk"), Some(&[pair("sd*"), pair("vd*")][..]), "the last selection");
    assert_eq!(run.selected("cpu"), Some(&[][..]));
    assert_eq!(run.selected("memory"), None, "never asked for");
}

#[test]
fn the_deadline_is_seen_from_within() {
    let mut run = running(|out| {
        assert_eq!(out.remaining(), Duration::from_secs(5));
        Ok(More::No)
    });
    run.collect().unwrap();
    run.change(|host| host.deadline(Duration::from_millis(1)));
    SCRIPT.set(|out| {
        assert_eq!(out.remaining(), Duration::from_millis(1));
        Ok(More::No)
    });
    run.collect().unwrap();
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let readme = include_str!("../README.md");
    let example = include_str!("../examples/headroom.rs");
    assert!(readme.contains(&format!("```rust\n{example}```")), "copy examples/headroom.rs into README.md");
}
