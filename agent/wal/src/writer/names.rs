//! Numbers for source and label names. A number is given once in the life of a WAL.

use std::{collections::HashMap, sync::Arc};

use crate::options::MAX_NAMES;

/// The names that the active segment knows.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, Known>,
    next: u32,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    number: u32,
    /// The last segment that used it.
    used: u64,
}

impl Names {
    pub(crate) fn new(next: u32) -> Self {
        Self { numbers: HashMap::new(), next }
    }

    /// A name that is known from the WAL.
    pub(crate) fn restore(&mut self, number: u32, name: Arc<str>, segment: u64) {
        self.next = self.next.max(number.saturating_add(1));
        self.numbers.insert(name, Known { number, used: segment });
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The first number not yet given.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The number of a known name; marks it as used by this segment.
    pub(crate) fn get(&mut self, name: &str, segment: u64) -> Option<u32> {
        let known = self.numbers.get_mut(name)?;
        known.used = segment;
        Some(known.number)
    }

    /// Gives a new name a number; `None` when there are too many.
    pub(crate) fn add(&mut self, name: &str, segment: u64) -> Option<(u32, Arc<str>)> {
        if self.numbers.len() >= MAX_NAMES || self.next == u32::MAX {
            return None;
        }
        let (number, name) = (self.next, Arc::<str>::from(name));
        self.next += 1;
        self.numbers.insert(name.clone(), Known { number, used: segment });
        Some((number, name))
    }

    /// Forgets names that no segment since `segment` used, but for those that `keep`.
    pub(crate) fn prune(&mut self, segment: u64, keep: impl Fn(&str) -> bool) {
        self.numbers.retain(|name, known| known.used >= segment || keep(name));
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<str>)> {
        let mut all: Vec<_> = self.numbers.iter().map(|(name, known)| (known.number, name)).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_twice() {
        let mut names = Names::new(1);
        let (a, _) = names.add("a", 1).unwrap();
        let (b, _) = names.add("b", 1).unwrap();
        assert_eq!((names.get("a", 3), names.get("b", 1)), (Some(a), Some(b)));
        names.prune(2, |_| false);
        assert_eq!((names.get("a", 3), names.get("b", 3)), (Some(a), None));
        let (again, _) = names.add("b", 3).unwrap();
        assert!(again > b);
        names.restore(100, "c".into(), 3);
        assert_eq!(names.add("d", 3).unwrap().0, 101);
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::new(1);
        for n in 0..MAX_NAMES {
            names.add(&n.to_string(), 1).unwrap();
        }
        assert!(names.add("one more", 1).is_none());
        assert!(names.get("7", 1).is_some());
    }
}
