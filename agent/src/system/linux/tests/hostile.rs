//! A host that is made up and then spoilt: files cut, garbled, full of huge numbers, gone. Whatever they say,
//! nothing panics, and what is told is possible.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use super::{Figure, pairs, texts};
use crate::system::{Options, PARTS, System};

/// Copied from this machine, so that they are what kernels write.
const COPIED: [&str; 16] = [
    "stat",
    "vmstat",
    "meminfo",
    "swaps",
    "diskstats",
    "loadavg",
    "cpuinfo",
    "net/dev",
    "net/snmp",
    "net/netstat",
    "net/sockstat",
    "net/tcp",
    "self/mountinfo",
    "self/stat",
    "self/status",
    "self/io",
];

const MADE: [(&str, &str); 7] = [
    ("class/net/lo/operstate", "up\n"),
    ("class/net/lo/speed", "1000\n"),
    (
        "pressure/io",
        "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    ("sys/fs/file-nr", "625\t0\t2466170\n"),
    ("sys/net/netfilter/nf_conntrack_count", "7\n"),
    ("sys/kernel/task_delayacct", "1\n"),
    ("class/hwmon/hwmon0/temp1_input", "40000\n"),
];

/// Xorshift: the same spoilt files every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

struct Tree {
    folder: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copied = COPIED.iter().map(|name| {
            let text = fs::read(Path::new("/proc").join(name)).unwrap_or_default();
            ((*name).replace("self/", "41/"), text)
        });
        let made = MADE.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        let name = ("class/hwmon/hwmon0/name".to_owned(), b"chip\n".to_vec());
        let mounts = ("self/mountinfo".to_owned(), fs::read("/proc/self/mountinfo").unwrap());
        let sizes = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        let sizes = sizes.lines().filter_map(|line| line.split_whitespace().nth(2));
        let sizes: Vec<_> =
            sizes.map(|name| (format!("block/{name}/size"), b"2048\n".to_vec())).take(3).collect();
        let files = copied.chain(made).chain([name, mounts]).chain(sizes);
        let files: Vec<_> = files.map(|(name, text)| (folder.path().join(name), text)).collect();
        for (path, text) in &files {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { folder, files }
    }

    fn options(&self) -> Options {
        let (proc, sys) = (self.folder.path().to_owned(), self.folder.path().to_owned());
        Options { proc, sys, ..Options::default() }
    }
}

/// Every part is asked twice, and what is told is looked at; how many parts told anything.
fn check(system: &System, what: &str) -> usize {
    let mut told = 0;
    for part in PARTS.into_iter().chain(PARTS) {
        let select = match part {
            "process.each" => pairs(&[("top", "5"), ("name", "*")]),
            // It asks a service manager, and not a file.
            "service" => continue,
            _ => Vec::new(),
        };
        let Ok(entities) = system.snapshot(part, &select) else { continue };
        told += usize::from(entities.iter().any(|entity| !entity.figures.is_empty()));
        for entity in entities {
            possible(&entity.figures, &format!("{part} with {what}"));
        }
    }
    told
}

fn possible(figures: &[Figure], what: &str) {
    let mut seen = HashSet::new();
    let mut sums: HashMap<(&str, Vec<String>), f64> = HashMap::new();
    for figure in figures {
        let attributes = texts(figure);
        let temperature = figure.name == "hw.temperature";
        assert!(figure.value.is_finite() && (figure.value >= 0.0 || temperature), "{what}: {figure:?}");
        assert!(seen.insert((figure.name, attributes.clone())), "{what}: {figure:?} comes twice");
        let state = figure.attributes.iter().position(|(key, _)| key.ends_with(".state"));
        let limited = ["system.memory.usage", "system.filesystem.usage", "system.filesystem.inode.usage"];
        if let (true, Some(state)) = (limited.contains(&figure.name), state) {
            let mut rest = attributes;
            rest.remove(state);
            *sums.entry((figure.name, rest)).or_default() += figure.value;
        }
    }
    for ((name, attributes), sum) in sums {
        let limit = name.replace(".usage", ".limit");
        let limit = figures.iter().find(|figure| figure.name == limit && texts(figure) == attributes);
        let limit = limit.unwrap_or_else(|| panic!("{what}: no limit of {name}")).value;
        assert!((sum - limit).abs() <= limit * 1e-12, "{what}: {name} has {sum} of {limit}");
    }
}

#[test]
fn the_tree_is_told_while_it_is_whole() {
    let tree = Tree::new();
    let told = check(&System::new(tree.options()), "nothing spoilt");
    // Each of them twice, but services; a machine may have no disks that did anything.
    assert!(told >= 2 * (PARTS.len() - 2), "{told}");
}

#[test]
fn files_that_are_cut_garbled_huge_or_gone_tell_nothing_impossible() {
    let tree = Tree::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (path, text) in &tree.files {
        let name = path.strip_prefix(tree.folder.path()).unwrap().display().to_string();
        // One that goes on while its files are spoilt: what it remembers must not trip it either.
        let lasting = System::new(tree.options());
        let spoil = |spoilt: &[u8], how: &str| {
            fs::write(path, spoilt).unwrap();
            let what = format!("{name} {how}");
            check(&System::new(tree.options()), &what);
            check(&lasting, &what);
        };
        for _ in 0..6 {
            let end = random.below(text.len());
            spoil(&text[..end], &format!("cut at {end}"));
            let mut garbled = text.clone();
            for _ in 0..8 {
                let place = random.below(garbled.len());
                if let Some(byte) = garbled.get_mut(place) {
                    *byte = u8::try_from(random.below(256)).unwrap();
                }
            }
            spoil(&garbled, &format!("garbled: {}", String::from_utf8_lossy(&garbled)));
        }
        for huge in
            ["18446744073709551615", "9223372036854775807", "99999999999999999999999", "-1", "1e308", "NaN"]
        {
            let text = String::from_utf8_lossy(text);
            // Every number, and one of them.
            spoil(numbers(&text, huge, None).as_bytes(), huge);
            let place = random.below(text.split(|c: char| c.is_ascii_digit()).count());
            spoil(numbers(&text, huge, Some(place)).as_bytes(), &format!("{huge} at {place}"));
        }
        spoil(b"", "empty");
        fs::remove_file(path).unwrap();
        check(&System::new(tree.options()), &format!("{name} gone"));
        check(&lasting, &format!("{name} gone"));
        fs::write(path, text).unwrap();
    }
}

/// With every number, or the one at `place`, replaced.
fn numbers(text: &str, by: &str, place: Option<usize>) -> String {
    let mut replaced = String::new();
    let (mut index, mut within) = (0, false);
    for character in text.chars() {
        let digit = character.is_ascii_digit();
        let wanted = place.is_none_or(|place| place == index);
        if digit && !within && wanted {
            replaced.push_str(by);
        }
        if !digit || !wanted {
            replaced.push(character);
        }
        if within && !digit {
            index += 1;
        }
        within = digit;
    }
    replaced
}

/// Half of what a kernel writes, at every byte: what a reader gets that is told the end too soon.
#[test]
fn a_file_cut_at_any_byte_tells_nothing_impossible() {
    let tree = Tree::new();
    for (path, text) in &tree.files {
        let name = path.strip_prefix(tree.folder.path()).unwrap().display().to_string();
        let part = match name.as_str() {
            "loadavg" | "sys/fs/file-nr" => "host",
            "pressure/io" => "pressure",
            "41/stat" | "41/io" => "process.each",
            "net/sockstat" => "network",
            _ => continue,
        };
        let select = if part == "process.each" { pairs(&[("top", "5")]) } else { Vec::new() };
        for end in 0..=text.len() {
            fs::write(path, &text[..end]).unwrap();
            for entity in System::new(tree.options()).snapshot(part, &select).unwrap_or_default() {
                possible(&entity.figures, &format!("{name} cut at {end}"));
            }
        }
        fs::write(path, text).unwrap();
    }
}
