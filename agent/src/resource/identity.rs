//! Whether this is still the machine that the data directory was made on.
//!
//! Two machines with one machine-id are one to a backend: their figures run into each other, which nobody finds
//! quickly. It comes of copied disks. So the machine-id and a fingerprint of the hardware are kept beside the data, as
//! digests (both may be taken for secrets), and compared at each start.
//!
//! What firmware tells of the hardware is often for root alone. Where it is not known, it is not compared; once it
//! is, it is kept.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Surroundings, host};

/// Within the data directory.
const FILE: &str = "identity.json";

/// What names one piece of hardware: a virtual machine's id or a board's number. Not the network's addresses, which
/// come and go with their cards.
const HARDWARE: [&str; 4] = [
    "/sys/class/dmi/id/product_uuid",
    "/sys/class/dmi/id/board_serial",
    "/sys/class/dmi/id/product_serial",
    "/proc/device-tree/serial-number",
];

/// What boards say that have no number.
const NO_NUMBERS: [&str; 6] =
    ["none", "not specified", "default string", "to be filled by o.e.m.", "system serial number", "0"];

/// Digests, of what is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    machine_id: Option<String>,
    hardware: Option<String>,
}

/// What comparing came to.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Nothing to say; keep this.
    Same(Identity),
    /// The machine was given another id: keep this.
    Renewed(Identity),
    /// One id on two machines.
    Cloned,
    /// The data came from another machine.
    Moved,
}

/// Compares this machine with the one that `data_dir` was made on, and keeps what is new. Answers what an operator
/// should know.
pub(crate) fn check(data_dir: &Path, around: &Surroundings<'_>) -> Option<String> {
    let path = data_dir.join(FILE);
    let now = Identity::of(around);
    let kept = match read(&path) {
        Ok(kept) => kept,
        Err(error) => {
            return Some(format!(
                "{}: {error}; it is not known whether this is still the same machine: delete the file, and it is \
                 made anew",
                path.display()
            ));
        }
    };
    let keep = match compare(kept.as_ref(), &now) {
        Finding::Same(keep) => keep,
        Finding::Renewed(keep) => {
            tracing::info!(
                "this machine has another machine-id than before, and so another host.id from now on"
            );
            keep
        }
        Finding::Cloned => {
            return Some(format!(
                "this machine-id was seen on other hardware before: if this is a copy of another machine, both are one \
                 host to every backend. On the copy, remove /etc/machine-id, run `systemd-machine-id-setup`, and start \
                 with an empty data_dir. If only the board was replaced, delete {}",
                path.display()
            ));
        }
        Finding::Moved => {
            return Some(format!(
                "data_dir {} was made on another machine: what waits in it belongs to that one, and is sent a second \
                 time if it was copied. Give every machine its own data_dir. If this is the same machine with a new \
                 machine-id, delete {}",
                data_dir.display(),
                path.display()
            ));
        }
    };
    if kept.as_ref() == Some(&keep) {
        return None;
    }
    let written = write(&path, &keep);
    written.err().map(|error| format!("{}: {error}; a cloned machine will not be noticed", path.display()))
}

fn compare(kept: Option<&Identity>, now: &Identity) -> Finding {
    let Some(kept) = kept else { return Finding::Same(now.clone()) };
    let same =
        |kept: &Option<String>, now: &Option<String>| kept.as_ref().zip(now.as_ref()).map(|(k, n)| k == n);
    let all = Identity {
        machine_id: now.machine_id.clone().or_else(|| kept.machine_id.clone()),
        hardware: now.hardware.clone().or_else(|| kept.hardware.clone()),
    };
    match (same(&kept.machine_id, &now.machine_id), same(&kept.hardware, &now.hardware)) {
        (Some(true), Some(false)) => Finding::Cloned,
        (Some(false), Some(true)) => Finding::Renewed(all),
        (Some(false), _) => Finding::Moved,
        (None | Some(true), _) => Finding::Same(all),
    }
}

impl Identity {
    fn of(around: &Surroundings<'_>) -> Self {
        let number = |text: &String| !NO_NUMBERS.contains(&text.to_ascii_lowercase().as_str());
        let numbers: Vec<_> =
            HARDWARE.iter().filter_map(|file| around.host_file(file)).filter(number).collect();
        Self {
            machine_id: host::machine_id(around).map(|id| digest("machine-id", &id)),
            hardware: (!numbers.is_empty()).then(|| digest("hardware", &numbers.join("\n"))),
        }
    }
}

