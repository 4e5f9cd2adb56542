//! What an author does first, in each language: `plugin new`, `build`, `test`, a running agent, `dev`.
//!
//! A language whose tools are missing is skipped with a word on stderr; with WHIMBREL_ALL_LANGUAGES=1, as in CI, it
//! is an error. All templates come to the same figures: they share what `plugin test` expects.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use whimbrel_tests::{agent::Home, stub::Stub, wait};

/// Compiling Python for the first time on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(400);
/// CI: every language must be there.
const ALL: &str = "WHIMBREL_ALL_LANGUAGES";
/// Where CI installs tools, below the user's cache folder.
const TOOLS: [&str; 2] = ["whimbrel-ci/plugin-py/bin", "whimbrel-ci/plugin-js/node_modules/.bin"];

/// A language's template: the file that an author changes, and how the author's own tests are run.
struct Language {
    name: &'static str,
    source: &'static str,
    own_tests: &'static [&'static str],
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn path_with_tools() -> std::ffi::OsString {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = TOOLS.iter().map(|folder| cache.join(folder)).chain(env::split_paths(&path));
    env::join_paths(folders).expect("folders of a PATH make a PATH")
}

/// Debian's compiler for WebAssembly, where rustup has none: `plugins/build/debian-toolchain.sh`.
fn rust_for_wasm(command: &mut Command) {
    const TARGET: &str = "wasm32-unknown-unknown";
    let printed = |what: &[&str]| {
        let output = Command::new("rustc").args(what).output().expect("rustc starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let debian =
        env::var_os("WHIMBREL_WASM_TOOLCHAIN").map_or_else(|| "/opt/rustc-web".into(), PathBuf::from);
    let web = debian.join("usr/bin/rustc");
    if Path::new(&printed(&["--print", "target-libdir", "--target", TARGET])).is_dir() || !web.is_file() {
        return;
    }
    let host = printed(&["--print", "host-tuple"]);
    let linker =
        Path::new(&printed(&["--print", "sysroot"])).join("lib/rustlib").join(host).join("bin/rust-lld");
    command.env("RUSTC", web).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    let libraries = debian.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH));
    command.env("LD_LIBRARY_PATH", libraries);
}

/// A folder with a plugin named `queue-depth`.
struct Author {
    home: Home,
    language: &'static Language,
}

impl Author {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.current_dir(self.folder()).env("PATH", path_with_tools()).stdin(Stdio::null());
        self.around(&mut command);
        command
    }

    fn around(&self, command: &mut Command) {
        if self.language.name == "rust" {
            rust_for_wasm(command);
            // Dependencies and, where need be, the standard library are built once.
            let test = env::current_exe().expect("a running program knows where it is");
            let target = test.ancestors().nth(3).expect("cargo puts tests into target/PROFILE/deps");
            command.env("CARGO_TARGET_DIR", target.join("authoring"));
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("whimbrel starts")
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("queue-depth")
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.folder().join(self.language.source);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(from), "{from:?} is not in {}", path.display());
        fs::write(&path, text.replace(from, to)).expect("a source can be written");
    }
}

