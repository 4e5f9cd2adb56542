//! Components shipped inside the agent, and the reading of any other.

use std::{borrow::Cow, fs, io, os::unix::fs::MetadataExt as _};

use crate::config::PluginRef;

/// Name and component, as `builtin:NAME` names them. Built from `plugins/` by `plugins/build`.
pub const BUILTIN: [(&str, &[u8]); 2] = [
    ("heartbeat", include_bytes!("../../../plugins/components/heartbeat.wasm")),
    ("host", include_bytes!("../../../plugins/components/host.wasm")),
];

/// A file larger than this is no plugin.
const LARGEST_COMPONENT: u64 = 256 << 20;

/// What tells one state of a component's file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

/// The state of a component's file; `None` for what is builtin, and for a file that is not there.
pub(super) fn stamp(plugin: &PluginRef) -> Option<Stamp> {
    let PluginRef::Path(path) = plugin else { return None };
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}

/// The bytes of a component. An unknown builtin is `NotFound`, and the error names those there are.
pub fn read(plugin: &PluginRef) -> io::Result<Cow<'static, [u8]>> {
    match plugin {
        PluginRef::Builtin(name) => BUILTIN
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, bytes)| Cow::Borrowed(*bytes))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("there is no such builtin; there are {}", names()),
                )
            }),
        PluginRef::Path(path) => {
            let size = fs::metadata(path)?.len();
            if size > LARGEST_COMPONENT {
                let message = format!("{size} bytes, and a component has at most {LARGEST_COMPONENT}");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
            }
            fs::read(path).map(Cow::Owned)
        }
    }
}

fn names() -> String {
    BUILTIN.map(|(name, _)| name).join(", ")
}
