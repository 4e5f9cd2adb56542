//! The collectors that run, and how they are changed while others go on.
//!
//! A collector is changed when its configuration is, or the file of its component or program. Of two states of the roster
//! [`difference`] says what to do; [`Roster::apply`] does it: new ones start at once, those that are gone are stopped in
//! good order, side by side, and of changed ones the new is made ready beside the old, which goes on until then and
//! goes on for good if the new does not start. What is the same is not touched, and misses no collect; neither is what
//! was set aside and has not changed. Whatever is not as configured after that is named each time, whenever it failed.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{
    reins::{Resumed, stop_asked},
    run::{self, Collector, Ground},
    status::CollectorStatus,
};
use crate::{config, plugins::Stamp};

/// How long the answer of a reload waits for what is being compiled and started; a Rust plugin takes a tenth of a
/// second, Python ten.
const PATIENCE: Duration = Duration::from_secs(15);

/// The collectors that run.
pub struct Roster {
    ground: Ground,
    /// By name.
    members: RwLock<Vec<Arc<Member>>>,
    /// Nobody waits for what becomes of changes any more.
    hurried: watch::Sender<bool>,
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
    /// Changed ones that do not start as changed, this time: they go on as they were, or stay set aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// Of the new and the changed ones, those that are still being compiled or started; what becomes of them stands in
    /// the status, and in the next answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// All that do not run what the configuration says, since this time or an earlier one, and are not pending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_as_configured: Vec<Failed>,
}

/// A collector whose configuration does not run.
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
        let roster = Self { ground, members: RwLock::default(), hurried: watch::Sender::new(false) };
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
            plugins: crate::plugins::Plugins::new(folder.join("store"), 1 << 20),
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

    /// Has [`Roster::apply`] wait no longer for changed ones to start: the agent is stopping.
    pub fn hurry(&self) {
        self.hurried.send_replace(true);
    }

    /// Whether [`Roster::apply`] would do anything.
    pub fn differs(&self, wanted: &[config::Collector]) -> bool {
        let members = self.members();
        let running: Vec<_> = members.iter().map(|member| (&member.config, member.stamp)).collect();
        let Changes { added, removed, changed, .. } =
            difference(&running, wanted, |one| self.ground.plugins.stamp(one));
        !(added.is_empty() && removed.is_empty() && changed.is_empty())
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
    /// later, and it is known of the new and the changed ones whether they start, or 15 s have passed. To be called once at a time.
    pub async fn apply(&self, wanted: &[config::Collector]) -> Changes {
        self.ask_registries(wanted).await;
        let members = self.members();
        let running: Vec<_> = members.iter().map(|member| (&member.config, member.stamp)).collect();
        let mut changes = difference(&running, wanted, |one| self.ground.plugins.stamp(one));
        let named = |names: &[String], one: &config::Collector| names.contains(&one.name);
        self.add(wanted.iter().filter(|one| named(&changes.added, one)));
        let new = self.members();
        let new = new.iter().filter(|member| named(&changes.added, &member.config));
        let new = join_all(new.map(|member| async {
            (member.config.name.clone(), self.within_patience(member.collector.settled()).await.is_some())
        }));
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
        let (_, outcomes, new) = tokio::join!(gone, changed, new);
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
        changes.pending.extend(new.into_iter().filter(|(_, settled)| !settled).map(|(name, _)| name));
        changes.not_as_configured = self.not_as_configured(&changes);
        changes
    }

    /// What failed now, and what failed before and has not changed since.
    fn not_as_configured(&self, changes: &Changes) -> Vec<Failed> {
        let all = self.status().into_iter().filter_map(|status| {
            let failed = changes.failed.iter().find(|failed| failed.name == status.name);
            let problem = match failed {
                Some(failed) => failed.problem.clone(),
                None => status.not_as_configured()?.to_owned(),
            };
            Some(Failed { name: status.name, problem })
        });
        all.filter(|one| !changes.pending.contains(&one.name)).collect()
    }

    /// `None`: it took too long, or nobody waits any more.
    async fn within_patience<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut hurried = self.hurried.subscribe();
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.ground.clock.sleep(PATIENCE) => None,
            () = stop_asked(&mut hurried) => None,
        }
    }

    /// Has one run with another configuration. From here on that is what a later reload compares with, whether it
    /// starts or not: what does not start is tried again when it changes again.
    async fn change(&self, member: &Arc<Member>, config: &config::Collector) -> (String, Outcome) {
        let stamp = self.stamp_at_start(config);
        let Some(told) = member.collector.replace(config.clone()) else {
            let problem = "it is busy with a long collect, or stopping: reload again later".to_owned();
            return (config.name.clone(), Outcome::Failed(problem));
        };
        let changed = Arc::new(Member { config: config.clone(), stamp, collector: member.collector.clone() });
        if let Some(place) = self.write().iter_mut().find(|other| Arc::ptr_eq(other, member)) {
            *place = changed;
        }
        let outcome = match self.within_patience(told).await {
            Some(Ok(Ok(()))) => Outcome::Started,
            Some(Ok(Err(problem))) => Outcome::Failed(problem),
            Some(Err(_)) => Outcome::Failed("a later change came first, or it is stopping".to_owned()),
            None => Outcome::Pending,
        };
        (config.name.clone(), outcome)
    }

    /// What the tags name now. A registry that takes longer has not moved any: a later reload asks again.
    async fn ask_registries(&self, wanted: &[config::Collector]) {
        let asked = self.ground.plugins.refresh(wanted);
        tokio::select! {
            () = asked => {}
            () = self.ground.clock.sleep(PATIENCE) => {
                tracing::warn!(
                    seconds = PATIENCE.as_secs(),
                    "registries take long: tags that they have not told about yet count as unmoved"
                );
            }
        }
    }

    fn add<'c>(&self, wanted: impl Iterator<Item = &'c config::Collector>) {
        for config in wanted {
            let member = Member {
                stamp: self.stamp_at_start(config),
                collector: Arc::new(run::start(config.clone(), self.ground.clone())),
                config: config.clone(),
            };
            let mut members = self.write();
            let at = members.partition_point(|other| other.config.name < member.config.name);
            members.insert(at, Arc::new(member));
        }
    }

    /// A registry's plugin has none: what it moves away from is known once it was fetched.
    fn stamp_at_start(&self, config: &config::Collector) -> Option<Stamp> {
        self.ground.plugins.stamp(config).filter(|stamp| matches!(stamp, Stamp::File(_)))
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
    stamp_of: impl Fn(&config::Collector) -> Option<Stamp>,
) -> Changes {
    let mut changes = Changes::default();
    for one in wanted {
        let Some((before, stamp)) = running.iter().find(|(before, _)| before.name == one.name) else {
            changes.added.push(one.name.clone());
            continue;
        };
        let now = stamp_of(one);
        if *before != one || (now.is_some() && now != *stamp) {
            changes.changed.push(one.name.clone());
            continue;
        }
        if now.is_none() && stamp.is_some() {
            let what = if is_program(one) { "program" } else { "component" };
            tracing::warn!(collector = one.name, "its {what}, {}, is gone; what runs goes on", one.plugin);
        }
        changes.unchanged += 1;
    }
    let gone = running.iter().filter(|(before, _)| !wanted.iter().any(|one| one.name == before.name));
    changes.removed.extend(gone.map(|(before, _)| before.name.clone()));
    changes
}

