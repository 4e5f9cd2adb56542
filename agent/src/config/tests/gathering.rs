//! Where a configuration comes from, and how several files are one.

use std::path::PathBuf;

use super::{Folder, MINIMAL, lines};
use crate::config::{FixedEnvironment, Given, PluginRef, Sources, load};

#[test]
fn files_are_looked_for_in_the_documented_order() {
    let folder = Folder::new();
    let environment = folder.environment();
    let sources = Sources { given: vec![], search: vec!["first.yaml".into(), "second.yaml".into()] };
    let names = |environment: &FixedEnvironment| load(&sources, environment).unwrap().names;

    assert_eq!(names(&environment), ["built-in configuration"]);
    folder.write("second.yaml", MINIMAL);
    assert_eq!(names(&environment), ["second.yaml"]);
    folder.write("first.yaml", MINIMAL);
    assert_eq!(names(&environment), ["first.yaml"]);
    folder.write("third.yaml", MINIMAL);
    let environment = environment.clone().with("WHIMBREL_CONFIG", "third.yaml");
    assert_eq!(names(&environment), ["third.yaml"]);
    let given = Sources { given: vec![Given::Path("second.yaml".into())], ..sources.clone() };
    assert_eq!(load(&given, &environment).unwrap().names, ["second.yaml"]);
    assert_eq!(
        Sources::default().search,
        [PathBuf::from("whimbrel.yaml"), "/etc/whimbrel/whimbrel.yaml".into()]
    );
    assert_eq!(
        Sources::from_arguments(["a.yaml", "env:TEXT"]).given,
        [Given::Path("a.yaml".into()), Given::Variable("TEXT".to_owned())]
    );
}

#[test]
fn without_a_configuration_the_host_is_collected_and_a_line_says_so() {
    let folder = Folder::new();
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.config.collectors[0].plugin, PluginRef::Builtin("host".to_owned()));
    assert_eq!(loaded.config.exporters[0].endpoint, "http://localhost:4318");
    assert!(
        loaded.notes[0].starts_with("no configuration found (looked for $WHIMBREL_CONFIG, whimbrel.yaml)")
    );
    assert!(
        loaded.notes[1]
            .starts_with("no exporter is configured: sending OTLP over HTTP to http://localhost:4318")
    );
}

