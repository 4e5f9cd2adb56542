//! Which mounted file systems are worth telling of, from the table of mounts of this process, or of the host's
//! first one where the host's root is mounted elsewhere.
//!
//! One a device, because bind mounts and the many mounts of a container share one: the mount of its root, or
//! else the shortest path. Left out are what holds no data of its own (overlay, tmpfs, the kernel's own), what
//! is always full (squashfs, CD images), and what another machine holds: those are that machine's to tell. Any of
//! them is told if it is asked for; what another machine or a program holds, only by its type or mount point,
//! so that nobody waits for a network by accident.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use procfs::process::MountInfo;

use super::proc_file::ProcFile;
use crate::system::{Options, SnapshotError, pace::Paced, select::MountNames};

/// How often the table is read at most. What is gone or covered before is noticed where it is asked.
const FLOOR: Duration = Duration::from_secs(10);

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// How to know it from what lies under it.
    pub(super) mark: Mark,
    /// Such as `/dev/sda1`, or `tank` of ZFS.
    pub(super) source: String,
    /// As the host sees it.
    pub(super) point: PathBuf,
    /// As this process sees it.
    pub(super) path: PathBuf,
    pub(super) kind: String,
    pub(super) read_only: bool,
    /// Its room is in the kernel's memory, and so is the way there: asking can't be held up.
    pub(super) prompt: bool,
}

/// What is so of a mount, and not of what lies under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The kernel's number of the mount, until it is gone.
    Mount(u64),
    /// The device, major and minor, where another namespace numbers the mounts.
    Device(u32, u32),
    /// Nothing: files of btrfs have another device than their mount.
    None,
}

/// A mount, and what decides whether it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    mount: Mount,
    device: String,
    /// All of the file system, not a folder of it.
    whole: bool,
    /// Told by default.
    local: bool,
}

#[derive(Debug)]
pub(super) struct Mounts {
    file: ProcFile,
    root: PathBuf,
    own_root: bool,
    /// Whether anything but what is told by default was ever asked for: a host of containers has thousands.
    wide: bool,
    candidates: Paced<Vec<Candidate>>,
}

impl Mounts {
    pub(super) fn new(options: &Options) -> Self {
        let own_root = options.is_own_root();
        let whose = if own_root { "self/mountinfo" } else { "1/mountinfo" };
        Self {
            file: ProcFile::new(options.proc.join(whose)),
            root: options.root.clone(),
            own_root,
            wide: false,
            candidates: Paced::new(FLOOR),
        }
    }

    /// Ordered as they were mounted; no mount point twice. May be seconds old.
    pub(super) fn read(&mut self, names: &MountNames) -> Result<Vec<&Mount>, SnapshotError> {
        if names.has_includes() && !self.wide {
            self.wide = true;
            self.candidates.forget();
        }
        let Self { file, root, own_root, wide, candidates } = self;
        let candidates = candidates.get(|| {
            let root = (!*own_root).then_some(root.as_path());
            let parsed = candidates_in(&file.text()?, root, *wide);
            parsed.map_err(|what| file.malformed(what))
        })?;
        Ok(choose(candidates, names))
    }

    /// It is known to have changed.
    pub(super) fn forget(&mut self) {
        self.candidates.forget();
    }
}

/// Every visible mount that may be told, `wide` or by default; `root`: where the host's is mounted, if elsewhere.
fn candidates_in(mountinfo: &str, root: Option<&Path>, wide: bool) -> Result<Vec<Candidate>, String> {
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
    let mut candidates = Vec::new();
    for (point, info) in &visible {
        // procfs takes the name `none` for no name.
        let source = unescape(info.mount_source.as_deref().unwrap_or("none"));
        let local = is_local(&info.fs_type, &source);
        // Asking an automounter for its room would make it mount.
        if !local && (!wide || info.fs_type == "autofs") {
            continue;
        }
        let mut way = visible.iter().filter(|(other, _)| point.starts_with(other));
        let mount = Mount {
            mark: mark(info, root.is_none()),
            source,
            point: point.clone(),
            path: root.map_or_else(|| point.clone(), |root| below(root, point)),
            read_only: info.mount_options.contains_key("ro") || info.super_options.contains_key("ro"),
            prompt: is_prompt(&info.fs_type) && way.all(|(_, info)| is_quick(&info.fs_type)),
            kind: info.fs_type.clone(),
        };
        candidates.push(Candidate { mount, device: info.majmin.clone(), whole: info.root == "/", local });
    }
    Ok(candidates)
}

