//! A configuration as YAML or JSON, without its secrets.
//!
//! Values of headers are never shown. What `${env:...}` and `${file:...}` put into resource attributes and plugins'
//! configurations is shown as it is written; in the latter, texts under keys that commonly hold secrets and URLs with
//! a password are not shown either. Endpoints are shown: they can't hold user names, queries or `${file:...}`.

mod encryption;
mod grants;
mod receivers;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Beginning, Collector, Compression, Config, Exporter, Limits, LogFormat, LogLevel, OnFull, PluginRef,
    SignalSettings, Sync, Tls,
    check::written_config,
    load::Loaded,
    tree::{Node, Number, Scalar, Value, parse_boolean, parse_number},
    units::{show_duration, show_size},
};

/// What stands for a secret.
const REDACTED: &str = "[redacted]";

/// Something that can be shown; maps keep their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// Nothing.
    Null,
    /// true or false.
    Boolean(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// In order.
    List(Vec<Shown>),
    /// In order.
    Map(Vec<(String, Shown)>),
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl Shown {
    /// As YAML; ends with a line break.
    ///
    /// # Errors
    /// Only where the YAML writer fails, which it has no reason to.
    pub fn to_yaml(&self) -> Result<String, serde_yaml::ser::Error> {
        let mut text = serde_yaml::to_string(self)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }
}

impl Loaded {
    /// The configuration as it is written, joined from all files and variables, without secrets.
    pub fn written(&self) -> Shown {
        let Value::Map(entries) = &self.root.value else { return Shown::Map(Vec::new()) };
        let sections = entries.iter().map(|section| {
            let shown = match (section.key.as_str(), &section.value.value) {
                ("exporters", Value::Map(exporters)) => {
                    each(exporters, |exporter| part(exporter, "headers", headers))
                }
                ("collectors", Value::Map(collectors)) => {
                    each(collectors, |collector| part(collector, "config", plugin_config))
                }
                ("receivers", Value::Map(receivers)) => each(receivers, |receiver| match &receiver.value {
                    Value::Map(entries) => each(entries, |entry| part(entry, "token", secret)),
                    _ => plain(receiver),
                }),
                _ => plain(&section.value),
            };
            (section.key.clone(), shown)
        });
        Shown::Map(sections.collect())
    }

    /// The configured resource, with what variables and files put in as it is written.
    pub fn shown_resource(&self) -> BTreeMap<String, String> {
        let shown = |(name, value): (&String, &String)| match self.shown_attribute(name, value) {
            Shown::Text(text) => (name.clone(), text),
            _ => (name.clone(), REDACTED.to_owned()),
        };
        self.config.resource.iter().map(shown).collect()
    }

    fn shown_attribute(&self, name: &str, value: &str) -> Shown {
        let written = self.root.get("resource").and_then(|section| section.get(name)).and_then(put_in);
        written.unwrap_or_else(|| text(value))
    }

    /// The configuration as it works: every default filled in, paths absolute, without secrets.
    pub fn effective(&self) -> Shown {
        let Config {
            data_dir,
            log,
            resource,
            collectors,
            receivers,
            wal,
            exporters,
            secrets,
            health,
            control_socket,
            system,
            reload,
        } = &self.config;
        let resource = resource.iter().map(|(name, value)| (name.clone(), self.shown_attribute(name, value)));
        let on_full = [("collectors", wal.on_full_collectors), ("receivers", wal.on_full_receivers)];
        let on_full = on_full.map(|(whose, what)| {
            let what = match what {
                OnFull::Block => "block",
                OnFull::DropOldest => "drop_oldest",
                OnFull::DropNewest => "drop_newest",
            };
            (whose, text(what))
        });
        let listen = |address: &std::net::SocketAddr| map([("listen", text(address))]);
        map([
            ("data_dir", text(data_dir.display())),
            ("log", map([("level", text(level_name(log.level))), ("format", text(format_name(log.format)))])),
            ("resource", Shown::Map(resource.collect())),
            ("collectors", named(collectors, |one| (one.name.clone(), self.collector(one)))),
            ("receivers", named(receivers, |one| (one.name.clone(), receivers::receiver(one)))),
            (
                "wal",
                map([
                    ("sync", sync(wal.sync)),
                    ("max_size", text(show_size(wal.max_size))),
                    ("retain", text(show_duration(wal.retain))),
                    ("on_full", map(on_full)),
                    ("zstd_level", number(i64::from(wal.zstd_level))),
                    ("encryption", encryption::encryption(&wal.encryption, &self.root)),
                ]),
            ),
            ("exporters", named(exporters, |one| (one.name.clone(), Self::exporter(one)))),
            ("secrets", Shown::Map(secrets.keys().map(|name| (name.clone(), text(REDACTED))).collect())),
            ("health", health.as_ref().map_or_else(|| text("none"), listen)),
            ("control", map([("socket", text(control_socket.display()))])),
            ("system", map([("root_path", text(system.root_path.display()))])),
            ("reload", map([("watch", Shown::Boolean(reload.watch))])),
        ])
    }

    fn collector(&self, collector: &Collector) -> Shown {
        let Collector { name, plugin, interval, config: _, grants, limits } = collector;
        let Limits { memory, deadline, init, output, tables, resources, log_rate, stack } = limits;
        map([
            ("plugin", text(plugin_name(plugin))),
            ("interval", text(show_duration(*interval))),
            ("temporality", text("cumulative")),
            ("config", written_config(&self.root, name).map_or(Shown::Map(Vec::new()), plugin_config)),
            ("grants", grants::grants(grants)),
            (
                "limits",
                map([
                    ("memory", text(show_size(*memory))),
                    ("deadline", text(show_duration(*deadline))),
                    ("init", text(show_duration(*init))),
                    ("output", text(show_size(*output))),
                    ("tables", Shown::Number((*tables).into())),
                    ("resources", number(i64::from(*resources))),
                    ("log_rate", number(i64::from(*log_rate))),
                    ("stack", text(show_size(*stack))),
                ]),
            ),
        ])
    }

    fn exporter(exporter: &Exporter) -> Shown {
        let Exporter {
            name: _,
            endpoint,
            protocol,
            headers,
            tls,
            compression,
            timeout,
            concurrency,
            max_request,
            max_delay,
            max_lag,
            max_age,
            from,
            retry,
            signals,
        } = exporter;
        let mut shown = vec![
            ("endpoint", text(endpoint)),
            ("protocol", text(protocol.name())),
            ("compression", text(compression_name(*compression))),
            ("headers", Shown::Map(headers.iter().map(|(name, _)| (name.clone(), text(REDACTED))).collect())),
            ("tls", show_tls(tls)),
            ("timeout", text(show_duration(*timeout))),
            ("max_request", text(show_size(*max_request as u64))),
            ("max_delay", text(show_duration(*max_delay))),
            ("max_age", max_age.map_or_else(|| text("none"), |age| text(show_duration(age)))),
            ("from", text(beginning_name(*from))),
            (
                "retry",
                map([
                    ("initial", text(show_duration(retry.initial))),
                    ("maximum", text(show_duration(retry.maximum))),
                    (
                        "give_up_after",
                        retry.give_up_after.map_or_else(|| text("never"), |time| text(show_duration(time))),
                    ),
                ]),
            ),
        ];
        if let Some(concurrency) = concurrency {
            shown.push(("concurrency", number(i64::try_from(*concurrency).unwrap_or(i64::MAX))));
        }
        if let Some(max_lag) = max_lag {
            shown.push(("max_lag", text(show_size(*max_lag))));
        }
        let signals = [("metrics", &signals.metrics), ("logs", &signals.logs), ("traces", &signals.traces)];
        let own = signals.into_iter().filter(|(_, own)| **own != SignalSettings::default());
        let own: Vec<_> = own.map(|(name, own)| (name.to_owned(), show_signal(own))).collect();
        if !own.is_empty() {
            shown.push(("signals", Shown::Map(own)));
        }
        map(shown)
    }
}

/// `log.level` as it is written.
pub(super) fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn format_name(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Auto => "auto",
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Auto => "auto",
        Compression::Zstd => "zstd",
        Compression::Gzip => "gzip",
        Compression::None => "none",
    }
}

