//! The other side of the endpoints: what the commands ask a running agent with.

use std::{future::Future, io, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// The longest answer that is taken, bytes.
const LARGEST_ANSWER: usize = 64 << 20;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reload may take: it lets collects that run come to their end, and the longest deadline that a
/// configuration may give is ten minutes.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(660);

/// How long a rotation of keys may take: it may run commands, each for half a minute.
const KEYS_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a running agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens: no agent runs on this data directory.
    #[error("no agent answers at {address}: {cause}")]
    NotRunning {
        /// The socket.
        address: String,
        /// Why not. No source: the message has it.
        cause: io::Error,
    },
    /// It listens, and the answer is none.
    #[error("{address} did not answer: {reason}")]
    NoAnswer {
        /// The socket.
        address: String,
        /// Why not.
        reason: String,
    },
}

/// Asks a running agent: `GET target` over its control socket.
///
/// # Errors
/// [`AskError`]; with `NotRunning` a caller may look at the data directory itself.
pub async fn ask(path: &Path, target: &str) -> Result<Bytes, AskError> {
    let address = path.display().to_string();
    successful(address.clone(), over_socket(path, Method::GET, target, TIMEOUT).await?)
}

/// Has a running agent read its configuration again: `POST /reload` over its control socket. Gives the status, 200
/// or 400, and the JSON.
///
/// # Errors
/// As [`ask`].
pub async fn reload(path: &Path) -> Result<(StatusCode, Bytes), AskError> {
    let (status, body) = over_socket(path, Method::POST, "/reload", RELOAD_TIMEOUT).await?;
    match status {
        StatusCode::OK | StatusCode::BAD_REQUEST => Ok((status, body)),
        _ => successful(path.display().to_string(), (status, body)).map(|body| (status, body)),
    }
}

/// Has a running agent read its keys again: `POST /keys/rotate` over its control socket. Gives the JSON.
///
/// # Errors
/// As [`ask`]; `NoAnswer` with what it said where it refuses.
pub async fn rotate_keys(path: &Path) -> Result<Bytes, AskError> {
    let answer = over_socket(path, Method::POST, "/keys/rotate", KEYS_TIMEOUT).await?;
    successful(path.display().to_string(), answer)
}

/// Has a running agent do something: `POST target` over its control socket, within `up_to`. Gives the status, whatever
/// it is, and the body.
///
/// # Errors
/// As [`ask`].
pub async fn order(path: &Path, target: &str, up_to: Duration) -> Result<(StatusCode, Bytes), AskError> {
    over_socket(path, Method::POST, target, up_to).await
}

/// `GET target` over loopback TCP: what the demo asks the stub.
///
/// # Errors
/// As [`ask`].
pub async fn get(address: SocketAddr, target: &str) -> Result<Bytes, AskError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|cause| AskError::NotRunning { address: address.to_string(), cause })?;
    let answer = bounded(address.to_string(), TIMEOUT, exchange(stream, Method::GET, target)).await?;
    successful(address.to_string(), answer)
}

async fn over_socket(
    path: &Path,
    method: Method,
    target: &str,
    up_to: Duration,
) -> Result<(StatusCode, Bytes), AskError> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(|cause| AskError::NotRunning { address: path.display().to_string(), cause })?;
    bounded(path.display().to_string(), up_to, exchange(stream, method, target)).await
}

fn successful(address: String, (status, body): (StatusCode, Bytes)) -> Result<Bytes, AskError> {
    if status.is_success() {
        return Ok(body);
    }
    let reason = format!("{status}: {}", String::from_utf8_lossy(&body).trim());
    Err(AskError::NoAnswer { address, reason })
}

async fn bounded(
    address: String,
    up_to: Duration,
    exchange: impl Future<Output = Result<(StatusCode, Bytes), String>>,
) -> Result<(StatusCode, Bytes), AskError> {
    let reason = match tokio::time::timeout(up_to, exchange).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(reason)) => reason,
        Err(_) => format!("nothing within {} s", up_to.as_secs()),
    };
    Err(AskError::NoAnswer { address, reason })
}

async fn exchange<S>(stream: S, method: Method, target: &str) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(http::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|e| e.to_string())?
        .to_bytes();
    Ok((status, body))
}
