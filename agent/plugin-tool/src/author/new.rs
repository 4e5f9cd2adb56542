//! `whimbrel plugin new`: a folder with a plugin that builds at once.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;

use super::{language::Language, project::check_name, recipe, template};

const EXAMPLE: &str = "\
Example:
  whimbrel plugin new queue-depth --lang python
  cd queue-depth && whimbrel plugin build && whimbrel plugin test";

/// Make a folder with a plugin that builds and runs at once.
///
/// It emits a gauge with an attribute and a log record, reads its configuration, writes to the agent's log, and has a
/// test. Its README says how to go on, and what can't work in the language.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct NewArgs {
    /// The plugin's name: lower-case letters, digits, hyphens
    #[arg(value_name = "NAME")]
    name: String,
    /// The language it is written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder that is made; without it, NAME
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl NewArgs {
    /// Writes the template, and says what comes next.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        check_name(&self.name)?;
        let folder = self.dir.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let files = template::files(self.lang, &self.name);
        template::write(&folder, &files).with_context(|| format!("{} can't be made", folder.display()))?;
        let preparation = recipe::preparation(self.lang, &folder);
        let (first, note) = preparation.map_or((None, None), |it| (Some(it.step), it.note));
        let mut text = format!(
            "{} is a plugin in {}; {} builds it. Next:\n\n",
            folder.display(),
            self.lang.title(),
            recipe::builder(self.lang)
        );
        let enter = format!("cd {}", folder.display());
        let steps = [
            Some(enter.as_str()),
            first.as_deref(),
            Some("whimbrel plugin build"),
            Some("whimbrel plugin test"),
            Some("whimbrel plugin dev"),
        ];
        for step in steps.into_iter().flatten() {
            text.push_str(&format!("    {step}\n"));
        }
        if let Some(note) = note {
            text.push_str(&format!("\n{note}\n"));
        }
        text.push_str("\nREADME.md says more.\n");
        io::stdout().lock().write_all(text.as_bytes()).or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error.into()),
        })
    }
}
