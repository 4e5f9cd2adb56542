//! A real registry, Debian's `docker-registry`, on a free port with a folder of its own.
//!
//! The program is taken from `$WHIMBREL_DOCKER_REGISTRY`, from the PATH, or out of Debian's package, which is fetched once with
//! `apt-get download`. Where none can be had, tests say so and pass; not where `WHIMBREL_ALL=1` forbids that.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::wait;

const PROGRAM: &str = "docker-registry";
const PATIENCE: Duration = Duration::from_secs(30);
/// The one user of a registry that asks: bcrypt of [`PASSWORD`], the only hash that it takes.
const HTPASSWD: &str = "ada:$2y$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";
/// Whom a registry knows that asks.
pub const USER: &str = "ada";
/// Her password.
pub const PASSWORD: &str = "hunter2";

/// A running registry; killed when dropped.
pub struct Registry {
    folder: tempfile::TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Registry {
    /// One that takes what anybody brings; `None`, and a word about it, where there is no such program.
    pub fn start() -> Option<Registry> {
        Self::start_with("")
    }

    /// One that only [`USER`] may read and write.
    pub fn start_closed() -> Option<Registry> {
        Self::start_with("auth: {htpasswd: {realm: test, path: htpasswd}}\n")
    }

    fn start_with(more: &str) -> Option<Registry> {
        program()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port can be found");
        let yaml = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
             http: {{addr: \"{address}\", secret: x}}\n{more}"
        );
        fs::write(folder.path().join("registry.yml"), yaml).expect("a file can be written there");
        fs::write(folder.path().join("htpasswd"), HTPASSWD).expect("a file can be written there");
        let mut registry = Registry { folder, address, child: None };
        registry.resume();
        Some(registry)
    }

    /// `oci://` and this registry's address, with a name and a tag.
    pub fn reference(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }

    /// Puts bytes into a repository, and answers their descriptor as a manifest names them.
    ///
    /// # Panics
    /// When the registry does not take them.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let begun = ureq::post(format!("http://{}/v2/{repository}/blobs/uploads/", self.address))
            .send_empty()
            .expect("an upload begins");
        let place = begun.headers()["location"].to_str().expect("text").to_owned();
        let joint = if place.contains('?') { '&' } else { '?' };
        ureq::put(format!("{place}{joint}digest={digest}"))
            .content_type("application/octet-stream")
            .send(bytes)
            .expect("an upload ends");
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Puts a manifest under a tag, and answers its digest.
    ///
    /// # Panics
    /// When the registry does not take it.
    pub fn put_manifest(&self, repository: &str, tag: &str, manifest: &Value) -> String {
        let media_type = manifest["mediaType"].as_str().expect("a manifest says what it is");
        let bytes = manifest.to_string();
        ureq::put(format!("http://{}/v2/{repository}/manifests/{tag}", self.address))
            .content_type(media_type)
            .send(bytes.as_bytes())
            .expect("the registry takes it");
        digest(bytes.as_bytes())
    }

    /// What lies at `/v2/PATH`.
    ///
    /// # Panics
    /// When there is nothing.
    pub fn get(&self, path: &str) -> Vec<u8> {
        ureq::get(format!("http://{}/v2/{path}", self.address))
            .header("accept", "application/vnd.oci.image.manifest.v1+json")
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_vec())
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Ends it; what it was given stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child can be waited for");
        }
    }

    /// Starts it again, where it was.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn resume(&mut self) {
        let program = program().expect("it was there before");
        let child = Command::new(program)
            .args(["serve", "registry.yml"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the registry starts");
        self.child = Some(child);
        let address = self.address;
        wait::until("the registry listens", PATIENCE, || TcpStream::connect(address).map(drop));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `sha256:` and 64 digits.
pub fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn program() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find).as_deref()
}

fn find() -> Option<PathBuf> {
    let named = env::var_os("WHIMBREL_DOCKER_REGISTRY").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        named.into_iter().chain(env::split_paths(&path).map(|dir| dir.join(PROGRAM))).find(|it| it.is_file());
    let problem = match found.map_or_else(unpack, Ok) {
        Ok(program) => return Some(program),
        Err(problem) => problem,
    };
    assert!(
        env::var_os("WHIMBREL_ALL").is_none(),
        "no {PROGRAM}, and WHIMBREL_ALL forbids to skip: {problem}"
    );
    crate::author::tell(&format!("skipped: no {PROGRAM} ({problem})\n"));
    None
}

/// Out of Debian's package, into the folder of builds.
fn unpack() -> Result<PathBuf, String> {
    let test = env::current_exe().expect("a running program knows where it is");
    let target = test.ancestors().nth(3).expect("cargo puts tests into target/PROFILE/deps");
    let folder = target.join(format!("whimbrel-test-{PROGRAM}"));
    let program = folder.join("usr/bin").join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    let fresh = tempfile::tempdir_in(target).map_err(|error| error.to_string())?;
    let run = |command: &mut Command| match command.current_dir(fresh.path()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("apt-get").args(["download", PROGRAM]))?;
    let files = fs::read_dir(fresh.path()).map_err(|error| error.to_string())?;
    let package =
        files.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|it| it == "deb"));
    let package = package.ok_or("apt-get left no package")?;
    run(Command::new("dpkg").arg("-x").arg(package).arg("root"))?;
    // Another test may be doing the same: whichever is first stays.
    let renamed = fs::rename(fresh.path().join("root"), &folder);
    if program.is_file() { Ok(program) } else { Err(format!("it could not be unpacked: {renamed:?}")) }
}
