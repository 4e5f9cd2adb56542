//! States of systemd's units, asked of `systemctl`: the part `service`.
//!
//! Asking starts a process, some ten milliseconds of CPU time: it is done on request only, seldom, aside, and
//! ended when it takes too long. `systemctl` is what speaks the service manager's protocol on any version, over
//! the socket that this user may use.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use super::aside::Aside;
use crate::system::{Figure, Options, SnapshotError};

/// How often units are asked for at most.
const FLOOR: Duration = Duration::from_secs(10);

/// How long one snapshot waits for an answer that is not there yet.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long `systemctl` may take before it is ended.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most units that are told of one selection.
const MOST: usize = 1000;

/// Most that `systemctl` may print: some hundred bytes a unit.
const LONGEST: u64 = 1 << 20;

/// How many selections are followed; of more, the one that was not asked for the longest is forgotten.
const MOST_SELECTIONS: usize = 16;

/// What a unit may be in; of `systemctl`'s words, `refreshing` is told as `reloading`.
const STATES: [&str; 7] =
    ["active", "inactive", "failed", "activating", "deactivating", "reloading", "maintenance"];

#[derive(Debug)]
pub(super) struct Services {
    systemctl: PathBuf,
    /// There where systemd is the init system (sd_booted(3)).
    booted: PathBuf,
    /// The socket of another root's systemd is not this one's.
    own_root: bool,
    /// Most recently asked for last.
    selections: Vec<Selection>,
}

#[derive(Debug)]
struct Selection {
    units: Vec<String>,
    read: Aside<io::Result<Vec<Unit>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    name: String,
    state: &'static str,
}

impl Services {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            systemctl: options.systemctl.clone(),
            booted: options.root.join("run/systemd/system"),
            own_root: options.is_own_root(),
            selections: Vec::new(),
        }
    }

    /// # Errors
    /// There is no systemd here, it does not answer, or not yet.
    pub(super) fn figures(&mut self, units: &[String]) -> Result<Vec<Figure>, SnapshotError> {
        if !self.own_root || !self.booted.is_dir() {
            return Err(SnapshotError::Unsupported { part: "service" });
        }
        self.read(units)
    }

    fn read(&mut self, units: &[String]) -> Result<Vec<Figure>, SnapshotError> {
        let mut selection = match self.selections.iter().position(|selection| selection.units == units) {
            Some(place) => self.selections.remove(place),
            None => {
                let read = Aside::new("systemctl", FLOOR, PATIENCE);
                Selection { units: units.to_vec(), read }
            }
        };
        if self.selections.len() >= MOST_SELECTIONS {
            self.selections.remove(0);
        }
        let (program, wanted) = (self.systemctl.clone(), units.to_vec());
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer yet");
        let answer = match selection.read.get(move || ask(&program, &wanted, TIMEOUT)) {
            Ok(Some(Ok(units))) => Ok(figures(units)),
            Ok(Some(Err(error))) => Err(io::Error::new(error.kind(), error.to_string())),
            Ok(None) => Err(late()),
            Err(error) => Err(error),
        };
        self.selections.push(selection);
        answer.map_err(|source| SnapshotError::Read { path: self.systemctl.clone(), source })
    }
}

fn figures(units: &[Unit]) -> Vec<Figure> {
    let figure = |unit: &Unit, state| {
        Figure::now("systemd.unit.state", if unit.state == state { 1.0 } else { 0.0 })
            .with("systemd.unit.name", unit.name.clone())
            .with("systemd.unit.state", state)
    };
    units.iter().flat_map(|unit| STATES.map(|state| figure(unit, state))).collect()
}

