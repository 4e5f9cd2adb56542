//! A collector that is a program: run on the schedule of any collector, outside the sandbox.
//!
//! What is kept between two runs stays here (`Memory`), one run is in `child`, what its output means in `nagios` and in
//! the crate `whimbrel-prometheus-text`, and what is made of that in `emit`. A run ends before the next begins: what was
//! due meanwhile is missed, and counted.
//!
//! A program that can't be run as it is (`fitness`) is set aside at once: trying again would find the same, until its
//! file is another one, which a reload finds as it finds another component. One whose
//! start fails for now is tried again after a pause, and set aside like a plugin that faults again and again. One that
//! runs and fails has faulted for that collect only, and is run again when it is due: a check that fails while what it
//! checks is down must be there when that is up again.

mod child;
mod emit;
mod fitness;
mod nagios;

use std::time::Duration;

use whimbrel_otlp::Signal;
use whimbrel_prometheus_text::Starts;

use self::child::{Ending, NotStarted, Run};
use super::{
    reins::{Interrupt, Resumed, stop_asked},
    run::{Ended, NO_START, Place, Task, micros, tell_resumed},
    schedule::Schedule,
    status::CollectorState,
};
use crate::{
    clock,
    config::{self, Exec, ExecOutput},
    store::{Batch, StoreError},
};

pub use child::programs_are_confined_by;
pub use fitness::{Unfit, is_lasting, unfit};

/// A program that can't be started.
const START: &str = "start";

/// What is kept between two runs, and over a restart of the agent.
enum Memory {
    /// Since when series count.
    Prometheus(Starts),
    /// The state that was told last.
    Nagios(Option<u8>),
}

impl Memory {
    fn of(output: ExecOutput, checkpoint: Option<&[u8]>) -> Self {
        match (output, checkpoint) {
            (ExecOutput::Prometheus, Some([b'P', starts @ ..])) => {
                Self::Prometheus(Starts::from_bytes(starts).unwrap_or_default())
            }
            (ExecOutput::Prometheus, _) => Self::Prometheus(Starts::new()),
            (ExecOutput::Nagios, Some([b'N', state])) => Self::Nagios(Some(*state)),
            (ExecOutput::Nagios, _) => Self::Nagios(None),
        }
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        match self {
            Self::Prometheus(starts) if starts.is_empty() => None,
            Self::Prometheus(starts) => Some([b"P".as_slice(), &starts.to_bytes()].concat()),
            Self::Nagios(state) => state.map(|state| vec![b'N', state]),
        }
    }
}

/// What is wrong with a run: one word, and what to read.
struct Fault {
    cause: &'static str,
    message: String,
    /// The limit that was met.
    limit: Option<&'static str>,
}

/// What is to be sent, and what was wrong.
#[derive(Default)]
struct Outcome {
    batches: Vec<(Signal, Vec<u8>)>,
    fault: Option<Fault>,
}

impl Task {
    /// From the first run to the end.
    pub(super) async fn live_as_program(&mut self, exec: &Exec) -> Ended {
        self.place.board.write(|s| {
            s.identity = Some(format!("{} (outside the sandbox)", self.config.plugin));
            s.outside_sandbox = true;
        });
        if let Some(unfit) = unfit(exec) {
            return self.never(exec, &unfit.to_string());
        }
        tracing::warn!(
            collector = self.place.name,
            program = %exec.program.display(),
            "runs OUTSIDE the sandbox: it can do whatever its user can"
        );
        // A program has no probation: whoever asked for it is told that it is taken, and its schedule is its own.
        self.adopted_started();
        (self.schedule, self.proven, self.adopted, self.again) = (None, None, None, None);
        let place = &self.place;
        let clock = place.ground.clock.clone();
        let mut memory = Memory::of(exec.output, place.ground.store.checkpoint(&place.source).as_deref());
        let mut schedule = Schedule::starting(clock.monotonic(), self.config.interval);
        loop {
            let pause = schedule.next().saturating_sub(clock.monotonic());
            tokio::select! {
                biased;
                pulled = self.reins.next() => match pulled {
                    Interrupt::Stop => return Ended::Stop,
                    Interrupt::Resume(tell) => {
                        tell_resumed(tell, Resumed::Running);
                        continue;
                    }
                    Interrupt::Replace(candidate) => {
                        self.place.board.write(|s| s.replaced += 1);
                        return self.adopt(*candidate.config, candidate.told);
                    }
                },
                () = clock.sleep(pause) => {}
            }
            self.place.board.begins(&schedule.due(clock.monotonic()));
            let began = clock.monotonic();
            let run = self.run_once(exec).await;
            let took = clock.monotonic().saturating_sub(began);
            match &run.ending {
                Ending::Stopped => return Ended::Stop,
                Ending::NotStarted(NotStarted { why, lasting: true }) => return self.never(exec, why),
                Ending::NotStarted(NotStarted { why, .. }) => {
                    let message = format!("{} can't be run: {why}", exec.program.display());
                    if let Err(ended) = self.after(START, message).await {
                        return ended;
                    }
                    self.place.board.write(|s| s.state = CollectorState::Starting);
                    schedule.again();
                    continue;
                }
                _ => {}
            }
            self.supervisor.started(clock.monotonic());
            self.place.board.write(|s| {
                s.state = CollectorState::Running;
                s.collects += 1;
                s.last_collect_us = micros(took);
                s.log_lines_dropped += run.errors.dropped;
                s.limits.hit("log_rate", run.errors.dropped);
                s.limits.used("output", run.output.len() as u64);
                s.limits.used("deadline", micros(took));
            });
            self.place.digest(&run, &self.config.limits, &mut memory).await;
        }
    }

