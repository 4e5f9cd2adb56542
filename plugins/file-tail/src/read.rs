//! Reading on in one file, from where it was left.
//!
//! Each read begins with bytes that were read before, and they must be the same: a file that was cut and has grown
//! since, or another one under the same identity, is found out before a line of it is taken for a line of the first.

use whimbrel_sdk::{
    Error,
    files::{self, File, MAX_READ},
};

use crate::{
    known::Known,
    lines::{End, Piece, Shape},
    print::{Print, TAIL},
};

/// Bytes of the file that is read, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// From at most [`TAIL`] bytes before what was read on.
    bytes: Vec<u8>,
    /// Up to where `Known` has advanced.
    settled: usize,
    /// Where the next piece begins.
    at: usize,
    /// The end of the file was seen.
    ended: bool,
}

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// At the end of what is there.
    End,
    /// It was told to; it can go on.
    Asked,
    /// The file is not what it was.
    Changed,
}

impl Reader {
    /// Begins where a file was left; `false` if that is not what stands there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn begin(&mut self, file: &File, known: &Known) -> Result<bool, files::Error> {
        let before = known.tail_len();
        self.bytes = file.read_at(known.offset - before as u64, MAX_READ)?;
        (self.at, self.settled, self.ended) = (before, before, false);
        Ok(self.bytes.get(..before).is_some_and(|tail| Print::of(tail) == known.tail))
    }

    /// Shows one piece after the other until `show` says `false`.
    ///
    /// # Errors
    /// What `show` returns; the file must be begun again from its last checkpoint then. What the system says is in
    /// the other one.
    pub(crate) fn run(
        &mut self,
        file: &File,
        known: &mut Known,
        shape: &Shape,
        end: End,
        mut show: impl FnMut(Piece<'_>) -> Result<bool, Error>,
    ) -> Result<Result<Stopped, files::Error>, Error> {
        loop {
            let now = if self.ended { end } else { End::Open };
            match shape.next(&self.bytes[self.at..], now, &mut known.taken) {
                Some(piece) => {
                    self.at += piece.used;
                    if !show(piece)? {
                        self.settle(known);
                        return Ok(Ok(Stopped::Asked));
                    }
                }
                None => {
                    self.settle(known);
                    if self.ended {
                        return Ok(Ok(Stopped::End));
                    }
                    match self.fill(file, known) {
                        Ok(true) => {}
                        Ok(false) => return Ok(Ok(Stopped::Changed)),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
        }
    }

    /// Whether anything is left that was read and is no whole record.
    pub(crate) fn has_rest(&self) -> bool {
        self.at < self.bytes.len()
    }

    fn settle(&mut self, known: &mut Known) {
        if self.at > self.settled {
            known.advance(&self.bytes, self.settled, self.at);
            self.settled = self.at;
        }
    }

    /// Reads on; `false` if what was read before is no longer there.
    fn fill(&mut self, file: &File, known: &Known) -> Result<bool, files::Error> {
        let kept_from = self.at - known.tail_len();
        self.bytes.drain(..kept_from);
        self.at -= kept_from;
        self.settled = self.at;
        let again = self.bytes.len().min(TAIL as usize);
        let upto = known.offset + (self.bytes.len() - self.at) as u64;
        let more = file.read_at(upto - again as u64, MAX_READ)?;
        let Some((same, new)) = more.split_at_checked(again) else { return Ok(false) };
        if same != &self.bytes[self.bytes.len() - again..] {
            return Ok(false);
        }
        self.ended = new.is_empty();
        self.bytes.extend_from_slice(new);
        Ok(true)
    }
}
