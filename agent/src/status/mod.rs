//! What `whimbrel status`, `/status` and `/metrics` show: one picture of the agent, put together when asked.
//!
//! Nothing here counts; the stages do. The same picture is shown to people, to scripts and to scrapers, so that
//! they cannot disagree.

mod configuration;
mod overview;
mod record;
mod wal;

pub use crate::store::lane_of;
pub use configuration::{Configuration, ConfigurationStatus};
pub use overview::{AgentStatus, Overview};
pub use record::{ShowError, Wanted, dumped_line};
pub use wal::{LaneCounts, WalConsumer, WalLosses, WalStatus};
