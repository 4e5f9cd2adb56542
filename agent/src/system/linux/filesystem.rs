//! Room on the mounted file systems of this machine, by state.

use std::{path::Path, sync::Arc};

use super::{
    mounts::{Mount, Mounts},
    probe::{Answer, Prober, Space, statvfs},
};
use crate::system::{Figure, SnapshotError};

#[derive(Debug)]
pub(super) struct FileSystems {
    mounts: Mounts,
    prober: Prober,
    /// Mounts that were found covered by another or gone, when last looked.
    covered: Vec<u64>,
}

impl FileSystems {
    pub(super) fn new(proc: &Path) -> Self {
        Self { mounts: Mounts::new(proc), prober: Prober::new(Arc::new(statvfs)), covered: Vec::new() }
    }

    /// Without those that do not answer at once.
    pub(super) fn figures(&mut self) -> Result<Vec<Figure>, SnapshotError> {
        let mounts = self.mounts.read()?;
        let answers = self.prober.ask(mounts)?;
        let mut rooms = Vec::with_capacity(mounts.len());
        let mut covered = Vec::new();
        for (mount, answer) in mounts.iter().zip(answers) {
            match answer {
                Answer::Room(space) => rooms.push((mount, space)),
                Answer::Another => covered.push(mount.id),
                Answer::None => {}
            }
        }
        let figures = figures(&rooms);
        if covered != self.covered {
            self.covered = covered;
            self.mounts.forget();
        }
        Ok(figures)
    }
}

fn figures(rooms: &[(&Mount, Space)]) -> Vec<Figure> {
    let mut figures = Vec::with_capacity(rooms.len() * 4);
    let named = |name, mount: &Mount, bytes: u64| {
        Figure::now(name, bytes as f64)
            .with("system.device", mount.source.clone())
            .with("system.filesystem.mountpoint", mount.point.to_string_lossy().into_owned())
            .with("system.filesystem.type", mount.kind.clone())
            .with("system.filesystem.mode", if mount.read_only { "ro" } else { "rw" })
    };
    for (mount, space) in rooms {
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
    figures.extend(rooms.iter().map(|(mount, space)| named("system.filesystem.limit", mount, space.total)));
    figures
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn states_add_up_to_the_limit() {
        let mount = Mount {
            id: 1,
            source: "/dev/sda1".to_owned(),
            point: "/".into(),
            kind: "ext4".to_owned(),
            read_only: true,
            prompt: true,
        };
        let figures = figures(&[(&mount, Space { total: 100, free: 40, available: 35 })]);
        let values: Vec<_> = figures.iter().map(|figure| figure.value).collect();
        assert_eq!(values, [60.0, 35.0, 5.0, 100.0]);
        assert_eq!(figures[3].attributes[3], ("system.filesystem.mode", "ro".into()));
    }

    #[test]
    fn a_mount_that_is_gone_is_not_told_with_the_room_of_what_lies_under_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("self")).unwrap();
        let table = |text: &str| fs::write(folder.path().join("self/mountinfo"), text).unwrap();
        // No mount has this number; the path is there.
        table("2147483647 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        let mut systems = FileSystems::new(folder.path());
        assert_eq!(systems.figures().unwrap(), []);
        table("");
        assert_eq!(systems.figures().unwrap(), []);
        assert_eq!(systems.mounts.read().unwrap(), [], "the table was read again at once");
    }
}
