//! Golden messages: what is wrong, where, and what to do.

use super::{Folder, MINIMAL, lines};
use crate::config::check::SECTIONS;

#[test]
fn five_mistakes_in_one_file_are_all_named_with_line_and_remedy() {
    let folder = Folder::with(
        "\
collectors:
  host:
    plugin: builtin:hots
    intervall: 10s
exporters:
  backend:
    endpoint: otlp.example.com:4317
    timeout: 10
wal: {max_size: 1MiB}
",
    );
    let problems = folder.load().unwrap_err();
    assert_eq!(
        lines(&problems),
        [
            "whimbrel.yaml:3:13: collectors.host.plugin: `builtin:hots` is not shipped with the agent => did you mean \
             `builtin:host`?",
            "whimbrel.yaml:4:5: collectors.host.intervall: unknown key `intervall` => did you mean `interval`?",
            "whimbrel.yaml:7:15: exporters.backend.endpoint: `otlp.example.com:4317` is not a URL => write a URL: \
             http://127.0.0.1:4318 or https://otlp.example.com",
            "whimbrel.yaml:8:14: exporters.backend.timeout: `10` has no unit => write 10s for seconds, or use ms, m, h, d",
            "whimbrel.yaml:9:17: wal.max_size: `1MiB` is less than 8MiB => write 8MiB to 1024TiB",
        ]
    );
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1, "nothing is made beside the file");
}

#[test]
fn a_problem_is_shown_with_its_line_a_caret_and_the_remedy() {
    let folder = Folder::with(format!("{MINIMAL}log: {{level: verbose, format: text}} # a comment\n"));
    assert_eq!(
        folder.load().unwrap_err().to_string(),
        "\
whimbrel.yaml:3:14: log.level: `verbose` is not known here
     3 | log: {level: verbose, format: …}
       |              ^
       = write `error`, `warn`, `info`, `debug` or `trace`
"
    );
}

#[test]
fn problems_are_told_to_programs_with_the_same_fields() {
    let folder = Folder::with(format!("{MINIMAL}log: {{level: info}}\nlog: {{level: warn}}\n"));
    let expected = serde_json::json!([{
        "file": "whimbrel.yaml", "line": 4, "column": 1, "key": "log",
        "problem": "the key `log` is given twice", "remedy": "keep one of the two",
        "also": {"file": "whimbrel.yaml", "line": 3, "column": 1},
    }]);
    assert_eq!(folder.load().unwrap_err().to_json(), expected);
}

