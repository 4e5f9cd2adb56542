//! The control socket: `/status` as JSON, for `whimbrel status` and its like, `/wal/record/latest`, `/reload`, the WAL's
//! keys by their ids, and what operators do with exporters and plugins. Unix only, mode 0600: a record shows data.

use std::{io, path::Path, sync::Arc};

use http::{Method, Request, StatusCode};

use super::{
    operate, record,
    serve::{Answer, json, text},
    socket::{self, Socket},
};
use crate::{
    reload::{self, Stopping},
    rotate::Rotation,
    status::Overview,
};

/// Serves the control socket until dropped. The data directory's lock is held, so a socket that is there belongs to
/// no running agent.
///
/// # Errors
/// Those of [`socket::serve`].
pub fn listen(path: &Path, behind: Behind) -> io::Result<Socket> {
    socket::serve(path, "the control socket", move |request| answer(request, behind.clone()))
}

/// What the socket shows and steers.
#[derive(Clone)]
pub struct Behind {
    /// What the agent does.
    pub overview: Arc<Overview>,
    /// Its configuration.
    pub reload: reload::Handle,
    /// Its keys.
    pub keys: Arc<Rotation>,
}

/// Below it, `NAME/pause` and its like.
const EXPORTERS: &str = "/exporters/";
/// Below it, `NAME/resume`.
const PLUGINS: &str = "/plugins/";
const PATHS: &str = "there are GET /status, GET /wal/record/latest, GET /keys, POST /reload, POST /keys/rotate, POST \
                     /exporters/NAME/pause, /resume and /rewind, POST /plugins/NAME/resume, and POST /wal/forget\n";

async fn answer<B>(request: Request<B>, behind: Behind) -> Answer {
    let Behind { overview, reload, keys } = behind;
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
        (&Method::GET, "/keys") => json(StatusCode::OK, &keys.status()),
        (&Method::POST, "/keys/rotate") => rotate(keys).await,
        (&Method::POST, "/wal/forget") => operate::forget(request.uri().query(), overview).await,
        (&Method::POST, path) if let Some(deed) = path.strip_prefix(EXPORTERS) => {
            operate::exporter(deed, request.uri().query(), overview).await
        }
        (&Method::POST, path) if let Some(deed) = path.strip_prefix(PLUGINS) => {
            operate::plugin(deed, overview).await
        }
        (_, "/status" | "/wal/record/latest" | "/keys") => text(StatusCode::METHOD_NOT_ALLOWED, "GET\n"),
        (_, "/reload" | "/keys/rotate" | "/wal/forget") => text(StatusCode::METHOD_NOT_ALLOWED, "POST\n"),
        (_, path) if path.starts_with(EXPORTERS) || path.starts_with(PLUGINS) => {
            text(StatusCode::METHOD_NOT_ALLOWED, "POST\n")
        }
        _ => text(StatusCode::NOT_FOUND, PATHS),
    }
}

/// Done to its end once it has begun, whether the client waits or not.
async fn rotate(keys: Arc<Rotation>) -> Answer {
    match tokio::task::spawn_blocking(move || keys.rotate()).await {
        Ok(Ok(status)) => json(StatusCode::OK, &status),
        Ok(Err(error)) => {
            tracing::error!(%error, "the WAL's keys were not rotated");
            let refused =
                if error.is_refusal() { StatusCode::CONFLICT } else { StatusCode::INTERNAL_SERVER_ERROR };
            text(refused, format!("{error}\n"))
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
