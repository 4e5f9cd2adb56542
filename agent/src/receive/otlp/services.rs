//! The gRPC services beside OTLP: `grpc.health.v1.Health` and `grpc.reflection`, version 1 and 1alpha.
//!
//! `services.binpb` is a `FileDescriptorSet` of opentelemetry-proto 1.10 without comments: the three collector services
//! and what they import, compiled by protox.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::watch;
use tonic::{body::Body, codegen::Service};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::receive::Stop;

/// See the module.
pub(super) const DESCRIPTORS: &[u8] = include_bytes!("services.binpb");

/// What gRPC clients may ask the health of; the empty name is the server as a whole.
const NAMES: [&str; 4] = [
    "",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.trace.v1.TraceService",
];

type Dispatch = Arc<dyn Fn(Request<Asked>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Turns true when open calls are to end.
type End = watch::Sender<bool>;

/// The services. Cheap to clone.
#[derive(Clone)]
pub(super) struct Services {
    reporter: HealthReporter,
    /// By the path of a call up to the method.
    routes: Arc<[(&'static str, Dispatch)]>,
    end: End,
}

impl Services {
    /// All of them; health says that everything serves once [`Services::tell_when_stopping`] runs.
    pub(super) fn new() -> Self {
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut routes = vec![("/grpc.health.v1.Health/", dispatch(health))];
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // The set is compiled in and tested: it can be read.
        if let Ok(service) = describe().build_v1() {
            routes.push(("/grpc.reflection.v1.ServerReflection/", dispatch(service)));
        }
        if let Ok(service) = describe().build_v1alpha() {
            routes.push(("/grpc.reflection.v1alpha.ServerReflection/", dispatch(service)));
        }
        Self { reporter, routes: routes.into(), end: End::new(false) }
    }

    /// Answers a call; `None` if no service has its path.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Option<Response<Streamed>> {
        let path = request.uri().path();
        let (_, service) = self.routes.iter().find(|(prefix, _)| path.starts_with(prefix))?;
        let end = || -> BoxFuture<'static, ()> {
            let mut end = self.end.subscribe();
            Box::pin(async move { drop(end.wait_for(|end| *end).await) })
        };
        let answer = service(request.map(|body| Asked { body: Some(body), end: end() })).await;
        Some(answer.map(|body| Streamed { body, end: Some(end()) }))
    }

    /// Says that everything serves, and from the stop on that nothing does: to those who watch, too. Then calls that
    /// are open end.
    pub(super) async fn tell_when_stopping(self, stop: Stop) {
        for name in NAMES {
            self.reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        stop.wait().await;
        for name in NAMES {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
        self.end.send_replace(true);
    }
}

/// What a client asks, until the agent stops: a service holds it for as long as its client may ask more.
pub(super) struct Asked {
    /// Taken when it is over.
    body: Option<Incoming>,
    end: BoxFuture<'static, ()>,
}

impl hyper::body::Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.end.as_mut().poll(context));
        self.body = None;
        Poll::Ready(None)
    }
}

/// What a service answers, until the agent stops: a stream that its client keeps open would hold the stop up.
pub(super) struct Streamed {
    body: Body,
    /// Taken when it is over.
    end: Option<BoxFuture<'static, ()>>,
}

impl Streamed {
    pub(super) fn is_end(&self) -> bool {
        self.end.is_none() || self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// The next frame. What was said before the end is heard before it.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(end.as_mut().poll(context));
        self.end = None;
        let mut trailers = HeaderMap::new();
        let status = tonic::Status::unavailable("the agent is stopping");
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

fn dispatch<S>(service: S) -> Dispatch
where
    S: Service<Request<Asked>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Arc::new(move |request| {
        // These services are always ready.
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        })
    })
}