fn mark(info: &MountInfo, own_root: bool) -> Mark {
    if own_root {
        return Mark::Mount(info.mnt_id.unsigned_abs().into());
    }
    let device = info.majmin.split_once(':');
    let device = device.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match device {
        Some((major, minor)) if info.fs_type != "btrfs" => Mark::Device(major, minor),
        _ => Mark::None,
    }
}

fn below(root: &Path, point: &Path) -> PathBuf {
    root.join(point.strip_prefix("/").unwrap_or(point))
}

/// Of the bind mounts of a device, one that is excluded does not make room for another; one that is not included
/// does.
fn choose<'c>(candidates: &'c [Candidate], names: &MountNames) -> Vec<&'c Mount> {
    let selected = names.has_includes();
    let each = names.point.has_includes();
    let mut chosen: Vec<&Candidate> = Vec::new();
    for candidate in candidates {
        let told = if selected { is_wanted(candidate, names) } else { candidate.local };
        if !told {
            continue;
        }
        match chosen.iter_mut().find(|other| !each && other.device == candidate.device) {
            Some(kept) => {
                let rank = |one: &Candidate| (!one.whole, one.mount.point.as_os_str().len());
                if rank(candidate) < rank(kept) {
                    *kept = candidate;
                }
            }
            None => chosen.push(candidate),
        }
    }
    chosen.retain(|candidate| is_wanted(candidate, names));
    chosen.into_iter().map(|candidate| &candidate.mount).collect()
}

fn is_wanted(candidate: &Candidate, names: &MountNames) -> bool {
    let Mount { source, kind, point, .. } = &candidate.mount;
    let point = point.to_string_lossy();
    let named = names.kind.includes(kind) || names.point.includes(&point);
    names.device.keep(source, false)
        && names.kind.keep(kind, false)
        && names.point.keep(&point, false)
        && (named || candidate.local || !is_remote(kind))
}

