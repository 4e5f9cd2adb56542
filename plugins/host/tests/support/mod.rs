//! The made-up host of the tests, and what the collector told of it.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "the helpers of tests are tests, too, and each uses its own"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value},
    metrics::v1::{NumberDataPoint, metric, number_data_point},
};
use prost::Message;
use serde_json::Value as Json;
use whimbrel_collector_host::Host as Collector;
use whimbrel_sdk::{
    system::{Attribute, Entity, Figure},
    testing::{Host, Push, Running},
};

pub(crate) fn beside(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub(crate) fn golden(file: &str) -> PathBuf {
    beside("tests/golden").join(file)
}

fn made_up() -> Json {
    serde_json::from_slice(&fs::read(golden("host.json")).unwrap()).unwrap()
}

/// The configuration that the golden bytes are made with: with processes and services.
pub(crate) fn config() -> String {
    made_up()["config"].to_string()
}

/// [`config`] with one more key.
pub(crate) fn config_with(key: &str, value: impl Into<Json>) -> String {
    let mut config = made_up()["config"].clone();
    config[key] = value.into();
    config.to_string()
}

/// The made-up host, at its first or second collect.
pub(crate) fn snapshots(collect: usize) -> (u64, BTreeMap<String, Vec<Entity>>) {
    let json = &made_up()["collects"][collect];
    let parts = json["parts"].as_object().unwrap();
    let parts = parts.iter().map(|(part, told)| (part.clone(), entities(told.as_array().unwrap())));
    (json["now_ns"].as_u64().unwrap(), parts.collect())
}

fn entities(told: &[Json]) -> Vec<Entity> {
    if told.iter().all(Json::is_array) {
        return vec![Entity { resource: Vec::new(), figures: told.iter().map(figure).collect() }];
    }
    let entity = |entity: &Json| Entity {
        resource: entity["resource"].as_array().unwrap().iter().map(attribute).collect(),
        figures: entity["figures"].as_array().unwrap().iter().map(figure).collect(),
    };
    told.iter().map(entity).collect()
}

fn figure(figure: &Json) -> Figure {
    Figure {
        name: figure[0].as_str().unwrap().to_owned(),
        attributes: figure[1].as_array().unwrap().iter().map(attribute).collect(),
        start_ns: figure[2].as_u64().unwrap(),
        value: figure[3].as_f64().unwrap(),
    }
}

fn attribute(pair: &Json) -> Attribute {
    let key = pair[0].as_str().unwrap();
    pair[1]
        .as_str()
        .map_or_else(|| Attribute::int(key, pair[1].as_i64().unwrap()), |text| Attribute::text(key, text))
}

pub(crate) fn at(host: Host, collect: usize, granted: impl Fn(&str) -> bool) -> Host {
    let (now_ns, parts) = snapshots(collect);
    let granted = parts.into_iter().filter(|(part, _)| granted(part));
    granted.fold(host.now_ns(now_ns), |host, (part, entities)| host.snapshot(part, entities))
}

pub(crate) fn start(config: &str) -> Running<Collector> {
    at(Host::new().config(config), 0, |_| true).start().unwrap()
}

/// A metric as it was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// Of the process; empty for the host's.
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) description: String,
    /// `gauge`, `counter`, `delta` or `updown`.
    pub(crate) kind: &'static str,
    pub(crate) points: Vec<NumberDataPoint>,
}

pub(crate) fn decode(pushes: &[Push]) -> Vec<Told> {
    pushes
        .iter()
        .flat_map(|push| told(ExportMetricsServiceRequest::decode(&push.bytes[..]).unwrap()))
        .collect()
}

fn told(request: ExportMetricsServiceRequest) -> Vec<Told> {
    let mut all = Vec::new();
    for group in request.resource_metrics {
        let resource = group.resource.map(|resource| resource.attributes).unwrap_or_default();
        for scope in group.scope_metrics {
            assert_eq!(scope.scope.unwrap().name, "host");
            for metric in scope.metrics {
                let (kind, points) = match metric.data.unwrap() {
                    metric::Data::Gauge(gauge) => ("gauge", gauge.data_points),
                    metric::Data::Sum(sum) => {
                        let kind = match (sum.is_monotonic, sum.aggregation_temporality) {
                            (true, 2) => "counter",
                            (true, 1) => "delta",
                            (false, 2) => "updown",
                            other => panic!("{other:?}"),
                        };
                        (kind, sum.data_points)
                    }
                    other => panic!("{other:?}"),
                };
                let (name, unit, description) = (metric.name, metric.unit, metric.description);
                all.push(Told { resource: resource.clone(), name, unit, description, kind, points });
            }
        }
    }
    all
}

