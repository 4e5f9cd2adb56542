//! `whimbrel wal record`: the newest stored record, its bytes beside what they say.

use anyhow::Context as _;
use serde_json::Value;
use whimbrel_otlp::Signal;

use super::{
    exit::{Exit, Outcome},
    print,
    source::Running,
    telling, words,
};
use crate::admin;

/// Bytes on one line of the dump.
const PER_LINE: usize = 16;
/// Characters of the dump: offset, bytes with a gap in the middle, and what parts it from the text.
const DUMP_WIDTH: usize = 4 + 2 + 3 * PER_LINE + 3;
/// The width that is written to where there is no terminal to ask.
const WIDTH: usize = 160;

/// What `wal record` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) running: Running,
    /// The newest of this source
    #[arg(long, value_name = "collectors/NAME")]
    pub(super) from: Option<String>,
    /// The newest of this signal: metrics, logs, traces
    #[arg(long, value_name = "SIGNAL")]
    pub(super) signal: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Asks the running agent, and prints the answer.
pub(super) fn run(args: &Args) -> Outcome {
    let socket = args.running.socket()?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("source", &args.from), ("signal", &args.signal)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let target = format!("/wal/record/latest?{}", query.finish());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = runtime.block_on(admin::ask(&socket, &target))?;
    if args.json {
        // As it came: the fields of OTLP keep their order.
        print::text(format_args!("{}\n", String::from_utf8_lossy(&body)))?;
    } else {
        let record = serde_json::from_slice(&body).context("the agent's answer is no JSON")?;
        print::text(rendered(&record, print::width().unwrap_or(WIDTH)))?;
    }
    Ok(Exit::Done)
}

fn rendered(record: &Value, width: usize) -> String {
    let mut out = format!(
        "record {}: {} {}s of {}, received {}\n{} at byte {}: {} stored, {}{}\n\n",
        words::plain(&record["record"]),
        words::plain(&record["items"]),
        record["signal"].as_str().and_then(Signal::from_name).map_or("item", Signal::item),
        words::plain(&record["source"]),
        words::moment_ms(
            record["ingest_ns"].as_str().and_then(|ns| ns.parse::<u64>().ok()).map(|ns| ns / 1_000_000)
        ),
        words::plain(&record["segment"]),
        words::plain(&record["offset"]),
        words::bytes(record["stored_bytes"].as_u64()),
        words::bytes(record["plain_bytes"].as_u64()),
        match (record["compressed"] == true, record["encrypted"] == true) {
            (true, true) => " of OTLP, compressed and encrypted",
            (true, false) => " of OTLP, compressed, not encrypted",
            (false, true) => " of OTLP, encrypted",
            (false, false) => " of OTLP, as it is",
        },
    );
    let dump = dump(record);
    let mut said = vec!["header, readable without the key".to_owned()];
    for field in words::list(&record["header_fields"]) {
        let name = words::plain(&field["name"]);
        said.push(format!("  {:19} {}", name, telling::harmless(&words::plain(&record["header"][&name]))));
    }
    said.push(String::new());
    said.push("body, opened with the key".to_owned());
    said.extend(telling::lines(&record["otlp"]).into_iter().map(|line| format!("  {line}")));
    if record["cut"] == true {
        said.push("  … and more".to_owned());
    }
    let room = width.saturating_sub(DUMP_WIDTH).max(20);
    for row in 0..dump.len().max(said.len()) {
        let bytes = dump.get(row).map_or("", String::as_str);
        let text = said.get(row).map_or_else(String::new, |line| telling::cut_to(Some(room), line));
        out.push_str(format!("{bytes:DUMP_WIDTH$}{text}").trim_end());
        out.push('\n');
    }
    out
}

/// `0010  00 01 …`: the stored bytes as far as the agent gave them.
fn dump(record: &Value) -> Vec<String> {
    let hex = record["stored_hex"].as_str().unwrap_or_default().as_bytes();
    let mut lines: Vec<String> = hex
        .chunks(2 * PER_LINE)
        .enumerate()
        .map(|(row, bytes)| {
            let pairs: Vec<_> = bytes.chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect();
            format!("{:04x}  {}", row * PER_LINE, pairs.join(" "))
        })
        .collect();
    let stored = record["stored_bytes"].as_u64().unwrap_or(0);
    let more = stored.saturating_sub(hex.len() as u64 / 2);
    if more > 0 {
        lines.push(format!("      … and {more} bytes more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_stand_beside_what_they_say() {
        let record = json!({
            "record": "ab-1", "items": 1, "signal": "metrics", "source": "collectors/host", "ingest_ns": "0",
            "segment": "1.wal", "offset": 8192, "stored_bytes": 40, "plain_bytes": 30, "compressed": true,
            "encrypted": true, "stored_hex": "7768520a".repeat(8), "cut": true,
            "header": { "magic": 1 }, "header_fields": [{ "name": "magic", "offset": 0, "length": 4 }],
            "otlp": { "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
                { "name": "a", "gauge": { "dataPoints": [{ "asInt": "1" }] } }] }] }] },
        });
        let text = rendered(&record, 120);
        for line in [
            "record ab-1: 1 data points of collectors/host, received 1970-01-01T00:00:00Z",
            "1.wal at byte 8192: 40 B stored, 30 B of OTLP, compressed and encrypted",
            "0000  77 68 52 0a 77 68 52 0a 77 68 52 0a 77 68 52 0a    header, readable without the key",
            "0010  77 68 52 0a 77 68 52 0a 77 68 52 0a 77 68 52 0a      magic               1",
            "      … and 8 bytes more",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line:?} is not in:\n{text}");
        }
        assert!(text.contains("  a  1    gauge") && text.contains("… and more\n"), "{text}");
        assert!(rendered(&record, 10).lines().skip(3).all(|line| line.chars().count() <= DUMP_WIDTH + 20));
    }
}
