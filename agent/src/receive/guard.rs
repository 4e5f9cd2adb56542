//! Who may send, and how often.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock as _, clock::DefaultClock, state::keyed::HashMapStateStore};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::config::Endpoint;

/// Addresses whose rate is kept before those that have been quiet are forgotten.
const MOST_PEERS: usize = 4096;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// Somebody at this address.
    Ip(IpAddr),
    /// A process on this machine, over a Unix socket.
    Local,
}

/// The token of an endpoint. Compared as a digest, so that the time it takes says nothing of it.
#[derive(Clone)]
pub(crate) struct Guard(Option<[u8; 32]>);

impl Guard {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self(endpoint.token.as_ref().map(|token| digest(token.reveal().as_bytes())))
    }

    /// Whether a token must be shown at all.
    pub(crate) fn wants_token(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this token, or none, opens.
    pub(crate) fn opens(&self, token: Option<&[u8]>) -> bool {
        match (&self.0, token) {
            (None, _) => true,
            (Some(wanted), Some(token)) => digest(token) == *wanted,
            (Some(_), None) => false,
        }
    }

    /// Whether the header `Authorization: Bearer TOKEN` opens (RFC 6750, section 2.1).
    pub(crate) fn opens_for(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        self.opens(shown)
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// How often each peer may send; over all endpoints of a receiver.
pub(crate) struct Pace(Option<RateLimiter<Peer, HashMapStateStore<Peer>, DefaultClock>>);

impl Pace {
    /// `per_second`: requests, lines or datagrams of one peer; `None`: as many as come.
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self(per_second.and_then(NonZeroU32::new).map(|rate| RateLimiter::hashmap(Quota::per_second(rate))))
    }

    /// Counts one; the time to wait where that is too many.
    pub(crate) fn may(&self, peer: Peer) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.len() > MOST_PEERS {
            limiter.retain_recent();
        }
        limiter.check_key(&peer).map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Secret};

    fn guard(token: &str) -> Guard {
        let mut endpoint = Endpoint::at(Address::Tcp(([127, 0, 0, 1], 0).into()));
        endpoint.token = Some(Secret::new(token.to_owned()));
        Guard::of(&endpoint)
    }

    #[test]
    fn only_the_token_opens_and_the_scheme_is_not_case_sensitive() {
        let guard = guard("0123456789abcdef");
        let shown = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            guard.opens_for(&headers)
        };
        assert!(shown("Bearer 0123456789abcdef") && shown("bearer 0123456789abcdef"));
        for wrong in
            ["Bearer 0123456789abcdeX", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcdef "]
        {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!guard.opens_for(&HeaderMap::new()));
        assert!(guard.wants_token());
    }

    #[test]
    fn a_peer_over_its_rate_waits_and_another_does_not() {
        let pace = Pace::new(Some(5));
        let (one, other) = (Peer::Ip([127, 0, 0, 1].into()), Peer::Local);
        for _ in 0..5 {
            assert_eq!(pace.may(one), Ok(()));
        }
        let wait = pace.may(one).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(pace.may(other), Ok(()));
        assert!((0..100_000).all(|_| Pace::new(None).may(one).is_ok()));
    }
}
