//! `wal.encryption:`

use std::path::{Path, PathBuf};

use super::{
    checker::{Checker, Place, Section},
    keys::{ENCRYPTION, OLDER_KEY},
};
use crate::config::{
    Encryption, KeyPlace, KeyPlaces, OnWrongKey, interpolate::read_named_variable, problem::Wrong,
    tree::Value,
};

/// The name of the key file that is made at the first start, and that is looked for among systemd's credentials.
const KEY_FILE: &str = "wal.key";

/// What a list of a program and its arguments looks like.
const COMMAND: &str = "write [program, argument, ...]; it is run without a shell";

impl Checker<'_> {
    /// `none`, or where the keys are.
    pub(super) fn encryption(&mut self, place: &Place<'_>, data_dir: &Path) -> Option<Encryption> {
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
        let mut older = Vec::new();
        self.set(&mut older, &section, "older_keys", Checker::older_keys);
        let mut places = match self.key_place(&section)? {
            Some(current) => KeyPlaces { current, create: false, older: Vec::new(), on_wrong_key },
            None => self.default_key(data_dir, on_wrong_key),
        };
        places.older = older;
        Some(Encryption::Aes256Gcm(places))
    }

    /// `[{key_file: ...}, {key_env: ...}, {key_command: ...}]`
    fn older_keys(&mut self, place: &Place<'_>) -> Option<Vec<KeyPlace>> {
        let items =
            self.list(place, "write [{key_file: PATH}]; key_env and key_command can stand there too")?;
        // All of them, so that every problem is told.
        let keys: Vec<_> = items.iter().map(|item| self.older_key(item)).collect();
        keys.into_iter().collect()
    }

    fn older_key(&mut self, place: &Place<'_>) -> Option<KeyPlace> {
        let section = self.section(place, &OLDER_KEY)?;
        let found = self.key_place(&section)?;
        if found.is_none() && section.entries.is_empty() {
            let remedy = "write {key_file: PATH}, {key_env: NAME} or {key_command: [...]}";
            self.problem(section.at, &section.key, "names no key", remedy);
        }
        found
    }

    /// The one place that a section names; the inner `None` where it names none.
    fn key_place(&mut self, section: &Section<'_>) -> Option<Option<KeyPlace>> {
        let given: Vec<_> = OLDER_KEY.now.iter().filter_map(|key| Some((*key, section.get(key)?))).collect();
        let (kind, place) = match given.as_slice() {
            [] => return Some(None),
            [(kind, place)] => (*kind, place),
            [(one, _), (other, _), ..] => {
                let what = format!("has both `{one}` and `{other}`");
                self.problem(section.at, &section.key, what, "keep one of the two");
                return None;
            }
        };
        match kind {
            "key_file" => self.path(place).map(KeyPlace::File),
            "key_env" => self.key_variable(place).map(KeyPlace::Env),
            _ => self.command(place).map(KeyPlace::Command),
        }
        .map(Some)
    }

    fn key_variable(&mut self, place: &Place<'_>) -> Option<String> {
        let environment = self.environment;
        self.value(&place.clone().secret(), |name| {
            read_named_variable(name, environment).map(|_| name.to_owned())
        })
    }

    /// A program and its arguments. A program with a `/` in it begins, as paths do, at the folder of the file that names
    /// it; another is looked for in `$PATH`.
    fn command(&mut self, place: &Place<'_>) -> Option<Vec<String>> {
        let items = self.list(place, COMMAND)?;
        let Some((program, arguments)) = items.split_first() else {
            self.problem(place.node.at, &place.key, "names no program", COMMAND);
            return None;
        };
        let written = self.text(program)?.into_owned();
        let program = match written.contains('/') || written.starts_with('~') || written.is_empty() {
            true => self.path(program)?.to_str()?.to_owned(),
            false => written,
        };
        let mut command = vec![program];
        for argument in arguments {
            let argument = self.value(&argument.clone().secret(), |text| match text.contains('\0') {
                true => Err(Wrong::new("holds a NUL", "remove it")),
                false => Ok(text.to_owned()),
            });
            command.push(argument?);
        }
        Some(command)
    }

    /// systemd's credential of the name `wal.key` where there is one, else a file beside the data, which may be made.
    pub(super) fn default_key(&self, data_dir: &Path, on_wrong_key: OnWrongKey) -> KeyPlaces {
        let credential = self
            .environment
            .variable("CREDENTIALS_DIRECTORY")
            .map(|folder| PathBuf::from(folder).join(KEY_FILE));
        let (path, create) = match credential.filter(|path| path.is_absolute() && path.exists()) {
            Some(path) => (path, false),
            None => (data_dir.join(KEY_FILE), true),
        };
        KeyPlaces { current: KeyPlace::File(path), create, older: Vec::new(), on_wrong_key }
    }
}
