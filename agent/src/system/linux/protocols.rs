//! What the kernel counts of all connections together: segments sent again, connections that a listener had no
//! room for, UDP sockets, and tracked connections where there is a firewall that tracks.
//!
//! Each file may be absent (a kernel without IPv6, without conntrack); then its figures are left out. The
//! counters are of the network namespace, and taken to count since boot. The files of conntrack are those of
//! the namespace that this process is in, wherever procfs is mounted: where that is not the host's, they are not
//! told. For each of its hundred counters the
//! kernel asks every CPU there may be: so all of it is paced, and not read every second.

use std::{convert::Infallible, path::Path, time::Duration};

use super::{proc_file::ProcFile, table::pick};
use crate::system::{Figure, pace::Paced};

/// How often they are read at most.
const FLOOR: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Protocols {
    files: Files,
    figures: Paced<Vec<Figure>>,
}

#[derive(Debug)]
struct Files {
    snmp: ProcFile,
    netstat: ProcFile,
    sockets: [ProcFile; 2],
    /// How many connections there are, and may be.
    tracked: Option<[ProcFile; 2]>,
}

impl Protocols {
    /// `net`: the folder of a network namespace under procfs; `conntrack`: the folder of its settings of
    /// netfilter, if this process is in it.
    pub(super) fn new(net: &Path, conntrack: Option<&Path>) -> Self {
        let of = |folder: &Path| {
            ["nf_conntrack_count", "nf_conntrack_max"].map(|name| ProcFile::new(folder.join(name)))
        };
        let files = Files {
            snmp: ProcFile::new(net.join("snmp")),
            netstat: ProcFile::new(net.join("netstat")),
            sockets: [ProcFile::new(net.join("sockstat")), ProcFile::new(net.join("sockstat6"))],
            tracked: conntrack.map(of),
        };
        Self { files, figures: Paced::new(FLOOR) }
    }

    pub(super) fn figures(&mut self, boot_ns: u64) -> Vec<Figure> {
        let Self { files, figures } = self;
        let Ok(figures) = figures.get(|| Ok::<_, Infallible>(files.figures(boot_ns)));
        figures.clone()
    }
}

impl Files {
    fn figures(&mut self, boot_ns: u64) -> Vec<Figure> {
        let mut figures = Vec::with_capacity(5);
        figures.extend(self.udp().map(|count| {
            // UDP has no states.
            Figure::now("system.network.connection.count", count as f64).with("network.transport", "udp")
        }));
        for (name, file, protocol, counter) in [
            ("system.network.tcp.retransmits", &mut self.snmp, "Tcp:", "RetransSegs"),
            ("system.network.tcp.listen_drops", &mut self.netstat, "TcpExt:", "ListenDrops"),
        ] {
            let count = file.text().ok().and_then(|text| column(&text, protocol, counter));
            figures.extend(count.map(|count| Figure::since(name, boot_ns, count as f64)));
        }
        let names = ["system.network.conntrack.count", "system.network.conntrack.limit"];
        for (name, file) in names.into_iter().zip(self.tracked.iter_mut().flatten()) {
            let count = file.text().ok().and_then(|text| text.trim().parse::<u64>().ok());
            figures.extend(count.map(|count| Figure::now(name, count as f64)));
        }
        figures
    }

    /// Sockets of both families, where any is told.
    fn udp(&mut self) -> Option<u64> {
        let [four, six] = &mut self.sockets;
        // `UDP: inuse 1 mem 2`
        let in_use = |file: &mut ProcFile, key: &str| {
            let text = file.text().ok()?;
            let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
            pick(rest.trim_start(), ["inuse"])[0]
        };
        match (in_use(four, "UDP:"), in_use(six, "UDP6:")) {
            (None, None) => None,
            (four, six) => Some(four.unwrap_or(0).saturating_add(six.unwrap_or(0))),
        }
    }
}

/// In `/proc/net/snmp` and `netstat`, each protocol has a line of names, then one of numbers.
fn column(text: &str, protocol: &str, counter: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.split(' ').next() == Some(protocol));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let place = names.split_ascii_whitespace().position(|name| name == counter)?;
    numbers.split_ascii_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_counter_is_found_below_its_name_and_what_is_absent_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let told = || -> Vec<(&str, u64, f64)> {
            let conntrack = folder.path().join("sys/net/netfilter");
            let mut protocols = Protocols::new(&folder.path().join("net"), Some(&conntrack));
            let figures = protocols.figures(7);
            figures.into_iter().map(|figure| (figure.name, figure.start_ns, figure.value)).collect()
        };
        assert_eq!(told(), []);
        write("net/snmp", "Ip: Forwarding RetransSegs\nIp: 1 2\nTcp: A RetransSegs B\nTcp: -1 41 5\n");
        write(
            "net/netstat",
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 9 11\nIpExt: ListenDrops\nIpExt: 4\n",
        );
        write(
            "net/sockstat",
            "sockets: used 20\nTCP: inuse 1 orphan 0\nUDP: inuse 3 mem 0\nUDPLITE: inuse 9\n",
        );
        write("net/sockstat6", "TCP6: inuse 0\nUDP6: inuse 2\n");
        write("sys/net/netfilter/nf_conntrack_count", "6\n");
        write("sys/net/netfilter/nf_conntrack_max", "262144\n");
        let expected = [
            ("system.network.connection.count", 0, 5.0),
            ("system.network.tcp.retransmits", 7, 41.0),
            ("system.network.tcp.listen_drops", 7, 11.0),
            ("system.network.conntrack.count", 0, 6.0),
            ("system.network.conntrack.limit", 0, 262_144.0),
        ];
        assert_eq!(told(), expected);
        write("net/snmp", "Tcp: A RetransSegs B\nTcp: -1\n");
        assert!(!told().iter().any(|(name, ..)| *name == "system.network.tcp.retransmits"));
    }
}
