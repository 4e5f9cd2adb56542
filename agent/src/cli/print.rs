//! Everything that commands print. A pipe that is closed early is an error of its own kind, which ends the command
//! quietly (see [`Failure`](super::Failure)); `println!` would panic.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// A terminal that says it is narrower does not know its size.
const NARROWEST: usize = 20;
/// What is left of a long text in a column, at least.
const SHORTEST: usize = 30;

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

/// Has this column take no more than what the others leave of the terminal, where there is one: what is longer loses its
/// middle, since a reference is known by its beginning and its digest by its end.
pub(super) fn shorten(rows: &mut [Vec<String>], column: usize, width: Option<usize>) {
    let Some(width) = width else { return };
    let line = table(rows).lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let widest = rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let most = widest.saturating_sub(line.saturating_sub(width)).max(SHORTEST);
    rows.iter_mut().filter_map(|row| row.get_mut(column)).for_each(|cell| *cell = without_middle(cell, most));
}

/// At most so many characters.
fn without_middle(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let end = most / 3;
    let start = most.saturating_sub(end + 1);
    text.chars().take(start).chain(['…']).chain(text.chars().skip(length - end)).collect()
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

    #[test]
    fn a_long_reference_gives_way_on_a_terminal_and_nothing_else_does() {
        let digest = "0123456789abcdef".repeat(4);
        let long = format!("oci://registry.example.com/team/uptime:1.2.3@sha256:{digest}");
        let rows = vec![
            vec!["host".to_owned(), "builtin:host".to_owned(), "every 10s".to_owned()],
            vec!["uptime".to_owned(), long.clone(), "every 1m".to_owned()],
        ];
        let shortened = |width| {
            let mut rows = rows.clone();
            shorten(&mut rows, 1, width);
            rows
        };
        assert_eq!(shortened(None), rows, "whoever reads a file has room");
        assert_eq!(shortened(Some(200)), rows);
        let fitted = shortened(Some(80));
        assert!(table(&fitted).lines().all(|line| line.chars().count() <= 80), "{fitted:?}");
        let cell = &fitted[1][1];
        assert!(cell.starts_with("oci://registry.example.com/team/uptime:1") && cell.contains('…'), "{cell}");
        assert!(cell.ends_with(&digest[48..]), "{cell}");
        assert_eq!((&fitted[0], &fitted[1][2]), (&rows[0], &rows[1][2]));
        assert_eq!(shortened(Some(20))[1][1].chars().count(), SHORTEST, "no shorter");
        shorten(&mut [], 1, Some(80));
    }
}
