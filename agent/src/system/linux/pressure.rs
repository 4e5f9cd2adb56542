//! `/proc/pressure`: how much work stood still for want of a resource (PSI, Documentation/accounting/psi.rst).
//!
//! `some`: at least one task waited; `full`: none could go on. Full pressure of the CPU means nothing for a whole
//! machine, the kernel prints zeros for it, and so it is left out.

use std::{io, path::Path};

use super::proc_file::ProcFile;
use crate::system::{Figure, SnapshotError};

const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];

const WINDOWS: [(&str, &str); 3] = [("avg10=", "10s"), ("avg60=", "60s"), ("avg300=", "300s")];

#[derive(Debug)]
pub(super) struct Pressure {
    files: Vec<(&'static str, ProcFile)>,
}

/// One line.
#[derive(Debug, PartialEq)]
struct Line {
    resource: &'static str,
    kind: &'static str,
    /// Shares of the time, in the order of [`WINDOWS`].
    averages: [f64; 3],
    total_us: u64,
}

impl Pressure {
    pub(super) fn new(proc: &Path) -> Self {
        let file = |resource| (resource, ProcFile::new(proc.join("pressure").join(resource)));
        Self { files: RESOURCES.map(file).into() }
    }

    /// # Errors
    /// The kernel does not account for it at all (before 4.20, or without `psi=1`), or a file cannot be read.
    pub(super) fn figures(&mut self, boot_ns: u64) -> Result<Vec<Figure>, SnapshotError> {
        let mut lines = Vec::with_capacity(7);
        for (resource, file) in &mut self.files {
            let text = match file.text() {
                Ok(text) => text.into_owned(),
                Err(SnapshotError::Read { source, .. }) if is_absent(&source) => continue,
                Err(error) => return Err(error),
            };
            for line in text.lines().filter(|line| !line.is_empty()) {
                let line = parse(resource, line)
                    .ok_or_else(|| file.malformed(format!("a short or odd line {line:?}")))?;
                lines.extend((line.kind != "full" || *resource != "cpu").then_some(line));
            }
        }
        match lines.is_empty() {
            true => Err(SnapshotError::Unsupported { part: "pressure" }),
            false => Ok(figures(&lines, boot_ns)),
        }
    }
}

/// A kernel without PSI has no files; one with `psi=0` has files that can't be read.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`: per cent, and microseconds.
fn parse(resource: &'static str, line: &str) -> Option<Line> {
    let mut fields = line.split_ascii_whitespace();
    let kind = match fields.next()? {
        "some" => "some",
        "full" => "full",
        _ => return None,
    };
    let mut averages = [0.0; 3];
    for (average, (prefix, _)) in averages.iter_mut().zip(WINDOWS) {
        let percent: f64 = fields.next()?.strip_prefix(prefix)?.parse().ok()?;
        // Printed to the hundredth, and told as that.
        *average = (percent >= 0.0).then_some((percent.min(100.0) * 100.0).round() / 1e4)?;
    }
    let total_us = fields.next()?.strip_prefix("total=")?.parse().ok()?;
    Some(Line { resource, kind, averages, total_us })
}

fn figures(lines: &[Line], boot_ns: u64) -> Vec<Figure> {
    let named = |figure: Figure, line: &Line| {
        figure
            .with("system.linux.pressure.resource", line.resource)
            .with("system.linux.pressure.type", line.kind)
    };
    let mut figures = Vec::with_capacity(lines.len() * 4);
    figures.extend(lines.iter().map(|line| {
        let seconds = line.total_us as f64 / 1e6;
        named(Figure::since("system.linux.pressure.stall_time", boot_ns, seconds), line)
    }));
    for line in lines {
        for (average, (_, window)) in line.averages.into_iter().zip(WINDOWS) {
            let figure = named(Figure::now("system.linux.pressure.average", average), line);
            figures.push(figure.with("system.linux.pressure.window", window));
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn stalls_are_seconds_and_averages_are_shares() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pressure")).unwrap();
        let write = |resource: &str, text: &str| {
            fs::write(folder.path().join("pressure").join(resource), text).unwrap();
        };
        let some = "some avg10=97.90 avg60=0.00 avg300=100.00 total=2500000\n";
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        write("cpu", &format!("{some}{full}"));
        write("irq", full);
        let mut pressure = Pressure::new(folder.path());
        let figures = pressure.figures(7).unwrap();
        assert_eq!(figures.len(), 2 + 2 * 3, "no full pressure of the CPU, no files of memory and io");
        assert_eq!((figures[0].value, figures[0].start_ns), (2.5, 7));
        let averages: Vec<_> = figures[2..5].iter().map(|figure| figure.value).collect();
        assert_eq!(averages, [0.979, 0.0, 1.0]);
        assert_eq!(figures[2].attributes[2], ("system.linux.pressure.window", "10s".into()));
        assert_eq!(figures[1].attributes[0].1, "irq".into());

        write("io", "some avg10=x avg60=0.00 avg300=0.00 total=0\n");
        assert!(pressure.figures(7).unwrap_err().to_string().contains("pressure/io"));
    }

    #[test]
    fn a_kernel_without_it_has_no_figures() {
        let folder = tempfile::tempdir().unwrap();
        let error = Pressure::new(folder.path()).figures(7).unwrap_err();
        assert!(matches!(error, SnapshotError::Unsupported { part: "pressure" }));
        assert!(
            is_absent(&io::Error::from_raw_os_error(95)),
            "EOPNOTSUPP: the kernel was started with psi=0"
        );
    }

    #[test]
    fn no_cut_or_odd_line_is_taken_for_figures() {
        let line = "some avg10=1.00 avg60=2.00 avg300=3.00 total=4";
        assert!(parse("io", line).is_some());
        for end in 0..line.len() {
            let told = parse("io", &line[..end]);
            assert_eq!(told, None, "{:?}", &line[..end]);
        }
        for odd in ["-1.00", "NaN", "inf"] {
            let told = parse("io", &line.replace("1.00", odd));
            assert!(told.is_none_or(|told| told.averages[0] <= 1.0), "{odd}");
        }
    }
}
