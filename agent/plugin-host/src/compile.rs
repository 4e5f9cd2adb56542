//! Compiles in a child process, so that the agent never holds a compiler, nor parses what a stranger wrote.
//!
//! The component goes in through the child's standard input, the reply comes out of its standard output
//! (`frame.rs`). The child limits itself before it reads the first byte: memory, processor time, no files,
//! no core dump (`whimbrel-plugin compile --help`). It gets no environment, and never the cache's key. From
//! here it gets a deadline, and a bound on what it may answer.

use std::{
    env, io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    sync::Semaphore,
};

use crate::{error::CompileError, text::clean};

/// The program's name.
const PROGRAM: &str = "whimbrel-plugin";
/// Names another program.
const VARIABLE: &str = "WHIMBREL_PLUGIN_TOOL";
/// The most of the child's standard error that is repeated, in bytes.
const MAX_STDERR: u64 = 4 << 10;
/// `SIGABRT` and `SIGXCPU`, the same on every Linux and BSD.
const ABORTED: i32 = 6;
const CPU_LIMIT: i32 = 24;

#[derive(Debug)]
pub(crate) struct Compiler {
    /// As configured; else it is searched for, each time: it may be installed later.
    program: Option<PathBuf>,
    timeout: Duration,
    /// Bytes of address space.
    memory: u64,
    max_output: u64,
    /// One at a time: each may use all cores and a lot of memory.
    turn: Semaphore,
}

/// As what a person's `whimbrel plugin ...` starts `whimbrel-plugin`: its zeroth argument, which it then calls itself in
/// usage and errors.
pub const CALLED_BY_AGENT: &str = "whimbrel plugin";

/// Where `whimbrel-plugin` is: as configured, or as `$WHIMBREL_PLUGIN_TOOL` says, or beside this program, or in the
/// PATH.
///
/// # Errors
/// [`CompileError::Missing`], with the places that were looked at.
pub fn compiler_path(configured: Option<PathBuf>) -> Result<PathBuf, CompileError> {
    let named = configured.or_else(|| env::var_os(VARIABLE).map(PathBuf::from));
    let looked: Vec<PathBuf> = match named {
        Some(program) => vec![program],
        None => {
            let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(PROGRAM)));
            let path = env::var_os("PATH").unwrap_or_default();
            let path: Vec<PathBuf> = env::split_paths(&path).map(|dir| dir.join(PROGRAM)).collect();
            beside.into_iter().chain(path).collect()
        }
    };
    match looked.iter().find(|path| is_program(path)) {
        // The child is started in another folder.
        Some(program) => Ok(std::path::absolute(program).unwrap_or_else(|_| program.clone())),
        None => Err(CompileError::Missing { looked }),
    }
}

impl Compiler {
    pub(crate) fn new(program: Option<PathBuf>, timeout: Duration, memory: u64, max_output: u64) -> Compiler {
        Compiler { program, timeout, memory, max_output, turn: Semaphore::new(1) }
    }

    /// Waits until no other component is being compiled by this host. Cancel safe.
    pub(crate) async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// The program, and the bytes of its reply. Dropping the future kills the child.
    pub(crate) async fn compile(&self, component: &[u8]) -> Result<(PathBuf, Vec<u8>), CompileError> {
        let program = compiler_path(self.program.clone())?;
        let cpu = cpu_limit(self.timeout);
        let mut child = Command::new(&program)
            .arg("compile")
            .args(["--memory", &self.memory.to_string()])
            .args(["--cpu-seconds", &cpu.as_secs().to_string()])
            .args(["--max-output", &self.max_output.to_string()])
            .env_clear()
            // Each thread would set aside address space of its own, and the child sees no cgroup files.
            .env("MALLOC_ARENA_MAX", "2")
            .env("RAYON_NUM_THREADS", cores(8).to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CompileError::Start { program: program.clone(), source })?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(CompileError::Pipe(io::Error::other("the child has no pipes")));
        };
        let feed = async move {
            // A child that has seen enough, or has died, closes its end; its status says why.
            match stdin.write_all(component).await {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        };
        let talk = async {
            // The first error ends it all, and dropping the child kills it.
            let ((), reply, said) = tokio::try_join!(
                async { feed.await.map_err(CompileError::Pipe) },
                self.read_reply(stdout),
                async { read_start(stderr, MAX_STDERR).await.map_err(CompileError::Pipe) },
            )?;
            let status = child.wait().await.map_err(CompileError::Pipe)?;
            Ok::<_, CompileError>((status, reply, said))
        };
        let (status, reply, said) = tokio::time::timeout(self.timeout, talk)
            .await
            .map_err(|_| CompileError::TimedOut { limit: self.timeout })??;
        if !status.success() {
            return Err(self.failure(status, &said, cpu));
        }
        Ok((program, reply))
    }

    async fn read_reply(&self, pipe: impl AsyncRead + Unpin) -> Result<Vec<u8>, CompileError> {
        let (limit, mut reply) = (self.max_output, Vec::new());
        pipe.take(limit.saturating_add(1)).read_to_end(&mut reply).await.map_err(CompileError::Pipe)?;
        if reply.len() as u64 > limit {
            return Err(CompileError::TooLarge { limit });
        }
        Ok(reply)
    }

    fn failure(&self, status: ExitStatus, said: &[u8], cpu: Duration) -> CompileError {
        let said = clean(String::from_utf8_lossy(said).into_owned(), MAX_STDERR as usize);
        // What Rust's allocator says before it aborts, what wasmtime says, and what the system does.
        const OUT_OF_MEMORY: [&str; 3] = ["memory allocation of", "out of memory", "os error 12"];
        let out_of_memory = OUT_OF_MEMORY.iter().any(|words| said.contains(words));
        match status.signal() {
            _ if out_of_memory => CompileError::OutOfMemory { limit: self.memory },
            Some(CPU_LIMIT) => CompileError::OutOfTime { limit: cpu },
            Some(ABORTED) | None => CompileError::Failed { status: status.to_string(), stderr: said },
            Some(signal) => CompileError::Killed { signal },
        }
    }
}

/// The start of what a pipe gives; the rest is read and dropped, so that the child does not wait for us.
async fn read_start(mut pipe: impl AsyncRead + Unpin, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut pipe).take(limit).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// Processor time for a compilation that may take so long on all cores.
fn cpu_limit(timeout: Duration) -> Duration {
    Duration::from_secs(timeout.saturating_mul(cores(64)).as_secs().max(1))
}

/// The processors that this process may use, but no more than `most`.
fn cores(most: u32) -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(most).min(most))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
