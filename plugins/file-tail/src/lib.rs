//! The file collector: lines of log files, each once, to OTLP log records.
//!
//! ```text
//! scan     what the patterns find                                   files, with identity, size and time of change
//! follow   which of them is which; renamed, cut, copied, new        files, with how far each was read
//! read     on from there, if it is still what stands there          bytes
//! lines    lines, or several that belong together                   records
//! parse    time, severity, message, attributes                      OTLP
//! ```
//!
//! Nothing of a file is kept between two collects but how far it was read, and what stood before: an unfinished line is
//! read again when it has grown. That is all of the checkpoint, too, which is pushed with the records that it stands
//! for: after any fault the next instance reads on exactly behind the last durable record.

mod config;
mod figures;
mod follow;
mod known;
mod lines;
mod parse;
mod print;
mod read;
mod scan;
mod time;

use std::time::Duration;

use whimbrel_sdk::{
    Attributes, Collector, Context, Emit, Error, More, clock, collector,
    files::{Error as FileError, File, split},
    warn,
};

use crate::{
    config::Settings,
    figures::{Counts, Levels},
    follow::Follow,
    known::{Stage, decode, encode},
    lines::{End, Piece},
    parse::Parser,
    read::{Reader, Stopped},
};

pub use config::Config;
pub use lines::TooLong;

/// Records in a push, and in how many the SDK would push by itself.
const BATCH: usize = 1000;
/// Bytes in a push; the SDK would push by itself at 1 MiB.
const BATCH_BYTES: u64 = 768 << 10;
/// A line that is longer than may be: how many bytes of it stand before this record.
const LINE_OFFSET: &str = "whimbrel.line.offset";
/// And whether it goes on behind it.
const LINE_CUT: &str = "whimbrel.line.cut";

/// The collector.
#[derive(Debug)]
pub struct FileTail {
    settings: Settings,
    follow: Follow,
    reader: Reader,
    counts: Counts,
    started_ns: u64,
    interval_ns: u64,
    /// Of the last scan, by the monotonic clock; `None`: scan at once.
    scanned_ns: Option<u64>,
    /// The file to begin with, so that none has to wait for ever.
    next: usize,
    /// The last collect said that there is more.
    more: bool,
    /// What the first scan found, until something is durable.
    origin: Option<Vec<u8>>,
    /// Bytes of records in one collect.
    budget: u64,
}

/// What one collect may still do.
#[derive(Debug)]
struct Turn {
    now_ns: u64,
    budget: u64,
    /// Stop when so much is left of the deadline.
    reserve: Duration,
    records: usize,
    /// [`Emit::size`] at the last push.
    pushed: u64,
}

/// What came of one file.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    /// Read as far as it goes now, or nothing to do.
    Done,
    /// An older file of the same path comes first.
    Waits,
    /// It was left.
    Left,
    /// Its content is another one.
    Replaced,
    /// The turn is over.
    Full,
}

impl Collector for FileTail {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let settings = Settings::new(context.config)?;
        let mut follow = Follow::default();
        if let Some(checkpoint) = &context.checkpoint {
            match decode(checkpoint) {
                Some(known) => follow.resume(known),
                None => {
                    warn!("the checkpoint is not mine: as at the first start"; "bytes" => checkpoint.len())
                }
            }
        }
        Ok(Self {
            budget: settings.max_per_collect,
            settings,
            follow,
            reader: Reader::default(),
            counts: Counts::default(),
            started_ns: clock::now_ns(),
            interval_ns: u64::try_from(context.interval.as_nanos()).unwrap_or(u64::MAX),
            scanned_ns: None,
            next: 0,
            more: false,
            origin: None,
        })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let now_ns = clock::monotonic_ns();
        // What was refused would have been rewound.
        self.follow.settled();
        let scan_due = self.scanned_ns.is_none_or(|at| now_ns.saturating_sub(at) >= self.interval_ns);
        if !self.more || scan_due {
            self.follow.scan(&self.settings, &mut self.counts, now_ns);
            self.scanned_ns = Some(now_ns);
        }
        if out.durable().is_none() && self.origin.is_none() {
            self.origin = Some(encode(&self.follow.known));
            self.follow.changed = true;
        }
        let reserve = out.remaining() / 3;
        let mut turn = Turn { now_ns, budget: self.budget, reserve, records: 0, pushed: 0 };
        self.more = self.read(&mut turn, out)?;
        if turn.records > 0 || self.follow.changed {
            out.checkpoint(encode(&self.follow.known))?;
            self.follow.changed = false;
        }
        if self.settings.metrics && !self.more {
            figures::emit(&self.counts, &self.levels(), self.started_ns, out)?;
        }
        Ok(if self.more { More::Yes } else { More::No })
    }

    fn rewind(&mut self, durable: Option<&[u8]>, cause: &Error) {
        if let Some(known) = durable.or(self.origin.as_deref()).and_then(decode) {
            self.follow.resume(known);
            // The first scan is not durable yet.
            self.follow.changed = durable.is_none();
        }
        if let Error::TooLarge(limit) = cause {
            self.budget = self.budget.min(limit / 2);
        }
        self.more = false;
        self.scanned_ns = None;
    }
}

