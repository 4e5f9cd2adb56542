//! Texts that are meant to hurt: each ends in a clear problem, quickly, and never in a panic.

use std::time::{Duration, Instant};

use super::{Folder, MINIMAL};

/// Refused with one problem that holds `expected`, in bounded time.
fn refused(text: impl AsRef<[u8]>, expected: &str) {
    let folder = Folder::with(text);
    let started = Instant::now();
    let problems = folder.problems();
    let took = started.elapsed();
    assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}:\n{problems:#.500?}");
    assert!(problems.iter().all(|problem| problem.len() < 1000), "messages are bounded");
    assert!(took < Duration::from_secs(10), "{took:?} for {expected}");
}

#[test]
fn deep_nesting_is_refused() {
    refused("[".repeat(100_000), "nested deeper than 64 levels");
    refused("{a: ".repeat(100_000), "nested deeper than 64 levels");
    refused("- ".repeat(100_000), "nested deeper than 64 levels");
    let block: String = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    refused(block, "nested deeper than 64 levels");
    let mixed: String = (0..60).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    refused(
        format!("{mixed}{} {}1{}", " ".repeat(60), "[".repeat(30), "]".repeat(30)),
        "nested deeper than 64 levels",
    );
}

#[test]
fn nesting_by_aliases_is_refused() {
    let mut text = format!("a0: &a0 {}1{}\n", "[".repeat(30), "]".repeat(30));
    for level in 1..10 {
        text += &format!("a{level}: &a{level} {}*a{}{}\n", "[".repeat(10), level - 1, "]".repeat(10));
    }
    refused(text, "nested deeper than 64 levels");
}

#[test]
fn expanding_aliases_are_refused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    refused(laughs, "more than 50000 values, counting what aliases repeat");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 1000].join(", "));
    refused(long, "more than 4194304 bytes, counting what aliases repeat");
    refused("a: &a [*a]\n", "the alias names the collection that it stands in");
    let anchors: String = (0..40).map(|level| format!("{}? &a{level}\n", " ".repeat(level))).collect();
    assert!(Folder::with(anchors).load().is_err());
}

#[test]
fn aliases_within_bounds_are_followed() {
    let text = format!("{MINIMAL}resource: {{a: &a x, b: *a}}\n");
    assert_eq!(Folder::with(text).load().unwrap().config.resource["b"], "x");
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    refused(
        format!("log: {{level: {}}}\n", "x".repeat(10 << 20)),
        "can't be read: it is longer than 1048576 bytes",
    );
    refused("x".repeat(1 << 20), "a configuration is a map, and this is a single value");
    refused(format!("log: {{level: '{}'}}\n", "x".repeat(1_000_000)), "is not known here");
    refused(format!("{}: 1\n", "x".repeat(100_000)), "a colon stands where no key can be");
    refused(format!("? {}\n: 1\n", "x".repeat(100_000)), "unknown key");
    let many: String = (0..60_000).map(|number| format!("k{number}: 1\n")).collect();
    refused(many, "more than 50000 values");
    let folder = Folder::new();
    let environment = folder.environment().with("LONG", "x".repeat(2 << 20));
    assert!(folder.load_from(&["env:LONG"], &environment).is_err());
    assert!(folder.load_from(&["/dev/zero"], &folder.environment()).is_err());
}

#[test]
fn control_characters_are_refused_where_they_stand() {
    refused(
        "log: {}\nresource: {a: b\0c}\n",
        "whimbrel.yaml:2:16: : the control character U+0000 can't stand in YAML",
    );
    refused("log: \x1b[2J\n", "whimbrel.yaml:1:6: : the control character U+001B can't stand in YAML");
    // As an escape it may stand in a value; messages escape it again.
    let problems = Folder::with("log: {level: \"\\e[2J\\n\\0\"}\n").problems();
    assert!(problems[0].contains(r"`\u{1b}[2J\n\u{0}` is not known here"), "{problems:?}");
}

#[test]
fn a_text_that_is_not_utf_8_is_refused_with_its_line() {
    refused(b"log: {}\ndata_dir: \xff\n", "the text is not UTF-8: byte 0xff in line 2");
    refused(b"\xff\xfel\0o\0g\0", "the text is UTF-16");
    refused(b"log: {level: \xc3", "the text is not UTF-8: byte 0xc3 in line 1");
}

#[test]
fn other_oddities_of_yaml_are_refused_or_read() {
    refused("%YAML 1.1\n%YAML 1.1\n---\nlog: {}\n", "not YAML");
    refused("log: {level: !!binary aGk=}\n", "a tag stands here");
    refused("log: &x &y {}\n", "not YAML");
    refused("? [a, b]\n: c\n", "a list can't be a key");
    let windows = MINIMAL.replace('\n', "\r\n");
    assert!(Folder::with(&windows).load().is_ok());
    assert!(Folder::with(format!("\u{feff}{MINIMAL}")).load().is_ok());
    assert!(Folder::with(format!("%YAML 1.2\n---\n{MINIMAL}...\n")).load().is_ok());
    let problems = Folder::with(format!("\u{feff}log: {{level: loud}}\r\n{windows}")).problems();
    assert!(problems[0].starts_with("whimbrel.yaml:1:"), "{problems:?}");
}

/// A simple generator, so that a failure can be repeated from the seed that is printed.
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as usize
}

#[test]
fn random_texts_never_panic() {
    const PIECES: &[&str] = &[
        "collectors",
        "exporters",
        "wal",
        "log",
        "level",
        "headers",
        "config",
        "grants",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "!!str ",
        "!x ",
        "'",
        "\"",
        "|\n",
        ">-\n",
        "# ",
        "${env:A}",
        "$",
        "${",
        "}",
        "~",
        "1",
        "10s",
        "64MiB",
        "é",
        "\u{2028}",
        "\t",
        "---\n",
        "...\n",
        "? ",
        "<<",
        "\u{feff}",
        "%YAML 1.2\n",
        "\\",
        "\r\n",
        "\u{85}",
        "include",
        "*",
        "`",
        "@",
    ];
    let folder = Folder::new();
    for seed in 1..3000_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let length = random(&mut state) % 40;
        let text: String = (0..length).map(|_| PIECES[random(&mut state) % PIECES.len()]).collect();
        let environment = folder.environment().with("TEXT", &text);
        let result = std::panic::catch_unwind(|| {
            folder
                .load_from(&["env:TEXT"], &environment)
                .map_or_else(|problems| problems.to_string(), |l| format!("{l:?}"))
        });
        assert!(result.is_ok(), "seed {seed}: {text:?}");
    }
}
