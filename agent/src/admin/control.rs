//! The control socket: `/status` as JSON, for `whimbrel status` and its like, `/wal/record/latest`, and `/reload`. Unix
//! only, mode 0600: a record shows data.

use std::{io, path::Path, path::PathBuf, sync::Arc, task::Context};

use http::{Method, Request, StatusCode};
use tokio::net::UnixListener;

use super::{
    record,
    serve::{Answer, every_connection, text, typed},
};
use crate::{
    reload::{self, Stopping},
    status::Overview,
};

/// Removes the socket when the agent stops.
pub struct Control {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody is left to tell; the next start removes a stale socket.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the socket, in place of a stale one, and serves until dropped. The data directory's lock is held, so a
/// socket that is there belongs to no running agent.
///
/// # Errors
/// When the socket cannot be made: the path is longer than 107 bytes, or its folder cannot be written.
pub fn listen(path: &Path, overview: Arc<Overview>, reload: reload::Handle) -> io::Result<Control> {
    let listener = bind_private(path)?;
    let task = tokio::spawn(async move {
        let accept = |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
        every_connection("the control socket", accept, move |request| {
            answer(request, overview.clone(), reload.clone())
        })
        .await;
    });
    Ok(Control { path: path.to_owned(), task })
}

/// Bound under another name, closed to other users, and only then put in its place.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let unready = path.with_extension("new");
    match std::fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unready)?;
    std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unready, path)?;
    Ok(listener)
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

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
