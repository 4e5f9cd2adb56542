//! A Unix socket that only its user may open, served until it is dropped.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    task::Context,
};

use http::Request;
use hyper::body::Incoming;
use tokio::net::UnixListener;

use super::serve::{Answer, every_connection};

/// Removes the socket when it is dropped.
pub struct Socket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody is left to tell; the next start removes a stale socket.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the socket, in place of a stale one, and answers requests. `what` listens, for the log.
///
/// # Errors
/// When the socket cannot be made: the path is longer than 107 bytes, or its folder cannot be written.
pub fn serve<F, A>(path: &Path, what: &'static str, answer: F) -> io::Result<Socket>
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let listener = bind_private(path)?;
    let task = tokio::spawn(async move {
        let accept = |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
        every_connection(what, accept, answer).await;
    });
    Ok(Socket { path: path.to_owned(), task })
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
