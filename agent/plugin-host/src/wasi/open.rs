//! How many files and sockets one instance holds open, and all plugins together, so that they don't use up those of the
//! agent: a process that can open no file can't write its WAL either.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{TcpSocket, UdpSocket, bindings::filesystem::types::DirectoryEntryStream};

use crate::limits::DeniedGrowth;

/// One in so many of an instance's resources may be an open file or socket.
const SHARE: usize = 16;

/// What an instance wanted last and there was no room for.
#[derive(Default)]
pub(crate) struct Shortage(Mutex<Option<DeniedGrowth>>);

impl Shortage {
    pub(super) fn note(&self, denied: DeniedGrowth) {
        // A copy is whole whatever happened to another who wrote it.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(denied);
    }

    pub(super) fn take(&self) -> Option<DeniedGrowth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The files, folders and sockets of one instance.
pub(crate) struct Open {
    most: usize,
    /// Files and folders, for as long as a descriptor or a stream has them.
    files: Vec<Weak<fs::File>>,
    /// What is left for all plugins.
    all: Arc<Semaphore>,
    /// One for each that was open when this was last looked at.
    held: Option<OwnedSemaphorePermit>,
    shortage: Arc<Shortage>,
}

impl Open {
    /// For an instance that may hold so many resources.
    pub(super) fn new(resources: usize, all: Arc<Semaphore>, shortage: Arc<Shortage>) -> Open {
        Open { most: resources.div_ceil(SHARE), files: Vec::new(), all, held: None, shortage }
    }

    /// Whether there is room for another, which is then taken to be open.
    pub(super) fn room(&mut self, table: &mut ResourceTable) -> bool {
        let open = self.settle(table);
        if open >= self.most {
            self.shortage.note(DeniedGrowth::Open { limit: self.most as u64 });
            return false;
        }
        match Arc::clone(&self.all).try_acquire_owned() {
            Ok(one) => self.hold(one),
            Err(_) => {
                self.shortage.note(DeniedGrowth::Shared);
                return false;
            }
        }
        true
    }

    /// A file or folder was opened.
    pub(super) fn opened(&mut self, file: &Arc<fs::File>) {
        self.files.push(Arc::downgrade(file));
    }

    /// Gives back what is no longer open; answers how many are.
    pub(super) fn settle(&mut self, table: &mut ResourceTable) -> usize {
        self.files.retain(|file| file.strong_count() > 0);
        let others = table.iter_mut().filter(|entry| {
            entry.is::<TcpSocket>()
                || entry.is::<UdpSocket>()
                // Holds no file, but all the names of a folder.
                || entry.is::<DirectoryEntryStream>()
        });
        let open = self.files.len() + others.count();
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Some(permits) = &mut self.held
            && held > open
        {
            drop(permits.split(held - open));
        }
        open
    }

    fn hold(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<fs::File> {
        Arc::new(fs::File::open("/").unwrap())
    }

    #[test]
    fn one_in_sixteen_may_be_open_and_what_is_closed_makes_room() {
        let (all, shortage) = (Arc::new(Semaphore::new(10)), Arc::new(Shortage::default()));
        let mut open = Open::new(32, Arc::clone(&all), Arc::clone(&shortage));
        let mut table = ResourceTable::new();
        let files = [file(), file()];
        for file in &files {
            assert!(open.room(&mut table));
            open.opened(file);
        }
        assert_eq!((open.room(&mut table), all.available_permits()), (false, 8));
        assert_eq!(shortage.take(), Some(DeniedGrowth::Open { limit: 2 }));
        let [first, _second] = files;
        let stream = Arc::clone(&first);
        drop(first);
        assert!(!open.room(&mut table), "a stream has it still");
        drop(stream);
        shortage.take();
        assert!(open.room(&mut table), "one was closed");
        assert_eq!(open.settle(&mut table), 1, "and what was to be opened was not");
        assert_eq!((all.available_permits(), shortage.take()), (9, None));
        drop(open);
        assert_eq!(all.available_permits(), 10);
    }

    #[test]
    fn what_all_hold_together_has_a_bound() {
        let (all, shortage) = (Arc::new(Semaphore::new(1)), Arc::new(Shortage::default()));
        let of = || Open::new(1000, Arc::clone(&all), Arc::clone(&shortage));
        let (mut one, mut other, mut table) = (of(), of(), ResourceTable::new());
        assert!(one.room(&mut ResourceTable::new()));
        assert!(!other.room(&mut table));
        assert_eq!(shortage.take(), Some(DeniedGrowth::Shared));
        drop(one);
        assert!(other.room(&mut table));
    }
}
