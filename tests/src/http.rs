//! Asking the stub and the agent's endpoints over loopback.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One exchange takes at most this.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `GET target`: status and body, whatever the status.
///
/// # Errors
/// When nothing answers, or not HTTP.
pub fn get(address: SocketAddr, target: &str) -> Result<(u16, String)> {
    let mut response = agent().get(format!("http://{address}{target}")).call()?;
    Ok((response.status().as_u16(), response.body_mut().with_config().limit(256 << 20).read_to_string()?))
}

/// `GET target`, as JSON.
///
/// # Errors
/// When it is not 200 with JSON.
pub fn get_json(address: SocketAddr, target: &str) -> Result<Value> {
    let (status, body) = get(address, target)?;
    if status != 200 {
        bail!("GET {target}: {status} {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("GET {target}: {body}"))
}

/// `POST target` without a body, expecting 2xx.
///
/// # Errors
/// When it is anything else.
pub fn post(address: SocketAddr, target: &str) -> Result<String> {
    let mut response = agent().post(format!("http://{address}{target}")).send_empty()?;
    let body = response.body_mut().read_to_string()?;
    if !response.status().is_success() {
        bail!("POST {target}: {} {body}", response.status());
    }
    Ok(body)
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into()
}
