//! A message on a gRPC stream (grpc/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message"):
//!
//! ```text
//! offset  0            1               5
//!         +------------+---------------+---------...
//!         | compressed | length, big   | message
//!         | 0 or 1     | endian, u32   |
//!         +------------+---------------+---------...
//! ```

use bytes::Bytes;

use super::encoding::Encoding;

/// Bytes before a message.
pub(super) const PREFIX: usize = 5;

/// The body is not the one message of a unary call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the call ended at byte {at} of the five before a message")]
    NoPrefix { at: usize },
    #[error("byte 0, the compressed flag, is {0} instead of 0 or 1")]
    Flag(u8),
    #[error("the message is to have {length} bytes, and {came} came")]
    Cut { length: usize, came: usize },
    #[error("{bytes} bytes follow the message, and a unary call has one")]
    More { bytes: usize },
    #[error("the message is compressed, and no grpc-encoding says how")]
    Unnamed,
}

/// The message of a call, and how it is packed: `encoding`, which the headers name, or not at all.
pub(super) fn message(body: &Bytes, encoding: Encoding) -> Result<(Encoding, Bytes), FrameError> {
    let Some((prefix, message)) = body.split_at_checked(PREFIX) else {
        return Err(FrameError::NoPrefix { at: body.len() });
    };
    let length = prefix[1..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let encoding = match (prefix[0], encoding) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Identity) => return Err(FrameError::Unnamed),
        (1, encoding) => encoding,
        (flag, _) => return Err(FrameError::Flag(flag)),
    };
    match message.len() {
        came if came < length => Err(FrameError::Cut { length, came }),
        came if came > length => Err(FrameError::More { bytes: came - length }),
        _ => Ok((encoding, body.slice(PREFIX..))),
    }
}

/// A message that is not compressed, framed.
pub(super) fn framed(message: &[u8]) -> Bytes {
    // Answers are small: a message that does not fit u32 can't be one.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whole_or_refused_with_what_and_where() {
        let whole = framed(b"one");
        assert_eq!(message(&whole, Encoding::Zstd), Ok((Encoding::Identity, Bytes::from_static(b"one"))));
        for end in 0..PREFIX {
            assert_eq!(message(&whole.slice(..end), Encoding::Zstd), Err(FrameError::NoPrefix { at: end }));
        }
        for end in PREFIX..whole.len() {
            let expected = FrameError::Cut { length: 3, came: end - PREFIX };
            assert_eq!(message(&whole.slice(..end), Encoding::Zstd), Err(expected));
        }
        let with_flag = |flag: u8| Bytes::from([&[flag][..], &whole[1..]].concat());
        assert_eq!(message(&with_flag(1), Encoding::Gzip).unwrap().0, Encoding::Gzip);
        assert_eq!(message(&with_flag(1), Encoding::Identity), Err(FrameError::Unnamed));
        assert_eq!(message(&with_flag(2), Encoding::Gzip), Err(FrameError::Flag(2)));
        let two = Bytes::from([&whole[..], &whole[..]].concat());
        assert_eq!(message(&two, Encoding::Gzip), Err(FrameError::More { bytes: 8 }));
    }
}
