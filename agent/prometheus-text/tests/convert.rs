//! What becomes of a text in OTLP, by the specification "Prometheus and OpenMetrics Compatibility".

use whimbrel_otlp::{
    Signal, to_json, walk,
    write::{Scope, Value},
};
use whimbrel_prometheus_text::{
    Conversion, Converted, Format, Limits, ParseError, Problem, Series, Starts, convert, convert_gone, unit,
};

const NOW: u64 = 1_700_000_000_000_000_000;
const SCOPE: Scope<'_> = Scope { name: "translator", version: "1", attributes: None };

fn conversion(format: Format) -> Conversion<'static> {
    Conversion {
        format,
        limits: Limits::default(),
        now_ns: NOW,
        honor_timestamps: true,
        resource: &[("service.name", Value::Text("job"))],
        scope: &SCOPE,
        trim_suffixes: false,
        wanted: None,
        most_points: 1000,
    }
}

fn with(text: &str, conversion: &Conversion<'_>, starts: &mut Starts) -> Result<Converted, ParseError> {
    let converted = convert(text.as_bytes(), conversion, starts)?;
    for request in &converted.requests {
        let walked = walk(Signal::Metrics, &request.bytes).expect("what is made is sound OTLP");
        assert_eq!(walked.items as usize, request.points, "points are counted as they are written");
    }
    Ok(converted)
}

/// As OTLP/JSON, without blanks.
fn json_of(text: &str, format: Format) -> String {
    let converted = with(text, &conversion(format), &mut Starts::new()).expect("the text is sound");
    shown(&converted)
}

fn shown(converted: &Converted) -> String {
    let shown = converted.requests.iter().map(|request| {
        String::from_utf8(to_json(Signal::Metrics, &request.bytes).expect("it is sound").into())
            .expect("JSON is UTF-8")
    });
    shown.collect()
}

#[track_caller]
fn has(json: &str, part: &str) {
    assert!(json.contains(part), "{part}\nis not in\n{json}");
}

