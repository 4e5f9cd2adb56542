//! `host.*` of any machine: its name, its machine-id, its architecture.

use std::collections::BTreeMap;

use super::Surroundings;

/// Where Linux keeps the machine's id; the second for hosts without systemd.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

pub(super) fn detect(around: &Surroundings<'_>) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::from([("host.arch", architecture(std::env::consts::ARCH).to_owned())]);
    found.extend(name(around).map(|name| ("host.name", name)));
    found.extend(machine_id(around).map(|id| ("host.id", id)));
    found
}

/// The kernel tells a container's name to a container, wherever the host's procfs is mounted: only the host's own
/// file helps there.
fn name(around: &Surroundings<'_>) -> Option<String> {
    let file = || {
        let text = around.host_file("/etc/hostname")?;
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
    };
    let kernel = || sysinfo::System::host_name().ok();
    if around.is_on_host() { kernel().or_else(file) } else { file().or_else(kernel) }
}

/// `host.id` for a machine that is no cloud instance.
pub(super) fn machine_id(around: &Surroundings<'_>) -> Option<String> {
    MACHINE_ID_FILES
        .iter()
        .filter_map(|file| around.host_file(file))
        .find(|id| id != "uninitialized" && !id.bytes().all(|byte| byte == b'0'))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::surroundings::tests::found;

    #[test]
    fn names_are_the_conventions() {
        assert_eq!(architecture("aarch64"), "arm64");
        assert_eq!(architecture("s390x"), "s390x");
    }

    #[test]
    fn an_id_that_is_not_given_yet_is_none() {
        let id = |files: &[(&str, &str)]| found(detect, files, &[]).remove("host.id");
        assert_eq!(id(&[("/etc/machine-id", "uninitialized\n")]), None);
        assert_eq!(id(&[("/etc/machine-id", "00000000000000000000000000000000\n")]), None);
        let dbus = [("/etc/machine-id", ""), ("/var/lib/dbus/machine-id", "0123abc\n")];
        assert_eq!(id(&dbus).as_deref(), Some("0123abc"));
    }

    #[test]
    fn from_within_a_container_the_hosts_name_is_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/hostname"), "# set by hand\nnode-7\n").unwrap();
        let around = Surroundings::of_this_process(folder.path());
        assert_eq!(detect(&around)["host.name"], "node-7");
    }
}
