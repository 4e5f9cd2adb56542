//! What a caller wants of a part: pairs of key and value, read once and applied where figures are made.
//!
//! Patterns are globs (`*`, `?`, `[...]`; `*` meets slashes too). As soon as anything is included, only that is
//! told, and what is left out by default is told too if it is included; what is excluded is never told. Patterns
//! of one kind are alternatives; of several kinds (device, type, mount point), each must agree.

use glob::Pattern;

use super::SnapshotError;

/// Most processes that are told in one snapshot.
pub(super) const MOST_PROCESSES: usize = 1000;

/// Which names of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// Which mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MountNames {
    pub(super) device: Names,
    pub(super) kind: Names,
    pub(super) point: Names,
}

/// Which processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessNames {
    /// How many of the busiest or biggest; 0: none.
    pub(super) top: usize,
    pub(super) by: By,
    /// And those with one of these names.
    pub(super) names: Vec<Pattern>,
}

/// What processes are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// CPU time used since they were last ranked.
    Cpu,
    /// Memory they have now.
    Memory,
}

impl Names {
    /// Whether `name` is told; `left_out` says whether it is not, as long as nothing is included.
    pub(super) fn keep(&self, name: &str, left_out: bool) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        let included = if self.include.is_empty() { !left_out } else { matches(&self.include) };
        included && !matches(&self.exclude)
    }

    /// Whether only what is included is told, and `name` is.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn includes(&self, name: &str) -> bool {
        self.include.iter().any(|pattern| pattern.matches(name))
    }

    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn has_includes(&self) -> bool {
        !self.include.is_empty()
    }
}

/// A part that is told whole.
///
/// # Errors
/// Anything is selected.
pub(super) fn nothing(part: &'static str, select: &[(String, String)]) -> Result<(), SnapshotError> {
    match select.first() {
        Some((key, _)) => Err(unknown(part, key, &[])),
        None => Ok(()),
    }
}

impl MountNames {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn has_includes(&self) -> bool {
        [&self.device, &self.kind, &self.point].into_iter().any(Names::has_includes)
    }
}

/// `include` and `exclude`.
///
/// # Errors
/// Another key, or a value that is no pattern.
pub(super) fn names(part: &'static str, select: &[(String, String)]) -> Result<Names, SnapshotError> {
    let mut names = Names::default();
    for (key, value) in select {
        match key.as_str() {
            "include" => names.include.push(pattern(part, key, value)?),
            "exclude" => names.exclude.push(pattern(part, key, value)?),
            _ => return Err(unknown(part, key, &["include", "exclude"])),
        }
    }
    Ok(names)
}

/// `include_device`, `exclude_device` and the same of `type` and `mountpoint`.
///
/// # Errors
/// Another key, or a value that is no pattern.
pub(super) fn mounts(part: &'static str, select: &[(String, String)]) -> Result<MountNames, SnapshotError> {
    const KEYS: [&str; 6] = [
        "include_device",
        "exclude_device",
        "include_type",
        "exclude_type",
        "include_mountpoint",
        "exclude_mountpoint",
    ];
    let mut mounts = MountNames::default();
    for (key, value) in select {
        let patterns = match key.as_str() {
            "include_device" => &mut mounts.device.include,
            "exclude_device" => &mut mounts.device.exclude,
            "include_type" => &mut mounts.kind.include,
            "exclude_type" => &mut mounts.kind.exclude,
            "include_mountpoint" => &mut mounts.point.include,
            "exclude_mountpoint" => &mut mounts.point.exclude,
            _ => return Err(unknown(part, key, &KEYS)),
        };
        patterns.push(pattern(part, key, value)?);
    }
    Ok(mounts)
}

/// `top`, `by` and `name`.
///
/// # Errors
/// Another key, a value that is none, or neither `top` nor `name`.
pub(super) fn processes(
    part: &'static str,
    select: &[(String, String)],
) -> Result<ProcessNames, SnapshotError> {
    let mut wanted = ProcessNames { top: 0, by: By::Cpu, names: Vec::new() };
    for (key, value) in select {
        match key.as_str() {
            "top" => {
                wanted.top =
                    value.parse().ok().filter(|top| (1..=MOST_PROCESSES).contains(top)).ok_or_else(|| {
                        wrong(
                            part,
                            key,
                            format!("{value:?} is not a number from 1 to {MOST_PROCESSES}; give one"),
                        )
                    })?;
            }
            "by" => {
                wanted.by = match value.as_str() {
                    "cpu" => By::Cpu,
                    "memory" => By::Memory,
                    _ => {
                        return Err(wrong(part, key, format!("{value:?} is unknown; give cpu or memory")));
                    }
                }
            }
            "name" => wanted.names.push(pattern(part, key, value)?),
            _ => return Err(unknown(part, key, &["top", "by", "name"])),
        }
    }
    if wanted.top == 0 && wanted.names.is_empty() {
        let why =
            format!("nothing is selected; give it (1 to {MOST_PROCESSES}), or `name` with a glob, or both");
        return Err(wrong(part, "top", why));
    }
    Ok(wanted)
}

