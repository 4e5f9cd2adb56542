//! `/proc/vmstat`, which two parts need: some two hundred lines, of which five are wanted.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{proc_file::ProcFile, table::pick};
use crate::system::SnapshotError;

/// A reading this fresh serves the other part too.
const FRESH: Duration = Duration::from_millis(50);

/// Counts since boot; none for what the kernel does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) faults: Option<u64>,
    /// Among them, those that waited for a disk.
    pub(super) major_faults: Option<u64>,
    /// Pages.
    pub(super) swapped_in: Option<u64>,
    pub(super) swapped_out: Option<u64>,
    /// Processes that the kernel ended for want of memory, in cgroups too; since Linux 4.13.
    pub(super) oom_kills: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Vmstat {
    file: ProcFile,
    read: Option<(Instant, Counts)>,
}

impl Vmstat {
    pub(super) fn new(proc: &Path) -> Self {
        Self { file: ProcFile::new(proc.join("vmstat")), read: None }
    }

    /// As of now, or of at most 50 ms ago.
    pub(super) fn read(&mut self) -> Result<Counts, SnapshotError> {
        if let Some((at, counts)) = self.read
            && at.elapsed() <= FRESH
        {
            return Ok(counts);
        }
        self.read = None;
        let [faults, major_faults, swapped_in, swapped_out, oom_kills] =
            pick(&self.file.text()?, ["pgfault", "pgmajfault", "pswpin", "pswpout", "oom_kill"]);
        let counts = Counts { faults, major_faults, swapped_in, swapped_out, oom_kills };
        if counts == Counts::default() {
            return Err(self.file.malformed("neither page faults nor swapped pages in it"));
        }
        self.read = Some((Instant::now(), counts));
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_served_by_one_reading_and_a_kernel_may_count_less() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmstat");
        std::fs::write(&path, "pgfault 7\npgmajfault 2\noom_kill 1\noom_kill_x 9\n").unwrap();
        let mut vmstat = Vmstat::new(folder.path());
        let counts = vmstat.read().unwrap();
        assert_eq!((counts.faults, counts.major_faults, counts.oom_kills), (Some(7), Some(2), Some(1)));
        assert_eq!(counts.swapped_in, None);
        std::fs::write(&path, "nothing\n").unwrap();
        assert_eq!(vmstat.read().unwrap(), counts);
        vmstat.read = None;
        assert!(vmstat.read().unwrap_err().to_string().contains("vmstat"));
        assert!(vmstat.read().is_err(), "what failed is not kept");
    }
}
