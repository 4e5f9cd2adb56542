//! Everything that commands print. A pipe that is closed early is an error of its own kind, which ends the command
//! quietly (see [`Failure`](super::Failure)); `println!` would panic.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// A terminal that says it is narrower does not know its size.
const NARROWEST: usize = 20;

/// A text to stdout, as it is.
///
/// # Errors
/// When stdout can't be written to: `BrokenPipe` where nobody reads it any more.
pub(super) fn text(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// A value to stdout, as JSON of several lines.
///
/// # Errors
/// As [`text`].
pub(super) fn json(value: &impl serde::Serialize) -> io::Result<()> {
    let rendered = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    text(format_args!("{rendered}\n"))
}

/// A message to stderr. Where even that can't be written to, there is nobody to tell.
pub(super) fn message(message: impl Display) {
    let mut err = io::stderr().lock();
    let written = writeln!(err, "{message}").and_then(|()| err.flush());
    drop(written);
}

/// How wide the terminal is that stdout goes to, in characters; `None` where it is none.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width >= NARROWEST)
}

/// Rows with their columns aligned, two spaces apart; nothing stands behind the last text of a row.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut table = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        table.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_without_trailing_spaces() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect();
        let rows =
            [row(&["collectors", "host", "10s"]), row(&["", "nginx-status", ""]), row(&["data", "/var"])];
        assert_eq!(
            table(&rows),
            "collectors  host          10s\n            nginx-status\ndata        /var\n"
        );
    }
}
