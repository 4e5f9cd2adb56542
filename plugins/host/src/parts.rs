//! The parts of the host's figures that are asked for, and what is said when one does not answer.

use whimbrel_sdk::{
    Error, info,
    system::{self, Entity},
    warn,
};

use crate::config::{Config, Select};

/// What is asked for, in the order it is emitted. What processes have a share of stands before them.
const PARTS: [(&str, Want); 13] = [
    ("cpu", Want::Expected),
    (PER_CPU, Want::Configured),
    ("memory", Want::Expected),
    ("paging", Want::Expected),
    ("pressure", Want::IfThere),
    ("disk", Want::Expected),
    ("filesystem", Want::Expected),
    ("network", Want::Expected),
    ("process", Want::Expected),
    (PER_PROCESS, Want::Configured),
    ("sensors", Want::IfThere),
    ("service", Want::Configured),
    ("host", Want::Expected),
];

/// The times of each CPU: a detail of `cpu`, that comes with its grant.
pub(crate) const PER_CPU: &str = "cpu.logical";

/// Single processes: a detail of `process`.
pub(crate) const PER_PROCESS: &str = "process.each";

/// One part.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    select: Select,
    want: Want,
    state: PartState,
}

/// What it means that a part is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Worth a warning: every host of its kind has it.
    Expected,
    /// Nothing: many hosts have none.
    IfThere,
    /// Worth a warning, also where it is only not granted: the configuration names it.
    Configured,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartState {
    Asked,
    /// Said that it gives nothing; asked on.
    Failing,
    /// Not granted: that does not change while an instance lives.
    Denied,
}

impl Part {
    /// The parts that this configuration asks for. `wanted`: whether anything of a part is emitted.
    ///
    /// # Errors
    /// What is wrong with the selection of a part.
    pub(crate) fn all(config: &Config, wanted: impl Fn(&str) -> bool) -> Result<Vec<Self>, Error> {
        let mut parts = Vec::with_capacity(PARTS.len());
        for (name, want) in PARTS {
            let select = config.select(name)?;
            if wanted(name) && (want != Want::Configured || config.asks(name)) {
                parts.push(Self { name, select, want, state: PartState::Asked });
            }
        }
        Ok(parts)
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.state == PartState::Denied
    }

    /// Not granted, and not named in the configuration: an operator's choice.
    pub(crate) fn is_withheld(&self) -> bool {
        self.is_denied() && self.want != Want::Configured
    }

    /// Its figures, or none; why is said when it begins and when it ends. Those that are withheld are said together.
    pub(crate) fn ask(&mut self) -> Option<Vec<Entity>> {
        if self.is_denied() {
            return None;
        }
        let answer = system::snapshot_with(self.name, &self.select);
        self.hear(answer)
    }

    fn hear(&mut self, answer: Result<Vec<Entity>, Error>) -> Option<Vec<Entity>> {
        let Self { name, want, state, .. } = self;
        match answer {
            Ok(entities) => {
                if std::mem::replace(state, PartState::Asked) == PartState::Failing {
                    info!("the host's figures of {name} are there again"; "part" => name);
                }
                return Some(entities);
            }
            Err(Error::Denied(why)) => {
                *state = PartState::Denied;
                if *want == Want::Configured {
                    warn!("figures of {name} are configured and not granted: {why}"; "part" => name);
                }
            }
            Err(why) => {
                if std::mem::replace(state, PartState::Failing) == PartState::Failing {
                    return None;
                }
                if *want == Want::IfThere {
                    info!("figures of {name} are left out: {why}"; "part" => name);
                } else if matches!(why, Error::Invalid(_)) {
                    warn!("figures of {name} can't be had: {why}"; "part" => name);
                } else {
                    warn!("figures of {name} are left out until they are there: {why}"; "part" => name);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_is_asked_on_and_one_that_is_denied_is_not() {
        let unavailable = || Err(Error::Unavailable("cannot read /proc/diskstats".to_owned()));
        let mut part =
            Part { name: "disk", select: Vec::new(), want: Want::Expected, state: PartState::Asked };
        assert_eq!(part.hear(unavailable()), None);
        assert_eq!(part.state, PartState::Failing);
        assert_eq!(part.hear(unavailable()), None);
        let entity = Entity { resource: Vec::new(), figures: Vec::new() };
        assert_eq!(part.hear(Ok(vec![entity.clone()])), Some(vec![entity]));
        assert_eq!(part.state, PartState::Asked);
        part.hear(Err(Error::Denied("disk is not granted".to_owned())));
        assert_eq!(part.state, PartState::Denied);
        assert_eq!(part.ask(), None);
    }
}
