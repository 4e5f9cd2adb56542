//! Finds the texts of a configuration and joins them: what `-c` names, or what is found, or what is built in, and
//! whatever they `include`.
//!
//! There is one rule for all of them: sections are joined, and a key within a section is given once. The same key
//! twice, or the same collector in two files, is a problem that names both places; nothing is overridden by order.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

use super::{
    check::Checker,
    environment::Environment,
    interpolate::{ReadError, absolute, describe, read_bounded, read_variable},
    problem::{Problem, Problems, join, quote},
    text::{Position, TextId, Texts},
    tree::{Entry, Node, Value},
    yaml,
};

/// What is used where there is no configuration at all.
const BUILT_IN: &str = "collectors:\n  host:\n    plugin: builtin:host\n    grants:\n      system: true\n";

/// Most files of one configuration.
const MAX_FILES: usize = 1000;

/// Where a configuration is looked for.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What `-c` named, in order; all of it is read.
    pub given: Vec<Given>,
    /// Where nothing is given and `$WHIMBREL_CONFIG` is not set: the first of these files that exists.
    pub search: Vec<PathBuf>,
}

/// What one `-c` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A file, or a folder of which every `*.yaml` and `*.yml` is read, in the order of their names.
    Path(PathBuf),
    /// The environment variable that holds the text.
    Variable(String),
}

impl Default for Sources {
    /// Nothing given; `./whimbrel.yaml`, then `/etc/whimbrel/whimbrel.yaml`.
    fn default() -> Self {
        let search = vec![PathBuf::from("whimbrel.yaml"), PathBuf::from("/etc/whimbrel/whimbrel.yaml")];
        Self { given: Vec::new(), search }
    }
}

impl Sources {
    /// From the values of `-c`; none of them: the places where a configuration commonly is.
    pub fn from_arguments<A: AsRef<str>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let given = arguments.into_iter().map(|argument| Given::from_argument(argument.as_ref())).collect();
        Self { given, ..Self::default() }
    }
}

impl Given {
    /// A path, or `env:NAME`.
    pub fn from_argument(argument: &str) -> Self {
        match argument.strip_prefix("env:") {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Path(PathBuf::from(argument)),
        }
    }
}

/// The joined tree.
pub(super) struct Gathered {
    pub(super) root: Node,
    /// The files that were read, absolute.
    pub(super) files: Vec<PathBuf>,
    /// The folders in which files were looked for, absolute.
    pub(super) folders: Vec<PathBuf>,
    /// What was read, as people named it.
    pub(super) names: Vec<String>,
    /// Whether every text could be read and parsed: if not, what is missing may stand in one that could not.
    pub(super) complete: bool,
    /// Lines worth saying.
    pub(super) notes: Vec<String>,
}

/// Reads everything; what is wrong is added to `problems`.
pub(super) fn gather(
    sources: &Sources,
    environment: &dyn Environment,
    current_dir: &Path,
    texts: &mut Texts,
    problems: &mut Problems,
) -> Gathered {
    let whole = texts.add("configuration".to_owned(), current_dir.to_owned(), String::new());
    let mut gatherer = Gatherer {
        environment,
        current_dir,
        texts,
        problems,
        read: HashMap::new(),
        gathered: Gathered {
            root: Node::empty_map(Position::whole(whole)),
            files: Vec::new(),
            folders: Vec::new(),
            names: Vec::new(),
            complete: true,
            notes: Vec::new(),
        },
    };
    gatherer.sources(sources);
    gatherer.gathered
}

struct Gatherer<'g> {
    environment: &'g dyn Environment,
    current_dir: &'g Path,
    texts: &'g mut Texts,
    problems: &'g mut Problems,
    /// Canonical paths of the files that were read, with their names.
    read: HashMap<PathBuf, String>,
    gathered: Gathered,
}

/// Who asked for a file: shown where it can't be read.
struct Asked {
    at: Position,
    remedy: &'static str,
}

