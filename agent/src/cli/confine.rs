//! `whimbrel confine`: stands between the agent and a program that runs outside the sandbox.
//!
//! ```text
//! agent --socket--> confine (own session, reaper of what is orphaned below it)
//!                      '--> confine --then-exec (own group, limits) == becomes the program
//! ```
//!
//! The first lives as long as the program does, and ends it, with all that it started, when the agent hangs up: because
//! time is up, or because the agent was killed. The second sets what only a process itself can set without unsafe code:
//! limits, no new privileges, and death with its parent, and then is replaced by the program. What is to be known is said
//! over the socket, a line each: `pid 12`, `failed ...`, `unfit ...` (and another try would fail alike), `code 3`,
//! `signal 9`.

use std::{
    ffi::OsString,
    io::Write as _,
    os::{
        fd::AsFd as _,
        unix::{
            net::UnixStream,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, kill_process_group, setrlimit,
    setsid, wait,
};
use tokio::io::AsyncReadExt as _;

use super::exit::{Exit, Outcome};
use crate::collect::is_lasting;

/// Between asking a program to end and ending it.
const GRACE: Duration = Duration::from_secs(2);
/// What a program left behind is looked for so often, with a pause between.
const SWEEPS: usize = 200;
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// What `confine` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bytes of address space
    #[arg(long)]
    memory: u64,
    /// Seconds of processor time
    #[arg(long)]
    cpu: u64,
    /// Files that may be open
    #[arg(long)]
    open_files: u64,
    /// Processes of its user
    #[arg(long)]
    processes: u64,
    /// User to run as
    #[arg(long)]
    user: Option<u32>,
    /// Group to run as
    #[arg(long)]
    group: Option<u32>,
    /// Become the program
    #[arg(long)]
    then_exec: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// This very program, whatever has become of its file.
pub(super) fn program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("whimbrel"))
}

/// Runs it.
pub(super) fn run(args: &Args) -> Outcome {
    // Standard input is the agent's socket, in both.
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if args.then_exec {
        say_failed(&socket, &become_program(args));
        return Ok(Exit::Failed);
    }
    setsid()?;
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(watch(args, socket))
}

/// Returns only if it can't be done.
fn become_program(args: &Args) -> std::io::Error {
    let confined = (|| {
        // After the change of user, which would undo it.
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            rustix::thread::set_no_new_privs(true)?;
        }
        limit(Resource::As, args.memory)?;
        limit(Resource::Cpu, args.cpu)?;
        limit(Resource::Nofile, args.open_files)?;
        limit(Resource::Nproc, args.processes)?;
        limit(Resource::Core, 0)
    })();
    if let Err(error) = confined {
        return error;
    }
    // Resets SIGPIPE and the signal mask, too.
    Command::new(&args.command[0]).args(&args.command[1..]).stdin(Stdio::null()).exec()
}

/// Lowers a limit. One that is lower already stays.
fn limit(resource: Resource, to: u64) -> std::io::Result<()> {
    let now = getrlimit(resource);
    let lower = |old: Option<u64>| Some(old.map_or(to, |old| old.min(to)));
    setrlimit(resource, Rlimit { current: lower(now.current), maximum: lower(now.maximum) })?;
    Ok(())
}

async fn watch(args: &Args, socket: UnixStream) -> Outcome {
    let mut command = Command::new(program());
    command.arg("confine").arg("--then-exec");
    for (name, value) in [
        ("--memory", args.memory),
        ("--cpu", args.cpu),
        ("--open-files", args.open_files),
        ("--processes", args.processes),
    ] {
        command.arg(name).arg(value.to_string());
    }
    command.arg("--").args(&args.command);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone()?))).process_group(0);
    // Leaves all other groups, too.
    args.user.inspect(|user| {
        command.uid(*user);
    });
    args.group.inspect(|group| {
        command.gid(*group);
    });
    let mut child = match tokio::process::Command::from(command).spawn() {
        Ok(child) => child,
        Err(error) => {
            say_failed(&socket, &error);
            return Ok(Exit::Failed);
        }
    };
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    group.inspect(|pid| say(&socket, &format!("pid {}", pid.as_raw_nonzero())));
    let hear = socket.try_clone()?;
    hear.set_nonblocking(true)?;
    let mut agent = tokio::net::UnixStream::from_std(hear)?;
    let signal = |signal| {
        // An error means that nobody is left in it.
        let _ = group.map(|group| kill_process_group(group, signal));
    };
    let status = tokio::select! {
        status = child.wait() => status?,
        () = hung_up(&mut agent) => {
            signal(Signal::TERM);
            match tokio::time::timeout(GRACE, child.wait()).await {
                Ok(status) => status?,
                Err(_) => {
                    signal(Signal::KILL);
                    child.wait().await?
                }
            }
        }
    };
    sweep().await;
    socket.set_nonblocking(false)?;
    say(&socket, &ending(status));
    Ok(Exit::Done)
}

/// Returns when the agent has closed its end, or is gone.
async fn hung_up(agent: &mut tokio::net::UnixStream) {
    let mut nothing = [0; 16];
    while agent.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

/// Ends what the program has left behind: all that was orphaned below this process is its child now.
async fn sweep() {
    for _ in 0..SWEEPS {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let mut left = children().peekable();
        if left.peek().is_none() {
            return;
        }
        left.for_each(|pid| {
            let _ = kill_process(pid, Signal::KILL);
        });
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}

/// The children of this process, which has one thread; none where the system does not say.
fn children() -> impl Iterator<Item = Pid> {
    let own = std::process::id();
    let listed = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
    let pids: Vec<_> = listed.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    pids.into_iter()
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "failed it ended in no known way".to_owned(),
    }
}

fn say_failed(socket: &UnixStream, error: &std::io::Error) {
    let word = if is_lasting(error) { "unfit" } else { "failed" };
    say(socket, &format!("{word} {error}"));
}

/// The agent may be gone: then nobody needs to know.
fn say(mut socket: &UnixStream, line: &str) {
    let _ = socket.write_all(format!("{line}\n").as_bytes());
}
