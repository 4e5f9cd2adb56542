//! Under which other paths a folder can be seen: bind mounts, and a host's root that is mounted into a container.
//!
//! Links are followed by whoever asks; a mount is no link, and a folder that holds the agent's data by another name
//! looks like any other. Mounts that are made later are not looked for: they are made by who may read everything.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One line of `/proc/self/mountinfo` (proc(5)).
struct Mount<'a> {
    device: &'a str,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where.
    at: PathBuf,
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime ...`
fn mount(line: &str) -> Option<Mount<'_>> {
    let mut fields = line.split(' ').skip(2);
    Some(Mount { device: fields.next()?, root: unescaped(fields.next()?), at: unescaped(fields.next()?) })
}

/// Blanks, tabs, line feeds and backslashes are written as `\040` and the like.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Every path under which the path, or a part of it, is seen; itself first.
pub(super) fn seen_at(mountinfo: &str, path: &Path) -> Vec<PathBuf> {
    let mounts: Vec<_> = mountinfo.lines().filter_map(mount).collect();
    let mut seen = vec![path.to_owned()];
    // The last of those that are mounted over each other is seen.
    let holds = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    let Some(own) = holds.max_by_key(|mount| mount.at.components().count()) else { return seen };
    let Ok(below) = path.strip_prefix(&own.at) else { return seen };
    let within = own.root.join(below);
    for mount in mounts.iter().filter(|mount| mount.device == own.device) {
        let other = match within.strip_prefix(&mount.root) {
            Ok(below) => mount.at.join(below),
            Err(_) if mount.root.starts_with(&within) => mount.at.clone(),
            Err(_) => continue,
        };
        if !seen.contains(&other) {
            seen.push(other);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = "\
21 1 0:50 / / rw,relatime - overlay overlay rw
22 21 0:51 / /proc rw - proc proc rw
30 21 254:0 / /host ro - ext4 /dev/vda rw
31 30 0:60 / /host/run rw - tmpfs tmpfs rw
40 21 254:0 /var/lib/whimbrel /data rw - ext4 /dev/vda rw
41 21 254:0 /var/lib/whimbrel/wal /srv/with\\040blank rw - ext4 /dev/vda rw
42 21 254:1 /var/lib/whimbrel /elsewhere rw - ext4 /dev/vdb rw
";

    fn seen(path: &str) -> Vec<String> {
        seen_at(CONTAINER, Path::new(path)).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_seen_wherever_it_or_a_part_of_it_is_mounted() {
        assert_eq!(seen("/data"), ["/data", "/host/var/lib/whimbrel", "/srv/with blank"]);
        assert_eq!(seen("/data/wal/1"), ["/data/wal/1", "/host/var/lib/whimbrel/wal/1", "/srv/with blank/1"]);
        assert_eq!(seen("/etc"), ["/etc"], "of another file system");
        assert_eq!(seen("/host/run/x"), ["/host/run/x"]);
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        assert_eq!(seen_at("\nnonsense\n1 2\n", Path::new("/data")), [PathBuf::from("/data")]);
        assert_eq!(unescaped(r"a\134b\0c\9"), PathBuf::from(r"a\b\0c\9"));
    }

    #[test]
    fn this_machines_mounts_are_read() {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(mounts.lines().all(|line| mount(line).is_some()));
        assert_eq!(seen_at(&mounts, Path::new("/proc"))[0], Path::new("/proc"));
    }
}
