//! What can be wrong with a text.

use thiserror::Error;

use crate::format::Format;

/// A text that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// More bytes than [`Limits::line`](crate::Limits::line).
    #[error("longer than {0} bytes")]
    LongLine(usize),
    /// More labels than [`Limits::labels`](crate::Limits::labels).
    #[error("more than {0} labels")]
    ManyLabels(usize),
    /// More samples than [`Limits::samples`](crate::Limits::samples).
    #[error("more than {0} samples")]
    ManySamples(usize),
    /// Something else stands where this is expected.
    #[error("expected {expected} at column {column}, found {found}")]
    Expected {
        /// What should stand there.
        expected: &'static str,
        /// Where, in bytes from 1.
        column: usize,
        /// What stands there, cut.
        found: String,
    },
    /// An escape that the format does not have.
    #[error("unknown escape {0:?}: there are \\\\, \\\" and \\n")]
    Escape(String),
    /// Not a number.
    #[error("{0:?} is not a number")]
    Number(String),
    /// Not a time.
    #[error("{text:?} is not a timestamp{}", if *.format == Format::Text { " (milliseconds)" } else { " (seconds)" })]
    Timestamp {
        /// What stands there.
        text: String,
        /// Of which format.
        format: Format,
    },
    /// Not a type.
    #[error("there is no type {0:?}")]
    Type(String),
    /// A label stands twice.
    #[error("label {0:?} stands twice")]
    LabelTwice(String),
    /// OpenMetrics: metadata stands twice.
    #[error("a second {what} for {family:?}")]
    MetadataTwice {
        /// TYPE, HELP or UNIT.
        what: &'static str,
        /// Of this family.
        family: String,
    },
    /// OpenMetrics: a unit that the name does not end with.
    #[error("unit {unit:?}, but the name {family:?} does not end with it")]
    Unit {
        /// What UNIT says.
        unit: String,
        /// Of this family.
        family: String,
    },
    /// OpenMetrics: samples of a family that are not next to each other.
    #[error("family {0:?} again, after another one")]
    Interleaved(String),
    /// OpenMetrics: labels of an exemplar.
    #[error("the labels of an exemplar have {0} characters; 128 are allowed")]
    LongExemplar(usize),
    /// OpenMetrics: an exemplar where none is allowed.
    #[error("an exemplar of {0:?}: only buckets and counters have them")]
    Exemplar(String),
    /// OpenMetrics: an empty line.
    #[error("an empty line")]
    EmptyLine,
    /// OpenMetrics: no `# EOF`; what is missing can't be known.
    #[error("the end `# EOF` is missing: the text is cut off")]
    NoEof,
    /// OpenMetrics: something after `# EOF`.
    #[error("text after `# EOF`")]
    AfterEof,
}
