//! `collectors:`

use std::{path::Path, time::Duration};

use whimbrel_plugin_host::{Trust, registry::Reference};

use super::{
    checker::{Checker, Place, Section},
    keys::{COLLECTOR, GRANTS, LIMITS, nearest},
};
use crate::config::{
    BUILTIN_PLUGINS, Collector, Grants, Limits, PluginRef, Registered, SYSTEM_PARTS, SystemGrant,
    interpolate::absolute,
    problem::{Wrong, join, quote_key},
    tree::{Node, Number, Scalar, Value, parse_boolean, parse_number},
};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// The contract hands the interval over in milliseconds of 32 bits; this is well within.
const MOST_INTERVAL: Duration = Duration::from_secs(30 * 86_400);
/// A guest is stopped in ticks of 10 ms.
const LEAST_DEADLINE: Duration = Duration::from_millis(10);
const MOST_DEADLINE: Duration = Duration::from_secs(600);
const DEFAULT_MOST_DEADLINE: Duration = Duration::from_secs(10);
const DEFAULT_INIT: Duration = Duration::from_secs(30);
const DEFAULT_MEMORY: u64 = 64 << 20;
const LEAST_MEMORY: u64 = 1 << 20;
const MOST_MEMORY: u64 = 4 << 30;
const DEFAULT_OUTPUT: u64 = 8 << 20;
const LEAST_OUTPUT: u64 = 1 << 10;
const MOST_OUTPUT: u64 = 1 << 30;
const DEFAULT_TABLES: u64 = 100_000;
const MOST_TABLES: i64 = 10_000_000;
const DEFAULT_RESOURCES: u32 = 1000;
const MOST_RESOURCES: i64 = 100_000;
const DEFAULT_LOG_RATE: u32 = 100;
const MOST_LOG_RATE: i64 = 100_000;
const DEFAULT_STACK: u64 = 512 << 10;
const LEAST_STACK: u64 = 64 << 10;
const MOST_STACK: u64 = 8 << 20;
/// Each size of stack costs an engine of its own: so there are at most 128 of them.
const STACK_STEP: u64 = 64 << 10;

/// What a text names as a plugin, in a configuration or on a command line: `builtin:NAME`, `oci://...`, or a file, from
/// this folder.
///
/// # Errors
/// It names none: what is wrong, going on from the text, and what to write instead.
pub(crate) fn plugin_named(text: &str, folder: &Path) -> Result<PluginRef, (String, String)> {
    named(text, folder).map_err(|wrong| (wrong.what, wrong.remedy))
}

fn named(text: &str, folder: &Path) -> Result<PluginRef, Wrong> {
    if let Some(name) = text.strip_prefix("builtin:") {
        if BUILTIN_PLUGINS.contains(&name) {
            return Ok(PluginRef::Builtin(name.to_owned()));
        }
        let known: Vec<String> = BUILTIN_PLUGINS.iter().map(|name| format!("builtin:{name}")).collect();
        let remedy = match nearest(name, BUILTIN_PLUGINS.iter().copied()) {
            Some(near) => format!("did you mean `builtin:{near}`?"),
            None => format!("shipped are {}; or name the file of a component", known.join(", ")),
        };
        return Err(Wrong::new("is not shipped with the agent", remedy));
    }
    if text.starts_with("oci:") {
        let reference = Reference::parse(text).map_err(|error| Wrong::new(error.what, error.remedy))?;
        return Ok(PluginRef::Registry(Box::new(Registered::new(reference))));
    }
    if text.contains("://") {
        return Err(Wrong::new(
            "is a URL, and a plugin is a file or in a registry",
            "fetch it and name the file, or write oci://registry/name:tag",
        ));
    }
    if text.is_empty() {
        return Err(Wrong::new("names no plugin", "write `builtin:host`, or the path of a component"));
    }
    Ok(PluginRef::Path(absolute(folder, text)))
}

