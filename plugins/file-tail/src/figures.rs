//! The collector's figures of itself.

use whimbrel_sdk::{Attributes, Emit, Error, Metric};

const FOLLOWED: Metric<'_> =
    Metric::gauge("whimbrel.file_tail.files", "{file}", "Files that are followed or read to their end.");
const OPEN: Metric<'_> =
    Metric::gauge("whimbrel.file_tail.files.open", "{file}", "Files that are held open.");
const IGNORED: Metric<'_> = Metric::gauge(
    "whimbrel.file_tail.files.ignored",
    "{file}",
    "Files that patterns find beyond max_files, which are not read.",
);
const LAG: Metric<'_> =
    Metric::gauge("whimbrel.file_tail.lag", "By", "Bytes in followed files that are not read yet.");

/// Counted since the instance started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Records emitted.
    pub(crate) records: u64,
    /// Bytes of files that were made into records or passed over.
    pub(crate) bytes: u64,
    /// Files that were renamed away or removed.
    pub(crate) rotated: u64,
    /// Files whose content was replaced in place.
    pub(crate) truncated: u64,
    /// Files whose unread rest, if there was one, could not be found.
    pub(crate) lost: u64,
    /// Lines longer than `max_line`.
    pub(crate) too_long: u64,
    /// Records with bytes that are no UTF-8.
    pub(crate) not_utf8: u64,
    /// Records that could not be parsed.
    pub(crate) unparsed: u64,
    /// Files that could not be read.
    pub(crate) errors: u64,
}

/// What is so now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) followed: u64,
    pub(crate) open: u64,
    pub(crate) ignored: u64,
    pub(crate) lag: u64,
}

impl Counts {
    fn told(&self) -> [(Metric<'static>, u64); 9] {
        let counter = Metric::counter;
        [
            (counter("whimbrel.file_tail.records", "{record}", "Records emitted."), self.records),
            (counter("whimbrel.file_tail.io", "By", "Bytes read on in files."), self.bytes),
            (
                counter("whimbrel.file_tail.rotated", "{file}", "Files that were renamed away or removed."),
                self.rotated,
            ),
            (
                counter(
                    "whimbrel.file_tail.truncated",
                    "{file}",
                    "Files whose content was replaced in place.",
                ),
                self.truncated,
            ),
            (
                counter(
                    "whimbrel.file_tail.lost",
                    "{file}",
                    "Files that were gone before they were known to be read to their end.",
                ),
                self.lost,
            ),
            (
                counter("whimbrel.file_tail.lines.too_long", "{line}", "Lines longer than max_line."),
                self.too_long,
            ),
            (
                counter(
                    "whimbrel.file_tail.records.not_utf8",
                    "{record}",
                    "Records in which bytes that are no UTF-8 were replaced.",
                ),
                self.not_utf8,
            ),
            (
                counter(
                    "whimbrel.file_tail.records.unparsed",
                    "{record}",
                    "Records that could not be parsed.",
                ),
                self.unparsed,
            ),
            (counter("whimbrel.file_tail.errors", "{error}", "Files that could not be read."), self.errors),
        ]
    }
}

pub(crate) fn emit(counts: &Counts, levels: &Levels, since_ns: u64, out: &mut Emit) -> Result<(), Error> {
    let none = Attributes::new();
    for (metric, value) in counts.told() {
        out.metric(&metric).since(since_ns).point(&none, value)?;
    }
    let gauges =
        [(FOLLOWED, levels.followed), (OPEN, levels.open), (IGNORED, levels.ignored), (LAG, levels.lag)];
    for (metric, value) in gauges {
        out.metric(&metric).point(&none, value)?;
    }
    Ok(())
}
