//! `whimbrel wal dump`: stored records as OTLP/JSON, one a line, for tools and for a way out.

use std::{
    io::{self, BufWriter, Write as _},
    ops::ControlFlow,
};

use whimbrel_otlp::Signal;
use whimbrel_wal::{DumpFilter, Dumped};

use super::{
    super::{
        exit::{Exit, Failure, Outcome},
        print,
        source::Source,
    },
    progress::Meter,
    verify::described,
};
use crate::{
    keys,
    pipeline::Places,
    status::{dumped_line, lane_of},
};

/// What `wal dump` takes.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    #[command(flatten)]
    source: Source,
    /// From this sequence number on
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// Up to this sequence number, itself included
    #[arg(long, value_name = "SEQUENCE")]
    to: Option<u64>,
    /// Of this signal: metrics, logs, traces
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<Signal>,
    /// Of this source, such as collectors/host
    #[arg(long = "source", value_name = "NAME")]
    source_name: Option<String>,
    /// Of this segment: its number, or its file's name
    #[arg(long, value_name = "N", value_parser = segment)]
    segment: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// What this exporter has still to send
    #[arg(long, value_name = "EXPORTER")]
    pending: Option<String>,
    /// JSON is what it prints anyway
    #[arg(long)]
    json: bool,
}

fn signal(name: &str) -> Result<Signal, String> {
    Signal::from_name(name).ok_or_else(|| "one of metrics, logs, traces".to_owned())
}

/// `12`, `000000000000000c` or `000000000000000c.wal`.
fn segment(text: &str) -> Result<u64, String> {
    const DIGITS: usize = 16;
    let name = text.strip_suffix(".wal").unwrap_or(text);
    let number = if name.len() == DIGITS { u64::from_str_radix(name, 16).ok() } else { text.parse().ok() };
    number.ok_or_else(|| "a number, as `wal list` shows it, or a file's name".to_owned())
}

/// Prints what is wanted; damage goes to stderr.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    let folder = Places::of(&config.data_dir).wal;
    let keys = keys::existing(&config.wal.encryption)?;
    let filter = DumpFilter {
        from: args.from,
        to: args.to,
        lane: args.signal.map(lane_of),
        source: args.source_name.clone(),
        segment: args.segment,
        pending: args.pending.clone(),
        limit: args.limit,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut meter = Meter::beside_output();
    let mut written = Ok(());
    let mut not_otlp = 0u64;
    let report = whimbrel_wal::dump(&folder, keys.as_ref(), &filter, &mut |dumped| {
        match dumped {
            Dumped::Record(record, payload) => match dumped_line(&record, &payload) {
                Ok(line) => written = writeln!(out, "{line}"),
                Err(error) => {
                    not_otlp += 1;
                    print::message(format_args!("damaged: {error}"));
                }
            },
            Dumped::Damage(damage) => print::message(format_args!("damaged: {}", described(&damage))),
            Dumped::Progress(progress) => meter.show(progress),
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written.and_then(|()| out.flush())?;
    let report = report.map_err(|error| {
        let exit = if error.is_wrong_key() { Exit::Locked } else { Exit::Failed };
        Failure::new(exit, error)
    })?;
    Ok(if report.damages + not_otlp == 0 { Exit::Done } else { Exit::Damaged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_named_by_its_number_or_its_file() {
        for (text, number) in [
            ("12", Some(12)),
            ("000000000000000c", Some(12)),
            ("000000000000000c.wal", Some(12)),
            ("c", None),
            ("12.wal", None),
            ("", None),
        ] {
            assert_eq!(segment(text).ok(), number, "{text}");
        }
    }
}
