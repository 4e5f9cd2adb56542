//! `collectors.*.grants:` but for `system`, and `secrets:`, which it draws from.
//!
//! A second walk over the collectors: grants of folders are held against the data directory, grants of secrets against
//! the secrets, and neither is known before the whole has been read once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use whimbrel_plugin_host::AddressError;

use super::{
    checker::{Checker, Place},
    keys::nearest,
};
use crate::config::{
    Collector, Grants, Secret,
    problem::{Wrong, quote_key},
    tree::Node,
};

/// Longest path of a Unix socket, bytes.
const MAX_SOCKET_PATH: usize = super::root::MAX_SOCKET_PATH;

impl From<AddressError> for Wrong {
    fn from(error: AddressError) -> Wrong {
        Wrong::new(error.what, error.remedy)
    }
}

impl Checker<'_> {
    /// `secrets:`, by name.
    pub(super) fn secrets(&mut self, place: &Place<'_>) -> BTreeMap<String, Secret> {
        let example = "write a name, and `file:` or `env:` below it";
        let Some(section) = self.map(&place.clone().secret(), example) else { return BTreeMap::new() };
        let mut secrets = BTreeMap::new();
        for entry in section.entries {
            let place = section.place(entry);
            if self.name(&entry.key, entry.key_at, &place.key)
                && let Some(value) = self.header_value(&place)
            {
                secrets.insert(entry.key.clone(), Secret::new(value));
            }
        }
        secrets
    }

    /// Puts in what each collector is granted.
    pub(super) fn all_grants(
        &mut self,
        root: &Node,
        collectors: &mut [Collector],
        secrets: &BTreeMap<String, Secret>,
        data_dir: &Path,
    ) {
        for collector in collectors {
            let grants = root.get("collectors").and_then(|all| all.get(&collector.name)?.get("grants"));
            if let Some(node) = grants {
                let place = Place::new(&format!("collectors.{}.grants", collector.name), node);
                self.fill(&place, &mut collector.grants, secrets, data_dir);
            }
        }
    }

    fn fill(
        &mut self,
        place: &Place<'_>,
        grants: &mut Grants,
        secrets: &BTreeMap<String, Secret>,
        data_dir: &Path,
    ) {
        let under = |key: &str| {
            place.node.get(key).map(|node| Place { key: format!("{}.{key}", place.key), node, secret: false })
        };
        let parsed = |text: &str| text.parse().map_err(Wrong::from);
        grants.http = self.granted(under("http"), "[\"https://api.example.com\"]", |c, p| c.value(p, parsed));
        let parsed = |text: &str| text.parse().map_err(Wrong::from);
        grants.tcp = self.granted(under("tcp"), "[\"127.0.0.1:6379\"]", |c, p| c.value(p, parsed));
        grants.udp = self.granted(under("udp"), "[\"127.0.0.1:53\"]", |c, p| c.value(p, parsed));
        let folder = |c: &mut Self, p: &Place<'_>| c.folder(p, data_dir);
        grants.read = self.granted(under("read"), "[/var/log/nginx]", folder);
        grants.write = self.granted(under("write"), "[/var/lib/plugin]", folder);
        grants.unix = self.granted(under("unix"), "[/run/haproxy.sock]", Self::socket);
        grants.env = self.granted(under("env"), "[LANG]", |c, p| c.value(p, variable));
        grants.secrets =
            self.granted(under("secrets"), "[api_token]", |c, p| c.value(p, |it| known(it, secrets)));
    }

    /// The items that are right, in order, none twice.
    fn granted<T: PartialEq>(
        &mut self,
        place: Option<Place<'_>>,
        example: &str,
        mut read: impl FnMut(&mut Self, &Place<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(place) = place.filter(|place| !place.node.is_null()) else { return Vec::new() };
        let items = self.list(&place, &format!("write a list: {example}")).unwrap_or_default();
        let mut granted: Vec<T> = Vec::new();
        for item in &items {
            if let Some(one) = read(self, item).filter(|one| !granted.contains(one)) {
                granted.push(one);
            }
        }
        granted
    }

    /// A folder that has nothing of the agent's in it. One that is not there may come.
    fn folder(&mut self, place: &Place<'_>, data_dir: &Path) -> Option<PathBuf> {
        const REMEDY: &str = "grant the folders that the plugin needs, one by one";
        let path = self.path(place)?;
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (folder, own) = (real(&path), real(data_dir));
        let wrong = if own.starts_with(&folder) {
            Wrong::new("holds the agent's own data directory", REMEDY)
        } else if folder.starts_with(&own) {
            Wrong::new("is in the agent's own data directory", "keep what plugins use in another folder")
        } else if Path::new("/proc/self").starts_with(&folder) || is_process(&folder) {
            Wrong::new("shows the agent's own process", REMEDY)
        } else if folder.is_file() {
            Wrong::new("is a file, and folders are granted", "grant the folder that it is in")
        } else {
            return Some(path);
        };
        self.wrong(place, wrong);
        None
    }

    fn socket(&mut self, place: &Place<'_>) -> Option<PathBuf> {
        let path = self.path(place)?;
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            let what = format!("is longer than the {MAX_SOCKET_PATH} bytes that a socket's path can have");
            self.wrong(place, Wrong::new(what, "name a shorter one"));
            return None;
        }
        Some(path)
    }
}

/// `/proc/self` and `/proc/1234`, and what is in them.
fn is_process(folder: &Path) -> bool {
    let first = folder.strip_prefix("/proc").ok().and_then(|rest| rest.components().next());
    first.and_then(|first| first.as_os_str().to_str()).is_some_and(|first| {
        first == "self" || first == "thread-self" || first.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn variable(text: &str) -> Result<String, Wrong> {
    let good = !text.is_empty() && !text.contains(['=', '\0']) && !text.starts_with("WHIMBREL");
    match good {
        true => Ok(text.to_owned()),
        false if text.starts_with("WHIMBREL") => {
            Err(Wrong::new("is the agent's own", "remove it; a plugin is configured under `config`"))
        }
        false => Err(Wrong::new("is not the name of a variable", "write names only: [LANG, TZ]")),
    }
}

fn known(text: &str, secrets: &BTreeMap<String, Secret>) -> Result<(String, Secret), Wrong> {
    if let Some(secret) = secrets.get(text) {
        return Ok((text.to_owned(), secret.clone()));
    }
    Err(Wrong::new(
        "is no secret of this configuration",
        match nearest(text, secrets.keys().map(String::as_str)) {
            Some(near) => format!("did you mean {}?", quote_key(near)),
            None => format!("add it at the top: `secrets: {{{text}: {{file: /run/secrets/NAME}}}}`"),
        },
    ))
}
