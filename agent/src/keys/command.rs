//! A key from a program's standard output: for a key management service.
//!
//! The program is run without a shell, with nothing on its standard input, in a process group of its own, which is
//! killed when the time is over. What it writes to standard output is never shown; the beginning of what it writes to
//! standard error is.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

/// How long a command may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of standard output.
const MOST: usize = 4096;
/// Most bytes of standard error that are shown.
const MOST_SAID: usize = 1024;
/// Between two looks whether it has ended, once its output is closed.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a command gave no text. Its output is not shown.
#[derive(Debug, thiserror::Error)]
#[error("{program} {what}{}", if said.is_empty() { String::new() } else { format!("; it said: {said}") })]
pub struct CommandError {
    program: String,
    what: String,
    said: String,
}

/// What the command writes. Blocks until it has ended, or been ended.
pub(super) fn output(command: &[String], up_to: Duration) -> Result<Zeroizing<String>, CommandError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(CommandError {
            program: String::new(),
            what: "names no program".into(),
            said: String::new(),
        });
    };
    let failed = |what: String, said: String| CommandError { program: program.clone(), what, said };
    let end = Instant::now() + up_to;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("can't be run: {error}"), String::new()))?;
    let mut running = Running(child);
    let Some((stdout, stderr)) = running.0.stdout.take().zip(running.0.stderr.take()) else {
        return Err(failed("has no output".into(), String::new()));
    };
    let text = reading(move || bounded(stdout));
    let said = reading(move || said(stderr));
    let written = text.recv_timeout(end.saturating_duration_since(Instant::now()));
    let status = match &written {
        Ok(Ok((_, len))) if *len <= MOST => running.wait(end),
        _ => Ok(None),
    };
    // Whatever it left behind holds the pipe of standard error open.
    drop(running);
    let said = said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let late = || format!("did not end within {} s", up_to.as_secs_f32());
    let what = match (written, status) {
        (Ok(Ok((_, len))), _) if len > MOST => format!("wrote more than {MOST} bytes: a key is 32"),
        (Ok(Err(error)), _) => format!("could not be read: {error}"),
        (Err(RecvTimeoutError::Disconnected), _) => "could not be read".to_owned(),
        (Err(RecvTimeoutError::Timeout), _) | (_, Ok(None)) => late(),
        (_, Err(error)) => format!("could not be waited for: {error}"),
        (_, Ok(Some(status))) if !status.success() => format!("ended with {status}"),
        (Ok(Ok((bytes, len))), Ok(Some(_))) => match std::str::from_utf8(&bytes[..len]) {
            Ok(text) => return Ok(Zeroizing::new(text.to_owned())),
            Err(_) => "wrote what is not UTF-8: a key is text".to_owned(),
        },
    };
    Err(failed(what, said))
}

/// Ended, with all that it started, when dropped.
struct Running(Child);

impl Running {
    /// `None` when the time is over.
    fn wait(&mut self, end: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of what has ended and left nothing behind there is no group any more.
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

fn reading<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (tell, told) = mpsc::sync_channel(1);
    // Nobody waits any more when the time is over.
    thread::spawn(move || drop(tell.send(read())));
    told
}

/// Up to one byte more than a key's text may have, in a place that is zeroed.
fn bounded(mut from: impl Read) -> io::Result<(Zeroizing<Vec<u8>>, usize)> {
    let mut bytes = Zeroizing::new(vec![0; MOST + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match from.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, len))
}

/// The beginning of what it says, in one line without control characters; the rest is read and forgotten, so that it
/// does not wait.
fn said(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before a failure is still worth showing.
    let _ = from.by_ref().take(MOST_SAID as u64).read_to_end(&mut bytes);
    let _ = io::copy(&mut from, &mut io::sink());
    let text = String::from_utf8_lossy(&bytes);
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, up_to: Duration) -> Result<Zeroizing<String>, CommandError> {
        output(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], up_to)
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn what_a_command_writes_is_its_text() {
        assert_eq!(*shell("printf key; echo chatter >&2", SOON).unwrap(), "key");
        let most = shell("head -c 4096 /dev/zero | tr '\\0' a", SOON).unwrap();
        assert_eq!(most.len(), MOST);
    }

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        let command = ["printf", "%s", "$HOME; `x` *"].map(str::to_owned);
        assert_eq!(*output(&command, SOON).unwrap(), "$HOME; `x` *");
    }

    #[test]
    fn a_failing_command_is_told_with_what_it_said_and_without_what_it_wrote() {
        let error = shell("echo hunter2; printf 'no\\n\\033[31m access' >&2; exit 3", SOON).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("it said: no [31m access"), "{text}");
        assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn too_much_output_is_refused_and_not_shown() {
        let error = shell("yes hunter2", SOON).unwrap_err().to_string();
        assert!(error.contains("more than 4096 bytes") && !error.contains("hunter2"), "{error}");
        let error = shell("head -c 4097 /dev/zero", SOON).unwrap_err().to_string();
        assert!(error.contains("more than 4096 bytes"), "{error}");
    }

    #[test]
    fn endless_talk_on_standard_error_is_cut_and_holds_nothing_up() {
        let error = shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", SOON).unwrap_err();
        assert_eq!(error.said.len(), MOST_SAID);
    }

    /// What it started goes too.
    #[test]
    fn a_command_that_does_not_end_is_ended() {
        for script in ["sleep 600", "sleep 600 & echo key; wait", "echo key; exec >&-; sleep 600"] {
            let begin = Instant::now();
            let error = shell(script, Duration::from_millis(300)).unwrap_err().to_string();
            assert!(error.contains("did not end within 0.3 s"), "{script}: {error}");
            assert!(begin.elapsed() < SOON, "{script}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = output(&["/no/such/program".to_owned()], SOON).unwrap_err().to_string();
        assert!(error.contains("/no/such/program can't be run"), "{error}");
    }
}
