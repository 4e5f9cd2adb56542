//! Servers as a hostile plugin would like to meet them, or has set up itself.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// Answers by the path of a request; ends with the process.
pub(crate) struct Server {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, SeqCst);
                // Whoever is gone is no matter.
                let reader = stream.try_clone().expect("a socket can be shared");
                thread::spawn(move || answer(reader, stream));
            }
        });
        Self { port, connections }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Answers over a Unix socket; ends with the process.
pub(crate) fn over_unix(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket can be made there");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let reader = stream.try_clone().expect("a socket can be shared");
            // Whoever is gone is no matter.
            thread::spawn(move || answer(reader, stream));
        }
    });
}

fn answer(reader: impl Read, mut stream: impl Write) -> std::io::Result<()> {
    let mut lines = BufReader::new(reader).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    match path.split_once("?to=") {
        Some((_, to)) => {
            write!(stream, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        None if path == "/huge" => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40)?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        None if path == "/endless" => {
            stream.write_all(chunked)?;
            let mut chunk = b"100000\r\n".to_vec();
            chunk.resize(chunk.len() + 0x10_0000, b'x');
            chunk.extend_from_slice(b"\r\n");
            loop {
                stream.write_all(&chunk)?;
            }
        }
        None if path == "/drip" => {
            stream.write_all(chunked)?;
            loop {
                stream.write_all(b"1\r\nx\r\n")?;
                thread::sleep(Duration::from_millis(50));
            }
        }
        None => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
    }
}
