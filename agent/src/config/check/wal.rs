//! `wal:`

use std::{path::Path, time::Duration};

use super::{
    checker::{Checker, Place, choose},
    keys::{ON_FULL, SYNC, WAL},
};
use crate::config::{Encryption, OnFull, OnWrongKey, Sync, Wal, problem::Wrong, tree::Value, units};

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
            encryption: Encryption::Aes256Gcm(self.default_key(data_dir, OnWrongKey::Refuse)),
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
}
