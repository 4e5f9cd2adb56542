//! Processes one by one, against procfs's own reading of real ones.

use std::{
    io::ErrorKind,
    process::{Child, Command, Stdio},
};

use procfs::process::Process;

use super::{pairs, proc_stat, texts, value};
use crate::system::{Entity, System, Value};

/// Programs of a name that nothing else has; ended with the test.
struct Programs {
    children: Vec<Child>,
    name: String,
    _folder: tempfile::TempDir,
}

impl Programs {
    fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("each-{}", folder.path().file_name().unwrap().to_str().unwrap().trim_matches('.'));
        let program = folder.path().join(&name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        let start = |_| loop {
            match Command::new(&program).arg("600").stdin(Stdio::null()).spawn() {
                // A test that starts a program meanwhile has the copy open for writing for a moment.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                child => break child.unwrap(),
            }
        };
        let children: Vec<_> = (0..count).map(start).collect();
        for child in &children {
            // Until it has become the program, and has nothing more to do.
            let exe = || std::fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
            let sleeps = || Process::new(child.id().cast_signed()).unwrap().stat().unwrap().state == 'S';
            while exe() != program || !sleeps() {
                std::thread::yield_now();
            }
        }
        Self { children, name, _folder: folder }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn resource(entity: &Entity, key: &str) -> Value {
    entity.resource.iter().find(|(name, _)| *name == key).unwrap().1.clone()
}

#[test]
fn a_process_is_told_by_name_as_procfs_reads_it() {
    let programs = Programs::start(2);
    let system = System::default();
    let select = pairs(&[("name", &format!("{}*", &programs.name[..programs.name.len() - 1]))]);
    let entities = system.snapshot("process.each", &select).unwrap();
    let mut expected: Vec<i64> = programs.children.iter().map(|child| child.id().into()).collect();
    expected.sort_unstable();
    let pids: Vec<_> = entities.iter().map(|entity| resource(entity, "process.pid")).collect();
    assert_eq!(pids, expected.iter().map(|pid| Value::Int(*pid)).collect::<Vec<_>>());
    for (entity, pid) in entities.iter().zip(expected) {
        let process = Process::new(pid.try_into().unwrap()).unwrap();
        let (stat, io, status) = (process.stat().unwrap(), process.io().unwrap(), process.status().unwrap());
        assert_eq!(resource(entity, "process.executable.name"), programs.name.clone().into());
        assert_eq!(resource(entity, "process.parent_pid"), Value::Int(std::process::id().into()));
        let ticks = procfs::ticks_per_second();
        let created = proc_stat()["btime"][0] * 1_000_000_000 + stat.starttime * 1_000_000_000 / ticks;
        let cpu = entity.figures.iter().find(|figure| figure.name == "process.cpu.time").unwrap();
        assert_eq!(cpu.start_ns, created);
        let Value::Text(time) = resource(entity, "process.creation.time") else { panic!() };
        let parsed: jiff::Timestamp = time.parse().unwrap();
        assert!(u64::try_from(parsed.as_nanosecond()).unwrap().abs_diff(cpu.start_ns) < 1_000_000);
        let of = |name: &str, attributes: &[&str]| value(&entity.figures, name, attributes);
        assert_eq!(of("process.thread.count", &[]), 1.0);
        assert_eq!(of("process.memory.virtual", &[]), stat.vsize as f64);
        assert_eq!(of("process.unix.file_descriptor.count", &[]), process.fd_count().unwrap() as f64);
        assert_eq!(of("process.paging.faults", &["minor"]), stat.minflt as f64);
        assert_eq!(of("process.disk.operations", &["read"]), io.syscr as f64);
        assert_eq!(of("process.disk.io", &["write"]), io.write_bytes as f64);
        let switches = status.voluntary_ctxt_switches.unwrap() as f64;
        assert!(of("process.context_switches", &["voluntary"]) <= switches);
        assert!(of("process.uptime", &[]) < 600.0);
    }
}

#[test]
fn a_process_that_ends_is_left_out_and_the_rest_is_told() {
    let mut programs = Programs::start(2);
    let system = System::default();
    let select = pairs(&[("name", &programs.name)]);
    assert_eq!(system.snapshot("process.each", &select).unwrap().len(), 2);
    let mut ended = programs.children.remove(0);
    ended.kill().unwrap();
    ended.wait().unwrap();
    let left = system.snapshot("process.each", &select).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(resource(&left[0], "process.pid"), Value::Int(programs.children[0].id().into()));
}

#[test]
fn no_process_comes_twice_and_no_more_than_asked_for() {
    let system = System::default();
    let both = pairs(&[("top", "5"), ("name", "*")]);
    let all = system.snapshot("process.each", &both).unwrap();
    let mut pids: Vec<_> = all.iter().map(|entity| texts_of(entity)[0].clone()).collect();
    let count = pids.len();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), count);
    assert!(count > 5);
    let few = system.snapshot("process.each", &pairs(&[("top", "3"), ("by", "memory")])).unwrap();
    assert_eq!(few.len(), 3);
    for entity in few {
        let mut seen = std::collections::HashSet::new();
        for figure in &entity.figures {
            assert!(seen.insert((figure.name, texts(figure))), "{figure:?} comes twice");
        }
    }
}

fn texts_of(entity: &Entity) -> Vec<String> {
    entity.resource.iter().map(|(_, value)| format!("{value:?}")).collect()
}
