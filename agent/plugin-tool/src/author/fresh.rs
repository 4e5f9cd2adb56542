//! Whether the component of the last build is still what a build would make.
//!
//! Asked only for Python, whose tool begins anew each time, takes ten seconds, and reads no source but those of a few
//! folders. cargo, go and zig know better what has changed, and are quick when nothing has; a module in JavaScript may be
//! anywhere, and is quick anyway. A build leaves a record beside the component: one hash over everything that it was made
//! of (the files that the tool reads, by content and time of change; the tool, its version, and this program; the
//! variables that steer them), and the component's own. Whatever can't be known for certain is no reason to trust the
//! component: a folder behind a link, a file that changed while it was built, a record of another kind.

use std::{
    env, fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use whimbrel_plugin_host::text::hex;

use super::{
    language::Language,
    project::{MANIFEST, Project},
    recipe,
};

/// More than this is not read to find out whether anything has changed. Bytes.
const MOST: u64 = 512 << 20;
/// Variables that steer interpreters and tools, by what their names begin with.
const STEERING: [&str; 4] = ["PATH", "PYTHON", "VIRTUAL_ENV", "WHIMBREL_COMPONENTIZE_PY"];

/// What a build of a folder is made of, in one hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    inputs: String,
    component: String,
}

/// One hash over all that a build reads; `None`: that can't be known, or is the language's own business.
pub(super) fn inputs(project: &Project) -> Option<String> {
    // What is below `build` is written from what is looked at here.
    let folders = match project.language {
        Language::Python => ["src", "vendor"],
        Language::Rust | Language::C | Language::Go | Language::Js => return None,
    };
    let mut all = Inputs { hash: Sha256::new(), left: MOST };
    all.say("program", &identity(&env::current_exe().ok()?).ok()?);
    let needed = recipe::needed(project.language);
    let tool = needed.find(&project.root).ok()?;
    let (program, first) = tool.parts();
    all.say("tool", &identity(program).ok()?);
    first.iter().for_each(|word| all.say("its first argument", word.as_bytes()));
    // What is called may be a small script, and stay the same when the rest of its package does not.
    all.say("its version", tool.version(needed.version.told_by, &project.root)?.as_bytes());
    let mut variables: Vec<_> = env::vars_os()
        .filter(|(name, _)| STEERING.iter().any(|start| name.as_bytes().starts_with(start.as_bytes())))
        .collect();
    variables.sort();
    for (name, value) in variables {
        all.say("variable", name.as_bytes());
        all.say("value", value.as_bytes());
    }
    for file in [Some(project.root.join(MANIFEST)), project.config_schema.clone()].into_iter().flatten() {
        all.file(&file).ok()?;
    }
    for folder in folders.map(|name| project.root.join(name)) {
        if folder.symlink_metadata().is_ok() {
            all.folder(&folder).ok()?;
        }
    }
    Some(hex(&all.hash.finalize()))
}

/// Whether this component is what the last build made, of just these inputs.
pub(super) fn is_fresh(project: &Project, inputs: &str, component: &[u8]) -> bool {
    let record = fs::read(record(project)).ok();
    let made: Option<Made> = record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    made.is_some_and(|made| made == Made { inputs: inputs.to_owned(), component: sha256(component) })
}

