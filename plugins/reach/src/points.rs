//! Many points of one metric, for benches of the way from a guest to the WAL: as the SDK encodes them, and as the
//! contract's typed batch.

use whimbrel_sdk::{
    Attributes, Emit, Error, Metric,
    bindings::whimbrel::plugin::{
        emit,
        types::{Attribute, Batch, Data, Metric as TypedMetric, Number, Point, ResourceMetrics, Value},
    },
    clock,
};

const LOAD: Metric<'_> = Metric::gauge("bench.load", "1", "Points of a bench.");

/// The series of a bench, made once, as a collector makes those that it knows.
#[derive(Debug, Default)]
pub(crate) struct Series {
    encoded: Vec<Attributes>,
    plain: Vec<Vec<(String, String)>>,
}

impl Series {
    /// So many, with so many attributes each.
    pub(crate) fn new(points: usize, attributes: usize) -> Self {
        let of = |point| (0..attributes).map(|key| (key_of(key), value_of(point))).collect();
        let plain: Vec<Vec<_>> = (0..points).map(of).collect();
        let encoded = |pairs: &Vec<(String, String)>| pairs.iter().map(|(key, value)| (key, value)).collect();
        Self { encoded: plain.iter().map(encoded).collect(), plain }
    }

    /// A point of each, through the SDK.
    pub(crate) fn emit(&self, out: &mut Emit) -> Result<(), Error> {
        let mut points = out.metric(&LOAD);
        for (n, series) in self.encoded.iter().enumerate() {
            points.point(series, n as f64)?;
        }
        out.flush()
    }

    /// The same as a typed batch, which owns its texts.
    pub(crate) fn push_typed(&self) -> Result<(), String> {
        let time_ns = clock::now_ns();
        let attribute = |(key, value): &(String, String)| Attribute {
            key: key.clone(),
            value: Value::Text(value.clone()),
        };
        let point = |(n, pairs): (usize, &Vec<(String, String)>)| Point {
            attributes: pairs.iter().map(attribute).collect(),
            start_ns: 0,
            time_ns,
            value: Number::Double(n as f64),
        };
        let metric = TypedMetric {
            name: LOAD.name.to_owned(),
            unit: LOAD.unit.to_owned(),
            description: LOAD.description.to_owned(),
            data: Data::Gauge(self.plain.iter().enumerate().map(point).collect()),
        };
        let batch = Batch::Metrics(vec![ResourceMetrics {
            resource: Vec::new(),
            scope: None,
            metrics: vec![metric],
        }]);
        emit::push(&batch, None).map_err(|error| format!("{error:?}"))
    }
}

fn key_of(key: usize) -> String {
    format!("key.{key}")
}

fn value_of(point: usize) -> String {
    format!("value-{}", point % 10)
}