fn beginning_name(from: Beginning) -> &'static str {
    match from {
        Beginning::Oldest => "oldest",
        Beginning::Now => "now",
    }
}

fn plugin_name(plugin: &PluginRef) -> String {
    match plugin {
        PluginRef::Builtin(name) => format!("builtin:{name}"),
        PluginRef::Path(path) => path.display().to_string(),
    }
}

fn sync(sync: Sync) -> Shown {
    match sync {
        Sync::Always => text("always"),
        Sync::Interval(every) => map([("interval", text(show_duration(every)))]),
        Sync::Never => text("never"),
    }
}

fn show_tls(tls: &Tls) -> Shown {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| text(path.display()));
    let all = [
        ("ca_file", path(&tls.ca_file)),
        ("cert_file", path(&tls.cert_file)),
        ("key_file", path(&tls.key_file)),
        ("server_name", tls.server_name.as_ref().map(text)),
    ];
    map(all.into_iter().filter_map(|(key, shown)| Some((key, shown?))))
}

fn show_signal(own: &SignalSettings) -> Shown {
    let SignalSettings { url, protocol, headers, tls, compression, timeout } = own;
    let names = |headers: &Vec<(String, super::Secret)>| {
        Shown::Map(headers.iter().map(|(name, _)| (name.clone(), text(REDACTED))).collect())
    };
    let all = [
        ("url", url.as_ref().map(text)),
        ("protocol", protocol.map(|protocol| text(protocol.name()))),
        ("headers", headers.as_ref().map(names)),
        ("tls", tls.as_ref().map(show_tls)),
        ("compression", compression.map(|compression| text(compression_name(compression)))),
        ("timeout", timeout.map(|timeout| text(show_duration(timeout)))),
    ];
    map(all.into_iter().filter_map(|(key, shown)| Some((key, shown?))))
}