/// Ordered by name, none twice; without those that there are none of.
fn ask(systemctl: &Path, units: &[String], timeout: Duration) -> io::Result<Vec<Unit>> {
    // Of this process's environment it needs where programs and the bus are; the rest may hold secrets.
    let kept = ["PATH", "DBUS_SYSTEM_BUS_ADDRESS"];
    let kept = kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut child = Command::new(systemctl)
        .env_clear()
        .envs(kept)
        .args(["show", "--no-pager", "--property=Id,LoadState,ActiveState", "--"])
        .args(units)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let Some(output) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let (answer, answers) = sync_channel(1);
    // It ends with the child, whose end of the pipe is the only one.
    let reader = thread::Builder::new().name("systemctl".to_owned()).stack_size(64 << 10).spawn(move || {
        let mut text = Vec::new();
        let read = output.take(LONGEST).read_to_end(&mut text);
        // Who asked has given up: then nobody needs it.
        let _ = answer.send(read.map(|_| text));
    });
    let text = match reader {
        Ok(_) => match answers.recv_timeout(timeout) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not answer within {} ms", timeout.as_millis()),
            )),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        },
        Err(error) => Err(error),
    };
    if text.is_err() {
        // It may just have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait()?;
    let text = text?;
    if !status.success() {
        return Err(io::Error::other(format!("it failed with {status}{}", said(&mut child))));
    }
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The first line of what it said of its failure.
fn said(child: &mut Child) -> String {
    let mut start = [0; 256];
    let length = child.stderr.as_mut().and_then(|stderr| stderr.read(&mut start).ok()).unwrap_or(0);
    let text = String::from_utf8_lossy(&start[..length]);
    text.lines().next().map(|line| format!(": {line}")).unwrap_or_default()
}

/// Lines of `Key=value`, an empty one between two units.
fn parse(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    for block in text.split("\n\n") {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (Some(name), Some(active)) = (value("Id"), value("ActiveState")) else { continue };
        let active = if active == "refreshing" { "reloading" } else { active };
        let Some(state) = STATES.into_iter().find(|state| *state == active) else { continue };
        if name.is_empty() || value("LoadState") == Some("not-found") {
            continue;
        }
        units.push(Unit { name: name.to_owned(), state });
    }
    units.sort_by(|one, other| one.name.cmp(&other.name));
    units.dedup_by(|one, other| one.name == other.name);
    if units.len() > MOST {
        tracing::warn!(
            units = units.len(),
            told = MOST,
            "more units are selected than are told: narrow `unit`"
        );
        units.truncate(MOST);
    }
    units
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

    use super::*;

    /// A program in place of `systemctl`; the folder that holds it goes with it.
    fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("systemctl");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    /// A test that starts a program meanwhile has this one's file open for writing for a moment.
    fn ask_of(systemctl: &Path, units: &[String], timeout: Duration) -> io::Result<Vec<Unit>> {
        loop {
            match ask(systemctl, units, timeout) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                answer => return answer,
            }
        }
    }

    const SHOWN: &str = "Id=nginx.service\nLoadState=loaded\nActiveState=active\n\n\
        Id=db.service\nActiveState=failed\nLoadState=loaded\n\n\
        Id=db.service\nActiveState=failed\nLoadState=loaded\n\n\
        Id=gone.service\nLoadState=not-found\nActiveState=inactive\n\n\
        Id=new.service\nLoadState=loaded\nActiveState=refreshing\n";

    #[test]
    fn each_unit_is_in_one_state_and_one_that_does_not_exist_is_not_told() {
        let (folder, systemctl) = program(&format!(
            "printf '%s ' \"$@\" > \"$(dirname \"$0\")/asked\"\nenv > \"$(dirname \"$0\")/env\"\nprintf '{SHOWN}'"
        ));
        let units = ["nginx".to_owned(), "-x*".to_owned()];
        let told = ask_of(&systemctl, &units, Duration::from_secs(60)).unwrap();
        let states: Vec<_> = told.iter().map(|unit| (unit.name.as_str(), unit.state)).collect();
        assert_eq!(
            states,
            [("db.service", "failed"), ("new.service", "reloading"), ("nginx.service", "active")]
        );
        let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert!(asked.starts_with("show ") && asked.ends_with(" -- nginx -x* "), "{asked}");
        let variables = fs::read_to_string(folder.path().join("env")).unwrap();
        assert!(variables.contains("LC_ALL=C") && !variables.contains("CARGO"), "{variables}");
        let figures = figures(&told);
        assert_eq!(figures.len(), 3 * STATES.len());
        assert_eq!(figures.iter().map(|figure| figure.value).sum::<f64>(), 3.0);
        assert_eq!((figures[2].value, &figures[2].attributes[1].1), (1.0, &"failed".into()));
    }

    #[test]
    fn one_that_does_not_answer_is_ended() {
        let (_folder, systemctl) = program("exec sleep 600");
        let begun = Instant::now();
        let error = ask_of(&systemctl, &[], Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(60));
        let (_folder, systemctl) = program("echo no bus >&2\necho at all >&2\nexit 3");
        let error = ask_of(&systemctl, &[], Duration::from_secs(60)).unwrap_err().to_string();
        assert_eq!(error, "it failed with exit status: 3: no bus");
    }

    #[test]
    fn without_systemd_there_are_no_units_and_without_systemctl_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut services = Services::new(&Options::at(folder.path()));
        let units = ["x".to_owned()];
        assert!(matches!(services.figures(&units), Err(SnapshotError::Unsupported { part: "service" })));
        let options = Options { systemctl: folder.path().join("systemctl"), ..Options::default() };
        let mut services = Services::new(&options);
        // The first answer may come late on a busy machine.
        let error = loop {
            let error = services.read(&units).unwrap_err();
            if !error.to_string().contains("no answer yet") {
                break error;
            }
        };
        assert!(error.to_string().contains("/systemctl: "), "{error}");
    }

    #[test]
    fn a_selection_is_asked_for_once_in_its_time_and_few_are_followed() {
        let (folder, systemctl) = program(&format!("echo >> \"$(dirname \"$0\")/runs\"\nprintf '{SHOWN}'"));
        let options = Options { systemctl, ..Options::default() };
        let mut services = Services::new(&options);
        let units = ["*".to_owned()];
        while services.read(&units).is_err() {}
        for _ in 0..5 {
            assert_eq!(services.read(&units).unwrap().len(), 3 * STATES.len());
        }
        assert_eq!(fs::read_to_string(folder.path().join("runs")).unwrap(), "\n");
        for number in 0..MOST_SELECTIONS + 3 {
            while services.read(&[number.to_string()]).is_err() {}
        }
        assert_eq!(services.selections.len(), MOST_SELECTIONS);
    }

    #[test]
    fn no_cut_or_odd_output_is_taken_for_a_unit() {
        for end in 0..SHOWN.len() {
            for unit in parse(&SHOWN[..end]) {
                assert!(STATES.contains(&unit.state) && unit.name.contains("e"), "{unit:?}");
            }
        }
        assert_eq!(parse("Id=\nActiveState=active\n\nActiveState=active\n\nId=a\nActiveState=odd\n"), []);
    }
}
