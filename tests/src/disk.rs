//! Small file systems, for tests of full disks.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Whether the tests may mount file systems.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A small file system of its own, where the tests may mount one; gone when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs of this size.
    ///
    /// # Panics
    /// When that is not allowed: ask [`is_root`] first.
    pub fn mount(at: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(at).expect("a folder");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(at)
            .output()
            .expect("mount starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}: these tests need root");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever a failed test left running may hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
