//! `whimbrel-plugin compile`: what the agent starts to compile a component; with a file, a bundle is made of it.

use std::io::{self, Read as _};

use anyhow::Context as _;
use clap::Args;
use whimbrel_plugin_host::{
    Refusal, engine,
    frame::{self, Reply},
    world,
};

use crate::{bundle::BundleArgs, confine, confine::Confinement, describe::describe};

const EXAMPLE: &str = "\
Example:
  whimbrel plugin compile report.wasm --target aarch64-unknown-linux-gnu -o report.bundle --key team.key";

/// Compile a component: to a bundle for machines that should not compile, or for the agent.
///
/// With a file, writes a bundle of compiled code. An agent of the same release takes it in the place of the component
/// if a key signed it that its plugins.trust marks may_ship_native, and then needs no compiler.
///
/// Without a file it is what the agent starts, and there is seldom a reason to do so by hand. Reads a component from
/// the standard input and writes a framed reply to the standard output: a description and machine code for this CPU, or
/// the reason why there is none. Either way it ends with 0; another status means that the compiler itself failed.
///
/// Before it reads the first byte it gives up what it does not need: memory and processor time beyond the limits below,
/// opening files, dumping core, gaining privileges.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct CompileArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Address space, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    memory: u64,
    /// Processor time of all threads together, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    cpu_seconds: u64,
    /// The most that is written, if the output is a file, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    max_output: u64,
}

impl CompileArgs {
    /// Reads, compiles, replies.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        confine::stand_back();
        let confinement = Confinement {
            memory: self.memory,
            cpu_seconds: self.cpu_seconds,
            file_size: self.max_output,
            open_files: false,
        };
        if self.bundle.is_wanted() {
            return self.bundle.run(confinement);
        }
        confinement.enter().context("the limits could not be set")?;
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("reading the component failed")?;
        let (reply, code) = match compile(&bytes)? {
            Ok(compiled) => compiled,
            Err(refusal) => (Reply::Refused(refusal), Vec::new()),
        };
        frame::write(&reply, &code, &mut io::stdout().lock()).context("writing the reply failed")
    }
}

/// Refuses before it compiles: Python takes ten seconds, a look at its imports none.
fn compile(bytes: &[u8]) -> anyhow::Result<Result<(Reply, Vec<u8>), Refusal>> {
    let description = match describe(bytes) {
        Ok(description) => description,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(misfit) = world::check(&description) {
        return Ok(Err(misfit.into()));
    }
    let engine = wasmtime::Engine::new(&engine::config().map_err(anyhow::Error::msg)?)
        .map_err(|error| anyhow::anyhow!("the engine could not be set up: {error:#}"))?;
    match engine.precompile_component(bytes) {
        Ok(code) => Ok(Ok((
            Reply::Compiled { engine: engine::fingerprint(), description: Box::new(description) },
            code,
        ))),
        // Not the component's fault, at least not by what it is.
        Err(error) if error.is::<wasmtime::OutOfMemory>() => anyhow::bail!("{error:#}"),
        Err(error) => {
            let detail = whimbrel_plugin_host::text::clean(error.root_cause().to_string(), 4 << 10);
            Ok(Err(Refusal::Invalid { detail }))
        }
    }
}
