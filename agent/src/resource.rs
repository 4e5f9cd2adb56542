//! The resource of everything this agent sends: who the host is, found once at the start.
//!
//! Names after the OpenTelemetry semantic conventions, `host.*` and `os.*`. What the configuration says wins over
//! what is found; a batch's own resource wins over both.

use std::{collections::BTreeMap, fs};

/// Where Linux keeps the machine's id; the second for hosts without systemd.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Found attributes, overlaid by the `configured` ones. An empty configured value removes a found one.
pub fn attributes(configured: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut attributes = found();
    for (key, value) in configured {
        if value.is_empty() {
            attributes.remove(key);
        } else {
            attributes.insert(key.clone(), value.clone());
        }
    }
    attributes
}

fn found() -> BTreeMap<String, String> {
    [
        ("host.name", sysinfo::System::host_name().ok()),
        ("host.id", machine_id()),
        ("host.arch", Some(architecture(std::env::consts::ARCH).to_owned())),
        ("os.type", Some(operating_system(std::env::consts::OS).to_owned())),
        ("os.version", sysinfo::System::os_version().ok()),
        ("os.description", sysinfo::System::long_os_version().ok()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value.filter(|v| !v.is_empty())?)))
    .collect()
}

/// `host.id` for a machine that is no cloud instance.
fn machine_id() -> Option<String> {
    MACHINE_ID_FILES.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let id = text.trim();
        (!id.is_empty() && id != "uninitialized").then(|| id.to_owned())
    })
}

/// Rust's name -> the conventions' value of `host.arch`.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// Rust's name -> the conventions' value of `os.type`.
fn operating_system(rust: &str) -> &str {
    match rust {
        "macos" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_wins_and_an_empty_value_removes() {
        let configured = BTreeMap::from([
            ("host.name".to_owned(), "gateway-7".to_owned()),
            ("os.type".to_owned(), String::new()),
            ("service.name".to_owned(), "edge".to_owned()),
        ]);
        let attributes = attributes(&configured);
        assert_eq!(attributes["host.name"], "gateway-7");
        assert_eq!(attributes["service.name"], "edge");
        assert!(!attributes.contains_key("os.type"));
        assert_eq!(attributes["host.arch"], architecture(std::env::consts::ARCH));
    }

    #[test]
    fn names_are_the_conventions() {
        assert_eq!(architecture("aarch64"), "arm64");
        assert_eq!(operating_system("macos"), "darwin");
    }
}
