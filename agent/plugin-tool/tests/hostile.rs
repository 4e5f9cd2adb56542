//! Guests that loop, trap, grow, flood and lie: each is stopped, named, and costs its own data only.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use support::{Bench, DEADLINE, Recorder, Wat, collects, fault, guest, setup};
use whimbrel_plugin_host::{
    CollectError, Denied, FaultKind, Grants, GuestError, Level, Limits, Setup, SystemGrant,
};

const LOOP: &str = "(loop $again (br $again)) (i32.const 1024)";

#[tokio::test]
async fn an_endless_loop_is_stopped_soon_after_its_deadline() {
    let bench = Bench::new();
    let (mut instance, _) = bench.start(&collects("", LOOP), Limits::default()).await;
    let since = Instant::now();
    let fault = fault(instance.collect(Duration::from_millis(100)).await);
    let took = since.elapsed();
    assert_eq!(fault.kind, FaultKind::Deadline);
    assert!(fault.message.contains("deadline of 100ms"), "{fault}");
    assert!(took >= Duration::from_millis(100), "{took:?}");
    // Measured: 100 to 120 ms. The rest is for a machine that does other things.
    assert!(took < Duration::from_millis(1000), "{took:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_loops_leaves_others_their_turn_on_the_only_thread() {
    let bench = Bench::new();
    let (mut instance, _) = bench.start(&collects("", LOOP), Limits::default()).await;
    let looping = tokio::spawn(async move { fault(instance.collect(Duration::from_millis(500)).await) });
    let mut late = Duration::ZERO;
    while !looping.is_finished() {
        let due = Instant::now() + Duration::from_millis(5);
        tokio::time::sleep_until(due.into()).await;
        late = late.max(due.elapsed());
    }
    assert_eq!(looping.await.unwrap().kind, FaultKind::Deadline);
    // A turn is 10 ms; a busy machine adds to it. Without turns it would be 500 ms.
    assert!(late < Duration::from_millis(250), "{late:?}");
}

#[tokio::test]
async fn a_memory_bomb_is_named_as_such() {
    let bench = Bench::new();
    let bomb =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let (fault, _) = bench.fault(&collects("", bomb), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Memory);
    for part in ["67239936 bytes", "67108864", "limits.memory", "(in collect)"] {
        assert!(fault.message.contains(part), "{part} is not in: {fault}");
    }
}

#[tokio::test]
async fn a_guest_that_copes_with_denied_memory_lives() {
    let bench = Bench::new();
    let copes = "(drop (memory.grow (i32.const 60000))) (i32.const 1024)";
    let (mut instance, _) = bench.start(&collects("", copes), Limits::default()).await;
    for _ in 0..2 {
        assert_eq!(instance.collect(DEADLINE).await.unwrap().memory, 2 << 16);
    }
}

#[tokio::test]
async fn a_component_that_starts_with_too_much_memory_or_too_large_a_table_does_not_start() {
    let bench = Bench::new();
    let cases = [
        (guest(&Wat { pages: 2000, ..Wat::default() }), FaultKind::Memory, "131072000"),
        (collects("(table 100001 funcref)", "(i32.const 1024)"), FaultKind::Tables, "limits.tables"),
        (collects(&"(table 1 funcref)".repeat(65), "(i32.const 1024)"), FaultKind::Resources, "table count"),
    ];
    for (component, kind, part) in cases {
        let services = Arc::new(Recorder::default());
        let fault = bench.load(&component).await.instantiate(setup(&services)).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.message.contains(part), "{part} is not in: {fault}");
    }
}

#[tokio::test]
async fn a_table_bomb_is_stopped() {
    let bench = Bench::new();
    let bomb = "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 5000))
        (i32.const -1)))) unreachable";
    let (fault, _) = bench.fault(&collects("(table $t 1 funcref)", bomb), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Tables, "{fault}");
}

#[tokio::test]
async fn a_panic_says_what_the_guest_said() {
    let bench = Bench::new();
    let items = r#"(data (i32.const 0) "panicked at src/lib.rs:3: boom")"#;
    let panics =
        "(call $log (i32.const 4) (i32.const 0) (i32.const 30) (i32.const 0) (i32.const 0)) unreachable";
    let (fault, services) = bench.fault(&collects(items, panics), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Panic);
    assert!(fault.message.starts_with("it panicked: panicked at src/lib.rs:3: boom"), "{fault}");
    assert_eq!(services.seen().lines[0].level, Level::Error);

    let (fault, _) = bench.fault(&collects("", "unreachable"), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Panic);
    assert!(fault.message.contains("did not say why"), "{fault}");
}

