//! Which configuration the agent runs with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Which configuration the agent runs with, and what became of reloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigurationStatus {
    /// Counts the configurations that were applied; the one of the start is 1.
    pub generation: u64,
    /// What the files say and the agent does not do before it is restarted, by its key.
    pub restart_needed: Vec<String>,
    /// Reloads that were refused because the configuration had problems.
    pub reloads_refused: u64,
}

/// Where a reload writes, and `status` reads.
#[derive(Debug)]
pub struct Configuration(Mutex<ConfigurationStatus>);

impl Configuration {
    /// As at the start: generation 1.
    pub fn first() -> Self {
        Self(Mutex::new(ConfigurationStatus { generation: 1, ..ConfigurationStatus::default() }))
    }

    /// As it is now.
    pub fn read(&self) -> ConfigurationStatus {
        self.lock().clone()
    }

    /// Counts a configuration that was applied; returns its generation.
    pub(crate) fn applied(&self, restart_needed: Vec<String>) -> u64 {
        let mut status = self.lock();
        status.generation += 1;
        status.restart_needed = restart_needed;
        status.generation
    }

    /// Counts one that had problems.
    pub(crate) fn refused(&self) {
        self.lock().reloads_refused += 1;
    }

    fn lock(&self) -> MutexGuard<'_, ConfigurationStatus> {
        // Whatever a panicking writer left is still a status.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
