//! What is worth telling of the demo: what somebody did, what came of it, and what the agent did about it.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::{
    cli::words,
    clock::{Clock, unix_ms},
};

/// So many are kept for the page.
const KEPT: usize = 50;
/// Records that wait for the next request anyhow: fewer are no backlog.
const IN_PASSING: u64 = 4;

/// Notices what changes from one look to the next.
#[derive(Default)]
pub(super) struct Watch {
    told: VecDeque<Value>,
    fresh: Vec<String>,
    down: bool,
    draining: bool,
    faults: u64,
    set_aside: bool,
}

impl Watch {
    /// Something happened.
    pub(super) fn tell(&mut self, clock: &dyn Clock, text: impl Into<String>) {
        let text = text.into();
        self.told.push_back(json!({ "unix_ms": unix_ms(clock), "text": text }));
        self.fresh.push(text);
        if self.told.len() > KEPT {
            self.told.pop_front();
        }
    }

    /// What was told, oldest first.
    pub(super) fn told(&self) -> &VecDeque<Value> {
        &self.told
    }

    /// What was told since this was last asked.
    pub(super) fn fresh(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh)
    }

    /// The agent was started anew: its counts begin again.
    pub(super) fn restarted(&mut self) {
        self.draining = true;
        self.faults = 0;
        self.set_aside = false;
    }

    /// Compares with the look before.
    pub(super) fn see(&mut self, clock: &dyn Clock, stats: Option<&Value>, agent: Option<&Value>) {
        if let Some(stats) = stats {
            let down = stats["down"].is_object();
            if down && !self.down {
                self.tell(clock, "the backend stopped: its ports are closed");
            }
            if !down && self.down {
                self.draining = true;
                self.tell(clock, "the backend is back");
            }
            self.down = down;
        }
        let Some(agent) = agent else { return };
        if self.draining && !self.down && words::pending(agent) <= IN_PASSING {
            self.draining = false;
            self.tell(clock, "drained: everything that was appended is delivered");
        }
        let hostile = words::list(&agent["collectors"]).find(|collector| collector["name"] == "hostile");
        let Some(hostile) = hostile else {
            (self.faults, self.set_aside) = (0, false);
            return;
        };
        let faults = hostile["faults"].as_u64().unwrap_or(0);
        let set_aside = hostile["state"] == "set_aside";
        if faults > self.faults {
            // What went wrong afterwards (a refused push, say) is the last problem, and not this.
            let fault = words::list(&hostile["past_faults"]).last().map(|fault| &fault["message"]);
            let fault = words::plain(fault.unwrap_or(&hostile["last_problem"]));
            self.tell(clock, format!("contained: hostile: {fault}"));
        }
        if set_aside && !self.set_aside {
            self.tell(
                clock,
                format!("contained for good: hostile is set aside after {faults} faults; the others went on"),
            );
        }
        (self.faults, self.set_aside) = (faults, set_aside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn an_outage_is_told_from_its_beginning_until_all_is_delivered() {
        let mut watch = Watch::default();
        let agent = |pending: u64| json!({"wal": {"consumers": [{"lanes": [{"pending": pending}]}]}});
        let mut see = |down: Value, pending| {
            watch.see(&SystemClock, Some(&json!({ "down": down })), Some(&agent(pending)));
            watch.fresh()
        };
        assert!(see(Value::Null, 90).is_empty(), "nobody stopped anything");
        assert_eq!(see(json!({}), 100).len(), 1);
        assert!(see(json!({}), 0).is_empty());
        assert_eq!(see(Value::Null, 100), ["the backend is back"]);
        assert!(see(Value::Null, 50).is_empty());
        assert_eq!(see(Value::Null, 1).len(), 1);
        assert!(see(Value::Null, 0).is_empty(), "told once");
    }

    #[test]
    fn each_new_fault_of_the_hostile_plugin_is_told_with_its_reason() {
        let mut watch = Watch::default();
        let agent = |faults: u64, state: &str| {
            json!({"collectors": [{"name": "hostile", "faults": faults, "state": state, "last_problem": "refused",
                "past_faults": [{"message": "old"}, {"message": "looped"}]}]})
        };
        watch.see(&SystemClock, None, Some(&agent(1, "backing_off")));
        watch.see(&SystemClock, None, Some(&agent(1, "backing_off")));
        watch.see(&SystemClock, None, Some(&agent(5, "set_aside")));
        let told = watch.fresh();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("looped") && told[2].contains("after 5 faults"), "{told:?}");
    }
}
