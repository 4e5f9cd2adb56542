//! `wal.encryption`: places of keys. What `${env:...}` and `${file:...}` put into the arguments of a command is shown as
//! it is written.

use super::{Shown, map, put_in, text};
use crate::config::{
    Encryption, KeyPlace, KeyPlaces, OnWrongKey,
    tree::{Node, Value},
};

/// The section; `root` is the configuration as it is written.
pub(super) fn encryption(encryption: &Encryption, root: &Node) -> Shown {
    let KeyPlaces { current, create: _, older, on_wrong_key } = match encryption {
        Encryption::Aes256Gcm(places) => places,
        Encryption::None => return text("none"),
    };
    let written = root.get("wal").and_then(|wal| wal.get("encryption"));
    let mut shown = vec![place(current, written)];
    if !older.is_empty() {
        let items = written.and_then(|node| node.get("older_keys")).map(items).unwrap_or_default();
        let each = older.iter().enumerate().map(|(at, older)| map([place(older, items.get(at))]));
        shown.push(("older_keys", Shown::List(each.collect())));
    }
    let policy = match on_wrong_key {
        OnWrongKey::Refuse => "refuse",
        OnWrongKey::SetAside => "set_aside",
    };
    shown.push(("on_wrong_key", text(policy)));
    map(shown)
}

fn place(place: &KeyPlace, written: Option<&Node>) -> (&'static str, Shown) {
    match place {
        KeyPlace::File(path) => ("key_file", text(path.display())),
        KeyPlace::Env(variable) => ("key_env", text(variable)),
        KeyPlace::Command(command) => {
            let written = written.and_then(|node| node.get("key_command")).map(items).unwrap_or_default();
            let argument = |(at, argument): (usize, &String)| {
                written.get(at).and_then(put_in).unwrap_or_else(|| text(argument))
            };
            ("key_command", Shown::List(command.iter().enumerate().map(argument).collect()))
        }
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Scalar(_) | Value::Map(_) => &[],
    }
}