/// Whose room another machine or a program knows, which may not answer.
fn is_remote(kind: &str) -> bool {
    const KINDS: [&str; 17] = [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
        "virtiofs",
    ];
    KINDS.contains(&kind) || kind.starts_with("nfs") || kind.starts_with("fuse.")
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
42 27 8:97 / /shared rw - gfs2 /dev/sdi1 rw
";

    #[test]
    fn one_mount_a_local_device_and_nothing_that_holds_no_data() {
        let candidates = candidates_in(TABLE, None, false).unwrap();
        let told: Vec<_> = choose(&candidates, &MountNames::default())
            .into_iter()
            .map(|m| {
                let Mark::Mount(id) = m.mark else { panic!("{m:?}") };
                assert_eq!(m.point, m.path);
                (id, m.source.as_str(), m.point.to_str().unwrap(), m.read_only, m.prompt)
            })
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
                (42, "/dev/sdi1", "/shared", false, false),
            ]
        );
    }

    #[test]
    fn a_bind_mount_stands_for_its_device_until_the_root_is_found() {
        let lines: Vec<&str> = TABLE.lines().collect();
        let bind_first = format!("{}\n{}\n", lines[2], lines[1]);
        let candidates = candidates_in(&bind_first, None, false).unwrap();
        let mounts = choose(&candidates, &MountNames::default());
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, Path::new("/"));
    }

    fn select(pairs: &[(&str, &str)]) -> MountNames {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        crate::system::select::mounts("filesystem", &pairs).unwrap()
    }

    #[test]
    fn what_is_included_is_told_alone_and_the_network_only_by_type_or_mount_point() {
        let candidates = candidates_in(TABLE, None, true).unwrap();
        let told = |pairs: &[(&str, &str)]| -> Vec<String> {
            let chosen = choose(&candidates, &select(pairs));
            chosen.into_iter().map(|mount| mount.point.display().to_string()).collect()
        };
        assert_eq!(told(&[("include_type", "nfs*")]), ["/net"]);
        assert_eq!(told(&[("include_mountpoint", "/net")]), ["/net"]);
        assert_eq!(told(&[("include_device", "*:/*")]), Vec::<String>::new(), "not by accident");
        assert_eq!(told(&[("include_type", "fuse.*")]), ["/mnt/s"]);
        assert_eq!(told(&[("include_type", "tmpfs")]), ["/none"]);
        assert_eq!(told(&[("include_mountpoint", "/mnt")]), ["/mnt"], "a bind mount by its name");
        assert_eq!(told(&[("include_mountpoint", "/"), ("include_mountpoint", "/mnt")]), ["/", "/mnt"]);
        assert_eq!(told(&[("include_device", "/dev/sd[bc]*"), ("include_type", "xfs")]), ["/data disk"]);
        assert_eq!(told(&[("include_device", "/dev/vda"), ("exclude_mountpoint", "/")]), ["/mnt"]);
        let excluded = told(&[("exclude_type", "ext4"), ("exclude_device", "tank")]);
        assert_eq!(excluded, ["/data disk", "/ntfs", "/shared"]);
        assert!(!told(&[("exclude_mountpoint", "/")]).contains(&"/mnt".to_owned()), "no way round");
    }

    #[test]
    fn a_root_mounted_elsewhere_is_the_hosts_and_is_known_by_its_devices() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/1")).unwrap();
        let table = format!("{TABLE}43 27 0:50 / /b rw - btrfs /dev/sdh1 rw\n");
        fs::write(folder.path().join("proc/1/mountinfo"), table).unwrap();
        let mut mounts = Mounts::new(&Options::at(folder.path()));
        let told = mounts.read(&MountNames::default()).unwrap();
        let data = told.iter().find(|mount| mount.source == "/dev/sdb1").unwrap();
        assert_eq!((data.point.to_str(), &data.path), (Some("/data disk"), &folder.path().join("data disk")));
        assert_eq!(data.mark, Mark::Device(8, 1));
        assert_eq!((told[0].point.to_str(), &*told[0].path), (Some("/"), folder.path()));
        assert_eq!(told.last().unwrap().mark, Mark::None, "btrfs");
    }

    #[test]
    fn a_changed_table_is_seen_when_told_and_a_broken_one_is_an_error_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("self")).unwrap();
        let path = folder.path().join("self/mountinfo");
        fs::write(&path, TABLE).unwrap();
        let options = Options { proc: folder.path().to_owned(), ..Options::default() };
        let mut mounts = Mounts::new(&options);
        let names = MountNames::default();
        assert_eq!(mounts.read(&names).unwrap().len(), 8);
        fs::write(&path, "27 1 254:0 / /\n").unwrap();
        assert_eq!(mounts.read(&names).unwrap().len(), 8, "the table is not read every time");
        mounts.forget();
        for _ in 0..2 {
            let error = mounts.read(&names).unwrap_err();
            assert!(error.to_string().contains("mountinfo"), "{error}");
        }
        fs::write(&path, TABLE.lines().nth(1).unwrap()).unwrap();
        assert_eq!(mounts.read(&names).unwrap().len(), 1);
    }

    #[test]
    fn escapes_are_undone_and_nothing_else_is() {
        assert_eq!(unescape("/a\\040b\\134c\\011"), "/a b\\c\t");
        assert_eq!(unescape("/a\\9\\04"), "/a\\9\\04");
        assert_eq!(unescape("/\\303\\244"), "/ä");
    }
}
