//! Components shipped inside the agent, and the reading of any other.

use std::{borrow::Cow, fs, io};

use crate::config::PluginRef;

/// Name and component, as `builtin:NAME` names them. Built from `plugins/` by `plugins/build`.
pub const BUILTIN: [(&str, &[u8]); 2] = [
    ("heartbeat", include_bytes!("../../../plugins/components/heartbeat.wasm")),
    ("host", include_bytes!("../../../plugins/components/host.wasm")),
];

/// A file larger than this is no plugin.
const LARGEST_COMPONENT: u64 = 256 << 20;

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
