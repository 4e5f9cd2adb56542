//! `whimbrel plugin`: who a component is and what it asks for, and one collect of it.

use std::{
    path::{Path, PathBuf},
    process::Command as Process,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use whimbrel_otlp::{Signal, read};
use whimbrel_plugin_host::{Host, HostOptions};

use super::{
    exit::{Exit, Failure, Outcome},
    print,
    source::Source,
    words,
};
use crate::{
    clock::SystemClock,
    collect::{
        builtin,
        trial::{self, Trial},
    },
    config::{Collector, Grants, Limits, PluginRef, SystemGrant},
    pipeline::Places,
    system::{self, System},
};

/// What `plugin` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Who made it, what it can do, what it asks for; runs none of it
    Inspect(InspectArgs),
    /// One collect, printed; nothing is stored or sent
    Run(RunArgs),
}

/// What `plugin inspect` takes.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// The component, or builtin:NAME
    pub(super) plugin: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What `plugin run` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The name of a configured collector, or else a component or builtin:NAME, which then runs with what the options
    /// below give it
    pub(super) plugin: String,
    #[command(flatten)]
    pub(super) source: Source,
    /// The plugin's own configuration, as JSON; over the configured one
    #[arg(long, value_name = "JSON")]
    pub(super) plugin_config: Option<String>,
    /// Grant a part of the system, or all of it with `all`; may be repeated; over what is configured
    #[arg(long, value_name = "PART")]
    pub(super) grant_system: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Inspect(args) => inspect(args),
        Command::Run(args) => collect_once(args),
    }
}

/// The agent holds no WebAssembly parser: `whimbrel-plugin` does it, and its output and exit code are ours.
fn inspect(args: &InspectArgs) -> Outcome {
    let tool = whimbrel_plugin_host::compiler_path(None)?;
    let mut process = Process::new(&tool);
    process.arg("inspect");
    if args.json {
        process.arg("--json");
    }
    let name = args.plugin.to_string_lossy();
    let unpacked; // lives until the tool has read it
    match name.strip_prefix("builtin:") {
        Some(builtin) => {
            let bytes = builtin::read(&PluginRef::Builtin(builtin.to_owned())).context(name.to_string())?;
            unpacked = Unpacked::new(builtin, &bytes)?;
            process.arg(&unpacked.file);
        }
        None => {
            process.arg(&args.plugin);
        }
    }
    let status = process.status().with_context(|| format!("cannot start {}", tool.display()))?;
    Ok(if status.success() { Exit::Done } else { Exit::Failed })
}

/// A builtin component as a file of its own, for as long as this lives.
struct Unpacked {
    file: PathBuf,
}

impl Unpacked {
    fn new(name: &str, bytes: &[u8]) -> std::io::Result<Self> {
        use std::io::Write as _;
        let file = std::env::temp_dir().join(format!("whimbrel-{}-{name}.wasm", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        options.open(&file)?.write_all(bytes)?;
        Ok(Self { file })
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // A temporary file that cannot be removed is the system's to sweep.
        let _ = std::fs::remove_file(&self.file);
    }
}

fn collect_once(args: &RunArgs) -> Outcome {
    let (collector, cache) = wanted(args)?;
    let host = Host::new(HostOptions::new(cache))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let system = Arc::new(System::new(system::Options::default()));
    let trial = runtime.block_on(trial::once(&collector, &host, system, Arc::new(SystemClock)))?;
    if args.json {
        print::json(&as_json(&trial)?)?;
    } else {
        print::text(as_table(&trial)?)?;
    }
    Ok(if trial.failed.is_none() { Exit::Done } else { Exit::Failed })
}

/// The configured collector of that name, or one made for the occasion; and where compiled plugins are kept.
fn wanted(args: &RunArgs) -> Result<(Collector, PathBuf), Failure> {
    let named_file = args.plugin.starts_with("builtin:") || Path::new(&args.plugin).exists();
    let (mut collector, cache) = match (named_file, args.source.load()) {
        (false, Err(problems)) => return Err(problems.into()),
        (false, Ok(loaded)) => {
            let cache = Places::of(&loaded.config.data_dir).plugin_cache;
            let found = loaded.config.collectors.into_iter().find(|c| c.name == args.plugin);
            let collector = found.with_context(|| {
                format!("{0:?} is neither a configured collector nor a file, nor builtin:NAME", args.plugin)
            })?;
            (collector, cache)
        }
        (true, _) => (made_for(&args.plugin), scratch_cache()?),
    };
    if let Some(json) = &args.plugin_config {
        collector.config = serde_json::from_str(json).context("--plugin-config is not JSON")?;
    }
    if args.grant_system.iter().any(|part| part == "all") {
        collector.grants.system = SystemGrant::All;
    } else if !args.grant_system.is_empty() {
        collector.grants.system = SystemGrant::Parts(args.grant_system.clone());
    }
    Ok((collector, cache))
}

fn made_for(plugin: &str) -> Collector {
    let interval = Duration::from_secs(10);
    Collector {
        name: "trial".to_owned(),
        plugin: match plugin.strip_prefix("builtin:") {
            Some(name) => PluginRef::Builtin(name.to_owned()),
            None => PluginRef::Path(PathBuf::from(plugin)),
        },
        interval,
        config: json!({}),
        grants: Grants::default(),
        limits: Limits::for_interval(interval),
    }
}

/// Compiled plugins of trials: the user's own cache folder, so that a second run is quick.
fn scratch_cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("WHIMBREL_PLUGIN_CACHE").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or_else(home).map(|cache| cache.join("whimbrel/plugins"))
    });
    base.context("neither XDG_CACHE_HOME nor HOME is set: name a collector of a configuration instead")
}

