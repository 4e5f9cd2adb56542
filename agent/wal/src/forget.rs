//! Forgetting a consumer that left the configuration: its cursor goes, and with it its hold on records.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use crate::{
    cursor::file::file_name,
    shared::{CURSORS, LOCK, Shared},
    storage::{Storage, environment},
    writer::core::Core,
};

/// Why a consumer was not forgotten. Nothing was changed, but for [`Io`](Self::Io): its cursor may be gone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForgetError {
    /// There is no cursor of this name.
    #[error("no consumer is named {name}; there are: {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that have a cursor.
        known: Vec<String>,
    },
    /// It is configured: it would be made again at the next start, and begin at the oldest record.
    #[error("{name} is configured: take it out of the configuration first")]
    Configured {
        /// The name.
        name: String,
    },
    /// Another process has the WAL open: ask that one.
    #[error("the WAL in {} is in use by another process", dir.display())]
    Locked {
        /// The WAL's directory.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// The WAL is closed.
    #[error("the WAL is closed")]
    Closed,
}

/// Forgets a consumer of a WAL that nobody has open, whoever it is.
///
/// # Errors
/// [`ForgetError`].
pub fn forget(dir: &Path, name: &str) -> Result<(), ForgetError> {
    forget_in(environment().storage.as_ref(), dir, name)
}

pub(crate) fn forget_in(storage: &dyn Storage, dir: &Path, name: &str) -> Result<(), ForgetError> {
    let lock = dir.join(LOCK);
    let known = || {
        let entries = storage.list(&dir.join(CURSORS)).unwrap_or_default();
        entries.iter().filter_map(|entry| crate::cursor::file::consumer_of(&entry.name)).collect::<Vec<_>>()
    };
    if !known().iter().any(|other| other == name) {
        return Err(ForgetError::Unknown { name: name.to_owned(), known: known() });
    }
    let held = storage.lock(&lock).map_err(|cause| ForgetError::Io {
        action: "locking",
        path: lock,
        cause: Arc::new(cause),
    })?;
    let Some(_held) = held else { return Err(ForgetError::Locked { dir: dir.to_owned() }) };
    remove(storage, dir, name)
}

/// Has the writer forget it.
pub(crate) fn ask(shared: &Shared, name: &str) -> Result<(), ForgetError> {
    let (answer, answered) = mpsc::sync_channel(1);
    let name = name.to_owned();
    shared.queue.task(Box::new(move |core| drop(answer.send(core.forget(&name)))));
    answered.recv().unwrap_or(Err(ForgetError::Closed))
}

impl Core {
    /// Removes a consumer and gives back what only it held.
    pub(crate) fn forget(&mut self, name: &str) -> Result<(), ForgetError> {
        let shared = self.shared.clone();
        let consumers = shared.consumers();
        let Some(consumer) = consumers.iter().find(|consumer| consumer.name == name) else {
            let known = consumers.iter().map(|consumer| consumer.name.clone()).collect();
            return Err(ForgetError::Unknown { name: name.to_owned(), known });
        };
        if consumer.configured {
            return Err(ForgetError::Configured { name: name.to_owned() });
        }
        remove(shared.env.storage.as_ref(), &shared.dir, name)?;
        let left: Arc<[_]> = consumers.iter().filter(|consumer| consumer.name != name).cloned().collect();
        *shared.consumers.write().unwrap_or_else(std::sync::PoisonError::into_inner) = left;
        self.usage.fixed = shared.fixed_bytes();
        self.reclaim();
        self.show_usage();
        // Appends that wait for room may have some now.
        shared.queue.hint_reclaim();
        Ok(())
    }
}

/// The cursor goes durably before anything that it held does.
fn remove(storage: &dyn Storage, dir: &Path, name: &str) -> Result<(), ForgetError> {
    let cursors = dir.join(CURSORS);
    let path = cursors.join(file_name(name));
    let fail = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| ForgetError::Io { action, path, cause: Arc::new(cause) }
    };
    match storage.remove(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(fail("removing", &path)(cause)),
        _ => {}
    }
    storage.sync_dir(&cursors).map_err(fail("syncing", &cursors))
}
