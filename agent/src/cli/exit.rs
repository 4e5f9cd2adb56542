//! How a command ends, told apart so that a supervisor can act on it.

use std::process::ExitCode;

use crate::config::Problems;

/// The exit codes. Scripts and unit files rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: what was asked for is done.
    Done,
    /// 1: it failed; the message says why. Trying again may help.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: data is lost or damaged (`wal verify`, `wal dump`, `wal repair`).
    Damaged,
    /// 4: the data directory is held by another process, or is under another key.
    Locked,
    /// 78: the configuration is wrong (`EX_CONFIG` of sysexits.h). Starting again does not help.
    Configuration,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Damaged => 3,
            Self::Locked => 4,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What a command comes to: an exit of its own, or a failure with a message.
pub type Outcome = Result<Exit, Failure>;

/// Why a command failed. Any error becomes one by `?`: problems of the configuration exit with 78, a closed pipe
/// ends quietly with 0, everything else exits with 1 and is shown with its causes.
#[derive(Debug)]
pub struct Failure {
    /// How to end.
    pub exit: Exit,
    /// What to say; `None`: nothing.
    pub error: Option<anyhow::Error>,
}

impl Failure {
    /// A failure that ends with an exit of its own.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: Some(error.into()) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        if error.is::<Problems>() {
            return Self::new(Exit::Configuration, error);
        }
        let pipe = error.downcast_ref::<std::io::Error>();
        if pipe.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return Self { exit: Exit::Done, error: None };
        }
        Self::new(Exit::Failed, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_end_as_the_documentation_says() {
        let pipe = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((pipe.exit, pipe.error.is_none()), (Exit::Done, true));
        let other = Failure::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!((other.exit.code(), other.error.is_some()), (1, true));
        assert_eq!(Failure::from(Problems::default()).exit.code(), 78);
        assert_eq!(Failure::from(anyhow::Error::from(Problems::default())).exit.code(), 78);
    }
}
