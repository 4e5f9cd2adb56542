//! TCP connections of this network namespace, by state.
//!
//! `/proc/net/tcp` walks the kernel's whole hash table of connections, used or not: dear on large machines,
//! and twice, as `tcp6` walks the same. So it is paced, and streamed: a hundred thousand connections are
//! 15 MB of text, of which one field a line is read and nothing kept.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::system::{Figure, SnapshotError, pace::Paced};

/// By the kernel's number of the state less one (net/tcp_states.h); the last, NEW_SYN_RECV, is told as
/// `syn_received`, and does not show in this file.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait_1",
    "fin_wait_2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

type Counts = [u64; STATES.len()];

#[derive(Debug)]
pub(super) struct Connections {
    files: [PathBuf; 2],
    /// With how many of the files there are.
    counts: Paced<(usize, Counts)>,
}

impl Connections {
    /// `net`: the folder of a network namespace under procfs.
    pub(super) fn new(net: &Path) -> Self {
        Self { files: [net.join("tcp"), net.join("tcp6")], counts: Paced::new(Duration::ZERO) }
    }

    /// Nothing where the kernel tells nothing of TCP.
    pub(super) fn figures(&mut self) -> Result<Vec<Figure>, SnapshotError> {
        let files = &self.files;
        let counted = self.counts.get(|| {
            let mut counts = Counts::default();
            let mut told = 0;
            for path in files {
                match count(path, &mut counts) {
                    Ok(()) => told += 1,
                    // Without IPv6, no tcp6.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(source) => return Err(SnapshotError::Read { path: path.clone(), source }),
                }
            }
            Ok((told, counts))
        });
        match counted {
            Ok((0, _)) => Ok(Vec::new()),
            Ok((_, counts)) => Ok(figures(counts)),
            Err(error) => Err(error),
        }
    }
}

fn figures(counts: &Counts) -> Vec<Figure> {
    STATES
        .into_iter()
        .zip(counts)
        .map(|(state, count)| {
            Figure::now("system.network.connection.count", *count as f64)
                .with("network.connection.state", state)
                .with("network.transport", "tcp")
        })
        .collect()
}

/// Adds what is in one file: a line of headings, then `sl local remote st ...`, the state in hex.
fn count(path: &Path, counts: &mut Counts) -> std::io::Result<()> {
    let mut lines = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut line = Vec::with_capacity(160);
    let mut heading = true;
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if std::mem::take(&mut heading) {
            continue;
        }
        let state = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(3);
        let number = state
            .and_then(|state| std::str::from_utf8(state).ok())
            .and_then(|state| usize::from_str_radix(state, 16).ok());
        if let Some(number @ 1..) = number {
            // 12 is NEW_SYN_RECV.
            let index = if number == 12 { 2 } else { number - 1 };
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener};

    use super::*;

    #[test]
    fn every_state_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let line =
            |state: &str| format!("   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:0\n");
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let four: String = (1..=12).map(|state| line(&format!("{state:02X}"))).collect();
        fs::write(folder.path().join("tcp"), format!("{heading}{four}")).unwrap();
        let mut connections = Connections::new(folder.path());
        let told: Vec<_> = connections.figures().unwrap().iter().map(|figure| figure.value).collect();
        assert_eq!(told, [1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        fs::write(folder.path().join("tcp6"), format!("{heading}{}", line("0A"))).unwrap();
        let told = Connections::new(folder.path()).figures().unwrap();
        assert_eq!(told[9].value, 2.0, "tcp6 is added");
        assert_eq!(told[9].attributes[0].1, "listen".into());
    }

    #[test]
    fn without_tcp_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Connections::new(folder.path()).figures().unwrap(), []);
    }

    #[test]
    fn a_listener_of_this_process_is_counted() {
        let listening = || {
            let figures = Connections::new(Path::new("/proc/net")).figures().unwrap();
            figures[9].value
        };
        let sockets: Vec<_> = (0..200).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        // Other tests open and close theirs meanwhile, but not two hundred.
        assert!(listening() >= sockets.len() as f64);
    }
}
