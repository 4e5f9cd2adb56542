//! What a Nagios plugin says: its state as exit code, a text, performance data.
//!
//! ```text
//! TEXT | 'label'=value[UOM];[warn];[crit];[min];[max] ...
//! LONG TEXT
//! MORE LONG TEXT | more performance data
//! more performance data
//! ```
//!
//! Source: Monitoring Plugins Development Guidelines, "Plugin Output for Nagios", "Performance data", "Threshold and
//! ranges"; Nagios Core's Plugin API for the long form.

/// More of it is left out.
const MOST_DATA: usize = 1000;
/// The text of a log record, bytes.
const LONGEST_TEXT: usize = 8 << 10;

/// The state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl State {
    /// Of an exit code; `None` for one that is out of bounds.
    pub(super) fn of_code(code: i32) -> Option<Self> {
        [Self::Ok, Self::Warning, Self::Critical, Self::Unknown]
            .into_iter()
            .find(|state| *state as i32 == code)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

/// What a plugin printed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The first line, and the long text below it, without performance data.
    pub(super) text: String,
    pub(super) data: Vec<Datum>,
    /// Pieces that are no performance data, and what is beyond a thousand.
    pub(super) unread: usize,
}

/// One piece of performance data.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Datum {
    pub(super) label: String,
    /// `None`: `U`, it could not be determined.
    pub(super) value: Option<f64>,
    /// As it is written: `ms`, `%`, `B`, `c`.
    pub(super) unit: String,
    pub(super) warning: Option<Range>,
    pub(super) critical: Option<Range>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
}

/// `10`, `10:`, `~:10`, `10:20`, `@10:20`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    /// `None`: no bound.
    pub(super) lower: Option<f64>,
    /// `None`: no bound.
    pub(super) upper: Option<f64>,
    /// It alerts within, not outside.
    pub(super) inside: bool,
}

/// Reads the whole of it. Nothing is refused: what can't be read is counted.
pub(super) fn read(output: &str) -> Said {
    let mut said = Said::default();
    let mut lines = output.lines();
    let (text, first) = split(lines.next().unwrap_or_default());
    said.text.push_str(text.trim());
    read_data(first, &mut said);
    let mut in_data = false;
    for line in lines {
        if in_data {
            read_data(line, &mut said);
            continue;
        }
        let (text, rest) = split(line);
        if said.text.len() + text.len() < LONGEST_TEXT {
            said.text.push('\n');
            said.text.push_str(text.trim_end());
        }
        in_data = line.contains('|');
        read_data(rest, &mut said);
    }
    said.text.truncate(said.text.trim_end().len());
    said.text.truncate(said.text.floor_char_boundary(LONGEST_TEXT));
    said
}

fn split(line: &str) -> (&str, &str) {
    line.split_once('|').unwrap_or((line, ""))
}

fn read_data(text: &str, said: &mut Said) {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (piece, after) = piece(rest);
        rest = after.trim_start();
        match datum(piece) {
            Some(datum) if said.data.len() < MOST_DATA => said.data.push(datum),
            _ => said.unread += 1,
        }
    }
}

/// Up to the next blank outside quotes.
fn piece(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '\'';
        c.is_whitespace() && !quoted
    });
    text.split_at(end.unwrap_or(text.len()))
}

fn datum(piece: &str) -> Option<Datum> {
    let (label, values) = match piece.strip_prefix('\'') {
        // A quote within is written twice.
        Some(quoted) => {
            let end = quoted.rfind("'=")?;
            (quoted[..end].replace("''", "'"), &quoted[end + 2..])
        }
        None => {
            let (label, values) = piece.split_once('=')?;
            (label.to_owned(), values)
        }
    };
    if label.is_empty() {
        return None;
    }
    let mut fields = values.split(';');
    let value = fields.next()?;
    let end = value.find(|c: char| !(c.is_ascii_digit() || "+-.,".contains(c))).unwrap_or(value.len());
    let (digits, unit) = exponent(value, end);
    let value = match value {
        "U" => None,
        _ => Some(number(digits)?),
    };
    let unit = if value.is_none() { "" } else { unit };
    let mut range = || fields.next().and_then(range);
    let (warning, critical) = (range(), range());
    let mut limit = || fields.next().and_then(number);
    let (minimum, maximum) = (limit(), limit());
    Some(Datum { label, value, unit: unit.to_owned(), warning, critical, minimum, maximum })
}

/// Number and unit; an exponent belongs to the number: `1e3s`.
fn exponent(value: &str, end: usize) -> (&str, &str) {
    let rest = value[end..].strip_prefix(['e', 'E']);
    let digits = rest.map_or(0, |rest| {
        let sign = usize::from(rest.starts_with(['+', '-']));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 { 1 + sign + digits } else { 0 }
    });
    value.split_at(end + digits)
}

/// Plugins write the comma of their locale, too.
fn number(text: &str) -> Option<f64> {
    text.replace(',', ".").parse().ok().filter(|number: &f64| number.is_finite())
}

