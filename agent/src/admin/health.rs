//! `/healthz`, `/readyz`, `/metrics` over TCP: nothing that shows data.
//!
//! The `Host` header must name an address or `localhost`, so that a page in a browser on this machine cannot read
//! them under a name of its own (DNS rebinding).

use std::{
    future::ready,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Context,
};

use http::{Method, Request, StatusCode, header};
use tokio::net::TcpListener;

use super::{
    prometheus,
    serve::{Answer, every_connection, text, typed},
};
use crate::status::Overview;

/// Binds and serves until dropped. Returns the address, with the port that port 0 became.
///
/// # Errors
/// When the address cannot be bound.
pub async fn listen(
    address: SocketAddr,
    overview: Arc<Overview>,
) -> io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let task = tokio::spawn(async move {
        let accept = |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
        every_connection("the health endpoint", accept, move |request| ready(answer(&request, &overview)))
            .await;
    });
    Ok((bound, task))
}

fn answer<B>(request: &Request<B>, overview: &Overview) -> Answer {
    if !host_is_an_address(request) {
        return text(StatusCode::FORBIDDEN, "the Host header must be an IP address or localhost\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if overview.ready() => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: a collector is still starting\n"),
        "/metrics" => typed(StatusCode::OK, prometheus::CONTENT_TYPE, prometheus::render(&overview.read())),
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n"),
    }
}

fn host_is_an_address<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(header::HOST) else {
        return true; // HTTP/1.0: no browser
    };
    let Ok(authority) = http::uri::Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_as(host: &str) -> bool {
        host_is_an_address(&Request::builder().header(header::HOST, host).body(()).unwrap())
    }

    #[test]
    fn only_addresses_and_localhost_are_served() {
        for good in ["127.0.0.1", "127.0.0.1:13134", "localhost:13134", "[::1]:80", "10.0.0.7"] {
            assert!(asked_as(good), "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", ""] {
            assert!(!asked_as(bad), "{bad}");
        }
    }
}
