//! What the environment puts in, overrides and implies.

use std::{os::unix::ffi::OsStringExt, time::Duration};

use super::{Folder, MINIMAL, lines};
use crate::config::{Compression, Encryption, KeyPlace, Loaded, Problems, Protocol, SystemGrant};

fn load(text: &str, variables: &[(&str, &str)]) -> (Folder, Result<Loaded, Problems>) {
    let folder = Folder::with(text);
    let environment =
        variables.iter().fold(folder.environment(), |all, (name, value)| all.with(name, *value));
    let loaded = folder.load_from(&[], &environment);
    (folder, loaded)
}

fn refused(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    lines(&load(text, variables).1.expect_err("the configuration should be refused"))
}

#[test]
fn values_are_put_into_texts() {
    let text = "\
resource:
  whole: ${env:ONE}
  part: a-${env:ONE}-${env:TWO}-b
  default: ${env:NONE:-fall back}
  empty_default: ${env:EMPTY:-given}
  empty: ${env:EMPTY}
  no_default: '${env:NONE:-}'
  dollar: $$ $${env:ONE} $5 a$
  file: <${file:secret}>
  quoted: '${env:ONE}'
  once: ${env:NESTED}
";
    let (folder, _) = load(text, &[]);
    folder.write("secret", "first\nsecond\r\n\n");
    let variables = [("ONE", "1"), ("TWO", "two: [x]"), ("EMPTY", ""), ("NESTED", "${env:ONE}")];
    let environment =
        variables.iter().fold(folder.environment(), |all, (name, value)| all.with(name, *value));
    let resource = folder.load_from(&[], &environment).unwrap().config.resource;
    for (name, expected) in [
        ("whole", "1"),
        ("part", "a-1-two: [x]-b"),
        ("default", "fall back"),
        ("empty_default", "given"),
        ("empty", ""),
        ("no_default", ""),
        ("dollar", "$ ${env:ONE} $5 a$"),
        ("file", "<first\nsecond>"),
        ("quoted", "1"),
        ("once", "${env:ONE}"),
    ] {
        assert_eq!(resource[name], expected, "{name}");
    }
}

#[test]
fn what_is_put_in_can_not_become_structure() {
    let text = "collectors: {x: {plugin: p, grants: {system: '${env:GRANT}'}, config: {a: '${env:MAP}', b: \"${env:MAP}\"}}}";
    let hostile = [("GRANT", "[cpu, memory]"), ("MAP", "{c: d}\ne: f")];
    let problems = refused(text, &hostile);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("`${env:GRANT}`, once everything is put in, grants nothing"),
        "{problems:?}"
    );
    let (_, loaded) = load(text, &[("GRANT", "true"), ("MAP", "{c: d}\ne: f")]);
    let collector = &loaded.unwrap().config.collectors[0];
    assert_eq!(collector.grants.system, SystemGrant::All);
    assert_eq!(collector.config, serde_json::json!({"a": "{c: d}\ne: f", "b": "{c: d}\ne: f"}));
}

#[test]
fn what_is_put_in_plainly_is_a_number_only_where_it_reads_back_alike() {
    let text = "\
collectors:
  x:
    plugin: p
    config:
      number: ${env:NUMBER}
      quoted: '${env:NUMBER}'
      zeros: ${env:ZEROS}
      flag: ${env:FLAG}
      float: ${env:FLOAT}
      version: ${env:VERSION}
      written: 007
";
    let variables =
        [("NUMBER", "42"), ("ZEROS", "007"), ("FLAG", "true"), ("FLOAT", "0.5"), ("VERSION", "1.10")];
    let (_, loaded) = load(text, &variables);
    let expected = serde_json::json!({
        "number": 42, "quoted": "42", "zeros": "007", "flag": true, "float": 0.5, "version": "1.10", "written": 7,
    });
    assert_eq!(loaded.unwrap().config.collectors[0].config, expected);
}

