//! One run of a program: started confined, read while it runs, ended when its time, its output or the agent's own end
//! says so.
//!
//! `whimbrel confine` stands between, and is told over a socket: as long as this end is open, the program may go on. So
//! nothing of it outlives the agent, however that ends.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::PathBuf,
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
};

use super::fitness::{is_lasting, unfit};
use crate::config::{Exec, Limits};

/// What is said over the socket is shorter.
const MOST_SAID: usize = 8 << 10;
/// Longest line of standard error, bytes; the rest of it is left out.
const LONGEST_LINE: usize = 1 << 10;
/// `confine` lets a program end for two seconds; so long it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// So much is read at once.
const CHUNK: usize = 8 << 10;

static CONFINED_BY: OnceLock<PathBuf> = OnceLock::new();

/// Names the program `whimbrel`, whose `confine` starts others. Said once, by the program itself: an agent that is
/// embedded in another has none, and runs no programs.
pub fn programs_are_confined_by(program: PathBuf) {
    // A second call names the same.
    let _ = CONFINED_BY.set(program);
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Code(i32),
    /// By a signal that was not this agent's.
    Signal(i32),
    /// It did not begin.
    NotStarted(NotStarted),
    /// It was ended: out of time.
    Overdue,
    /// It was ended: too much output.
    Flood,
    /// It was ended: the agent, or the collector, stops.
    Stopped,
}

/// Why a run did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotStarted {
    pub(super) why: String,
    /// The next would not either.
    pub(super) lasting: bool,
}

impl NotStarted {
    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), lasting: false }
    }
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ending: Ending,
    /// At most what is allowed.
    pub(super) output: Vec<u8>,
    pub(super) errors: Lines,
}

/// Lines of standard error: the first is kept, some are handed on, all are counted.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) first: Option<String>,
    pub(super) dropped: u64,
    budget: u64,
    line: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], tell: &mut impl FnMut(&str)) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line(tell);
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(*byte);
            }
        }
    }

    fn end_line(&mut self, tell: &mut impl FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(line.trim_ascii());
        if text.is_empty() {
            return;
        }
        self.first.get_or_insert_with(|| text.to_string());
        match self.budget.checked_sub(1) {
            Some(left) => {
                self.budget = left;
                tell(&text);
            }
            None => self.dropped += 1,
        }
    }
}

/// Runs it once, to the end of all that it started. `lines` of standard error at most are handed to `tell`; `stop` ends
/// it early.
///
/// Cancel safety: when the future is dropped, the program is ended.
pub(super) async fn run(
    exec: &Exec,
    limits: &Limits,
    lines: u64,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&str),
) -> Run {
    let mut errors = Lines { budget: lines, ..Lines::default() };
    let (ending, output) = match begin(exec, limits) {
        Ok(begun) => follow(begun, limits, stop, &mut errors, &mut tell).await,
        Err(not_started) => (Ending::NotStarted(not_started), Vec::new()),
    };
    errors.end_line(&mut tell);
    Run { ending, output, errors }
}

struct Begun {
    child: tokio::process::Child,
    socket: UnixStream,
}

fn begin(exec: &Exec, limits: &Limits) -> Result<Begun, NotStarted> {
    let never = |why: String| NotStarted { why, lasting: true };
    let embedded = || never("an embedded agent runs no programs: use the program `whimbrel`".to_owned());
    let confine = CONFINED_BY.get().ok_or_else(embedded)?;
    if let Some(unfit) = unfit(exec) {
        return Err(never(unfit.to_string()));
    }
    let failed = |error: std::io::Error| NotStarted::passing(error.to_string());
    let (ours, theirs) = StdStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let mut command = Command::new(confine);
    command.arg("confine");
    for (name, value) in [
        ("--memory", limits.memory),
        ("--cpu", exec.cpu_time.as_secs().max(1)),
        ("--open-files", exec.open_files),
        ("--processes", exec.processes),
    ] {
        command.arg(name).arg(value.to_string());
    }
    for (name, value) in [("--user", exec.user), ("--group", exec.group)] {
        if let Some(value) = value {
            command.arg(name).arg(value.to_string());
        }
    }
    command.arg("--").arg(&exec.program).args(&exec.arguments);
    command.env_clear().envs(exec.environment.iter().map(|(name, value)| (name, value.reveal())));
    command.current_dir(&exec.directory).kill_on_drop(true);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| NotStarted {
        why: format!("in {}: {error}", exec.directory.display()),
        lasting: is_lasting(&error),
    })?;
    let socket = UnixStream::from_std(ours).map_err(failed)?;
    Ok(Begun { child, socket })
}

