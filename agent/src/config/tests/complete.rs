//! Every key of every section, read into its place and shown again.

use std::{collections::BTreeSet, time::Duration};

use super::{Folder, MINIMAL};
use crate::config::{
    Beginning, Compression, Encryption, KeyPlace, KeyPlaces, LogFormat, LogLevel, OnFull, OnWrongKey,
    PluginRef, Protocol, Sync, System, SystemGrant,
    check::SECTIONS,
    tree::{Node, Value},
};

/// Every key of this version, none at its default.
const COMPLETE: &str = r#"
include: [extra.yaml]
data_dir: data
log: {level: debug, format: json}
resource: {service.name: edge-gateway, service.version: 1.10, empty: "", number: 007}
collectors:
  host:
    plugin: "builtin:host"
    interval: 1s
    temporality: cumulative
    config: {url: "http://127.0.0.1/status", depth: 3, ratio: 0.5, on: true, none: ~, text: "3", list: [a, {b: c}]}
    grants:
      system: [memory, cpu, cpu]
      http: ["https://api.example.com"]
      read: [/usr/share]
      write: [/usr/local/share]
      tcp: ["127.0.0.1:6379"]
      udp: ["127.0.0.1:8125"]
      unix: [/run/docker.sock]
      env: [TENANT]
      secrets: [api_token]
    limits: {memory: 16MiB, deadline: 400ms, init: 5s, output: 1MiB, tables: 20, resources: 30, log_rate: 10, stack: 1000KiB}
  nginx:
    plugin: ./plugins/nginx.wasm
receivers:
  otlp:
    grpc:
      listen: "[::]:4317"
      tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: clients.pem}
      token: {file: token}
      allow_remote: true
      insecure: false
    http: unix:run/otlp.sock
    add_resource: true
    limits: {connections: 10, request: 1MiB, memory: 2MiB, rate: 100, idle: 5s, request_time: 6s}
  ldjson: {tcp: "127.0.0.1:17000", unix: run/ldjson.sock, sources: 5, open_spans: 6, span_timeout: 7s, limits: {rate: 5}}
  ldjson/network: {tcp: {listen: "0.0.0.0:17001", allow_remote: true, insecure: true}}
  ingest:
    http: "127.0.0.1:8090"
    answer: accepted
    buffer: 1MiB
    on_full: drop
    metrics: {queue: gauge, sale: counter}
    cors: ["https://shop.example.com", "*"]
    limits: {request: 1MiB}
  statsd: {udp: "127.0.0.1:8125", unix: run/statsd.sock, flush: 5s, series: 50, limits: {rate: 5}}
  syslog: {tcp: "127.0.0.1:5514", udp: "127.0.0.1:5514", unix: run/log.sock, time_zone: UTC, limits: {idle: 9s}}
wal:
  sync: {interval: 500ms}
  max_size: 10%
  retain: 2h
  on_full: {collectors: block, receivers: drop_newest}
  zstd_level: 3
  encryption:
    key_file: keys/wal.key
    older_keys: [{key_file: keys/older.key}, {key_env: TENANT}, {key_command: [./kms, "${env:TENANT}"]}]
    on_wrong_key: set_aside
exporters:
  backend:
    endpoint: "https://otlp.example.com/base/"
    protocol: http/protobuf
    compression: gzip
    headers: {Authorization: {prefix: "Bearer ", file: token}, x-tenant: {env: TENANT}, x-plain: "1.10"}
    tls: {ca_file: ca.pem, cert_file: /etc/cert.pem, key_file: ../key.pem, server_name: otlp.internal}
    timeout: 3s
    concurrency: 4
    max_request: 1MiB
    max_delay: 250ms
    max_lag: 2GiB
    max_age: 3d
    from: now
    retry: {initial: 1s, maximum: 1m, give_up_after: 1d}
health: {listen: "127.0.0.1:13134"}
control: {socket: run/control.sock}
system: {root_path: /usr}
reload: {watch: true}
secrets: {api_token: {env: TENANT}}
plugins:
  trust: [{name: ours, key_file: ours.pub}]
  registries:
    registry.example.com: {username: ada, password: {env: TENANT}}
    "127.0.0.1:5000": {plain_http: false, token: {env: TENANT}}
  store: {max_size: 20MiB}
  fetch_timeout: 7s
"#;

/// One key and no more.
fn places(current: KeyPlace) -> KeyPlaces {
    KeyPlaces { current, create: false, older: Vec::new(), on_wrong_key: OnWrongKey::Refuse }
}

