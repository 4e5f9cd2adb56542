//! The keys of every section: those that are, and those that the documentation names for a later version.
//!
//! The tables are what unknown keys are measured against and what environment variables are matched with.

/// The keys of one section.
#[derive(Debug)]
pub(in crate::config) struct Keys {
    /// Where the section stands, `*` for a name; empty for the root.
    pub(in crate::config) path: &'static str,
    /// What can be given.
    pub(in crate::config) now: &'static [&'static str],
    /// What is named in the documentation and refused by this version, and what that would be.
    pub(in crate::config) later: &'static [(&'static str, &'static str)],
}

/// The root.
pub(in crate::config) const ROOT: Keys = Keys {
    path: "",
    now: &[
        "include",
        "data_dir",
        "log",
        "resource",
        "collectors",
        "receivers",
        "wal",
        "exporters",
        "secrets",
        "health",
        "control",
        "system",
        "reload",
    ],
    later: &[
        ("routes", "in this version every batch goes to every exporter"),
        ("processors", "in this version batches go out as they were collected"),
        ("telemetry", "this version shows its own metrics under `health`, at /metrics, only"),
        ("plugins", "this version checks no signatures of plugins"),
    ],
};

/// `log:`
pub(in crate::config) const LOG: Keys = Keys { path: "log", now: &["level", "format"], later: &[] };

/// `collectors.*:`
pub(in crate::config) const COLLECTOR: Keys = Keys {
    path: "collectors.*",
    now: &["plugin", "interval", "temporality", "config", "grants", "limits"],
    later: &[],
};

/// `collectors.*.grants:`
pub(in crate::config) const GRANTS: Keys = Keys {
    path: "collectors.*.grants",
    now: &["system", "http", "read", "write", "tcp", "udp", "unix", "env", "secrets"],
    later: &[],
};

/// `collectors.*.limits:`
pub(in crate::config) const LIMITS: Keys = Keys {
    path: "collectors.*.limits",
    now: &["memory", "deadline", "init", "output", "tables", "resources", "log_rate", "stack"],
    later: &[("log_lines", "it is called `log_rate`")],
};

/// `receivers.otlp:`
pub(in crate::config) const RECEIVER_OTLP: Keys =
    Keys { path: "receivers.otlp", now: &["grpc", "http", "add_resource", "limits"], later: &[] };

/// `receivers.ldjson:`
pub(in crate::config) const RECEIVER_LDJSON: Keys = Keys {
    path: "receivers.ldjson",
    now: &["tcp", "unix", "sources", "open_spans", "span_timeout", "limits"],
    later: &[],
};

/// `receivers.ingest:`
pub(in crate::config) const RECEIVER_INGEST: Keys = Keys {
    path: "receivers.ingest",
    now: &["http", "answer", "buffer", "on_full", "metrics", "cors", "limits"],
    later: &[],
};

/// What the value of an event can't be.
pub(in crate::config) const RECEIVER_METRICS: &[(&str, &str)] =
    &[("histogram", "in this version the value of an event becomes a gauge or adds to a counter")];

/// `receivers.statsd:`
pub(in crate::config) const RECEIVER_STATSD: Keys =
    Keys { path: "receivers.statsd", now: &["udp", "unix", "flush", "series", "limits"], later: &[] };

/// `receivers.syslog:`
pub(in crate::config) const RECEIVER_SYSLOG: Keys =
    Keys { path: "receivers.syslog", now: &["tcp", "udp", "unix", "time_zone", "limits"], later: &[] };

/// An endpoint of a receiver, where it is a map.
pub(in crate::config) const LISTEN: Keys =
    Keys { path: "receivers.*.*", now: &["listen", "tls", "token", "allow_remote", "insecure"], later: &[] };

/// `tls` of an endpoint of a receiver.
pub(in crate::config) const SERVER_TLS: Keys =
    Keys { path: "receivers.*.*.tls", now: &["cert_file", "key_file", "client_ca_file"], later: &[] };

/// `receivers.*.limits:`
pub(in crate::config) const RECEIVER_LIMITS: Keys = Keys {
    path: "receivers.*.limits",
    now: &["connections", "request", "memory", "rate", "idle", "request_time"],
    later: &[],
};

/// `wal:`
pub(in crate::config) const WAL: Keys = Keys {
    path: "wal",
    now: &["sync", "max_size", "retain", "on_full", "zstd_level", "encryption"],
    later: &[("segment_size", "in this version the size of a segment follows from `max_size`")],
};

/// `wal.sync:`, where it is a map.
pub(in crate::config) const SYNC: Keys = Keys { path: "wal.sync", now: &["interval"], later: &[] };

/// `wal.on_full:`
pub(in crate::config) const ON_FULL: Keys =
    Keys { path: "wal.on_full", now: &["collectors", "receivers"], later: &[] };

/// `wal.encryption:`
pub(in crate::config) const ENCRYPTION: Keys = Keys {
    path: "wal.encryption",
    now: &["key_file", "key_env", "key_command", "older_keys", "on_wrong_key"],
    later: &[("accept_plain", "in this version plain segments are set aside once a key is configured")],
};