fn range(text: &str) -> Option<Range> {
    let (text, inside) = text.strip_prefix('@').map_or((text, false), |text| (text, true));
    if text.is_empty() {
        return None;
    }
    let (lower, upper) = text.split_once(':').unwrap_or(("0", text));
    let lower = match lower {
        "~" => None,
        "" => Some(0.0),
        lower => Some(number(lower)?),
    };
    let upper = match upper {
        "" => None,
        upper => Some(number(upper)?),
    };
    Some(Range { lower, upper, inside })
}

/// The unit in UCUM, and whether it is a counter.
pub(super) fn unit(uom: &str) -> (&str, bool) {
    match uom {
        "c" => ("", true),
        "B" => ("By", false),
        "KB" | "kB" => ("KBy", false),
        "MB" => ("MBy", false),
        "GB" => ("GBy", false),
        "TB" => ("TBy", false),
        "PB" => ("PBy", false),
        "KiB" => ("KiBy", false),
        "MiB" => ("MiBy", false),
        "GiB" => ("GiBy", false),
        "TiB" => ("TiBy", false),
        "b" => ("bit", false),
        "C" => ("Cel", false),
        "F" => ("[degF]", false),
        "µs" => ("us", false),
        other => (other, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Datum {
        let said = read(&format!("OK | {text}"));
        assert_eq!((said.data.len(), said.unread), (1, 0), "{text}: {said:?}");
        said.data.into_iter().next().unwrap()
    }

    fn above(upper: f64) -> Option<Range> {
        Some(Range { lower: Some(0.0), upper: Some(upper), inside: false })
    }

    #[test]
    fn the_guidelines_examples_are_read() {
        let said = read("DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968");
        assert_eq!(said.text, "DISK OK - free space: / 3326 MB (56%);");
        let expected = Datum {
            label: "/".into(),
            value: Some(2643.0),
            unit: "MB".into(),
            warning: above(5948.0),
            critical: above(5958.0),
            minimum: Some(0.0),
            maximum: Some(5968.0),
        };
        assert_eq!(said.data, [expected]);
        let long = "DISK OK - free space | /=2643MB\n/ 15272 MB (77%);\n/boot 68 MB | /boot=68MB;88\n/home=69357MB;253404\n";
        let said = read(long);
        assert_eq!(said.text, "DISK OK - free space\n/ 15272 MB (77%);\n/boot 68 MB");
        assert_eq!(said.data.iter().map(|d| d.label.as_str()).collect::<Vec<_>>(), ["/", "/boot", "/home"]);
    }

    #[test]
    fn labels_may_be_quoted() {
        assert_eq!(one("'C:\\ used'=5%").label, "C:\\ used");
        assert_eq!(one("'it''s a=b'=1c").label, "it's a=b");
        assert_eq!(read("OK|'a b'=1 'c d'=2").data.len(), 2);
    }

    #[test]
    fn values_have_units_exponents_commas_and_may_be_unknown() {
        let value = |text: &str| {
            let datum = one(&format!("a={text}"));
            (datum.value, datum.unit)
        };
        assert_eq!(value("0.5s"), (Some(0.5), "s".into()));
        assert_eq!(value("-1,5ms"), (Some(-1.5), "ms".into()));
        assert_eq!(value("1e3"), (Some(1000.0), String::new()));
        assert_eq!(value("1e-3s"), (Some(0.001), "s".into()));
        assert_eq!(value("3euro"), (Some(3.0), "euro".into()));
        assert_eq!(value("U"), (None, String::new()));
        assert_eq!(one("a=1;;;;").maximum, None);
    }

    #[test]
    fn ranges_have_five_forms() {
        let range = |text: &str| one(&format!("a=1;{text}")).warning.unwrap();
        assert_eq!(range("10"), Range { lower: Some(0.0), upper: Some(10.0), inside: false });
        assert_eq!(range("10:"), Range { lower: Some(10.0), upper: None, inside: false });
        assert_eq!(range("~:10"), Range { lower: None, upper: Some(10.0), inside: false });
        assert_eq!(range("10:20"), Range { lower: Some(10.0), upper: Some(20.0), inside: false });
        assert_eq!(range("@10:20"), Range { lower: Some(10.0), upper: Some(20.0), inside: true });
        assert_eq!(one("a=1;x:y").warning, None);
    }

    #[test]
    fn what_is_no_performance_data_is_counted() {
        for text in ["nonsense", "=1", "a=", "a=x", "'a=1", "''=1", "a=NaN", "a=inf"] {
            let said = read(&format!("OK | {text}"));
            assert_eq!((said.data.len(), said.unread), (0, 1), "{text}");
        }
        let many = "OK |".to_owned() + &" a=1".repeat(MOST_DATA + 5);
        assert_eq!(read(&many).unread, 5);
        assert_eq!(read(""), Said::default());
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let said = read(&"\u{e9}".repeat(LONGEST_TEXT));
        assert!(said.text.len() <= LONGEST_TEXT && said.text.len() > LONGEST_TEXT - 4);
    }

    #[test]
    fn states_are_exit_codes() {
        assert_eq!(State::of_code(2), Some(State::Critical));
        assert_eq!(State::of_code(4), None);
        assert_eq!(State::of_code(-1), None);
    }
}
