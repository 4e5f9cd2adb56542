//! `whimbrel plugin dev`: builds the plugin of a folder, runs it, and does so again whenever something changes.
//!
//! Nothing ends it but an interrupt. While a build goes on, the plugin of the last good one goes on; a build that fails
//! and a plugin that does not start change nothing but what is told. A new one begins with the checkpoint of the old,
//! as in the agent.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use notify::{RecursiveMode, Watcher as _};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, MissedTickBehavior},
};
use whimbrel_plugin_host::{Host, HostOptions, text::whole};

use super::{
    author::{self, Made},
    granting,
    reference::scratch_cache,
    trial::made_for,
};
use crate::{
    admin,
    cli::{
        exit::{Exit, Failure, Outcome},
        print, reload, telling, words,
    },
    clock::SystemClock,
    collect::trial::{Recorder, Session},
    config::{self, Collector, Given, PluginRef, ProcessEnvironment, Sources},
    pipeline::system_options,
    system::System,
};

/// An editor writes a file in several steps.
const SETTLED: Duration = Duration::from_millis(150);
/// Folders that builds write to.
const NOT_SOURCES: [&str; 6] = ["build", "target", "node_modules", ".venv", ".git", "__pycache__"];
/// Where the folder's collector is configured.
const CONFIGURATION: &str = "whimbrel.yaml";

/// What `plugin dev` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The plugin's folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// Configuration with a collector that names the built component; without it, whimbrel.yaml in the folder
    #[arg(short = 'c', long = "config", value_name = "PATH")]
    config: Option<PathBuf>,
    /// Have the agent behind this control socket reload after each build, instead of running the plugin here
    #[arg(long, value_name = "SOCKET")]
    agent: Option<PathBuf>,
    /// End after so many collects
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Builds, runs, watches.
pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = watch(args) => ended,
            stopped = tokio::signal::ctrl_c() => stopped.map_err(Failure::from),
        }
    })?;
    Ok(Exit::Done)
}

async fn watch(args: &Args) -> Result<(), Failure> {
    if !author::is_project(&args.dir) {
        // There is nothing to watch; the build says so, and what to do.
        author::build(&args.dir)?;
    }
    let folder = std::fs::canonicalize(&args.dir).with_context(|| args.dir.display().to_string())?;
    let (_watcher, mut changes) = watcher(&folder)?;
    let mut bench = Bench::new(args, &folder)?;
    let mut build = Some(start_build(&folder)?);
    let mut left = args.count;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while left != Some(0) {
        tokio::select! {
            changed = changes.recv() => {
                let changed = changed.context("nobody watches the folder any more")?;
                settle(&mut changes).await;
                print::message(format_args!("{} changed", changed.display()));
                // What was being built is of yesterday: dropping it ends it.
                build = Some(start_build(&folder)?);
            }
            output = wait(&mut build) => {
                build = None;
                if let Some(made) = bench.finish(output?)
                    && let Some(interval) = bench.take(&made).await
                {
                    ticks = tokio::time::interval_at(Instant::now(), interval);
                    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                }
            }
            _ = ticks.tick(), if bench.session.is_some() => {
                bench.collect().await?;
                left = left.map(|left| left - 1);
            }
        }
    }
    if let Some(session) = bench.session {
        session.end().await;
    }
    Ok(())
}

type Build = std::pin::Pin<Box<dyn Future<Output = std::io::Result<std::process::Output>>>>;

fn start_build(folder: &Path) -> anyhow::Result<Build> {
    let mut command = tokio::process::Command::from(author::build_command(folder)?);
    // Not `output`: that one takes what the build says on stderr.
    let child = command.kill_on_drop(true).spawn().context(author::NOT_STARTED)?;
    Ok(Box::pin(child.wait_with_output()))
}

/// The end of a build; for ever, where none goes on.
async fn wait(build: &mut Option<Build>) -> anyhow::Result<std::process::Output> {
    match build {
        Some(build) => build.await.context("whimbrel-plugin"),
        None => std::future::pending().await,
    }
}

