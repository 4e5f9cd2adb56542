//! What stands in for the outside where a plugin is tested: a folder for the root of the files, and somebody who answers
//! requests. Grants are checked as always; nothing of the real outside is reached.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Component, Path, PathBuf},
    pin::Pin,
};

use tokio::io::DuplexStream;

use super::outside::Resolve;
use crate::address::Origin;

/// Answers requests in the place of servers.
pub trait Answers: Send + Sync {
    /// A connection to the origin, on which HTTP/1.1 is answered; without TLS, whatever the scheme.
    fn connect(&self, origin: &Origin) -> DuplexStream;
}

/// The outside of a test.
pub struct Stage {
    /// Granted folders are looked for below this one.
    pub files: PathBuf,
    /// Granted requests go here.
    pub answers: Box<dyn Answers>,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Stage {
    /// Where a granted folder lies.
    pub(super) fn place(&self, folder: &Path) -> PathBuf {
        // No `..` leads out; the rest of an absolute path is below the root.
        let names = folder.components().filter(|part| matches!(part, Component::Normal(_)));
        names.fold(self.files.clone(), |path, name| path.join(name))
    }

    /// What the plugin knows a real path as; what is not below the stage stays as it is.
    pub(super) fn named(&self, real: &Path) -> PathBuf {
        // Links are followed in what is told of.
        let root = fs::canonicalize(&self.files).unwrap_or_else(|_| self.files.clone());
        real.strip_prefix(root).map_or_else(|_| real.to_owned(), |inside| Path::new("/").join(inside))
    }
}

/// Knows no name.
pub(super) struct NoNames;

impl Resolve for NoNames {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Answers for Nobody {
        fn connect(&self, _: &Origin) -> DuplexStream {
            tokio::io::duplex(1).0
        }
    }

    #[test]
    fn granted_folders_lie_below_the_stage() {
        let stage = Stage { files: "/tests/files".into(), answers: Box::new(Nobody) };
        assert_eq!(stage.place(Path::new("/proc/net")), Path::new("/tests/files/proc/net"));
        assert_eq!(stage.place(Path::new("/../../etc/./x")), Path::new("/tests/files/etc/x"));
        assert_eq!(stage.named(Path::new("/tests/files/etc/x")), Path::new("/etc/x"));
        assert_eq!(stage.named(Path::new("/tests/other")), Path::new("/tests/other"));
    }
}
