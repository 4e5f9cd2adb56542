//! The files of processes under procfs, read by way of one open folder; proc_pid_stat(5) and its neighbours.
//!
//! Nothing is kept open: a file of a process costs about as much to read as to open, and there may be more
//! processes than a process may have files.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

/// No file of a process that is read here is longer, whatever its limits and groups.
const LONGEST: usize = 16 << 10;

/// The kernel's flag of its own threads (include/linux/sched.h); part of what proc_pid_stat(5) promises.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// A thread of the kernel's own, without files and memory.
    pub(super) kernel: bool,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// Ticks, as the next three.
    pub(super) user: u64,
    pub(super) system: u64,
    /// Waiting for disks; 0 where the kernel does not account for delays.
    pub(super) wait: u64,
    /// Since boot.
    pub(super) start: u64,
    pub(super) threads: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

/// What `io` says: bytes of disks, and calls to read and write, whatever of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Io {
    pub(super) read_bytes: u64,
    pub(super) write_bytes: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// Procfs, opened for one snapshot.
#[derive(Debug)]
pub(super) struct Folder {
    folder: OwnedFd,
    /// Its own file system, and not a copy of its files.
    real: bool,
    path: String,
    buffer: Vec<u8>,
}

impl Folder {
    pub(super) fn open(proc: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(proc, flags, Mode::empty())?;
        let real = rustix::fs::fstatfs(&folder)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
        Ok(Self { folder, real, path: String::with_capacity(32), buffer: vec![0; 1 << 10] })
    }

    /// All processes there are, in the kernel's order.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::with_capacity(512);
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let name = entry?;
            let name = std::str::from_utf8(name.file_name().to_bytes()).ok();
            pids.extend(name.and_then(|name| name.parse::<u32>().ok()));
        }
        Ok(pids)
    }

    /// With the command, as the kernel knows it.
    pub(super) fn stat(&mut self, pid: u32) -> Option<(Stat, &[u8])> {
        parse_stat(pid, self.read(pid, "stat")?)
    }

    /// None for a process of another user, unless we are privileged.
    pub(super) fn io(&mut self, pid: u32) -> Option<Io> {
        let text = self.read(pid, "io")?;
        let [read_bytes, write_bytes, reads, writes] =
            numbers(text, ["read_bytes", "write_bytes", "syscr", "syscw"]);
        Some(Io { read_bytes: read_bytes?, write_bytes: write_bytes?, reads: reads?, writes: writes? })
    }

    /// Voluntary and involuntary context switches of the first thread: the kernel has no sum over all that
    /// does not fall when one ends.
    pub(super) fn switches(&mut self, pid: u32) -> Option<[u64; 2]> {
        let text = self.read(pid, "status")?;
        let [voluntary, involuntary] =
            numbers(text, ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]);
        Some([voluntary?, involuntary?])
    }

    /// How many files are open.
    pub(super) fn descriptors(&mut self, pid: u32) -> Option<u64> {
        self.name(pid, "fd");
        if self.real {
            // The size is their number since Linux 6.2, and 0 before.
            let found =
                rustix::fs::statx(&self.folder, &self.path, AtFlags::empty(), StatxFlags::SIZE).ok()?;
            if found.stx_size > 0 {
                return Some(found.stx_size);
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.folder, &self.path, flags, Mode::empty()).ok()?;
        let mut count = 0;
        for entry in rustix::fs::Dir::new(folder).ok()? {
            count += u64::from(!entry.ok()?.file_name().to_bytes().starts_with(b"."));
        }
        Some(count)
    }

    /// The file name of the executable. None for the kernel's threads, and for another user's process unless we
    /// are privileged.
    pub(super) fn executable(&mut self, pid: u32) -> Option<String> {
        self.name(pid, "exe");
        let target = rustix::fs::readlinkat(&self.folder, &self.path, Vec::new()).ok()?;
        let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
        let name = target.file_name()?.to_string_lossy().into_owned();
        // As the kernel marks a file that is gone, which an update of a running program makes of it.
        Some(name.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(name))
    }

    fn name(&mut self, pid: u32, file: &str) {
        self.path.clear();
        // Writing to a string does not fail.
        let _ = write!(self.path, "{pid}/{file}");
    }

    fn read(&mut self, pid: u32, name: &str) -> Option<&[u8]> {
        self.name(pid, name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &self.path, flags, Mode::empty()).ok()?;
        let mut length = 0;
        loop {
            let room = self.buffer.len() - length;
            let more = match rustix::io::read(&file, &mut self.buffer[length..]) {
                Ok(more) => more,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            };
            length += more;
            // Such a file is written in one go: less than there is room for is all of it.
            if more < room {
                return Some(&self.buffer[..length]);
            }
            if length >= LONGEST {
                return None;
            }
            self.buffer.resize(length * 2, 0);
        }
    }
}

