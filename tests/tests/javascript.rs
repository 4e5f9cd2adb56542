//! What is of JavaScript alone, beside what `authoring.rs` and `examples.rs` guarantee of every language: a plugin's
//! WASI goes by another name while QuickJS's own is stubbed, resources are given back in their order, and whole numbers
//! have 53 bits.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Output,
    thread,
};

use serde_json::Value;
use whimbrel_tests::{
    agent::Home,
    author::{self, said},
};

/// A folder with a plugin of its own source.
struct Plugin {
    home: Home,
}

impl Plugin {
    fn new(wasi: &str, source: &str) -> Self {
        let home = Home::new("");
        let output = home.run(&["plugin", "new", "tried", "--lang", "js"]);
        assert!(output.status.success(), "{}", said(&output));
        let plugin = Plugin { home };
        let manifest = plugin.folder().join("plugin.yaml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        assert!(text.contains("wasi: []"), "{text}");
        fs::write(&manifest, text.replace("wasi: []", &format!("wasi: [{wasi}]"))).expect("a file");
        fs::remove_file(plugin.folder().join("config.schema.json")).expect("the template's schema");
        fs::write(plugin.folder().join("src/plugin.js"), source).expect("a file");
        plugin
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("tried")
    }

    fn run(&self, args: &[&str]) -> Output {
        author::command(&self.home, args, &self.folder(), "js").output().expect("whimbrel starts")
    }

    /// Builds it; false where the language's tools are missing.
    fn is_built(&self) -> bool {
        let output = self.run(&["plugin", "build"]);
        if author::is_skipped(&said(&output)) {
            return false;
        }
        assert!(output.status.success(), "{}", said(&output));
        true
    }

    /// One collect, printed.
    fn collect(&self, config: &Value, more: &[&str]) -> Output {
        let config = config.to_string();
        let args = ["plugin", "run", "build/tried.wasm", "--plugin-config", &config];
        self.run(&[&args[..], more].concat())
    }
}

/// A plugin that reads what it is told, so often that what is not given back would be missed.
const READER: &str = r#"
import * as whimbrel from "./whimbrel.js";
import { httpGet } from "./http.js";
import { readFolder, readText } from "./files.js";

class Reader {
  constructor({ config }) { this.config = config; }
  collect(emit) {
    const { url, file, folder, often = 1 } = this.config;
    for (let turn = 0; turn < often; turn += 1) {
      if (url) this.page = httpGet(url, { headers: { "X-Turn": turn } });
      if (file) this.text = readText(file);
      if (folder) this.names = readFolder(folder).map(({ name, isFolder }) => (isFolder ? `${name}/` : name));
    }
    const page = this.page && `${this.page.status} ${this.page.headers["x-told"]} ${this.page.text()}`;
    emit.record({ body: [page, this.text, this.names?.join(" ")].join("|") });
  }
}
export const { lifecycle, collect } = whimbrel.collector(Reader);
"#;

/// Answers one request with `200`, `X-Told: TURN` and this text.
fn answer(mut stream: impl Read + Write, text: &str) {
    let lines = BufReader::new(&mut stream).lines();
    let request: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let told = request.iter().find_map(|line| line.to_lowercase().strip_prefix("x-turn: ").map(String::from));
    let told = told.unwrap_or_default();
    let length = text.len();
    // A client that is gone needs no answer.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nX-Told: {told}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    );
    let _ = stream.read(&mut [0; 16]);
}

/// A server that answers over and over.
fn server(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(|stream| answer(stream, text)));
    address
}

#[test]
fn granted_pages_files_and_folders_are_read_over_and_over_and_others_are_not() {
    let plugin = Plugin::new("http, files", READER);
    if !plugin.is_built() {
        return;
    }
    let shelf = plugin.home.path().join("shelf");
    fs::create_dir_all(shelf.join("inner")).expect("a folder");
    fs::write(shelf.join("note"), "größer\n").expect("a file");
    let address = server("näher");
    let (url, file, folder) = (format!("http://{address}/a?b"), shelf.join("note"), shelf.clone());
    let granted = [
        format!("http=http://{address}"),
        format!("read={}", shelf.to_str().expect("a temporary folder's name is text")),
    ];
    let grants = ["--grant", &granted[0], "--grant", &granted[1]];
    let config = serde_json::json!({"url": url, "file": file, "folder": folder, "often": 200});
    let output = plugin.collect(&config, &grants);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("200 199 näher|größer"), "{}", said(&output));
    assert!(said(&output).contains("|inner/ note"), "{}", said(&output));

    let socket = plugin.home.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(|stream| answer(stream, "nah")));
    let socket = socket.to_str().expect("a temporary folder's name is text");
    let host: String = socket.bytes().map(|byte| format!("{byte:02x}")).collect();
    let config = serde_json::json!({"url": format!("http+unix://{host}/")});
    let output = plugin.collect(&config, &["--grant", &format!("unix={socket}")]);
    assert!(said(&output).contains("200 0 nah"), "{}", said(&output));

    let refused = |config: Value, grants: &[&str], parts: &[&str]| {
        let text = said(&plugin.collect(&config, grants));
        for part in parts {
            assert!(text.contains(part), "{config}: {part:?} is not in: {text}");
        }
    };
    let elsewhere = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    refused(serde_json::json!({"url": url}), &grants[2..], &["unavailable: ", "not granted", &granted[0]]);
    refused(serde_json::json!({"file": elsewhere}), &grants, &["denied: ", "no granted folder holds it"]);
    refused(serde_json::json!({"file": shelf.join("none")}), &grants, &["unavailable: ", "no entry"]);
    refused(serde_json::json!({"folder": file}), &grants, &["unavailable: ", "not directory"]);
}

