//! How much memory is left, as a share of all; a line in the agent's log when it gets tight.

use serde::Deserialize;
use whimbrel_sdk::{Attributes, Collector, Context, Emit, Error, Metric, More, collector, system, warn};

const HEADROOM: Metric<'_> =
    Metric::gauge("example.memory.headroom", "1", "Memory that is left, as a share of all.");

/// What stands under `config:` in whimbrel.yaml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    warn_below: f64,
}

/// The collector.
#[derive(Debug)]
pub struct Headroom {
    config: Config,
    series: Attributes,
}

impl Collector for Headroom {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&context.config.warn_below) {
            return Err(Error::config("warn_below is a share: give a number from 0 to 1"));
        }
        // Attributes are encoded once and copied into every point from then on.
        Ok(Self { config: context.config, series: Attributes::new() })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let entities = system::snapshot("memory")?;
        let figure = |name| {
            let figures = entities.iter().flat_map(|entity| &entity.figures);
            figures.into_iter().find(|figure| figure.name == name).map(|figure| figure.value)
        };
        let (Some(available), Some(limit)) =
            (figure("system.memory.linux.available"), figure("system.memory.limit"))
        else {
            return Err(Error::permanent("this host does not say how much memory is available"));
        };
        let headroom = available / limit;
        if headroom < self.config.warn_below {
            warn!("memory is getting tight"; "headroom" => headroom);
        }
        out.metric(&HEADROOM).point(&self.series, headroom)?;
        Ok(More::No)
    }
}

collector!(Headroom { name: "headroom", description: "How much memory is left, as a share of all." });

#[cfg(test)]
mod tests {
    use whimbrel_sdk::system::{Entity, Figure};
    use whimbrel_sdk::testing::{Host, PointValue};

    use super::*;

    fn memory(available: f64) -> Vec<Entity> {
        let figure =
            |name: &str, value| Figure { name: name.to_owned(), attributes: Vec::new(), start_ns: 0, value };
        let figures =
            vec![figure("system.memory.linux.available", available), figure("system.memory.limit", 8e9)];
        vec![Entity { resource: Vec::new(), figures }]
    }

    #[test]
    fn it_warns_when_memory_gets_tight() {
        let host = Host::new().config(r#"{"warn_below": 0.1}"#).snapshot("memory", memory(4e9));
        let mut run = host.start::<Headroom>().unwrap();
        assert_eq!(run.collect().unwrap()[0].points()[0].value, PointValue::Double(0.5));
        assert!(run.lines().is_empty());

        run.change(|host| host.snapshot("memory", memory(4e8)));
        run.collect().unwrap();
        assert_eq!(run.lines()[0].message, "memory is getting tight");
    }
}
