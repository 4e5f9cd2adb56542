//! `whimbrel wal repair`: says what would put a damaged WAL in order, and does it when told to.

use serde_json::{Value, json};
use whimbrel_wal::{Deed, RepairError, Step};

use super::{
    super::{
        exit::{Exit, Failure, Outcome},
        print,
        source::Source,
    },
    progress::Meter,
};
use crate::{config::Encryption, keys, pipeline::Places};

/// What `wal repair` takes.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    #[command(flatten)]
    source: Source,
    /// Do it; without this, it is only said
    #[arg(long)]
    apply: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Plans, and does it with `--apply`.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    let folder = Places::of(&config.data_dir).wal;
    let keys = keys::existing(&config.wal.encryption)?;
    if keys.is_none() && !matches!(config.wal.encryption, Encryption::None) {
        print::message(
            "without the key only checksums are compared, and what is noted counts only for those without it",
        );
    }
    let (keys, max_size) = (keys.as_ref(), config.wal.max_size);
    let mut meter = Meter::new();
    let mut show = |progress| meter.show(progress);
    let steps = whimbrel_wal::plan_repair(&folder, keys, max_size, &mut show).map_err(failure)?;
    if args.apply {
        whimbrel_wal::repair(&folder, keys, max_size, &steps, &mut show).map_err(failure)?;
    }
    if args.json {
        let shown: Vec<_> = steps.iter().map(as_json).collect();
        print::json(&json!({ "folder": folder, "applied": args.apply, "steps": shown }))?;
    } else {
        print::text(described(&steps, args.apply))?;
    }
    let damaged = !args.apply && steps.iter().any(is_damage);
    Ok(if damaged { Exit::Damaged } else { Exit::Done })
}

fn failure(error: RepairError) -> Failure {
    let exit = if error.is_locked() { Exit::Locked } else { Exit::Failed };
    Failure::new(exit, error)
}

/// Torn ends and leftovers are what a crash leaves; the rest is not.
fn is_damage(step: &Step) -> bool {
    matches!(step.deed, Deed::Move { .. } | Deed::Copy { .. } | Deed::Blank { .. } | Deed::Note)
}

fn as_json(step: &Step) -> Value {
    let mut shown = json!({ "do": verb(&step.deed), "file": step.path, "why": step.why });
    match &step.deed {
        Deed::Move { to } | Deed::Copy { to } => shown["to"] = json!(to),
        Deed::Cut { len } => shown["length"] = json!(len),
        Deed::Blank { offset } => shown["offset"] = json!(offset),
        Deed::Remove | Deed::Note | Deed::Name => {}
    }
    shown
}

fn verb(deed: &Deed) -> &'static str {
    match deed {
        Deed::Move { .. } => "move",
        Deed::Copy { .. } => "copy",
        Deed::Cut { .. } => "cut",
        Deed::Blank { .. } => "blank",
        Deed::Remove => "remove",
        Deed::Note => "note",
        Deed::Name => "name",
    }
}

fn described(steps: &[Step], applied: bool) -> String {
    if steps.is_empty() {
        return "nothing is to be repaired\n".to_owned();
    }
    let mut out = String::new();
    for step in steps {
        let file = step.path.display();
        let deed = match &step.deed {
            Deed::Move { to } => format!("move {file} to {}", to.display()),
            Deed::Copy { to } => format!("copy {file} to {}", to.display()),
            Deed::Cut { len } => format!("cut {file} to {len} bytes"),
            Deed::Blank { offset } => format!("blank the slot at byte {offset} of {file}"),
            Deed::Remove => format!("remove {file}"),
            Deed::Note => format!("note in {file} what is damaged and stays"),
            Deed::Name => format!("write into {file} whose WAL this is"),
        };
        out.push_str(&format!("{deed}\n    {}\n", step.why));
    }
    out.push_str(match applied {
        true => "all of it is done\n",
        false => "nothing was changed; `whimbrel wal repair --apply` does this\n",
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_said_with_its_reason_and_what_was_done_with_it() {
        let step = |deed| Step { path: "/w/1.wal".into(), deed, why: "because".to_owned() };
        let to = || "/w/quarantine/1.wal.repair".into();
        let steps = [step(Deed::Copy { to: to() }), step(Deed::Cut { len: 9 }), step(Deed::Remove)];
        let text = described(&steps, false);
        assert!(text.starts_with("copy /w/1.wal to /w/quarantine/1.wal.repair\n    because\n"), "{text}");
        assert!(text.ends_with("`whimbrel wal repair --apply` does this\n"), "{text}");
        assert!(described(&steps, true).ends_with("all of it is done\n"));
        assert_eq!(
            as_json(&steps[1]),
            json!({"do": "cut", "file": "/w/1.wal", "why": "because", "length": 9})
        );
        assert!(is_damage(&steps[0]) && !is_damage(&steps[1]) && !is_damage(&steps[2]));
    }
}
