//! The other side of the endpoints: what the commands ask a running agent with.

use std::{future::Future, io, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http::Request;
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

/// Why a running agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens: no agent runs on this data directory.
    #[error("no agent answers at {address}: {source}")]
    NotRunning {
        /// The socket.
        address: String,
        /// Why not.
        source: io::Error,
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
    let stream = UnixStream::connect(path)
        .await
        .map_err(|source| AskError::NotRunning { address: path.display().to_string(), source })?;
    bounded(path.display().to_string(), exchange(stream, target)).await
}

/// `GET target` over loopback TCP: what the demo asks the stub.
///
/// # Errors
/// As [`ask`].
pub async fn get(address: SocketAddr, target: &str) -> Result<Bytes, AskError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| AskError::NotRunning { address: address.to_string(), source })?;
    bounded(address.to_string(), exchange(stream, target)).await
}

async fn bounded(
    address: String,
    exchange: impl Future<Output = Result<Bytes, String>>,
) -> Result<Bytes, AskError> {
    let reason = match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(Ok(body)) => return Ok(body),
        Ok(Err(reason)) => reason,
        Err(_) => format!("nothing within {} s", TIMEOUT.as_secs()),
    };
    Err(AskError::NoAnswer { address, reason })
}

async fn exchange<S>(stream: S, target: &str) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(target)
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
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim()))
    }
}
