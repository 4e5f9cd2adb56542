//! What the OpenTelemetry Collector's hostmetrics receiver calls the figures: names, units, kinds, attributes.
//!
//! The receiver's metadata, v0.165.1, as it is without feature gates; `tests/hostmetrics.tsv` is an extract of it,
//! which a test holds this table against. Figures that the receiver has no name for keep theirs. What it tells and
//! we do not, and where its numbers mean something else, is in the README.

use super::{Entry, Key, Of, Old, Part, Share, Values};
use whimbrel_sdk::Metric;

const CPU: Part = Part("cpu");
const DISK: Part = Part("disk");
const EACH: Part = Part("process.each");
const FILESYSTEM: Part = Part("filesystem");
const MEMORY: Part = Part("memory");
const NETWORK: Part = Part("network");
const PAGING: Part = Part("paging");
const PROCESS: Part = Part("process");

const CPU_KEYS: &[Key] = &[
    Key {
        from: "cpu.mode",
        to: "state",
        values: Values::Become(&[
            ("user", "user"),
            ("nice", "nice"),
            ("system", "system"),
            ("idle", "idle"),
            ("iowait", "wait"),
            ("interrupt", "interrupt"),
            ("steal", "steal"),
        ]),
    },
    Key { from: "cpu.logical_number", to: "cpu", values: Values::After("cpu") },
];
const DISK_KEYS: &[Key] = &[key("system.device", "device"), key("disk.io.direction", "direction")];
const FILESYSTEM_KEYS: &[Key] = &[
    key("system.device", "device"),
    key("system.filesystem.mode", "mode"),
    key("system.filesystem.mountpoint", "mountpoint"),
    key("system.filesystem.type", "type"),
    key("system.filesystem.state", "state"),
];
const MEMORY_KEYS: &[Key] = &[Key {
    from: "system.memory.state",
    to: "state",
    values: Values::Become(&[
        ("used", "used"),
        ("free", "free"),
        ("buffers", "buffered"),
        ("cached", "cached"),
    ]),
}];
const SLAB_KEYS: &[Key] = &[Key {
    from: "system.memory.linux.slab.state",
    to: "state",
    values: Values::Become(&[("reclaimable", "slab_reclaimable"), ("unreclaimable", "slab_unreclaimable")]),
}];
const NETWORK_KEYS: &[Key] = &[
    key("network.interface.name", "device"),
    key("system.device", "device"),
    key("network.io.direction", "direction"),
];
/// The receiver counts TCP alone, and has the kernel's names of the states.
const CONNECTION_KEYS: &[Key] = &[
    Key { from: "network.transport", to: "protocol", values: Values::Become(&[("tcp", "tcp")]) },
    Key {
        from: "network.connection.state",
        to: "state",
        values: Values::Become(&[
            ("established", "ESTABLISHED"),
            ("syn_sent", "SYN_SENT"),
            ("syn_received", "SYN_RECV"),
            ("fin_wait_1", "FIN_WAIT1"),
            ("fin_wait_2", "FIN_WAIT2"),
            ("time_wait", "TIME_WAIT"),
            ("closed", "CLOSE"),
            ("close_wait", "CLOSE_WAIT"),
            ("last_ack", "LAST_ACK"),
            ("listen", "LISTEN"),
            ("closing", "CLOSING"),
        ]),
    },
];
const PAGING_KEYS: &[Key] = &[
    key("system.device", "device"),
    key("system.paging.state", "state"),
    key("system.paging.fault.type", "type"),
    Key {
        from: "system.paging.direction",
        to: "direction",
        values: Values::Become(&[("in", "page_in"), ("out", "page_out")]),
    },
];
const PROCESS_STATE_KEYS: &[Key] = &[Key {
    from: "process.state",
    to: "status",
    values: Values::Become(&[
        ("running", "running"),
        ("sleeping", "sleeping"),
        ("stopped", "stopped"),
        ("defunct", "zombies"),
    ]),
}];
const EACH_KEYS: &[Key] = &[
    key("cpu.mode", "state"),
    key("disk.io.direction", "direction"),
    key("process.context_switch.type", "type"),
    key("system.paging.fault.type", "type"),
];

