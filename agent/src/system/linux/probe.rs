//! Asks file systems for their room without ever being held up by one that does not answer.
//!
//! `statfs` of a dead mount sleeps in the kernel and can't be called off. So for all but those that answer from
//! memory a thread of its own asks; who waits gives up after [`PATIENCE`], leaves the thread to its mount, and
//! lets another thread ask the rest. A mount that was given up is not asked again before its thread comes back;
//! the late answer is then told, so that a slow mount is seen a snapshot late rather than never. At most
//! [`MOST_STUCK`] threads are ever left.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::mounts::{Mark, Mount};
use crate::system::SnapshotError;

/// How long all mounts of one snapshot together may take: within the deadline of the shortest interval.
const PATIENCE: Duration = Duration::from_millis(25);

/// How long a mount is silent before the operator is told: less may be a busy machine.
const SILENCE: Duration = Duration::from_secs(2);

/// Threads that may be left waiting for dead mounts.
const MOST_STUCK: usize = 8;

/// The room of a file system, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) free: u64,
    /// Free for those who are not root.
    pub(super) available: u64,
    /// How many files it can hold; 0 where that is not limited (btrfs, FAT).
    pub(super) inodes: u64,
    pub(super) free_inodes: u64,
}

/// What a mount has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Room(Space),
    /// Its path leads to another mount: it is gone, or covered.
    Another,
    /// It has been silent for long: what it holds may hang whoever touches it.
    Hung,
    /// Nothing in time, an error, or it has no blocks to count.
    None,
}

/// What is asked: [`statvfs`], or a test's.
pub(super) type Ask = dyn Fn(&Mount) -> io::Result<Answer> + Send + Sync;

/// The real question.
pub(super) fn statvfs(mount: &Mount) -> io::Result<Answer> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    match statx(CWD, &mount.path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID) {
        Ok(seen) => {
            let another = match mount.mark {
                // Told since Linux 5.8; older ones may tell the room of what lies under a mount that is just gone.
                Mark::Mount(id) => seen.stx_mask & StatxFlags::MNT_ID.bits() != 0 && seen.stx_mnt_id != id,
                Mark::Device(major, minor) => (seen.stx_dev_major, seen.stx_dev_minor) != (major, minor),
                Mark::None => false,
            };
            if another {
                return Ok(Answer::Another);
            }
        }
        Err(rustix::io::Errno::NOSYS) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(Answer::Another),
        Err(error) => return Err(error.into()),
    }
    let stat = rustix::fs::statvfs(&mount.path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let space = Space {
        total: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
        inodes: stat.f_files,
        free_inodes: stat.f_ffree,
    };
    Ok(if space.total > 0 { Answer::Room(space) } else { Answer::None })
}

pub(super) struct Prober {
    ask: Arc<Ask>,
    silence: Duration,
    worker: Option<Worker>,
    stuck: HashMap<PathBuf, Stuck>,
    /// Said that there are too many dead mounts to ask more.
    crowded: bool,
}

