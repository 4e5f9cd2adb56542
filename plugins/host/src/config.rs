//! The configuration, and what it selects of each part.
//!
//! Patterns are checked here, with the words of the key; they are applied by the agent, where figures are read.

use glob::Pattern;
use serde::Deserialize;
use whimbrel_sdk::Error;

/// The most pairs that select figures of one part, and the longest of them in bytes; so says the contract.
const MAX_PATTERNS: usize = 256;
const MAX_LENGTH: usize = 1024;

/// The most processes that are told.
const MAX_TOP: u32 = 1000;

/// The configuration, `config:` in the agent's file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How counters are told. Default cumulative.
    pub(crate) temporality: Tell,
    /// CPU times and shares of each logical CPU, and not of all together. Default false.
    pub(crate) per_cpu: bool,
    /// Whose names. Default semconv.
    pub(crate) names: Names,
    /// Which metrics, by the names they are emitted under. Default all.
    pub(crate) metrics: Globs,
    /// Which block devices.
    disk: Globs,
    /// Which network interfaces.
    network: Globs,
    /// Which file systems.
    filesystem: FileSystems,
    /// Figures of single processes. Default none.
    processes: Option<Processes>,
    /// States of systemd units. Default none.
    services: Vec<String>,
}

/// How counters are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tell {
    /// What was counted since it began.
    #[default]
    Cumulative,
    /// What was counted since the last durable point.
    Delta,
}

/// Whose names metrics and attributes have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Names {
    /// The semantic conventions'.
    #[default]
    Semconv,
    /// The Collector's hostmetrics receiver's.
    Hostmetrics,
}

/// Globs. What is excluded is never told; if anything is included, nothing else is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Globs {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSystems {
    include: FileSystemGlobs,
    exclude: FileSystemGlobs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSystemGlobs {
    types: Vec<String>,
    devices: Vec<String>,
    mountpoints: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Processes {
    /// So many of those that use most.
    top: Option<u32>,
    /// Of what they use most. Default cpu.
    by: Option<By>,
    /// Globs on the name of the executable.
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Cpu,
    Memory,
}

/// What is wanted of a part, as the contract has it.
pub(crate) type Select = Vec<(String, String)>;

impl Config {
    /// What is wanted of the part.
    ///
    /// # Errors
    /// What is wrong, with the key and what to write.
    pub(crate) fn select(&self, part: &str) -> Result<Select, Error> {
        let mut select = Selection { pairs: Vec::new() };
        match part {
            "disk" => select.globs("disk", &self.disk)?,
            "network" => select.globs("network", &self.network)?,
            "filesystem" => {
                for (list, globs) in
                    [("include", &self.filesystem.include), ("exclude", &self.filesystem.exclude)]
                {
                    for (name, key, patterns) in [
                        ("types", "type", &globs.types),
                        ("devices", "device", &globs.devices),
                        ("mountpoints", "mountpoint", &globs.mountpoints),
                    ] {
                        select.patterns(
                            &format!("filesystem.{list}.{name}"),
                            &format!("{list}_{key}"),
                            patterns,
                        )?;
                    }
                }
            }
            "process.each" => {
                if let Some(processes) = &self.processes {
                    processes.select(&mut select)?;
                }
            }
            "service" => select.patterns("services", "unit", &self.services)?,
            _ => {}
        }
        match select.pairs.len() {
            0..=MAX_PATTERNS => Ok(select.pairs),
            count => Err(Error::config(format!(
                "`{}` has {count} patterns, and {MAX_PATTERNS} is the most: use wider ones",
                if part == "service" { "services" } else { part }
            ))),
        }
    }

    /// Whether the part is asked only because the configuration names it.
    pub(crate) fn asks(&self, part: &str) -> bool {
        match part {
            "cpu.logical" => self.per_cpu,
            "process.each" => self.processes.is_some(),
            "service" => !self.services.is_empty(),
            _ => false,
        }
    }
}

impl Processes {
    fn select(&self, select: &mut Selection) -> Result<(), Error> {
        match self.top {
            Some(top @ 1..=MAX_TOP) => select.pairs.push(("top".to_owned(), top.to_string())),
            Some(top) => {
                return Err(Error::config(format!("`processes.top` is {top}: give 1 to {MAX_TOP}")));
            }
            None if self.names.is_empty() => {
                return Err(Error::config(
                    "`processes` does not say which: give `top: 10`, or `names: [nginx*]`, or both",
                ));
            }
            None if self.by.is_some() => {
                return Err(Error::config(
                    "`processes.by` ranks the first so many: give `processes.top` too",
                ));
            }
            None => {}
        }
        if self.top.is_some() {
            let by = match self.by.unwrap_or(By::Cpu) {
                By::Cpu => "cpu",
                By::Memory => "memory",
            };
            select.pairs.push(("by".to_owned(), by.to_owned()));
        }
        select.patterns("processes.names", "name", &self.names)
    }
}

struct Selection {
    pairs: Select,
}

impl Selection {
    fn globs(&mut self, part: &str, globs: &Globs) -> Result<(), Error> {
        self.patterns(&format!("{part}.include"), "include", &globs.include)?;
        self.patterns(&format!("{part}.exclude"), "exclude", &globs.exclude)
    }

    fn patterns(&mut self, key: &str, select: &str, patterns: &[String]) -> Result<(), Error> {
        for (number, text) in patterns.iter().enumerate() {
            pattern(&format!("{key}[{number}]"), text)?;
            self.pairs.push((select.to_owned(), text.clone()));
        }
        Ok(())
    }
}

/// A pattern, as the agent reads it too.
///
/// # Errors
/// What is wrong with it, with its key.
pub(crate) fn pattern(key: &str, text: &str) -> Result<Pattern, Error> {
    if text.is_empty() {
        return Err(Error::config(format!("`{key}` is empty: give a name, or a pattern such as `eth*`")));
    }
    if text.len() > MAX_LENGTH {
        return Err(Error::config(format!(
            "`{key}` is {} bytes long, and {MAX_LENGTH} is the most: use a pattern",
            text.len()
        )));
    }
    Pattern::new(text).map_err(|error| {
        Error::config(format!(
            "`{key}` is {text:?}, which is no pattern: {error}; `*` stands for any text, `?` for any character, \
             `[ab]` for a or b, and `[[]` for a bracket"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(config: &Config, part: &str) -> Vec<String> {
        config.select(part).unwrap().iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn a_part_is_told_what_is_wanted_of_it() {
        let config = Config {
            disk: Globs { include: vec!["sd*".into(), "vd*".into()], exclude: vec!["sdz".into()] },
            filesystem: FileSystems {
                include: FileSystemGlobs { types: vec!["nfs4".into()], ..FileSystemGlobs::default() },
                exclude: FileSystemGlobs { mountpoints: vec!["/mnt/*".into()], ..FileSystemGlobs::default() },
            },
            processes: Some(Processes { top: Some(10), by: None, names: vec!["nginx*".into()] }),
            services: vec!["nginx.service".into()],
            ..Config::default()
        };
        assert_eq!(pairs(&config, "disk"), ["include=sd*", "include=vd*", "exclude=sdz"]);
        assert_eq!(pairs(&config, "filesystem"), ["include_type=nfs4", "exclude_mountpoint=/mnt/*"]);
        assert_eq!(pairs(&config, "process.each"), ["top=10", "by=cpu", "name=nginx*"]);
        assert_eq!(pairs(&config, "service"), ["unit=nginx.service"]);
        assert_eq!(pairs(&config, "network"), Vec::<String>::new());
        assert!(config.asks("process.each") && config.asks("service") && !config.asks("cpu.logical"));
    }
}
