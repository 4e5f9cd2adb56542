//! `system:`, and the variables that others know for the same: `HOST_ROOT`, `HOST_PROC` and `HOST_SYS`, as gopsutil
//! and the OpenTelemetry Collector name them. What the configuration says wins over all three.

use std::path::{Path, PathBuf};

use super::{
    checker::{Checker, Place},
    keys::SYSTEM,
};
use crate::config::{
    System,
    problem::{Problem, Wrong},
    text::Position,
};

impl Checker<'_> {
    /// `at`: what stands for a problem's place where a variable is wrong.
    pub(super) fn host(&mut self, place: Option<&Place<'_>>, at: Position) -> System {
        let section = place.and_then(|place| self.section(place, &SYSTEM));
        if let Some(given) = section.and_then(|section| section.get("root_path")) {
            let root = self.value(&given, folder).unwrap_or_else(|| PathBuf::from("/"));
            return System::at(&root);
        }
        let root = self.host_variable("HOST_ROOT", at).unwrap_or_else(|| PathBuf::from("/"));
        let mut system = System::at(&root);
        if let Some(proc) = self.host_variable("HOST_PROC", at) {
            system.proc_path = proc;
        }
        if let Some(sys) = self.host_variable("HOST_SYS", at) {
            system.sys_path = sys;
        }
        system
    }

    /// The folder that a variable names. One that is empty is not set.
    fn host_variable(&mut self, name: &str, at: Position) -> Option<PathBuf> {
        let value = self.environment.variable(name).filter(|value| !value.is_empty())?;
        let found = match value.to_str() {
            Some(text) => folder(text),
            None => Err(Wrong::new("is not UTF-8", "name a folder whose path is")),
        };
        match found {
            Ok(path) => Some(path),
            Err(Wrong { what, remedy }) => {
                let remedy = format!("{remedy}; or unset the variable, or write `system: {{root_path: /}}`");
                let what = format!("the value {what}");
                self.problems.push(Problem::new(self.texts, at, "", what, remedy).at_variables(name));
                None
            }
        }
    }
}

/// An absolute path of a folder that is there: a mistake would show nothing, or the container for the host.
fn folder(text: &str) -> Result<PathBuf, Wrong> {
    const REMEDY: &str = "name the folder where the host's root is mounted: /hostfs";
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(Wrong::new("is not an absolute path", REMEDY));
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(path.components().collect()),
        Ok(_) => Err(Wrong::new("is not a folder", REMEDY)),
        Err(error) => Err(Wrong::new(format!("can't be read: {}", error.kind()), REMEDY)),
    }
}
