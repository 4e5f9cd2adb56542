//! Rotation in all its ways, over files in memory and the SDK's host: each line comes once, in order.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod model;

use std::time::Duration;

use whimbrel_collector_file_tail::FileTail;
use whimbrel_sdk::{
    Error,
    testing::{Files, Host, Record, Running, Value},
};

const SECOND: Duration = Duration::from_secs(1);
const LOG: &str = "/var/log/app.log";

fn start(files: &Files, config: &str) -> Running<FileTail> {
    let host = Host::new().files(files).interval(SECOND).config(config);
    host.start().unwrap_or_else(|error| panic!("{config}: {error}"))
}

fn plain(files: &Files) -> Running<FileTail> {
    start(files, r#"{"paths": ["/var/log/*.log"], "start_at": "beginning", "metrics": false}"#)
}

fn records(run: &Running<FileTail>, from: usize) -> Vec<Record> {
    run.pushes()[from..].iter().flat_map(|push| push.records()).collect()
}

fn text(record: &Record) -> &str {
    let Value::Text(text) = &record.body else { panic!("no text: {record:?}") };
    text
}

/// One interval: the texts that came in it.
fn texts(run: &mut Running<FileTail>) -> Vec<String> {
    let before = run.pushes().len();
    run.collect().unwrap();
    run.advance(SECOND);
    records(run, before).iter().map(|it| text(it).to_owned()).collect()
}

#[test]
fn lines_come_once_and_unfinished_ones_when_they_are_whole() {
    let files = Files::granting("/var/log");
    files.write(LOG, "one\ntwo\nthr");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["one", "two"]);
    assert!(texts(&mut run).is_empty());
    files.append(LOG, "ee\n");
    assert_eq!(texts(&mut run), ["three"]);
    let record = &records(&run, 0)[0];
    assert_eq!(record.attributes.text("log.file.path"), Some(LOG));
    assert_eq!(record.attributes.text("log.file.name"), Some("app.log"));
}

#[test]
fn what_is_there_at_the_first_start_is_passed_over_and_what_comes_later_is_not() {
    let files = Files::granting("/var/log");
    files.write(LOG, "old\n");
    let mut run = start(&files, r#"{"paths": ["/var/log/*.log"], "metrics": false}"#);
    assert!(texts(&mut run).is_empty());
    files.append(LOG, "new\n");
    // A restart before anything was emitted: where it began is durable all the same.
    let mut run = run.restart().unwrap();
    files.write("/var/log/other.log", "from its beginning\n");
    assert_eq!(texts(&mut run), ["new", "from its beginning"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["1"]);
    files.append(LOG, "2\n");
    files.rename(LOG, "/var/log/app.log.1");
    files.append("/var/log/app.log.1", "3\n");
    files.write(LOG, "4\n");
    assert_eq!(texts(&mut run), ["2", "3", "4"]);
    // Its writer has not opened the new one yet.
    files.append("/var/log/app.log.1", "late\n");
    assert_eq!(texts(&mut run), ["late"]);
}

#[test]
fn a_file_that_was_renamed_while_nobody_looked_is_found_in_its_folder() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["1"]);
    files.append(LOG, "2\n");
    files.rename(LOG, "/var/log/app.log.1");
    files.write(LOG, "3\n");
    let mut run = run.restart().unwrap();
    assert_eq!(texts(&mut run), ["2", "3"]);
}

#[test]
fn files_that_are_found_at_once_come_in_the_order_of_their_last_changes() {
    let files = Files::granting("/var/log");
    let config = r#"{"paths": ["/var/log/app.log*"], "start_at": "beginning", "metrics": false}"#;
    let mut run = start(&files, config);
    for n in 1..=3 {
        files.rename("/var/log/app.log.1", "/var/log/app.log.2");
        files.rename(LOG, "/var/log/app.log.1");
        files.write(LOG, format!("{n}\n"));
    }
    assert_eq!(texts(&mut run), ["1", "2", "3"]);
}