/// Writes down what this component was made of; nothing, where that is not known or changed meanwhile.
pub(super) fn remember(project: &Project, inputs_before: Option<&str>, component: &[u8]) -> io::Result<()> {
    let record = record(project);
    match inputs_before.filter(|before| inputs(project).as_deref() == Some(before)) {
        Some(inputs) => {
            let made = Made { inputs: inputs.to_owned(), component: sha256(component) };
            fs::write(record, serde_json::to_vec(&made)?)
        }
        None => match fs::remove_file(record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

fn record(project: &Project) -> PathBuf {
    project.build_folder().join(format!(".{}.made", project.name))
}

struct Inputs {
    hash: Sha256,
    /// Bytes that may still be read.
    left: u64,
}

impl Inputs {
    /// Lengths first: no two lists of things make the same bytes.
    fn say(&mut self, what: &str, bytes: &[u8]) {
        for part in [what.as_bytes(), bytes] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    /// A file, or the one behind a link.
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let found = fs::metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::other("neither a file nor a folder"));
        }
        self.left = self.left.checked_sub(found.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.say("file", path.as_os_str().as_bytes());
        self.say("changed", &when(&found));
        self.say("content", &fs::read(path)?);
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        if fs::symlink_metadata(folder)?.is_symlink() {
            return Err(io::Error::other("a folder behind a link"));
        }
        let mut paths = fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            // What the interpreter of the author's own tests leaves; without its source none of it is read.
            if path.file_name().is_some_and(|name| name == "__pycache__") {
                continue;
            }
            if path.symlink_metadata()?.is_dir() {
                self.say("folder", path.as_os_str().as_bytes());
                self.folder(&path)?;
            } else {
                self.file(&path)?;
            }
        }
        Ok(())
    }
}

/// What tells a program from the one that is put in its place.
fn identity(program: &Path) -> io::Result<Vec<u8>> {
    let program = fs::canonicalize(program)?;
    let found = fs::metadata(&program)?;
    let mut bytes = program.as_os_str().as_bytes().to_vec();
    for number in [found.dev(), found.ino(), found.size()] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(when(&found));
    Ok(bytes)
}

fn when(found: &fs::Metadata) -> Vec<u8> {
    [found.mtime(), found.mtime_nsec()].into_iter().flat_map(i64::to_le_bytes).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const COMPONENT: &[u8] = b"a component";

    /// A plugin's folder with a tool that says its version, built.
    struct Built {
        folder: tempfile::TempDir,
        other: tempfile::TempDir,
    }

    impl Built {
        fn new() -> Built {
            let built = Built { folder: tempfile::tempdir().unwrap(), other: tempfile::tempdir().unwrap() };
            built.write("plugin.yaml", "name: x\nlanguage: python\n");
            built.write("src/plugin.py", "one = 1\n");
            built.write("src/part/more.py", "two = 2\n");
            built.write("config.schema.json", "{}");
            built.tool("0.25.1");
            fs::create_dir(built.folder.path().join("build")).unwrap();
            built.build();
            assert!(built.is_fresh());
            built
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn tool(&self, version: &str) {
            // Behind a link, as installers do: the file that is called stays.
            let tool = self.other.path().join("version");
            fs::write(&tool, format!("componentize-py {version}")).unwrap();
            let name = ".venv/bin/componentize-py";
            if !self.folder.path().join(name).exists() {
                self.write(name, &format!("#!/bin/sh\ncat '{}'\n", tool.display()));
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(self.folder.path().join(name), mode).unwrap();
            }
        }

        fn project(&self) -> Project {
            Project::open(self.folder.path()).unwrap()
        }

        fn build(&self) {
            let project = self.project();
            remember(&project, inputs(&project).as_deref(), COMPONENT).unwrap();
        }

        fn is_fresh(&self) -> bool {
            let project = self.project();
            inputs(&project).is_some_and(|inputs| is_fresh(&project, &inputs, COMPONENT))
        }
    }

    #[test]
    fn whatever_a_build_reads_and_what_it_made_make_it_stale() {
        type Change = fn(&Built);
        let changes: [(&str, Change); 9] = [
            ("a source", |it| it.write("src/plugin.py", "one = 2\n")),
            ("one in a folder", |it| it.write("src/part/more.py", "two = 3\n")),
            ("a new one", |it| it.write("src/new.py", "")),
            ("one that is gone", |it| fs::remove_file(it.folder.path().join("src/part/more.py")).unwrap()),
            ("another name", |it| {
                let at = |name: &str| it.folder.path().join(name);
                fs::rename(at("src/part/more.py"), at("src/part/less.py")).unwrap();
            }),
            ("what is installed beside it", |it| it.write("vendor/library/__init__.py", "")),
            ("who it is", |it| it.write("plugin.yaml", "name: x\nlanguage: python\nversion: 2.0.0\n")),
            ("its schema", |it| it.write("config.schema.json", "{ }")),
            ("its tool's version", |it| it.tool("0.26.0")),
        ];
        for (what, change) in changes {
            let built = Built::new();
            change(&built);
            assert!(!built.is_fresh(), "{what}");
            built.build();
            assert!(built.is_fresh(), "{what}, built");
        }
        let built = Built::new();
        let project = built.project();
        let inputs = inputs(&project).unwrap();
        assert!(!is_fresh(&project, &inputs, b"another component"));
        fs::write(record(&project), "{}").unwrap();
        assert!(!built.is_fresh(), "a record of another kind");
    }

    #[test]
    fn what_no_build_reads_leaves_it_as_it_is() {
        let built = Built::new();
        for name in ["tests/default.yaml", "README.md", "src/__pycache__/plugin.pyc", "build/generated/x.py"]
        {
            built.write(name, "anything");
        }
        assert!(built.is_fresh());
    }

    #[test]
    fn what_is_not_certain_is_built() {
        let built = Built::new();
        symlink(built.other.path(), built.folder.path().join("src/shared")).unwrap();
        assert_eq!(inputs(&built.project()), None, "a folder behind a link may hold one that never ends");
        built.build();
        assert!(!built.is_fresh());

        let built = Built::new();
        let project = built.project();
        let before = inputs(&project);
        built.write("src/plugin.py", "changed = \"while it was built\"\n");
        remember(&project, before.as_deref(), COMPONENT).unwrap();
        assert!(!built.is_fresh());

        built.write("plugin.yaml", "name: x\nlanguage: go\n");
        assert_eq!(inputs(&built.project()), None, "go knows better");
    }
}
