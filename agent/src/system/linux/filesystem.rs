//! Room on the mounted file systems of this machine, by state.

use std::{path::Path, sync::Arc};

use super::{
    mounts::{Mount, Mounts},
    probe::{Prober, Space},
    proc_file::ProcFile,
};
use crate::system::{Figure, SnapshotError};

#[derive(Debug)]
pub(super) struct FileSystems {
    mounts: Mounts,
    prober: Prober,
}

impl FileSystems {
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            mounts: Mounts::new(ProcFile::new(proc.join("self/mountinfo"))),
            prober: Prober::new(Arc::new(super::probe::statvfs)),
        }
    }

    /// Without those that do not answer at once.
    pub(super) fn figures(&mut self) -> Result<Vec<Figure>, SnapshotError> {
        let mounts = self.mounts.read()?;
        let spaces = self.prober.ask(mounts)?;
        let answered: Vec<_> =
            mounts.iter().zip(spaces).filter_map(|(mount, space)| Some((mount, space?))).collect();
        Ok(figures(&answered))
    }
}

fn figures(answered: &[(&Mount, Space)]) -> Vec<Figure> {
    let mut figures = Vec::with_capacity(answered.len() * 4);
    let named = |name, mount: &Mount, value: u64| {
        Figure::now(name, value as f64)
            .with("system.device", mount.source.clone())
            .with("system.filesystem.mountpoint", mount.point.clone())
            .with("system.filesystem.type", mount.kind.clone())
            .with("system.filesystem.mode", if mount.read_only { "ro" } else { "rw" })
    };
    for (mount, space) in answered {
        // Reserved: free, but root's alone.
        let states = [
            ("used", space.total.saturating_sub(space.free)),
            ("free", space.available.min(space.free)),
            ("reserved", space.free.saturating_sub(space.available)),
        ];
        for (state, bytes) in states {
            figures
                .push(named("system.filesystem.usage", mount, bytes).with("system.filesystem.state", state));
        }
    }
    figures
        .extend(answered.iter().map(|(mount, space)| named("system.filesystem.limit", mount, space.total)));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_add_up_to_the_limit() {
        let mount = Mount {
            source: "/dev/sda1".to_owned(),
            point: "/".to_owned(),
            kind: "ext4".to_owned(),
            read_only: true,
        };
        let figures = figures(&[(&mount, Space { total: 100, free: 40, available: 35 })]);
        let values: Vec<_> = figures.iter().map(|figure| figure.value).collect();
        assert_eq!(values, [60.0, 35.0, 5.0, 100.0]);
        assert_eq!(figures[3].attributes[3], ("system.filesystem.mode", "ro".into()));
    }
}
