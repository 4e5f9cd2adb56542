//! The server stub as a child process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{http, programs::program};

/// A running `whimbrel-stub`; killed when dropped.
pub struct Stub {
    child: Child,
    /// OTLP/HTTP.
    pub otlp: SocketAddr,
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// `/api` and `/control`.
    pub ui: SocketAddr,
}

impl Stub {
    /// On free ports, storing in memory.
    pub fn start() -> Self {
        Self::start_with("127.0.0.1:0", "127.0.0.1:0", "memory")
    }

    /// On the given address for OTLP, storing in a folder: a backend that goes away and comes back.
    pub fn start_at(otlp: &str, data: &Path) -> Self {
        Self::start_with(otlp, "127.0.0.1:0", text(data))
    }

    /// The same with the given address for OTLP over gRPC.
    pub fn start_at_grpc(grpc: &str, data: &Path) -> Self {
        Self::start_with("127.0.0.1:0", grpc, text(data))
    }

    fn start_with(otlp: &str, grpc: &str, data: &str) -> Self {
        let mut child = Command::new(program("whimbrel-stub"))
            .args(["--http", otlp, "--grpc", grpc, "--ui", "127.0.0.1:0", "--data", data, "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stub starts");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut listening = std::collections::BTreeMap::new();
        for line in BufReader::new(stdout).lines().take(3) {
            let line = line.expect("the stub's output is text");
            let said: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("the stub said {line:?}: {e}"));
            let address = said["address"].as_str().and_then(|a| a.parse().ok());
            listening.insert(
                said["listener"].to_string(),
                address.unwrap_or_else(|| panic!("no address in {line}")),
            );
        }
        let address = |listener: &str| {
            let quoted = format!("\"{listener}\"");
            *listening.get(&quoted).unwrap_or_else(|| panic!("the stub says no {listener}: {listening:?}"))
        };
        Self { otlp: address("http"), grpc: address("grpc"), ui: address("ui"), child }
    }

    /// `GET` on its API.
    ///
    /// # Panics
    /// When it does not answer with JSON.
    pub fn api(&self, target: &str) -> Value {
        http::get_json(self.ui, target).unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// `POST` on its controls.
    ///
    /// # Panics
    /// When it refuses.
    pub fn control(&self, target: &str) {
        http::post(self.ui, target).unwrap_or_else(|e| panic!("{e:#}"));
    }

    /// Stops it at once, as a crash would.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(folder: &Path) -> &str {
    folder.to_str().expect("a temporary folder's name is text")
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.end();
    }
}
