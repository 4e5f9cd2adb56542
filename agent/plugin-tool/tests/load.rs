//! From a file to a plugin: what is refused and in which words, the cache, and the compiler's process.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use support::{Bench, CONTRACT, DEADLINE, Recorder, Wat, collects, componentize, guest, module, setup, tool};
use whimbrel_plugin_host::{
    CompileError, Compiled, Host, HostOptions, Level, Limits, LoadError, LoadReason, Refusal, Setup,
};

/// Pushes its checkpoint, or `none`; and the checkpoint `next` with it.
fn echo() -> Vec<u8> {
    let init = "(global.set $at (local.get $checkpoint)) (global.set $len (local.get $checkpoint_len)) (i32.const 1024)";
    let items = r#"(data (i32.const 0) "next") (global $at (mut i32) (i32.const 0)) (global $len (mut i32) (i32.const 0))"#;
    let collect = "(call $push (i32.const 2) (i32.const 1) (global.get $at) (global.get $len)
        (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 2048)) (i32.const 2048)";
    guest(&Wat { items, init, collect, ..Wat::default() })
}

async fn refusal(host: &Host, bytes: &[u8]) -> (LoadReason, String) {
    let error = host.load("plugins/x.wasm", bytes).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("plugins/x.wasm: "), "{text}");
    (error.reason, text)
}

#[tokio::test]
async fn a_plugin_gets_its_checkpoint_and_its_bytes_arrive_as_they_were_pushed() {
    let bench = Bench::new();
    let plugin = bench.load(&echo()).await;
    assert!(matches!(plugin.compiled(), Compiled::Now(_)));
    let services = Arc::new(Recorder::default());
    let setup = Setup { checkpoint: Some(b"last \xff time".to_vec()), ..setup(&services) };
    let mut instance = plugin.instantiate(setup).await.unwrap();
    for n in 1..=3u32 {
        let collected = instance.collect(DEADLINE).await.unwrap();
        assert!(!collected.more);
        assert_eq!((collected.pushes, collected.bytes), (1, 64 + 11 + 4));
        assert_eq!(services.pushed().len() as u32, n);
    }
    assert!(services.pushed().iter().all(|bytes| bytes == b"last \xff time"));
    assert!(services.seen().batches.iter().all(|(_, next)| next.as_deref() == Some(b"next")));
    instance.shutdown(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn the_second_load_comes_from_the_cache_also_in_another_process() {
    let bench = Bench::new();
    let first = bench.load(&echo()).await;
    let second = bench.load(&echo()).await;
    assert_eq!(second.compiled(), Compiled::Cached);
    assert_eq!(second.description(), first.description());
    // No compiler is needed then: a deployment may ship its cache and leave the compiler out.
    let options = HostOptions { compiler: Some("/nowhere".into()), ..support::options(bench.dir.path()) };
    let other = Host::new(options).unwrap();
    assert_eq!(other.load("x", &echo()).await.unwrap().compiled(), Compiled::Cached);
    let error = other.load("x", &collects("", "(i32.const 1028)")).await.unwrap_err();
    assert!(matches!(&error.reason, LoadReason::Compiler(CompileError::Missing { .. })), "{error}");
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("/nowhere") && text.contains("WHIMBREL_PLUGIN_TOOL"), "{text}");
}

#[tokio::test]
async fn what_many_collectors_run_is_in_memory_once() {
    let bench = Bench::new();
    let component = echo();
    let many = futures_util::future::join_all((0..20).map(|_| bench.load(&component))).await;
    assert!(many.iter().all(|one| one.shares_code_with(&many[0])));
    let compiled = many.iter().filter(|one| matches!(one.compiled(), Compiled::Now(_))).count();
    assert_eq!(compiled, 1, "the others wait for the first");
    let other = bench.load(&collects("", "unreachable")).await;
    assert!(!other.shares_code_with(&many[0]));
    let stack = bench.host.load_with_stack("test.wasm", &component, 1 << 20).await.unwrap();
    assert!(!stack.shares_code_with(&many[0]), "another engine has its own");
    drop(many);
    assert_eq!(bench.load(&component).await.compiled(), Compiled::Cached, "from the disk");
}

#[tokio::test]
async fn a_changed_cut_off_or_swapped_cache_file_is_compiled_again() {
    let bench = Bench::new();
    let (one, two) = (echo(), collects("", "unreachable"));
    bench.load(&one).await;
    let file = cache_files(bench.dir.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    bench.load(&two).await;
    let other = cache_files(bench.dir.path()).into_iter().find(|path| *path != file).unwrap();
    let mut changed = whole.clone();
    let middle = whole.len() / 2;
    changed[middle] ^= 1;
    let damaged = [
        changed,
        whole[..whole.len() - 1].to_vec(),
        whole[..10].to_vec(),
        Vec::new(),
        fs::read(&other).unwrap(),
        [whole.as_slice(), b"x"].concat(),
    ];
    for bytes in damaged {
        fs::write(&file, bytes).unwrap();
        let plugin = bench.load(&one).await;
        assert!(matches!(plugin.compiled(), Compiled::Now(_)));
        let services = Arc::new(Recorder::default());
        plugin.instantiate(setup(&services)).await.unwrap().collect(DEADLINE).await.unwrap();
        assert_eq!(bench.load(&one).await.compiled(), Compiled::Cached, "and kept anew");
    }
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_costs_a_compilation_and_nothing_else() {
    let bench = Bench::new();
    fs::remove_dir_all(bench.dir.path().join("plugins")).unwrap();
    for _ in 0..2 {
        assert!(matches!(bench.load(&echo()).await.compiled(), Compiled::Now(_)));
    }
}

fn cache_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("plugins")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|it| it == "cwasm")).collect()
}

