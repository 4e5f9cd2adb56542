//! `/proc/net/dev`: traffic by interface; and connections by state.
//!
//! Left out are interfaces whose traffic is another's too: a container's end of a pair (veth, and Calico's and
//! Cilium's of them) and the ifb devices that shape what another receives.

use std::path::Path;

use procfs::{
    FromBufRead,
    net::{DeviceStatus, InterfaceDeviceStatus},
};

use super::{connections::Connections, proc_file::ProcFile, starts::Starts};
use crate::system::{Figure, SnapshotError};

const LEFT_OUT: [&str; 4] = ["veth", "cali", "lxc", "ifb"];

#[derive(Debug)]
pub(super) struct Network {
    file: ProcFile,
    starts: Starts,
    connections: Connections,
}

impl Network {
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            file: ProcFile::new(proc.join("net/dev")),
            starts: Starts::default(),
            connections: Connections::new(proc),
        }
    }

    pub(super) fn figures(&mut self, boot_ns: u64, now_ns: u64) -> Result<Vec<Figure>, SnapshotError> {
        let parsed = InterfaceDeviceStatus::from_buf_read(self.file.text()?.as_bytes());
        let InterfaceDeviceStatus(parsed) = parsed.map_err(|error| self.file.malformed(error.to_string()))?;
        let mut interfaces: Vec<_> = parsed
            .into_values()
            .filter(|interface| !LEFT_OUT.iter().any(|prefix| interface.name.starts_with(prefix)))
            .collect();
        interfaces.sort_unstable_by(|one, other| one.name.cmp(&other.name));

        self.starts.begin();
        let started: Vec<_> = interfaces
            .into_iter()
            .map(|interface| (self.starts.of(&interface.name, &counters(&interface), boot_ns), interface))
            .collect();
        self.starts.end(now_ns);

        let mut figures = traffic(&started);
        figures.extend(self.connections.figures()?);
        Ok(figures)
    }
}

fn counters(interface: &DeviceStatus) -> [u64; 4] {
    [interface.recv_bytes, interface.sent_bytes, interface.recv_packets, interface.sent_packets]
}

fn traffic(interfaces: &[(u64, DeviceStatus)]) -> Vec<Figure> {
    const NAME: &str = "network.interface.name";
    let mut figures = Vec::with_capacity(interfaces.len() * 8);
    let mut both = |name, key, pick: fn(&DeviceStatus) -> (u64, u64)| {
        for (start_ns, interface) in interfaces {
            let (received, transmitted) = pick(interface);
            for (direction, count) in [("receive", received), ("transmit", transmitted)] {
                figures.push(
                    Figure::since(name, *start_ns, count as f64)
                        .with(key, interface.name.clone())
                        .with("network.io.direction", direction),
                );
            }
        }
    };
    both("system.network.io", NAME, |interface| (interface.recv_bytes, interface.sent_bytes));
    both("system.network.packet.count", "system.device", |interface| {
        (interface.recv_packets, interface.sent_packets)
    });
    both("system.network.packet.dropped", NAME, |interface| (interface.recv_drop, interface.sent_drop));
    both("system.network.errors", NAME, |interface| (interface.recv_errs, interface.sent_errs));
    figures
}