pub(crate) fn texts(attributes: &[KeyValue]) -> Vec<String> {
    attributes.iter().map(text).collect()
}

pub(crate) fn text(attribute: &KeyValue) -> String {
    match attribute.value.clone().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn value(point: &NumberDataPoint) -> f64 {
    match point.value.unwrap() {
        number_data_point::Value::AsInt(number) => number as f64,
        number_data_point::Value::AsDouble(number) => number,
    }
}

/// By attribute values.
pub(crate) fn points(told: &[Told], name: &str) -> BTreeMap<Vec<String>, NumberDataPoint> {
    let of =
        told.iter().filter(|metric| metric.name == name).flat_map(|metric| metric.points.iter().cloned());
    of.map(|point| (texts(&point.attributes), point)).collect()
}

pub(crate) fn values(told: &[Told], name: &str) -> BTreeMap<Vec<String>, f64> {
    points(told, name).into_iter().map(|(key, point)| (key, value(&point))).collect()
}

/// What the process of this number told.
pub(crate) fn of_process(told: &[Told], pid: &str) -> Vec<Told> {
    let is = |told: &&Told| told.resource.iter().any(|pair| pair.key == "process.pid" && text(pair) == pid);
    told.iter().filter(is).cloned().collect()
}

pub(crate) fn second(running: &mut Running<Collector>) -> Vec<Told> {
    running.collect().unwrap();
    running.change(|host| at(host, 1, |_| true));
    decode(&running.collect().unwrap())
}

/// A row of an extract: name, instrument, unit, number, attributes with the values that are settled.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) instrument: String,
    pub(crate) unit: String,
    pub(crate) number: String,
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
    /// Further columns, between name and instrument.
    pub(crate) more: Vec<String>,
}

/// An extract of somebody's metadata, without its first line, which says of what.
pub(crate) fn extract(file: &str, further: usize) -> BTreeMap<String, Row> {
    let text = fs::read_to_string(beside("tests").join(file)).unwrap();
    let (about, rows) = text.split_once('\n').unwrap();
    assert!(about.starts_with("# ") && about.contains(" v"), "{about}");
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let attributes = cells[4 + further].split_whitespace().map(|attribute| {
            let (key, values) = attribute.split_once('=').unwrap_or((attribute, ""));
            (key.to_owned(), values.split('|').filter(|value| !value.is_empty()).map(str::to_owned).collect())
        });
        let row = Row {
            name: cells[0].clone(),
            more: cells[1..1 + further].to_vec(),
            instrument: cells[1 + further].clone(),
            unit: cells[2 + further].clone(),
            number: cells[3 + further].clone(),
            attributes: attributes.collect(),
        };
        (row.name.clone(), row)
    };
    let rows: BTreeMap<_, _> = rows.lines().map(row).collect();
    assert!(rows.len() > 50, "{file} has {} rows", rows.len());
    rows
}

/// What differs between a metric as it was told and as the row has it. `open`: keys whose values are not settled.
pub(crate) fn differences(told: &Told, row: &Row, open: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, told: &str, expected: &str| {
        if told != expected {
            found.push(format!("{}: {what} is {told}, and should be {expected}", row.name));
        }
    };
    check("unit", &told.unit, &row.unit);
    check("kind", told.kind, if row.instrument == "updowncounter" { "updown" } else { &row.instrument });
    for point in &told.points {
        let int = matches!(point.value.unwrap(), number_data_point::Value::AsInt(_));
        check("number", if int { "int" } else { "double" }, &row.number);
    }
    for pair in told.points.iter().flat_map(|point| &point.attributes) {
        match row.attributes.get(&pair.key) {
            None => found.push(format!("{}: no attribute {}", row.name, pair.key)),
            Some(values) if values.is_empty() || open.contains(&pair.key.as_str()) => {}
            Some(values) if values.contains(&text(pair)) => {}
            Some(values) => {
                found.push(format!("{}: {} {} is none of {values:?}", row.name, pair.key, text(pair)))
            }
        }
    }
    found
}
