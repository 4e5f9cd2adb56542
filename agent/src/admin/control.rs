//! The control socket: `/status` as JSON, for `whimbrel status` and its like, `/wal/record/latest`, and `/reload`. Unix
//! only, mode 0600: a record shows data.

use std::{io, path::Path, sync::Arc};

use http::{Method, Request, StatusCode};

use super::{
    record,
    serve::{Answer, json, text},
    socket::{self, Socket},
};
use crate::{
    reload::{self, Stopping},
    status::Overview,
};

/// Serves the control socket until dropped. The data directory's lock is held, so a socket that is there belongs to
/// no running agent.
///
/// # Errors
/// Those of [`socket::serve`].
pub fn listen(path: &Path, overview: Arc<Overview>, reload: reload::Handle) -> io::Result<Socket> {
    socket::serve(path, "the control socket", move |request| {
        answer(request, overview.clone(), reload.clone())
    })
}

async fn answer<B>(request: Request<B>, overview: Arc<Overview>, reload: reload::Handle) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => json(StatusCode::OK, &overview.read()),
        (&Method::POST, "/reload") => match reload.reload().await {
            Ok(reload::Answer::Applied(applied)) => json(StatusCode::OK, &applied),
            Ok(reload::Answer::Refused(problems)) => {
                json(StatusCode::BAD_REQUEST, &reload::refusal(&problems))
            }
            Err(stopping @ Stopping) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{stopping}\n")),
        },
        (&Method::GET, "/wal/record/latest") => record::latest(request.uri().query(), overview).await,
        (_, "/status" | "/wal/record/latest") => text(StatusCode::METHOD_NOT_ALLOWED, "GET\n"),
        (_, "/reload") => text(StatusCode::METHOD_NOT_ALLOWED, "POST\n"),
        _ => text(StatusCode::NOT_FOUND, "there are GET /status, GET /wal/record/latest and POST /reload\n"),
    }
}
