//! `/proc/meminfo`: what memory is used for, slab and huge pages included, what waits to be written and what is
//! promised; and how often the kernel ended a process for want of it.

use std::path::Path;

use super::{proc_file::ProcFile, table::pick};
use crate::system::{Figure, SnapshotError};

#[derive(Debug)]
pub(super) struct Memory {
    file: ProcFile,
}

impl Memory {
    pub(super) fn new(proc: &Path) -> Self {
        Self { file: ProcFile::new(proc.join("meminfo")) }
    }

    /// With `oom_kills` since boot, where the kernel counts them.
    pub(super) fn figures(
        &mut self,
        oom_kills: Option<u64>,
        boot_ns: u64,
    ) -> Result<Vec<Figure>, SnapshotError> {
        let figures = figures(&self.file.text()?);
        let mut figures = figures.ok_or_else(|| self.file.malformed("no line `MemTotal` or `MemFree`"))?;
        figures.extend(
            oom_kills.map(|count| Figure::since("system.memory.linux.oom_kills", boot_ns, count as f64)),
        );
        Ok(figures)
    }
}

/// What is not told is left out; without the first two there is nothing to tell.
fn figures(meminfo: &str) -> Option<Vec<Figure>> {
    let [total, free, buffers, cached, reclaimable, unreclaimable] =
        pick(meminfo, ["MemTotal", "MemFree", "Buffers", "Cached", "SReclaimable", "SUnreclaim"]);
    let total = total?;
    // As `free` does: the page cache and what the slab gives back on demand; the rest is used. The kernel's
    // counts are not of one instant, so they are cut where they would say more than there is.
    let mut left = total;
    let mut take = |kib: u64| {
        let taken = kib.min(left);
        left -= taken;
        taken
    };
    let free = take(free?);
    let buffers = take(buffers.unwrap_or(0));
    let cached = take(cached.unwrap_or(0).saturating_add(reclaimable.unwrap_or(0)));
    let used = left;

    let bytes = |name, kib: u64| Figure::now(name, kib as f64 * 1024.0);
    let state = |state, kib| bytes("system.memory.usage", kib).with("system.memory.state", state);
    let mut figures = Vec::with_capacity(20);
    figures.extend([
        state("used", used),
        state("free", free),
        state("buffers", buffers),
        state("cached", cached),
        bytes("system.memory.limit", total),
    ]);
    const OTHERS: [(&str, &str); 6] = [
        ("MemAvailable", "system.memory.linux.available"),
        ("Shmem", "system.memory.linux.shared"),
        ("Dirty", "system.memory.linux.dirty"),
        ("Writeback", "system.memory.linux.writeback"),
        ("Committed_AS", "system.memory.linux.committed"),
        ("CommitLimit", "system.memory.linux.commit_limit"),
    ];
    let others = pick(meminfo, OTHERS.map(|(key, _)| key));
    figures.extend(OTHERS.into_iter().zip(others).filter_map(|((_, name), kib)| Some(bytes(name, kib?))));
    let slab = |state, kib: Option<u64>| {
        let figure = kib.map(|kib| bytes("system.memory.linux.slab.usage", kib));
        figure.map(|figure| figure.with("system.memory.linux.slab.state", state))
    };
    figures.extend(slab("reclaimable", reclaimable));
    figures.extend(slab("unreclaimable", unreclaimable));
    figures.extend(huge_pages(meminfo).unwrap_or_default());
    Some(figures)
}

/// The pages of the default size, in pages; nothing where the kernel has none.
fn huge_pages(meminfo: &str) -> Option<Vec<Figure>> {
    let [total, free, reserved, surplus, size] = pick(
        meminfo,
        ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp", "Hugepagesize"],
    );
    let (total, free) = (total?, free?);
    let pages = |name, count: u64| Figure::now(name, count as f64);
    let state = |state, count| {
        pages("system.memory.linux.hugepages.usage", count).with("system.memory.linux.hugepages.state", state)
    };
    let mut figures = vec![
        pages("system.memory.linux.hugepages.limit", total),
        state("used", total.saturating_sub(free)),
        state("free", free),
    ];
    figures.extend(reserved.map(|count| pages("system.memory.linux.hugepages.reserved", count)));
    figures.extend(surplus.map(|count| pages("system.memory.linux.hugepages.surplus", count)));
    figures
        .extend(size.map(|kib| Figure::now("system.memory.linux.hugepages.page_size", kib as f64 * 1024.0)));
    Some(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_add_up_even_if_the_kernel_counts_more_than_there_is() {
        let text = "MemTotal: 100 kB\nMemFree: 60 kB\nBuffers: 30 kB\nCached: 20 kB\nSReclaimable: 5 kB\n\
                    Dirty: 4 kB\nWriteback: 3 kB\nWritebackTmp: 9 kB\nCommitLimit: 80 kB\nCommitted_AS: 120 kB\n";
        let told = figures(text).unwrap();
        let values: Vec<_> = told.iter().map(|figure| figure.value / 1024.0).collect();
        assert_eq!(values, [0.0, 60.0, 30.0, 10.0, 100.0, 4.0, 3.0, 120.0, 80.0, 5.0]);
        assert_eq!(figures("MemFree: 60 kB\n"), None);
    }

    #[test]
    fn huge_pages_are_pages_and_their_size_is_bytes() {
        let text =
            "MemTotal: 1 kB\nMemFree: 1 kB\nHugePages_Total: 8\nHugePages_Free: 5\nHugepagesize: 2048 kB\n";
        let told = figures(text).unwrap();
        let value = |name: &str| told.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(value("system.memory.linux.hugepages.usage"), 3.0);
        assert_eq!(value("system.memory.linux.hugepages.limit"), 8.0);
        assert_eq!(value("system.memory.linux.hugepages.page_size"), 2_097_152.0);
    }
}
