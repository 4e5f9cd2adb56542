//! What needs a restart, and how reloads follow each other.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::config::{FixedEnvironment, Sources, load};

fn config(folder: &Path, yaml: &str) -> Result<Loaded, Problems> {
    let file = folder.join("whimbrel.yaml");
    fs::write(&file, yaml).unwrap();
    let sources = Sources::from_arguments([file.to_str().unwrap()]);
    load(&sources, &FixedEnvironment::new(folder))
}

const EXPORTER: &str = "exporters: {one: {endpoint: \"http://127.0.0.1:4318\"}}\n";

#[test]
fn what_is_not_a_collector_is_named_and_needs_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let of = |yaml: &str| config(folder.path(), yaml).unwrap().config;
    let started = of(EXPORTER);
    assert_eq!(restart_needed(&started, &of(EXPORTER)), [""; 0]);
    let collectors = format!("{EXPORTER}collectors: {{beat: {{plugin: \"builtin:heartbeat\"}}}}\n");
    assert_eq!(restart_needed(&started, &of(&collectors)), [""; 0]);
    for (yaml, keys) in [
        (format!("{EXPORTER}wal: {{max_size: 1GiB}}\n"), &["wal"][..]),
        (format!("{EXPORTER}health: {{listen: \"127.0.0.1:1\"}}\n"), &["health"]),
        (format!("{EXPORTER}log: {{level: debug}}\nresource: {{a: b}}\n"), &["log", "resource"]),
        // The key and the socket lie there.
        (format!("{EXPORTER}data_dir: elsewhere\n"), &["control", "data_dir", "wal"]),
        (EXPORTER.replace("4318", "4319"), &["exporters.one"]),
        (EXPORTER.replace("one", "two"), &["exporters.one", "exporters.two"]),
    ] {
        assert_eq!(restart_needed(&started, &of(&yaml)), keys, "{yaml}");
    }
}

/// A task over a roster that nothing runs in, and the count of its reads.
struct Bench {
    handle: Handle,
    reloader: Reloader,
    configuration: Arc<Configuration>,
    reads: Arc<AtomicUsize>,
    /// A read waits for one of these.
    go: std::sync::mpsc::Sender<&'static str>,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let started = config(folder.path(), EXPORTER).unwrap().config;
    let roster = Arc::new(Roster::without_collectors(folder.path()));
    let configuration = Arc::new(Configuration::first());
    let reads = Arc::new(AtomicUsize::new(0));
    let (go, gone) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let (counted, home) = (reads.clone(), folder.path().to_owned());
    let read: Read = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let yaml = gone.lock().unwrap().recv().unwrap();
        config(&home, yaml)
    });
    let (handle, reloader) = Reloader::start(read, started, roster, configuration.clone());
    Bench { handle, reloader, configuration, reads, go, _folder: folder }
}

#[tokio::test]
async fn a_configuration_with_problems_changes_nothing_and_tells_all_of_them() {
    let bench = bench();
    bench.go.send("exporters: {one: {endpoint: ftp}}\nwall: {}\n").unwrap();
    let Answer::Refused(problems) = bench.handle.reload().await.unwrap() else { panic!("it was applied") };
    assert_eq!(problems.len(), 2, "{problems}");
    let status = bench.configuration.read();
    assert_eq!((status.generation, status.reloads_refused), (1, 1));
    bench.go.send(EXPORTER).unwrap();
    let Answer::Applied(applied) = bench.handle.reload().await.unwrap() else { panic!("it was refused") };
    assert_eq!((applied.generation, applied.restart_needed.len()), (2, 0));
    assert_eq!(bench.configuration.read().generation, 2);
}

#[tokio::test]
async fn requests_during_a_reload_become_one_more() {
    let bench = bench();
    let first = tokio::spawn({
        let handle = bench.handle.clone();
        async move { handle.reload().await }
    });
    while bench.reads.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        bench.handle.request();
    }
    bench.go.send(EXPORTER).unwrap();
    bench.go.send(EXPORTER).unwrap();
    first.await.unwrap().unwrap();
    // The queued one comes before this one.
    bench.go.send(EXPORTER).unwrap();
    let Answer::Applied(last) = bench.handle.reload().await.unwrap() else { panic!("it was refused") };
    assert_eq!((last.generation, bench.reads.load(Ordering::SeqCst)), (4, 3));
}

#[tokio::test]
async fn a_stop_lets_the_reload_that_runs_end_and_begins_no_other() {
    let bench = bench();
    let first = tokio::spawn({
        let handle = bench.handle.clone();
        async move { handle.reload().await }
    });
    while bench.reads.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    bench.handle.request();
    let stopping = tokio::spawn(bench.reloader.stop());
    tokio::task::yield_now().await;
    bench.go.send(EXPORTER).unwrap();
    assert!(matches!(first.await.unwrap(), Ok(Answer::Applied(_))));
    stopping.await.unwrap();
    assert_eq!(bench.reads.load(Ordering::SeqCst), 1);
    assert!(bench.handle.reload().await.is_err());
}
