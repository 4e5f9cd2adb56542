//! `wal:`

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    checker::{Checker, Place, choose},
    keys::{ENCRYPTION, ON_FULL, SYNC, WAL},
};
use crate::config::{
    Encryption, OnFull, OnWrongKey, Sync, Wal, interpolate::read_named_variable, problem::Wrong, tree::Value,
    units,
};

const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_millis(200);
const LEAST_SYNC_INTERVAL: Duration = Duration::from_millis(1);
const MOST_SYNC_INTERVAL: Duration = Duration::from_secs(3600);
const DEFAULT_MAX_SIZE: u64 = 2 << 30;
const LEAST_MAX_SIZE: u64 = 8 << 20;
const MOST_MAX_SIZE: u64 = 1 << 50;
const MOST_RETAIN: Duration = Duration::from_secs(365 * 86_400);
/// Shares of the disk, millionths.
const LEAST_SHARE: u64 = 1_000;
const MOST_SHARE: u64 = 900_000;
/// The name of the key file that is made at the first start, and that is looked for among systemd's credentials.
const KEY_FILE: &str = "wal.key";

const ON_FULL_CHOICES: &[(&str, OnFull)] =
    &[("block", OnFull::Block), ("drop_oldest", OnFull::DropOldest), ("drop_newest", OnFull::DropNewest)];

