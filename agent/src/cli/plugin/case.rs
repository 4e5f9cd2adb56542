//! One case of `whimbrel plugin test`: `tests/NAME.yaml`, read and checked.
//!
//! It is what stands below a collector in whimbrel.yaml, and checked as that, with a few keys beside it: how often to
//! collect, the checkpoint to begin with, whether the one it ends with is written down (`keep_checkpoint`: not where it
//! holds what differs from machine to machine, such as identities of files), secrets, and what stands in for the outside
//! (`files`, `http`).

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};

use super::answers::Answers;
use crate::config::{self, Collector, FixedEnvironment, Given, Grants, Sources};

/// How a case's text is named in messages.
const CASE: &str = "the case";
/// A case collects no more often.
const MOST_COLLECTS: u64 = 10_000;
/// The folder that stands in for the root of the files, unless the case names another.
const FILES: &str = "files";

/// One file of `tests/`.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) collector: Collector,
    pub(super) collects: u64,
    pub(super) checkpoint: Option<Vec<u8>>,
    /// Whether what it ends with is written down.
    pub(super) keep_checkpoint: bool,
    /// Stands in for the root of the files.
    pub(super) files: PathBuf,
    pub(super) answers: Answers,
}

/// All cases of the folder, or those that are named.
pub(super) fn cases(folder: &Path, component: &Path, wanted: &[String]) -> anyhow::Result<Vec<Case>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        if let (Some(name), Some("yaml")) = (name, path.extension().and_then(|extension| extension.to_str()))
        {
            files.push((name, path));
        }
    }
    files.sort();
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    if files.is_empty() {
        bail!(
            "{} has no case: write one as NAME.yaml, with what stands below a collector in whimbrel.yaml",
            folder.display()
        );
    }
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        bail!("there is no case {unknown:?} in {}; there are {}", folder.display(), names.join(", "));
    }
    files.retain(|(name, _)| wanted.is_empty() || wanted.contains(name));
    files.into_iter().map(|(name, path)| read(name, &path, component)).collect()
}

/// A case is a collector of a configuration of its own, and is checked as one.
fn read(name: String, path: &Path, component: &Path) -> anyhow::Result<Case> {
    let at = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(at)?;
    let given: Option<Map<String, Value>> = serde_yaml::from_str(&text)
        // With the lines around it the same is said twice.
        .map_err(|error| anyhow::anyhow!("{}: {}", at(), error.without_snippet()))?;
    let mut given = given.unwrap_or_default();
    let folder = std::path::absolute(path.parent().unwrap_or(Path::new("/")))?;
    let collects = collects(given.remove("collects")).with_context(at)?;
    let checkpoint = checkpoint(given.remove("checkpoint")).with_context(at)?;
    let keep_checkpoint = switch("keep_checkpoint", given.remove("keep_checkpoint")).with_context(at)?;
    let files = files(given.remove("files"), &folder).with_context(at)?;
    let answers = Answers::read(given.remove("http"), &folder).with_context(at)?;
    let secrets = given.remove("secrets").unwrap_or_else(|| json!({}));
    if given.contains_key("plugin") {
        bail!("{}: plugin: a case is of the plugin that is built here", path.display());
    }
    given.insert("plugin".to_owned(), json!(component));
    let configuration = json!({ "collectors": { name.as_str(): given }, "secrets": secrets }).to_string();
    let mut around = FixedEnvironment::new(folder);
    around.variables.insert(OsString::from(CASE), configuration.into());
    let sources = Sources { given: vec![Given::Variable(CASE.to_owned())], search: Vec::new() };
    let loaded = config::load(&sources, &around).map_err(|problems| {
        let prefix = format!("collectors.{name}.");
        let said: Vec<String> = problems
            .iter()
            .map(|it| {
                format!("{}: {}; {}", it.key.strip_prefix(&prefix).unwrap_or(&it.key), it.what, it.remedy)
            })
            .collect();
        anyhow::anyhow!("{}: {}", path.display(), said.join("\n"))
    })?;
    let collector = loaded.config.collectors.into_iter().next().context("a case is one collector")?;
    on_stage(&collector.grants).with_context(at)?;
    Ok(Case { name, collector, collects, checkpoint, keep_checkpoint, files, answers })
}

