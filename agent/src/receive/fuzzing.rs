//! For the fuzz targets: what receivers make of bytes, without sockets. Compiled with `--cfg fuzzing` only.

use std::sync::Arc;

use whimbrel_otlp::{
    walk,
    write::{Envelope, append_enclosed},
};

use super::{ingest, ldjson, pieces::Pieces, statsd};
use crate::config::{IngestMetric, IngestMetricKind};

/// A line of LDJSON.
pub fn ldjson(line: &[u8]) {
    sound(&ldjson::map_one(line));
}

/// A body of `ingest`.
pub fn ingest(body: &[u8]) {
    let metrics = [
        IngestMetric { event: "queue".to_owned(), kind: IngestMetricKind::Gauge },
        IngestMetric { event: "sale".to_owned(), kind: IngestMetricKind::Counter },
    ];
    sound(&ingest::map_all(body, &metrics));
}

/// A datagram of StatsD.
pub fn statsd(datagram: &[u8]) {
    sound(&statsd::map_all(datagram));
}

/// What was taken must be OTLP: nobody walks it later.
fn sound(pieces: &Pieces) {
    for piece in pieces.parts() {
        let mut request = Vec::new();
        append_enclosed(&mut request, &Arc::new(Envelope::default()), piece.encoded);
        let walked = walk(piece.signal, &request).expect("what was taken is OTLP");
        assert_eq!(walked.items, piece.items);
    }
}
