//! The gRPC services beside OTLP: `grpc.health.v1.Health` and `grpc.reflection`, version 1 and 1alpha.
//!
//! `services.binpb` is a `FileDescriptorSet` of opentelemetry-proto 1.10 without comments: the three collector services
//! and what they import, compiled by protox.

use std::{convert::Infallible, sync::Arc};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
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

type Dispatch = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// The services. Cheap to clone.
#[derive(Clone)]
pub(super) struct Services {
    reporter: HealthReporter,
    /// By the path of a call up to the method.
    routes: Arc<[(&'static str, Dispatch)]>,
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
        Self { reporter, routes: routes.into() }
    }

    /// The service that a path belongs to.
    pub(super) fn at(&self, path: &str) -> Option<&Dispatch> {
        self.routes.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, service)| service)
    }

    /// Says that everything serves, and from the stop on that nothing does: to those who watch, too.
    pub(super) async fn tell_when_stopping(self, stop: Stop) {
        for name in NAMES {
            self.reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        stop.wait().await;
        for name in NAMES {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
    }
}

fn dispatch<S>(service: S) -> Dispatch
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
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
