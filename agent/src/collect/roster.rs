//! The collectors that run, and how they are changed while others go on.
//!
//! A collector is changed when its configuration is, or the file of its component. Of two states of the roster
//! [`difference`] says what to do; [`Roster::apply`] does it: new ones start at once, those that are gone are stopped in
//! good order, side by side, and of changed ones the new is made ready beside the old, which goes on until then and
//! goes on for good if the new does not start. What is the same is not touched, and misses no collect; neither is what
//! was set aside and has not changed.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::join_all;

use super::{
    builtin::{self, Stamp},
    reins::Resumed,
    run::{self, Collector, Ground},
    status::CollectorStatus,
};
use crate::config;

/// How long the answer of a reload waits for what is being compiled and started; a Rust plugin takes a tenth of a
/// second, Python ten.
const PATIENCE: Duration = Duration::from_secs(15);

/// The collectors that run.
pub struct Roster {
    ground: Ground,
    /// By name.
    members: RwLock<Vec<Arc<Member>>>,
}

struct Member {
    config: config::Collector,
    /// Of the component's file, taken before it was read.
    stamp: Option<Stamp>,
    collector: Arc<Collector>,
}

/// What [`Roster::apply`] did, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Changes {
    /// Not there before.
    pub added: Vec<String>,
    /// Stopped for good.
    pub removed: Vec<String>,
    /// What is new about them collects next, or is being made ready beside what runs.
    pub changed: Vec<String>,
    /// How many were left alone.
    pub unchanged: usize,
    /// Changed ones that do not start as changed: they go on as they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// Of the changed ones, those that are still being compiled or started; what becomes of them stands in the status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// A change that did not come about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failed {
    /// Whose.
    pub name: String,
    /// Why.
    pub problem: String,
}

impl Roster {
    /// Starts them all.
    pub fn start(wanted: &[config::Collector], ground: Ground) -> Self {
        let roster = Self { ground, members: RwLock::default() };
        roster.add(wanted.iter());
        roster
    }

