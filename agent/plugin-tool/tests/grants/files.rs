//! Files: no path leads out of a granted folder, and what is no file keeps nobody waiting.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use serde_json::json;
use whimbrel_plugin_host::{Grants, Reserved};

use crate::reach::Reach;

/// A granted folder with a file, beside one that is not granted with a secret.
struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("granted/inner")).unwrap();
        fs::create_dir_all(at("other")).unwrap();
        fs::write(at("granted/file"), "open").unwrap();
        fs::write(at("granted/inner/deep"), "deep").unwrap();
        fs::write(at("other/secret"), "hunter2").unwrap();
        World { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    fn reading(&self) -> Reach {
        Reach::granted(Grants { read: vec![self.path("granted")], ..Grants::default() })
    }

    fn writing(&self) -> Reach {
        Reach::granted(Grants { write: vec![self.path("granted")], ..Grants::default() })
    }

    fn grant(&self, key: &str, path: &str) -> String {
        format!("grants: {{ {key}: [\"{}\"] }}", self.text(path))
    }
}

#[tokio::test]
async fn a_granted_folder_is_read_under_its_own_path() {
    let world = World::new();
    symlink("inner/deep", world.path("granted/link")).unwrap();
    let folder = world.text("granted");
    let steps = json!([
        {"read": [folder, "file"]},
        {"read": [folder, "inner/../inner/deep"]},
        {"read": [folder, "link"]},
        {"list": [folder, "."]},
    ]);
    world.reading().take(steps).await.is(&["open", "deep", "deep", "file inner link"]);
}

#[tokio::test]
async fn no_path_leads_out_of_it() {
    let world = World::new();
    let (secret, proc) = (world.path("other/secret"), "/proc/self/environ");
    symlink(&secret, world.path("granted/absolute")).unwrap();
    symlink("../other/secret", world.path("granted/relative")).unwrap();
    symlink("../other", world.path("granted/folder")).unwrap();
    symlink(proc, world.path("granted/environ")).unwrap();
    symlink("/proc/self/root", world.path("granted/root")).unwrap();
    let folder = world.text("granted");
    let up = format!("{}etc/passwd", "../".repeat(20));
    let told = world.grant("read", "other");
    for (path, told) in [
        ("../other/secret", told.as_str()),
        ("inner/../../other/secret", &told),
        (secret.to_str().unwrap(), &told),
        ("absolute", &told),
        ("relative", &told),
        ("folder/secret", &told),
        (&up, "grants: { read: [\"/etc\"] }"),
        (proc, "the agent's process"),
        ("environ", "the agent's process"),
        ("root/etc/passwd", "grants: { read: [\"/etc\"] }"),
    ] {
        world.reading().take(json!([{"read": [folder, path]}])).await.is_refused("not-permitted", told);
    }
}

#[tokio::test]
async fn a_link_that_the_guest_makes_leads_nowhere_else() {
    let world = World::new();
    let folder = world.text("granted");
    let steps = json!([{"link": [folder, "../other/secret", "mine"]}, {"read": [folder, "mine"]}]);
    let came = world.writing().take(steps).await;
    assert!(came.steps[1].contains("not-permitted"), "{came:?}");
    let absolute = json!([{"link": [folder, world.text("other/secret"), "mine2"]}]);
    let came = world.writing().take(absolute).await;
    assert!(came.steps[0].contains("not-permitted"), "{came:?}");
}

#[tokio::test]
async fn only_a_folder_granted_for_writing_is_changed() {
    let world = World::new();
    let folder = world.text("granted");
    for path in ["file", "new", "inner/new"] {
        let within = if path == "inner/new" { "granted/inner" } else { "granted" };
        let came = world.reading().take(json!([{"write": [folder, path, "x"]}])).await;
        came.is_refused("not-permitted", &world.grant("write", within));
    }
    let came = world.reading().take(json!([{"link": [folder, "file", "link"]}])).await;
    came.is_refused("not-permitted", &world.grant("write", "granted"));
    let steps = json!([{"write": [folder, "new", "text"]}, {"read": [folder, "new"]}]);
    world.writing().take(steps).await.is(&["4 bytes written", "text"]);
    let came = world.writing().take(json!([{"write": [folder, "../other/new", "x"]}])).await;
    came.is_refused("not-permitted", &world.grant("write", "other"));
    assert!(!world.path("other/new").exists());
    assert_eq!(fs::read_to_string(world.path("granted/file")).unwrap(), "open");
}

#[tokio::test]
async fn what_is_no_file_keeps_nobody_waiting() {
    let world = World::new();
    let mode = rustix::fs::Mode::from_bits_truncate(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, world.path("granted/pipe"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("granted/socket")).unwrap();
    let folder = world.text("granted");
    for path in ["pipe", "socket"] {
        for reach in [world.reading(), world.writing()] {
            let came = reach.take(json!([{"read": [folder, path]}])).await;
            assert!(came.steps[0].contains("unsupported"), "{path}: {came:?}");
        }
    }
}

#[tokio::test]
async fn no_grant_mounts_what_is_the_agents() {
    let world = World::new();
    let reserved = || Reserved { listeners: Vec::new(), paths: vec![world.path("granted/inner")] };
    symlink("granted/inner", world.path("alias")).unwrap();
    for path in ["granted/inner", "granted", "alias", "", "../"] {
        let folder = world.path(path);
        let reach = Reach::granted(Grants { write: vec![folder.clone()], ..Grants::default() });
        let steps = json!([{"list": [folder, "."]}]);
        reach
            .reserved(reserved())
            .take(steps)
            .await
            .is_refused("is not mounted", "belongs to the agent itself");
    }
    for folder in ["/", "/proc", "/proc/self", "/proc/self/fd"] {
        let reach = Reach::granted(Grants { read: vec![folder.into()], ..Grants::default() });
        let came = reach.take(json!([{"list": [folder, "."]}])).await;
        came.is_refused("is not mounted", "belongs to the agent itself");
    }
}

#[tokio::test]
async fn open_files_have_a_bound() {
    let world = World::new();
    let came = world.reading().take(json!([{"open": [world.text("granted"), "file", 1000]}])).await;
    came.is(&["63 open, then quota"]);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_said_and_left_out() {
    let reach = Reach::granted(Grants { read: vec!["/nonexistent/folder".into()], ..Grants::default() });
    let came = reach.take(json!([{"read": ["/nonexistent/folder", "x"]}])).await;
    assert!(came.steps[0].contains("is not mounted"), "{came:?}");
    assert!(
        came.lines.iter().any(|(_, line)| line.contains("/nonexistent/folder can't be opened")),
        "{came:?}"
    );
}
