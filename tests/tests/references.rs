//! Plugins from registries, signatures and bundles of compiled code, over the real programs and a real registry.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use whimbrel_tests::{
    agent::Home,
    programs::program,
    registry::{self, Registry},
    single::{self, is_set_aside, key, plugin, quiet, refused, runs, said, seen, shipped, text, yaml},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_plugin_from_a_registry_outlives_the_registry_and_follows_its_tag() {
    let Some(mut registry) = Registry::start() else { return };
    let home = Home::new("");
    let tag = registry.reference("team/x:1");
    let pushed = plugin(&home, &["push", text(&quiet(&home, "first")), &tag]);
    assert!(pushed.starts_with(&format!("{tag}@sha256:")), "{pushed}");
    home.configure(&yaml(&tag, ""));

    let agent = home.start_and_wait();
    let first = seen(&home, "it runs", runs);
    assert!(first["identity"].to_string().contains("first"), "{first}");
    assert!(agent.terminate().success());

    // Down at the start: what was here before runs, and the log says which.
    registry.stop();
    let agent = home.start_and_wait();
    seen(&home, "it runs without the registry", runs);
    let digest = pushed.trim().rsplit_once('@').expect("a digest").1.to_owned();
    let log = home.log();
    let line = log
        .lines()
        .find(|line| line.contains("what it gave before is used"))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(&digest) && line.contains("can't be reached"), "{line}");

    // Reload while it is down changes nothing; when the tag has moved, the new one runs.
    let reload = |expected: &str| {
        let answer = single::reload(&home);
        assert_eq!(answer["changed"].to_string(), expected, "{answer}");
    };
    reload("[]");
    registry.resume();
    reload("[]");
    let again = plugin(&home, &["push", text(&quiet(&home, "second")), &tag]);
    assert_ne!(again, pushed);
    reload("[\"x\"]");
    seen(&home, "the new one runs", |c| runs(c) && c["identity"].to_string().contains("second"));
    assert!(home.log().contains("the tag has moved"), "{}", home.log());
    reload("[]");
    assert!(agent.terminate().success());

    // By digest, nothing moves: the first one, though the tag names another, and from the store alone.
    registry.stop();
    home.configure(&yaml(pushed.trim(), ""));
    let agent = home.start_and_wait();
    seen(&home, "the first one runs", |c| runs(c) && c["identity"].to_string().contains("first"));
    assert!(agent.terminate().success());
}

#[test]
fn what_was_changed_in_the_store_is_fetched_again_and_never_used() {
    let Some(registry) = Registry::start() else { return };
    let home = Home::new("");
    let component = quiet(&home, "first");
    let reference = plugin(&home, &["push", text(&component), &registry.reference("x:1")]);
    home.configure(&yaml(reference.trim(), ""));
    let agent = home.start_and_wait();
    seen(&home, "it runs", runs);
    assert!(agent.terminate().success());

    let original = fs::read(&component).expect("it is there");
    let blobs = fs::read_dir(home.data().join("plugin-store/blobs")).expect("the store is there");
    let blob = blobs
        .map(|entry| entry.expect("an entry").path())
        .find(|path| fs::read(path).expect("a file") == original)
        .expect("the plugin is kept as it is");
    fs::copy(quiet(&home, "other"), &blob).expect("a file can be written");
    let agent = home.start_and_wait();
    let collector = seen(&home, "it runs", runs);
    assert!(collector["identity"].to_string().contains("first"), "{collector}");
    assert!(home.log().contains("was changed or cut off"), "{}", home.log());
    assert_eq!(fs::read(&blob).expect("a file"), original, "and is whole again");
    assert!(agent.terminate().success());
}

#[test]
fn a_registry_that_asks_is_told_and_its_password_is_not_shown() {
    let Some(registry) = Registry::start_closed() else { return };
    let home = Home::new("");
    let tag = registry.reference("x:1");
    let component = quiet(&home, "first");
    let denied = refused(&home, &["push", text(&component), &tag]);
    assert!(denied.contains("docker login"), "{denied}");
    let pushed = home
        .command(&["plugin", "push", text(&component), &tag])
        .env("WHIMBREL_REGISTRY_USERNAME", registry::USER)
        .env("WHIMBREL_REGISTRY_PASSWORD", registry::PASSWORD)
        .output()
        .expect("whimbrel starts");
    assert!(pushed.status.success(), "{}", said(&pushed));

    // Without a login it waits, and says what to do; with one it runs, without a restart.
    home.configure(&yaml(&tag, ""));
    let agent = home.start_and_wait();
    let waiting = seen(&home, "it waits", |c| c["state"] == "backing_off" || c["last_problem"].is_string());
    assert!(waiting["last_problem"].to_string().contains("plugins.registries"), "{waiting}");
    fs::write(home.path().join("password"), format!("{}\n", registry::PASSWORD))
        .expect("a file can be written");
    let login = format!(
        "plugins: {{registries: {{\"{}\": {{username: {}, password: {{file: password}}}}}}}}\n",
        registry.address,
        registry::USER
    );
    home.configure(&yaml(&tag, &login));
    let reloaded = home.run(&["reload"]);
    assert!(reloaded.status.success(), "{}", said(&reloaded));
    seen(&home, "it runs", runs);
    assert!(agent.terminate().success());
    let shown = said(&home.run(&["config", "show", "--effective"])) + &said(&home.run(&["config", "show"]));
    for text in [home.log(), shown] {
        assert!(!text.contains(registry::PASSWORD), "{text}");
    }
}