impl Checker<'_> {
    /// `collectors:`, every name one.
    pub(super) fn collectors(&mut self, place: &Place<'_>) -> Vec<Collector> {
        let Some(section) = self.map(place, "write a name, and `plugin:` below it") else {
            return Vec::new();
        };
        let collectors = section.entries.iter().filter_map(|entry| {
            let place = section.place(entry);
            self.name(&entry.key, entry.key_at, &place.key).then_some(())?;
            self.collector(&entry.key, &place)
        });
        let mut collectors: Vec<Collector> = collectors.collect();
        collectors.sort_by(|one, other| one.name.cmp(&other.name));
        collectors
    }

    fn collector(&mut self, name: &str, place: &Place<'_>) -> Option<Collector> {
        let section = self.section(place, &COLLECTOR)?;
        if let Some(exec) = section.get("exec") {
            return self.exec_collector(name, &section, &exec);
        }
        let plugin = match section.get("plugin") {
            Some(place) => self.plugin(&place),
            None => {
                let remedy = "add `plugin: builtin:host`, or the path of a component";
                self.problem(place.node.at, &place.key, "has no `plugin`", remedy);
                None
            }
        };
        let interval = self.interval(&section);
        if let Some(place) = section.get("temporality") {
            let later = [("delta", "in this version counters are cumulative")];
            self.choice(&place, &[("cumulative", ())], &later);
        }
        let config = match section.get("config") {
            Some(place) => plugin_config(self, &place),
            None => serde_json::json!({}),
        };
        let grants = section.get("grants").map(|place| self.grants(&place)).unwrap_or_default();
        let limits = self.limits(section.get("limits").as_ref(), interval);
        let trust = Trust::default();
        Some(Collector { name: name.to_owned(), plugin: plugin?, interval, config, grants, limits, trust })
    }

    pub(super) fn interval(&mut self, section: &Section<'_>) -> Duration {
        section
            .get("interval")
            .and_then(|place| self.duration(&place, LEAST_INTERVAL..=MOST_INTERVAL))
            .unwrap_or(DEFAULT_INTERVAL)
    }

    fn plugin(&mut self, place: &Place<'_>) -> Option<PluginRef> {
        let folder = &self.texts.get(place.node.at.text).folder;
        self.value(place, |text| named(text, folder))
    }

    fn grants(&mut self, place: &Place<'_>) -> Grants {
        let section = self.section(place, &GRANTS);
        let system = section.and_then(|section| section.get("system"));
        let system = system.and_then(|place| self.system(&place)).unwrap_or_default();
        // The rest is put in by `all_grants`.
        Grants { system, ..Grants::default() }
    }

    /// `true`, `false` or a list of parts.
    fn system(&mut self, place: &Place<'_>) -> Option<SystemGrant> {
        let example = "write true for all parts, or a list of them: [cpu, memory]";
        if matches!(place.node.value, Value::Scalar(_)) {
            return self.value(place, |text| match text {
                "true" => Ok(SystemGrant::All),
                "false" => Ok(SystemGrant::None),
                text if SYSTEM_PARTS.contains(&text) => {
                    Err(Wrong::new("stands alone, and a list is needed", format!("write [{text}]")))
                }
                _ => Err(Wrong::new("grants nothing", example)),
            });
        }
        let mut parts = Vec::new();
        for item in self.list(place, example)? {
            let part = self.value(&item, |text| match SYSTEM_PARTS.contains(&text) {
                true => Ok(text.to_owned()),
                false => Err(Wrong::new(
                    "is not a part of the system",
                    match nearest(text, SYSTEM_PARTS.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known: {}", SYSTEM_PARTS.join(", ")),
                    },
                )),
            });
            parts.extend(part);
        }
        parts.sort();
        parts.dedup();
        Some(if parts.is_empty() { SystemGrant::None } else { SystemGrant::Parts(parts) })
    }

    fn limits(&mut self, place: Option<&Place<'_>>, interval: Duration) -> Limits {
        let mut limits = Limits::for_interval(interval);
        let Some(section) = place.and_then(|place| self.section(place, &LIMITS)) else {
            return limits;
        };
        let deadline = LEAST_DEADLINE..=MOST_DEADLINE;
        self.set(&mut limits.memory, &section, "memory", |c, p| c.size(p, LEAST_MEMORY..=MOST_MEMORY));
        self.set(&mut limits.deadline, &section, "deadline", |c, p| c.duration(p, deadline.clone()));
        self.set(&mut limits.init, &section, "init", |c, p| c.duration(p, deadline));
        self.set(&mut limits.output, &section, "output", |c, p| c.size(p, LEAST_OUTPUT..=MOST_OUTPUT));
        self.set(&mut limits.tables, &section, "tables", |c, p| {
            c.integer(p, 0..=MOST_TABLES).and_then(|elements| u64::try_from(elements).ok())
        });
        self.set(&mut limits.resources, &section, "resources", |c, p| {
            c.integer(p, 0..=MOST_RESOURCES).and_then(|handles| u32::try_from(handles).ok())
        });
        self.set(&mut limits.log_rate, &section, "log_rate", |c, p| {
            c.integer(p, 0..=MOST_LOG_RATE).and_then(|lines| u32::try_from(lines).ok())
        });
        self.set(&mut limits.stack, &section, "stack", |c, p| {
            c.size(p, LEAST_STACK..=MOST_STACK).map(|bytes| bytes.next_multiple_of(STACK_STEP))
        });
        if let Some(place) = section.get("deadline").filter(|_| limits.deadline > interval) {
            let what = "the deadline is longer than the interval, so that collects may be skipped";
            self.warn(place.node.at, &place.key, what, "make it shorter, or the interval longer");
        }
        limits
    }

    /// Puts the value under `name` over a default, where it is given and right.
    pub(super) fn set<T>(
        &mut self,
        target: &mut T,
        section: &Section<'_>,
        name: &str,
        read: impl FnOnce(&mut Self, &Place<'_>) -> Option<T>,
    ) {
        if let Some(value) = section.get(name).and_then(|place| read(self, &place)) {
            *target = value;
        }
    }
}

