//! With `names: hostmetrics`: what the Collector's hostmetrics receiver emits, as its own metadata has it.
//!
//! `hostmetrics.tsv` is an extract of that metadata, its first line says of which version; `hostmetrics.py` makes it
//! anew.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{
    Told, config_with, decode, differences, extract, of_process, points, second, start, text, value,
};
use whimbrel_collector_host::table::{self, HOSTMETRICS, TABLE};

/// Metrics of the receiver that are not told, none of them by default, and why.
const NOT_TOLD: [(&str, &str); 3] = [
    ("process.handles", "Windows alone"),
    ("process.signals_pending", "nobody asked for it yet"),
    ("system.memory.page_size", "a constant"),
];

fn told() -> Vec<Told> {
    second(&mut start(&config_with("names", "hostmetrics")))
}

/// Values by the values of these attributes, in this order.
fn by(told: &[Told], name: &str, keys: &[&str]) -> BTreeMap<Vec<String>, f64> {
    let of = points(told, name).into_values();
    of.map(|point| {
        assert_eq!(point.attributes.len(), keys.len(), "{name}: {:?}", point.attributes);
        let value_of = |key: &&str| text(point.attributes.iter().find(|pair| pair.key == *key).unwrap());
        (keys.iter().map(value_of).collect(), value(&point))
    })
    .collect()
}

fn one(told: &[Told], name: &str, keys: &[&str], values: &[&str]) -> f64 {
    let all = by(told, name, keys);
    let key: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
    *all.get(&key).unwrap_or_else(|| panic!("{name} {values:?} is not in {all:?}"))
}

#[test]
fn what_has_a_name_of_the_receiver_is_its_own_in_everything() {
    let receiver = extract("hostmetrics.tsv", 1);
    let mut all = told();
    let per_cpu = config_with("names", "hostmetrics").replacen('{', r#"{"per_cpu": true, "#, 1);
    all.extend(second(&mut start(&per_cpu)));
    let known = |told: &&Told| receiver.contains_key(&told.name);
    let wrong: BTreeSet<_> =
        all.iter().filter(known).flat_map(|told| differences(told, &receiver[&told.name], &[])).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(one(&all[all.len() / 2..], "system.cpu.time", &["cpu", "state"], &["cpu1", "user"]), 502.0);
}

#[test]
fn all_that_the_receiver_tells_is_told_by_its_name() {
    let receiver = extract("hostmetrics.tsv", 1);
    let names: BTreeSet<_> = told().into_iter().map(|told| told.name).collect();
    let missing: Vec<_> =
        receiver.values().filter(|row| !names.contains(&row.name)).map(|row| row.name.as_str()).collect();
    assert_eq!(missing, NOT_TOLD.map(|(name, _)| name));
    assert!(NOT_TOLD.iter().all(|(name, _)| receiver[*name].more == ["optional"]), "all of its defaults are");
    // What it has no name for keeps its own, attributes included.
    let kept: Vec<_> = names.iter().filter(|name| !receiver.contains_key(*name)).collect();
    assert!(kept.iter().any(|name| name.starts_with("system.linux.pressure.")), "{kept:?}");
    for name in kept {
        assert!(table::find(name).is_some(), "{name} is nobody's name");
    }
}

#[test]
fn the_older_table_is_ordered_and_of_figures_that_there_are() {
    assert!(HOSTMETRICS.is_sorted_by_key(|old| old.figure));
    for old in HOSTMETRICS {
        let entry = TABLE[table::find(old.figure).unwrap()];
        assert_eq!(entry.part, old.entry.part, "{}", old.figure);
        assert_eq!(entry.is_counter(), old.entry.is_counter(), "{}", old.figure);
    }
}

#[test]
fn states_and_directions_have_the_receivers_values() {
    let told = told();
    let new = second(&mut start("{}"));
    for name in ["system.cpu.time", "system.cpu.utilization"] {
        assert_eq!(one(&told, name, &["state"], &["wait"]), one(&new, name, &["cpu.mode"], &["iowait"]));
        assert_eq!(one(&told, name, &["state"], &["user"]), one(&new, name, &["cpu.mode"], &["user"]));
    }
    for (state, also) in [("buffered", "used"), ("slab_reclaimable", "slab_unreclaimable")] {
        assert!(one(&told, "system.memory.usage", &["state"], &[state]) > 0.0);
        assert!(one(&told, "system.memory.usage", &["state"], &[also]) > 0.0);
    }
    let paging = by(&told, "system.paging.operations", &["direction", "type"]);
    assert!(paging.contains_key(&vec!["page_in".to_owned(), "major".to_owned()]), "{paging:?}");
    assert!(one(&told, "system.processes.count", &["status"], &["zombies"]) >= 0.0);
    let connections = by(&told, "system.network.connections", &["protocol", "state"]);
    assert!(connections.keys().all(|key| key[0] == "tcp"), "UDP is none of the receiver's: {connections:?}");
    assert!(connections.contains_key(&vec!["tcp".to_owned(), "ESTABLISHED".to_owned()]));
    let keys = ["system.device", "network.io.direction"];
    let packets = one(&new, "system.network.packet.count", &keys, &["lo", "transmit"]);
    assert_eq!(one(&told, "system.network.packets", &["device", "direction"], &["lo", "transmit"]), packets);
    let nginx = of_process(&told, "812");
    assert_eq!(one(&nginx, "process.cpu.time", &["state"], &["wait"]), 0.5);
    assert_eq!(one(&nginx, "process.context_switches", &["type"], &["voluntary"]), 1800.0);
}

#[test]
fn shares_are_divided_as_the_receiver_does() {
    let told = told();
    let keys = ["device", "mode", "mountpoint", "type"];
    let root = ["/dev/sda1", "rw", "/", "ext4"];
    let usage = |state| {
        one(&told, "system.filesystem.usage", &["device", "mode", "mountpoint", "type", "state"], &{
            let [device, mode, mountpoint, kind] = root;
            [device, mode, mountpoint, kind, state]
        })
    };
    let share = usage("used") / (usage("used") + usage("free"));
    assert!(usage("reserved") > 0.0);
    assert_eq!(one(&told, "system.filesystem.utilization", &keys, &root), share, "of what is not reserved");

    let limit = by(&told, "system.memory.limit", &[])[&Vec::new()];
    let slab = one(&told, "system.memory.usage", &["state"], &["slab_reclaimable"]) / limit;
    assert_eq!(one(&told, "system.memory.utilization", &["state"], &["slab_reclaimable"]), slab);

    let nginx = of_process(&told, "812");
    let per_cent = by(&nginx, "process.memory.utilization", &[])[&Vec::new()];
    assert_eq!(per_cent, 20_971_520.0 / limit * 100.0);
}

#[test]
fn deltas_and_exclusions_go_by_the_older_names() {
    let config = r#"{"names": "hostmetrics", "temporality": "delta", "metrics": {"include": ["system.network.packets", "system.memory.*"]}}"#;
    let mut running = start(config);
    let first = decode(&running.collect().unwrap());
    assert!(first.iter().all(|told| told.name.starts_with("system.memory.")), "{first:?}");
    running.change(|host| support::at(host, 1, |_| true));
    let told = decode(&running.collect().unwrap());
    let packets = told.iter().find(|told| told.name == "system.network.packets").unwrap();
    assert_eq!(packets.kind, "delta");
}
