//! `collectors.*.exec:`, and `allow_exec`, without which there is none.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use whimbrel_plugin_host::Trust;

use super::{
    checker::{Checker, Place, Section},
    keys::EXEC,
};
use crate::config::{
    Collector, Exec, ExecOutput, Grants, Limits, PluginRef, Secret,
    interpolate::absolute,
    problem::Wrong,
    tree::{Node, Value},
};

const LEAST_TIMEOUT: Duration = Duration::from_millis(10);
const MOST_TIMEOUT: Duration = Duration::from_secs(3600);
const DEFAULT_OUTPUT: u64 = 1 << 20;
const LEAST_OUTPUT: u64 = 1 << 10;
const MOST_OUTPUT: u64 = 64 << 20;
/// Address space, not memory in use: Go and Java reserve far more than they touch.
const DEFAULT_MEMORY: u64 = 2 << 30;
const LEAST_MEMORY: u64 = 16 << 20;
const MOST_MEMORY: u64 = 1 << 40;
const DEFAULT_FILES: u64 = 256;
const DEFAULT_PROCESSES: u64 = 1024;
const MOST_COUNT: i64 = 1_000_000;
/// The path of every program, where `env` names no other (the value of many a `login.defs`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Checker<'_> {
    /// A collector that is a program.
    pub(super) fn exec_collector(
        &mut self,
        name: &str,
        section: &Section<'_>,
        place: &Place<'_>,
    ) -> Option<Collector> {
        for key in ["plugin", "config", "grants", "limits", "temporality"] {
            if let Some(other) = section.get(key) {
                let what = format!("`{key}` is for plugins, and this collector is a program");
                self.problem(other.node.at, &other.key, what, "remove it, or `exec`");
            }
        }
        let interval = self.interval(section);
        let exec = self.section(place, &EXEC)?;
        let mut limits = Limits::for_interval(interval);
        limits.memory = DEFAULT_MEMORY;
        limits.output = DEFAULT_OUTPUT;
        self.set(&mut limits.deadline, &exec, "timeout", |c, p| c.duration(p, LEAST_TIMEOUT..=MOST_TIMEOUT));
        self.set(&mut limits.output, &exec, "max_output", |c, p| c.size(p, LEAST_OUTPUT..=MOST_OUTPUT));
        self.set(&mut limits.memory, &exec, "memory", |c, p| c.size(p, LEAST_MEMORY..=MOST_MEMORY));
        if let Some(place) = exec.get("timeout").filter(|_| limits.deadline > interval) {
            let what = "the timeout is longer than the interval, so that collects may be missed";
            self.warn(place.node.at, &place.key, what, "make it shorter, or the interval longer");
        }
        let command = match exec.get("command") {
            Some(place) => self.program_command(&place),
            None => {
                let remedy =
                    "add the program and its arguments: `command: [/usr/lib/nagios/plugins/check_load]`";
                self.problem(exec.at, &exec.key, "has no `command`", remedy);
                None
            }
        };
        let outputs = [("prometheus", ExecOutput::Prometheus), ("nagios", ExecOutput::Nagios)];
        let output = match exec.get("output") {
            Some(place) => self.choice(&place, &outputs, &[]),
            None => {
                let remedy = "add `output: prometheus`, or `output: nagios`";
                self.problem(exec.at, &exec.key, "has no `output`", remedy);
                None
            }
        };
        let environment = self.program_environment(exec.get("env").as_ref());
        let user = exec.get("user").and_then(|place| self.account(&place, Path::new("/etc/passwd")));
        let group = exec.get("group").and_then(|place| self.account(&place, Path::new("/etc/group")));
        let mut made = Exec {
            program: PathBuf::new(),
            arguments: Vec::new(),
            output: output?,
            directory: PathBuf::from("/"),
            environment,
            user: user.map(|(id, _)| id),
            group: group.map(|(id, _)| id).or_else(|| user.and_then(|(_, group)| group)),
            as_root: false,
            cpu_time: Duration::from_secs(limits.deadline.as_secs() + 1),
            open_files: DEFAULT_FILES,
            processes: DEFAULT_PROCESSES,
        };
        self.set(&mut made.directory, &exec, "working_directory", |c, p| c.path(p));
        self.set(&mut made.as_root, &exec, "as_root", Self::boolean);
        let seconds = Duration::from_secs(1)..=MOST_TIMEOUT;
        self.set(&mut made.cpu_time, &exec, "cpu_time", |c, p| c.duration(p, seconds));
        self.set(&mut made.open_files, &exec, "open_files", |c, p| c.count(p, 4));
        self.set(&mut made.processes, &exec, "processes", |c, p| c.count(p, 1));
        (made.program, made.arguments) = command?;
        Some(Collector {
            name: name.to_owned(),
            plugin: PluginRef::Exec(Box::new(made)),
            interval,
            config: serde_json::json!({}),
            grants: Grants::default(),
            limits,
            trust: Trust::default(),
        })
    }

    /// Whether programs may be run at all; those that may are warned of, each.
    pub(super) fn programs(&mut self, root: &Node, collectors: &[Collector], allowed: bool) {
        for collector in collectors {
            let PluginRef::Exec(exec) = &collector.plugin else { continue };
            let node = root.get("collectors").and_then(|all| all.get(&collector.name)?.get("exec"));
            let at = node.map_or(root.at, |node| node.at);
            let key = format!("collectors.{}.exec", collector.name);
            if allowed {
                let what = format!(
                    "{} runs OUTSIDE the sandbox: it can do whatever its user can, and no grant holds it",
                    exec.program.display()
                );
                self.warn(
                    at,
                    &key,
                    what,
                    "prefer a plugin where there is one; `allow_exec: false` turns programs off",
                );
            } else {
                let what = "runs a program outside the sandbox, which is not allowed";
                let remedy = "if you want that, add `allow_exec: true` at the top of the main configuration";
                self.problem(at, &key, what, remedy);
            }
        }
    }

    fn program_command(&mut self, place: &Place<'_>) -> Option<(PathBuf, Vec<String>)> {
        let items = self.list(place, "write the program and its arguments: [/usr/bin/sensors, -j]")?;
        let Some((first, rest)) = items.split_first() else {
            self.problem(place.node.at, &place.key, "names no program", "write its whole path first");
            return None;
        };
        let folder = self.texts.get(first.node.at.text).folder.clone();
        let program = self.value(first, |text| match text.contains('/') {
            true if !text.contains('\0') => Ok(absolute(&folder, text)),
            true => Err(Wrong::new("is no path", "write the path of a program")),
            false => Err(Wrong::new(
                "is not looked for in PATH",
                "write the whole path of the program: /usr/lib/nagios/plugins/check_load",
            )),
        });
        let mut arguments = Vec::new();
        for item in rest {
            arguments.push(
                self.text(&item.clone().secret())
                    .map(|text| text.into_owned())
                    .filter(|it| !it.contains('\0')),
            );
        }
        let arguments: Option<Vec<String>> = arguments.into_iter().collect();
        Some((program?, arguments?))
    }

    /// PATH, and what is named: `[HOME]` hands the agent's own value on, `{TZ: UTC}` sets one.
    fn program_environment(&mut self, place: Option<&Place<'_>>) -> Vec<(String, Secret)> {
        let mut environment = vec![("PATH".to_owned(), Secret::new(PATH.to_owned()))];
        let Some(place) = place.filter(|place| !place.node.is_null()) else { return environment };
        let mut put = |name: &str, value: String| {
            environment.retain(|(known, _)| known != name);
            environment.push((name.to_owned(), Secret::new(value)));
        };
        let wrong = || Wrong::new("is not the name of a variable", "write names: [LANG, TZ], or {TZ: UTC}");
        let good = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if let Value::Map(entries) = &place.node.value {
            for entry in entries {
                let key = format!("{}.{}", place.key, entry.key);
                if !good(&entry.key) {
                    let Wrong { what, remedy } = wrong();
                    self.problem(entry.key_at, &key, format!("the key {what}"), remedy);
                    continue;
                }
                let place = Place { key, node: &entry.value, secret: true };
                if let Some(value) = self.text(&place) {
                    put(&entry.key, value.into_owned());
                }
            }
            return environment;
        }
        for item in self.list(place, "write names: [LANG, TZ], or {TZ: UTC}").unwrap_or_default() {
            let name = self.value(&item, |text| if good(text) { Ok(text.to_owned()) } else { Err(wrong()) });
            let Some(name) = name else { continue };
            if let Some(value) = self.environment.variable(&name).and_then(|value| value.into_string().ok()) {
                put(&name, value);
            }
        }
        environment
    }

    /// The number of a user or group, by number or by its name in this file; and a user's group.
    fn account(&mut self, place: &Place<'_>, file: &Path) -> Option<(u32, Option<u32>)> {
        self.value(place, |text| {
            let lines = fs::read_to_string(file).unwrap_or_default();
            let number = text.parse::<u32>().ok();
            let found = lines.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let id = fields.nth(1)?.parse::<u32>().ok()?;
                (name == text || Some(id) == number)
                    .then(|| (id, fields.next().and_then(|group| group.parse().ok())))
            });
            found.or(number.map(|id| (id, None))).ok_or_else(|| {
                Wrong::new(
                    format!("stands not in {}", file.display()),
                    "name one that does, or write its number",
                )
            })
        })
    }

    fn count(&mut self, place: &Place<'_>, least: i64) -> Option<u64> {
        self.integer(place, least..=MOST_COUNT).and_then(|count| u64::try_from(count).ok())
    }
}