#[test]
fn a_file_that_is_put_in_is_bounded_and_text() {
    let folder = Folder::with(
        "resource: {a: '${file:/dev/zero}', b: '${file:bytes}', c: '${file:none}', d: '${file:.}'}",
    );
    folder.write("bytes", [0xff, 0xfe]);
    let problems = folder.problems();
    let here = folder.path().display();
    for (problem, expected) in problems.iter().zip([
        "resource.a: the value asks for the file /dev/zero: it is longer than 1048576 bytes".to_owned(),
        format!("resource.b: the value asks for the file {here}/bytes, which is not UTF-8"),
        format!("resource.c: the value asks for the file {here}/none: there is no such file"),
        format!("resource.d: the value asks for the file {here}/.: it is a folder"),
    ]) {
        assert!(problem.contains(&expected), "{problem}");
    }
    assert_eq!(problems.len(), 4);
}

#[test]
fn every_key_can_be_overridden() {
    let text = "\
collectors:
  Host-One: {plugin: 'builtin:host', config: {a_b: 1, keep: true}, limits: {memory: 1MiB}}
exporters:
  backend: {endpoint: 'http://127.0.0.1:1', headers: {X-Api-Key: old, other: kept}}
resource: {service.name: old}
";
    let variables = [
        ("WHIMBREL__COLLECTORS__HOST_ONE__INTERVAL", "1s"),
        ("WHIMBREL__COLLECTORS__HOST_ONE__CONFIG__A_B", "2"),
        ("WHIMBREL__COLLECTORS__HOST_ONE__CONFIG__LIST", "[1, '$$']"),
        ("WHIMBREL__COLLECTORS__HOST_ONE__GRANTS__SYSTEM", "[cpu, memory]"),
        ("WHIMBREL__COLLECTORS__HOST_ONE__LIMITS__LOG_RATE", "7"),
        ("WHIMBREL__EXPORTERS__BACKEND__ENDPOINT", "https://other.example.com"),
        ("WHIMBREL__EXPORTERS__BACKEND__HEADERS__X_API_KEY", "$new${env:X}"),
        ("WHIMBREL__EXPORTERS__BACKEND__HEADERS__X_NEW", "{brace"),
        ("WHIMBREL__EXPORTERS__SECOND__ENDPOINT", "http://127.0.0.1:2"),
        ("WHIMBREL__EXPORTERS__SECOND__RETRY__GIVE_UP_AFTER", "1h"),
        ("WHIMBREL__RESOURCE__SERVICE_NAME", "new"),
        ("WHIMBREL__RESOURCE__HOST_NAME", "h"),
        ("WHIMBREL__LOG__LEVEL", "trace"),
        ("WHIMBREL__WAL__SYNC__INTERVAL", "3s"),
        ("WHIMBREL__WAL__ENCRYPTION", "none"),
        ("WHIMBREL__DATA_DIR", "elsewhere"),
        ("WHIMBREL_CONFIG", ""),
        ("WHIMBREL", "x"),
    ];
    let (folder, loaded) = load(text, &variables);
    let config = loaded.unwrap().config;
    let host = &config.collectors[0];
    assert_eq!((host.name.as_str(), host.interval), ("Host-One", Duration::from_secs(1)));
    assert_eq!(host.config, serde_json::json!({"a_b": 2, "keep": true, "list": [1, "$$"]}));
    assert_eq!(host.grants.system, SystemGrant::Parts(vec!["cpu".to_owned(), "memory".to_owned()]));
    assert_eq!((host.limits.log_rate, host.limits.memory), (7, 1 << 20));
    let [backend, second] = config.exporters.as_slice() else { panic!("{:?}", config.exporters) };
    assert_eq!(backend.endpoint, "https://other.example.com");
    let headers: Vec<(&str, &str)> =
        backend.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("x-api-key", "$new${env:X}"), ("other", "kept"), ("x-new", "{brace")]);
    assert_eq!(second.retry.give_up_after, Some(Duration::from_secs(3600)));
    assert_eq!(config.resource["service.name"], "new");
    assert_eq!(config.resource["host.name"], "h");
    assert_eq!(config.log.level, crate::config::LogLevel::Trace);
    assert_eq!(config.wal.sync, crate::config::Sync::Interval(Duration::from_secs(3)));
    assert_eq!(config.wal.encryption, Encryption::None);
    assert_eq!(config.data_dir, folder.path().join("elsewhere"));
}

