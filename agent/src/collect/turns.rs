//! The part of a collector's task that runs while an instance lives: collect on the raster, and between two collects
//! let another take over.
//!
//! Another configuration or component is made ready beside what runs (`successor`), begins where the last durable
//! checkpoint is, and is put back if its first collect faults: the instance before is kept until then, and does the
//! collect that was due if nothing came of it. So no collect is missed, and nothing collected twice.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use whimbrel_plugin_host::{CollectError, Fault, Instance, Plugin};

use super::{
    reins::{Candidate, Interrupt, Resumed, stop_asked},
    run::{Ended, Left, NO_COLLECT, NO_START, Place, Task, micros, setup, shut_down},
    schedule::Schedule,
    services::CollectorServices,
    successor::{Ready, Successor},
};
use crate::config;

/// How long a collect that runs may go on when its collector is stopped: half of what the agent has to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Of linear memory's cap: above it the instance is recycled after a collect, because it never shrinks.
const RECYCLE_ABOVE: f64 = 0.75;
/// A plugin that says there is more is asked so often, and again when the next collect is due.
const MOST_CALLS: u32 = 1000;
/// A successor that found the checkpoint moved so often is waited for: the collect that is due comes late.
const MOST_STARTS: u32 = 3;

/// What collects.
pub(super) struct Current {
    pub(super) plugin: Plugin,
    pub(super) instance: Instance,
    pub(super) services: Arc<CollectorServices>,
}

/// What collected before, kept until its successor's first collect is done.
struct Before {
    current: Current,
    config: config::Collector,
    /// Where the successor began.
    checkpoint: Option<Vec<u8>>,
}

/// What waiting for the next collect has ended with.
enum Wait {
    Due,
    Stopped,
    /// A program is to take over, and can't be made ready beside a plugin.
    Exchanged(Candidate),
}

/// One thing that happened meanwhile.
enum Step {
    Due,
    Pulled(Interrupt),
    Ready(Result<(), String>),
}

impl Task {
    /// Until the instance faults, is to be replaced by a new one of the same, or the collector ends.
    pub(super) async fn collect_on_schedule(&mut self, mut current: Current) -> Left {
        let clock = self.place.ground.clock.clone();
        let interval = self.config.interval;
        self.schedule.get_or_insert_with(|| Schedule::starting(clock.monotonic(), interval));
        let mut before: Option<Before> = None;
        loop {
            let waited = self.wait_until_due(&mut current, &mut before).await;
            if !matches!(waited, Wait::Due) {
                // The one before has collected last; what is to take over has nothing to save yet.
                let last = before.map_or(current.instance, |before| before.current.instance);
                self.place.shut_down(last).await;
                return Left::Ended(match waited {
                    Wait::Exchanged(candidate) => self.adopt(*candidate.config, candidate.told),
                    Wait::Due | Wait::Stopped => Ended::Stop,
                });
            }
            let due = self.schedule.as_mut().expect("it was set above").due(clock.monotonic());
            self.place.board.begins(&due);
            loop {
                let Some(answer) = self.collect_due(&mut current).await else {
                    // It is in the middle of something; the one before is not, and ends in good order.
                    if let Some(older) = before {
                        self.place.shut_down(older.current.instance).await;
                    }
                    return Left::Ended(Ended::Stop);
                };
                match (before.take(), answer) {
                    (None, Ok(())) => {
                        self.prove(&current.plugin);
                        break;
                    }
                    (None, Err(fault)) => return Left::Fault(current.plugin, fault),
                    (Some(older), Ok(())) => {
                        self.proven = None;
                        self.prove(&current.plugin);
                        self.took_over(older);
                        break;
                    }
                    (Some(older), Err(fault)) => {
                        let nothing_came = current.services.pushed.load(Relaxed) == 0;
                        current = self.put_back(older, &fault).await;
                        if !nothing_came {
                            break;
                        }
                        // What was due is not missed: the older one collects it.
                    }
                }
            }
            let memory = current.instance.memory();
            if memory as f64 > self.config.limits.memory as f64 * RECYCLE_ABOVE {
                tracing::info!(
                    collector = self.place.name,
                    memory,
                    "linear memory above {:.0} % of its limit: a new instance takes over",
                    RECYCLE_ABOVE * 100.0
                );
                self.place.board.write(|s| s.recycled += 1);
                self.place.shut_down(current.instance).await;
                return Left::Again(current.plugin);
            }
        }
    }

