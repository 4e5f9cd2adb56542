//! Plugins in registries as `wkg` leaves and finds them, and what a running agent makes of a registry's changes.

use std::{fs, io::Write as _, path::Path};

use serde::Deserialize;
use serde_json::{Value, json};
use whimbrel_tests::{
    agent::Home,
    disk::{SmallDisk, is_root},
    registry::{Registry, digest},
    single::{key, plugin, quiet, refused, reload, runs, seen, text, yaml},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM: &str = "application/wasm";

/// An image manifest.
fn image(config: &Value, layers: &[Value], annotations: Value) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations})
}

/// What `wkg publish` makes of a component (crates `wasm-pkg-client` 0.16, `OciBackend::publish`, and `oci-wasm` 0.6,
/// `WasmConfig`), with more annotations, as `wkg oci push --annotation` adds them.
fn push_like_wkg(
    registry: &Registry,
    component: &Path,
    repository: &str,
    tag: &str,
    more: &[(&str, &str)],
) -> String {
    let bytes = fs::read(component).expect("it is there");
    let config = json!({
        "created": "2026-03-01T12:34:56.123456789Z",
        "author": null,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest(&bytes)],
        "component": {"exports": ["whimbrel:plugin/collect@0.1.0"], "imports": [], "target": null},
    });
    let config = registry.put_blob(repository, WASM_CONFIG, config.to_string().as_bytes());
    let mut layer = registry.put_blob(repository, WASM, &bytes);
    layer["annotations"] = json!({"org.opencontainers.image.title": "x.wasm"});
    let mut annotations = json!({"org.opencontainers.image.version": tag});
    for (name, value) in more {
        annotations[name] = json!(value);
    }
    registry.put_manifest(repository, tag, &image(&config, &[layer], annotations))
}

#[test]
fn what_wkg_pushed_runs_and_an_annotation_carries_the_signature() {
    let Some(registry) = Registry::start() else { return };
    let home = Home::new("");
    let component = quiet(&home, "theirs");
    let ours = key(&home, "ours.key");
    let tag = registry.reference("team/x:1");
    push_like_wkg(&registry, &component, "team/x", "1", &[]);
    assert!(plugin(&home, &["inspect", &tag]).starts_with("theirs 0.0.1"));
    let trust = "plugins: {trust: [{name: ours, key_file: ours.key.pub}]}\n";
    home.configure(&yaml(&tag, trust));
    assert!(refused(&home, &["verify", &tag]).contains("it is not signed"));

    plugin(&home, &["sign", text(&component), "--key", text(&ours)]);
    let signature = fs::read_to_string(home.path().join("theirs.wasm.sig")).expect("it was signed");
    let annotation = [("dev.whimbrel.plugin.signature.v1", signature.as_str())];
    push_like_wkg(&registry, &component, "team/x", "1", &annotation);
    assert!(plugin(&home, &["verify", &tag]).contains("signed by ours"));
    let agent = home.start_and_wait();
    let collector = seen(&home, "it runs", runs);
    assert!(collector["identity"].to_string().contains("theirs"), "{collector}");
    assert!(agent.terminate().success());
}

/// The configuration as `oci-wasm` reads it: all of this must be there, of these types.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig {
    created: String,
    author: Option<String>,
    architecture: String,
    os: String,
    layer_digests: Vec<String>,
    component: Option<Interfaces>,
}

#[derive(Deserialize)]
struct Interfaces {
    exports: Vec<String>,
    imports: Vec<String>,
    target: Option<String>,
}

#[test]
fn what_is_pushed_is_what_wkg_takes() {
    let Some(registry) = Registry::start() else { return };
    let home = Home::new("");
    let component = quiet(&home, "ours");
    let pushed = plugin(&home, &["push", text(&component), &registry.reference("x:1")]);
    let bytes = registry.get("x/manifests/1");
    assert!(pushed.trim().ends_with(&digest(&bytes)), "{pushed}");
    let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
    // What `WasmClient::pull` and `pull_manifest_and_config` insist on.
    assert_eq!(manifest["mediaType"], MANIFEST);
    assert_eq!(manifest["config"]["mediaType"], WASM_CONFIG);
    let layers = manifest["layers"].as_array().expect("an array");
    assert_eq!(layers.len(), 1, "{manifest}");
    assert_eq!(layers[0]["mediaType"], WASM);
    let blob = |descriptor: &Value| {
        let bytes = registry.get(&format!("x/blobs/{}", descriptor["digest"].as_str().expect("a digest")));
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    };
    let original = fs::read(&component).expect("it is there");
    assert_eq!(blob(&layers[0]), original);
    let config: WasmConfig = serde_json::from_slice(&blob(&manifest["config"])).expect("what oci-wasm reads");
    assert_eq!(config.layer_digests, [digest(&original)]);
    assert_eq!((config.architecture.as_str(), config.os.as_str()), ("wasm", "wasip2"));
    assert!(
        config.created.ends_with('Z') && config.author.is_none(),
        "{} {:?}",
        config.created,
        config.author
    );
    let interfaces = config.component.expect("a component says what it exports");
    assert!(interfaces.target.is_none());
    assert!(
        interfaces.exports.iter().any(|name| name == "whimbrel:plugin/collect@0.1.0"),
        "{:?}",
        interfaces.exports
    );
    assert!(
        interfaces.imports.iter().any(|name| name == "whimbrel:plugin/emit@0.1.0"),
        "{:?}",
        interfaces.imports
    );
    // The same file, the same digest.
    assert_eq!(plugin(&home, &["push", text(&component), &registry.reference("x:1")]), pushed);
}

