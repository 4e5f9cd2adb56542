//! The wasmtime engine, set up in one place.
//!
//! The agent, which only runs compiled code, and `whimbrel-plugin`, which compiles it, are built apart and
//! with different features of wasmtime. Both take their [`Config`] from [`config`], and both state their
//! [`fingerprint`]; compiled code is used only where the two agree. Everything that changes what the
//! compiler makes or what the running code may assume stands in `SETTINGS`, so that no setting can change
//! without the fingerprint, and with it every cache key, changing too.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, ModuleVersionStrategy};

/// The exact version of wasmtime in this build. A point release may mend the code generator, so compiled
/// code of another one is not used. (A test holds this against `Cargo.lock`.)
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Stack of a guest where nothing else is said, in bytes.
pub(crate) const DEFAULT_STACK: usize = SETTINGS.guest_stack;

/// What compiler and host must agree on.
#[derive(Debug)]
struct Settings {
    /// Stack of a guest, in bytes. An overflow is a trap.
    guest_stack: usize,
    /// Stack of one call, guest and host functions together, in bytes. The difference to `guest_stack` is
    /// what host functions are certain to have, so that no guest can overflow a stack of the host.
    call_stack: usize,
    /// Address space set aside for a linear memory, in bytes: 4 GiB make bounds checks free. Virtual only.
    memory_reservation: u64,
    /// Guard behind a linear memory, in bytes.
    memory_guard: u64,
    /// Interruption by epochs: next to nothing where a loop waits for its own results, much in the tightest loops over
    /// memory, whose values no longer stay in registers (bench `epochs` of `whimbrel-plugin`). No host time is spent on
    /// counting.
    epochs: bool,
    /// Interruption by fuel: up to 61 % on loops beside epochs, and host time would not count.
    fuel: bool,
    /// 64-bit memories are bounds-checked one by one, and no guest language needs them.
    memory64: bool,
    /// Results of relaxed SIMD differ between machines.
    relaxed_simd: bool,
    /// Backtraces of function names when a guest traps.
    backtrace: bool,
    /// Tables from machine code back to bytes of the component: a quarter of the code's size, for offsets
    /// that nobody reads. Names of functions do not need them.
    address_map: bool,
    /// The `stream`, `future` and `async` parts of the component model. Exports are synchronous.
    concurrency: bool,
}

const SETTINGS: Settings = Settings {
    guest_stack: 512 << 10,
    call_stack: 2 << 20,
    memory_reservation: 4 << 30,
    memory_guard: 32 << 20,
    epochs: true,
    fuel: false,
    memory64: false,
    relaxed_simd: false,
    backtrace: true,
    address_map: false,
    concurrency: false,
};

/// The settings of the engine. `whimbrel-plugin` may add what only tells the compiler how to work
/// (threads), never what it makes.
///
/// # Errors
/// Never with the settings that stand here; wasmtime's own type says so only at run time.
pub fn config() -> wasmtime::Result<Config> {
    config_with_stack(DEFAULT_STACK)
}

/// The settings with another stack for guests, in bytes. Nothing that the compiler makes depends on it, so compiled
/// code is the same; an engine has one size for all that runs in it.
pub(crate) fn config_with_stack(guest_stack: usize) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .max_wasm_stack(guest_stack)
        .async_stack_size(guest_stack + (SETTINGS.call_stack - SETTINGS.guest_stack))
        .memory_reservation(SETTINGS.memory_reservation)
        .memory_guard_size(SETTINGS.memory_guard)
        .memory_init_cow(true)
        .epoch_interruption(SETTINGS.epochs)
        .consume_fuel(SETTINGS.fuel)
        .wasm_memory64(SETTINGS.memory64)
        .wasm_relaxed_simd(SETTINGS.relaxed_simd)
        .generate_address_map(SETTINGS.address_map)
        .concurrency_support(SETTINGS.concurrency)
        .wasm_backtrace_max_frames(SETTINGS.backtrace.then(|| std::num::NonZeroUsize::new(16)).flatten())
        // The environment must not change what is compiled.
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .module_version(ModuleVersionStrategy::Custom(build_id()))?;
    Ok(config)
}

/// Version of wasmtime and settings, in one short word; part of compiled code, and checked when it is loaded.
pub fn build_id() -> String {
    let digest = Sha256::digest(format!("{SETTINGS:?}").as_bytes());
    let mut word = format!("whimbrel-{WASMTIME_VERSION}-");
    for byte in &digest[..8] {
        let _ = write!(word, "{byte:02x}"); // Writing to a String cannot fail.
    }
    word
}

/// What compiled code depends on beside the component: wasmtime, the settings, the machine, its CPU.
///
/// Equal fingerprints mean that code compiled there runs here.
pub fn fingerprint() -> String {
    let mut text = format!("{} {}-{}", build_id(), std::env::consts::ARCH, std::env::consts::OS);
    for feature in cpu_features() {
        text.push('+');
        text.push_str(feature);
    }
    text
}

/// The CPU features that Cranelift makes use of, as far as this CPU has them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn cpu_features() -> Vec<&'static str> {
    macro_rules! detected {
        ($($name:tt)*) => { [$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    let all = detected!(
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt"
        "avx512f" "avx512dq" "avx512vl" "avx512bitalg" "avx512vbmi" "cmpxchg16b"
    );
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// The CPU features that Cranelift makes use of, as far as this CPU has them.
#[cfg(target_arch = "aarch64")]
pub(crate) fn cpu_features() -> Vec<&'static str> {
    macro_rules! detected {
        ($($name:tt)*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    let all = detected!("lse" "paca" "pacg" "fp16");
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// No optional CPU features are used on other machines.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_wasmtime_is_the_locked_one() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        let expected = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&expected), "WASMTIME_VERSION is not the version in Cargo.lock");
    }

    #[test]
    fn an_engine_can_be_made() {
        wasmtime::Engine::new(&config().unwrap()).unwrap();
    }

    #[test]
    fn the_fingerprint_names_all_it_depends_on_and_is_stable() {
        let print = fingerprint();
        assert!(print.contains(WASMTIME_VERSION) && print.contains(std::env::consts::ARCH), "{print}");
        assert_eq!(print, fingerprint());
        assert!(build_id().len() <= 255, "wasmtime takes at most 255 bytes");
    }
}
