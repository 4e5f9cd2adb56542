//! What follows from an outcome: a function of the outcome, what was tried, the policy and a random draw.
//!
//! After the OTLP specification where that protects data, and beyond it where it would destroy data: only an
//! answer that blames the data may cost data, and then the guilty record alone.

use std::time::Duration;

use super::transport::{Encoding, Outcome};
use crate::config::{Compression, Retry};

/// How often a held exporter tries whether it still is; spread by a quarter to either side.
pub(super) const HOLD: Duration = Duration::from_secs(60);

/// The longest `Retry-After` that is honoured: a mistaken one must not silence an exporter for a year.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// What was tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// Records in the request.
    pub(super) records: usize,
    /// How its body was encoded.
    pub(super) encoding: Encoding,
    /// What the configuration says about that.
    pub(super) compression: Compression,
    /// Failures of the lane in a row before this one.
    pub(super) failures: u32,
    /// How long this request has been met by unavailability.
    pub(super) unavailable_for: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Acknowledge: the receiver has it.
    Deliver,
    /// Send the same records in this encoding, now.
    Recode(Encoding),
    /// Send the halves, each on its own.
    Halve,
    /// Give the one record to the dead letters.
    DeadLetter,
    /// Send it again after this long.
    Wait(Duration),
    /// The exporter is held: see after this long whether it still is.
    Hold(Duration),
    /// Acknowledge as dropped.
    GiveUp,
}

/// Decides. `random` is uniform over all of `u64`.
pub(super) fn decide(outcome: &Outcome, attempt: &Attempt, policy: &Retry, random: u64) -> Decision {
    let auto = attempt.compression == Compression::Auto;
    match outcome {
        Outcome::Accepted { .. } => Decision::Deliver,
        Outcome::EncodingRefused { .. } => match attempt.encoding {
            Encoding::Zstd if auto => Decision::Recode(Encoding::Gzip),
            Encoding::Gzip if auto => Decision::Recode(Encoding::Identity),
            _ => Decision::Hold(spread(HOLD, random)),
        },
        Outcome::DataRefused { suspect_encoding: true, .. } if auto && attempt.encoding == Encoding::Zstd => {
            Decision::Recode(Encoding::Gzip)
        }
        Outcome::DataRefused { .. } if attempt.records > 1 => Decision::Halve,
        Outcome::DataRefused { .. } => Decision::DeadLetter,
        Outcome::Unavailable { retry_after, .. } => {
            let over = policy.give_up_after.is_some_and(|limit| attempt.unavailable_for >= limit);
            match retry_after {
                _ if over => Decision::GiveUp,
                Some(delay) => Decision::Wait(
                    (*delay).min(MAX_RETRY_AFTER).saturating_add(fraction(policy.initial, random)),
                ),
                None => Decision::Wait(backoff(attempt.failures, policy, random)),
            }
        }
        Outcome::Held { .. } => Decision::Hold(spread(HOLD, random)),
    }
}

/// Exponential backoff with full jitter: uniform between 0 and min(maximum, initial * 2^failures).
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
pub(super) fn backoff(failures: u32, policy: &Retry, random: u64) -> Duration {
    let doubled = policy.initial.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    fraction(doubled.min(policy.maximum), random)
}

/// Uniform between three and five quarters of `around`.
pub(super) fn spread(around: Duration, random: u64) -> Duration {
    around / 4 * 3 + fraction(around / 2, random)
}

