//! Where a detector looks: the host's files, the agent's own, and the environment.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The most that is read of one file; cloud-init's is the largest, with some tens of KiB.
const MAX_FILE: u64 = 1 << 20;

/// Where a detector looks.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'s> {
    /// The host's root, which in a container is mounted elsewhere.
    pub(crate) root: &'s Path,
    /// The agent's own root.
    pub(crate) own: &'s Path,
    /// The agent's environment.
    pub(crate) variable: &'s dyn Fn(&str) -> Option<String>,
}

impl Surroundings<'_> {
    /// Those of this process, with the host's files under `root`.
    pub(crate) fn of_this_process(root: &Path) -> Surroundings<'_> {
        Surroundings { root, own: Path::new("/"), variable: &|name| std::env::var(name).ok() }
    }

    /// Whether the host's files are where the agent's own are.
    pub(crate) fn is_on_host(&self) -> bool {
        self.root == self.own
    }

    /// A file of the host, trimmed; none if it cannot be read or is empty.
    pub(crate) fn host_file(&self, path: &str) -> Option<String> {
        read(&under(self.root, path))
    }

    /// A file of the agent's own container.
    pub(crate) fn own_file(&self, path: &str) -> Option<String> {
        read(&under(self.own, path))
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }
}

fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    // Who may not read a file does not know what stands there: firmware's serial numbers are root's alone.
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    // A device tree's texts end with a zero byte.
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// Made-up machines for the tests of detectors.
#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    pub(crate) type Attributes = BTreeMap<&'static str, String>;

    /// What the detector finds where these files (path, content) and variables are.
    pub(crate) fn found(
        detect: impl Fn(&Surroundings<'_>) -> Attributes,
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> BTreeMap<&'static str, String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = under(folder.path(), path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        detect(&Surroundings { root: folder.path(), own: folder.path(), variable: &variable })
    }

    /// As pairs, for comparing.
    pub(crate) fn pairs(attributes: &Attributes) -> Vec<(&'static str, &str)> {
        attributes.iter().map(|(key, value)| (*key, value.as_str())).collect()
    }

    #[test]
    fn a_file_is_read_trimmed_bounded_and_whatever_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, b" Raspberry Pi\0\n").unwrap();
        assert_eq!(read(&path).as_deref(), Some("Raspberry Pi"));
        fs::write(&path, [0xff, b'a']).unwrap();
        assert_eq!(read(&path).as_deref(), Some("\u{fffd}a"));
        fs::write(&path, " \n").unwrap();
        assert_eq!(read(&path), None);
        fs::write(&path, "a".repeat(2 << 20)).unwrap();
        assert_eq!(read(&path).map(|text| text.len()), Some(1 << 20));
        assert_eq!(read(folder.path()), None, "a folder");
    }
}
