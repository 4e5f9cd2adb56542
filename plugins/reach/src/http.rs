//! `wasi:http`.

use wasip2::{
    http::{
        outgoing_handler,
        types::{ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, OutgoingRequest, Scheme},
    },
    io::streams::StreamError,
};

/// The status, the number of bytes, and the beginning of the body.
pub(crate) fn get(url: &str, redirects: u32) -> Result<String, String> {
    let answer = send(url).and_then(|pending| wait(&pending)).map_err(|error| format!("{error:?}"))?;
    let location = answer.headers().get("location").into_iter().next();
    if let (Some(location), 1..) = (location, redirects) {
        return get(&String::from_utf8_lossy(&location), redirects - 1);
    }
    let (count, beginning) = body(&answer)?;
    Ok(format!("{} {count} bytes {}", answer.status(), String::from_utf8_lossy(&beginning)))
}

/// How many could be begun.
pub(crate) fn many(url: &str, count: u32) -> Result<String, String> {
    let begun: Vec<_> = (0..count).filter_map(|_| send(url).ok()).collect();
    let mut answers = Vec::new();
    let mut last = String::new();
    for pending in &begun {
        match wait(pending) {
            Ok(answer) => answers.push(answer),
            Err(error) => last = format!("{error:?}"),
        }
    }
    Ok(format!("{} answers of {count} {last}", answers.len()))
}

fn send(url: &str) -> Result<FutureIncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let at = rest.find('/').unwrap_or(rest.len());
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let request = OutgoingRequest::new(Fields::new());
    let path = if at == rest.len() { "/" } else { &rest[at..] };
    let set = request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(Some(&rest[..at])))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    outgoing_handler::handle(request, None)
}

fn wait(pending: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(answer)) => answer,
        _ => Err(ErrorCode::InternalError(None)),
    }
}

fn body(answer: &IncomingResponse) -> Result<(u64, Vec<u8>), String> {
    let body = answer.consume().map_err(|()| "no body".to_owned())?;
    let stream = body.stream().map_err(|()| "no stream".to_owned())?;
    let (mut count, mut beginning) = (0, Vec::new());
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => {
                count += bytes.len() as u64;
                let room = 80_usize.saturating_sub(beginning.len()).min(bytes.len());
                beginning.extend_from_slice(&bytes[..room]);
            }
            Err(StreamError::Closed) => return Ok((count, beginning)),
            Err(error) => {
                // The host's library gives no code for what goes wrong within a body, but words.
                let words = match &error {
                    StreamError::LastOperationFailed(error) => error.to_debug_string(),
                    StreamError::Closed => String::new(),
                };
                return Err(format!("after {count} bytes: {words}"));
            }
        }
    }
}
