//! Whether the files that a configuration names are there: for `check`, which opens no data.

use std::path::Path;

use super::{
    Encryption, KeyPlace, PluginRef,
    interpolate::describe,
    load::Loaded,
    problem::{Problem, Problems, join},
    tree::Value,
};

impl Loaded {
    /// Opens every file that the configuration names to be read: plugins, keys, certificates. Reads none of them to
    /// its end, and makes none.
    pub fn check_files(&self) -> Problems {
        let mut problems = Problems::default();
        let mut check = |keys: &[&str], what: &str, path: &Path| {
            if let Err(error) = open(path) {
                let what = format!("the {what} {} can't be read: {error}", path.display());
                problems.push(self.at(keys, what, "correct the path, or let this user read the file"));
            }
        };
        for collector in &self.config.collectors {
            if let PluginRef::Path(path) = &collector.plugin {
                check(&["collectors", &collector.name, "plugin"], "component", path);
            }
            if let PluginRef::Exec(exec) = &collector.plugin {
                check(&["collectors", &collector.name, "exec", "command"], "program", &exec.program);
            }
        }
        if let Encryption::Aes256Gcm(places) = &self.config.wal.encryption {
            let current = std::iter::once(("", &places.current));
            for (key, place) in current.chain(places.older.iter().map(|older| ("older_keys", older))) {
                let named = |own| ["wal", "encryption", if key.is_empty() { own } else { key }];
                match place {
                    KeyPlace::File(path) if !(places.create && key.is_empty()) => {
                        check(&named("key_file"), "key file", path);
                    }
                    KeyPlace::Command(command) if command[0].contains('/') => {
                        check(&named("key_command"), "program", Path::new(&command[0]));
                    }
                    KeyPlace::File(_) | KeyPlace::Env(_) | KeyPlace::Command(_) => {}
                }
            }
        }
        for exporter in &self.config.exporters {
            let signals = [&exporter.signals.metrics, &exporter.signals.logs, &exporter.signals.traces];
            let own = signals.into_iter().filter_map(|signal| signal.tls.as_ref());
            for tls in std::iter::once(&exporter.tls).chain(own) {
                for (key, path) in
                    [("ca_file", &tls.ca_file), ("cert_file", &tls.cert_file), ("key_file", &tls.key_file)]
                {
                    if let Some(path) = path {
                        check(&["exporters", &exporter.name, "tls", key], "file", path);
                    }
                }
            }
        }
        problems
    }

    /// What the schema of a collector's component refuses about its configuration: at the key, or at the last above it
    /// that is written down. `path`: keys under `config`, and indices of lists. The value is not shown.
    pub fn refused_by_schema(&self, collector: &str, path: &[String], what: &str) -> Problem {
        let mut found = &self.root;
        let above = ["collectors", collector, "config"].into_iter();
        for key in above.chain(path.iter().map(String::as_str)) {
            let within = match &found.value {
                Value::List(items) => key.parse().ok().and_then(|index: usize| items.get(index)),
                Value::Map(_) => found.get(key),
                Value::Scalar(_) => None,
            };
            let Some(within) = within else { break };
            found = within;
        }
        let key =
            path.iter().fold(join(&join("collectors", collector), "config"), |above, key| join(&above, key));
        let remedy = "correct it; `whimbrel plugin inspect --json` prints the schema";
        Problem::new(&self.texts, found.at, &key, what, remedy)
    }

    /// That the collector's component is none that this agent would run.
    pub fn refused_component(&self, collector: &str, what: String) -> Problem {
        let remedy =
            "name one that this agent can run; `whimbrel plugin inspect FILE` shows what a component is";
        self.at(&["collectors", collector, "plugin"], what, remedy)
    }

    /// That the collector's program is none that this agent would run.
    pub fn refused_program(&self, collector: &str, what: String, remedy: &str) -> Problem {
        self.at(&["collectors", collector, "exec"], what, remedy)
    }

    /// A problem at the value of a key, or at what stands in for it.
    fn at(&self, keys: &[&str], what: String, remedy: &str) -> Problem {
        let mut node = Some(&self.root);
        for key in keys {
            node = node.and_then(|node| node.get(key));
        }
        let at = node.unwrap_or(&self.root).at;
        let problem = Problem::new(&self.texts, at, &keys.join("."), what, remedy);
        match node {
            Some(_) => problem.showing_value(&self.texts, at),
            None if self.implicit => problem.at_variables("OTEL_EXPORTER_OTLP_*"),
            None => problem,
        }
    }
}

/// What is no plain file, such as a pipe, is not opened: that might wait, or take what it holds.
fn open(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| describe(&error))?;
    if metadata.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if metadata.is_file() {
        std::fs::File::open(path).map_err(|error| describe(&error))?;
    }
    Ok(())
}
