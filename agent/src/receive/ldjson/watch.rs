//! Sources that promised a heartbeat: a bounded table, over all connections.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// So many intervals without a heartbeat are silence.
const MISSED: u32 = 3;

/// A source that fell silent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silent {
    pub(super) source: String,
    pub(super) for_how_long: Duration,
}

/// See the module.
pub(super) struct Watch {
    limit: usize,
    sources: Mutex<BTreeMap<String, Heart>>,
}

struct Heart {
    last: Duration,
    interval: Duration,
    silent: bool,
}

/// There are too many sources to watch one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) usize);

impl Watch {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, sources: Mutex::default() }
    }

    /// A heartbeat, `now` in monotonic time; the next comes within `interval`. Whether the source was silent before.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(super) fn beat(&self, source: &str, interval: Duration, now: Duration) -> Result<bool, TooMany> {
        let mut sources = self.lock();
        if let Some(heart) = sources.get_mut(source) {
            let returned = std::mem::take(&mut heart.silent);
            (heart.last, heart.interval) = (now, interval);
            return Ok(returned);
        }
        if sources.len() >= self.limit {
            // One that is silent and was told of gives way.
            let gone = sources.iter().find(|(_, heart)| heart.silent).map(|(source, _)| source.clone());
            match gone {
                Some(gone) => drop(sources.remove(&gone)),
                None => return Err(TooMany(self.limit)),
            }
        }
        sources.insert(source.to_owned(), Heart { last: now, interval, silent: false });
        Ok(false)
    }

    /// Those that have fallen silent since the last look.
    pub(super) fn look(&self, now: Duration) -> Vec<Silent> {
        let mut fallen = Vec::new();
        for (source, heart) in self.lock().iter_mut() {
            let for_how_long = now.saturating_sub(heart.last);
            if !heart.silent && for_how_long > heart.interval * MISSED {
                heart.silent = true;
                fallen.push(Silent { source: source.clone(), for_how_long });
            }
        }
        fallen
    }

    /// All that are silent, ordered.
    pub(super) fn silent(&self) -> Vec<String> {
        self.lock().iter().filter(|(_, heart)| heart.silent).map(|(source, _)| source.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Heart>> {
        // A change is whole when the lock is given back.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_source_is_silent_after_three_intervals_and_told_of_once() {
        let watch = Watch::new(10);
        assert_eq!(watch.beat("shop", 10 * SECOND, SECOND), Ok(false));
        assert!(watch.look(31 * SECOND).is_empty());
        let silent = watch.look(32 * SECOND);
        assert_eq!(silent, [Silent { source: "shop".to_owned(), for_how_long: 31 * SECOND }]);
        assert!(watch.look(100 * SECOND).is_empty());
        assert_eq!(watch.silent(), ["shop"]);
        assert_eq!(watch.beat("shop", 10 * SECOND, 101 * SECOND), Ok(true), "it returned");
        assert!(watch.silent().is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_the_silent_give_way() {
        let watch = Watch::new(2);
        watch.beat("a", SECOND, SECOND).unwrap();
        watch.beat("b", 100 * SECOND, SECOND).unwrap();
        assert_eq!(watch.beat("c", SECOND, SECOND), Err(TooMany(2)));
        assert_eq!(watch.look(5 * SECOND).len(), 1);
        assert_eq!(watch.beat("c", SECOND, 5 * SECOND), Ok(false));
        assert!(watch.silent().is_empty());
    }
}
