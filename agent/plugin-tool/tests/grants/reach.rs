//! The plugin, and what is seen of it.

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use whimbrel_plugin_host::{
    CollectError, Fault, Grants, Host, HostOptions, Level, Limits, Outside, Reserved, Resolve, Setup,
};

use crate::support::{Recorder, setup, tool};

const COMPONENT: &[u8] = include_bytes!("../../../../plugins/components/reach.wasm");

/// What is granted, and how the world is.
pub(crate) struct Reach {
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) deadline: Duration,
    pub(crate) outside: Outside,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Came {
    /// One a step, if there was no fault.
    pub(crate) steps: Vec<String>,
    /// Lines of other levels than info, and what else was said.
    pub(crate) lines: Vec<(Level, String)>,
    pub(crate) denied: Vec<String>,
    pub(crate) fault: Option<Fault>,
    pub(crate) lines_dropped: u64,
}

impl Default for Reach {
    fn default() -> Self {
        Reach {
            grants: Grants::default(),
            limits: Limits::default(),
            deadline: Duration::from_secs(60),
            outside: Outside::default(),
        }
    }
}

impl Reach {
    pub(crate) fn granted(grants: Grants) -> Reach {
        Reach { grants, ..Reach::default() }
    }

    pub(crate) fn http(origins: &[&str]) -> Reach {
        Reach::granted(Grants {
            http: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
            ..Grants::default()
        })
    }

    /// Names lead where these say.
    pub(crate) fn names(self, names: &[(&str, &[&[&str]])]) -> Reach {
        Reach { outside: Outside::with_resolver(Reserved::default(), Names::new(names)), ..self }
    }

    pub(crate) fn reserved(self, reserved: Reserved) -> Reach {
        Reach { outside: Outside::new(reserved), ..self }
    }

    /// One collect.
    pub(crate) async fn take(self, steps: Value) -> Came {
        // Compiled once for all of these tests.
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("grants-cache");
        let options = HostOptions {
            compiler: Some(tool()),
            outside: Arc::new(self.outside),
            ..HostOptions::new(cache)
        };
        let plugin = Host::new(options).unwrap().load("reach.wasm", COMPONENT).await.unwrap();
        let services = Arc::new(Recorder::default());
        let setup = Setup {
            config_json: json!({ "steps": steps }).to_string(),
            grants: self.grants,
            limits: self.limits,
            ..setup(&services)
        };
        let mut instance = plugin.instantiate(setup).await.unwrap();
        let (fault, lines_dropped) = match instance.collect(self.deadline).await {
            Ok(collected) => (None, collected.lines_dropped),
            Err(CollectError::Fault(fault)) => {
                let dropped = fault.lines_dropped;
                (Some(fault), dropped)
            }
            Err(CollectError::Guest(error)) => panic!("{error}"),
        };
        let mut seen = services.seen();
        let lines: Vec<_> = seen.lines.drain(..).map(|line| (line.level, line.message)).collect();
        Came {
            steps: lines
                .iter()
                .filter(|(level, _)| *level == Level::Info)
                .map(|(_, text)| text.clone())
                .collect(),
            lines,
            denied: seen.denied.iter().map(ToString::to_string).collect(),
            fault,
            lines_dropped,
        }
    }
}

impl Came {
    /// That the step was refused so, and that the operator was told this once.
    pub(crate) fn is_refused(&self, error: &str, told: &str) {
        assert_eq!(self.steps.len(), 1, "{self:?}");
        assert!(self.steps[0].starts_with("refused: ") && self.steps[0].contains(error), "{self:?}");
        assert_eq!(self.denied.len(), 1, "{self:?}");
        assert!(self.denied[0].contains(told), "{told} is not in {self:?}");
    }

    /// That this came of the steps, and nothing was denied.
    pub(crate) fn is(&self, steps: &[&str]) {
        assert_eq!(self.steps, steps, "{self:?}");
        assert!(self.denied.is_empty() && self.fault.is_none(), "{self:?}");
    }
}

/// A resolver of a fixed world: each name has one answer after the other, and keeps its last.
struct Names(Mutex<Vec<(String, Vec<Vec<IpAddr>>)>>);

impl Names {
    fn new(names: &[(&str, &[&[&str]])]) -> Names {
        let addresses = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let name = |(name, answers): &(&str, &[&[&str]])| {
            ((*name).to_owned(), answers.iter().map(addresses).collect())
        };
        Names(Mutex::new(names.iter().map(name).collect()))
    }
}

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let mut names = self.0.lock().unwrap();
        let found = names
            .iter_mut()
            .find(|(known, _)| known == name)
            .map(|(_, answers)| if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        Box::pin(std::future::ready(found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))))
    }
}