#[test]
fn a_removed_file_that_is_open_is_read_to_its_end() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["1"]);
    files.append(LOG, "2\npart");
    files.remove(LOG);
    assert_eq!(texts(&mut run), ["2"]);
    for _ in 0..29 {
        assert!(texts(&mut run).is_empty());
    }
    assert_eq!(texts(&mut run), ["part"], "an unfinished line when the file is left");
}

#[test]
fn a_file_cut_after_a_copy_was_made_loses_nothing() {
    for pattern in ["/var/log/*.log", "/var/log/*.log*"] {
        let files = Files::granting("/var/log");
        files.write(LOG, "1\n");
        let config = format!(r#"{{"paths": ["{pattern}"], "start_at": "beginning", "metrics": false}}"#);
        let mut run = start(&files, &config);
        assert_eq!(texts(&mut run), ["1"]);
        files.append(LOG, "2\n");
        files.write("/var/log/app.log.1", files.content(LOG).unwrap());
        files.truncate(LOG, 0);
        files.append(LOG, "3\n4\n5\n6\n");
        assert_eq!(texts(&mut run), ["2", "3", "4", "5", "6"], "{pattern}");
        for _ in 0..40 {
            assert!(texts(&mut run).is_empty(), "{pattern}");
        }
    }
}

#[test]
fn a_copy_that_is_seen_before_the_original_is_cut_is_not_told_twice() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n2\n");
    let mut run =
        start(&files, r#"{"paths": ["/var/log/*.log*"], "start_at": "beginning", "metrics": false}"#);
    assert_eq!(texts(&mut run), ["1", "2"]);
    files.write("/var/log/app.log.1", "1\n2");
    assert!(texts(&mut run).is_empty(), "half a copy");
    files.append(LOG, "3\n");
    files.write("/var/log/app.log.1", "1\n2\n3\n");
    assert_eq!(texts(&mut run), ["3"], "a whole one");
    files.write(LOG, "4\n");
    assert_eq!(texts(&mut run), ["4"], "and the original is cut");
}

#[test]
fn another_file_under_the_same_identity_begins_at_its_beginning() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["1"]);
    let mut run = run.restart().unwrap();
    files.remove(LOG);
    files.write(LOG, "a longer line\nand another\n");
    assert_eq!(texts(&mut run), ["a longer line", "and another"]);
}

#[test]
fn files_on_another_disk_are_known_by_their_content() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n");
    files.write("/var/log/b.log", "2\n");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["1", "2"]);
    files.renumber();
    files.append(LOG, "3\n");
    let mut run = run.restart().unwrap();
    assert_eq!(texts(&mut run), ["3"]);
    files.append("/var/log/b.log", "4\n");
    assert_eq!(texts(&mut run), ["4"]);
}

#[test]
fn what_is_gone_is_told_and_compressed_files_are_not_read() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1\n");
    let mut run = plain(&files);
    assert_eq!(texts(&mut run), ["1"]);
    files.append(LOG, "2\n");
    files.rename(LOG, "/var/log/app.log.gz");
    let mut run = run.restart().unwrap();
    assert!(texts(&mut run).is_empty());
    assert!(run.lines().iter().any(|line| line.message.contains("app.log is gone")), "{:?}", run.lines());
}

