//! One connection: bytes to lines, lines to batches, and what is answered.
//!
//! One task reads, stores and answers. While the gather has no room nothing is read, so that TCP holds the sender back.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use whimbrel_otlp::write::{Attributes, Envelope};

use super::{
    Shared,
    line::{Line, LineError, parse},
    map::{Batch, nanoseconds, time},
    spans::OpenSpan,
    watch::TooMany,
};
use crate::receive::{
    Connection, Guard, Stream, Ticket,
    event::id,
    event::{Json, Text},
};

/// Longest line, bytes, without its end.
const LONGEST_LINE: usize = 64 << 10;
/// What a connection reads into at first, and again once it has been emptied.
const SMALL_BUFFER: usize = 8 << 10;
/// And what it grows to.
const BIG_BUFFER: usize = 128 << 10;
/// Sources of one connection whose envelopes are kept.
const MOST_SOURCES: usize = 256;
/// A source that says no name (OpenTelemetry semantic conventions, `service.name`).
const NAMELESS: &str = "unknown_service";
/// How long a client may take for its first line where a token is wanted.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read its answers.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Errors told a second; more are counted.
const ERRORS_A_SECOND: u32 = 20;
/// Acknowledgements that wait to become true; beyond them nothing is read.
const MOST_ACKS: usize = 1024;
/// How long the last words may take when the agent stops.
const LAST_WORDS: Duration = Duration::from_secs(3);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const MOST_INTERVAL: Duration = Duration::from_secs(86_400);

/// What a source said about itself on this connection.
struct Source {
    envelope: Arc<Envelope>,
}

/// Why a connection ends.
enum End {
    /// The client went away, or read nothing.
    Gone,
    /// With a last word.
    Bye(&'static str),
}

struct Session {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    /// Where a token is wanted and was not shown yet.
    locked: Option<Guard>,
    sources: HashMap<String, Source>,
    /// The source of lines that name none.
    current: String,
    batch: Batch,
    lines: u64,
    answers: Vec<u8>,
    /// The last ticket of each signal: what is before it is durable with it.
    latest: [Option<Ticket>; 3],
    acks: VecDeque<(u64, [Option<Ticket>; 3])>,
    /// Of this chunk, to be put behind its tickets.
    asked: Vec<u64>,
    errors: (Instant, u32),
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: Stream, connection: Arc<Connection>, shared: Arc<Shared>, guard: Guard) {
    let session = Session {
        shared,
        connection,
        locked: guard.wants_token().then_some(guard),
        sources: HashMap::new(),
        current: NAMELESS.to_owned(),
        batch: Batch::default(),
        lines: 0,
        answers: Vec::new(),
        latest: [None, None, None],
        acks: VecDeque::new(),
        asked: Vec::new(),
        errors: (Instant::now(), 0),
    };
    session.run(stream).await;
}

impl Session {
    async fn run(mut self, mut stream: Stream) {
        let end = self.exchange(&mut stream).await;
        if let End::Bye(message) = end {
            let words = serde_json::json!({"type": "bye", "message": message});
            self.answers.extend_from_slice(words.to_string().as_bytes());
            self.answers.push(b'\n');
        }
        // What was taken is kept and brought to the disk whoever is there to hear of it.
        let last = async {
            while let Some((number, tickets)) = self.acks.pop_front() {
                let told = durable(&tickets).await;
                self.acknowledge(number, told);
            }
            // Whether it can still be told or not: the connection ends.
            let _ = stream.write_all(&self.answers).await;
            let _ = stream.shutdown().await;
        };
        let _ = tokio::time::timeout(LAST_WORDS, last).await;
    }

