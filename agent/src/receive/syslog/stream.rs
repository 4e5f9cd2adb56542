//! Messages on a stream: `LENGTH SPACE MESSAGE` (octet counting), or one a line (RFC 6587, section 3.4).

use std::sync::Arc;

use tokio::{io::AsyncReadExt, time::Instant};

use super::Receiver;
use crate::receive::{Connection, Stream, pieces::Pieces};

/// Longest message, bytes.
const LONGEST: usize = 64 << 10;
/// What is read at once.
const BUFFER: usize = 16 << 10;

/// What the bytes that have come in begin with.
enum Next {
    /// A message: from where to where, and how much is used with it.
    Message(usize, usize, usize),
    /// Not all of one.
    More,
    /// One that is too long, or counted wrongly: to be passed over up to the end of its line.
    Wrong,
}

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: Stream, connection: Arc<Connection>, receiver: &Receiver) {
    let ground = &receiver.ground;
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
    let mut skipping = false;
    let mut due: Option<Instant> = None;
    loop {
        buffer.reserve(BUFFER);
        let late = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            () = ground.stop.wait() => return,
            () = late => {
                ground.counts.refused("slow");
                return;
            }
            read = stream.read_buf(&mut buffer) => read,
        };
        let over = !matches!(read, Ok(1..));
        let _at_work = connection.at_work();
        let mut pieces = Pieces::default();
        let mut start = 0;
        loop {
            let bytes = &buffer[start..];
            if skipping {
                match memchr::memchr(b'\n', bytes) {
                    Some(end) => (start, skipping) = (start + end + 1, false),
                    None => {
                        start = buffer.len();
                        break;
                    }
                }
                continue;
            }
            match next(bytes, over) {
                Next::Message(from, to, used) => {
                    if let Err(wait) = ground.pace.may(connection.peer) {
                        ground.counts.refused("rate");
                        tokio::time::sleep(wait).await;
                    }
                    receiver.put(&bytes[from..to], &mut pieces);
                    start += used;
                }
                Next::More => break,
                Next::Wrong => {
                    ground.counts.refused("too_long");
                    skipping = true;
                }
            }
        }
        buffer.drain(..start);
        if buffer.capacity() > 2 * LONGEST {
            buffer.shrink_to(BUFFER);
        }
        while !pieces.is_empty() && ground.gather.add(pieces.parts()).is_err() {
            let needed = pieces.parts().map(|piece| piece.encoded.len()).sum();
            ground.gather.room(needed).await;
        }
        if over {
            return;
        }
        due = match (buffer.is_empty() && !skipping, start > 0, due) {
            (true, ..) => None,
            (false, false, Some(due)) => Some(due),
            (false, ..) => Some(Instant::now() + ground.limits.request_time),
        };
    }
}

/// `over`: nothing more will come, so that a line without its end is whole.
fn next(bytes: &[u8], over: bool) -> Next {
    match bytes.first() {
        None => Next::More,
        Some(b'1'..=b'9') => {
            let digits = bytes.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
            match bytes.get(digits) {
                None if digits < 7 => Next::More,
                Some(b' ') => {
                    let text = std::str::from_utf8(&bytes[..digits]).unwrap_or_default();
                    let length: usize = text.parse().unwrap_or(usize::MAX);
                    let from = digits + 1;
                    match length {
                        _ if length > LONGEST => Next::Wrong,
                        _ if bytes.len() >= from + length => {
                            Next::Message(from, from + length, from + length)
                        }
                        _ => Next::More,
                    }
                }
                // A line that begins with a number.
                _ => line(bytes, over),
            }
        }
        Some(_) => line(bytes, over),
    }
}

fn line(bytes: &[u8], over: bool) -> Next {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end <= LONGEST => Next::Message(0, end, end + 1),
        None if over && bytes.len() <= LONGEST => Next::Message(0, bytes.len(), bytes.len()),
        None if bytes.len() <= LONGEST => Next::More,
        _ => Next::Wrong,
    }
}
