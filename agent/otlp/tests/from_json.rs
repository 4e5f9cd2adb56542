//! OTLP/JSON is read as what it says: what `to_json` writes comes back, the example of the specification is understood,
//! and what is wrong is refused with its place.

mod oracle;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use oracle::Random;
use prost::Message;
use whimbrel_otlp::{Signal, from_json, to_json, walk};

#[test]
fn what_was_written_comes_back_the_same() {
    let mut random = Random::new(11);
    for round in 0..900 {
        let signal = Signal::ALL[round % 3];
        let request = random.request(signal);
        let text = to_json(signal, &request).unwrap();
        let back =
            from_json(signal, text.as_bytes()).unwrap_or_else(|error| panic!("{round}: {error}: {text}"));
        assert_eq!(to_json(signal, &back).unwrap(), text, "{round}");
        assert_eq!(walk(signal, &back).unwrap().items, walk(signal, &request).unwrap().items, "{round}");
    }
}

fn logs(json: &str) -> ExportLogsServiceRequest {
    let request = from_json(Signal::Logs, json.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    ExportLogsServiceRequest::decode(&request[..]).expect("it decodes")
}

/// A request with this in its one log record.
fn record(fields: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#)
}

fn refused(signal: Signal, json: impl AsRef<[u8]>) -> String {
    from_json(signal, json.as_ref()).expect_err("it is refused").to_string()
}

fn point(fields: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{{{fields}}}]}}}}]}}]}}]}}"#
    )
}

