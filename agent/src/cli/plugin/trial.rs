//! `whimbrel plugin run`: a few collects of a plugin, as a table or as OTLP/JSON.
//!
//! With `--json`, stdout holds a line for each batch, as the Collector's file exporter writes them, and nothing else:
//! what the plugin logged, what it was denied and how long it took go to stderr.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use whimbrel_plugin_host::{Grant, Host, HostOptions, Outside, Reserved, Trust};

use super::{
    super::{
        exit::{Exit, Failure, Outcome},
        print,
        source::Source,
        telling, words,
    },
    granting, reference,
};
use crate::{
    clock::SystemClock,
    collect::trial::{self, Collect, Plan, Trial},
    config::{self, BUILTIN_PLUGINS, Collector, Grants, Limits, PluginRef, SYSTEM_PARTS, SystemGrant},
    pipeline::{self, Places, system_options},
    plugins::Plugins,
    system::System,
};

/// What `plugin run` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The name of a configured collector, or else a component or builtin:NAME, which then runs with what the options
    /// below give it
    plugin: String,
    #[command(flatten)]
    source: Source,
    /// The plugin's own configuration, as JSON; over the configured one
    #[arg(long, value_name = "JSON")]
    plugin_config: Option<String>,
    /// Grant a part of the system, or all of it with `all`; may be repeated; over what is configured
    #[arg(long, value_name = "PART")]
    grant_system: Vec<String>,
    /// Grant something else, as under `grants` of a configuration: http=https://api.example.com, read=/var/log,
    /// write=DIR, tcp=HOST:PORT, udp=HOST:PORT, unix=PATH, env=NAME, secrets=NAME, system=PART; may be repeated; beside
    /// what is configured
    #[arg(long, value_name = "KEY=VALUE")]
    grant: Vec<Grant>,
    /// Collect so often; the last collect is shown. Rates and shares need two
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Seconds between two collects
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Print OTLP/JSON, every batch of every collect on a line
    #[arg(long)]
    json: bool,
}

/// The longest pause between two collects.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Runs it, and prints what it gave.
pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let Wanted { collector, cache, plugins, system, reserved } = wanted(args)?;
    let pause = Duration::try_from_secs_f64(args.interval).ok().filter(|pause| *pause <= LONGEST_PAUSE);
    let pause = pause.context("--interval: seconds, from 0 to 3600")?;
    let outside = Arc::new(Outside::new(reserved));
    let host = Host::new(HostOptions { outside, ..HostOptions::new(cache) })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let system = Arc::new(System::new(system_options(&system)));
    let plan = Plan { collects: args.count, pause };
    let trial =
        runtime.block_on(trial::run(&collector, &host, &plugins, system, Arc::new(SystemClock), plan))?;
    if args.json {
        for (signal, request) in trial.collects.iter().flat_map(|collect| &collect.batches) {
            print::text(format_args!("{}\n", whimbrel_otlp::to_json(*signal, request)?))?;
        }
    } else {
        print::text(table(&trial, print::width())?)?;
    }
    aside(&trial, args).iter().for_each(print::message);
    Ok(if trial.failed.is_none() { Exit::Done } else { Exit::Failed })
}

/// What is run, and what with.
struct Wanted {
    collector: Collector,
    /// Of compiled plugins.
    cache: PathBuf,
    plugins: Plugins,
    /// Where the host is seen.
    system: config::System,
    /// What of the agent stays out of reach.
    reserved: Reserved,
}

/// The configured collector of that name, or one made for the occasion.
fn wanted(args: &Args) -> Result<Wanted, Failure> {
    let named_file = reference::is_reference(&args.plugin);
    let mut secrets = BTreeMap::new();
    let mut reserved = Reserved::default();
    let (mut collector, cache, plugins, system) = match (named_file, args.source.load()) {
        (false, Err(problems)) => return Err(problems.into()),
        (false, Ok(loaded)) => {
            let places = Places::of(&loaded.config.data_dir);
            let plugins = Plugins::new(places.plugin_store, loaded.config.plugins.store_max_size);
            reserved = pipeline::reserved(&loaded.config, &places.plugin_cache);
            secrets.clone_from(&loaded.config.secrets);
            let names: Vec<_> = loaded.config.collectors.iter().map(|c| c.name.clone()).collect();
            let found = loaded.config.collectors.into_iter().find(|c| c.name == args.plugin);
            let system = loaded.config.system.clone();
            (
                found.with_context(|| unknown(&args.plugin, &names, &loaded.names))?,
                places.plugin_cache,
                plugins,
                system,
            )
        }
        (true, Err(problems)) if problems.iter().any(is_of_system) => return Err(problems.into()),
        (true, loaded) => {
            // The plugin is not of the configuration, whatever else is wrong with that.
            let cache = reference::scratch_cache()?;
            let config = loaded.ok().map(|found| found.config);
            if let Some(config) = &config {
                reserved = pipeline::reserved(config, &cache);
                secrets.clone_from(&config.secrets);
            }
            let system = config.as_ref().map(|config| config.system.clone());
            let plugin = reference::parse_with(&args.plugin, || config.map(|config| config.plugins))?;
            let plugins = Plugins::new(cache.join("store"), config::Plugins::default().store_max_size);
            let system = system.unwrap_or_else(|| config::System::at(Path::new("/")));
            (made_for(plugin), cache, plugins, system)
        }
    };
    if let Some(json) = &args.plugin_config {
        let config: Value = serde_json::from_str(json).context("--plugin-config is not JSON")?;
        if !config.is_object() {
            return Err(
                anyhow::anyhow!("--plugin-config is not a JSON object, such as {{\"key\": 1}}").into()
            );
        }
        collector.config = config;
    }
    if let Some(grant) = granted(&args.grant_system)? {
        collector.grants.system = grant;
    }
    granting::add(&mut collector.grants, &args.grant, &secrets)?;
    Ok(Wanted { collector, cache, plugins, system, reserved })
}

