//! Every limit can be set, holds at what was set, and is told when it is met, also where the guest copes with that.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

mod support;

use std::time::Duration;

use support::{Bench, CONTRACT, DEADLINE, Recorder, Wat, collects, componentize, fault, setup, text};
use whimbrel_plugin_host::{Compiled, DeniedGrowth, FaultKind, Limits, Setup};

/// Calls itself as often as the first argument says, each time with a frame of some size.
const DEEP: &str = "(func $deep (param i32) (result i32)
  (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
  (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))";

#[tokio::test]
async fn the_stack_is_as_deep_as_its_limit_and_the_compiled_code_is_the_same() {
    let bench = Bench::new();
    // 512 KiB hold about 16,000 frames of it, so 64 KiB do not hold 5,000, and 4 MiB hold 50,000.
    let component = collects(DEEP, "(drop (call $deep (i32.const 5000))) (i32.const 1024)");
    let deeper = collects(DEEP, "(drop (call $deep (i32.const 50000))) (i32.const 1024)");
    for (component, stack, holds) in [
        (&component, 64 << 10, false),
        (&component, 512 << 10, true),
        (&deeper, 512 << 10, false),
        (&deeper, 4 << 20, true),
    ] {
        let plugin = bench.host.load_with_stack("test.wasm", component, stack).await.unwrap();
        let services = std::sync::Arc::new(Recorder::default());
        let mut instance = plugin.instantiate(setup(&services)).await.unwrap();
        let answer = instance.collect(Duration::from_secs(5)).await;
        if holds {
            assert!(answer.is_ok(), "{stack}: {answer:?}");
        } else {
            let fault = fault(answer);
            assert_eq!(fault.kind, FaultKind::Stack, "{fault}");
            let limit = format!("stack of {} KiB (`limits.stack`)", stack >> 10);
            assert!(fault.message.contains(&limit), "{limit} is not in: {fault}");
        }
    }
    let again = bench.host.load_with_stack("test.wasm", &component, 1 << 20).await.unwrap();
    assert_eq!(again.compiled(), Compiled::Cached, "one entry serves all sizes");
}

#[tokio::test]
async fn handles_of_resources_are_limited_over_the_whole_instance() {
    let bench = Bench::new();
    let wit = format!(
        "{CONTRACT}\ninterface things {{ resource thing {{ constructor(); }} }}\n\
         world greedy {{ include collector; export things; }}\n"
    );
    let import = r#"(import "[export]whimbrel:plugin/things@0.1.0" "[resource-new]thing"
        (func $new (param i32) (result i32)))"#;
    let items = r#"(func (export "whimbrel:plugin/things@0.1.0#[constructor]thing") (result i32) (i32.const 0))
        (func $several (param i32)
          (loop $again
            (drop (call $new (i32.const 7)))
            (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))"#;
    let wat = Wat { items, collect: "(call $several (i32.const 40)) (i32.const 1024)", ..Wat::default() };
    let text = text(&wat).replacen("(memory (export", &format!("{import}\n(memory (export"), 1);
    let component = componentize(wat::parse_str(text).unwrap(), &wit, "greedy");
    let (mut instance, _) = bench.start(&component, Limits { resources: 100, ..Limits::default() }).await;
    for _ in 0..2 {
        instance.collect(DEADLINE).await.unwrap();
    }
    let fault = fault(instance.collect(DEADLINE).await);
    assert_eq!(fault.kind, FaultKind::Resources, "{fault}");
    assert!(fault.message.contains("100 handles") && fault.message.contains("limits.resources"), "{fault}");
}

#[tokio::test]
async fn tables_are_counted_and_what_was_denied_is_told_of_a_guest_that_lives() {
    let bench = Bench::new();
    let grows = "(drop (table.grow $t (ref.null func) (i32.const 30))) (i32.const 1024)";
    let component = collects("(table $t 1 funcref)", grows);
    let (mut instance, _) = bench.start(&component, Limits { table_elements: 40, ..Limits::default() }).await;
    let first = instance.collect(DEADLINE).await.unwrap();
    // The component's own table beside the one of the module.
    let elements = first.table_elements;
    assert!((31..=40).contains(&elements) && first.denied.is_none(), "{first:?}");
    let second = instance.collect(DEADLINE).await.unwrap();
    let denied = DeniedGrowth::Table { wanted: elements + 30, limit: 40 };
    assert_eq!((second.table_elements, second.denied), (elements, Some(denied)));
    assert!(denied.to_string().contains("limits.tables"), "{denied}");

    let wants = collects("", "(drop (memory.grow (i32.const 60000))) (i32.const 1024)");
    let (mut instance, _) = bench.start(&wants, Limits::default()).await;
    let denied = instance.collect(DEADLINE).await.unwrap().denied.unwrap();
    let text = denied.to_string();
    assert!(text.contains("limit of 64 MiB") && text.contains("limits.memory"), "{text}");
}

#[tokio::test]
async fn pushes_beyond_the_output_limit_are_counted_of_a_guest_that_lives() {
    let bench = Bench::new();
    let push = "(call $push_otlp (i32.const 0) (i32.const 600))";
    let component = collects("", &format!("{push} {push} {push} (i32.const 1024)"));
    let (mut instance, services) =
        bench.start(&component, Limits { output: 1000, ..Limits::default() }).await;
    let collected = instance.collect(DEADLINE).await.unwrap();
    assert_eq!((collected.pushes, collected.refused), (1, 2));
    assert_eq!(services.pushed().len(), 1);
}

#[tokio::test]
async fn starting_has_its_own_time() {
    let bench = Bench::new();
    let component =
        support::guest(&Wat { init: "(loop $again (br $again)) (i32.const 1024)", ..Wat::default() });
    let services = std::sync::Arc::new(Recorder::default());
    let limits = Limits { init: Duration::from_millis(120), ..Limits::default() };
    let fault =
        bench.load(&component).await.instantiate(Setup { limits, ..setup(&services) }).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    assert!(fault.message.contains("deadline of 120ms") && fault.message.contains("(in init)"), "{fault}");
}
