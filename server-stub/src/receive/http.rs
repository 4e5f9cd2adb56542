//! OTLP/HTTP: paths, methods, content types and statuses around [`Receiver::receive`].

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::{
    answer::{self, Answer, Failure},
    decode::Format,
    handle::{Protocol, Receiver, Told},
};
use crate::{listen::Closed, signal::Signal};

impl Receiver {
    /// Answers a request, or closes its connection if a rule says so.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Closed> {
        let format = Format::from_headers(request.headers());
        // What can't be answered in its own encoding is answered in the one that people read.
        let answer_format = format.as_ref().copied().unwrap_or(Format::Json);
        let (head, body) = request.into_parts();
        let Some(signal) = Signal::from_path(head.uri.path()) else {
            let known = Signal::ALL.map(Signal::path).join(", ");
            let message = format!("there is nothing at {}; OTLP is received at {known}", head.uri.path());
            self.discard(body).await;
            return Ok(Failure::new(StatusCode::NOT_FOUND, message).to_answer(answer_format));
        };
        let format = match head.method {
            Method::POST => format.map_err(Failure::from),
            _ => Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "OTLP is received by POST")),
        };
        match self.receive(Protocol::Http, signal, format, &head.headers, body).await {
            Ok(rejected) => Ok(answer::success(signal, answer_format, rejected)),
            Err(ended) => {
                match self.ended(signal, ended, |refused| refused.status().as_u16().to_string()).await? {
                    Told::Failed(failure) => Ok(failure.to_answer(answer_format)),
                    Told::Refused(refusal) => Ok(answer::refusal(&refusal, answer_format)),
                }
            }
        }
    }
}