/// Whether it says where the host is seen: figures of another would be taken for the host's.
fn is_of_system(problem: &config::Problem) -> bool {
    problem.key.starts_with("system") || problem.location.file.starts_with("$HOST_")
}

/// What there is instead.
fn unknown(plugin: &str, configured: &[String], read: &[String]) -> String {
    let builtin: Vec<_> = BUILTIN_PLUGINS.iter().map(|name| format!("builtin:{name}")).collect();
    let configured = match configured.is_empty() {
        true => "none".to_owned(),
        false => configured.join(", "),
    };
    format!(
        "{plugin:?} is no file and no configured collector; configured in {}: {configured}; shipped: {}",
        read.join(", "),
        builtin.join(", ")
    )
}

fn granted(parts: &[String]) -> anyhow::Result<Option<SystemGrant>> {
    if parts.iter().any(|part| part == "all") {
        return Ok(Some(SystemGrant::All));
    }
    if let Some(wrong) = parts.iter().find(|part| !SYSTEM_PARTS.contains(&part.as_str())) {
        bail!("--grant-system {wrong}: there are {}, and all", SYSTEM_PARTS.join(", "));
    }
    Ok((!parts.is_empty()).then(|| SystemGrant::Parts(parts.to_vec())))
}

pub(super) fn made_for(plugin: PluginRef) -> Collector {
    let interval = Duration::from_secs(10);
    Collector {
        name: "trial".to_owned(),
        plugin,
        interval,
        config: json!({}),
        grants: Grants::default(),
        limits: Limits::for_interval(interval),
        // Whoever names a component runs it in the sandbox, signed or not; compiled code is never taken so.
        trust: Trust::default(),
    }
}

/// The last collect.
fn table(trial: &Trial, width: Option<usize>) -> anyhow::Result<String> {
    let nothing = Collect::default();
    let last = trial.collects.last().unwrap_or(&nothing);
    let mut out = match trial.collects.len() {
        0 | 1 => format!("{}\n\n", trial.title),
        many => format!("{}, collect {many} of {many}\n\n", trial.title),
    };
    let mut items = 0;
    for (signal, request) in &last.batches {
        let request = serde_json::from_str(&whimbrel_otlp::to_json(*signal, request)?)?;
        items += telling::items(&request);
        for line in telling::lines(&request) {
            out.push_str(&telling::cut_to(width, &line));
            out.push('\n');
        }
    }
    if trial.failed.is_some() && last.batches.is_empty() {
        return Ok(out);
    }
    out.push_str(&format!(
        "\n{} in {}; {:.1} ms in the sandbox, {} of memory\n",
        counted(items, "item", "items"),
        counted(last.batches.len(), "push", "pushes"),
        last.took.as_secs_f64() * 1000.0,
        words::bytes(Some(last.memory)),
    ));
    Ok(out)
}

pub(super) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What is worth saying beside the data: for stderr.
fn aside(trial: &Trial, args: &Args) -> Vec<String> {
    let mut lines = Vec::new();
    for line in &trial.lines {
        let fields: Vec<_> = line.fields.iter().map(|(key, value)| format!("  {key}={value}")).collect();
        let level = format!("{:?}", line.level).to_lowercase();
        lines.push(format!(
            "the plugin's log, {level}: {}{}",
            telling::harmless(&line.message),
            telling::harmless(&fields.concat())
        ));
    }
    lines.extend(granting::denials_and_flags(&trial.denied));
    if args.json {
        for (at, collect) in trial.collects.iter().enumerate() {
            lines.push(format!(
                "collect {}: {}, {:.1} ms in the sandbox, {} of memory",
                at + 1,
                counted(collect.batches.len(), "push", "pushes"),
                collect.took.as_secs_f64() * 1000.0,
                words::bytes(Some(collect.memory)),
            ));
        }
    }
    if let Some(checkpoint) = trial.checkpoint {
        lines.push(format!("a checkpoint of {checkpoint} bytes would be kept"));
    }
    if trial.collects.iter().any(|collect| collect.unending) {
        lines.push("it said a thousand times that there was more, and was not asked again".to_owned());
    }
    let collected = trial.collects.iter().any(|collect| !collect.batches.is_empty());
    if args.count == 1 && args.plugin == "builtin:host" && collected {
        lines.push("shares and rates need two collects: --count 2".to_owned());
    }
    if let Some(failed) = &trial.failed {
        lines.push(format!("collect failed: {failed}"));
    }
    lines
}
