//! What a load guarantees, from the outside: texts in, types or problems out.

mod bad;
mod complete;
mod exec;
mod gathering;
mod hostile;
mod plugins;
mod receivers;
mod secrets;
mod variables;

use std::{fs, path::Path};

use super::{FixedEnvironment, Given, Loaded, Problems, Sources, load};

/// A folder with files in it, which is also the current one.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder whose `whimbrel.yaml` is this.
    fn with(text: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.write("whimbrel.yaml", text);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn environment(&self) -> FixedEnvironment {
        FixedEnvironment::new(self.path())
    }

    /// Loads what `-c` names; nothing: what is found.
    fn load_from(&self, arguments: &[&str], environment: &FixedEnvironment) -> Result<Loaded, Problems> {
        let search = vec!["whimbrel.yaml".into()];
        let given = arguments.iter().map(|argument| Given::from_argument(argument)).collect();
        load(&Sources { given, search }, environment)
    }

    fn load(&self) -> Result<Loaded, Problems> {
        self.load_from(&[], &self.environment())
    }

    fn problems(&self) -> Vec<String> {
        lines(&self.load().expect_err("the configuration should be refused"))
    }
}

/// Each problem in one line: `file:line:column: key: what => remedy`.
fn lines(problems: &Problems) -> Vec<String> {
    let line = |problem: &super::Problem| {
        let also = problem.also.as_ref().map(|also| format!(" (also {also})")).unwrap_or_default();
        let super::Problem { location, key, what, remedy, .. } = problem;
        format!("{location}: {key}: {what}{also} => {remedy}")
    };
    problems.iter().map(line).collect()
}

/// A configuration that is right, to put something wrong or special into.
const MINIMAL: &str = "\
collectors: {host: {plugin: 'builtin:host', grants: {system: true}}}
exporters: {backend: {endpoint: 'http://127.0.0.1:4318'}}
";
