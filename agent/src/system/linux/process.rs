//! How many processes there are, by state, and how many there have been.
//!
//! The states are in a file a process; the count is paced. Processes in detail are another part.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::system::{Figure, SnapshotError, pace::Paced};

const STATES: [&str; 4] = ["running", "sleeping", "stopped", "defunct"];

type Counts = [u64; STATES.len()];

#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    counts: Paced<Counts>,
}

impl Processes {
    pub(super) fn new(proc: &Path) -> Self {
        Self { proc: proc.to_owned(), counts: Paced::new(Duration::ZERO) }
    }

    pub(super) fn figures(&mut self, created: u64, boot_ns: u64) -> Result<Vec<Figure>, SnapshotError> {
        let mut figures = vec![Figure::since("system.process.created", boot_ns, created as f64)];
        let proc = &self.proc;
        let counts = self
            .counts
            .get(|| count(proc).map_err(|source| SnapshotError::Read { path: proc.clone(), source }))?;
        figures.extend(STATES.into_iter().zip(counts).map(|(state, count)| {
            Figure::now("system.process.count", *count as f64).with("process.state", state)
        }));
        Ok(figures)
    }
}

/// Those that end while they are counted are not counted.
fn count(proc: &Path) -> std::io::Result<Counts> {
    let mut counts = Counts::default();
    let mut path = proc.to_owned();
    for entry in fs::read_dir(proc)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        path.push(&name);
        path.push("stat");
        // `pid (command) S ...`: the command is at most 64 bytes, so the state is among the first 128.
        let mut start = [0; 128];
        let read = File::open(&path).and_then(|mut file| file.read(&mut start));
        path.pop();
        path.pop();
        if let Ok(length) = read
            && let Some(state) = state(&start[..length])
        {
            counts[state] += 1;
        }
    }
    Ok(counts)
}

/// Which of [`STATES`]; proc_pid_stat(5).
fn state(stat: &[u8]) -> Option<usize> {
    // A command may hold parentheses and spaces; after its last parenthesis come no more.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    match stat.get(end + 2)? {
        b'R' => Some(0),
        // Sleeping, in the disk or for good, parked, waking, idle kernel threads.
        b'S' | b'D' | b'I' | b'P' | b'K' | b'W' => Some(1),
        b'T' | b't' => Some(2),
        b'Z' | b'X' | b'x' => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_after_any_command() {
        assert_eq!(state(b"1 (init) S 0 1 1"), Some(1));
        assert_eq!(state(b"2 (a) R) Z (b)) R 0"), Some(0));
        assert_eq!(state(b"3 (x) t 1"), Some(2));
        assert_eq!(state(b"3 (x) Z 1"), Some(3));
        assert_eq!(state(b"3 (x) ? 1"), None);
        assert_eq!(state(b"3 (x)"), None);
        assert_eq!(state(b""), None);
    }

    #[test]
    fn a_child_that_nobody_waited_for_is_defunct() {
        let defunct = || count(Path::new("/proc")).unwrap()[3];
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        while state(&fs::read(&stat).unwrap()) != Some(3) {
            std::thread::yield_now();
        }
        assert!(defunct() >= 1);
        child.wait().unwrap();
    }
}
