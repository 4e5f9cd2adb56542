//! How far a long reading is, told to who sits at a terminal.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use whimbrel_wal::Progress;

use super::super::{print, words};

/// Between two messages, and before the first: what is short needs none.
const PAUSE: Duration = Duration::from_millis(500);

/// Tells progress on stderr, if that is a terminal.
pub(super) struct Meter {
    is_seen: bool,
    told: Instant,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { is_seen: std::io::stderr().is_terminal(), told: Instant::now() }
    }

    /// Silent where the output itself goes to the terminal.
    pub(super) fn beside_output() -> Self {
        let meter = Self::new();
        Self { is_seen: meter.is_seen && !std::io::stdout().is_terminal(), ..meter }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        if self.is_seen && self.told.elapsed() > PAUSE {
            self.told = Instant::now();
            let percent = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
            print::message(format_args!("{percent} % of {}", words::bytes(Some(progress.total))));
        }
    }
}
