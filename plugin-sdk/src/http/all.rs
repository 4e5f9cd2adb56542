//! Several requests at once.

use std::time::Duration;

use super::exchange::Exchange;
use super::{Error, Headers, Request, Step, Url, way};

/// More are never under way: the host takes 16, and those that end count a little longer.
const MOST_AT_ONCE: usize = 12;

/// What came of one of several requests.
#[derive(Debug)]
pub struct Outcome {
    /// The answer, whole, or why there is none.
    pub result: Result<Answer, Error>,
    /// From the beginning to status and headers, redirects included; if it came so far.
    pub first_byte: Option<Duration>,
    /// From the beginning to the end.
    pub took: Duration,
}

/// An answer with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// Where it is from: another URL than that of the request after redirects.
    pub url: Url,
    /// At most [`Request::max_body`].
    pub body: Vec<u8>,
}

/// One that is under way.
struct Running {
    index: usize,
    exchange: Exchange,
    head: Option<(u16, Headers, Duration)>,
    body: Vec<u8>,
}

/// Sends all of them, `at_once` under way at a time (1 to 12), and calls `each` with a request's place and what came of
/// it, in the order in which they end. Time counts from when a request is begun, not from when it waits its turn.
pub fn all(
    requests: impl IntoIterator<Item = Request>,
    at_once: usize,
    mut each: impl FnMut(usize, Outcome),
) {
    let at_once = at_once.clamp(1, MOST_AT_ONCE);
    let mut waiting = requests.into_iter().enumerate();
    let mut running: Vec<Running> = Vec::new();
    loop {
        while running.len() < at_once
            && let Some((index, request)) = waiting.next()
        {
            match Exchange::begin(request) {
                Ok(exchange) => running.push(Running { index, exchange, head: None, body: Vec::new() }),
                Err(error) => {
                    let outcome = Outcome { result: Err(error), first_byte: None, took: Duration::ZERO };
                    each(index, outcome);
                }
            }
        }
        if running.is_empty() {
            return;
        }
        let mut at = 0;
        let mut ended = false;
        while let Some(one) = running.get_mut(at) {
            match one.advance() {
                None => at += 1,
                Some(result) => {
                    let one = running.swap_remove(at);
                    let outcome = one.outcome(result);
                    ended = true;
                    each(outcome.0, outcome.1);
                }
            }
        }
        // Those that wait their turn go first.
        if !ended {
            let pending: Vec<&way::Pending> =
                running.iter().filter_map(|one| one.exchange.pending()).collect();
            let least = running.iter().map(|one| one.exchange.left()).min().unwrap_or_default();
            way::wait(&pending, least + Duration::from_millis(1));
        }
    }
}

