//! `/proc/meminfo`: what memory is used for, slab and huge pages included.

use std::path::Path;

use procfs::{FromBufRead, Meminfo};

use super::proc_file::ProcFile;
use crate::system::{Figure, SnapshotError};

#[derive(Debug)]
pub(super) struct Memory {
    file: ProcFile,
}

impl Memory {
    pub(super) fn new(proc: &Path) -> Self {
        Self { file: ProcFile::new(proc.join("meminfo")) }
    }

    pub(super) fn figures(&mut self) -> Result<Vec<Figure>, SnapshotError> {
        let parsed = Meminfo::from_buf_read(self.file.read()?);
        parsed.map(|info| figures(&info)).map_err(|error| self.file.malformed(error.to_string()))
    }
}

fn figures(info: &Meminfo) -> Vec<Figure> {
    let bytes = |count: u64| count as f64;
    let reclaimable = info.s_reclaimable.unwrap_or(0);
    // As `free` does: the page cache and what the slab gives back on demand; the rest is used. The kernel's
    // counts are not of one instant, so they are cut where they would say more than there is.
    let mut left = info.mem_total;
    let mut take = |count: u64| {
        let taken = count.min(left);
        left -= taken;
        taken
    };
    let free = take(info.mem_free);
    let buffers = take(info.buffers);
    let cached = take(info.cached.saturating_add(reclaimable));
    let used = left;

    let state =
        |state, count| Figure::now("system.memory.usage", bytes(count)).with("system.memory.state", state);
    let mut figures = vec![
        state("used", used),
        state("free", free),
        state("buffers", buffers),
        state("cached", cached),
        Figure::now("system.memory.limit", bytes(info.mem_total)),
    ];
    let known = |name, count: Option<u64>| count.map(|count| Figure::now(name, bytes(count)));
    figures.extend(known("system.memory.linux.available", info.mem_available));
    figures.extend(known("system.memory.linux.shared", info.shmem));
    let slab = |state, count: Option<u64>| {
        let figure = known("system.memory.linux.slab.usage", count);
        figure.map(|figure| figure.with("system.memory.linux.slab.state", state))
    };
    figures.extend(slab("reclaimable", info.s_reclaimable));
    figures.extend(slab("unreclaimable", info.s_unreclaim));
    figures.extend(huge_pages(info).unwrap_or_default());
    figures
}

/// The pages of the default size, in pages; nothing where the kernel has none.
fn huge_pages(info: &Meminfo) -> Option<Vec<Figure>> {
    let (total, free) = (info.hugepages_total?, info.hugepages_free?);
    let pages = |name, count: u64| Figure::now(name, count as f64);
    let state = |state, count| {
        pages("system.memory.linux.hugepages.usage", count).with("system.memory.linux.hugepages.state", state)
    };
    let mut figures = vec![
        pages("system.memory.linux.hugepages.limit", total),
        state("used", total.saturating_sub(free)),
        state("free", free),
    ];
    let known = |name, count: Option<u64>| count.map(|count| pages(name, count));
    figures.extend(known("system.memory.linux.hugepages.reserved", info.hugepages_rsvd));
    figures.extend(known("system.memory.linux.hugepages.surplus", info.hugepages_surp));
    figures.extend(known("system.memory.linux.hugepages.page_size", info.hugepagesize));
    Some(figures)
}
