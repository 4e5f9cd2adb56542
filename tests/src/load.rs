//! Applications under load, as threads: each sends numbered records by its protocol, at a pace, over kills of the agent,
//! and remembers which the agent answered for.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use whimbrel_otlp::write::{LogRecord, Logs};

/// How long an answer is waited for before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// By which protocol an application sends.
#[derive(Debug, Clone, Copy)]
pub enum Protocol {
    /// `POST /v1/logs`
    Otlp,
    /// One object a line, the last of each batch asking for an acknowledgement.
    Ldjson,
    /// `POST /ingest`
    Ingest,
}

/// Applications that send.
pub struct Load {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    answered: Arc<Mutex<Vec<Range<u64>>>>,
    refused: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// One that sends nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stop: Arc::default(),
            next: Arc::default(),
            answered: Arc::default(),
            refused: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// Starts an application that sends batches of `batch` records, one every `every` at most.
    pub fn send(&mut self, protocol: Protocol, to: SocketAddr, batch: u64, every: Duration) {
        let (stop, next) = (self.stop.clone(), self.next.clone());
        let (answered, refused) = (self.answered.clone(), self.refused.clone());
        self.threads.push(thread::spawn(move || {
            let mut connection = None;
            while !stop.load(Relaxed) {
                let began = Instant::now();
                let numbers = next.fetch_add(batch, Relaxed);
                let numbers = numbers..numbers + batch;
                match exchange(protocol, to, &mut connection, &numbers) {
                    Ok(true) => answered.lock().unwrap_or_else(PoisonError::into_inner).push(numbers),
                    Ok(false) => drop(refused.fetch_add(1, Relaxed)),
                    Err(_) => {
                        connection = None;
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                thread::sleep(every.saturating_sub(began.elapsed()));
            }
        }));
    }

    /// Requests that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// How many records the agent has answered for.
    pub fn answered(&self) -> u64 {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.iter().map(|range| range.end - range.start).sum()
    }

    /// Stops all; what the agent answered for.
    pub fn stop(self) -> Vec<Range<u64>> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            // A sender that panicked is a failed test, and its panic is in the output.
            drop(thread.join());
        }
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.clone()
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

/// Sends one batch; whether the agent answers for it.
fn exchange(
    protocol: Protocol,
    to: SocketAddr,
    connection: &mut Option<BufReader<TcpStream>>,
    numbers: &Range<u64>,
) -> std::io::Result<bool> {
    let reader = match connection {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect(to)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            connection.insert(BufReader::new(stream))
        }
    };
    match protocol {
        Protocol::Otlp => {
            let mut request = Logs::new();
            for number in numbers.clone() {
                let text = format!("seq={number:010} of the orders was paid for by somebody");
                request.record(&LogRecord { time_ns: 1, body: text.as_str().into(), ..LogRecord::default() });
            }
            post(reader, "/v1/logs", "application/x-protobuf", &request.take())
        }
        Protocol::Ingest => {
            let event = |number| format!("{{\"type\":\"order\",\"name\":\"seq={number:010}\"}}\n");
            let body: String = numbers.clone().map(event).collect();
            post(reader, "/ingest", "application/x-ndjson", body.as_bytes())
        }
        Protocol::Ldjson => {
            let last = numbers.end - 1;
            let line = |number| {
                let ack = if number == last { format!(",\"ack\":{number}") } else { String::new() };
                format!("{{\"type\":\"event\",\"name\":\"order\",\"message\":\"seq={number:010}\"{ack}}}\n")
            };
            let lines: String = numbers.clone().map(line).collect();
            reader.get_mut().write_all(lines.as_bytes())?;
            let mut answer = String::new();
            if reader.read_line(&mut answer)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok(answer.contains("\"ack\"") && !answer.contains("\"error\""))
        }
    }
}

fn post(
    reader: &mut BufReader<TcpStream>,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> std::io::Result<bool> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: here\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    reader.get_mut().write_all(head.as_bytes())?;
    reader.get_mut().write_all(body)?;
    let mut status = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if status.is_empty() {
            status.clone_from(&line);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(status.contains(" 200 ") || status.contains(" 202 "))
}
