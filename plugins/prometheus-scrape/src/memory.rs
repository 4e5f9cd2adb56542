//! What is kept over restarts: since when each series counts, by target.
//!
//! ```text
//!  "scrape1\n"  ( URL's hash u64 | length u32 | series )*        integers little-endian
//! ```

use std::collections::BTreeMap;

use whimbrel_prometheus_text::Starts;
use whimbrel_sdk::warn;

/// What a checkpoint begins with.
const MAGIC: &[u8] = b"scrape1\n";
/// A larger checkpoint is not written: it would take the room of what was scraped.
const MAX_CHECKPOINT: usize = 2 << 20;
/// A checkpoint is written when a series begins, and after so many collects: what was last seen of each tells whether
/// it began anew while nobody looked.
const EVERY: u32 = 20;

/// When a checkpoint is due, and what was in the last one.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    since_written: u32,
    written: Option<u64>,
    too_large: bool,
}

impl Memory {
    /// The checkpoint, if one is due.
    pub(crate) fn checkpoint<'a>(
        &mut self,
        targets: impl Iterator<Item = (&'a str, &'a Starts)>,
    ) -> Option<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        let mut begun = 0;
        for (url, starts) in targets {
            let series = starts.to_bytes();
            bytes.extend_from_slice(&hash(url.as_bytes()).to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(series.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(&series);
            // Which series there are and when they began, in whatever order, without their values.
            let (all, _) = series.as_chunks::<24>();
            begun ^= all.iter().fold(0, |sum, one| sum ^ hash(&one[..16]));
        }
        if bytes.len() > MAX_CHECKPOINT {
            if !std::mem::replace(&mut self.too_large, true) {
                warn!(
                    "too many series to keep over a restart since when they count: after one they begin anew";
                    "bytes" => bytes.len(), "most" => MAX_CHECKPOINT
                );
            }
            return None;
        }
        self.since_written += 1;
        (self.written != Some(begun) || self.since_written >= EVERY).then(|| {
            self.written = Some(begun);
            self.since_written = 0;
            bytes
        })
    }

    /// It did not become durable: it is due again.
    pub(crate) fn forget(&mut self) {
        self.written = None;
    }
}

/// What a checkpoint says of these targets; what it does not say begins anew.
pub(crate) fn read(checkpoint: &[u8]) -> Option<BTreeMap<u64, Starts>> {
    let mut rest = checkpoint.strip_prefix(MAGIC)?;
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let (url, after) = rest.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (series, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        found.insert(u64::from_le_bytes(*url), Starts::from_bytes(series)?);
        rest = after;
    }
    Some(found)
}

/// FNV-1a: the same in every build.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_checkpoint_is_not_read_and_never_a_panic() {
        let mut memory = Memory::default();
        let starts = Starts::from_bytes(&[7; 48]).unwrap();
        let whole = memory.checkpoint([("http://a/", &starts)].into_iter()).unwrap();
        let found = read(&whole).unwrap();
        assert_eq!(found[&hash(b"http://a/")], starts);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]).is_some(), end == MAGIC.len(), "{end}");
        }
        assert!(read(b"scrape2\n").is_none());
    }

    #[test]
    fn a_checkpoint_is_due_when_a_series_begins_and_now_and_then() {
        let mut memory = Memory::default();
        let one = Starts::from_bytes(&[1; 24]).unwrap();
        let mut later = [1; 24];
        later[20] = 2;
        let (later, two) = (Starts::from_bytes(&later).unwrap(), Starts::from_bytes(&[2; 24]).unwrap());
        let mut due = |starts: &Starts| memory.checkpoint([("u", starts)].into_iter()).is_some();
        assert!(due(&one));
        assert!(!due(&later), "another value is no beginning");
        assert!(due(&two));
        let turns = (0..EVERY).filter(|_| due(&two)).count();
        assert_eq!(turns, 1);
    }
}