#[test]
fn whole_numbers_arrive_with_all_of_their_64_bits() {
    let plugin = Plugin::new(
        "",
        r#"
import * as whimbrel from "./whimbrel.js";

const of = { text: "ö", yes: true, no: false, none: null, list: [1, "two", 2.5], bytes: new Uint8Array([1, 2]), large: -(2n ** 60n) - 1n };
class Large {
  constructor() {}
  collect(emit) {
    emit.gauge({ name: "exact", unit: "By", description: "told" }, 2n ** 53n + 1n, of);
    emit.gauge({ name: "exact", unit: "By", description: "told" }, 7);
    emit.gauge({ name: "typed", unit: "By", description: "told" }, 7, of);
    emit.counter({ name: "counted" }, 2n ** 63n - 1n, {}, whimbrel.now());
    emit.upDownCounter({ name: "least" }, -(2n ** 63n));
    emit.gauge({ name: "small" }, 5n);
    emit.gauge({ name: "rounded" }, JSON.parse("9007199254740993"));
    emit.gauge({ name: "read" }, JSON.parse("9007199254740993", whimbrel.exact));
    emit.gauge({ name: "beyond" }, 2 ** 70);
    emit.record({ body: 2n ** 62n + 1n });
    try {
      emit.gauge({ name: "none" }, 2n ** 63n);
    } catch (error) {
      whimbrel.log.warn(error.message);
    }
  }
}
export const { lifecycle, collect } = whimbrel.collector(Large);
"#,
    );
    if !plugin.is_built() {
        return;
    }
    let output = plugin.collect(&serde_json::json!({}), &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = String::from_utf8(output.stdout.clone()).expect("JSON is text");
    let batches: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is a batch")).collect();
    let metrics: Vec<&Value> = batches
        .iter()
        .filter_map(|batch| batch.pointer("/resourceMetrics/0/scopeMetrics/0/metrics")?.as_array())
        .flatten()
        .collect();
    let metric = |name: &str| {
        let found = metrics.iter().find(|metric| metric["name"] == name);
        *found.unwrap_or_else(|| panic!("{name} is not in {lines}"))
    };
    let point = |name: &str, at: usize| {
        let data = ["gauge", "sum"].iter().find_map(|kind| metric(name).get(kind));
        &data.expect("a gauge or a sum")["dataPoints"][at]
    };
    for (name, at, value) in [
        ("exact", 0, "9007199254740993"),
        ("exact", 1, "7"),
        ("counted", 0, "9223372036854775807"),
        ("least", 0, "-9223372036854775808"),
        ("small", 0, "5"),
        ("rounded", 0, "9007199254740992"),
        ("read", 0, "9007199254740993"),
    ] {
        assert_eq!(point(name, at)["asInt"], value, "{name}");
    }
    assert_eq!(point("beyond", 0)["asDouble"], 2_f64.powi(70));
    // Both ways of encoding come to the same.
    let (exact, typed) = (metric("exact"), metric("typed"));
    for key in ["unit", "description"] {
        assert_eq!(exact[key], typed[key]);
    }
    assert_eq!(point("exact", 0)["attributes"], point("typed", 0)["attributes"]);
    let large = point("typed", 0)["attributes"].to_string();
    assert!(large.contains("-1152921504606846977"), "{large}");
    assert_eq!(metric("counted")["sum"]["isMonotonic"], true);
    assert_eq!(metric("counted")["sum"]["aggregationTemporality"], 2);
    for name in ["exact", "typed", "counted"] {
        let times = ["timeUnixNano", "startTimeUnixNano"].map(|key| point(name, 0).get(key).is_some());
        assert_eq!(times, [true, name == "counted"], "{name}");
    }
    assert!(lines.contains(r#""body":{"intValue":"4611686018427387905"}"#), "{lines}");

    let text = said(&output);
    assert!(text.contains("beyond 2^53 a Number misses whole numbers"), "{text}");
    assert!(text.contains("metric=rounded") && !text.contains("metric=read"), "{text}");
    assert!(text.contains("9223372036854775808 has more than 64 bits"), "{text}");
}

#[test]
fn what_is_not_in_the_manifest_or_has_another_name_is_told_at_the_build() {
    for (source, wasi, parts) in [
        (r#"import "./http.js";"#, "files", &["this needs `wasi: [http]` in plugin.yaml"][..]),
        (r#"import "./files.js";"#, "http", &["this needs `wasi: [files]` in plugin.yaml"]),
        (
            r#"import { Fields } from "wasi:http/types@0.2.12";"#,
            "http",
            &["WASI is imported from build/wasi-http.js", "wasi:http/types@0.2.12"],
        ),
    ] {
        let plugin = Plugin::new(wasi, source);
        let output = plugin.run(&["plugin", "build"]);
        let text = said(&output);
        if author::is_skipped(&text) {
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{source}: {text}");
        for part in parts {
            assert!(text.contains(part), "{source}: {part:?} is not in: {text}");
        }
        assert!(!plugin.folder().join("build/tried.wasm").exists());
    }
}