fn value(fields: &str) -> Option<number_data_point::Value> {
    let request =
        from_json(Signal::Metrics, point(fields).as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let request = ExportMetricsServiceRequest::decode(&request[..]).expect("it decodes");
    let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(metric::Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
    gauge.data_points[0].value
}

#[test]
fn integers_are_read_from_text_and_from_numbers_without_rounding() {
    use number_data_point::Value::{AsDouble, AsInt};
    assert_eq!(value(r#""asInt":"9223372036854775807""#), Some(AsInt(i64::MAX)));
    assert_eq!(value(r#""asInt":9223372036854775807"#), Some(AsInt(i64::MAX)));
    assert_eq!(value(r#""asInt":-9223372036854775808"#), Some(AsInt(i64::MIN)));
    assert_eq!(value(r#""asInt":1e3"#), Some(AsInt(1000)));
    assert_eq!(value(r#""asInt":0"#), Some(AsInt(0)), "it was said");
    assert_eq!(value(r#""asInt":null"#), None);
    assert_eq!(value(r#""asDouble":"-Infinity""#), Some(AsDouble(f64::NEG_INFINITY)));
    assert_eq!(value(r#""asDouble":7"#), Some(AsDouble(7.0)));
    // Found by fuzzing: read as the double beside it.
    assert_eq!(value(r#""asDouble":9.953333333333332e-6"#), Some(AsDouble(9.953333333333332e-6)));
    assert!(matches!(value(r#""asDouble":"NaN""#), Some(AsDouble(nan)) if nan.is_nan()));
    for wrong in
        [r#""asInt":1.5"#, r#""asInt":1e300"#, r#""asInt":"9223372036854775808""#, r#""asInt":"0x10""#]
    {
        let told = refused(Signal::Metrics, point(wrong));
        assert!(
            told.contains("which is not an integer of 64 bits") || told.contains("a text that is not"),
            "{told}"
        );
    }
    assert!(refused(Signal::Metrics, point(r#""asDouble":"inf""#)).contains("Infinity"));
    assert!(refused(Signal::Metrics, point(r#""asDouble":NaN"#)).contains("line 1 column"));
}

#[test]
fn ids_are_hexadecimal_and_bytes_base64() {
    let id = logs(&record(r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174""#));
    let one = &id.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!((one.trace_id[0], one.trace_id.len(), one.span_id.len()), (0x5b, 16, 8));
    for (text, expected) in [("/+8=", vec![0xff, 0xef]), ("_-8", vec![0xff, 0xef]), ("", vec![])] {
        let read = logs(&record(&format!(r#""body":{{"bytesValue":"{text}"}}"#)));
        let body = read.resource_logs[0].scope_logs[0].log_records[0].body.clone().unwrap().value;
        assert_eq!(body, Some(any_value::Value::BytesValue(expected)), "{text}");
    }
    let told = refused(Signal::Logs, record(r#""traceId":"5b8e""#));
    assert!(told.contains("32 hexadecimal digits") && told.ends_with("logRecords[0].traceId"), "{told}");
    assert!(refused(Signal::Logs, record(r#""body":{"bytesValue":"***"}"#)).contains("base64"));
}

#[test]
fn names_in_snake_case_and_unknown_names_are_no_error() {
    let read = logs(
        r#"{"resource_logs":[{"scope_logs":[{"log_records":[{"severity_number":9,"novel":{"a":[1,{}]}}]}],"x":1}]}"#,
    );
    assert_eq!(read.resource_logs[0].scope_logs[0].log_records[0].severity_number, 9);
    assert_eq!(logs(r#"{"resourceLogs":null}"#), ExportLogsServiceRequest::default());
    assert_eq!(from_json(Signal::Traces, b" {} "), Ok(Vec::new()));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (json, what, path) in [
        (record(r#""severityNumber":1,"severityNumber":2"#), "the name stands twice", "severityNumber"),
        (record(r#""severityNumber":1,"severity_number":2"#), "the name stands twice", "severityNumber"),
        (
            record(r#""body":{"stringValue":"a","intValue":1}"#),
            "only one can be given, and stringValue is given too",
            "logRecords[0].body.intValue",
        ),
        (record(r#""severityText":7"#), "expected a text", "logRecords[0].severityText"),
        (record(r#""timeUnixNano":-1"#), "-1, which is not an integer of 0 to", "logRecords[0].timeUnixNano"),
        (record(r#""timeUnixNano":"soon""#), "a text that is not an integer", "logRecords[0].timeUnixNano"),
        (record(r#""flags":4294967296"#), "which is not an integer of 0 to 4294967295", "flags"),
        (record(r#""attributes":{"a":1}"#), "expected an array", "logRecords[0].attributes"),
        (record(r#""attributes":[null]"#), "null, which no element can be", "attributes[0]"),
        (record(r#""body":[]"#), "expected an object", "body"),
        (record(r#""body":{"boolValue":1}"#), "1, where true or false is due", "body.boolValue"),
        (record(r#""body":{"stringValue":"\ud800"}"#), "hex escape", "body.stringValue"),
        ("[]".to_owned(), "expected an object", ""),
        ("".to_owned(), "EOF", ""),
        ("{} {}".to_owned(), "trailing characters", ""),
        (r#"{"resourceLogs":[{"scopeLogs":[{"#.to_owned(), "EOF", "resourceLogs[0].scopeLogs[0]"),
    ] {
        let told = refused(Signal::Logs, &json);
        assert!(told.contains(what) && told.ends_with(path), "{json}: {told}");
    }
    assert!(refused(Signal::Logs, b"{\"a\":\"\xff\"}").contains("not UTF-8 at byte 6"));
}

#[test]
fn nesting_ends_somewhere() {
    for depth in [20, 1000, 100_000] {
        let body = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(depth), "]}}".repeat(depth));
        let result = from_json(Signal::Logs, record(&format!(r#""body":{body}"#)).as_bytes());
        assert_eq!(result.is_ok(), depth == 20, "{depth}: {result:?}");
    }
}

#[test]
fn no_prefix_and_no_flipped_byte_does_harm() {
    let mut random = Random::new(5);
    for signal in Signal::ALL {
        let text = to_json(signal, &random.request(signal)).unwrap().into_bytes();
        for end in 0..text.len().min(3000) {
            assert!(from_json(signal, &text[..end]).is_err(), "{end}");
        }
        for at in 0..text.len().min(3000) {
            let mut altered = text.clone();
            altered[at] ^= 1 << (at % 8);
            if let Ok(request) = from_json(signal, &altered) {
                walk(signal, &request).unwrap();
            }
        }
    }
}

#[test]
fn spans_of_the_specification_are_understood() {
    let json = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
        "scopeSpans":[{"scope":{"name":"my.library"},"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C",
        "spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"I'm a server span",
        "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,"flags":257,
        "status":{"code":1}}]}]}]}"#;
    let request = from_json(Signal::Traces, json.as_bytes()).unwrap();
    let request = ExportTraceServiceRequest::decode(&request[..]).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.kind, span.flags, span.end_time_unix_nano), (2, 257, 1_544_712_661_000_000_000));
    assert_eq!(span.status.as_ref().unwrap().code, 1);
}