async fn follow(
    begun: Begun,
    limits: &Limits,
    stop: impl Future<Output = ()>,
    errors: &mut Lines,
    tell: &mut impl FnMut(&str),
) -> (Ending, Vec<u8>) {
    let Begun { mut child, socket } = begun;
    let (mut hears, mut tells) = socket.into_split();
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let most = usize::try_from(limits.output).unwrap_or(usize::MAX);
    let (mut output, mut said) = (Vec::new(), Vec::new());
    let (mut chunk, mut error_chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut hears_more = true;
    let mut ended: Option<Ending> = None;
    let time = tokio::time::sleep(limits.deadline);
    tokio::pin!(time, stop);
    while stdout.is_some() || stderr.is_some() || hears_more {
        let why = tokio::select! {
            read = read_some(&mut stdout, &mut chunk) => {
                if read == 0 {
                    stdout = None;
                }
                let room = most - output.len();
                output.extend_from_slice(&chunk[..read.min(room)]);
                if read <= room || ended.is_some() {
                    continue;
                }
                Ending::Flood
            }
            read = read_some(&mut stderr, &mut error_chunk) => {
                match read {
                    0 => stderr = None,
                    read => errors.take(&error_chunk[..read], tell),
                }
                continue;
            }
            read = hears.read_buf(&mut said), if hears_more => {
                hears_more = read.is_ok_and(|read| read > 0) && said.len() < MOST_SAID;
                continue;
            }
            () = &mut stop, if ended.is_none() => Ending::Stopped,
            () = &mut time => match ended {
                None => Ending::Overdue,
                // It does not end, nor does what is to end it.
                Some(_) => break,
            },
        };
        ended = Some(why);
        // Hanging up is the order; what it says of its end is still heard.
        let _ = tells.shutdown().await;
        time.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
    }
    let Said { group, ending } = Said::of(&String::from_utf8_lossy(&said));
    if ending.is_none() {
        // Who was to end it is gone, or hangs.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = child.start_kill();
    }
    let _ = child.wait().await;
    let lost = || Ending::NotStarted(NotStarted::passing("it could not be confined"));
    (ended.or(ending).unwrap_or_else(lost), output)
}

/// What `confine` says.
struct Said {
    group: Option<Pid>,
    ending: Option<Ending>,
}

impl Said {
    fn of(text: &str) -> Self {
        let mut said = Self { group: None, ending: None };
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let number = rest.parse().ok();
            match word {
                "pid" => said.group = number.and_then(Pid::from_raw),
                "failed" => said.ending = Some(Ending::NotStarted(NotStarted::passing(rest))),
                "unfit" => {
                    let never = NotStarted { why: rest.to_owned(), lasting: true };
                    said.ending = Some(Ending::NotStarted(never));
                }
                // Said after it: the end of what took the program's place until then.
                "code" if said.ending.is_none() => said.ending = number.map(Ending::Code),
                "signal" if said.ending.is_none() => said.ending = number.map(Ending::Signal),
                _ => {}
            }
        }
        said
    }
}

/// How many bytes were read; 0: there are no more. Never returns where there is nothing to read from. Cancel safe.
async fn read_some(from: &mut Option<impl tokio::io::AsyncRead + Unpin>, to: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(to).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_first_is_the_ending() {
        let ending = |text| Said::of(text).ending;
        assert_eq!(ending("pid 7\ncode 3\n"), Some(Ending::Code(3)));
        assert_eq!(ending("pid 7\nsignal 9\n"), Some(Ending::Signal(9)));
        assert_eq!(
            ending("pid 7\nfailed no such file\ncode 1\n"),
            Some(Ending::NotStarted(NotStarted { why: "no such file".into(), lasting: false }))
        );
        assert_eq!(
            ending("pid 7\nunfit no such file\ncode 1\n"),
            Some(Ending::NotStarted(NotStarted { why: "no such file".into(), lasting: true }))
        );
        assert_eq!(ending("pid 7\n"), None);
        assert_eq!(Said::of("pid 7\n").group.map(|pid| pid.as_raw_nonzero().get()), Some(7));
        assert!(Said::of("pid 0\npid x\n").group.is_none());
    }

    #[test]
    fn lines_are_told_as_far_as_the_budget_goes_and_the_rest_is_counted() {
        let mut lines = Lines { budget: 2, ..Lines::default() };
        let mut told = Vec::new();
        let mut tell = |line: &str| told.push(line.to_owned());
        lines.take(b"one\n\ntw", &mut tell);
        lines.take(b"o\nthree\nfour", &mut tell);
        lines.end_line(&mut tell);
        assert_eq!(told, ["one", "two"]);
        assert_eq!((lines.first.as_deref(), lines.dropped), (Some("one"), 2));
        let mut lines = Lines { budget: 9, ..Lines::default() };
        lines.take(&[b'x'; 5000], &mut |_: &str| {});
        lines.take(b"\n", &mut |line: &str| assert_eq!(line.len(), LONGEST_LINE));
    }
}
