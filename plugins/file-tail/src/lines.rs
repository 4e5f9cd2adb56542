//! Bytes to records: lines, lines that belong together, lines that are too long.
//!
//! What is cut does not depend on how the bytes were read: in which pieces, or how often a piece was looked at before it
//! was whole. Nothing is kept between two looks but how much of an overlong line was taken.

use memchr::memchr;
use regex_lite::Regex;

/// What is made of a line that is longer than `max_line`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// Several records.
    Split,
    /// One record of its beginning.
    Truncate,
}

/// Which lines belong together.
#[derive(Clone, Debug)]
pub(crate) enum Together {
    /// A line that matches begins a record.
    Start(Regex),
    /// A line that matches goes on with the record before.
    Continue(Regex),
}

/// How bytes become records.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The longest line, and the longest record, in bytes.
    pub(crate) max: usize,
    pub(crate) too_long: TooLong,
    pub(crate) together: Option<Together>,
    /// Lines in a record.
    pub(crate) max_lines: usize,
}

/// What may follow behind the bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More.
    Open,
    /// More, but nothing came for as long as a record waits for its next line.
    Quiet,
    /// Nothing, ever.
    Over,
}

/// A record, or bytes that are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Without the end of its last line; `None`: passed over.
    pub(crate) text: Option<&'a [u8]>,
    /// Bytes up to the next piece.
    pub(crate) used: usize,
    /// How much of the line was taken before, where it is the rest of an overlong one.
    pub(crate) after: u64,
    /// Whether the line goes on behind it.
    pub(crate) cut: bool,
}

