//! Patterns on paths, and the walk to what they match.

use glob::{MatchOptions, Pattern};

use super::{Error, Kind, join, list};

/// As a shell does it: `*` does not match a leading dot.
const AS_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
/// Folders within each other that `**` goes through.
const MAX_DEPTH: usize = 32;
/// Folders that one walk lists.
const MAX_FOLDERS: usize = 10_000;

/// A pattern on absolute paths: `*` and `?` within a name, `[ab]`, and `**` for any number of folders.
#[derive(Clone, Debug)]
pub struct Glob {
    parts: Vec<Part>,
    whole: Pattern,
}

#[derive(Clone, Debug)]
enum Part {
    /// A name.
    Plain(String),
    /// A pattern on names.
    Names(Pattern),
    /// `**`
    Folders,
}

/// A walk: what it does not go beyond, and what went wrong.
struct Walk<'a> {
    visit: &'a mut dyn FnMut(String),
    folders: usize,
    problems: Vec<Error>,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`Error::Pattern`]: what is wrong with it.
    pub fn new(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Pattern(format!("`{text}` {why}"));
        let Some(rest) = text.strip_prefix('/') else {
            return Err(wrong("is not an absolute path; begin it with `/`"));
        };
        let pattern =
            |text: &str| Pattern::new(text).map_err(|error| wrong(&format!("is no pattern: {}", error.msg)));
        let mut parts = Vec::new();
        for part in rest.split('/') {
            parts.push(match part {
                "" => return Err(wrong("has an empty part; write each `/` once, and a name at the end")),
                "." | ".." => return Err(wrong("goes through `.` or `..`; write the path itself")),
                "**" => Part::Folders,
                plain if !plain.contains(['*', '?', '[']) => Part::Plain(plain.to_owned()),
                names => Part::Names(pattern(names)?),
            });
        }
        if matches!(parts.last(), Some(Part::Folders)) {
            return Err(wrong("ends with `**`, which is folders; add the name of files, such as `*.log`"));
        }
        Ok(Self { parts, whole: pattern(text)? })
    }

    /// Whether a path is of this pattern.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.whole.matches_with(path, AS_A_SHELL)
    }

    /// The folder above everything that can match.
    #[must_use]
    pub fn root(&self) -> String {
        let plain = self.parts[..self.parts.len() - 1].iter().map_while(|part| match part {
            Part::Plain(name) => Some(name.as_str()),
            _ => None,
        });
        format!("/{}", plain.collect::<Vec<_>>().join("/"))
    }

    /// Shows every path that is of this pattern; one without `*` is shown without a look whether it is there. Folders
    /// that are not there are passed over; `**` follows no links. Returns what else went wrong, at most once a folder.
    pub fn walk(&self, visit: &mut dyn FnMut(String)) -> Vec<Error> {
        let mut walk = Walk { visit, folders: 0, problems: Vec::new() };
        walk.descend("/", &self.parts, 0);
        walk.problems
    }
}

impl Walk<'_> {
    fn descend(&mut self, folder: &str, parts: &[Part], depth: usize) {
        let Some((part, rest)) = parts.split_first() else { return };
        match part {
            Part::Plain(name) => self.found(join(folder, name), None, rest, depth),
            Part::Names(pattern) => {
                for entry in self.list(folder) {
                    if pattern.matches_with(&entry.name, AS_A_SHELL) {
                        self.found(join(folder, &entry.name), Some(entry.kind), rest, depth);
                    }
                }
            }
            Part::Folders => {
                self.descend(folder, rest, depth);
                if depth < MAX_DEPTH {
                    for entry in self.list(folder) {
                        if entry.kind == Kind::Folder && !entry.name.starts_with('.') {
                            self.descend(&join(folder, &entry.name), parts, depth + 1);
                        }
                    }
                }
            }
        }
    }

    fn found(&mut self, path: String, kind: Option<Kind>, rest: &[Part], depth: usize) {
        if rest.is_empty() {
            if !matches!(kind, Some(Kind::Folder | Kind::Other)) {
                (self.visit)(path);
            }
        } else if !matches!(kind, Some(Kind::File | Kind::Other)) {
            self.descend(&path, rest, depth);
        }
    }

    fn list(&mut self, folder: &str) -> Vec<super::Entry> {
        self.folders += 1;
        if self.folders > MAX_FOLDERS {
            if self.folders == MAX_FOLDERS + 1 {
                let why = format!("more than {MAX_FOLDERS} folders are in the way of a pattern");
                self.problems.push(Error::Failed(folder.to_owned(), why));
            }
            return Vec::new();
        }
        match list(folder) {
            Ok(entries) => entries,
            Err(Error::NotFound(_)) => Vec::new(),
            Err(error) => {
                self.problems.push(error);
                Vec::new()
            }
        }
    }
}
