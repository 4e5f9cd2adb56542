//! The collector over a made-up host: what it emits, down to the byte, and what it does when something is missing.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::{collections::BTreeMap, fs, time::Duration};

use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use serde_json::Value as Json;
use support::{at, config, decode, golden, points, second, snapshots, start, texts, value, values};
use whimbrel_collector_host::{Host as Collector, table};
use whimbrel_sdk::{
    Error,
    log::Level,
    system::{Attribute, Entity, Figure},
    testing::Host,
};

/// Compared with the component's output by the whole agent's tests. `WHIMBREL_GOLDEN=write` writes it anew.
#[test]
fn the_output_is_the_golden_one_to_the_byte() {
    let mut running = start(&config());
    for collect in 0..2 {
        running.change(|host| at(host, collect, |_| true));
        let pushes = running.collect().unwrap();
        assert_eq!(pushes.len(), 1, "one request a collect");
        let path = golden(&format!("collect-{collect}.otlp"));
        if std::env::var_os("WHIMBREL_GOLDEN").is_some_and(|what| what == "write") {
            fs::write(&path, &pushes[0].bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == pushes[0].bytes, "{} differs", path.display());
    }
}

#[test]
fn every_figure_of_the_conventions_is_told_with_its_unit_and_kind() {
    let told = second(&mut start(&config()));
    let expected: Vec<_> = table::TABLE
        .iter()
        .flat_map(|entry| {
            let kind = match entry.metric.data {
                whimbrel_sdk::Data::Gauge => "gauge",
                _ if entry.is_counter() => "counter",
                _ => "updown",
            };
            let share = entry.share.map(|share| (share.metric.name, share.metric.unit, "gauge"));
            [Some((entry.metric.name, entry.metric.unit, kind)), share]
        })
        .flatten()
        .collect();
    let mut found: Vec<_> =
        told.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str(), metric.kind)).collect();
    found.sort_unstable();
    found.dedup();
    let mut wanted = expected.clone();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "each, and none besides");
    let host: Vec<_> =
        told.iter().filter(|metric| metric.resource.is_empty()).map(|metric| &metric.name).collect();
    assert_eq!(host.iter().collect::<std::collections::BTreeSet<_>>().len(), host.len(), "each once");
    assert!(told.iter().all(|metric| !metric.points.is_empty() && !metric.description.is_empty()));

    for metric in &told {
        let entry = table::find(&metric.name).map(|place| table::TABLE[place]);
        for point in &metric.points {
            let whole = matches!(point.value.unwrap(), number_data_point::Value::AsInt(_));
            let int = entry.is_some_and(|entry| entry.number == table::Number::Int);
            assert_eq!(whole, int, "{}", metric.name);
            assert_eq!(point.time_unix_nano, 1_767_225_610_000_000_000);
            assert_eq!(point.start_time_unix_nano > 0, metric.kind == "counter", "{}", metric.name);
        }
    }
}

#[test]
fn names_are_ordered_so_that_they_are_found() {
    for (place, entry) in table::TABLE.iter().enumerate() {
        assert_eq!(table::find(entry.metric.name), Some(place));
    }
    assert_eq!(table::find("system.cpu"), None);
}

#[test]
fn shares_add_up_and_those_of_time_need_two_collects() {
    let mut running = start("{}");
    let first = decode(&running.collect().unwrap());
    assert!(!first.iter().any(|metric| metric.name == "system.cpu.utilization"));
    assert_eq!(values(&first, "system.memory.utilization").values().sum::<f64>(), 1.0);

    running.change(|host| at(host, 1, |_| true));
    let told = decode(&running.collect().unwrap());
    let shares = values(&told, "system.cpu.utilization");
    // 4 + 1 + 14.5 + 0.25 + 0.25 s of two CPUs in 10 s.
    assert_eq!(shares[&vec!["user".to_owned()]], 0.2);
    assert_eq!(shares[&vec!["idle".to_owned()]], 0.725);
    assert_eq!(shares.values().sum::<f64>(), 1.0);
    let rooms = values(&told, "system.filesystem.utilization");
    assert_eq!(rooms.len(), 6);
    assert_eq!(rooms.values().sum::<f64>(), 2.0, "of each file system by itself");
    let swap = values(&told, "system.paging.utilization");
    assert_eq!(swap[&vec!["used".to_owned(), "/dev/sda2".to_owned()]], 0.25);
}

