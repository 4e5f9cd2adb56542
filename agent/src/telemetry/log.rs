//! What the agent writes about itself, to stderr: text for people, JSON elsewhere, repeats folded.
//!
//! A line that says the same as one of the last lines is counted, not written; once every ten seconds the line is
//! written again with the count. So a dead backend or a plugin in a loop fills no disk. What comes from plugins and
//! networks may be in any field: control characters are escaped, so that no line can forge another or command a
//! terminal, and long texts are cut.
//!
//! Deliberately absent: files and rotation, which a supervisor does, and per-module filters.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{Log, LogFormat, LogLevel};

/// How long repeats of a line are counted before they are told.
const WINDOW: Duration = Duration::from_secs(10);

/// How many different lines are remembered at once.
const REMEMBERED: usize = 32;

/// Longest text of one field, bytes.
const LONGEST: usize = 4096;

/// Sets the log of the process up. What is not written before the guard is dropped, counts of repeats, is written then.
///
/// # Errors
/// Where a log is set up already.
pub fn init(config: Log) -> Result<LogGuard, TryInitError> {
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = match config.format {
        LogFormat::Text => Style::Text { colour },
        LogFormat::Auto if terminal => Style::Text { colour },
        LogFormat::Auto | LogFormat::Json => Style::Json,
    };
    let lines = Arc::new(Lines::new(style, Box::new(io::stderr()), Box::new(Timestamp::now)));
    tracing_subscriber::registry()
        .with(LineLayer(Arc::clone(&lines)).with_filter(filter(config.level)))
        .try_init()?;
    Ok(LogGuard(lines))
}

/// The agent's own lines at `level`; those of the libraries beneath it where they warn.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("whimbrel", level)
}

/// Keeps the log; dropping it writes what was folded and not told yet.
#[must_use = "counts of repeated lines are written when it is dropped"]
pub struct LogGuard(Arc<Lines>);

impl LogGuard {
    /// Writes the counts of repeated lines now.
    pub fn flush(&self) {
        self.0.flush();
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogGuard")
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Text { colour: bool },
    Json,
}

/// What a line says, apart from when.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    level: Level,
    target: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

/// A line that was written, and how often it has come again.
struct Remembered {
    line: Line,
    since: Timestamp,
    repeats: u64,
}

struct State {
    out: Box<dyn Write + Send>,
    remembered: Vec<Remembered>,
}

/// Writes lines, folding repeats.
struct Lines {
    style: Style,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
}

impl Lines {
    fn new(style: Style, out: Box<dyn Write + Send>, now: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self { style, now, state: Mutex::new(State { out, remembered: Vec::new() }) }
    }

    fn write(&self, line: Line) {
        let now = (self.now)();
        let mut state = self.lock();
        self.tell_repeats(&mut state, now, |remembered| is_over(remembered.since, now));
        if let Some(same) = state.remembered.iter_mut().find(|remembered| remembered.line == line) {
            same.repeats += 1;
            return;
        }
        self.put(&mut state, now, &line, None);
        if state.remembered.len() == REMEMBERED {
            let oldest = state.remembered.remove(0);
            if oldest.repeats > 0 {
                self.put(&mut state, now, &oldest.line, Some((oldest.repeats, oldest.since)));
            }
        }
        state.remembered.push(Remembered { line, since: now, repeats: 0 });
    }

    fn flush(&self) {
        let now = (self.now)();
        self.tell_repeats(&mut self.lock(), now, |_| true);
    }

    /// Writes the counts of the lines that `over` holds for. Those that were not repeated are forgotten.
    fn tell_repeats(&self, state: &mut State, now: Timestamp, over: impl Fn(&Remembered) -> bool) {
        if !state.remembered.iter().any(&over) {
            return;
        }
        let mut kept = Vec::with_capacity(state.remembered.len());
        for mut remembered in std::mem::take(&mut state.remembered) {
            if !over(&remembered) {
                kept.push(remembered);
            } else if remembered.repeats > 0 {
                self.put(state, now, &remembered.line, Some((remembered.repeats, remembered.since)));
                (remembered.since, remembered.repeats) = (now, 0);
                kept.push(remembered);
            }
        }
        state.remembered = kept;
    }