fn complete() -> Folder {
    let folder = Folder::with(COMPLETE);
    folder.write(
        "extra.yaml",
        "exporters: {archive: {endpoint: 'http://[::1]:4318', max_age: none, retry: {give_up_after: never}}}\n",
    );
    folder.write("token", "t0ken-of-sixteen\n");
    folder.write("ours.pub", whimbrel_plugin_host::trust::SecretKey::generate().unwrap().public().to_pem());
    folder
}

#[test]
fn every_key_is_read_into_its_place() {
    let folder = complete();
    let environment = folder.environment().with("TENANT", "blue");
    let loaded = folder.load_from(&[], &environment).unwrap();
    let here = |path: &str| folder.path().join(path);
    let config = &loaded.config;

    assert_eq!(config.data_dir, here("data"));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
    let resource: Vec<(&str, &str)> =
        config.resource.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected =
        [("empty", ""), ("number", "007"), ("service.name", "edge-gateway"), ("service.version", "1.10")];
    assert_eq!(resource, expected);

    let [host, nginx] = config.collectors.as_slice() else { panic!("{:?}", config.collectors) };
    assert_eq!((host.name.as_str(), &host.plugin), ("host", &PluginRef::Builtin("host".to_owned())));
    assert_eq!(host.interval, Duration::from_secs(1));
    let expected = serde_json::json!({
        "url": "http://127.0.0.1/status", "depth": 3, "ratio": 0.5, "on": true, "none": null, "text": "3",
        "list": ["a", {"b": "c"}],
    });
    assert_eq!(host.config, expected);
    assert_eq!(host.grants.system, SystemGrant::Parts(vec!["cpu".to_owned(), "memory".to_owned()]));
    assert_eq!(host.limits.memory, 16 << 20);
    assert_eq!(host.limits.deadline, Duration::from_millis(400));
    assert_eq!(host.limits.init, Duration::from_secs(5));
    assert_eq!((host.limits.output, host.limits.log_rate), (1 << 20, 10));
    assert_eq!((host.limits.tables, host.limits.resources), (20, 30));
    assert_eq!(host.limits.stack, 1 << 20, "in steps of 64 KiB");
    assert_eq!(nginx.plugin, PluginRef::Path(here("plugins/nginx.wasm")));

    assert_eq!(config.wal.sync, Sync::Interval(Duration::from_millis(500)));
    assert_eq!(config.wal.max_size, 10 << 30, "a tenth of 100 GiB");
    assert_eq!(config.wal.retain, Duration::from_secs(7200));
    assert_eq!((config.wal.on_full_collectors, config.wal.zstd_level), (OnFull::Block, 3));
    assert_eq!(config.wal.on_full_receivers, OnFull::DropNewest);
    let keys = KeyPlaces {
        current: KeyPlace::File(here("keys/wal.key")),
        create: false,
        older: vec![
            KeyPlace::File(here("keys/older.key")),
            KeyPlace::Env("TENANT".to_owned()),
            KeyPlace::Command(vec![here("kms").display().to_string(), "blue".to_owned()]),
        ],
        on_wrong_key: OnWrongKey::SetAside,
    };
    assert_eq!(config.wal.encryption, Encryption::Aes256Gcm(keys));

    let [archive, backend] = config.exporters.as_slice() else { panic!("{:?}", config.exporters) };
    assert_eq!((archive.endpoint.as_str(), archive.retry.give_up_after), ("http://[::1]:4318", None));
    assert_eq!(backend.endpoint, "https://otlp.example.com/base");
    assert_eq!(backend.compression, Compression::Gzip);
    let headers: Vec<(&str, &str)> =
        backend.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(
        headers,
        [("authorization", "Bearer t0ken-of-sixteen"), ("x-tenant", "blue"), ("x-plain", "1.10")]
    );
    assert_eq!(backend.tls.ca_file, Some(here("ca.pem")));
    assert_eq!(backend.tls.cert_file, Some("/etc/cert.pem".into()));
    assert_eq!(backend.tls.key_file, Some(here("../key.pem")));
    assert_eq!(backend.tls.server_name.as_deref(), Some("otlp.internal"));
    assert_eq!((backend.timeout, backend.concurrency), (Duration::from_secs(3), Some(4)));
    assert_eq!((backend.max_request, backend.max_delay), (1 << 20, Duration::from_millis(250)));
    assert_eq!((backend.max_lag, backend.from), (Some(2 << 30), Beginning::Now));
    assert_eq!(backend.max_age, Some(Duration::from_secs(3 * 86_400)));
    assert_eq!(backend.retry.initial, Duration::from_secs(1));
    assert_eq!(backend.retry.maximum, Duration::from_secs(60));
    assert_eq!(backend.retry.give_up_after, Some(Duration::from_secs(86_400)));
    assert_eq!((archive.protocol, backend.protocol), (Protocol::HttpProtobuf, Protocol::HttpProtobuf));
    assert_eq!(backend.metrics().url, "https://otlp.example.com/base/v1/metrics");
    assert_eq!(backend.logs().url, "https://otlp.example.com/base/v1/logs");
    assert_eq!(backend.traces().url, "https://otlp.example.com/base/v1/traces");

    assert_eq!(config.health, Some("127.0.0.1:13134".parse().unwrap()));
    assert_eq!(config.system, System::at(std::path::Path::new("/usr")));
    assert_eq!(config.control_socket, here("run/control.sock"));
    assert!(loaded.warnings.is_empty() && loaded.notes.is_empty(), "{loaded:#?}");
    assert_eq!(loaded.names, ["whimbrel.yaml", "extra.yaml"]);
    assert_eq!(loaded.files, [here("whimbrel.yaml"), here("extra.yaml")]);
}

