//! Which mounted file systems are worth telling of, from `/proc/self/mountinfo`.
//!
//! One a device, because bind mounts and the many mounts of a container share one: the mount of its root, or
//! else the shortest path. Left out are what holds no data of its own (overlay, tmpfs, the kernel's own), what
//! is always full (squashfs, CD images), and what another machine holds: those are that machine's to tell.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use procfs::process::MountInfo;

use super::proc_file::ProcFile;
use crate::system::{SnapshotError, pace::Paced};

/// How often the table is read at most. What is gone or covered before is noticed where it is asked.
const FLOOR: Duration = Duration::from_secs(10);

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The kernel's number of the mount, until it is gone.
    pub(super) id: u64,
    /// Such as `/dev/sda1`, or `tank` of ZFS.
    pub(super) source: String,
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) read_only: bool,
    /// Its room is in the kernel's memory, and so is the way there: asking can't be held up.
    pub(super) prompt: bool,
}

#[derive(Debug)]
pub(super) struct Mounts {
    file: ProcFile,
    mounts: Paced<Vec<Mount>>,
}

impl Mounts {
    pub(super) fn new(proc: &Path) -> Self {
        Self { file: ProcFile::new(proc.join("self/mountinfo")), mounts: Paced::new(FLOOR) }
    }

    /// Ordered as they were mounted; no mount point twice. May be seconds old.
    pub(super) fn read(&mut self) -> Result<&[Mount], SnapshotError> {
        let Self { file, mounts } = self;
        let mounts = mounts.get(|| {
            let parsed = reportable(&file.text()?);
            parsed.map_err(|what| file.malformed(what))
        });
        mounts.map(Vec::as_slice)
    }

    /// It is known to have changed.
    pub(super) fn forget(&mut self) {
        self.mounts.forget();
    }
}

fn reportable(mountinfo: &str) -> Result<Vec<Mount>, String> {
    // By mount point first, since a mount hides what was mounted there before.
    let mut visible: Vec<(PathBuf, MountInfo)> = Vec::new();
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    for line in mountinfo.lines() {
        let info = MountInfo::from_line(line).map_err(|error| format!("{error} in {line:?}"))?;
        let point = PathBuf::from(unescape(&info.mount_point.to_string_lossy()));
        match places.get(&point) {
            Some(&place) => visible[place].1 = info,
            None => {
                places.insert(point.clone(), visible.len());
                visible.push((point, info));
            }
        }
    }
    let mut mounts: Vec<(&str, bool, Mount)> = Vec::new();
    for (point, info) in &visible {
        let Some(source) = info.mount_source.as_deref().map(unescape) else { continue };
        if !is_local(&info.fs_type, &source) {
            continue;
        }
        let whole = info.root == "/";
        let way = visible.iter().filter(|(other, _)| point.starts_with(other));
        let mount = Mount {
            id: info.mnt_id.unsigned_abs().into(),
            source,
            point: point.clone(),
            read_only: info.mount_options.contains_key("ro") || info.super_options.contains_key("ro"),
            prompt: is_prompt(&info.fs_type) && way.into_iter().all(|(_, info)| is_quick(&info.fs_type)),
            kind: info.fs_type.clone(),
        };
        match mounts.iter_mut().find(|(device, ..)| *device == info.majmin) {
            Some((_, kept_whole, kept)) => {
                let rank = |whole: bool, mount: &Mount| (!whole, mount.point.as_os_str().len());
                if rank(whole, &mount) < rank(*kept_whole, kept) {
                    (*kept_whole, *kept) = (whole, mount);
                }
            }
            None => mounts.push((&info.majmin, whole, mount)),
        }
    }
    Ok(mounts.into_iter().map(|(_, _, mount)| mount).collect())
}

/// File systems that count their free blocks in memory. (FAT may read its whole table to count them, ZFS waits
/// for a pool that is suspended.)
fn is_prompt(kind: &str) -> bool {
    matches!(kind, "ext2" | "ext3" | "ext4" | "xfs" | "f2fs" | "btrfs")
}

/// File systems through which a path leads without waiting for anything but a disk of this machine.
fn is_quick(kind: &str) -> bool {
    is_prompt(kind)
        || matches!(
            kind,
            "overlay" | "tmpfs" | "ramfs" | "rootfs" | "devtmpfs" | "squashfs" | "erofs" | "zfs"
        )
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
41 32 8:81 / /net/disk rw - ext4 /dev/sdg1 rw
";

    #[test]
    fn one_mount_a_local_device_and_nothing_that_holds_no_data() {
        let mounts = reportable(TABLE).unwrap();
        let told: Vec<_> = mounts
            .iter()
            .map(|m| (m.id, m.source.as_str(), m.point.to_str().unwrap(), m.read_only, m.prompt))
            .collect();
        assert_eq!(
            told,
            [
                (27, "/dev/vda", "/", false, true),
                (29, "/dev/sdb1", "/data disk", true, true),
                (30, "/dev/sdc1", "/etc/hosts", false, true),
                (35, "tank", "/tank", false, false),
                (37, "/dev/sde1", "/hidden", false, true),
                (39, "/dev/sdf1", "/ntfs", false, false),
                (41, "/dev/sdg1", "/net/disk", false, false),
            ]
        );
    }

    #[test]
    fn a_bind_mount_stands_for_its_device_until_the_root_is_found() {
        let lines: Vec<&str> = TABLE.lines().collect();
        let bind_first = format!("{}\n{}\n", lines[2], lines[1]);
        let mounts = reportable(&bind_first).unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, Path::new("/"));
    }

    #[test]
    fn a_changed_table_is_seen_when_told_and_a_broken_one_is_an_error_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("self")).unwrap();
        let path = folder.path().join("self/mountinfo");
        fs::write(&path, TABLE).unwrap();
        let mut mounts = Mounts::new(folder.path());
        assert_eq!(mounts.read().unwrap().len(), 7);
        fs::write(&path, "27 1 254:0 / /\n").unwrap();
        assert_eq!(mounts.read().unwrap().len(), 7, "the table is not read every time");
        mounts.forget();
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