/// Tells of files that are sources.
fn watcher(folder: &Path) -> anyhow::Result<(notify::RecommendedWatcher, UnboundedReceiver<PathBuf>)> {
    let (told, changes) = unbounded_channel();
    let root = folder.to_owned();
    let own = own_output();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if event.kind.is_access() {
            return;
        }
        let is_own = |path: &Path| identity(std::fs::metadata(path)).is_some_and(|one| own.contains(&one));
        let mut paths = event.paths.into_iter().filter(|path| !is_own(path));
        if let Some(path) = paths.find_map(|path| source(&root, &path)) {
            // Nobody listens any more: the command is about to end.
            let _ = told.send(path);
        }
    })
    .context("the folder can't be watched")?;
    watcher
        .watch(folder, RecursiveMode::Recursive)
        .with_context(|| format!("{} can't be watched", folder.display()))?;
    Ok((watcher, changes))
}

/// Where this command's own output goes: `plugin dev > log` in the folder would tell of itself without end.
fn own_output() -> Vec<(u64, u64)> {
    ["/proc/self/fd/1", "/proc/self/fd/2"]
        .into_iter()
        .filter_map(|fd| identity(std::fs::metadata(fd)))
        .collect()
}

/// Device and inode of a plain file.
fn identity(metadata: std::io::Result<std::fs::Metadata>) -> Option<(u64, u64)> {
    metadata.ok().filter(std::fs::Metadata::is_file).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The path in the folder, if it is one of a source: not of what builds write, nor of what editors leave for a moment.
fn source(root: &Path, path: &Path) -> Option<PathBuf> {
    let inside = path.strip_prefix(root).ok()?;
    let name = inside.file_name()?.to_str()?;
    let made = inside.components().any(
        |part| matches!(part, Component::Normal(name) if NOT_SOURCES.iter().any(|known| name == *known)),
    );
    let passing = name.starts_with(['.', '#'])
        || name.ends_with(['~', '#'])
        || name.ends_with(".swp")
        || name.ends_with(".tmp");
    // An editor's own probe; a lock file is the build's.
    let of_tools = name == "4913" || name == "Cargo.lock" || name == "package-lock.json" || name == "go.sum";
    (!made && !passing && !of_tools).then(|| inside.to_owned())
}

fn reason(error: &anyhow::Error) -> String {
    whole(error.as_ref())
}

async fn settle(changes: &mut UnboundedReceiver<PathBuf>) {
    while let Ok(Some(_)) = tokio::time::timeout(SETTLED, changes.recv()).await {}
}

/// What runs, and what the next one needs.
struct Bench {
    host: Host,
    system: Arc<System>,
    configuration: Option<PathBuf>,
    agent: Option<PathBuf>,
    session: Option<Session>,
    recorder: Arc<Recorder>,
    checkpoint: Option<Vec<u8>>,
    width: Option<usize>,
}

impl Bench {
    fn new(args: &Args, folder: &Path) -> anyhow::Result<Bench> {
        let own = folder.join(CONFIGURATION);
        let configuration = args.config.clone().or_else(|| own.is_file().then_some(own));
        let system = Arc::new(System::new(system_options(&config::System::at(Path::new("/")))));
        Ok(Bench {
            host: Host::new(HostOptions::new(scratch_cache()?))?,
            recorder: Arc::new(Recorder::new(
                &made_for(PluginRef::Path(PathBuf::new())),
                system.clone(),
                Arc::new(SystemClock),
            )),
            system,
            configuration,
            agent: args.agent.clone(),
            session: None,
            checkpoint: None,
            width: print::width(),
        })
    }

    /// What was made; a build that failed has said why on stderr.
    fn finish(&self, output: std::process::Output) -> Option<Made> {
        if !output.status.success() {
            print::message(if self.session.is_some() || self.agent.is_some() {
                "the build failed; what was built before goes on"
            } else {
                "the build failed; it is tried again when something changes"
            });
            return None;
        }
        author::made(&output.stdout).map_err(|error| print::message(reason(&error))).ok()
    }

    /// Puts a new component in the place of the old one; answers how often it is to be asked, or nothing where the
    /// old one goes on or the agent runs it.
    async fn take(&mut self, made: &Made) -> Option<Duration> {
        let how = match made.built {
            true => format!("built in {:.1} s", made.took_ms as f64 / 1000.0),
            false => "as it was built before: no source has changed".to_owned(),
        };
        print::message(format_args!("{}, {}, {how}", made.title, words::bytes(Some(made.size))));
        if let Some(socket) = &self.agent {
            let told = match admin::reload(socket).await {
                Ok((status, answer)) => reload::told(status, &answer),
                Err(error) => Err(error.into()),
            };
            match told {
                Ok(words) => print::message(format_args!("the agent: {}", words.trim_end())),
                Err(error) => print::message(format_args!("the agent did not reload: {}", reason(&error))),
            }
            return None;
        }
        match self.start(made).await {
            Ok(interval) => Some(interval),
            Err(error) => {
                self.said();
                let on = if self.session.is_some() { "; the one before goes on" } else { "" };
                print::message(format_args!("it did not start: {}{on}", reason(&error)));
                None
            }
        }
    }

    async fn start(&mut self, made: &Made) -> anyhow::Result<Duration> {
        let bytes = std::fs::read(&made.component).with_context(|| made.component.display().to_string())?;
        let plugin = self.host.load(&made.component.display().to_string(), &bytes).await?;
        let collector = self.collector(&made.component)?;
        let recorder = Arc::new(Recorder::new(&collector, self.system.clone(), Arc::new(SystemClock)));
        let started = Session::start(&plugin, &collector, self.checkpoint.clone(), &recorder).await;
        let before = std::mem::replace(&mut self.recorder, recorder);
        let session = match started {
            Ok(session) => session,
            Err(fault) => {
                self.said();
                self.recorder = before;
                return Err(fault.into());
            }
        };
        if let Some(old) = self.session.replace(session) {
            old.end().await;
        }
        self.said();
        Ok(collector.interval)
    }

    /// The configured collector of this component, or one with nothing but defaults.
    fn collector(&self, component: &Path) -> anyhow::Result<Collector> {
        let Some(file) = &self.configuration else {
            return Ok(made_for(PluginRef::Path(component.to_owned())));
        };
        let sources = Sources { given: vec![Given::Path(file.clone())], search: Vec::new() };
        let loaded = config::load(&sources, &ProcessEnvironment)?;
        let same = |plugin: &PluginRef| {
            matches!(plugin, PluginRef::Path(path) if path == component
                || std::fs::canonicalize(path).ok() == std::fs::canonicalize(component).ok())
        };
        let found = loaded.config.collectors.into_iter().find(|collector| same(&collector.plugin));
        found.with_context(|| format!("no collector in {} names {}", file.display(), component.display()))
    }

    /// One collect, told.
    async fn collect(&mut self) -> anyhow::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let (collect, ended) = session.collect().await;
        let mut text = String::new();
        for (signal, request) in &collect.batches {
            let request = serde_json::from_str(&whimbrel_otlp::to_json(*signal, request)?)?;
            for line in telling::lines(&request) {
                text.push_str(&telling::cut_to(self.width, &line));
                text.push('\n');
            }
        }
        print::text(text)?;
        self.said();
        if let Err(error) = ended {
            print::message(format_args!("collect failed: {error}"));
        }
        if self.session.as_ref().is_some_and(|session| !session.is_alive()) {
            self.session = None;
            print::message("it has ended; change something, and it starts again");
        }
        Ok(())
    }

    /// Tells what it logged and was denied, and keeps its checkpoint.
    fn said(&mut self) {
        let said = self.recorder.take();
        for line in said.lines {
            let fields: String = line.fields.iter().map(|(key, value)| format!("  {key}={value}")).collect();
            let level = format!("{:?}", line.level).to_lowercase();
            print::message(format_args!(
                "its log, {level}: {}{}",
                telling::harmless(&line.message),
                telling::harmless(&fields)
            ));
        }
        granting::denials(&said.denied).into_iter().for_each(print::message);
        self.checkpoint = said.checkpoint.or(self.checkpoint.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_what_builds_and_editors_leave() {
        let root = Path::new("/home/me/queue");
        let is_source = |path: &str| source(root, &root.join(path)).is_some();
        for path in
            ["src/lib.rs", "whimbrel.yaml", "config.schema.json", "tests/default.yaml", "package.json"]
        {
            assert!(is_source(path), "{path}");
        }
        for path in [
            "build/queue.wasm",
            "target/x",
            "src/__pycache__/a.pyc",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "src/4913",
            "Cargo.lock",
        ] {
            assert!(!is_source(path), "{path}");
        }
        assert_eq!(source(root, Path::new("/elsewhere/a.rs")), None);
    }
}