/// `pid (command) S parent ...`; None where it is cut or odd.
fn parse_stat(pid: u32, text: &[u8]) -> Option<(Stat, &[u8])> {
    // A command may hold parentheses and spaces; after its last parenthesis come no more.
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let command = text.get(open + 1..close)?;
    // A cut file does not end with its line.
    let fields = text.get(close + 1..)?.strip_suffix(b"\n")?;
    let mut fields = fields.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    // Of the fields in proc_pid_stat(5), from the state on, which is the third.
    let mut next = 3;
    let mut field = |number: usize| {
        let found = fields.nth(number - next)?;
        next = number + 1;
        std::str::from_utf8(found).ok()
    };
    let mut number = |place| field(place)?.parse::<u64>().ok();
    let parent = u32::try_from(number(4)?).ok()?;
    let kernel = number(9)? & PF_KTHREAD != 0;
    let (minor_faults, major_faults) = (number(10)?, number(12)?);
    let (user, system) = (number(14)?, number(15)?);
    let (threads, start) = (number(20)?, number(22)?);
    let (virtual_bytes, resident_pages) = (number(23)?, number(24)?);
    let wait = number(42)?;
    let stat = Stat {
        pid,
        parent,
        kernel,
        minor_faults,
        major_faults,
        user,
        system,
        wait,
        start,
        threads,
        virtual_bytes,
        resident_pages,
    };
    Some((stat, command))
}

/// The numbers behind `key:` at the beginnings of lines.
fn numbers<const N: usize>(text: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
    // Names in `status` may hold anything; the numbers are ASCII.
    super::super::table::pick(&String::from_utf8_lossy(text), keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a b) R) S 7 42 42 0 -1 4194560 100 200 3 4 50 60 5 6 20 0 9 0 12345 1048576 77 \
        18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 8 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn the_fields_are_those_of_the_manual_whatever_the_command() {
        let (stat, command) = parse_stat(42, STAT.as_bytes()).unwrap();
        assert_eq!(command, b"a b) R");
        assert_eq!((stat.parent, stat.minor_faults, stat.major_faults), (7, 100, 3));
        assert_eq!((stat.user, stat.system, stat.wait), (50, 60, 8));
        assert_eq!(
            (stat.threads, stat.start, stat.virtual_bytes, stat.resident_pages),
            (9, 12_345, 1 << 20, 77)
        );
        assert!(!stat.kernel);
        let kernel = STAT.replace("4194560", "69238880");
        assert!(parse_stat(42, kernel.as_bytes()).unwrap().0.kernel);
    }

    #[test]
    fn a_cut_file_is_no_process() {
        for end in 0..STAT.len() {
            assert_eq!(parse_stat(42, &STAT.as_bytes()[..end]), None, "{:?}", &STAT[..end]);
        }
    }

    #[test]
    fn this_process_reads_as_it_is() {
        let mut folder = Folder::open(Path::new("/proc")).unwrap();
        let pid = std::process::id();
        assert!(folder.pids().unwrap().contains(&pid));
        let own = std::env::current_exe().unwrap();
        assert_eq!(folder.executable(pid).unwrap(), own.file_name().unwrap().to_str().unwrap());
        let (stat, _) = folder.stat(pid).unwrap();
        assert!(stat.threads >= 1 && stat.resident_pages > 0 && !stat.kernel);
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(folder.descriptors(pid).unwrap() >= files.len() as u64);
        assert!(folder.io(pid).unwrap().reads > 0);
        assert!(folder.switches(pid).is_some());
        assert_eq!(folder.stat(u32::MAX), None);
        assert!(folder.executable(2).is_none_or(|name| !name.is_empty()), "kthreadd has none");
    }
}
