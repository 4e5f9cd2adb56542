//! Single processes: each its own resource, its counters right whoever comes and goes, and no memory of those gone.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use support::{at, config, config_with, decode, of_process, points, second, start, text, value, values};
use whimbrel_collector_host::Host as Collector;
use whimbrel_sdk::{
    log::Level,
    system::{Attribute, Entity, Figure},
    testing::{Host, Running},
};

const BOOT: u64 = 1_767_139_200_000_000_000;
const SECOND: u64 = 1_000_000_000;
const PROCESSES: &str =
    r#"{"temporality": "delta", "processes": {"top": 1000}, "metrics": {"include": ["process.*"]}}"#;

fn process(pid: i64, start_ns: u64, program: &str, seconds: f64) -> Entity {
    let figure =
        |name: &str, attributes, value| Figure { name: name.to_owned(), attributes, start_ns, value };
    let mode = |mode: &str| vec![Attribute::text("cpu.mode", mode)];
    Entity {
        resource: vec![
            Attribute::int("process.pid", pid),
            Attribute::text("process.creation.time", start_ns.to_string()),
            Attribute::text("process.executable.name", program),
        ],
        figures: vec![
            figure("process.cpu.time", mode("user"), seconds),
            figure("process.cpu.time", mode("system"), seconds / 2.0),
            figure(
                "process.paging.faults",
                vec![Attribute::text("system.paging.fault.type", "minor")],
                seconds,
            ),
        ],
    }
}

/// CPU seconds in user mode, by pid and program.
fn grown(running: &mut Running<Collector>, told: Vec<Entity>) -> BTreeMap<(String, String), (u64, f64)> {
    running.change(|host| host.snapshot("process.each", told));
    running.advance(Duration::from_secs(10));
    let told = decode(&running.collect().unwrap());
    let times = told.iter().filter(|metric| metric.name == "process.cpu.time");
    times
        .map(|metric| {
            let user = metric.points.iter().find(|point| text(&point.attributes[0]) == "user").unwrap();
            let who = (text(&metric.resource[0]), text(&metric.resource[2]));
            (who, (user.start_time_unix_nano, value(user)))
        })
        .collect()
}

fn running(config: &str) -> Running<Collector> {
    at(Host::new().config(config), 0, |part| part != "process.each")
        .snapshot("process.each", Vec::new())
        .start()
        .unwrap()
}

#[test]
fn a_process_is_a_resource_with_its_figures_and_shares() {
    let told = second(&mut start(&config()));
    let nginx = of_process(&told, "812");
    let resource: Vec<_> = nginx[0].resource.iter().map(|pair| (pair.key.as_str(), text(pair))).collect();
    assert_eq!(resource[0], ("process.pid", "812".to_owned()));
    assert_eq!(resource[1].0, "process.creation.time");
    // 1 of 20 s of two CPUs in user mode, 0.5 in system mode.
    let shares = values(&nginx, "process.cpu.utilization");
    assert_eq!(shares[&vec!["user".to_owned()]], 0.05);
    assert_eq!(shares[&vec!["system".to_owned()]], 0.025);
    let memory = values(&told, "system.memory.limit")[&Vec::new()];
    assert_eq!(values(&nginx, "process.memory.utilization")[&Vec::new()], 20_971_520.0 / memory);
    let time = &points(&nginx, "process.cpu.time")[&vec!["user".to_owned()]];
    assert_eq!(time.start_time_unix_nano, BOOT + 12_340_000_000, "since the process began");
    assert!(told.iter().all(|told| told.resource.is_empty() != told.name.starts_with("process.")));
    assert!(told.iter().filter(|told| told.name == "system.uptime").all(|told| told.resource.is_empty()));
}

#[test]
fn a_number_that_is_given_anew_is_another_process() {
    let mut running = start(&config_with("temporality", "delta"));
    running.collect().unwrap();
    running.change(|host| at(host, 1, |_| true));
    let told = decode(&running.collect().unwrap());
    let postgres = of_process(&told, "4001");
    assert!(values(&postgres, "process.cpu.utilization").is_empty(), "cron's time is not postgres's");
    let time = &points(&postgres, "process.cpu.time")[&vec!["user".to_owned()]];
    assert_eq!((value(time), time.start_time_unix_nano), (2.0, 1_767_225_605 * SECOND), "all of it is new");
}