/// With a word before, so that it is no digest of the same text that anybody else makes.
fn digest(what: &str, text: &str) -> String {
    let digest = Sha256::digest(format!("whimbrel {what}\n{text}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> io::Result<Option<Identity>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all.
fn write(path: &Path, identity: &Identity) -> io::Result<()> {
    let unready: PathBuf = path.with_extension("json.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unready)?;
    serde_json::to_writer(&mut file, identity)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&unready, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new(id: &str, uuid: &str) -> Self {
            let machine = Self { root: tempfile::tempdir().unwrap() };
            machine.put("etc/machine-id", id);
            machine.put("sys/class/dmi/id/product_uuid", uuid);
            machine
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn check(&self, data_dir: &Path) -> Option<String> {
            check(data_dir, &Surroundings::of_this_process(self.root.path()))
        }
    }

    #[test]
    fn the_same_machine_says_nothing_and_keeps_no_id_in_the_clear() {
        let data = tempfile::tempdir().unwrap();
        let machine = Machine::new("4c4c4544004b3510", "UUID-1");
        assert_eq!((machine.check(data.path()), machine.check(data.path())), (None, None));
        let kept = fs::read_to_string(data.path().join(FILE)).unwrap();
        assert!(!kept.contains("4c4c4544") && !kept.contains("UUID"), "{kept}");
        assert!(kept.contains("machine_id") && kept.contains("hardware"), "{kept}");
    }

    #[test]
    fn a_cloned_id_is_warned_of_at_every_start_until_it_is_seen_to() {
        let data = tempfile::tempdir().unwrap();
        Machine::new("id", "uuid-1").check(data.path());
        let clone = Machine::new("id", "uuid-2");
        for _ in 0..2 {
            let text = clone.check(data.path()).unwrap();
            assert!(text.contains("systemd-machine-id-setup") && text.contains(FILE), "{text}");
        }
        fs::remove_file(data.path().join(FILE)).unwrap();
        assert_eq!(clone.check(data.path()), None, "seen to");
    }

    #[test]
    fn a_copied_data_dir_is_warned_of() {
        let data = tempfile::tempdir().unwrap();
        Machine::new("id-1", "uuid-1").check(data.path());
        let other = Machine::new("id-2", "uuid-2");
        for _ in 0..2 {
            let text = other.check(data.path()).unwrap();
            assert!(text.contains("made on another machine") && text.contains("its own data_dir"), "{text}");
        }
    }

    #[test]
    fn an_id_that_was_renewed_on_the_same_hardware_is_kept() {
        let data = tempfile::tempdir().unwrap();
        Machine::new("id-1", "uuid-1").check(data.path());
        let renewed = Machine::new("id-2", "uuid-1");
        assert_eq!(renewed.check(data.path()), None);
        assert!(
            Machine::new("id-2", "uuid-2").check(data.path()).unwrap().contains("systemd-machine-id-setup")
        );
    }

    #[test]
    fn hardware_that_is_not_told_is_not_compared_and_kept_once_it_is() {
        let data = tempfile::tempdir().unwrap();
        let untold = Machine::new("id", "");
        untold.put("sys/class/dmi/id/board_serial", "Default string");
        assert_eq!(untold.check(data.path()), None);
        let told = Machine::new("id", "uuid-1");
        assert_eq!(told.check(data.path()), None);
        assert_eq!(untold.check(data.path()), None, "not root this time");
        assert!(Machine::new("id", "uuid-2").check(data.path()).is_some(), "the first number was kept");
        assert!(
            Machine::new("id-2", "").check(data.path()).is_some(),
            "another id, and nothing to excuse it"
        );
        assert_eq!(Machine::new("", "uuid-1").check(data.path()), None, "a container without an id");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named_with_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "{").unwrap();
        let text = Machine::new("id", "uuid").check(data.path()).unwrap();
        assert!(text.contains(FILE) && text.contains("delete the file"), "{text}");
        let text = Machine::new("id", "uuid").check(Path::new("/proc/nowhere")).unwrap();
        assert!(text.contains("cloned machine will not be noticed"), "{text}");
    }
}