/// What is granted and has nothing that stands in for it would be the real one.
fn on_stage(grants: &Grants) -> anyhow::Result<()> {
    let real =
        [("tcp", !grants.tcp.is_empty()), ("udp", !grants.udp.is_empty()), ("unix", !grants.unix.is_empty())];
    if let Some((key, _)) = real.iter().find(|(_, granted)| *granted) {
        bail!(
            "grants.{key}: a case reaches nothing real, and there is no stand-in for sockets; it can grant http, answered \
             under `http:`, read and write, among its files, system, env and secrets; try what needs {key} with \
             `whimbrel plugin dev`"
        );
    }
    Ok(())
}

fn collects(value: Option<Value>) -> anyhow::Result<u64> {
    match value {
        None => Ok(1),
        Some(value) => match value.as_u64() {
            Some(count) if (1..=MOST_COLLECTS).contains(&count) => Ok(count),
            _ => bail!("collects: give a number from 1 to {MOST_COLLECTS}"),
        },
    }
}

fn checkpoint(value: Option<Value>) -> anyhow::Result<Option<Vec<u8>>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match text.strip_prefix("base64:") {
            Some(encoded) => Ok(Some(BASE64.decode(encoded).context("checkpoint: what follows base64:")?)),
            None => Ok(Some(text.into_bytes())),
        },
        Some(_) => bail!("checkpoint: give a text, or base64: and the bytes"),
    }
}

/// On, unless it says otherwise.
fn switch(key: &str, value: Option<Value>) -> anyhow::Result<bool> {
    match value {
        None => Ok(true),
        Some(Value::Bool(on)) => Ok(on),
        Some(_) => bail!("{key}: give true or false"),
    }
}

fn files(value: Option<Value>, folder: &Path) -> anyhow::Result<PathBuf> {
    match value {
        // Where there is none, granted folders are missing, as they may be on a host.
        None => Ok(folder.join(FILES)),
        Some(Value::String(named)) if folder.join(&named).is_dir() => Ok(folder.join(named)),
        Some(_) => bail!(
            "files: name a folder beside the case, such as {FILES}: it stands in for the root of the files"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> anyhow::Result<Case> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one.yaml"), text).unwrap();
        let cases = cases(folder.path(), Path::new("/nowhere/x.wasm"), &[])?;
        Ok(cases.into_iter().next().unwrap())
    }

    #[test]
    fn a_case_is_a_collector_with_a_few_keys_beside_it() {
        let case = read_text(
            "interval: 7s\ncollects: 3\ncheckpoint: base64:AP8=\nconfig: {a: 1}\ngrants: {read: [/etc], secrets: [token]}\n\
             secrets: {token: abc}\nhttp: {\"http://a.example/x\": {body: hello}}\n",
        )
        .unwrap();
        assert_eq!((case.name.as_str(), case.collects), ("one", 3));
        assert_eq!(case.checkpoint, Some(vec![0, 255]));
        assert!(case.keep_checkpoint);
        assert_eq!(case.collector.interval.as_secs(), 7);
        assert_eq!(case.collector.config, json!({"a": 1}));
        assert_eq!(case.collector.grants.secrets[0].0, "token");
        assert!(case.files.ends_with("files"));
        assert_eq!(read_text("grants: {write: [/var/lib/x]}\n").unwrap().collector.grants.write.len(), 1);
    }

    #[test]
    fn mistakes_are_named_with_the_file_and_the_key() {
        for (text, part) in [
            ("collects: 0\n", "collects: give a number from 1"),
            ("plugin: x.wasm\n", "plugin: a case is of the plugin"),
            ("intervall: 1s\n", "interval"),
            ("files: nowhere\n", "files: name a folder"),
            ("checkpoint: 1\n", "checkpoint: give a text"),
            ("keep_checkpoint: 1\n", "keep_checkpoint: give true or false"),
            ("grants: {tcp: [\"127.0.0.1:80\"]}\n", "grants.tcp: a case reaches nothing real"),
            ("grants: {unix: [/run/x.sock]}\n", "it can grant http"),
            ("collects: [\n", "at line 1, column 11"),
            ("http: {\"a b\": x}\n", "http: \"a b\""),
            ("http: {\"http://a/\": gone.json}\n", "gone.json"),
        ] {
            let error = format!("{:#}", read_text(text).err().unwrap());
            assert!(error.contains(part) && error.contains("one.yaml"), "{part:?} is not in: {error}");
        }
    }
}