    /// Until a collect is due. Meanwhile orders are taken, and what stands ready takes over.
    async fn wait_until_due(&mut self, current: &mut Current, before: &mut Option<Before>) -> Wait {
        let clock = self.place.ground.clock.clone();
        loop {
            let schedule = self.schedule.as_ref().expect("a collector that runs has one");
            let pause = schedule.next().saturating_sub(clock.monotonic());
            let hold = self.successor.as_ref().is_some_and(|one| one.starts >= MOST_STARTS);
            let (reins, place) = (&mut self.reins, &self.place);
            let successor = self.successor.as_mut().filter(|_| before.is_none());
            let step = tokio::select! {
                biased;
                pulled = reins.next() => Step::Pulled(pulled),
                ready = ready(successor, place) => Step::Ready(ready),
                () = clock.sleep(pause), if !hold => Step::Due,
            };
            match step {
                Step::Due => return Wait::Due,
                Step::Pulled(Interrupt::Stop) => return Wait::Stopped,
                Step::Pulled(Interrupt::Resume(tell)) => {
                    let _ = tell.send(Resumed::Running);
                }
                Step::Pulled(Interrupt::Replace(candidate)) if candidate.config.plugin.is_program() => {
                    return Wait::Exchanged(candidate);
                }
                // One that is being made ready is dropped; whoever asked for it hears no more.
                Step::Pulled(Interrupt::Replace(candidate)) => {
                    self.successor = Some(Successor::begin(candidate, &self.place.ground));
                }
                Step::Ready(Ok(())) => self.take_over(current, before),
                Step::Ready(Err(problem)) => {
                    let successor = self.successor.take();
                    self.refuse(NO_START, &problem);
                    successor.into_iter().for_each(|mut one| one.told.tell(Err(problem.clone())));
                }
            }
        }
    }

    /// What stands ready is to collect next, unless the checkpoint has moved since it began: then it begins again.
    fn take_over(&mut self, current: &mut Current, before: &mut Option<Before>) {
        let Some(mut successor) = self.successor.take() else { return };
        let start = self.place.start(&successor.config);
        if start.checkpoint != successor.checkpoint {
            successor.again(start, self.place.ground.clock.clone());
            self.successor = Some(successor);
            return;
        }
        let Some(Ready { plugin, instance, services, init }) = successor.take() else { return };
        let identity = plugin.description().title();
        tracing::info!(
            collector = self.place.name,
            plugin = identity,
            "started beside the older one: collects next"
        );
        let config = std::mem::replace(&mut self.config, successor.config);
        let older = std::mem::replace(current, Current { plugin, instance, services });
        self.set_interval();
        self.place.show(&self.config);
        self.place.board.write(|s| {
            s.identity = Some(identity);
            s.limits.used("init", micros(init));
            s.refused_change = None;
        });
        *before = Some(Before { current: older, config, checkpoint: successor.checkpoint });
        successor.told.tell(Ok(()));
    }

    /// The first collect is done: the one before ends, while the raster goes on.
    fn took_over(&mut self, before: Before) {
        self.supervisor.forgive();
        self.supervisor.started(self.place.ground.clock.monotonic());
        self.place.board.write(|s| s.replaced += 1);
        tracing::info!(collector = self.place.name, "took over");
        self.leave(before.current);
    }

    /// The first collect has faulted: the one before goes on. It does so itself where the checkpoint is still its own;
    /// else as a new instance that begins where the other came to. If that can't begin there, it does so itself all
    /// the same: better something twice than nothing more.
    async fn put_back(&mut self, before: Before, fault: &Fault) -> Current {
        let Before { current, config, checkpoint } = before;
        self.place.count(fault, false);
        self.place.note(fault.kind.as_str(), fault.to_string());
        self.config = config;
        self.set_interval();
        self.place.show(&self.config);
        let identity = current.plugin.description().title();
        self.place.board.write(|s| s.identity = Some(identity));
        self.refuse(NO_COLLECT, &fault.to_string());
        let start = self.place.start(&self.config);
        if start.checkpoint == checkpoint {
            return current;
        }
        let services = start.services;
        let setup = setup(&self.config, start.checkpoint, services.clone());
        let begun = tokio::select! {
            biased;
            () = stop_asked(&mut self.reins.stopped) => return current,
            begun = current.plugin.instantiate(setup) => begun,
        };
        match begun {
            Ok(instance) => {
                let plugin = current.plugin.clone();
                self.leave(current);
                Current { plugin, instance, services }
            }
            Err(fault) => {
                tracing::error!(
                    collector = self.place.name,
                    %fault,
                    "it can't begin at the checkpoint that the newer one left: it goes on where it stood itself, and \
                     what the newer one pushed may come twice"
                );
                self.place.count(&fault, true);
                self.place.note(fault.kind.as_str(), fault.to_string());
                current
            }
        }
    }

