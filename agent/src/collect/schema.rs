//! The configuration of a collector against the schema that its component carries.

use serde_json::Value;
use whimbrel_plugin_host::{Plugin, schema};

use crate::config;

/// The schemas of the components that are shipped inside the agent, by name: for `whimbrel check`, which may run where
/// nothing can read a component.
const BUILTIN: [(&str, &str); 5] = [
    ("file-tail", include_str!("../../../plugins/file-tail/config.schema.json")),
    ("heartbeat", include_str!("../../../plugins/heartbeat/config.schema.json")),
    ("host", include_str!("../../../plugins/host/config.schema.json")),
    ("http-check", include_str!("../../../plugins/http-check/config.schema.json")),
    ("prometheus-scrape", include_str!("../../../plugins/prometheus-scrape/config.schema.json")),
];

/// The schema of a builtin's configuration.
pub fn builtin(name: &str) -> Option<Value> {
    let (_, text) = BUILTIN.iter().find(|(known, _)| *known == name)?;
    serde_json::from_str(text).ok()
}

/// Whether the component may be given this configuration.
///
/// # Errors
/// Every key that its schema refuses, and why, in one text.
pub(super) fn check(config: &config::Collector, plugin: &Plugin) -> Result<(), String> {
    let Some(schema) = &plugin.description().config_schema else { return Ok(()) };
    let found = schema::violations(schema, &config.config).unwrap_or_else(|error| {
        tracing::warn!(collector = config.name, %error, "the plugin checks its configuration for itself");
        Vec::new()
    });
    let all: Vec<_> =
        found.iter().map(|one| format!("{}: {}", key(&config.name, &one.path), one.what)).collect();
    if all.is_empty() { Ok(()) } else { Err(format!("{}; correct it and reload", all.join("; "))) }
}

/// `collectors.NAME.config.KEY`
fn key(collector: &str, path: &[String]) -> String {
    let mut key = format!("collectors.{collector}.config");
    path.iter().for_each(|part| key.extend([".", part]));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_has_a_schema_that_takes_the_least_configuration() {
        for (name, _) in BUILTIN {
            let schema = builtin(name).unwrap();
            let least = match name {
                "file-tail" => serde_json::json!({"paths": ["/var/log/app.log"]}),
                "http-check" => serde_json::json!({"targets": [{"url": "https://example.com"}]}),
                "prometheus-scrape" => {
                    serde_json::json!({"targets": [{"url": "http://127.0.0.1:9100/metrics"}]})
                }
                _ => serde_json::json!({}),
            };
            assert_eq!(schema::violations(&schema, &least), Ok(vec![]), "{name}");
            assert_ne!(schema::violations(&schema, &serde_json::json!({"frob": 1})), Ok(vec![]), "{name}");
        }
        assert_eq!(builtin("frob"), None);
    }
}