impl Limits {
    /// The defaults, for a collector that is called this often.
    pub fn for_interval(interval: Duration) -> Self {
        Self {
            memory: DEFAULT_MEMORY,
            deadline: (interval / 2).min(DEFAULT_MOST_DEADLINE),
            init: DEFAULT_INIT,
            output: DEFAULT_OUTPUT,
            tables: DEFAULT_TABLES,
            resources: DEFAULT_RESOURCES,
            log_rate: DEFAULT_LOG_RATE,
            stack: DEFAULT_STACK,
        }
    }
}

/// A plugin's configuration as JSON; an empty object where it is not a map. Messages show none of its values.
fn plugin_config(checker: &mut Checker<'_>, place: &Place<'_>) -> serde_json::Value {
    let place = place.clone().secret();
    if !matches!(place.node.value, Value::Map(_)) && !place.node.is_null() {
        let what = format!("a plugin's configuration is a map, and this is {}", place.node.kind());
        checker.problem(place.node.at, &place.key, what, "write keys and values below it");
        return serde_json::json!({});
    }
    match place.node.is_null() {
        true => serde_json::json!({}),
        false => json(checker, &place),
    }
}

fn json(checker: &mut Checker<'_>, place: &Place<'_>) -> serde_json::Value {
    let child = |key: String, node| Place { key, node, secret: true };
    match &place.node.value {
        Value::List(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, node)| json(checker, &child(format!("{}[{index}]", place.key), node)))
                .collect()
        }
        Value::Map(entries) => {
            let entries = entries.iter();
            let pairs = entries.map(|entry| {
                let place = child(join(&place.key, &entry.key), &entry.value);
                (entry.key.clone(), json(checker, &place))
            });
            serde_json::Value::Object(pairs.collect())
        }
        Value::Scalar(scalar) if scalar.is_null() => serde_json::Value::Null,
        Value::Scalar(scalar) => json_scalar(checker, place, scalar),
    }
}

/// Plain texts by YAML's core schema, others as they are. What is put in is a number or boolean only where it reads
/// back as the same text: `00123` from a variable stays a text.
fn json_scalar(checker: &mut Checker<'_>, place: &Place<'_>, scalar: &Scalar) -> serde_json::Value {
    let Some(text) = checker.text(place) else { return serde_json::Value::Null };
    let plain = || serde_json::Value::String(text.clone().into_owned());
    if !scalar.plain {
        return plain();
    }
    let value = match (parse_boolean(&text), parse_number(&text)) {
        (Some(boolean), _) => serde_json::Value::Bool(boolean),
        (None, Some(Number::Whole(whole))) => match (i64::try_from(whole), u64::try_from(whole)) {
            (Ok(whole), _) => whole.into(),
            (Err(_), Ok(whole)) => whole.into(),
            (Err(_), Err(_)) => {
                let remedy = "put it in quotes, if the plugin takes a text";
                checker.wrong(place, Wrong::new("is a number of more than 64 bits", remedy));
                serde_json::Value::Null
            }
        },
        (None, Some(Number::Float(float))) => match serde_json::Number::from_f64(float) {
            Some(number) => serde_json::Value::Number(number),
            None => {
                let remedy = "put it in quotes, if the plugin takes a text";
                checker.wrong(place, Wrong::new("is a number that JSON can't say", remedy));
                serde_json::Value::Null
            }
        },
        (None, None) => return plain(),
    };
    let given = scalar.literal || scalar.may_interpolate();
    let reads_back = || value.to_string().as_str() == text.as_ref();
    if given && !reads_back() { plain() } else { value }
}

impl Checker<'_> {
    /// Names go into file names, keys and metrics: letters, digits, `_` and `-`, at most 64.
    pub(super) fn name(&mut self, name: &str, at: crate::config::text::Position, key: &str) -> bool {
        let good = name.len() <= 64
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if !good {
            let what = format!("{} can't be a name", quote_key(name));
            let remedy = "use letters, digits, `_` and `-`, beginning with a letter or digit, at most 64";
            self.problem(at, key, what, remedy);
        }
        good
    }
}

/// The node of a collector's `config`, where there is one: to be shown as it is written.
pub(in crate::config) fn written_config<'t>(root: &'t Node, name: &str) -> Option<&'t Node> {
    root.get("collectors")?.get(name)?.get("config")
}
