//! `/proc/net/dev`: traffic by interface; links; connections by state, and what goes wrong with them.
//!
//! Left out are interfaces whose traffic is another's too: a container's end of a pair (veth, and Calico's and
//! Cilium's of them) and the ifb devices that shape what another receives: unless they are asked for by name.
//! What is not told is followed all the same, so that it has its start when it is.

use procfs::{
    FromBufRead,
    net::{DeviceStatus, InterfaceDeviceStatus},
};

use super::{
    connections::Connections, links::Links, proc_file::ProcFile, protocols::Protocols, starts::Starts,
};
use crate::system::{Figure, Options, SnapshotError, select::Names};

const LEFT_OUT: [&str; 4] = ["veth", "cali", "lxc", "ifb"];

#[derive(Debug)]
pub(super) struct Network {
    file: ProcFile,
    starts: Starts,
    links: Links,
    connections: Connections,
    protocols: Protocols,
}

impl Network {
    pub(super) fn new(options: &Options) -> Self {
        let own = is_own(options);
        let net = options.proc.join(if options.is_own_root() { "net" } else { "1/net" });
        let conntrack = own.then(|| options.proc.join("sys/net/netfilter"));
        Self {
            file: ProcFile::new(net.join("dev")),
            starts: Starts::default(),
            links: Links::new(&options.sys),
            connections: Connections::new(&net),
            protocols: Protocols::new(&net, conntrack.as_deref()),
        }
    }

    pub(super) fn figures(
        &mut self,
        names: &Names,
        boot_ns: u64,
        now_ns: u64,
    ) -> Result<Vec<Figure>, SnapshotError> {
        let parsed = InterfaceDeviceStatus::from_buf_read(self.file.text()?.as_bytes());
        let InterfaceDeviceStatus(parsed) = parsed.map_err(|error| self.file.malformed(error.to_string()))?;
        let mut interfaces: Vec<_> = parsed.into_values().collect();
        interfaces.sort_unstable_by(|one, other| one.name.cmp(&other.name));

        self.starts.begin(now_ns);
        let mut started: Vec<_> = interfaces
            .into_iter()
            .map(|interface| (self.starts.of(&interface.name, &counters(&interface), boot_ns), interface))
            .collect();
        self.starts.end();
        started.retain(|(_, interface)| {
            let left_out = LEFT_OUT.iter().any(|prefix| interface.name.starts_with(prefix));
            names.keep(&interface.name, left_out)
        });

        let mut figures = traffic(&started);
        figures.extend(links(&mut self.links, &started));
        figures.extend(self.connections.figures()?);
        figures.extend(self.protocols.figures(boot_ns));
        Ok(figures)
    }
}

/// Whether the network of the host is this process's: where the host's root is mounted elsewhere, `net` would be
/// that of a container. What may not be known is not so.
fn is_own(options: &Options) -> bool {
    let namespace = |process| std::fs::read_link(options.proc.join(process).join("ns/net"));
    let same = || namespace("self").is_ok_and(|own| namespace("1").is_ok_and(|hosts| own == hosts));
    options.is_own_root() || same()
}

