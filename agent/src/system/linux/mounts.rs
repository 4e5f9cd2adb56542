//! Which mounted file systems are worth telling of, from `/proc/self/mountinfo`.
//!
//! One a device, because bind mounts and the many mounts of a container share one: the mount of its root, or
//! else the shortest path. Left out are what holds no data of its own (overlay, tmpfs, the kernel's own), what
//! is always full (squashfs, CD images), and what another machine holds: those are that machine's to tell.

use std::collections::HashMap;

use procfs::process::MountInfo;

use super::proc_file::ProcFile;
use crate::system::SnapshotError;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Such as `/dev/sda1`, or `tank/home` of ZFS.
    pub(super) source: String,
    pub(super) point: String,
    pub(super) kind: String,
    pub(super) read_only: bool,
}

/// Read every time, parsed when it changed.
#[derive(Debug)]
pub(super) struct Mounts {
    file: ProcFile,
    raw: Vec<u8>,
    mounts: Vec<Mount>,
}

impl Mounts {
    pub(super) fn new(file: ProcFile) -> Self {
        Self { file, raw: Vec::new(), mounts: Vec::new() }
    }

    /// Ordered as they were mounted; no mount point twice.
    pub(super) fn read(&mut self) -> Result<&[Mount], SnapshotError> {
        let raw = self.file.read()?;
        if raw != self.raw {
            self.raw.clear();
            let mounts = reportable(&String::from_utf8_lossy(raw));
            self.mounts = mounts.map_err(|what| self.file.malformed(what))?;
            // Remembered only once it is understood. Read again, as the line above had to let go of it.
            self.raw.extend_from_slice(self.file.read()?);
        }
        Ok(&self.mounts)
    }
}

fn reportable(mountinfo: &str) -> Result<Vec<Mount>, String> {
    // By mount point first, since a mount hides what was mounted there before.
    let mut visible: Vec<MountInfo> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in mountinfo.lines() {
        let info = MountInfo::from_line(line).map_err(|error| format!("{error} in {line:?}"))?;
        let point = info.mount_point.to_string_lossy().into_owned();
        match places.get(&point) {
            Some(&place) => visible[place] = info,
            None => {
                places.insert(point, visible.len());
                visible.push(info);
            }
        }
    }
    let mut mounts: Vec<(String, bool, Mount)> = Vec::new();
    for info in visible {
        let Some(source) = info.mount_source.as_deref().map(unescape) else { continue };
        if !is_local(&info.fs_type, &source) {
            continue;
        }
        let whole = info.root == "/";
        let mount = Mount {
            source,
            point: unescape(&info.mount_point.to_string_lossy()),
            read_only: info.mount_options.contains_key("ro") || info.super_options.contains_key("ro"),
            kind: info.fs_type,
        };
        match mounts.iter_mut().find(|(device, ..)| *device == info.majmin) {
            Some((_, kept_whole, kept)) => {
                if (whole, kept.point.len()) > (*kept_whole, mount.point.len()) {
                    (*kept_whole, *kept) = (whole, mount);
                }
            }
            None => mounts.push((info.majmin, whole, mount)),
        }
    }
    Ok(mounts.into_iter().map(|(_, _, mount)| mount).collect())
}

/// On a device of this machine, and with room that can run out.
fn is_local(kind: &str, source: &str) -> bool {
    match kind {
        "squashfs" | "iso9660" | "udf" | "erofs" | "cramfs" | "romfs" | "overlay" | "tmpfs" | "ramfs"
        | "devtmpfs" => false,
        // Their sources are names of pools.
        "zfs" | "bcachefs" => true,
        _ => source.starts_with("/dev/"),
    }
}

/// Spaces, tabs, newlines and backslashes stand as `\040` and the like in the kernel's tables.
pub(super) fn unescape(field: &str) -> String {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                after
            }
            _ => {
                plain.push(*first);
                tail
            }
        };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 254:0 /var/lib /mnt rw - ext4 /dev/vda rw
29 27 8:1 / /data\\040disk rw - xfs /dev/sdb1 ro
30 27 8:17 /etc/hosts /etc/hosts rw - ext4 /dev/sdc1 rw
31 27 8:17 /etc/a-longer-one /etc/resolv.conf rw - ext4 /dev/sdc1 rw
32 27 0:40 / /net rw - nfs4 server:/export rw
33 27 7:0 / /snap/core ro - squashfs /dev/loop0 ro
34 27 0:41 / /var/lib/docker/overlay2/x rw - overlay overlay rw
35 27 0:42 / /tank rw - zfs tank rw,xattr
36 27 8:33 / /hidden rw - ext4 /dev/sdd1 rw
37 27 8:49 / /hidden rw - ext4 /dev/sde1 rw
38 27 0:43 / /mnt/s rw - fuse.sshfs me@host:/ rw
39 27 8:65 / /ntfs rw - fuseblk /dev/sdf1 rw
40 27 0:44 / /none rw - tmpfs none rw
";

    #[test]
    fn one_mount_a_local_device_and_nothing_that_holds_no_data() {
        let mounts = reportable(TABLE).unwrap();
        let told: Vec<_> =
            mounts.iter().map(|m| (m.source.as_str(), m.point.as_str(), m.read_only)).collect();
        assert_eq!(
            told,
            [
                ("/dev/vda", "/", false),
                ("/dev/sdb1", "/data disk", true),
                ("/dev/sdc1", "/etc/hosts", false),
                ("tank", "/tank", false),
                ("/dev/sde1", "/hidden", false),
                ("/dev/sdf1", "/ntfs", false),
            ]
        );
    }

    #[test]
    fn a_changed_table_is_seen_and_a_broken_one_is_an_error_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mountinfo");
        fs::write(&path, TABLE).unwrap();
        let mut mounts = Mounts::new(ProcFile::new(path.clone()));
        assert_eq!(mounts.read().unwrap().len(), 6);
        fs::write(&path, "27 1 254:0 / /\n").unwrap();
        for _ in 0..2 {
            let error = mounts.read().unwrap_err();
            assert!(error.to_string().contains("mountinfo"), "{error}");
        }
        fs::write(&path, TABLE.lines().nth(1).unwrap()).unwrap();
        assert_eq!(mounts.read().unwrap().len(), 1);
    }

    #[test]
    fn escapes_are_undone_and_nothing_else_is() {
        assert_eq!(unescape("/a\\040b\\134c\\011"), "/a b\\c\t");
        assert_eq!(unescape("/a\\9\\04"), "/a\\9\\04");
        assert_eq!(unescape("/\\303\\244"), "/ä");
    }
}