#[test]
fn a_refused_push_is_read_again() {
    let files = Files::granting("/var/log");
    files.write(LOG, "old\n");
    let mut run = start(&files, r#"{"paths": ["/var/log/*.log"], "metrics": false}"#);
    run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    assert!(run.collect().unwrap_err().is_retryable());
    files.append(LOG, "1\n");
    assert_eq!(texts(&mut run), ["1"], "it began where it was first seen");
    files.append(LOG, "2\n");
    run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    assert!(run.collect().unwrap_err().is_retryable());
    files.append(LOG, "3\n");
    assert_eq!(texts(&mut run), ["2", "3"]);
}

/// The WAL takes nothing for one collect.
fn refused(run: &mut Running<FileTail>) {
    run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    assert!(run.collect().unwrap_err().is_retryable());
    run.advance(SECOND);
}

#[test]
fn a_removed_file_is_read_to_its_end_though_a_push_is_refused() {
    // One push at the end of a collect, and several within it.
    for count in [2, 5000] {
        let files = Files::granting("/var/log");
        files.write(LOG, "begun\n");
        let mut run = plain(&files);
        assert_eq!(texts(&mut run), ["begun"]);
        let lines: Vec<String> = (0..count).map(|n| format!("{n}")).collect();
        files.append(LOG, lines.join("\n") + "\npart");
        files.remove(LOG);
        refused(&mut run);
        let came = texts(&mut run);
        assert!(came == lines, "{} of {count} came", came.len());
        // And its last line, which is the last that is read of it.
        run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
        while run.collect().is_ok() {
            run.advance(SECOND);
        }
        let came: Vec<String> = (0..40).flat_map(|_| texts(&mut run)).collect();
        assert_eq!(came, ["part"], "{count}");
    }
}

#[test]
fn a_copy_under_the_identity_of_a_removed_file_is_not_told_twice_though_a_push_is_refused() {
    let files = Files::granting("/var/log");
    files.write("/var/log/app.log.1", "old\n");
    files.write(LOG, "1\n2\n");
    let config = r#"{"paths": ["/var/log/app.log*"], "start_at": "beginning", "metrics": false}"#;
    let mut run = start(&files, config);
    assert_eq!(texts(&mut run), ["old", "1", "2"]);
    let mut run = run.restart().unwrap();
    files.remove("/var/log/app.log.1");
    files.append(LOG, "3\n");
    files.write("/var/log/app.log.1", files.content(LOG).unwrap());
    files.truncate(LOG, 0);
    refused(&mut run);
    assert_eq!(texts(&mut run), ["3"]);
}

#[test]
fn lines_wait_for_those_that_belong_to_them() {
    let files = Files::granting("/var/log");
    files.write(LOG, "1 a\n  at b\n");
    let mut run = start(
        &files,
        r#"{"paths": ["/var/log/*.log"], "start_at": "beginning", "metrics": false,
            "multiline": {"start": "^[0-9]", "flush_after": "3s"}}"#,
    );
    assert!(texts(&mut run).is_empty());
    files.append(LOG, "  at c\n2 d\n");
    assert_eq!(texts(&mut run), ["1 a\n  at b\n  at c"]);
    assert!(texts(&mut run).is_empty());
    assert!(texts(&mut run).is_empty());
    assert_eq!(texts(&mut run), ["2 d"], "nothing came for 3 s");
    assert!(texts(&mut run).is_empty());
}

#[test]
fn a_backlog_comes_in_collects_below_the_limit_at_once() {
    let files = Files::granting("/var/log");
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}")).collect();
    files.write(LOG, lines.join("\n") + "\n");
    let config = r#"{"paths": ["/var/log/*.log"], "start_at": "beginning", "max_per_collect": "64KiB"}"#;
    let mut run = start(&files, config);
    let mut largest = 0;
    let mut before = 0;
    while run.collect_once().unwrap() == whimbrel_sdk::More::Yes {
        largest = largest.max(run.pushes()[before..].iter().map(|push| push.bytes.len()).sum());
        before = run.pushes().len();
    }
    assert!(before > 10 && largest < 80 << 10, "{before} pushes, {largest} bytes in a collect");
    let logs = run.pushes().iter().filter(|push| push.signal == whimbrel_sdk::Signal::Logs);
    let found: Vec<String> = logs.flat_map(|push| push.records()).map(|it| text(&it).to_owned()).collect();
    assert_eq!(found, lines);
    let figures = run.pushes().iter().rfind(|push| push.signal == whimbrel_sdk::Signal::Metrics);
    let points = figures.unwrap().points();
    let value = |name: &str| points.iter().find(|point| point.metric.name == name).unwrap().value.clone();
    assert_eq!(value("whimbrel.file_tail.records"), whimbrel_sdk::testing::PointValue::Int(20_000));
    assert_eq!(value("whimbrel.file_tail.lag"), whimbrel_sdk::testing::PointValue::Int(0));
}