#[test]
fn a_counter_is_a_monotonic_sum_with_its_created_as_start() {
    let json = json_of(
        "# TYPE a counter\n# HELP a What.\n# UNIT a \na_total{x=\"1\"} 5\na_created{x=\"1\"} 1600000000.5\n# EOF\n",
        Format::OpenMetrics,
    );
    has(&json, r#""name":"a_total""#);
    has(&json, r#""description":"What.""#);
    has(&json, r#""startTimeUnixNano":"1600000000500000000""#);
    has(&json, r#""isMonotonic":true"#);
    has(&json, r#""metadata":[{"key":"prometheus.type","value":{"stringValue":"counter"}}]"#);
}

#[test]
fn a_counter_without_created_starts_where_it_is_first_seen_and_again_where_it_falls() {
    let mut starts = Starts::new();
    let at = |value: u64, now_ns: u64, starts: &mut Starts| {
        let mut conversion = conversion(Format::Text);
        conversion.now_ns = now_ns;
        shown(
            &with(&format!("# TYPE a_total counter\na_total {value}\n"), &conversion, starts).expect("sound"),
        )
    };
    has(&at(5, 100, &mut starts), r#""startTimeUnixNano":"100""#);
    has(&at(6, 200, &mut starts), r#""startTimeUnixNano":"100""#);
    let mut starts = Starts::from_bytes(&starts.to_bytes()).expect("it was made so");
    has(&at(7, 300, &mut starts), r#""startTimeUnixNano":"100""#);
    has(&at(1, 400, &mut starts), r#""startTimeUnixNano":"400""#);
    assert_eq!(Starts::from_bytes(&[0; 25]), None);
}

#[test]
fn what_is_gone_for_long_is_forgotten() {
    let mut starts = Starts::new();
    let text = "# TYPE a counter\na 1\n";
    with(text, &conversion(Format::Text), &mut starts).expect("sound");
    assert_eq!(starts.len(), 1);
    for _ in 0..8 {
        with("b 1\n", &conversion(Format::Text), &mut starts).expect("sound");
    }
    assert!(starts.is_empty());
}

#[test]
fn a_histogram_gets_buckets_of_their_own_whatever_the_order_of_lines() {
    let text = "# TYPE h histogram\n# UNIT h \nh_sum 9.5\nh_bucket{le=\"+Inf\"} 6\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2.5\"} 4 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",span_id=\"0102030405060708\",k=\"v\"} 2 1600000000\nh_count 6\n# EOF\n";
    let json = json_of(text, Format::OpenMetrics);
    has(&json, r#""bucketCounts":["1","3","2"]"#);
    has(&json, r#""explicitBounds":[1,2.5]"#);
    has(&json, r#""sum":9.5"#);
    has(&json, r#""traceId":"0102030405060708090a0b0c0d0e0f10""#);
    has(&json, r#""key":"k""#);
    assert!(!json.contains("trace_id"), "{json}");
}

#[test]
fn histograms_that_are_none_are_dropped_and_counted() {
    let convert = |text: &str| with(text, &conversion(Format::Text), &mut Starts::new()).expect("sound");
    let without = convert("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 6\nh_sum 2\n");
    assert_eq!((without.requests.len(), without.dropped.without_count), (0, 1));
    for text in [
        "h_bucket{le=\"1\"} 5\nh_bucket{le=\"2\"} 4\nh_count 6\n",
        "h_bucket{le=\"1\"} 7\nh_count 6\n",
        "h_bucket{le=\"x\"} 7\nh_count 7\n",
        "h_bucket 7\nh_count 7\n",
        "h_bucket{le=\"1\"} 0.5\nh_count 1\n",
        "h_count -1\n",
        "h_count NaN\n",
    ] {
        let found = convert(&format!("# TYPE h histogram\n{text}"));
        assert_eq!((found.requests.len(), found.dropped.malformed), (0, 1), "{text}");
    }
}

#[test]
fn a_summary_keeps_its_quantiles() {
    let json =
        json_of("# TYPE s summary\ns{quantile=\"0.99\"} 3\ns{quantile=\"0.5\"} 1\ns_count 7\n", Format::Text);
    has(&json, r#""quantileValues":[{"quantile":0.5,"value":1},{"quantile":0.99,"value":3}]"#);
    has(&json, r#""count":"7""#);
}

#[test]
fn what_has_no_type_is_a_gauge_and_info_and_states_are_sums_that_may_fall() {
    has(&json_of("a 1\n", Format::Text), r#""gauge":{"#);
    has(&json_of("a 1\n", Format::Text), r#""stringValue":"unknown""#);
    let json = json_of("# TYPE b info\nb_info{v=\"1\"} 1\n# EOF\n", Format::OpenMetrics);
    has(&json, r#""name":"b_info""#);
    has(&json, r#""sum":{"#);
    assert!(!json.contains("isMonotonic\":true"), "{json}");
    let json = json_of("# TYPE s stateset\ns{s=\"on\"} 1\ns{s=\"off\"} 0\n# EOF\n", Format::OpenMetrics);
    has(&json, r#""sum":{"#);
    let none = with(
        "# TYPE g gaugehistogram\ng_gcount 1\n# EOF\n",
        &conversion(Format::OpenMetrics),
        &mut Starts::new(),
    );
    assert_eq!(none.map(|one| (one.requests.len(), one.dropped.gauge_histograms)), Ok((0, 1)));
}

#[test]
fn target_info_is_the_resource_wherever_it_stands() {
    let json = json_of("a 1\ntarget_info{env=\"prod\",\"service.name\"=\"x\"} 1\n", Format::Text);
    has(&json, r#"{"key":"env","value":{"stringValue":"prod"}}"#);
    has(&json, r#"{"key":"service.name","value":{"stringValue":"job"}}"#);
    assert!(!json.contains("target_info") && !json.contains(r#""x""#), "what was configured stays: {json}");
}

#[test]
fn labels_of_the_scope_become_the_scope() {
    let json = json_of(
        "a{otel_scope_name=\"lib\",otel_scope_version=\"2\",otel_scope_lang=\"go\",x=\"y\"} 1\na 2\n# TYPE otel_scope_info gauge\notel_scope_info{otel_scope_name=\"lib\",otel_scope_version=\"2\",mascot=\"bear\"} 1\n",
        Format::Text,
    );
    has(&json, r#""name":"lib","version":"2""#);
    has(&json, r#"{"key":"mascot","value":{"stringValue":"bear"}}"#);
    has(&json, r#"{"key":"lang","value":{"stringValue":"go"}}"#);
    has(&json, r#""name":"translator""#);
    assert!(!json.contains("otel_scope"), "{json}");
}

#[test]
fn units_become_those_of_ucum_and_suffixes_go_if_asked() {
    let text = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n# EOF\n";
    let json = json_of(text, Format::OpenMetrics);
    has(&json, r#""name":"a_seconds_total""#);
    has(&json, r#""unit":"s""#);
    let trimmed = Conversion { trim_suffixes: true, ..conversion(Format::OpenMetrics) };
    let json = shown(&with(text, &trimmed, &mut Starts::new()).expect("sound"));
    has(&json, r#""name":"a""#);
    assert_eq!(unit("ratio"), "1");
    assert_eq!(unit("meters_per_second"), "m/s");
}

#[test]
fn doubles_are_counted_and_the_first_stays() {
    let found = with("a 1\na 2\na 3 5\n", &conversion(Format::Text), &mut Starts::new()).expect("sound");
    assert_eq!((found.dropped.duplicates, found.requests[0].points), (1, 2), "another time is another point");
    let plain = Conversion { honor_timestamps: false, ..conversion(Format::Text) };
    let found = with("a 1\na 3 5\n", &plain, &mut Starts::new()).expect("sound");
    assert_eq!((found.dropped.duplicates, found.requests[0].points), (1, 1));
    has(&shown(&found), &format!(r#""timeUnixNano":"{NOW}""#));
}

#[test]
fn open_metrics_refuses_families_that_come_twice() {
    let refused = |text: &str| {
        with(text, &conversion(Format::OpenMetrics), &mut Starts::new()).expect_err("it is refused")
    };
    let error = refused("a 1\nb 1\na 2\n# EOF\n");
    assert_eq!((error.line, error.problem), (3, Problem::Interleaved("a".into())));
    assert_eq!(refused("# TYPE a gauge\n# TYPE a gauge\n# EOF\n").line, 2);
    assert!(with("a 1\nb 1\na{x=\"1\"} 2\n", &conversion(Format::Text), &mut Starts::new()).is_ok());
}

#[test]
fn requests_stay_small_and_nothing_is_lost_between_them() {
    let mut text = String::from("# TYPE a counter\n");
    for i in 0..25 {
        text += &format!("a{{i=\"{i}\"}} {i}\n");
    }
    let small = Conversion { most_points: 10, ..conversion(Format::Text) };
    let found = with(&text, &small, &mut Starts::new()).expect("sound");
    assert_eq!(found.requests.iter().map(|r| r.points).collect::<Vec<_>>(), [10, 10, 5]);
    let json = shown(&found);
    (0..25).for_each(|i| has(&json, &format!(r#""stringValue":"{i}""#)));
}

#[test]
fn what_is_not_wanted_is_left_out_and_counted() {
    let wanted = |name: &str| name.starts_with("a");
    let some = Conversion { wanted: Some(&wanted), ..conversion(Format::Text) };
    let found = with("a 1\nb 1\n", &some, &mut Starts::new()).expect("sound");
    assert_eq!((found.samples, found.dropped.unwanted, found.requests[0].points), (2, 1, 1));
}

#[test]
fn nothing_comes_of_nothing() {
    let found = with("", &conversion(Format::Text), &mut Starts::new()).expect("sound");
    assert_eq!(found, Converted::default());
}

/// What is said of the series that the second text has no more, as OTLP/JSON.
fn gone(before: &str, after: &str, format: Format) -> String {
    let mut starts = Starts::new();
    let first = with(before, &conversion(format), &mut starts).expect("sound");
    let later = Conversion { now_ns: NOW + 7, ..conversion(format) };
    let second = with(after, &later, &mut starts).expect("sound");
    let gone = first.series.without(&second.series);
    let requests = convert_gone(before.as_bytes(), &later, &gone, &starts).expect("it was read before");
    assert_eq!(requests.iter().map(|request| request.points).sum::<usize>(), gone.len());
    let converted = Converted { requests, ..Converted::default() };
    for request in &converted.requests {
        assert_eq!(walk(Signal::Metrics, &request.bytes).expect("sound").items as usize, request.points);
    }
    shown(&converted)
}

#[test]
fn a_series_of_any_kind_that_is_gone_gets_a_point_without_a_value() {
    let stay = "# TYPE stays gauge\nstays 1\n";
    for (text, kind, start) in [
        ("# TYPE x gauge\nx{a=\"1\"} 1\n", "\"gauge\"", false),
        ("x{a=\"1\"} 1\n", "\"gauge\"", false),
        ("# TYPE x counter\nx_total{a=\"1\"} 1\n", "\"isMonotonic\":true", true),
        ("# TYPE x histogram\nx_bucket{a=\"1\",le=\"+Inf\"} 1\nx_count{a=\"1\"} 1\n", "\"histogram\"", true),
        ("# TYPE x summary\nx{a=\"1\",quantile=\"0.5\"} 1\nx_count{a=\"1\"} 1\n", "\"summary\"", true),
    ] {
        let json = gone(&format!("{text}{stay}"), stay, Format::Text);
        let start = if start { format!("\"startTimeUnixNano\":\"{NOW}\",") } else { String::new() };
        has(&json, kind);
        has(&json, "{\"key\":\"a\",\"value\":{\"stringValue\":\"1\"}}");
        has(&json, &format!("{start}\"timeUnixNano\":\"{}\"", NOW + 7));
        has(&json, "\"flags\":1");
        for other in ["stays", "asDouble", "quantile", "bucketCounts", "\"count\":\"1\""] {
            assert!(!json.contains(other), "{other} in {json}");
        }
    }
}

#[test]
fn only_what_is_gone_is_said_to_be_gone() {
    let text = "# TYPE x gauge\nx{a=\"1\"} 1\nx{a=\"2\"} 2\ny 3\n";
    assert_eq!(gone(text, text, Format::Text), "");
    assert_eq!(gone(text, "y 9\n# TYPE x gauge\nx{a=\"2\"} 7\nx{a=\"1\"} 8\nnew 1\n", Format::Text), "");
    let json = gone(text, "# TYPE x gauge\nx{a=\"2\"} 2\n", Format::Text);
    assert_eq!(json.matches("\"flags\":1").count(), 2, "{json}");
    // Another type is another series, and so is one of another resource or scope.
    let json = gone("# TYPE x gauge\nx 1\n", "# TYPE x counter\nx 1\n", Format::Text);
    has(&json, "\"gauge\"");
    let json = gone("target_info{v=\"1\"} 1\nx 1\n", "target_info{v=\"2\"} 1\nx 1\n", Format::Text);
    has(&json, "{\"key\":\"v\",\"value\":{\"stringValue\":\"1\"}}");
    let json = gone("x{otel_scope_name=\"a\"} 1\n", "x{otel_scope_name=\"b\"} 1\n", Format::Text);
    has(&json, "\"name\":\"a\"");
}

#[test]
fn whoever_says_the_time_says_the_end_and_what_never_was_does_not_end() {
    let text = "timed 1 1600000000000\n# TYPE h histogram\nh_sum 2\nx 1\n";
    let json = gone(text, "", Format::Text);
    assert_eq!(json.matches("\"flags\":1").count(), 1, "{json}");
    has(&json, "\"name\":\"x\"");
    let untimed = Conversion { honor_timestamps: false, ..conversion(Format::Text) };
    let found = with(text, &untimed, &mut Starts::new()).expect("sound");
    assert_eq!(found.series.len(), 2, "its time does not count: it is a series like others");
    assert!(found.series.without(&Series::default()) == found.series);
}
