//! The last scrape of each target, kept until the next, so that series that are gone can be told.
//!
//! What is kept is the text, compressed, and a hash of eight bytes for each series: what a series is called and what it
//! is stands in the text, which is read again only when one is gone. All targets together keep at most [`MOST`]; of what
//! is over, nothing is told when it goes. Nothing is kept over a restart.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use whimbrel_prometheus_text::{Format, Series};

/// Bytes, of all targets together.
pub(crate) const MOST: usize = 8 << 20;

/// What a target said.
#[derive(Debug)]
pub(crate) struct Before {
    /// With gzip.
    pub(crate) text: Vec<u8>,
    pub(crate) format: Format,
    pub(crate) series: Series,
}

impl Before {
    /// How much is kept of it, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.series.len() * size_of::<u64>()
    }
}

/// How much is kept of all.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: usize,
    /// Whether it was said that there is not enough.
    pub(crate) told: bool,
}

impl Room {
    /// Puts one in the place of the other, unless there is no room for it; answers whether there was.
    pub(crate) fn replace(&mut self, place: &mut Option<Before>, new: Option<Before>) -> bool {
        self.taken -= place.take().map_or(0, |before| before.size());
        let Some(new) = new else { return true };
        if self.taken + new.size() > MOST {
            return false;
        }
        self.taken += new.size();
        *place = Some(new);
        true
    }
}

/// Compressed, quickly.
pub(crate) fn compressed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory does not fail.
    encoder.write_all(text).and_then(|()| encoder.finish()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize) -> Option<Before> {
        Some(Before { text: vec![0; size], format: Format::Text, series: Series::default() })
    }

    #[test]
    fn all_targets_together_keep_so_much_and_no_more() {
        let mut room = Room::default();
        let (mut one, mut two) = (None, None);
        assert!(room.replace(&mut one, of(MOST - 10)));
        assert!(!room.replace(&mut two, of(11)) && two.is_none());
        assert!(room.replace(&mut two, of(10)));
        assert!(!room.replace(&mut one, of(MOST)) && one.is_none(), "what was there is gone");
        assert!(room.replace(&mut two, None) && two.is_none());
        assert!(room.replace(&mut one, of(MOST)), "all of it is free again");
    }
}
