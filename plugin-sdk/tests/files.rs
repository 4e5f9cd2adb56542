//! Files of granted folders, over the test's host.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use whimbrel_sdk::{
    Collector, Context, Emit, Error, LogRecord, More,
    files::{self, Glob, Kind},
    testing::{Files, Host, Record, Value},
};

/// Tells what came of each question of its configuration, as a line.
struct Asks(Vec<(String, String)>);

impl Collector for Asks {
    type Config = Vec<(String, String)>;

    fn new(context: Context<Self::Config>) -> Result<Self, Error> {
        Ok(Self(context.config))
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        for (question, path) in &self.0 {
            let answer = match question.as_str() {
                "list" => files::list(path).map(|entries| {
                    let names = entries
                        .iter()
                        .map(|it| format!("{}{}", it.name, if it.kind == Kind::Folder { "/" } else { "" }));
                    names.collect::<Vec<_>>().join(" ")
                }),
                "read" => files::open(path)
                    .and_then(|file| file.read_at(1, 3))
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                "size" => files::metadata(path).map(|found| found.size.to_string()),
                _ => Glob::new(path).map(|glob| {
                    let mut found = Vec::new();
                    let problems = glob.walk(&mut |path| found.push(path));
                    let all_match = found.iter().all(|path| glob.matches(path));
                    format!("{} {all_match} {}", found.join(" "), problems.len())
                }),
            };
            let answer = answer.unwrap_or_else(|error| error.to_string());
            out.log(LogRecord { body: answer.as_str().into(), ..LogRecord::default() })?;
        }
        Ok(More::No)
    }
}

whimbrel_sdk::collector!(Asks { name: "asks", description: "Asks for files." });

fn answers(questions: &[(&str, &str)]) -> Vec<String> {
    let disk = Files::granting("/var/log");
    disk.write("/var/log/a.log", "abcdef");
    disk.write("/var/log/b.txt", "");
    disk.write("/var/log/.hidden.log", "");
    disk.write("/var/log/app/x.log", "");
    disk.write("/var/log/app/deep/y.log", "");
    disk.write("/etc/passwd", "root");
    let config = serde_json::to_string(questions).unwrap();
    let mut run = Host::new().files(&disk).config(config).start::<Asks>().unwrap();
    let pushes = run.collect().unwrap();
    let text = |it: &Record| match &it.body {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    pushes[0].records().iter().map(text).collect()
}

#[test]
fn files_are_listed_read_and_measured() {
    let questions = [("list", "/var/log"), ("read", "/var/log/a.log"), ("size", "/var/log/a.log")];
    assert_eq!(answers(&questions), [".hidden.log a.log app/ b.txt", "bcd", "6"]);
}

#[test]
fn what_is_not_granted_or_not_there_is_told_with_its_path() {
    let found = answers(&[("read", "/etc/passwd"), ("read", "/var/log/no.log"), ("list", "/var/log/no")]);
    assert!(found[0].contains("/etc/passwd lies in no granted folder"), "{found:?}");
    assert_eq!(found[1..], ["/var/log/no.log is not there", "/var/log/no is not there"]);
}

#[test]
fn patterns_find_what_they_match() {
    let questions = [
        ("glob", "/var/log/*.log"),
        ("glob", "/var/log/**/*.log"),
        ("glob", "/var/log/*/x.log"),
        ("glob", "/var/log/nothing/*.log"),
        ("glob", "/var/log/.*.log"),
        ("glob", "/etc/*"),
    ];
    let found = answers(&questions);
    assert_eq!(found[0], "/var/log/a.log true 0");
    assert_eq!(found[1], "/var/log/a.log /var/log/app/x.log /var/log/app/deep/y.log true 0");
    assert_eq!(found[2], "/var/log/app/x.log true 0");
    assert_eq!(found[3], " true 0");
    assert_eq!(found[4], "/var/log/.hidden.log true 0");
    assert_eq!(found[5], " true 1", "the folder is not granted");
}

#[test]
fn a_pattern_that_is_none_is_an_error() {
    for text in ["var/*", "/a//b", "/a/../b", "/a/**", "/a/[b", "/a/"] {
        assert!(Glob::new(text).is_err(), "{text}");
    }
    assert_eq!(Glob::new("/var/log/a*/b.log").unwrap().root(), "/var/log");
}
