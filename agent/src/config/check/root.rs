//! The root, and the sections that are too small for a file of their own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    checker::{Checker, Place},
    keys::{CONTROL, HEALTH, LOG, RELOAD, ROOT},
};
use crate::config::{
    Config, Log, LogFormat, LogLevel, Reload, interpolate::absolute, problem::Wrong, text::Position,
    tree::Node,
};

/// Longest path of a Unix socket, bytes: `sun_path` of Linux less its NUL; macOS has four fewer.
pub(super) const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Checks the whole tree. The exporters are those that are configured: there may be none.
pub(in crate::config) fn check(checker: &mut Checker<'_>, root: &Node, current_dir: &Path) -> Config {
    let place = Place::new("", root);
    let section = checker.section(&place, &ROOT);
    let get = |name: &str| section.as_ref().and_then(|section| section.get(name));
    let data_dir = get("data_dir").and_then(|place| checker.path(&place));
    let data_dir = data_dir.unwrap_or_else(|| default_data_dir(checker, current_dir));
    let log = get("log").map(|place| checker.log(&place)).unwrap_or(DEFAULT_LOG);
    let resource = get("resource").map(|place| checker.resource(&place)).unwrap_or_default();
    let mut collectors = get("collectors").map(|place| checker.collectors(&place)).unwrap_or_default();
    let receivers = get("receivers").map(|place| checker.receivers(&place)).unwrap_or_default();
    let secrets = get("secrets").map(|place| checker.secrets(&place)).unwrap_or_default();
    checker.all_grants(root, &mut collectors, &secrets, &data_dir);
    let wal = checker.wal(get("wal").as_ref(), &data_dir);
    let exporters = get("exporters").map(|place| checker.exporters(&place, wal.max_size)).unwrap_or_default();
    let health = get("health").and_then(|place| checker.health(&place));
    let control_socket = checker.control(get("control").as_ref(), &data_dir, root.at);
    let system = checker.host(get("system").as_ref(), root.at);
    let reload = get("reload").map(|place| checker.reload(&place)).unwrap_or_default();
    Config {
        data_dir,
        log,
        resource,
        collectors,
        receivers,
        wal,
        exporters,
        secrets,
        health,
        control_socket,
        system,
        reload,
    }
}

const DEFAULT_LOG: Log = Log { level: LogLevel::Info, format: LogFormat::Auto };

/// `$STATE_DIRECTORY`, which systemd sets (systemd.exec(5)), else `whimbrel-data` here.
fn default_data_dir(checker: &Checker<'_>, current_dir: &Path) -> PathBuf {
    let state =
        checker.environment.variable("STATE_DIRECTORY").and_then(|folders| folders.into_string().ok());
    // Several are separated by colons; the first is the service's own.
    let first =
        state.as_deref().and_then(|folders| folders.split(':').next()).filter(|folder| !folder.is_empty());
    absolute(current_dir, first.unwrap_or("whimbrel-data"))
}

impl Checker<'_> {
    fn log(&mut self, place: &Place<'_>) -> Log {
        let mut log = DEFAULT_LOG;
        let Some(section) = self.section(place, &LOG) else { return log };
        let levels = [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ];
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        let later = [("journal", "in this version `auto` writes JSON to the journal")];
        self.set(&mut log.level, &section, "level", |c, p| c.choice(p, &levels, &[]));
        self.set(&mut log.format, &section, "format", |c, p| c.choice(p, &formats, &later));
        log
    }

    fn resource(&mut self, place: &Place<'_>) -> BTreeMap<String, String> {
        let Some(section) =
            self.map(place, "write attributes below it, such as `service.name: edge-gateway`")
        else {
            return BTreeMap::new();
        };
        let mut resource = BTreeMap::new();
        for entry in section.entries {
            let place = section.place(entry);
            if entry.key.is_empty() {
                self.problem(entry.key_at, &place.key, "an attribute has no name", "give it one");
                continue;
            }
            if let Some(text) = self.text(&place) {
                resource.insert(entry.key.clone(), text.into_owned());
            }
        }
        resource
    }

    /// `none`, or where to listen.
    fn health(&mut self, place: &Place<'_>) -> Option<SocketAddr> {
        if matches!(&place.node.value, crate::config::tree::Value::Scalar(scalar) if scalar.text == "none") {
            return None;
        }
        let section = self.section(place, &HEALTH)?;
        let Some(listen) = section.get("listen") else {
            let remedy = "add `listen: 127.0.0.1:13134`, or remove `health`";
            self.problem(place.node.at, &place.key, "has no `listen`", remedy);
            return None;
        };
        self.value(&listen, parse_address)
    }

    fn reload(&mut self, place: &Place<'_>) -> Reload {
        let mut reload = Reload::default();
        let Some(section) = self.section(place, &RELOAD) else { return reload };
        self.set(&mut reload.watch, &section, "watch", |c, p| {
            c.choice(p, &[("true", true), ("false", false)], &[])
        });
        reload
    }

    fn control(&mut self, place: Option<&Place<'_>>, data_dir: &Path, root: Position) -> PathBuf {
        let section = place.and_then(|place| self.section(place, &CONTROL));
        let given = section.and_then(|section| section.get("socket"));
        let socket = given.as_ref().and_then(|place| self.path(place));
        let socket = socket.unwrap_or_else(|| data_dir.join("control.sock"));
        let length = socket.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let what = format!(
                "the path of the control socket has {length} bytes, and at most {MAX_SOCKET_PATH} are possible"
            );
            let at = given.map_or(root, |place| place.node.at);
            self.problem(
                at,
                "control.socket",
                what,
                "name a shorter one: `control: {socket: /run/whimbrel/control.sock}`",
            );
        }
        socket
    }
}

/// An IP address and a port.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, Wrong> {
    const EXAMPLE: &str = "write an IP address and a port: 127.0.0.1:13134 or [::1]:13134";
    text.parse().map_err(|_| {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        match (host, port.parse::<u16>()) {
            ("localhost", Ok(port)) => Wrong::new("names a host", format!("write 127.0.0.1:{port}")),
            ("" | "*", Ok(port)) => {
                Wrong::new("has no address", format!("write 127.0.0.1:{port}, or 0.0.0.0:{port} for all"))
            }
            _ => Wrong::new("is not an address and a port", EXAMPLE),
        }
    })
}
