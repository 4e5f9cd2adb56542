//! `/control/*`: sets and clears what the stub does wrong.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::{Ui, UiError};
use crate::{
    faults::{VERBS, parse_rule},
    parameters::Parameters,
    receive::lock,
};

/// What can be asked for, for people.
pub(super) fn list() -> Value {
    let verbs: BTreeMap<String, &str> =
        VERBS.into_iter().map(|(verb, what)| (format!("POST /control/{verb}"), what)).collect();
    json!({
        "rules": verbs,
        "every rule takes": "signal=metrics|logs|traces, for=20s, rate=0.3, count=n; fail, slow, close and hang \
                             also when=headers|before|after (before: body read, not stored; after: stored)",
        "POST /control/down": "closes the OTLP listeners and cuts their connections, for=20s or until up",
        "POST /control/up": "opens them again, at the same addresses",
        "POST /control/reset": "clears all rules, opens the listeners and lets hanging requests go; data=1 also forgets all data and keys",
        "GET /control/stats": "the rules in force, and how often each struck",
    })
}

impl Ui {
    pub(super) async fn control(&self, verb: &str, query: &str) -> Result<Value, UiError> {
        let now = Instant::now();
        match verb {
            "stats" => {
                Parameters::read(query)?.done()?;
                Ok(self.rules(now))
            }
            "down" => {
                let mut given = Parameters::read(query)?;
                let length = given.duration("for")?;
                given.done()?;
                self.down(length).await;
                Ok(self.standing())
            }
            "up" => {
                Parameters::read(query)?.done()?;
                let open = self.up().await;
                let mut standing = self.standing();
                standing["open"] = open.into();
                Ok(standing)
            }
            "reset" => {
                let mut given = Parameters::read(query)?;
                let data = given.flag("data")?;
                given.done()?;
                self.up().await;
                lock(&self.faults).clear();
                self.release.send_modify(|n| *n += 1);
                if data {
                    self.ground.store.clear().await?;
                    lock(&self.ground.figures).clear(now);
                }
                Ok(self.rules(now))
            }
            _ => {
                let rule = parse_rule(verb, query, now)?;
                if !lock(&self.faults).add(rule, now) {
                    return Err(UiError::TooManyRules);
                }
                Ok(self.rules(now))
            }
        }
    }

    /// How the OTLP listeners stand.
    pub(super) fn standing(&self) -> Value {
        let down = self.outage().map(|down| json!({ "since_ns": down.since_ns, "until_ns": down.until_ns }));
        json!({ "down": down })
    }

    fn rules(&self, now: Instant) -> Value {
        let mut faults = lock(&self.faults);
        let rules = faults.in_force(now).iter().map(|rule| {
            json!({
                "rule": rule.text,
                "struck": rule.struck,
                "left": rule.left,
                "ends_in_s": rule.until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
            })
        });
        let rules: Vec<Value> = rules.collect();
        json!({ "rules": rules, "struck": faults.struck() })
    }
}
