//! `whimbrel key`: the keys that the WAL is encrypted with. Keys are named by their ids, which say nothing about them.
//!
//! A key is retired only when neither the disk nor the running agent needs it: segments are counted in the files, and
//! their removal is made durable before a key's file is.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use whimbrel_wal::Key;

use super::{
    exit::{Exit, Outcome},
    print,
    source::Running,
    words,
};
use crate::{
    admin::{self, AskError},
    config::{Config, Encryption, KeyPlace, KeyPlaces},
    keys,
    pipeline::Places,
};

/// What `key` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a new key: into a file, or to the standard output for a secret store
    Generate(Generate),
    /// Every key: where it is, what still needs it, and whether it may be retired
    List(Args),
    /// Encrypt with a new key from now on. A key file is replaced, and the key before is kept beside it for what it
    /// encrypted; keys from elsewhere are read again. The running agent takes them at once
    Rotate(Args),
    /// Delete a key that nothing needs any more
    Retire(Retire),
}

/// What `key generate` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Generate {
    /// The file to make, readable by this user only; without it, the key is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What `key list` and `key rotate` take.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    running: Running,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `key retire` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Retire {
    /// The key's id, as `key list` shows it
    #[arg(value_parser = id_of)]
    id: u32,
    #[command(flatten)]
    running: Running,
}

fn id_of(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 16).map_err(|_| "an id is up to eight hexadecimal digits".to_owned())
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Generate(args) => generate(args),
        Command::List(args) => list(args),
        Command::Rotate(args) => rotate(args),
        Command::Retire(args) => retire(args),
    }
}

fn generate(args: &Generate) -> Outcome {
    match &args.out {
        Some(path) => {
            let key = Key::create_file(path)?;
            print::text(format_args!("{:08x}  {}\n", key.id(), path.display()))?;
        }
        None => {
            let key = Key::generate()?;
            print::text(key.to_text().as_str())?;
            // Not among what a script takes.
            print::message(format_args!("key {:08x}", key.id()));
        }
    }
    Ok(Exit::Done)
}

/// A key in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    id: u32,
    /// `None`: something needs it, and the configuration leads to no such key.
    from: Option<KeyPlace>,
    current: bool,
    needs: Needs,
    may_go: bool,
}

/// What needs a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Needs {
    segments: u64,
    cursors: u64,
}

fn list(args: &Args) -> Outcome {
    let config = args.running.source.load()?.config;
    let places = key_places(&config)?;
    let agent = ask(&socket(&args.running, &config))?;
    let listed = listed(keys::held(places)?, &needed(&config)?, agent.as_ref());
    if args.json {
        print::json(&json!({ "keys": listed.iter().map(as_json).collect::<Vec<_>>(), "agent": agent }))?;
    } else {
        print::text(shown(&listed, agent.as_ref()))?;
    }
    Ok(Exit::Done)
}

fn rotate(args: &Args) -> Outcome {
    let config = args.running.source.load()?.config;
    let places = key_places(&config)?;
    let mut said = String::new();
    let mut answer = json!({ "replaced": null, "agent": null });
    if let KeyPlace::File(path) = &places.current {
        let replaced = keys::replace(path)
            .with_context(|| format!("the key file {} was not replaced", path.display()))?;
        said = format!(
            "{}: key {:08x} in the place of {:08x}, which is kept in {}\nkeep a copy of both elsewhere\n",
            path.display(),
            replaced.after,
            replaced.before,
            replaced.kept.display()
        );
        answer["replaced"] = json!({
            "before": format!("{:08x}", replaced.before),
            "after": format!("{:08x}", replaced.after),
            "kept": replaced.kept,
        });
    }
    let told = tell(&socket(&args.running, &config));
    match &told {
        Ok(Some(agent)) => {
            let current = words::plain(&agent["current"]);
            said.push_str(&match agent["changed"] == true {
                true => format!("the running agent encrypts with {current} from now on\n"),
                false => format!(
                    "the running agent read its keys again; the current one is {current}, as before. A variable of a running agent does not change: start it anew\n"
                ),
            });
            answer["agent"] = agent.clone();
        }
        Ok(None) => said.push_str("no agent runs: the next start takes it\n"),
        Err(_) => {}
    }
    if args.json && told.is_ok() {
        print::json(&answer)?;
    } else {
        print::text(said)?;
    }
    told.context("the running agent did not take the keys; it goes on with those it has: mend that, and run this again")?;
    Ok(Exit::Done)
}

fn retire(args: &Retire) -> Outcome {
    let id = args.id;
    let config = args.running.source.load()?.config;
    let places = key_places(&config)?;
    let socket = socket(&args.running, &config);
    let agent = ask(&socket)?;
    let needs = needed(&config)?;
    let listed = listed(keys::held(places)?, &needs, agent.as_ref());
    let path = retirable(id, &listed, places)?;
    // Else a power loss could bring back a segment that was deleted, and nobody could read it.
    for folder in wal_folders(&config).into_iter().filter(|folder| folder.is_dir()) {
        File::open(&folder)
            .and_then(|dir| dir.sync_all())
            .with_context(|| format!("syncing {}", folder.display()))?;
    }
    let file = keys::retire(path, id)?;
    print::text(format_args!("key {id:08x} is retired: {} is deleted\n", file.display()))?;
    if agent.is_some() {
        tell(&socket).context("the key is deleted; the running agent still holds it in memory")?;
    }
    Ok(Exit::Done)
}