fn as_table(trial: &Trial) -> Result<String, whimbrel_otlp::WalkError> {
    let mut rows = vec![words::row(&["metric", "kind", "unit", "value", "attributes"])];
    let mut logs = Vec::new();
    for (signal, request) in &trial.batches {
        match signal {
            Signal::Metrics => {
                for point in read::points(request)? {
                    rows.push(vec![
                        point.metric.name.clone(),
                        kind(point.metric.kind).to_owned(),
                        point.metric.unit.clone(),
                        value(&point.value),
                        belongs(&point.source, &point.attributes),
                    ]);
                }
            }
            Signal::Logs => {
                for record in read::records(request)? {
                    logs.push(format!(
                        "log  {}  {}  {}\n",
                        record.severity_text, record.body, record.attributes
                    ));
                }
            }
            Signal::Traces => logs.push(format!("traces: a request of {} bytes\n", request.len())),
        }
    }
    let points = rows.len() - 1;
    let mut out = format!("{}\n\n", trial.title);
    if points > 0 {
        out.push_str(&print::table(&rows));
    }
    logs.iter().for_each(|line| out.push_str(line));
    for line in &trial.lines {
        out.push_str(&format!("the plugin's log, {:?}: {}\n", line.level, line.message));
    }
    for denied in &trial.denied {
        out.push_str(&format!("denied: {denied}\n"));
    }
    out.push_str(&format!(
        "\n{points} points in {} pushes; {:.1} ms in the sandbox, {} of memory\n",
        trial.batches.len(),
        trial.took.as_secs_f64() * 1000.0,
        words::bytes(Some(trial.memory)),
    ));
    if let Some(checkpoint) = trial.checkpoint {
        out.push_str(&format!("a checkpoint of {checkpoint} bytes would be kept\n"));
    }
    if let Some(failed) = &trial.failed {
        out.push_str(&format!("collect failed: {failed}\n"));
    }
    Ok(out)
}

/// A point's attributes, and what it is of where that is not the host: a process by its name and number.
fn belongs(source: &read::Source, attributes: &read::Attributes) -> String {
    if source.resource == read::Attributes::default() {
        return attributes.to_string();
    }
    match (source.resource.text("process.executable.name"), source.resource.get("process.pid")) {
        (Some(name), Some(pid)) => format!("{attributes} of {name} ({pid})"),
        _ => format!("{attributes} of {}", source.resource),
    }
}

fn kind(kind: read::Kind) -> &'static str {
    match kind {
        read::Kind::Gauge => "gauge",
        read::Kind::Sum { monotonic: true, .. } => "counter",
        read::Kind::Sum { monotonic: false, .. } => "up-down counter",
        read::Kind::Histogram { .. } => "histogram",
        read::Kind::ExponentialHistogram { .. } => "exponential histogram",
        read::Kind::Summary => "summary",
    }
}

fn value(value: &read::PointValue) -> String {
    match value {
        read::PointValue::None => "-".to_owned(),
        read::PointValue::Int(number) => number.to_string(),
        read::PointValue::Double(number) => number.to_string(),
        read::PointValue::Distribution { count, sum, .. } => match sum {
            Some(sum) => format!("{count} values, sum {sum}"),
            None => format!("{count} values"),
        },
    }
}

fn as_json(trial: &Trial) -> anyhow::Result<Value> {
    let mut points = Vec::new();
    let mut logs = Vec::new();
    for (signal, request) in &trial.batches {
        match signal {
            Signal::Metrics => points.extend(read::points(request)?.iter().map(|point| {
                json!({
                    "name": point.metric.name,
                    "kind": kind(point.metric.kind),
                    "unit": point.metric.unit,
                    "attributes": point.attributes.to_string(),
                    "resource": point.source.resource.to_string(),
                    "start_ns": point.start_ns,
                    "time_ns": point.time_ns,
                    "value": number(&point.value),
                })
            })),
            Signal::Logs => logs.extend(read::records(request)?.iter().map(|record| {
                json!({
                    "time_ns": record.time_ns,
                    "severity": record.severity.number(),
                    "body": record.body.to_string(),
                    "attributes": record.attributes.to_string(),
                })
            })),
            Signal::Traces => {}
        }
    }
    Ok(json!({
        "plugin": trial.title,
        "points": points,
        "logs": logs,
        "pushes": trial.batches.len(),
        "checkpoint_bytes": trial.checkpoint,
        "log": trial.lines.iter().map(|line| line.message.clone()).collect::<Vec<_>>(),
        "denied": trial.denied.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "took_us": u64::try_from(trial.took.as_micros())?,
        "memory_bytes": trial.memory,
        "failed": trial.failed.as_ref().map(ToString::to_string),
    }))
}

fn number(value: &read::PointValue) -> Value {
    match value {
        read::PointValue::Int(number) => json!(number),
        read::PointValue::Double(number) => json!(number),
        read::PointValue::None => Value::Null,
        read::PointValue::Distribution { count, sum, .. } => json!({ "count": count, "sum": sum }),
    }
}
