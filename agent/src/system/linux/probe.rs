//! Asks file systems for their room without ever being held up by one that does not answer.
//!
//! `statfs` of a dead mount sleeps in the kernel and can't be called off. So a thread of its own asks; who
//! waits gives up after [`PATIENCE`], leaves the thread to its mount, and lets another thread ask the rest. A
//! mount that was given up is not asked again before its thread comes back; the late answer is then told, so
//! that a slow mount is seen a snapshot late rather than never. At most [`MOST_STUCK`] threads are ever left.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::mounts::Mount;
use crate::system::SnapshotError;

/// How long all mounts of one snapshot together may take: within the deadline of the shortest interval.
const PATIENCE: Duration = Duration::from_millis(25);

/// How long a mount is silent before the operator is told: less may be a busy machine.
const SILENCE: Duration = Duration::from_secs(2);

/// Threads that may be left waiting for dead mounts.
const MOST_STUCK: usize = 8;

/// The room of a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) free: u64,
    /// Free for those who are not root.
    pub(super) available: u64,
}

/// What is asked: [`statvfs`], or a test's.
pub(super) type Ask = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

/// The real question.
pub(super) fn statvfs(point: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(point)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bfree), available: bytes(stat.f_bavail) })
}

pub(super) struct Prober {
    ask: Arc<Ask>,
    worker: Option<Worker>,
    stuck: HashMap<PathBuf, Stuck>,
    /// Said that there are too many dead mounts to ask more.
    crowded: bool,
}

#[derive(Debug)]
struct Worker {
    batches: Sender<Vec<PathBuf>>,
    answers: Receiver<io::Result<Space>>,
    /// Set when nobody waits any more: the thread ends after the question it is at.
    left: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Stuck {
    worker: Worker,
    since: Instant,
    said: bool,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober")
            .field("worker", &self.worker)
            .field("stuck", &self.stuck)
            .finish_non_exhaustive()
    }
}

impl Prober {
    pub(super) fn new(ask: Arc<Ask>) -> Self {
        Self { ask, worker: None, stuck: HashMap::new(), crowded: false }
    }

    /// The room of each, in their order; none for what fails or does not answer in time. Takes at most
    /// [`PATIENCE`].
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn ask(&mut self, mounts: &[Mount]) -> Result<Vec<Option<Space>>, SnapshotError> {
        let give_up = Instant::now() + PATIENCE;
        let mut spaces = vec![None; mounts.len()];
        let late = self.late_answers();
        let mut asked = Vec::with_capacity(mounts.len());
        for (index, mount) in mounts.iter().enumerate() {
            let point = Path::new(&mount.point);
            if let Some(answer) = late.get(point) {
                spaces[index] = room(&mount.point, answer.as_ref());
            } else if !self.stuck.contains_key(point) {
                asked.push(index);
            }
        }
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            let worker = match self.worker.take() {
                Some(worker) => worker,
                None if self.stuck.len() >= MOST_STUCK => {
                    if !std::mem::replace(&mut self.crowded, true) {
                        tracing::warn!(
                            dead = self.stuck.len(),
                            "file systems are left out until some of the mounts that don't answer come back"
                        );
                    }
                    break;
                }
                None => Worker::start(Arc::clone(&self.ask))?,
            };
            let points = rest.iter().map(|&index| PathBuf::from(&mounts[index].point)).collect();
            // It fails only when the thread is gone; then there is no answer either.
            let _ = worker.batches.send(points);
            let mut done = 0;
            let silent = loop {
                let Some(&index) = rest.get(done) else { break None };
                let wait = give_up.saturating_duration_since(Instant::now());
                match worker.answers.recv_timeout(wait) {
                    Ok(answer) => spaces[index] = room(&mounts[index].point, answer.as_ref()),
                    Err(RecvTimeoutError::Timeout) => break Some(index),
                    // The question itself panicked: no answer, and a new thread for the next.
                    Err(RecvTimeoutError::Disconnected) => break None,
                }
                done += 1;
            };
            match silent {
                Some(index) => {
                    worker.left.store(true, Ordering::Relaxed);
                    let stuck = Stuck { worker, since: Instant::now(), said: false };
                    self.stuck.insert(PathBuf::from(&mounts[index].point), stuck);
                    rest = &rest[done + 1..];
                }
                None if done == rest.len() => {
                    self.worker = Some(worker);
                    rest = &[];
                }
                None => rest = &rest[done + 1..],
            }
        }
        Ok(spaces)
    }

    /// Takes back those that answered after all, and says what has been silent for long.
    fn late_answers(&mut self) -> HashMap<PathBuf, io::Result<Space>> {
        let mut late = HashMap::new();
        self.stuck.retain(|point, stuck| match stuck.worker.answers.try_recv() {
            Err(TryRecvError::Empty) => {
                if !stuck.said && stuck.since.elapsed() >= SILENCE {
                    stuck.said = true;
                    tracing::warn!(
                        mount = %point.display(),
                        "the file system does not answer; its figures are left out until it does"
                    );
                }
                true
            }
            Ok(answer) => {
                if stuck.said {
                    tracing::info!(mount = %point.display(), "the file system answers again");
                }
                late.insert(point.clone(), answer);
                false
            }
            Err(TryRecvError::Disconnected) => false,
        });
        if self.stuck.len() < MOST_STUCK {
            self.crowded = false;
        }
        late
    }
}