/// Texts put below [`MINIMAL`], from line 3, and what is said of them.
const TABLE: &[(&str, &[&str])] = &[
    ("lgo: {level: info}", &["3:1: lgo: unknown key `lgo` => did you mean `log`?"]),
    ("interval: 10s", &["3:1: interval: unknown key `interval` => `interval` belongs in `collectors.NAME`"]),
    (
        "banana: 1",
        &[
            "3:1: banana: unknown key `banana` => known here: include, data_dir, log, resource, allow_exec, collectors, receivers, wal, \
           exporters, secrets, health, control, system, plugins, reload",
        ],
    ),
    ("reciever: {}", &["3:1: reciever: unknown key `reciever` => did you mean `receivers`?"]),
    (
        "log: loud",
        &["3:6: log: a map is needed here, and this is a single value => write `level` or `format` as keys \
                      and values below it"],
    ),
    (
        "log: [level]",
        &["3:6: log: a map is needed here, and this is a list => write `level` or `format` as keys and \
                         values below it"],
    ),
    (
        "log: {level: [info]}",
        &["3:14: log.level: a single value is needed here, and this is a list => write one value \
                                 behind the colon"],
    ),
    ("log: {level: }", &["3:12: log.level: has no value => give it one, or remove the key"]),
    (
        "log: {level: debgu}",
        &["3:14: log.level: `debgu` is not known here => did you mean `debug`? Known: error, warn, \
                                info, debug, trace"],
    ),
    (
        "log: {format: journal}",
        &["3:15: log.format: `journal` is not in this version => write `auto`, `text` or \
                                   `json`: in this version `auto` writes JSON to the journal"],
    ),
    (
        "data_dir: ~/data",
        &["3:11: data_dir: `~/data` begins with `~`, which only a shell knows => write `${env:HOME}` \
                             in its place"],
    ),
    ("data_dir: ''", &["3:11: data_dir: `` is not a path => name a file or folder"]),
    (
        "health: {listen: 'localhost:80'}",
        &["3:18: health.listen: `localhost:80` names a host => write 127.0.0.1:80"],
    ),
    (
        "health: {listen: ':80'}",
        &["3:18: health.listen: `:80` has no address => write 127.0.0.1:80, or 0.0.0.0:80 for \
                                    all"],
    ),
    (
        "health: {listen: 127.0.0.1}",
        &["3:18: health.listen: `127.0.0.1` is not an address and a port => write an IP \
                                        address and a port: 127.0.0.1:13134 or [::1]:13134"],
    ),
    (
        "system: {root_path: hostfs}",
        &[
            "3:21: system.root_path: `hostfs` is not an absolute path => name the folder where the host's root is \
           mounted: /hostfs",
        ],
    ),
    (
        "system: {root_path: /nowhere/hostfs}",
        &[
            "3:21: system.root_path: `/nowhere/hostfs` can't be read: entity not found => name the folder where the \
           host's root is mounted: /hostfs",
        ],
    ),
    (
        "system: {root_path: /dev/null}",
        &[
            "3:21: system.root_path: `/dev/null` is not a folder => name the folder where the host's root is mounted: \
           /hostfs",
        ],
    ),
    ("system: {root_path: }", &["3:19: system.root_path: has no value => give it one, or remove the key"]),
    ("health: {}", &["3:9: health: has no `listen` => add `listen: 127.0.0.1:13134`, or remove `health`"]),
    (
        "resource: {a: [b]}",
        &["3:15: resource.a: a single value is needed here, and this is a list => write one value \
                               behind the colon"],
    ),
    ("resource: {'': b}", &["3:12: resource.\"\": an attribute has no name => give it one"]),
    (
        "wal: {sync: sometimes}",
        &["3:13: wal.sync: `sometimes` is not known here => write `always`, `interval` or \
                                   `never`"],
    ),
    ("wal: {sync: {interval: 2h}}", &["3:24: wal.sync.interval: `2h` is more than 1h => write 1ms to 1h"]),
    (
        "wal: {max_size: 95%}",
        &["3:17: wal.max_size: `95%` is not within 0.1% and 90% => write 0.1% to 90%, or a size \
                                 such as 2GiB"],
    ),
    (
        "wal: {max_size: many}",
        &["3:17: wal.max_size: `many` is not a size => write a number and a unit: 512KiB, 64MiB, \
                                  2GiB (or kB, MB, GB)"],
    ),
    ("wal: {max_size: 64M}", &["3:17: wal.max_size: `64M` is not a size => write 64MiB"]),
    ("wal: {retain: 400d}", &["3:15: wal.retain: `400d` is more than 365d => write 0s to 365d"]),
    ("wal: {zstd_level: 20}", &["3:19: wal.zstd_level: `20` is more than 19 => write 0 to 19"]),
    ("wal: {zstd_level: -1}", &["3:19: wal.zstd_level: `-1` is less than 0 => write 0 to 19"]),
    (
        "wal: {zstd_level: 1.5}",
        &["3:19: wal.zstd_level: `1.5` is not a whole number => write a whole number, 0 to 19"],
    ),
    (
        "wal: {on_full: block}",
        &["3:16: wal.on_full: `block` says not whose batches are meant => write {collectors: \
                                  block, receivers: block}"],
    ),
    (
        "wal: {on_full: {receivers: drop_newst}}",
        &[
            "3:28: wal.on_full.receivers: `drop_newst` is not known here => did you mean `drop_newest`? Known: block, \
                                                      drop_oldest, drop_newest",
        ],
    ),
    (
        "wal: {encryption: aes}",
        &["3:19: wal.encryption: `aes` is not a way to encrypt => write none, {key_file: PATH} \
                                   or {key_env: NAME}; without `encryption`, a key file is made"],
    ),
    (
        "wal: {encryption: {key_file: a, key_env: B}}",
        &["3:19: wal.encryption: has both `key_file` and `key_env` => \
                                                         keep one of the two"],
    ),
    (
        "wal: {encryption: {key_file: a, key_command: [b]}}",
        &["3:19: wal.encryption: has both `key_file` and `key_command` => keep one of the two"],
    ),
    (
        "wal: {encryption: {key_command: kms}}",
        &["3:33: wal.encryption.key_command: a list is needed here, and this is a single value => write \
                                   [program, argument, ...]; it is run without a shell"],
    ),
    (
        "wal: {encryption: {key_command: []}}",
        &["3:33: wal.encryption.key_command: names no program => write [program, argument, ...]; it is run \
                                   without a shell"],
    ),
    (
        "wal: {encryption: {key_command: ['']}}",
        &["3:34: wal.encryption.key_command[0]: `` is not a path => name a file or folder"],
    ),
    (
        "wal: {encryption: {older_keys: {key_file: a}}}",
        &["3:32: wal.encryption.older_keys: a list is needed here, and this is a map => write \
                                   [{key_file: PATH}]; key_env and key_command can stand there too"],
    ),
    (
        "wal: {encryption: {older_keys: [{}, {key_fil: a}]}}",
        &[
            "3:33: wal.encryption.older_keys[0]: names no key => write {key_file: PATH}, {key_env: NAME} or \
                                   {key_command: [...]}",
            "3:38: wal.encryption.older_keys[1].key_fil: unknown key `key_fil` => did you mean `key_file`?",
        ],
    ),
    (
        "wal: {encryption: {key_env: NOT_SET}}",
        &["3:29: wal.encryption.key_env: the value asks for $NOT_SET, which is \
                                                  not set => set it, or name another"],
    ),
    (
        "wal: {encryption: {on_wrong_key: ignore}}",
        &["3:34: wal.encryption.on_wrong_key: `ignore` is not known here => \
                                                      write `refuse` or `set_aside`"],
    ),
    (
        "control: {socket: '${env:NOT_SET}'}",
        &["3:19: control.socket: the value asks for $NOT_SET, which is not set => \
                                              set it, or give a default: `${env:NOT_SET:-default}`"],
    ),
    (
        "control: {socket: ${env:NOT_SET}}",
        &["3:20: : `${...}` stands without quotes inside `{...}` or `[...]` => put it in quotes: \"${...}\""],
    ),
    (
        "include: [${env:NOT_SET}]",
        &["3:12: : `${...}` stands without quotes inside `{...}` or `[...]` => put it in quotes: \"${...}\""],
    ),
    (
        "data_dir: ${HOME}/x",
        &["3:11: data_dir: the value asks for `HOME`, which is neither `env:NAME` nor `file:PATH` \
                               => write `${env:HOME}`, or `$$` for a dollar"],
    ),
    (
        "data_dir: ${env:A-B}",
        &["3:11: data_dir: the value names no environment variable => use the name of one: \
                                 letters, digits and `_`, not beginning with a digit"],
    ),
    (
        "data_dir: '${env:HOME'",
        &["3:11: data_dir: the value has a `${` without its `}` => close it, or write `$$` for \
                                   a dollar"],
    ),
    (
        "data_dir: '${env:A:-${env:B}}'",
        &["3:11: data_dir: the value has a `${` within a `${` => what is put in can't \
                                           be put together; set one variable"],
    ),
    (
        "data_dir: '${env:ONE}${env:TWO}'",
        &[
            "3:11: data_dir: the value asks for $ONE, which is not set => set it, or \
                                             give a default: `${env:ONE:-default}`",
            "3:11: data_dir: the value asks for $TWO, which is not set => set it, or \
                                             give a default: `${env:TWO:-default}`",
        ],
    ),
    ("<<: {a: b}", &["3:1: : merge keys (`<<`) belong to YAML 1.1 and are not read => write the keys out"]),
    ("1: x", &["3:1: : the key `1` is not a text => put it in quotes: \"1\""]),
    ("[a]: x", &["3:1: : a list can't be a key => use a text; put `[...]` in quotes if it is one"]),
    ("{a: b}: x", &["3:1: : a map can't be a key => use a text; put `{...}` in quotes if it is one"]),
    (": x", &["3:1: : a key is missing before the colon => write one, in quotes if it is meant to be empty"]),
    (
        "log: *nowhere",
        &["3:6: : the alias names an anchor that is not defined above it => define it, or put the text \
                          in quotes"],
    ),
    (
        "log: !mine {}",
        &[
            "3:12: : a tag stands here (`!...`) that is not known => remove it, or put the value in quotes if it begins with `!`",
        ],
    ),
    ("log: {level: 'info}", &["3:14: : a quote is opened here and not closed => close it"]),
    ("log: {level: info", &["3:6: : a bracket `{` is opened and not closed => close it"]),
    ("log:\n\tlevel: info", &["4:2: : a tab stands where YAML takes only spaces => indent with spaces"]),
    (
        "log: a: b",
        &["3:7: : a colon stands where no key can be => indent keys of one level alike, and put text that \
                      holds `: ` in quotes"],
    ),
    ("log: @x", &["3:6: : a value can't begin with `@` without quotes => put it in quotes"]),
    (
        "---\nlog: {}",
        &["3:1: : a second document begins here, and one file holds one => move it to a file of its own \
                         and `include` it"],
    ),
];