impl Gatherer<'_> {
    fn sources(&mut self, sources: &Sources) {
        if !sources.given.is_empty() {
            return sources.given.iter().for_each(|given| self.given(given, "-c"));
        }
        let variable = self.environment.variable("WHIMBREL_CONFIG").filter(|value| !value.is_empty());
        if let Some(value) = variable {
            let given = match value.to_str() {
                Some(text) => Given::from_argument(text),
                None => Given::Path(PathBuf::from(value)),
            };
            return self.given(&given, "$WHIMBREL_CONFIG");
        }
        if let Some(found) = sources.search.iter().find(|path| self.current_dir.join(path).exists()) {
            return self.given(&Given::Path(found.clone()), "");
        }
        let looked: Vec<String> = sources.search.iter().map(|path| path.display().to_string()).collect();
        self.gathered.notes.push(format!(
            "no configuration found (looked for $WHIMBREL_CONFIG, {}): using the built-in one, which collects the \
             host's metrics every 10s",
            looked.join(", ")
        ));
        self.text("built-in configuration", self.current_dir.to_owned(), BUILT_IN.to_owned());
    }

    fn given(&mut self, given: &Given, by: &'static str) {
        let (name, remedy) = match (given, by) {
            (Given::Path(path), "-c") => (path.display().to_string(), "name another file or folder with -c"),
            (Given::Path(path), "") => (path.display().to_string(), "name another file with -c"),
            (Given::Path(path), _) => {
                (path.display().to_string(), "$WHIMBREL_CONFIG names it: set it to a file or folder")
            }
            (Given::Variable(name), _) => return self.variable(name),
        };
        let Given::Path(path) = given else { return };
        if path.as_os_str().is_empty() {
            // Joined with the current folder, it would be that folder: never what an unset variable was to say.
            let at = self.whole(by);
            return self.fail(at, "names nothing", remedy);
        }
        let path = self.current_dir.join(path);
        let asked = Asked { at: self.whole(&name), remedy };
        match path.is_dir() {
            true => self.folder(&path, &name, &asked),
            false => self.file(&path, &name, &asked),
        }
    }

    fn whole(&mut self, name: &str) -> Position {
        Position::whole(self.texts.add(name.to_owned(), self.current_dir.to_owned(), String::new()))
    }

    fn fail(&mut self, at: Position, what: impl Into<String>, remedy: impl Into<String>) {
        self.gathered.complete = false;
        self.problems.push(Problem::new(self.texts, at, "", what, remedy));
    }

    fn variable(&mut self, name: &str) {
        let shown = format!("${name}");
        match read_variable(name, self.environment) {
            Ok(Some(text)) => self.text(&shown, self.current_dir.to_owned(), text),
            Ok(None) => {
                let at = self.whole(&shown);
                self.fail(
                    at,
                    "the variable is not set",
                    "set it to a configuration, or name another with -c",
                );
            }
            Err(wrong) => {
                let at = self.whole(&shown);
                self.fail(at, format!("the configuration {}", wrong.what), wrong.remedy);
            }
        }
    }

    fn folder(&mut self, folder: &Path, name: &str, asked: &Asked) {
        self.gathered.folders.push(folder.components().collect());
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                return self.fail(asked.at, format!("can't be read: {}", describe(&error)), asked.remedy);
            }
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| {
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            yaml && !hidden && !path.is_dir()
        });
        paths.sort();
        if paths.is_empty() {
            self.fail(asked.at, "the folder holds no *.yaml and no *.yml", asked.remedy);
        }
        for path in paths {
            let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let shown = Path::new(name).join(file_name).display().to_string();
            self.file(&path, &shown, asked);
        }
    }

    fn file(&mut self, path: &Path, name: &str, asked: &Asked) {
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let what = match asked.at == self.named(asked.at, name) {
                    true => format!("can't be read: {error}"),
                    false => format!("the file {name} can't be read: {error}"),
                };
                let remedy = match error {
                    ReadError::Io(_) => asked.remedy,
                    ReadError::TooLong => "part it with `include`",
                };
                return self.fail(asked.at, what, remedy);
            }
        };
        let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(first) = self.read.get(&canonical) {
            let what = format!("the file {name} is read already, as {first}");
            return self.fail(asked.at, what, "name it once");
        }
        if self.read.len() >= MAX_FILES {
            return self.fail(
                asked.at,
                format!("the configuration has more than {MAX_FILES} files"),
                "join some",
            );
        }
        self.read.insert(canonical, name.to_owned());
        self.gathered.files.push(path.components().collect());
        let folder = path.parent().unwrap_or(Path::new("/")).components().collect();
        match yaml::decode(bytes) {
            Ok(text) => self.text(name, folder, text),
            Err((what, remedy)) => {
                let at = self.whole(name);
                self.fail(at, what, remedy);
            }
        }
    }

    /// `at`, where it is a whole text of this name: then the message need not say the name again.
    fn named(&self, at: Position, name: &str) -> Position {
        match at.line == 0 && self.texts.get(at.text).name == name {
            true => at,
            false => Position { line: u32::MAX, ..at },
        }
    }

    fn text(&mut self, name: &str, folder: PathBuf, text: String) {
        let id = self.texts.add(name.to_owned(), folder, text);
        self.gathered.names.push(name.to_owned());
        let before = self.problems.len();
        let root = yaml::parse(self.texts, id, self.problems);
        self.gathered.complete &= self.problems.len() == before;
        match root {
            Some(Node { value: Value::Map(entries), .. }) => {
                let mut entries = entries;
                let include = entries.iter().position(|entry| entry.key == "include");
                let include = include.map(|index| entries.remove(index));
                self.join(entries);
                if let Some(include) = include {
                    self.include(id, &include);
                }
            }
            Some(node) if !node.is_null() => {
                let what = format!("a configuration is a map, and this is {}", node.kind());
                self.problems.push(Problem::new(
                    self.texts,
                    node.at,
                    "",
                    what,
                    "write `collectors:` and the like",
                ));
            }
            _ => {}
        }
    }

    fn include(&mut self, id: TextId, include: &Entry) {
        let single = Value::List(vec![include.value.clone()]);
        let list = match &include.value.value {
            Value::Scalar(_) => Node { at: include.value.at, value: single },
            Value::List(_) | Value::Map(_) => include.value.clone(),
        };
        let mut checker = Checker::new(self.texts, self.environment);
        let place = super::check::Place::new("include", &list);
        let items = checker.list(&place, "write a list of paths: [conf.d/*.yaml]").unwrap_or_default();
        let patterns: Vec<(Position, String)> =
            items.iter().filter_map(|item| Some((item.node.at, checker.text(item)?.into_owned()))).collect();
        let found = std::mem::take(&mut checker.problems);
        self.gathered.complete &= found.is_empty();
        self.problems.extend(found);
        for (at, pattern) in patterns {
            self.pattern(id, at, &pattern);
        }
    }

    fn pattern(&mut self, id: TextId, at: Position, pattern: &str) {
        let folder = self.texts.get(id).folder.clone();
        let asked = Asked { at, remedy: "correct the path, or remove it from `include`" };
        if !pattern.contains(['*', '?', '[']) {
            let path = absolute(&folder, pattern);
            let name = self.name(id, &path);
            return match path.is_dir() {
                true => self.folder(&path, &name, &asked),
                false => self.file(&path, &name, &asked),
            };
        }
        let whole = match Path::new(pattern).is_absolute() {
            true => pattern.to_owned(),
            false => format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy())),
        };
        // As far as the pattern names one folder.
        let plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
        self.gathered.folders.push(absolute(&folder, pattern).components().take_while(plain).collect());
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
        let paths = match glob::glob_with(&whole, options) {
            Ok(paths) => paths,
            Err(error) => {
                let what = format!("{} is not a pattern: {}", quote(pattern), error.msg);
                return self.fail(at, what, "write `*` for a part of a name: conf.d/*.yaml");
            }
        };
        for path in paths.take(MAX_FILES + 1) {
            match path {
                Ok(path) if path.is_dir() || self.is_text(id, &path) => {}
                Ok(path) => {
                    let name = self.name(id, &path);
                    self.file(&path, &name, &asked);
                }
                Err(error) => {
                    let what = format!(
                        "the folder {} can't be read: {}",
                        error.path().display(),
                        describe(error.error())
                    );
                    self.fail(at, what, asked.remedy);
                }
            }
        }
    }

    /// Whether `path` is the very file that `id` is: a pattern may well match the file that it stands in.
    fn is_text(&self, id: TextId, path: &Path) -> bool {
        let name = std::fs::canonicalize(path).ok().and_then(|path| self.read.get(&path));
        name.is_some_and(|name| *name == self.texts.get(id).name)
    }

    /// An included file as people would name it: beside the one that includes it.
    fn name(&self, id: TextId, path: &Path) -> String {
        let text = self.texts.get(id);
        let beside = path.strip_prefix(&text.folder).ok().filter(|_| !text.name.starts_with('$'));
        match (beside, Path::new(&text.name).parent()) {
            (Some(beside), Some(parent)) => parent.join(beside).display().to_string(),
            _ => path.display().to_string(),
        }
    }

    /// Joins the entries of one text with those of the others.
    fn join(&mut self, entries: Vec<Entry>) {
        let Value::Map(root) = &mut self.gathered.root.value else { return };
        for entry in entries {
            let Some(first) = root.iter_mut().find(|first| first.key == entry.key) else {
                root.push(entry);
                continue;
            };
            match (&mut first.value.value, entry.value.value) {
                (_, Value::Scalar(scalar)) if scalar.is_null() => {}
                (Value::Map(section), Value::Map(more)) => {
                    for inner in more {
                        let Some(first) = section.iter().find(|first| first.key == inner.key) else {
                            section.push(inner);
                            continue;
                        };
                        let key = join(&join("", &entry.key), &inner.key);
                        self.problems.push(twice(self.texts, &key, inner.key_at, first.key_at));
                    }
                }
                (Value::Scalar(scalar), value) if scalar.is_null() => {
                    first.key_at = entry.key_at;
                    first.value = Node { at: entry.value.at, value };
                }
                _ => self.problems.push(twice(self.texts, &join("", &entry.key), entry.key_at, first.key_at)),
            }
        }
    }
}

fn twice(texts: &Texts, key: &str, at: Position, first: Position) -> Problem {
    let what = format!("`{key}` is given twice");
    Problem::new(texts, at, key, what, "keep one of the two").and_at(texts, first)
}
