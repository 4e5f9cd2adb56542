//! `os.*`: which operating system the host runs.

use std::collections::BTreeMap;

use super::Surroundings;

/// os-release(5): the first that there is.
const RELEASE_FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

pub(super) fn detect(around: &Surroundings<'_>) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::from([("os.type", operating_system(std::env::consts::OS).to_owned())]);
    if around.is_on_host() {
        found.extend(sysinfo::System::name().ok().map(|name| ("os.name", name)));
        found.extend(sysinfo::System::os_version().ok().map(|version| ("os.version", version)));
        found.extend(sysinfo::System::long_os_version().ok().map(|text| ("os.description", text)));
    }
    let release = RELEASE_FILES.iter().find_map(|file| around.host_file(file)).unwrap_or_default();
    for (key, value) in fields(&release) {
        let name = match key {
            "NAME" => "os.name",
            "VERSION_ID" => "os.version",
            "PRETTY_NAME" => "os.description",
            "BUILD_ID" => "os.build_id",
            _ => continue,
        };
        // What is known of this machine is told as it always was; the file tells of another's.
        if name == "os.build_id" || name == "os.name" || !around.is_on_host() || !found.contains_key(name) {
            found.insert(name, value);
        }
    }
    found
}

/// Assignments as a shell reads them, without expansions.
fn fields(release: &str) -> impl Iterator<Item = (&str, String)> {
    let assignments = release.lines().filter_map(|line| line.trim().split_once('='));
    assignments.filter(|(key, _)| !key.starts_with('#')).map(|(key, value)| (key, unquoted(value.trim())))
}

fn unquoted(value: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let Some(inner) = inner else { return value.to_owned() };
    let mut text = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(c);
            escaped = false;
        }
    }
    text
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

    fn of_a_mounted_host(release: &str) -> BTreeMap<&'static str, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/os-release"), release).unwrap();
        detect(&Surroundings::of_this_process(folder.path()))
    }

    #[test]
    fn names_are_the_conventions() {
        assert_eq!(operating_system("macos"), "darwin");
        assert_eq!(operating_system("linux"), "linux");
    }

    #[test]
    fn a_mounted_hosts_release_is_told_and_not_the_containers() {
        let found = of_a_mounted_host(
            "PRETTY_NAME=\"Flatcar \\\"LTS\\\" 3510\"\nNAME='Flatcar Container Linux'\n# VERSION_ID=1\nVERSION_ID=3510.3.3\n\
             BUILD_ID=2024-04-16-1912\nHOME_URL=x\nodd line\n",
        );
        assert_eq!(found["os.description"], "Flatcar \"LTS\" 3510");
        assert_eq!(found["os.name"], "Flatcar Container Linux");
        assert_eq!(found["os.version"], "3510.3.3");
        assert_eq!(found["os.build_id"], "2024-04-16-1912");
    }

    #[test]
    fn an_odd_release_is_no_harm() {
        assert_eq!(
            of_a_mounted_host("VERSION_ID=\"\nNAME=\"a").get("os.version").map(String::as_str),
            Some("\"")
        );
        assert!(!of_a_mounted_host("").contains_key("os.version"));
    }
}
