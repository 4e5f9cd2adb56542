//! Another configuration is taken while no instance runs that it could be made ready beside: after a fault, while one
//! comes up, or when it was set aside.
//!
//! What has collected before is kept until the other has collected once, and goes on if it does not load, start or
//! collect: as where it is made ready beside what runs. What was set aside has nothing to go back to.

use whimbrel_plugin_host::Plugin;

use super::{
    reins::Told,
    run::{Ended, Task},
    status::CollectorState,
    supervise::Supervisor,
};
use crate::{clock, config};

/// What was taken last, until it has collected once.
pub(super) struct Adopted {
    told: Told,
    before: Option<Before>,
}

/// What goes on if it fails.
struct Before {
    config: config::Collector,
    plugin: Plugin,
    /// With its faults.
    supervisor: Supervisor,
}

impl Task {
    /// Takes it. Whoever asked for it is told when it has started, or has not.
    pub(super) fn adopt(&mut self, config: config::Collector, told: Told) -> Ended {
        let unproven = self.adopted.take().and_then(|adopted| adopted.before);
        let supervisor = std::mem::take(&mut self.supervisor);
        let before = std::mem::replace(&mut self.config, config);
        let before = match self.proven.take() {
            Some(plugin) => Some(Before { config: before, plugin, supervisor }),
            None => unproven,
        };
        self.adopted = Some(Adopted { told, before });
        self.place.show(&self.config);
        self.place.board.write(|s| {
            s.refused_change = None;
            s.last_problem = None;
            s.state = CollectorState::Starting;
        });
        self.set_interval();
        Ended::Anew
    }

    /// An instance of it has come up.
    pub(super) fn adopted_started(&mut self) {
        if let Some(adopted) = &mut self.adopted {
            adopted.told.tell(Ok(()));
        }
    }

    /// A collect of what runs has returned.
    pub(super) fn prove(&mut self, plugin: &Plugin) {
        if self.proven.is_none() {
            self.proven = Some(plugin.clone());
        }
        self.adopted = None;
    }

    /// What was adopted does not run, and `what` says how far it came: what had run before goes on. `None`: nothing
    /// had, or what runs has proven itself.
    pub(super) fn go_back(&mut self, what: &str, problem: &str) -> Option<Ended> {
        let mut adopted = self.adopted.take()?;
        adopted.told.tell(Err(problem.to_owned()));
        let Before { config, plugin, supervisor } = adopted.before?;
        self.config = config;
        self.supervisor = supervisor;
        self.place.show(&self.config);
        let identity = plugin.description().title();
        self.place.board.write(|s| s.identity = Some(identity));
        self.set_interval();
        self.refuse(what, problem);
        self.proven = Some(plugin.clone());
        self.again = Some(plugin);
        Some(Ended::Anew)
    }

    /// How long it is set aside, in words.
    pub(super) fn until(&self) -> String {
        let what = match &self.config.plugin {
            config::PluginRef::Exec(_) => "program",
            _ => "component",
        };
        let name = &self.place.name;
        format!(
            "until its configuration or its {what} changes and is reloaded, `whimbrel plugin resume {name}`, or the agent \
             is restarted"
        )
    }

    /// A fault of what runs counts for it, also where another takes its place: it may have to go on.
    pub(super) fn count_against(&mut self) {
        let clock = &self.place.ground.clock;
        self.supervisor.fault(clock.monotonic(), clock::chance(&**clock));
    }
}
