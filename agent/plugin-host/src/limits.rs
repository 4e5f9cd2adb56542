//! What one instance may use, and the part of it that wasmtime asks about: memory and tables.

use std::{fmt, time::Duration};

use wasmtime::ResourceLimiter;

/// What one instance may use. Each is checked by the host; the defaults suit a Rust, C or Go plugin.
///
/// The deadline is given with each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, all memories together, in bytes. Default 64 MiB.
    pub memory: u64,
    /// How long starting may take, instantiation and `init` together. Default 30 s.
    pub init: Duration,
    /// Bytes handed over in one call, batches and checkpoints together. Default 8 MiB.
    pub output: u64,
    /// Batches handed over in one call. Default 4096.
    pub pushes: u32,
    /// Lines of log in one second. Default 100.
    pub log_lines_per_second: u32,
    /// Elements of all tables together (8 bytes each). Default 100 000.
    pub table_elements: u64,
    /// Handles of resources that may be alive at a time: open files, connections, streams. Default 1000.
    pub resources: usize,
    /// Memories, tables and core instances in the component. Default 16, 64 and 128.
    pub counts: Counts,
}

/// How many things of a kind may be in one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub memories: usize,
    pub tables: usize,
    pub core_instances: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 64 << 20,
            init: Duration::from_secs(30),
            output: 8 << 20,
            pushes: 4096,
            log_lines_per_second: 100,
            table_elements: 100_000,
            resources: 1000,
            counts: Counts { memories: 16, tables: 64, core_instances: 128 },
        }
    }
}

/// Growth that was not allowed, noted because the trap that often follows looks like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DeniedGrowth {
    /// Linear memory, in bytes.
    Memory { wanted: u64, limit: u64 },
    /// Table elements.
    Table { wanted: u64, limit: u64 },
}

/// Answers wasmtime's questions, and keeps count.
#[derive(Debug)]
pub(crate) struct Limiter {
    max_memory: u64,
    max_table_elements: u64,
    counts: Counts,
    /// Linear memory in use, in bytes.
    memory: u64,
    table_elements: u64,
    /// The growth that was allowed last: taken back if the machine could not do it.
    last: u64,
    denied: Option<DeniedGrowth>,
}

impl fmt::Display for DeniedGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeniedGrowth::Memory { wanted, limit } => write!(
                f,
                "it wanted {wanted} bytes of memory, over its limit of {} ({limit} bytes, `limits.memory`)",
                mebibytes(*limit)
            ),
            DeniedGrowth::Table { wanted, limit } => {
                write!(f, "it wanted {wanted} table elements, over its limit of {limit} (`limits.tables`)")
            }
        }
    }
}

/// `64 MiB`, or as close as one decimal is.
pub(crate) fn mebibytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib.fract() == 0.0 { format!("{mib:.0} MiB") } else { format!("{mib:.1} MiB") }
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Limiter {
        Limiter {
            max_memory: limits.memory,
            max_table_elements: limits.table_elements,
            counts: limits.counts,
            memory: 0,
            table_elements: 0,
            last: 0,
            denied: None,
        }
    }

    /// Linear memory in use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Elements in use, of all tables.
    pub(crate) fn table_elements(&self) -> u64 {
        self.table_elements
    }

    /// The growth that was denied since the last time this was asked.
    pub(crate) fn take_denied(&mut self) -> Option<DeniedGrowth> {
        self.denied.take()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = (desired as u64).saturating_sub(current as u64);
        let wanted = self.memory.saturating_add(more);
        if wanted > self.max_memory {
            self.denied = Some(DeniedGrowth::Memory { wanted, limit: self.max_memory });
            self.last = 0;
            return Ok(false);
        }
        self.memory = wanted;
        self.last = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // After a denial nothing was added.
        if self.last > 0 {
            let limit = self.memory - self.last;
            self.denied = Some(DeniedGrowth::Memory { wanted: self.memory, limit });
            self.memory = limit;
            self.last = 0;
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add((desired as u64).saturating_sub(current as u64));
        if wanted > self.max_table_elements {
            self.denied = Some(DeniedGrowth::Table { wanted, limit: self.max_table_elements });
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.counts.core_instances
    }

    fn tables(&self) -> usize {
        self.counts.tables
    }

    fn memories(&self) -> usize {
        self.counts.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_added_up_and_a_denial_is_noted_once() {
        let mut limiter = Limiter::new(&Limits { memory: 3 << 16, ..Limits::default() });
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(0, 2 << 16, None).unwrap());
        assert!(!limiter.memory_growing(1 << 16, 2 << 16, None).unwrap());
        assert_eq!(limiter.memory(), 3 << 16);
        let denied = DeniedGrowth::Memory { wanted: 4 << 16, limit: 3 << 16 };
        assert_eq!(limiter.take_denied(), Some(denied));
        assert_eq!(limiter.take_denied(), None);
    }

    #[test]
    fn growth_that_the_machine_refused_is_taken_back() {
        let mut limiter = Limiter::new(&Limits::default());
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(1 << 16, 9 << 16, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert_eq!(limiter.memory(), 1 << 16);
        assert!(limiter.take_denied().is_some());
    }

    #[test]
    fn table_elements_are_limited_over_all_tables() {
        let mut limiter = Limiter::new(&Limits { table_elements: 10, ..Limits::default() });
        assert!(limiter.table_growing(0, 6, None).unwrap());
        assert!(!limiter.table_growing(0, 5, None).unwrap());
        assert!(limiter.table_growing(6, 10, None).unwrap());
    }
}