#[test]
fn deltas_go_on_through_another_order_program_and_refusal_and_a_return_begins_anew() {
    let mut running = running(PROCESSES);
    let old = |seconds: f64| process(1, BOOT, "init", seconds);
    let who = |pid: &str, program: &str| (pid.to_owned(), program.to_owned());
    assert!(grown(&mut running, vec![old(5.0)]).is_empty(), "it counted before it was seen");
    // A process that began since the collect before is told from its beginning.
    let born = 1_767_225_600 * SECOND + 15 * SECOND;
    let told = grown(&mut running, vec![process(7, born, "sh", 1.0), old(6.0)]);
    assert_eq!(told[&who("1", "init")].1, 1.0);
    assert_eq!(told[&who("7", "sh")], (born, 1.0));
    // It runs another program now, and another stands first.
    let told = grown(&mut running, vec![old(6.5), process(7, born, "java", 3.0)]);
    assert_eq!((told[&who("1", "init")].1, told[&who("7", "java")].1), (0.5, 2.0));

    running.refuse_push(whimbrel_sdk::Error::Unavailable("the WAL is full".to_owned()));
    running.change(|host| host.snapshot("process.each", vec![old(10.0)]));
    running.collect().unwrap_err();
    assert_eq!(grown(&mut running, vec![old(11.0)])[&who("1", "init")].1, 4.5, "and what was refused");

    assert!(grown(&mut running, vec![process(7, born, "java", 9.0)]).is_empty(), "it was out of sight");
}

/// Bounded: what is remembered is what was told last.
#[test]
fn a_hundred_thousand_processes_come_and_go_and_none_is_remembered() {
    let mut running = running(PROCESSES);
    let mut pid = 0;
    let (mut counted, mut told) = (0.0, 0.0);
    let began = |round: u64| 1_767_225_600 * SECOND + round * 10 * SECOND + SECOND;
    for round in 0..200 {
        let fresh = || {
            pid += 1;
            process(pid, began(round), "worker", 1.0)
        };
        let fresh: Vec<_> = std::iter::repeat_with(fresh).take(500).collect();
        if round > 0 {
            counted += fresh.len() as f64;
        }
        told += grown(&mut running, fresh).values().map(|(_, seconds)| *seconds).sum::<f64>();
        if round % 50 == 49 {
            let size = format!("{running:?}").matches("process.creation.time").count();
            assert!(size < 2 * 500 * 4, "{size} mentions of processes in memory");
        }
        // The test's host keeps all that was pushed.
        running.change(|host| host.forget_pushes());
    }
    assert_eq!((pid, told), (100_000, counted), "each told once, from its beginning");
}

#[test]
fn what_is_configured_and_not_granted_is_a_warning() {
    let host = at(Host::new().config(config()), 0, |part| !matches!(part, "process.each" | "service"));
    let mut running = host.start::<Collector>().unwrap();
    running.collect().unwrap();
    running.collect().unwrap();
    let warned = running.lines().iter().filter(|line| line.level == Level::Warn);
    let parts: Vec<_> = warned.map(|line| line.fields[0].1.as_str()).collect();
    assert_eq!(parts, ["process.each", "service"]);
}

#[test]
fn shares_need_the_parts_they_are_of() {
    let only = r#"{"processes": {"names": ["nginx"]}, "metrics": {"include": ["process.*.utilization"]}}"#;
    let told = second(&mut start(only));
    let mut names: Vec<_> = told.iter().map(|metric| metric.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["process.cpu.utilization", "process.memory.utilization"], "asked for, and not told");

    let host = at(Host::new().config(config()), 0, |part| !matches!(part, "cpu" | "memory"));
    let mut running = host.start::<Collector>().unwrap();
    running.collect().unwrap();
    running.change(|host| at(host, 1, |part| !matches!(part, "cpu" | "memory")));
    let told = decode(&running.collect().unwrap());
    assert!(told.iter().any(|metric| metric.name == "process.cpu.time"));
    assert!(
        !told
            .iter()
            .any(|metric| metric.name.starts_with("process.") && metric.name.ends_with("utilization"))
    );
}
