//! What a lane has learned of its receiver: which encoding it takes, and whether it reads on after the first of
//! several zstd frames.
//!
//! A receiver that reads only the first frame would lose the others and answer 200. So frames are joined only
//! after a probe: two frames of which the second holds a broken request must be refused with 400, while the first
//! alone, an empty request, is accepted. What was learned is forgotten when the connection is lost and when an
//! accepted answer names another server: the next request may end at another version.

use super::transport::{Encoding, Outcome};
use crate::config::Compression;

/// A zstd frame of nothing, with its checksum (RFC 8878: magic, single segment and checksum, content size 0, an
/// empty last block, the low half of XXH64 of nothing): an export request without a resource.
pub(super) const EMPTY_FRAME: &[u8] =
    &[0x28, 0xB5, 0x2F, 0xFD, 0x24, 0x00, 0x01, 0x00, 0x00, 0x99, 0xE9, 0xD8, 0x51];

/// A zstd frame of the one byte 0x0A: the tag of a field whose length is missing.
pub(super) const BROKEN_FRAME: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x01, 0x09, 0x00, 0x00, 0x0A];

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

/// What the answers to the probe mean; `None`: neither answers the question, and what came is an outcome like any.
pub(super) fn judge_probe(joined: &Outcome, empty: Option<&Outcome>) -> Option<Frames> {
    let settles = |outcome: &Outcome| !matches!(outcome, Outcome::Unavailable { .. } | Outcome::Held { .. });
    match (joined, empty) {
        (Outcome::DataRefused { suspect_encoding: true, .. }, Some(Outcome::Accepted { .. })) => {
            Some(Frames::Many)
        }
        (Outcome::DataRefused { suspect_encoding: true, .. }, Some(other)) if settles(other) => {
            Some(Frames::Single)
        }
        (Outcome::DataRefused { suspect_encoding: true, .. }, _) => None,
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
        assert_eq!(zstd::decode_all(&*[EMPTY_FRAME, BROKEN_FRAME].concat()).expect("two frames"), [0x0A]);
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
        let held = Outcome::Held { reason: String::new() };
        for (joined, empty, expected) in [
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
        ] {
            assert_eq!(judge_probe(joined, empty), expected, "{joined:?}, {empty:?}");
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
