//! Every figure this collector knows: its unit, kind and meaning, and the share that is worked out of it.
//!
//! Names, units and kinds are those of the OpenTelemetry semantic conventions, v1.44. The table in the README
//! is this one; a test compares them.

use whimbrel_sdk::{Data, Metric};

/// A figure's meaning.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name, unit, description, gauge or sum.
    pub metric: Metric<'static>,
    /// What its numbers are.
    pub number: Number,
    /// What is worked out of it, if anything.
    pub share: Option<Share>,
}

/// Whether numbers are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Counts and bytes.
    Int,
    /// Seconds, averages and shares.
    Double,
}

/// A gauge of how much of the whole each state has. The whole is the sum over the states, so shares add up to 1.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// The gauge.
    pub metric: Metric<'static>,
    /// The attribute whose values make up the whole; the other attributes say of what.
    pub state: &'static str,
    /// What is shared out.
    pub of: Of,
}

/// What is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// What there is now.
    Now,
    /// What was added since the last collect.
    Growth,
}

impl Entry {
    /// Whether it can only grow.
    #[must_use]
    pub const fn is_counter(&self) -> bool {
        matches!(self.metric.data, Data::Sum { monotonic: true, .. })
    }

    const fn double(mut self) -> Self {
        self.number = Number::Double;
        self
    }

    const fn share(
        mut self,
        name: &'static str,
        description: &'static str,
        state: &'static str,
        of: Of,
    ) -> Self {
        self.share = Some(Share { metric: Metric::gauge(name, "1", description), state, of });
        self
    }
}

const fn gauge(name: &'static str, unit: &'static str, description: &'static str) -> Entry {
    Entry { metric: Metric::gauge(name, unit, description), number: Number::Int, share: None }
}

const fn counter(name: &'static str, unit: &'static str, description: &'static str) -> Entry {
    Entry { metric: Metric::counter(name, unit, description), number: Number::Int, share: None }
}

const fn level(name: &'static str, unit: &'static str, description: &'static str) -> Entry {
    Entry { metric: Metric::up_down_counter(name, unit, description), number: Number::Int, share: None }
}

/// All of them, ordered by name.
pub const TABLE: &[Entry] = &[
    gauge("system.cpu.frequency", "Hz", "Operating frequency of the logical CPU."),
    gauge("system.cpu.load_average.15m", "{thread}", "Threads that ran or waited to run, over 15 minutes.")
        .double(),
    gauge("system.cpu.load_average.1m", "{thread}", "Threads that ran or waited to run, over a minute.")
        .double(),
    gauge("system.cpu.load_average.5m", "{thread}", "Threads that ran or waited to run, over 5 minutes.")
        .double(),
    level("system.cpu.logical.count", "{cpu}", "Logical CPUs that are online."),
    level("system.cpu.physical.count", "{cpu}", "Physical cores."),
    counter("system.cpu.time", "s", "Seconds that CPUs spent in each mode.").double().share(
        "system.cpu.utilization",
        "Share of CPU time since the last collect that was spent in each mode.",
        "cpu.mode",
        Of::Growth,
    ),
    counter("system.disk.io", "By", "Bytes read and written."),
    counter("system.disk.io_time", "s", "Seconds with at least one operation under way.").double(),
    level("system.disk.limit", "By", "Size of the device."),
    counter("system.disk.merged", "{operation}", "Operations that were merged into others."),
    counter("system.disk.operation_time", "s", "Seconds that operations took, added up over all of them.")
        .double(),
    counter("system.disk.operations", "{operation}", "Operations that were completed."),
    level("system.filesystem.limit", "By", "Size of the file system."),
    level("system.filesystem.usage", "By", "Space on the file system by state.").share(
        "system.filesystem.utilization",
        "Share of the file system's space in each state.",
        "system.filesystem.state",
        Of::Now,
    ),
    level("system.memory.limit", "By", "Memory of the host."),
    level("system.memory.linux.available", "By", "Memory that programs can have without swapping."),
    level("system.memory.linux.hugepages.limit", "{page}", "Huge pages in the pool."),
    level("system.memory.linux.hugepages.page_size", "By", "Size of a huge page."),
    level("system.memory.linux.hugepages.reserved", "{page}", "Huge pages promised and not yet handed out."),
    level("system.memory.linux.hugepages.surplus", "{page}", "Huge pages beyond the configured number."),
    level("system.memory.linux.hugepages.usage", "{page}", "Huge pages of the pool by state.").share(
        "system.memory.linux.hugepages.utilization",
        "Share of the pool of huge pages in each state.",
        "system.memory.linux.hugepages.state",
        Of::Now,
    ),
    level("system.memory.linux.shared", "By", "Memory in tmpfs and shared between programs."),
    level("system.memory.linux.slab.usage", "By", "Memory of the kernel's own objects by state."),
    level("system.memory.usage", "By", "Memory by state.").share(
        "system.memory.utilization",
        "Share of the host's memory in each state.",
        "system.memory.state",
        Of::Now,
    ),
    level("system.network.connection.count", "{connection}", "Connections by state."),
    counter("system.network.errors", "{error}", "Packets received or sent with errors."),
    counter("system.network.io", "By", "Bytes received and sent."),
    counter("system.network.packet.count", "{packet}", "Packets received and sent."),
    counter("system.network.packet.dropped", "{packet}", "Packets dropped without an error."),
    counter("system.paging.faults", "{fault}", "Page faults."),
    counter("system.paging.operations", "{operation}", "Pages swapped in and out."),
    level("system.paging.usage", "By", "Swap space by state.").share(
        "system.paging.utilization",
        "Share of the swap space in each state.",
        "system.paging.state",
        Of::Now,
    ),
    level("system.process.count", "{process}", "Processes by state."),
    counter("system.process.created", "{process}", "Processes and threads created."),
    gauge("system.uptime", "s", "Seconds since the host booted.").double(),
];

/// The place of a name in [`TABLE`].
#[must_use]
pub fn find(name: &str) -> Option<usize> {
    TABLE.binary_search_by(|entry| entry.metric.name.cmp(name)).ok()
}