const fn key(from: &'static str, to: &'static str) -> Key {
    Key { from, to, values: Values::Same }
}

const fn old(figure: &'static str, entry: Entry, keys: &'static [Key]) -> Old {
    Old { figure, entry, keys }
}

const SHARE_OF_MEMORY: Entry = MEMORY.level("system.memory.usage", "By", "Memory by state.").share(
    "system.memory.utilization",
    "Share of the host's memory in each state.",
    "state",
    // The kernel's objects are told beside the states that add up.
    Of::HostMemory,
);

/// Of what is not reserved, the part that is used: one number a mount.
const SHARE_OF_FILESYSTEM: Share = Share {
    metric: Metric::gauge(
        "system.filesystem.utilization",
        "1",
        "Share of the file system's space that is used.",
    ),
    of: Of::Now,
    state: "system.filesystem.state",
    among: &["used", "free"],
    only: Some("used"),
    times: 1.0,
};

/// In per cent, whatever the unit says: so does the receiver.
const PER_CENT_OF_MEMORY: Share = Share {
    metric: Metric::gauge(
        "process.memory.utilization",
        "1",
        "Per cent of the host's memory that the process has.",
    ),
    of: Of::HostMemory,
    state: "",
    among: &[],
    only: None,
    times: 100.0,
};