impl Running {
    /// Takes what there is; something when it has ended.
    fn advance(&mut self) -> Option<Result<(), Error>> {
        loop {
            match self.exchange.step() {
                Ok(Step::Waiting) => return None,
                Ok(Step::Head(status, headers)) => {
                    self.head = Some((status, headers, self.exchange.took()));
                }
                Ok(Step::Chunk(bytes)) => self.body.extend_from_slice(&bytes),
                Ok(Step::End) => return Some(Ok(())),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn outcome(self, ended: Result<(), Error>) -> (usize, Outcome) {
        let took = self.exchange.took();
        let first_byte = self.head.as_ref().map(|(_, _, at)| *at);
        let url = self.exchange.url().clone();
        let result = match (ended, self.head) {
            (Err(error), _) => Err(error),
            (Ok(()), Some((status, headers, _))) => Ok(Answer { status, headers, url, body: self.body }),
            (Ok(()), None) => Err(Error::Closed("the connection was closed before an answer".to_owned())),
        };
        (self.index, Outcome { result, first_byte, took })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;
    use crate::testing::http::Reply;
    use crate::testing::imports::enter;

    fn take(host: Host, requests: Vec<Request>) -> (Host, Vec<(usize, Outcome)>) {
        enter(host, || {
            let mut outcomes = Vec::new();
            all(requests, 2, |index, outcome| outcomes.push((index, outcome)));
            outcomes.sort_by_key(|(index, _)| *index);
            outcomes
        })
    }

    fn get(url: &str) -> Request {
        Request::get(url)
    }

    #[test]
    fn one_that_fails_does_not_keep_the_others() {
        let host = Host::new()
            .http("http://a/", Reply::new(200, "one").chunk(" and more"))
            .http("http://b/", Reply::error(Error::Connect("nobody".to_owned())))
            .http("http://d/", Reply::new(503, "").after(Duration::from_millis(30)));
        let (_, outcomes) =
            take(host, vec![get("http://a"), get("http://b"), get("http://c"), get("http://d"), get("no")]);
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|(_, outcome)| outcome.result.as_ref().map(|answer| answer.status).map_err(Error::kind))
            .collect();
        assert_eq!(kinds, [Ok(200), Err("connect"), Err("denied"), Ok(503), Err("invalid_request")]);
        assert_eq!(outcomes[0].1.result.as_ref().unwrap().body, b"one and more");
        assert_eq!(outcomes[3].1.first_byte, Some(Duration::from_millis(30)));
    }

    #[test]
    fn what_is_too_large_or_too_late_is_an_error() {
        let host = Host::new()
            .http("http://a/", Reply::new(200, vec![b'x'; 600]).chunk(vec![b'y'; 600]))
            .http("http://b/", Reply::new(200, "late").after(Duration::from_secs(3)));
        let requests =
            vec![get("http://a/").max_body(1000), get("http://b/").timeout(Duration::from_secs(2))];
        let (_, outcomes) = take(host, requests);
        assert_eq!(outcomes[0].1.result, Err(Error::TooLarge(1000)));
        assert_eq!(outcomes[1].1.result, Err(Error::timeout(Duration::from_secs(2))));
    }

    #[test]
    fn redirects_are_followed_as_far_as_allowed_and_tell_no_secret() {
        let to = |url: &str| Reply::new(302, "").header("Location", url);
        let host = Host::new()
            .http("http://a/", to("/b?c"))
            .http("http://a/b?c", to("http://other/x"))
            .http("http://other/x", Reply::new(200, "there"))
            .http("http://loop/", to("/"));
        let requests = vec![
            get("http://a/").redirects(2).bearer("secret").header("x-kept", "yes"),
            get("http://a/").redirects(1),
            get("http://a/"),
            get("http://loop/").redirects(5),
        ];
        let (host, outcomes) = take(host, requests);
        let answer = outcomes[0].1.result.as_ref().unwrap();
        assert_eq!((answer.status, answer.url.to_string().as_str()), (200, "http://other/x"));
        assert_eq!(outcomes[1].1.result, Err(Error::Redirects(1)));
        assert_eq!(outcomes[2].1.result.as_ref().unwrap().status, 302);
        assert_eq!(outcomes[3].1.result, Err(Error::Redirects(5)));
        for request in host.requests() {
            let told = request.headers().get("authorization").is_some();
            assert!(!(told && request.url().contains("other")), "{request:?}");
            assert!(!format!("{request:?}").contains("secret"));
        }
        let last = host.requests().iter().find(|request| request.url() == "http://other/x").unwrap();
        assert_eq!(last.headers().get("X-Kept"), Some("yes"));
    }

    #[test]
    fn a_post_becomes_a_get_where_it_is_sent_elsewhere_and_not_where_it_is_to_stay() {
        let host = Host::new()
            .http("http://a/303", Reply::new(303, "").header("location", "/end"))
            .http("http://a/307", Reply::new(307, "").header("location", "/end"))
            .http("http://a/end", Reply::new(200, ""));
        let post = |url| Request::new("POST", url).body("data").redirects(1);
        let (host, _) = take(host, vec![post("http://a/303"), post("http://a/307")]);
        let methods: Vec<_> = host.requests().iter().filter(|r| r.url().ends_with("end")).collect();
        let mut seen: Vec<_> = methods.iter().map(|r| (r.method(), r.body.len())).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("GET", 0), ("POST", 4)]);
    }

    #[test]
    fn one_answer_is_read_piece_by_piece() {
        let host = Host::new().http("http://a/", Reply::new(200, "one").chunk("two"));
        let (_, ()) = enter(host, || {
            let mut answer = get("http://a/").send().unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.chunk().unwrap().unwrap(), b"one");
            assert_eq!(answer.text().unwrap(), "two");
            assert_eq!(answer.chunk(), Ok(None));
        });
    }
}
