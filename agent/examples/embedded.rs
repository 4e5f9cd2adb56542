//! The agent inside another program: it makes log records of its own and pushes them, durable before each answer.
//!
//! ```sh
//! cargo run --example embedded -- http://127.0.0.1:4318
//! ```

use std::time::Duration;

use whimbrel::{Agent, Signal};
use whimbrel_otlp::write::{Attributes, LogRecord, Logs, Severity};

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example speaks to who runs it")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:4318".to_owned());
    let yaml = format!("data_dir: ./embedded-data\nexporters: {{backend: {{endpoint: {endpoint}}}}}\n");
    let loaded = Agent::configuration(&yaml, &std::env::current_dir()?)?;
    let agent = Agent::start(loaded.config).await?;

    let mut request = Logs::new();
    for number in 1..=3 {
        request.resource(&Attributes::new().with("service.name", "embedded-example"));
        let body = format!("order {number} was paid for");
        request.record(&LogRecord {
            severity: Severity::INFO,
            body: body.as_str().into(),
            ..LogRecord::default()
        });
        let stored = agent.push(Signal::Logs, "orders", request.finish()).await?;
        println!("{} log record is on the disk, {} bytes", stored.items, stored.bytes);
        request.clear();
    }
    let pending = agent.shut_down(Duration::from_secs(5)).await?;
    println!("{pending} records wait for the next start");
    Ok(())
}
