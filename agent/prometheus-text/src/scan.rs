//! One line, read from left to right.

use std::borrow::Cow;

use crate::problem::Problem;

/// So much of what stands in a wrong place is quoted.
const QUOTED: usize = 32;

/// A place in a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self { line, at: 0 }
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.line.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    /// Spaces and tabs; how many.
    pub(crate) fn blanks(&mut self) -> usize {
        let before = self.at;
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
        self.at - before
    }

    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Everything up to the next blank or the end; may be empty.
    pub(crate) fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let word = &rest[..rest.find([' ', '\t']).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A name of letters, digits and underscores, not beginning with a digit; with colons if it is a metric's.
    pub(crate) fn name(&mut self, colons: bool) -> Option<&'a str> {
        let rest = self.rest();
        let len = rest
            .bytes()
            .enumerate()
            .take_while(|(i, b)| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => true,
                b'0'..=b'9' => *i > 0,
                b':' => colons,
                _ => false,
            })
            .count();
        self.at += len;
        (len > 0).then(|| &rest[..len])
    }

    /// A text in quotes, its escapes resolved. The quote is known to stand here.
    pub(crate) fn quoted(&mut self) -> Result<Cow<'a, str>, Problem> {
        self.at += 1;
        let begin = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = &self.line[begin..self.at];
                    self.at += 1;
                    return unescape(text);
                }
                // What follows a backslash ends nothing. This may stop within a character, whose other bytes are no
                // quotes; the quote that ends the text never is within one.
                Some(b'\\') => self.at = (self.at + 2).min(self.line.len()),
                Some(_) => self.at += 1,
                None => return Err(self.expected("the closing quote")),
            }
        }
    }

    pub(crate) fn expected(&self, expected: &'static str) -> Problem {
        let rest = self.rest();
        let found = match rest.chars().count() {
            0 => "the end of the line".to_owned(),
            1..=QUOTED => format!("{rest:?}"),
            _ => format!("{:?} ...", rest.chars().take(QUOTED).collect::<String>()),
        };
        Problem::Expected { expected, column: self.at + 1, found }
    }
}

/// A text without its escapes: `\\`, `\"` and `\n`.
pub(crate) fn unescape(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => plain.push('\\'),
            Some('"') => plain.push('"'),
            Some('n') => plain.push('\n'),
            other => {
                return Err(Problem::Escape(format!("\\{}", other.map(String::from).unwrap_or_default())));
            }
        }
    }
    Ok(Cow::Owned(plain))
}

/// As [`unescape`], but what is no escape stays as it is: Prometheus reads help texts so.
pub(crate) fn unescape_help(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some(next @ ('\\' | 'n' | '"'))) => {
                plain.push(if next == 'n' { '\n' } else { next });
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}
