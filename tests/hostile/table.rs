//! The misdeeds: a plugin each, its limits, and what is to be seen of it.

use whimbrel_tests::guest::Guest;

/// What is to be seen of it.
pub(crate) enum Expect {
    /// Faults of these causes and no others, a hit of this limit, and these words.
    Faults { causes: &'static [&'static str], limit: Option<&'static str>, words: &'static [&'static str] },
    /// It lives; a hit of this limit.
    Hits(&'static str, u64),
    /// It lives, and collects.
    Lives,
    /// It lives; so many pushes are refused, or a multiple, and nothing is stored.
    Refused(u64),
    /// It lives, and is recycled.
    Recycled,
}

/// A misdeed: its name, the plugin, its limits, what is to be seen.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) guest: Guest<'static>,
    pub(crate) limits: &'static str,
    pub(crate) expect: Expect,
}

pub(crate) const PLAIN: Guest<'static> =
    Guest { items: "", init: "(i32.const 1024)", collect: "(i32.const 1024)", shutdown: "" };

fn collects(collect: &'static str) -> Guest<'static> {
    Guest { collect, ..PLAIN }
}

fn faults(causes: &'static [&'static str], limit: &'static str, words: &'static [&'static str]) -> Expect {
    Expect::Faults { causes, limit: Some(limit), words }
}

pub(crate) fn kinds() -> Vec<Kind> {
    let kind = |name, guest, limits, expect| Kind { name, guest, limits, expect };
    vec![
        kind(
            "endless_loop",
            collects("(loop $again (br $again)) (i32.const 1024)"),
            "deadline: 200ms",
            faults(&["deadline"], "deadline", &["deadline of 200ms"]),
        ),
        kind(
            "host_calls",
            collects("(loop $again (drop (call $now)) (br $again)) (i32.const 1024)"),
            "deadline: 200ms",
            faults(&["deadline"], "deadline", &["deadline of 200ms"]),
        ),
        // 250 of 400 ms each second; the most that it used shows.
        kind(
            "slow_drip",
            Guest {
                items: "(global $until (mut i64) (i64.const 0))",
                collect: "(global.set $until (i64.add (call $monotonic) (i64.const 250000000)))
                  (loop $again (br_if $again (i64.lt_u (call $monotonic) (global.get $until)))) (i32.const 1024)",
                ..PLAIN
            },
            "deadline: 400ms",
            Expect::Lives,
        ),
        kind(
            "memory_bomb",
            collects(
                "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            ),
            "memory: 16MiB",
            faults(&["memory"], "memory", &["limit of 16 MiB", "limits.memory"]),
        ),
        kind(
            "asks_for_more",
            collects("(drop (memory.grow (i32.const 60000))) (i32.const 1024)"),
            "memory: 16MiB",
            Expect::Hits("memory", 2),
        ),
        kind(
            "table_bomb",
            Guest {
                items: "(table $t 1 funcref)",
                collect: "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 5000))
                  (i32.const -1)))) unreachable",
                ..PLAIN
            },
            "tables: 20000",
            faults(&["tables"], "tables", &["limit of 20000", "limits.tables"]),
        ),
        kind(
            "stack_overflow",
            Guest {
                items: "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))",
                collect: "(call $deep (i32.const 0))",
                ..PLAIN
            },
            "stack: 1MiB",
            faults(&["stack"], "stack", &["stack of 1024 KiB", "limits.stack"]),
        ),
        kind(
            "deep_host_calls",
            Guest {
                items: "(func $deep
                  (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)) (call $deep))
                  (data (i32.const 0) \"x\")",
                collect: "(call $deep) (i32.const 1024)",
                ..PLAIN
            },
            "",
            faults(&["stack"], "stack", &["stack of 512 KiB"]),
        ),
        kind(
            "gibibyte_string",
            collects(
                "(drop (memory.grow (i32.const 16500)))
                 (call $log (i32.const 2) (i32.const 0) (i32.const 1073741824) (i32.const 0) (i32.const 0))
                 (i32.const 1024)",
            ),
            "memory: 2GiB",
            faults(&["output"], "output", &["limits.output"]),
        ),
        kind(
            "string_beyond_memory",
            collects(
                "(call $log (i32.const 2) (i32.const 65536) (i32.const 1073741824) (i32.const 0) (i32.const 0))
                 (i32.const 1024)",
            ),
            "",
            Expect::Faults { causes: &["contract", "output"], limit: None, words: &["in collect"] },
        ),
        kind(
            "huge_list",
            collects(
                "(drop (memory.grow (i32.const 16500)))
                 (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 60000000))
                 (i32.const 1024)",
            ),
            "memory: 2GiB",
            faults(&["output"], "output", &["limits.output"]),
        ),
        kind(
            "log_flood",
            Guest {
                items: "(global $left (mut i32) (i32.const 0)) (data (i32.const 0) \"a line of a flood\")",
                collect: "(global.set $left (i32.const 5000))
                  (loop $again
                    (call $log (i32.const 2) (i32.const 0) (i32.const 17) (i32.const 0) (i32.const 0))
                    (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                    (br_if $again (global.get $left)))
                  (i32.const 1024)",
                ..PLAIN
            },
            "log_rate: 10",
            Expect::Hits("log_rate", 9000),
        ),
        kind(
            "push_flood",
            collects("(loop $again (call $push_otlp (i32.const 0) (i32.const 0)) (br $again)) (i32.const 1024)"),
            "",
            faults(&["output"], "output", &["4096 batches"]),
        ),
        kind(
            "never_starts",
            Guest { init: "(loop $again (br $again)) (i32.const 1024)", ..PLAIN },
            "init: 200ms",
            faults(&["deadline"], "init", &["deadline of 200ms", "in init"]),
        ),
        kind("panics_at_the_end", Guest { shutdown: "unreachable", ..PLAIN }, "", Expect::Lives),
        kind("never_ends", Guest { shutdown: "(loop $again (br $again))", ..PLAIN }, "", Expect::Lives),
        kind(
            "grows",
            collects("(drop (memory.grow (i32.const 16))) (i32.const 1024)"),
            "memory: 4MiB",
            Expect::Recycled,
        ),
        kind("never_done", collects("(i32.const 1040)"), "", Expect::Lives),
    ]
}
