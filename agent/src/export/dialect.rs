//! What a lane has learned of its receiver: which encoding it takes, and whether it reads on after the first of
//! several zstd frames.
//!
//! A receiver that reads only the first frame would lose the others and say that it took everything. So frames are
//! joined only after a probe: two frames, an empty one and one that holds a broken request, must be refused with 400
//! or INVALID_ARGUMENT, while two empty ones, an empty request, are accepted. gRPC's own libraries say INTERNAL of a
//! message that they can't parse (grpc/doc/statuscodes.md), and of much else; that counts if it comes both before and
//! after the two empty frames were accepted. What was learned is forgotten when the connection is lost and when an
//! accepted answer names another server: the next request may end at another version.

use super::transport::{Encoding, Outcome};
use crate::config::Compression;

/// A zstd frame of nothing, with its checksum (RFC 8878: magic, single segment and checksum, content size 0, an
/// empty last block, the low half of XXH64 of nothing): an export request without a resource.
const EMPTY_FRAME: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD, 0x24, 0x00, 0x01, 0x00, 0x00, 0x99, 0xE9, 0xD8, 0x51];

/// A zstd frame of the one byte 0x0A: the tag of a field whose length is missing.
const BROKEN_FRAME: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x01, 0x09, 0x00, 0x00, 0x0A];

/// What a receiver must stumble over if it reads on after the first frame.
pub(super) const PROBE: [&[u8]; 2] = [EMPTY_FRAME, BROKEN_FRAME];

/// What it must take, so that it is the second frame's content that it stumbles over, and not that there is one.
pub(super) const CONTROL: [&[u8]; 2] = [EMPTY_FRAME, EMPTY_FRAME];

/// After so many changes of the server's name it is several servers behind one address: it is not probed again.
const MAX_CHANGES: u8 = 4;

/// What is known of one receiver.
#[derive(Debug)]
pub(super) struct Dialect {
    encoding: Encoding,
    auto: bool,
    frames: Frames,
    server: Option<String>,
    changes: u8,
}

/// How many zstd frames one body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    /// Not asked yet: as one.
    Unknown,
    /// Being asked: as one.
    Probing,
    /// One.
    Single,
    /// Any number.
    Many,
}

impl Frames {
    pub(super) fn name(self) -> &'static str {
        match self {
            Frames::Unknown | Frames::Probing => "unknown",
            Frames::Single => "single",
            Frames::Many => "many",
        }
    }
}

impl Dialect {
    pub(super) fn new(compression: Compression) -> Self {
        let encoding = match compression {
            Compression::Auto | Compression::Zstd => Encoding::Zstd,
            Compression::Gzip => Encoding::Gzip,
            Compression::None => Encoding::Identity,
        };
        let auto = compression == Compression::Auto;
        Self { encoding, auto, frames: Frames::Unknown, server: None, changes: 0 }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn frames(&self) -> Frames {
        self.frames
    }

    /// Whether the caller is the one to probe now; it must say how that ended with [`Dialect::probed`].
    pub(super) fn begin_probe(&mut self) -> bool {
        let ask = self.encoding == Encoding::Zstd && self.frames == Frames::Unknown;
        if ask {
            self.frames = Frames::Probing;
        }
        ask
    }

    /// The end of a probe; `Unknown` if it could not be made.
    pub(super) fn probed(&mut self, frames: Frames) {
        self.frames = frames;
    }

    /// The receiver takes this encoding and not the one before. Whether that is news.
    pub(super) fn settle(&mut self, encoding: Encoding) -> bool {
        let news = self.auto && self.encoding != encoding;
        if news {
            self.encoding = encoding;
        }
        news
    }

    /// The connection was lost.
    pub(super) fn disconnected(&mut self) {
        if self.frames != Frames::Probing && self.changes < MAX_CHANGES {
            self.frames = Frames::Unknown;
        }
    }

    /// An accepted answer came from this server.
    pub(super) fn heard(&mut self, server: Option<&str>) {
        let Some(server) = server else { return };
        match &self.server {
            Some(known) if known == server => return,
            Some(_) => self.changed(),
            None => {}
        }
        self.server = Some(server.to_owned());
    }

    fn changed(&mut self) {
        self.changes = self.changes.saturating_add(1);
        if self.changes >= MAX_CHANGES {
            self.frames = Frames::Single;
        } else {
            self.frames = Frames::Unknown;
            if self.auto {
                self.encoding = Encoding::Zstd;
            }
        }
    }
}

/// Whether an answer may mean that the message could not be parsed.
pub(super) fn stumbles(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::DataRefused { suspect_encoding: true, .. } | Outcome::Held { suspect_data: true, .. }
    )
}