/// The written text of a scalar that something is put into.
fn put_in(node: &Node) -> Option<Shown> {
    match &node.value {
        Value::Scalar(scalar) if scalar.may_interpolate() => Some(text(&scalar.text)),
        Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// Each entry of a section of names, by `show`.
fn each(entries: &[super::tree::Entry], show: impl Fn(&Node) -> Shown) -> Shown {
    Shown::Map(entries.iter().map(|entry| (entry.key.clone(), show(&entry.value))).collect())
}

/// A map as it is written, but for what stands under `key`: that by `show`.
fn part(node: &Node, key: &str, show: impl Fn(&Node) -> Shown) -> Shown {
    let Value::Map(entries) = &node.value else { return plain(node) };
    let shown = entries.iter().map(|entry| {
        let value = if entry.key == key { show(&entry.value) } else { plain(&entry.value) };
        (entry.key.clone(), value)
    });
    Shown::Map(shown.collect())
}

/// As it is written.
fn plain(node: &Node) -> Shown {
    mask(node, &|_, scalar| scalar_shown(scalar))
}

/// Names only, and where values come from.
fn headers(node: &Node) -> Shown {
    let Value::Map(entries) = &node.value else { return text(REDACTED) };
    each(entries, secret)
}

/// Where a value comes from; not the value.
fn secret(node: &Node) -> Shown {
    match &node.value {
        Value::Map(_) => plain(node),
        Value::Scalar(_) | Value::List(_) => text(REDACTED),
    }
}

/// Without what is likely secret.
fn plugin_config(node: &Node) -> Shown {
    mask(node, &|key, scalar| match scalar.may_interpolate() || !is_likely_secret(key, scalar) {
        true => scalar_shown(scalar),
        false => text(REDACTED),
    })
}

/// A tree with each scalar shown by `show`, which is told the nearest key.
fn mask(node: &Node, show: &dyn Fn(&str, &Scalar) -> Shown) -> Shown {
    fn walk(node: &Node, key: &str, show: &dyn Fn(&str, &Scalar) -> Shown) -> Shown {
        match &node.value {
            Value::Scalar(scalar) => show(key, scalar),
            Value::List(items) => Shown::List(items.iter().map(|item| walk(item, key, show)).collect()),
            Value::Map(entries) => {
                let shown =
                    entries.iter().map(|entry| (entry.key.clone(), walk(&entry.value, &entry.key, show)));
                Shown::Map(shown.collect())
            }
        }
    }
    walk(node, "", show)
}

/// Whether a text in a plugin's configuration had better not be shown.
fn is_likely_secret(key: &str, scalar: &Scalar) -> bool {
    const TELLING: &[&str] = &[
        "auth",
        "bearer",
        "community",
        "cookie",
        "credential",
        "key",
        "passphrase",
        "passwd",
        "password",
        "private",
        "pwd",
        "secret",
        "signature",
        "token",
    ];
    let key = key.to_lowercase();
    let password_in_url = scalar.text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    password_in_url || TELLING.iter().any(|word| key.contains(word))
}

fn scalar_shown(scalar: &Scalar) -> Shown {
    if scalar.is_null() {
        return Shown::Null;
    }
    if !scalar.plain {
        return text(&scalar.text);
    }
    let typed = match (parse_boolean(&scalar.text), parse_number(&scalar.text)) {
        (Some(boolean), _) => Some(Shown::Boolean(boolean)),
        (None, Some(Number::Whole(whole))) => i64::try_from(whole).ok().map(number),
        (None, Some(Number::Float(float))) => serde_json::Number::from_f64(float).map(Shown::Number),
        (None, None) => None,
    };
    // 1.10 must not become 1.1.
    let exact = |shown: &Shown| match shown {
        Shown::Number(number) => number.to_string() == scalar.text,
        _ => true,
    };
    typed.filter(exact).unwrap_or_else(|| text(&scalar.text))
}

fn text(value: impl ToString) -> Shown {
    Shown::Text(value.to_string())
}

fn number(value: i64) -> Shown {
    Shown::Number(value.into())
}

fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Shown)>) -> Shown {
    Shown::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn named<T>(items: &[T], show: impl Fn(&T) -> (String, Shown)) -> Shown {
    Shown::Map(items.iter().map(show).collect())
}
