//! The README's tables are what the collector tells. `WHIMBREL_GOLDEN=write` writes them anew.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::{collections::BTreeMap, fs};

use support::{Told, beside, config, config_with, extract, second, start};
use whimbrel_collector_host::table::{HOSTMETRICS, TABLE};

/// Between `<!-- NAME -->` and `<!-- end of NAME -->`.
fn check(name: &str, table: &str) {
    let path = beside("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let from = readme.find(&begin).unwrap_or_else(|| panic!("the README lacks {begin}")) + begin.len();
    let to = from + readme[from..].find(&end).unwrap();
    if std::env::var_os("WHIMBREL_GOLDEN").is_some_and(|what| what == "write") {
        fs::write(&path, format!("{}{table}{}", &readme[..from], &readme[to..])).unwrap();
    }
    let readme = fs::read_to_string(&path).unwrap();
    assert!(readme.contains(&format!("{begin}{table}{end}")), "the README's {name} should be\n{table}");
}

/// The keys of each metric, those of single CPUs included.
fn keys(names: &str) -> BTreeMap<String, String> {
    let per_cpu = config_with("names", names).replacen('{', r#"{"per_cpu": true, "#, 1);
    let mut told: Vec<Told> = second(&mut start(&config_with("names", names)));
    told.extend(second(&mut start(&per_cpu)));
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for metric in told {
        let known = keys.entry(metric.name).or_default();
        for pair in metric.points.iter().flat_map(|point| &point.attributes) {
            if !known.contains(&pair.key) {
                known.push(pair.key.clone());
            }
        }
    }
    let cell = |keys: Vec<String>| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    keys.into_iter().map(|(name, keys)| (name, cell(keys))).collect()
}

/// One test: both may write the same file.
#[test]
fn the_readme_has_the_tables() {
    check("metrics", &metrics());
    check("names", &both_names());
}

fn metrics() -> String {
    let keys = keys("semconv");
    let kinds: BTreeMap<_, _> =
        second(&mut start(&config())).into_iter().map(|told| (told.name, told.kind)).collect();
    let mut rows = "| name | kind | unit | attributes | part |\n|---|---|---|---|---|\n".to_owned();
    for entry in TABLE {
        for metric in std::iter::once(entry.metric).chain(entry.share.map(|share| share.metric)) {
            let name = metric.name;
            let kind = match kinds[name] {
                "updown" => "up-down counter",
                other => other,
            };
            let (unit, keys, part) = (metric.unit, &keys[name], entry.part);
            rows += &format!("| `{name}` | {kind} | `{unit}` | {keys} | `{part}` |\n");
        }
    }
    rows
}

fn both_names() -> String {
    let receiver = extract("hostmetrics.tsv", 1);
    let keys = keys("hostmetrics");
    let mut rows =
        "| conventions | hostmetrics | unit | attributes | told there |\n|---|---|---|---|---|\n".to_owned();
    for entry in TABLE {
        let old = HOSTMETRICS.iter().find(|old| old.figure == entry.metric.name).map(|old| old.entry);
        let old = old.unwrap_or(*entry);
        let shares = entry.share.zip(old.share).map(|(new, old)| (new.metric.name, old.metric.name));
        for (new, old) in std::iter::once((entry.metric.name, old.metric.name)).chain(shares) {
            let Some(row) = receiver.get(old) else { continue };
            let told = if row.more == ["default"] { "by default" } else { "on request" };
            rows += &format!("| `{new}` | `{old}` | `{}` | {} | {told} |\n", row.unit, keys[old]);
        }
    }
    rows
}