    async fn exchange(&mut self, stream: &mut Stream) -> End {
        let mut buffer: Vec<u8> = Vec::with_capacity(SMALL_BUFFER);
        // In the middle of a line that is too long.
        let mut skipping = false;
        let line_time = self.shared.ground.limits.request_time;
        let mut due = self.locked.is_some().then(|| Instant::now() + HELLO_TIME);
        loop {
            if !self.answers.is_empty() {
                match tokio::time::timeout(ANSWER_TIME, stream.write_all(&self.answers)).await {
                    Ok(Ok(())) => self.answers.clear(),
                    Ok(Err(_)) => return End::Gone,
                    Err(_) => {
                        self.shared.ground.counts.refused("unread_answers");
                        return End::Gone;
                    }
                }
            }
            if buffer.capacity() - buffer.len() == 0 {
                buffer.reserve(if buffer.capacity() < BIG_BUFFER { buffer.capacity() } else { LONGEST_LINE });
            }
            let next = self.acks.front().map(|(_, tickets)| tickets.clone());
            let acknowledged = async {
                match &next {
                    Some(tickets) => durable(tickets).await,
                    None => std::future::pending().await,
                }
            };
            let stop = self.shared.ground.stop.clone();
            let late = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let reads = self.acks.len() < MOST_ACKS;
            tokio::select! {
                told = acknowledged => {
                    if let Some((number, _)) = self.acks.pop_front() {
                        self.acknowledge(number, told);
                    }
                }
                read = stream.read_buf(&mut buffer), if reads => {
                    let over = !matches!(read, Ok(1..));
                    let _at_work = self.connection.at_work();
                    let before = due.is_none();
                    let taken = match self.take_lines(&buffer, &mut skipping, over).await {
                        Ok(taken) => taken,
                        Err(end) => return end,
                    };
                    buffer.drain(..taken);
                    if over {
                        return End::Gone;
                    }
                    if buffer.is_empty() && buffer.capacity() > SMALL_BUFFER && taken < SMALL_BUFFER {
                        buffer = Vec::with_capacity(SMALL_BUFFER);
                    }
                    due = match (buffer.is_empty() && !skipping, &self.locked) {
                        (_, Some(_)) => due,
                        (true, None) => None,
                        (false, None) if before || taken > 0 => Some(Instant::now() + line_time),
                        (false, None) => due,
                    };
                }
                () = late => {
                    let (cause, message) = match self.locked {
                        Some(_) => ("unauthenticated", "no hello with a token came in time"),
                        None => ("slow", "a line did not end in time"),
                    };
                    self.shared.ground.counts.refused(cause);
                    return End::Bye(message);
                }
                () = stop.wait() => {
                    // What has arrived whole is taken.
                    return match self.take_lines(&buffer, &mut skipping, false).await {
                        Ok(_) => End::Bye("the agent is stopping"),
                        Err(end) => end,
                    };
                }
            }
        }
    }

    /// Takes all complete lines; at the end of the stream, `over`, also one without its end. How many bytes were used.
    async fn take_lines(&mut self, bytes: &[u8], skipping: &mut bool, over: bool) -> Result<usize, End> {
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &bytes[start..]) {
            let line = &bytes[start..start + length];
            start += length + 1;
            if std::mem::take(skipping) {
                continue;
            }
            self.take_line(line).await?;
        }
        let rest = &bytes[start..];
        if over && !rest.is_empty() && !*skipping {
            // Half a line at the end: whole if it can be read.
            self.take_line(rest).await?;
            start = bytes.len();
        } else if *skipping {
            start = bytes.len();
        } else if rest.len() > LONGEST_LINE + 1 {
            self.lines += 1;
            self.refuse(None, &too_long());
            *skipping = true;
            start = bytes.len();
        }
        self.store().await;
        Ok(start)
    }

