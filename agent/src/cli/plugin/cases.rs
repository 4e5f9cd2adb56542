//! `whimbrel plugin test`: the component in the agent's own sandbox, on a clock that stands still, against what was
//! written down.
//!
//! A case is a file `tests/NAME.yaml` of the plugin's folder (`case`). What it comes to stands in
//! `tests/golden/NAME.json`: batches as OTLP/JSON, lines of the log, requests, denials, failures. Times and sizes are
//! told, and held to the limits by the sandbox. Nothing of the outside is reached: files are those of a folder, or of a
//! copy of it where the case may write (`scratch`), requests are answered by the case (`answers`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use whimbrel_otlp::Signal;
use whimbrel_plugin_host::{Denied, Host, HostOptions, LogLine, Outside, Stage};

use super::{
    author,
    case::{Case, cases},
    golden::differences,
    reference::scratch_cache,
    scratch::Scratch,
};
use crate::{
    cli::{
        exit::{Exit, Outcome},
        print, telling, words,
    },
    clock::{Clock as _, SteppedClock},
    collect::trial::{Recorder, Session},
    config,
    pipeline::system_options,
    system::System,
};

/// `WHIMBREL_GOLDEN=write` writes down what comes out.
const VARIABLE: &str = "WHIMBREL_GOLDEN";
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

/// What a case came to.
struct Came {
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
        None => {
            let made = author::build(&args.dir)?;
            if !made.built {
                print::message(format_args!(
                    "nothing has changed since {} was built: not built again (`whimbrel plugin build` does)",
                    made.component.display()
                ));
            }
            made.component
        }
    };
    let tests = args.dir.join("tests");
    let cases = cases(&tests, &component, &args.cases)?;
    let write = std::env::var_os(VARIABLE).is_some_and(|value| value == "write");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cache = scratch_cache()?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for case in &cases {
        let result = runtime.block_on(play(case, &component, &cache))?;
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

fn row(case: &Case, word: &str, result: &Came) -> Vec<String> {
    let limits = &case.collector.limits;
    vec![
        case.name.clone(),
        word.to_owned(),
        super::trial::counted(result.items, "item", "items"),
        format!(
            "at most {:.2} ms of {}",
            result.slowest.as_secs_f64() * 1000.0,
            config::show_duration(limits.deadline)
        ),
        format!("{} of {}", words::bytes(Some(result.memory)), words::bytes(Some(limits.memory))),
    ]
}

async fn play(case: &Case, component: &Path, cache: &Path) -> anyhow::Result<Came> {
    let writable = &case.collector.grants.write;
    let scratch = match writable.is_empty() {
        true => None,
        false => Some(Scratch::new(&case.files, writable).with_context(|| case.name.clone())?),
    };
    let files = scratch.as_ref().map_or(case.files.as_path(), Scratch::root).to_owned();
    let stage = Stage { files, answers: Box::new(case.answers.clone()) };
    let host =
        Host::new(HostOptions { outside: Arc::new(Outside::staged(stage)), ..HostOptions::new(cache) })?;
    let clock = Arc::new(SteppedClock::default());
    let system = Arc::new(System::new(system_options(&config::System::at(Path::new("/")))));
    let recorder = Arc::new(Recorder::new(&case.collector, system, clock.clone()));
    let bytes = fs::read(component).with_context(|| component.display().to_string())?;
    let plugin = host.load(&component.display().to_string(), &bytes).await?;
    let mut result = Came { seen: Value::Null, items: 0, slowest: Duration::ZERO, memory: 0 };
    let mut seen = Map::new();
    let mut checkpoint = None;
    let started = Session::start(&plugin, &case.collector, case.checkpoint.clone(), &recorder).await;
    let said = recorder.take();
    tell(&mut seen, &said.lines, &said.denied, case.answers.take());
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
            recorder.skip(case.collector.interval);
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
        tell(&mut one, &said.lines, &said.denied, case.answers.take());
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
    if let Some(bytes) = checkpoint.filter(|_| case.keep_checkpoint) {
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| format!("base64:{}", BASE64.encode(error.as_bytes())));
        seen.insert("checkpoint".to_owned(), json!(text));
    }
    if let Some(scratch) = scratch {
        seen.insert("written".to_owned(), Value::Object(scratch.changes()?));
    }
    result.seen = Value::Object(seen);
    Ok(result)
}

fn batch(signal: Signal, request: &[u8]) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&whimbrel_otlp::to_json(signal, request)?)?)
}

/// What was said beside the data; nothing is left out.
fn tell(into: &mut Map<String, Value>, lines: &[LogLine], denied: &[Denied], requests: Vec<String>) {
    if !requests.is_empty() {
        into.insert("requests".to_owned(), json!(requests));
    }
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