#[tokio::test]
async fn what_is_no_component_is_refused_in_words() {
    let bench = Bench::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&echo()).unwrap();
    let cases = [
        (b"collectors:\n  x: {}\n".to_vec(), "no WebAssembly component but a text file"),
        (gzip.finish().unwrap(), "a gzip archive: unpack it first"),
        (module(&Wat::default()), "make one of it with `whimbrel-plugin component FILE -o OUT.wasm`"),
        (Vec::new(), "an empty file"),
    ];
    for (bytes, expected) in cases {
        let (_, text) = refusal(&bench.host, &bytes).await;
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn a_component_that_was_cut_off_or_changed_anywhere_is_refused_or_runs_but_never_hurts() {
    let bench = Bench::new();
    let whole = echo();
    // Each step is a process: some cuts, spread over the file, and some flips.
    for step in 1..12 {
        let at = whole.len() * step / 12;
        let (reason, text) = refusal(&bench.host, &whole[..at]).await;
        assert!(matches!(reason, LoadReason::Refused(Refusal::Invalid { .. })), "cut at {at}: {text}");
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        if let Err(LoadError { reason, .. }) = bench.host.load("x", &flipped).await {
            assert!(
                matches!(reason, LoadReason::Refused(_) | LoadReason::Types { .. }),
                "flipped at {at}: {reason}"
            );
        }
    }
}

#[tokio::test]
async fn another_world_a_later_contract_and_wasi_are_refused_with_both_sides() {
    let bench = Bench::new();
    let other = componentize(
        wat::parse_str(r#"(module (func (export "a:b/run@0.2.6#run") (result i32) (i32.const 0)))"#).unwrap(),
        "package a:b@0.2.6; interface run { run: func() -> u32; } world w { export run; }",
        "w",
    );
    let (_, text) = refusal(&bench.host, &other).await;
    assert!(
        text.contains("this one exports a:b/run@0.2.6 (run)") && text.contains("collect@0.1.0"),
        "{text}"
    );

    let later = CONTRACT
        .replace("@0.1.0", "@0.9.0")
        .replace("interface secrets {", "interface spans { open: func(name: string); }\ninterface secrets {");
    let later = later.replace("import secrets;", "import secrets; import spans;");
    let items = r#"(import "whimbrel:plugin/spans@0.9.0" "open" (func (param i32 i32)))"#;
    let later = componentize(renamed(items, "@0.9.0"), &later, "collector");
    let (_, text) = refusal(&bench.host, &later).await;
    for part in ["version 0.9.0", "speaks 0.1.0", "spans@0.9.0 (open)", "emit@0.1.0 (push)", "later Whimbrel"]
    {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }

    let wasi = CONTRACT.replace(
        "world collector {",
        "interface sockets { connect: func(); }\nworld collector { import sockets;",
    );
    let wasi = componentize(
        renamed(r#"(import "whimbrel:plugin/sockets@0.1.0" "connect" (func))"#, "@0.1.0"),
        &wasi,
        "collector",
    );
    let (_, text) = refusal(&bench.host, &wasi).await;
    assert!(text.contains("lacks: whimbrel:plugin/sockets@0.1.0 (connect)"), "{text}");
    assert!(
        text.contains("offers: whimbrel:plugin/types@0.1.0, whimbrel:plugin/emit@0.1.0 (push)"),
        "{text}"
    );
}

/// A guest with more imports, of another version of the contract. Imports come first in a module.
fn renamed(imports: &str, version: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {imports}
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "whimbrel:plugin/lifecycle{version}#init")
            (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
          (func (export "whimbrel:plugin/lifecycle{version}#shutdown") (param i32))
          (func (export "whimbrel:plugin/collect{version}#collect") (param i32) (result i32) (i32.const 0)))"#
    );
    wat::parse_str(&text).unwrap()
}

#[tokio::test]
async fn other_types_under_the_same_names_are_refused_at_load() {
    let bench = Bench::new();
    // `collect` with another result, and `snapshot` with another parameter.
    let exports = CONTRACT.replace("-> result<bool, error>;", "-> result<u32, error>;");
    let exports = componentize(renamed("", "@0.1.0"), &exports, "collector");
    let imports = CONTRACT.replace("snapshot: func(part: string,", "snapshot: func(part: u32,");
    let imported = r#"(import "whimbrel:plugin/system@0.1.0" "snapshot" (func (param i32 i32 i32 i32)))"#;
    let imports = componentize(renamed(imported, "@0.1.0"), &imports, "collector");
    for component in [exports, imports] {
        let (reason, text) = refusal(&bench.host, &component).await;
        assert!(matches!(reason, LoadReason::Types { .. }), "{text}");
        assert!(text.contains("build it again"), "{text}");
    }
}

#[tokio::test]
async fn a_component_that_is_too_large_is_not_even_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(HostOptions { max_component: 100, ..support::options(dir.path()) }).unwrap();
    let (_, text) = refusal(&host, &echo()).await;
    assert!(text.contains("more than 100"), "{text}");
}

