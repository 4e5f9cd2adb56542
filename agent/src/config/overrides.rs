//! `WHIMBREL__EXPORTERS__BACKEND__ENDPOINT`: every key from the environment, over what files say.
//!
//! Two underscores part the keys. Upper and lower case, `-`, `.` and `_` are the same in a name, since a shell can't
//! say the others: a key that is there already is met whatever its spelling; a new one is spelt as its section
//! spells keys: dots in `resource`, dashes in `headers`, underscores elsewhere. Values are taken as they are, `$` and
//! all; only where a list or map is wanted (`grants.*`, a plugin's `config`, `key_command`) may `[...]` or `{...}` be one.

use std::path::Path;

use super::{
    check::{Keys, SECTIONS},
    environment::Environment,
    problem::{Problem, Problems},
    text::{Position, Texts},
    tree::{Entry, Node, Scalar, Value},
    yaml,
};

const PREFIX: &str = "WHIMBREL__";

/// Puts every such variable into the tree, in the order of their names.
pub(super) fn apply(
    root: &mut Node,
    environment: &dyn Environment,
    current_dir: &Path,
    texts: &mut Texts,
    problems: &mut Problems,
) {
    let mut variables: Vec<_> = environment.variables();
    variables.retain(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    variables.sort();
    for (name, value) in variables {
        let shown = name.to_string_lossy();
        let id = texts.add_variable(&shown, current_dir.to_owned());
        let at = Position::whole(id);
        let refuse = |problems: &mut Problems, texts: &Texts, what: &str, remedy: &str| {
            problems.push(Problem::new(texts, at, "", what, remedy));
        };
        let segments: Vec<&str> = shown[PREFIX.len()..].split("__").collect();
        if name.to_str().is_none() || segments.iter().any(|segment| segment.is_empty()) {
            refuse(
                problems,
                texts,
                "the variable names no key",
                "part keys by two underscores: WHIMBREL__LOG__LEVEL",
            );
            continue;
        }
        if segments[0].eq_ignore_ascii_case("include") {
            refuse(
                problems,
                texts,
                "files can't be included by the environment",
                "use -c, once for every file",
            );
            continue;
        }
        let Ok(value) = value.into_string() else {
            refuse(problems, texts, "the value is not UTF-8", "set it to a text in UTF-8");
            continue;
        };
        let node = match takes_structure(&segments) && value.trim_start().starts_with(['[', '{']) {
            true => {
                texts.get_mut(id).text = value;
                match yaml::parse(texts, id, problems) {
                    Some(node) => literal(node),
                    None => continue,
                }
            }
            false => Node::literal(at, value),
        };
        if !set(root, &segments, &mut Vec::new(), node) {
            let remedy = "remove one of the two variables";
            refuse(
                problems,
                texts,
                "the variable sets a key within a value that another variable sets",
                remedy,
            );
        }
    }
}

/// Where `[...]` and `{...}` may be more than a text.
fn takes_structure(segments: &[&str]) -> bool {
    let is = |index: usize, name: &str| {
        segments.get(index).is_some_and(|segment| segment.eq_ignore_ascii_case(name))
    };
    let collector = is(0, "collectors") && (is(2, "config") || (is(2, "grants") && segments.len() > 3));
    let keys = is(0, "wal") && is(1, "encryption") && (is(2, "key_command") || is(2, "older_keys"));
    collector || keys
}

/// The same tree, with `$` no more than a dollar.
fn literal(mut node: Node) -> Node {
    match &mut node.value {
        Value::Scalar(scalar) => scalar.literal = !scalar.is_null(),
        Value::List(items) => *items = std::mem::take(items).into_iter().map(literal).collect(),
        Value::Map(entries) => {
            let taken = std::mem::take(entries).into_iter();
            *entries = taken.map(|entry| Entry { value: literal(entry.value), ..entry }).collect();
        }
    }
    node
}

/// Puts `value` at `segments` below `node`, which stands at `path`. False where another variable's value is in the way.
fn set(node: &mut Node, segments: &[&str], path: &mut Vec<String>, value: Node) -> bool {
    let Some((segment, rest)) = segments.split_first() else {
        *node = value;
        return true;
    };
    match &node.value {
        Value::Map(_) => {}
        Value::Scalar(Scalar { literal: true, .. }) => return false,
        // A value of a file gives way to the environment.
        Value::Scalar(_) | Value::List(_) => *node = Node::empty_map(value.at),
    }
    let Value::Map(entries) = &mut node.value else { return false };
    let wanted = plain(segment);
    let index = match entries.iter().position(|entry| plain(&entry.key) == wanted) {
        Some(index) => index,
        None => {
            let key = spell(path, segment);
            entries.push(Entry { key, key_at: value.at, value: Node::empty_map(value.at) });
            entries.len() - 1
        }
    };
    path.push(entries[index].key.clone());
    if rest.is_empty() {
        entries[index].key_at = value.at;
    }
    set(&mut entries[index].value, rest, path, value)
}

/// What names are compared by.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// How a key that is not there yet is spelt in the section at `path`.
fn spell(path: &[String], segment: &str) -> String {
    let here = |keys: &&&Keys| {
        let parts: Vec<&str> = keys.path.split('.').filter(|part| !part.is_empty()).collect();
        parts.len() == path.len() && parts.iter().zip(path).all(|(part, key)| *part == "*" || part == key)
    };
    let known =
        SECTIONS.iter().find(here).and_then(|keys| keys.all().find(|key| plain(key) == plain(segment)));
    let lower = segment.to_lowercase();
    match (known, path) {
        (Some(known), _) => known.to_owned(),
        (None, [section]) if section == "resource" => lower.replace('_', "."),
        (None, [exporters, _, headers]) if exporters == "exporters" && headers == "headers" => {
            lower.replace('_', "-")
        }
        (None, _) => lower,
    }
}
