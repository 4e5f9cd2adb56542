//! Every figure that this collector knows, by its name.

use super::{Entry, Of, Part};

const HOST: Part = Part("host");
const CPU: Part = Part("cpu");
const DISK: Part = Part("disk");
const EACH: Part = Part("process.each");
const FILESYSTEM: Part = Part("filesystem");
const MEMORY: Part = Part("memory");
const NETWORK: Part = Part("network");
const PAGING: Part = Part("paging");
const PRESSURE: Part = Part("pressure");
const PROCESS: Part = Part("process");
const SENSORS: Part = Part("sensors");
const SERVICE: Part = Part("service");

/// All of them, ordered by name.
pub const TABLE: &[Entry] = &[
    SENSORS.gauge("hw.temperature", "Cel", "Temperature that a sensor tells.").double(),
    EACH.counter("process.context_switches", "{context_switch}", "Context switches of the process."),
    EACH.counter("process.cpu.time", "s", "Seconds that the process ran in each mode.").double().share(
        "process.cpu.utilization",
        "Share of the host's CPU time since the last collect that the process had.",
        "cpu.mode",
        Of::HostCpu,
    ),
    EACH.counter("process.disk.io", "By", "Bytes that the process read from and wrote to storage."),
    EACH.counter("process.disk.operations", "{operation}", "Read and write calls of the process."),
    EACH.level("process.memory.usage", "By", "Physical memory of the process.").share(
        "process.memory.utilization",
        "Share of the host's memory that the process has.",
        "",
        Of::HostMemory,
    ),
    EACH.level("process.memory.virtual", "By", "Virtual memory of the process."),
    EACH.counter("process.paging.faults", "{fault}", "Page faults of the process."),
    EACH.level("process.thread.count", "{thread}", "Threads of the process."),
    EACH.level("process.unix.file_descriptor.count", "{file_descriptor}", "Open files of the process."),
    EACH.gauge("process.uptime", "s", "Seconds since the process began.").double(),
    CPU.gauge("system.cpu.frequency", "Hz", "Operating frequency of the logical CPU."),
    HOST.gauge(
        "system.cpu.load_average.15m",
        "{thread}",
        "Threads that ran or waited to run, over 15 minutes.",
    )
    .double(),
    HOST.gauge("system.cpu.load_average.1m", "{thread}", "Threads that ran or waited to run, over a minute.")
        .double(),
    HOST.gauge(
        "system.cpu.load_average.5m",
        "{thread}",
        "Threads that ran or waited to run, over 5 minutes.",
    )
    .double(),
    CPU.level("system.cpu.logical.count", "{cpu}", "Logical CPUs that are online."),
    CPU.level("system.cpu.physical.count", "{cpu}", "Physical cores."),
    CPU.counter("system.cpu.time", "s", "Seconds that CPUs spent in each mode.").double().share(
        "system.cpu.utilization",
        "Share of CPU time since the last collect that was spent in each mode.",
        "cpu.mode",
        Of::Growth,
    ),
    DISK.counter("system.disk.io", "By", "Bytes read and written."),
    DISK.counter("system.disk.io_time", "s", "Seconds with at least one operation under way.").double(),
    DISK.level("system.disk.limit", "By", "Size of the device."),
    DISK.counter("system.disk.merged", "{operation}", "Operations that were merged into others."),
    DISK.counter(
        "system.disk.operation_time",
        "s",
        "Seconds that operations took, added up over all of them.",
    )
    .double(),
    DISK.counter("system.disk.operations", "{operation}", "Operations that were completed."),
    DISK.level("system.disk.pending_operations", "{operation}", "Operations under way."),
    DISK.counter(
        "system.disk.weighted_io_time",
        "s",
        "Seconds with operations under way, times their number.",
    )
    .double(),
    FILESYSTEM.gauge(
        "system.filesystem.hung",
        "1",
        "1 for a mount that does not answer; others are not told.",
    ),
    FILESYSTEM.level("system.filesystem.inode.limit", "{inode}", "Inodes of the file system."),
    FILESYSTEM
        .level("system.filesystem.inode.usage", "{inode}", "Inodes of the file system by state.")
        .share(
            "system.filesystem.inode.utilization",
            "Share of the file system's inodes in each state.",
            "system.filesystem.state",
            Of::Now,
        ),
    FILESYSTEM.level("system.filesystem.limit", "By", "Size of the file system."),
    FILESYSTEM.level("system.filesystem.usage", "By", "Space on the file system by state.").share(
        "system.filesystem.utilization",
        "Share of the file system's space in each state.",
        "system.filesystem.state",
        Of::Now,
    ),
    HOST.level(
        "system.linux.file_descriptor.limit",
        "{file_descriptor}",
        "Files that may be open on the host.",
    ),
    HOST.level("system.linux.file_descriptor.usage", "{file_descriptor}", "Files that are open on the host."),
    PRESSURE
        .gauge(
            "system.linux.pressure.average",
            "1",
            "Share of time that tasks waited for the resource, over a window.",
        )
        .double(),
    PRESSURE
        .counter("system.linux.pressure.stall_time", "s", "Seconds that tasks waited for the resource.")
        .double(),
    MEMORY.level("system.memory.limit", "By", "Memory of the host."),
    MEMORY.level("system.memory.linux.available", "By", "Memory that programs can have without swapping."),
    MEMORY.level(
        "system.memory.linux.commit_limit",
        "By",
        "Memory that may be promised, where that is limited.",
    ),
    MEMORY.level("system.memory.linux.committed", "By", "Memory promised to programs."),
    MEMORY.level("system.memory.linux.dirty", "By", "Memory that waits to be written to storage."),
    MEMORY.level("system.memory.linux.hugepages.limit", "{page}", "Huge pages in the pool."),
    MEMORY.level("system.memory.linux.hugepages.page_size", "By", "Size of a huge page."),
    MEMORY.level(
        "system.memory.linux.hugepages.reserved",
        "{page}",
        "Huge pages promised and not yet handed out.",
    ),
    MEMORY.level(
        "system.memory.linux.hugepages.surplus",
        "{page}",
        "Huge pages beyond the configured number.",
    ),
    MEMORY.level("system.memory.linux.hugepages.usage", "{page}", "Huge pages of the pool by state.").share(
        "system.memory.linux.hugepages.utilization",
        "Share of the pool of huge pages in each state.",
        "system.memory.linux.hugepages.state",
        Of::Now,
    ),
    MEMORY.counter("system.memory.linux.oom_kills", "{process}", "Processes killed for want of memory."),
    MEMORY.level("system.memory.linux.shared", "By", "Memory in tmpfs and shared between programs."),
    MEMORY.level("system.memory.linux.slab.usage", "By", "Memory of the kernel's own objects by state."),
    MEMORY.level("system.memory.linux.writeback", "By", "Memory that is being written to storage."),
    MEMORY.level("system.memory.usage", "By", "Memory by state.").share(
        "system.memory.utilization",
        "Share of the host's memory in each state.",
        "system.memory.state",
        Of::Now,
    ),
    NETWORK.level("system.network.connection.count", "{connection}", "Connections by state."),
    NETWORK.level(
        "system.network.conntrack.count",
        "{entry}",
        "Entries in the table of tracked connections.",
    ),
    NETWORK.level(
        "system.network.conntrack.limit",
        "{entry}",
        "Entries that fit in the table of tracked connections.",
    ),
    NETWORK.counter("system.network.errors", "{error}", "Packets received or sent with errors."),
    NETWORK.gauge("system.network.interface.speed", "bit/s", "Speed of the link."),
    NETWORK.gauge("system.network.interface.up", "1", "1 if the link is up, else 0."),
    NETWORK.counter("system.network.io", "By", "Bytes received and sent."),
    NETWORK.counter("system.network.packet.count", "{packet}", "Packets received and sent."),
    NETWORK.counter("system.network.packet.dropped", "{packet}", "Packets dropped without an error."),
    NETWORK.counter(
        "system.network.tcp.listen_drops",
        "{connection}",
        "Connections dropped because a listener's queue was full.",
    ),
    NETWORK.counter("system.network.tcp.retransmits", "{segment}", "TCP segments sent again."),
    PAGING.counter("system.paging.faults", "{fault}", "Page faults."),
    PAGING.counter("system.paging.operations", "{operation}", "Pages swapped in and out."),
    PAGING.level("system.paging.usage", "By", "Swap space by state.").share(
        "system.paging.utilization",
        "Share of the swap space in each state.",
        "system.paging.state",
        Of::Now,
    ),
    PROCESS.level("system.process.count", "{process}", "Processes by state."),
    PROCESS.counter("system.process.created", "{process}", "Processes and threads created."),
    HOST.gauge("system.uptime", "s", "Seconds since the host booted.").double(),
    SERVICE.level("systemd.unit.state", "1", "1 for the state that the unit is in, 0 for the others."),
];
