//! `whimbrel plugin test`: the component in the agent's own sandbox, on a clock that stands still, against what was
//! written down.
//!
//! A case is a file `tests/NAME.yaml` of the plugin's folder: what stands below a collector in whimbrel.yaml, how often
//! to collect, and the checkpoint to begin with. What it comes to stands in `tests/golden/NAME.json`: batches as
//! OTLP/JSON, lines of the log, denials, failures. Times and sizes are told, and held to the limits by the sandbox.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use whimbrel_otlp::Signal;
use whimbrel_plugin_host::{Denied, Host, HostOptions, LogLine};

use super::{author, golden::differences, trial::scratch_cache};
use crate::{
    cli::{
        exit::{Exit, Outcome},
        print, telling, words,
    },
    clock::{Clock as _, SteppedClock},
    collect::trial::{Recorder, Session},
    config::{self, Collector, FixedEnvironment, Given, Sources},
    pipeline::system_options,
    system::System,
};

/// `WHIMBREL_GOLDEN=write` writes down what comes out.
const VARIABLE: &str = "WHIMBREL_GOLDEN";
/// How a case's text is named in messages.
const CASE: &str = "the case";
/// A case collects no more often.
const MOST_COLLECTS: u64 = 10_000;

/// What `plugin test` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The cases to run, by name; without it, all of tests/*.yaml
    cases: Vec<String>,
    /// The plugin's folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// Test this component instead of building one
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

/// One file of `tests/`.
struct Case {
    name: String,
    collector: Collector,
    collects: u64,
    checkpoint: Option<Vec<u8>>,
}

/// What a case came to.
struct Result {
    /// As it is written down.
    seen: Value,
    items: usize,
    slowest: Duration,
    memory: u64,
}

/// Builds, runs all cases, tells how they went.
pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let component = match &args.component {
        Some(file) => std::path::absolute(file)?,
        None => author::build(&args.dir)?.component,
    };
    let tests = args.dir.join("tests");
    let cases = cases(&tests, &component, &args.cases)?;
    let write = std::env::var_os(VARIABLE).is_some_and(|value| value == "write");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = Host::new(HostOptions::new(scratch_cache()?))?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for case in &cases {
        let result = runtime.block_on(play(case, &component, &host))?;
        let path = tests.join("golden").join(format!("{}.json", case.name));
        let (word, failure) = if write {
            (if write_down(&path, &result.seen)? { "written" } else { "as it was" }, None)
        } else {
            let failure = compare(&path, &result.seen)?;
            (if failure.is_none() { "ok" } else { "FAILED" }, failure)
        };
        rows.push(row(case, word, &result));
        failures.extend(failure.map(|failure| format!("\n{}: {failure}", case.name)));
    }
    print::text(print::table(&rows))?;
    failures.iter().for_each(print::message);
    Ok(if failures.is_empty() { Exit::Done } else { Exit::Failed })
}

fn row(case: &Case, word: &str, result: &Result) -> Vec<String> {
    let limits = &case.collector.limits;
    vec![
        case.name.clone(),
        word.to_owned(),
        super::trial::counted(result.items, "item", "items"),
        format!("at most {:.2} ms of {}", result.slowest.as_secs_f64() * 1000.0, config::show_duration(limits.deadline)),
        format!("{} of {}", words::bytes(Some(result.memory)), words::bytes(Some(limits.memory))),
    ]
}

/// All cases of the folder, or those that are named.
fn cases(folder: &Path, component: &Path, wanted: &[String]) -> anyhow::Result<Vec<Case>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        if let (Some(name), Some("yaml")) = (name, path.extension().and_then(|extension| extension.to_str())) {
            files.push((name, path));
        }
    }
    files.sort();
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        bail!("there is no case {unknown:?} in {}; there are {}", folder.display(), names.join(", "));
    }
    if files.is_empty() {
        bail!("{} has no case: write one as NAME.yaml, with what stands below a collector in whimbrel.yaml", folder.display());
    }
    files.retain(|(name, _)| wanted.is_empty() || wanted.contains(name));
    files.into_iter().map(|(name, path)| read(name, &path, component)).collect()
}

