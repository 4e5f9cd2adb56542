//! The host as a whole: how long it is up, its load, its open files.

use std::path::Path;

use super::proc_file::ProcFile;
use crate::system::{Figure, SnapshotError};

/// From here on a limit is none: since Linux 5.10 the kernel's own default is the largest number there is.
const NO_LIMIT: u64 = i64::MAX.unsigned_abs();

const LOADS: [&str; 3] =
    ["system.cpu.load_average.1m", "system.cpu.load_average.5m", "system.cpu.load_average.15m"];

#[derive(Debug)]
pub(super) struct Kernel {
    load: ProcFile,
    files: ProcFile,
}

impl Kernel {
    pub(super) fn new(proc: &Path) -> Self {
        Self { load: ProcFile::new(proc.join("loadavg")), files: ProcFile::new(proc.join("sys/fs/file-nr")) }
    }

    /// Uptime is by the kernel's own clock, suspended time included.
    pub(super) fn figures(&mut self) -> Result<Vec<Figure>, SnapshotError> {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let mut figures = Vec::with_capacity(6);
        let seconds = since_boot.tv_sec as f64 + since_boot.tv_nsec as f64 / 1e9;
        figures.push(Figure::now("system.uptime", seconds));
        let text = self.load.text()?.into_owned();
        let mut fields = text.split_ascii_whitespace();
        for name in LOADS {
            let value = fields.next().and_then(|field| field.parse::<f64>().ok());
            let value = value.filter(|value| value.is_finite() && *value >= 0.0);
            let value =
                value.ok_or_else(|| self.load.malformed(format!("no three load averages in {text:?}")))?;
            figures.push(Figure::now(name, value));
        }
        // A sandbox may hide it.
        if let Ok(text) = self.files.text() {
            figures.extend(files(&text));
        }
        Ok(figures)
    }
}

/// `allocated unused limit`, of which unused is always 0 since Linux 2.6 (proc_sys_fs(5)).
fn files(text: &str) -> Vec<Figure> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let (Some(Some(used)), Some(Some(unused)), Some(Some(limit))) =
        (fields.next(), fields.next(), fields.next())
    else {
        return Vec::new();
    };
    let mut figures =
        vec![Figure::now("system.linux.file_descriptor.usage", used.saturating_sub(unused) as f64)];
    if limit < NO_LIMIT {
        figures.push(Figure::now("system.linux.file_descriptor.limit", limit as f64));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_have_a_limit_unless_the_kernel_has_none() {
        let told = |text: &str| files(text).iter().map(|figure| figure.value).collect::<Vec<_>>();
        assert_eq!(told("625\t0\t2466170\n"), [625.0, 2_466_170.0]);
        assert_eq!(told("625\t0\t9223372036854775807\n"), [625.0]);
        assert_eq!(told("625\t25\t9223372036854775806\n").len(), 2);
        assert_eq!(told("625\t0\n"), [] as [f64; 0]);
        assert_eq!(told("-1\t0\t1\n"), [] as [f64; 0]);
    }
}