#[test]
fn a_wrong_override_is_told_with_the_name_of_its_variable() {
    for (variables, expected) in [
        (
            vec![("WHIMBREL__LOG__LEVEL", "loud")],
            "$WHIMBREL__LOG__LEVEL: log.level: `loud` is not known here",
        ),
        (
            vec![("WHIMBREL__LOG__LEVLE", "info")],
            "$WHIMBREL__LOG__LEVLE: log.levle: unknown key `levle` => did you \
                                                  mean `level`?",
        ),
        (
            vec![("WHIMBREL__RECEIVERS__OTLP", "x")],
            "$WHIMBREL__RECEIVERS__OTLP: receivers.otlp: a map is needed here, and this is a single value",
        ),
        (
            vec![("WHIMBREL__LOG", "info")],
            "$WHIMBREL__LOG: log: a map is needed here, and this is a single value",
        ),
        (vec![("WHIMBREL__", "x")], "$WHIMBREL__: : the variable names no key"),
        (vec![("WHIMBREL__LOG____LEVEL", "x")], "$WHIMBREL__LOG____LEVEL: : the variable names no key"),
        (
            vec![("WHIMBREL__INCLUDE", "x")],
            "$WHIMBREL__INCLUDE: : files can't be included by the environment",
        ),
        (
            vec![("WHIMBREL__WAL__SYNC", "always"), ("WHIMBREL__WAL__SYNC__INTERVAL", "1s")],
            "$WHIMBREL__WAL__SYNC__INTERVAL: : the variable sets a key within a value that another variable sets",
        ),
        (
            vec![("WHIMBREL__COLLECTORS__HOST__GRANTS__SYSTEM", "[cpu")],
            "$WHIMBREL__COLLECTORS__HOST__GRANTS__SYSTEM:1:1: : a bracket `[` is opened and not closed",
        ),
    ] {
        let problems = refused(MINIMAL, &variables);
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{expected}\n{problems:#?}");
    }
}

#[test]
fn variables_that_are_not_text_are_told() {
    let folder = Folder::with(format!("{MINIMAL}data_dir: '${{env:BYTES}}'\n"));
    let bytes = || std::ffi::OsString::from_vec(vec![0xff]);
    let environment = folder.environment().with("BYTES", bytes()).with("WHIMBREL__LOG__LEVEL", bytes());
    let problems = lines(&folder.load_from(&[], &environment).unwrap_err());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("data_dir: the value asks for $BYTES, which is not UTF-8"), "{problems:?}");
    assert!(problems[1].starts_with("$WHIMBREL__LOG__LEVEL: : the value is not UTF-8"), "{problems:?}");
}

#[test]
fn the_data_directory_follows_systemd() {
    let (folder, loaded) = load(MINIMAL, &[("STATE_DIRECTORY", "/var/lib/whimbrel:/var/lib/other")]);
    assert_eq!(loaded.unwrap().config.data_dir, std::path::Path::new("/var/lib/whimbrel"));
    folder.write("wal.key", "");
    let environment = folder.environment().with("CREDENTIALS_DIRECTORY", folder.path());
    let loaded = folder.load_from(&[], &environment).unwrap();
    let Encryption::Aes256Gcm(keys) = loaded.config.wal.encryption else { panic!() };
    assert_eq!((keys.current, keys.create), (KeyPlace::File(folder.path().join("wal.key")), false));
}

