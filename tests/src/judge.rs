//! A backend that is a judge: it answers every OTLP/HTTP request with 200, and remembers which numbers it saw.
//!
//! Records carry `seq=` and ten digits in their text; exporters to it must send them neither compressed nor over gRPC.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// How often each number arrived.
type Seen = Arc<Mutex<BTreeMap<u64, u32>>>;

/// See the module. Listens until the process ends.
pub struct Judge {
    address: SocketAddr,
    seen: Seen,
}

impl Judge {
    /// Listens on this port; 0 takes a free one.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the judge's port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Seen::default();
        let all = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = all.clone();
                // A sender that is killed leaves half a request: nothing was answered then.
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often each number arrived.
    pub fn seen(&self) -> BTreeMap<u64, u32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: TcpStream, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        note(&body, seen);
        writer
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
            )
            .ok()?;
    }
}

fn note(body: &[u8], seen: &Seen) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    for (at, _) in body.windows(4).enumerate().filter(|(_, window)| *window == b"seq=") {
        let digits = body.get(at + 4..at + 14).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(number) = digits.and_then(|digits| digits.parse().ok()) {
            *seen.entry(number).or_default() += 1;
        }
    }
}
