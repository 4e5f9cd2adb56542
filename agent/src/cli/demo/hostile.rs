//! The plugin that misbehaves on purpose, as the demo loads it: into a file, like anybody's plugin.
//!
//! It is not among the `builtin:` collectors, so that no configuration runs it by a slip.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The component, built from `plugins/hostile` by `plugins/build`.
pub(super) const COMPONENT: &[u8] = include_bytes!("../../../../plugins/components/hostile.wasm");

/// Its entry under `collectors:`, where the component lies beside the configuration. Without grants.
pub(super) const COLLECTOR: &str = "hostile: {plugin: ./hostile.wasm, interval: 1s}";

/// Writes the component into a folder, as `hostile.wasm`, whole or not at all.
///
/// # Errors
/// When the folder cannot be written to.
pub(super) fn write(folder: &Path) -> io::Result<PathBuf> {
    let (unready, file) = (folder.join("hostile.wasm.new"), folder.join("hostile.wasm"));
    fs::write(&unready, COMPONENT)?;
    fs::rename(&unready, &file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FixedEnvironment, Sources, load};

    #[test]
    fn its_entry_is_one_that_a_configuration_takes() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path()).unwrap();
        assert!(fs::read(&file).unwrap().starts_with(b"\0asm"));
        let yaml = folder.path().join("whimbrel.yaml");
        fs::write(&yaml, format!("collectors:\n  {COLLECTOR}\n")).unwrap();
        let sources = Sources::from_arguments([yaml.to_str().unwrap()]);
        let loaded = load(&sources, &FixedEnvironment::new(folder.path())).unwrap();
        let collector = &loaded.config.collectors[0];
        assert_eq!(
            (collector.name.as_str(), collector.plugin.to_string()),
            ("hostile", file.display().to_string())
        );
        assert!(loaded.check_files().is_empty());
    }
}
