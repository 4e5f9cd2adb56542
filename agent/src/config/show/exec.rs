//! `collectors.*.exec`: the program, what it may use; neither its arguments nor its environment, which may hold secrets.

use std::time::Duration;

use super::{REDACTED, Shown, map, part, text};
use crate::config::{
    Exec, Limits, show_duration, show_size,
    tree::{Node, Value},
};

/// As it is written, without arguments and values of the environment.
pub(super) fn written(node: &Node) -> Shown {
    let shown = part(node, "env", |env| match &env.value {
        Value::Map(entries) => {
            Shown::Map(entries.iter().map(|entry| (entry.key.clone(), text(REDACTED))).collect())
        }
        _ => super::plain(env),
    });
    let Shown::Map(entries) = shown else { return shown };
    let command = |entry: (String, Shown)| match entry {
        (key, Shown::List(items)) if key == "command" => {
            let items = items.into_iter().enumerate();
            (key, Shown::List(items.map(|(i, item)| if i == 0 { item } else { text(REDACTED) }).collect()))
        }
        other => other,
    };
    Shown::Map(entries.into_iter().map(command).collect())
}

/// As it works.
pub(super) fn effective(exec: &Exec, interval: Duration, limits: &Limits) -> Shown {
    let id = |id: Option<u32>| id.map_or(Shown::Null, |id| Shown::Number(id.into()));
    let mut command = vec![text(exec.program.display())];
    command.extend(exec.arguments.iter().map(|_| text(REDACTED)));
    map([
        (
            "exec",
            map([
                ("command", Shown::List(command)),
                ("output", text(exec.output.name())),
                ("env", Shown::List(exec.environment.iter().map(|(name, _)| text(name)).collect())),
                ("working_directory", text(exec.directory.display())),
                ("user", id(exec.user)),
                ("group", id(exec.group)),
                ("as_root", Shown::Boolean(exec.as_root)),
                ("timeout", text(show_duration(limits.deadline))),
                ("max_output", text(show_size(limits.output))),
                ("memory", text(show_size(limits.memory))),
                ("cpu_time", text(show_duration(exec.cpu_time))),
                ("open_files", Shown::Number(exec.open_files.into())),
                ("processes", Shown::Number(exec.processes.into())),
            ]),
        ),
        ("interval", text(show_duration(interval))),
    ])
}