const NO_EXPORTER: &str = "collectors: {host: {plugin: 'builtin:host'}}\n";

#[test]
fn opentelemetrys_variables_configure_the_implicit_exporter() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example.com:4318/base/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k%3D1, X-B = two ,,api-key=k2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics.example.com"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "own=1"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs.example.com/ingest/"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "100"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/c.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/k.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
    ];
    let (folder, loaded) = load(NO_EXPORTER, &variables);
    let loaded = loaded.unwrap();
    let [exporter] = loaded.config.exporters.as_slice() else { panic!() };
    let headers = |target: &crate::config::Target<'_>| -> Vec<(String, String)> {
        target.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(exporter.name, "otlp");

    let metrics = exporter.metrics();
    assert_eq!(metrics.url, "http://metrics.example.com/", "used as it is, at the root");
    assert_eq!(headers(&metrics), [pair("own", "1")]);
    assert_eq!((metrics.compression, metrics.timeout), (Compression::Gzip, Duration::from_millis(2500)));
    assert_eq!(metrics.tls.ca_file, Some(folder.path().join("ca.pem")));

    let logs = exporter.logs();
    assert_eq!(logs.url, "http://logs.example.com/ingest/");
    assert_eq!(headers(&logs), [pair("x-b", "two"), pair("api-key", "k2")]);
    assert_eq!((logs.compression, logs.timeout), (Compression::None, Duration::from_millis(100)));

    let traces = exporter.traces();
    assert_eq!(traces.url, "https://otlp.example.com:4318/base/v1/traces", "what is empty is not set");
    assert_eq!(traces.tls.ca_file, Some(folder.path().join("ca.pem")), "each file over the general one");
    assert_eq!(traces.tls.cert_file, Some("/c.pem".into()));
    assert!(loaded.warnings.is_empty(), "{loaded:?}");
    assert!(loaded.notes[0].contains("https://otlp.example.com:4318/base"), "{:?}", loaded.notes);
    let missing = lines(&loaded.check_files());
    assert!(missing[0].starts_with("$OTEL_EXPORTER_OTLP_*: exporters.otlp.tls.ca_file:"), "{missing:?}");
}

