//! The child of the bench: load and sink, on another core than the agent's path.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, client::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use whimbrel_otlp::Signal;

use super::{LOAD, requests, stay_on};

/// Says where the sink is, is told where to send, says how it went, and ends with its input.
pub(super) fn load(what: &str) {
    let what: Vec<&str> = what.split(' ').collect();
    let [protocol, numbers @ ..] = &what[..] else { panic!("{LOAD}") };
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [batch, connections, batches, rate] = numbers[..] else { panic!("{LOAD}") };
    stay_on(1);
    let grpc = *protocol == "grpc";
    let bodies: Arc<[Bytes]> = requests(batch as usize)
        .into_iter()
        .map(|request| match grpc {
            true => [&[0][..], &(request.len() as u32).to_be_bytes(), &request].concat().into(),
            false => request.into(),
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        tokio::spawn(sink(listener));
        // Blocks the runtime, which has nothing to do yet.
        let mut address = String::new();
        std::io::stdin().read_line(&mut address).unwrap();
        let address: SocketAddr = address.trim().parse().unwrap();
        let begin = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let each = (0..connections).map(|_| {
            let (next, bodies) = (next.clone(), bodies.clone());
            tokio::spawn(async move {
                let mut connection = Connection::to(address, grpc).await;
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= batches {
                        return times;
                    }
                    // An answer's time counts from when the request was due, also if none was free to send it.
                    let mut due = Instant::now();
                    if rate > 0 {
                        due = begin + Duration::from_secs_f64(number as f64 / rate as f64);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    connection.send(bodies[number as usize % bodies.len()].clone()).await;
                    times.push(due.elapsed());
                }
            })
        });
        let mut times = Vec::new();
        for one in futures_util::future::join_all(each).await {
            times.append(&mut one.unwrap());
        }
        let elapsed = begin.elapsed();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
        println!("{} {} {}", elapsed.as_micros(), at(0.50), at(0.99));
        // The sink works on until the agent has sent everything.
        let mut end = String::new();
        tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut end)).await.unwrap().unwrap();
    });
}

enum Connection {
    Http(conn::http1::SendRequest<Full<Bytes>>),
    Grpc(conn::http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn to(address: SocketAddr, grpc: bool) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = TokioIo::new(stream);
        match grpc {
            true => {
                let (sender, connection) =
                    conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                Self::Grpc(sender)
            }
            false => {
                let (sender, connection) = conn::http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                Self::Http(sender)
            }
        }
    }

    /// Returns when it is answered for.
    async fn send(&mut self, body: Bytes) {
        match self {
            Self::Http(sender) => {
                let request = Request::post(Signal::Logs.path())
                    .header("host", "bench")
                    .header("content-type", "application/x-protobuf")
                    .body(Full::new(body))
                    .unwrap();
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert!(response.status().is_success(), "{response:?}");
                response.into_body().collect().await.unwrap();
            }
            Self::Grpc(sender) => {
                let request = Request::post(format!("http://bench{}", Signal::Logs.grpc_path()))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(body))
                    .unwrap();
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                let head = format!("{response:?}");
                let body = response.into_body().collect().await.unwrap();
                let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
                assert!(status.is_some_and(|status| status == "0"), "{head} {status:?}");
            }
        }
    }
}

/// Answers yes, but for a body of the exporter's probe that is to be refused.
async fn sink(listener: TcpListener) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            let (mut body, mut length, mut last) = (request.into_body(), 0, 0);
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else { continue };
                length += data.len();
                last = data.last().copied().unwrap_or(last);
            }
            let refused = length < 30 && last == 0x0A;
            let status = if refused { 400 } else { 200 };
            let answer = Response::builder().status(status).header("content-type", "application/x-protobuf");
            Ok::<_, hyper::Error>(answer.body(Full::<Bytes>::default()).unwrap())
        });
        tokio::spawn(async move {
            // A connection that breaks off ends its task, and nothing else.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
