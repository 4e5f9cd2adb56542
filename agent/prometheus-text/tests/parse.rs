//! What is read of either format, what is refused, and in which line.

use whimbrel_prometheus_text::{Event, Format, Limits, Problem, Sample, Type, parse};

fn events(text: &str, format: Format) -> Vec<Event<'_>> {
    parse(text.as_bytes(), format, &Limits::default()).collect::<Result<_, _>>().expect("the text is sound")
}

fn sample(text: &str, format: Format) -> Sample<'_> {
    let found = events(text, format).into_iter().find_map(|event| match event {
        Event::Sample(sample) => Some(sample),
        _ => None,
    });
    found.expect("there is a sample")
}

fn refused(text: &str, format: Format) -> (usize, Problem) {
    let mut events = parse(text.as_bytes(), format, &Limits::default());
    let error = events.by_ref().find_map(Result::err).unwrap_or_else(|| panic!("{text:?} is refused"));
    assert!(events.next().is_none(), "nothing is read after an error");
    (error.line, error.problem)
}

#[test]
fn the_example_of_prometheus_own_documentation_is_read() {
    let text = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045
"#;
    let events = events(text, Format::Text);
    let samples: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::Sample(sample) = event { Some(sample) } else { None })
        .collect();
    assert_eq!(samples.len(), 5);
    assert_eq!((samples[0].value, samples[0].time_ns), (1027.0, Some(1_395_066_363_000_000_000)));
    assert_eq!(samples[2].labels[0].1, r"C:\DIR\FILE.TXT");
    assert_eq!(samples[2].labels[1].1, "Cannot find file:\n\"FILE.TXT\"");
    assert_eq!((samples[4].value, samples[4].time_ns), (f64::INFINITY, Some(-3_982_045_000_000)));
    assert_eq!(events[1], Event::Type { family: "http_requests_total".into(), kind: Type::Counter });
}

#[test]
fn blanks_comments_and_line_ends_of_windows_do_not_matter_in_text() {
    let text = "\n  # a comment\n#\n#TYPE a gauge\n\t a { b = \"c\" , } \t 1 \r\na{}2\n";
    let events = events(text, Format::Text);
    assert_eq!(events.len(), 3, "{events:?}");
    let Event::Sample(first) = &events[1] else { panic!("{events:?}") };
    assert_eq!((&*first.labels[0].0, &*first.labels[0].1, first.value), ("b", "c", 1.0));
}

