//! A reading that may hang, made on a thread of its own.
//!
//! A sensor on a dead bus, or a service manager that is stuck, holds up that thread and nobody else: who asks
//! waits a moment for a reading that just began, and otherwise gets the last one. There is one thread at a time,
//! so at most one is ever left behind; what is older than [`OLDEST`] is not told any more.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// A reading is not told for longer.
const OLDEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Aside<T> {
    /// The thread's name.
    name: &'static str,
    floor: Duration,
    patience: Duration,
    running: Option<Receiver<T>>,
    /// When it was read.
    kept: Option<(Instant, T)>,
    due: Option<Instant>,
}

impl<T: Send + 'static> Aside<T> {
    /// Read at most every `floor`; who asks waits no longer than `patience`, and for one that is late not at all.
    pub(super) fn new(name: &'static str, floor: Duration, patience: Duration) -> Self {
        Self { name, floor, patience, running: None, kept: None, due: None }
    }

    /// The last reading, of `read` if it is time; none if it does not come.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn get(&mut self, read: impl FnOnce() -> T + Send + 'static) -> io::Result<Option<&T>> {
        let now = Instant::now();
        let mut begun = false;
        if self.running.is_none() && self.due.is_none_or(|due| now >= due) {
            let (answer, answers) = sync_channel(1);
            thread::Builder::new().name(self.name.to_owned()).stack_size(128 << 10).spawn(move || {
                // Nobody waits any more: then nobody needs it.
                let _ = answer.send(read());
            })?;
            self.running = Some(answers);
            self.due = Some(now + self.floor);
            begun = true;
        }
        if let Some(answers) = &self.running {
            let answer = match begun {
                true => answers.recv_timeout(self.patience),
                false => answers.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
            };
            match answer {
                Ok(value) => {
                    self.kept = Some((Instant::now(), value));
                    self.running = None;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // It panicked: the next reading is due in its time.
                Err(RecvTimeoutError::Disconnected) => self.running = None,
            }
        }
        Ok(self.kept.as_ref().filter(|(at, _)| at.elapsed() < OLDEST).map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_hangs_holds_nobody_up_and_what_was_read_before_is_told() {
        let patience = Duration::from_millis(1);
        let mut aside = Aside::new("test", Duration::ZERO, patience);
        while aside.get(|| 1).unwrap().is_none() {}
        let (release, held) = channel::<()>();
        let hang = move || {
            let _ = held.recv();
            2
        };
        assert!(aside.get(hang).unwrap().is_some());
        for _ in 0..20 {
            assert_eq!(aside.get(|| panic!("one at a time")).unwrap(), Some(&1));
        }
        aside.kept.as_mut().unwrap().0 -= OLDEST;
        assert_eq!(aside.get(|| panic!("one at a time")).unwrap(), None, "too old to tell");
        drop(release);
        while aside.get(|| 3).unwrap().is_none() {}
    }

    #[test]
    fn a_reading_that_panics_is_made_again_in_its_time() {
        let mut aside = Aside::new("test", Duration::ZERO, Duration::from_secs(60));
        assert_eq!(aside.get(|| panic!("a test's")).unwrap(), None::<&i32>);
        assert_eq!(aside.get(|| 1).unwrap(), Some(&1));
    }

    #[test]
    fn a_reading_is_kept_for_its_time() {
        let mut aside = Aside::new("test", Duration::from_secs(3600), Duration::from_secs(60));
        assert_eq!(aside.get(|| 1).unwrap(), Some(&1));
        assert_eq!(aside.get(|| 2).unwrap(), Some(&1));
    }
}
