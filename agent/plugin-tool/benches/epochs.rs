//! What interruption by epochs costs: the same code compiled with it and without, side by side.
//!
//! `cargo bench -p whimbrel-plugin --bench epochs`. Rounds alternate, the median of processor time is shown; limit: 5 %
//! on a loop. Work on text has many short loops and calls, each of which looks at the epoch, and is measured too.
//!
//! `sum` is beyond the limit, by wasmtime's way of compiling the check: what may be called at a loop's head may return, so
//! what lives across it has the five registers that a call keeps on x86-64, and the check itself takes three of them (the
//! instance, the epoch, the deadline). The machine code of `sum` holds its total on the stack, and reads and writes it
//! there in each round. <https://github.com/bytecodealliance/wasmtime/issues/7244> has the same finding, and
//! <https://github.com/bytecodealliance/wasmtime/pull/12990> a check without a call, not in wasmtime 50 either.
#![allow(missing_docs, clippy::print_stdout)]

mod measure;

use std::time::Duration;

use measure::{median, processor_time};
use wasmtime::{Engine, Instance, Module, Store, TypedFunc};

const ROUNDS: usize = 31;
/// Of the cost, per cent.
const LIMIT: f64 = 5.0;

/// Name, whether the limit is for it, how much of it, and the export: each takes a count and answers a number that
/// depends on all of its work.
const WORK: [(&str, bool, i32); 4] =
    [("loop", true, 40_000_000), ("sum", true, 4_000), ("text", false, 60), ("calls", false, 31)];

const MODULE: &str = r#"(module
  (memory 2)
  ;; Numbers by a linear congruence.
  (func (export "loop") (param $n i32) (result i32)
    (local $x i32)
    (loop $again
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (local.get $x))
  ;; So many times the sum of 64 KiB, eight bytes at a time.
  (func (export "sum") (param $n i32) (result i32)
    (local $at i32) (local $sum i64)
    (loop $times
      (local.set $at (i32.const 0))
      (loop $again
        (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $again (i32.lt_u (local.get $at) (i32.const 65536))))
      (i64.store (i32.const 0) (local.get $sum))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $times (local.get $n)))
    (i32.wrap_i64 (local.get $sum)))
  ;; 64 KiB of words of one to eight letters, written once.
  (func $write (local $at i32) (local $x i32)
    (loop $again
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
      (i32.store8 (local.get $at)
        (select (i32.const 32) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $x) (i32.const 24)) (i32.const 15)))
          (i32.eqz (i32.and (i32.shr_u (local.get $x) (i32.const 16)) (i32.const 7)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $at) (i32.const 65535))))
    (i32.store8 (i32.const 65535) (i32.const 32)))
  (start $write)
  ;; The length of the word that begins here.
  (func $length (param $from i32) (result i32)
    (local $at i32)
    (local.set $at (local.get $from))
    (loop $again
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 32))
        (then (local.set $at (i32.add (local.get $at) (i32.const 1))) (br $again))))
    (i32.sub (local.get $at) (local.get $from)))
  ;; Its hash (FNV-1a), in upper case, which is written beside.
  (func $hash (param $from i32) (param $length i32) (result i32)
    (local $hash i32) (local $byte i32) (local $at i32)
    (local.set $hash (i32.const 0x811c9dc5))
    (block $done
      (br_if $done (i32.eqz (local.get $length)))
      (loop $again
        (local.set $byte (i32.sub (i32.load8_u (i32.add (local.get $from) (local.get $at))) (i32.const 32)))
        (i32.store8 (i32.add (i32.const 65536) (local.get $at)) (local.get $byte))
        (local.set $hash (i32.mul (i32.xor (local.get $hash) (local.get $byte)) (i32.const 16777619)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $at) (local.get $length)))))
    (local.get $hash))
  ;; So many times the hashes of all words.
  (func (export "text") (param $n i32) (result i32)
    (local $at i32) (local $length i32) (local $sum i32)
    (loop $times
      (local.set $at (i32.const 0))
      (loop $again
        (local.set $length (call $length (local.get $at)))
        (local.set $sum (i32.add (local.get $sum) (call $hash (local.get $at) (local.get $length))))
        (local.set $at (i32.add (i32.add (local.get $at) (local.get $length)) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $at) (i32.const 65536))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $times (local.get $n)))
    (local.get $sum))
  ;; Fibonacci by recursion: nothing but calls.
  (func $fib (export "calls") (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else (i32.add (call $fib (i32.sub (local.get $n) (i32.const 1)))
                     (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
)"#;

/// The module in an engine like the agent's, with or without epochs.
struct Compiled {
    store: Store<()>,
    instance: Instance,
}

impl Compiled {
    fn new(epochs: bool) -> wasmtime::Result<Compiled> {
        let mut config = whimbrel_plugin_host::engine::config()?;
        config.epoch_interruption(epochs);
        let engine = Engine::new(&config)?;
        let mut store = Store::new(&engine, ());
        if epochs {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let module = Module::new(&engine, wat::parse_str(MODULE).map_err(wasmtime::Error::new)?)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        Ok(Compiled { store, instance })
    }

    fn work(&mut self, name: &str) -> wasmtime::Result<TypedFunc<i32, i32>> {
        self.instance.get_typed_func(&mut self.store, name)
    }
}

fn main() -> wasmtime::Result<()> {
    let (mut with, mut without) = (Compiled::new(true)?, Compiled::new(false)?);
    println!("interruption by epochs, processor time, median of {ROUNDS} rounds");
    for (name, limited, count) in WORK {
        let (of_with, of_without) = (with.work(name)?, without.work(name)?);
        let (mut costly, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, answer) = timed(&of_with, &mut with.store, count)?;
            costly.push(took);
            let (took, same) = timed(&of_without, &mut without.store, count)?;
            plain.push(took);
            assert_eq!(answer, same, "both do the same work");
        }
        let (costly, plain) = (median(&mut costly), median(&mut plain));
        let percent = (costly.as_secs_f64() / plain.as_secs_f64() - 1.0) * 100.0;
        let limit = if limited { format!("   (limit {LIMIT} %)") } else { String::new() };
        println!("  {name:6} {costly:>10.2?} with, {plain:>10.2?} without: {percent:>5.1} %{limit}");
    }
    Ok(())
}

fn timed(of: &TypedFunc<i32, i32>, store: &mut Store<()>, count: i32) -> wasmtime::Result<(Duration, i32)> {
    let since = processor_time();
    let answer = of.call(store, count)?;
    Ok((processor_time() - since, answer))
}