    /// One that nothing runs in yet, over a WAL and a cache in this folder.
    #[cfg(test)]
    pub(crate) fn without_collectors(folder: &std::path::Path) -> Self {
        use crate::{
            clock::{Clock, SystemClock},
            store::Store,
            system::{self, System},
        };
        use whimbrel_otlp::{Resource, write::Attributes};
        use whimbrel_plugin_host::{Host, HostOptions};
        use whimbrel_wal::{Encryption, Options, Wal};

        let (wal, _) = Wal::open(&folder.join("wal"), Options::new(Encryption::None)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let resource = Resource::new(&Attributes::new());
        let ground = Ground {
            host: Host::new(HostOptions::new(folder.join("cache"))).unwrap(),
            store: Store::new(wal, resource, clock.clone(), config::OnFull::Block, config::OnFull::Block),
            system: Arc::new(System::new(system::Options::default())),
            clock,
        };
        Self::start(&[], ground)
    }

    /// Where each stands now, by name.
    pub fn status(&self) -> Vec<CollectorStatus> {
        self.members().iter().map(|member| member.collector.status()).collect()
    }

    /// Whether every collector has come up, or was set aside.
    pub fn ready(&self) -> bool {
        self.members().iter().all(|member| !member.collector.is_starting())
    }

    /// Stops all, side by side.
    pub async fn stop(&self) {
        join_all(self.members().iter().map(|member| member.collector.stop())).await;
    }

    /// Starts one anew that was set aside or waits after a fault.
    ///
    /// # Errors
    /// The names that there are, where this is none of them.
    pub async fn resume(&self, name: &str) -> Result<Resumed, Vec<String>> {
        let members = self.members();
        let found = members.iter().find(|member| member.config.name == name);
        let resumed = match found {
            Some(member) => member.collector.resume().await,
            None => None,
        };
        resumed.ok_or_else(|| members.iter().map(|member| member.config.name.clone()).collect())
    }

    /// Makes these the collectors that run. Returns when those that are gone have stopped, each at most five seconds
    /// later, and it is known of the changed ones whether they start, or 15 s have passed. To be called once at a time.
    pub async fn apply(&self, wanted: &[config::Collector]) -> Changes {
        let members = self.members();
        let running: Vec<_> = members.iter().map(|member| (&member.config, member.stamp)).collect();
        let mut changes = difference(&running, wanted, builtin::stamp);
        let named = |names: &[String], one: &config::Collector| names.contains(&one.name);
        self.add(wanted.iter().filter(|one| named(&changes.added, one)));
        let gone = members.iter().filter(|member| named(&changes.removed, &member.config));
        let gone = join_all(gone.map(|member| async {
            member.collector.stop().await;
            self.write().retain(|other| !Arc::ptr_eq(other, member));
        }));
        let changed = members.iter().filter(|member| named(&changes.changed, &member.config));
        let changed = join_all(changed.filter_map(|member| {
            let config = wanted.iter().find(|one| one.name == member.config.name)?;
            Some(self.change(member, config))
        }));
        let (_, outcomes) = tokio::join!(gone, changed);
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Started => {}
                Outcome::Pending => changes.pending.push(name),
                Outcome::Failed(problem) => {
                    changes.changed.retain(|other| *other != name);
                    changes.failed.push(Failed { name, problem });
                }
            }
        }
        changes
    }

    /// Has one run with another configuration. From here on that is what a later reload compares with, whether it
    /// starts or not: what does not start is tried again when it changes again.
    async fn change(&self, member: &Arc<Member>, config: &config::Collector) -> (String, Outcome) {
        let stamp = builtin::stamp(&config.plugin);
        let Some(told) = member.collector.replace(config.clone()) else {
            let problem = "it is busy with a long collect, or stopping: reload again later".to_owned();
            return (config.name.clone(), Outcome::Failed(problem));
        };
        let changed = Arc::new(Member { config: config.clone(), stamp, collector: member.collector.clone() });
        if let Some(place) = self.write().iter_mut().find(|other| Arc::ptr_eq(other, member)) {
            *place = changed;
        }
        let outcome = tokio::select! {
            told = told => match told {
                Ok(Ok(())) => Outcome::Started,
                Ok(Err(problem)) => Outcome::Failed(problem),
                Err(_) => Outcome::Failed("a later change came first, or it is stopping".to_owned()),
            },
            () = self.ground.clock.sleep(PATIENCE) => Outcome::Pending,
        };
        (config.name.clone(), outcome)
    }

    fn add<'c>(&self, wanted: impl Iterator<Item = &'c config::Collector>) {
        for config in wanted {
            let member = Member {
                stamp: builtin::stamp(&config.plugin),
                collector: Arc::new(run::start(config.clone(), self.ground.clone())),
                config: config.clone(),
            };
            let mut members = self.write();
            let at = members.partition_point(|other| other.config.name < member.config.name);
            members.insert(at, Arc::new(member));
        }
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Arc<Member>>> {
        // Members are whole before they are put in: a panicking writer leaves a roster.
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a change.
enum Outcome {
    Started,
    Pending,
    Failed(String),
}

/// What is to be done to get from one roster to the other. A component whose file is gone has not changed: what runs
/// goes on.
fn difference(
    running: &[(&config::Collector, Option<Stamp>)],
    wanted: &[config::Collector],
    stamp_of: impl Fn(&config::PluginRef) -> Option<Stamp>,
) -> Changes {
    let mut changes = Changes::default();
    for one in wanted {
        let Some((before, stamp)) = running.iter().find(|(before, _)| before.name == one.name) else {
            changes.added.push(one.name.clone());
            continue;
        };
        let now = stamp_of(&one.plugin);
        if *before != one || (now.is_some() && now != *stamp) {
            changes.changed.push(one.name.clone());
            continue;
        }
        if now.is_none() && stamp.is_some() {
            tracing::warn!(collector = one.name, component = %one.plugin, "its component is gone; what runs goes on");
        }
        changes.unchanged += 1;
    }
    let gone = running.iter().filter(|(before, _)| !wanted.iter().any(|one| one.name == before.name));
    changes.removed.extend(gone.map(|(before, _)| before.name.clone()));
    changes
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use serde_json::json;

    use super::*;
    use crate::config::{Grants, Limits, PluginRef};

    fn collector(name: &str, plugin: PluginRef, interval_ms: u64) -> config::Collector {
        let interval = Duration::from_millis(interval_ms);
        config::Collector {
            name: name.to_owned(),
            plugin,
            interval,
            config: json!({}),
            grants: Grants::default(),
            limits: Limits::for_interval(interval),
        }
    }

    fn builtin(name: &str, interval_ms: u64) -> config::Collector {
        collector(name, PluginRef::Builtin("heartbeat".to_owned()), interval_ms)
    }

    fn changes(added: &[&str], removed: &[&str], changed: &[&str], unchanged: usize) -> Changes {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Changes {
            added: owned(added),
            removed: owned(removed),
            changed: owned(changed),
            unchanged,
            ..Changes::default()
        }
    }

    #[test]
    fn only_what_differs_is_touched() {
        let running = [builtin("a", 1000), builtin("b", 1000), builtin("c", 1000)];
        let running: Vec<_> = running.iter().map(|one| (one, None)).collect();
        let wanted = [builtin("b", 500), builtin("c", 1000), builtin("d", 1000)];
        assert_eq!(difference(&running, &wanted, |_| None), changes(&["d"], &["a"], &["b"], 1));
        assert_eq!(difference(&running, &[], |_| None), changes(&[], &["a", "b", "c"], &[], 0));
        assert_eq!(difference(&[], &wanted, |_| None), changes(&["b", "c", "d"], &[], &[], 0));
    }

    #[test]
    fn a_grant_a_limit_or_the_plugins_own_configuration_is_a_change() {
        let before = builtin("a", 1000);
        let mut granted = before.clone();
        granted.grants.system = config::SystemGrant::All;
        let mut limited = before.clone();
        limited.limits.memory += 1;
        let mut configured = before.clone();
        configured.config = json!({"message": "x"});
        for after in [granted, limited, configured] {
            assert_eq!(difference(&[(&before, None)], &[after], |_| None), changes(&[], &[], &["a"], 0));
        }
    }

    #[test]
    fn a_new_component_in_the_same_file_is_a_change_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        let one = collector("x", PluginRef::Path(file.clone()), 1000);
        let stamp = |path: &Path| builtin::stamp(&PluginRef::Path(path.to_owned()));
        assert_eq!(stamp(&file), None);
        let missing = [(&one, None)];
        let same = |running: &[(&config::Collector, Option<Stamp>)]| {
            difference(running, std::slice::from_ref(&one), builtin::stamp)
        };
        assert_eq!(same(&missing), changes(&[], &[], &[], 1), "still not there");
        fs::write(&file, "one").unwrap();
        assert_eq!(same(&missing), changes(&[], &[], &["x"], 0), "there it is");
        let running = [(&one, stamp(&file))];
        assert_eq!(same(&running), changes(&[], &[], &[], 1));
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert_eq!(same(&running), changes(&[], &[], &["x"], 0), "another file of the same length");
        fs::remove_file(&file).unwrap();
        assert_eq!(same(&running), changes(&[], &[], &[], 1), "what runs goes on");
    }
}
