//! Room on the mounted file systems of this machine, in bytes and in files, by state; and which of them hang.

use std::sync::Arc;

use super::{
    mounts::{Mark, Mount, Mounts},
    probe::{Answer, Prober, Space, statvfs},
};
use crate::system::{Figure, Options, SnapshotError, select::MountNames};

#[derive(Debug)]
pub(super) struct FileSystems {
    mounts: Mounts,
    prober: Prober,
    /// Mounts that were found covered by another or gone, when last looked.
    covered: Vec<Mark>,
}

impl FileSystems {
    pub(super) fn new(options: &Options) -> Self {
        Self { mounts: Mounts::new(options), prober: Prober::new(Arc::new(statvfs)), covered: Vec::new() }
    }

    /// Without the room of those that do not answer at once.
    pub(super) fn figures(&mut self, names: &MountNames) -> Result<Vec<Figure>, SnapshotError> {
        let mounts = self.mounts.read(names)?;
        let answers = self.prober.ask(&mounts)?;
        let mut rooms = Vec::with_capacity(mounts.len());
        let (mut covered, mut hung) = (Vec::new(), Vec::new());
        for (mount, answer) in mounts.iter().zip(answers) {
            match answer {
                Answer::Room(space) => rooms.push((*mount, space)),
                Answer::Another => covered.push(mount.mark),
                Answer::Hung => hung.push(*mount),
                Answer::None => {}
            }
        }
        let mut figures = figures(&rooms);
        figures
            .extend(hung.into_iter().map(|mount| named(Figure::now("system.filesystem.hung", 1.0), mount)));
        if covered != self.covered {
            self.covered = covered;
            self.mounts.forget();
        }
        Ok(figures)
    }
}

fn named(figure: Figure, mount: &Mount) -> Figure {
    figure
        .with("system.device", mount.source.clone())
        .with("system.filesystem.mountpoint", mount.point.to_string_lossy().into_owned())
        .with("system.filesystem.type", mount.kind.clone())
}

fn figures(rooms: &[(&Mount, Space)]) -> Vec<Figure> {
    let mut figures = Vec::with_capacity(rooms.len() * 7);
    let figure = |name, mount: &Mount, value: u64| {
        let mode = if mount.read_only { "ro" } else { "rw" };
        named(Figure::now(name, value as f64), mount).with("system.filesystem.mode", mode)
    };
    let state = |name, mount: &Mount, (state, value): (&'static str, u64)| {
        figure(name, mount, value).with("system.filesystem.state", state)
    };
    for (mount, space) in rooms {
        // Reserved: free, but root's alone.
        let states = [
            ("used", space.total.saturating_sub(space.free)),
            ("free", space.available.min(space.free)),
            ("reserved", space.free.saturating_sub(space.available)),
        ];
        figures.extend(states.map(|each| state("system.filesystem.usage", mount, each)));
    }
    figures.extend(rooms.iter().map(|(mount, space)| figure("system.filesystem.limit", mount, space.total)));
    let limited = || rooms.iter().filter(|(_, space)| space.inodes > 0);
    for (mount, space) in limited() {
        let free = space.free_inodes.min(space.inodes);
        let states = [("used", space.inodes - free), ("free", free)];
        figures.extend(states.map(|each| state("system.filesystem.inode.usage", mount, each)));
    }
    figures
        .extend(limited().map(|(mount, space)| figure("system.filesystem.inode.limit", mount, space.inodes)));
    figures
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn states_add_up_to_the_limit() {
        let mount = Mount {
            mark: Mark::Mount(1),
            source: "/dev/sda1".to_owned(),
            point: "/".into(),
            path: "/".into(),
            kind: "ext4".to_owned(),
            read_only: true,
            prompt: true,
        };
        let space = Space { total: 100, free: 40, available: 35, inodes: 9, free_inodes: 2 };
        let figures = figures(&[(&mount, space), (&mount, Space { inodes: 0, ..space })]);
        let values: Vec<_> = figures.iter().map(|figure| figure.value).collect();
        assert_eq!(values, [60.0, 35.0, 5.0, 60.0, 35.0, 5.0, 100.0, 100.0, 7.0, 2.0, 9.0]);
        assert_eq!(figures[6].attributes[3], ("system.filesystem.mode", "ro".into()));
    }

    #[test]
    fn a_mount_that_is_gone_is_not_told_with_the_room_of_what_lies_under_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("self")).unwrap();
        let table = |text: &str| fs::write(folder.path().join("self/mountinfo"), text).unwrap();
        // No mount has this number; the path is there.
        table("2147483647 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        let options = Options { proc: folder.path().to_owned(), ..Options::default() };
        let (mut systems, names) = (FileSystems::new(&options), MountNames::default());
        assert_eq!(systems.figures(&names).unwrap(), []);
        table("");
        assert_eq!(systems.figures(&names).unwrap(), []);
        assert_eq!(
            systems.mounts.read(&names).unwrap(),
            [] as [&Mount; 0],
            "the table was read again at once"
        );
    }

    #[test]
    fn a_network_mount_that_hangs_holds_nobody_up_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("self")).unwrap();
        let table = "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 30 0:40 / /net rw - nfs4 server:/export rw\n";
        fs::write(folder.path().join("self/mountinfo"), table).unwrap();
        let options = Options { proc: folder.path().to_owned(), ..Options::default() };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let ask = move |mount: &Mount| {
            if mount.kind == "nfs4" {
                // Until the test ends.
                let _ = held.lock().unwrap().recv();
            }
            Ok(Answer::Room(Space { total: 2, free: 1, available: 1, ..Space::default() }))
        };
        let prober = Prober::impatient(Arc::new(ask));
        let mut systems = FileSystems { prober, ..FileSystems::new(&options) };
        let select = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            crate::system::select::mounts("filesystem", &pairs).unwrap()
        };
        let points = |figures: Vec<Figure>, name: &str| -> Vec<crate::system::Value> {
            let figures = figures.into_iter().filter(|figure| figure.name == name);
            figures.map(|figure| figure.attributes[1].1.clone()).collect()
        };
        let by_default = systems.figures(&MountNames::default()).unwrap();
        assert_eq!(points(by_default, "system.filesystem.limit"), ["/".to_owned().into()], "it is not asked");
        let both = select(&[("include_type", "ext4"), ("include_type", "nfs*")]);
        for _ in 0..2 {
            let told = systems.figures(&both).unwrap();
            assert_eq!(points(told, "system.filesystem.limit"), ["/".to_owned().into()]);
        }
        let told = systems.figures(&both).unwrap();
        assert_eq!(points(told, "system.filesystem.hung"), ["/net".to_owned().into()]);
        let told = systems.figures(&MountNames::default()).unwrap();
        assert_eq!(points(told, "system.filesystem.hung"), [], "not asked for");
        drop(release);
        while points(systems.figures(&both).unwrap(), "system.filesystem.limit").len() < 2 {
            std::thread::yield_now();
        }
    }
}
