//! `wasi:cli`, `wasi:clocks`, `wasi:random`.

use std::time::Duration;

use wasip2::{
    cli::{environment, exit, stderr::get_stderr, stdout::get_stdout},
    clocks::monotonic_clock,
    io::streams::OutputStream,
    random::random::get_random_u64,
};

/// `name=value`, in order.
pub(crate) fn environment() -> String {
    let mut variables: Vec<String> =
        environment::get_environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    variables.sort();
    format!("[{}]", variables.join(" "))
}

/// How many there were.
pub(crate) fn timers(count: u32) -> String {
    let timers: Vec<_> = (0..count).map(|_| monotonic_clock::subscribe_duration(u64::MAX)).collect();
    format!("{} timers", timers.len())
}

/// Whether that long.
pub(crate) fn sleep(milliseconds: u64) -> String {
    let since = monotonic_clock::now();
    let pause = Duration::from_millis(milliseconds).as_nanos() as u64;
    monotonic_clock::subscribe_duration(pause).block();
    let slept = monotonic_clock::now() - since >= pause;
    format!("slept {slept}, random {}", get_random_u64() != get_random_u64())
}

pub(crate) fn print(text: &str) -> Result<String, String> {
    write(&get_stdout(), text)
}

pub(crate) fn complain(text: &str) -> Result<String, String> {
    write(&get_stderr(), text)
}

fn write(stream: &OutputStream, text: &str) -> Result<String, String> {
    // More at once is a trap, by the interface's own words.
    for piece in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(piece).map_err(|error| format!("{error:?}"))?;
    }
    Ok("written".to_owned())
}

/// Does not return.
pub(crate) fn exit(code: u8) -> Result<String, String> {
    exit::exit(if code == 0 { Ok(()) } else { Err(()) });
    Err("went on after its exit".to_owned())
}
