//! Single processes: each is a resource of its own, and forgotten with the collect that no longer tells of it.
//!
//! Who a process is, is its number and the moment it began: a number is given anew. The rest of its resource may
//! change (it runs another program, its parent ends) while its counters go on.

use std::collections::BTreeMap;

use whimbrel_sdk::{
    Attributes, Emit, Error,
    system::{self, Attribute, Entity, Value},
};

use crate::tell::{Families, Teller};

/// The processes that were told of in the last collect, by number.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    known: BTreeMap<i64, Process>,
    round: u64,
}

#[derive(Debug)]
struct Process {
    resource: Vec<Attribute>,
    /// The same, as OTLP.
    encoded: Attributes,
    families: Families,
    /// The last round that told of it.
    seen: u64,
}

impl Processes {
    pub(crate) fn families(&mut self) -> impl Iterator<Item = &mut Families> {
        self.known.values_mut().map(|process| &mut process.families)
    }

    pub(crate) fn emit(
        &mut self,
        entities: Vec<Entity>,
        teller: &mut Teller,
        out: &mut Emit,
    ) -> Result<(), Error> {
        self.round += 1;
        for Entity { resource, figures } in entities {
            let Some(pid) = pid(&resource) else {
                teller.say_unknown("a thing that is no process");
                continue;
            };
            let process = self.follow(pid, resource);
            out.resource(&process.encoded);
            teller.emit(&mut process.families, figures, out)?;
        }
        out.resource(&Attributes::new());
        self.known.retain(|_, process| process.seen == self.round);
        Ok(())
    }

    fn follow(&mut self, pid: i64, resource: Vec<Attribute>) -> &mut Process {
        let process = self.known.entry(pid).or_insert_with(Process::unknown);
        process.seen = self.round;
        if process.resource != resource {
            if began(&process.resource) != began(&resource) {
                process.families = Families::default();
            }
            process.encoded = system::encode(&resource);
            process.resource = resource;
        }
        process
    }
}

impl Process {
    fn unknown() -> Self {
        Self { resource: Vec::new(), encoded: Attributes::new(), families: Families::default(), seen: 0 }
    }
}

fn pid(resource: &[Attribute]) -> Option<i64> {
    resource.iter().find(|attribute| attribute.key == "process.pid").and_then(|attribute| {
        match attribute.value {
            Value::Int(pid) => Some(pid),
            _ => None,
        }
    })
}

fn began(resource: &[Attribute]) -> Option<&Value> {
    resource
        .iter()
        .find(|attribute| attribute.key == "process.creation.time")
        .map(|attribute| &attribute.value)
}