    async fn take_line(&mut self, line: &[u8]) -> Result<(), End> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        if line.len() > LONGEST_LINE {
            self.refuse(None, &too_long());
            return Ok(());
        }
        let parsed = match parse(line) {
            Ok(parsed) => parsed,
            Err(error) if self.locked.is_none() => {
                self.refuse(ack_of(line), &error);
                return Ok(());
            }
            Err(_) => return Err(self.no_entry()),
        };
        if let Some(guard) = &self.locked {
            let token = parsed.token.as_ref().map(|token| token.as_str().as_bytes());
            if parsed.kind.as_str() != "hello" || !guard.opens(token) {
                return Err(self.no_entry());
            }
            self.locked = None;
        }
        if let Err(wait) = self.shared.ground.pace.may(self.connection.peer) {
            self.shared.ground.counts.refused("rate");
            self.store().await;
            tokio::time::sleep(wait).await;
        }
        match self.take(&parsed) {
            Ok(()) => self.asked.extend(parsed.ack),
            Err(error) => self.refuse(parsed.ack, &error),
        }
        Ok(())
    }

    fn no_entry(&self) -> End {
        self.shared.ground.counts.refused("unauthenticated");
        End::Bye("this endpoint wants a token: begin with {\"type\":\"hello\",\"token\":\"...\"}")
    }

    /// Maps a line into the batch.
    fn take(&mut self, line: &Line<'_>) -> Result<(), LineError> {
        let now = self.shared.now_ns();
        if let Some(source) = line.source.as_ref().map(Text::as_str).filter(|source| !source.is_empty())
            && source != self.current
        {
            source.clone_into(&mut self.current);
        }
        let envelope = self.envelope();
        if let Some(count) = line.dropped.filter(|count| *count > 0) {
            self.shared.ground.counts.dropped_by_sender(count);
            self.batch.dropped(&envelope, now, count);
        }
        match line.kind.as_str() {
            "event" => self.batch.event(&envelope, line, now),
            "metric" => self.batch.metric(&envelope, line, now),
            "progress" => self.batch.progress(&envelope, line, now),
            "span" => self.span(&envelope, line, now),
            "resource" => self.resource(line),
            "heartbeat" => self.heartbeat(&envelope, line, now),
            "hello" => self.hello(line),
            _ => Err(LineError::new(
                "bad_type",
                "type must be event, metric, progress, resource, span, heartbeat or hello",
            )),
        }
    }

    /// Of the current source.
    fn envelope(&mut self) -> Arc<Envelope> {
        if let Some(source) = self.sources.get(&self.current) {
            return source.envelope.clone();
        }
        let envelope = self.shared.envelope(&self.current, None, &[]);
        self.keep(envelope.clone());
        envelope
    }

    fn keep(&mut self, envelope: Arc<Envelope>) {
        if self.sources.len() >= MOST_SOURCES && !self.sources.contains_key(&self.current) {
            // Envelopes can be made again; what sources said of their resource has to be said again.
            self.shared.ground.counts.refused("sources_forgotten");
            self.sources.clear();
        }
        self.sources.insert(self.current.clone(), Source { envelope });
    }

    fn resource(&mut self, line: &Line<'_>) -> Result<(), LineError> {
        let pairs = line
            .attributes
            .as_ref()
            .ok_or_else(|| LineError::new("missing", "a resource needs `attributes`"))?;
        let mut attributes = Attributes::new();
        pairs.add_to(&mut attributes);
        let said = pairs.0.iter().filter(|(_, value)| *value != Json::Null);
        let own: Vec<String> = said.map(|(key, _)| key.to_string()).collect();
        let envelope = self.shared.envelope(&self.current, Some(&attributes), &own);
        self.keep(envelope);
        Ok(())
    }

    fn span(&mut self, envelope: &Arc<Envelope>, line: &Line<'_>, now: u64) -> Result<(), LineError> {
        match line.phase.as_ref().map(Text::as_str) {
            None => self.batch.span(envelope, line),
            Some("start") => {
                let start = line.start.map_or_else(|| time(line, now), |start| Ok(start.ns()?))?;
                let mut span = OpenSpan::begin(envelope.clone(), line, start)?;
                if let Some(pairs) = &line.attributes {
                    pairs.add_to(&mut span.attributes);
                }
                self.batch.span_start(&span, now);
                let monotonic = self.shared.ground.clock.monotonic();
                if let Some(oldest) = self.shared.spans.begin(span, monotonic) {
                    self.shared.ground.counts.refused("open_spans");
                    self.batch.unfinished(&oldest, now);
                }
                Ok(())
            }
            Some("end") => {
                let end = line.end.map_or_else(|| time(line, now), |end| Ok(end.ns()?))?;
                let (trace, span) = both_ids(line)?;
                match self.shared.spans.end(trace, span) {
                    Some(begun) => self.batch.ended(&begun, line, end.max(begun.start_ns), false),
                    None => {
                        let start = line.start.map(|start| start.ns()).transpose()?;
                        let mut half = OpenSpan::begin(envelope.clone(), line, start.unwrap_or(end))?;
                        half.start_ns = half.start_ns.min(end);
                        self.batch.ended(&half, line, end, start.is_none())
                    }
                }
            }
            Some(_) => Err(LineError::from("phase must be start or end".to_owned())),
        }
    }

    fn heartbeat(&mut self, envelope: &Arc<Envelope>, line: &Line<'_>, now: u64) -> Result<(), LineError> {
        let interval = match line.interval {
            Some(interval) => Duration::from_nanos(nanoseconds(interval, "interval")?),
            None => DEFAULT_INTERVAL,
        };
        let interval = interval.clamp(Duration::from_millis(100), MOST_INTERVAL);
        let monotonic = self.shared.ground.clock.monotonic();
        match self.shared.watch.beat(&self.current, interval, monotonic) {
            Ok(returned) => {
                self.batch.heartbeat(envelope, time(line, now)?, returned);
                Ok(())
            }
            Err(TooMany(limit)) => {
                let message = format!("{limit} sources are watched already, and `sources` allows no more");
                Err(LineError::new("too_many", message))
            }
        }
    }

    fn hello(&mut self, line: &Line<'_>) -> Result<(), LineError> {
        if line.version.is_some_and(|version| version != 1) {
            return Err(LineError::new("bad_version", "this agent speaks version 1 of the protocol"));
        }
        let agent = concat!("whimbrel/", env!("CARGO_PKG_VERSION"));
        let answer = serde_json::json!({"type": "hello", "version": 1, "agent": agent});
        self.answers.extend_from_slice(answer.to_string().as_bytes());
        self.answers.push(b'\n');
        Ok(())
    }

    /// Brings the batch to the gather, and notes who wants to hear when it is durable.
    async fn store(&mut self) {
        if !self.batch.pieces.is_empty() {
            let tickets = self.shared.add(&mut self.batch).await;
            for (latest, ticket) in self.latest.iter_mut().zip(tickets) {
                *latest = ticket.or(latest.take());
            }
        }
        for number in self.asked.drain(..) {
            self.acks.push_back((number, self.latest.clone()));
        }
    }

    fn acknowledge(&mut self, number: u64, told: Result<(), String>) {
        let answer = match told {
            Ok(()) => serde_json::json!({"type": "ack", "ack": number}),
            Err(message) => {
                serde_json::json!({"type": "error", "code": "not_stored", "message": message, "ack": number})
            }
        };
        self.answers.extend_from_slice(answer.to_string().as_bytes());
        self.answers.push(b'\n');
    }

    /// Counts a line that was not taken, and tells its sender, within bounds.
    fn refuse(&mut self, ack: Option<u64>, error: &LineError) {
        self.shared.ground.counts.refused(error.code);
        let now = Instant::now();
        if now - self.errors.0 >= Duration::from_secs(1) {
            self.errors = (now, 0);
        }
        self.errors.1 += 1;
        if self.errors.1 > ERRORS_A_SECOND && ack.is_none() {
            return;
        }
        let mut answer = serde_json::json!({
            "type": "error", "line": self.lines, "code": error.code, "message": error.message,
        });
        if let Some(number) = ack {
            answer["ack"] = number.into();
        }
        self.answers.extend_from_slice(answer.to_string().as_bytes());
        self.answers.push(b'\n');
    }
}

async fn durable(tickets: &[Option<Ticket>; 3]) -> Result<(), String> {
    for ticket in tickets.iter().flatten() {
        ticket.durable().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn too_long() -> LineError {
    LineError::new("too_long", format!("a line may have {LONGEST_LINE} bytes; this one was passed over"))
}

fn both_ids(line: &Line<'_>) -> Result<([u8; 16], [u8; 8]), LineError> {
    let of = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default();
    Ok((id("trace_id", &of(&line.trace_id))?, id("span_id", &of(&line.span_id))?))
}

/// The acknowledgement that a line asks for which can't be read as a whole.
fn ack_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Asked {
        ack: Option<u64>,
    }
    serde_json::from_slice::<Asked>(line).ok()?.ack
}
