//! Held against the OpenTelemetry semantic conventions: what has one of their names has their unit, kind, number,
//! attributes and values, too; what has a name of ours has a reason.
//!
//! `semconv.tsv` is an extract of the conventions' model, its first line says of which version; `semconv.py` makes it
//! anew.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::collections::BTreeSet;

use support::{Told, config, config_with, differences, extract, second, start};

/// Names of ours, or the beginnings of them, and why there are any.
const OURS: [(&str, &str); 17] = [
    ("system.cpu.load_average.", "everybody's first look at a host; the Collector's name"),
    (
        "system.disk.pending_operations",
        "a queue that grows is the first sign of a slow disk; the Collector's name",
    ),
    ("system.disk.weighted_io_time", "the mean queue length over any window; the Collector's name"),
    ("system.filesystem.hung", "a dead network mount, which would otherwise only be missing"),
    ("system.filesystem.inode.", "a file system out of inodes takes no file, however much room there is"),
    ("system.linux.file_descriptor.", "the host's limit of open files"),
    ("system.linux.pressure.", "what tasks waited for, by the kernel (PSI): better than load"),
    ("system.memory.linux.commit_limit", "with strict overcommit, what malloc fails at"),
    ("system.memory.linux.committed", "what the limit before is of"),
    ("system.memory.linux.dirty", "what a crash would lose, and what a sync will take"),
    ("system.memory.linux.oom_kills", "people alert on it"),
    ("system.memory.linux.writeback", "goes with dirty memory"),
    ("system.network.conntrack.", "a full table drops connections"),
    ("system.network.interface.", "a link that is down, or slower than it should be"),
    ("system.network.tcp.listen_drops", "a server that does not keep up with its queue"),
    ("system.network.tcp.retransmits", "the first sign of a bad path"),
    ("systemd.unit.", "on request; the Collector's systemd receiver has this name"),
];

/// Metrics of the conventions that are not told, and why.
const NOT_TOLD: [(&str, &str); 6] = [
    ("hw.temperature.limit", "drivers tell limits of very different meanings"),
    ("process.network.io", "Linux counts by network namespace, not by process"),
    ("process.signals_pending", "nobody asked for it yet"),
    ("process.windows.handle.count", "Windows gets what needs no privileges"),
    ("system.filesystem.lock.count", "/proc/locks names inodes, and reading it holds a global lock"),
    ("system.process.limit", "there are three on Linux, and a control group's is lower than all of them"),
];

/// The conventions' values are examples: any file system has its own.
const OPEN: [&str; 1] = ["system.filesystem.type"];

fn all() -> Vec<Told> {
    let mut all = second(&mut start(&config()));
    all.extend(second(&mut start(&config_with("per_cpu", true))));
    all
}

#[test]
fn what_has_a_name_of_the_conventions_is_theirs_in_everything() {
    let conventions = extract("semconv.tsv", 0);
    let all = all();
    let known = |told: &&Told| conventions.contains_key(&told.name);
    let wrong: BTreeSet<_> = all
        .iter()
        .filter(known)
        .flat_map(|told| differences(told, &conventions[&told.name], &OPEN))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_the_conventions_lack_has_a_reason() {
    let conventions = extract("semconv.tsv", 0);
    let told: BTreeSet<_> = all().into_iter().map(|told| told.name).collect();
    let ours: Vec<_> = told.iter().filter(|name| !conventions.contains_key(*name)).collect();
    let listed = |name: &str| OURS.iter().find(|(beginning, _)| name.starts_with(beginning));
    let unreasoned: Vec<_> = ours.iter().filter(|name| listed(name).is_none()).collect();
    assert!(unreasoned.is_empty(), "list these in OURS, with the reason: {unreasoned:?}");
    for (beginning, _) in OURS {
        assert!(
            ours.iter().any(|name| name.starts_with(beginning)),
            "{beginning} is not told, or theirs by now"
        );
    }
}

#[test]
fn what_the_conventions_have_is_told_or_has_a_reason() {
    let conventions = extract("semconv.tsv", 0);
    let told: BTreeSet<_> = all().into_iter().map(|told| told.name).collect();
    let missing: Vec<_> =
        conventions.keys().filter(|name| !told.contains(*name)).map(String::as_str).collect();
    assert_eq!(missing, NOT_TOLD.map(|(name, _)| name));
}

/// The check itself: what it would say of a metric that is wrong in all respects.
#[test]
fn a_difference_is_found() {
    let conventions = extract("semconv.tsv", 0);
    let all = all();
    let memory = all.iter().find(|told| told.name == "system.memory.usage").unwrap();
    let row = &conventions["system.memory.usage"];
    assert_eq!(differences(memory, row, &OPEN), Vec::<String>::new());
    let io = &conventions["system.disk.io_time"];
    let found = differences(memory, io, &OPEN).join("; ");
    for part in ["unit is By", "kind is updown", "number is int", "no attribute system.memory.state"] {
        assert!(found.contains(part), "{part} is not in {found}");
    }
    let slab = &conventions["system.memory.linux.slab.usage"];
    let mut odd = memory.clone();
    odd.points[0].attributes[0].key = "system.memory.linux.slab.state".to_owned();
    let found = differences(&odd, slab, &OPEN).join("; ");
    assert!(found.contains("used is none of"), "{found}");
}