impl Checker<'_> {
    /// `wal:`, below `data_dir`.
    pub(super) fn wal(&mut self, place: Option<&Place<'_>>, data_dir: &Path) -> Wal {
        let mut wal = Wal {
            sync: Sync::Always,
            max_size: DEFAULT_MAX_SIZE,
            retain: Duration::ZERO,
            on_full_collectors: OnFull::DropOldest,
            on_full_receivers: OnFull::Block,
            zstd_level: 1,
            encryption: self.default_key(data_dir, OnWrongKey::Refuse),
        };
        let Some(section) = place.and_then(|place| self.section(place, &WAL)) else {
            return wal;
        };
        self.set(&mut wal.sync, &section, "sync", Checker::sync);
        self.set(&mut wal.max_size, &section, "max_size", |c, p| c.max_size(p, data_dir));
        self.set(&mut wal.retain, &section, "retain", |c, p| c.duration(p, Duration::ZERO..=MOST_RETAIN));
        if let Some(place) = section.get("on_full") {
            self.on_full(&place, &mut wal);
        }
        self.set(&mut wal.zstd_level, &section, "zstd_level", |c, p| {
            i32::try_from(c.integer(p, 0..=19)?).ok()
        });
        self.set(&mut wal.encryption, &section, "encryption", |c, p| c.encryption(p, data_dir));
        wal
    }

    /// `always`, `interval`, `never`, or `{interval: 500ms}`.
    fn sync(&mut self, place: &Place<'_>) -> Option<Sync> {
        if matches!(place.node.value, Value::Map(_)) {
            let section = self.section(place, &SYNC)?;
            let every = section.get("interval");
            let range = LEAST_SYNC_INTERVAL..=MOST_SYNC_INTERVAL;
            return every.and_then(|place| self.duration(&place, range)).map(Sync::Interval);
        }
        let interval = Sync::Interval(DEFAULT_SYNC_INTERVAL);
        self.choice(place, &[("always", Sync::Always), ("interval", interval), ("never", Sync::Never)], &[])
    }

    /// A size, or a share of the disk that the data is on.
    fn max_size(&mut self, place: &Place<'_>, data_dir: &Path) -> Option<u64> {
        let environment = self.environment;
        let share = |text: &str| {
            let millionths = units::parse_share(text)?;
            if !(LEAST_SHARE..=MOST_SHARE).contains(&millionths) {
                return Err(Wrong::new(
                    "is not within 0.1% and 90%",
                    "write 0.1% to 90%, or a size such as 2GiB",
                ));
            }
            let disk = environment.disk_size(data_dir).map_err(|error| {
                let what = format!(
                    "is a share of the disk under {}, which does not say its size: {error}",
                    data_dir.display()
                );
                Wrong::new(what, "write a size, such as 2GiB")
            })?;
            let size =
                u64::try_from(u128::from(disk) * u128::from(millionths) / 1_000_000).unwrap_or(u64::MAX);
            match size < LEAST_MAX_SIZE {
                true => {
                    let disk = disk >> 20;
                    let what = format!("is less than 8MiB of a disk of {disk} MiB");
                    Err(Wrong::new(what, "write a larger share, or a size of at least 8MiB"))
                }
                false => Ok(size),
            }
        };
        if matches!(&place.node.value, Value::Scalar(scalar) if !scalar.may_interpolate() && !scalar.text.contains('%'))
        {
            return self.size(place, LEAST_MAX_SIZE..=MOST_MAX_SIZE);
        }
        self.value(place, |text| match text.contains('%') {
            true => share(text),
            false => match units::parse_size(text)? {
                size if (LEAST_MAX_SIZE..=MOST_MAX_SIZE).contains(&size) => Ok(size),
                _ => Err(Wrong::new("is not within 8MiB and 1024TiB", "write 8MiB to 1024TiB")),
            },
        })
    }

    fn on_full(&mut self, place: &Place<'_>, wal: &mut Wal) {
        if let Value::Scalar(scalar) = &place.node.value
            && choose(&scalar.text, ON_FULL_CHOICES, &[]).is_ok()
        {
            let what = "says not whose batches are meant";
            let remedy = format!("write {{collectors: {0}, receivers: {0}}}", scalar.text);
            self.wrong(place, Wrong::new(what, remedy));
            return;
        }
        let Some(section) = self.section(place, &ON_FULL) else { return };
        let choice = |c: &mut Self, p: &Place<'_>| c.choice(p, ON_FULL_CHOICES, &[]);
        self.set(&mut wal.on_full_collectors, &section, "collectors", choice);
        self.set(&mut wal.on_full_receivers, &section, "receivers", choice);
    }

    /// `none`, or where the key is.
    fn encryption(&mut self, place: &Place<'_>, data_dir: &Path) -> Option<Encryption> {
        if matches!(place.node.value, Value::Scalar(_)) && !place.node.is_null() {
            let remedy =
                "write none, {key_file: PATH} or {key_env: NAME}; without `encryption`, a key file is made";
            return self.value(place, |text| match text {
                "none" => Ok(Encryption::None),
                _ => Err(Wrong::new("is not a way to encrypt", remedy)),
            });
        }
        let section = self.section(place, &ENCRYPTION)?;
        let mut on_wrong_key = OnWrongKey::Refuse;
        self.set(&mut on_wrong_key, &section, "on_wrong_key", |c, p| {
            c.choice(p, &[("refuse", OnWrongKey::Refuse), ("set_aside", OnWrongKey::SetAside)], &[])
        });
        match (section.get("key_file"), section.get("key_env")) {
            (Some(file), None) => {
                let path = self.path(&file)?;
                Some(Encryption::KeyFile { path, create: false, on_wrong_key })
            }
            (None, Some(name)) => {
                let environment = self.environment;
                let variable = self.value(&name.secret(), |name| {
                    read_named_variable(name, environment).map(|_| name.to_owned())
                })?;
                Some(Encryption::KeyEnv { variable, on_wrong_key })
            }
            (Some(_), Some(_)) => {
                self.problem(
                    section.at,
                    &section.key,
                    "has both `key_file` and `key_env`",
                    "keep one of the two",
                );
                None
            }
            (None, None) => Some(self.default_key(data_dir, on_wrong_key)),
        }
    }

    /// systemd's credential of the name `wal.key` where there is one, else a file beside the data, which may be made.
    fn default_key(&self, data_dir: &Path, on_wrong_key: OnWrongKey) -> Encryption {
        let credential = self
            .environment
            .variable("CREDENTIALS_DIRECTORY")
            .map(|folder| PathBuf::from(folder).join(KEY_FILE));
        match credential.filter(|path| path.is_absolute() && path.exists()) {
            Some(path) => Encryption::KeyFile { path, create: false, on_wrong_key },
            None => Encryption::KeyFile { path: data_dir.join(KEY_FILE), create: true, on_wrong_key },
        }
    }
}