    /// It can't be run, and trying again would change nothing. A plugin that ran before goes on.
    fn never(&mut self, exec: &Exec, why: &str) -> Ended {
        let problem = format!("{} can't be run: {why}", exec.program.display());
        self.place.note(START, problem.clone());
        if let Some(ended) = self.go_back(NO_START, &problem) {
            return ended;
        }
        self.set_aside(format!("{problem}; set aside {}", self.until()))
    }

    async fn run_once(&mut self, exec: &Exec) -> Run {
        let limits = &self.config.limits;
        let name = self.place.name.as_str();
        // The rate is a second's: of what comes more often, its share.
        let share = self.config.interval.min(Duration::from_secs(1)).as_secs_f64();
        let lines = (f64::from(limits.log_rate) * share).ceil() as u64;
        let tell = |line: &str| tracing::warn!(collector = name, stream = "stderr", "{line}");
        child::run(exec, limits, lines, stop_asked(&mut self.reins.stopped), tell).await
    }
}

impl Place {
    /// Sends what a run brought, and tells what was wrong with it.
    async fn digest(&self, run: &Run, limits: &config::Limits, memory: &mut Memory) {
        let now_ns = clock::unix_ns(&*self.ground.clock);
        let scope = emit::Scope { collector: &self.name, now_ns };
        let ended = self::ended(run, limits);
        let outcome = match memory {
            Memory::Prometheus(starts) => match ended {
                Some(fault) => Outcome { fault: Some(fault), ..Outcome::default() },
                None => emit::prometheus(&run.output, &scope, starts),
            },
            Memory::Nagios(before) => emit::nagios(run, ended, &scope, before),
        };
        self.send(&outcome.batches, memory.checkpoint()).await;
        if let Some(fault) = outcome.fault {
            let stderr =
                run.errors.first.as_ref().map(|line| format!("; it said: {line}")).unwrap_or_default();
            let message = format!("{}{stderr}", fault.message);
            tracing::warn!(collector = self.name, cause = fault.cause, "{message}");
            fault.limit.inspect(|limit| self.board.write(|s| s.limits.hit(limit, 1)));
            self.note(fault.cause, message);
        }
    }

    async fn send(&self, batches: &[(Signal, Vec<u8>)], checkpoint: Option<Vec<u8>>) {
        let last = batches.len().saturating_sub(1);
        for (index, (signal, request)) in batches.iter().enumerate() {
            let batch = Batch {
                signal: *signal,
                request,
                source: &self.source,
                checkpoint: checkpoint.as_deref().filter(|_| index == last),
            };
            match self.ground.store.append(batch).await {
                Ok(stored) => self.board.write(|s| {
                    s.pushes += 1;
                    s.items += stored.items;
                }),
                Err(error) => {
                    tracing::warn!(collector = self.name, %error, "what it brought was refused");
                    self.board.write(|s| {
                        match &error {
                            StoreError::Invalid(_) => s.refused.invalid += 1,
                            StoreError::TooLarge(_) => s.refused.too_large += 1,
                            _ => s.refused.unavailable += 1,
                        }
                        s.last_problem = Some(format!("what it brought was refused: {error}"));
                    });
                    return;
                }
            }
        }
    }
}

/// What is wrong with how a run ended, whatever its output.
fn ended(run: &Run, limits: &config::Limits) -> Option<Fault> {
    let fault = |cause, limit, message| Some(Fault { cause, message, limit });
    match &run.ending {
        Ending::Code(0) | Ending::Stopped => None,
        Ending::Code(code) => fault("exit", None, format!("ended with code {code}")),
        Ending::Signal(signal) => fault("signal", None, format!("ended by signal {signal}")),
        Ending::NotStarted(NotStarted { why, .. }) => fault(START, None, why.clone()),
        Ending::Overdue => fault(
            "deadline",
            Some("deadline"),
            format!(
                "not done in {}, and was ended; `timeout` is its limit",
                config::show_duration(limits.deadline)
            ),
        ),
        Ending::Flood => fault(
            "output",
            Some("output"),
            format!(
                "wrote more than {}, and was ended; `max_output` is its limit",
                config::show_size(limits.output)
            ),
        ),
    }
}
