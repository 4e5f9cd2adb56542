//! The host collector: figures of the host's parts to metrics of the OpenTelemetry semantic conventions.
//!
//! The agent reads the figures; which unit and kind they have, what is a share of what, how a counter is told and
//! what each thing is called, is decided here. What of a part is wanted (which disks, which processes) is decided
//! here and applied by the agent, where the figures are read. A part that this host does not have is left out and said
//! once; those that are not granted are, all in one line. Attributes of a series are encoded when it is first seen, and copied from
//! then on.

mod config;
mod parts;
mod processes;
mod series;
pub mod table;
mod tell;
mod vocabulary;

use whimbrel_sdk::{Collector, Context, Emit, Error, More, collector, info, system::Figure};

use crate::{
    parts::{PER_CPU, PER_PROCESS, Part},
    processes::Processes,
    table::Of,
    tell::{Families, Teller},
    vocabulary::Vocabulary,
};

pub use config::Config;

const CPU_TIME: &str = "system.cpu.time";

/// The collector.
#[derive(Debug)]
pub struct Host {
    parts: Vec<Part>,
    /// What is not granted was said: it does not change while an instance lives.
    told_denied: bool,
    per_cpu: bool,
    teller: Teller,
    /// The host's own series.
    families: Families,
    processes: Processes,
}

impl Collector for Host {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let config = context.config;
        let vocabulary = Vocabulary::new(config.names, &config.metrics)?;
        let processes = config.asks(PER_PROCESS);
        let wanted = |part: &str| match part {
            "cpu" if processes && vocabulary.wants_share_of(Of::HostCpu) => true,
            "memory" if processes && vocabulary.wants_share_of(Of::HostMemory) => true,
            part => vocabulary.wants(part),
        };
        Ok(Self {
            parts: Part::all(&config, wanted)?,
            told_denied: false,
            per_cpu: config.asks(PER_CPU),
            teller: Teller::new(config.temporality, vocabulary),
            families: Families::default(),
            processes: Processes::default(),
        })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let Self { parts, told_denied, per_cpu, teller, families, processes } = self;
        teller.begin(std::iter::once(&mut *families).chain(processes.families()));
        for part in parts.iter_mut() {
            let Some(entities) = part.ask() else { continue };
            if part.name == PER_PROCESS {
                processes.emit(entities, teller, out)?;
                continue;
            }
            let mut figures: Vec<Figure> = Vec::new();
            for entity in entities {
                if entity.resource.is_empty() {
                    figures.extend(entity.figures);
                } else {
                    teller.say_unknown("a thing that is not the host");
                }
            }
            if part.name != PER_CPU {
                teller.observe(&figures);
                if *per_cpu {
                    figures.retain(|figure| figure.name != CPU_TIME);
                }
            }
            teller.emit(families, figures, out)?;
        }
        if self.parts.iter().all(Part::is_denied) {
            return Err(Error::Denied(
                "no part of the host's figures is granted; add `grants: {system: true}` to this collector"
                    .to_owned(),
            ));
        }
        if !std::mem::replace(told_denied, true) {
            let denied: Vec<_> =
                self.parts.iter().filter(|part| part.is_withheld()).map(|part| part.name).collect();
            if !denied.is_empty() {
                info!("not granted, and left out: {}", denied.join(", "));
            }
        }
        self.teller.end(out)?;
        Ok(More::No)
    }
}

collector!(Host {
    name: "host",
    description: "CPU, memory, paging, pressure, disks, file systems, network, processes, sensors and uptime of the \
                  host; single processes and systemd units on request.",
    config_schema: include_str!("../config.schema.json"),
});