#[test]
fn docker_s_own_login_is_used() {
    let Some(registry) = Registry::start_closed() else { return };
    let home = Home::new("");
    // base64 of "ada:hunter2", as `docker login` writes it.
    let docker = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"YWRhOmh1bnRlcjI=\"}}}}}}", registry.address);
    fs::write(home.path().join("config.json"), docker).expect("a file can be written");
    let with_login = |args: &[&str]| {
        let output = home.command(args).env("DOCKER_CONFIG", home.path()).output().expect("whimbrel starts");
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        said(&output)
    };
    let tag = registry.reference("x:1");
    with_login(&["plugin", "push", text(&quiet(&home, "first")), &tag]);
    let inspected = with_login(&["plugin", "inspect", &tag]);
    assert!(inspected.starts_with("first 0.0.1"), "{inspected}");
    let ran = with_login(&["plugin", "run", &tag]);
    assert!(ran.contains("first"), "{ran}");
}

#[test]
fn what_is_no_file_is_inspected_by_its_name_and_with_the_digest_to_pin() {
    let home = Home::new("");
    let inspected = plugin(&home, &["inspect", "builtin:host"]);
    assert!(inspected.contains("  plugin        builtin:host ("), "{inspected}");
    for command in ["inspect", "run", "verify"] {
        let told = refused(&home, &[command, "https://a.example/x.wasm"]);
        assert!(told.contains("is a URL, and a plugin is a file or in a registry: fetch it"), "{told}");
    }
    let told = refused(&home, &["run", text(&home.path().join("whimbrel.yaml"))]);
    assert_eq!(told.matches("it is no WebAssembly component").count(), 1, "{told}");
    let told = refused(&home, &["inspect", "oci://127.0.0.1:1/x:1"]);
    assert_eq!(told.matches("can't be reached").count(), 1, "{told}");

    let Some(registry) = Registry::start() else { return };
    let tag = registry.reference("x:1");
    let pinned = plugin(&home, &["push", text(&quiet(&home, "first")), &tag]);
    let inspected = plugin(&home, &["inspect", &tag]);
    assert!(inspected.contains(&format!("  plugin        {tag} (")), "{inspected}");
    assert!(inspected.contains(&format!("  pinned        {pinned}")), "{pinned}{inspected}");
    let json = plugin(&home, &["inspect", pinned.trim(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&report["plugin"], &report["pinned"]), (&pinned.trim().into(), &pinned.trim().into()));
}

#[test]
fn with_trust_only_signed_and_unchanged_plugins_run() {
    let home = Home::new("");
    let (ours, theirs) = (key(&home, "ours.key"), key(&home, "theirs.key"));
    let component = quiet(&home, "signed");
    let trust = "plugins: {trust: [{name: ours, key_file: ours.key.pub}]}\n";
    home.configure(&yaml(text(&component), trust));

    let verify = ["verify", text(&component)];
    let checked = |part: &str| {
        let output = home.run(&["check"]);
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
        assert!(refused(&home, &verify).contains(part));
    };
    checked("it is not signed");
    let agent = home.start_and_wait();
    let aside = seen(&home, "the unsigned one is refused", is_set_aside);
    assert!(aside["last_problem"].to_string().contains("whimbrel plugin sign"), "{aside}");

    // Signed by somebody else, then by us as well: it runs after a reload.
    plugin(&home, &["sign", text(&component), "--key", text(&theirs)]);
    checked("plugins.trust takes ours only");
    let signed = plugin(&home, &["sign", text(&component), "--key", text(&ours)]);
    assert!(signed.contains("name signed, version 0.0.1"), "{signed}");
    let verified = plugin(&home, &verify);
    assert!(verified.contains("signed by ours"), "{verified}");
    assert!(plugin(&home, &[&verify[..], &["--key", "theirs.key.pub"]].concat()).contains("theirs.key.pub"));
    let reloaded = home.run(&["reload"]);
    assert!(said(&reloaded).contains('x'), "{}", said(&reloaded));
    seen(&home, "the signed one runs", runs);

    // Another component under the old signature.
    let other = quiet(&home, "other");
    fs::copy(&other, &component).expect("a file can be written");
    checked("it was changed after it was signed by ours");
    assert!(agent.terminate().success());
    let agent = home.start_and_wait();
    let aside = seen(&home, "the changed one is refused", is_set_aside);
    assert!(aside["last_problem"].to_string().contains("was changed after"), "{aside}");
    assert!(agent.terminate().success());

    // What is shipped in the agent needs no signature; what is no signature is told.
    home.configure(&yaml("builtin:heartbeat", trust));
    let agent = home.start_and_wait();
    seen(&home, "the builtin runs", runs);
    assert!(agent.terminate().success());
    fs::write(home.path().join("signed.wasm.sig"), "not a signature\n").expect("a file can be written");
    home.configure(&yaml(text(&component), trust));
    checked("signature can't be read: line 1");
}

#[test]
fn a_signature_that_arrives_is_seen_where_files_are_watched() {
    let home = Home::new("");
    let ours = key(&home, "ours.key");
    let component = quiet(&home, "signed");
    let trust = "plugins: {trust: [{name: ours, key_file: ours.key.pub}]}\nreload: {watch: true}\n";
    home.configure(&yaml(text(&component), trust));
    let agent = home.start_and_wait();
    seen(&home, "the unsigned one is refused", is_set_aside);
    plugin(&home, &["sign", text(&component), "--key", text(&ours)]);
    seen(&home, "it runs, and nobody asked for a reload", runs);
    assert!(agent.terminate().success());
}

#[test]
fn signatures_travel_through_a_registry() {
    let Some(registry) = Registry::start() else { return };
    let home = Home::new("");
    let ours = key(&home, "ours.key");
    let (signed, unsigned) = (quiet(&home, "signed"), quiet(&home, "unsigned"));
    plugin(&home, &["sign", text(&signed), "--key", text(&ours)]);
    let (good, bad) = (registry.reference("good:1"), registry.reference("bad:1"));
    plugin(&home, &["push", text(&signed), &good]);
    plugin(&home, &["push", text(&unsigned), &bad]);
    let trust = "plugins: {trust: [{name: ours, key_file: ours.key.pub}]}\n";
    home.configure(&yaml(&good, trust));
    assert!(plugin(&home, &["verify", &good]).contains("signed by ours"));
    assert!(refused(&home, &["verify", &bad]).contains("it is not signed"));
    let agent = home.start_and_wait();
    seen(&home, "the signed one runs", runs);
    home.configure(&yaml(&bad, trust));
    let reloaded = home.run(&["reload"]);
    assert_eq!(reloaded.status.code(), Some(1), "{}", said(&reloaded));
    assert!(said(&reloaded).contains("not signed"), "{}", said(&reloaded));
    let aside =
        seen(&home, "the unsigned one is refused", |c| c["last_problem"].to_string().contains("not signed"));
    assert!(!runs(&aside) || aside["plugin"] != bad.as_str(), "{aside}");
    drop(agent);
}

#[test]
fn a_bundle_runs_without_a_compiler_where_its_key_may_ship_native_code() {
    let home = Home::new("");
    let (native, plain) = (key(&home, "native.key"), key(&home, "plain.key"));
    let heartbeat = shipped("heartbeat.wasm");
    let bundle = home.path().join("heartbeat.bundle");
    let compile = ["compile", text(&heartbeat), "-o", text(&bundle), "--target", HERE];
    let made = plugin(&home, &[&compile[..], &["--key", text(&native)]].concat());
    assert!(made.contains("signed by"), "{made}");
    let inspected = plugin(&home, &["inspect", text(&bundle)]);
    assert!(inspected.contains("compiled for"), "{inspected}");
    // The same bytes that were signed.
    let signed = made.split("SHA-256 ").nth(1).expect("the statement tells it").trim();
    assert!(inspected.contains(&format!("  sha256        {signed}\n")), "{made}{inspected}");

    let trust = "plugins: {trust: [{name: native, key_file: native.key.pub, may_ship_native: true}, \
                 {name: plain, key_file: plain.key.pub}]}\n";
    let start = |yaml: &str| {
        home.configure(yaml);
        let log = fs::File::create(home.path().join("agent.log")).expect("the log opens");
        home.command(&["run"])
            .env("WHIMBREL_PLUGIN_TOOL", "/nowhere")
            .env("WHIMBREL_PLUGIN_CACHE", home.path().join("cache"))
            .stderr(log)
            .spawn()
            .map(Killed)
            .expect("whimbrel starts")
    };
    {
        let _agent = start(&yaml(text(&bundle), trust));
        seen(&home, "it runs, and no compiler is there", runs);
    }
    let refused = |yaml: &str, part: &str| {
        let _agent = start(yaml);
        let aside = seen(&home, part, is_set_aside);
        assert!(aside["last_problem"].to_string().contains(part), "{part}: {aside}");
    };
    refused(&yaml(text(&bundle), ""), "may_ship_native");
    let whole = fs::read(&bundle).expect("it is there");
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&bundle, &changed).expect("a file can be written");
    refused(&yaml(text(&bundle), trust), "it was changed after it was signed by native");
    fs::write(&bundle, &whole[..middle]).expect("a file can be written");
    refused(&yaml(text(&bundle), trust), "it was changed after it was signed by native");
    // Cut off and then signed: taken apart with care, and refused.
    plugin(&home, &["sign", text(&heartbeat_copy(&home)), "--key", text(&native)]);
    fs::write(&bundle, &whole).expect("a file can be written");
    fs::remove_file(home.path().join("heartbeat.bundle.sig")).expect("it was there");
    plugin(&home, &["sign", text(&bundle), "--key", text(&plain)]);
    refused(&yaml(text(&bundle), trust), "is trusted with components only");
}