fn is_program(collector: &config::Collector) -> bool {
    matches!(collector.plugin, config::PluginRef::Exec(_))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

    use serde_json::json;
    use whimbrel_plugin_host::Trust;

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
            trust: Trust::default(),
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

    fn stamp_of(one: &config::Collector) -> Option<Stamp> {
        crate::plugins::builtin::stamp(&one.plugin).map(Stamp::File)
    }

    #[test]
    fn a_new_component_in_the_same_file_is_a_change_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        let one = collector("x", PluginRef::Path(file.clone()), 1000);
        let stamp = |path: &Path| stamp_of(&collector("x", PluginRef::Path(path.to_owned()), 1000));
        assert_eq!(stamp(&file), None);
        let missing = [(&one, None)];
        let same = |running: &[(&config::Collector, Option<Stamp>)]| {
            difference(running, std::slice::from_ref(&one), stamp_of)
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

    #[test]
    fn a_repaired_program_is_a_change_and_so_is_one_that_may_be_executed_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("check");
        let one = collector("x", PluginRef::Exec(Box::new(config::Exec::of(&file))), 1000);
        let since = |stamp| difference(&[(&one, stamp)], std::slice::from_ref(&one), stamp_of);
        fs::write(&file, "#!/there/is/none\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(since(None), changes(&[], &[], &["x"], 0), "there it is");
        let before = stamp_of(&one);
        assert_eq!(since(before), changes(&[], &[], &[], 1));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(since(before), changes(&[], &[], &["x"], 0), "it may be executed");
        let before = stamp_of(&one);
        fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(since(before), changes(&[], &[], &["x"], 0), "it was repaired");
    }
}
