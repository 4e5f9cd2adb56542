//! A plugin that reaches for what its configuration says, through WASI, and writes in the agent's log what came of it.
//!
//! It is what the tests of grants are made with: each step is one use of the network, of files or of the process, as
//! friendly or as hostile as its values. Benches have it push points. It is not among the `builtin:` collectors.

mod files;
mod http;
mod network;
mod points;
mod process;
mod typed;

use serde::Deserialize;
use whimbrel_sdk::{Collector, Context, Emit, Error, More, collector, info};

/// The configuration, `config:` in the agent's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is tried in each collect, in this order.
    steps: Vec<Step>,
}

/// One use of WASI.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A GET of this URL.
    Get(String),
    /// The same, and redirects are followed.
    Follow(String),
    /// So many requests of a URL at once, whose answers are not read.
    Requests(String, u32),
    /// Reads a file: granted folder, path within.
    Read(String, String),
    /// Writes a file: granted folder, path within, text.
    Write(String, String, String),
    /// Lists a folder: granted folder, path within.
    List(String, String),
    /// Makes a symbolic link: granted folder, what it points to, path within.
    Link(String, String, String),
    /// Opens a file so often, and keeps it open.
    Open(String, String, u32),
    /// Connects, sends a text, and reads what comes.
    Tcp(String, String),
    /// Sends a datagram, and waits for one.
    Udp(String, String),
    /// Listens.
    Listen(String),
    /// Makes so many sockets, and keeps them.
    Sockets(u32),
    /// Looks a name up.
    Lookup(String),
    /// Begins so many lookups of a name, and waits for none.
    Lookups(String, u32),
    /// Reads the environment.
    Env,
    /// Waits so many milliseconds.
    Sleep(u64),
    /// Makes so many timers, and keeps them.
    Timers(u32),
    /// Writes to stdout.
    Print(String),
    /// Writes to stderr.
    Complain(String),
    /// Ends the process.
    Exit(u8),
    /// Pushes so many points of so many attributes, as the SDK encodes them.
    Points(usize, usize),
    /// The same as a typed batch.
    Typed(usize, usize),
    /// Pushes a typed batch that says this.
    Say(typed::Typed),
}

/// The collector.
#[derive(Debug)]
pub struct Reach {
    steps: Vec<Step>,
    /// For the last step that pushes points.
    series: points::Series,
}

impl Collector for Reach {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let steps = context.config.steps;
        let series = steps.iter().rev().find_map(|step| match step {
            Step::Points(points, attributes) | Step::Typed(points, attributes) => {
                Some(points::Series::new(*points, *attributes))
            }
            _ => None,
        });
        Ok(Self { steps, series: series.unwrap_or_default() })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        for step in &self.steps {
            let came = match step {
                Step::Points(..) => {
                    self.series.emit(out)?;
                    continue;
                }
                Step::Typed(..) => self.series.push_typed().map(|()| "pushed".to_owned()),
                other => other.take(),
            };
            match came {
                Ok(came) => info!("{came}"),
                Err(refused) => info!("refused: {refused}"),
            }
        }
        Ok(More::No)
    }
}

impl Step {
    fn take(&self) -> Result<String, String> {
        match self {
            Step::Get(url) => http::get(url, 0),
            Step::Follow(url) => http::get(url, 5),
            Step::Requests(url, count) => http::many(url, *count),
            Step::Read(folder, path) => files::read(folder, path),
            Step::Write(folder, path, text) => files::write(folder, path, text),
            Step::List(folder, path) => files::list(folder, path),
            Step::Link(folder, target, path) => files::link(folder, target, path),
            Step::Open(folder, path, count) => files::open_many(folder, path, *count),
            Step::Tcp(address, text) => network::tcp(address, text),
            Step::Udp(address, text) => network::udp(address, text),
            Step::Listen(address) => network::listen(address),
            Step::Sockets(count) => network::many(*count),
            Step::Lookup(name) => network::lookup(name),
            Step::Lookups(name, count) => network::lookups(name, *count),
            Step::Env => Ok(process::environment()),
            Step::Sleep(milliseconds) => Ok(process::sleep(*milliseconds)),
            Step::Timers(count) => Ok(process::timers(*count)),
            Step::Print(text) => process::print(text),
            Step::Complain(text) => process::complain(text),
            Step::Exit(code) => process::exit(*code),
            Step::Say(what) => typed::push(*what),
            // These want more than themselves.
            Step::Points(..) | Step::Typed(..) => Err("points are pushed".to_owned()),
        }
    }
}

collector!(Reach {
    name: "reach",
    description: "Reaches for what its configuration says, through WASI, and says what came of it.",
    config_schema: include_str!("../config.schema.json"),
});
