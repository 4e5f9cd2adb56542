//! `plugins:`, shown: registries without what logs in.

use super::{REDACTED, Shown, each, map, part, plain, secret, text};
use crate::config::{Login, Plugins, Registry, show_duration, show_size, tree::Node, tree::Value};

/// As it works.
pub(super) fn plugins(plugins: &Plugins) -> Shown {
    let Plugins { trust, registries, store_max_size, fetch_timeout } = plugins;
    let keys = trust.keys.iter().map(|key| {
        map([
            ("name", text(&key.name)),
            ("key", text(key.key)),
            ("may_ship_native", Shown::Boolean(key.may_ship_native)),
        ])
    });
    let registries = registries.iter().map(|(host, one)| (host.clone(), registry(one)));
    let keys: Vec<Shown> = keys.collect();
    // An empty list is refused where it is read: it could be meant as "nobody".
    let mut shown = if keys.is_empty() { Vec::new() } else { vec![("trust", Shown::List(keys))] };
    shown.extend([
        ("registries", Shown::Map(registries.collect())),
        ("store", map([("max_size", text(show_size(*store_max_size)))])),
        ("fetch_timeout", text(show_duration(*fetch_timeout))),
    ]);
    map(shown)
}

fn registry(registry: &Registry) -> Shown {
    let Registry { plain_http, ca, login } = registry;
    let login: &[&str] = match login {
        None => &[],
        Some(Login::Password(..)) => &["username", "password"],
        Some(Login::Token(_)) => &["token"],
    };
    let mut shown: Vec<(&str, Shown)> = login.iter().map(|key| (*key, text(REDACTED))).collect();
    shown.extend(plain_http.map(|plain| ("plain_http", Shown::Boolean(plain))));
    shown.extend(ca.as_ref().map(|(path, _)| ("ca_file", text(path.display()))));
    map(shown)
}

/// As it is written.
pub(super) fn written(section: &Node) -> Shown {
    part(section, "registries", |registries| match &registries.value {
        Value::Map(entries) => each(entries, |registry| match &registry.value {
            Value::Map(entries) => Shown::Map(
                entries
                    .iter()
                    .map(|entry| {
                        let hidden = ["username", "password", "token"].contains(&entry.key.as_str());
                        let shown = if hidden { secret(&entry.value) } else { plain(&entry.value) };
                        (entry.key.clone(), shown)
                    })
                    .collect(),
            ),
            _ => plain(registry),
        }),
        _ => plain(registries),
    })
}