#[test]
fn a_configuration_can_come_from_a_variable() {
    let folder = Folder::new();
    let environment =
        folder.environment().with("TEXT", "data_dir: here\nlog: {level: loud}\n").with("GOOD", MINIMAL);
    let problems = lines(&folder.load_from(&["env:TEXT"], &environment).unwrap_err());
    assert!(problems[0].starts_with("$TEXT:2:14: log.level: `loud` is not known here"), "{problems:?}");
    assert_eq!(folder.load_from(&["env:GOOD"], &environment).unwrap().names, ["$GOOD"]);
    let problems = lines(&folder.load_from(&["env:NONE"], &environment).unwrap_err());
    assert_eq!(
        problems,
        ["$NONE: : the variable is not set => set it to a configuration, or name another with -c"]
    );
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names() {
    let folder = Folder::new();
    folder.write("conf/b.yml", "exporters: {x: {endpoint: 'http://127.0.0.1:1'}}");
    folder.write("conf/a.yaml", "collectors: {host: {plugin: 'builtin:host'}}");
    folder.write("conf/.hidden.yaml", "broken: [");
    folder.write("conf/README.md", "broken: [");
    folder.write("conf/sub.yaml/x.yaml", "broken: [");
    let loaded = folder.load_from(&["conf"], &folder.environment()).unwrap();
    assert_eq!(loaded.names, ["conf/a.yaml", "conf/b.yml"]);
    folder.write("empty/x.txt", "");
    let problems = lines(&folder.load_from(&["empty"], &folder.environment()).unwrap_err());
    assert_eq!(
        problems[0],
        "empty: : the folder holds no *.yaml and no *.yml => name another file or folder with -c"
    );
}

#[test]
fn sections_of_several_files_are_joined() {
    let folder = Folder::with("include: [conf.d/*.yaml, more.yaml]\nlog: {level: debug}\nwal:\n");
    folder.write(
        "conf.d/10-collectors.yaml",
        "collectors: {host: {plugin: 'builtin:host'}, x: {plugin: ./x.wasm}}",
    );
    folder.write(
        "conf.d/20-log.yaml",
        "log: {format: json}\ncollectors: {y: {plugin: y.wasm}}\nwal: {zstd_level: 2}",
    );
    folder.write("more.yaml", "include: conf.e\n");
    folder.write("conf.e/exporter.yaml", "exporters: {x: {endpoint: 'http://127.0.0.1:1'}}\nwal:\n");
    let loaded = folder.load().unwrap();
    let names: Vec<&str> = loaded.config.collectors.iter().map(|collector| collector.name.as_str()).collect();
    assert_eq!(names, ["host", "x", "y"]);
    let plugin = PluginRef::Path(folder.path().join("conf.d/x.wasm"));
    assert_eq!(loaded.config.collectors[1].plugin, plugin, "relative to the file that names it");
    assert_eq!(loaded.config.wal.zstd_level, 2);
    assert_eq!(
        loaded.names,
        [
            "whimbrel.yaml",
            "conf.d/10-collectors.yaml",
            "conf.d/20-log.yaml",
            "more.yaml",
            "conf.e/exporter.yaml"
        ]
    );
}

#[test]
fn the_same_key_in_two_files_names_both() {
    let folder = Folder::with("include: [conf.d/*.yaml]\ndata_dir: a\nlog: {level: info}\n");
    folder.write("conf.d/a.yaml", "log:\n  level: warn\ncollectors:\n  host: {plugin: 'builtin:host'}\n");
    folder.write("conf.d/b.yaml", "data_dir: b\ncollectors:\n  host: {interval: 1s}\nlog: 5\n");
    assert_eq!(
        folder.problems(),
        [
            "conf.d/a.yaml:2:3: log.level: `log.level` is given twice (also whimbrel.yaml:3:7) => keep one of the two",
            "conf.d/b.yaml:1:1: data_dir: `data_dir` is given twice (also whimbrel.yaml:2:1) => keep one of the two",
            "conf.d/b.yaml:3:3: collectors.host: `collectors.host` is given twice (also conf.d/a.yaml:4:3) => keep \
             one of the two",
            "conf.d/b.yaml:4:1: log: `log` is given twice (also whimbrel.yaml:3:1) => keep one of the two",
        ]
    );
    folder.write("one.yaml", "wal: {zstd_level: 1}");
    folder.write("two.yaml", "wal: {zstd_level: 2}");
    let problems = lines(&folder.load_from(&["one.yaml", "two.yaml"], &folder.environment()).unwrap_err());
    assert!(
        problems[0]
            .contains("two.yaml:1:7: wal.zstd_level: `wal.zstd_level` is given twice (also one.yaml:1:7)")
    );
}

#[test]
fn a_file_that_includes_itself_or_another_twice_ends() {
    let folder = Folder::with("include: [whimbrel.yaml]\n");
    assert_eq!(
        folder.problems(),
        ["whimbrel.yaml:1:11: : the file whimbrel.yaml is read already, as whimbrel.yaml => name it once"]
    );
    let folder = Folder::with("include: [a.yaml]\n");
    folder.write("a.yaml", "include: [b.yaml]\n");
    folder.write("b.yaml", "include: [./whimbrel.yaml]\n");
    assert!(folder.problems()[0].starts_with("b.yaml:1:11: : the file whimbrel.yaml is read already"));
}

#[test]
fn a_pattern_may_match_the_file_that_it_stands_in_or_nothing() {
    let folder = Folder::with(format!("include: ['*.yaml', 'none.d/*.yaml']\n{MINIMAL}"));
    folder.write("other.yaml", "log: {level: warn}");
    assert_eq!(folder.load().unwrap().names, ["whimbrel.yaml", "other.yaml"]);
}

#[test]
fn what_can_not_be_included_is_told_where_it_is_named() {
    for (include, expected) in [
        (
            "[nope.yaml]",
            "1:11: : the file nope.yaml can't be read: there is no such file => correct the path, or \
                         remove it from `include`",
        ),
        (
            "nope.yaml",
            "1:10: : the file nope.yaml can't be read: there is no such file => correct the path, or remove \
                       it from `include`",
        ),
        (
            "['a[']",
            "1:11: : `a[` is not a pattern: invalid range pattern => write `*` for a part of a name: \
                    conf.d/*.yaml",
        ),
        (
            "{a: b}",
            "1:10: include: a list is needed here, and this is a map => write a list of paths: [conf.d/*.yaml]",
        ),
        (
            "['${env:NONE}']",
            "1:11: include[0]: the value asks for $NONE, which is not set => set it, or give a \
                             default: `${env:NONE:-default}`",
        ),
    ] {
        let problems = Folder::with(format!("include: {include}\n{MINIMAL}")).problems();
        assert_eq!(problems, [format!("whimbrel.yaml:{expected}")], "{include}");
    }
}

#[test]
fn a_file_that_can_not_be_read_is_told_with_who_named_it() {
    let folder = Folder::new();
    let load =
        |arguments: &[&str], environment| lines(&folder.load_from(arguments, environment).unwrap_err());
    let environment = folder.environment();
    assert_eq!(
        load(&["nope.yaml"], &environment),
        ["nope.yaml: : can't be read: there is no such file => name another file or folder with -c"]
    );
    assert_eq!(load(&[""], &environment), ["-c: : names nothing => name another file or folder with -c"]);
    let environment = environment.clone().with("WHIMBREL_CONFIG", "gone.yaml");
    assert_eq!(
        load(&[], &environment),
        [
            "gone.yaml: : can't be read: there is no such file => $WHIMBREL_CONFIG names it: set it to a file or folder"
        ]
    );
}

#[test]
fn a_syntax_error_does_not_hide_the_problems_of_other_files() {
    let folder = Folder::new();
    folder.write("a.yaml", "exporters: {x: {endpoint: 'http://127.0.0.1:1'\n");
    folder.write("b.yaml", "log: {level: loud}\n");
    let environment = folder.environment().with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let problems = lines(&folder.load_from(&["a.yaml", "b.yaml"], &environment).unwrap_err());
    assert_eq!(problems.len(), 2, "and the exporter that may stand in a.yaml is not missed: {problems:?}");
    assert!(
        problems[0].starts_with("a.yaml:") && problems[1].starts_with("b.yaml:1:14: log.level"),
        "{problems:?}"
    );
}

#[test]
fn an_empty_file_is_an_empty_configuration() {
    for text in ["", "\n", "# only a comment\n", "---\n", "{}", "~", "\u{feff}"] {
        let loaded = Folder::with(text).load().unwrap_or_else(|problems| panic!("{text:?}: {problems}"));
        assert_eq!(loaded.config.exporters[0].name, "otlp");
    }
    let problems = Folder::with("[a]").problems();
    assert!(problems[0].contains("1:1: : a configuration is a map, and this is a list"), "{problems:?}");
}

#[test]
fn check_names_files_that_are_missing_and_makes_none() {
    let folder = Folder::with(
        "\
collectors:
  a: {plugin: ./a.wasm}
  b: {plugin: ./b.wasm}
  c: {plugin: .}
exporters:
  x:
    endpoint: https://h
    tls: {ca_file: ca.pem}
wal: {encryption: {key_file: k}}
",
    );
    folder.write("a.wasm", "");
    let here = folder.path().display();
    let remedy = "correct the path, or let this user read the file";
    assert_eq!(
        lines(&folder.load().unwrap().check_files()),
        [
            format!(
                "whimbrel.yaml:3:15: collectors.b.plugin: the component {here}/b.wasm can't be read: there is no \
                     such file => {remedy}"
            ),
            format!(
                "whimbrel.yaml:4:15: collectors.c.plugin: the component {here} can't be read: it is a folder => \
                     {remedy}"
            ),
            format!(
                "whimbrel.yaml:9:30: wal.encryption.key_file: the key file {here}/k can't be read: there is no \
                     such file => {remedy}"
            ),
            format!(
                "whimbrel.yaml:8:20: exporters.x.tls.ca_file: the file {here}/ca.pem can't be read: there is no \
                     such file => {remedy}"
            ),
        ]
    );
    let folder = Folder::with(MINIMAL);
    assert!(folder.load().unwrap().check_files().is_empty(), "the default key is made at the first start");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
