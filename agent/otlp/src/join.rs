//! Several requests of one signal as one.

/// Appends requests to `out`, which then is one request of all their resources.
///
/// Protobuf allows it: a message whose only field is repeated is joined by joining bytes. The requests must be of one
/// signal; what has passed [`walk`](crate::walk) stays well-formed.
pub fn join<'a>(requests: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for request in requests {
        out.extend_from_slice(request);
    }
}
