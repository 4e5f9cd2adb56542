//! Which series a text had, so that those that are gone from the next one can be told.
//!
//! A hash of eight bytes stands for a series: its resource, scope, metric, type and attributes. Series that bring a time
//! of their own are not among them: as in Prometheus, whoever says when something was measured says when it ends, too.

/// The series of one text, by hash, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series(Vec<u64>);

impl Series {
    pub(super) fn of(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        hashes.shrink_to_fit();
        Self(hashes)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the other does not have.
    #[must_use]
    pub fn without(&self, other: &Series) -> Series {
        Series(self.0.iter().copied().filter(|hash| !other.has(*hash)).collect())
    }

    pub(super) fn has(&self, hash: u64) -> bool {
        self.0.binary_search(&hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_what_the_other_does_not_have() {
        let (before, now) = (Series::of(vec![5, 1, 9, 1]), Series::of(vec![9, 2]));
        assert_eq!(before.len(), 3);
        assert_eq!(before.without(&now), Series::of(vec![1, 5]));
        assert!(now.without(&now).is_empty() && Series::default().without(&now).is_empty());
    }
}