/// A file system without blocks (a pseudo file system by another name) has no room to tell of.
fn room(point: &str, answer: Result<&Space, &io::Error>) -> Option<Space> {
    match answer {
        Ok(space) => (space.total > 0).then_some(*space),
        Err(error) => {
            tracing::debug!(mount = point, %error, "the file system does not tell its room");
            None
        }
    }
}

impl Worker {
    fn start(ask: Arc<Ask>) -> Result<Self, SnapshotError> {
        let (batches, questions) = channel::<Vec<PathBuf>>();
        let (replies, answers) = channel();
        let left = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&left);
        thread::Builder::new()
            .name("statfs".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                for points in questions {
                    for point in points {
                        if replies.send(ask(&point)).is_err() || flag.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            })
            .map_err(|source| SnapshotError::Read { path: PathBuf::from("a thread for statfs"), source })?;
        Ok(Self { batches, answers, left })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    const SPACE: Space = Space { total: 9, free: 5, available: 4 };

    /// Mounts whose path starts with `/dead` answer when the gate opens.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
        asked: Mutex<Vec<PathBuf>>,
    }

    impl Gate {
        fn ask(&self, point: &Path) -> io::Result<Space> {
            self.asked.lock().unwrap().push(point.to_owned());
            if point.starts_with("/dead") {
                let open = self.open.lock().unwrap();
                drop(self.opened.wait_while(open, |open| !*open).unwrap());
            }
            match point.starts_with("/fails") {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(SPACE),
            }
        }

        fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.opened.notify_all();
        }
    }

    fn mounts(points: &[&str]) -> Vec<Mount> {
        let mount = |point: &&str| Mount {
            source: "/dev/sda".to_owned(),
            point: (*point).to_owned(),
            kind: "ext4".to_owned(),
            read_only: false,
        };
        points.iter().map(mount).collect()
    }

    fn prober() -> (Arc<Gate>, Prober) {
        let gate = Arc::new(Gate::default());
        let asked = Arc::clone(&gate);
        (gate, Prober::new(Arc::new(move |point: &Path| asked.ask(point))))
    }

    #[test]
    fn a_dead_mount_costs_the_patience_once_and_its_neighbours_nothing() {
        let (gate, mut prober) = prober();
        let mounts = mounts(&["/a", "/dead", "/b", "/fails"]);
        let begun = Instant::now();
        let first = prober.ask(&mounts).unwrap();
        assert!(begun.elapsed() >= PATIENCE, "it was waited for");
        assert_eq!((first[0], first[1], first[3]), (Some(SPACE), None, None));

        // From now on it is known, and the others are all asked. On a busy machine a healthy one may come late.
        while prober.ask(&mounts).unwrap() != [Some(SPACE), None, Some(SPACE), None] {}
        let asked = gate.asked.lock().unwrap().clone();
        let times = |point: &str| asked.iter().filter(|asked| **asked == Path::new(point)).count();
        assert_eq!(times("/dead"), 1, "a dead mount is not asked again while it is dead");

        gate.open();
        while prober.ask(&mounts).unwrap()[1].is_none() {
            thread::yield_now();
        }
        while prober.ask(&mounts).unwrap() != [Some(SPACE), Some(SPACE), Some(SPACE), None] {}
        assert!(prober.stuck.is_empty());
    }

    #[test]
    fn many_dead_mounts_leave_a_bounded_number_of_threads() {
        let (gate, mut prober) = prober();
        let points: Vec<String> = (0..40).map(|number| format!("/dead/{number}")).collect();
        let mounts = mounts(&points.iter().map(String::as_str).collect::<Vec<_>>());
        for _ in 0..40 {
            let begun = Instant::now();
            assert!(prober.ask(&mounts).unwrap().iter().all(Option::is_none));
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(prober.stuck.len(), MOST_STUCK);
        assert!(prober.crowded);
        gate.open();
        while prober.ask(&mounts).unwrap().iter().any(Option::is_none) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_question_that_panics_costs_its_own_mount_only() {
        let ask = |point: &Path| match point.starts_with("/panics") {
            true => panic!("a test's"),
            false => Ok(SPACE),
        };
        let mut prober = Prober::new(Arc::new(ask));
        let mounts = mounts(&["/a", "/panics", "/b"]);
        while prober.ask(&mounts).unwrap() != [Some(SPACE), None, Some(SPACE)] {}
    }

    #[test]
    fn the_root_has_room() {
        let space = statvfs(Path::new("/")).unwrap();
        assert!(space.total > 0 && space.free <= space.total && space.available <= space.free);
    }
}
