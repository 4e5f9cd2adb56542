//! What plugins do that reach out of the sandbox: each a configuration of the plugin `reach`, its grants and limits, and
//! what is to be seen of it. For the tests, and for the bench that measures the host collector beside them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::server::Server;

/// A plugin, what it is granted, its limits, what it does in each collect, and what is to be seen of it.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) grants: Value,
    pub(crate) limits: &'static str,
    pub(crate) steps: Value,
    pub(crate) seen: Seen,
}

pub(crate) enum Seen {
    /// It lives; these things were denied it, each with these words in the log.
    Denied(Vec<String>),
    /// It lives; it met the limit of resources, and `status` says so in these words.
    Short(&'static str),
    /// It was stopped for this cause, at this limit, in these words.
    Stopped(&'static str, Option<&'static str>, &'static str),
}

/// All of them, over these two servers, of which the second is granted to nobody; `folder` is where files are made, and
/// the agent's own listener is at `health`.
pub(crate) fn kinds(folder: &Path, server: &Server, other: &Server, health: &str) -> Vec<Kind> {
    let mut kinds = vec![escapes(folder)];
    kinds.extend(forged_requests(server, other, health));
    kinds.extend(greedy(server));
    kinds
}

impl Kind {
    /// Its line in the section `collectors` of a configuration.
    pub(crate) fn line(&self) -> String {
        let Self { name, grants, limits, steps, .. } = self;
        format!(
            "  {name}: {{plugin: {:?}, interval: 1s, limits: {{{limits}}}, grants: {grants}, config: {{steps: {steps}}}}}\n",
            plugin()
        )
    }
}

/// The component of `reach`.
pub(crate) fn plugin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/components/reach.wasm")
}

fn escapes(folder: &Path) -> Kind {
    let at = |path: &str| folder.join(path);
    fs::create_dir_all(at("granted")).expect("a folder");
    fs::create_dir_all(at("other")).expect("a folder");
    fs::write(at("other/secret"), "hunter2").expect("a file");
    symlink("../other/secret", at("granted/link")).expect("a link");
    symlink("/proc/self/environ", at("granted/environ")).expect("a link");
    let granted = at("granted").canonicalize().expect("it is there");
    let other = at("other").canonicalize().expect("it is there");
    Kind {
        name: "path_escape",
        grants: json!({"read": [granted]}),
        limits: "",
        steps: json!([
            {"read": [granted, "../other/secret"]},
            {"read": [granted, "link"]},
            {"read": [granted, "/proc/self/environ"]},
            {"read": [granted, "environ"]},
            {"write": [granted, "new", "x"]},
        ]),
        seen: Seen::Denied(vec![
            format!("grants: {{ read: [\"{}\"] }}", other.display()),
            "the agent's process".to_owned(),
            format!("grants: {{ write: [\"{}\"] }}", granted.display()),
        ]),
    }
}

fn forged_requests(server: &Server, other: &Server, health: &str) -> Vec<Kind> {
    let (granted, port) = (server.url(""), server.port);
    // Both are names to the agent, and addresses to the system's resolver: no server of names is needed.
    let (loopback, metadata) = (format!("http://2130706433:{port}"), "http://2852039166");
    vec![
        Kind {
            name: "ssrf_redirect",
            grants: json!({"http": [granted]}),
            limits: "",
            steps: json!([
                {"follow": server.url("/?to=http://169.254.169.254/latest/meta-data/")},
                {"follow": server.url(&format!("/?to={}", other.url("/")))},
            ]),
            seen: Seen::Denied(vec![
                "grants: { http: [\"http://169.254.169.254\"] }".to_owned(),
                format!("grants: {{ http: [\"{}\"] }}", other.url("")),
            ]),
        },
        Kind {
            name: "ssrf_names",
            grants: json!({"http": [loopback, metadata]}),
            limits: "",
            steps: json!([{"get": loopback}, {"get": metadata}]),
            seen: Seen::Denied(vec![
                format!("http: [\"{loopback} in 127.0.0.1\"]"),
                format!("http: [\"{metadata} in 169.254.169.254\"]"),
            ]),
        },
        Kind {
            name: "agents_own_listener",
            grants: json!({
                "http": [format!("http://{health}"), format!("http://{}", health.replace("127.0.0.1", "0.0.0.0"))],
                "tcp": [health],
            }),
            limits: "",
            steps: json!([
                {"get": format!("http://{health}/healthz")},
                {"get": format!("http://{}/healthz", health.replace("127.0.0.1", "0.0.0.0"))},
                {"tcp": [health, "GET /healthz HTTP/1.0\r\n\r\n"]},
            ]),
            seen: Seen::Denied(vec![
                format!("the agent's own listener on {health}"),
                format!("the agent's own listener on {}", health.replace("127.0.0.1", "0.0.0.0")),
            ]),
        },
    ]
}

fn greedy(server: &Server) -> Vec<Kind> {
    let grants = json!({"http": [server.url("")]});
    let kind = |name, limits, steps, seen| Kind { name, grants: grants.clone(), limits, steps, seen };
    let waiting = "waiting for an answer of the host";
    vec![
        kind("sockets", "", json!([{"sockets": 1000}]), Seen::Short("limits.resources")),
        kind(
            "requests",
            "deadline: 900ms",
            json!([{"requests": [server.url("/drip"), 40]}]),
            Seen::Short("under way"),
        ),
        kind(
            "handles",
            "resources: 200",
            json!([{"timers": 5000}]),
            Seen::Stopped("resources", Some("resources"), "more than the 200 handles"),
        ),
        kind(
            "huge_answer",
            "",
            json!([{"get": server.url("/huge")}]),
            Seen::Denied(vec![format!("an answer of {} with more than 64 MiB", server.url(""))]),
        ),
        kind(
            "endless_answer",
            "deadline: 20ms",
            json!([{"get": server.url("/endless")}]),
            Seen::Stopped("deadline", Some("deadline"), "deadline of 20ms"),
        ),
        kind(
            "dripping_answer",
            "deadline: 300ms",
            json!([{"get": server.url("/drip")}]),
            // It may be on either side when its time is up.
            Seen::Stopped("deadline", Some("deadline"), "deadline of 300ms"),
        ),
        kind(
            "sleeps",
            "deadline: 300ms",
            json!([{"sleep": 600_000}]),
            Seen::Stopped("deadline", Some("deadline"), waiting),
        ),
        kind(
            "exits",
            "",
            json!([{"complain": "enough\n"}, {"exit": 3}]),
            Seen::Stopped("exit", None, "exit code"),
        ),
        kind(
            "listens",
            "",
            json!([{"listen": "0.0.0.0:0"}]),
            Seen::Denied(vec!["nothing can grant it".to_owned()]),
        ),
    ]
}
