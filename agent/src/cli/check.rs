//! `whimbrel check`: what would run, or everything that is wrong. Opens no data, and makes no file.

mod components;

use std::collections::BTreeMap;

use super::{
    exit::{Exit, Outcome},
    print,
    source::Source,
};
use crate::{
    config::{
        Collector, Compression, Config, Encryption, Exporter, KeyPlace, KeyPlaces, Loaded, PluginRef,
        Problems, Receiver, Shown, Sync, show_duration, show_size,
    },
    resource::{self, Surroundings},
};

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    /// Print JSON: ok, problems, warnings, notes, read, resource, and the effective configuration
    #[arg(long)]
    pub(super) json: bool,
}

/// Checks the configuration and the files that it names.
pub(super) fn run(args: &Args) -> Outcome {
    let checked = args.source.load().and_then(|loaded| {
        let problems = loaded.check_files();
        if problems.is_empty() { Ok(loaded) } else { Err(problems) }
    });
    let components::Found { warnings: uncovered, problems } =
        checked.as_ref().map(components::inspect).unwrap_or_default();
    let checked = checked.and_then(|loaded| if problems.is_empty() { Ok(loaded) } else { Err(problems) });
    if args.json {
        print::json(&report(&checked, &uncovered))?;
        return Ok(if checked.is_ok() { Exit::Done } else { Exit::Configuration });
    }
    let loaded = checked?;
    print::text(summary(&loaded, print::width()))?;
    for line in &uncovered {
        print::message(format!("warning: {line}"));
    }
    Ok(Exit::Done)
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Report<'r> {
    ok: bool,
    /// What components can ask for and are not granted.
    uncovered: &'r [String],
    problems: serde_json::Value,
    warnings: serde_json::Value,
    notes: &'r [String],
    read: &'r [String],
    /// What everything that is sent will say about this host; empty where anything is wrong.
    resource: BTreeMap<String, String>,
    /// As `config show --effective` has it; null where anything is wrong.
    configuration: Option<Shown>,
}

fn report<'r>(checked: &'r Result<Loaded, Problems>, uncovered: &'r [String]) -> Report<'r> {
    let none = Problems::default().to_json();
    match checked {
        Ok(loaded) => Report {
            ok: true,
            uncovered,
            problems: none,
            warnings: loaded.warnings.to_json(),
            notes: &loaded.notes,
            read: &loaded.names,
            resource: resource(loaded),
            configuration: Some(loaded.effective()),
        },
        Err(problems) => Report {
            ok: false,
            uncovered,
            problems: problems.to_json(),
            warnings: none,
            notes: &[],
            read: &[],
            resource: BTreeMap::new(),
            configuration: None,
        },
    }
}

/// What stands before each table: the title of its section.
const MARGIN: usize = 12;

/// What would run, as a person reads it, on a terminal of this width.
fn summary(loaded: &Loaded, width: Option<usize>) -> String {
    let mut text = format!("{}: good\n\n", loaded.names.join(", "));
    let mut section = |title: &str, rows: Vec<Vec<String>>| {
        let titles = std::iter::once(title).chain(std::iter::repeat(""));
        let lines = print::table(&rows);
        for (title, line) in titles.zip(lines.lines()) {
            text.push_str(&format!("{title:MARGIN$}{line}\n"));
        }
    };
    let Config { data_dir, collectors, receivers, wal, exporters, health, control_socket, .. } =
        &loaded.config;
    let mut rows: Vec<_> = collectors.iter().map(collector).collect();
    print::shorten(&mut rows, 1, width.map(|width| width.saturating_sub(MARGIN)));
    section("collectors", or_none(rows));
    if !receivers.is_empty() {
        section("receivers", receivers.iter().map(receiver).collect());
    }
    section("exporters", or_none(exporters.iter().map(exporter).collect()));
    let sync = match wal.sync {
        Sync::Always => "synced before it is answered for".to_owned(),
        Sync::Interval(every) => format!("synced every {}", show_duration(every)),
        Sync::Never => "synced by the system".to_owned(),
    };
    section(
        "data",
        vec![vec![data_dir.display().to_string(), format!("at most {}", show_size(wal.max_size)), sync]],
    );
    section("key", vec![vec![key(&wal.encryption)]]);
    let resource = resource(loaded).into_iter().map(|(key, value)| vec![key, value]);
    section("resource", or_none(resource.collect()));
    section(
        "health",
        vec![vec![health.map_or_else(|| "not served".to_owned(), |at| format!("http://{at}/healthz"))]],
    );
    section("control", vec![vec![control_socket.display().to_string()]]);
    for note in &loaded.notes {
        text.push_str(&format!("\nnote: {note}\n"));
    }
    for warning in loaded.warnings.iter() {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

/// What everything that is sent will say about this host.
fn resource(loaded: &Loaded) -> BTreeMap<String, String> {
    let around = Surroundings::of_this_process(&loaded.config.system.root_path);
    resource::attributes(&loaded.shown_resource(), &around)
}

fn or_none(cells: Vec<Vec<String>>) -> Vec<Vec<String>> {
    if cells.is_empty() { vec![vec!["none".to_owned()]] } else { cells }
}

fn collector(collector: &Collector) -> Vec<String> {
    let plugin = collector.plugin.to_string();
    let grants = match &collector.plugin {
        PluginRef::Exec(exec) => format!("OUTSIDE the sandbox, read as {}", exec.output.name()),
        PluginRef::Builtin(_) | PluginRef::Path(_) | PluginRef::Registry(_) => {
            components::granted_words(collector)
        }
    };
    vec![collector.name.clone(), plugin, format!("every {}", show_duration(collector.interval)), grants]
}

fn receiver(receiver: &Receiver) -> Vec<String> {
    vec![receiver.name.clone(), receiver.kind.addresses().join(", ")]
}

fn exporter(exporter: &Exporter) -> Vec<String> {
    let compression = match exporter.compression {
        Compression::Auto => "zstd, or gzip where it is refused",
        Compression::Zstd => "zstd",
        Compression::Gzip => "gzip",
        Compression::None => "not compressed",
    };
    let protocol = exporter.protocol.name();
    let mut cells =
        vec![exporter.name.clone(), exporter.endpoint.clone(), protocol.into(), compression.into()];
    let signals = &exporter.signals;
    let own = [("metrics", &signals.metrics), ("logs", &signals.logs), ("traces", &signals.traces)];
    cells.extend(own.into_iter().filter_map(|(signal, own)| {
        let protocol = own.protocol.map(|protocol| format!(" over {}", protocol.name()));
        let url = own.url.as_ref().map(|url| format!(" to {url}"));
        (protocol.is_some() || url.is_some())
            .then(|| format!("{signal}{}{}", protocol.unwrap_or_default(), url.unwrap_or_default()))
    }));
    cells
}

fn key(encryption: &Encryption) -> String {
    match encryption {
        Encryption::Aes256Gcm(KeyPlaces { current: KeyPlace::File(path), create: true, .. })
            if !path.exists() =>
        {
            format!("{}, made at the first start", path.display())
        }
        Encryption::Aes256Gcm(places) => places.current.to_string(),
        Encryption::None => "none: data is stored unencrypted".to_owned(),
    }
}
