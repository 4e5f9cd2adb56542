//! What the agent tells of itself: health and metrics over TCP, status over a Unix socket.
//!
//! The two are parted because their readers are: an orchestrator or a scraper may ask whether the agent is well
//! (`health`), and sees nothing that shows data or configuration; who may open the socket (`control`, mode 0600)
//! sees everything but secrets.

mod ask;
mod control;
mod health;
mod operate;
mod prometheus;
mod record;
mod serve;
mod socket;

pub use ask::{AskError, ask, get, order, reload, rotate_keys};
pub use control::{Behind, listen as control};
pub use health::listen as health;
pub use serve::{Answer, json, text};
pub use socket::{Socket, serve as socket};