#[test]
fn many_files_are_followed_with_few_open() {
    let files = Files::granting("/var/log");
    let path = |n: usize| format!("/var/log/{n:03}.log");
    (0..200).for_each(|n| files.write(&path(n), format!("{n} a\n")));
    let mut run = plain(&files);
    assert_eq!(texts(&mut run).len(), 200);
    (0..200).for_each(|n| files.append(&path(n), format!("{n} b\n")));
    let mut run = run.restart().unwrap();
    assert_eq!(texts(&mut run).len(), 200);
    assert!(texts(&mut run).is_empty());
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_key() {
    let files = Files::granting("/var/log");
    for (config, key) in [
        (r#"{"paths": []}"#, "`paths`"),
        (r#"{"paths": ["var/log/*"]}"#, "`paths[0]`"),
        (r#"{"paths": ["/a/**"]}"#, "`paths[0]`"),
        (r#"{"paths": ["/a"], "exclude": ["***"]}"#, "`exclude[0]`"),
        (r#"{"paths": ["/a"], "multiline": {}}"#, "`multiline`"),
        (r#"{"paths": ["/a"], "multiline": {"start": "("}}"#, "`multiline.start`"),
        (r#"{"paths": ["/a"], "max_line": "1GiB"}"#, "max_line"),
        (r#"{"paths": ["/a"], "max_line": 1}"#, "`max_line`"),
        (r#"{"paths": ["/a"], "parse": {"format": "regex"}}"#, "`parse.pattern`"),
        (r#"{"paths": ["/a"], "parse": {"format": "regex", "pattern": "x"}}"#, "`parse.pattern`"),
        (
            r#"{"paths": ["/a"], "parse": {"format": "regex", "pattern": "(?<a>x)", "time": "b"}}"#,
            "`parse.time`",
        ),
        (r#"{"paths": ["/a"], "pths": []}"#, "pths"),
    ] {
        let error = Host::new().files(&files).config(config).start::<FileTail>().map(drop).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{config}: {error}");
        assert!(error.to_string().contains(key), "{config}: {error}");
    }
}

#[test]
fn fields_of_a_line_become_those_of_the_record() {
    let files = Files::granting("/var/log");
    let json = r#"{"time":"2026-01-01T00:00:00.5Z","level":"warn","msg":"slow","ms":812,"user":{"id":7},"log.file.path":"/etc/passwd"}"#;
    files.write(LOG, format!("{json}\nnot json\n"));
    let common = r#""paths": ["/var/log/*.log"], "start_at": "beginning", "metrics": false"#;
    let mut run = start(&files, &format!(r#"{{{common}, "parse": {{"format": "json"}}}}"#));
    assert_eq!(texts(&mut run), ["slow", "not json"]);
    let record = &records(&run, 0)[0];
    assert_eq!(record.time_ns, 1_767_225_600_500_000_000);
    assert_eq!((record.severity.number(), &*record.severity_text), (13, "warn"));
    assert_eq!(record.attributes.text("log.file.path"), Some(LOG), "a line can't say where it came from");
    assert!(format!("{:?}", record.attributes).contains("812"), "{record:?}");

    files.write(LOG, "2026-01-01T00:00:00Z ERROR [main] no room\n");
    let pattern = r#"(?<time>\\S+) (?<level>\\w+) \\[(?<thread>\\w+)\\] (?<message>.*)"#;
    let parse = format!(r#""parse": {{"format": "regex", "pattern": "{pattern}"}}"#);
    let mut run = start(&files, &format!("{{{common}, {parse}}}"));
    assert_eq!(texts(&mut run), ["no room"]);
    let record = &records(&run, 0)[0];
    assert_eq!((record.severity.number(), record.time_ns), (17, 1_767_225_600_000_000_000));
    assert_eq!(record.attributes.text("thread"), Some("main"));
}