/// Figures that the receiver names, tells or divides otherwise, ordered by the conventions' name.
pub const HOSTMETRICS: &[Old] = &[
    old(
        "process.context_switches",
        EACH.counter("process.context_switches", "{count}", "Context switches of the process."),
        EACH_KEYS,
    ),
    old(
        "process.cpu.time",
        EACH.counter("process.cpu.time", "s", "Seconds that the process ran in each state.").double().share(
            "process.cpu.utilization",
            "Share of the host's CPU time since the last collect that the process had.",
            "cpu.mode",
            Of::HostCpu,
        ),
        EACH_KEYS,
    ),
    old(
        "process.disk.io",
        EACH.counter("process.disk.io", "By", "Bytes that the process read from and wrote to storage."),
        EACH_KEYS,
    ),
    old(
        "process.disk.operations",
        EACH.counter("process.disk.operations", "{operations}", "Read and write calls of the process."),
        EACH_KEYS,
    ),
    old(
        "process.memory.usage",
        Entry {
            share: Some(PER_CENT_OF_MEMORY),
            ..EACH.level("process.memory.usage", "By", "Physical memory of the process.")
        },
        EACH_KEYS,
    ),
    old(
        "process.paging.faults",
        EACH.counter("process.paging.faults", "{faults}", "Page faults of the process."),
        EACH_KEYS,
    ),
    old(
        "process.thread.count",
        EACH.level("process.threads", "{threads}", "Threads of the process."),
        EACH_KEYS,
    ),
    old(
        "process.unix.file_descriptor.count",
        EACH.level("process.open_file_descriptors", "{count}", "Open files of the process."),
        EACH_KEYS,
    ),
    old(
        "system.cpu.frequency",
        CPU.gauge("system.cpu.frequency", "Hz", "Operating frequency of the logical CPU.").double(),
        CPU_KEYS,
    ),
    old(
        "system.cpu.time",
        CPU.counter("system.cpu.time", "s", "Seconds that CPUs spent in each state.").double().share(
            "system.cpu.utilization",
            "Share of CPU time since the last collect that was spent in each state.",
            "cpu.mode",
            Of::Growth,
        ),
        CPU_KEYS,
    ),
    old("system.disk.io", DISK.counter("system.disk.io", "By", "Bytes read and written."), DISK_KEYS),
    old(
        "system.disk.io_time",
        DISK.counter("system.disk.io_time", "s", "Seconds with at least one operation under way.").double(),
        DISK_KEYS,
    ),
    old(
        "system.disk.merged",
        DISK.counter("system.disk.merged", "{operations}", "Operations that were merged into others."),
        DISK_KEYS,
    ),
    old(
        "system.disk.operation_time",
        DISK.counter(
            "system.disk.operation_time",
            "s",
            "Seconds that operations took, added up over all of them.",
        )
        .double(),
        DISK_KEYS,
    ),
    old(
        "system.disk.operations",
        DISK.counter("system.disk.operations", "{operations}", "Operations that were completed."),
        DISK_KEYS,
    ),
    old(
        "system.disk.pending_operations",
        DISK.level("system.disk.pending_operations", "{operations}", "Operations under way."),
        DISK_KEYS,
    ),
    old(
        "system.disk.weighted_io_time",
        DISK.counter(
            "system.disk.weighted_io_time",
            "s",
            "Seconds with operations under way, times their number.",
        )
        .double(),
        DISK_KEYS,
    ),
    old(
        "system.filesystem.inode.usage",
        FILESYSTEM.level("system.filesystem.inodes.usage", "{inodes}", "Inodes of the file system by state."),
        FILESYSTEM_KEYS,
    ),
    old(
        "system.filesystem.usage",
        Entry {
            share: Some(SHARE_OF_FILESYSTEM),
            ..FILESYSTEM.level("system.filesystem.usage", "By", "Space on the file system by state.")
        },
        FILESYSTEM_KEYS,
    ),
    old(
        "system.memory.linux.available",
        MEMORY.level(
            "system.linux.memory.available",
            "By",
            "Memory that programs can have without swapping.",
        ),
        &[],
    ),
    old(
        "system.memory.linux.dirty",
        MEMORY.level("system.linux.memory.dirty", "By", "Memory that waits to be written to storage."),
        &[],
    ),
    old("system.memory.linux.slab.usage", SHARE_OF_MEMORY, SLAB_KEYS),
    old("system.memory.usage", SHARE_OF_MEMORY, MEMORY_KEYS),
    old(
        "system.network.connection.count",
        NETWORK.level("system.network.connections", "{connections}", "TCP connections by state."),
        CONNECTION_KEYS,
    ),
    old(
        "system.network.conntrack.count",
        NETWORK.level(
            "system.network.conntrack.count",
            "{entries}",
            "Entries in the table of tracked connections.",
        ),
        &[],
    ),
    old(
        "system.network.conntrack.limit",
        NETWORK.level(
            "system.network.conntrack.max",
            "{entries}",
            "Entries that fit in the table of tracked connections.",
        ),
        &[],
    ),
    old(
        "system.network.errors",
        NETWORK.counter("system.network.errors", "{errors}", "Packets received or sent with errors."),
        NETWORK_KEYS,
    ),
    old(
        "system.network.io",
        NETWORK.counter("system.network.io", "By", "Bytes received and sent."),
        NETWORK_KEYS,
    ),
    old(
        "system.network.packet.count",
        NETWORK.counter("system.network.packets", "{packets}", "Packets received and sent."),
        NETWORK_KEYS,
    ),
    old(
        "system.network.packet.dropped",
        NETWORK.counter("system.network.dropped", "{packets}", "Packets dropped without an error."),
        NETWORK_KEYS,
    ),
    old(
        "system.paging.faults",
        PAGING.counter("system.paging.faults", "{faults}", "Page faults."),
        PAGING_KEYS,
    ),
    old(
        "system.paging.operations",
        PAGING.counter("system.paging.operations", "{operations}", "Pages swapped in and out."),
        PAGING_KEYS,
    ),
    old(
        "system.paging.usage",
        PAGING.level("system.paging.usage", "By", "Swap space by state.").share(
            "system.paging.utilization",
            "Share of the swap space in each state.",
            "system.paging.state",
            Of::Now,
        ),
        PAGING_KEYS,
    ),
    old(
        "system.process.count",
        PROCESS.level("system.processes.count", "{processes}", "Processes by state."),
        PROCESS_STATE_KEYS,
    ),
    old(
        "system.process.created",
        PROCESS.counter("system.processes.created", "{processes}", "Processes and threads created."),
        &[],
    ),
];