/// A command that runs on, with all that it says in two files.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn start(mut command: Command, folder: &Path) -> Self {
        let said = folder.join("said.txt");
        let file = fs::File::create(&said).expect("a file can be made");
        let both = file.try_clone().expect("a file can be shared");
        let child = command.stdout(file).stderr(both).spawn().expect("whimbrel starts");
        Self { child, said }
    }

    fn said(&self) -> String {
        let mut text = String::new();
        fs::File::open(&self.said)
            .and_then(|mut file| file.read_to_string(&mut text))
            .expect("its words are text");
        text
    }

    fn says(&self, part: &str) {
        self.says_after(0, part);
    }

    /// Says so behind the first `after` bytes.
    fn says_after(&self, after: usize, part: &str) {
        wait::until(part, PATIENCE, || {
            let text = self.said();
            if text[after..].contains(part) { Ok(()) } else { Err(text) }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From nothing to figures of a changed plugin, as the README of the template says.
fn first_steps(language: &'static Language) {
    let author = Author { home: Home::new(""), language };
    let since = Instant::now();
    let output = author.home.run(&["plugin", "new", "queue-depth", "--lang", language.name]);
    assert!(output.status.success(), "{}", said(&output));
    let made = since.elapsed();

    let output = author.run(&["plugin", "build"]);
    let text = said(&output);
    if text.contains("is missing (looked for") || text.contains("for WebAssembly is missing") {
        assert!(env::var_os(ALL).is_none_or(|value| value != "1"), "{ALL}=1, and yet: {text}");
        // Where even this can't be written, nobody reads it.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {text}").as_bytes());
        return;
    }
    assert!(output.status.success(), "{text}");
    for part in
        ["build/queue-depth.wasm: queue-depth 0.1.0, ", "imports   whimbrel:plugin/", "emit@0.1.0 (push)"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("wasi:"), "it asks for what no template needs:\n{text}");
    let built = since.elapsed();

    let output = author.run(&["plugin", "test"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches(" ok ").count(), 3, "{text}");
    let tested = since.elapsed();
    let times = format!("{}: new {made:.1?}, build {built:.1?}, test {tested:.1?}\n{text}", language.name);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), times.as_bytes());

    if let Some((program, args)) = language.own_tests.split_first() {
        let mut command = Command::new(program);
        command.args(args).current_dir(author.folder()).env("PATH", path_with_tools());
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{}", said(&output));
    }

    what_is_wrong_is_told(&author);
    its_figures_reach_a_backend(&author);
    a_change_shows(&author);
}

/// A golden file that is not as it should be fails the test, and says where.
fn what_is_wrong_is_told(author: &Author) {
    let golden = author.folder().join("tests/golden/default.json");
    let text = fs::read_to_string(&golden).expect("a golden file");
    fs::write(&golden, text.replace("minute.elapsed", "minute.gone")).expect("a golden file can be written");
    let component = ["--component", "build/queue-depth.wasm"];
    let output = author.run(&[&["plugin", "test", "default"][..], &component].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let shown = "batches[0].resourceMetrics[0].scopeMetrics[0].metrics[0].name: expected \
                 \"queue_depth.minute.gone\", is \"queue_depth.minute.elapsed\"";
    assert!(said(&output).contains(shown), "{}", said(&output));
    fs::write(&golden, text).expect("a golden file can be written");
}

/// The file, named in a running agent's configuration.
fn its_figures_reach_a_backend(author: &Author) {
    let stub = Stub::start();
    let exporter = format!("exporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n", stub.otlp);
    author.home.configure(&format!("collectors: {{}}\n{exporter}"));
    let _agent = author.home.start_and_wait();
    author.home.configure(&format!(
        "collectors:\n  queue: {{plugin: queue-depth/build/queue-depth.wasm, interval: 200ms, \
         limits: {{memory: 128MiB}}}}\n{exporter}"
    ));
    let output = author.home.run(&["reload"]);
    assert!(output.status.success(), "{}", said(&output));
    wait::until("its figures at the stub", PATIENCE, || {
        let names = stub.api("/api/metrics").to_string();
        if names.contains("queue_depth.minute.elapsed") { Ok(()) } else { Err((names, author.home.log())) }
    });
    let output = author.home.run(&["plugin", "list"]);
    assert!(said(&output).contains("queue-depth 0.1.0"), "{}", said(&output));
}

/// `plugin dev`: a saved change runs, a broken one does not end what runs.
fn a_change_shows(author: &Author) {
    let dev = Running::start(author.command(&["plugin", "dev"]), author.home.path());
    dev.says("queue_depth.minute.elapsed");
    author.edit("minute.elapsed", "minute.passed");
    dev.says("queue_depth.minute.passed");
    assert!(dev.said().contains("changed"), "{}", dev.said());

    // No language takes this. (Python takes it as far as the import, and that is part of the build.)
    let path = author.folder().join(author.language.source);
    let good = fs::read_to_string(&path).expect("the source can be read");
    fs::write(&path, format!("{good}\n}} this is nothing {{\n")).expect("the source can be written");
    dev.says("the build failed; what was built before goes on");
    let after = dev.said().len();
    dev.says_after(after, "queue_depth.minute.passed");

    fs::write(&path, good.replace("minute.passed", "minute.spent")).expect("the source can be written");
    dev.says("queue_depth.minute.spent");
}

#[test]
fn rust() {
    first_steps(&Language { name: "rust", source: "src/lib.rs", own_tests: &["cargo", "test", "--quiet"] });
}

#[test]
fn c() {
    first_steps(&Language { name: "c", source: "src/plugin.c", own_tests: &[] });
}

#[test]
fn go() {
    first_steps(&Language { name: "go", source: "src/plugin.go", own_tests: &["go", "test", "./..."] });
}

#[test]
fn javascript() {
    first_steps(&Language { name: "js", source: "src/queue-depth.js", own_tests: &["npm", "test"] });
}

#[test]
fn python() {
    first_steps(&Language {
        name: "python",
        source: "src/queue_depth.py",
        own_tests: &["python3", "-B", "-m", "unittest", "discover", "tests"],
    });
}

#[test]
fn what_an_author_gets_wrong_is_said_with_the_remedy() {
    let home = Home::new("");
    let failing = |args: &[&str], code: i32, parts: &[&str]| {
        // No tools but the system's own.
        let output = home.command(args).env("PATH", "/nowhere").output().expect("whimbrel starts");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{args:?}: {part:?} is not in:\n{text}");
        }
    };
    failing(&["plugin", "new", "A_b", "--lang", "c"], 1, &["no name for a plugin", "hyphens"]);
    failing(&["plugin", "new", "queue", "--lang", "cobol"], 2, &["rust", "python"]);
    failing(&["plugin", "build"], 1, &["plugin.yaml is not there", "whimbrel plugin new"]);
    failing(&["plugin", "test"], 1, &["plugin.yaml is not there"]);
    for (language, part) in [
        ("c", "pip install ziglang=="),
        ("js", "npm install"),
        ("go", "go.dev"),
        ("python", "pip install -r"),
    ] {
        let name = format!("in-{language}");
        assert!(home.run(&["plugin", "new", &name, "--lang", language]).status.success());
        failing(&["plugin", "build", "--dir", &name], 1, &["is missing (looked for", part]);
        assert!(!home.path().join(&name).join(format!("build/{name}.wasm")).exists());
    }
    failing(&["plugin", "new", "in-c", "--lang", "c"], 1, &["in-c can't be made", "something in it already"]);
}