/// So that a key that is added must be added to [`COMPLETE`].
#[test]
fn the_complete_example_has_every_key() {
    fn below<'t>(nodes: Vec<&'t Node>, part: &str) -> Vec<&'t Node> {
        let mut found = Vec::new();
        for node in nodes {
            let Value::Map(entries) = &node.value else { continue };
            found.extend(
                entries.iter().filter(|entry| part == "*" || entry.key == part).map(|entry| &entry.value),
            );
        }
        found
    }
    let folder = complete();
    let loaded = folder.load_from(&[], &folder.environment().with("TENANT", "blue")).unwrap();
    for keys in SECTIONS {
        let parts = keys.path.split('.').filter(|part| !part.is_empty());
        let sections = parts.fold(vec![&loaded.root], below);
        let given: BTreeSet<&str> = sections
            .iter()
            .flat_map(|node| keys.now.iter().filter(|key| node.get(key).is_some()))
            .copied()
            .collect();
        let elsewhere = match keys.path {
            // Taken out once they are followed, and tested with `key_file` in its place.
            // Programs are warned of, and have their own example in `exec`.
            "" => vec!["include", "allow_exec"],
            "collectors.*" => vec!["exec"],
            "collectors.*.exec" => continue,
            "wal.encryption" => vec!["key_env", "key_command"],
            // Read where it is named, and tested over a registry with TLS.
            "plugins.registries.*" => vec!["ca_file"],
            _ => vec![],
        };
        let missing: Vec<_> =
            keys.now.iter().filter(|key| !given.contains(*key) && !elsewhere.contains(key)).collect();
        assert!(missing.is_empty(), "{} lacks {missing:?}", keys.path);
    }
}

#[test]
fn without_keys_the_documented_defaults_hold() {
    let folder = Folder::with(MINIMAL);
    let loaded = folder.load().unwrap();
    let config = &loaded.config;
    let data = folder.path().join("whimbrel-data");
    assert_eq!(config.data_dir, data);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Auto));
    assert!(config.resource.is_empty());
    let [host] = config.collectors.as_slice() else { panic!() };
    assert_eq!((host.interval, &host.config), (Duration::from_secs(10), &serde_json::json!({})));
    assert_eq!(host.limits.deadline, Duration::from_secs(5));
    assert_eq!((host.limits.memory, host.limits.init), (64 << 20, Duration::from_secs(30)));
    assert_eq!((host.limits.output, host.limits.log_rate), (8 << 20, 100));
    assert_eq!((host.limits.tables, host.limits.resources, host.limits.stack), (100_000, 1000, 512 << 10));
    assert_eq!((config.wal.sync, config.wal.max_size, config.wal.zstd_level), (Sync::Always, 2 << 30, 1));
    assert_eq!((config.wal.on_full_collectors, config.wal.retain), (OnFull::DropOldest, Duration::ZERO));
    assert_eq!(config.wal.on_full_receivers, OnFull::Block);
    assert!(config.receivers.is_empty());
    let keys = KeyPlaces { create: true, ..places(KeyPlace::File(data.join("wal.key"))) };
    assert_eq!(config.wal.encryption, Encryption::Aes256Gcm(keys));
    let [backend] = config.exporters.as_slice() else { panic!() };
    assert_eq!((backend.compression, backend.timeout), (Compression::Auto, Duration::from_secs(10)));
    assert_eq!((backend.concurrency, backend.max_request), (None, (4 << 20) - (64 << 10)));
    assert_eq!(backend.max_delay, Duration::from_secs(1));
    assert_eq!((backend.max_lag, backend.max_age, backend.from), (None, None, Beginning::Oldest));
    assert_eq!(backend.retry.initial, Duration::from_millis(500));
    assert_eq!((backend.retry.maximum, backend.retry.give_up_after), (Duration::from_secs(30), None));
    assert_eq!((config.health, &config.control_socket), (None, &data.join("control.sock")));
    assert_eq!(config.system, System::at(std::path::Path::new("/")));
    assert_eq!(config.system.proc_path, std::path::Path::new("/proc"));
}

