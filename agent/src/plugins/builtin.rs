//! Components shipped inside the agent, and the reading of files.

use std::{borrow::Cow, fs, io, os::unix::fs::MetadataExt as _};

use crate::config::{PluginRef, signature_file};

/// Name and component, as `builtin:NAME` names them. Built from `plugins/` by `plugins/build`.
pub const BUILTIN: [(&str, &[u8]); 5] = [
    ("file-tail", include_bytes!("../../../plugins/components/file-tail.wasm")),
    ("heartbeat", include_bytes!("../../../plugins/components/heartbeat.wasm")),
    ("host", include_bytes!("../../../plugins/components/host.wasm")),
    ("http-check", include_bytes!("../../../plugins/components/http-check.wasm")),
    ("prometheus-scrape", include_bytes!("../../../plugins/components/prometheus-scrape.wasm")),
];

/// A file larger than this is no plugin.
const LARGEST_COMPONENT: u64 = 256 << 20;

/// A file of signatures larger than this is none.
const LARGEST_SIGNATURES: u64 = 1 << 20;

/// What tells one state of a component's file, and of the signatures beside it, from another; of a program's, too, which
/// has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    file: State,
    signatures: Option<State>,
    /// Whose a program is and who may execute it: user, group, mode.
    rights: Option<(u32, u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

/// The state of a component's or a program's file; `None` for what is builtin, and for a file that is not there.
pub fn stamp(plugin: &PluginRef) -> Option<Stamp> {
    match plugin {
        PluginRef::Path(path) => {
            let signatures = fs::metadata(signature_file(path)).ok();
            Some(Stamp {
                file: state(&fs::metadata(path).ok()?),
                signatures: signatures.as_ref().map(state),
                rights: None,
            })
        }
        PluginRef::Exec(exec) => {
            let found = fs::metadata(&exec.program).ok()?;
            let rights = Some((found.uid(), found.gid(), found.mode()));
            Some(Stamp { file: state(&found), signatures: None, rights })
        }
        PluginRef::Builtin(_) | PluginRef::Registry(_) => None,
    }
}

fn state(found: &fs::Metadata) -> State {
    State {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
    }
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
        PluginRef::Registry(_) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "it is in a registry, and no file"))
        }
        PluginRef::Exec(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a program, and no component: it runs outside the sandbox",
        )),
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

/// The text of the file `.sig` beside a component's, if there is one.
///
/// # Errors
/// It is there, and can't be read, or is too large to be one.
pub fn signatures(plugin: &PluginRef) -> io::Result<Option<String>> {
    let PluginRef::Path(path) = plugin else { return Ok(None) };
    let path = signature_file(path);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(error)),
        Ok(meta) if meta.len() > LARGEST_SIGNATURES => Err(named(io::ErrorKind::FileTooLarge.into())),
        Ok(_) => fs::read_to_string(&path).map(Some).map_err(named),
    }
}

fn names() -> String {
    BUILTIN.map(|(name, _)| name).join(", ")
}