#[test]
fn a_bundle_for_another_machine_is_refused_by_name() {
    let home = Home::new("");
    let native = key(&home, "native.key");
    let bundle = home.path().join("other.bundle");
    let other =
        if cfg!(target_arch = "aarch64") { "x86_64-unknown-linux-gnu" } else { "aarch64-unknown-linux-gnu" };
    let heartbeat = shipped("heartbeat.wasm");
    plugin(
        &home,
        &["compile", text(&heartbeat), "-o", text(&bundle), "--target", other, "--key", text(&native)],
    );
    let trust = "plugins: {trust: [{name: native, key_file: native.key.pub, may_ship_native: true}]}\n";
    home.configure(&yaml(text(&bundle), trust));
    let checked = home.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78), "{}", said(&checked));
    let found = said(&checked);
    assert!(found.contains("it was compiled for") && found.contains("whimbrel.yaml:"), "{found}");
    let agent = home.start_and_wait();
    let aside = seen(&home, "it is refused", is_set_aside);
    let problem = aside["last_problem"].to_string();
    assert!(problem.contains("it was compiled for") && problem.contains("--target"), "{problem}");
    drop(agent);
}

#[test]
fn a_bundle_that_the_disk_has_no_room_for_is_not_there() {
    let home = Home::new("");
    let bundle = home.path().join("full.bundle");
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 16; trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(program("whimbrel-plugin"))
        .args(["compile", text(&shipped("host.wasm")), "-o", text(&bundle)])
        .output()
        .expect("sh starts");
    assert!(!output.status.success(), "{}", said(&output));
    let left: Vec<_> =
        fs::read_dir(home.path()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("bundle")), "{left:?}");
}