#[tokio::test]
async fn a_compile_bomb_ends_in_the_child() {
    let dir = tempfile::tempdir().unwrap();
    // A function that is small to write and large to compile: deep nesting, each level live across all.
    let bomb = format!("{} (i32.const 1024)", bomb(40_000));
    let bomb = collects("", &bomb);
    let memory = Host::new(HostOptions { compile_memory: 96 << 20, ..support::options(dir.path()) }).unwrap();
    let (reason, text) = refusal(&memory, &bomb).await;
    assert!(matches!(reason, LoadReason::Compiler(CompileError::OutOfMemory { .. })), "{text}");
    assert!(text.contains("96 MiB"), "{text}");
    let time = HostOptions { compile_timeout: Duration::from_millis(20), ..support::options(dir.path()) };
    let (reason, text) = refusal(&Host::new(time).unwrap(), &bomb).await;
    assert!(matches!(reason, LoadReason::Compiler(CompileError::TimedOut { .. })), "{text}");
    // And this process goes on as before.
    assert!(memory.load("x", &bomb[..100]).await.is_err());
}

fn bomb(size: usize) -> String {
    let mut text = String::new();
    for n in 0..size {
        text.push_str(&format!("(if (i32.load (i32.const {n})) (then (i32.store (i32.const {n}) (i32.mul (i32.load (i32.const 4)) (i32.const {n})))))\n"));
    }
    text
}

