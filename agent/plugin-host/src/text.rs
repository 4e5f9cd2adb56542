//! Strangers' text, made fit for logs and terminals.

/// The text without control characters (line feed and tab stay), cut at a character to at most `max` bytes
/// plus an ellipsis. Control characters would let a guest write escape sequences to an operator's terminal.
pub fn clean(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('\u{2026}');
    }
    if text.chars().any(is_unwanted) {
        text = text.chars().map(|c| if is_unwanted(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    }
    text
}

/// Controls, and the marks that turn the direction of what follows.
fn is_unwanted(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error with its causes, each told once: many an error's text has its cause in it already.
pub fn whole(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_pass_and_cuts_fall_between_characters() {
        assert_eq!(clean("a\x1b[31m\nb\tc".into(), 100), "a\u{fffd}[31m\nb\tc");
        assert_eq!(clean("\u{9b}0m\u{202e}x".into(), 100), "\u{fffd}0m\u{fffd}x");
        assert_eq!(clean("\u{e4}\u{e4}\u{e4}".into(), 3), "\u{e4}\u{2026}");
        assert_eq!(clean("abc".into(), 3), "abc");
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        #[derive(Debug, thiserror::Error)]
        enum Failed {
            #[error("it can't be read: {source}; nothing was done")]
            Told { source: std::io::Error },
            #[error("it can't be read")]
            Untold { source: std::io::Error },
        }
        let source = || std::io::Error::other("the disk is gone");
        let told = whole(&Failed::Told { source: source() });
        assert_eq!(told, "it can't be read: the disk is gone; nothing was done");
        assert_eq!(whole(&Failed::Untold { source: source() }), "it can't be read: the disk is gone");
    }

    #[test]
    fn hex_is_lower_case_and_two_digits_a_byte() {
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
    }
}