#[test]
fn a_registry_that_sends_without_end_costs_its_child_only() {
    let home = Home::new("");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                if !request[..length].starts_with(b"GET /v2/x/manifests") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                    return;
                }
                // The other side is to hang up.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
                while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
            });
        }
    });
    home.configure(&format!(
        "collectors:\n  other: {{plugin: \"builtin:heartbeat\", interval: 100ms}}\n  \
         x: {{plugin: \"oci://{address}/x:1\"}}\nexporters:\n  none: {{endpoint: \"http://127.0.0.1:9\"}}\n\
         plugins: {{fetch_timeout: 20s}}\n"
    ));
    let mut agent = home.start_and_wait();
    let status = wait::until("the registry is given up", PATIENCE, || {
        let status = agent.status().unwrap_or_default();
        let problem = status["collectors"][1]["last_problem"].clone();
        if problem.is_string() { Ok(status) } else { Err(status.to_string()) }
    });
    assert!(status["collectors"][0]["collects"].as_u64() > Some(2), "the other collects: {status}");
    let memory = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("Linux");
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 200 << 10, "the agent held {peak} KiB");
    drop(agent);
}

/// The target of the machine that the tests run on.
const HERE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

fn heartbeat_copy(home: &Home) -> PathBuf {
    let copy = home.path().join("copy.wasm");
    fs::copy(shipped("heartbeat.wasm"), &copy).expect("a file can be copied");
    copy
}

/// An agent started by hand; killed when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