#[test]
fn each_signal_s_protocol_and_address_are_those_of_the_specification() {
    const GRPC: [&str; 3] = [
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ];
    const HTTP: [&str; 3] = ["/v1/metrics", "/v1/logs", "/v1/traces"];
    /// Variables, and for each signal the endpoint and the paths of its protocol.
    type Case = (&'static [(&'static str, &'static str)], [(&'static str, [&'static str; 3]); 3]);
    let cases: [Case; 8] = [
        (&[], [("http://localhost:4318", HTTP); 3]),
        (&[("PROTOCOL", "grpc")], [("http://localhost:4317", GRPC); 3]),
        (&[("PROTOCOL", "grpc"), ("ENDPOINT", "https://h:443/")], [("https://h:443", GRPC); 3]),
        (&[("ENDPOINT", "http://h:4317")], [("http://h:4317", GRPC); 3]),
        (&[("ENDPOINT", "http://h:4317"), ("PROTOCOL", "http/protobuf")], [("http://h:4317", HTTP); 3]),
        (
            &[("LOGS_PROTOCOL", "grpc")],
            [
                ("http://localhost:4318", HTTP),
                ("http://localhost:4317", GRPC),
                ("http://localhost:4318", HTTP),
            ],
        ),
        (
            &[("PROTOCOL", "grpc"), ("LOGS_PROTOCOL", "http/protobuf")],
            [
                ("http://localhost:4317", GRPC),
                ("http://localhost:4318", HTTP),
                ("http://localhost:4317", GRPC),
            ],
        ),
        (
            &[("ENDPOINT", "http://h:4318"), ("TRACES_ENDPOINT", "https://t:4317/")],
            [("http://h:4318", HTTP), ("http://h:4318", HTTP), ("https://t:4317", GRPC)],
        ),
    ];
    for (variables, expected) in cases {
        let named: Vec<(String, &str)> =
            variables.iter().map(|(name, value)| (format!("OTEL_EXPORTER_OTLP_{name}"), *value)).collect();
        let named: Vec<(&str, &str)> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let (_, loaded) = load(NO_EXPORTER, &named);
        let loaded = loaded.unwrap();
        assert!(loaded.warnings.is_empty(), "{variables:?}: {:?}", loaded.warnings);
        let [exporter] = loaded.config.exporters.as_slice() else { panic!() };
        let targets = [exporter.metrics(), exporter.logs(), exporter.traces()];
        for (index, (target, (base, paths))) in targets.iter().zip(expected).enumerate() {
            let protocol = if paths == GRPC { Protocol::Grpc } else { Protocol::HttpProtobuf };
            assert_eq!(target.url, format!("{base}{}", paths[index]), "{variables:?}");
            assert_eq!(target.protocol, protocol, "{variables:?}");
        }
    }
}

#[test]
fn a_header_meant_for_one_backend_does_not_reach_another() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=x"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let (_, loaded) = load(MINIMAL, &variables);
    let loaded = loaded.unwrap();
    let [exporter] = loaded.config.exporters.as_slice() else { panic!() };
    assert_eq!((exporter.endpoint.as_str(), exporter.headers.len()), ("http://127.0.0.1:4318", 0));
    assert_eq!(
        loaded.notes,
        ["$OTEL_EXPORTER_OTLP_ENDPOINT is set and not used, since exporters are configured"]
    );
}

#[test]
fn what_would_send_data_astray_is_refused_and_the_rest_is_warned_of() {
    for (name, value, expected) in [
        ("LOGS_PROTOCOL", "http/json", "`http/json` is not in this version"),
        ("PROTOCOL", "carrier-pigeon", "`carrier-pigeon` is not known here"),
        ("ENDPOINT", "http://h:4317/base", "`http://h:4317/base` has a path, and gRPC has none"),
        ("METRICS_ENDPOINT", "http://h:4317/base", "`http://h:4317/base` has a path, and gRPC has none"),
        ("ENDPOINT", "localhost:4317", "`localhost:4317` is not a URL"),
        ("METRICS_ENDPOINT", "http://u:hunter2@h", "the value has a user name or password"),
        ("HEADERS", "hunter2", "the value is not a list of headers"),
        ("HEADERS", "a=%zz", "the value is not a list of headers"),
        (
            "HEADERS",
            "a=hunter2%0A",
            "the value has a header that holds a line break or another character that a \
                                     header can't",
        ),
        ("TRACES_HEADERS", "host=h", "the value has a header that is set by the exporter itself"),
    ] {
        let name = format!("OTEL_EXPORTER_OTLP_{name}");
        let problems = refused(NO_EXPORTER, &[(&name, value)]);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.starts_with(&format!("${name}: : {expected} => ")), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    for (name, value) in
        [("TIMEOUT", "10s"), ("TIMEOUT", "0"), ("COMPRESSION", "lz4"), ("LOGS_TIMEOUT", "-1")]
    {
        let name = format!("OTEL_EXPORTER_OTLP_{name}");
        let (_, loaded) = load(NO_EXPORTER, &[(&name, value)]);
        let warnings = lines(&loaded.unwrap().warnings);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(&format!("${name}: : `{value}` is not")),
            "{warnings:?}"
        );
    }
}

#[test]
fn resource_attributes_of_the_environment_lie_under_those_of_the_configuration() {
    let text = format!("{MINIMAL}resource: {{service.name: configured}}\n");
    let attributes =
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=pro%2Cd, x = y z ");
    let (_, loaded) = load(&text, &[attributes, ("OTEL_SERVICE_NAME", "b")]);
    let resource = loaded.unwrap().config.resource;
    assert_eq!(resource["service.name"], "configured");
    assert_eq!(resource["deployment.environment.name"], "pro,d");
    assert_eq!(resource["x"], "y z");
    let (_, loaded) = load(MINIMAL, &[attributes, ("OTEL_SERVICE_NAME", "b")]);
    assert_eq!(loaded.unwrap().config.resource["service.name"], "b");
    let (_, loaded) = load(MINIMAL, &[("OTEL_RESOURCE_ATTRIBUTES", "a=1,b")]);
    let loaded = loaded.unwrap();
    assert!(loaded.config.resource.is_empty(), "all of it is left out, as the specification says");
    assert!(
        lines(&loaded.warnings)[0]
            .starts_with("$OTEL_RESOURCE_ATTRIBUTES: : `a=1,b` is not a list of attributes")
    );
}

#[test]
fn the_built_in_configuration_can_be_overridden() {
    let folder = Folder::new();
    let environment = folder
        .environment()
        .with("WHIMBREL__COLLECTORS__HOST__INTERVAL", "1s")
        .with("WHIMBREL__EXPORTERS__MINE__ENDPOINT", "http://127.0.0.1:9");
    let config = folder.load_from(&[], &environment).unwrap().config;
    assert_eq!(config.collectors[0].interval, Duration::from_secs(1));
    assert_eq!(config.exporters.len(), 1);
    assert_eq!(config.exporters[0].name, "mine");
}

#[test]
fn the_hosts_root_comes_from_the_configuration_or_else_from_the_variables_that_others_know() {
    let folder = Folder::with(MINIMAL);
    for name in ["host/proc", "host/sys", "elsewhere"] {
        folder.write(&format!("{name}/x"), "");
    }
    let here = |name: &str| folder.path().join(name);
    let load = |text: &str, variables: &[(&str, &std::path::Path)]| {
        folder.write("whimbrel.yaml", text);
        let environment =
            variables.iter().fold(folder.environment(), |all, (name, path)| all.with(name, *path));
        folder.load_from(&[], &environment).unwrap().config.system
    };
    let host = here("host");
    let of_root = load(MINIMAL, &[("HOST_ROOT", &host)]);
    assert_eq!((&of_root.root_path, &of_root.proc_path), (&host, &here("host/proc")));
    let both = load(MINIMAL, &[("HOST_PROC", &here("elsewhere")), ("HOST_SYS", &here("host/sys"))]);
    assert_eq!(both.root_path, std::path::Path::new("/"));
    assert_eq!((both.proc_path, both.sys_path), (here("elsewhere"), here("host/sys")));
    let configured = format!("{MINIMAL}system: {{root_path: '{}/'}}\n", host.display());
    let other = here("elsewhere");
    let variables = [("HOST_ROOT", &*other), ("HOST_PROC", &*other), ("HOST_SYS", &*other)];
    assert_eq!(load(&configured, &variables), of_root, "the configuration wins");
    let none = load(MINIMAL, &[("HOST_ROOT", std::path::Path::new(""))]);
    assert_eq!(none.root_path, std::path::Path::new("/"), "an empty variable is not set");
}

#[test]
fn a_variable_that_names_no_folder_is_refused_unless_the_configuration_says_it() {
    let missing = [("HOST_PROC", "/nowhere/proc")];
    assert_eq!(
        refused(MINIMAL, &missing),
        [
            "$HOST_PROC: : the value can't be read: entity not found => name the folder where the host's root is mounted: \
             /hostfs; or unset the variable, or write `system: {root_path: /}`"
        ]
    );
    assert!(refused(MINIMAL, &[("HOST_ROOT", "host")])[0].contains("is not an absolute path"));
    let (_folder, loaded) = load(&format!("{MINIMAL}system: {{root_path: /}}\n"), &missing);
    assert_eq!(loaded.unwrap().config.system.proc_path, std::path::Path::new("/proc"));
}
