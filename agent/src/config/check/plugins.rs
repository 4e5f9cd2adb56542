//! `plugins:`

use std::{collections::BTreeMap, fs, time::Duration};

use whimbrel_plugin_host::{Trust, TrustedKey, registry::Reference, trust::PublicKey};

use super::{
    checker::{Checker, Place, Section},
    keys::{PLUGIN_STORE, PLUGINS, REGISTRY, TRUSTED_KEY},
};
use crate::config::{
    Login, Plugins, Registry, Secret,
    interpolate::describe,
    problem::{Wrong, quote_key},
};

const LEAST_STORE: u64 = 16 << 20;
const MOST_STORE: u64 = 1 << 40;
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
const MOST_TIMEOUT: Duration = Duration::from_secs(3600);
/// Keys and certificates are some KiB; a file of more is another.
const MOST_FILE: u64 = 1 << 20;

impl Checker<'_> {
    /// `plugins:`
    pub(super) fn plugins(&mut self, place: &Place<'_>) -> Plugins {
        let mut plugins = Plugins::default();
        let Some(section) = self.section(place, &PLUGINS) else { return plugins };
        if let Some(place) = section.get("trust") {
            plugins.trust = self.trust(&place);
        }
        if let Some(place) = section.get("registries") {
            plugins.registries = self.registries(&place);
        }
        let store = section.get("store").and_then(|place| self.section(&place, &PLUGIN_STORE));
        if let Some(store) = store {
            self.set(&mut plugins.store_max_size, &store, "max_size", |c, p| {
                c.size(p, LEAST_STORE..=MOST_STORE)
            });
        }
        self.set(&mut plugins.fetch_timeout, &section, "fetch_timeout", |c, p| {
            c.duration(p, LEAST_TIMEOUT..=MOST_TIMEOUT)
        });
        plugins
    }

    /// `[{name: ..., key_file: ...}]`. An empty list is a problem: it looks like "nobody", and would be "anybody".
    fn trust(&mut self, place: &Place<'_>) -> Trust {
        const EXAMPLE: &str =
            "write [{name: NAME, key_file: PATH}], or remove `trust` to take plugins of anybody";
        let Some(items) = self.list(place, EXAMPLE) else { return Trust::default() };
        if items.is_empty() {
            self.problem(place.node.at, &place.key, "trusts no key", EXAMPLE);
        }
        let mut keys: Vec<TrustedKey> = Vec::new();
        for item in &items {
            let Some(key) = self.trusted_key(item) else { continue };
            if let Some(other) = keys.iter().find(|other| other.key == key.key || other.name == key.name) {
                let what = match other.key == key.key {
                    true => format!("is the same key as that of {}", quote_key(&other.name)),
                    false => format!("another key is called {} too", quote_key(&key.name)),
                };
                self.problem(item.node.at, &item.key, what, "keep one of the two, or rename one");
                continue;
            }
            keys.push(key);
        }
        Trust { keys }
    }

    fn trusted_key(&mut self, place: &Place<'_>) -> Option<TrustedKey> {
        let section = self.section(place, &TRUSTED_KEY)?;
        let name = match section.get("name") {
            Some(place) => self.value(&place, |text| match text.trim() {
                "" => Err(Wrong::new("is no name", "say whose key it is")),
                text if text.len() > 128 || text.contains(char::is_control) => {
                    Err(Wrong::new("can't be a name", "use at most 128 characters, on one line"))
                }
                text => Ok(text.to_owned()),
            }),
            None => {
                self.problem(
                    section.at,
                    &section.key,
                    "has no `name`",
                    "say whose key it is: `name: platform-team`",
                );
                None
            }
        };
        let key = match (section.get("key"), section.get("key_file")) {
            (Some(place), None) => self.value(&place, public_key),
            (None, Some(place)) => {
                let path = self.path(&place)?;
                let read = read_file(&path).and_then(|text| public_key(&text));
                read.map_err(|wrong| self.wrong(&place, wrong)).ok()
            }
            (Some(_), Some(_)) => {
                self.problem(
                    section.at,
                    &section.key,
                    "has both `key` and `key_file`",
                    "keep one of the two",
                );
                None
            }
            (None, None) => {
                let remedy = "add `key_file: PATH` or `key: BASE64`; `whimbrel plugin keygen` prints one";
                self.problem(section.at, &section.key, "has neither `key` nor `key_file`", remedy);
                None
            }
        };
        let native = section.get("may_ship_native").and_then(|place| self.boolean(&place)).unwrap_or(false);
        Some(TrustedKey { name: name?, key: key?, may_ship_native: native })
    }

    fn registries(&mut self, place: &Place<'_>) -> BTreeMap<String, Registry> {
        let Some(section) =
            self.map(place, "write the host of a registry, and `username:` or the like below it")
        else {
            return BTreeMap::new();
        };
        let mut registries = BTreeMap::new();
        for entry in section.entries {
            let place = section.place(entry);
            let Ok(any) = Reference::parse(&format!("oci://{}/name:tag", entry.key)) else {
                let what = format!("{} is not the host of a registry", quote_key(&entry.key));
                let remedy = "write the host, and the port where it has one: \"registry.example.com:5000\"";
                self.problem(entry.key_at, &place.key, what, remedy);
                continue;
            };
            if let Some(registry) = self.registry(&place, any.is_loopback()) {
                registries.insert(entry.key.clone(), registry);
            }
        }
        registries
    }

    fn registry(&mut self, place: &Place<'_>, here: bool) -> Option<Registry> {
        let section = self.section(place, &REGISTRY)?;
        let plain_http = section.get("plain_http").and_then(|place| self.boolean(&place));
        let ca = section.get("ca_file").and_then(|place| {
            let path = self.path(&place)?;
            let text = read_file(&path).map_err(|wrong| self.wrong(&place, wrong)).ok()?;
            Some((path, text))
        });
        let login = self.login(&section);
        if plain_http == Some(true) && login.is_some() && !here {
            let what = "what logs in goes over the network in clear text, since `plain_http` is set";
            self.warn(section.at, &section.key, what, "use https");
        }
        Some(Registry { plain_http, ca, login })
    }

    fn login(&mut self, section: &Section<'_>) -> Option<Login> {
        let mut secret = |name: &str| {
            let place = section.get(name)?;
            Some(self.header_value(&place.secret()).map(Secret::new))
        };
        let (username, password, token) = (secret("username"), secret("password"), secret("token"));
        match (username, password, token) {
            (None, None, None) => None,
            (Some(username), Some(password), None) => Some(Login::Password(username?, password?)),
            (None, None, Some(token)) => Some(Login::Token(token?)),
            _ => {
                let what = "needs `username` and `password`, or else a `token`";
                self.problem(section.at, &section.key, what, "give either, and not both");
                None
            }
        }
    }
}

fn public_key(text: &str) -> Result<PublicKey, Wrong> {
    PublicKey::parse(text).map_err(|error| Wrong::new(format!("can't be used: {error}"), "correct it"))
}

fn read_file(path: &std::path::Path) -> Result<String, Wrong> {
    let wrong = |what: String| Wrong::new(what, "correct the path, or let this user read the file");
    let failed = |error| wrong(format!("can't be read: {}", describe(&error)));
    let meta = fs::metadata(path).map_err(failed)?;
    if !meta.is_file() || meta.len() > MOST_FILE {
        return Err(wrong("is no such file: it is a folder, a pipe, or too large".to_owned()));
    }
    fs::read_to_string(path).map_err(failed)
}
