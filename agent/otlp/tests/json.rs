//! OTLP/JSON: what is written is read back by the types of opentelemetry-proto as the same request, whatever the
//! request; and no input does harm.

mod oracle;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use oracle::Random;
use prost::Message;
use serde_json::Value;
use whimbrel_otlp::{Signal, to_json, to_json_within, walk};

fn json(signal: Signal, request: &[u8]) -> Value {
    let text = to_json(signal, request).expect("it is OTLP");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// As the oracle writes it: with defaults, and null for infinities.
fn by_the_oracle(signal: Signal, request: &[u8]) -> Value {
    match signal {
        Signal::Metrics => {
            serde_json::to_value(ExportMetricsServiceRequest::decode(request).expect("it decodes"))
        }
        Signal::Logs => serde_json::to_value(ExportLogsServiceRequest::decode(request).expect("it decodes")),
        Signal::Traces => {
            serde_json::to_value(ExportTraceServiceRequest::decode(request).expect("it decodes"))
        }
    }
    .expect("the oracle writes it")
}

/// Holds all that is in `mine` against the oracle's, and lets `mine` leave out only what is default.
fn hold(mine: &Value, oracle: &Value, path: &str) {
    match (mine, oracle) {
        (Value::Object(mine), Value::Object(oracle)) => {
            for (key, value) in mine {
                let other = oracle.get(key).unwrap_or_else(|| panic!("{path}.{key}: the oracle has none"));
                hold(value, other, &format!("{path}.{key}"));
            }
            for (key, value) in oracle.iter().filter(|(key, _)| !mine.contains_key(*key)) {
                assert!(is_default(value), "{path}.{key} is left out, and is {value}");
                // What says that it was written must not be left out, default or not.
                let says = ["asInt", "asDouble", "min", "max", "value"].contains(&key.as_str())
                    || key.ends_with("Value") && key.len() > "Value".len();
                let quantile = path.contains("quantileValues[");
                assert!(!says || value.is_null() || quantile, "{path}.{key} was written, and is left out");
            }
        }
        (Value::Array(mine), Value::Array(oracle)) => {
            assert_eq!(mine.len(), oracle.len(), "{path}");
            for (at, (mine, oracle)) in mine.iter().zip(oracle).enumerate() {
                hold(mine, oracle, &format!("{path}[{at}]"));
            }
        }
        (Value::Number(mine), Value::Number(oracle)) => {
            assert_eq!(mine.as_f64(), oracle.as_f64(), "{path}");
        }
        (Value::String(mine), Value::Null) => assert_eq!(mine, "Infinity", "{path}"),
        (mine, oracle) => assert_eq!(mine, oracle, "{path}"),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty() || value == "0",
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
    }
}

#[test]
fn random_requests_are_written_as_the_oracle_writes_them() {
    let mut random = Random::new(7);
    for round in 0..900 {
        let signal = Signal::ALL[round % 3];
        let request = random.request(signal);
        hold(&json(signal, &request), &by_the_oracle(signal, &request), &format!("{round}"));
    }
}

fn one_point(point: NumberDataPoint) -> Vec<u8> {
    let gauge = opentelemetry_proto::tonic::metrics::v1::Gauge { data_points: vec![point] };
    let metric = Metric { name: "m".to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}

#[test]
fn the_form_is_that_of_the_specification() {
    let value = |value| Some(AnyValue { value: Some(value) });
    let point = NumberDataPoint {
        time_unix_nano: u64::MAX,
        value: Some(number_data_point::Value::AsInt(-1)),
        flags: 1,
        attributes: vec![
            KeyValue {
                key: "bytes".to_owned(),
                value: value(any_value::Value::BytesValue(vec![0xff])),
                ..KeyValue::default()
            },
            KeyValue {
                key: "none".to_owned(),
                value: value(any_value::Value::IntValue(0)),
                ..KeyValue::default()
            },
        ],
        ..NumberDataPoint::default()
    };
    assert_eq!(
        to_json(Signal::Metrics, &one_point(point)).unwrap(),
        concat!(
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"#,
            r#""timeUnixNano":"18446744073709551615","asInt":"-1","attributes":["#,
            r#"{"key":"bytes","value":{"bytesValue":"/w=="}},{"key":"none","value":{"intValue":"0"}}],"#,
            r#""flags":1}]}}]}]}]}"#
        )
    );
    assert_eq!(to_json(Signal::Logs, &[]).unwrap(), "{}");
}

#[test]
fn what_json_has_no_numbers_for_is_text() {
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
        let point = NumberDataPoint {
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        let text = to_json(Signal::Metrics, &one_point(point)).unwrap();
        assert!(text.contains(&format!(r#""asDouble":"{shown}""#)), "{text}");
    }
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(content);
    out
}

#[test]
fn what_stands_twice_is_read_as_protobuf_reads_it() {
    // Two resources in one ResourceLogs are one; of two schema URLs the last counts.
    let attribute = |key: &str| field(1, &field(1, key.as_bytes()));
    let logs =
        [field(1, &attribute("a")), field(3, b"x"), field(1, &attribute("b")), field(3, b"y")].concat();
    let request = field(1, &logs);
    assert_eq!(
        to_json(Signal::Logs, &request).unwrap(),
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a"},{"key":"b"}]},"schemaUrl":"y"}]}"#
    );
    hold(&json(Signal::Logs, &request), &by_the_oracle(Signal::Logs, &request), "twice");

    // Of a oneof the last counts: an array, a text, an array again, which begins anew, and goes on.
    let array = |text: &str| field(5, &field(1, &field(1, text.as_bytes())));
    let any = [array("gone"), field(1, b"gone"), array("one"), array("two")].concat();
    let record = field(5, &any);
    let request = field(1, &field(2, &field(2, &record)));
    assert_eq!(
        to_json(Signal::Logs, &request).unwrap(),
        concat!(
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"arrayValue":{"values":["#,
            r#"{"stringValue":"one"},{"stringValue":"two"}]}}}]}]}]}"#
        )
    );
    hold(&json(Signal::Logs, &request), &by_the_oracle(Signal::Logs, &request), "oneof");
}

#[test]
fn a_request_cut_anywhere_is_refused_or_json_all_the_same() {
    let mut random = Random::new(11);
    for round in 0..30 {
        let signal = Signal::ALL[round % 3];
        let request = random.request(signal);
        for end in 0..request.len() {
            let cut = &request[..end];
            match (to_json(signal, cut), walk(signal, cut)) {
                (Ok(text), Ok(_)) => drop(serde_json::from_str::<Value>(&text).unwrap()),
                (Err(error), Err(walked)) => assert_eq!(error, walked),
                (json, walked) => panic!("cut at {end}: {json:?}, {walked:?}"),
            }
        }
    }
}

#[test]
fn altered_requests_are_refused_or_json_all_the_same() {
    let mut random = Random::new(13);
    let mut written = 0;
    for round in 0..1500 {
        let signal = Signal::ALL[round % 3];
        let mut request = random.request(signal);
        for _ in 0..=random.below(3) {
            if !request.is_empty() {
                let at = random.below(request.len());
                request[at] = random.next() as u8;
            }
        }
        if let Ok(text) = to_json(signal, &request) {
            written += 1;
            serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        }
    }
    assert!(written > 50, "some pass: {written}");
}

#[test]
fn nesting_ends_where_the_walk_says() {
    // AnyValue in ArrayValue in AnyValue ...: two messages a level.
    let mut any = field(1, b"deep");
    for _ in 0..40 {
        any = field(5, &field(1, &any));
    }
    let request = field(1, &field(2, &field(2, &field(5, &any))));
    let error = to_json(Signal::Logs, &request).unwrap_err();
    assert!(error.to_string().contains("within each other"), "{error}");
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let mut random = Random::new(17);
    let mut cuts = 0;
    for round in 0..300 {
        let signal = Signal::ALL[round % 3];
        let request = random.request(signal);
        let all = to_json(signal, &request).unwrap();
        for limit in [1024, 1500, 4000, all.len() + 200] {
            let part = to_json_within(signal, &request, limit).unwrap();
            assert!(part.text.len() <= limit.max(1024), "{} bytes within {limit}", part.text.len());
            let read: Value =
                serde_json::from_str(&part.text).unwrap_or_else(|e| panic!("{e}: {}", part.text));
            assert_eq!(part.cut, part.text != all, "{limit}");
            cuts += u32::from(part.cut);
            if part.cut && limit > 1024 {
                assert!(
                    read.as_object().is_some_and(|it| !it.is_empty()),
                    "something of it: {}, of {all}",
                    part.text
                );
            }
        }
    }
    assert!(cuts > 100, "{cuts}");
}

#[test]
fn a_huge_text_is_left_out_and_what_is_beside_it_stays() {
    let record = [field(3, b"INFO"), field(5, &field(1, &[b'x'; 100_000])), field(12, b"event")].concat();
    let request = field(1, &field(2, &field(2, &record)));
    let part = to_json_within(Signal::Logs, &request, 64 << 10).unwrap();
    assert!(part.cut);
    assert_eq!(
        part.text,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"INFO","body":{},"eventName":"event"}]}]}]}"#
    );
}