impl FileTail {
    /// Reads on in all files; whether there is more to read at once.
    fn read(&mut self, turn: &mut Turn, out: &mut Emit) -> Result<bool, Error> {
        let (mut n, mut more) = (self.next, false);
        let mut left_to_do = self.follow.known.len();
        while left_to_do > 0 {
            if n >= self.follow.known.len() {
                n = 0;
            }
            left_to_do -= 1;
            match self.read_one(n, turn, out)? {
                Did::Done => n += 1,
                Did::Waits => {
                    more = true;
                    n += 1;
                }
                Did::Left => {
                    self.follow.leave(n);
                }
                Did::Replaced => {
                    self.follow.replaced(n, &mut self.counts);
                    self.scanned_ns = None;
                    more = true;
                    n += 2;
                }
                Did::Full => {
                    self.next = n + 1;
                    return Ok(true);
                }
            }
        }
        self.next = 0;
        Ok(more)
    }

    fn read_one(&mut self, n: usize, turn: &mut Turn, out: &mut Emit) -> Result<Did, Error> {
        let (stage, problem) = {
            let known = &mut self.follow.known[n];
            let mut problem = None;
            if known.stage == Stage::Left
                && let Some(file) = &known.now.file
            {
                match file.metadata() {
                    Ok(found) => known.now.look((found.size, found.modified_ns), turn.now_ns),
                    Err(error) => problem = Some(error),
                }
            }
            (known.stage, problem)
        };
        if let Some(problem) = problem {
            self.problem(n, &problem);
            return Ok(Did::Done);
        }
        let known = &self.follow.known[n];
        let quiet = Duration::from_nanos(turn.now_ns.saturating_sub(known.now.changed_ns));
        let end = match stage {
            Stage::Lost => return Ok(Did::Done),
            Stage::Left if quiet >= self.settings.rotated_wait => End::Over,
            _ if self.settings.shape.together.is_some() && quiet >= self.settings.flush_after => End::Quiet,
            _ => End::Open,
        };
        let waits = known.now.pending && end == End::Quiet;
        if known.now.all_read && !waits && end != End::Over {
            return Ok(Did::Done);
        }
        if self.is_behind(n) {
            return Ok(Did::Waits);
        }
        if !self.follow.open(n, &mut self.counts) {
            self.follow.known[n].now.failed = true;
            return Ok(Did::Done);
        }
        self.read_on(n, end, turn, out)
    }

    /// Whether an older file of the same path is to be read first.
    fn is_behind(&self, n: usize) -> bool {
        let (older, rest) = self.follow.known.split_at(n);
        let path = &rest[0].path;
        older.iter().any(|file| {
            let is_read = file.now.all_read || file.now.failed;
            (file.stage == Stage::Lost || !is_read) && file.path == *path
        })
    }

    fn read_on(&mut self, n: usize, end: End, turn: &mut Turn, out: &mut Emit) -> Result<Did, Error> {
        // Opened by the caller.
        let Some(file) = self.follow.known[n].now.file.take() else { return Ok(Did::Done) };
        let own = self.follow.known[n].now.attributes.take();
        let own = own.unwrap_or_else(|| attributes(&self.settings, &self.follow.known[n].path));
        let did = self.read_from(&file, n, &own, end, turn, out);
        // Whatever came of it: one that was removed can't be opened again.
        let known = &mut self.follow.known[n];
        known.now.file = Some(file);
        known.now.attributes = Some(own);
        match did? {
            Ok(did) => Ok(did),
            Err(problem) => {
                self.problem(n, &problem);
                Ok(Did::Done)
            }
        }
    }

