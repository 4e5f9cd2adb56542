//! All rules in force, in the order they were made.

use std::time::{Duration, Instant};

use super::rule::{Effect, Facts, Rule, Stage, Terminal};

/// How many rules may be in force: a test needs a handful, and each is asked on each request.
const MAX_RULES: usize = 256;

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Book {
    rules: Vec<Rule>,
    chance: Chance,
    /// By all rules there ever were.
    struck: u64,
}

/// What the rules say at one stage.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    /// Items to refuse, with the message.
    pub(crate) partial: Option<(u64, String)>,
    pub(crate) first_frame_only: bool,
    pub(crate) end: Option<Terminal>,
}

impl Book {
    /// An empty book; equal seeds strike alike.
    pub(crate) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), chance: Chance(seed), struck: 0 }
    }

    /// Adds a rule. False, and nothing is added, if there are too many already.
    pub(crate) fn add(&mut self, rule: Rule, now: Instant) -> bool {
        self.rules.retain(|rule| rule.in_force(now));
        let room = self.rules.len() < MAX_RULES;
        if room {
            self.rules.push(rule);
        }
        room
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules that can still strike.
    pub(crate) fn in_force(&mut self, now: Instant) -> &[Rule] {
        self.rules.retain(|rule| rule.in_force(now));
        &self.rules
    }

    /// How often rules struck since the start, those that are over included.
    pub(crate) fn struck(&self) -> u64 {
        self.struck
    }

    /// Asks all rules of `stage` in order. Delays add up; the first that ends the request ends the asking.
    pub(crate) fn ask(&mut self, stage: Stage, facts: &Facts<'_>, now: Instant) -> Verdict {
        let mut verdict = Verdict::default();
        for rule in &mut self.rules {
            if rule.stage != stage || !rule.in_force(now) || !rule.condition.holds(facts) {
                continue;
            }
            if rule.rate < 1.0 && self.chance.next() >= rule.rate {
                continue;
            }
            rule.struck += 1;
            self.struck += 1;
            rule.left = rule.left.map(|left| left - 1);
            match &rule.effect {
                Effect::Delay(delay) => verdict.delay = verdict.delay.saturating_add(*delay),
                Effect::Partial { rejected, message } => verdict.partial = Some((*rejected, message.clone())),
                Effect::FirstFrameOnly => verdict.first_frame_only = true,
                Effect::End(terminal) => {
                    verdict.end = Some(terminal.clone());
                    break;
                }
            }
        }
        verdict
    }
}

impl Rule {
    fn in_force(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until) && self.left != Some(0)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for "three in ten requests", and repeatable.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// In [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{faults::parse_rule, signal::Signal};

    const METRICS: Facts<'static> =
        Facts { signal: Signal::Metrics, encoding: "zstd", authorization: None, batch: None };

    fn book(rules: &[(&str, &str)], now: Instant) -> Book {
        let mut book = Book::new(1);
        for (verb, query) in rules {
            assert!(book.add(parse_rule(verb, query, now).unwrap(), now));
        }
        book
    }

    fn ends(book: &mut Book, facts: &Facts<'_>, now: Instant) -> bool {
        book.ask(Stage::Body, facts, now).end.is_some()
    }

    #[test]
    fn a_rule_ends_when_its_time_is_over() {
        let now = Instant::now();
        let mut book = book(&[("fail", "code=503&for=20s")], now);
        assert!(ends(&mut book, &METRICS, now + Duration::from_millis(19_999)));
        assert!(!ends(&mut book, &METRICS, now + Duration::from_secs(20)));
        assert!(book.in_force(now + Duration::from_secs(20)).is_empty());
    }

    #[test]
    fn a_rule_strikes_as_often_as_told() {
        let now = Instant::now();
        let mut book = book(&[("fail", "count=2")], now);
        let struck: Vec<bool> = (0..4).map(|_| ends(&mut book, &METRICS, now)).collect();
        assert_eq!(struck, [true, true, false, false]);
    }

    #[test]
    fn requests_that_do_not_match_use_up_nothing() {
        let now = Instant::now();
        let mut book = book(&[("fail", "count=1&signal=logs")], now);
        assert!(!ends(&mut book, &METRICS, now));
        assert!(ends(&mut book, &Facts { signal: Signal::Logs, ..METRICS }, now));
    }

    #[test]
    fn a_rate_strikes_that_share_of_requests() {
        let now = Instant::now();
        let mut book = book(&[("fail", "rate=0.3")], now);
        let struck = (0..10_000).filter(|_| ends(&mut book, &METRICS, now)).count();
        assert!((2_850..3_150).contains(&struck), "{struck} of 10000 struck");
    }

    #[test]
    fn delays_add_up_and_a_refusal_ends_the_asking() {
        let now = Instant::now();
        let mut book =
            book(&[("slow", "delay=1s"), ("slow", "delay=500ms"), ("fail", "code=500"), ("close", "")], now);
        let verdict = book.ask(Stage::Body, &METRICS, now);
        assert_eq!(verdict.delay, Duration::from_millis(1500));
        assert!(matches!(verdict.end, Some(Terminal::Refuse(refusal)) if refusal.status == 500));
    }

    #[test]
    fn a_token_is_compared_whole_and_its_scheme_in_any_case() {
        let now = Instant::now();
        let mut book = book(&[("token", "require=s3cret")], now);
        for (given, refused) in [
            (None, true),
            (Some("Bearer s3cret"), false),
            (Some("bearer s3cret"), false),
            (Some("Bearer S3CRET"), true),
            (Some("Bearer s3cret2"), true),
            (Some("Basic s3cret"), true),
            (Some("s3cret"), true),
        ] {
            let facts = Facts { authorization: given, ..METRICS };
            assert_eq!(book.ask(Stage::Headers, &facts, now).end.is_some(), refused, "{given:?}");
        }
    }

    #[test]
    fn rules_are_bounded() {
        let now = Instant::now();
        let mut book = Book::new(1);
        let add = |book: &mut Book, now| book.add(parse_rule("fail", "for=1s", now).unwrap(), now);
        for _ in 0..MAX_RULES {
            assert!(add(&mut book, now));
        }
        assert!(!add(&mut book, now));
        assert!(add(&mut book, now + Duration::from_secs(2)), "those that are over make room");
    }
}