/// The key file beside which this old key lies, if it may go.
fn retirable<'p>(id: u32, listed: &[Listed], places: &'p KeyPlaces) -> anyhow::Result<&'p Path> {
    let found: Vec<_> = listed.iter().filter(|listed| listed.id == id).collect();
    if found.is_empty() {
        bail!("there is no key {id:08x}: `whimbrel key list` shows those there are");
    }
    if found.iter().any(|listed| listed.current) {
        bail!("key {id:08x} is the current one: `whimbrel key rotate` makes another");
    }
    if let Some(Listed { needs: Needs { segments, cursors }, .. }) = found.iter().find(|one| !one.may_go) {
        bail!(match (segments, cursors) {
            (0, 0) =>
                anyhow!("the running agent still encrypts with key {id:08x}: run `whimbrel key rotate`"),
            _ => anyhow!(
                "key {id:08x} is still needed, by {segments} segments and {cursors} cursors: it can go when they are delivered"
            ),
        });
    }
    match &places.current {
        KeyPlace::File(path)
            if found.iter().any(|one| one.from == Some(KeyPlace::File(keys::old_file(path, id)))) =>
        {
            Ok(path)
        }
        _ => bail!(
            "nothing needs key {id:08x} any more; it is not in a file of this program's: take it out of `wal.encryption.older_keys`"
        ),
    }
}

fn key_places(config: &Config) -> anyhow::Result<&KeyPlaces> {
    match &config.wal.encryption {
        Encryption::Aes256Gcm(places) => Ok(places),
        Encryption::None => bail!("wal.encryption is none: there are no keys"),
    }
}

fn socket(running: &Running, config: &Config) -> PathBuf {
    running.socket.clone().unwrap_or_else(|| config.control_socket.clone())
}

fn wal_folders(config: &Config) -> [PathBuf; 2] {
    let places = Places::of(&config.data_dir);
    [places.wal, places.dead_letters]
}

/// What needs each key, in the files of the WAL and that of dead letters.
fn needed(config: &Config) -> anyhow::Result<BTreeMap<u32, Needs>> {
    let mut needed: BTreeMap<u32, Needs> = BTreeMap::new();
    for folder in wal_folders(config).iter().filter(|folder| folder.is_dir()) {
        let found = whimbrel_wal::inspect(folder)?;
        for segment in &found.segments {
            needed.entry(segment.key_id).or_default().segments += 1;
        }
        for consumer in &found.consumers {
            needed.entry(consumer.key_id).or_default().cursors += 1;
        }
    }
    needed.remove(&0); // in the clear
    Ok(needed)
}

/// Keys that are held, in their order, then those that are needed and not there.
fn listed(held: Vec<keys::Held>, needed: &BTreeMap<u32, Needs>, agent: Option<&Value>) -> Vec<Listed> {
    let in_agent = |id: u32| agent.is_some_and(|agent| agent["current"] == format!("{id:08x}"));
    let current = held.first().map(|held| held.key.id());
    let mut listed: Vec<Listed> = Vec::new();
    for (at, keys::Held { key, place }) in held.into_iter().enumerate() {
        let id = key.id();
        let needs = needed.get(&id).copied().unwrap_or_default();
        listed.push(Listed {
            id,
            from: Some(place),
            current: at == 0,
            needs,
            may_go: current != Some(id) && needs == Needs::default() && !in_agent(id),
        });
    }
    let missing = needed.iter().filter(|(id, _)| !listed.iter().any(|listed| listed.id == **id));
    let missing: Vec<_> = missing
        .map(|(id, needs)| Listed { id: *id, from: None, current: false, needs: *needs, may_go: false })
        .collect();
    listed.extend(missing);
    listed
}

fn as_json(listed: &Listed) -> Value {
    json!({
        "id": format!("{:08x}", listed.id),
        "from": listed.from.as_ref().map(ToString::to_string),
        "state": state(listed),
        "segments": listed.needs.segments,
        "cursors": listed.needs.cursors,
        "may_be_retired": listed.may_go,
    })
}

fn state(listed: &Listed) -> &'static str {
    match (&listed.from, listed.current) {
        (None, _) => "missing",
        (Some(_), true) => "current",
        (Some(_), false) => "older",
    }
}