/// What the answers to [`PROBE`] and then [`CONTROL`] mean; `None`: neither answers the question, and what came is an
/// outcome like any.
pub(super) fn judge_probe(probe: &Outcome, control: Option<&Outcome>) -> Option<Frames> {
    let settles = |outcome: &Outcome| !matches!(outcome, Outcome::Unavailable { .. } | Outcome::Held { .. });
    match (probe, control) {
        (probe, Some(Outcome::Accepted { .. })) if stumbles(probe) => Some(Frames::Many),
        (probe, Some(other)) if stumbles(probe) && settles(other) => Some(Frames::Single),
        (probe, _) if stumbles(probe) => None,
        (other, _) if settles(other) => Some(Frames::Single),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_s_frames_are_what_they_say() {
        assert_eq!(zstd::decode_all(EMPTY_FRAME).expect("checksum holds"), b"");
        assert_eq!(zstd::decode_all(BROKEN_FRAME).expect("a frame"), [0x0A]);
        assert_eq!(zstd::decode_all(&*PROBE.concat()).expect("two frames"), [0x0A]);
        assert_eq!(zstd::decode_all(&*CONTROL.concat()).expect("two frames"), b"");
        let mut damaged = EMPTY_FRAME.to_vec();
        damaged[12] ^= 1;
        assert!(zstd::decode_all(&*damaged).is_err(), "the checksum is checked");
    }

    #[test]
    fn frames_are_joined_only_for_a_receiver_that_stumbles_over_the_second() {
        let accepted = Outcome::Accepted { rejected: 0, message: None, readable: true };
        let refused = Outcome::DataRefused { reason: String::new(), suspect_encoding: true };
        let too_large = Outcome::DataRefused { reason: String::new(), suspect_encoding: false };
        let no_zstd = Outcome::EncodingRefused { reason: String::new() };
        let away = Outcome::Unavailable { reason: String::new(), retry_after: None, disconnected: true };
        let held = Outcome::held(String::new());
        let internal = Outcome::Held { reason: String::new(), suspect_data: true };
        for (probe, control, expected) in [
            (&refused, Some(&accepted), Some(Frames::Many)),
            (&refused, Some(&refused), Some(Frames::Single)),
            (&refused, Some(&no_zstd), Some(Frames::Single)),
            (&refused, Some(&away), None),
            (&refused, None, None),
            (&accepted, None, Some(Frames::Single)),
            (&too_large, None, Some(Frames::Single)),
            (&no_zstd, None, Some(Frames::Single)),
            (&away, None, None),
            (&held, None, None),
            (&internal, Some(&accepted), Some(Frames::Many)),
            (&internal, Some(&refused), Some(Frames::Single)),
            (&internal, Some(&internal), None),
            (&internal, Some(&away), None),
        ] {
            assert_eq!(judge_probe(probe, control), expected, "{probe:?}, {control:?}");
        }
    }

    #[test]
    fn another_server_is_learned_anew_and_many_behind_one_name_are_not_trusted() {
        let mut dialect = Dialect::new(Compression::Auto);
        dialect.heard(Some("otelcol/1"));
        assert!(dialect.begin_probe());
        assert!(!dialect.begin_probe(), "one at a time");
        dialect.probed(Frames::Many);
        assert!(dialect.settle(Encoding::Gzip));
        assert!(!dialect.settle(Encoding::Gzip), "said once");
        dialect.heard(Some("otelcol/1"));
        assert_eq!((dialect.encoding(), dialect.frames()), (Encoding::Gzip, Frames::Many));
        dialect.heard(None);
        dialect.heard(Some("otelcol/2"));
        assert_eq!((dialect.encoding(), dialect.frames()), (Encoding::Zstd, Frames::Unknown));
        dialect.probed(Frames::Many);
        dialect.disconnected();
        assert_eq!(dialect.frames(), Frames::Unknown);
        for round in 0..MAX_CHANGES {
            dialect.heard(Some(&format!("other/{round}")));
        }
        assert_eq!(dialect.frames(), Frames::Single);
        dialect.disconnected();
        assert!(!dialect.begin_probe());
    }

    #[test]
    fn a_configured_encoding_is_never_exchanged() {
        let mut dialect = Dialect::new(Compression::Zstd);
        assert!(!dialect.settle(Encoding::Gzip));
        assert_eq!(dialect.encoding(), Encoding::Zstd);
        assert_eq!(Dialect::new(Compression::None).encoding(), Encoding::Identity);
        assert!(!Dialect::new(Compression::Gzip).begin_probe());
    }
}
