//! What the configuration asks for and what it refuses: a wrong one names the key and what to write.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use support::{at, config, decode, start};
use whimbrel_collector_host::Host as Collector;
use whimbrel_sdk::{Error, log::Level, testing::Host};

#[test]
fn what_is_wrong_is_named_with_its_key_and_a_remedy() {
    for (config, key, remedy) in [
        (r#"{"processes": {"top": 0}}"#, "`processes.top`", "1 to 1000"),
        (r#"{"processes": {"top": 1001}}"#, "`processes.top`", "1 to 1000"),
        (r#"{"processes": {}}"#, "`processes`", "`top: 10`"),
        (r#"{"processes": {"by": "memory", "names": ["x"]}}"#, "`processes.by`", "give `processes.top` too"),
        (r#"{"processes": {"names": ["a[b"]}}"#, "`processes.names[0]`", "`*` stands for any text"),
        (r#"{"disk": {"include": ["sda", ""]}}"#, "`disk.include[1]`", "give a name"),
        (r#"{"network": {"exclude": ["eth***"]}}"#, "`network.exclude[0]`", "`*` stands for any text"),
        (r#"{"filesystem": {"exclude": {"types": ["[z-"]}}}"#, "`filesystem.exclude.types[0]`", "no pattern"),
        (r#"{"services": [""]}"#, "`services[0]`", "give a name"),
        (r#"{"metrics": {"include": ["system.cpu.*", "sytem.*"]}}"#, "`metrics.include[1]`", "README"),
        (r#"{"names": "prometheus"}"#, "names", "hostmetrics"),
        (r#"{"processes": {"tops": 1}}"#, "tops", "top"),
        (r#"{"filesystem": {"types": ["ext4"]}}"#, "types", "include"),
    ] {
        let error = Host::new().config(config).start::<Collector>().unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{config}: {error}");
        let text = error.to_string();
        assert!(text.contains(key) && text.contains(remedy), "{config}: {text}");
    }
    let many = serde_json::json!({"disk": {"include": vec!["sd*"; 200], "exclude": vec!["sdx"; 57]}});
    let error = Host::new().config(many.to_string()).start::<Collector>().unwrap_err();
    assert!(error.to_string().contains("`disk` has 257 patterns, and 256 is the most"), "{error}");
    let long = serde_json::json!({"services": ["x".repeat(1025)]});
    let error = Host::new().config(long.to_string()).start::<Collector>().unwrap_err();
    assert!(error.to_string().contains("`services[0]` is 1025 bytes long"), "{error}");
}

#[test]
fn what_is_selected_goes_to_where_figures_are_read() {
    let config = r#"{"disk": {"exclude": ["dm-*"]}, "services": ["nginx.service", "postgresql@*"],
        "filesystem": {"include": {"types": ["ext4", "nfs*"]}, "exclude": {"mountpoints": ["/mnt/*"]}},
        "processes": {"top": 5, "by": "memory", "names": ["nginx"]}}"#;
    let mut running = start(config);
    running.collect().unwrap();
    let pairs = |part: &str| {
        let pairs = running.selected(part).unwrap().iter();
        pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(pairs("disk"), ["exclude=dm-*"]);
    assert_eq!(pairs("filesystem"), ["include_type=ext4", "include_type=nfs*", "exclude_mountpoint=/mnt/*"]);
    assert_eq!(pairs("process.each"), ["top=5", "by=memory", "name=nginx"]);
    assert_eq!(pairs("service"), ["unit=nginx.service", "unit=postgresql@*"]);
    assert_eq!(pairs("network"), Vec::<String>::new());
}

#[test]
fn processes_and_services_are_asked_for_on_request_only() {
    let mut running = start("{}");
    let told = decode(&running.collect().unwrap());
    for part in ["process.each", "service", "cpu.logical"] {
        assert_eq!(running.selected(part), None, "{part}");
    }
    assert!(told.iter().all(|metric| metric.resource.is_empty() && !metric.name.starts_with("process.")));
    let mut off = start(r#"{"processes": null, "services": []}"#);
    off.collect().unwrap();
    assert_eq!(off.selected("process.each"), None);
}

#[test]
fn metrics_that_are_excluded_are_neither_told_nor_asked_for() {
    let mut running =
        start(r#"{"metrics": {"exclude": ["system.linux.*", "hw.*", "*.utilization", "*.load_average.*"]}}"#);
    let told = decode(&running.collect().unwrap());
    assert!(told.iter().any(|metric| metric.name == "system.uptime"));
    let excluded = |name: &str| {
        name.starts_with("system.linux.") || name.ends_with(".utilization") || name.contains("load")
    };
    assert!(!told.iter().any(|metric| excluded(&metric.name)));
    assert_eq!((running.selected("pressure"), running.selected("sensors")), (None, None));
}

#[test]
fn a_host_without_pressure_or_sensors_is_no_warning() {
    let host = at(Host::new(), 0, |_| true);
    let host = ["pressure", "sensors"].into_iter().fold(host, |host, part| {
        host.no_snapshot(part, Error::Unavailable(format!("figures of {part} are not available")))
    });
    let mut running = host.start::<Collector>().unwrap();
    for _ in 0..3 {
        running.collect().unwrap();
    }
    let said: Vec<_> = running.lines().iter().map(|line| (line.level, line.fields[0].1.as_str())).collect();
    assert_eq!(said, [(Level::Info, "pressure"), (Level::Info, "sensors")]);
    // One that every host has is another matter.
    running.change(|host| {
        host.no_snapshot("memory", Error::Unavailable("cannot read /proc/meminfo".to_owned()))
    });
    running.collect().unwrap();
    assert_eq!(running.lines().last().unwrap().level, Level::Warn);
}

#[test]
fn a_selection_that_the_agent_refuses_is_a_warning_with_its_words() {
    let host = at(Host::new().config(config()), 0, |_| true)
        .no_snapshot("process.each", Error::Invalid("process.each: `by` is cpu or memory".to_owned()));
    let mut running = host.start::<Collector>().unwrap();
    running.collect().unwrap();
    let line = running.lines().last().unwrap();
    assert!(line.level == Level::Warn && line.message.contains("`by` is cpu or memory"), "{line:?}");
}
