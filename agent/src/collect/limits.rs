//! What a collector may use, has used, and how often it met each limit: one line a limit, for `status` and `/metrics`.

use std::collections::BTreeMap;

use serde::Serialize;
use whimbrel_plugin_host::{Collected, DeniedGrowth, FaultKind};

use crate::config;

/// One limit of one collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitUse {
    /// What `limit` and `used` count.
    pub unit: &'static str,
    /// As configured.
    pub limit: u64,
    /// The most so far; `None` where it can't be measured.
    pub used: Option<u64>,
    /// How often it was met since it is this high: the plugin was stopped, denied or cut.
    pub hits: u64,
}

/// The limits that the agent itself holds a program to. It has no tables and no handles, and of its memory, its
/// processor time and its files only the kernel knows when they met their limits.
const OF_PROGRAMS: [&str; 3] = ["deadline", "output", "log_rate"];

/// All limits of one collector, by their key in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LimitsUse(BTreeMap<&'static str, LimitUse>);

impl LimitsUse {
    /// Of a collector that begins.
    pub(super) fn new(config: &config::Collector) -> Self {
        let mut all = Self::default();
        all.set(config);
        all
    }

    /// Other limits hold from now on. The most that was used stays; how often one was met counts anew where it changed.
    pub(super) fn set(&mut self, config: &config::Collector) {
        let config::Limits { memory, deadline, init, output, tables, resources, log_rate, stack } =
            &config.limits;
        let is_program = matches!(config.plugin, config::PluginRef::Exec(_));
        let applies = |name: &str| !is_program || OF_PROGRAMS.contains(&name);
        self.0.retain(|name, _| applies(name));
        let micros = |of: &std::time::Duration| u64::try_from(of.as_micros()).unwrap_or(u64::MAX);
        let all = [
            ("memory", "bytes", *memory, true),
            ("deadline", "microseconds", micros(deadline), true),
            ("init", "microseconds", micros(init), true),
            ("output", "bytes", *output, true),
            ("tables", "elements", *tables, true),
            ("resources", "handles", u64::from(*resources), false),
            ("log_rate", "lines_per_second", u64::from(*log_rate), false),
            ("stack", "bytes", *stack, false),
        ];
        for (name, unit, limit, measured) in all.into_iter().filter(|(name, ..)| applies(name)) {
            let used = measured.then_some(0);
            let one = self.0.entry(name).or_insert(LimitUse { unit, limit, used, hits: 0 });
            if std::mem::replace(&mut one.limit, limit) != limit {
                one.hits = 0;
            }
        }
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &LimitUse)> {
        self.0.iter().map(|(name, one)| (*name, one))
    }

    /// So much was used, at one time or in one collect.
    pub(super) fn used(&mut self, name: &'static str, amount: u64) {
        if let Some(used) = self.0.get_mut(name).and_then(|one| one.used.as_mut()) {
            *used = amount.max(*used);
        }
    }

    /// It was met so often.
    pub(super) fn hit(&mut self, name: &'static str, times: u64) {
        if let Some(one) = self.0.get_mut(name) {
            one.hits += times;
        }
    }

    /// A collect that returned.
    pub(super) fn collected(&mut self, collected: &Collected) {
        self.used("memory", collected.memory);
        self.used("tables", collected.table_elements);
        self.used("output", collected.bytes);
        self.used("deadline", u64::try_from(collected.took.as_micros()).unwrap_or(u64::MAX));
        self.hit("output", u64::from(collected.refused));
        self.hit("log_rate", collected.lines_dropped);
        match collected.denied {
            Some(DeniedGrowth::Memory { .. }) => self.hit("memory", 1),
            Some(DeniedGrowth::Table { .. }) => self.hit("tables", 1),
            Some(DeniedGrowth::Open { .. } | DeniedGrowth::Shared | DeniedGrowth::Requests { .. }) => {
                self.hit("resources", 1);
            }
            None => {}
        }
    }

    /// A fault, while it was starting or later.
    pub(super) fn fault(&mut self, kind: &FaultKind, starting: bool) {
        let name = match kind {
            FaultKind::Deadline if starting => "init",
            FaultKind::Deadline => "deadline",
            FaultKind::Memory => "memory",
            FaultKind::Tables => "tables",
            FaultKind::Resources => "resources",
            FaultKind::Output => "output",
            FaultKind::Stack => "stack",
            _ => return,
        };
        self.hit(name, 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn collector(plugin: config::PluginRef) -> config::Collector {
        let interval = Duration::from_secs(1);
        config::Collector {
            name: "x".to_owned(),
            plugin,
            interval,
            config: serde_json::json!({}),
            grants: config::Grants::default(),
            limits: config::Limits::for_interval(interval),
            trust: whimbrel_plugin_host::Trust::default(),
        }
    }

    fn plugin() -> config::Collector {
        collector(config::PluginRef::Builtin("x".to_owned()))
    }

    fn program() -> config::Collector {
        collector(config::PluginRef::Exec(Box::new(config::Exec::of("/bin/true"))))
    }

    #[test]
    fn the_most_that_was_used_is_kept_and_hits_are_added_up() {
        let mut all = LimitsUse::new(&plugin());
        for amount in [3, 9, 4] {
            all.used("memory", amount);
        }
        all.used("stack", 7);
        all.fault(&FaultKind::Deadline, false);
        all.fault(&FaultKind::Deadline, true);
        all.fault(&FaultKind::Deadline, true);
        all.fault(&FaultKind::Panic, false);
        let get = |name| all.0.get(name).unwrap().clone();
        assert_eq!(get("memory"), LimitUse { unit: "bytes", limit: 64 << 20, used: Some(9), hits: 0 });
        assert_eq!((get("deadline").hits, get("deadline").limit), (1, 500_000));
        assert_eq!((get("init").hits, get("stack").used), (2, None));
        assert_eq!(all.iter().map(|(_, one)| one.hits).sum::<u64>(), 3);
    }

    #[test]
    fn hits_are_of_the_limit_that_stands() {
        let mut all = LimitsUse::new(&plugin());
        all.used("output", 5);
        all.hit("output", 2);
        all.hit("memory", 3);
        let mut other = plugin();
        other.limits.output = 77;
        all.set(&other);
        assert_eq!(all.0["output"], LimitUse { unit: "bytes", limit: 77, used: Some(5), hits: 0 });
        assert_eq!(all.0["memory"].hits, 3, "its limit is as before");
        all.hit("output", 1);
        all.set(&other);
        assert_eq!(all.0["output"].hits, 1);
    }

    #[test]
    fn a_program_has_the_limits_that_the_agent_holds_it_to_and_no_others() {
        let names = |all: &LimitsUse| all.iter().map(|(name, _)| name).collect::<Vec<_>>();
        let mut all = LimitsUse::new(&program());
        assert_eq!(names(&all), ["deadline", "log_rate", "output"]);
        all.hit("output", 2);
        all.hit("memory", 1);
        all.set(&plugin());
        assert_eq!((names(&all).len(), all.0["output"].hits, all.0["memory"].hits), (8, 2, 0));
        all.set(&program());
        assert_eq!(names(&all).len(), 3, "what became a program has no memory to show any more");
    }
}
