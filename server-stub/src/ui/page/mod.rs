//! The page: what arrived, live, for people.
//!
//! ```text
//! store --+
//! figures +--> look: fragments of HTML, each second --> live: one picture for all who look at the same
//! demo ---+                                                |
//!                                          GET / : the whole page, with the fragments as they are
//!                                          GET /live : server-sent events, the fragments that changed
//! ```
//!
//! - It works without a script: then it is a picture of one moment. The script only puts new fragments in place.
//! - Nothing comes from elsewhere, and the browser is told to take nothing from elsewhere (`Content-Security-Policy`).
//! - What a sender wrote is text, never markup: `maud` escapes it, and charts hold numbers only.
//! - The work is done once a look, however many look, and rests longer the dearer it was.
//!
//! In the order of the path: `window`, `witness`: what is followed; `chart`, `charts`, `tables`, `text`: how it is
//! drawn; `look`: one picture; `live`: who sees it; `frame`: the page around; `demo`: the part that only the demo has.

mod chart;
mod charts;
mod demo;
mod frame;
mod live;
mod look;
mod tables;
mod text;
mod window;
mod witness;

pub(crate) use demo::{Demo, DemoError};
pub(crate) use frame::{ICON, SCRIPT, STYLE, with_headers};
pub(crate) use live::{Live, LiveError};
pub(crate) use look::Ground;

/// Rows of a table, at most.
const MAX_ROWS: usize = 400;

/// What somebody looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    /// This host; the first by name if none.
    pub(crate) host: Option<String>,
    /// A chart of this metric besides.
    pub(crate) metric: Option<String>,
}

impl Look {
    fn of_host(host: &str) -> Self {
        Self { host: Some(host.to_owned()), metric: None }
    }

    fn with_metric(&self, metric: &str) -> Self {
        Self { host: self.host.clone(), metric: Some(metric.to_owned()) }
    }
}