#[test]
fn numbers_have_every_form_that_the_formats_allow() {
    for (text, value) in [
        ("1", 1.0),
        ("+1.5", 1.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("Inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("+INF", f64::INFINITY),
    ] {
        assert_eq!(sample(&format!("a {text}\n"), Format::Text).value, value, "{text}");
    }
    assert!(sample("a NaN\n", Format::Text).value.is_nan());
    for text in ["", "one", "1_000", "0x10", "1,5"] {
        refused(&format!("a {text}\n"), Format::Text);
    }
}

#[test]
fn names_may_be_quoted() {
    let sample = sample("{\"http.requests\",\"user.name\"=\"jo\"} 1\n", Format::Text);
    assert_eq!((&*sample.name, &*sample.labels[0].0), ("http.requests", "user.name"));
    let text = "# TYPE \"http.requests\" gauge\n";
    assert_eq!(
        events(text, Format::Text),
        [Event::Type { family: "http.requests".into(), kind: Type::Gauge }]
    );
    refused("{a=\"b\"} 1\n", Format::Text);
    refused("a{\"b\"} 1\n", Format::Text);
}

#[test]
fn open_metrics_has_exemplars_and_seconds() {
    let text = "# TYPE a counter\na_total{x=\"y\"} 17.0 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67 1520879607.1\n# EOF\n";
    let sample = sample(text, Format::OpenMetrics);
    assert_eq!(sample.time_ns, Some(1_520_879_607_789_000_000));
    let exemplar = sample.exemplar.expect("there is one");
    assert_eq!((exemplar.value, exemplar.time_ns), (0.67, Some(1_520_879_607_100_000_000)));
    assert_eq!(exemplar.labels, [("trace_id".into(), "KOO5S4vxi0o".into())]);
}

#[test]
fn times_keep_their_nanoseconds() {
    for (text, ns) in [
        ("1.000000001", 1_000_000_001),
        ("1.0000000019", 1_000_000_001),
        ("-1.5", -1_500_000_000),
        ("0", 0),
        ("1e3", 1_000_000_000_000),
        ("4.", 4_000_000_000),
    ] {
        let line = format!("a 1 {text}\n# EOF\n");
        assert_eq!(sample(&line, Format::OpenMetrics).time_ns, Some(ns), "{text}");
    }
    for text in ["NaN", "Inf", "1e40", "99999999999", "x"] {
        refused(&format!("a 1 {text}\n# EOF\n"), Format::OpenMetrics);
    }
    refused("a 1 1.5\n", Format::Text);
    refused("a 1 9999999999999999\n", Format::Text);
}

#[test]
fn open_metrics_must_end() {
    assert_eq!(refused("a 1\n", Format::OpenMetrics), (1, Problem::NoEof));
    assert_eq!(refused("", Format::OpenMetrics), (1, Problem::NoEof));
    assert_eq!(refused("# EOF\na 1\n", Format::OpenMetrics), (2, Problem::AfterEof));
    assert_eq!(refused("# EOF\n\n", Format::OpenMetrics), (2, Problem::AfterEof));
    assert_eq!(events("# EOF", Format::OpenMetrics), []);
    assert_eq!(events("a 1\n# EOF\n", Format::Text).len(), 1, "in text it is a comment");
}

#[test]
fn open_metrics_is_strict() {
    for line in [
        "",
        " a 1",
        "a  1",
        "a 1 ",
        "a\t1",
        "a { } 1",
        "a{b=\"c\"}1",
        "# comment",
        "#TYPE a gauge",
        "# TYPE a untyped",
        "# TYPE  a gauge",
        "# UNIT a seconds",
        "# UNIT _seconds seconds",
        "# HELP a \\x",
        "a 1 # {} 1",
        "a_total 1 # {b=\"c\"}",
        "a_total 1 # {b=\"c\"} 1 1 1",
        "a_total 1 1 1",
        "a 1\r",
    ] {
        let (at, problem) = refused(&format!("b 1\n{line}\n# EOF\n"), Format::OpenMetrics);
        assert_eq!(at, 2, "{line:?}: {problem}");
    }
    let long = format!("a_total 1 # {{b=\"{}\"}} 1\n# EOF\n", "\u{e9}".repeat(128));
    assert_eq!(refused(&long, Format::OpenMetrics), (1, Problem::LongExemplar(129)));
    events(&long.replacen('\u{e9}', "", 1), Format::OpenMetrics);
}

#[test]
fn an_error_names_line_and_column() {
    let (line, problem) = refused("a 1\nb{c=\"d\" e=\"f\"} 1\n", Format::Text);
    assert_eq!(line, 2);
    assert_eq!(problem.to_string(), "expected , or } at column 9, found \"e=\\\"f\\\"} 1\"");
    for line in [
        "a",
        "a ",
        "a{",
        "a{b",
        "a{b=",
        "a{b=c} 1",
        "a{b=\"c} 1",
        "a{b=\"c\\",
        "a{b=\"\\\u{e9}\"} 1",
        "a{b=\"\\x\"} 1",
        "a{1b=\"c\"} 1",
        "a{b=\"c\",b=\"d\"} 1",
        "a{,} 1",
        "1a 1",
        "a+1",
        "a 1 2 3",
        "a 1 # {b=\"c\"} 1",
        "# TYPE a",
        "# TYPE a number",
        "# TYPE 1a gauge",
        "=",
    ] {
        let (at, _) = refused(&format!("ok 1\n{line}\nok 2\n"), Format::Text);
        assert_eq!(at, 2, "{line:?}");
    }
    let mut bytes = parse(b"a 1\n\xff\n", Format::Text, &Limits::default());
    assert!(bytes.next().is_some_and(|event| event.is_ok()));
    assert_eq!(bytes.next().and_then(Result::err).map(|e| e.problem), Some(Problem::NotUtf8));
}

#[test]
fn bounds_hold() {
    let limits = Limits { line: 20, labels: 2, samples: 2 };
    let problem = |text: &str| {
        parse(text.as_bytes(), Format::Text, &limits).find_map(Result::err).map(|error| error.problem)
    };
    assert_eq!(problem("a{b=\"c\",d=\"e\"} 1\n"), None);
    assert_eq!(problem("a{b=\"\",c=\"\",d=\"\"} 1"), Some(Problem::ManyLabels(2)));
    assert_eq!(problem(&format!("#{}\n", "x".repeat(20))), Some(Problem::LongLine(20)));
    assert_eq!(problem("a 1\na 2\n"), None);
    assert_eq!(problem("a 1\na 2\na 3\n"), Some(Problem::ManySamples(2)));
}

#[test]
fn no_bytes_panic() {
    // A plain generator: the same bytes on every machine.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: [&[u8]; 25] = [
        b"a",
        b"_total",
        b"_bucket",
        b"{",
        b"}",
        b"=",
        b"\"",
        b"\\",
        b",",
        b" ",
        b"\n",
        b"#",
        b"# TYPE ",
        b" counter",
        b"1",
        b"1e9",
        b"NaN",
        b".",
        b"-",
        "\u{e9}".as_bytes(),
        b"\xff",
        b"# EOF\n",
        b"a 1\n",
        b"a{b=\"c\"} 1 1\n",
        b"# TYPE a histogram\n",
    ];
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let text: Vec<u8> =
            (0..random() % 24).flat_map(|_| pieces[random() as usize % pieces.len()].to_vec()).collect();
        for format in [Format::Text, Format::OpenMetrics] {
            for event in parse(&text, format, &Limits::default()) {
                match event {
                    Ok(_) => read += 1,
                    Err(error) => {
                        refused += 1;
                        assert!(!error.to_string().is_empty());
                    }
                }
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