    /// One write, so that lines of several processes on one stderr don't mix. A failure has nobody to be told to.
    fn put(&self, state: &mut State, now: Timestamp, line: &Line, repeats: Option<(u64, Timestamp)>) {
        let mut text = match self.style {
            Style::Text { colour } => render_text(now, line, repeats, colour),
            Style::Json => render_json(now, line, repeats),
        };
        text.push('\n');
        let written = state.out.write_all(text.as_bytes()).and_then(|()| state.out.flush());
        drop(written);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while writing leaves nothing half changed that matters more than going on writing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the window that began at `since` has ended; a clock that was set back ends it too.
fn is_over(since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).map_or(true, |elapsed| elapsed >= WINDOW)
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> u64 {
    Duration::try_from(now.duration_since(since)).map_or(0, |elapsed| elapsed.as_secs())
}

fn render_json(now: Timestamp, line: &Line, repeats: Option<(u64, Timestamp)>) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), format!("{now:.3}").into());
    object.insert("level".to_owned(), level_name(line.level).into());
    object.insert("target".to_owned(), line.target.as_str().into());
    object.insert("message".to_owned(), line.message.as_str().into());
    if !line.fields.is_empty() {
        let fields = line.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        object.insert("fields".to_owned(), Value::Object(fields.collect()));
    }
    if let Some((repeats, since)) = repeats {
        object.insert("repeated".to_owned(), repeats.into());
        object.insert("repeated_within_s".to_owned(), elapsed(since, now).into());
    }
    Value::Object(object).to_string()
}

fn render_text(now: Timestamp, line: &Line, repeats: Option<(u64, Timestamp)>, colour: bool) -> String {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let code = match line.level {
        Level::ERROR => "1;31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG | Level::TRACE => "2",
    };
    let level = format!("{:5}", level_name(line.level).to_uppercase());
    let time = paint("2", &format!("{now:.3}"));
    let mut text = format!("{time} {} {}", paint(code, &level), escape(&line.message));
    for (name, value) in &line.fields {
        let value = match value {
            Value::String(value) if is_bare(value) => value.clone(),
            Value::String(value) => {
                format!("\"{}\"", escape(&value.replace('\\', "\\\\").replace('"', "\\\"")))
            }
            value => value.to_string(),
        };
        text.push_str(&format!(" {}{value}", paint("2", &format!("{name}="))));
    }
    if let Some((repeats, since)) = repeats {
        let times = if repeats == 1 { "time" } else { "times" };
        text.push_str(&format!(" ({repeats} more {times} within {}s)", elapsed(since, now)));
    }
    text
}

/// Whether a text needs no quotes.
fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|next: char| next.is_whitespace() || next.is_control() || "\"=\\".contains(next))
}

/// Control characters as escapes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // Besides controls: the marks that turn the direction of a line around (Unicode TR 36).
        match character {
            character if character.is_control() => escaped.extend(character.escape_default()),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                escaped.extend(character.escape_default());
            }
            character => escaped.push(character),
        }
    }
    escaped
}

/// Cuts a text that is too long.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The fields of an event or span.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.retain(|(other, _)| *other != name);
                self.fields.push((name, value));
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let end = value.floor_char_boundary(LONGEST + 1);
        self.put(field, cut(value[..end].to_owned()).into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.put(field, cut(text).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, cut(format!("{value:?}")).into());
    }
}

