//! `whimbrel plugin build`: from a plugin's sources to its component.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use whimbrel_plugin_host::{Description, asks};

use super::{fresh, project::Project, recipe};
use crate::{
    assemble::Ingredients,
    describe::{describe, schema},
    inspect::{incidental, size},
};

const EXAMPLE: &str = "\
Example:
  whimbrel plugin build
  whimbrel plugin build --dir queue-depth --json";

/// Build a plugin's component, build/NAME.wasm.
///
/// Runs the recipe of the plugin's language, adds who it is (plugin.yaml) and what its configuration looks like
/// (config.schema.json), and checks the component against the contract: what the agent would refuse is not written.
/// An error leaves the component of the last good build as it was.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct BuildArgs {
    /// The plugin's folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// Keep the component of the last build where it is certain that another would be the same; in Python, which takes
    /// ten seconds. The other languages' own tools know what has changed, and are asked
    #[arg(long)]
    if_changed: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    component: PathBuf,
    title: String,
    size: u64,
    sha256: String,
    imports: Vec<String>,
    /// What of the grants it would need, as lines of the configuration.
    grants: Vec<String>,
    /// The same of what it imports only because its interpreter or its standard library does.
    incidental: Vec<String>,
    interpreted: bool,
    /// Whether it was made now; else nothing had changed since.
    built: bool,
    took_ms: u64,
}

impl BuildArgs {
    /// Builds, and prints what was made.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        let project = Project::open(&self.dir)?;
        let kept = if self.if_changed { kept(&project) } else { None };
        let built = kept.is_none();
        let description = match kept {
            Some(description) => description,
            None => build(&project)?,
        };
        let asks = asks(&description);
        let grants = |incidental| {
            let wanted = asks.iter().filter(|asked| asked.incidental == incidental);
            wanted.map(ToString::to_string).collect()
        };
        let made = Made {
            component: shown(&project.component()),
            title: description.title(),
            size: description.size,
            sha256: description.sha256.clone(),
            imports: description.imports.iter().map(ToString::to_string).collect(),
            grants: grants(false),
            incidental: grants(true),
            interpreted: description.is_interpreted(),
            built,
            took_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let text = if self.json { format!("{}\n", serde_json::to_string(&made)?) } else { render(&made) };
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Makes the component, whole or not at all.
fn build(project: &Project) -> anyhow::Result<Description> {
    let folder = project.build_folder();
    fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let config_schema = match &project.config_schema {
        None => None,
        Some(file) => {
            let bytes = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
            Some(schema(&bytes).with_context(|| file.display().to_string())?)
        }
    };
    let inputs = fresh::inputs(project);
    let ingredients = Ingredients {
        made: recipe::make(project)?,
        world: None,
        adapters: recipe::adapters(project.language)?,
        metadata: project.metadata.clone(),
        config_schema,
        language: project.language.interpreted(),
        strip: false,
    };
    let (component, description) =
        ingredients.assemble().with_context(|| format!("what was built of {}", project.root.display()))?;
    let (path, new) = (project.component(), folder.join(format!(".{}.wasm.new", project.name)));
    fs::write(&new, &component).with_context(|| format!("{} can't be written", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("{} can't be written", path.display()))?;
    fresh::remember(project, inputs.as_deref(), &component)
        .with_context(|| format!("what was built can't be remembered in {}", folder.display()))?;
    Ok(description)
}

/// The component that is there, if a build would make the same.
fn kept(project: &Project) -> Option<Description> {
    let component = fs::read(project.component()).ok()?;
    let inputs = fresh::inputs(project)?;
    fresh::is_fresh(project, &inputs, &component).then(|| describe(&component).ok())?
}

/// From where the author stands, if it is below.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or_else(|| path.to_owned())
}

fn render(made: &Made) -> String {
    let took = Duration::from_millis(made.took_ms).as_secs_f64();
    let how =
        if made.built { format!("in {took:.1} s") } else { "as it was: nothing has changed".to_owned() };
    let mut text = format!("{}: {}, {}, {how}\n", made.component.display(), made.title, size(made.size));
    let list =
        |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join("\n            ") };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  imports   {}", list(&made.imports));
    if !made.grants.is_empty() || made.incidental.is_empty() {
        let needed = if made.grants.is_empty() { "none needed".to_owned() } else { list(&made.grants) };
        let _ = writeln!(text, "  grants    {needed}");
    }
    if !made.incidental.is_empty() {
        let why = incidental(made.interpreted);
        let _ = writeln!(text, "  may use   {}\n            ({why})", list(&made.incidental));
    }
    text
}