#[tokio::test]
async fn a_compiler_that_fails_is_told_from_a_component_that_does() {
    let dir = tempfile::tempdir().unwrap();
    type Expected = fn(&CompileError) -> bool;
    let cases: [(&str, Expected, &str); 6] = [
        ("echo nonsense", |e| matches!(e, CompileError::Foreign { .. }), "from one release"),
        ("echo out of luck >&2; exit 3", |e| matches!(e, CompileError::Failed { .. }), "out of luck"),
        ("kill -9 $$", |e| matches!(e, CompileError::Killed { signal: 9 }), "signal 9"),
        ("kill -24 $$", |e| matches!(e, CompileError::OutOfTime { .. }), "processor time"),
        ("exec sleep 60", |e| matches!(e, CompileError::TimedOut { .. }), "longer than"),
        ("exec cat /dev/zero", |e| matches!(e, CompileError::TooLarge { .. }), "more than 1 MiB"),
    ];
    for (n, (script, expected, part)) in cases.into_iter().enumerate() {
        let program = dir.path().join(format!("compiler-{n}"));
        fs::write(&program, format!("#!/bin/sh\nexport PATH=/usr/bin:/bin\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let seconds = if script.contains("sleep") { 1 } else { 30 };
        let host = Host::new(HostOptions {
            compiler: Some(program),
            compile_timeout: Duration::from_secs(seconds),
            cache_limit: 1 << 20,
            ..support::options(dir.path())
        });
        let (reason, text) = refusal(&host.unwrap(), &echo()).await;
        let LoadReason::Compiler(error) = reason else { panic!("{script}: {text}") };
        assert!(expected(&error), "{script}: {error:?}");
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn the_compiler_has_given_up_files_memory_and_privileges_before_it_reads() {
    let mut child = Command::new(tool())
        .args(["compile", "--memory", "987654321", "--cpu-seconds", "77", "--max-output", "4096"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    // The last limit to be set tells that the others are.
    let status = || fs::read_to_string(proc.join("status")).unwrap();
    let start = std::time::Instant::now();
    while !status().contains("NoNewPrivs:\t1") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", status());
        std::thread::yield_now();
    }
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    for (name, value) in [
        ("Max address space", "987654321"),
        ("Max cpu time", "77"),
        ("Max file size", "4096"),
        ("Max core file size", "0"),
        ("Max open files", "3"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{line}");
    }
    drop(child.stdin.take());
    let mut reply = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut reply).unwrap();
    assert!(child.wait().unwrap().success());
    let (reply, _) = whimbrel_plugin_host::frame::read(&reply).unwrap();
    assert!(format!("{reply:?}").contains("an empty file"), "{reply:?}");
}

#[test]
fn the_contract_that_the_host_checks_by_name_is_the_one_in_wit() {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("whimbrel.wit", CONTRACT).unwrap();
    let world = resolve.select_world(&[package], Some("collector")).unwrap();
    let names = |items: Vec<(&wit_parser::WorldKey, &wit_parser::WorldItem)>| {
        let mut all: Vec<(String, Vec<String>)> = items
            .into_iter()
            .map(|(key, item)| {
                let wit_parser::WorldItem::Interface { id, .. } = item else { panic!("{item:?}") };
                (resolve.name_world_key(key), resolve.interfaces[*id].functions.keys().cloned().collect())
            })
            .collect();
        all.sort();
        all
    };
    let known = |of: Vec<whimbrel_plugin_host::Interface>| {
        let mut all: Vec<_> = of.into_iter().map(|it| (it.name, it.functions)).collect();
        all.sort();
        all
    };
    let world = &resolve.worlds[world];
    assert_eq!(names(world.imports.iter().collect()), known(whimbrel_plugin_host::world::offered()));
    assert_eq!(names(world.exports.iter().collect()), known(whimbrel_plugin_host::world::expected()));
}

#[tokio::test]
async fn what_a_guest_logs_arrives_with_its_fields() {
    let bench = Bench::new();
    let items = r#"(data (i32.const 0) "message") (data (i32.const 16) "key") (data (i32.const 32) "value")
        ;; one field: (ptr 16, len 3), (ptr 32, len 5)
        (data (i32.const 64) "\10\00\00\00\03\00\00\00\20\00\00\00\05\00\00\00")"#;
    let logs =
        "(call $log (i32.const 3) (i32.const 0) (i32.const 7) (i32.const 64) (i32.const 1)) (i32.const 1024)";
    let (mut instance, services) = bench.start(&collects(items, logs), Limits::default()).await;
    instance.collect(DEADLINE).await.unwrap();
    let line = services.seen().lines.remove(0);
    assert_eq!((line.level, line.message.as_str()), (Level::Warn, "message"));
    assert_eq!(line.fields, [("key".to_owned(), "value".to_owned())]);
}