#[test]
fn a_counter_that_began_anew_has_no_share_that_time() {
    let mut running = start("{}");
    running.collect().unwrap();
    running.change(|host| {
        let (now_ns, mut parts) = snapshots(1);
        let mut cpu = parts.remove("cpu").unwrap();
        cpu[0].figures[0].value = 1.0;
        at(host, 1, |_| true).now_ns(now_ns).snapshot("cpu", cpu)
    });
    let told = decode(&running.collect().unwrap());
    assert!(values(&told, "system.cpu.utilization").is_empty());
    assert_eq!(values(&told, "system.cpu.time")[&vec!["user".to_owned()]], 1.0);
}

#[test]
fn times_of_each_cpu_stand_for_those_of_all() {
    let told = second(&mut start(r#"{"per_cpu": true}"#));
    let times = values(&told, "system.cpu.time");
    assert_eq!(times.len(), 4);
    assert_eq!(times[&vec!["user".to_owned(), "1".to_owned()]], 502.0);
    let shares = values(&told, "system.cpu.utilization");
    assert_eq!(shares[&vec!["user".to_owned(), "0".to_owned()]], 0.2, "of that CPU");
    assert_eq!(shares.values().sum::<f64>(), 2.0);
}

#[test]
fn deltas_begin_with_the_second_collect_and_devices_that_came_between() {
    let mut running = start(r#"{"temporality": "delta"}"#);
    let first = decode(&running.collect().unwrap());
    assert!(first.iter().all(|metric| metric.kind != "delta" && metric.kind != "counter"));
    running.change(|host| at(host, 1, |_| true));
    let told = decode(&running.collect().unwrap());
    assert!(told.iter().all(|metric| metric.kind != "counter"));
    let created = points(&told, "system.process.created").remove(&Vec::new()).unwrap();
    assert_eq!(value(&created), 3.0);
    assert_eq!(created.start_time_unix_nano, 1_767_225_600_000_000_000);
    let io = points(&told, "system.disk.io");
    assert_eq!(value(&io[&vec!["sda".to_owned(), "write".to_owned()]]), 2048.0);
    // sdb came after the first collect: all it counted is new.
    let new = &io[&vec!["sdb".to_owned(), "read".to_owned()]];
    assert_eq!((value(new), new.start_time_unix_nano), (4_177_921.0, 1_767_225_600_005_000_000));
}

#[test]
fn what_counted_before_the_collector_saw_it_is_no_delta() {
    let mut running = start(r#"{"temporality": "delta"}"#);
    running.change(|host| host.snapshot("disk", Vec::new()));
    running.collect().unwrap();
    running.change(|host| at(host, 1, |_| true));
    let io = values(&decode(&running.collect().unwrap()), "system.disk.io");
    // sda has counted since boot, and this collector sees it for the first time.
    assert_eq!(io.keys().map(|key| key[0].as_str()).collect::<Vec<_>>(), ["sdb", "sdb"]);
}

#[test]
fn a_refused_push_leaves_its_deltas_to_the_next() {
    let mut running = start(r#"{"temporality": "delta"}"#);
    running.collect().unwrap();
    running.change(|host| at(host, 1, |_| true));
    running.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    assert!(running.collect().is_err());
    running.advance(Duration::from_secs(10));
    let told = decode(&running.collect().unwrap());
    let created = points(&told, "system.process.created").remove(&Vec::new()).unwrap();
    assert_eq!(value(&created), 3.0);
    assert_eq!(created.start_time_unix_nano, 1_767_225_600_000_000_000, "since the last durable point");
    running.advance(Duration::from_secs(10));
    let told = decode(&running.collect().unwrap());
    assert_eq!(values(&told, "system.process.created")[&Vec::new()], 0.0);
}

/// The SDK pushes by itself at 1000 points. What is remembered as pushed would differ from what was, if a later
/// push were refused; so none may come about that way, however many counters there are.
#[test]
fn deltas_are_pushed_only_when_it_is_remembered_and_none_is_lost_or_told_twice() {
    let disks = |count: f64| {
        let figure = |number: usize| Figure {
            name: "system.disk.io".to_owned(),
            attributes: vec![
                Attribute::text("system.device", format!("sd{number}")),
                Attribute::text("disk.io.direction", "read"),
            ],
            start_ns: 1,
            value: count,
        };
        vec![Entity { resource: Vec::new(), figures: (0..1700).map(figure).collect() }]
    };
    let host = at(Host::new().config(r#"{"temporality": "delta"}"#), 0, |part| part != "disk");
    let mut running = host.snapshot("disk", disks(1.0)).start::<Collector>().unwrap();
    running.collect().unwrap();
    let before = running.pushes().len();
    for (count, refuse) in [(7.0, true), (8.0, false), (9.0, true), (9.0, false), (10.0, false)] {
        running.change(|host| host.snapshot("disk", disks(count)));
        running.advance(Duration::from_secs(10));
        if refuse {
            running.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
        }
        assert_eq!(running.collect().is_err(), refuse);
    }
    let pushes = &running.pushes()[before..];
    let mut sums: BTreeMap<Vec<String>, f64> = BTreeMap::new();
    for push in pushes {
        let told = decode(std::slice::from_ref(push));
        let count: usize = told.iter().map(|metric| metric.points.len()).sum();
        assert!(count <= 500, "{count} points in a push");
        for point in told.iter().filter(|told| told.name == "system.disk.io").flat_map(|told| &told.points) {
            *sums.entry(texts(&point.attributes)).or_default() += value(point);
        }
    }
    assert_eq!(sums.len(), 1700);
    assert!(sums.values().all(|sum| *sum == 9.0), "from 1 to 10");
}

#[test]
fn what_is_not_granted_is_left_out_and_said_once() {
    let host = at(Host::new(), 0, |part| matches!(part, "cpu" | "host"));
    let mut running = host.start::<Collector>().unwrap();
    for _ in 0..3 {
        let told = decode(&running.collect().unwrap());
        assert!(told.iter().any(|metric| metric.name == "system.uptime"));
        assert!(!told.iter().any(|metric| metric.name.starts_with("system.memory")));
    }
    let said: Vec<_> = running.lines().iter().map(|line| (line.level, line.message.as_str())).collect();
    let left_out =
        "not granted, and left out: memory, paging, pressure, disk, filesystem, network, process, sensors";
    assert_eq!(said, [(Level::Info, left_out)]);
}

#[test]
fn with_nothing_granted_the_operator_is_told_what_to_write() {
    let mut running = Host::new().start::<Collector>().unwrap();
    for _ in 0..2 {
        let error = running.collect().unwrap_err();
        assert!(error.is_denied() && error.to_string().contains("grants: {system: true}"), "{error}");
    }
    assert_eq!(running.lines(), [], "the error says it all");
}

#[test]
fn a_figure_of_a_later_agent_is_passed_over() {
    let mut parts = snapshots(0).1;
    let mut host = parts.remove("host").unwrap();
    host[0].figures.insert(
        1,
        Figure { name: "system.moon.phase".to_owned(), attributes: Vec::new(), start_ns: 0, value: 0.5 },
    );
    let mut running = Host::new().snapshot("host", host).start::<Collector>().unwrap();
    for _ in 0..2 {
        let told = decode(&running.collect().unwrap());
        assert_eq!(told.len(), 6, "the rest of the part");
    }
    let said = running.lines().iter().filter(|line| line.message.contains("system.moon.phase"));
    assert_eq!(said.count(), 1);
}

#[test]
fn a_misspelled_key_is_refused() {
    for config in [r#"{"temporalty": "delta"}"#, r#"{"temporality": "sometimes"}"#, r#"{"per_cpu": 1}"#] {
        let error = Host::new().config(config).start::<Collector>().unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{config}: {error}");
    }
}

#[test]
fn the_schema_is_json_and_knows_the_keys() {
    use whimbrel_sdk::Described;
    let schema: Json = serde_json::from_str(Collector::PLUGIN.config_schema).unwrap();
    let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "disk",
            "filesystem",
            "metrics",
            "names",
            "network",
            "per_cpu",
            "processes",
            "services",
            "temporality"
        ]
    );
}