fn shown(listed: &[Listed], agent: Option<&Value>) -> String {
    let mut rows = vec![words::row(&["id", "state", "segments", "cursors", "may be retired", "from"])];
    for one in listed {
        rows.push(vec![
            format!("{:08x}", one.id),
            state(one).to_owned(),
            one.needs.segments.to_string(),
            one.needs.cursors.to_string(),
            if one.may_go { "yes" } else { "no" }.to_owned(),
            one.from.as_ref().map_or_else(|| "no place that is configured".to_owned(), ToString::to_string),
        ]);
    }
    let mut out = print::table(&rows);
    let current = listed.iter().find(|one| one.current).map(|one| format!("{:08x}", one.id));
    if let (Some(agent), Some(current)) = (agent, current)
        && agent["current"] != current
    {
        out.push_str(&format!(
            "the running agent still encrypts with {}: `whimbrel key rotate` tells it to read its keys again\n",
            words::plain(&agent["current"])
        ));
    }
    out
}

/// The running agent's keys; `None` where none runs.
fn ask(socket: &Path) -> anyhow::Result<Option<Value>> {
    answer(runtime()?.block_on(admin::ask(socket, "/keys")))
}

/// Has the running agent read its keys again; `None` where none runs.
fn tell(socket: &Path) -> anyhow::Result<Option<Value>> {
    answer(runtime()?.block_on(admin::rotate_keys(socket)))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn answer(answer: Result<bytes::Bytes, AskError>) -> anyhow::Result<Option<Value>> {
    match answer {
        Ok(body) => Ok(Some(serde_json::from_slice(&body).context("the agent's answer is no JSON")?)),
        Err(AskError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnWrongKey;

    fn key(n: u8) -> Key {
        Key::from_bytes([n; 32])
    }

    fn three() -> (Vec<Listed>, KeyPlaces) {
        let path = Path::new("/k/wal.key");
        let place = |id| KeyPlace::File(keys::old_file(path, id));
        let held = vec![
            keys::Held { key: key(1), place: KeyPlace::File(path.to_owned()) },
            keys::Held { key: key(2), place: place(key(2).id()) },
            keys::Held { key: key(3), place: place(key(3).id()) },
            keys::Held { key: key(4), place: KeyPlace::Env("OLDER".to_owned()) },
        ];
        let needed = BTreeMap::from([
            (key(1).id(), Needs { segments: 1, cursors: 2 }),
            (key(2).id(), Needs { segments: 3, cursors: 0 }),
            (key(9).id(), Needs { segments: 0, cursors: 1 }),
        ]);
        let places = KeyPlaces {
            current: KeyPlace::File(path.to_owned()),
            create: false,
            older: Vec::new(),
            on_wrong_key: OnWrongKey::Refuse,
        };
        (listed(held, &needed, None), places)
    }

    #[test]
    fn a_key_that_is_current_or_needed_or_unknown_or_not_in_a_file_is_not_retired() {
        let (listed, places) = three();
        let retire = |n: u8| retirable(key(n).id(), &listed, &places).map_err(|error| error.to_string());
        assert!(retire(1).unwrap_err().contains("is the current one"));
        assert!(retire(2).unwrap_err().contains("by 3 segments and 0 cursors"));
        assert_eq!(retire(3).unwrap(), Path::new("/k/wal.key"));
        assert!(retire(4).unwrap_err().contains("older_keys"));
        assert!(retire(9).unwrap_err().contains("by 0 segments and 1 cursors"));
        assert!(retire(5).unwrap_err().contains("there is no key"));
    }

    /// A rotation that did not reach it: what it writes next would be under that key.
    #[test]
    fn the_key_a_running_agent_encrypts_with_is_not_retired_though_nothing_needs_it_yet() {
        let held = vec![
            keys::Held { key: key(1), place: KeyPlace::File("/k/wal.key".into()) },
            keys::Held {
                key: key(2),
                place: KeyPlace::File(keys::old_file(Path::new("/k/wal.key"), key(2).id())),
            },
        ];
        let agent = json!({ "current": format!("{:08x}", key(2).id()) });
        let (_, places) = three();
        let listed = listed(held, &BTreeMap::new(), Some(&agent));
        let refused = retirable(key(2).id(), &listed, &places).unwrap_err().to_string();
        assert!(refused.contains("the running agent still encrypts with key"), "{refused}");
        assert!(shown(&listed, Some(&agent)).contains("the running agent still encrypts with"));
    }

    #[test]
    fn the_list_tells_each_key_from_where_and_what_needs_it() {
        let (listed, _) = three();
        let text = shown(&listed, None);
        let line = |n: u8| {
            let id = format!("{:08x}", key(n).id());
            text.lines().find(|line| line.contains(&id)).unwrap_or_default().to_owned()
        };
        assert!(line(1).contains("current") && line(1).contains("/k/wal.key"), "{text}");
        assert!(line(3).contains("yes") && line(4).contains("$OLDER"), "{text}");
        assert!(line(9).contains("missing") && line(9).contains("no place"), "{text}");
        let json = as_json(&listed[1]);
        assert_eq!((&json["segments"], &json["may_be_retired"]), (&json!(3), &json!(false)));
    }
}
