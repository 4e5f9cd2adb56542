//! What an author does first, in each language: `plugin new`, `build`, `test`, a running agent, `dev`.
//!
//! A language whose tools are missing is skipped with a word on stderr; with WHIMBREL_ALL_LANGUAGES=1, as in CI, it
//! is an error. All templates come to the same figures: they share what `plugin test` expects.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use whimbrel_tests::{
    agent::Home,
    author::{self, said},
    stub::Stub,
    wait,
};

/// Compiling Python for the first time on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(400);
/// A language's template: the file that an author changes, and how the author's own tests are run.
struct Language {
    name: &'static str,
    source: &'static str,
    own_tests: &'static [&'static str],
}

/// A folder with a plugin named `queue-depth`.
struct Author {
    home: Home,
    language: &'static Language,
}

impl Author {
    fn command(&self, args: &[&str]) -> Command {
        author::command(&self.home, args, &self.folder(), self.language.name)
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
    if author::is_skipped(&text) {
        return;
    }
    assert!(output.status.success(), "{text}");
    for part in
        ["build/queue-depth.wasm: queue-depth 0.1.0, ", "imports   whimbrel:plugin/", "emit@0.1.0 (push)"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("wasi:"), "it asks for what no template needs:\n{text}");
    let inspected = said(&author.run(&["plugin", "inspect", "build/queue-depth.wasm"]));
    if ["js", "python"].contains(&language.name) {
        let why = "(the interpreter imports it; grant what the plugin needs)";
        assert!(text.contains("  may use   system: ") && text.contains(why), "{text}");
        assert!(inspected.contains("  may ask for   figures") && inspected.contains(why), "{inspected}");
    } else {
        assert!(text.contains("  grants    none needed\n"), "{text}");
        assert!(inspected.contains("  asks for      nothing that needs a grant\n"), "{inspected}");
    }
    let built = since.elapsed();

    let output = author.run(&["plugin", "test"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches(" ok ").count(), 3, "{text}");
    // Where a build takes long it is not done twice; the others' own tools are asked each time.
    let kept = text.contains("nothing has changed since");
    assert_eq!(kept, language.name == "python", "{text}");
    let tested = since.elapsed();
    let times = format!("{}: new {made:.1?}, build {built:.1?}, test {tested:.1?}\n{text}", language.name);
    author::tell(&times);

    if let Some((program, args)) = language.own_tests.split_first() {
        let mut command = Command::new(program);
        command.args(args).current_dir(author.folder()).env("PATH", author::path_with_tools());
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
    in_the_agent(author, &stub);
}

/// `plugin dev --agent`: a saved change arrives at the backend, by the running agent.
fn in_the_agent(author: &Author, stub: &Stub) {
    let socket = author.home.data().join("control.sock");
    let dev = Running::start(
        author.command(&["plugin", "dev", "--agent", &socket.to_string_lossy()]),
        author.home.path(),
    );
    dev.says("the agent");
    author.edit("minute.elapsed", "minute.arrived");
    wait::until("the changed figure at the stub", PATIENCE, || {
        let names = stub.api("/api/metrics").to_string();
        if names.contains("queue_depth.minute.arrived") {
            Ok(())
        } else {
            Err((dev.said(), author.home.log()))
        }
    });
    author.edit("minute.arrived", "minute.elapsed");
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
    dev.says("whimbrel plugin build: ");
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
    // With nothing to watch it ends, and says the same.
    failing(
        &["plugin", "dev", "--count", "1"],
        1,
        &["whimbrel plugin build: ", "plugin.yaml is not there", "whimbrel plugin new"],
    );
    for (language, part) in [
        ("c", "python3 -m venv .venv && .venv/bin/pip install ziglang=="),
        ("js", "npm install"),
        ("go", "get it from\n\n    https://go.dev/dl\n"),
        ("python", "pip install -r"),
    ] {
        let name = format!("in-{language}");
        assert!(home.run(&["plugin", "new", &name, "--lang", language]).status.success());
        failing(&["plugin", "build", "--dir", &name], 1, &["is missing (looked for", part]);
        assert!(!home.path().join(&name).join(format!("build/{name}.wasm")).exists());
    }
    failing(&["plugin", "new", "in-c", "--lang", "c"], 1, &["in-c can't be made", "something in it already"]);
}

#[test]
fn dev_tells_why_a_build_fails_and_waits_for_a_change() {
    let home = Home::new("");
    assert!(home.run(&["plugin", "new", "queue-depth", "--lang", "c"]).status.success());
    let mut command = home.command(&["plugin", "dev", "--dir", "queue-depth"]);
    command.env("PATH", "/nowhere");
    let dev = Running::start(command, home.path());
    dev.says("is missing (looked for zig cc");
    dev.says("the build failed; it is tried again when something changes");
    assert!(!dev.said().contains("goes on"), "nothing was built before: {}", dev.said());
    let after = dev.said().len();
    fs::write(home.path().join("queue-depth/src/more.c"), "").expect("a source can be written");
    dev.says_after(after, "is missing (looked for zig cc");
}
