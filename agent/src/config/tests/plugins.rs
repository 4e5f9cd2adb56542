//! `plugins:`, read into trust and ways to registries, refused where it would mean less than it looks, and shown again
//! without what logs in.

use std::time::Duration;

use whimbrel_plugin_host::trust::SecretKey;

use super::{Folder, MINIMAL};
use crate::config::{Login, PluginRef, Plugins, Registered, Registry};

fn folder(text: &str) -> Folder {
    let folder = Folder::with(format!("{MINIMAL}{text}\n"));
    folder.write("secret.key", &*SecretKey::generate().unwrap().to_pem());
    folder
}

fn problems(text: &str) -> Vec<String> {
    folder(&format!("plugins: {{{text}}}")).problems()
}

/// Base64 of some public key.
fn key() -> String {
    SecretKey::generate().unwrap().public().to_string()
}

const OCI: &str = "collectors: {x: {plugin: \"oci://127.0.0.1:5000/a:1\"}, y: {plugin: ./y.wasm}, \
                   z: {plugin: \"builtin:host\"}}\nexporters: {b: {endpoint: 'http://127.0.0.1:4318'}}\n";

#[test]
fn the_documented_defaults_hold() {
    let config = folder("").load().unwrap().config;
    let defaults =
        Plugins { store_max_size: 1 << 30, fetch_timeout: Duration::from_secs(120), ..Plugins::default() };
    assert_eq!(config.plugins, defaults);
    assert!(!config.plugins.trust.is_configured() && config.plugins.registries.is_empty());
}

#[test]
fn each_collector_carries_its_trust_and_its_registry() {
    let folder = Folder::with(format!(
        "{OCI}plugins:\n  trust: [{{name: a, key: \"{}\"}}, {{name: b, key_file: b.pub, may_ship_native: true}}]\n  \
         registries: {{\"127.0.0.1:5000\": {{plain_http: false, username: ada, password: {{file: word}}}}}}\n  \
         fetch_timeout: 7s\n  store: {{max_size: 20MiB}}\n",
        key()
    ));
    folder.write("b.pub", SecretKey::generate().unwrap().public().to_pem());
    folder.write("word", "hunter2\n");
    let loaded = folder.load().unwrap();
    let [x, y, z] = loaded.config.collectors.as_slice() else { panic!() };
    let native: Vec<_> = x.trust.keys.iter().map(|key| (key.name.as_str(), key.may_ship_native)).collect();
    assert_eq!(native, [("a", false), ("b", true)]);
    assert_eq!(x.trust, y.trust);
    assert!(!z.trust.is_configured(), "what is shipped needs no signature");
    let PluginRef::Registry(registered) = &x.plugin else { panic!("{:?}", x.plugin) };
    assert_eq!(registered.timeout, Duration::from_secs(7));
    let access = registered.access();
    assert!(!access.plain_http && access.credentials.is_some());
    let Some(Login::Password(username, password)) = &registered.registry.login else { panic!() };
    assert_eq!((username.reveal(), password.reveal()), ("ada", "hunter2"));
    assert_eq!(loaded.config.plugins.store_max_size, 20 << 20);
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    for shown in [loaded.effective().to_yaml().unwrap(), loaded.written().to_yaml().unwrap()] {
        assert!(!shown.contains("hunter2") && shown.contains("may_ship_native: true"), "{shown}");
    }
}

#[test]
fn plain_http_is_spoken_to_this_machine_only_unless_said() {
    let plain = |text: &str, registry: Registry| {
        let reference = whimbrel_plugin_host::registry::Reference::parse(text).unwrap();
        Registered { registry, ..Registered::new(reference) }.access().plain_http
    };
    assert!(plain("oci://127.0.0.1:5000/a:1", Registry::default()));
    assert!(!plain("oci://registry.example.com/a:1", Registry::default()));
    let said = Registry { plain_http: Some(true), ..Registry::default() };
    assert!(plain("oci://registry.example.com/a:1", said));
}

#[test]
fn what_would_trust_less_or_more_than_it_looks_is_refused() {
    let one = key();
    for (text, part) in [
        ("trust: []".to_owned(), "plugins.trust: trusts no key"),
        ("trust: {a: b}".to_owned(), "a list is needed here"),
        ("trust: [{name: a}]".to_owned(), "has neither `key` nor `key_file`"),
        (format!("trust: [{{key: \"{one}\"}}]"), "has no `name`"),
        (format!("trust: [{{name: a, key: \"{one}\", key_file: x}}]"), "has both `key` and `key_file`"),
        ("trust: [{name: a, key: abc}]".to_owned(), "is no ed25519 public key"),
        ("trust: [{name: a, key_file: secret.key}]".to_owned(), "it is a secret key"),
        ("trust: [{name: a, key_file: nowhere.pub}]".to_owned(), "can't be read"),
        (format!("trust: [{{name: a, key: \"{one}\", may_ship_native: perhaps}}]"), "is not known here"),
        (format!("trust: [{{name: a, key: \"{one}\"}}, {{name: b, key: \"{one}\"}}]"), "is the same key as"),
        (
            format!("trust: [{{name: a, key: \"{one}\"}}, {{name: a, key: \"{}\"}}]", key()),
            "is called `a` too",
        ),
        (format!("trust: [{{name: a, key: \"{one}\", native: true}}]"), "unknown key `native`"),
        ("registries: {\"http://x\": {}}".to_owned(), "is not the host of a registry"),
        ("registries: {x: {username: ada}}".to_owned(), "needs `username` and `password`"),
        (
            "registries: {x: {username: a, password: b, token: c}}".to_owned(),
            "needs `username` and `password`",
        ),
        ("registries: {x: {insecure_skip_verify: true}}".to_owned(), "is not in this version"),
        ("store: {max_size: 1MiB}".to_owned(), "is less than 16MiB"),
        ("fetch_timeout: 2h".to_owned(), "is more than 1h"),
    ] {
        let said = problems(&text);
        assert!(said.iter().any(|line| line.contains(part)), "{text}: {part}: {said:#?}");
    }
}

#[test]
fn no_message_shows_what_logs_in() {
    let said = problems("registries: {x: {username: ada, password: [hunter2]}}");
    assert!(!said.is_empty() && !said.join("\n").contains("hunter2"), "{said:?}");
    let loaded =
        folder("plugins: {registries: {x: {username: ada, password: hunter2, plain_http: true}}}").load();
    let loaded = loaded.unwrap();
    let warned = loaded.warnings.to_string();
    assert!(warned.contains("in clear text") && !warned.contains("hunter2"), "{warned}");
    for here in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
        let text = format!("plugins: {{registries: {{\"{here}\": {{token: hunter2, plain_http: true}}}}}}");
        let warnings = folder(&text).load().unwrap().warnings;
        assert!(warnings.is_empty(), "nothing leaves this machine: {warnings}");
    }
}