/// `random` as a share of `whole`.
fn fraction(whole: Duration, random: u64) -> Duration {
    whole.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Retry =
        Retry { initial: Duration::from_millis(500), maximum: Duration::from_secs(30), give_up_after: None };

    fn attempt(compression: Compression, encoding: Encoding, records: usize) -> Attempt {
        Attempt { records, encoding, compression, failures: 0, unavailable_for: Duration::ZERO }
    }

    fn refused(suspect_encoding: bool) -> Outcome {
        Outcome::DataRefused { reason: String::new(), suspect_encoding }
    }

    fn unavailable(retry_after: Option<Duration>) -> Outcome {
        Outcome::Unavailable { reason: String::new(), retry_after, disconnected: false }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_maximum_and_jitters_down_to_nothing() {
        let longest: Vec<u64> =
            (0..9).map(|failures| backoff(failures, &POLICY, u64::MAX).as_millis() as u64).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(backoff(u32::MAX, &POLICY, u64::MAX), POLICY.maximum);
        assert_eq!(backoff(5, &POLICY, 0), Duration::ZERO);
        let middle = backoff(0, &POLICY, u64::MAX / 2);
        assert!(middle > Duration::from_millis(249) && middle < Duration::from_millis(251), "{middle:?}");
    }

    #[test]
    fn a_zstd_body_is_sent_as_gzip_before_the_data_is_blamed() {
        let tried = attempt(Compression::Auto, Encoding::Zstd, 2);
        assert_eq!(decide(&refused(true), &tried, &POLICY, 0), Decision::Recode(Encoding::Gzip));
        let tried = attempt(Compression::Auto, Encoding::Gzip, 2);
        assert_eq!(decide(&refused(true), &tried, &POLICY, 0), Decision::Halve);
        let tried = attempt(Compression::Auto, Encoding::Zstd, 2);
        assert_eq!(decide(&refused(false), &tried, &POLICY, 0), Decision::Halve, "413 blames the size");
        let tried = attempt(Compression::Zstd, Encoding::Zstd, 1);
        assert_eq!(decide(&refused(true), &tried, &POLICY, 0), Decision::DeadLetter);
    }

    #[test]
    fn an_encoding_that_is_not_taken_never_costs_data() {
        let outcome = Outcome::EncodingRefused { reason: String::new() };
        let next = |compression, encoding| {
            decide(&outcome, &attempt(compression, encoding, 1), &POLICY, u64::MAX / 2)
        };
        assert_eq!(next(Compression::Auto, Encoding::Zstd), Decision::Recode(Encoding::Gzip));
        assert_eq!(next(Compression::Auto, Encoding::Gzip), Decision::Recode(Encoding::Identity));
        for (compression, encoding) in [
            (Compression::Auto, Encoding::Identity),
            (Compression::Zstd, Encoding::Zstd),
            (Compression::Gzip, Encoding::Gzip),
            (Compression::None, Encoding::Identity),
        ] {
            assert!(matches!(next(compression, encoding), Decision::Hold(_)));
        }
    }

    #[test]
    fn retry_after_is_honoured_and_bounded() {
        let tried = attempt(Compression::None, Encoding::Identity, 1);
        let wait = |after| decide(&unavailable(Some(after)), &tried, &POLICY, 0);
        assert_eq!(wait(Duration::from_secs(7)), Decision::Wait(Duration::from_secs(7)));
        assert_eq!(wait(Duration::MAX), Decision::Wait(MAX_RETRY_AFTER));
        let spread = decide(&unavailable(Some(Duration::from_secs(7))), &tried, &POLICY, u64::MAX);
        assert_eq!(spread, Decision::Wait(Duration::from_millis(7500)), "a herd is spread");
    }

    #[test]
    fn only_unavailability_is_ever_given_up_and_only_where_configured() {
        let policy = Retry { give_up_after: Some(Duration::from_secs(60)), ..POLICY };
        let mut tried = attempt(Compression::None, Encoding::Identity, 1);
        tried.unavailable_for = Duration::from_secs(59);
        assert!(matches!(decide(&unavailable(None), &tried, &policy, 0), Decision::Wait(_)));
        tried.unavailable_for = Duration::from_secs(60);
        assert_eq!(decide(&unavailable(None), &tried, &policy, 0), Decision::GiveUp);
        assert!(matches!(decide(&unavailable(None), &tried, &POLICY, 0), Decision::Wait(_)));
        let held = Outcome::held(String::new());
        assert!(matches!(decide(&held, &tried, &policy, 0), Decision::Hold(_)));
    }

    #[test]
    fn a_hold_is_probed_about_once_a_minute() {
        let tried = attempt(Compression::Auto, Encoding::Zstd, 5);
        let held = Outcome::held(String::new());
        assert_eq!(decide(&held, &tried, &POLICY, 0), Decision::Hold(Duration::from_secs(45)));
        assert_eq!(decide(&held, &tried, &POLICY, u64::MAX), Decision::Hold(Duration::from_secs(75)));
    }
}