/// A case is a collector of a configuration of its own, and is checked as one.
fn read(name: String, path: &Path, component: &Path) -> anyhow::Result<Case> {
    let at = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(at)?;
    let given: Option<Map<String, Value>> = serde_yaml::from_str(&text).with_context(at)?;
    let mut given = given.unwrap_or_default();
    let collects = match given.remove("collects") {
        None => 1,
        Some(value) => match value.as_u64() {
            Some(count) if (1..=MOST_COLLECTS).contains(&count) => count,
            _ => bail!("{}: collects: give a number from 1 to {MOST_COLLECTS}", path.display()),
        },
    };
    let checkpoint = match given.remove("checkpoint") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => match text.strip_prefix("base64:") {
            Some(encoded) => Some(BASE64.decode(encoded).with_context(|| format!("{}: checkpoint", path.display()))?),
            None => Some(text.into_bytes()),
        },
        Some(_) => bail!("{}: checkpoint: give a text, or base64: and the bytes", path.display()),
    };
    if given.contains_key("plugin") {
        bail!("{}: plugin: a case is of the plugin that is built here", path.display());
    }
    given.insert("plugin".to_owned(), json!(component));
    let configuration = json!({ "collectors": { name.as_str(): given } }).to_string();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut around = FixedEnvironment::new(std::path::absolute(folder)?);
    around.variables.insert(OsString::from(CASE), configuration.into());
    let sources = Sources { given: vec![Given::Variable(CASE.to_owned())], search: Vec::new() };
    let loaded = config::load(&sources, &around).map_err(|problems| {
        let said: Vec<String> = problems.iter().map(|problem| format!("{}: {}; {}", problem.key, problem.what, problem.remedy)).collect();
        anyhow::anyhow!("{}: {}", path.display(), said.join("\n"))
    })?;
    let collector = loaded.config.collectors.into_iter().next().context("a case is one collector")?;
    Ok(Case { name, collector, collects, checkpoint })
}

async fn play(case: &Case, component: &Path, host: &Host) -> anyhow::Result<Result> {
    let clock = Arc::new(SteppedClock::default());
    let system = Arc::new(System::new(system_options(&config::System::at(Path::new("/")))));
    let recorder = Arc::new(Recorder::new(system, clock.clone()));
    let bytes = fs::read(component).with_context(|| component.display().to_string())?;
    let plugin = host.load(&component.display().to_string(), &bytes).await?;
    let mut result = Result { seen: Value::Null, items: 0, slowest: Duration::ZERO, memory: 0 };
    let mut seen = Map::new();
    let mut checkpoint = None;
    let started = Session::start(&plugin, &case.collector, case.checkpoint.clone(), &recorder).await;
    let said = recorder.take();
    tell(&mut seen, &said.lines, &said.denied);
    let mut session = match started {
        Ok(session) => session,
        Err(fault) => {
            seen.insert("failed".to_owned(), json!(fault.message));
            result.seen = Value::Object(seen);
            return Ok(result);
        }
    };
    let mut collects = Vec::new();
    for round in 0..case.collects {
        if round > 0 {
            clock.sleep(case.collector.interval).await;
        }
        let (collect, ended) = session.collect().await;
        let said = recorder.take();
        let mut one = Map::new();
        let batches = collect.batches.iter().map(|(signal, request)| batch(*signal, request));
        let batches = batches.collect::<anyhow::Result<Vec<Value>>>()?;
        result.items += batches.iter().map(telling::items).sum::<usize>();
        result.slowest = result.slowest.max(collect.took);
        result.memory = result.memory.max(collect.memory);
        one.insert("batches".to_owned(), Value::Array(batches));
        tell(&mut one, &said.lines, &said.denied);
        checkpoint = said.checkpoint.or(checkpoint);
        if let Err(error) = &ended {
            one.insert("failed".to_owned(), json!(error.to_string()));
        }
        collects.push(Value::Object(one));
        if !session.is_alive() {
            break;
        }
    }
    session.end().await;
    seen.insert("collects".to_owned(), Value::Array(collects));
    if let Some(bytes) = checkpoint {
        let text = String::from_utf8(bytes).unwrap_or_else(|error| format!("base64:{}", BASE64.encode(error.as_bytes())));
        seen.insert("checkpoint".to_owned(), json!(text));
    }
    result.seen = Value::Object(seen);
    Ok(result)
}

fn batch(signal: Signal, request: &[u8]) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&whimbrel_otlp::to_json(signal, request)?)?)
}

/// What was said beside the data; nothing is left out.
fn tell(into: &mut Map<String, Value>, lines: &[LogLine], denied: &[Denied]) {
    if !lines.is_empty() {
        let line = |line: &LogLine| {
            let fields: String = line.fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            format!("{}: {}{fields}", format!("{:?}", line.level).to_lowercase(), line.message)
        };
        into.insert("log".to_owned(), lines.iter().map(line).collect());
    }
    if !denied.is_empty() {
        into.insert("denied".to_owned(), denied.iter().map(ToString::to_string).collect());
    }
}

/// Whether it changed anything.
fn write_down(path: &Path, seen: &Value) -> anyhow::Result<bool> {
    let text = format!("{}\n", serde_json::to_string_pretty(seen)?);
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())?;
    Ok(true)
}

/// What differs; `None`: nothing.
fn compare(path: &Path, seen: &Value) -> anyhow::Result<Option<String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some(format!(
                "{} is not there: look at what comes out with `{VARIABLE}=write whimbrel plugin test`, and keep it",
                path.display()
            )));
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let expected: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let found = differences(&expected, seen);
    Ok((!found.is_empty()).then(|| {
        format!(
            "not as {} says ({VARIABLE}=write writes it anew)\n  {}",
            path.display(),
            found.iter().map(|line| telling::harmless(line)).collect::<Vec<_>>().join("\n  ")
        )
    }))
}