#[tokio::test]
async fn traps_are_named_and_their_functions_too() {
    let bench = Bench::new();
    let items = "(func $reads_past_the_end (result i32) (i32.load (i32.const -8)))";
    let (fault, _) = bench.fault(&collects(items, "(call $reads_past_the_end)"), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("out of bounds memory access"), "{fault}");
    assert_eq!(fault.backtrace[0], "reads_past_the_end");
    let divides = "(i32.div_u (i32.const 1) (i32.const 0))";
    let (fault, _) = bench.fault(&collects("", divides), Limits::default()).await;
    assert!(fault.message.contains("divide by zero"), "{fault}");
}

#[tokio::test]
async fn a_stack_overflow_is_a_fault_of_the_guest_alone() {
    let bench = Bench::new();
    let items = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let (fault, _) = bench.fault(&collects(items, "(call $deep (i32.const 0))"), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Stack, "{fault}");

    // Host functions are called with next to no stack left; they have their own.
    let items = r#"(data (i32.const 0) "x")
      (func $deep (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)) (call $deep))"#;
    let (fault, _) = bench.fault(&collects(items, "(call $deep) (i32.const 1024)"), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Stack, "{fault}");
}

#[tokio::test]
async fn an_endless_push_is_stopped_at_the_output_limit_and_what_was_taken_stays() {
    let bench = Bench::new();
    let floods =
        "(loop $again (call $push_otlp (i32.const 0) (i32.const 65536)) (br $again)) (i32.const 1024)";
    let limits = Limits { output: 1 << 20, ..Limits::default() };
    let (fault, services) = bench.fault(&collects("", floods), limits).await;
    assert_eq!(fault.kind, FaultKind::Output);
    assert!(fault.message.contains("1048576 bytes") && fault.message.contains("limits.output"), "{fault}");
    // 64 bytes are counted for each batch, so that the sixteenth does not fit.
    assert_eq!((services.pushed().len(), fault.pushes), (15, 15));
    assert_eq!(fault.bytes, 15 * (65536 + 64));
}

#[tokio::test]
async fn pushing_nothing_for_ever_is_stopped_too() {
    let bench = Bench::new();
    let floods = "(loop $again (call $push_otlp (i32.const 0) (i32.const 0)) (br $again)) (i32.const 1024)";
    let (fault, services) =
        bench.fault(&collects("", floods), Limits { pushes: 100, ..Limits::default() }).await;
    assert_eq!(fault.kind, FaultKind::Output);
    assert!(fault.message.contains("more than 100 batches"), "{fault}");
    assert_eq!(services.pushed().len(), 100);
}

#[tokio::test]
async fn a_push_over_the_limit_is_answered_and_the_next_collect_starts_anew() {
    let bench = Bench::new();
    // Two thirds of the limit each: the second is refused, and its answer is the collect's.
    let twice =
        "(call $push_otlp (i32.const 0) (i32.const 40000)) (call $push_otlp (i32.const 0) (i32.const 40000))
        (i32.const 2048)";
    let limits = Limits { output: 60_000, ..Limits::default() };
    let (mut instance, services) = bench.start(&collects("", twice), limits).await;
    for n in 1..3 {
        assert_eq!(instance.collect(DEADLINE).await, Err(CollectError::Guest(GuestError::TooLarge(60_000))),);
        assert_eq!(services.pushed().len(), n);
    }
}

#[tokio::test]
async fn one_push_of_more_than_may_be_handed_over_is_stopped_before_it_is_copied() {
    let bench = Bench::new();
    let huge = "(call $push_otlp (i32.const 0) (i32.const 10000000)) (i32.const 1024)";
    let huge = guest(&Wat { collect: huge, pages: 160, ..Wat::default() });
    let (fault, services) = bench.fault(&huge, Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Output);
    assert!(fault.message.contains("limits.output"), "{fault}");
    assert!(services.pushed().is_empty());
}