/// An item of `wal.encryption.older_keys`; in a list, so that no variable and no misplaced key can mean it.
pub(in crate::config) const OLDER_KEY: Keys =
    Keys { path: "wal.encryption.older_keys", now: &["key_file", "key_env", "key_command"], later: &[] };

/// `exporters.*:`
pub(in crate::config) const EXPORTER: Keys = Keys {
    path: "exporters.*",
    now: &[
        "endpoint",
        "protocol",
        "compression",
        "headers",
        "tls",
        "timeout",
        "concurrency",
        "max_request",
        "max_delay",
        "max_lag",
        "max_age",
        "from",
        "retry",
    ],
    later: &[
        ("endpoints", "in this version an exporter has one `endpoint`"),
        ("file", "in this version exporters send OTLP only"),
        ("kafka", "in this version exporters send OTLP only"),
        ("nats", "in this version exporters send OTLP only"),
        ("plugin", "in this version exporters send OTLP only"),
        ("catch_up", "in this version a backlog is sent as fast as the receiver takes it"),
        ("proxy", "in this version exporters connect directly"),
    ],
};

/// `exporters.*.headers.*:`, where it is a map.
pub(in crate::config) const HEADER: Keys = Keys {
    path: "exporters.*.headers.*",
    now: &["prefix", "file", "env"],
    later: &[("command", "in this version the value comes from a `file` or a variable (`env`)")],
};

/// `exporters.*.tls:`
pub(in crate::config) const TLS: Keys = Keys {
    path: "exporters.*.tls",
    now: &["ca_file", "cert_file", "key_file", "server_name"],
    later: &[
        ("min_version", "this version speaks TLS 1.2 and 1.3"),
        ("insecure_skip_verify", "certificates are always verified; name the authority with `ca_file`"),
    ],
};

/// `exporters.*.retry:`
pub(in crate::config) const RETRY: Keys =
    Keys { path: "exporters.*.retry", now: &["initial", "maximum", "give_up_after"], later: &[] };

/// `health:`
pub(in crate::config) const HEALTH: Keys = Keys { path: "health", now: &["listen"], later: &[] };

/// `system:`
pub(in crate::config) const SYSTEM: Keys = Keys { path: "system", now: &["root_path"], later: &[] };

/// `reload:`
pub(in crate::config) const RELOAD: Keys = Keys { path: "reload", now: &["watch"], later: &[] };

/// `control:`
pub(in crate::config) const CONTROL: Keys = Keys {
    path: "control",
    now: &["socket"],
    later: &[("group", "in this version only the agent's own user may use the control socket")],
};

/// All of them, outer ones first.
pub(in crate::config) const SECTIONS: &[&Keys] = &[
    &ROOT,
    &LOG,
    &COLLECTOR,
    &GRANTS,
    &LIMITS,
    &RECEIVER_OTLP,
    &RECEIVER_LDJSON,
    &RECEIVER_INGEST,
    &RECEIVER_STATSD,
    &RECEIVER_SYSLOG,
    &LISTEN,
    &SERVER_TLS,
    &RECEIVER_LIMITS,
    &WAL,
    &SYNC,
    &ON_FULL,
    &ENCRYPTION,
    &EXPORTER,
    &HEADER,
    &TLS,
    &RETRY,
    &HEALTH,
    &CONTROL,
    &SYSTEM,
    &RELOAD,
];

impl Keys {
    /// All keys that a person may have meant.
    pub(in crate::config) fn all(&self) -> impl Iterator<Item = &'static str> {
        self.now.iter().copied().chain(self.later.iter().map(|(key, _)| *key))
    }
}

/// Whether any section has this key: such a word is no secret.
pub(in crate::config) fn is_known(word: &str) -> bool {
    SECTIONS.iter().any(|keys| keys.all().any(|key| key == word))
}

/// The name nearest to `text`, where it is near enough to have been meant: at most one edit in three characters.
pub(in crate::config) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '.', ' '], "_");
    let wanted = plain(text);
    if wanted.chars().count() > 64 {
        return None;
    }
    names
        .map(|name| (strsim::osa_distance(&wanted, &plain(name)), name))
        .filter(|(distance, name)| {
            *distance <= (name.len().min(wanted.len()) / 3).max(1) && *distance < name.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_within_one_edit_in_three() {
        let near = |text| nearest(text, EXPORTER.all());
        assert_eq!(near("endpont"), Some("endpoint"));
        assert_eq!(near("end_point"), Some("endpoint"));
        assert_eq!(near("Headers"), Some("headers"));
        assert_eq!(near("maxrequest"), Some("max_request"));
        assert_eq!(near("max-delay"), Some("max_delay"));
        assert_eq!(near("header"), Some("headers"));
        assert_eq!(near("tsl"), Some("tls"));
        assert_eq!(near("password"), None);
        assert_eq!(near("x"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"e".repeat(10_000)), None);
    }
}
