//! HTTP, granted by origin: `grants: {http: ["https://api.example.com"]}`. Behind the feature `http`, so that a plugin
//! that asks nobody imports nothing.
//!
//! [`Request::send`] waits for one answer, whose body then comes piece by piece; [`all`] has several requests under way
//! at once, and a failed one does not keep the others. Every request has an end: a [timeout](Request::timeout) over
//! all of it, and a [bound](Request::max_body) on what is taken of its answer.
//!
//! ```
//! # fn fetch() -> Result<(), whimbrel_sdk::http::Error> {
//! use std::time::Duration;
//! use whimbrel_sdk::http::Request;
//!
//! let request = Request::get("https://api.example.com/v1/health").timeout(Duration::from_secs(2));
//! let mut answer = request.send()?;
//! if answer.status() == 200 {
//!     let text = answer.text()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What the host grants it checks with each request, after the name is resolved, redirects included; it takes at most
//! 16 requests of a plugin at a time, and 64 MiB of one answer. In tests, [`testing::http`](crate::testing::http)
//! answers.

mod all;
mod error;
mod exchange;
mod given;
mod headers;
mod request;
mod url;
#[cfg(target_family = "wasm")]
mod wasi;

#[cfg(not(target_family = "wasm"))]
use crate::testing::http as way;
#[cfg(target_family = "wasm")]
use wasi as way;

pub use all::{Answer, Outcome, all};
pub use error::Error;
pub use exchange::Response;
pub use given::{HeaderSecret, HeaderValue};
pub use headers::Headers;
pub use request::Request;
pub use url::Url;

/// What a request under way has come to since it was last looked at.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing new.
    Waiting,
    /// Status and headers.
    Head(u16, Headers),
    /// A piece of the body; never an empty one.
    Chunk(Vec<u8>),
    /// The body is over.
    End,
}