#[test]
fn images_that_are_no_plugins_are_refused_by_what_they_are() {
    let Some(registry) = Registry::start() else { return };
    let home = Home::new("");
    let config = registry.put_blob("x", "application/vnd.oci.image.config.v1+json", b"{}");
    let tar = registry.put_blob("x", "application/vnd.oci.image.layer.v1.tar+gzip", b"\x1f\x8b no wasm");
    let text_file = registry.put_blob("x", WASM, b"no wasm either");
    let container =
        registry.put_manifest("x", "container", &image(&config, std::slice::from_ref(&tar), json!({})));
    registry.put_manifest("x", "two", &image(&config, &[tar, text_file.clone()], json!({})));
    registry.put_manifest("x", "text", &image(&config, &[text_file], json!({})));
    let index = "application/vnd.oci.image.index.v1+json";
    let one = json!({
        "mediaType": MANIFEST,
        "digest": container,
        "size": registry.get("x/manifests/container").len(),
        "platform": {"architecture": "amd64", "os": "linux"},
    });
    registry.put_manifest("x", "index", &json!({"schemaVersion": 2, "mediaType": index, "manifests": [one]}));
    for (tag, part) in [
        ("container", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("two", "2 layers"),
        ("text", "a text file"),
        ("index", "image index"),
        ("absent", "absent"),
    ] {
        let told = refused(&home, &["inspect", &registry.reference(&format!("x:{tag}"))]);
        assert!(told.contains(part), "{tag}: {told}");
    }
}

#[test]
fn what_runs_goes_on_when_what_is_to_follow_can_t_be_fetched_or_is_not_trusted() {
    let Some(mut registry) = Registry::start() else { return };
    let home = Home::new("");
    let ours = key(&home, "ours.key");
    let (first, second) = (quiet(&home, "first"), quiet(&home, "second"));
    plugin(&home, &["sign", text(&first), "--key", text(&ours)]);
    let (tag, never) = (registry.reference("x:1"), registry.reference("x:never-here"));
    plugin(&home, &["push", text(&first), &tag]);
    let trust = "plugins: {trust: [{name: ours, key_file: ours.key.pub}]}\n";
    home.configure(&yaml(&tag, trust));
    let agent = home.start_and_wait();
    seen(&home, "it runs", runs);
    let goes_on = |part: &str, answer: &Value| {
        let problem = answer["failed"][0]["problem"].as_str().unwrap_or_default();
        assert!(problem.contains(part), "{part}: {answer}");
        let before = seen(&home, "it still runs", runs);
        assert!(before["identity"].to_string().contains("first"), "{before}");
        assert!(before["refused_change"].to_string().contains(part), "{before}");
        let collects = before["collects"].as_u64();
        seen(&home, "it goes on", |one| one["collects"].as_u64() > collects);
    };

    // The tag moves to what nobody has signed.
    plugin(&home, &["push", text(&second), &tag]);
    goes_on("it is not signed", &reload(&home));
    // Nothing has moved since: nothing is tried.
    assert_eq!(reload(&home)["unchanged"], 1);

    // Another tag, and the registry is down.
    registry.stop();
    home.configure(&yaml(&never, trust));
    goes_on("can't be reached", &reload(&home));

    // Signed, it follows; in the old place, without a restart.
    registry.resume();
    plugin(&home, &["sign", text(&second), "--key", text(&ours)]);
    plugin(&home, &["push", text(&second), &tag]);
    home.configure(&yaml(&tag, trust));
    let answer = reload(&home);
    assert_eq!(answer["changed"], json!(["x"]), "{answer}");
    seen(&home, "the new one took over", |one| runs(one) && one["identity"].to_string().contains("second"));
    assert!(agent.terminate().success());
}

#[test]
fn a_full_disk_costs_another_fetch_and_leaves_nothing_half_written() {
    if !is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let Some(mut registry) = Registry::start() else { return };
    let home = Home::new("");
    let tag = registry.reference("x:1");
    plugin(&home, &["push", text(&quiet(&home, "first")), &tag]);
    home.configure(&yaml(&tag, ""));
    let store = home.data().join("plugin-store");
    let _disk = SmallDisk::mount(&store, 1);
    let filler = store.join("filler");
    // One page is left: less than the plugin has.
    let mut file = fs::File::create(&filler).expect("a file can be made");
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().expect("it is there").len();
    file.set_len(length - 4096).expect("a file can be cut");
    // Or its space would stay with it.
    drop(file);

    let agent = home.start_and_wait();
    seen(&home, "it runs", runs);
    assert!(home.log().contains("could not be kept in the store"), "{}", home.log());
    assert!(agent.terminate().success());
    for folder in ["blobs", "refs"] {
        let left = fs::read_dir(store.join(folder)).map(Iterator::count).unwrap_or(0);
        assert_eq!(left, 0, "{folder} holds nothing");
    }

    // With room it is kept, and then needs no registry.
    fs::remove_file(&filler).expect("a file can be removed");
    let agent = home.start_and_wait();
    seen(&home, "it runs", runs);
    assert!(agent.terminate().success());
    registry.stop();
    let agent = home.start_and_wait();
    seen(&home, "it runs from the store", runs);
    assert!(agent.terminate().success());
}
