//! `collectors.*.grants`: what is granted, and nothing of what is not.

use std::path::PathBuf;

use super::{Shown, map, text};
use crate::config::{Grants, SystemGrant};

/// The section.
pub(super) fn grants(grants: &Grants) -> Shown {
    let Grants { system, http, read, write, tcp, udp, unix, env, secrets } = grants;
    let system = match system {
        SystemGrant::None => Shown::Boolean(false),
        SystemGrant::All => Shown::Boolean(true),
        SystemGrant::Parts(parts) => list(parts),
    };
    let paths = |paths: &[PathBuf]| Shown::List(paths.iter().map(|path| text(path.display())).collect());
    let names: Vec<&String> = secrets.iter().map(|(name, _)| name).collect();
    let mut shown = vec![("system", system)];
    let others = [
        ("http", list(http)),
        ("read", paths(read)),
        ("write", paths(write)),
        ("tcp", list(tcp)),
        ("udp", list(udp)),
        ("unix", paths(unix)),
        ("env", list(env)),
        ("secrets", list(&names)),
    ];
    shown.extend(
        others.into_iter().filter(|(_, list)| !matches!(list, Shown::List(items) if items.is_empty())),
    );
    map(shown)
}

fn list<T: ToString>(items: &[T]) -> Shown {
    Shown::List(items.iter().map(|item| text(item.to_string())).collect())
}
