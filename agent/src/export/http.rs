//! OTLP/HTTP with binary protobuf: a POST a request.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri};

use super::{
    answer::{Secrets, classify, one_line},
    client::{Chunks, Way, read},
    transport::{Answer, Encoding, Outcome, Request, Transport},
};
use crate::clock::Clock;

/// Redirects that one request follows.
const MAX_REDIRECTS: usize = 3;

/// One receiver of one signal over HTTP.
pub(super) struct HttpTransport {
    way: Way,
    secrets: Arc<Secrets>,
    clock: Arc<dyn Clock>,
}

impl HttpTransport {
    pub(super) fn new(way: Way, secrets: Arc<Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self { way, secrets, clock }
    }

    async fn exchange(&self, request: Request) -> Answer {
        let mut uri = self.way.uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = match self.way.send(self.post(uri.clone(), &request)).await {
                Ok(response) => response,
                Err(outcome) => return outcome.into(),
            };
            let (head, body) = response.into_parts();
            if let Some(next) = redirect(head.status, &head.headers, &uri) {
                uri = next;
                continue;
            }
            let server =
                head.headers.get(header::SERVER).and_then(|server| server.to_str().ok()).map(one_line);
            let (body, _) = read(body).await;
            let outcome = classify(head.status, &head.headers, &body, self.clock.now(), &self.secrets);
            return Answer { outcome, server };
        }
        Outcome::held(format!("more than {MAX_REDIRECTS} redirects")).into()
    }

    fn post(&self, uri: Uri, request: &Request) -> hyper::Request<Chunks> {
        let mut http = self.way.post(uri, request, Chunks::new(request.body.iter().cloned()));
        let headers = http.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if request.encoding != Encoding::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(request.encoding.name()));
        }
        http
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = self.exchange(request) => answer,
                () = self.clock.sleep(self.way.timeout) => self.way.timed_out().into(),
            }
        })
    }
}

/// Where a redirect leads that may be followed: to another path of the same server, with the same method.
fn redirect(status: StatusCode, headers: &HeaderMap, from: &Uri) -> Option<Uri> {
    if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return None;
    }
    let place = headers.get(header::LOCATION)?.to_str().ok()?;
    if place.starts_with("//") {
        // Another host, which `Uri` would take for a path.
        return None;
    }
    let to: Uri = place.parse().ok()?;
    let mut parts = from.clone().into_parts();
    if to.authority().is_some() && (to.scheme() != from.scheme() || host_and_port(&to) != host_and_port(from))
    {
        return None;
    }
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

fn host_and_port(uri: &Uri) -> Option<(String, u16)> {
    let default = if uri.scheme() == Some(&uri::Scheme::HTTPS) { 443 } else { 80 };
    Some((uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redirect_to_the_same_server_is_followed() {
        let from: Uri = "http://otlp.example:4318/v1/metrics".parse().unwrap();
        let follow = |status: u16, location: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(location));
            redirect(StatusCode::from_u16(status).unwrap(), &headers, &from).map(|uri| uri.to_string())
        };
        let expected = Some("http://otlp.example:4318/otlp/v1/metrics".to_owned());
        assert_eq!(follow(307, "/otlp/v1/metrics"), expected);
        assert_eq!(follow(308, "http://OTLP.example:4318/otlp/v1/metrics"), expected);
        for (status, location) in [
            (301, "/otlp/v1/metrics"),
            (303, "/otlp/v1/metrics"),
            (307, "http://evil.example:4318/v1/metrics"),
            (307, "http://otlp.example/v1/metrics"),
            (307, "https://otlp.example:4318/v1/metrics"),
            (307, "//evil.example/v1/metrics"),
            (307, ""),
        ] {
            assert_eq!(follow(status, location), None, "{status} {location}");
        }
    }
}