#[derive(Debug)]
struct Worker {
    batches: Sender<Vec<Mount>>,
    answers: Receiver<io::Result<Answer>>,
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
        Self { ask, silence: SILENCE, worker: None, stuck: HashMap::new(), crowded: false }
    }

    /// One that says at once what is silent.
    #[cfg(test)]
    pub(super) fn impatient(ask: Arc<Ask>) -> Self {
        Self { silence: Duration::ZERO, ..Self::new(ask) }
    }

    /// What each has to say, in their order. Takes at most [`PATIENCE`].
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn ask(&mut self, mounts: &[&Mount]) -> Result<Vec<Answer>, SnapshotError> {
        let late = self.late_answers();
        let mut answers = vec![Answer::None; mounts.len()];
        let mut slow = Vec::new();
        for (index, mount) in mounts.iter().enumerate() {
            if let Some(answer) = late.get(&mount.point) {
                answers[index] = heard(mount, answer);
            } else if mount.prompt {
                answers[index] = heard(mount, &(self.ask)(mount));
            } else if let Some(stuck) = self.stuck.get(&mount.point) {
                answers[index] = if stuck.said { Answer::Hung } else { Answer::None };
            } else {
                slow.push(index);
            }
        }
        let give_up = Instant::now() + PATIENCE;
        let mut rest = slow.as_slice();
        while !rest.is_empty() {
            let Some(worker) = self.worker()? else { break };
            // It fails only when the thread is gone; then there is no answer either.
            let _ = worker.batches.send(rest.iter().map(|&index| (*mounts[index]).clone()).collect());
            let mut done = 0;
            while done < rest.len() {
                let mount = mounts[rest[done]];
                match worker.answers.recv_timeout(give_up.saturating_duration_since(Instant::now())) {
                    Ok(answer) => answers[rest[done]] = heard(mount, &answer),
                    Err(RecvTimeoutError::Timeout) => {
                        worker.left.store(true, Ordering::Relaxed);
                        let stuck = Stuck { worker, since: Instant::now(), said: false };
                        self.stuck.insert(mount.point.clone(), stuck);
                        done += 1;
                        break;
                    }
                    // The question itself panicked: no answer, and a new thread for the next.
                    Err(RecvTimeoutError::Disconnected) => {
                        done += 1;
                        break;
                    }
                }
                done += 1;
                if done == rest.len() {
                    self.worker = Some(worker);
                    break;
                }
            }
            rest = &rest[done..];
        }
        Ok(answers)
    }

    /// The thread that waits for work, or a new one; none if too many are stuck already.
    fn worker(&mut self) -> Result<Option<Worker>, SnapshotError> {
        if let Some(worker) = self.worker.take() {
            return Ok(Some(worker));
        }
        if self.stuck.len() < MOST_STUCK {
            return Worker::start(Arc::clone(&self.ask)).map(Some);
        }
        if !std::mem::replace(&mut self.crowded, true) {
            tracing::warn!(
                dead = self.stuck.len(),
                "file systems are left out until some of the mounts that don't answer come back"
            );
        }
        Ok(None)
    }

    /// Takes back those that answered after all, and says what has been silent for long.
    fn late_answers(&mut self) -> HashMap<PathBuf, io::Result<Answer>> {
        let mut late = HashMap::new();
        self.stuck.retain(|point, stuck| match stuck.worker.answers.try_recv() {
            Err(TryRecvError::Empty) => {
                if !stuck.said && stuck.since.elapsed() >= self.silence {
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

fn heard(mount: &Mount, answer: &io::Result<Answer>) -> Answer {
    match answer {
        Ok(answer) => *answer,
        Err(error) => {
            tracing::debug!(mount = %mount.point.display(), %error, "the file system does not tell its room");
            Answer::None
        }
    }
}

impl Worker {
    fn start(ask: Arc<Ask>) -> Result<Self, SnapshotError> {
        let (batches, questions) = channel::<Vec<Mount>>();
        let (replies, answers) = channel();
        let left = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&left);
        thread::Builder::new()
            .name("statfs".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                for mounts in questions {
                    for mount in mounts {
                        if replies.send(ask(&mount)).is_err() || flag.load(Ordering::Relaxed) {
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
    use std::{
        path::Path,
        sync::{Condvar, Mutex},
    };

    use super::*;

    const SPACE: Space = Space { total: 9, free: 5, available: 4, inodes: 3, free_inodes: 1 };
    const ROOM: Answer = Answer::Room(SPACE);

    /// Mounts whose path starts with `/dead` answer when the gate opens.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
        asked: Mutex<Vec<PathBuf>>,
    }

    impl Gate {
        fn ask(&self, mount: &Mount) -> io::Result<Answer> {
            self.asked.lock().unwrap().push(mount.point.clone());
            if mount.point.starts_with("/dead") {
                let open = self.open.lock().unwrap();
                drop(self.opened.wait_while(open, |open| !*open).unwrap());
            }
            match mount.point.starts_with("/fails") {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(ROOM),
            }
        }

        fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.opened.notify_all();
        }
    }

    fn mount(point: &str) -> Mount {
        Mount {
            mark: Mark::Mount(0),
            source: "/dev/sda".to_owned(),
            point: point.into(),
            path: point.into(),
            kind: "ext4".to_owned(),
            read_only: false,
            prompt: point.starts_with("/prompt"),
        }
    }

    fn mounts(points: &[&str]) -> Vec<Mount> {
        points.iter().map(|point| mount(point)).collect()
    }

    fn ask(prober: &mut Prober, mounts: &[Mount]) -> Vec<Answer> {
        prober.ask(&mounts.iter().collect::<Vec<_>>()).unwrap()
    }

    fn prober() -> (Arc<Gate>, Prober) {
        let gate = Arc::new(Gate::default());
        let asked = Arc::clone(&gate);
        (gate, Prober::new(Arc::new(move |mount: &Mount| asked.ask(mount))))
    }

    #[test]
    fn a_dead_mount_costs_the_patience_once_and_its_neighbours_nothing() {
        let (gate, mut prober) = prober();
        let mounts = mounts(&["/a", "/dead", "/b", "/fails"]);
        let begun = Instant::now();
        ask(&mut prober, &mounts);
        assert!(begun.elapsed() >= PATIENCE, "it was waited for");

        // From now on it is known, and the others are all asked. On a busy machine a healthy one may come late.
        while ask(&mut prober, &mounts) != [ROOM, Answer::None, ROOM, Answer::None] {}
        let asked = gate.asked.lock().unwrap().clone();
        let times = |point: &str| asked.iter().filter(|asked| **asked == Path::new(point)).count();
        assert_eq!(times("/dead"), 1, "a dead mount is not asked again while it is dead");

        gate.open();
        while ask(&mut prober, &mounts)[1] != ROOM {
            thread::yield_now();
        }
        while ask(&mut prober, &mounts) != [ROOM, ROOM, ROOM, Answer::None] {}
        assert!(prober.stuck.is_empty());
    }

    #[test]
    fn what_is_silent_for_long_is_said_to_hang_until_it_answers() {
        let gate = Arc::new(Gate::default());
        let asked = Arc::clone(&gate);
        let mut prober = Prober::impatient(Arc::new(move |mount: &Mount| asked.ask(mount)));
        let mounts = mounts(&["/dead", "/a"]);
        assert_eq!(ask(&mut prober, &mounts)[0], Answer::None, "silent, but not for long");
        assert_eq!(ask(&mut prober, &mounts)[0], Answer::Hung);
        assert_eq!(ask(&mut prober, &mounts[1..]).len(), 1, "one that is not asked for is not told");
        gate.open();
        while ask(&mut prober, &mounts)[0] != ROOM {
            thread::yield_now();
        }
    }

    #[test]
    fn what_answers_from_memory_needs_no_thread() {
        let (_, mut prober) = prober();
        assert_eq!(ask(&mut prober, &mounts(&["/prompt/a", "/prompt/b"])), [ROOM, ROOM]);
        assert!(prober.worker.is_none());
    }

    #[test]
    fn many_dead_mounts_leave_a_bounded_number_of_threads() {
        let (gate, mut prober) = prober();
        let points: Vec<String> = (0..40).map(|number| format!("/dead/{number}")).collect();
        let mounts = mounts(&points.iter().map(String::as_str).collect::<Vec<_>>());
        for _ in 0..40 {
            let begun = Instant::now();
            assert!(ask(&mut prober, &mounts).iter().all(|answer| *answer == Answer::None));
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(prober.stuck.len(), MOST_STUCK);
        assert!(prober.crowded);
        gate.open();
        while ask(&mut prober, &mounts).contains(&Answer::None) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_question_that_panics_costs_its_own_mount_only() {
        let answer = |mount: &Mount| match mount.point.starts_with("/panics") {
            true => panic!("a test's"),
            false => Ok(ROOM),
        };
        let mut prober = Prober::new(Arc::new(answer));
        let mounts = mounts(&["/a", "/panics", "/b"]);
        while ask(&mut prober, &mounts) != [ROOM, Answer::None, ROOM] {}
    }

    #[test]
    fn the_root_has_room_and_a_number_of_its_own() {
        use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
        let id = statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID).unwrap().stx_mnt_id;
        let root = Mount { mark: Mark::Mount(id), ..mount("/") };
        let Answer::Room(space) = statvfs(&root).unwrap() else { panic!("no room at the root") };
        assert!(space.total > 0 && space.free <= space.total && space.available <= space.free);
        assert!(space.free_inodes <= space.inodes);
        let other = Mount { mark: Mark::Mount(id + 1_000_000), ..root.clone() };
        assert_eq!(statvfs(&other).unwrap(), Answer::Another);
        let seen = statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID).unwrap();
        let by_device = |minor| Mount { mark: Mark::Device(seen.stx_dev_major, minor), ..root.clone() };
        assert!(matches!(statvfs(&by_device(seen.stx_dev_minor)).unwrap(), Answer::Room(_)));
        assert_eq!(statvfs(&by_device(seen.stx_dev_minor + 1)).unwrap(), Answer::Another);
        assert_eq!(statvfs(&mount("/nowhere")).unwrap(), Answer::Another);
    }
}
