//! The walk: what it lets pass can be decoded, merged, joined and parted.

#![no_main]

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use whimbrel_otlp::{Resource, Signal, merge_resource, part, to_json, walk, write::Attributes};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, request)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(*first) % 3];
    let agent = Resource::new(&Attributes::new().with("host.name", "here"));
    let mut merged = Vec::new();
    match walk(signal, request) {
        Err(_) => assert!(merge_resource(signal, request, &agent, &mut merged).is_err()),
        Ok(walked) => {
            let decoded = match signal {
                Signal::Metrics => ExportMetricsServiceRequest::decode(request).map(drop),
                Signal::Logs => ExportLogsServiceRequest::decode(request).map(drop),
                Signal::Traces => ExportTraceServiceRequest::decode(request).map(drop),
            };
            decoded.expect("what passes the walk can be decoded");
            let again = merge_resource(signal, request, &agent, &mut merged).expect("it merges");
            assert_eq!((again.items, walk(signal, &merged).expect("it still walks").items), (walked.items, walked.items));
            if let Ok(parts) = part(signal, &merged, 1024) {
                let items: u32 = parts.iter().map(|part| walk(signal, part).expect("a part walks").items).sum();
                assert_eq!(items, walked.items);
                assert!(parts.iter().all(|part| part.len() <= 1024));
            }
            to_json(signal, request).expect("it can be shown");
        }
    }
});
