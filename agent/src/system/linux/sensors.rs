//! Temperatures, from the hardware monitors under `/sys/class/hwmon`, or the thermal zones where there are none.
//!
//! A sensor may be behind a slow bus, or ask a sleeping disk: they are read aside, and seldom. An identifier is
//! made of the device's place, which is the same after a reboot, and not of hwmon's own numbers, which are not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::aside::Aside;
use crate::system::{Figure, SnapshotError};

/// How often sensors are read at most: what they measure has a mass.
const FLOOR: Duration = Duration::from_secs(10);

/// How long one snapshot waits for them.
const PATIENCE: Duration = Duration::from_millis(25);

/// Most sensors that are told: a large server has a hundred.
const MOST: usize = 1000;

/// Absolute zero; and what no machine reads, in degrees Celsius: beyond is a sensor that is not there.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = -273.15..=1000.0;

#[derive(Debug)]
pub(super) struct Sensors {
    sys: PathBuf,
    read: Aside<Result<Vec<Temperature>, (PathBuf, io::Error)>>,
}

/// One sensor.
#[derive(Debug, Clone, PartialEq)]
struct Temperature {
    id: String,
    name: String,
    celsius: f64,
}

impl Sensors {
    pub(super) fn new(sys: &Path) -> Self {
        Self { sys: sys.to_owned(), read: Aside::new("sensors", FLOOR, PATIENCE) }
    }

    /// # Errors
    /// There are none, they cannot be read, or they have not answered yet.
    pub(super) fn figures(&mut self) -> Result<Vec<Figure>, SnapshotError> {
        let sys = self.sys.clone();
        let class = self.sys.join("class/hwmon");
        let failed = |path: &Path, source| SnapshotError::Read { path: path.to_owned(), source };
        let answer = self.read.get(move || read(&sys)).map_err(|source| failed(&class, source))?;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the sensors have not answered yet");
        match answer {
            None => Err(failed(&class, late())),
            Some(Err((path, error))) => Err(failed(path, io::Error::new(error.kind(), error.to_string()))),
            Some(Ok(found)) if found.is_empty() => Err(SnapshotError::Unsupported { part: "sensors" }),
            Some(Ok(found)) => Ok(found.iter().map(figure).collect()),
        }
    }
}

fn figure(sensor: &Temperature) -> Figure {
    Figure::now("hw.temperature", sensor.celsius)
        .with("hw.id", sensor.id.clone())
        .with("hw.name", sensor.name.clone())
}

/// Ordered by identifier, none twice.
fn read(sys: &Path) -> Result<Vec<Temperature>, (PathBuf, io::Error)> {
    let mut found = monitors(&sys.join("class/hwmon"))?;
    if found.is_empty() {
        found = zones(&sys.join("class/thermal"))?;
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    if found.len() > MOST {
        tracing::debug!(sensors = found.len(), told = MOST, "more sensors than are told");
        found.truncate(MOST);
    }
    Ok(found)
}

/// `hwmonN/{name, device, tempM_input, tempM_label}`, in thousandths of a degree (hwmon/sysfs-interface.rst).
fn monitors(class: &Path) -> Result<Vec<Temperature>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    for monitor in folders(class)? {
        let Some(chip) = text(&monitor.join("name")) else { continue };
        let device = place(&monitor.join("device"));
        for entry in fs::read_dir(&monitor).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some(sensor) = file.strip_suffix("_input").filter(|sensor| is_numbered(sensor)) else {
                continue;
            };
            let Some(celsius) = celsius(&monitor.join(&file)) else { continue };
            let label = text(&monitor.join(format!("{sensor}_label")));
            found.push(Temperature {
                id: format!("{chip}/{}/{sensor}", device.as_deref().unwrap_or("virtual")),
                name: format!("{chip} {}", label.as_deref().unwrap_or(sensor)),
                celsius,
            });
        }
    }
    Ok(found)
}

/// `thermal_zoneN/{type, temp}`
fn zones(class: &Path) -> Result<Vec<Temperature>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    for zone in folders(class)? {
        let Some(number) = zone.file_name().and_then(|name| name.to_str()) else { continue };
        let (true, Some(celsius)) = (number.starts_with("thermal_zone"), celsius(&zone.join("temp"))) else {
            continue;
        };
        let kind = text(&zone.join("type")).unwrap_or_else(|| "thermal".to_owned());
        found.push(Temperature { id: format!("{kind}/{number}"), name: kind, celsius });
    }
    Ok(found)
}

/// None where there is no such class.
fn folders(class: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    match fs::read_dir(class) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err((class.to_owned(), error)),
    }
}

/// `temp1`, `temp12`
fn is_numbered(sensor: &str) -> bool {
    let digits = sensor.strip_prefix("temp").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The name of what a link leads to.
fn place(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// A sensor that is there but not connected fails to be read, or says what can't be.
fn celsius(path: &Path) -> Option<f64> {
    let celsius = text(path)?.parse::<i64>().ok()? as f64 / 1e3;
    PLAUSIBLE.contains(&celsius).then_some(celsius)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn told(folder: &Path) -> Vec<(String, String, f64)> {
        let found = read(folder).unwrap();
        found.into_iter().map(|sensor| (sensor.id, sensor.name, sensor.celsius)).collect()
    }

    #[test]
    fn monitors_are_told_by_the_place_of_their_device_and_zones_where_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(told(folder), []);
        write(folder, "class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
        write(folder, "class/thermal/thermal_zone0/temp", "47000\n");
        write(folder, "class/thermal/cooling_device0/temp", "1\n");
        let text = |text: &str| text.to_owned();
        assert_eq!(told(folder), [(text("x86_pkg_temp/thermal_zone0"), text("x86_pkg_temp"), 47.0)]);

        write(folder, "class/hwmon/hwmon3/name", "coretemp\n");
        write(folder, "class/hwmon/hwmon3/temp1_input", "51500\n");
        write(folder, "class/hwmon/hwmon3/temp1_label", "Package id 0\n");
        write(folder, "class/hwmon/hwmon3/temp2_input", "-5000\n");
        write(folder, "class/hwmon/hwmon3/temp1_crit", "100000\n");
        write(folder, "class/hwmon/hwmon3/fan1_input", "900\n");
        symlink("../../../coretemp.0", folder.join("class/hwmon/hwmon3/device")).unwrap();
        write(folder, "class/hwmon/hwmon4/name", "acpitz\n");
        write(folder, "class/hwmon/hwmon4/temp1_input", "garbage\n");
        write(folder, "class/hwmon/hwmon4/temp2_input", "-274000\n");
        write(folder, "class/hwmon/hwmon4/temp3_input", "9223372036854775807\n");
        assert_eq!(
            told(folder),
            [
                (text("coretemp/coretemp.0/temp1"), text("coretemp Package id 0"), 51.5),
                (text("coretemp/coretemp.0/temp2"), text("coretemp temp2"), -5.0),
            ]
        );
        let figures = Sensors::new(folder).figures().unwrap();
        assert_eq!(figures[0].attributes[0], ("hw.id", text("coretemp/coretemp.0/temp1").into()));
    }

    #[test]
    fn a_machine_without_sensors_has_no_figures() {
        let folder = tempfile::tempdir().unwrap();
        let mut sensors = Sensors::new(folder.path());
        sensors.read = Aside::new("sensors", FLOOR, Duration::from_secs(60));
        assert!(matches!(sensors.figures(), Err(SnapshotError::Unsupported { part: "sensors" })));
    }
}
