//! Puts the templates, the Rust SDK, the contract and the adapter for WASI preview 1 into the program, so that `new` needs nothing beside it.
//!
//! The SDK goes along as a small workspace of its own: its manifests as they are, under a root manifest that is cut
//! from ours. No version stands here.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Crates that a plugin in Rust is built with, and where they lie here.
const SDK: [(&str, &str); 2] = [("whimbrel-sdk", "plugin-sdk"), ("whimbrel-otlp", "agent/otlp")];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let root = fs::canonicalize(root)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));

    let templates = root.join("plugin-sdk/templates");
    let mut files = Vec::new();
    walk(&templates, &templates, &mut files)?;
    fs::write(out.join("templates.rs"), table(&files))?;

    let adapter = PathBuf::from("src/author/recipe/preview1.wat");
    println!("cargo::rerun-if-changed={}", adapter.display());
    fs::write(out.join("preview1.wasm"), wat::parse_file(&adapter).map_err(io::Error::other)?)?;

    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    let mut files = Vec::new();
    let mut wanted = BTreeSet::new();
    for (name, folder) in SDK {
        let folder = root.join(folder);
        let mut sources = Vec::new();
        walk(&folder, &folder.join("src"), &mut sources)?;
        files.extend(sources.into_iter().map(|(path, from)| (format!("{name}/{path}"), from)));
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        println!("cargo::rerun-if-changed={}", folder.join("Cargo.toml").display());
        wanted.extend(inherited(&manifest));
        let path = out.join(format!("{name}.toml"));
        fs::write(&path, without_targets(&manifest))?;
        files.push((format!("{name}/Cargo.toml"), path));
    }
    let wit = root.join("wit");
    walk(&root, &wit, &mut files)?;
    let manifest = out.join("sdk.toml");
    fs::write(&manifest, sdk_workspace(&workspace, &wanted))?;
    files.push(("Cargo.toml".to_owned(), manifest));
    files.push(("LICENSE".to_owned(), root.join("LICENSE")));
    fs::write(out.join("sdk.rs"), table(&files))
}

/// All files of a folder, by their path from `base`, in the order of their names. What a build of a template
/// leaves behind is not of it.
fn walk(base: &Path, folder: &Path, found: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !["build", "target", "node_modules", ".venv", "__pycache__"].contains(&name) {
                walk(base, &path, found)?;
            }
        } else {
            let inside = path.strip_prefix(base).map_err(io::Error::other)?;
            found.push((inside.to_string_lossy().into_owned(), path.clone()));
        }
    }
    Ok(())
}

fn table(files: &[(String, PathBuf)]) -> String {
    let mut text = String::from("&[\n");
    for (name, from) in files {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    ({name:?}, include_bytes!({:?})),", from.to_string_lossy());
    }
    text.push(']');
    text
}

/// Names of dependencies that a manifest takes from its workspace.
fn inherited(manifest: &str) -> Vec<String> {
    let lines =
        manifest.lines().filter(|line| line.contains("workspace = true") && !line.starts_with("workspace"));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next().map(str::to_owned)).collect()
}

/// Without benches, tests and examples: they are not taken along.
fn without_targets(manifest: &str) -> String {
    let mut kept = true;
    let lines = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            kept = !line.starts_with("[[");
        }
        kept
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Our root manifest, as far as the SDK's crates inherit from it.
fn sdk_workspace(root: &str, wanted: &BTreeSet<String>) -> String {
    let members: Vec<String> = SDK.iter().map(|(name, _)| format!("{name:?}")).collect();
    let mut text = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(", "));
    let mut section = "";
    for line in root.lines() {
        if line.starts_with('[') {
            section = line;
            if section == "[workspace.package]"
                || section == "[workspace.dependencies]"
                || section.starts_with("[workspace.lints")
            {
                let _ = writeln!(text, "\n{line}");
            }
            continue;
        }
        let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let kept = match section {
            "[workspace.package]" => !key.is_empty(),
            "[workspace.dependencies]" => wanted.contains(key),
            _ => section.starts_with("[workspace.lints") && !key.is_empty(),
        };
        if kept {
            let line = SDK.iter().fold(line.to_owned(), |line, (name, folder)| {
                line.replace(&format!("path = {folder:?}"), &format!("path = {name:?}"))
            });
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