    fn read_from(
        &mut self,
        file: &File,
        n: usize,
        own: &Attributes,
        end: End,
        turn: &mut Turn,
        out: &mut Emit,
    ) -> Result<Result<Did, FileError>, Error> {
        match self.reader.begin(file, &self.follow.known[n]) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(Did::Replaced)),
            Err(problem) => return Ok(Err(problem)),
        }
        loop {
            let Self { reader, settings, counts, follow, .. } = self;
            let known = &mut follow.known[n];
            let show = |piece: Piece<'_>| {
                counts.bytes += piece.used as u64;
                if let Some(bytes) = piece.text {
                    emit(bytes, &piece, &settings.parser, own, counts, out)?;
                    counts.records += 1;
                    turn.records += 1;
                }
                Ok(!turn.is_batch(out))
            };
            match reader.run(file, known, &settings.shape, end, show)? {
                Ok(Stopped::End) => {
                    known.now.all_read = true;
                    known.now.failed = false;
                    known.now.pending = reader.has_rest() && end == End::Open;
                    return Ok(Ok(if end == End::Over { Did::Left } else { Did::Done }));
                }
                Ok(Stopped::Changed) => return Ok(Ok(Did::Replaced)),
                Ok(Stopped::Asked) => {
                    out.checkpoint(encode(&follow.known))?;
                    out.flush()?;
                    follow.changed = false;
                    turn.records = 0;
                    turn.pushed = out.size();
                    if turn.is_over(out) {
                        return Ok(Ok(Did::Full));
                    }
                }
                Err(problem) => return Ok(Err(problem)),
            }
        }
    }

    /// A file that can't be read for now.
    fn problem(&mut self, n: usize, problem: &FileError) {
        self.counts.errors += 1;
        self.follow.tell(problem);
        self.follow.known[n].now.failed = true;
    }

    fn levels(&self) -> Levels {
        let known = self.follow.known.iter().filter(|file| file.stage != Stage::Lost);
        Levels {
            followed: known.clone().count() as u64,
            open: self.follow.open_files() as u64,
            ignored: self.follow.ignored,
            lag: known.map(|file| file.now.size.saturating_sub(file.offset)).sum(),
        }
    }
}

impl Turn {
    /// Whether what waits is to be pushed.
    fn is_batch(&self, out: &Emit) -> bool {
        let waiting = out.size() - self.pushed;
        self.records >= BATCH || waiting >= BATCH_BYTES.min(self.budget / 2) || out.size() >= self.budget
    }

    /// Whether the collect is to end. A batch more has room.
    fn is_over(&self, out: &Emit) -> bool {
        out.size() >= self.budget || out.remaining() < self.reserve
    }
}

/// What each record of a file carries.
fn attributes(settings: &Settings, path: &str) -> Attributes {
    let mut own = Attributes::new().with("log.file.path", path).with("log.file.name", split(path).1);
    for (key, value) in &settings.attributes {
        own.push(key, value);
    }
    own
}

fn emit(
    bytes: &[u8],
    piece: &Piece<'_>,
    parser: &Parser,
    own: &Attributes,
    counts: &mut Counts,
    out: &mut Emit,
) -> Result<(), Error> {
    let text = String::from_utf8_lossy(bytes);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        counts.not_utf8 += 1;
    }
    if piece.after == 0 && !piece.cut {
        if !parser.emit(&text, own, out)? {
            counts.unparsed += 1;
        }
        return Ok(());
    }
    if piece.after == 0 {
        counts.too_long += 1;
    }
    let mut own = own.clone();
    own.push(LINE_OFFSET, i64::try_from(piece.after).unwrap_or(i64::MAX));
    own.push(LINE_CUT, piece.cut);
    // A part of a line has no form that could be read.
    Parser::default().emit(&text, &own, out).map(drop)
}

collector!(FileTail {
    name: "file-tail",
    description: "Lines of log files, each once: globs, rotation, truncation, lines that belong together.",
    config_schema: include_str!("../config.schema.json"),
});