#[tokio::test]
async fn a_log_flood_is_thinned_out_and_counted() {
    let bench = Bench::new();
    let floods = "(local $n i32) (loop $again
        (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0))
        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000))))
        (i32.const 1024)";
    let (mut instance, services) =
        bench.start(&collects(r#"(data (i32.const 0) "\1b")"#, floods), Limits::default()).await;
    let collected = instance.collect(Duration::from_secs(60)).await.unwrap();
    let seen = services.seen();
    // As many seconds as it took have a hundred lines each.
    let seconds = 1 + collected.took.as_secs() as usize;
    assert!((100..=100 * seconds).contains(&seen.lines.len()), "{}", seen.lines.len());
    assert_eq!(collected.lines_dropped as usize + seen.lines.len(), 10_000);
    assert_eq!(seen.lines[0].message, "\u{fffd}", "control characters do not pass");
}

#[tokio::test]
async fn a_line_after_a_flood_says_how_many_are_missing() {
    let bench = Bench::new();
    let two = "(call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0))
        (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const 1024)";
    let limits = Limits { log_lines_per_second: 1, ..Limits::default() };
    let (mut instance, services) = bench.start(&collects(r#"(data (i32.const 0) "x")"#, two), limits).await;
    instance.collect(DEADLINE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    instance.collect(DEADLINE).await.unwrap();
    let dropped: Vec<u64> = services.seen().lines.iter().map(|line| line.dropped_before).collect();
    assert_eq!(dropped, [0, 1]);
}

#[tokio::test]
async fn an_init_that_refuses_says_why_and_is_not_tried_again() {
    let bench = Bench::new();
    // result: err(config("no host"))
    let items = r#"(data (i32.const 0) "no host") (data (i32.const 512) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\07\00\00\00")"#;
    let refuses = guest(&Wat { items, init: "(i32.const 512)", ..Wat::default() });
    let services = Arc::new(Recorder::default());
    let fault = bench.load(&refuses).await.instantiate(setup(&services)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Init(GuestError::Config("no host".into())));
    assert_eq!(fault.to_string(), "it refused to start: configuration: no host");
    assert!(fault.is_permanent());
}

#[tokio::test]
async fn an_init_that_never_returns_is_stopped_and_so_is_a_start_function() {
    let bench = Bench::new();
    let limits = || Limits { init: Duration::from_millis(100), ..Limits::default() };
    let cases = [
        guest(&Wat { init: LOOP, ..Wat::default() }),
        collects("(func $s (loop $again (br $again))) (start $s)", "(i32.const 1024)"),
    ];
    for component in cases {
        let services = Arc::new(Recorder::default());
        let setup = Setup { limits: limits(), ..setup(&services) };
        let since = Instant::now();
        let fault = bench.load(&component).await.instantiate(setup).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
        assert!(since.elapsed() < Duration::from_secs(30), "compiling included");
    }
}

#[tokio::test]
async fn a_shutdown_that_panics_or_loops_is_reported_and_over() {
    let bench = Bench::new();
    for (shutdown, kind) in
        [("unreachable", FaultKind::Panic), ("(loop $again (br $again))", FaultKind::Deadline)]
    {
        let component = guest(&Wat { shutdown, ..Wat::default() });
        let (instance, _) = bench.start(&component, Limits::default()).await;
        assert_eq!(instance.shutdown(Duration::from_millis(50)).await.unwrap_err().kind, kind);
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_by_name_and_reported_once() {
    let bench = Bench::new();
    let items = r#"(data (i32.const 0) "cpu") (data (i32.const 16) "memory")"#;
    let asks = "(call $snapshot (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 2048))
        (if (i32.load8_u (i32.const 2048)) (then (return (i32.const 2048))))
        (call $snapshot (i32.const 16) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 2048)) (i32.const 2048)";
    let component = collects(items, asks);

    let (mut instance, services) = bench.start(&component, Limits::default()).await;
    for _ in 0..3 {
        let Err(CollectError::Guest(GuestError::Denied(text))) = instance.collect(DEADLINE).await else {
            panic!("not denied");
        };
        assert!(text.contains("`cpu`") && text.contains("grants: { system: [cpu] }"), "{text}");
    }
    assert_eq!(services.seen().denied, [Denied::System("cpu".into())]);

    let services = Arc::new(Recorder::default());
    let grants = Grants { system: SystemGrant::Parts(vec!["cpu".into()]), ..Grants::default() };
    let mut instance =
        bench.load(&component).await.instantiate(Setup { grants, ..setup(&services) }).await.unwrap();
    assert!(instance.collect(DEADLINE).await.is_err());
    assert_eq!(services.seen().denied, [Denied::System("memory".into())], "the granted part was given");
}

#[tokio::test]
async fn secrets_need_their_grant() {
    let bench = Bench::new();
    let asks = "(call $reveal (i32.const 0) (i32.const 5) (i32.const 2048)) (i32.const 2048)";
    let component = collects(r#"(data (i32.const 0) "token")"#, asks);
    let (mut instance, services) = bench.start(&component, Limits::default()).await;
    let text = instance.collect(DEADLINE).await.unwrap_err().to_string();
    assert!(text.contains("grants: { secrets: [token] }"), "{text}");
    assert_eq!(services.seen().denied, [Denied::Secret("token".into())]);
}

#[tokio::test]
async fn a_random_flood_is_charged_and_too_much_at_once_is_refused() {
    let bench = Bench::new();
    let floods = "(loop $again (global.set $heap (i32.const 65536))
        (call $random (i32.const 65536) (i32.const 2048)) (br $again)) (i32.const 1024)";
    let (fault, _) = bench.fault(&collects("", floods), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    let greedy = "(call $random (i32.const -1) (i32.const 2048)) (i32.const 1024)";
    let (fault, _) = bench.fault(&collects("", greedy), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Contract);
    assert!(fault.message.contains("4294967295 random bytes"), "{fault}");
}

#[tokio::test]
async fn nonsense_across_the_boundary_is_the_guests_fault() {
    let bench = Bench::new();
    let cases = [
        // A pointer past the end of memory.
        "(call $push_otlp (i32.const -16) (i32.const 64)) (i32.const 1024)",
        // A batch of no known kind.
        "(call $push (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 2048)) (i32.const 1024)",
        // A text that is not UTF-8.
        "(call $log (i32.const 2) (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0)) (i32.const 1024)",
        // A list of 2^32 - 1 metrics.
        "(call $push (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 2048)) (i32.const 1024)",
        // A result outside of memory, and one that is neither ok nor err.
        "(i32.const -4)",
        "(i32.store8 (i32.const 512) (i32.const 7)) (i32.const 512)",
    ];
    for collect in cases {
        let (fault, services) =
            bench.fault(&collects(r#"(data (i32.const 0) "\ff\fe")"#, collect), Limits::default()).await;
        assert!(matches!(fault.kind, FaultKind::Contract | FaultKind::Output), "{collect}: {fault:?}");
        assert!(services.seen().batches.is_empty());
    }
}

#[tokio::test]
async fn waiting_until_a_batch_is_taken_is_not_charged() {
    let bench = Bench::new();
    let component = collects("", "(call $push_otlp (i32.const 0) (i32.const 8)) (i32.const 2048)");
    let services = Arc::new(Recorder { push_takes: Duration::from_millis(400), ..Recorder::default() });
    let mut instance = bench.load(&component).await.instantiate(setup(&services)).await.unwrap();
    let collected = instance.collect(Duration::from_millis(200)).await.unwrap();
    assert!(collected.waited >= Duration::from_millis(400), "{collected:?}");
    assert!(collected.took < Duration::from_millis(200), "{collected:?}");
}

#[tokio::test]
async fn an_answer_of_the_store_reaches_the_guest_and_is_no_fault() {
    let bench = Bench::new();
    let component = collects("", "(call $push_otlp (i32.const 0) (i32.const 8)) (i32.const 2048)");
    let full = GuestError::Unavailable("the WAL is full".into());
    let services = Arc::new(Recorder { push_fails: Some(full.clone()), ..Recorder::default() });
    let mut instance = bench.load(&component).await.instantiate(setup(&services)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(instance.collect(DEADLINE).await, Err(CollectError::Guest(full.clone())));
    }
}

#[tokio::test]
async fn an_abandoned_call_ends_the_instance_and_nothing_else() {
    let bench = Bench::new();
    let (mut instance, _) = bench.start(&collects("", LOOP), Limits::default()).await;
    let abandoned =
        tokio::time::timeout(Duration::from_millis(50), instance.collect(Duration::from_secs(60))).await;
    assert!(abandoned.is_err());
    assert!(!instance.is_alive());
    assert_eq!(fault(instance.collect(DEADLINE).await).kind, FaultKind::Ended);
    assert_eq!(instance.memory(), 0);
    // The host and its clock are as before.
    let (fault, _) = bench.fault(&collects("", LOOP), Limits::default()).await;
    assert_eq!(fault.kind, FaultKind::Deadline);
}
