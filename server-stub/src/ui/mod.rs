//! The listener of `--ui`: the page for people, `/api` for programs, `/control` to make the stub misbehave.
//!
//! There is no authentication. A page of another site must not use the browser of whoever runs the stub to
//! reach it, though: requests must name a loopback host or an address, and bear no foreign `Origin`.

mod api;
mod control;
mod page;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, HOST, LOCATION, ORIGIN},
};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    faults::Book,
    listen::Closed,
    outage::Down,
    parameters::{ParameterError, Parameters},
    receive::{Answer, now_ns, with_body, with_stream},
    store::StoreError,
};

pub(crate) use page::{Demo, Ground, Live};
use page::{DemoError, LiveError, Look};

/// What the user interface reads and sets.
#[derive(Debug)]
pub(crate) struct Ui {
    pub(crate) ground: Arc<Ground>,
    pub(crate) live: Live,
    pub(crate) faults: Arc<Mutex<Book>>,
    /// Lets requests go that hang on command.
    pub(crate) release: watch::Sender<u64>,
    pub(crate) started_ns: u64,
}

/// A request that can't be answered as asked.
#[derive(Debug, thiserror::Error)]
enum UiError {
    #[error("there is nothing at {0}")]
    NotFound(String),
    #[error("{path} takes {takes}")]
    Method { path: String, takes: Method },
    #[error("{0}")]
    Foreign(&'static str),
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error("there are too many rules in force; POST /control/reset")]
    TooManyRules,
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("there are no buttons: this stub was not started by a demo (--demo)")]
    NoDemo,
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl UiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::Parameter(_) => StatusCode::BAD_REQUEST,
            Self::TooManyRules => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(_) | Self::Live(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoDemo => StatusCode::NOT_FOUND,
            Self::Demo(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl Ui {
    /// Answers a request. Bodies are not read: everything is in the path and the query.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Closed> {
        let answer = match request.uri().path() {
            "/" | "/live" | "/page.css" | "/page.js" | "/icon.svg" => self.page(&request).await,
            path if path.starts_with("/demo/") => self.press(&request).await,
            _ => self.route(&request).await.map(|value| json_answer(StatusCode::OK, &value)),
        };
        let mut answer = answer
            .unwrap_or_else(|error| json_answer(error.status(), &json!({ "error": error.to_string() })));
        page::with_headers(answer.headers_mut());
        Ok(answer)
    }

    /// The page and what belongs to it.
    async fn page(&self, request: &Request<Incoming>) -> Result<Answer, UiError> {
        refuse_foreign(request.headers(), request.uri())?;
        takes(request, Method::GET)?;
        let mut given = Parameters::read(request.uri().query().unwrap_or_default())?;
        let look = Look { host: given.text("host"), metric: given.text("metric") };
        given.done()?;
        Ok(match request.uri().path() {
            "/page.css" => with_body(StatusCode::OK, "text/css; charset=utf-8", page::STYLE.into()),
            "/page.js" => with_body(StatusCode::OK, "text/javascript; charset=utf-8", page::SCRIPT.into()),
            "/icon.svg" => with_body(StatusCode::OK, "image/svg+xml", page::ICON.into()),
            "/live" => with_stream("text/event-stream", self.live.events(look)?),
            _ => {
                let page =
                    self.live.picture(look.clone()).await?.page(&look, self.ground.demo.as_deref().is_some());
                with_body(StatusCode::OK, "text/html; charset=utf-8", page.into_bytes())
            }
        })
    }

    /// A button of the demo. A script is answered in JSON; a browser without one goes back to the page.
    async fn press(&self, request: &Request<Incoming>) -> Result<Answer, UiError> {
        refuse_foreign(request.headers(), request.uri())?;
        takes(request, Method::POST)?;
        let demo = self.ground.demo.as_deref().ok_or(UiError::NoDemo)?;
        match request.uri().path().trim_start_matches("/demo/") {
            "stop" => demo.stop_backend().await,
            "start" => demo.start_backend().await,
            what @ ("kill" | "hostile" | "calm" | "record") => demo.order(what).await?,
            _ => return Err(UiError::NotFound(request.uri().path().to_owned())),
        }
        let script = request.headers().get(ACCEPT).is_some_and(|accept| accept == "application/json");
        let mut answer = json_answer(StatusCode::OK, &json!({ "done": true }));
        if !script {
            *answer.status_mut() = StatusCode::SEE_OTHER;
            answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
        }
        Ok(answer)
    }

    /// Closes the OTLP listeners and cuts their connections, for a time or until [`Ui::up`]. Returns once they are
    /// closed; this interface goes on.
    pub(crate) async fn down(&self, length: Option<Duration>) {
        self.ground.outage.down(length, now_ns()).await;
    }

    /// Opens the OTLP listeners again. Whether they are open: not, for now, where another process took their ports.
    pub(crate) async fn up(&self) -> bool {
        self.ground.outage.up().await
    }

    /// Since and until when the OTLP listeners are down; `None`: they are not.
    pub(crate) fn outage(&self) -> Option<Down> {
        self.ground.outage.state()
    }

    async fn route(&self, request: &Request<Incoming>) -> Result<Value, UiError> {
        refuse_foreign(request.headers(), request.uri())?;
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let method = match path {
            "/control" | "/control/stats" => Method::GET,
            _ if path.starts_with("/control/") => Method::POST,
            _ => Method::GET,
        };
        takes(request, method)?;
        if let Some(question) = path.strip_prefix("/api/") {
            self.api(question, query).await
        } else if path == "/control" {
            Ok(control::list())
        } else if let Some(verb) = path.strip_prefix("/control/") {
            self.control(verb, query).await
        } else {
            Err(UiError::NotFound(path.to_owned()))
        }
    }
}

fn takes(request: &Request<Incoming>, method: Method) -> Result<(), UiError> {
    if request.method() == method {
        return Ok(());
    }
    Err(UiError::Method { path: request.uri().path().to_owned(), takes: method })
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    with_body(status, "application/json", format!("{value}\n").into_bytes())
}

/// Refuses what a page of another site made a browser send: a name that is rebound to this machine shows in
/// `Host`, a request across sites in `Origin`.
fn refuse_foreign(headers: &HeaderMap, uri: &Uri) -> Result<(), UiError> {
    // HTTP/2 has it in the URI.
    let authority = match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(http::uri::Authority::as_str),
    };
    let authority = authority.ok_or(UiError::Foreign("the request names no host"))?;
    let name =
        http::uri::Authority::try_from(authority).map_err(|_| UiError::Foreign("the host is malformed"))?;
    let name = name.host().trim_start_matches('[').trim_end_matches(']');
    if !name.eq_ignore_ascii_case("localhost") && name.parse::<IpAddr>().is_err() {
        return Err(UiError::Foreign("the host must be localhost or an address"));
    }
    match headers.get(ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.as_bytes() == format!("http://{authority}").as_bytes() => Ok(()),
        Some(_) => Err(UiError::Foreign("the request comes from a page of another origin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_kept_out() {
        let check = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            refuse_foreign(&headers, &Uri::from_static("/api/stats")).is_ok()
        };
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "192.0.2.7", "LOCALHOST"] {
            assert!(check(host, None), "{host}");
            assert!(check(host, Some(&format!("http://{host}"))), "{host}");
            assert!(!check(host, Some("http://evil.example")), "{host}");
            assert!(!check(host, Some("null")), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", ""] {
            assert!(!check(host, None), "{host}");
        }
        assert!(refuse_foreign(&HeaderMap::new(), &Uri::from_static("/api/stats")).is_err());
    }
}