impl Shape {
    /// The first piece of `bytes`, which begin where the piece before ended. `taken` is how much of an overlong line
    /// stands before them, and is kept up to date. `None`: more bytes are needed.
    pub(crate) fn next<'a>(&self, bytes: &'a [u8], end: End, taken: &mut u64) -> Option<Piece<'a>> {
        if bytes.is_empty() {
            return None;
        }
        match &self.together {
            Some(together) if *taken == 0 => self.several(together, bytes, end, taken),
            _ => self.single(bytes, end, taken),
        }
    }

    fn single<'a>(&self, bytes: &'a [u8], end: End, taken: &mut u64) -> Option<Piece<'a>> {
        let after = *taken;
        let (line, used) = match memchr(b'\n', bytes) {
            Some(at) => (without_return(&bytes[..at]), at + 1),
            // A line that is as long as may be, and the end of it, has room.
            None if end == End::Over || bytes.len() > self.max + 1 => (bytes, bytes.len()),
            None if after > 0 && self.too_long == TooLong::Truncate => (bytes, bytes.len()),
            None => return None,
        };
        let is_whole = memchr(b'\n', &bytes[used - 1..used]).is_some() || end == End::Over;
        if after > 0 && self.too_long == TooLong::Truncate {
            *taken = if is_whole { 0 } else { after + used as u64 };
            return Some(Piece { text: None, used, after, cut: false });
        }
        if line.len() > self.max {
            let used = cut(line, self.max);
            *taken += used as u64;
            return Some(Piece { text: Some(&line[..used]), used, after, cut: true });
        }
        *taken = 0;
        // Of a line that was cut just before its end nothing is left.
        let text = (after == 0 || !line.is_empty()).then_some(line);
        Some(Piece { text, used, after, cut: false })
    }

    fn several<'a>(
        &self,
        together: &Together,
        bytes: &'a [u8],
        end: End,
        taken: &mut u64,
    ) -> Option<Piece<'a>> {
        let upto = |at: usize| {
            let text = &bytes[..at];
            let text = text.strip_suffix(b"\n").map_or(text, without_return);
            Some(Piece { text: Some(text), used: at, after: 0, cut: false })
        };
        let (mut at, mut lines) = (0, 0);
        loop {
            let rest = &bytes[at..];
            let (line, next) = match memchr(b'\n', rest) {
                Some(len) => (without_return(&rest[..len]), at + len + 1),
                None if lines == 0 => return self.single(bytes, end, taken),
                None if end == End::Over && !rest.is_empty() => (rest, bytes.len()),
                None if end != End::Open || bytes.len() > self.max + 1 => return upto(at),
                None => return None,
            };
            if lines == 0 {
                if line.len() > self.max {
                    return self.single(bytes, end, taken);
                }
            } else {
                let begins = match together {
                    Together::Start(pattern) => pattern.is_match(&String::from_utf8_lossy(line)),
                    Together::Continue(pattern) => !pattern.is_match(&String::from_utf8_lossy(line)),
                };
                if begins || lines == self.max_lines || at + line.len() > self.max {
                    return upto(at);
                }
            }
            (at, lines) = (next, lines + 1);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// At most so many bytes, and no character in two.
fn cut(line: &[u8], max: usize) -> usize {
    let is_inner = |at: &usize| line.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    // Four bytes are the longest character: what goes on longer is no UTF-8, and is cut anywhere.
    (max.saturating_sub(3).max(1)..=max).rev().find(|at| !is_inner(at)).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(max: usize, too_long: TooLong, together: Option<Together>) -> Shape {
        Shape { max, too_long, together, max_lines: 4 }
    }

    /// All pieces, from bytes that come in such steps.
    fn pieces(shape: &Shape, bytes: &[u8], step: usize, last: End) -> (Vec<String>, usize) {
        let (mut found, mut at, mut there, mut taken) = (Vec::new(), 0, 0, 0);
        loop {
            let end = if there == bytes.len() { last } else { End::Open };
            match shape.next(&bytes[at..there], end, &mut taken) {
                Some(piece) => {
                    at += piece.used;
                    found.extend(piece.text.map(|text| String::from_utf8_lossy(text).into_owned()));
                }
                None if there == bytes.len() => return (found, at),
                None => there = bytes.len().min(there + step),
            }
        }
    }

    fn check(shape: &Shape, text: &str, last: End, expected: &[&str], used: usize) {
        for step in [1, 2, 3, 5, 8, 13, 1000] {
            let found = pieces(shape, text.as_bytes(), step, last);
            assert_eq!(found, (expected.iter().map(|text| (*text).to_owned()).collect(), used), "{step}");
        }
    }

    #[test]
    fn lines_end_with_a_newline_with_or_without_a_return() {
        let plain = shape(8, TooLong::Split, None);
        check(&plain, "a\r\n\nbc\n12345678\r\nrest", End::Open, &["a", "", "bc", "12345678"], 17);
        check(&plain, "a\nrest", End::Quiet, &["a"], 2);
        check(&plain, "a\nrest", End::Over, &["a", "rest"], 6);
        check(&plain, "", End::Over, &[], 0);
    }

    #[test]
    fn overlong_lines_are_split_without_loss_or_cut_with_the_rest_passed_over() {
        let text = "123456789\nab\n1234567812345678\n12345678\nab";
        let split = ["12345678", "9", "ab", "12345678", "12345678", "12345678"];
        check(&shape(8, TooLong::Split, None), text, End::Open, &split, text.len() - 2);
        let cut = ["12345678", "ab", "12345678", "12345678"];
        check(&shape(8, TooLong::Truncate, None), text, End::Open, &cut, text.len() - 2);
        check(&shape(8, TooLong::Truncate, None), "1234567890", End::Over, &["12345678"], 10);
        check(&shape(8, TooLong::Split, None), "1234567890", End::Over, &["12345678", "90"], 10);
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        let split = shape(8, TooLong::Split, None);
        check(
            &split,
            "1234567\u{e4}x\n\u{1f600}\u{1f600}\u{1f600}\n",
            End::Open,
            &["1234567", "\u{e4}x", "\u{1f600}\u{1f600}", "\u{1f600}"],
            24,
        );
    }

    #[test]
    fn records_begin_where_a_line_says_so() {
        let start = Together::Start(Regex::new("^[0-9]").unwrap());
        let shape = shape(40, TooLong::Split, Some(start));
        let text = "1 a\n at b\n at c\n2 d\n3 e\n more\n";
        check(&shape, text, End::Open, &["1 a\n at b\n at c", "2 d"], 20);
        check(&shape, text, End::Quiet, &["1 a\n at b\n at c", "2 d", "3 e\n more"], text.len());
        check(&shape, "1\n part", End::Quiet, &["1"], 2);
        check(&shape, "1\n part", End::Over, &["1\n part"], 7);
        check(&shape, "1\n2 part", End::Over, &["1", "2 part"], 8);
        check(&shape, " no start\n1\n2\n", End::Open, &[" no start", "1"], 12);
    }

    #[test]
    fn records_go_on_where_a_line_says_so() {
        let go_on = Together::Continue(Regex::new(r"^\s").unwrap());
        let shape = shape(40, TooLong::Split, Some(go_on));
        check(&shape, "a\r\n b\r\nc\nd\n", End::Open, &["a\r\n b", "c"], 9);
    }

    #[test]
    fn records_have_a_bound_of_lines_and_of_bytes() {
        let go_on = || Some(Together::Continue(Regex::new("^ ").unwrap()));
        check(
            &shape(40, TooLong::Split, go_on()),
            "a\n 1\n 2\n 3\n 4\n 5\nb\n",
            End::Open,
            &["a\n 1\n 2\n 3", " 4\n 5"],
            17,
        );
        check(
            &shape(8, TooLong::Split, go_on()),
            "a\n 1234\n 56\n 123456789\n 1\nb\n",
            End::Open,
            &["a\n 1234", " 56", " 1234567", "89", " 1"],
            26,
        );
        check(
            &shape(8, TooLong::Truncate, go_on()),
            "a\n 123456789\nb\nc\n",
            End::Open,
            &["a", " 1234567", "b"],
            15,
        );
    }
}
