//! Lines of a file into the WAL through the sandbox: MB/s and lines/s of one core.
//!
//! `cargo build --release -p whimbrel-plugin && cargo bench -p whimbrel --bench tail`
//!
//! The shipped file collector reads a file of 100-byte lines from its beginning, by the plugin host, into the store and the
//! WAL (zstd 1, encrypted, without fsync). CPU time of the process; for each shape of the configuration.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

use std::{
    fmt::Write as _,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};
use whimbrel::{
    clock::SystemClock,
    config::OnFull,
    plugins::builtin::BUILTIN,
    store::{Batch, Store},
};
use whimbrel_otlp::{Resource, Signal, write::Attributes};
use whimbrel_plugin_host::{
    Batch as Pushed, Denied, Grants, GuestError, Host, HostOptions, Limits, LogLine, Services, Setup,
    services as guest,
};
use whimbrel_wal::{Encryption, Key, KeyRing, Options, SyncPolicy, Wal};

const LINES: u64 = 2_000_000;

struct Sink {
    store: Store,
    items: Arc<AtomicU64>,
}

impl Services for Sink {
    fn push(
        &self,
        batch: Pushed,
        checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        Box::pin(async move {
            let batch = Batch {
                signal: Signal::Logs,
                request: &batch.request,
                source: "collectors/files",
                checkpoint: checkpoint.as_deref(),
            };
            self.items.fetch_add(self.store.append(batch).await.unwrap().items, Relaxed);
            Ok(())
        })
    }

    fn snapshot(&self, _part: &str, _select: &[(String, String)]) -> Result<Vec<guest::Entity>, GuestError> {
        panic!("it asks for no figures")
    }

    fn log(&self, line: LogLine) {
        panic!("{line:?}");
    }

    fn reveal(&self, _name: &str) -> Result<String, GuestError> {
        panic!("it asks for no secret")
    }

    fn denied(&self, what: &Denied) {
        panic!("{what}");
    }

    fn now_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_nanos()).unwrap()
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let mut text = String::new();
    for n in 0..LINES {
        let _ = writeln!(
            text,
            "2026-01-01T00:00:00.{:06}Z INFO request {n:>10} took 12 ms and went to the backend eu-1 as planned",
            n % 1_000_000
        );
    }
    std::fs::write(logs.join("app.log"), &text).unwrap();
    let megabytes = text.len() as f64 / 1e6;
    drop(text);

    let mut options = HostOptions::new(folder.path().join("cache"));
    // target/PROFILE/deps/this
    let beside =
        std::env::current_exe().unwrap().ancestors().nth(2).map(|p| p.join("whimbrel-plugin")).unwrap();
    options.compiler = Some(std::env::var_os("WHIMBREL_PLUGIN_TOOL").map_or(beside, PathBuf::from));
    let component = BUILTIN.iter().find(|(name, _)| *name == "file-tail").unwrap().1;
    let plugin = Host::new(options).unwrap().load("builtin:file-tail", component).await.unwrap();
    println!("{LINES} lines, {megabytes:.0} MB, into the WAL, CPU time");
    for (name, more) in [
        ("plain", ""),
        ("multiline", r#", "multiline": {"start": "^[0-9]{4}-"}"#),
        (
            "regex",
            r#", "parse": {"format": "regex", "pattern": "^(?<time>\\S+) (?<level>\\w+) (?<message>.*)"}"#,
        ),
    ] {
        let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate().unwrap())));
        options.sync = SyncPolicy::Never;
        let (wal, _) = Wal::open(&folder.path().join(name), options).unwrap();
        let resource = Resource::new(&Attributes::new().with("host.name", "bench"));
        let store =
            Store::new(wal.clone(), resource, Arc::new(SystemClock), OnFull::DropOldest, OnFull::Block);
        let items = Arc::new(AtomicU64::new(0));
        let setup = Setup {
            instance: "files".into(),
            config_json: format!(
                r#"{{"paths": ["{}/*.log"], "start_at": "beginning", "metrics": false{more}}}"#,
                logs.display()
            ),
            checkpoint: None,
            interval: Duration::from_secs(1),
            limits: Limits::default(),
            grants: Grants { read: vec![logs.clone()], ..Grants::default() },
            services: Arc::new(Sink { store, items: items.clone() }),
        };
        let mut instance = plugin.instantiate(setup).await.unwrap();
        let before = cpu();
        while instance.collect(Duration::from_secs(10)).await.unwrap().more {}
        let seconds = (cpu() - before).as_secs_f64();
        println!(
            "  {name:<10} {:>8.1} MB/s {:>12.0} lines/s",
            megabytes / seconds,
            items.load(Relaxed) as f64 / seconds
        );
        wal.close().unwrap();
    }
}