/// `unit`, at least once: names and globs as the service manager takes them.
///
/// # Errors
/// Another key, a value that can be no unit, or none at all.
pub(super) fn units(part: &'static str, select: &[(String, String)]) -> Result<Vec<String>, SnapshotError> {
    // The longest name of a unit (unit-def.h).
    const LONGEST: usize = 255;
    for (key, value) in select {
        if key != "unit" {
            return Err(unknown(part, key, &["unit"]));
        }
        if value.is_empty() || value.len() > LONGEST || value.contains(|c: char| c.is_control() || c == ' ') {
            let why = format!("{value:?} is no unit; give a name such as nginx.service, or a glob");
            return Err(wrong(part, key, why));
        }
    }
    if select.is_empty() {
        let why = "nothing is selected; give a name such as nginx.service, or a glob";
        return Err(wrong(part, "unit", why.to_owned()));
    }
    Ok(select.iter().map(|(_, value)| value.clone()).collect())
}

fn pattern(part: &'static str, key: &str, value: &str) -> Result<Pattern, SnapshotError> {
    if value.is_empty() {
        return Err(wrong(part, key, "it is empty; give a name or a glob".to_owned()));
    }
    Pattern::new(value).map_err(|error| {
        let why = format!(
            "{value:?} is not a glob ({} at {}); put `[` and `]` around what is meant as it stands",
            error.msg, error.pos
        );
        wrong(part, key, why)
    })
}

fn unknown(part: &'static str, key: &str, known: &[&str]) -> SnapshotError {
    let why = match known {
        [] => "this part is told whole; remove the key".to_owned(),
        known => format!("there is no such key; known are {}", known.join(", ")),
    };
    wrong(part, key, why)
}

fn wrong(part: &'static str, key: &str, why: String) -> SnapshotError {
    SnapshotError::Select { part, key: key.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_included_is_told_alone_and_what_is_excluded_never() {
        let read = |select: &[(&str, &str)]| names("network", &pairs(select)).unwrap();
        let all = read(&[]);
        assert!(all.keep("eth0", false) && !all.keep("veth0", true));
        let some = read(&[("include", "eth*"), ("include", "veth1"), ("exclude", "eth9")]);
        assert!(some.keep("eth0", false) && some.keep("veth1", true), "inclusion goes before the default");
        assert!(!some.keep("eth9", false) && !some.keep("wlan0", false) && !some.keep("veth2", true));
        let without = read(&[("exclude", "wlan?")]);
        assert!(without.keep("eth0", false) && !without.keep("wlan0", false));
        assert!(!without.keep("veth0", true), "exclusion adds to the default");
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_what_to_give() {
        let said = |answer: Result<(), SnapshotError>| {
            let error = answer.unwrap_err();
            assert!(error.is_invalid() && !error.is_unavailable() && !error.is_unknown());
            error.to_string()
        };
        let one = |key, value| pairs(&[(key, value)]);
        assert_eq!(
            said(nothing("memory", &one("include", "x"))),
            "the selection of memory is wrong at `include`: this part is told whole; remove the key"
        );
        assert_eq!(
            said(names("disk", &one("device", "x")).map(drop)),
            "the selection of disk is wrong at `device`: there is no such key; known are include, exclude"
        );
        assert!(said(names("disk", &one("include", "a[")).map(drop)).contains("\"a[\" is not a glob"));
        assert!(said(names("disk", &one("include", "")).map(drop)).contains("it is empty"));
        assert!(said(mounts("filesystem", &one("include", "x")).map(drop)).contains("exclude_mountpoint"));
        for top in ["0", "1001", "-1", "ten", ""] {
            assert!(said(processes("process.each", &one("top", top)).map(drop)).contains("from 1 to 1000"));
        }
        assert!(said(processes("process.each", &one("by", "io")).map(drop)).contains("give cpu or memory"));
        assert!(said(processes("process.each", &one("by", "cpu")).map(drop)).contains("or `name`"));
        assert!(said(processes("process.each", &one("pid", "1")).map(drop)).contains("top, by, name"));
        assert!(said(units("service", &[]).map(drop)).contains("nginx.service"));
        assert!(said(units("service", &one("unit", "a b")).map(drop)).contains("is no unit"));
        assert!(said(units("service", &one("name", "x")).map(drop)).contains("known are unit"));
    }

    #[test]
    fn everything_that_can_be_given_is_read() {
        let read = processes("process.each", &pairs(&[("top", "1000"), ("by", "memory"), ("name", "a*")]));
        let read = read.unwrap();
        assert_eq!((read.top, read.by, read.names.len()), (1000, By::Memory, 1));
        assert_eq!(processes("process.each", &pairs(&[("name", "a")])).unwrap().top, 0);
        let read = mounts(
            "filesystem",
            &pairs(&[
                ("include_type", "nfs*"),
                ("exclude_device", "/dev/sdb?"),
                ("include_mountpoint", "/srv/*"),
            ]),
        );
        let read = read.unwrap();
        assert!(read.kind.includes("nfs4") && !read.kind.includes("ext4"));
        assert!(!read.device.keep("/dev/sdb1", false) && read.point.includes("/srv/a/b"));
        assert_eq!(units("service", &pairs(&[("unit", "a@*.service")])).unwrap(), ["a@*.service"]);
    }

    /// A guest writes the pattern: many stars must not cost more than the text is long, each.
    #[test]
    fn a_pattern_of_many_stars_is_no_trap() {
        let select = pairs(&[("include", &"a*".repeat(500))]);
        let begun = std::time::Instant::now();
        let names = names("disk", &select).unwrap();
        assert!(!names.keep(&"a".repeat(255), false));
        assert!(!names.keep(&format!("{}b", "a".repeat(255)), false));
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    }
}
