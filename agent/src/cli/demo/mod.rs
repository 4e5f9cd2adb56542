//! `whimbrel demo`: the agent and `whimbrel-stub`, from beside this program, in one go.
//!
//! Both run as they would anywhere, as processes of their own on free ports. The demo starts them, asks the stub
//! what arrived and the agent how it does, shows both, and does what the buttons of the stub's page ask for: it
//! kills the agent and starts it again, and gives it a hostile plugin. Nothing is left behind but what `--keep`
//! asks for.
//!
//! `programs`: the two processes; `launcher`: what the page sees and orders; `watch`: what is worth telling;
//! `hostile`: the plugin; `screen`: what the terminal shows.

mod hostile;
mod launcher;
mod programs;
mod screen;
mod watch;

use std::{
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use self::{launcher::Launcher, programs::Programs, screen::Screen};
use super::{
    exit::{Exit, Outcome},
    print,
};

/// How often what arrived is shown anew.
const TICK: Duration = Duration::from_secs(1);

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep the data of the agent and of the backend in this folder; without it, nothing is left behind
    #[arg(long, value_name = "FOLDER")]
    pub(super) keep: Option<PathBuf>,
    /// End after so many seconds instead of running until interrupted
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<u64>,
}

/// Runs until interrupted.
pub(super) fn run(args: &Args) -> Outcome {
    let home = Home::new(args.keep.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shown = runtime.block_on(show(&home, args.seconds.map(Duration::from_secs)));
    shown?;
    match &args.keep {
        Some(folder) => print::text(format_args!("\nstopped; kept in {}\n", folder.display()))?,
        None => print::text("\nstopped; nothing is left behind\n")?,
    }
    Ok(Exit::Done)
}

async fn show(home: &Home, up_to: Option<Duration>) -> anyhow::Result<()> {
    // Before anything is started, so that no signal leaves it behind.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (mut launcher, mut orders) = Launcher::new(home)?;
    // Dropped before the launcher's socket, in good order, whatever ends this.
    launcher.programs = Some(Programs::start(home, launcher.socket())?);
    let end = up_to.map(|seconds| tokio::time::Instant::now() + seconds);
    let until_end = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(until_end);
    let terminal = std::io::stdout().is_terminal();
    let mut screen = Screen::new(terminal, home.path(), launcher.listening()?);
    print::text(screen.greeting())?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = &mut until_end => return Ok(()),
            Some(order) = orders.recv() => launcher.obey(order).await?,
            _ = tick.tick() => {
                let seen = launcher.look().await?;
                print::text(screen.draw(&seen))?;
            }
        }
    }
}

/// The folder of the demo's data; removed in the end unless it is to be kept.
pub(super) struct Home {
    path: PathBuf,
    keep: bool,
}

impl Home {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let path = match keep {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir().join(format!("whimbrel-demo-{}", std::process::id())),
        };
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(keep.is_some())
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep: keep.is_some() })
    }

    /// Where everything of the demo lies.
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            print::message(format_args!("could not remove {}: {error}", self.path.display()));
        }
    }
}