fn links(links: &mut Links, interfaces: &[(u64, DeviceStatus)]) -> Vec<Figure> {
    let names = interfaces.iter().map(|(_, interface)| interface.name.as_str());
    let links = links.read(names.clone());
    let known: Vec<_> = names.filter_map(|name| Some((name, links.get(name).copied().flatten()?))).collect();
    let named = |figure: Figure, name: &str| figure.with("network.interface.name", name.to_owned());
    let mut figures = Vec::with_capacity(known.len() * 2);
    figures.extend(known.iter().map(|(name, link)| {
        named(Figure::now("system.network.interface.up", if link.up { 1.0 } else { 0.0 }), name)
    }));
    figures.extend(known.iter().filter_map(|(name, link)| {
        Some(named(Figure::now("system.network.interface.speed", link.speed? as f64), name))
    }));
    figures
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system::{Value, select};

    #[test]
    fn interfaces_are_told_by_name_and_start_when_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let (net, sys) = (folder.path().join("net"), folder.path().join("sys"));
        fs::create_dir(&net).unwrap();
        for interface in ["eth0", "veth1"] {
            let path = sys.join("class/net").join(interface);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("operstate"), "up\n").unwrap();
            fs::write(path.join("speed"), "1000\n").unwrap();
        }
        let options = Options { proc: folder.path().to_owned(), sys: sys.clone(), ..Options::default() };
        let mut network = Network::new(&options);
        let mut read = |interfaces: &[(&str, u64)], select: &[(&str, &str)], now_ns| {
            let lines: String = interfaces
                .iter()
                .map(|(name, count)| format!("{name}: {count} 1 0 0 0 0 0 0 {count} 1 0 0 0 0 0 0\n"))
                .collect();
            fs::write(net.join("dev"), format!("Inter-| x\n face | y\n{lines}")).unwrap();
            let pairs: Vec<_> = select.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let names = select::names("network", &pairs).unwrap();
            network.figures(&names, 7, now_ns).unwrap()
        };
        let of = |figures: &[Figure], name: &str| -> Vec<(Value, u64, f64)> {
            let wanted = figures.iter().filter(|figure| figure.name == name);
            wanted.map(|figure| (figure.attributes[0].1.clone(), figure.start_ns, figure.value)).collect()
        };
        let text = |name: &str| Value::from(name.to_owned());

        let told = read(&[("eth0", 5)], &[], 100);
        assert_eq!(of(&told, "system.network.interface.up"), [(text("eth0"), 0, 1.0)]);
        assert_eq!(of(&told, "system.network.interface.speed"), [(text("eth0"), 0, 1e9)]);
        let both = [("eth0", 6), ("veth1", 3)];
        assert_eq!(of(&read(&both, &[], 200), "system.network.interface.up").len(), 1);
        let told = read(&both, &[("include", "veth*")], 300);
        let expected = (text("veth1"), 100, 3.0);
        assert_eq!(of(&told, "system.network.io"), [expected.clone(), expected], "came after 100");
        assert_eq!(of(&told, "system.network.interface.up"), [(text("veth1"), 0, 1.0)]);
        assert_eq!(of(&read(&[], &[], 400), "system.network.io"), []);
        let told = read(&[("eth0", 9)], &[("exclude", "veth*")], 500);
        assert_eq!(of(&told, "system.network.io")[0], (text("eth0"), 400, 9.0), "went and came back");
    }

    #[test]
    fn where_the_root_is_mounted_elsewhere_the_network_is_that_of_the_hosts_first_process() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join("proc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let dev = |name: &str| format!("Inter-| x\n face | y\n{name}: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n");
        write("net/dev", &dev("container0"));
        write("1/net/dev", &dev("host0"));
        write("sys/net/netfilter/nf_conntrack_count", "7\n");
        let told = || {
            let figures =
                Network::new(&Options::at(folder.path())).figures(&Names::default(), 7, 100).unwrap();
            assert_eq!(figures[0].attributes[0].1, "host0".to_owned().into());
            figures.iter().any(|figure| figure.name == "system.network.conntrack.count")
        };
        assert!(!told(), "whose network it is can't be known");
        for process in ["1", "self"] {
            fs::create_dir_all(folder.path().join("proc").join(process).join("ns")).unwrap();
            std::os::unix::fs::symlink("net:[1]", folder.path().join("proc").join(process).join("ns/net"))
                .unwrap();
        }
        assert!(told(), "a container in the host's network");
        fs::remove_file(folder.path().join("proc/self/ns/net")).unwrap();
        std::os::unix::fs::symlink("net:[2]", folder.path().join("proc/self/ns/net")).unwrap();
        assert!(!told(), "a container in its own");
    }
}