/// Turns events into lines: the fields of the spans around them, then their own.
struct LineLayer(Arc<Lines>);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = Vec::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                all.extend(fields.fields.iter().cloned());
            }
        }
        let mut own = Fields::default();
        event.record(&mut own);
        all.retain(|(name, _)| own.fields.iter().all(|(other, _)| other != name));
        all.extend(own.fields);
        let metadata = event.metadata();
        let target = metadata.target().to_owned();
        self.0.write(Line { level: *metadata.level(), target, message: own.message, fields: all });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A log into memory, at a time that the test sets.
    struct Bench {
        lines: Arc<Lines>,
        written: Arc<Mutex<Vec<u8>>>,
        seconds: Arc<AtomicI64>,
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Bench {
        fn new(style: Style) -> Self {
            let written = Arc::new(Mutex::new(Vec::new()));
            let seconds = Arc::new(AtomicI64::new(1_800_000_000));
            let clock = Arc::clone(&seconds);
            let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap();
            let lines = Arc::new(Lines::new(style, Box::new(Shared(Arc::clone(&written))), Box::new(now)));
            Self { lines, written, seconds }
        }

        fn run(&self, level: LogLevel, log: impl FnOnce()) {
            let layer = LineLayer(Arc::clone(&self.lines)).with_filter(filter(level));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        }

        fn pass(&self, seconds: i64) {
            self.seconds.fetch_add(seconds, Ordering::Relaxed);
        }

        fn text(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.written.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn a_text_line_says_when_how_grave_what_and_with_which_fields() {
        let bench = Bench::new(Style::Text { colour: false });
        bench.run(LogLevel::Info, || {
            let _in = tracing::info_span!("exporter", exporter = "backend").entered();
            tracing::warn!(retry_in_s = 3, error = "connection refused", "can't send");
        });
        let line = "2027-01-15T08:00:00.000Z WARN  can't send exporter=backend retry_in_s=3 error=\"connection refused\"\n";
        assert_eq!(bench.text(), line);
    }

    #[test]
    fn a_json_line_is_one_object() {
        let bench = Bench::new(Style::Json);
        bench.run(
            LogLevel::Info,
            || tracing::info!(target: "whimbrel::x", bytes = 7_u64, ok = true, "a \"b\"\n{}", 1),
        );
        let text = bench.text();
        assert_eq!(text.lines().count(), 1);
        let expected = serde_json::json!({
            "time": "2027-01-15T08:00:00.000Z", "level": "info", "target": "whimbrel::x", "message": "a \"b\"\n1",
            "fields": {"bytes": 7, "ok": true},
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn repeats_are_folded_even_between_other_lines() {
        let bench = Bench::new(Style::Text { colour: false });
        bench.run(LogLevel::Info, || {
            for _ in 0..1000 {
                tracing::info!("one");
                tracing::info!("other");
            }
            assert_eq!(bench.text().lines().count(), 2);
            bench.pass(10);
            tracing::info!("third");
        });
        let text = bench.text();
        let messages: Vec<&str> = text.lines().map(|line| line.split_once("INFO  ").unwrap().1).collect();
        assert_eq!(
            messages,
            ["one (999 more times within 10s)", "other (999 more times within 10s)", "third"]
        );
    }

    #[test]
    fn a_lasting_repeat_is_told_once_a_window() {
        let bench = Bench::new(Style::Text { colour: false });
        bench.run(LogLevel::Info, || {
            for _ in 0..61 {
                tracing::info!("again");
                bench.pass(1);
            }
        });
        assert_eq!(bench.text().lines().count(), 7, "the line, and six counts");
    }

    #[test]
    fn a_line_that_comes_again_after_the_window_is_written_again() {
        let bench = Bench::new(Style::Text { colour: false });
        bench.run(LogLevel::Info, || {
            tracing::info!("rare");
            bench.pass(10);
            tracing::info!("rare");
            bench.pass(-3600);
            tracing::info!("rare");
        });
        let text = bench.text();
        assert_eq!(text.lines().filter(|line| line.ends_with("INFO  rare")).count(), 3, "{text}");
    }

    #[test]
    fn counts_are_written_at_the_end() {
        let bench = Bench::new(Style::Json);
        bench.run(LogLevel::Info, || (0..3).for_each(|_| tracing::info!("same")));
        drop(LogGuard(Arc::clone(&bench.lines)));
        let text = bench.text();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((last["message"].as_str(), last["repeated"].as_u64()), (Some("same"), Some(2)));
    }

    #[test]
    fn lines_that_differ_in_a_field_are_not_folded_and_memory_is_bounded() {
        let bench = Bench::new(Style::Text { colour: false });
        bench.run(LogLevel::Info, || (0..500).for_each(|number| tracing::info!(number, "counted")));
        assert_eq!(bench.text().lines().count(), 500);
        assert_eq!(bench.lines.lock().remembered.len(), REMEMBERED);
    }

    #[test]
    fn a_repeat_that_is_pushed_out_is_still_counted() {
        let bench = Bench::new(Style::Text { colour: false });
        bench.run(LogLevel::Info, || {
            (0..3).for_each(|_| tracing::info!("pushed out"));
            (0..REMEMBERED).for_each(|number| tracing::info!(number, "counted"));
        });
        assert!(bench.text().contains("pushed out (2 more times within 0s)"));
    }

    #[test]
    fn no_line_can_forge_another_or_command_a_terminal() {
        let bench = Bench::new(Style::Text { colour: false });
        let hostile = "x\n2027 ERROR forged\x1b[2J\u{202e}";
        bench.run(LogLevel::Info, || tracing::info!(field = hostile, "{hostile}"));
        let text = bench.text();
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text:?}");
    }

    #[test]
    fn long_texts_are_cut() {
        let bench = Bench::new(Style::Json);
        let long = "é".repeat(1 << 20);
        bench.run(LogLevel::Info, || tracing::info!(field = long.as_str(), "{long}"));
        assert!(bench.text().len() < 3 * LONGEST);
    }

    #[test]
    fn the_level_holds_for_the_agent_and_libraries_only_warn() {
        let bench = Bench::new(Style::Text { colour: false });
        let log = || {
            tracing::debug!(target: "whimbrel_wal", "ours");
            tracing::info!(target: "hyper", "theirs");
            tracing::warn!(target: "hyper", "their warning");
        };
        bench.run(LogLevel::Debug, log);
        let text = bench.text();
        assert!(
            text.contains("ours") && text.contains("their warning") && !text.contains("theirs"),
            "{text}"
        );
        bench.pass(3600);
        bench.run(LogLevel::Error, log);
        assert_eq!(bench.text(), "");
    }

    #[test]
    fn colours_are_only_used_when_asked_for() {
        let bench = Bench::new(Style::Text { colour: true });
        bench.run(LogLevel::Info, || tracing::error!("red"));
        assert!(bench.text().contains("\x1b[1;31mERROR\x1b[0m red"));
    }
}
