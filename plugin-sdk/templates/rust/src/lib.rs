//! Tells how old the minute is, as an example.

use serde::Deserialize;
use whimbrel_sdk::{
    Attributes, Collector, Context, Emit, Error, LogRecord, Metric, More, Severity, Value, clock, collector, info,
};

const ELAPSED: Metric<'_> = Metric::gauge("my_plugin.minute.elapsed", "s", "Seconds since the minute began.");

/// What stands under `config:` in whimbrel.yaml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    label: String,
    warn_above: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { label: "hello".to_owned(), warn_above: 50.0 }
    }
}

/// The collector.
#[derive(Debug)]
pub struct MyPlugin {
    config: Config,
    series: Attributes,
}

impl Collector for MyPlugin {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let config = context.config;
        if !(0.0..=60.0).contains(&config.warn_above) {
            return Err(Error::config("warn_above: give a number from 0 to 60"));
        }
        info!("started"; "label" => config.label);
        // Attributes are encoded once and copied into every point from then on.
        let series = Attributes::new().with("label", config.label.as_str());
        Ok(Self { config, series })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let elapsed = i64::try_from(clock::now_ns() / 1_000_000_000 % 60).unwrap_or_default();
        out.metric(&ELAPSED).point(&self.series, elapsed)?;
        if elapsed as f64 > self.config.warn_above {
            out.log(LogRecord {
                severity: Severity::WARN,
                severity_text: "WARN",
                body: Value::Text("the minute is getting old"),
                attributes: Some(&Attributes::new().with("elapsed", elapsed)),
                ..LogRecord::default()
            })?;
        }
        Ok(More::No)
    }
}

collector!(MyPlugin {
    name: "my-plugin",
    description: "Tells how old the minute is, as an example.",
    config_schema: include_str!("../config.schema.json"),
});

#[cfg(test)]
mod tests {
    use whimbrel_sdk::testing::Host;

    use super::*;

    #[test]
    fn it_labels_the_gauge() {
        let mut run = Host::new().config(r#"{"label": "tested"}"#).start::<MyPlugin>().unwrap();
        let points = run.collect().unwrap()[0].points();
        assert_eq!(points[0].metric.name, "my_plugin.minute.elapsed");
        assert_eq!(points[0].attributes.text("label"), Some("tested"));
    }

    #[test]
    fn it_refuses_what_no_minute_has() {
        let error = Host::new().config(r#"{"warn_above": 61}"#).start::<MyPlugin>().unwrap_err();
        assert!(error.to_string().contains("warn_above"));
    }
}