#[test]
fn each_mistake_is_told_with_its_place_and_a_remedy() {
    let mut differing = Vec::new();
    for (text, expected) in TABLE {
        let problems = Folder::with(format!("{MINIMAL}{text}\n")).problems();
        let expected: Vec<String> = expected.iter().map(|line| format!("whimbrel.yaml:{line}")).collect();
        if problems != expected {
            differing.push(format!("for {text}\n  said:     {problems:#?}\n  expected: {expected:#?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Values of a collector, at `collectors.x`.
const COLLECTORS: &[(&str, &str)] = &[
    ("", "collectors.x: has no `plugin`"),
    ("plugin: ''", "collectors.x.plugin: `` names no plugin"),
    ("plugin: 'builtin:zzzzz'", "collectors.x.plugin: `builtin:zzzzz` is not shipped with the agent"),
    ("plugin: 'oci://a/b'", "collectors.x.plugin: `oci://a/b` says no version"),
    ("plugin: 'oci:a/b:c'", "collectors.x.plugin: `oci:a/b:c` is no reference to a registry"),
    (
        "plugin: 'https://a/b'",
        "collectors.x.plugin: `https://a/b` is a URL, and a plugin is a file or in a registry",
    ),
    ("plugin: p, interval: 99ms", "collectors.x.interval: `99ms` is less than 100ms"),
    ("plugin: p, interval: 31d", "collectors.x.interval: `31d` is more than 30d"),
    ("plugin: p, interval: soon", "collectors.x.interval: `soon` is not a duration"),
    ("plugin: p, temporality: delta", "collectors.x.temporality: `delta` is not in this version"),
    (
        "plugin: p, config: 5",
        "collectors.x.config: a plugin's configuration is a map, and this is a single value",
    ),
    ("plugin: p, config: {a: [.inf]}", "collectors.x.config.a[0]: the value is a number that JSON can't say"),
    (
        "plugin: p, config: {a: 99999999999999999999}",
        "collectors.x.config.a: the value is a number of more than 64 bits",
    ),
    (
        "plugin: p, config: {a: '${env:NO}'}",
        "collectors.x.config.a: the value asks for $NO, which is not set",
    ),
    (
        "plugin: p, grants: {system: cpu}",
        "collectors.x.grants.system: `cpu` stands alone, and a list is needed",
    ),
    ("plugin: p, grants: {system: yes}", "collectors.x.grants.system: `yes` grants nothing"),
    (
        "plugin: p, grants: {system: {cpu: true}}",
        "collectors.x.grants.system: a list is needed here, and this is a map",
    ),
    (
        "plugin: p, grants: {system: [cpus]}",
        "collectors.x.grants.system[0]: `cpus` is not a part of the system",
    ),
    ("plugin: p, grants: [system]", "collectors.x.grants: a map is needed here, and this is a list"),
    ("plugin: p, limits: {memory: 512KiB}", "collectors.x.limits.memory: `512KiB` is less than 1MiB"),
    ("plugin: p, limits: {memory: 5GiB}", "collectors.x.limits.memory: `5GiB` is more than 4GiB"),
    ("plugin: p, limits: {deadline: 5ms}", "collectors.x.limits.deadline: `5ms` is less than 10ms"),
    ("plugin: p, limits: {init: 11m}", "collectors.x.limits.init: `11m` is more than 10m"),
    ("plugin: p, limits: {output: 2GiB}", "collectors.x.limits.output: `2GiB` is more than 1GiB"),
    ("plugin: p, limits: {log_rate: 100001}", "collectors.x.limits.log_rate: `100001` is more than 100000"),
    (
        "plugin: p, limits: {log_lines: 10}",
        "collectors.x.limits.log_lines: `log_lines` is not in this version",
    ),
    ("plugin: p, limits: {tables: -1}", "collectors.x.limits.tables: `-1` is less than 0"),
    ("plugin: p, limits: {resources: 100001}", "collectors.x.limits.resources: `100001` is more than 100000"),
    ("plugin: p, limits: {stack: 9MiB}", "collectors.x.limits.stack: `9MiB` is more than 8MiB"),
    ("plugin: p, limits: {heap: 1MiB}", "collectors.x.limits.heap: unknown key `heap`"),
];

#[test]
fn a_collector_is_checked_key_by_key() {
    for (text, expected) in COLLECTORS {
        check_one(&format!("collectors: {{x: {{{text}}}}}\n"), text, expected);
    }
}

/// Values of an exporter, at `exporters.x`.
const EXPORTERS: &[(&str, &str)] = &[
    ("", "exporters.x: has no `endpoint`"),
    ("endpoint: 'grpc://h'", "exporters.x.endpoint: `grpc://h` is neither http nor https"),
    ("endpoint: 'http://h?a=b'", "exporters.x.endpoint: the value has a query or a fragment"),
    (
        "endpoint: 'http://h/${file:f}'",
        "exporters.x.endpoint: an endpoint is shown in `status` and logs, so no file \
                                        can be put into it",
    ),
    (
        "endpoint: 'http://h/base', protocol: grpc",
        "exporters.x.endpoint: `http://h/base` has a path, and gRPC has none",
    ),
    (
        "endpoint: 'http://h:4317/v1/metrics'",
        "exporters.x.endpoint: `http://h:4317/v1/metrics` has a path, and gRPC has none",
    ),
    ("endpoint: 'http://h', protocol: http/json", "exporters.x.protocol: `http/json` is not in this version"),
    ("endpoint: 'http://h', compression: lz4", "exporters.x.compression: `lz4` is not known here"),
    ("endpoint: 'http://h', timeout: 0s", "exporters.x.timeout: `0s` is less than 100ms"),
    ("endpoint: 'http://h', concurrency: 9", "exporters.x.concurrency: `9` is more than 8"),
    ("endpoint: 'http://h', max_request: 1KiB", "exporters.x.max_request: `1KiB` is less than 64KiB"),
    ("endpoint: 'http://h', max_delay: 2h", "exporters.x.max_delay: `2h` is more than 1h"),
    ("endpoint: 'http://h', retry: {initial: 1ms}", "exporters.x.retry.initial: `1ms` is less than 10ms"),
    ("endpoint: 'http://h', retry: {maximum: 2h}", "exporters.x.retry.maximum: `2h` is more than 1h"),
    (
        "endpoint: 'http://h', retry: {initial: 1m}",
        "exporters.x.retry: the first backoff (1m) is longer than the \
                                                    longest (30s)",
    ),
    (
        "endpoint: 'http://h', retry: {give_up_after: 1ms}",
        "exporters.x.retry.give_up_after: `1ms` is less than 1s",
    ),
    (
        "endpoint: 'http://h', headers: x",
        "exporters.x.headers: a map is needed here, and this is a single value",
    ),
    ("endpoint: 'http://h', headers: {a b: x}", "exporters.x.headers.a…: `a…` can't be the name of a header"),
    (
        "endpoint: 'http://h', headers: {Host: x}",
        "exporters.x.headers.Host: `host` is set by the exporter itself",
    ),
    (
        "endpoint: 'http://h', headers: {a: x, A: y}",
        "exporters.x.headers.A: the header `a` is given twice, in upper \
                                                     and lower case",
    ),
    (
        "endpoint: 'http://h', headers: {a: \"x\\ny\"}",
        "exporters.x.headers.a: the value holds a line break or another \
                                                       character that a header can't",
    ),
    ("endpoint: 'http://h', headers: {a: {}}", "exporters.x.headers.a: has neither `file` nor `env`"),
    (
        "endpoint: 'http://h', headers: {a: {file: f, env: E}}",
        "exporters.x.headers.a: has both `file` and `env`",
    ),
    (
        "endpoint: 'http://h', headers: {a: {env: NOT_SET}}",
        "exporters.x.headers.a.env: the value asks for $NOT_SET, \
                                                            which is not set",
    ),
    (
        "endpoint: 'http://h', headers: {a: {command: c}}",
        "exporters.x.headers.a.command: `command` is not in this \
                                                          version",
    ),
    (
        "endpoint: 'http://h', headers: {a: {prefx: c, env: PATH}}",
        "exporters.x.headers.a.prefx: unknown key `prefx`",
    ),
    ("endpoint: 'http://h', tls: {cert_file: c}", "exporters.x.tls: has `cert_file` without `key_file`"),
    ("endpoint: 'http://h', tls: {key_file: c}", "exporters.x.tls: has `key_file` without `cert_file`"),
    (
        "endpoint: 'http://h', tls: {server_name: 'a b'}",
        "exporters.x.tls.server_name: `a b` is neither a host name \
                                                         nor an IP address",
    ),
    ("endpoint: 'http://h', max_lag: 1KiB", "exporters.x.max_lag: `1KiB` is less than 1MiB"),
    ("endpoint: 'http://h', max_lag: 80%", "exporters.x.max_lag: `80%` is not a size"),
    (
        "endpoint: 'http://h', max_lag: 3GiB",
        "exporters.x.max_lag: `3GiB` is more than the whole WAL may take, which is 2GiB (`wal.max_size`)",
    ),
    ("endpoint: 'http://h', max_age: 0s", "exporters.x.max_age: `0s` is less than 1s"),
    ("endpoint: 'http://h', max_age: 366d", "exporters.x.max_age: `366d` is more than 365d"),
    ("endpoint: 'http://h', max_age: never", "exporters.x.max_age: `never` is not a duration"),
    ("endpoint: 'http://h', from: newest", "exporters.x.from: `newest` is not known here"),
    ("file: {path: x}", "exporters.x.file: `file` is not in this version"),
];

#[test]
fn an_exporter_is_checked_key_by_key() {
    for (text, expected) in EXPORTERS {
        check_one(&format!("exporters: {{x: {{{text}}}}}\n"), text, expected);
    }
}

/// Exactly one problem, that begins as expected and says what to do.
fn check_one(whole: &str, text: &str, expected: &str) {
    let folder = Folder::with(whole);
    let environment = folder.environment().with("PATH", "x");
    let problems = lines(&folder.load_from(&[], &environment).expect_err(text));
    let [problem] = problems.as_slice() else { panic!("one problem for {text}: {problems:#?}") };
    let (place, rest) = problem.split_once(": ").unwrap();
    assert!(place.starts_with("whimbrel.yaml:1:"), "{problem}");
    let (what, remedy) = rest.split_once(" => ").unwrap();
    assert_eq!(what, expected, "for {text}");
    assert!(!remedy.is_empty(), "{problem}");
}

#[test]
fn names_are_bounded() {
    for (name, good) in [
        ("a", true),
        ("nginx-1_x", true),
        ("9", false),
        ("\"9\"", true),
        ("-a", false),
        ("a/b", false),
        ("é", false),
    ] {
        let folder = Folder::with(format!("collectors: {{{name}: {{plugin: p}}}}"));
        assert_eq!(folder.load().is_ok(), good, "{name}");
    }
    let long = "a".repeat(65);
    let problems = Folder::with(format!("exporters: {{{long}: {{endpoint: 'http://h'}}}}")).problems();
    assert!(problems[0].contains("can't be a name"), "{problems:?}");
}

#[test]
fn every_key_of_a_later_version_is_refused_as_such() {
    let mut checked = 0;
    for keys in SECTIONS {
        for (key, instead) in keys.later {
            let mut text = format!("{{{key}: x}}");
            for part in keys.path.rsplit('.').filter(|part| !part.is_empty()) {
                text = format!("{{{}: {text}}}", if part == "*" { "x" } else { part });
            }
            let problems = Folder::with(&text).problems();
            let wanted = format!("`{key}` is not in this version => remove it: {instead}");
            assert!(problems.iter().any(|problem| problem.ends_with(&wanted)), "{text}: {problems:#?}");
            assert!(!problems.iter().any(|problem| problem.contains("unknown key")), "{text}: {problems:#?}");
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked}");
}

#[test]
fn a_socket_path_that_no_system_takes_is_refused() {
    let problems = Folder::with(format!("{MINIMAL}data_dir: /{}\n", "d".repeat(120))).problems();
    assert!(
        problems[0].contains("control.socket: the path of the control socket has 134 bytes"),
        "{problems:?}"
    );
}

#[test]
fn too_many_problems_are_counted() {
    let text: String = (0..150).map(|number| format!("key{number}: x\n")).collect();
    let problems = Folder::with(text).load().unwrap_err();
    assert_eq!((problems.len(), problems.iter().count()), (150, 100));
    assert!(problems.to_string().ends_with("and 50 more\n"));
}

#[test]
fn what_is_allowed_and_likely_not_meant_is_warned_of() {
    for (text, expected) in [
        (
            "exporters: {x: {endpoint: 'http://127.0.0.1:4318', protocol: grpc}}",
            "port 4318 is commonly OTLP over HTTP, and this is gRPC",
        ),
        ("exporters: {x: {endpoint: 'http://h', protocol: grpc}}", "without a port this is port 80"),
        (
            "exporters: {x: {endpoint: 'http://h', headers: {a: b}}}",
            "headers go over the network in clear text",
        ),
        (
            "exporters: {x: {endpoint: 'http://[2001:db8::1]:4318', headers: {a: b}}}",
            "headers go over the network in clear text",
        ),
        (
            "exporters: {x: {endpoint: 'http://h', tls: {ca_file: c}}}",
            "`tls` has no effect on an `http://` endpoint",
        ),
        ("log: {}", "no collector and no receiver is configured"),
        ("collectors: {x: {plugin: p, limits: {deadline: 20s}}}", "the deadline is longer than the interval"),
    ] {
        let loaded = Folder::with(text).load().unwrap();
        assert!(
            lines(&loaded.warnings).iter().any(|warning| warning.contains(expected)),
            "{text}: {loaded:#?}"
        );
    }
    for quiet in [
        MINIMAL.to_owned(),
        MINIMAL.replace("'http://127.0.0.1:4318'", "'http://127.0.0.1:4317', protocol: http/protobuf"),
        MINIMAL.replace("'http://127.0.0.1:4318'", "'http://127.0.0.1:4317', protocol: grpc"),
        MINIMAL.replace("'http://127.0.0.1:4318'", "'https://otlp.example.com', protocol: grpc"),
        MINIMAL.replace("'http://127.0.0.1:4318'", "'http://127.0.0.1:4318', headers: {a: b}"),
    ] {
        assert!(Folder::with(quiet).load().unwrap().warnings.is_empty());
    }
}
