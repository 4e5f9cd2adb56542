//! A plugin that misbehaves on purpose: what a bug or an attacker would do, to see that it costs its own data only.
//!
//! It is shipped for the demo's button and for tests, and is not among the `builtin:` collectors. Each collect picks
//! one of the misdeeds at random. Four of them end the instance (`loop`, `memory`, `panic`, `flood`), two are refused
//! and end nothing (`garbage`, `escape`). Whatever it is given in spite of all that, it says in the agent's log.

use std::hint::black_box;

use serde::Deserialize;
use whimbrel_sdk::{
    Collector, Context, Emit, Error, More, Signal, clock, collector, error, secrets, system, warn,
};

/// Bytes that are asked for at a time until there are none.
const MOUTHFUL: usize = 1 << 20;
/// Lines of log in a flood: fifty times what a plugin may write in a second.
const FLOOD_LINES: u32 = 5000;
/// Bytes of a flood's one push: four times what a plugin may push in a collect.
const FLOOD_BYTES: usize = 32 << 20;
/// What no configuration of a demo grants.
const PARTS: [&str; 8] = ["cpu", "disk", "filesystem", "host", "memory", "network", "paging", "process"];
/// Names that a thief would try.
const SECRETS: [&str; 3] = ["api_token", "wal.key", "../../etc/shadow"];

/// The configuration, `config:` in the agent's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What it may do; each collect picks one.
    #[serde(default = "Misdeed::all")]
    does: Vec<Misdeed>,
}

/// What can be done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Misdeed {
    /// A loop without an end.
    Loop,
    /// Asks for memory until there is none.
    Memory,
    /// A panic, or recursion without an end.
    Panic,
    /// Thousands of log lines, and one push that is larger than all that may be pushed.
    Flood,
    /// A push that is no OTLP: it promises more bytes than there are.
    Garbage,
    /// Asks for figures and secrets that it was not granted.
    Escape,
}

impl Misdeed {
    fn all() -> Vec<Self> {
        vec![Self::Loop, Self::Memory, Self::Panic, Self::Flood, Self::Garbage, Self::Escape]
    }
}

/// The collector.
#[derive(Debug)]
pub struct Hostile {
    does: Vec<Misdeed>,
}

impl Collector for Hostile {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        if context.config.does.is_empty() {
            return Err(Error::config("does: names nothing to do; leave it out for everything"));
        }
        Ok(Self { does: context.config.does })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        match self.does[die() % self.does.len()] {
            Misdeed::Loop => spin(),
            Misdeed::Memory => devour(),
            Misdeed::Panic if die().is_multiple_of(2) => panic!("on purpose"),
            Misdeed::Panic => {
                black_box(deeper(0));
            }
            Misdeed::Flood => flood(out)?,
            Misdeed::Garbage => garbage(out)?,
            Misdeed::Escape => escape(),
        }
        Ok(More::No)
    }
}

fn die() -> usize {
    clock::random(1).first().copied().map_or(0, usize::from)
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn devour() -> ! {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![0xff; MOUTHFUL]);
        black_box(&eaten);
    }
}

/// Adds after the call, so that no compiler makes a loop of it.
fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    black_box(deeper(black_box(depth + 1))) ^ depth
}

fn flood(out: &mut Emit) -> Result<(), Error> {
    for line in 0..FLOOD_LINES {
        warn!("line {line} of a flood");
    }
    out.otlp(Signal::Metrics, vec![0xff; FLOOD_BYTES])
}

/// Field 1, a resource, of two million bytes; and there are 64.
fn garbage(out: &mut Emit) -> Result<(), Error> {
    let mut request = vec![0x0a, 0xff, 0xff, 0x7f];
    request.extend(clock::random(64));
    out.otlp(Signal::Metrics, request)
}

fn escape() {
    for part in PARTS {
        if let Ok(entities) = system::snapshot(part) {
            error!("was given figures of the host"; "part" => part, "entities" => entities.len());
        }
    }
    for name in SECRETS {
        if secrets::reveal(name).is_ok() {
            error!("was given a secret"; "name" => name);
        }
    }
}

collector!(Hostile {
    name: "hostile",
    description: "Misbehaves on purpose: loops, panics, floods, lies, and asks for what it was not granted.",
    config_schema: include_str!("../config.schema.json"),
});

#[cfg(test)]
mod tests {
    use whimbrel_sdk::Described;
    use whimbrel_sdk::testing::Host;

    use super::*;

    fn doing(what: &str) -> Host {
        Host::new().config(format!(r#"{{"does": ["{what}"]}}"#))
    }

    #[test]
    fn garbage_is_no_otlp() {
        let mut run = doing("garbage").start::<Hostile>().unwrap();
        let pushes = run.collect().unwrap();
        assert_eq!(pushes.len(), 1);
        let read = std::panic::catch_unwind(|| pushes[0].points());
        assert!(read.is_err(), "a reader refuses it");
    }

    #[test]
    fn what_it_is_denied_it_does_not_mention() {
        let mut run = doing("escape").start::<Hostile>().unwrap();
        assert!(run.collect().unwrap().is_empty());
        assert!(run.lines().is_empty(), "{:?}", run.lines());
    }

    #[test]
    fn what_it_gets_hold_of_it_says() {
        let host = doing("escape").snapshot("cpu", Vec::new()).secret("api_token", "x");
        let mut run = host.start::<Hostile>().unwrap();
        run.collect().unwrap();
        let said: Vec<_> = run.lines().iter().map(|line| line.message.as_str()).collect();
        assert_eq!(said, ["was given figures of the host", "was given a secret"]);
    }

    #[test]
    fn a_flood_is_many_lines_and_too_large_a_push() {
        let mut run = doing("flood").start::<Hostile>().unwrap();
        let pushes = run.collect().unwrap();
        assert_eq!(run.lines().len(), FLOOD_LINES as usize);
        assert_eq!(pushes[0].bytes.len(), FLOOD_BYTES);
    }

    #[test]
    fn mistakes_are_named() {
        let start = |host: Host| host.start::<Hostile>().map(|_| ()).unwrap_err().to_string();
        assert!(start(doing("dance")).contains("dance"), "{}", start(doing("dance")));
        assert!(start(Host::new().config(r#"{"does": []}"#)).contains("does"));
    }

    #[test]
    fn the_schema_knows_every_misdeed() {
        let schema: serde_json::Value = serde_json::from_str(Hostile::PLUGIN.config_schema).unwrap();
        let names = &schema["properties"]["does"]["items"]["enum"];
        let known: Vec<Misdeed> = serde_json::from_value(names.clone()).unwrap();
        assert_eq!(known, Misdeed::all());
    }
}
