//! `/sys/class/net`: whether an interface is up, and how fast its link is.
//!
//! Some drivers ask their hardware for the speed, under the kernel's one lock of all networking: so it is paced,
//! and has a floor, since a link that flaps faster shows in the errors.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::system::pace::Paced;

/// How often links are read at most.
const FLOOR: Duration = Duration::from_secs(5);

/// One interface's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) up: bool,
    /// Bits a second; none where the driver does not know (a tunnel, or no cable).
    pub(super) speed: Option<u64>,
}

/// No files are kept open: a host of many containers has more interfaces than a process may have files.
#[derive(Debug)]
pub(super) struct Links {
    folder: PathBuf,
    links: Paced<HashMap<String, Option<Link>>>,
}

impl Links {
    pub(super) fn new(sys: &Path) -> Self {
        Self { folder: sys.join("class/net"), links: Paced::new(FLOOR) }
    }

    /// At least those of `interfaces`, none where sysfs knows nothing of one.
    pub(super) fn read<'n>(
        &mut self,
        interfaces: impl Iterator<Item = &'n str> + Clone,
    ) -> &HashMap<String, Option<Link>> {
        if self.links.kept().is_some_and(|links| !interfaces.clone().all(|name| links.contains_key(name))) {
            // One came: it is not to wait until the others are due.
            self.links.forget();
        }
        let folder = &self.folder;
        let links = self.links.get(|| {
            Ok::<_, Infallible>(interfaces.map(|name| (name.to_owned(), link(folder, name))).collect())
        });
        let Ok(links) = links;
        links
    }
}

fn link(folder: &Path, interface: &str) -> Option<Link> {
    // A name is one of a file, but for those that lead elsewhere.
    if interface.contains('/') || interface.starts_with('.') {
        return None;
    }
    let folder = folder.join(interface);
    let read = |name| fs::read_to_string(folder.join(name)).ok();
    let up = match read("operstate")?.trim() {
        "up" => true,
        // Drivers without a notion of it (loopback, tunnels): what can carry is up. The file of an interface
        // that was set down can't be read.
        "unknown" => read("carrier").is_some_and(|text| text.trim() == "1"),
        _ => false,
    };
    // Negative where it is not known, unreadable where there is none, in Mbit/s.
    let megabits = read("speed").and_then(|text| text.trim().parse::<i64>().ok());
    // Old drivers print the "unknown" of 32 bits without its sign.
    let known = megabits.filter(|megabits| *megabits > 0 && *megabits != i64::from(u32::MAX));
    let speed = known.and_then(|megabits| megabits.unsigned_abs().checked_mul(1_000_000));
    Some(Link { up, speed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_up_or_not_and_their_speed_is_known_or_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |interface: &str, files: &[(&str, &str)]| {
            let path = folder.path().join("class/net").join(interface);
            fs::create_dir_all(&path).unwrap();
            for (name, text) in files {
                fs::write(path.join(name), text).unwrap();
            }
        };
        write("eth0", &[("operstate", "up\n"), ("carrier", "1\n"), ("speed", "10000\n")]);
        write("eth1", &[("operstate", "down\n"), ("speed", "-1\n")]);
        write("eth2", &[("operstate", "lowerlayerdown\n"), ("carrier", "0\n"), ("speed", "4294967295\n")]);
        write("lo", &[("operstate", "unknown\n"), ("carrier", "1\n")]);
        write("tun0", &[("operstate", "unknown\n")]);
        let mut links = Links::new(folder.path());
        let names = ["eth0", "eth1", "eth2", "lo", "tun0", "gone", "../net/eth0"];
        let told = links.read(names.into_iter());
        let link = |up, speed| Some(Link { up, speed });
        assert_eq!(told["eth0"], link(true, Some(10_000_000_000)));
        assert_eq!(told["eth1"], link(false, None));
        assert_eq!(told["eth2"], link(false, None));
        assert_eq!(told["lo"], link(true, None));
        assert_eq!(told["tun0"], link(false, None));
        assert_eq!((told["gone"], told["../net/eth0"]), (None, None));
    }

    #[test]
    fn an_interface_that_comes_is_told_at_once_and_one_that_goes_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("class/net/eth0");
        let mut links = Links::new(folder.path());
        assert!(links.read(std::iter::empty()).is_empty());
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("operstate"), "up\n").unwrap();
        assert!(links.read(["eth0"].into_iter())["eth0"].unwrap().up);
        fs::remove_dir_all(&path).unwrap();
        links.links.forget();
        assert_eq!(links.read(["eth0"].into_iter())["eth0"], None);
    }

    #[test]
    fn loopback_is_up_and_has_no_speed() {
        let mut links = Links::new(Path::new("/sys"));
        // Absent where a sandbox has no sysfs.
        if let Some(lo) = links.read(["lo"].into_iter())["lo"] {
            assert_eq!((lo.up, lo.speed), (true, None));
        }
    }
}
