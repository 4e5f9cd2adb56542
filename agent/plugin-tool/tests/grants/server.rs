//! Servers as a guest may meet them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Answers by the path of a request; ends with the test.
pub(crate) struct Server {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(answer(stream));
            }
        });
        Server { port, connections }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Whoever is gone is no matter.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.ok()?;
        if read == 0 {
            return None;
        }
        request.extend_from_slice(&piece[..read]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1)?.to_owned();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    match path.split_once("?to=") {
        Some((_, to)) => {
            let text = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.ok()?;
        }
        None => match path.as_str() {
            "/host" => {
                let host = request.lines().find(|line| line.to_lowercase().starts_with("host:"))?;
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{host}", host.len());
                stream.write_all(text.as_bytes()).await.ok()?;
            }
            "/huge" => {
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40);
                stream.write_all(text.as_bytes()).await.ok()?;
                pause().await;
            }
            "/endless" => {
                stream.write_all(chunked).await.ok()?;
                let mut chunk = b"100000\r\n".to_vec();
                chunk.resize(chunk.len() + 0x10_0000, b'x');
                chunk.extend_from_slice(b"\r\n");
                loop {
                    stream.write_all(&chunk).await.ok()?;
                }
            }
            "/drip" => {
                stream.write_all(chunked).await.ok()?;
                loop {
                    stream.write_all(b"1\r\nx\r\n").await.ok()?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            "/headers" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok()?;
                loop {
                    stream.write_all(b"x-more: and more and more and more\r\n").await.ok()?;
                }
            }
            "/silent" => pause().await,
            _ => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.ok()?;
            }
        },
    }
    Some(())
}

async fn pause() {
    tokio::time::sleep(Duration::from_secs(600)).await;
}