    /// What the configuration says does not run.
    pub(super) fn refuse(&self, what: &str, problem: &str) {
        let told = format!("{what}, and what ran before goes on: {problem}");
        tracing::error!(
            collector = self.place.name,
            problem = told,
            "the new configuration or component does not run"
        );
        self.place.board.write(|s| {
            s.put_back += 1;
            s.last_problem = Some(told.clone());
            s.refused_change = Some(told);
        });
    }

    /// Lets an instance end beside the one that collects; its checkpoints count no more.
    fn leave(&mut self, current: Current) {
        while self.leaving.try_join_next().is_some() {}
        current.services.retired.store(true, Relaxed);
        self.leaving.spawn(shut_down(self.place.name.clone(), current.instance));
    }

    /// The raster is that of the configuration from now on.
    pub(super) fn set_interval(&mut self) {
        let now = self.place.ground.clock.monotonic();
        if let Some(schedule) = &mut self.schedule {
            schedule.every(self.config.interval, now);
        }
    }

    /// All that is to be collected now: until the guest has no more, or the next collect is due. `None`: stopped.
    async fn collect_due(&mut self, current: &mut Current) -> Option<Result<(), Fault>> {
        for _ in 0..MOST_CALLS {
            let answer = self.collect_once(&mut current.instance, &current.services).await?;
            match answer {
                Ok(true) => {}
                Ok(false) => return Some(Ok(())),
                Err(fault) => return Some(Err(fault)),
            }
            let next = self.schedule.as_ref().map(Schedule::next);
            if self.reins.is_stopped() || next.is_some_and(|next| self.place.ground.clock.monotonic() >= next)
            {
                break;
            }
        }
        Some(Ok(()))
    }

    /// Whether there is more to collect at once. `None`: stopped, and it did not come to its end in time.
    async fn collect_once(
        &mut self,
        instance: &mut Instance,
        services: &CollectorServices,
    ) -> Option<Result<bool, Fault>> {
        let (clock, stopped) = (&self.place.ground.clock, &mut self.reins.stopped);
        let leave = async {
            stop_asked(stopped).await;
            clock.sleep(STOP_GRACE).await;
        };
        let answer = tokio::select! {
            biased;
            answer = instance.collect(self.config.limits.deadline) => answer,
            () = leave => {
                tracing::warn!(collector = self.place.name, "stopped in the middle of a collect, which took too long");
                return None;
            }
        };
        services.tell_denied();
        Some(match answer {
            Ok(collected) => {
                if let Some(denied) = &collected.denied {
                    tracing::warn!(collector = self.place.name, %denied, "a plugin was denied what it wanted, and went on");
                }
                self.place.board.write(|s| {
                    s.collects += 1;
                    s.memory_bytes = collected.memory;
                    s.log_lines_dropped += collected.lines_dropped;
                    s.last_collect_us = micros(collected.took + collected.waited);
                    s.limits.collected(&collected);
                    if let Some(denied) = &collected.denied {
                        s.last_problem = Some(format!("{denied}, and went on without"));
                    }
                });
                Ok(collected.more)
            }
            Err(CollectError::Guest(error)) => {
                tracing::warn!(collector = self.place.name, %error, "collect returned an error");
                let lines_dropped = instance.lines_dropped();
                self.place.board.write(|s| {
                    s.collects += 1;
                    s.errors += 1;
                    s.log_lines_dropped += lines_dropped;
                    s.limits.hit("log_rate", lines_dropped);
                    s.last_problem = Some(error.to_string());
                });
                Ok(false)
            }
            Err(CollectError::Fault(fault)) => Err(fault),
        })
    }
}

/// Never, where nothing is being made ready.
async fn ready(successor: Option<&mut Successor>, place: &Place) -> Result<(), String> {
    match successor {
        Some(successor) => successor.ready(place).await,
        None => std::future::pending().await,
    }
}
