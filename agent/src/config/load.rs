//! The whole load: gather, override, check, and what is implied where something is missing.

use std::path::PathBuf;

use super::{
    Config,
    check::{Checker, check},
    environment::Environment,
    gather::{Gathered, Sources, gather},
    implicit::Variables,
    overrides,
    problem::{Problem, Problems},
    text::{Position, Texts},
    tree::Node,
};

/// A configuration that can be run with, and what is worth saying about it.
pub struct Loaded {
    /// What the stages are built from.
    pub config: Config,
    /// Lines worth saying at the start: defaults in use, and the like.
    pub notes: Vec<String>,
    /// What is allowed, and likely not meant. May be empty.
    pub warnings: Problems,
    /// The files that were read, absolute: those that a reload reads again.
    pub files: Vec<PathBuf>,
    /// The folders in which files were looked for, absolute: a new file there may belong to it.
    pub folders: Vec<PathBuf>,
    /// What was read, as it was named: files, `$NAME`, or the built-in configuration.
    pub names: Vec<String>,
    pub(super) root: Node,
    pub(super) texts: Texts,
    pub(super) implicit: bool,
}

impl std::fmt::Debug for Loaded {
    /// Without the texts, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("notes", &self.notes)
            .field("warnings", &self.warnings)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Reads, joins and checks the configuration. Reads files, and writes nothing.
///
/// # Errors
/// With every problem there is, each with its place and remedy; the caller shows them and exits with 78.
pub fn load(sources: &Sources, environment: &dyn Environment) -> Result<Loaded, Problems> {
    let mut texts = Texts::default();
    let mut problems = Problems::default();
    let current_dir = environment.current_dir().map_err(|error| {
        let at = Position::whole(texts.add(".".to_owned(), PathBuf::from("/"), String::new()));
        let what = format!("the current folder can't be found: {error}");
        let mut problems = Problems::default();
        problems.push(Problem::new(&texts, at, "", what, "start in a folder that exists"));
        problems
    })?;
    let gathered = gather(sources, environment, &current_dir, &mut texts, &mut problems);
    let Gathered { mut root, files, folders, names, complete, mut notes } = gathered;
    overrides::apply(&mut root, environment, &current_dir, &mut texts, &mut problems);

    let mut checker = Checker::new(&texts, environment);
    let mut config = check(&mut checker, &root, &current_dir);
    let Checker { problems: found, mut warnings, .. } = checker;
    problems.extend(found);

    let implicit = root.get("exporters").is_none_or(|exporters| exporters.is_null() || exporters.is_empty());
    let mut variables = Variables {
        environment,
        current_dir: &current_dir,
        texts: &mut texts,
        problems: &mut problems,
        warnings: &mut warnings,
    };
    config.resource = variables.resource(config.resource);
    if implicit && complete {
        let exporter = variables.exporter();
        notes.push(format!(
            "no exporter is configured: sending OTLP over HTTP to {} (OTEL_EXPORTER_OTLP_ENDPOINT, or an exporter in \
             the configuration, changes that)",
            exporter.endpoint
        ));
        config.exporters.push(exporter);
    } else if let Some(name) = variables.unused_endpoint() {
        notes.push(format!("${name} is set and not used, since exporters are configured"));
    }
    if config.collectors.is_empty() && config.receivers.is_empty() && complete {
        let what = "no collector and no receiver is configured, so there is nothing to send";
        let remedy = "add one: `collectors: {host: {plugin: \"builtin:host\", grants: {system: true}}}`";
        warnings.push(Problem::new(&texts, root.at, "collectors", what, remedy));
    }
    problems.sort();
    warnings.sort();
    match problems.is_empty() {
        true => Ok(Loaded { config, notes, warnings, files, folders, names, root, texts, implicit }),
        false => Err(problems),
    }
}