#[test]
fn a_grant_is_nothing_unless_it_is_given() {
    for (grants, expected) in [
        ("", SystemGrant::None),
        (", grants: {}", SystemGrant::None),
        (", grants: ", SystemGrant::None),
        (", grants: {system: false}", SystemGrant::None),
        (", grants: {system: []}", SystemGrant::None),
        (", grants: {system: true}", SystemGrant::All),
        (", grants: {system: [disk]}", SystemGrant::Parts(vec!["disk".to_owned()])),
    ] {
        let loaded = Folder::with(format!("collectors: {{x: {{plugin: p{grants}}}}}")).load().unwrap();
        assert_eq!(loaded.config.collectors[0].grants.system, expected, "{grants}");
    }
}

#[test]
fn every_sync_and_key_is_read() {
    let load = |wal: &str| {
        let folder = Folder::with(format!("{MINIMAL}wal: {wal}\n"));
        let environment = folder.environment().with("KEY", "00");
        folder.load_from(&[], &environment).unwrap().config.wal
    };
    assert_eq!(load("{sync: always}").sync, Sync::Always);
    assert_eq!(load("{sync: interval}").sync, Sync::Interval(Duration::from_millis(200)));
    assert_eq!(load("{sync: {interval: 1s}}").sync, Sync::Interval(Duration::from_secs(1)));
    assert_eq!(load("{sync: never}").sync, Sync::Never);
    assert_eq!(load("{encryption: none}").encryption, Encryption::None);
    let under = |place| Encryption::Aes256Gcm(places(place));
    assert_eq!(load("{encryption: {key_env: KEY}}").encryption, under(KeyPlace::Env("KEY".to_owned())));
    let command = KeyPlace::Command(vec!["kms".to_owned(), "get".to_owned(), "$HOME; x".to_owned()]);
    assert_eq!(load("{encryption: {key_command: [kms, get, '$$HOME; x']}}").encryption, under(command));
    assert!(matches!(
        load("{encryption: {on_wrong_key: set_aside}}").encryption,
        Encryption::Aes256Gcm(KeyPlaces { create: true, on_wrong_key: OnWrongKey::SetAside, .. })
    ));
    assert!(matches!(
        load("{encryption: {older_keys: [{key_env: KEY}]}}").encryption,
        Encryption::Aes256Gcm(KeyPlaces { create: true, older, .. }) if older.len() == 1
    ));
    assert_eq!(load("{max_size: '${env:SIZE:-64MiB}'}").max_size, 64 << 20);
    assert_eq!(load("{max_size: '${env:SIZE:-1}%'}").max_size, 1 << 30);
}

#[test]
fn a_share_of_a_disk_that_is_too_small_is_refused() {
    let folder = Folder::with(format!("{MINIMAL}wal: {{max_size: 1%}}\n"));
    let environment = crate::config::FixedEnvironment { disk_size: 100 << 20, ..folder.environment() };
    let problems = super::lines(&folder.load_from(&[], &environment).unwrap_err());
    assert!(problems[0].contains("`1%` is less than 8MiB of a disk of 100 MiB"), "{problems:?}");
}

/// What `config show --effective` prints is itself a configuration, of the same effect.
#[test]
fn what_is_shown_as_effective_reads_back_as_the_same() {
    let folder = complete();
    let environment = folder.environment().with("TENANT", "blue");
    let shown = folder.load_from(&[], &environment).unwrap().effective().to_yaml().unwrap();
    // What stands for a secret is too short to be one.
    let again =
        Folder::with(shown.replace("[redacted]", "[redacted, of sixteen]".replace(' ', "_").as_str()));
    let environment = again.environment().with("TENANT", "blue");
    assert_eq!(again.load_from(&[], &environment).unwrap().effective().to_yaml().unwrap(), shown);
    assert!(shown.contains("root_path: /usr"), "{shown}");
    assert!(shown.contains("give_up_after: 1d") && shown.contains("max_size: 10GiB"), "{shown}");
}

#[test]
fn what_is_shown_as_written_reads_back_as_the_same() {
    let folder = Folder::with(
        MINIMAL.to_owned() + "resource: {a: 1.10, b: 0x10, c: '~', d: yes, e: 'true', f: 1e3}\n",
    );
    let loaded = folder.load().unwrap();
    let again = Folder::with(loaded.written().to_yaml().unwrap()).load().unwrap();
    assert_eq!(again.config.resource, loaded.config.resource);
    assert_eq!(loaded.config.resource["a"], "1.10");
}
