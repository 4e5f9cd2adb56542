//! Health and reflection, as their clients see them.

use futures_util::StreamExt;

use super::*;

/// A call whose answer is read frame by frame, and whose request may stay open.
async fn open(
    to: SocketAddr,
    path: &str,
    first: Vec<u8>,
    ends: bool,
) -> http::Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let rest = futures_util::stream::pending();
    let first =
        futures_util::stream::iter([Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::from(first)))]);
    let body = match ends {
        true => http_body_util::StreamBody::new(first.boxed()),
        false => http_body_util::StreamBody::new(first.chain(rest).boxed()),
    };
    let request = http::Request::post(format!("http://here{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    sender.send_request(request.body(body).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_and_services_are_described() {
    let rig = rig().await;
    let grpc = rig.address("grpc");
    rig.until("it serves", || async {
        call(grpc, "/grpc.health.v1.Health/Check", &[], framed(0, b"")).await.body[..]
            == framed(0, &[0x08, 1])[..]
    })
    .await;
    let service = "opentelemetry.proto.collector.logs.v1.LogsService";
    let asked = [&[0x0a, service.len() as u8], service.as_bytes()].concat();
    let answer = call(grpc, "/grpc.health.v1.Health/Check", &[], framed(0, &asked)).await;
    assert_eq!(&answer.body[..], framed(0, &[0x08, 1]), "SERVING");
    let answer = call(grpc, "/grpc.health.v1.Health/Check", &[], framed(0, &[0x0a, 1, b'x'])).await;
    assert_eq!(answer.grpc_status(), "5", "NOT_FOUND");
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // ServerReflectionRequest: 7 list_services, 4 file_containing_symbol.
        let listed = call(grpc, &path, &[], framed(0, &[0x3a, 0])).await;
        for name in [service, "grpc.health.v1.Health"] {
            assert!(String::from_utf8_lossy(&listed.body).contains(name), "{version}: {}", listed.text());
        }
        let asked = [&[0x22, service.len() as u8], service.as_bytes()].concat();
        let described = call(grpc, &path, &[], framed(0, &asked)).await;
        assert!(String::from_utf8_lossy(&described.body).contains("ExportLogsServiceRequest"), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_hears_of_the_stop_and_open_streams_do_not_hold_it_up() {
    let rig = rig().await;
    let grpc = rig.address("grpc");
    rig.until("it serves", || async {
        call(grpc, "/grpc.health.v1.Health/Check", &[], framed(0, b"")).await.body[..]
            == framed(0, &[0x08, 1])[..]
    })
    .await;
    let mut watched = open(grpc, "/grpc.health.v1.Health/Watch", framed(0, b""), true).await.into_body();
    let now = watched.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(now, framed(0, &[0x08, 1]), "SERVING");
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut asked = open(grpc, path, framed(0, &[0x3a, 0]), false).await.into_body();
    assert!(asked.frame().await.unwrap().unwrap().is_data(), "the services");
    let begin = std::time::Instant::now();
    rig.stop().await;
    // Connections that do not end by themselves are given 5 s.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let then = watched.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(then, framed(0, &[0x08, 2]), "NOT_SERVING");
    let status = async |body: &mut hyper::body::Incoming| {
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        trailers["grpc-status"].to_str().unwrap().to_owned()
    };
    assert_eq!(status(&mut watched).await, "14");
    // All that was asked has been answered: that is an end as good as the other.
    let asked = status(&mut asked).await;
    assert!(["0", "14"].contains(&&*asked), "{asked}");
}
