//! The control socket: `/status` as JSON, for `whimbrel status` and its like. Unix only, mode 0600.

use std::{io, path::Path, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};

use super::serve::{Answer, Places, connection, text, typed};
use crate::status::Overview;

/// The longest answer the client takes.
const LARGEST_ANSWER: usize = 64 << 20;
/// How long the client waits.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
pub fn listen(path: &Path, overview: Arc<Overview>) -> io::Result<Control> {
    let listener = bind_private(path)?;
    let places = Places::new();
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(place) = places.take() {
                        let overview = overview.clone();
                        connection(stream, place, move |request| answer(request, &overview));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
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

fn answer<B>(request: &Request<B>, overview: &Overview) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => match serde_json::to_vec(&overview.read()) {
            Ok(body) => typed(StatusCode::OK, "application/json", body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there is GET /status\n"),
    }
}

/// Why a running agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens: no agent runs on this data directory.
    #[error("no agent answers at {path}: {source}")]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It listens, and the answer is none.
    #[error("the agent at {path} did not answer: {reason}")]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Asks a running agent: `GET target` over its control socket.
///
/// # Errors
/// [`ControlError`]; with `NotRunning` a caller may look at the data directory itself.
pub async fn ask(path: &Path, target: &str) -> Result<Bytes, ControlError> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(|source| ControlError::NotRunning { path: path.to_owned(), source })?;
    let no_answer = |reason: String| ControlError::NoAnswer { path: path.to_owned(), reason };
    tokio::time::timeout(ASK_TIMEOUT, exchange(stream, target))
        .await
        .map_err(|_| no_answer(format!("nothing within {} s", ASK_TIMEOUT.as_secs())))?
        .map_err(no_answer)
}

async fn exchange(stream: UnixStream, target: &str) -> Result<Bytes, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(target)
        .header(http::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(|e| e.to_string())?.to_bytes();
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim())) }
}
