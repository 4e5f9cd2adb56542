//! Swap by device, page faults, pages swapped in and out.
//!
//! Operations come as `major` alone: a minor fault brings no page in and puts none out. (The Collector's
//! hostmetrics receiver gives `pgpgin` as minor operations, which are KiB of any disk's I/O.)

use std::path::Path;

use super::{mounts::unescape, proc_file::ProcFile, vmstat::Counts};
use crate::system::Figure;

#[derive(Debug)]
pub(super) struct Paging {
    swaps: ProcFile,
}

impl Paging {
    pub(super) fn new(proc: &Path) -> Self {
        Self { swaps: ProcFile::new(proc.join("swaps")) }
    }

    pub(super) fn figures(&mut self, counts: Counts, boot_ns: u64) -> Vec<Figure> {
        let Counts { faults, major_faults, swapped_in, swapped_out, oom_kills: _ } = counts;
        let mut figures = Vec::with_capacity(8);
        // A kernel without swap has no such file.
        if let Ok(text) = self.swaps.text() {
            figures.extend(swaps(&text));
        }
        let fault = |kind, count: u64| {
            Figure::since("system.paging.faults", boot_ns, count as f64)
                .with("system.paging.fault.type", kind)
        };
        if let (Some(faults), Some(major)) = (faults, major_faults) {
            figures.push(fault("major", major));
            figures.push(fault("minor", faults.saturating_sub(major)));
        }
        // Absent where the kernel is built without swap.
        for (direction, count) in [("in", swapped_in), ("out", swapped_out)] {
            figures.extend(count.map(|count| {
                Figure::since("system.paging.operations", boot_ns, count as f64)
                    .with("system.paging.fault.type", "major")
                    .with("system.paging.direction", direction)
            }));
        }
        figures
    }
}

/// `Filename Type Size Used Priority`, sizes in KiB.
fn swaps(text: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(device), Some(_kind)) = (fields.next(), fields.next()) else { continue };
        let mut size = || fields.next()?.parse::<u64>().ok();
        let (Some(size), Some(used)) = (size(), size()) else { continue };
        let device = unescape(device);
        let mut state = |state, kib: u64| {
            figures.push(
                Figure::now("system.paging.usage", kib as f64 * 1024.0)
                    .with("system.paging.state", state)
                    .with("system.device", device.clone()),
            );
        };
        state("used", used);
        state("free", size.saturating_sub(used));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_told_by_device_and_state() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/dm-1                               partition\t1000\t\t400\t\t-2\n\
            /swap\\040file                           file\t\t10\t\t0\t\t-3\n";
        let figures = swaps(text);
        let told: Vec<_> = figures.iter().map(|figure| (figure.value, figure.attributes.clone())).collect();
        let of = |state: &'static str, device: &str| {
            vec![("system.paging.state", state.into()), ("system.device", device.to_owned().into())]
        };
        assert_eq!(
            told,
            [
                (400.0 * 1024.0, of("used", "/dev/dm-1")),
                (600.0 * 1024.0, of("free", "/dev/dm-1")),
                (0.0, of("used", "/swap file")),
                (10.0 * 1024.0, of("free", "/swap file")),
            ]
        );
    }
}
